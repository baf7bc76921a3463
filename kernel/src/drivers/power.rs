//! Powers the machine off, reboots it, and starts cores, by PSCI (Arm DEN 0022), which is called by `hvc` or `smc`.

use crate::{
    arch::{self, secondary::EntryPoint},
    drivers::emergency_console::{Emergency, is_ending},
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

/// Sets how PSCI is called. It is not called if this kernel was entered at the exception level that would handle the call, since
/// there is no firmware there.
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

/// 16 random bytes from the firmware's generator, if there is one (Arm DEN 0098, 2.2 and 2.4).
pub fn entropy() -> Option<[u8; 16]> {
    const TRNG_VERSION: u32 = 0x8400_0050;
    const TRNG_RND64: u32 = 0xc400_0053;
    fn ask<C: Call>() -> Option<[u8; 16]> {
        let version = C::call32(TRNG_VERSION, [0; 7])[0] as i32;
        let mut arguments = [0; 17];
        arguments[0] = 128;
        // Results are in registers from x0 on: first the status; the last bits are in x3.
        let results = (version > 0).then(|| C::call64(TRNG_RND64, arguments))?;
        (results[0] == 0).then(|| (u128::from(results[2]) << 64 | u128::from(results[3])).to_le_bytes())
    }
    match method()? {
        PsciMethod::Hvc => ask::<Hvc>(),
        PsciMethod::Smc => ask::<Smc>(),
    }
}

/// Powers the machine off. Without PSCI, logs that this is not possible, and stops the core.
pub fn off() -> ! {
    // PSCI returns only to report an error; then only stopping the core is left.
    let result = match method().or_else(guess) {
        Some(PsciMethod::Hvc) => psci::system_off::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_off::<Smc>(),
        None => Err(psci::Error::NotSupported),
    };
    stop("powered off", result)
}

/// For use before a device tree has been read: the instruction that probably calls PSCI, judging by the exception level that the
/// machine was entered at. It is tried only once: if nothing handles it, the instruction faults, and the fault handler calls this
/// again.
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
        // The message that says why the machine ends must stay the last line.
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
    /// The device tree gives a method other than PSCI for it.
    #[error("its enable-method in the device tree is not psci")]
    OtherMethod,
    /// The kernel supports fewer cores.
    #[error("the kernel uses {MAX_CORES} cores at most", MAX_CORES = MAX_CORES)]
    TooManyCores,
    /// There is no memory for its stacks.
    #[error("there is no memory for its stacks")]
    NoStacks,
    /// The device tree says that it has failed, or is reserved for something else.
    #[error("by its status in the device tree it cannot be used")]
    Unusable,
    /// The device tree does not say how to call PSCI, or the kernel was entered at the exception level that would handle the call.
    #[error("the device tree names no PSCI that can be called from EL{}", arch::entry::level())]
    NoPsci,
    /// PSCI refuses to start it.
    #[error("{0}")]
    Refused(psci::Error),
}

/// Starts the core with these affinities.
///
/// # Errors
/// [`StartError`] if PSCI is missing or refuses.
///
/// # Safety
/// `entry` must be made for this core, and everything that it uses there must be ready.
pub unsafe fn start_core(mpidr: u64, entry: EntryPoint) -> Result<(), StartError> {
    let EntryPoint { address, context } = entry;
    let started = match method() {
        Some(PsciMethod::Hvc) => psci::cpu_on::<Hvc>(mpidr, address, context),
        Some(PsciMethod::Smc) => psci::cpu_on::<Smc>(mpidr, address, context),
        None => return Err(StartError::NoPsci),
    };
    started.map_err(StartError::Refused)
}

/// Reboots the machine. Without PSCI, logs that this is not possible, and stops the core.
pub fn reboot() -> ! {
    let result = match method() {
        Some(PsciMethod::Hvc) => psci::system_reset::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_reset::<Smc>(),
        None => Err(psci::Error::NotSupported),
    };
    stop("started again", result)
}
