//! Checks that interrupts do not change the vector registers.
//!
//! The virtual timer interrupts a loop that holds known values in q0-q31; the handler overwrites all of these registers.

use super::time::VIRTUAL_TIMER_INTERRUPT;
use crate::machine::Interrupt;
use core::{
    arch::asm,
    sync::atomic::{AtomicU64, Ordering},
};

const INTERRUPTS: u64 = 100;
const INTERVAL_TICKS: u64 = 5_000;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Returns after a hundred interrupts that changed no register. `enable` makes an interrupt call a function.
///
/// # Panics
/// If an interrupt changed a register.
pub fn run(enable: impl FnOnce(Interrupt, fn(usize))) {
    enable(VIRTUAL_TIMER_INTERRUPT, on_timer);
    arm_timer();
    let mut rounds = 0_u64;
    while COUNT.load(Ordering::Relaxed) < INTERRUPTS {
        let differences = hold_values();
        assert_eq!(differences, 0, "an interrupt changed vector registers");
        rounds += 1;
    }
    log::info!("vector self-test: {INTERRUPTS} interrupts, {rounds} rounds, no register changed");
}

fn arm_timer() {
    // SAFETY: the virtual timer belongs to this kernel, and its interrupt has a handler.
    unsafe {
        asm!(
            "msr cntv_tval_el0, {ticks}",
            "msr cntv_ctl_el0, {enable}",
            ticks = in(reg) INTERVAL_TICKS,
            enable = in(reg) 1_u64,
            options(nomem, nostack),
        );
    }
}

fn on_timer(_context: usize) {
    if COUNT.fetch_add(1, Ordering::Relaxed) + 1 < INTERRUPTS {
        arm_timer();
    } else {
        // SAFETY: the virtual timer belongs to this kernel; this disables it.
        unsafe { asm!("msr cntv_ctl_el0, xzr", options(nomem, nostack)) };
    }
    macro_rules! destroy {
        ($($register:tt)*) => {
            // SAFETY: every register that is changed is declared as changed.
            unsafe {
                asm!(
                    $(concat!("movi ", $register, ".16b, #0xa5"),)*
                    $(out($register) _,)*
                    options(nomem, nostack),
                )
            }
        };
    }
    destroy!(
        "v0" "v1" "v2" "v3" "v4" "v5" "v6" "v7" "v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15"
        "v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23" "v24" "v25" "v26" "v27" "v28" "v29" "v30"
        "v31"
    );
}

/// Fills v0-v31, each with its own number, waits for about a timer interval, and returns the bitwise or of all differences from
/// these values.
fn hold_values() -> u64 {
    macro_rules! hold {
        ($($register:tt $number:tt)*) => {{
            let differences: u64;
            // SAFETY: every register that is changed is declared as changed.
            unsafe {
                asm!(
                    $(concat!("movi ", $register, ".16b, #", $number),)*
                    "mov {count}, #0x4000",
                    "2:",
                    "subs {count}, {count}, #1",
                    "b.ne 2b",
                    "mov {differences}, #0",
                    $(
                        concat!("mov {value}, ", $register, ".d[0]"),
                        "eor {value}, {value}, {unit}",
                        "orr {differences}, {differences}, {value}",
                        concat!("mov {value}, ", $register, ".d[1]"),
                        "eor {value}, {value}, {unit}",
                        "orr {differences}, {differences}, {value}",
                        "add {unit}, {unit}, {one}",
                    )*
                    count = out(reg) _,
                    value = out(reg) _,
                    unit = inout(reg) 0_u64 => _,
                    one = in(reg) 0x0101_0101_0101_0101_u64,
                    differences = out(reg) differences,
                    $(out($register) _,)*
                    options(nomem, nostack),
                );
            }
            differences
        }};
    }
    hold!(
        "v0" 0 "v1" 1 "v2" 2 "v3" 3 "v4" 4 "v5" 5 "v6" 6 "v7" 7 "v8" 8 "v9" 9 "v10" 10 "v11" 11
        "v12" 12 "v13" 13 "v14" 14 "v15" 15 "v16" 16 "v17" 17 "v18" 18 "v19" 19 "v20" 20 "v21" 21
        "v22" 22 "v23" 23 "v24" 24 "v25" 25 "v26" 26 "v27" 27 "v28" 28 "v29" 29 "v30" 30 "v31" 31
    )
}
