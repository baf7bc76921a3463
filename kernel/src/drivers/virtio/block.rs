//! The block device: its features, its configuration, its queue (VIRTIO 1.2, 5.2).

use super::{
    negotiation::{self, feature},
    queue::{Queue, RINGS_BYTES, SHORTEST},
    transport::AnyTransport,
    vectors::Vectors,
};
use crate::{
    drivers::requests::{
        Ask, Broken, Channel, ChannelDisk, Geometry, REQUESTS_IN_FLIGHT, Requests, Surroundings,
    },
    storage::{legible, sectors::SECTOR_BYTES},
};
use alloc::{boxed::Box, string::String};
use core::{
    array, fmt,
    mem::{ManuallyDrop, forget, take},
    ptr::{self, NonNull},
};
use virtio_drivers::{
    Error,
    transport::{DeviceStatus, Transport},
};

/// Number of the only queue.
const QUEUE: u16 = 0;

/// Feature bits (VIRTIO 1.2, 5.2.3).
const SIZE_MAX: u64 = 1 << 1;
const SEG_MAX: u64 = 1 << 2;
const BLK_SIZE: u64 = 1 << 6;
const SUPPORTED: u64 =
    SIZE_MAX | SEG_MAX | BLK_SIZE | feature::INDIRECT_DESC | feature::VERSION_1 | feature::ACCESS_PLATFORM;

/// Offsets in the configuration (VIRTIO 1.2, 5.2.4).
mod configuration {
    pub const CAPACITY: usize = 0;
    pub const SIZE_MAX: usize = 8;
    pub const SEG_MAX: usize = 12;
    pub const BLK_SIZE: usize = 20;
}

/// Types of requests (VIRTIO 1.2, 5.2.6).
const REQUEST_IN: u32 = 0;
const REQUEST_GET_ID: u32 = 8;

/// The status of a request that succeeded. Values above 2 mean that the device has not written the status.
const STATUS_OK: u8 = 0;
const STATUS_NONE: u8 = 0xff;

/// The largest block size that is accepted: the same as in Linux, and more than any disk has.
const LARGEST_BLOCK_BYTES: u32 = 64 << 10;

/// The most segments that the data of a request is divided into.
const MAX_SEGMENTS: usize = 8;

/// Why a block device is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// It has not confirmed a reset.
    #[error("it does not confirm a reset")]
    NoReset,
    /// It accepts none of the combinations of features that the driver can offer.
    #[error(fmt = wrong_features)]
    Features {
        /// What it offered.
        offered: u64,
    },
    /// Its queue is too short.
    #[error("its queue holds {length} descriptors; expected {SHORTEST} at least (queue-size)")]
    ShortQueue {
        /// How many descriptors it has.
        length: u32,
    },
    /// Its block size is invalid.
    #[error(
        "its blocks have {block_bytes} bytes; expected a power of two from {SECTOR_BYTES} to \
         {LARGEST_BLOCK_BYTES} (logical_block_size)"
    )]
    BlockSize {
        /// What it says.
        block_bytes: u32,
    },
    /// Its requests would have to be divided into segments that are too small.
    #[error("it takes at most {size_max} bytes in a piece, too few for a block")]
    SegmentSize {
        /// The maximum size of a segment.
        size_max: u32,
    },
    /// An error of `virtio_drivers`.
    #[error("{0}")]
    Virtio(Error),
}

impl From<Error> for InitError {
    fn from(error: Error) -> Self {
        Self::Virtio(error)
    }
}

fn wrong_features(offered: &u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "it refuses the features that this driver takes of {offered:#x}")?;
    match offered & feature::RING_PACKED {
        0 => Ok(()),
        _ => f.write_str("; expected one with split queues (packed=off)"),
    }
}

/// The parts of a request other than its data.
struct Slot {
    /// The request's token in the queue; `None` if the slot is free.
    token: Option<u16>,
    header: [u8; 16],
    status: u8,
    place: *mut [u8],
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            token: None,
            header: [0; 16],
            status: STATUS_NONE,
            place: ptr::slice_from_raw_parts_mut(ptr::null_mut(), 0),
        }
    }
}

/// Whether a device that reports `n_written` bytes, which may or may not include the status, admits to having read less than was
/// requested. Some devices count nothing, or only the status; their data has to be trusted.
fn is_short(n_written: u32, n_asked: usize) -> bool {
    n_written > 1 && (n_written as usize) < n_asked
}

/// Calls `use_parts` with the header and the buffers that the device writes to.
///
/// # Safety
/// The slot's place must be valid.
unsafe fn with_parts<R>(
    slot: &mut Slot,
    segment_bytes: usize,
    use_parts: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
) -> R {
    let mut parts: [&mut [u8]; MAX_SEGMENTS + 1] = array::from_fn(|_| Default::default());
    // SAFETY: the caller promises that the place is valid.
    let place = unsafe { &mut *slot.place };
    let mut n_parts = 0;
    for (part, segment) in parts.iter_mut().zip(place.chunks_mut(segment_bytes)) {
        *part = segment;
        n_parts += 1;
    }
    parts[n_parts] = core::slice::from_mut(&mut slot.status);
    use_parts(&[&slot.header], &mut parts[..=n_parts])
}

