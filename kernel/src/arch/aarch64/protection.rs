//! Accesses that the CPU itself refuses, whatever the tables say.

use crate::system::Protections;
use aarch64_cpu::registers::{ID_AA64MMFR1_EL1, ReadWriteable, Readable, SCTLR_EL1, Writeable};

/// `PSTATE.PAN` as a bit of the system register PAN (Arm ARM, C5.2).
const PAN: u64 = 1 << 22;

/// `SCTLR_EL1.SPAN`: if set, exceptions do not change `PSTATE.PAN`.
const SPAN: u64 = 1 << 23;

fn has_pan() -> bool {
    ID_AA64MMFR1_EL1.read(ID_AA64MMFR1_EL1::PAN) != 0
}

/// Turns on the protections of this core: writable memory is never executed (`SCTLR_EL1.WXN`), and with `FEAT_PAN` memory that
/// EL0 could access is never accessed, not even in exception handlers (`SPAN`). The final map must be active, because the boot
/// map has the image both writable and executable.
pub fn enable() {
    SCTLR_EL1.modify(SCTLR_EL1::WXN::Enable);
    if has_pan() {
        SCTLR_EL1.set(SCTLR_EL1.get() & !SPAN);
        // SAFETY: the CPU has the register, and no memory is accessible to EL0.
        unsafe { core::arch::asm!("msr s3_0_c4_c2_3, {}", in(reg) PAN, options(nostack)) };
    }
    // SAFETY: this changes no translation; it removes cached ones, which may not take WXN into account.
    unsafe { core::arch::asm!("isb", "tlbi vmalle1", "dsb nsh", "isb", options(nostack)) };
}

/// The protections that are on, on this core.
pub fn active() -> Protections {
    let mut pan = 0;
    if has_pan() {
        // SAFETY: the CPU has the register.
        unsafe { core::arch::asm!("mrs {}, s3_0_c4_c2_3", out(reg) pan, options(nomem, nostack)) };
    }
    Protections {
        wxn: SCTLR_EL1.is_set(SCTLR_EL1::WXN),
        stack_alignment: SCTLR_EL1.is_set(SCTLR_EL1::SA),
        pan: has_pan().then_some(pan & PAN != 0),
    }
}
