//! The clock that knows the date: Arm's PL031 (Arm DDI 0224), or else the time that firmware gave at the start, continued by the
//! generic timer.

use crate::{arch::time, machine::Registers};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Address of the registers; 0 if the machine has no such clock.
static REGISTERS: AtomicUsize = AtomicUsize::new(0);

/// When the generic timer started, in microseconds since the beginning of 1970; 0 if not known.
static STARTED_US: AtomicU64 = AtomicU64::new(0);

/// Uses this clock from now on.
///
/// # Safety
/// `registers` must be those of a PL031, mapped as device memory.
pub unsafe fn init(registers: &Registers) {
    REGISTERS.store(registers.address as usize, Ordering::Relaxed);
}

/// Records that it was `seconds` seconds after the beginning of 1970 when the generic timer had counted `at_us` microseconds.
pub fn set(seconds: u64, at_us: u64) {
    STARTED_US.store(seconds.saturating_mul(1_000_000).saturating_sub(at_us), Ordering::Relaxed);
}

/// Seconds since the beginning of 1970 in universal time; `None` without a clock, or if it has never been set.
pub fn now_seconds() -> Option<u64> {
    /// A smaller value means that the clock started from zero with the machine.
    const NEVER_SET_SECONDS: u64 = 365 * 86_400;
    // The first register is the time.
    let time = core::ptr::with_exposed_provenance::<u32>(REGISTERS.load(Ordering::Relaxed));
    let seconds = if time.is_null() {
        let started_us = STARTED_US.load(Ordering::Relaxed);
        if started_us == 0 {
            return None;
        }
        started_us.saturating_add(time::now_us()) / 1_000_000
    } else {
        // SAFETY: the caller of `init` promised that the registers are mapped; reading this one has no side effect.
        u64::from(unsafe { time.read_volatile() })
    };
    (seconds >= NEVER_SET_SECONDS).then_some(seconds)
}
