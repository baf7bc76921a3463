//! Schedules a disk's requests: keeps the disk busy as long as there is something to read, and gives up when it does not answer.
//!
//! [`Requests`] does not depend on a device: a [`Channel`] carries the requests, which is a device's queue in the kernel and a
//! list in tests. Memory of a request without an answer stays with the device: it is pinned in the pool, and no new request is
//! made, until the answer comes or the device has been reset. [`ChannelDisk`] implements `storage::BlockDevice` with this;
//! [`controller`] makes channels for disks that share a controller.

pub mod controller;
mod disk;
mod transfers;

pub use disk::ChannelDisk;

use self::transfers::{InLots, InPlace, Next, Transfer};
use crate::{
    memory::pool::{Pins, Pool},
    storage::{
        PATIENCE_US,
        sectors::{self, Failure, SECTOR_BYTES, Sectors},
    },
};
use alloc::{boxed::Box, vec::Vec};
use core::{
    array,
    mem::{forget, replace, take},
    ops::{ControlFlow, Range},
    ptr::NonNull,
};

/// Requests that a disk works on at the same time. Measured under QEMU: four requests of 4 MiB are as fast as any other
/// combination. They are faster than single ones because the host copies on several cores.
pub const REQUESTS_IN_FLIGHT: usize = 4;

/// The most that one request transfers.
pub const LARGEST_REQUEST_BYTES: usize = 4 << 20;

/// Size of the first requests, and of those to slow disks: kept small because a request cannot be cancelled.
const SMALLEST_REQUEST_BYTES: usize = 64 << 10;

/// The size of the memory that each disk has of its own. It is large enough that reading into the heap takes few requests, and
/// small because there may be many disks.
pub(crate) const OWN_BYTES: usize = 32 << 10;

/// After a request that took longer than this, requests become smaller.
const SLOW_US: u64 = 250_000;

/// After a request that took less than this, requests become larger.
const FAST_US: u64 = 50_000;

/// How long to poll for a finished request before the core sleeps: the time of a few small requests.
const AWAKE_US: u64 = 100;

/// How long a read goes on even if the user interrupts it: most reads are done by then.
pub const UNHEEDING_US: u64 = 150_000;

/// How long to wait, in total, for requests whose results nobody needs any more.
const GRACE_US: u64 = 150_000;

/// Interval between two checks of the state of a silent device.
const LOOK_US: u64 = 10_000;

/// The longest time, in microseconds, that one step of the clock counts as waiting. A machine that was stopped, and its disks
/// with it, has not waited for them.
const LONGEST_LOOK_US: u64 = 100_000;

/// Measures how long something has been waited for.
struct Waited {
    last_us: u64,
    waited_us: u64,
}

impl Waited {
    fn since(us: u64) -> Self {
        Self { last_us: us, waited_us: 0 }
    }

    /// The microseconds waited so far.
    fn by(&mut self, now_us: u64) -> u64 {
        self.waited_us += now_us.saturating_sub(self.last_us).min(LONGEST_LOOK_US);
        self.last_us = now_us;
        self.waited_us
    }
}

/// The functions of the machine that a driver needs while it waits.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Microseconds since some fixed moment in the past.
    pub clock_us: fn() -> u64,
    /// Sleeps for a fraction of a millisecond.
    pub nap: fn(),
    /// Feeds the watchdog. Every wait has a limit, so even a long one is not a hang.
    pub feed_watchdog: fn(),
    /// Whether the user wants to stop waiting. The answer stays the same until some other code acts on it.
    pub is_interrupted: fn() -> bool,
    /// The pool that supplies buffers to which a device may write.
    pub pool: &'static Pool,
}

impl Surroundings {
    /// Waits until `is_done`; false if that takes longer than `limit_us`, or if the user wants to stop waiting.
    pub fn wait_until(&self, limit_us: u64, is_done: &mut dyn FnMut() -> bool) -> bool {
        let mut waited = Waited::since((self.clock_us)());
        while !is_done() {
            let waited_us = waited.by((self.clock_us)());
            if waited_us > limit_us || waited_us > UNHEEDING_US && (self.is_interrupted)() {
                return false;
            }
            (self.feed_watchdog)();
            match waited_us {
                ..AWAKE_US => core::hint::spin_loop(),
                _ => (self.nap)(),
            }
        }
        true
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The contents from this sector on.
    Sectors(u64),
    /// The serial number.
    SerialNumber,
}

/// The size and shape of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Sectors in all.
    pub sector_count: u64,
    /// Requests begin and end at block boundaries; this is the block size.
    pub block_bytes: usize,
    /// The most that one request can transfer, a multiple of the block size.
    pub request_bytes: usize,
    /// The alignment of the memory that a request writes to.
    pub align_bytes: usize,
}

