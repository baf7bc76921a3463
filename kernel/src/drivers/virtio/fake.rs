//! [`FakeDevice`]: a virtio device in memory, of any kind, that does what it is asked, or [lies](Lie) about it.

use super::transport::AnyTransport;
use crate::{drivers::requests::Surroundings, memory::pool::Pool};
use std::{
    boxed::Box,
    cell::Cell,
    slice,
    sync::{Arc, Mutex, MutexGuard},
    vec,
    vec::Vec,
};
use virtio_drivers::{
    Error, PhysAddr,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

std::thread_local! {
    static NOW_US: Cell<u64> = const { Cell::new(0) };
}

/// What a driver needs of a machine whose time goes by while it is looked at.
pub fn surroundings(pool: &'static Pool) -> Surroundings {
    Surroundings {
        clock_us: || {
            NOW_US.set(NOW_US.get() + 10);
            NOW_US.get()
        },
        nap: || NOW_US.set(NOW_US.get() + 100),
        feed_watchdog: || {},
        is_interrupted: || false,
        pool,
    }
}

/// The time that has gone by.
pub fn now_us() -> u64 {
    NOW_US.get()
}

/// What a device says of a request that it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The number of a descriptor that its queue does not have.
    NoDescriptor,
    /// That of one which nobody has given to it.
    NotGiven,
    /// The same once more.
    Twice,
    /// That it has written more than there is room for.
    TooLong,
    /// That it has written this many bytes, and no more than that is written.
    Short(u32),
    /// That it has done so many requests more than there are.
    Jump(u16),
    /// Nothing.
    Silence,
}

/// A queue, as its driver has set it up.
#[derive(Debug, Clone, Copy, Default)]
struct Rings {
    size: u32,
    descriptors: u64,
    available: u64,
    used: u64,
    /// How many chains have been taken, and how many given back.
    n_taken: u16,
    n_given: u16,
}

/// A piece of a chain: where, how long, and whether the device writes to it.
type Piece = (u64, usize, bool);

impl Rings {
    /// The next chain that the driver has made available: its name and its pieces.
    fn take(&mut self) -> Option<(u16, Vec<Piece>)> {
        // SAFETY: the driver has given the addresses of its rings, which it keeps until the device is reset.
        unsafe {
            let available = self.available as *const u16;
            if self.size == 0 || available.add(1).read_volatile() == self.n_taken {
                return None;
            }
            let place = self.n_taken as usize % self.size as usize;
            let head = available.add(2 + place).read_volatile();
            self.n_taken = self.n_taken.wrapping_add(1);
            Some((head, Self::chain(self.descriptors, head)))
        }
    }

    /// # Safety
    /// There must be a chain.
    unsafe fn chain(table: u64, head: u16) -> Vec<Piece> {
        const NEXT: u16 = 1;
        const WRITE: u16 = 2;
        const INDIRECT: u16 = 4;
        let mut pieces = Vec::new();
        let mut index = head;
        loop {
            // SAFETY: as the caller promises.
            let (address, length, flags, next) = unsafe {
                let descriptor = (table as *const u64).add(2 * usize::from(index));
                let second = descriptor.add(1).read_volatile();
                (descriptor.read_volatile(), second as u32, (second >> 32) as u16, (second >> 48) as u16)
            };
            if flags & INDIRECT != 0 {
                // SAFETY: as above.
                return unsafe { Self::chain(address, 0) };
            }
            pieces.push((address, length as usize, flags & WRITE != 0));
            if flags & NEXT == 0 {
                return pieces;
            }
            index = next;
        }
    }

    /// Gives something back to the driver.
    fn give(&mut self, id: u32, length: u32) {
        let place = self.n_given as usize % self.size as usize;
        // SAFETY: as in `take`.
        unsafe {
            let used = self.used as *mut u32;
            used.add(1 + 2 * place).write_volatile(id);
            used.add(2 + 2 * place).write_volatile(length);
        }
        self.advance(1);
    }

    fn advance(&mut self, n_more: u16) {
        self.n_given = self.n_given.wrapping_add(n_more);
        // SAFETY: as in `take`.
        unsafe { (self.used as *mut u16).add(1).write_volatile(self.n_given) };
    }
}

/// What a device makes of a request: what the driver is told, in the order of what it can write to. `None` if it keeps the request.
pub type Serve = fn(queue: u16, request: &[u8], room_bytes: usize) -> Option<Vec<u8>>;

/// A device.
pub struct FakeDevice {
    kind: DeviceType,
    serve: Serve,
    rings: [Rings; 8],
    status: u32,
    /// What it offers.
    pub features: u64,
    /// How long its queues can be.
    pub queue_size: u32,
    /// Its configuration, which says that it has changed at each look if it is restless.
    pub configuration: Vec<u8>,
    /// See above.
    pub is_restless: Cell<bool>,
    generation: Cell<u32>,
    /// The queue of which it lies, and how.
    pub lie: Option<(u16, Lie)>,
    /// Whether it goes on when it is told to stop.
    pub is_unstoppable: bool,
    /// How often it has been stopped.
    pub n_resets: usize,
}

