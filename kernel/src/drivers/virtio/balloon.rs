//! The memory balloon device: its configuration and its queues (VIRTIO 1.2, 5.5).

use super::{
    negotiation::{self, feature},
    queue::Queue,
    transport::AnyTransport,
    vectors::Vectors,
};
use crate::drivers::{
    balloon::{Broken, Device, List, MAX_PAGES},
    requests::Surroundings,
};
use alloc::{boxed::Box, vec::Vec};
use core::mem::ManuallyDrop;
use virtio_drivers::transport::{DeviceStatus, Transport};
use zerocopy::IntoBytes;

/// Feature bits (VIRTIO 1.2, 5.5.3).
const MUST_TELL_HOST: u64 = 1 << 0;
const STATISTICS: u64 = 1 << 1;
const FREE_PAGE_HINT: u64 = 1 << 3;
const REPORTING: u64 = 1 << 5;
const SUPPORTED: u64 =
    MUST_TELL_HOST | STATISTICS | FREE_PAGE_HINT | REPORTING | feature::VERSION_1 | feature::ACCESS_PLATFORM;

/// Offsets in the configuration (5.5.4).
const WANTED: usize = 0;
const ACTUAL: usize = 4;

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
/// The number of the statistics queue, if statistics are offered.
const FIRST_OTHER: usize = 2;

/// Size of a statistic (5.5.6.3): a tag of two bytes, and a value of eight.
const STATISTIC_BYTES: usize = 10;
const FREE_BYTES: u16 = 4;
const TOTAL_BYTES: u16 = 5;
const AVAILABLE_BYTES: u16 = 6;
const N_STATISTICS: usize = 3;

const OUT_OF_ORDER: &str = "a queue of it is out of order";

/// A balloon device. It is never stopped, so memory that was lent to it is its own for ever.
pub struct VirtioBalloon {
    transport: ManuallyDrop<AnyTransport>,
    surroundings: Surroundings,
    queues: ManuallyDrop<Vec<Queue>>,
    statistics: Option<usize>,
    reporting: Option<usize>,
    list: ManuallyDrop<Box<[u32; MAX_PAGES]>>,
    numbers: ManuallyDrop<Box<[u8; N_STATISTICS * STATISTIC_BYTES]>>,
    /// The number of the queue, and the request's token.
    in_flight: Option<(usize, u16)>,
    /// What that request lends to the device: a number of pages of the list, or this memory.
    lent: Lent,
    statistics_token: Option<u16>,
}

enum Lent {
    Pages(usize),
    Memory(*mut [u8]),
}

// SAFETY: only the device accesses the lent memory, whichever core owns the value.
unsafe impl Send for VirtioBalloon {}

impl VirtioBalloon {
    /// Starts the device behind `transport`. With `vectors` it interrupts by messages, and the interrupt is returned. `None` if
    /// it does not start.
    pub fn new(
        transport: AnyTransport,
        vectors: Option<Vectors>,
        surroundings: Surroundings,
    ) -> Option<(Self, Option<u32>)> {
        let mut transport = ManuallyDrop::new(transport);
        let mut queues = ManuallyDrop::new(Vec::new());
        let Some((features, status)) = start(&mut transport, vectors, surroundings, &mut queues) else {
            transport.set_status(DeviceStatus::FAILED);
            return None;
        };
        let has = |feature: u64| features & feature != 0;
        let mut device = Self {
            transport,
            surroundings,
            queues,
            statistics: has(STATISTICS).then_some(FIRST_OTHER),
            reporting: has(REPORTING)
                .then_some(FIRST_OTHER + usize::from(has(STATISTICS)) + usize::from(has(FREE_PAGE_HINT))),
            list: ManuallyDrop::new(Box::new([0; MAX_PAGES])),
            numbers: ManuallyDrop::new(Box::new([0; N_STATISTICS * STATISTIC_BYTES])),
            in_flight: None,
            lent: Lent::Pages(0),
            statistics_token: None,
        };
        let vectors = vectors.filter(|vectors| vectors.assign_configuration());
        device.transport.set_status(status | DeviceStatus::DRIVER_OK);
        Some((device, vectors.map(|vectors| vectors.interrupt)))
    }

    /// Lends memory to the device by this queue.
    fn begin(&mut self, number: usize, lent: Lent) -> Result<(), Broken> {
        self.lent = lent;
        let Self { transport, queues, list, lent, .. } = self;
        let queue = queues.get_mut(number).ok_or(Broken(OUT_OF_ORDER))?;
        // SAFETY: the list is not accessed until the device is done with it, and the memory is a region that `report` owns.
        let token = unsafe {
            match *lent {
                Lent::Pages(n_pages) => queue.start(&mut **transport, &[list[..n_pages].as_bytes()], &mut []),
                Lent::Memory(memory) => queue.start(&mut **transport, &[], &mut [&mut *memory]),
            }
        };
        self.in_flight = Some((number, token.map_err(|_| Broken(OUT_OF_ORDER))?));
        Ok(())
    }
}

