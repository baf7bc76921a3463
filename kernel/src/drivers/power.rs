//! Turning the machine off and on again, and cores on: PSCI (Arm DEN 0022), by `hvc` or `smc`.

use crate::{
    arch::{self, secondary::EntryPoint},
    drivers::last_words::{Emergency, is_ending},
    machine::PsciMethod,
};
use core::{
    fmt::Write,
    sync::atomic::{AtomicBool, Ordering},
};
use smccc::{Call, Hvc, Smc, psci};
use spin::Once;
use team::MAX_CORES;

static METHOD: Once<Option<PsciMethod>> = Once::new();

/// Remembers how the device tree wants PSCI to be called, unless a call would end in what this kernel left behind
/// at EL3 or EL2: nobody else is there then.
pub fn init(method: Option<PsciMethod>) {
    let level = arch::entry::level();
    let is_answered = |method: &PsciMethod| match method {
        PsciMethod::Hvc => level < 2,
        PsciMethod::Smc => level < 3,
    };
    METHOD.call_once(|| method.filter(is_answered));
}

fn method() -> Option<PsciMethod> {
    METHOD.get().copied().flatten()
}

/// 16 random bytes from the firmware's generator, where it has one (Arm DEN 0098, 2.2 and 2.4).
pub fn entropy() -> Option<[u8; 16]> {
    const TRNG_VERSION: u32 = 0x8400_0050;
    const TRNG_RND64: u32 = 0xc400_0053;
    fn ask<C: Call>() -> Option<[u8; 16]> {
        let version = C::call32(TRNG_VERSION, [0; 7])[0] as i32;
        let mut arguments = [0; 17];
        arguments[0] = 128;
        // In the order of the registers from x0 on: the status, and the last bits in x3.
        let results = (version > 0).then(|| C::call64(TRNG_RND64, arguments))?;
        (results[0] == 0).then(|| (u128::from(results[2]) << 64 | u128::from(results[3])).to_le_bytes())
    }
    match method()? {
        PsciMethod::Hvc => ask::<Hvc>(),
        PsciMethod::Smc => ask::<Smc>(),
    }
}

/// Powers the machine off; without PSCI, says that it did not, and stops the core.
pub fn off() -> ! {
    // PSCI returns only to report an error, after which stopping is all that is left.
    let result = match method().or_else(guess) {
        Some(PsciMethod::Hvc) => psci::system_off::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_off::<Smc>(),
        None => Err(psci::Error::NotSupported),
    };
    stop("powered off", result)
}

/// Before a device tree has been read: what calls PSCI, if anything does, from the level that the machine was
/// entered at. Tried once: where nothing does, the instruction faults, and the fault ends here again.
fn guess() -> Option<PsciMethod> {
    static IS_TRIED: AtomicBool = AtomicBool::new(false);
    if METHOD.get().is_some() || IS_TRIED.swap(true, Ordering::Relaxed) {
        return None;
    }
    match arch::entry::level() {
        1 => Some(PsciMethod::Hvc),
        2 => Some(PsciMethod::Smc),
        _ => None,
    }
}

fn stop(what: &str, result: Result<(), psci::Error>) -> ! {
    let _ = match result {
        // The line that tells why is the last one.
        _ if is_ending() => Ok(()),
        Err(psci::Error::NotSupported) if method().is_none() => {
            writeln!(Emergency, "the machine has stopped, but cannot be {what}: {}", StartError::NoPsci)
        }
        Err(error) => writeln!(Emergency, "the machine has stopped, but cannot be {what}: {error}"),
        Ok(()) => Ok(()),
    };
    arch::cpu::stop()
}

/// Why a core cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The device tree names another method than PSCI for it.
    #[error("its enable-method in the device tree is not psci")]
    OtherMethod,
    /// The kernel is made for fewer cores.
    #[error("the kernel uses {MAX_CORES} cores at most", MAX_CORES = MAX_CORES)]
    TooManyCores,
    /// There is no memory for its stacks.
    #[error("there is no memory for its stacks")]
    NoStacks,
    /// The device tree says that it has failed or belongs to somebody else.
    #[error("by its status in the device tree it cannot be used")]
    Unusable,
    /// The device tree does not say how PSCI is called, or the kernel was entered at its exception level.
    #[error("the device tree names no PSCI that can be called from EL{}", arch::entry::level())]
    NoPsci,
    /// PSCI refuses.
    #[error("{0}")]
    Refused(psci::Error),
}

/// Starts the core with these affinities.
///
/// # Errors
/// [`StartError`] if PSCI is missing or refuses.
///
/// # Safety
/// `entry` must be made for this core, and all that it uses there must be ready.
pub unsafe fn start_core(mpidr: u64, entry: EntryPoint) -> Result<(), StartError> {
    let EntryPoint { address, context } = entry;
    let started = match method() {
        Some(PsciMethod::Hvc) => psci::cpu_on::<Hvc>(mpidr, address, context),
        Some(PsciMethod::Smc) => psci::cpu_on::<Smc>(mpidr, address, context),
        None => return Err(StartError::NoPsci),
    };
    started.map_err(StartError::Refused)
}

/// Starts the machine again; without PSCI, says that it did not, and stops the core.
pub fn reboot() -> ! {
    let result = match method() {
        Some(PsciMethod::Hvc) => psci::system_reset::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_reset::<Smc>(),
        None => Err(psci::Error::NotSupported),
    };
    stop("started again", result)
}
