//! The last message of a machine that is about to end: it bypasses all locks, and only one core writes it.

use super::{
    host::{self, ExitStatus, exit},
    uart,
};
use crate::arch::cpu;
use core::{
    fmt::{self, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Writes text wherever somebody may read it, bypassing all locks, for a machine that is about to end.
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

/// Whether a core has begun to report why the machine ends.
pub(crate) fn is_ending() -> bool {
    ENDING_CORE.load(Ordering::Relaxed) != NOBODY
}

/// Must be called by a core before it reports why the machine ends. If several cores call it, the first one continues and the
/// others stop. A core that fails during its report ends the machine with `status`.
pub(crate) fn begin_end(status: ExitStatus) {
    let own = cpu::number();
    match ENDING_CORE.compare_exchange(NOBODY, own, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {}
        Err(core) if core == own => exit(status),
        Err(_) => cpu::stop(),
    }
}

/// Names the core where it happened: ` on core N`, or nothing on the boot core.
pub(crate) struct OnCore;

impl fmt::Display for OnCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match cpu::number() {
            0 => Ok(()),
            core => write!(f, " on core {core}"),
        }
    }
}
