//! Starting the machine's other cores, and what becomes of them.

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

/// All cores that compute; the boot core calls.
pub static TEAM: Team<Hardware> = Team::new(Hardware);

/// The cores in the order of their numbers: the boot core first.
static CORES: Once<Vec<Cpu>> = Once::new();

/// What the boot core can do: the inner loops were chosen by it.
static FEATURES: Once<InstructionSets> = Once::new();

/// State of each core, as [`CoreState`] has it.
static STATES: [AtomicU8; MAX_CORES] = [const { AtomicU8::new(CoreState::Off as u8) }; MAX_CORES];

/// How many cores besides the boot core there will be, for their stacks.
pub fn secondary_count(cores: &[Cpu]) -> usize {
    cores.len().min(MAX_CORES).saturating_sub(1)
}

/// Starts every core but the one that calls. Each joins the [`TEAM`] when it is ready.
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
    // SAFETY: the entry point is made for this core, which runs nothing yet.
    unsafe { power::start_core(core.mpidr, entry) }.inspect_err(|_| TEAM.expect_no_helper())
}

/// Where a started core enters Rust, on its own stacks, with the final memory map.
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

/// All cores that the device tree lists, as they are now.
pub fn states() -> Vec<Core> {
    let cores = CORES.get().map_or(&[][..], Vec::as_slice);
    let core = |(number, core): (usize, &Cpu)| {
        let state = STATES.get(number).map_or(0, |state| state.load(Ordering::Relaxed));
        Core { mpidr: core.mpidr, state: CoreState::from_raw(state) }
    };
    cores.iter().enumerate().map(core).collect()
}

/// The cores' own ways to wait.
///
/// A moment is a `WFE`, which an emulator takes for nothing. A sleep is a `WFI`, which ends by an
/// interrupt from another core, and in which emulators and hypervisors give the host its core back.
pub struct Hardware;

/// What a core that sleeps is woken by, plus one; 0 where it cannot be.
static TARGETS: [AtomicU64; MAX_CORES] = [const { AtomicU64::new(0) }; MAX_CORES];

/// Cores that have been woken since their last sleep: an interrupt that came before the `WFI` would
/// not end it.
static IS_WOKEN: [AtomicBool; MAX_CORES] = [const { AtomicBool::new(false) }; MAX_CORES];

impl Hardware {
    fn set_target(number: usize, target: WakeTarget) {
        TARGETS[number].store(target.to_raw() + 1, Ordering::Relaxed);
    }

    fn target(number: usize) -> Option<WakeTarget> {
        TARGETS[number].load(Ordering::Relaxed).checked_sub(1).map(WakeTarget::from_raw)
    }
}

/// A core that has been inside of a run for so long has stopped: an item takes a second at most, on an emulated core.
const PATIENCE_US: u64 = 60_000_000;

impl Waiting for Hardware {
    /// Two cores under QEMU decode 1.84 times as fast as one with 20 µs, 1.90 with 200 and 1.91 with 1000; both on
    /// one core of the host 0.95 times with 200, 0.86 with 1000.
    const AWAKE_US: u64 = 200;

    fn now_us(&self) -> u64 {
        // That of one core alone, which shares no memory with the others' while it looks out for work.
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
            // Masked, an interrupt stays pending and ends the WFI, even if it comes before.
            if !IS_WOKEN[core].swap(false, Ordering::Acquire) {
                match core {
                    // It looks up now and then, whether one of those that it waits for has stopped.
                    CALLER if arch::time::has_alarm() => {
                        arch::time::sleep_until(arch::time::now_us().saturating_add(PATIENCE_US / 60));
                    }
                    CALLER => arch::interrupts::wait(),
                    _ => interrupts::sleep(),
                }
                // What woke this core has been done by then; a later one ends the next sleep.
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