/// Initialises the device up to its queues (VIRTIO 1.2, 3.1.1). The queues' numbers depend on what the device offers: queues that
/// are not offered are not counted, as in Linux, QEMU and Firecracker. All queues that are offered are set up, since some devices
/// do not start otherwise.
fn start(
    transport: &mut AnyTransport,
    vectors: Option<Vectors>,
    surroundings: Surroundings,
    queues: &mut Vec<Queue>,
) -> Option<(u64, DeviceStatus)> {
    if !negotiation::reset(transport, surroundings) {
        return None;
    }
    let (features, status) = negotiation::negotiate(transport, SUPPORTED).ok()?;
    let n_others =
        [STATISTICS, FREE_PAGE_HINT, REPORTING].iter().filter(|&&other| features & other != 0).count();
    for number in 0..FIRST_OTHER + n_others {
        // The driver does not wait for the device to ask for statistics: it interrupts for that.
        let is_statistics = features & STATISTICS != 0 && number == FIRST_OTHER;
        let interrupts = is_statistics && vectors.is_none_or(|vectors| vectors.assign(number as u16));
        queues.push(Queue::new(transport, number as u16, false, interrupts).ok()?);
    }
    Some((features, status))
}

impl Device for VirtioBalloon {
    fn wanted_pages(&mut self) -> u32 {
        self.transport.read_config_space(WANTED).unwrap_or(0)
    }

    fn set_actual_pages(&mut self, pages: u32) {
        let _ = self.transport.write_config_space(ACTUAL, pages);
    }

    fn page_limit(&self) -> u64 {
        // Page numbers have 32 bits.
        1 << 32
    }

    fn stop(&mut self) {
        // There is no wait for the device to stop: memory that was lent to it is its own for ever.
        self.transport.set_status(DeviceStatus::empty());
    }

    fn takes_reports(&self) -> bool {
        self.reporting.is_some()
    }

    fn tell(&mut self, list: List, pages: &mut dyn Iterator<Item = u64>) -> Result<(), Broken> {
        let mut n_pages = 0;
        for (place, page) in self.list.iter_mut().zip(pages) {
            *place = (page as u32).to_le();
            n_pages += 1;
        }
        self.begin(if list == List::Inflate { INFLATE } else { DEFLATE }, Lent::Pages(n_pages))
    }

    fn report(&mut self, memory: &mut [u8]) -> Result<(), Broken> {
        /// The wait makes sure that the memory is back before other code asks for memory, unless the device takes longer than this.
        const PATIENCE_US: u64 = 100_000;
        let Some(number) = self.reporting else { return Ok(()) };
        self.begin(number, Lent::Memory(memory))?;
        let queue = self.queues.get(number);
        self.surroundings.wait_until(PATIENCE_US, &mut || queue.is_none_or(|queue| queue.peek().is_some()));
        Ok(())
    }

    fn is_done(&mut self) -> Result<bool, Broken> {
        let Some((number, token)) = self.in_flight else { return Ok(true) };
        let Self { queues, list, lent, .. } = self;
        let queue = queues.get_mut(number).ok_or(Broken(OUT_OF_ORDER))?;
        let Some(done) = queue.peek() else { return Ok(false) };
        if done != token {
            return Err(Broken("it says that it has done what it was not asked"));
        }
        // SAFETY: these are the buffers that `begin` gave to the device under this token.
        let finished = unsafe {
            match *lent {
                Lent::Pages(n_pages) => queue.finish(token, &[list[..n_pages].as_bytes()], &mut []),
                Lent::Memory(memory) => queue.finish(token, &[], &mut [&mut *memory]),
            }
        };
        finished.map_err(|_| Broken(OUT_OF_ORDER))?;
        self.in_flight = None;
        Ok(true)
    }

    fn tell_statistics(&mut self, total_bytes: usize, free_bytes: usize) {
        let Self { transport, queues, numbers, statistics_token, .. } = self;
        let Some(queue) = self.statistics.and_then(|number| queues.get_mut(number)) else { return };
        if let Some(token) = *statistics_token {
            // The device returns the old numbers when it wants new ones.
            // SAFETY: these are the buffers that were given to the device under this token.
            let is_back = queue.peek() == Some(token)
                && unsafe { queue.finish(token, &[&numbers[..]], &mut []) }.is_ok();
            if !is_back {
                return;
            }
        }
        let values = [(TOTAL_BYTES, total_bytes), (FREE_BYTES, free_bytes), (AVAILABLE_BYTES, free_bytes)];
        for (place, (tag, value)) in numbers.chunks_exact_mut(STATISTIC_BYTES).zip(values) {
            place[..2].copy_from_slice(&tag.to_le_bytes());
            place[2..].copy_from_slice(&(value as u64).to_le_bytes());
        }
        // SAFETY: the numbers are not accessed until the device has returned them.
        *statistics_token = unsafe { queue.start(&mut **transport, &[&numbers[..]], &mut []) }.ok();
    }
}