/// The device broke the rules, or needs a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// Carries requests to a device, and answers back.
pub trait Channel {
    /// How many requests there can be at a time, at least one.
    fn max_in_flight(&self) -> usize;

    /// The device's current size and shape, according to itself.
    fn geometry(&self) -> Geometry;

    /// Gives the device a request. `slot`, which must be below [`REQUESTS_IN_FLIGHT`] and free, identifies it until it is finished.
    ///
    /// # Errors
    /// If the device accepts no request.
    ///
    /// # Safety
    /// `place` must not be accessed, or lent to anything else, until [`finish`](Self::finish) has returned the slot or
    /// [`halt`](Self::halt) has succeeded.
    unsafe fn start(&mut self, slot: usize, ask: Ask, place: NonNull<[u8]>) -> Result<(), Broken>;

    /// A request that the device has finished, and whether it succeeded; `None` if there is none.
    ///
    /// # Errors
    /// If the device reports a request as finished that it was not given.
    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken>;

    /// True if the device will do nothing until it is reset.
    fn is_broken(&self) -> bool;

    /// Stops the device, which then uses no memory any more.
    ///
    /// # Errors
    /// If the device does not confirm that it has stopped: the number of bytes of the channel's own memory that are left to it for ever.
    fn halt(&mut self) -> Result<(), usize>;

    /// Ends all use of the device and takes back the memory that was lent to it; no request is made after this. A channel whose
    /// device also serves others need not stop it if nothing is in flight.
    ///
    /// # Errors
    /// Those of [`halt`](Self::halt).
    fn close(&mut self) -> Result<(), usize> {
        self.halt()
    }

    /// Restarts a device that was stopped.
    ///
    /// # Errors
    /// If it does not start.
    fn restart(&mut self) -> Result<(), Broken>;

    /// Tells the channel that the device is no longer there.
    fn unplugged(&mut self);
}

/// A disk behind a channel.
pub struct Requests<C: Channel + ?Sized = dyn Channel + Send> {
    channel: Box<C>,
    surroundings: Surroundings,
    geometry: Geometry,
    /// The slots of requests that the device is working on.
    is_in_flight: [bool; REQUESTS_IN_FLIGHT],
    /// Memory that the device may still write to although nobody waits for it.
    abandoned: Option<Pins>,
    /// Set if the device has not stopped or started when told to: it gets no more requests. The value is the number of bytes that
    /// it may write to for ever.
    lost_with: Option<usize>,
    /// One or more blocks, for reads of partial blocks, and for reads into memory that the device cannot write to.
    own: Box<[u8]>,
    request_bytes: usize,
    patience_us: u64,
}

impl<C: Channel + ?Sized> Requests<C> {
    /// The disk behind a channel that has been started; `None` if the heap has no room for the disk's own memory.
    pub fn new(mut channel: Box<C>, surroundings: Surroundings) -> Option<Self> {
        let geometry = channel.geometry();
        let own_bytes = OWN_BYTES.min(geometry.request_bytes) / geometry.block_bytes * geometry.block_bytes;
        let own_bytes = own_bytes.max(geometry.block_bytes);
        let mut own = Vec::new();
        if own.try_reserve_exact(own_bytes).is_err() {
            // Memory that the device does not release stays its own.
            let _ = channel.close();
            return None;
        }
        own.resize(own_bytes, 0);
        Some(Self {
            channel,
            surroundings,
            geometry,
            is_in_flight: [false; REQUESTS_IN_FLIGHT],
            abandoned: None,
            lost_with: None,
            own: own.into(),
            request_bytes: SMALLEST_REQUEST_BYTES,
            patience_us: PATIENCE_US,
        })
    }

    /// Sets how long the disk may be silent from now on.
    pub fn set_patience(&mut self, patience_us: u64) {
        self.patience_us = patience_us;
    }

    /// Asks for the size again.
    pub fn refresh(&mut self) {
        if !self.is_lost() {
            let Geometry { sector_count, .. } = self.channel.geometry();
            self.geometry.sector_count = sector_count;
        }
    }

    /// The serial number; empty if the disk has none, or is silent for longer than `patience_us`.
    pub fn serial(&mut self, patience_us: u64) -> Vec<u8> {
        const LENGTH: usize = 20;
        let usual_us = replace(&mut self.patience_us, patience_us);
        self.own[..LENGTH].fill(0);
        let serial = match self.ask(Ask::SerialNumber, LENGTH) {
            Ok(serial) => serial.split(|&byte| byte == 0).next().unwrap_or_default().to_vec(),
            Err(_) => Vec::new(),
        };
        self.patience_us = usual_us;
        serial
    }

