//! Handling of the exceptions that the CPU takes.

use super::{cpu, probe, stacks::Overflow};
use core::{
    fmt,
    sync::atomic::{AtomicPtr, Ordering},
};

/// The functions that handle exceptions.
pub struct Handlers {
    /// Handles all pending interrupts.
    pub interrupt: fn(),
    /// Reports a fault and ends the machine.
    pub fault: fn(&Fault<'_>) -> !,
}

/// Null until [`set_handlers`] is called. There is no lock, since the caches may not be on yet.
static HANDLERS: AtomicPtr<Handlers> = AtomicPtr::new(core::ptr::null_mut());

/// Sets the handlers. Before this is called, a fault stops the core.
pub fn set_handlers(handlers: &'static Handlers) {
    HANDLERS.store(core::ptr::from_ref(handlers).cast_mut(), Ordering::Release);
}

fn handlers() -> Option<&'static Handlers> {
    // SAFETY: the pointer is either null or the reference that `set_handlers` was given, which is valid for ever and never written to.
    unsafe { HANDLERS.load(Ordering::Acquire).as_ref() }
}

/// The state that the vectors save; the order must match vectors.s.
#[repr(C)]
pub struct Frame {
    x: [u64; 31],
    stack_pointer: u64,
    /// Where the exception was taken.
    elr: u64,
    spsr: u64,
    /// The cause: exception class and syndrome (Arm ARM, D23.2.37).
    esr: u64,
    /// The address that faulted, for aborts.
    far: u64,
    fpsr: u64,
    fpcr: u64,
    q: [u128; 32],
}

/// Names of the vectors; their indices must match vectors.s.
const KINDS: [&str; 4] =
    ["synchronous exception", "fast interrupt", "system error", "exception within an exception handler"];

#[unsafe(no_mangle)]
extern "C" fn exception_interrupt(_frame: &mut Frame) {
    if let Some(handlers) = handlers() {
        (handlers.interrupt)();
    }
}

/// If the probe's instruction failed, returns to the probe.
#[unsafe(no_mangle)]
extern "C" fn exception_synchronous(frame: &mut Frame) {
    match probe::recovery(frame.elr) {
        Some(address) => frame.elr = address,
        None => exception_fatal(frame, 0),
    }
}

#[unsafe(no_mangle)]
extern "C" fn exception_fatal(frame: &Frame, kind: u64) -> ! {
    match handlers() {
        Some(handlers) => (handlers.fault)(&Fault { frame, kind }),
        None => cpu::stop(),
    }
}

/// An exception that cannot be handled: its kind, its cause in words, and the registers.
pub struct Fault<'a> {
    frame: &'a Frame,
    kind: u64,
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = KINDS.get(self.kind as usize).unwrap_or(&"exception");
        write!(f, "{kind}: {}\n{}", Cause(self.frame), self.frame)
    }
}

/// The cause of an exception, in words.
struct Cause<'a>(&'a Frame);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { esr, far, elr, .. } = *self.0;
        let class = esr >> 26 & 0x3f;
        let is_write = esr & 1 << 6 != 0;
        let access = match class {
            0x20 | 0x21 => "fetch from",
            0x24 | 0x25 if is_write => "write to",
            0x24 | 0x25 => "read from",
            0x00 => return write!(f, "unknown instruction at {elr:#x}"),
            0x07 => return write!(f, "floating point not enabled at {elr:#x}"),
            0x15 => return write!(f, "svc at {elr:#x}"),
            0x22 => return write!(f, "misaligned program counter {elr:#x}"),
            0x26 => return write!(f, "misaligned stack pointer at {elr:#x}"),
            0x3c => return write!(f, "breakpoint at {elr:#x}"),
            _ => return write!(f, "class {class:#04x} at {elr:#x}"),
        };
        let fault = match esr & 0x3c {
            0x00 => "address size fault",
            0x04 => "nothing is mapped there",
            0x08 => "access flag fault",
            0x0c => "not permitted",
            0x10 => "external abort",
            0x20 => "misaligned",
            _ => "fault",
        };
        write!(f, "{access} {far:#x} at {elr:#x}: {fault}")?;
        match Overflow::at(far) {
            Some(overflow) => write!(f, " ({overflow})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "esr {:#018x} far {:#018x} elr {:#018x} spsr {:#018x} sp {:#018x}",
            self.esr, self.far, self.elr, self.spsr, self.stack_pointer
        )?;
        for (row, registers) in self.x.chunks(4).enumerate() {
            for (column, value) in registers.iter().enumerate() {
                write!(f, "x{:<2} {value:#018x}  ", row * 4 + column)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
