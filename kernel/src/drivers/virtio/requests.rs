//! Which request next, and which one is done: keeps a disk busy until there is nothing left to read, and leaves
//! it when it does not answer.
//!
//! [`Requests`] knows no device: a [`Channel`] carries the requests, a virtqueue in the kernel, a list in tests.
//! What a device was asked for and did not answer stays its own: the memory that it may still write to is pinned
//! in the pool until the answers come or the device has been reset, and no new request is made before.

use crate::{
    memory::pool::{Pins, Pool},
    storage::{
        PATIENCE_US,
        sectors::{self, Failure, SECTOR_BYTES, Sectors},
    },
};
use alloc::{boxed::Box, vec, vec::Vec};
use core::{
    array,
    mem::{forget, take},
    ops::{ControlFlow, Range},
    ptr::NonNull,
};

/// Requests that a disk works on at the same time. Measured under QEMU: four of 4 MiB are as fast as any,
/// and more so than one after the other, since the host copies on several cores.
pub const REQUESTS_IN_FLIGHT: usize = 4;

/// The most that one request transfers.
const LARGEST_REQUEST_BYTES: usize = 4 << 20;

/// The first requests, and those of slow disks: what a disk was asked for it cannot be asked to forget.
const SMALLEST_REQUEST_BYTES: usize = 64 << 10;

/// A request that took longer is followed by smaller ones.
const SLOW_US: u64 = 250_000;

/// A request that took less is followed by larger ones.
const FAST_US: u64 = 50_000;

/// How long a finished request is looked out for before the core sleeps: some small requests.
const AWAKE_US: u64 = 100;

/// For how long a read goes on whatever the user wants: most are done by then.
pub const UNHEEDING_US: u64 = 150_000;

/// For how long requests are waited for of which nobody wants to know any more, all of them together.
const GRACE_US: u64 = 150_000;

/// Time between two looks at the state of a silent device.
const LOOK_US: u64 = 10_000;

/// What a driver needs of the machine while it waits.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Microseconds since some moment in the past.
    pub clock_us: fn() -> u64,
    /// Sleeps for a fraction of a millisecond.
    pub nap: fn(),
    /// Whether the user wants no more waiting. The answer stays the same until somebody else acts on it.
    pub is_interrupted: fn() -> bool,
    /// Where buffers come from that a device may write to.
    pub pool: &'static Pool,
}

/// What a device can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Its contents from this sector on.
    Sectors(u64),
    /// Its serial number.
    SerialNumber,
}

/// The size and shape of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Sectors in all.
    pub sector_count: u64,
    /// Requests begin and end with blocks of this size.
    pub block_bytes: usize,
    /// The most that one request can transfer, a multiple of a block.
    pub request_bytes: usize,
}

/// The device did what it must not, or asks for a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// Carries requests to a device and back.
pub trait Channel {
    /// How many requests there can be at a time, at least one.
    fn max_in_flight(&self) -> usize;

    /// The device's size and shape, as it says now.
    fn geometry(&self) -> Geometry;

    /// Gives the device a request. `slot`, below [`REQUESTS_IN_FLIGHT`], is free, and its name until it is finished.
    ///
    /// # Errors
    /// If the device takes none.
    ///
    /// # Safety
    /// Nobody may touch `place`, or lend it to somebody else, until [`finish`](Self::finish) has returned the slot
    /// or [`halt`](Self::halt) has returned true.
    unsafe fn start(&mut self, slot: usize, ask: Ask, place: NonNull<[u8]>) -> Result<(), Broken>;

    /// A request that the device is done with, and whether it succeeded; `None` if there is none.
    ///
    /// # Errors
    /// If the device claims to have done what it was not asked for.
    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken>;

    /// True if the device will do nothing before it is reset.
    fn is_broken(&self) -> bool;

    /// Stops the device. True if it has let go of all memory.
    fn halt(&mut self) -> bool;

    /// Starts a device that was stopped.
    ///
    /// # Errors
    /// If it does not start.
    fn restart(&mut self) -> Result<(), Broken>;

    /// Says that the device is no longer there.
    fn unplugged(&mut self);
}

