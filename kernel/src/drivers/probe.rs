//! Finds the devices on MMIO transports and on the PCI bus: disks here, the others in `devices`.

mod devices;
mod pci_bus;

use self::pci_bus::PciBus;
use super::{
    nvme::{self, Nvme},
    requests::{
        Channel, ChannelDisk, Requests, Surroundings,
        controller::{Controller, FoundUnit, Shared as SharedController, UnitChannel},
    },
    turns::Turns,
    virtio::{AnyTransport, COMMON, PciError, Vectors, block, scsi::VirtioScsi},
};
use crate::{
    machine::{Platform, Registers, VirtioMmio},
    pci::{self, Notice},
    storage::{DiskBus, Found, PATIENCE_US, Undriven, Vanished, virtio_type_of_pci},
};
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::{mem::ManuallyDrop, ptr::NonNull};
use spin::Mutex;
use virtio_drivers::transport::{
    DeviceType, DeviceTypeError, Transport,
    mmio::{MmioError, MmioTransport, VirtIOHeader},
};

/// The virtio device type of block devices (VIRTIO 1.2, 5).
const BLOCK: u32 = DeviceType::Block as u32;

/// The virtio device type of SCSI host adapters.
const SCSI: u32 = DeviceType::ScsiHost as u32;

/// After this long, a search starts no further device.
const ALL_US: u64 = 30_000_000;

/// How long a controller may take to start while others wait for their turn; its own limit can be two minutes.
const FIRST_US: u64 = 10_000_000;

const BLOCK_DEVICE: &str = "a virtio-blk device";
const ADAPTER: &str = "a virtio-scsi controller";

/// The places where devices can be plugged in.
pub struct Bus {
    mmio: Vec<VirtioMmio>,
    pci: Option<PciBus>,
    /// Unsupported devices that cannot be plugged in or out.
    built_in: Vec<Undriven>,
    /// The controllers that have been started.
    controllers: Vec<Attached>,
    surroundings: Surroundings,
    /// Deadline for the serial numbers of all disks of a search together.
    serials_until_us: u64,
    turns: Turns,
}

/// A place where a device can be.
enum Place {
    Mmio(Registers),
    Pci(pci::Function),
}

/// A controller of several disks.
struct Attached {
    /// Its place, with which the names of its disks begin.
    name: String,
    shared: Arc<Mutex<SharedController>>,
}

impl Bus {
    /// The virtio-mmio transports of this machine, and the functions below its host bridge, which are assigned their memory.
    ///
    /// # Safety
    /// The registers must be mapped for ever and used by nothing else.
    pub unsafe fn new(platform: &Platform, surroundings: Surroundings) -> Self {
        // SAFETY: the caller promises mapped registers that nothing else uses.
        let pci = platform.pcie.as_ref().and_then(|host| unsafe { PciBus::new(host) });
        let (mmio, built_in) = (platform.virtio_mmio.clone(), platform.undriven.clone());
        let (controllers, turns) = (Vec::new(), Turns::default());
        Self { mmio, pci, built_in, controllers, surroundings, serials_until_us: 0, turns }
    }

    /// Makes a virtio device interrupt by messages, and returns the value that sets this up in its queues. `None` if it cannot;
    /// it is then polled.
    fn enable_vectors(&mut self, function: &pci::Function) -> Option<Vectors> {
        let interrupt = self.enable_messages(function)?;
        let pci = self.pci.as_mut()?;
        let vectors = Vectors::of_pci(&mut pci.ecam, function, interrupt);
        if vectors.is_none() {
            pci.disable_messages(function);
            pci.buses.set_notice(function.address, Notice::Polled);
        }
        vectors
    }

    /// Makes a function interrupt by messages, and returns the number of the interrupt. `None` if it cannot; it is then polled.
    fn enable_messages(&mut self, function: &pci::Function) -> Option<u32> {
        let pci = self.pci.as_mut()?;
        let interrupt = pci.enable_messages(function);
        pci.buses.set_notice(function.address, interrupt.map_or(Notice::Polled, Notice::Message));
        interrupt
    }

