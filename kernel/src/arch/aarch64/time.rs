//! The clock and the alarm: the generic timer's virtual counter and its interrupt (Arm ARM, D12).

use super::{cpu, interrupts::masked};
use crate::{
    machine::{Interrupt, Trigger},
    steady_clock::SteadyClock,
};
use aarch64_cpu::{
    asm::{barrier, wfi},
    registers::{CNTFRQ_EL0, CNTV_CTL_EL0, CNTV_TVAL_EL0, CNTVCT_EL0, Readable, Writeable},
};
use core::sync::atomic::{AtomicU32, Ordering};

/// The virtual timer's interrupt, if the device tree does not give it (Server Base System Architecture, table 3).
pub const VIRTUAL_TIMER_INTERRUPT: Interrupt = Interrupt { number: 27, trigger: Trigger::Level };

/// Length of a [`nap`].
const NAP_US: u64 = 100;

/// The timer's interrupt, or [`NO_ALARM`].
static ALARM: AtomicU32 = AtomicU32::new(NO_ALARM);

/// A value instead of an interrupt: numbers from 1020 to 1023 are not interrupts (GIC architecture specification).
const NO_ALARM: u32 = 1023;

static CLOCK: SteadyClock = SteadyClock::new();

/// Microseconds since the counter, and with it the machine, started. The value never decreases, whatever the counter does.
pub fn now_us() -> u64 {
    CLOCK.at(us(ticks()))
}

/// Converts units of the counter to microseconds.
pub fn us(ticks: u64) -> u64 {
    let frequency_hz = u128::from(CNTFRQ_EL0.get().max(1));
    (u128::from(ticks) * 1_000_000 / frequency_hz) as u64
}

/// The counter's frequency.
pub fn frequency_hz() -> u64 {
    CNTFRQ_EL0.get()
}

/// The counter's value, in units of its frequency.
pub fn ticks() -> u64 {
    CNTVCT_EL0.get()
}

/// Disables the timer and thereby clears its interrupt; an expired timer would otherwise keep raising it.
pub fn stop_timer() {
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR);
    barrier::isb(barrier::SY);
}

/// Records that the virtual timer's interrupt, which has this number, is enabled on the boot core, so that the core can [`nap`].
pub fn allow_naps(interrupt: u32) {
    ALARM.store(interrupt, Ordering::Relaxed);
}

/// Records that this interrupt has been disabled: if it is the timer's, nothing would end a sleep.
pub fn lost_interrupt(interrupt: u32) {
    let _ = ALARM.compare_exchange(interrupt, NO_ALARM, Ordering::Relaxed, Ordering::Relaxed);
}

/// Whether the boot core can sleep until a time.
pub fn has_alarm() -> bool {
    ALARM.load(Ordering::Relaxed) != NO_ALARM
}

/// On the boot core, with interrupts masked: sleeps until an interrupt is pending or it is `until_us`. If there is a time to wake
/// at but no alarm, returns at once.
pub fn sleep_until(until_us: u64) {
    if until_us == u64::MAX {
        return wfi();
    }
    let left_us = until_us.saturating_sub(now_us());
    if left_us == 0 || !has_alarm() {
        return;
    }
    // The timer's register has 32 bits and is signed.
    let ticks = u128::from(left_us) * u128::from(CNTFRQ_EL0.get()) / 1_000_000;
    CNTV_TVAL_EL0.set(ticks.clamp(1, i32::MAX as u128) as u64);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
    barrier::isb(barrier::SY);
    wfi();
    stop_timer();
}

/// Sleeps for a tenth of a millisecond or until an interrupt, if this is the boot core and it has an alarm; otherwise returns at once.
pub fn nap() {
    if cpu::number() != 0 || !has_alarm() {
        return;
    }
    // With interrupts masked, the interrupt ends the WFI without being taken; disabling the timer clears it.
    masked(|| {
        CNTV_TVAL_EL0.set(CNTFRQ_EL0.get() * NAP_US / 1_000_000);
        CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
        barrier::isb(barrier::SY);
        wfi();
        stop_timer();
    });
}
