//! [`FakeDevice`]: a simulated virtio device of any kind, which carries out requests, or [lies](Lie) about them.

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

/// The functions of a machine whose clock advances each time it is read.
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

/// The current time.
pub fn now_us() -> u64 {
    NOW_US.get()
}

/// A false report about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Names a descriptor that the queue does not have.
    NoDescriptor,
    /// Names a descriptor that was not given to it.
    NotGiven,
    /// Reports the same request twice.
    Twice,
    /// Reports more bytes written than there is room for.
    TooLong,
    /// Writes this many bytes, and reports this number.
    Short(u32),
    /// Reports this many more requests as done than there are.
    Jump(u16),
    /// Writes everything, and reports this number of bytes.
    Counts(u32),
    /// Reports nothing.
    Silence,
}

/// A queue, as the driver has set it up.
#[derive(Debug, Clone, Copy, Default)]
struct Rings {
    size: u32,
    descriptors: u64,
    available: u64,
    used: u64,
    /// How many chains have been taken, and how many returned.
    n_taken: u16,
    n_given: u16,
}

/// A buffer of a chain: its address, its length, and whether the device writes to it.
type Piece = (u64, usize, bool);

impl Rings {
    /// The next chain that the driver has made available: its descriptor and its buffers.
    fn take(&mut self) -> Option<(u16, Vec<Piece>)> {
        // SAFETY: the driver has given the addresses of its rings, which it keeps valid until the device is reset.
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
    /// `table` must be a valid table of descriptors, with a chain that begins at `head`.
    unsafe fn chain(table: u64, head: u16) -> Vec<Piece> {
        const NEXT: u16 = 1;
        const WRITE: u16 = 2;
        const INDIRECT: u16 = 4;
        let mut pieces = Vec::new();
        let mut index = head;
        loop {
            // SAFETY: the caller promises that there is a chain.
            let (address, length, flags, next) = unsafe {
                let descriptor = (table as *const u64).add(2 * usize::from(index));
                let second = descriptor.add(1).read_volatile();
                (descriptor.read_volatile(), second as u32, (second >> 32) as u16, (second >> 48) as u16)
            };
            if flags & INDIRECT != 0 {
                // SAFETY: the descriptor points to a table of descriptors, which the driver has provided.
                return unsafe { Self::chain(address, 0) };
            }
            pieces.push((address, length as usize, flags & WRITE != 0));
            if flags & NEXT == 0 {
                return pieces;
            }
            index = next;
        }
    }

    /// Returns a chain to the driver.
    fn give(&mut self, id: u32, length: u32) {
        let place = self.n_given as usize % self.size as usize;
        // SAFETY: the driver has given the addresses of its rings, which it keeps valid until the device is reset.
        unsafe {
            let used = self.used as *mut u32;
            used.add(1 + 2 * place).write_volatile(id);
            used.add(2 + 2 * place).write_volatile(length);
        }
        self.advance(1);
    }

    fn advance(&mut self, n_more: u16) {
        self.n_given = self.n_given.wrapping_add(n_more);
        // SAFETY: the driver has given the addresses of its rings, which it keeps valid until the device is reset.
        unsafe { (self.used as *mut u16).add(1).write_volatile(self.n_given) };
    }
}

/// A device's answer to a request: the bytes for the buffers that it can write to, in their order. `None` if it keeps the request.
pub type Serve = fn(queue: u16, request: &[u8], room_bytes: usize) -> Option<Vec<u8>>;

/// A device.
pub struct FakeDevice {
    kind: DeviceType,
    serve: Serve,
    rings: [Rings; 8],
    status: u32,
    /// The features that it offers.
    pub features: u64,
    /// The maximum length of its queues.
    pub queue_size: u32,
    /// Its configuration. If the device is restless, it reports at each read that the configuration has changed.
    pub configuration: Vec<u8>,
    /// Whether the configuration seems to change at each read.
    pub is_restless: Cell<bool>,
    generation: Cell<u32>,
    /// The queue about which it lies, and how.
    pub lie: Option<(u16, Lie)>,
    /// Whether it keeps running when told to stop.
    pub is_unstoppable: bool,
    /// How often it has been stopped.
    pub n_resets: usize,
    /// If set, it carries out no request when it gets it, but the youngest one each time the driver looks at its status.
    pub is_backwards: bool,
    /// The requests that it has not carried out, with their queues.
    held: Vec<(u16, u16, Vec<Piece>)>,
    /// How many requests were carried out before an older one.
    pub n_overtaking: usize,
    /// The largest buffer that it was given to write to, in bytes, and the most of them in a request.
    pub most: (usize, usize),
}

/// A device that both its driver and a test can access.
#[derive(Clone)]
pub struct Fake(Arc<Mutex<FakeDevice>>);

/// The driver's side of it.
pub struct FakeTransport(Fake);

impl Fake {
    /// A device of this kind with the features of a modern one, these additional features, and this configuration.
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
            is_backwards: false,
            held: Vec::new(),
            n_overtaking: 0,
            most: (0, 0),
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