/// A disk behind a channel.
pub struct Requests<C: Channel> {
    channel: C,
    surroundings: Surroundings,
    geometry: Geometry,
    /// Which slots the device has.
    is_in_flight: [bool; REQUESTS_IN_FLIGHT],
    /// What it may still write to though nobody waits for it.
    abandoned: Option<Pins>,
    /// True if it has not stopped when it was told to: it is not asked anything any more.
    is_lost: bool,
    /// One block, for what is read by parts.
    block: Box<[u8]>,
    request_bytes: usize,
    patience_us: u64,
}

impl<C: Channel> Requests<C> {
    /// The disk behind a channel that has been started.
    pub fn new(channel: C, surroundings: Surroundings) -> Self {
        let geometry = channel.geometry();
        Self {
            channel,
            surroundings,
            geometry,
            is_in_flight: [false; REQUESTS_IN_FLIGHT],
            abandoned: None,
            is_lost: false,
            block: vec![0; geometry.block_bytes].into(),
            request_bytes: SMALLEST_REQUEST_BYTES,
            patience_us: PATIENCE_US,
        }
    }

    /// For how long the disk may be silent from now on.
    pub fn set_patience(&mut self, patience_us: u64) {
        self.patience_us = patience_us;
    }

    /// Asks for the size again.
    pub fn refresh(&mut self) {
        if !self.is_lost {
            let Geometry { sector_count, .. } = self.channel.geometry();
            self.geometry.sector_count = sector_count;
        }
    }

    /// The serial number, empty if the disk has none or does not answer.
    pub fn serial(&mut self) -> Vec<u8> {
        const LENGTH: usize = 20;
        self.block[..LENGTH].fill(0);
        match self.ask(Ask::SerialNumber, LENGTH) {
            Ok(serial) => serial.split(|&byte| byte == 0).next().unwrap_or_default().to_vec(),
            Err(_) => Vec::new(),
        }
    }

    /// Stops the device and starts it again; what was asked of it is forgotten.
    ///
    /// # Errors
    /// If it does not stop or start. It is not asked anything any more then.
    pub fn reset(&mut self) -> Result<(), Failure> {
        if self.is_lost {
            return Err(Failure::Broken);
        }
        if self.channel.halt() {
            self.is_in_flight = [false; REQUESTS_IN_FLIGHT];
            self.abandoned = None;
            self.request_bytes = SMALLEST_REQUEST_BYTES;
            if self.channel.restart().is_ok() {
                self.refresh();
                return Ok(());
            }
        } else {
            // It may write there for ever.
            forget(self.abandoned.take());
            forget(take(&mut self.block));
        }
        self.is_lost = true;
        Err(Failure::Broken)
    }

    /// Says that the device is no longer there, and so writes to nothing.
    pub fn unplugged(&mut self) {
        self.channel.unplugged();
        self.is_in_flight = [false; REQUESTS_IN_FLIGHT];
        self.abandoned = None;
        self.is_lost = true;
    }

    fn now_us(&self) -> u64 {
        (self.surroundings.clock_us)()
    }

    fn is_busy(&self) -> bool {
        self.is_in_flight.contains(&true)
    }

    /// True if the device has not stopped or started when it was told to, and so is not asked anything any more.
    /// What it may still write to has been given to it for ever: the disk can be dropped, and a new one made of the
    /// device.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// True if the device was asked for something that nobody waits for any more, and has not answered yet.
    pub fn is_silent(&self) -> bool {
        self.is_lost || self.is_busy()
    }

    /// Waits for the answer to any request. What the user wants counts from `heed_from_us` on.
    fn wait(&mut self, since_us: u64, patience_us: u64, heed_from_us: u64) -> Result<(usize, bool), Failure> {
        let mut last_look_us = since_us;
        loop {
            match self.channel.finish() {
                Ok(Some((slot, succeeded))) => {
                    self.is_in_flight[slot] = false;
                    return Ok((slot, succeeded));
                }
                Ok(None) => {}
                Err(Broken) => return Err(Failure::Broken),
            }
            let now_us = self.now_us();
            let waited_us = now_us.saturating_sub(since_us);
            if waited_us < AWAKE_US {
                core::hint::spin_loop();
                continue;
            }
            if waited_us >= patience_us {
                return Err(Failure::NoAnswer { waited_us });
            }
            if now_us >= heed_from_us && (self.surroundings.is_interrupted)() {
                return Err(Failure::Interrupted);
            }
            if now_us.saturating_sub(last_look_us) >= LOOK_US {
                last_look_us = now_us;
                if self.channel.is_broken() {
                    return Err(Failure::Broken);
                }
            }
            // The host may need this core for the copying.
            (self.surroundings.nap)();
        }
    }

