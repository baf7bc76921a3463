//! The clock: the generic timer's virtual counter (Arm ARM, D12).

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTVCT_EL0, Readable};

/// Microseconds since the counter started, which is when the machine did.
pub fn now_us() -> u64 {
    let frequency_hz = u128::from(CNTFRQ_EL0.get().max(1));
    (u128::from(CNTVCT_EL0.get()) * 1_000_000 / frequency_hz) as u64
}
