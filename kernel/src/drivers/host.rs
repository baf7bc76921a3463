//! The host that runs this machine: how to report the exit status to it, and how to write to its standard error.
//!
//! Under QEMU's emulation, Arm semihosting provides exit statuses and files. Under a hypervisor there is no semihosting; instead,
//! a pvpanic device turns a failure of any kind into an exit status of QEMU.

use crate::{boot_args::Host, drivers::power, pci};
use core::sync::atomic::{AtomicUsize, Ordering};
use semihosting::io::Write;
use spin::{Mutex, Once};

/// How the kernel ends. The discriminants are the exit statuses under semihosting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Success.
    Success = 0,
    /// The command failed.
    CommandFailed = 1,
    /// The kernel panicked: a broken invariant of its own.
    Panic = 101,
    /// The CPU took an exception that nothing handles.
    Fault = 102,
    /// The small heap was exhausted in code that cannot do without memory.
    HeapExhausted = 103,
    /// The kernel cannot boot on this machine, or with the way it was loaded.
    CannotBoot = 104,
}

static HOST: Once<Host> = Once::new();

/// Address of the pvpanic device's event register; 0 until [`find_pvpanic`].
static PVPANIC_EVENT: AtomicUsize = AtomicUsize::new(0);

static STANDARD_ERROR: Mutex<Option<semihosting::io::Stderr>> = Mutex::new(None);

/// Sets how to reach the host. With [`Host::Semihosting`] the kernel must run under a debugger or emulator that handles
/// semihosting calls; otherwise these calls fault.
pub fn init(host: Host) {
    HOST.call_once(|| host);
}

/// Opens the host's standard error for [`write_standard_error`]. Returns false if there is none.
pub fn open_standard_error() -> bool {
    if HOST.get() == Some(&Host::Semihosting) {
        *STANDARD_ERROR.lock() = semihosting::io::stderr().ok();
    }
    has_standard_error()
}

/// Whether the host's standard error is open.
pub fn has_standard_error() -> bool {
    // If the lock is held, a write to standard error holds it, so it is open.
    match STANDARD_ERROR.try_lock() {
        Some(standard_error) => standard_error.is_some(),
        None => true,
    }
}

/// Looks for the pvpanic device among the PCI functions. Its memory must be mapped.
pub fn find_pvpanic(functions: &[pci::Function]) {
    const PVPANIC: (u16, u16) = (0x1b36, 0x0011);
    let device = functions.iter().find(|function| (function.vendor_id, function.device_id) == PVPANIC);
    if let Some(bar) = device.and_then(|function| function.bars.first()) {
        PVPANIC_EVENT.store(bar.address as usize, Ordering::Relaxed);
    }
}

/// Writes to the host's standard error. Does nothing without semihosting, or if a write that was interrupted holds the lock.
pub fn write_standard_error(bytes: &[u8]) {
    if let Some(mut standard_error) = STANDARD_ERROR.try_lock()
        && let Some(standard_error) = standard_error.as_mut()
    {
        let _ = standard_error.write_all(bytes);
    }
}

/// Ends the machine and reports `status` to the host as far as possible.
pub fn exit(status: ExitStatus) -> ! {
    match HOST.get() {
        Some(Host::Semihosting) => semihosting::process::exit(i32::from(status as u8)),
        Some(Host::Pvpanic) if status != ExitStatus::Success => report_panic(),
        _ => {}
    }
    power::off()
}

fn report_panic() {
    const PANICKED: u8 = 1;
    let address = PVPANIC_EVENT.load(Ordering::Relaxed);
    let event = core::ptr::with_exposed_provenance_mut::<u8>(address);
    if !event.is_null() {
        // SAFETY: the address is that of the device's mapped BAR, whose only register is this byte.
        unsafe { event.write_volatile(PANICKED) };
    }
}
