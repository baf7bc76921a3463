//! The end of a kernel that broke its own invariants or cannot boot, and the way to say so.

use crate::{
    arch::cpu,
    drivers::{
        host::{self, ExitStatus, exit},
        uart,
    },
};
use core::{
    fmt::{self, Write},
    panic::PanicInfo,
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

/// Says in a line why this machine cannot be booted on, and ends it.
pub fn cannot_boot(reason: impl fmt::Display) -> ! {
    begin_end(ExitStatus::CannotBoot);
    let _ = writeln!(Emergency, "\nFerrite cannot boot: {reason}");
    exit(ExitStatus::CannotBoot)
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

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin_end(ExitStatus::Panic);
    let status = match is_allocation_failure(info) {
        true => ExitStatus::HeapExhausted,
        false => ExitStatus::Panic,
    };
    let _ = writeln!(Emergency, "\nPANIC{OnCore}: {info}");
    exit(status)
}

/// Whether the panic is `alloc`'s answer to a heap that refused a request. There is no other way to
/// tell: the hook for allocation errors is not stable.
fn is_allocation_failure(info: &PanicInfo<'_>) -> bool {
    const PREFIX: &str = "memory allocation of ";

    /// Fails at the first byte that is not the prefix's.
    struct Matcher(&'static str);

    impl Write for Matcher {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let length = self.0.len().min(text.len());
            match self.0.strip_prefix(text.get(..length).ok_or(fmt::Error)?) {
                Some(rest) => {
                    self.0 = rest;
                    Ok(())
                }
                None => Err(fmt::Error),
            }
        }
    }

    write!(Matcher(PREFIX), "{}", info.message()).is_ok()
}