/// A virtqueue of a block device, and what is in it.
pub struct BlockChannel<T: Transport> {
    /// Wrapped because dropping a transport resets the device, and may wait for ever; [`halt`](Channel::halt) does it with a time limit.
    transport: ManuallyDrop<T>,
    /// Set if it interrupts by messages.
    vectors: Option<Vectors>,
    surroundings: Surroundings,
    /// `None` while the device is stopped.
    queue: Option<Queue>,
    slots: Box<[Slot; REQUESTS_IN_FLIGHT]>,
    features: u64,
    geometry: Geometry,
    segment_bytes: usize,
    max_in_flight: usize,
}

// SAFETY: the pointers in the slots lead to memory that belongs to the device while there is a token, and are not followed otherwise.
unsafe impl<T: Transport + Send> Send for BlockChannel<T> {}

impl<T: Transport> BlockChannel<T> {
    /// Starts the device behind `transport`; with `vectors` it interrupts by messages.
    ///
    /// # Errors
    /// [`InitError`].
    pub fn new(
        transport: T,
        vectors: Option<Vectors>,
        surroundings: Surroundings,
    ) -> Result<Self, InitError> {
        let mut channel = Self {
            transport: ManuallyDrop::new(transport),
            vectors,
            surroundings,
            queue: None,
            slots: Box::default(),
            features: 0,
            geometry: Geometry {
                sector_count: 0,
                block_bytes: SECTOR_BYTES,
                request_bytes: SECTOR_BYTES,
                align_bytes: 1,
            },
            segment_bytes: SECTOR_BYTES,
            max_in_flight: 1,
        };
        let started = channel.initialise();
        if started.is_err() {
            channel.give_up();
        }
        started.map(|()| channel)
    }

    fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Device initialisation (VIRTIO 1.2, 3.1.1).
    fn initialise(&mut self) -> Result<(), InitError> {
        if !self.stop() {
            return Err(InitError::NoReset);
        }
        let (features, status) = negotiation::negotiate(&mut *self.transport, SUPPORTED)
            .map_err(|offered| InitError::Features { offered })?;
        self.features = features;

        let indirect = self.has(feature::INDIRECT_DESC);
        let length = self.transport.max_queue_size(QUEUE);
        if length < SHORTEST {
            return Err(InitError::ShortQueue { length });
        }
        let interrupts = self.vectors.is_some_and(|vectors| vectors.assign(QUEUE));
        let queue = Queue::new(&mut *self.transport, QUEUE, indirect, interrupts)?;
        let n_descriptors = queue.len();
        self.queue = Some(queue);
        self.read_limits(n_descriptors)?;
        let per_request =
            if indirect { 1 } else { self.geometry.request_bytes.div_ceil(self.segment_bytes) + 2 };
        self.max_in_flight = n_descriptors / per_request;
        self.transport.set_status(status | DeviceStatus::DRIVER_OK);
        self.geometry.sector_count = self.capacity();
        Ok(())
    }

    /// Reads the limits that requests must observe.
    fn read_limits(&mut self, n_descriptors: usize) -> Result<(), InitError> {
        let mut block_bytes = SECTOR_BYTES as u32;
        if self.has(BLK_SIZE) {
            block_bytes = self.transport.read_config_space(configuration::BLK_SIZE)?;
        }
        if !block_bytes.is_power_of_two()
            || !(SECTOR_BYTES as u32..=LARGEST_BLOCK_BYTES).contains(&block_bytes)
        {
            return Err(InitError::BlockSize { block_bytes });
        }
        let block_bytes = block_bytes as usize;
        let mut seg_max = u32::MAX;
        if self.has(SEG_MAX) {
            seg_max = self.transport.read_config_space(configuration::SEG_MAX)?;
        }
        let mut size_max = 0;
        if self.has(SIZE_MAX) {
            size_max = self.transport.read_config_space(configuration::SIZE_MAX)?;
        }
        // One segment may have any size unless there is a limit.
        let mut n_segments = 1;
        let mut segment_bytes = 1 << 30;
        if size_max > 0 {
            segment_bytes = size_max as usize;
            n_segments = MAX_SEGMENTS.min(n_descriptors - 2).min(seg_max.max(1) as usize);
        }
        let request_bytes = segment_bytes.saturating_mul(n_segments) / block_bytes * block_bytes;
        if request_bytes == 0 {
            return Err(InitError::SegmentSize { size_max });
        }
        self.segment_bytes = segment_bytes;
        self.geometry = Geometry { sector_count: 0, block_bytes, request_bytes, align_bytes: 1 };
        Ok(())
    }

