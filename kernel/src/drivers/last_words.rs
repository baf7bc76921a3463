//! What a machine that is about to end says, past all locks, and that it says so once.

use super::{
    host::{self, ExitStatus, exit},
    uart,
};
use crate::arch::cpu;
use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Text to wherever somebody may read it, past all locks: for a machine that is about to end.
pub(crate) struct Emergency;

impl Write for Emergency {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if host::has_standard_error() {
            host::write_standard_error(text.as_bytes());
        } else {
            uart::write_in_emergency(text.as_bytes());
        }
        Ok(())
    }
}

const NOBODY: usize = usize::MAX;
static ENDING_CORE: AtomicUsize = AtomicUsize::new(NOBODY);

/// Whether a core has begun to say why the machine ends.
pub(crate) fn is_ending() -> bool {
    ENDING_CORE.load(Ordering::Relaxed) != NOBODY
}

/// To be called by the core that is about to say why the machine ends. Of several cores the first one
/// goes on and the others stop; a core that fails while it says so ends the machine with `status`.
pub(crate) fn begin_end(status: ExitStatus) {
    let own = cpu::number();
    match ENDING_CORE.compare_exchange(NOBODY, own, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {}
        Err(core) if core == own => exit(status),
        Err(_) => cpu::stop(),
    }
}

/// Where it happened: nothing on the boot core, else ` on core N`.
pub(crate) struct OnCore;

impl fmt::Display for OnCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match cpu::number() {
            0 => Ok(()),
            core => write!(f, " on core {core}"),
        }
    }
}