    /// Waits for the answers to requests of which nobody wants to know any more.
    fn settle(&mut self) -> Result<(), Failure> {
        if self.is_lost {
            return Err(Failure::Broken);
        }
        let mut since_us = self.now_us();
        let heed_from_us = since_us + UNHEEDING_US;
        while self.is_busy() {
            match self.wait(since_us, self.patience_us, heed_from_us) {
                Ok(_) => since_us = self.now_us(),
                Err(Failure::Broken) => self.reset()?,
                Err(failure) => return Err(failure),
            }
        }
        self.abandoned = None;
        Ok(())
    }

    /// Gives up what is in flight, and the memory that it goes to.
    fn abandon(&mut self, places: &[Range<usize>], failure: Failure) {
        if self.is_busy() {
            self.abandoned = Some(self.surroundings.pool.pin(places.iter().cloned()));
            self.request_bytes = SMALLEST_REQUEST_BYTES;
        }
        if failure == Failure::Broken {
            // An error is reported by the next read.
            let _ = self.reset();
        }
    }

    /// Asks for up to a block's length, into the disk's own memory.
    fn ask(&mut self, ask: Ask, length: usize) -> Result<&[u8], Failure> {
        self.settle()?;
        let place = &mut self.block[..length];
        let request = match ask {
            Ask::Sectors(first) => Failure::Request { first, count: length / SECTOR_BYTES },
            Ask::SerialNumber => Failure::Request { first: 0, count: 0 },
        };
        // SAFETY: nobody touches the block while a request is in flight: `settle` comes before each use, and where
        // the device cannot be stopped the block is given away for ever.
        let started = unsafe { self.channel.start(0, ask, NonNull::from(place)) };
        let outcome = match started {
            Ok(()) => {
                self.is_in_flight[0] = true;
                let now_us = self.now_us();
                self.wait(now_us, self.patience_us, now_us + UNHEEDING_US)
            }
            Err(Broken) => Err(Failure::Broken),
        };
        match outcome {
            Ok((_, true)) => Ok(&self.block[..length]),
            Ok((_, false)) => Err(request),
            Err(failure) => {
                self.abandon(&[], failure);
                Err(failure)
            }
        }
    }

