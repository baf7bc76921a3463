//! How a device interrupts by a [`Line`].
//!
//! The handler only takes the interrupt back, so that the device can raise the next one. That there was one is known to whoever waits for
//! [any](crate::drivers::interrupts::count).

use super::pci::{ISR, Structure};
use crate::{
    drivers::interrupts::{self, InterruptError},
    machine::Interrupt,
    pci,
};
use core::cell::RefCell;
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, PciRoot};

/// Registers of an MMIO transport (VIRTIO 1.2, 4.2.2).
const INTERRUPT_STATUS: usize = 0x60;
const INTERRUPT_ACK: usize = 0x64;

/// How a device interrupts.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    interrupt: Interrupt,
    handler: fn(usize),
    /// The address that the handler is called with.
    address: usize,
}

impl Line {
    /// That of the device behind an MMIO transport whose registers begin at `address`.
    pub fn of_mmio(interrupt: Interrupt, address: u64) -> Self {
        Self { interrupt, handler: acknowledge_mmio, address: address as usize }
    }

    /// That of a PCI function which has its memory, and whose pin leads to `interrupt`.
    pub fn of_pci<C: ConfigurationAccess>(
        configuration: &mut C,
        function: &pci::Function,
        interrupt: Interrupt,
    ) -> Option<Self> {
        let address = Structure::find(configuration, function, ISR, 1).ok()?.address;
        let configuration = RefCell::new(configuration);
        let mut root = PciRoot::new(pci::Shared::new(&configuration));
        let (_, command) = root.get_status_command(function.address);
        root.set_command(function.address, command - Command::INTERRUPT_DISABLE);
        Some(Self { interrupt, handler: acknowledge_pci, address })
    }

    /// The number of the interrupt.
    pub fn interrupt(&self) -> u32 {
        self.interrupt.number
    }

    /// Takes the device's interrupts from now on.
    ///
    /// # Errors
    /// See [`interrupts::enable`].
    pub fn enable(&self) -> Result<(), InterruptError> {
        interrupts::enable(self.interrupt, self.handler, self.address)
    }
}

fn acknowledge_mmio(address: usize) {
    let status = core::ptr::with_exposed_provenance::<u32>(address + INTERRUPT_STATUS);
    let acknowledge = core::ptr::with_exposed_provenance_mut::<u32>(address + INTERRUPT_ACK);
    // SAFETY: registers of a transport, which whoever made the bus promised to be mapped for ever; the driver of what is plugged in
    // does not touch these two.
    unsafe { acknowledge.write_volatile(status.read_volatile()) };
}

fn acknowledge_pci(address: usize) {
    // SAFETY: a register in a BAR, all of which are mapped for ever; to read it takes the interrupt back, and the driver of the
    // function does not touch it.
    let _ = unsafe { core::ptr::with_exposed_provenance::<u8>(address).read_volatile() };
}
