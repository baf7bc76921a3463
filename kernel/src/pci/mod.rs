//! The PCI bus: the functions that are plugged in, and where their memory is.
//!
//! When a kernel is booted directly, nobody has set up the bus. [`Buses`] assigns a number to every bus behind a bridge and an
//! address to every memory BAR, and returns the [`Function`]s that it found. Configuration space is accessed through
//! `virtio_drivers`' [`ConfigurationAccess`], which the tests implement for a simulated machine.

mod enumeration;
pub mod msix;
mod placed;
mod window;

pub use enumeration::{Buses, Shared};
pub use placed::placed_windows;
pub use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction as Address};

use crate::machine::FIRST_LPI;
use alloc::vec::Vec;

/// The most capabilities that a function can have: each takes at least four bytes of configuration space after the header. A
/// longer chain is a loop.
pub const MAX_CAPABILITIES: usize = 48;

/// A function of a PCI device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Bus, device and function number.
    pub address: Address,
    /// Its manufacturer.
    pub vendor_id: u16,
    /// Its type, numbered by the manufacturer.
    pub device_id: u16,
    /// Base class: 1 is mass storage, 2 network, 3 display, 6 bridge.
    pub class: u8,
    /// Subclass within the base class.
    pub subclass: u8,
    /// Programming interface within the subclass.
    pub interface: u8,
    /// The regions that the function has.
    pub bars: Vec<Bar>,
    /// How it signals to its driver; `None` if it has no driver.
    pub notice: Option<Notice>,
}

/// How a function signals to its driver that something has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It does not: the driver polls.
    Polled,
    /// By one of its pins, which is wired to this interrupt.
    Pin(u32),
    /// By a message, which raises this interrupt.
    Message(u32),
}

impl Notice {
    /// The number of the interrupt.
    pub fn interrupt(self) -> Option<u32> {
        match self {
            Self::Polled => None,
            Self::Pin(number) | Self::Message(number) => Some(number),
        }
    }
}

impl core::fmt::Display for Notice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (name, number) = match *self {
            Self::Polled => return f.write_str("polled"),
            Self::Pin(number) => ("interrupt", number),
            Self::Message(number) if number >= FIRST_LPI => ("LPI", number),
            Self::Message(number) => ("MSI", number),
        };
        write!(f, "{name} {number}")
    }
}

/// A region of a function, as its base address register describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Index of the register, from 0; a 64-bit BAR takes two.
    pub index: u8,
    /// Address at which the CPU reaches the region; 0 if it has none.
    pub address: u64,
    /// Size of the region.
    pub size_bytes: u64,
    /// Where the region may lie.
    pub kind: BarKind,
}

impl Function {
    /// Whether its memory responds, because all its regions have addresses.
    pub fn has_memory(&self) -> bool {
        !self.bars.iter().any(Bar::has_no_place)
    }
}

impl Bar {
    /// True for a memory region that fits into no window; the memory of its function is then disabled.
    pub fn has_no_place(&self) -> bool {
        self.kind != BarKind::Io && self.address == 0
    }
}

/// The address space of a BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere.
    Memory64,
    /// I/O ports. They get no address, because nothing here uses them.
    Io,
}

impl core::fmt::Display for BarKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Memory32 => "mem32",
            Self::Memory64 => "mem64",
            Self::Io => "io",
        })
    }
}
