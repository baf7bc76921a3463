//! What a guest owes its hypervisor each time that the main loop turns: the watchdog is fed, the host gets
//! the memory that it wants, and random numbers begin anew
//! when the machine has been restored from a snapshot.
//!
//! A turn is where whoever waits for a key, computes or loads looks up. A loop that hangs has none, and interrupts are none, so that what
//! is fed is the loop. Only the drivers' waits feed the watchdog too: each has a limit, which can be longer than the watchdog's patience.

use super::{
    balloon::Balloon,
    interrupts, power,
    virtio::{VirtioBalloon, entropy::VirtioEntropy},
    watchdog::{Registers, Watchdog},
};
use crate::{
    arch::{random, time},
    machine::{self, Generation, Trigger},
    memory::pool::Pool,
    system::{BalloonUsage, Turn},
};
use core::sync::atomic::{AtomicU64, Ordering};
use log::{info, warn};
use spin::Mutex;

static WATCHDOG: Mutex<Option<Watchdog<Mmio>>> = Mutex::new(None);

static BALLOON: Mutex<Option<Inflated>> = Mutex::new(None);

struct Inflated {
    balloon: Balloon<VirtioBalloon>,
    interrupt: Option<u32>,
    seen_interrupts: u64,
    look_us: u64,
}

/// Where the identifier of the machine's generation is, and what it was.
static GENERATION: Mutex<Option<(usize, [u64; 2])>> = Mutex::new(None);

/// What is asked for random numbers then.
static ENTROPY: Mutex<Option<VirtioEntropy>> = Mutex::new(None);

/// When it was asked last.
static ENTROPY_ASKED_US: AtomicU64 = AtomicU64::new(0);

/// How long it is not asked again: a device that is silent takes a tenth of a second each time.
const ENTROPY_PAUSE_US: u64 = 5_000_000;

/// How often the machine has been restored.
static N_RESTORED: AtomicU64 = AtomicU64::new(0);

/// Turns the watchdog on. It is to be fed by [`turn`] from here on, and by [`feed_watchdog`] where something is waited for.
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

/// Looks at the identifier of the machine's generation from here on.
///
/// # Safety
/// It must be mapped as memory.
pub unsafe fn watch_generation(generation: &Generation) {
    let address = generation.address as usize;
    *GENERATION.lock() = Some((address, read_generation(address)));
    // One that stays until it is acknowledged has nothing that would acknowledge it.
    if let Some(interrupt) = generation.interrupt.filter(|interrupt| interrupt.trigger == Trigger::Edge) {
        // To wake the core is all that it is for.
        let _ = interrupts::enable(interrupt, |_| {}, 0);
    }
}

/// Has this device, which was asked just now, asked for random numbers again when the machine has been restored, and while it lacks some.
pub fn keep_entropy(device: VirtioEntropy) {
    ENTROPY_ASKED_US.store(time::now_us(), Ordering::Relaxed);
    *ENTROPY.lock() = Some(device);
}

fn read_generation(address: usize) -> [u64; 2] {
    let identifier = core::ptr::with_exposed_provenance::<u64>(address);
    // SAFETY: `watch_generation` was promised that it is mapped. It changes only while no CPU of the machine runs.
    unsafe { [identifier.read_volatile(), identifier.add(1).read_volatile()] }
}

/// Has random numbers begin anew if the machine has been restored since the last look; returns how often it has been so.
fn look_at_generation() -> u64 {
    if let Some((address, seen)) = &mut *GENERATION.lock() {
        let generation = read_generation(*address);
        if core::mem::replace(seen, generation) != generation {
            N_RESTORED.fetch_add(1, Ordering::Relaxed);
            random::begin_anew();
            generation.iter().for_each(|number| random::mix_in(&number.to_le_bytes()));
            ask_for_entropy();
            info!("the machine was restored from a snapshot: random numbers begin anew");
        }
    }
    N_RESTORED.load(Ordering::Relaxed)
}

/// Asks the device and the firmware for random numbers.
fn ask_for_entropy() {
    ENTROPY_ASKED_US.store(time::now_us(), Ordering::Relaxed);
    let seed = ENTROPY.lock().as_mut().and_then(VirtioEntropy::seed);
    seed.iter().for_each(|bytes| random::stir(bytes));
    power::entropy().iter().for_each(|bytes| random::stir(bytes));
}

/// A number below 2^32, another one each time, and another one in each machine that was restored from the same snapshot.
pub fn random_seed() -> u64 {
    look_at_generation();
    random::seed()
}

/// Bytes that nobody can guess, for a key, other ones in each machine that was restored from the same snapshot; `None` if no source
/// has given enough random numbers since the machine was started or restored. If there were too few, they are asked again.
pub fn secret() -> Option<[u8; 32]> {
    look_at_generation();
    random::secret().or_else(|| {
        if time::now_us().saturating_sub(ENTROPY_ASKED_US.load(Ordering::Relaxed)) < ENTROPY_PAUSE_US {
            return None;
        }
        ask_for_entropy();
        random::secret()
    })
}

/// Lets the host have memory of this pool by this device.
pub fn inflate((device, interrupt): (VirtioBalloon, Option<u32>), pool: &'static Pool) {
    let balloon = Balloon::new(device, pool);
    *BALLOON.lock() = Some(Inflated { balloon, interrupt, seen_interrupts: u64::MAX, look_us: 0 });
}

/// What the host has of the memory, if there is a balloon.
pub fn balloon() -> Option<BalloonUsage> {
    BALLOON.lock().as_ref().map(|inflated| inflated.balloon.usage())
}

impl Inflated {
    fn turn(&mut self, now_us: u64, is_idle: bool) -> u64 {
        /// How often the host is asked what it wants while it has never interrupted.
        const LOOK_US: u64 = 1_000_000;
        let n_interrupts = interrupts::count();
        let has_interrupt = interrupts::has_come(self.interrupt);
        let has_news = match has_interrupt {
            true => core::mem::replace(&mut self.seen_interrupts, n_interrupts) != n_interrupts,
            false => now_us >= self.look_us,
        };
        if has_news && !has_interrupt {
            self.look_us = now_us + LOOK_US;
        }
        let wake_us = self.balloon.turn(now_us, is_idle, has_news);
        if has_interrupt { wake_us } else { wake_us.min(self.look_us) }
    }
}

/// Feeds the watchdog, and does nothing else: for waits between two turns or within one, each of which has a limit.
pub fn feed_watchdog() {
    feed_at(time::now_us());
}

/// Returns when it is to be fed again.
fn feed_at(now_us: u64) -> u64 {
    WATCHDOG.lock().as_mut().map_or(u64::MAX, |watchdog| watchdog.feed(now_us))
}

/// To be called wherever the main loop turns; `is_idle` says that nobody computes.
pub fn turn(is_idle: bool) -> Turn {
    let now_us = time::now_us();
    let mut wake_us = feed_at(now_us);
    if let Some(inflated) = &mut *BALLOON.lock() {
        wake_us = wake_us.min(inflated.turn(now_us, is_idle));
    }
    Turn { wake_us, n_restored: look_at_generation() }
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
