//! `memcpy` and `memset`, 64 bytes at a time.
//!
//! The compiler's own for this target copy word by word, a third as fast under emulation. The loops
//! below need unaligned access to normal memory, which the MMU grants before any Rust code runs.

core::arch::global_asm!(include_str!("memory_functions.s"));