    fn add_mmio(&mut self, registers: &Registers, known: &[&str], found: &mut Found) {
        let name = mmio_name(registers);
        match mmio_transport(registers) {
            Ok(transport) if transport.device_type() == DeviceType::ScsiHost => match self.attached(&name) {
                Some(shared) => self.add_units(ADAPTER, name, &shared, known, found),
                None => {
                    let started =
                        start_scsi(ManuallyDrop::into_inner(transport).into(), None, self.surroundings);
                    self.add_controller(ADAPTER, name, started, found);
                }
            },
            Ok(transport) if transport.device_type() == DeviceType::Block => {
                self.add_disk(ManuallyDrop::into_inner(transport).into(), None, name, found);
            }
            Ok(transport) => found.undriven.extend(Undriven::of_virtio(transport.device_type() as u32, name)),
            // Type 0 is a transport with nothing plugged in.
            Err(MmioError::InvalidDeviceID(DeviceTypeError::InvalidDeviceType(device_type))) => {
                found.undriven.extend(Undriven::of_virtio(device_type, name));
            }
            Err(_) => {}
        }
    }

    fn add_function(&mut self, function: &pci::Function, known: &[&str], found: &mut Found) {
        let name = pci_name(function.address);
        match virtio_type_of_pci(function.vendor_id, function.device_id) {
            Some(kind @ (BLOCK | SCSI)) => {
                if let Some(shared) = self.attached(&name) {
                    self.add_units(ADAPTER, name, &shared, known, found);
                    return;
                }
                let place = pci_place(function);
                let (device_type, what, legacy) = match kind {
                    BLOCK => (DeviceType::Block, BLOCK_DEVICE, "a legacy virtio-blk device"),
                    _ => (DeviceType::ScsiHost, ADAPTER, "a legacy virtio-scsi controller"),
                };
                let transport = self.pci.as_mut().map(|pci| pci.transport(function, device_type));
                match transport {
                    Some(Ok(transport)) if kind == BLOCK => {
                        let vectors = self.enable_vectors(function);
                        self.add_disk(transport.into(), vectors, name, found);
                    }
                    Some(Ok(transport)) => {
                        let vectors = self.enable_vectors(function);
                        let started = start_scsi(transport.into(), vectors, self.surroundings);
                        self.add_controller(what, name, started, found);
                    }
                    Some(Err(PciError::Absent(COMMON))) => {
                        found.undriven.push(Undriven::legacy(legacy, place));
                    }
                    Some(Err(error)) => {
                        found.undriven.push(Undriven::device(what, place, format!("{error}")));
                    }
                    None => {}
                }
            }
            Some(device_type) => {
                found.undriven.extend(Undriven::of_virtio(device_type, pci_place(function)));
            }
            None if (function.class, function.subclass, function.interface) == nvme::CLASS => {
                const WHAT: &str = "an NVMe controller";
                let name = nvme_name(function.address);
                match self.attached(&name) {
                    Some(shared) => self.add_units(WHAT, name, &shared, known, found),
                    None => {
                        let has_messages = function.has_memory() && self.enable_messages(function).is_some();
                        // A controller that was slow last time comes last, and has as much time as it needs.
                        let patience_us =
                            if self.turns.is_slow(&pci_name(function.address)) { u64::MAX } else { FIRST_US };
                        let started = start_nvme(function, has_messages, self.surroundings, patience_us);
                        self.add_controller(WHAT, name, started, found);
                    }
                }
            }
            None => {
                let &pci::Function { class, subclass, interface, .. } = function;
                let place = pci_place(function);
                found.undriven.extend(Undriven::of_pci_class(class, subclass, interface, place));
            }
        }
    }

    fn add_disk(&self, transport: AnyTransport, vectors: Option<Vectors>, name: String, found: &mut Found) {
        /// The least time for a disk, even if silent disks before it have used up the rest.
        const LEAST_US: u64 = 300_000;
        let left_us = self.serials_until_us.saturating_sub((self.surroundings.clock_us)());
        match block::disk(transport, vectors, name.clone(), self.surroundings, left_us.max(LEAST_US)) {
            Ok(disk) => found.devices.push(Box::new(disk)),
            Err(error) => found.undriven.push(Undriven::device(BLOCK_DEVICE, name, format!("{error}"))),
        }
    }

