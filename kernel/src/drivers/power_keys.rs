//! The keys of the machine itself, power and restart: what they ask for is kept until somebody looks.

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

/// The GPIO controllers with keys; a handler's context is an index into them.
static CONTROLLERS: Once<Vec<Controller>> = Once::new();

struct Controller {
    gpio: Mutex<Pl061<Mmio>>,
    /// The lines that ask for power off and for a restart.
    power_off: u8,
    restart: u8,
}

const NOTHING: u8 = 0;
const POWER_OFF: u8 = 1;
const RESTART: u8 = 2;

/// What has been asked for.
static REQUEST: AtomicU8 = AtomicU8::new(NOTHING);

/// What a key of the machine has asked for, if one has been pressed.
pub fn request() -> Option<KeyAction> {
    match REQUEST.load(Ordering::Relaxed) {
        POWER_OFF => Some(KeyAction::PowerOff),
        RESTART => Some(KeyAction::Restart),
        _ => None,
    }
}

/// Listens to these keys from here on.
///
/// # Safety
/// Their GPIO controllers must be mapped and used by nothing else. To be called once, with the interrupt controller
/// set up.
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

// SAFETY: the registers are the same on every core.
unsafe impl Send for Mmio {}

impl RegisterBlock for Mmio {
    fn read(&self, offset: usize) -> u8 {
        // SAFETY: `init` was promised that the controller's registers are mapped, and the driver's offsets lie within.
        unsafe { self.0.add(offset).cast::<u32>().read_volatile() as u8 }
    }

    fn write(&mut self, offset: usize, value: u8) {
        // SAFETY: as in `read`.
        unsafe { self.0.add(offset).cast::<u32>().write_volatile(value.into()) }
    }
}
