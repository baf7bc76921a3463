//! The performance counters: instructions retired (Arm ARM, D13).
//!
//! Event counter 0 counts `INST_RETIRED`. It has 64 bits where the CPU has PMUv3p5; otherwise 32,
//! and the overflow interrupt counts the carries. QEMU counts instructions under `-icount` only.

use aarch64_cpu::registers::{ID_AA64DFR0_EL1, Readable};
use core::{
    arch::asm,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

const INST_RETIRED: u64 = 0x08;
const COUNTER_0: u64 = 1;

/// Values of `ID_AA64DFR0_EL1.PMUVer`.
const PMU_V3P5: u64 = 6;
const IMPLEMENTATION_DEFINED: u64 = 15;

static HAS_PMU: AtomicBool = AtomicBool::new(false);

/// What the counter has lost to overflows.
static CARRIED: AtomicU64 = AtomicU64::new(0);

/// Starts counting. Returns true if the counter overflows after 32 bits, so that
/// [`on_overflow`] must be called by the counter's interrupt.
pub fn start() -> bool {
    const ENABLE: u64 = 1 << 0;
    const RESET_EVENT_COUNTERS: u64 = 1 << 1;
    const LONG_EVENT_COUNTERS: u64 = 1 << 7;

    let version = ID_AA64DFR0_EL1.get() >> 8 & 0xf;
    if version == 0 || version == IMPLEMENTATION_DEFINED {
        return false;
    }
    let is_long = version >= PMU_V3P5;
    let control = ENABLE | RESET_EVENT_COUNTERS | if is_long { LONG_EVENT_COUNTERS } else { 0 };
    // SAFETY: the PMU exists; its registers influence nothing but the counters.
    unsafe {
        asm!(
            "msr pmevtyper0_el0, {event}",
            "msr pmcntenset_el0, {counter}",
            "msr pmovsclr_el0, {counter}",
            "msr pmcr_el0, {control}",
            "isb",
            event = in(reg) INST_RETIRED,
            counter = in(reg) COUNTER_0,
            control = in(reg) control,
            options(nomem, nostack),
        );
    }
    HAS_PMU.store(true, Ordering::Relaxed);
    !is_long
}

/// Lets the counter's overflow raise its interrupt.
pub fn enable_overflow_interrupt() {
    // SAFETY: called after `start` found a PMU; the interrupt has a handler by then.
    unsafe { asm!("msr pmintenset_el1, {}", in(reg) COUNTER_0, options(nomem, nostack)) };
}

/// Handler of the overflow interrupt.
pub fn on_overflow() {
    take_overflow();
}

fn take_overflow() {
    let overflowed: u64;
    // SAFETY: called only where the PMU exists; clears what it has seen.
    unsafe {
        asm!(
            "mrs {overflowed}, pmovsclr_el0",
            "msr pmovsclr_el0, {overflowed}",
            "isb",
            overflowed = out(reg) overflowed,
            options(nomem, nostack),
        );
    }
    if overflowed & COUNTER_0 != 0 {
        CARRIED.fetch_add(1 << 32, Ordering::Relaxed);
    }
}

/// Instructions that this core has retired since [`start`], or `None` if nothing counts them.
pub fn instructions_retired() -> Option<u64> {
    if !HAS_PMU.load(Ordering::Relaxed) {
        return None;
    }
    super::interrupts::masked(|| {
        let count = read();
        take_overflow();
        // An overflow between the two left a small count behind; reading again sees it.
        let count = match read() {
            again if again < count => again,
            _ => count,
        };
        match CARRIED.load(Ordering::Relaxed) + count {
            0 => None,
            total => Some(total),
        }
    })
}

fn read() -> u64 {
    let count: u64;
    // SAFETY: called only where the PMU exists.
    unsafe {
        asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) count, options(nomem, nostack));
    }
    count
}
