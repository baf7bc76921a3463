//! Turning the machine off and on again, and cores on: PSCI (Arm DEN 0022), by `hvc` or `smc`.

use crate::{
    arch::{self, secondary::EntryPoint},
    machine::PsciMethod,
};
use core::fmt;
use smccc::{Hvc, Smc, psci};
use spin::Once;

static METHOD: Once<PsciMethod> = Once::new();

/// Remembers how PSCI is called.
pub fn init(method: PsciMethod) {
    METHOD.call_once(|| method);
}

/// Powers the machine off; without PSCI, stops the core.
pub fn off() -> ! {
    // PSCI returns only to report an error, after which stopping is all that is left.
    let _ = match METHOD.get() {
        Some(PsciMethod::Hvc) => psci::system_off::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_off::<Smc>(),
        None => Ok(()),
    };
    arch::cpu::stop()
}

/// Why a core cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// The device tree names another method than PSCI for it.
    OtherMethod,
    /// The kernel has no stacks for as many cores.
    TooManyCores,
    /// The device tree does not say how PSCI is called.
    NoPsci,
    /// PSCI refuses.
    Refused(psci::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherMethod => write!(f, "its enable-method in the device tree is not psci"),
            Self::TooManyCores => write!(f, "the kernel has no stacks for as many cores"),
            Self::NoPsci => write!(f, "the device tree does not say how PSCI is called"),
            Self::Refused(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for StartError {}

/// Starts the core with these affinities.
///
/// # Errors
/// [`StartError`] if PSCI is missing or refuses.
///
/// # Safety
/// `entry` must be made for this core, and all that it uses there must be ready.
pub unsafe fn start_core(mpidr: u64, entry: EntryPoint) -> Result<(), StartError> {
    let EntryPoint { address, context } = entry;
    let started = match METHOD.get() {
        Some(PsciMethod::Hvc) => psci::cpu_on::<Hvc>(mpidr, address, context),
        Some(PsciMethod::Smc) => psci::cpu_on::<Smc>(mpidr, address, context),
        None => return Err(StartError::NoPsci),
    };
    started.map_err(StartError::Refused)
}

/// Starts the machine again; without PSCI, stops the core.
pub fn reboot() -> ! {
    let _ = match METHOD.get() {
        Some(PsciMethod::Hvc) => psci::system_reset::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_reset::<Smc>(),
        None => Ok(()),
    };
    arch::cpu::stop()
}
