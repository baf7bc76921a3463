//! [`PciTransport`]: a virtio device behind a PCI function (VIRTIO 1.2, 4.1).
//!
//! The device reports where its register structures are. A structure that does not lie within a BAR is rejected, and so is a
//! queue whose notification address would lie elsewhere. Registers are accessed at addresses that were checked once, whatever the
//! device reports later.

use crate::pci::{Function, MAX_CAPABILITIES, Shared};
use core::{cell::RefCell, ptr::NonNull};
use safe_mmio::{UniqueMmioPointer, fields::ReadPureWrite};
use virtio_drivers::{
    Error, PhysAddr,
    transport::{
        DeviceStatus, DeviceType, InterruptStatus, Transport,
        pci::bus::{ConfigurationAccess, PciRoot},
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Types of structures (4.1.4).
pub const COMMON: u8 = 1;
const NOTIFICATIONS: u8 = 2;
/// The interrupt status, one byte.
pub const ISR: u8 = 3;
const DEVICE: u8 = 4;

/// Offsets in the common configuration, and its length (4.1.4.3).
pub mod common {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const DEVICE_FEATURE_SELECT: usize = 0;
    pub const DEVICE_FEATURE: usize = 4;
    pub const DRIVER_FEATURE_SELECT: usize = 8;
    pub const DRIVER_FEATURE: usize = 12;
    pub const DEVICE_STATUS: usize = 20;
    pub const CONFIG_GENERATION: usize = 21;
    pub const QUEUE_SELECT: usize = 22;
    pub const QUEUE_SIZE: usize = 24;
    pub const QUEUE_ENABLE: usize = 28;
    pub const QUEUE_NOTIFY_OFF: usize = 30;
    /// Addresses of the descriptors, the driver's ring and the device's ring, 64 bits each.
    pub const QUEUE_ADDRESSES: usize = 32;
    pub const BYTES: u64 = 56;
}

/// The most queues that a driver uses.
const MAX_QUEUES: usize = 8;

/// The place of a structure of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// Its address.
    pub address: usize,
    /// Its length.
    pub size_bytes: usize,
    /// The word after the structure's description. For notifications, it is the distance between them.
    more: u32,
}

impl Structure {
    /// The first structure of this type with at least `size_bytes`. It must lie in a BAR of the function, whose memory must be mapped.
    pub fn find<C: ConfigurationAccess>(
        configuration: &mut C,
        function: &Function,
        kind: u8,
        size_bytes: u64,
    ) -> Result<Self, PciError> {
        const VENDOR_SPECIFIC: u8 = 0x09;
        /// Offsets in a capability: the number of the BAR, the offset in the BAR, the length, and an additional word.
        const BAR: u8 = 4;
        const OFFSET: u8 = 8;
        const LENGTH: u8 = 12;
        const MORE: u8 = 16;
        let configuration = RefCell::new(configuration);
        let root = PciRoot::new(Shared::new(&configuration));
        let capabilities = root.capabilities(function.address).take(MAX_CAPABILITIES);
        let capability_bytes = if kind == NOTIFICATIONS { MORE + 4 } else { MORE };
        let is_it = |header: u16| (header >> 8) as u8 == kind && header as u8 >= capability_bytes;
        let mut missing = PciError::Absent(kind);
        let mut found =
            capabilities.filter(|found| found.id == VENDOR_SPECIFIC && is_it(found.private_header));
        let structure = found.find_map(|capability| {
            missing = PciError::Outside(kind);
            let read = |offset: u8| {
                let place = capability.offset.checked_add(offset)?;
                Some(configuration.borrow().read_word(function.address, place))
            };
            let (number, offset, length) = (read(BAR)? as u8, read(OFFSET)?, u64::from(read(LENGTH)?));
            let bar = function.bars.iter().find(|bar| bar.index == number && bar.address != 0)?;
            let end = u64::from(offset) + length;
            let address = bar.address + u64::from(offset);
            let align_bytes = match kind {
                ISR => 1,
                NOTIFICATIONS => 2,
                _ => 4,
            };
            let is_within =
                end <= bar.size_bytes && length >= size_bytes && address.is_multiple_of(align_bytes);
            is_within.then_some(Self {
                address: address as usize,
                size_bytes: length as usize,
                more: read(MORE).unwrap_or(0),
            })
        });
        structure.ok_or(missing)
    }
}

/// Why a function cannot be used as a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PciError {
    /// Its memory has no address.
    #[error("its memory has no address")]
    NoAddress,
    /// It has no structure of this type. A device without [`COMMON`] is a legacy device.
    #[error("it has no structure of type {0} (VIRTIO 1.2, 4.1.4)")]
    Absent(u8),
    /// Its structure of this type does not lie in its memory, or is too short.
    #[error(
        "its structure of type {0} is too short or not in a BAR of it (VIRTIO 1.2, 4.1.4); it is not trusted"
    )]
    Outside(u8),
}

