//! The devices that are no disks: found once, each by its kind.

use super::{Bus, mmio_name, mmio_transport, pci_name, pci_place};
use crate::{
    drivers::virtio::{
        AnyTransport, Interrupts, Line, VirtioBalloon, VirtioNet, VirtioVsock,
        console::VirtioConsole,
        entropy::{SEED_BYTES, VirtioEntropy},
    },
    machine::VirtioMmio,
    net::{Link, VsockDevice},
    pci::{self, Notice},
    storage::virtio_type_of_pci,
};
use alloc::{boxed::Box, string::String, vec::Vec};
use core::mem::ManuallyDrop;
use log::{debug, warn};
use virtio_drivers::transport::{DeviceType, Transport};

/// What is plugged in somewhere.
struct Device {
    transport: AnyTransport,
    name: String,
    /// What it is behind, if it is behind a PCI function.
    function: Option<pci::Function>,
    /// That of what is behind none.
    line: Option<Line>,
}

impl Bus {
    /// The first entropy device that gives random bytes, and these; or else the first, which may give some when it is asked again.
    pub fn entropy(&mut self) -> Option<(VirtioEntropy, Option<[u8; SEED_BYTES]>)> {
        let surroundings = self.surroundings;
        let devices = self.devices(DeviceType::EntropySource).into_iter();
        // All are made, as dropping a transport resets the device, and may wait for ever.
        let devices = devices.map(|device| VirtioEntropy::new(device.transport, surroundings));
        let mut devices: Vec<_> = devices.collect();
        let found = devices.iter_mut().enumerate().find_map(|(place, device)| Some((place, device.seed()?)));
        let (place, seed) = found.map_or((0, None), |(place, seed)| (place, Some(seed)));
        (place < devices.len()).then(|| (devices.swap_remove(place), seed))
    }

    /// The first console device that can be started, and its interrupt, which wakes the core.
    pub fn console(&mut self) -> Option<(VirtioConsole, Option<u32>)> {
        let surroundings = self.surroundings;
        let mut found = None;
        for Device { transport, name, function, line } in self.devices(DeviceType::Console) {
            if found.is_some() {
                // Dropping a transport resets the device, and may wait for ever.
                core::mem::forget(transport);
                continue;
            }
            let (vectors, line) = self.enable_interrupts(&name, function.as_ref(), line);
            let console = VirtioConsole::new(transport, vectors, surroundings);
            found = console.map(|console| (console, vectors.map(|vectors| vectors.interrupt).or(line)));
        }
        found
    }

    /// The first memory balloon that can be started, and its interrupt.
    pub fn balloon(&mut self) -> Option<(VirtioBalloon, Option<u32>)> {
        let surroundings = self.surroundings;
        let mut found = None;
        for Device { transport, name, function, line } in self.devices(DeviceType::MemoryBalloon) {
            if found.is_some() {
                // Dropping a transport resets the device, and may wait for ever.
                core::mem::forget(transport);
                continue;
            }
            let (vectors, line) = self.enable_interrupts(&name, function.as_ref(), line);
            match VirtioBalloon::new(transport, vectors, surroundings) {
                Some((balloon, message)) => found = Some((balloon, message.or(line))),
                None => warn!("the memory balloon at {name} is not driven: it does not start"),
            }
        }
        found
    }

    /// The first network device that can be started.
    pub fn network(&mut self) -> Option<Box<dyn Link>> {
        let surroundings = self.surroundings;
        let mut network: Option<Box<dyn Link>> = None;
        for Device { transport, name, function, line } in self.devices(DeviceType::Network) {
            if network.is_some() {
                // Dropping a transport resets the device, and may wait for ever.
                core::mem::forget(transport);
                debug!("{name}: a network device is in use already");
                continue;
            }
            let interrupts = self.enable_interrupts(&name, function.as_ref(), line);
            match VirtioNet::new(transport, name.clone(), interrupts, surroundings) {
                Ok(device) => network = Some(Box::new(device)),
                Err(error) => warn!("the network device at {name} is not driven: {error}"),
            }
        }
        network
    }

    /// The first socket device that can be started.
    pub fn vsock(&mut self) -> Option<Box<dyn VsockDevice>> {
        let surroundings = self.surroundings;
        let mut found: Option<Box<dyn VsockDevice>> = None;
        for Device { transport, name, function, line } in self.devices(DeviceType::Socket) {
            if found.is_some() {
                // Dropping a transport resets the device, and may wait for ever.
                core::mem::forget(transport);
                continue;
            }
            let interrupts = self.enable_interrupts(&name, function.as_ref(), line);
            match VirtioVsock::new(transport, name.clone(), interrupts, surroundings) {
                Ok(device) => found = Some(Box::new(device)),
                Err(error) => warn!("the socket device at {name} is not driven: {error}"),
            }
        }
        found
    }

    /// All devices of one type.
    fn devices(&mut self, kind: DeviceType) -> Vec<Device> {
        let mut devices = Vec::new();
        for VirtioMmio { registers, interrupt } in &self.mmio {
            if let Ok(transport) = mmio_transport(registers)
                && transport.device_type() == kind
            {
                let line = interrupt.map(|interrupt| Line::of_mmio(interrupt, registers.address));
                let transport = ManuallyDrop::into_inner(transport).into();
                devices.push(Device { transport, name: mmio_name(registers), function: None, line });
            }
        }
        let Some(pci) = &mut self.pci else { return devices };
        for function in pci.buses.functions().to_vec() {
            if virtio_type_of_pci(function.vendor_id, function.device_id)
                .and_then(|number| DeviceType::try_from(number).ok())
                != Some(kind)
            {
                continue;
            }
            match pci.transport(&function, kind) {
                Ok(transport) => devices.push(Device {
                    transport: transport.into(),
                    name: pci_name(function.address),
                    function: Some(function),
                    line: None,
                }),
                Err(error) => warn!("{} is not driven: {error}", pci_place(&function)),
            }
        }
        devices
    }

    /// Lets a device that is no disk interrupt, by messages or else by its line, and returns the interrupt of its line if that has been enabled.
    fn enable_interrupts(
        &mut self,
        name: &str,
        function: Option<&pci::Function>,
        line: Option<Line>,
    ) -> Interrupts {
        let vectors = function.and_then(|function| self.enable_vectors(function));
        if vectors.is_some() {
            return (vectors, None);
        }
        let mut pin = self.pci.as_mut().zip(function);
        let line = line.or_else(|| pin.as_mut().and_then(|(pci, function)| pci.line(function)));
        let Some(line) = line else { return (None, None) };
        match line.enable() {
            Ok(()) => {
                if let Some((pci, function)) = pin {
                    pci.buses.set_notice(function.address, Notice::Pin(line.interrupt()));
                }
                (None, Some(line.interrupt()))
            }
            Err(error) => {
                warn!("{name}: {error}");
                (None, None)
            }
        }
    }
}
