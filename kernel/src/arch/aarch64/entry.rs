//! The entry point, the code that drops to EL1, and the exception vectors, all in assembly; and the exception level at which the
//! machine was entered.

use core::sync::atomic::{AtomicU8, Ordering};

core::arch::global_asm!(include_str!("entry.s"));
core::arch::global_asm!(include_str!("levels.s"));
core::arch::global_asm!(include_str!("boot_map.s"));
core::arch::global_asm!(include_str!("vectors.s"));
core::arch::global_asm!(include_str!("probe.s"));

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Records the exception level at which the boot core entered the kernel.
pub fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// The exception level at which the boot core entered the kernel, 1 to 3; 0 if not yet known.
pub fn level() -> u8 {
    LEVEL.load(Ordering::Relaxed)
}