    /// The capacity in sectors; both halves are read at the same moment.
    fn capacity(&self) -> u64 {
        const TRIES: usize = 100;
        let half = |offset| u64::from(self.transport.read_config_space::<u32>(offset).unwrap_or(0));
        for _ in 0..TRIES {
            let generation = self.transport.read_config_generation();
            let capacity = half(configuration::CAPACITY) | half(configuration::CAPACITY + 4) << 32;
            if self.transport.read_config_generation() == generation {
                return capacity;
            }
        }
        self.geometry.sector_count
    }

    /// Resets the device; true if it confirms that before the user stops the wait.
    fn stop(&mut self) -> bool {
        negotiation::reset(&mut *self.transport, self.surroundings)
    }

    /// Tells the device that it will not be used, and takes back its memory.
    fn give_up(&mut self) {
        self.transport.set_status(DeviceStatus::FAILED);
        let _ = self.halt();
    }

    /// Marks all slots as free.
    fn forget_requests(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.token = None);
    }
}

impl<T: Transport> Channel for BlockChannel<T> {
    fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    fn geometry(&self) -> Geometry {
        Geometry { sector_count: self.capacity(), ..self.geometry }
    }

    unsafe fn start(&mut self, slot: usize, ask: Ask, place: NonNull<[u8]>) -> Result<(), Broken> {
        let queue = self.queue.as_mut().ok_or(Broken)?;
        let slot = &mut self.slots[slot];
        let (kind, sector) = match ask {
            Ask::Sectors(first) => (REQUEST_IN, first),
            Ask::SerialNumber => (REQUEST_GET_ID, 0),
        };
        slot.header[..4].copy_from_slice(&kind.to_le_bytes());
        slot.header[8..].copy_from_slice(&sector.to_le_bytes());
        slot.status = STATUS_NONE;
        slot.place = place.as_ptr();
        let transport = &mut *self.transport;
        // SAFETY: the caller promises that only the device uses the place from now on; the slot is reserved by its token.
        let token = unsafe {
            with_parts(slot, self.segment_bytes, |header, parts| queue.start(transport, header, parts))
        };
        slot.token = Some(token.map_err(|_| Broken)?);
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken> {
        let queue = self.queue.as_mut().ok_or(Broken)?;
        let Some(token) = queue.peek() else {
            return Ok(None);
        };
        let index = self.slots.iter().position(|slot| slot.token == Some(token)).ok_or(Broken)?;
        let slot = &mut self.slots[index];
        // SAFETY: these are the buffers that `start` gave to the device under this token.
        let finished = unsafe {
            with_parts(slot, self.segment_bytes, |header, parts| queue.finish(token, header, parts))
        };
        let n_written = finished.map_err(|_| Broken)?;
        slot.token = None;
        // The serial number may be shorter than the buffer.
        let is_read = slot.header[..4] == REQUEST_IN.to_le_bytes();
        let is_short = is_read && is_short(n_written, slot.place.len());
        // SAFETY: the status lies in the slot. The read is volatile because the device has written to it without the compiler knowing.
        let status = unsafe { (&raw const slot.status).read_volatile() };
        Ok(Some((index, status == STATUS_OK && !is_short)))
    }

    fn is_broken(&self) -> bool {
        negotiation::is_broken(&*self.transport)
    }

    fn halt(&mut self) -> Result<(), usize> {
        if self.stop() {
            self.queue = None;
            self.forget_requests();
            return Ok(());
        }
        // The device may keep using them.
        let queue_bytes = self.queue.take().map_or(0, |queue| {
            forget(queue);
            RINGS_BYTES
        });
        let slots = take(&mut self.slots);
        let slots_bytes = size_of_val(&*slots);
        forget(slots);
        Err(queue_bytes + slots_bytes)
    }

    fn restart(&mut self) -> Result<(), Broken> {
        let (old, capacity) = (self.geometry, self.geometry.sector_count);
        let started = self.initialise();
        // If another device has taken its place, its serial number is not known, and the limits of requests may differ.
        if started.is_ok()
            && self.geometry.block_bytes == old.block_bytes
            && self.geometry.request_bytes >= old.request_bytes
        {
            self.geometry.request_bytes = old.request_bytes;
            return Ok(());
        }
        self.geometry = Geometry { sector_count: capacity, ..old };
        self.give_up();
        Err(Broken)
    }

    fn unplugged(&mut self) {
        self.queue = None;
        self.forget_requests();
    }
}

/// Starts the disk behind `transport` and asks for its serial number; it may take `patience_us` to answer.
///
/// # Errors
/// [`InitError`].
pub fn disk(
    transport: AnyTransport,
    vectors: Option<Vectors>,
    name: String,
    surroundings: Surroundings,
    patience_us: u64,
) -> Result<ChannelDisk, InitError> {
    let channel: Box<dyn Channel + Send> = Box::new(BlockChannel::new(transport, vectors, surroundings)?);
    let mut requests = Requests::new(channel, surroundings).ok_or(Error::DmaError)?;
    let serial = requests.serial(patience_us);
    Ok(ChannelDisk::new(requests, legible(&serial), name))
}
