//! `memcpy` and `memset`, 64 bytes at a time.
//!
//! The compiler's own versions for this target copy word by word, which is a third as fast under emulation. The loops here need
//! unaligned access to normal memory, which works because the MMU is on before any Rust code runs.

core::arch::global_asm!(include_str!("memory_functions.s"));