    /// The controller at this place, if it has been started.
    fn attached(&self, name: &str) -> Option<Arc<Mutex<SharedController>>> {
        let attached = self.controllers.iter().find(|attached| attached.name == name);
        attached.map(|attached| attached.shared.clone())
    }

    /// If a controller was started successfully, adds the disks behind it.
    fn add_controller(
        &mut self,
        what: &'static str,
        name: String,
        started: Result<Box<dyn Controller>, String>,
        found: &mut Found,
    ) {
        match started.map(SharedController::new) {
            Ok(shared) => {
                self.controllers.push(Attached { name: name.clone(), shared: shared.clone() });
                self.add_units(what, name, &shared, &[], found);
            }
            Err(reason) => found.undriven.push(Undriven::device(what, name, reason)),
        }
    }

    /// Adds the disks behind a controller, except those in `known`.
    fn add_units(
        &self,
        what: &'static str,
        name: String,
        shared: &Arc<Mutex<SharedController>>,
        known: &[&str],
        found: &mut Found,
    ) {
        let units = shared.lock().units();
        let max_units = shared.lock().max_units();
        let mut refuse = |what, place, reason| found.undriven.push(Undriven::device(what, place, reason));
        if let Some(reason) = units.unfinished {
            refuse(what, name.clone(), reason.into());
        }
        for (unit, what, reason) in units.refused {
            refuse(what, format!("{name} {unit}"), reason);
        }
        let mut n_units = known.iter().filter(|known| is_at(known, &name)).count();
        for FoundUnit { unit, name: unit_name, serial } in units.disks {
            let place = format!("{name} {unit_name}");
            if known.contains(&&*place) {
                continue;
            }
            n_units += 1;
            if n_units > max_units {
                refuse("a disk", place, format!("there can be {max_units} disks behind its controller"));
                continue;
            }
            let channel: Box<dyn Channel + Send> = Box::new(UnitChannel::new(shared, unit));
            match Requests::new(channel, self.surroundings) {
                Some(requests) => found.devices.push(Box::new(ChannelDisk::new(requests, serial, place))),
                None => refuse("a disk", place, "the heap has no room for its buffer".into()),
            }
        }
    }

    /// Reports which controllers, and which of their disks in `known`, have vanished.
    fn check_controllers(&mut self, known: &[&str], vanished: &mut Vec<Vanished>) {
        self.controllers.retain(|Attached { name, shared }| {
            let mut shared = shared.lock();
            let is_known = |place: &&&str| is_at(place, name);
            let mut gone = |place: &str| {
                vanished.push(Vanished { transport: place.into(), is_reachable: true });
            };
            if !shared.is_running() {
                // If the controller is restarted, all its disks are found again.
                shared.leave();
                known.iter().filter(is_known).for_each(|place| gone(place));
                return false;
            }
            let units = shared.units();
            for place in known.iter().filter(is_known) {
                let unit_name = place[name.len()..].trim_start();
                let has_name = |found: &&FoundUnit| found.name == unit_name;
                let found = units.disks.iter().find(has_name);
                if !units.may_have(unit_name) || found.is_some_and(|found| shared.is_stale(&found.unit)) {
                    gone(place);
                }
            }
            true
        });
    }

    /// Gives up the controllers at a place that is vacant, or is to become so.
    fn leave_controllers(&mut self, place: &str, is_reachable: bool) {
        self.controllers.retain(|Attached { name, shared }| {
            if name != place {
                return true;
            }
            match is_reachable {
                true => shared.lock().leave(),
                false => shared.lock().unplugged(),
            }
            false
        });
    }
}

impl Place {
    fn name(&self) -> String {
        match self {
            Self::Mmio(registers) => mmio_name(registers),
            Self::Pci(function) => pci_name(function.address),
        }
    }
}

impl DiskBus for Bus {
    fn functions(&self) -> &[pci::Function] {
        self.pci.as_ref().map_or(&[], |pci| pci.buses.functions())
    }