/// The registers of a device.
#[derive(Debug)]
pub struct PciTransport {
    device_type: DeviceType,
    common: usize,
    notifications: Structure,
    /// Notification addresses of the queues that have been examined; 0 for the others.
    places: [usize; MAX_QUEUES],
    device: Option<Structure>,
}

impl PciTransport {
    /// The registers of a function, which must be a virtio device of this type.
    ///
    /// # Errors
    /// [`PciError`].
    pub fn new<C: ConfigurationAccess>(
        configuration: &mut C,
        function: &Function,
        device_type: DeviceType,
    ) -> Result<Self, PciError> {
        if !function.has_memory() {
            return Err(PciError::NoAddress);
        }
        let mut find = |kind, size_bytes| Structure::find(configuration, function, kind, size_bytes);
        let common = find(COMMON, common::BYTES)?.address;
        let notifications = find(NOTIFICATIONS, 2)?;
        let device = match find(DEVICE, 0) {
            Ok(device) => Some(device),
            Err(PciError::Absent(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { device_type, common, notifications, places: [0; MAX_QUEUES], device })
    }

    fn read<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        register(self.common + offset).read()
    }

    fn write<T: IntoBytes + Immutable + FromBytes>(&mut self, offset: usize, value: T) {
        register(self.common + offset).write(value);
    }

    /// Notification address of the selected queue (4.1.4.4); `None` if it lies outside the structure.
    fn place(&self) -> Option<usize> {
        let offset =
            u64::from(self.read::<u16>(common::QUEUE_NOTIFY_OFF)) * u64::from(self.notifications.more);
        let is_within = offset + 2 <= self.notifications.size_bytes as u64 && offset.is_multiple_of(2);
        is_within.then_some(self.notifications.address + offset as usize)
    }

    /// A range of the device's own configuration.
    fn configuration(&self, offset: usize, length: usize) -> Result<usize, Error> {
        let device = self.device.ok_or(Error::ConfigSpaceMissing)?;
        let end = offset.checked_add(length).ok_or(Error::ConfigSpaceTooSmall)?;
        if end > device.size_bytes { Err(Error::ConfigSpaceTooSmall) } else { Ok(device.address + offset) }
    }
}

/// The register at an address within a structure of a function.
fn register<'a, T: 'a>(address: usize) -> UniqueMmioPointer<'a, ReadPureWrite<T>> {
    let pointer = core::ptr::with_exposed_provenance_mut(address);
    let pointer = NonNull::new(pointer).expect("no BAR has address 0");
    // SAFETY: `Structure::find` has found the address within a BAR, and all BARs are mapped for ever; a pointer is never held
    // while another one is used.
    unsafe { UniqueMmioPointer::new(pointer) }
}

impl Transport for PciTransport {
    fn device_type(&self) -> DeviceType {
        self.device_type
    }

