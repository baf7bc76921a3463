//! Interrupts of a device by a [`Line`].
//!
//! The handler only clears the interrupt, so that the device can raise the next one. Code that waits notices that there was
//! [any](crate::drivers::interrupts::count) interrupt.

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

/// The interrupt line of a device.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    interrupt: Interrupt,
    handler: fn(usize),
    /// The address that is passed to the handler.
    address: usize,
}

impl Line {
    /// The line of the device behind an MMIO transport whose registers begin at `address`.
    pub fn of_mmio(interrupt: Interrupt, address: u64) -> Self {
        Self { interrupt, handler: acknowledge_mmio, address: address as usize }
    }

    /// The line of a PCI function whose memory is mapped and whose pin is wired to `interrupt`.
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

    /// Enables the interrupt and its handler.
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
    // SAFETY: these are registers of a transport; whoever created the bus promised that they are mapped for ever, and the
    // device's driver does not access these two.
    unsafe { acknowledge.write_volatile(status.read_volatile()) };
}

fn acknowledge_pci(address: usize) {
    // SAFETY: this register is in a BAR, and all BARs are mapped for ever. Reading it clears the interrupt, and the function's
    // driver does not access it.
    let _ = unsafe { core::ptr::with_exposed_provenance::<u8>(address).read_volatile() };
}
