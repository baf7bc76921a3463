//! The end of a kernel that broke its own invariants, and the way to say so.

use crate::drivers::{
    host::{self, ExitStatus, exit},
    uart,
};
use core::{
    fmt::{self, Write},
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
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

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    static IS_PANICKING: AtomicBool = AtomicBool::new(false);
    if IS_PANICKING.swap(true, Ordering::Relaxed) {
        exit(ExitStatus::Panic);
    }
    let status = match is_allocation_failure(info) {
        true => ExitStatus::HeapExhausted,
        false => ExitStatus::Panic,
    };
    let _ = writeln!(Emergency, "\nPANIC: {info}");
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