/// A device that its driver and a test reach.
#[derive(Clone)]
pub struct Fake(Arc<Mutex<FakeDevice>>);

/// What the driver has of it.
pub struct FakeTransport(Fake);

impl Fake {
    /// A device of a kind that offers the features of today's, with this configuration.
    pub fn new(kind: DeviceType, features: u64, configuration: &[u8], serve: Serve) -> Self {
        const VERSION_1: u64 = 1 << 32;
        Self(Arc::new(Mutex::new(FakeDevice {
            kind,
            serve,
            rings: [Rings::default(); 8],
            status: 0,
            features: features | VERSION_1,
            queue_size: 256,
            configuration: configuration.to_vec(),
            is_restless: Cell::new(false),
            generation: Cell::new(0),
            lie: None,
            is_unstoppable: false,
            n_resets: 0,
        })))
    }

    /// Its transport.
    pub fn transport(&self) -> AnyTransport {
        AnyTransport::Fake(FakeTransport(self.clone()))
    }

    /// Its state.
    pub fn state(&self) -> MutexGuard<'_, FakeDevice> {
        self.0.lock().unwrap()
    }

    /// Has it lie about a queue.
    pub fn lie(&self, queue: u16, lie: Lie) {
        self.state().lie = Some((queue, lie));
    }

    /// Whether it has been stopped, and does nothing.
    pub fn is_stopped(&self) -> bool {
        self.state().status == 0
    }

    /// Has it bring something by a queue of receiving; false if the driver has given it no room.
    pub fn bring(&self, queue: u16, bytes: &[u8]) -> bool {
        let mut device = self.state();
        let Some((head, pieces)) = device.rings[usize::from(queue)].take() else { return false };
        device.finish(queue, head, &pieces, bytes);
        true
    }
}

impl FakeDevice {
    fn notified(&mut self, queue: u16) {
        loop {
            let rings = &mut self.rings[usize::from(queue)];
            let before = *rings;
            let Some((head, pieces)) = rings.take() else { return };
            let mut request = Vec::new();
            for &(address, length, _) in pieces.iter().filter(|piece| !piece.2) {
                // SAFETY: the driver has given this memory to the device.
                request.extend_from_slice(unsafe { slice::from_raw_parts(address as *const u8, length) });
            }
            let room_bytes = pieces.iter().filter(|piece| piece.2).map(|piece| piece.1).sum();
            match (self.serve)(queue, &request, room_bytes) {
                Some(answer) => self.finish(queue, head, &pieces, &answer),
                None => {
                    self.rings[usize::from(queue)] = before;
                    return;
                }
            }
        }
    }

    fn finish(&mut self, queue: u16, head: u16, pieces: &[Piece], answer: &[u8]) {
        let lie = self.lie.filter(|&(of, _)| of == queue).map(|(_, lie)| lie);
        if lie == Some(Lie::Silence) {
            return;
        }
        let most = if let Some(Lie::Short(length)) = lie { length as usize } else { usize::MAX };
        let mut rest = &answer[..answer.len().min(most)];
        // The status comes last, and whoever says less than all says that all is well.
        let (status, n_answer) = (answer.last().copied(), answer.len());
        for &(address, length, _) in pieces.iter().filter(|piece| piece.2) {
            let (now, later) = rest.split_at(rest.len().min(length));
            // SAFETY: the driver has given this memory to the device.
            unsafe { (address as *mut u8).copy_from_nonoverlapping(now.as_ptr(), now.len()) };
            rest = later;
        }
        if let (Some(Lie::Short(_)), Some(&(address, 1, true)), Some(status)) = (lie, pieces.last(), status) {
            // SAFETY: as above.
            unsafe { (address as *mut u8).write(status) };
        }
        let (id, length) = (u32::from(head), n_answer as u32);
        let rings = &mut self.rings[usize::from(queue)];
        match lie {
            None => rings.give(id, length),
            Some(Lie::NoDescriptor) => rings.give(40_000, length),
            Some(Lie::NotGiven) => rings.give((id + rings.size / 2) % rings.size, length),
            Some(Lie::Twice) => {
                rings.give(id, length);
                rings.give(id, length);
            }
            Some(Lie::TooLong) => rings.give(id, u32::MAX),
            Some(Lie::Short(length)) => rings.give(id, length),
            Some(Lie::Jump(n_more)) => {
                rings.give(id, length);
                rings.advance(n_more);
            }
            Some(Lie::Silence) => {}
        }
    }