    /// Keeps requests in flight until there are no more.
    fn transfer<'b>(&mut self, work: &mut dyn Transfer<'b>) -> Result<(), Failure> {
        self.settle()?;
        // A ring, in the order of the disk.
        let mut requests: [Next<'b>; REQUESTS_IN_FLIGHT] = array::from_fn(|_| Next::default());
        let most = self.channel.max_in_flight().clamp(1, REQUESTS_IN_FLIGHT);
        let (mut n_started, mut n_taken) = (0, 0);
        let mut result = Ok(());
        let mut is_over = false;
        let mut since_us = self.now_us();
        let heed_from_us = since_us + UNHEEDING_US;
        loop {
            while !is_over
                && n_started - n_taken < most
                && let Some(next) = work.next(self.request_bytes.min(self.geometry.request_bytes))
            {
                let slot = n_started % REQUESTS_IN_FLIGHT;
                requests[slot] = next;
                let Next { first, place, length } = &mut requests[slot];
                let place = NonNull::from(&mut place[..*length]);
                // SAFETY: nobody touches the place before it is taken out of the ring, when it is finished; what
                // is not finished is pinned before this function returns.
                match unsafe { self.channel.start(slot, Ask::Sectors(*first), place) } {
                    Ok(()) => self.is_in_flight[slot] = true,
                    Err(Broken) => (result, is_over) = (result.and(Err(Failure::Broken)), true),
                }
                n_started += 1;
            }
            if n_started == n_taken {
                if result == Err(Failure::Broken) {
                    self.abandon(&[], Failure::Broken);
                }
                return result;
            }
            let oldest = n_taken % REQUESTS_IN_FLIGHT;
            if !self.is_in_flight[oldest] {
                n_taken += 1;
                let Next { place, length, .. } = take(&mut requests[oldest]);
                if !is_over {
                    is_over = work.take(place, length).is_break();
                    // The disk is not to blame for the time that this took.
                    since_us = self.now_us();
                }
                continue;
            }
            let (patience_us, heed_from_us) =
                if is_over { (GRACE_US, u64::MAX) } else { (self.patience_us, heed_from_us) };
            match self.wait(since_us, patience_us, heed_from_us) {
                Ok((slot, succeeded)) => {
                    // Each answer gives the next request its time, but nobody wants to wait for those after the end.
                    if !is_over {
                        let now_us = self.now_us();
                        self.adapt(requests[slot].length, now_us.saturating_sub(since_us));
                        since_us = now_us;
                    }
                    if !succeeded {
                        (result, is_over) = (result.and(Err(requests[slot].failure())), true);
                    }
                }
                Err(Failure::Interrupted) => {
                    (result, is_over) = (Err(Failure::Interrupted), true);
                    since_us = self.now_us();
                }
                Err(failure) => {
                    let in_flight = (0..REQUESTS_IN_FLIGHT).filter(|&slot| self.is_in_flight[slot]);
                    let places: Vec<_> = in_flight.map(|slot| requests[slot].addresses()).collect();
                    self.abandon(&places, failure);
                    // Who has broken off, or has an error, is not told that he did not wait.
                    return if is_over { result } else { Err(failure) };
                }
            }
        }
    }

    /// Makes requests larger on a fast disk, smaller on a slow one.
    fn adapt(&mut self, length_bytes: usize, took_us: u64) {
        if took_us > SLOW_US {
            self.request_bytes = (self.request_bytes / 2).max(SMALLEST_REQUEST_BYTES);
        } else if took_us < FAST_US && length_bytes >= self.request_bytes {
            self.request_bytes = (self.request_bytes * 2).min(LARGEST_REQUEST_BYTES);
        }
    }
}

/// Requests are not dropped while a device may write to their memory.
impl<C: Channel> Drop for Requests<C> {
    fn drop(&mut self) {
        if !self.is_lost && !self.channel.halt() {
            forget(self.abandoned.take());
            forget(take(&mut self.block));
        }
    }
}

impl<C: Channel> Sectors for Requests<C> {
    fn sector_count(&self) -> u64 {
        self.geometry.sector_count
    }

    fn block_bytes(&self) -> usize {
        self.geometry.block_bytes
    }

    fn read_sectors(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        let block_bytes = self.geometry.block_bytes;
        if self.surroundings.pool.contains(buffer) {
            return self.transfer(&mut InPlace { first, rest: buffer, block_bytes });
        }
        // Memory that could not be pinned.
        let n_sectors = block_bytes / SECTOR_BYTES;
        for (first, block) in (first..).step_by(n_sectors).zip(buffer.chunks_exact_mut(block_bytes)) {
            block.copy_from_slice(self.read_block(first, n_sectors)?);
        }
        Ok(())
    }

    fn read_block(&mut self, first: u64, n_sectors: usize) -> Result<&[u8], Failure> {
        self.ask(Ask::Sectors(first), n_sectors * SECTOR_BYTES)
    }

    fn read_lots(
        &mut self,
        sectors: Range<u64>,
        buffer: &mut [u8],
        use_lot: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let block_bytes = self.geometry.block_bytes;
        let lot_bytes = buffer.len() / REQUESTS_IN_FLIGHT / block_bytes * block_bytes;
        if lot_bytes == 0 || !self.surroundings.pool.contains(buffer) {
            return sectors::read_one_by_one(self, sectors, use_lot);
        }
        let mut lots = buffer.chunks_exact_mut(lot_bytes);
        let free = array::from_fn(|_| lots.next());
        self.transfer(&mut InLots { sectors, free, use_lot, block_bytes })
    }
}