    /// Makes it lie about a queue.
    pub fn lie(&self, queue: u16, lie: Lie) {
        self.state().lie = Some((queue, lie));
    }

    /// Whether it has been stopped.
    pub fn is_stopped(&self) -> bool {
        self.state().status == 0
    }

    /// Makes it deliver something by a receive queue; false if the driver has given it no buffer.
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
            for &(_, length, _) in pieces.iter().filter(|piece| piece.2) {
                self.most.0 = self.most.0.max(length);
            }
            self.most.1 = self.most.1.max(pieces.iter().filter(|piece| piece.2).count());
            if self.is_backwards {
                self.held.push((queue, head, pieces));
            } else if !self.carry_out(queue, head, &pieces) {
                self.rings[usize::from(queue)] = before;
                return;
            }
        }
    }

    /// Carries out a request; false if the device keeps it.
    fn carry_out(&mut self, queue: u16, head: u16, pieces: &[Piece]) -> bool {
        let mut request = Vec::new();
        for &(address, length, _) in pieces.iter().filter(|piece| !piece.2) {
            // SAFETY: the driver has lent this memory to the device.
            request.extend_from_slice(unsafe { slice::from_raw_parts(address as *const u8, length) });
        }
        let room_bytes = pieces.iter().filter(|piece| piece.2).map(|piece| piece.1).sum();
        let answer = (self.serve)(queue, &request, room_bytes);
        if let Some(answer) = &answer {
            self.finish(queue, head, pieces, answer);
        }
        answer.is_some()
    }

    /// Carries out the youngest of the requests that it holds.
    fn carry_out_youngest(&mut self) {
        if let Some((queue, head, pieces)) = self.held.pop() {
            self.n_overtaking += usize::from(!self.held.is_empty());
            self.carry_out(queue, head, &pieces);
        }
    }

    fn finish(&mut self, queue: u16, head: u16, pieces: &[Piece], answer: &[u8]) {
        let lie = self.lie.filter(|&(of, _)| of == queue).map(|(_, lie)| lie);
        if lie == Some(Lie::Silence) {
            return;
        }
        let most = if let Some(Lie::Short(length)) = lie { length as usize } else { usize::MAX };
        let mut rest = &answer[..answer.len().min(most)];
        // The status comes last; a device that reports a short length still reports success.
        let (status, n_answer) = (answer.last().copied(), answer.len());
        for &(address, length, _) in pieces.iter().filter(|piece| piece.2) {
            let (now, later) = rest.split_at(rest.len().min(length));
            // SAFETY: the driver has lent this memory to the device.
            unsafe { (address as *mut u8).copy_from_nonoverlapping(now.as_ptr(), now.len()) };
            rest = later;
        }
        if let (Some(Lie::Short(_)), Some(&(address, 1, true)), Some(status)) = (lie, pieces.last(), status) {
            // SAFETY: the driver has lent this memory to the device.
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
            Some(Lie::Short(length) | Lie::Counts(length)) => rings.give(id, length),
            Some(Lie::Jump(n_more)) => {
                rings.give(id, length);
                rings.advance(n_more);
            }
            Some(Lie::Silence) => {}
        }
    }

    /// Makes it report that it is running although nobody has started it.
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
        let mut device = self.state();
        device.carry_out_youngest();
        DeviceStatus::from_bits_retain(device.status)
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut device = self.state();
        if status.is_empty() {
            if device.is_unstoppable {
                return;
            }
            device.n_resets += 1;
            device.rings = [Rings::default(); 8];
            device.held.clear();
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

/// A disk whose sector `n` contains `n` in every byte, with the serial number `fake`.
pub fn block(_: u16, request: &[u8], room_bytes: usize) -> Option<Vec<u8>> {
    let sector = u64::from_le_bytes(request[8..16].try_into().unwrap());
    let mut answer: Vec<u8> = match request[0] {
        0 => (0..room_bytes - 1).map(|index| (sector + index as u64 / 512) as u8).collect(),
        _ => b"fake".iter().copied().chain([0; 16]).collect(),
    };
    answer.push(0);
    Some(answer)
}

/// The sector that a [damaged](damaged_block) disk cannot read.
pub const BAD_SECTOR: u64 = 1000;

/// The same disk, which reports an error for every request that includes [`BAD_SECTOR`].
pub fn damaged_block(queue: u16, request: &[u8], room_bytes: usize) -> Option<Vec<u8>> {
    const STATUS_IO_ERROR: u8 = 1;
    let first = u64::from_le_bytes(request[8..16].try_into().unwrap());
    let sectors = first..first + room_bytes as u64 / 512;
    let mut answer = block(queue, request, room_bytes)?;
    if request[0] == 0 && sectors.contains(&BAD_SECTOR) {
        *answer.last_mut()? = STATUS_IO_ERROR;
    }
    Some(answer)
}

/// The same disk, which never does what it is asked: it says that it does not know how to.
pub fn unwilling_block(queue: u16, request: &[u8], room_bytes: usize) -> Option<Vec<u8>> {
    const STATUS_UNSUPPORTED: u8 = 2;
    let mut answer = block(queue, request, room_bytes)?;
    *answer.last_mut()? = STATUS_UNSUPPORTED;
    Some(answer)
}

/// The same disk, which reports what it read but not whether it could.
pub fn undecided_block(queue: u16, request: &[u8], room_bytes: usize) -> Option<Vec<u8>> {
    let mut answer = block(queue, request, room_bytes)?;
    answer.pop();
    Some(answer)
}

/// A host adapter with one disk of 512 MiB, whose block `n` contains `n` in every byte.
pub fn scsi(_: u16, request: &[u8], room_bytes: usize) -> Option<Vec<u8>> {
    let command = &request[19..];
    let data_bytes = room_bytes - 108;
    let mut response = vec![0; 108];
    let data: Vec<u8> = match command[0] {
        _ if request[1] != 0 => {
            // This target does not exist.
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

/// A device whose first queue [delivers](Fake::bring) packets and whose other queues accept anything.
pub fn packets(queue: u16, _: &[u8], _: usize) -> Option<Vec<u8>> {
    (queue == 1).then(Vec::new)
}

/// A balloon without statistics.
pub fn balloon(_: u16, _: &[u8], _: usize) -> Option<Vec<u8>> {
    Some(Vec::new())
}

/// An entropy device whose bytes are all seven.
pub fn entropy(_: u16, _: &[u8], room_bytes: usize) -> Option<Vec<u8>> {
    Some(vec![7; room_bytes])
}

/// Boxes a value for the rest of the test, because a device that is never stopped keeps the memory that was lent to it.
pub fn keep<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}
