//! The registers of an NVMe controller (NVM Express Base 2.0, 3.1.3).

/// Capabilities, in two words.
pub const CAP: usize = 0x00;
/// Interrupts to be masked.
pub const INTMS: usize = 0x0c;
/// Configuration.
pub const CC: usize = 0x14;
/// Status.
pub const CSTS: usize = 0x1c;
/// Lengths of the admin queues.
pub const AQA: usize = 0x24;
/// Where admin commands are, in two words.
pub const ASQ: usize = 0x28;
/// Where their completions are, in two words.
pub const ACQ: usize = 0x30;

/// In [`CC`]: the controller is enabled.
pub const ENABLE: u32 = 1 << 0;
/// In [`CC`]: commands have 2⁶ bytes, completions 2⁴.
pub const ENTRY_SIZES: u32 = 6 << 16 | 4 << 20;
/// In [`CC`]: whether the controller is to shut down.
pub const SHUTDOWN: u32 = 0b11 << 14;
/// In [`SHUTDOWN`]: it is to, as before power is cut.
pub const SHUTDOWN_NORMAL: u32 = 0b01 << 14;
/// In [`CSTS`]: it has shut down.
pub const SHUTDOWN_DONE: u32 = 0b10 << 2;
/// In [`CSTS`]: the controller takes commands.
pub const READY: u32 = 1 << 0;
/// In [`CSTS`]: it takes none until it is reset.
pub const FATAL: u32 = 1 << 1;

/// What all registers of a function read as that is not there.
pub const NOT_THERE: u32 = u32::MAX;

/// How registers are reached, all of which have 32 bits.
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

// SAFETY: the registers are the value's alone.
#[cfg(target_os = "none")]
unsafe impl Send for Mmio {}

#[cfg(target_os = "none")]
impl Mmio {
    /// The registers of `size_bytes` at this address; `None` if it is null.
    ///
    /// # Safety
    /// They must be mapped as device memory for ever and used by nothing else.
    pub unsafe fn new(address: u64, size_bytes: u64) -> Option<Self> {
        let start = core::ptr::with_exposed_provenance_mut(address as usize);
        Some(Self { start: core::ptr::NonNull::new(start)?, size_bytes: size_bytes as usize })
    }

    fn register(&self, offset: usize) -> Option<core::ptr::NonNull<u32>> {
        // SAFETY: within the registers.
        (offset + size_of::<u32>() <= self.size_bytes).then(|| unsafe { self.start.byte_add(offset) })
    }
}

#[cfg(target_os = "none")]
impl Registers for Mmio {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: whoever made this promised registers.
        self.register(offset).map_or(NOT_THERE, |register| unsafe { register.read_volatile() })
    }

    fn write(&mut self, offset: usize, value: u32) {
        if let Some(register) = self.register(offset) {
            // SAFETY: as above.
            unsafe { register.write_volatile(value) };
        }
    }
}
