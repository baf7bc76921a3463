//! How the kernel ends when it has broken one of its own invariants, has faulted, or cannot boot.

use crate::{
    arch::exceptions::Fault,
    drivers::{
        emergency_console::{Emergency, OnCore, begin_end},
        host::{ExitStatus, exit},
    },
};
use core::{
    fmt::{self, Write},
    panic::PanicInfo,
};

/// Reports in one line why this machine cannot be booted, and ends it.
pub fn cannot_boot(reason: impl fmt::Display) -> ! {
    begin_end(ExitStatus::CannotBoot);
    let _ = writeln!(Emergency, "\nFerrite cannot boot: {reason}");
    exit(ExitStatus::CannotBoot)
}

/// Reports an exception that cannot be handled, and ends the machine.
pub fn fault(fault: &Fault<'_>) -> ! {
    begin_end(ExitStatus::Fault);
    let _ = writeln!(Emergency, "\nFAULT{OnCore}: {fault}");
    exit(ExitStatus::Fault)
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

/// Whether the panic was raised by `alloc` because the heap refused a request. There is no better way to find out: the hook for
/// allocation errors is not stable.
fn is_allocation_failure(info: &PanicInfo<'_>) -> bool {
    const PREFIX: &str = "memory allocation of ";

    /// Compares what is written with a prefix, and fails at the first byte that differs.
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