/// What is to be read, request by request.
trait Transfer<'b> {
    /// The next request: of up to `limit_bytes`, but one block at least.
    fn next(&mut self, limit_bytes: usize) -> Option<Next<'b>>;

    /// Takes a request's place back, in the order of the requests, with `length` bytes read. To break off means no
    /// more requests.
    fn take(&mut self, place: &'b mut [u8], length: usize) -> ControlFlow<()>;
}

/// A request to be made.
#[derive(Default)]
struct Next<'b> {
    /// The first sector.
    first: u64,
    /// Where the sectors go: to its beginning.
    place: &'b mut [u8],
    /// How much is read.
    length: usize,
}

impl Next<'_> {
    fn failure(&self) -> Failure {
        Failure::Request { first: self.first, count: self.length / SECTOR_BYTES }
    }

    /// The addresses that a device writes to.
    fn addresses(&self) -> Range<usize> {
        let start = self.place.as_ptr().expose_provenance();
        start..start + self.length
    }
}

/// Whole blocks, one at least.
fn round_to_blocks(bytes: usize, block_bytes: usize) -> usize {
    (bytes / block_bytes).max(1) * block_bytes
}

/// Blocks that are read to where they belong.
struct InPlace<'b> {
    first: u64,
    rest: &'b mut [u8],
    block_bytes: usize,
}