    /// Says that it works, though nobody has started it.
    pub fn status_of_somebody_else(&mut self) {
        self.status = DeviceStatus::DRIVER_OK.bits();
    }

    fn range(&self, offset: usize, length: usize) -> Result<core::ops::Range<usize>, Error> {
        let end = offset + length;
        if end > self.configuration.len() { Err(Error::ConfigSpaceTooSmall) } else { Ok(offset..end) }
    }
}

impl FakeTransport {
    fn state(&self) -> MutexGuard<'_, FakeDevice> {
        self.0.state()
    }
}

impl Transport for FakeTransport {
    fn device_type(&self) -> DeviceType {
        self.state().kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.state().features
    }

    fn write_driver_features(&mut self, features: u64) {
        let offered = self.state().features;
        assert_eq!(features & !offered, 0, "features that are not offered are taken");
    }

    fn max_queue_size(&mut self, _: u16) -> u32 {
        self.state().queue_size
    }

    fn notify(&mut self, queue: u16) {
        let mut device = self.state();
        let is_working = DeviceStatus::from_bits_retain(device.status).contains(DeviceStatus::DRIVER_OK);
        assert!(is_working, "a device is notified that has not been started");
        device.notified(queue);
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.state().status)
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut device = self.state();
        if status.is_empty() {
            if device.is_unstoppable {
                return;
            }
            device.n_resets += 1;
            device.rings = [Rings::default(); 8];
        }
        device.status = status.bits();
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
        let mut device = self.state();
        assert!(size <= device.queue_size, "a queue is longer than the device's can be");
        device.rings[usize::from(queue)] =
            Rings { size, descriptors, available: driver_area, used: device_area, n_taken: 0, n_given: 0 };
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.state().rings[usize::from(queue)].size != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        let device = self.state();
        device.generation.set(device.generation.get() + u32::from(device.is_restless.get()));
        device.generation.get()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let device = self.state();
        let range = device.range(offset, size_of::<T>())?;
        T::read_from_bytes(&device.configuration[range]).map_err(|_| Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<(), Error> {
        let mut device = self.state();
        let range = device.range(offset, size_of::<T>())?;
        device.configuration[range].copy_from_slice(value.as_bytes());
        Ok(())
    }
}

/// A disk: sector `n` holds `n` in every byte, and the serial number is `fake`.
pub fn block(_: u16, request: &[u8], room_bytes: usize) -> Option<Vec<u8>> {
    let sector = u64::from_le_bytes(request[8..16].try_into().unwrap());
    let mut answer: Vec<u8> = match request[0] {
        0 => (0..room_bytes - 1).map(|index| (sector + index as u64 / 512) as u8).collect(),
        _ => b"fake".iter().copied().chain([0; 16]).collect(),
    };
    answer.push(0);
    Some(answer)
}

/// A host adapter with one disk of 512 MiB, whose block `n` holds `n` in every byte.
pub fn scsi(_: u16, request: &[u8], room_bytes: usize) -> Option<Vec<u8>> {
    let command = &request[19..];
    let data_bytes = room_bytes - 108;
    let mut response = vec![0; 108];
    let data: Vec<u8> = match command[0] {
        _ if request[1] != 0 => {
            // Such a target is not there.
            response[11] = 3;
            Vec::new()
        }
        0x12 if command[1] == 0 => vec![0; 36],
        0xa0 => [&8_u32.to_be_bytes()[..], &[0; 12]].concat(),
        0x9e => [&(1_u64 << 20).to_be_bytes()[..], &512_u32.to_be_bytes(), &[0; 20]].concat(),
        0x88 => {
            let first = u64::from_be_bytes(command[2..10].try_into().unwrap());
            (0..data_bytes).map(|index| (first + index as u64 / 512) as u8).collect()
        }
        0x00 => Vec::new(),
        _ => {
            // Illegal request.
            (response[10], response[0], response[12], response[14]) = (2, 18, 0x70, 5);
            Vec::new()
        }
    };
    let data = &data[..data.len().min(data_bytes)];
    response[4..8].copy_from_slice(&((data_bytes - data.len()) as u32).to_le_bytes());
    response.extend_from_slice(data);
    Some(response)
}

/// A device whose first queue is for what it [brings](Fake::bring), and whose others take what they are given.
pub fn packets(queue: u16, _: &[u8], _: usize) -> Option<Vec<u8>> {
    (queue == 1).then(Vec::new)
}

/// A balloon without statistics.
pub fn balloon(_: u16, _: &[u8], _: usize) -> Option<Vec<u8>> {
    Some(Vec::new())
}

/// A source of sevens.
pub fn entropy(_: u16, _: &[u8], room_bytes: usize) -> Option<Vec<u8>> {
    Some(vec![7; room_bytes])
}

/// Boxes a value for the life of the test, as a device that is never stopped keeps what it was lent.
pub fn keep<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}
