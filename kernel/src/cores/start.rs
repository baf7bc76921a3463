//! Starts the machine's other cores, and records their states.

use super::turns;
use crate::{
    arch,
    cpu::InstructionSets,
    drivers::{
        interrupts::{self, WakeTarget},
        power,
    },
    machine::Cpu,
    system::{Core, CoreState},
};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use log::{debug, warn};
use spin::Once;
use team::{CALLER, MAX_CORES, Team, Waiting};

/// All cores that compute; the boot core is the caller.
pub static TEAM: Team<Hardware> = Team::new(Hardware);

/// The cores in the order of their numbers: the boot core first.
static CORES: Once<Vec<Cpu>> = Once::new();

/// The features of the boot core, by which the inner loops were chosen.
static FEATURES: Once<InstructionSets> = Once::new();

/// The state of each core, as a discriminant of [`CoreState`].
static STATES: [AtomicU8; MAX_CORES] = [const { AtomicU8::new(CoreState::Off as u8) }; MAX_CORES];

/// How many cores there will be besides the boot core; they need stacks.
pub fn secondary_count(cores: &[Cpu]) -> usize {
    cores.len().min(MAX_CORES).saturating_sub(1)
}

/// Starts every core except the calling one. Each joins the [`TEAM`] when it is ready.
pub fn start_all(cores: &[Cpu]) {
    let own = arch::cpu::mpidr();
    let mut cores: Vec<Cpu> = cores.to_vec();
    sort::short_by_key(&mut cores, |core| core.mpidr != own);
    let cores = CORES.call_once(|| cores);
    set_state(0, CoreState::Online);
    FEATURES.call_once(arch::cpu::features);
    if cores.len() < 2 {
        return;
    }
    match interrupts::enable_wake_up() {
        Ok(target) => Hardware::set_target(0, target),
        Err(error) => debug!("core 0 sleeps by events: {error}"),
    }
    let results: Vec<_> =
        cores.iter().enumerate().skip(1).map(|(number, core)| start(number, core)).collect();
    let mut number = 1;
    for same in results.chunk_by(PartialEq::eq) {
        let last = number + same.len() - 1;
        if let Some(Err(error)) = same.first() {
            (number..=last).for_each(|number| set_state(number, CoreState::Failed));
            match same.len() {
                1 => warn!("core {number} (mpidr {:#x}) does not start: {error}", cores[number].mpidr),
                _ => warn!("cores {number} to {last} do not start: {error}"),
            }
        }
        number = last + 1;
    }
}

fn start(number: usize, core: &Cpu) -> Result<(), power::StartError> {
    if number >= MAX_CORES {
        return Err(power::StartError::TooManyCores);
    }
    if core.is_unusable {
        return Err(power::StartError::Unusable);
    }
    if !core.starts_by_psci {
        return Err(power::StartError::OtherMethod);
    }
    let entry = arch::secondary::entry_point(number).ok_or(power::StartError::NoStacks)?;
    set_state(number, CoreState::Starting);
    TEAM.expect_helper();
    // SAFETY: the entry point is made for this core, which has not been started.
    unsafe { power::start_core(core.mpidr, entry) }.inspect_err(|_| TEAM.expect_no_helper())
}

/// Where a started core enters Rust code, on its own stacks and with the final memory map.
#[unsafe(no_mangle)]
extern "C" fn secondary_main(number: usize) -> ! {
    arch::protection::enable();
    arch::interrupts::unmask_system_errors();
    if !FEATURES.get().is_some_and(|boot_core| arch::cpu::features().include(boot_core)) {
        set_state(number, CoreState::Failed);
        warn!("core {number} stops: it lacks instructions that the boot core has");
        arch::cpu::stop();
    }
    match interrupts::enable_wake_up() {
        Ok(target) => Hardware::set_target(number, target),
        Err(error) => debug!("core {number} sleeps by events: {error}"),
    }
    set_state(number, CoreState::Online);
    TEAM.serve(number, || false);
    unreachable!("the service has no end")
}

fn set_state(number: usize, state: CoreState) {
    if let Some(place) = STATES.get(number) {
        place.store(state as u8, Ordering::Relaxed);
    }
}

/// All cores that the device tree lists, with their current states.
pub fn states() -> Vec<Core> {
    let cores = CORES.get().map_or(&[][..], Vec::as_slice);
    let core = |(number, core): (usize, &Cpu)| {
        let state = STATES.get(number).map_or(0, |state| state.load(Ordering::Relaxed));
        Core { mpidr: core.mpidr, state: CoreState::from_raw(state) }
    };
    cores.iter().enumerate().map(core).collect()
}

/// How the cores wait.
///
/// A short wait is a `WFE`, which an emulator treats as a no-op. A sleep is a `WFI`: another core's interrupt ends it, and
/// emulators and hypervisors give the core back to the host in the meantime.
pub struct Hardware;

/// The wake-up target of each core, plus one; 0 if it cannot be woken.
static TARGETS: [AtomicU64; MAX_CORES] = [const { AtomicU64::new(0) }; MAX_CORES];

/// Whether each core has been woken since its last sleep: an interrupt that was taken before the `WFI` would not end it.
static IS_WOKEN: [AtomicBool; MAX_CORES] = [const { AtomicBool::new(false) }; MAX_CORES];

impl Hardware {
    fn set_target(number: usize, target: WakeTarget) {
        TARGETS[number].store(target.to_raw() + 1, Ordering::Relaxed);
    }

    fn target(number: usize) -> Option<WakeTarget> {
        TARGETS[number].load(Ordering::Relaxed).checked_sub(1).map(WakeTarget::from_raw)
    }
}

/// A core that has been computing in a run for longer than this has stopped: an item takes a second at most, even on an emulated core.
const PATIENCE_US: u64 = 60_000_000;

impl Waiting for Hardware {
    /// How long a core stays awake. With a host core for each core, more time gains hardly anything; where several share a host
    /// core, it takes time from the others. The measurements are in docs/notes/cores.md.
    const AWAKE_US: u64 = 200;

    fn now_us(&self) -> u64 {
        // Uses the core's own counter, so that polling for work shares no memory with the other cores.
        arch::time::us(arch::time::ticks())
    }

    fn pause(&self) {
        arch::cpu::wait_for_event();
    }

    fn notify(&self) {
        arch::cpu::send_event();
    }

    fn sleep(&self, core: usize) {
        if Self::target(core).is_none() {
            return arch::cpu::wait_for_event();
        }
        arch::interrupts::masked(|| {
            // With interrupts masked, an interrupt stays pending and ends the WFI, even if it arrives before it.
            if !IS_WOKEN[core].swap(false, Ordering::Acquire) {
                match core {
                    // It wakes up now and then to check whether a core that it waits for has stopped.
                    CALLER if arch::time::has_alarm() => {
                        arch::time::sleep_until(arch::time::now_us().saturating_add(PATIENCE_US / 60));
                    }
                    CALLER => arch::interrupts::wait(),
                    _ => interrupts::sleep(),
                }
                // Whatever woke this core has been done by now; a later interrupt ends the next sleep.
                IS_WOKEN[core].store(false, Ordering::Relaxed);
            }
        });
    }

    fn wake(&self, core: usize) {
        IS_WOKEN[core].store(true, Ordering::Release);
        match Self::target(core) {
            Some(target) => interrupts::wake(target),
            None => arch::cpu::send_event(),
        }
    }

    fn has_waited(&self, waited_us: u64) {
        assert!(waited_us < PATIENCE_US, "another core has stopped in the middle of its work");
    }

    fn yield_now(&self) {
        turns::yield_now();
    }
}
