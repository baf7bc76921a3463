//! The PCI bus as the drivers see it: the transports of functions, and how they interrupt.

use crate::{
    drivers::{
        messages,
        pcie::Ecam,
        virtio::{Line, PciError, PciTransport},
    },
    machine::PcieHost,
    pci::{self, ConfigurationAccess, msix::Msix},
};
use alloc::vec::Vec;
use virtio_drivers::transport::DeviceType;

/// The functions below a host bridge, with access to their configuration space.
pub struct PciBus {
    host: PcieHost,
    /// Their configuration space.
    pub ecam: Ecam,
    /// The functions that there are.
    pub buses: pci::Buses,
    /// Functions that the user wants to unplug.
    pub leaving: Vec<pci::Address>,
}

impl PciBus {
    /// Finds the functions and assigns them their memory; `None` if configuration space has no address.
    ///
    /// # Safety
    /// Configuration space must be mapped for ever and used by nothing else.
    pub unsafe fn new(host: &PcieHost) -> Option<Self> {
        // SAFETY: the caller promises mapped registers that nothing else uses.
        let mut ecam = unsafe { Ecam::new(host) }?;
        let mut buses = pci::Buses::new(host);
        buses.scan(&mut ecam);
        Some(Self { host: host.clone(), ecam, buses, leaving: Vec::new() })
    }

    /// The registers of a virtio device of this type, or why they cannot be used.
    pub fn transport(
        &mut self,
        function: &pci::Function,
        kind: DeviceType,
    ) -> Result<PciTransport, PciError> {
        PciTransport::new(&mut self.ecam, function, kind)
    }

    /// Makes a function interrupt by messages, and returns the number of the interrupt. `None` if it cannot; it then uses its pin.
    pub fn enable_messages(&mut self, function: &pci::Function) -> Option<u32> {
        let msix = Msix::find(&mut self.ecam, function)?;
        let requester = self.buses.requester(&mut self.ecam, function.address);
        let Some(message) = requester.and_then(messages::message) else {
            // Firmware may have enabled them.
            msix.disable(&mut self.ecam);
            return None;
        };
        let table = core::ptr::with_exposed_provenance_mut::<u32>(msix.table_address as usize);
        msix.enable(&mut self.ecam, &message, &mut |offset, word| {
            // SAFETY: the word belongs to the table, which lies in one of the function's BARs; all BARs are mapped for ever.
            unsafe { table.byte_add(offset).write_volatile(word) };
        });
        Some(message.interrupt)
    }

    /// Stops a function from interrupting by messages.
    pub fn disable_messages(&mut self, function: &pci::Function) {
        if let Some(msix) = Msix::find(&mut self.ecam, function) {
            msix.disable(&mut self.ecam);
        }
    }

    /// The interrupt of a function's pin.
    pub fn line(&mut self, function: &pci::Function) -> Option<Line> {
        /// The register with the pin in bits 15:8 (PCI Local Bus 3.0, 6.2.4).
        const INTERRUPT: u8 = 0x3c;
        let pin = (self.ecam.read_word(function.address, INTERRUPT) >> 8) as u8;
        let (device, pin) = self.buses.root_pin(function.address, pin)?;
        let interrupt = self.host.interrupt(device, pin)?;
        Line::of_pci(&mut self.ecam, function, interrupt)
    }
}
