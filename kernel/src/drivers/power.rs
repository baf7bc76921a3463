//! Turning the machine off and on again: PSCI (Arm DEN 0022), by `hvc` or `smc`.

use crate::{arch, device_tree::PsciMethod};
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

/// Starts the machine again; without PSCI, stops the core.
pub fn reboot() -> ! {
    let _ = match METHOD.get() {
        Some(PsciMethod::Hvc) => psci::system_reset::<Hvc>(),
        Some(PsciMethod::Smc) => psci::system_reset::<Smc>(),
        None => Ok(()),
    };
    arch::cpu::stop()
}
