//! The power and restart keys on the machine itself. A key press is remembered until it is handled.

use super::{
    interrupts,
    pl061::{Pl061, RegisterBlock},
};
use crate::machine::{KeyAction, PowerKey};
use alloc::vec::Vec;
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};
use log::warn;
use spin::{Mutex, Once};

/// The GPIO controllers that have keys; the context of an interrupt handler is an index into this list.
static CONTROLLERS: Once<Vec<Controller>> = Once::new();

struct Controller {
    gpio: Mutex<Pl061<Mmio>>,
    /// The lines that request power off, and those that request a restart.
    power_off: u8,
    restart: u8,
}

const NOTHING: u8 = 0;
const POWER_OFF: u8 = 1;
const RESTART: u8 = 2;

/// What has been requested.
static REQUEST: AtomicU8 = AtomicU8::new(NOTHING);

/// What a key on the machine has requested, if one has been pressed.
pub fn request() -> Option<KeyAction> {
    match REQUEST.load(Ordering::Relaxed) {
        POWER_OFF => Some(KeyAction::PowerOff),
        RESTART => Some(KeyAction::Restart),
        _ => None,
    }
}

/// Watches these keys from now on.
///
/// # Safety
/// Their GPIO controllers must be mapped and used by nothing else. It must be called only once, after the interrupt controller
/// has been set up.
pub unsafe fn init(keys: &[PowerKey]) {
    let mut addresses: Vec<u64> = keys.iter().map(|key| key.gpio.address).collect();
    sort::sort(&mut addresses);
    addresses.dedup();
    let of = |address: u64| keys.iter().filter(move |key| key.gpio.address == address);
    let lines = |keys: &mut dyn Iterator<Item = &PowerKey>| keys.fold(0, |lines, key| lines | 1 << key.line);
    let open = |&address: &u64| {
        let first = NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))?;
        let mut gpio = Pl061::new(Mmio(first));
        let rising = lines(&mut of(address).filter(|key| !key.is_active_low));
        gpio.watch(rising, lines(&mut of(address).filter(|key| key.is_active_low)));
        let action = |action| lines(&mut of(address).filter(|key| key.action == action));
        let controller = Controller {
            gpio: Mutex::new(gpio),
            power_off: action(KeyAction::PowerOff),
            restart: action(KeyAction::Restart),
        };
        Some((address, controller))
    };
    let (addresses, controllers): (Vec<u64>, Vec<Controller>) = addresses.iter().filter_map(open).unzip();
    CONTROLLERS.call_once(|| controllers);
    for (index, &address) in addresses.iter().enumerate() {
        let interrupt = of(address).map(|key| key.interrupt).next();
        if let Some(Err(error)) =
            interrupt.map(|interrupt| interrupts::enable(interrupt, on_interrupt, index))
        {
            warn!("the power key is not heard: {error}");
        }
    }
}

fn on_interrupt(controller: usize) {
    if let Some(controller) = CONTROLLERS.get().and_then(|controllers| controllers.get(controller)) {
        let lines = controller.gpio.lock().take_events();
        if lines & controller.power_off != 0 {
            REQUEST.store(POWER_OFF, Ordering::Relaxed);
        } else if lines & controller.restart != 0 {
            REQUEST.store(RESTART, Ordering::Relaxed);
        }
    }
}

struct Mmio(NonNull<u8>);

// SAFETY: the registers can be accessed from every core in the same way.
unsafe impl Send for Mmio {}

impl RegisterBlock for Mmio {
    fn read(&self, offset: usize) -> u8 {
        // SAFETY: the caller of `init` promised that the controller's registers are mapped, and the driver uses only offsets within them.
        unsafe { self.0.add(offset).cast::<u32>().read_volatile() as u8 }
    }

    fn write(&mut self, offset: usize, value: u8) {
        // SAFETY: the caller of `init` promised that the controller's registers are mapped, and the driver uses only offsets within them.
        unsafe { self.0.add(offset).cast::<u32>().write_volatile(value.into()) }
    }
}
