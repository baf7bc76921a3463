//! The registers of an NVMe controller (NVM Express Base 2.0, 3.1.3).

/// Capabilities, in two words.
pub const CAP: usize = 0x00;
/// Interrupt mask.
pub const INTMS: usize = 0x0c;
/// Configuration.
pub const CC: usize = 0x14;
/// Status.
pub const CSTS: usize = 0x1c;
/// Lengths of the admin queues.
pub const AQA: usize = 0x24;
/// Address of the queue of admin commands, in two words.
pub const ASQ: usize = 0x28;
/// Address of the queue of their completions, in two words.
pub const ACQ: usize = 0x30;

/// In [`CC`]: the controller is enabled.
pub const ENABLE: u32 = 1 << 0;
/// In [`CC`]: commands have 2⁶ bytes, completions 2⁴.
pub const ENTRY_SIZES: u32 = 6 << 16 | 4 << 20;
/// In [`CC`]: the field that requests a shutdown.
pub const SHUTDOWN: u32 = 0b11 << 14;
/// In [`SHUTDOWN`]: a normal shutdown, as before power is cut.
pub const SHUTDOWN_NORMAL: u32 = 0b01 << 14;
/// In [`CSTS`]: the shutdown is complete.
pub const SHUTDOWN_DONE: u32 = 0b10 << 2;
/// In [`CSTS`]: the controller accepts commands.
pub const READY: u32 = 1 << 0;
/// In [`CSTS`]: a fatal error; it accepts no commands until it is reset.
pub const FATAL: u32 = 1 << 1;

/// The value of every register if the function is not there.
pub const NOT_THERE: u32 = u32::MAX;

/// Access to the registers, all of which have 32 bits.
pub trait Registers: Send {
    /// Reads the register at this offset.
    fn read(&self, offset: usize) -> u32;

    /// Writes the register at this offset.
    fn write(&mut self, offset: usize, value: u32);
}

/// Registers in a BAR.
#[cfg(target_os = "none")]
pub struct Mmio {
    start: core::ptr::NonNull<u32>,
    size_bytes: usize,
}

// SAFETY: only this value accesses the registers.
#[cfg(target_os = "none")]
unsafe impl Send for Mmio {}

#[cfg(target_os = "none")]
impl Mmio {
    /// The registers of `size_bytes` at this address; `None` if it is null.
    ///
    /// # Safety
    /// They must be mapped as device memory for ever, and be used by nothing else.
    pub unsafe fn new(address: u64, size_bytes: u64) -> Option<Self> {
        let start = core::ptr::with_exposed_provenance_mut(address as usize);
        Some(Self { start: core::ptr::NonNull::new(start)?, size_bytes: size_bytes as usize })
    }

    fn register(&self, offset: usize) -> Option<core::ptr::NonNull<u32>> {
        // SAFETY: the register lies within the block, as the condition checks.
        (offset + size_of::<u32>() <= self.size_bytes).then(|| unsafe { self.start.byte_add(offset) })
    }
}

#[cfg(target_os = "none")]
impl Registers for Mmio {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: whoever called `new` promised that the registers are mapped.
        self.register(offset).map_or(NOT_THERE, |register| unsafe { register.read_volatile() })
    }

    fn write(&mut self, offset: usize, value: u32) {
        if let Some(register) = self.register(offset) {
            // SAFETY: whoever called `new` promised that the registers are mapped.
            unsafe { register.write_volatile(value) };
        }
    }
}