    fn vanished(&mut self, known: &[&str]) -> Vec<Vanished> {
        let mut vanished = Vec::new();
        for VirtioMmio { registers, .. } in &self.mmio {
            let name = mmio_name(registers);
            let is_disk =
                |transport: ManuallyDrop<MmioTransport<'_>>| transport.device_type() == DeviceType::Block;
            if known.contains(&&*name) && !mmio_transport(registers).is_ok_and(is_disk) {
                vanished.push(Vanished { transport: name, is_reachable: false });
            }
        }
        let mut vacant = Vec::new();
        if let Some(pci) = &mut self.pci {
            vacant.extend(pci.buses.take_vanished(&mut pci.ecam).into_iter().map(|address| (address, false)));
            pci.leaving = pci.buses.wanted_out(&mut pci.ecam);
            vacant.extend(pci.leaving.iter().map(|&address| (address, true)));
        }
        for (address, is_reachable) in vacant {
            for name in [pci_name(address), nvme_name(address)] {
                self.leave_controllers(&name, is_reachable);
                let gone = known.iter().filter(|place| is_at(place, &name));
                vanished.extend(gone.map(|&place| Vanished { transport: place.into(), is_reachable }));
            }
        }
        self.check_controllers(known, &mut vanished);
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
        let clock_us = self.surroundings.clock_us;
        let start_us = clock_us();
        self.serials_until_us = start_us + PATIENCE_US;
        let mmio = self.mmio.iter().map(|VirtioMmio { registers, .. }| Place::Mmio(*registers));
        let pci = self.functions().iter().map(|function| Place::Pci(function.clone()));
        let places: Vec<_> = mmio.chain(pci).collect();
        let names: Vec<_> = places.iter().map(Place::name).collect();
        for index in self.turns.order(&names) {
            let name = &names[index];
            if known.contains(&&**name) {
                continue;
            }
            let began_us = clock_us();
            if began_us - start_us > ALL_US {
                let reason = "others have taken 30 s; a rescan looks at it".into();
                found.undriven.push(Undriven::device("what may be a disk", name.clone(), reason));
                break;
            }
            match &places[index] {
                Place::Mmio(registers) => self.add_mmio(registers, known, &mut found),
                Place::Pci(function) => self.add_function(function, known, &mut found),
            }
            self.turns.visited(name, clock_us() - began_us);
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

fn nvme_name(address: pci::Address) -> String {
    format!("nvme {address}")
}

/// Whether a disk is at this place, or behind the controller there.
fn is_at(disk: &str, place: &str) -> bool {
    disk.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn start_scsi(
    transport: AnyTransport,
    vectors: Option<Vectors>,
    surroundings: Surroundings,
) -> Result<Box<dyn Controller>, String> {
    match VirtioScsi::new(transport, vectors, surroundings) {
        Ok(adapter) => Ok(Box::new(adapter)),
        Err(error) => Err(format!("{error}")),
    }
}

fn start_nvme(
    function: &pci::Function,
    has_messages: bool,
    surroundings: Surroundings,
    patience_us: u64,
) -> Result<Box<dyn Controller>, String> {
    let bar = function.bars.iter().find(|bar| bar.index == 0 && bar.address != 0);
    let bar = bar.filter(|_| function.has_memory());
    // SAFETY: all BARs are mapped for ever, and only this driver uses this one.
    let registers = bar.and_then(|bar| unsafe { nvme::registers::Mmio::new(bar.address, bar.size_bytes) });
    let registers = registers.ok_or("its registers have no address")?;
    match Nvme::new(registers, has_messages, surroundings, patience_us) {
        Ok(nvme) => Ok(Box::new(nvme)),
        Err(error) => Err(format!("{error}")),
    }
}

fn pci_place(function: &pci::Function) -> String {
    format!("PCI {}", function.address)
}

/// A transport that does not reset its device when it is dropped.
fn mmio_transport(registers: &Registers) -> Result<ManuallyDrop<MmioTransport<'static>>, MmioError> {
    let header = core::ptr::with_exposed_provenance_mut(registers.address as usize);
    let header = NonNull::<VirtIOHeader>::new(header).ok_or(MmioError::MmioRegionTooSmall)?;
    // SAFETY: whoever created the bus promised that the registers are mapped for ever and used by nothing else.
    unsafe { MmioTransport::new(header, registers.size_bytes as usize) }.map(ManuallyDrop::new)
}
