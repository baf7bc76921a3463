//! Masks interrupts, and waits for them.

use aarch64_cpu::{
    asm::wfi,
    registers::{DAIF, Readable, Writeable},
};

/// Runs `critical` with interrupts masked, then restores the previous state.
pub fn masked<R>(critical: impl FnOnce() -> R) -> R {
    let before = DAIF.get();
    DAIF.write(DAIF::D::Masked + DAIF::A::Masked + DAIF::I::Masked + DAIF::F::Masked);
    let result = critical();
    DAIF.set(before);
    result
}

/// Unmasks interrupts and system errors.
pub fn unmask() {
    DAIF.write(DAIF::D::Masked + DAIF::A::Unmasked + DAIF::I::Unmasked + DAIF::F::Masked);
}

/// Unmasks system errors, but not interrupts.
pub fn unmask_system_errors() {
    DAIF.write(DAIF::D::Masked + DAIF::A::Unmasked + DAIF::I::Masked + DAIF::F::Masked);
}

/// Sleeps until an interrupt is pending, whether masked or not.
pub fn wait() {
    wfi();
}