    fn read_device_features(&mut self) -> u64 {
        let mut half = |number: u32| {
            self.write(common::DEVICE_FEATURE_SELECT, number);
            u64::from(self.read::<u32>(common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        for (number, half) in [features as u32, (features >> 32) as u32].into_iter().enumerate() {
            self.write(common::DRIVER_FEATURE_SELECT, number as u32);
            self.write(common::DRIVER_FEATURE, half);
        }
    }

    /// 0 for a queue that cannot be notified.
    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.write(common::QUEUE_SELECT, queue);
        let place = self.place();
        match self.places.get_mut(usize::from(queue)).zip(place) {
            Some((known, place)) => {
                *known = place;
                self.read::<u16>(common::QUEUE_SIZE).into()
            }
            None => 0,
        }
    }

    fn notify(&mut self, queue: u16) {
        if let Some(&place @ 1..) = self.places.get(usize::from(queue)) {
            register(place).write(queue);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.read::<u8>(common::DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write(common::DEVICE_STATUS, status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.write(common::QUEUE_SELECT, queue);
        self.write(common::QUEUE_SIZE, size as u16);
        // In two halves (4.1.3.1).
        let halves =
            [descriptors, driver_area, device_area].map(|address| [address as u32, (address >> 32) as u32]);
        for (index, &half) in halves.as_flattened().iter().enumerate() {
            self.write(common::QUEUE_ADDRESSES + index * size_of::<u32>(), half);
        }
        self.write(common::QUEUE_ENABLE, 1_u16);
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.write(common::QUEUE_SELECT, queue);
        self.read::<u16>(common::QUEUE_ENABLE) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.read::<u8>(common::CONFIG_GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let address = self.configuration(offset, size_of::<T>())?;
        Ok(register::<T>(address).read())
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<(), Error> {
        let address = self.configuration(offset, size_of::<T>())?;
        register::<T>(address).write(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{Address, Bar, BarKind};
    use std::{vec, vec::Vec};

    const BAR_BYTES: usize = 0x1000;

    /// A function's configuration space, and the memory of its BARs 1 and 4.
    struct Device {
        space: Vec<u32>,
        memory: [usize; 2],
    }

    impl ConfigurationAccess for &mut Device {
        fn read_word(&self, _: Address, offset: u8) -> u32 {
            self.space[usize::from(offset) / 4]
        }

        fn write_word(&mut self, _: Address, offset: u8, data: u32) {
            self.space[usize::from(offset) / 4] = data;
        }

        unsafe fn unsafe_clone(&self) -> Self {
            unimplemented!("nobody clones it")
        }
    }

    /// A capability: type, length, BAR, offset, length of the structure, additional word.
    type Capability = (u8, u8, u32, u32, u32, u32);

    const GOOD: [Capability; 4] = [
        (COMMON, 16, 4, 0, 56, 0),
        (NOTIFICATIONS, 20, 4, 0x800, 16, 4),
        (ISR, 16, 1, 0x101, 1, 0),
        (DEVICE, 16, 4, 0x400, 32, 0),
    ];

    impl Device {
        fn new(capabilities: &[Capability]) -> Self {
            let mut space = vec![0; 64];
            (space[1], space[0x34 / 4]) = (1 << 20, 0x40);
            for (index, &(kind, length, bar, offset, size, more)) in capabilities.iter().enumerate() {
                let (start, next) = (0x10 + index * 6, 0x40 + (index as u32 + 1) * 24);
                let next = if index + 1 < capabilities.len() { next } else { 0 };
                let header = u32::from(kind) << 24 | u32::from(length) << 16 | next << 8 | 0x09;
                let words = [header, bar, offset, size, more];
                let room = (space.len() - start).min(words.len());
                space[start..start + room].copy_from_slice(&words[..room]);
            }
            let memory = [(); 2].map(|()| vec![0_u64; BAR_BYTES / 8].leak().as_mut_ptr().expose_provenance());
            Self { space, memory }
        }

        fn function(&self) -> Function {
            let bars = [1, 4].into_iter().zip(self.memory).map(|(index, address)| Bar {
                index,
                address: address as u64,
                size_bytes: BAR_BYTES as u64,
                kind: BarKind::Memory64,
            });
            Function {
                address: Address { bus: 0, device: 3, function: 0 },
                vendor_id: 0x1af4,
                device_id: 0x1042,
                class: 1,
                subclass: 0,
                interface: 0,
                bars: bars.collect(),
                notice: None,
            }
        }

        fn transport(&mut self) -> Result<PciTransport, PciError> {
            let function = self.function();
            PciTransport::new(&mut &mut *self, &function, DeviceType::Block)
        }

        fn register<T: Copy>(&self, offset: usize) -> *mut T {
            core::ptr::with_exposed_provenance_mut(self.memory[1] + offset)
        }
    }

    #[test]
    fn registers_are_where_the_capabilities_say() {
        let mut device = Device::new(&GOOD);
        let mut transport = device.transport().unwrap();
        // SAFETY: the whole structure lies within the BAR.
        unsafe {
            device.register::<u32>(0x404).write(77);
            device.register::<u16>(common::QUEUE_SIZE).write(128);
            device.register::<u16>(common::QUEUE_NOTIFY_OFF).write(3);
            device.register::<u32>(common::DEVICE_FEATURE).write(0x5);
        }
        assert_eq!(transport.read_config_space::<u32>(4), Ok(77));
        assert_eq!(transport.read_device_features(), 0x5_0000_0005);
        assert_eq!(transport.max_queue_size(1), 128);
        transport.queue_set(1, 16, 0x1234_5678_9abc, 0x2000, 0x3000);
        assert!(transport.queue_used(1));
        transport.set_status(DeviceStatus::DRIVER);
        assert_eq!(transport.get_status(), DeviceStatus::DRIVER);
        transport.notify(1);
        let mut device_2 = Device::new(&GOOD);
        let isr = Structure::find(&mut &mut device_2, &device.function(), ISR, 1).unwrap();
        assert_eq!(isr.address, device.memory[0] + 0x101);
        // SAFETY: the whole structure lies within the BAR.
        unsafe {
            assert_eq!(device.register::<u64>(common::QUEUE_ADDRESSES).read(), 0x1234_5678_9abc);
            assert_eq!(device.register::<u64>(common::QUEUE_ADDRESSES + 8).read(), 0x2000);
            assert_eq!(device.register::<u16>(common::QUEUE_SIZE).read(), 16);
            assert_eq!(device.register::<u16>(0x800 + 12).read(), 1, "the notification");
        }
    }

    #[test]
    fn structures_outside_of_the_memory_are_none() {
        let changed = |index: usize, change: &dyn Fn(&mut Capability)| {
            let mut capabilities = GOOD;
            change(&mut capabilities[index]);
            Device::new(&capabilities).transport().map(drop)
        };
        for (index, kind) in [(0, COMMON), (1, NOTIFICATIONS), (3, DEVICE)] {
            let outside = Err(PciError::Outside(kind));
            // Beyond the end, and so far beyond that the sum wraps around.
            for (offset, length) in
                [(0xfd0, 56), (0x1000, 1), (0xffff_f000, 0x1100), (4, u32::MAX), (u32::MAX - 3, 8)]
            {
                let told = changed(index, &|capability| (capability.3, capability.4) = (offset, length));
                assert_eq!(told, outside, "{offset:#x}, {length:#x}");
            }
            // A BAR that does not exist, and invalid numbers.
            for bar in [0, 2, 5, 6, 7, 200, 255] {
                assert_eq!(changed(index, &|capability| capability.2 = bar), outside, "BAR {bar}");
            }
            assert_eq!(changed(index, &|capability| capability.3 += 1), outside, "unaligned");
        }
        assert_eq!(changed(0, &|capability| capability.4 = 55), Err(PciError::Outside(COMMON)));
        assert_eq!(changed(0, &|capability| capability.1 = 15), Err(PciError::Absent(COMMON)));
        assert_eq!(changed(1, &|capability| capability.1 = 19), Err(PciError::Absent(NOTIFICATIONS)));
        assert_eq!(changed(1, &|capability| capability.0 = 9), Err(PciError::Absent(NOTIFICATIONS)));
        assert_eq!(changed(3, &|capability| capability.0 = 9), Ok(()));
        // The first usable one.
        let twice = [[(COMMON, 16, 5, 0, 56, 0)].as_slice(), &GOOD].concat();
        Device::new(&twice).transport().unwrap();
        // A list that forms a loop, and one that leads beyond configuration space.
        let mut circle = Device::new(&GOOD[1..]);
        circle.space[0x10] = circle.space[0x10] & !0xff00 | 0x4000;
        assert_eq!(circle.transport().map(drop), Err(PciError::Absent(COMMON)));
        let mut beyond = Device::new(&[]);
        (beyond.space[0x34 / 4], beyond.space[0xfc / 4]) = (0xfc, u32::from(COMMON) << 24 | 16 << 16 | 0x09);
        assert_eq!(beyond.transport().map(drop), Err(PciError::Outside(COMMON)));
    }

    #[test]
    fn a_queue_that_cannot_be_notified_is_none() {
        for (offset, multiplier, is_there) in [
            (3, 4, true),
            (4, 4, false),
            (7, 2, true),
            (8, 2, false),
            (1, 3, false),
            (u16::MAX, u32::MAX, false),
            (9, 0, true),
        ] {
            let mut capabilities = GOOD;
            capabilities[1].5 = multiplier;
            let mut device = Device::new(&capabilities);
            let mut transport = device.transport().unwrap();
            // SAFETY: the register lies within the BAR.
            unsafe {
                device.register::<u16>(common::QUEUE_SIZE).write(128);
                device.register::<u16>(common::QUEUE_NOTIFY_OFF).write(offset);
            }
            assert_eq!(transport.max_queue_size(0) == 128, is_there, "{offset} times {multiplier}");
            // The check still holds when the device reports something else later.
            // SAFETY: the register lies within the BAR.
            unsafe { device.register::<u16>(common::QUEUE_NOTIFY_OFF).write(u16::MAX) };
            transport.notify(0);
            transport.notify(77);
        }
        let mut device = Device::new(&GOOD);
        let mut transport = device.transport().unwrap();
        assert_eq!(transport.max_queue_size(100), 0, "a queue that nobody uses");
        assert_eq!(transport.read_config_space::<u32>(32), Err(Error::ConfigSpaceTooSmall));
        assert_eq!(transport.read_config_space::<u32>(usize::MAX - 3), Err(Error::ConfigSpaceTooSmall));
        assert_eq!(transport.write_config_space(29, 0_u32), Err(Error::ConfigSpaceTooSmall));
    }
}
