//! Which block devices there are, behind MMIO transports and on the PCI bus.

use super::{block::VirtioDisk, hal::IdentityHal, requests::Surroundings};
use crate::{
    drivers::pcie::Ecam,
    machine::{Platform, Registers},
    pci::{self, Shared},
    storage::{DiskBus, Found, PATIENCE_US, Undriven, Vanished, virtio_type_of_pci},
};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{cell::RefCell, mem::ManuallyDrop, ptr::NonNull};
use virtio_drivers::transport::{
    DeviceType, DeviceTypeError, SomeTransport, Transport,
    mmio::{MmioError, MmioTransport, VirtIOHeader},
    pci::{PciTransport, VirtioPciError, bus::PciRoot},
};

/// The number of block devices among virtio's device types (VIRTIO 1.2, 5).
const BLOCK: u32 = DeviceType::Block as u32;

/// The places where block devices are plugged in.
pub struct Bus {
    mmio: Vec<Registers>,
    pci: Option<PciBus>,
    /// What is not driven and can be neither plugged in nor out.
    built_in: Vec<Undriven>,
    surroundings: Surroundings,
    /// Until when the disks of a search are waited for, together, for their serial numbers.
    serials_until_us: u64,
}

struct PciBus {
    ecam: Ecam,
    buses: pci::Buses,
    /// Functions that somebody wants to take out.
    leaving: Vec<pci::Address>,
}

impl Bus {
    /// The virtio-mmio transports of this machine, and the functions below its host bridge, which are given their memory.
    ///
    /// # Safety
    /// The registers must be mapped for ever and used by nothing else.
    pub unsafe fn new(platform: &Platform, surroundings: Surroundings) -> Self {
        let pci = platform.pcie.as_ref().and_then(|host| {
            // SAFETY: the caller promises mapped registers that nothing else uses.
            let mut ecam = unsafe { Ecam::new(host) }?;
            let mut buses = pci::Buses::new(host);
            buses.scan(&mut ecam);
            Some(PciBus { ecam, buses, leaving: Vec::new() })
        });
        let (mmio, built_in) = (platform.virtio_mmio.clone(), platform.undriven.clone());
        Self { mmio, pci, built_in, surroundings, serials_until_us: 0 }
    }

    fn add_mmio(&self, registers: &Registers, found: &mut Found) {
        let name = mmio_name(registers);
        match mmio_transport(registers) {
            Ok(transport) if transport.device_type() == DeviceType::Block => {
                self.add_disk(ManuallyDrop::into_inner(transport).into(), name, found);
            }
            Ok(transport) => found.undriven.extend(Undriven::of_virtio(transport.device_type() as u32, name)),
            // Type 0 is a transport with nothing plugged in.
            Err(MmioError::InvalidDeviceID(DeviceTypeError::InvalidDeviceType(device_type))) => {
                found.undriven.extend(Undriven::of_virtio(device_type, name));
            }
            Err(_) => {}
        }
    }

    fn add_disk(&self, transport: SomeTransport<'static>, name: String, found: &mut Found) {
        /// A disk that comes after silent ones has that long all the same.
        const LEAST_US: u64 = 300_000;
        let left_us = self.serials_until_us.saturating_sub((self.surroundings.clock_us)());
        match VirtioDisk::new(transport, name.clone(), self.surroundings, left_us.max(LEAST_US)) {
            Ok(disk) => found.devices.push(Box::new(disk)),
            Err(error) => found.undriven.push(Undriven::block_device(name, format!("{error}"))),
        }
    }
}

impl PciBus {
    /// The transport of a block device, or why it has none.
    fn transport(&mut self, function: &pci::Function) -> Result<PciTransport, Undriven> {
        let configuration = RefCell::new(&mut self.ecam);
        let mut root = PciRoot::new(Shared::new(&configuration));
        PciTransport::new::<IdentityHal, _>(&mut root, function.address).map_err(|error| match error {
            VirtioPciError::MissingCommonConfig => Undriven::legacy_block_device(pci_place(function)),
            error => Undriven::block_device(pci_place(function), format!("{error}")),
        })
    }
}

impl DiskBus for Bus {
    fn functions(&self) -> &[pci::Function] {
        self.pci.as_ref().map_or(&[], |pci| pci.buses.functions())
    }

    fn vanished(&mut self, known: &[&str]) -> Vec<Vanished> {
        let mut vanished = Vec::new();
        for registers in &self.mmio {
            let name = mmio_name(registers);
            let is_disk =
                |transport: ManuallyDrop<MmioTransport<'_>>| transport.device_type() == DeviceType::Block;
            if known.contains(&&*name) && !mmio_transport(registers).is_ok_and(is_disk) {
                vanished.push(Vanished { transport: name, is_reachable: false });
            }
        }
        if let Some(pci) = &mut self.pci {
            for address in pci.buses.take_vanished(&mut pci.ecam) {
                vanished.push(Vanished { transport: pci_name(address), is_reachable: false });
            }
            pci.leaving = pci.buses.wanted_out(&mut pci.ecam);
            for &address in &pci.leaving {
                vanished.push(Vanished { transport: pci_name(address), is_reachable: true });
            }
        }
        vanished
    }

    fn find(&mut self, known: &[&str]) -> Found {
        let mut found = Found { undriven: self.built_in.clone(), ..Found::default() };
        if let Some(pci) = &mut self.pci {
            for address in core::mem::take(&mut pci.leaving) {
                pci.buses.release(&mut pci.ecam, address);
            }
            pci.buses.scan(&mut pci.ecam);
        }
        self.serials_until_us = (self.surroundings.clock_us)() + PATIENCE_US;
        for registers in self.mmio.iter().filter(|registers| !known.contains(&&*mmio_name(registers))) {
            self.add_mmio(registers, &mut found);
        }
        for function in self.functions().to_vec() {
            let name = pci_name(function.address);
            if known.contains(&&*name) {
                continue;
            }
            match virtio_type_of_pci(function.vendor_id, function.device_id) {
                Some(BLOCK) => {
                    let transport = self.pci.as_mut().map(|pci| pci.transport(&function));
                    match transport {
                        Some(Ok(transport)) => self.add_disk(transport.into(), name, &mut found),
                        Some(Err(undriven)) => found.undriven.push(undriven),
                        None => {}
                    }
                }
                Some(device_type) => {
                    found.undriven.extend(Undriven::of_virtio(device_type, pci_place(&function)));
                }
                None => {
                    let pci::Function { class, subclass, interface, .. } = function;
                    let place = pci_place(&function);
                    found.undriven.extend(Undriven::of_pci_class(class, subclass, interface, place));
                }
            }
        }
        found
    }
}

fn mmio_name(registers: &Registers) -> String {
    format!("virtio-mmio {:#x}", registers.address)
}

fn pci_name(address: pci::Address) -> String {
    format!("virtio-pci {address}")
}

fn pci_place(function: &pci::Function) -> String {
    format!("PCI {}", function.address)
}

/// A transport that does not reset its device when it is dropped.
fn mmio_transport(registers: &Registers) -> Result<ManuallyDrop<MmioTransport<'static>>, MmioError> {
    let header = core::ptr::with_exposed_provenance_mut(registers.address as usize);
    let header = NonNull::<VirtIOHeader>::new(header).ok_or(MmioError::MmioRegionTooSmall)?;
    // SAFETY: whoever made the bus promised registers that are mapped for ever and used by nothing else.
    unsafe { MmioTransport::new(header, registers.size_bytes as usize) }.map(ManuallyDrop::new)
}
