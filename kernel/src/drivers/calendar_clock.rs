//! The clock that knows the date: Arm's PL031 (Arm DDI 0224).

use crate::machine::Registers;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Address of the registers; 0 where the machine has no such clock.
static REGISTERS: AtomicUsize = AtomicUsize::new(0);

/// Reads this clock from here on.
///
/// # Safety
/// `registers` must be those of a PL031, mapped as device memory.
pub unsafe fn init(registers: &Registers) {
    REGISTERS.store(registers.address as usize, Ordering::Relaxed);
}

/// Seconds since the beginning of 1970 in universal time; `None` without a clock, or if it has never been set.
pub fn now_seconds() -> Option<u64> {
    /// A clock that starts from zero when the machine does shows less.
    const NEVER_SET_SECONDS: u32 = 365 * 86_400;
    // The first register is the time.
    let time = core::ptr::with_exposed_provenance::<u32>(REGISTERS.load(Ordering::Relaxed));
    if time.is_null() {
        return None;
    }
    // SAFETY: `init` was promised that the register is mapped; reading it changes nothing.
    let seconds = unsafe { time.read_volatile() };
    (seconds >= NEVER_SET_SECONDS).then_some(u64::from(seconds))
}
