//! The entry point and the exception vectors, in assembly.

core::arch::global_asm!(include_str!("entry.s"));
core::arch::global_asm!(include_str!("vectors.s"));
