//! The performance counters, which count retired instructions (Arm ARM, D13).
//!
//! Event counter 0 counts `INST_RETIRED`. It has 64 bits if the CPU has PMUv3p5, otherwise 32. A 32-bit counter is extended by
//! [`WideCounter`], which reads it whenever the count is requested and whenever the cycle counter overflows. That counter is set
//! so that it overflows, and interrupts, before the other one can wrap. (The event counter's own overflow cannot be used: QEMU
//! 7.2 checks for it only once, one count before it happens, and so raises no interrupt.) QEMU counts instructions only with
//! `-icount`.

use aarch64_cpu::registers::{ID_AA64DFR0_EL1, Readable};
use core::{
    arch::asm,
    sync::atomic::{AtomicBool, Ordering},
};
use spin::Mutex;

use crate::wide_counter::WideCounter;

const INST_RETIRED: u64 = 0x08;
const COUNTER_0: u64 = 1;
const CYCLE_COUNTER: u64 = 1 << 31;

/// The CPU cannot retire 2^32 instructions in so few cycles.
const CYCLES_BETWEEN_LOOKS: u64 = 1 << 27;

/// Values of `ID_AA64DFR0_EL1.PMUVer`.
const PMU_V3P5: u64 = 6;
const IMPLEMENTATION_DEFINED: u64 = 15;

static HAS_PMU: AtomicBool = AtomicBool::new(false);

/// The count of a 32-bit counter; `None` if it has 64 bits. It is locked only with interrupts masked.
static WIDE: Mutex<Option<WideCounter>> = Mutex::new(None);

/// Starts counting. Returns true if the counter has 32 bits, so that the PMU's interrupt must call [`on_overflow`].
pub fn start() -> bool {
    const ENABLE: u64 = 1 << 0;
    const RESET_EVENT_COUNTERS: u64 = 1 << 1;
    const LONG_CYCLE_COUNTER: u64 = 1 << 6;
    const LONG_EVENT_COUNTERS: u64 = 1 << 7;

    let version = ID_AA64DFR0_EL1.get() >> 8 & 0xf;
    if version == 0 || version == IMPLEMENTATION_DEFINED {
        return false;
    }
    let is_long = version >= PMU_V3P5;
    let length = if is_long { LONG_EVENT_COUNTERS } else { LONG_CYCLE_COUNTER };
    let control = ENABLE | RESET_EVENT_COUNTERS | length;
    // SAFETY: the PMU exists; writing its registers affects only the counters.
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
    if !is_long {
        super::interrupts::masked(|| *WIDE.lock() = Some(WideCounter::new()));
    }
    HAS_PMU.store(true, Ordering::Relaxed);
    !is_long
}

/// Enables the cycle counter's overflow interrupt, if instructions are counted.
pub fn enable_overflow_interrupt() {
    if instructions_retired().is_none() {
        return;
    }
    set_cycle_counter();
    // SAFETY: this is called after `start` has found a PMU, when the interrupt has a handler.
    unsafe {
        asm!(
            "msr pmccfiltr_el0, xzr",
            "msr pmcntenset_el0, {counter}",
            "msr pmintenset_el1, {counter}",
            counter = in(reg) CYCLE_COUNTER,
            options(nomem, nostack),
        );
    }
}

/// The handler of the PMU's interrupt.
pub fn on_overflow() {
    super::interrupts::masked(|| {
        set_cycle_counter();
        look();
    });
}

/// Makes the cycle counter overflow after [`CYCLES_BETWEEN_LOOKS`].
fn set_cycle_counter() {
    // SAFETY: this is called only if the PMU exists; it also clears the interrupt.
    unsafe {
        asm!(
            "msr pmccntr_el0, {count}",
            "msr pmovsclr_el0, {counter}",
            "isb",
            count = in(reg) CYCLES_BETWEEN_LOOKS.wrapping_neg(),
            counter = in(reg) CYCLE_COUNTER,
            options(nomem, nostack),
        );
    }
}

/// Reads the counter, with interrupts masked, and returns the total.
fn look() -> u64 {
    let mut wide = WIDE.lock();
    let Some(wide) = wide.as_mut() else { return read() };
    wide.look(read() as u32)
}

/// Instructions that this core has retired since [`start`], or `None` if they are not counted.
pub fn instructions_retired() -> Option<u64> {
    if !HAS_PMU.load(Ordering::Relaxed) {
        return None;
    }
    match super::interrupts::masked(look) {
        0 => None,
        total => Some(total),
    }
}

fn read() -> u64 {
    let count: u64;
    // SAFETY: this is called only if the PMU exists.
    unsafe {
        asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) count, options(nomem, nostack));
    }
    count
}

/// Retires `1024 * rounds` instructions plus a few more, most of which are cheap to emulate.
#[cfg(feature = "selftest")]
pub fn retire(rounds: u64) {
    // SAFETY: the loop changes nothing but its own register.
    unsafe {
        asm!(
            "2:",
            ".rept 1022",
            "nop",
            ".endr",
            "subs {rounds}, {rounds}, #1",
            "b.ne 2b",
            rounds = inout(reg) rounds => _,
            options(nomem, nostack),
        );
    }
}
