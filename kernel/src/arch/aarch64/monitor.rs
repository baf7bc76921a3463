//! Calls of the kernel's own monitor at EL3, which exists if the machine was entered at EL3: they access device registers in the
//! secure state.

use super::entry;
use core::arch::asm;

const WRITE: u64 = 1;
const READ: u64 = 2;

/// Proof that the monitor exists.
#[derive(Debug, Clone, Copy)]
pub struct Monitor(());

impl Monitor {
    /// The monitor, if the machine was entered at EL3.
    pub fn get() -> Option<Self> {
        (entry::level() == 3).then_some(Self(()))
    }

    /// Reads the 32-bit word at a physical address, in the secure state.
    ///
    /// # Safety
    /// There must be a register whose reading has no side effect; the address must be aligned.
    pub unsafe fn read(self, address: u64) -> u32 {
        let value: u64;
        // SAFETY: the caller promises that the register can be read; the monitor changes no registers except x0 and x3.
        unsafe {
            asm!(
                "smc #0",
                inout("x0") READ => value,
                in("x1") address,
                out("x3") _,
                options(nostack),
            );
        }
        value as u32
    }

    /// Writes the 32-bit word at a physical address, in the secure state.
    ///
    /// # Safety
    /// There must be a register to which this value may be written; the address must be aligned.
    pub unsafe fn write(self, address: u64, value: u32) {
        // SAFETY: the caller promises that the register can be written; the monitor changes no register except x3.
        unsafe {
            asm!(
                "smc #0",
                in("x0") WRITE,
                in("x1") address,
                in("x2") u64::from(value),
                out("x3") _,
                options(nostack),
            );
        }
    }
}