    /// The error to report for a request that the device has failed: if the device is smaller now, that it has changed.
    fn failed(&self, request: Failure) -> Failure {
        match self.channel.geometry().sector_count < self.geometry.sector_count {
            true => Failure::Changed,
            false => request,
        }
    }

    /// Stops the device and restarts it; its requests are lost.
    ///
    /// # Errors
    /// [`Failure::Lost`] if it does not stop or start. It then gets no more requests.
    pub fn reset(&mut self) -> Result<(), Failure> {
        self.check_lost()?;
        let lent_bytes = match self.channel.halt() {
            Ok(()) => {
                self.is_in_flight = [false; REQUESTS_IN_FLIGHT];
                self.abandoned = None;
                self.request_bytes = SMALLEST_REQUEST_BYTES;
                if self.channel.restart().is_ok() {
                    self.refresh();
                    return Ok(());
                }
                0
            }
            Err(channel_bytes) => channel_bytes + self.give_away(),
        };
        self.lost_with = Some(lent_bytes);
        Err(Failure::Lost { lent_bytes })
    }

    /// Leaves the memory that the device may write to with it for ever, and returns the number of bytes.
    fn give_away(&mut self) -> usize {
        let own = take(&mut self.own);
        let n_bytes = own.len() + self.abandoned.as_ref().map_or(0, Pins::size_bytes);
        forget(self.abandoned.take());
        forget(own);
        n_bytes
    }

    fn check_lost(&self) -> Result<(), Failure> {
        self.lost_with.map_or(Ok(()), |lent_bytes| Err(Failure::Lost { lent_bytes }))
    }

    /// Records that the device is no longer there, and therefore writes to no memory.
    pub fn unplugged(&mut self) {
        self.channel.unplugged();
        self.is_in_flight = [false; REQUESTS_IN_FLIGHT];
        self.abandoned = None;
        self.lost_with = Some(0);
    }

    /// Whether requests can write to this memory, or to parts of it that begin a whole number of blocks after its start.
    fn can_write_to(&self, buffer: &[u8]) -> bool {
        self.surroundings.pool.contains(buffer)
            && buffer.as_ptr().addr().is_multiple_of(self.geometry.align_bytes)
    }

    fn now_us(&self) -> u64 {
        (self.surroundings.clock_us)()
    }

    fn is_busy(&self) -> bool {
        self.is_in_flight.contains(&true)
    }

    /// True if the device has not stopped or started when told to, so that it gets no more requests. Memory that it may still
    /// write to has been left to it for ever, so the disk can be dropped, and a new one created for the device.
    pub fn is_lost(&self) -> bool {
        self.lost_with.is_some()
    }

    /// True if the device has not answered a request that nobody waits for any more.
    pub fn is_silent(&self) -> bool {
        self.is_lost() || self.is_busy()
    }

    /// Waits for the answer to any request. The user can interrupt it from `heed_from_us` on.
    fn wait(&mut self, since_us: u64, patience_us: u64, heed_from_us: u64) -> Result<(usize, bool), Failure> {
        let mut last_look_us = since_us;
        let mut waited = Waited::since(since_us);
        loop {
            match self.channel.finish() {
                Ok(Some((slot, succeeded))) => {
                    self.is_in_flight[slot] = false;
                    return Ok((slot, succeeded));
                }
                Ok(None) => {}
                Err(Broken) => return Err(Failure::Broken),
            }
            (self.surroundings.feed_watchdog)();
            let now_us = self.now_us();
            let waited_us = waited.by(now_us);
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
            // The host may need this core to copy the data.
            (self.surroundings.nap)();
        }
    }

    /// Waits for the answers to abandoned requests. Resets the device if it answers something that it was not asked, or needs a reset.
    fn settle(&mut self) -> Result<(), Failure> {
        self.check_lost()?;
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

    /// Abandons the requests in flight, and the memory that they write to.
    fn abandon(&mut self, places: &[Range<usize>], failure: Failure) {
        if self.is_busy() {
            self.abandoned = Some(self.surroundings.pool.pin(places.iter().cloned()));
            self.request_bytes = SMALLEST_REQUEST_BYTES;
        }
        if failure == Failure::Broken {
            // The next read reports an error, if there is one.
            let _ = self.reset();
        }
    }

    /// Makes a request of at most the size of the disk's own memory, and reads into that.
    fn ask(&mut self, ask: Ask, length: usize) -> Result<&[u8], Failure> {
        self.settle()?;
        let place = &mut self.own[..length];
        let request = match ask {
            Ask::Sectors(first) => Failure::Request { first, count: length / SECTOR_BYTES },
            Ask::SerialNumber => Failure::Request { first: 0, count: 0 },
        };
        // SAFETY: the disk's own memory is not accessed while a request is in flight: `settle` is called before each use, and if
        // the device cannot be stopped, the memory is left to it for ever.
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
            Ok((_, true)) => Ok(&self.own[..length]),
            Ok((_, false)) => Err(self.failed(request)),
            Err(failure) => {
                self.abandon(&[], failure);
                Err(failure)
            }
        }
    }

