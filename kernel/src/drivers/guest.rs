//! What a guest owes its hypervisor each time that the main loop turns: the watchdog is fed.
//!
//! A turn is where whoever waits for a key, computes or loads looks up. A loop that hangs has none, and interrupts are none, so that what
//! is fed is the loop.

use super::watchdog::{Registers, Watchdog};
use crate::{arch::time, machine, system::Turn};
use log::{info, warn};
use spin::Mutex;

static WATCHDOG: Mutex<Option<Watchdog<Mmio>>> = Mutex::new(None);

/// Turns the watchdog on. It is to be fed by [`turn`] from here on.
///
/// # Safety
/// Its registers must be mapped and used by nothing else.
pub unsafe fn start_watchdog(device: machine::Watchdog) {
    let place = device.frames()[0].address;
    match Watchdog::start(Mmio, device, time::frequency_hz(), time::now_us()) {
        Some(watchdog) => {
            let timeout_s = watchdog.timeout_us() / 1_000_000;
            info!("watchdog at {place:#x}: {timeout_s} s");
            *WATCHDOG.lock() = Some(watchdog);
        }
        None => warn!("the watchdog at {place:#x} is not used: it does not turn on"),
    }
}

/// Turns the watchdog off, for an end that takes as long as it takes.
pub fn stop_watchdog() {
    if let Some(watchdog) = WATCHDOG.lock().take() {
        watchdog.stop();
    }
}

/// To be called wherever the main loop turns.
pub fn turn() -> Turn {
    let wake_us = match &mut *WATCHDOG.lock() {
        Some(watchdog) => watchdog.feed(time::now_us()),
        None => u64::MAX,
    };
    Turn { wake_us }
}

/// Registers where they are mapped.
struct Mmio;

impl Registers for Mmio {
    fn read(&self, address: u64) -> u32 {
        // SAFETY: who started the driver promised that its registers are mapped, and the driver's addresses lie within.
        unsafe { core::ptr::with_exposed_provenance::<u32>(address as usize).read_volatile() }
    }

    fn write(&mut self, address: u64, value: u32) {
        // SAFETY: as in `read`.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(address as usize).write_volatile(value) };
    }
}