impl<'b> Transfer<'b> for InPlace<'b> {
    fn next(&mut self, limit_bytes: usize) -> Option<Next<'b>> {
        let length = self.rest.len().min(round_to_blocks(limit_bytes, self.block_bytes));
        if length == 0 {
            return None;
        }
        let (place, rest) = take(&mut self.rest).split_at_mut(length);
        self.rest = rest;
        let first = self.first;
        self.first += (length / SECTOR_BYTES) as u64;
        Some(Next { first, place, length })
    }

    fn take(&mut self, _: &'b mut [u8], _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Blocks that are shown to somebody.
struct InLots<'b, 'u> {
    sectors: Range<u64>,
    free: [Option<&'b mut [u8]>; REQUESTS_IN_FLIGHT],
    use_lot: &'u mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    block_bytes: usize,
}

impl<'b> Transfer<'b> for InLots<'b, '_> {
    fn next(&mut self, limit_bytes: usize) -> Option<Next<'b>> {
        let first = self.sectors.start;
        if self.sectors.is_empty() {
            return None;
        }
        let place = self.free.iter_mut().find_map(Option::take)?;
        let most = place.len().min(round_to_blocks(limit_bytes, self.block_bytes));
        let count = (self.sectors.end - first).min((most / SECTOR_BYTES) as u64);
        self.sectors.start += count;
        Some(Next { first, place, length: count as usize * SECTOR_BYTES })
    }

    fn take(&mut self, place: &'b mut [u8], length: usize) -> ControlFlow<()> {
        let end = (self.use_lot)(&place[..length]);
        if let Some(free) = self.free.iter_mut().find(|free| free.is_none()) {
            *free = Some(place);
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{llm::host, memory::pool::Region};
    use std::{cell::Cell, rc::Rc};

    thread_local! {
        static NOW_US: Cell<u64> = const { Cell::new(0) };
        /// When the user types Ctrl-C.
        static CTRL_C_US: Cell<u64> = const { Cell::new(u64::MAX) };
    }

    fn surroundings(pool: &'static Pool) -> Surroundings {
        NOW_US.set(0);
        CTRL_C_US.set(u64::MAX);
        Surroundings {
            // Time goes by while somebody looks at the clock, too.
            clock_us: || {
                NOW_US.set(NOW_US.get() + 1);
                NOW_US.get()
            },
            nap: || NOW_US.set(NOW_US.get() + 100),
            is_interrupted: || NOW_US.get() >= CTRL_C_US.get(),
            pool,
        }
    }

    /// What happens to the device from outside.
    #[derive(Default)]
    struct Switches {
        /// Answers come no more.
        is_silent: Cell<bool>,
        /// It asks for a reset.
        is_broken: Cell<bool>,
        /// It does not stop when told to.
        is_unstoppable: Cell<bool>,
        n_resets: Cell<usize>,
    }

    /// A device that works on one request after the other and may answer them in another order.
    struct FakeDevice {
        switches: Rc<Switches>,
        most: usize,
        geometry: Geometry,
        us_per_request: u64,
        us_per_kib: u64,
        bad_sector: Option<u64>,
        /// Which of the finished requests is answered first: the last one, if that is so.
        last_first: bool,
        /// Slot, question, place, and when it is done.
        asked: Vec<(usize, Ask, NonNull<[u8]>, u64)>,
        log: Rc<std::cell::RefCell<Vec<(u64, usize)>>>,
    }

    fn byte_at(offset: u64) -> u8 {
        (offset ^ offset >> 8 ^ offset >> 16) as u8
    }

    const SECTORS: u64 = 40 << 11;

    impl FakeDevice {
        fn new() -> Self {
            Self {
                switches: Rc::default(),
                most: 4,
                geometry: Geometry {
                    sector_count: SECTORS,
                    block_bytes: 4096,
                    request_bytes: usize::MAX / 4096 * 4096,
                },
                us_per_request: 20,
                us_per_kib: 0,
                bad_sector: None,
                last_first: false,
                asked: Vec::new(),
                log: Rc::default(),
            }
        }
    }

    impl Channel for FakeDevice {
        fn max_in_flight(&self) -> usize {
            self.most
        }

        fn geometry(&self) -> Geometry {
            self.geometry
        }

        unsafe fn start(&mut self, slot: usize, ask: Ask, place: NonNull<[u8]>) -> Result<(), Broken> {
            assert!(self.asked.len() < self.most, "more requests than fit");
            assert!(self.asked.iter().all(|&(taken, ..)| taken != slot), "slot {slot} is taken");
            if let Ask::Sectors(first) = ask {
                assert!(!place.is_empty() && place.len().is_multiple_of(self.geometry.block_bytes));
                assert!((first * 512).is_multiple_of(self.geometry.block_bytes as u64));
                assert!(place.len() <= self.geometry.request_bytes);
                self.log.borrow_mut().push((first, place.len()));
            }
            let start_us = self.asked.last().map_or(0, |&(.., done_us)| done_us).max(NOW_US.get());
            let done_us = start_us + self.us_per_request + self.us_per_kib * (place.len() as u64 >> 10);
            self.asked.push((slot, ask, place, done_us));
            Ok(())
        }

        fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken> {
            let n_done = self.asked.iter().filter(|(.., done_us)| *done_us <= NOW_US.get()).count();
            if n_done == 0 || self.switches.is_silent.get() || self.switches.is_broken.get() {
                return Ok(None);
            }
            let (slot, ask, mut place, _) = self.asked.remove(if self.last_first { n_done - 1 } else { 0 });
            // SAFETY: the place is the device's until it is returned from here.
            let place = unsafe { place.as_mut() };
            match ask {
                Ask::Sectors(first) => {
                    for (byte, offset) in place.iter_mut().zip(first * 512..) {
                        *byte = byte_at(offset);
                    }
                    let sectors = first..first + place.len() as u64 / 512;
                    Ok(Some((slot, self.bad_sector.is_none_or(|bad| !sectors.contains(&bad)))))
                }
                Ask::SerialNumber => {
                    place[..4].copy_from_slice(b"fake");
                    Ok(Some((slot, true)))
                }
            }
        }

        fn is_broken(&self) -> bool {
            self.switches.is_broken.get()
        }

        fn halt(&mut self) -> bool {
            if self.switches.is_unstoppable.get() {
                return false;
            }
            self.asked.clear();
            self.switches.is_broken.set(false);
            self.switches.n_resets.set(self.switches.n_resets.get() + 1);
            true
        }

        fn restart(&mut self) -> Result<(), Broken> {
            Ok(())
        }

        fn unplugged(&mut self) {
            self.asked.clear();
        }
    }

    struct Bench {
        pool: &'static Pool,
        switches: Rc<Switches>,
        log: Rc<std::cell::RefCell<Vec<(u64, usize)>>>,
        disk: Requests<FakeDevice>,
    }

    impl Bench {
        fn new(device: FakeDevice) -> Self {
            let pool = host::pool(64 << 20);
            let (switches, log) = (device.switches.clone(), device.log.clone());
            Self { pool, switches, log, disk: Requests::new(device, surroundings(pool)) }
        }

        fn region(&self, length: usize) -> Region {
            self.pool.reserve(length, 64).unwrap()
        }

        /// Reads into the pool, and gives the memory back.
        fn read(&mut self, first: u64, length: usize) -> Result<(), Failure> {
            let mut region = self.region(length);
            region.fill(0);
            self.disk.read_sectors(first, &mut region)?;
            assert!(region.iter().zip(first * 512..).all(|(&byte, offset)| byte == byte_at(offset)));
            Ok(())
        }
    }

    #[test]
    fn a_read_of_any_length_is_right_whatever_the_order_of_answers() {
        for (most, last_first) in [(1, false), (2, true), (4, false), (4, true)] {
            let mut bench = Bench::new(FakeDevice { most, last_first, ..FakeDevice::new() });
            for n_blocks in [1, 15, 16, 17, 1000, 5000] {
                bench.read(8 * 7, n_blocks * 4096).unwrap();
            }
            let mut next = 8;
            let mut buffer = bench.region(8 << 20);
            let mut check = |lot: &[u8]| {
                assert!(lot.iter().zip(next * 512..).all(|(&byte, offset)| byte == byte_at(offset)));
                next += lot.len() as u64 / 512;
                ControlFlow::Continue(())
            };
            bench.disk.read_lots(8..SECTORS, &mut buffer, &mut check).unwrap();
            assert_eq!(next, SECTORS);
            assert_eq!(bench.disk.serial(), b"fake");
        }
    }

    #[test]
    fn memory_that_cannot_be_pinned_is_not_given_to_the_device() {
        let mut bench = Bench::new(FakeDevice::new());
        let mut buffer = [0; 3 * 4096];
        bench.disk.read_sectors(16, &mut buffer).unwrap();
        assert!(buffer.iter().zip(16 * 512..).all(|(&byte, offset)| byte == byte_at(offset)));
        assert_eq!(*bench.log.borrow(), [(16, 4096), (24, 4096), (32, 4096)]);
    }

    #[test]
    fn requests_grow_on_a_fast_disk_and_stay_small_on_a_slow_one() {
        let mut fast = Bench::new(FakeDevice::new());
        fast.read(0, 40 << 20).unwrap();
        assert_eq!(fast.log.borrow()[0], (0, 64 << 10));
        assert!(fast.log.borrow().len() < 40);
        assert!(fast.log.borrow().iter().any(|&(_, length)| length == 4 << 20));
        // 300 kB/s.
        let mut slow = Bench::new(FakeDevice { us_per_kib: 3_400, ..FakeDevice::new() });
        slow.read(0, 8 << 20).unwrap();
        assert!(slow.log.borrow().iter().all(|&(_, length)| length == 64 << 10));
        let limited = Geometry { request_bytes: 8192, ..FakeDevice::new().geometry };
        let mut limited = Bench::new(FakeDevice { geometry: limited, ..FakeDevice::new() });
        limited.read(0, 1 << 20).unwrap();
    }

    #[test]
    fn a_bad_sector_is_the_error_of_its_request() {
        let mut bench = Bench::new(FakeDevice { bad_sector: Some(9999), ..FakeDevice::new() });
        let Err(Failure::Request { first, count }) = bench.read(0, 16 << 20) else { panic!("no error") };
        assert!((first..first + count as u64).contains(&9999));
        bench.read(0, 4 << 20).unwrap();
        assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
    }

    #[test]
    fn what_a_silent_disk_may_write_to_is_nobodys_until_it_answers() {
        let mut bench = Bench::new(FakeDevice::new());
        bench.switches.is_silent.set(true);
        let silent = bench.read(0, 16 << 20);
        assert!(matches!(silent, Err(Failure::NoAnswer { waited_us: PATIENCE_US..5_100_000 })), "{silent:?}");
        // Four requests of 64 KiB, and nothing more of the region.
        assert_eq!(bench.pool.held_bytes(), 4 * (64 << 10));
        assert_eq!(bench.pool.free_bytes() + bench.pool.held_bytes(), bench.pool.total_bytes());
        bench.disk.set_patience(1_000_000);
        let silent = bench.read(0, 4096);
        assert!(matches!(silent, Err(Failure::NoAnswer { waited_us: 1_000_000..1_100_000 })), "{silent:?}");
        assert!(matches!(bench.disk.read_block(0, 8), Err(Failure::NoAnswer { .. })));
        assert!(bench.disk.is_silent());
        assert_eq!(bench.log.borrow().len(), 4);

        bench.switches.is_silent.set(false);
        bench.read(0, 16 << 20).unwrap();
        assert!(!bench.disk.is_silent());
        assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
    }

    #[test]
    fn ctrl_c_is_heard_within_half_a_second() {
        // In one case each answer comes just before it would no longer be waited for.
        for (is_silent, us_per_kib) in [(true, 0), (false, 2_265), (false, 3_400), (false, 30_000)] {
            let mut bench = Bench::new(FakeDevice { us_per_kib, ..FakeDevice::new() });
            bench.switches.is_silent.set(is_silent);
            let ctrl_c_us = NOW_US.get() + 1_500_000;
            CTRL_C_US.set(ctrl_c_us);
            assert_eq!(bench.read(0, 16 << 20), Err(Failure::Interrupted));
            assert!(NOW_US.get() - ctrl_c_us < 500_000, "heard after {} µs", NOW_US.get() - ctrl_c_us);
            assert!(bench.pool.held_bytes() > 0);
            // What was asked for comes, and then the disk is as before.
            CTRL_C_US.set(u64::MAX);
            bench.switches.is_silent.set(false);
            bench.read(0, 4096).unwrap();
            assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
        }
    }

    #[test]
    fn who_breaks_off_does_not_wait_for_a_silent_disk() {
        let mut bench = Bench::new(FakeDevice::new());
        let switches = bench.switches.clone();
        let mut buffer = bench.region(1 << 20);
        let mut start_us = 0;
        let mut stop = |_: &[u8]| {
            switches.is_silent.set(true);
            start_us = NOW_US.get();
            ControlFlow::Break(())
        };
        bench.disk.read_lots(0..SECTORS, &mut buffer, &mut stop).unwrap();
        assert!(NOW_US.get() - start_us < 300_000);
        drop(buffer);
        assert!(bench.pool.held_bytes() > 0);
    }

    #[test]
    fn a_broken_disk_is_reset_and_comes_back() {
        let mut bench = Bench::new(FakeDevice::new());
        bench.switches.is_broken.set(true);
        assert_eq!(bench.read(0, 1 << 20), Err(Failure::Broken));
        assert_eq!(bench.switches.n_resets.get(), 1);
        assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
        bench.read(0, 1 << 20).unwrap();

        // One that was silent, too.
        bench.switches.is_silent.set(true);
        assert!(bench.read(0, 1 << 20).is_err());
        bench.switches.is_silent.set(false);
        bench.disk.reset().unwrap();
        assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
        bench.read(0, 1 << 20).unwrap();
    }

    #[test]
    fn memory_of_a_disk_that_does_not_stop_is_given_to_nobody_for_ever() {
        let mut bench = Bench::new(FakeDevice::new());
        bench.switches.is_silent.set(true);
        assert!(bench.read(0, 1 << 20).is_err());
        let held_bytes = bench.pool.held_bytes();
        assert!(held_bytes > 0);
        bench.switches.is_unstoppable.set(true);
        assert!(!bench.disk.is_lost());
        assert_eq!(bench.disk.reset(), Err(Failure::Broken));
        assert!(bench.disk.is_lost());
        assert_eq!(bench.read(0, 4096), Err(Failure::Broken));
        drop(bench.disk);
        assert_eq!(bench.pool.held_bytes(), held_bytes);
        // Unless there is no device any more.
        let mut bench = Bench::new(FakeDevice::new());
        bench.switches.is_silent.set(true);
        assert!(bench.read(0, 1 << 20).is_err());
        bench.switches.is_unstoppable.set(true);
        bench.disk.unplugged();
        assert_eq!(bench.pool.free_bytes(), bench.pool.total_bytes());
    }
}