    /// Keeps requests in flight until there are no more.
    fn transfer<'b>(&mut self, work: &mut dyn Transfer<'b>) -> Result<(), Failure> {
        self.settle()?;
        // A ring of requests, in the order of the disk.
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
                // SAFETY: the place is not accessed before it is taken out of the ring, which happens when it is finished;
                // unfinished requests are pinned before this function returns.
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
                    // The time that this took does not count against the disk.
                    since_us = self.now_us();
                }
                continue;
            }
            let (patience_us, heed_from_us) =
                if is_over { (GRACE_US, u64::MAX) } else { (self.patience_us, heed_from_us) };
            match self.wait(since_us, patience_us, heed_from_us) {
                Ok((slot, succeeded)) => {
                    // Each answer restarts the time limit for the next request, except after the end, when nobody needs the rest.
                    if !is_over {
                        let now_us = self.now_us();
                        self.adapt(requests[slot].length, now_us.saturating_sub(since_us));
                        since_us = now_us;
                    }
                    if !succeeded {
                        let failure = self.failed(requests[slot].failure());
                        (result, is_over) = (result.and(Err(failure)), true);
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
                    // A caller that has broken off, or gets an error anyway, is not told that the wait was interrupted.
                    return if is_over { result } else { Err(failure) };
                }
            }
        }
    }

    /// Makes requests larger for a fast disk, smaller for a slow one.
    fn adapt(&mut self, length_bytes: usize, took_us: u64) {
        if took_us > SLOW_US {
            self.request_bytes = (self.request_bytes / 2).max(SMALLEST_REQUEST_BYTES);
        } else if took_us < FAST_US && length_bytes >= self.request_bytes {
            self.request_bytes = (self.request_bytes * 2).min(LARGEST_REQUEST_BYTES);
        }
    }
}

/// Memory of requests must not be freed while a device may write to it.
impl<C: Channel + ?Sized> Drop for Requests<C> {
    fn drop(&mut self) {
        if !self.is_lost() && self.channel.close().is_err() {
            self.give_away();
        }
    }
}

impl<C: Channel + ?Sized> Sectors for Requests<C> {
    fn sector_count(&self) -> u64 {
        self.geometry.sector_count
    }

    fn block_bytes(&self) -> usize {
        self.geometry.block_bytes
    }

    fn read_sectors(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        // If the disk is lost, it has no memory of its own.
        self.check_lost()?;
        let block_bytes = self.geometry.block_bytes;
        if self.can_write_to(buffer) {
            return self.transfer(&mut InPlace { first, rest: buffer, block_bytes });
        }
        // For memory that could not be pinned, or whose alignment does not suit requests.
        let own_bytes = self.own_bytes();
        for (first, part) in (first..).step_by(own_bytes / SECTOR_BYTES).zip(buffer.chunks_mut(own_bytes)) {
            part.copy_from_slice(self.read_own(first, part.len() / SECTOR_BYTES)?);
        }
        Ok(())
    }

    fn own_bytes(&self) -> usize {
        self.own.len()
    }

    fn read_own(&mut self, first: u64, n_sectors: usize) -> Result<&[u8], Failure> {
        self.ask(Ask::Sectors(first), n_sectors * SECTOR_BYTES)
    }

    fn read_pipelined(
        &mut self,
        sectors: Range<u64>,
        buffer: &mut [u8],
        use_lot: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.check_lost()?;
        let block_bytes = self.geometry.block_bytes;
        let lot_bytes = buffer.len() / REQUESTS_IN_FLIGHT / block_bytes * block_bytes;
        if lot_bytes == 0 || !self.can_write_to(buffer) {
            return sectors::read_by_own(self, sectors, use_lot);
        }
        let mut lots = buffer.chunks_exact_mut(lot_bytes);
        let free = array::from_fn(|_| lots.next());
        self.transfer(&mut InLots { sectors, free, use_lot, block_bytes })
    }
}

#[cfg(test)]
mod tests;
