//! Masking interrupts and waiting for them.

use aarch64_cpu::{
    asm::wfi,
    registers::{DAIF, Readable, Writeable},
};

/// Runs `critical` with interrupts masked, then restores what was before.
pub fn masked<R>(critical: impl FnOnce() -> R) -> R {
    let before = DAIF.get();
    DAIF.write(DAIF::D::Masked + DAIF::A::Masked + DAIF::I::Masked + DAIF::F::Masked);
    let result = critical();
    DAIF.set(before);
    result
}

/// Lets interrupts and system errors through from here on.
pub fn unmask() {
    DAIF.write(DAIF::D::Masked + DAIF::A::Unmasked + DAIF::I::Unmasked + DAIF::F::Masked);
}

/// Lets system errors through from here on, interrupts not.
pub fn unmask_system_errors() {
    DAIF.write(DAIF::D::Masked + DAIF::A::Unmasked + DAIF::I::Masked + DAIF::F::Masked);
}

/// Sleeps until an interrupt is pending, masked or not.
pub fn wait() {
    wfi();
}
