//! Which request next, and which one is done: keeps a disk busy until there is nothing left to read, and leaves
//! it when it does not answer.
//!
//! [`Requests`] knows no device: a [`Channel`] carries the requests, a queue of a device in the kernel, a list in tests.
//! What a device was asked for and did not answer stays its own: the memory that it may still write to is pinned
//! in the pool until the answers come or the device has been reset, and no new request is made before.
//! [`ChannelDisk`] is a `storage::BlockDevice` made of it; [`controller`] makes channels of what several disks share.

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

/// Requests that a disk works on at the same time. Measured under QEMU: four of 4 MiB are as fast as any,
/// and more so than one after the other, since the host copies on several cores.
pub const REQUESTS_IN_FLIGHT: usize = 4;

/// The most that one request transfers.
pub const LARGEST_REQUEST_BYTES: usize = 4 << 20;

/// The first requests, and those of slow disks: what a disk was asked for it cannot be asked to forget.
const SMALLEST_REQUEST_BYTES: usize = 64 << 10;

/// What a disk has memory of its own for, so that reading into the heap takes few requests: there may be many disks.
pub(crate) const OWN_BYTES: usize = 32 << 10;

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

/// The most, in microseconds, that one look at the clock counts for. A machine that is stopped meanwhile, and its disks with it, has not waited.
const LONGEST_LOOK_US: u64 = 100_000;

/// How long something has been waited for.
struct Waited {
    last_us: u64,
    waited_us: u64,
}

impl Waited {
    fn since(us: u64) -> Self {
        Self { last_us: us, waited_us: 0 }
    }

    /// The microseconds by now.
    fn by(&mut self, now_us: u64) -> u64 {
        self.waited_us += now_us.saturating_sub(self.last_us).min(LONGEST_LOOK_US);
        self.last_us = now_us;
        self.waited_us
    }
}

/// What a driver needs of the machine while it waits.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Microseconds since some moment in the past.
    pub clock_us: fn() -> u64,
    /// Sleeps for a fraction of a millisecond.
    pub nap: fn(),
    /// Feeds the watchdog: every wait has a limit, and so is no hang, however long it takes.
    pub feed_watchdog: fn(),
    /// Whether the user wants no more waiting. The answer stays the same until somebody else acts on it.
    pub is_interrupted: fn() -> bool,
    /// Where buffers come from that a device may write to.
    pub pool: &'static Pool,
}

impl Surroundings {
    /// Waits until `is_done`; false if that takes longer than `limit_us`, or the user wants no more waiting.
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
    /// Memory that a request writes to begins at a multiple of this.
    pub align_bytes: usize,
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
    /// or [`halt`](Self::halt) has succeeded.
    unsafe fn start(&mut self, slot: usize, ask: Ask, place: NonNull<[u8]>) -> Result<(), Broken>;

    /// A request that the device is done with, and whether it succeeded; `None` if there is none.
    ///
    /// # Errors
    /// If the device claims to have done what it was not asked for.
    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken>;

    /// True if the device will do nothing before it is reset.
    fn is_broken(&self) -> bool;

    /// Stops the device, which lets go of all memory then.
    ///
    /// # Errors
    /// If the device does not say that it has stopped: how many bytes of the channel's own memory are given to it for ever.
    fn halt(&mut self) -> Result<(), usize>;

    /// Takes back all memory that was lent, for ever: nothing is asked any more. A channel whose device serves others too
    /// need not stop it if nothing is in flight.
    ///
    /// # Errors
    /// As [`halt`](Self::halt).
    fn close(&mut self) -> Result<(), usize> {
        self.halt()
    }

    /// Starts a device that was stopped.
    ///
    /// # Errors
    /// If it does not start.
    fn restart(&mut self) -> Result<(), Broken>;

    /// Says that the device is no longer there.
    fn unplugged(&mut self);
}

/// A disk behind a channel.
pub struct Requests<C: Channel + ?Sized = dyn Channel + Send> {
    channel: Box<C>,
    surroundings: Surroundings,
    geometry: Geometry,
    /// Which slots the device has.
    is_in_flight: [bool; REQUESTS_IN_FLIGHT],
    /// What it may still write to though nobody waits for it.
    abandoned: Option<Pins>,
    /// Set if it has not stopped or started when it was told to: it is not asked anything any more. How many bytes of
    /// memory it may write to for ever.
    lost_with: Option<usize>,
    /// A block or several, for what is read by parts, or into memory that the device cannot write to.
    own: Box<[u8]>,
    request_bytes: usize,
    patience_us: u64,
}

impl<C: Channel + ?Sized> Requests<C> {
    /// The disk behind a channel that has been started; `None` if the heap has no room for the block or blocks of its own.
    pub fn new(mut channel: Box<C>, surroundings: Surroundings) -> Option<Self> {
        let geometry = channel.geometry();
        let own_bytes = OWN_BYTES.min(geometry.request_bytes) / geometry.block_bytes * geometry.block_bytes;
        let own_bytes = own_bytes.max(geometry.block_bytes);
        let mut own = Vec::new();
        if own.try_reserve_exact(own_bytes).is_err() {
            // What it does not let go of stays its own.
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

    /// For how long the disk may be silent from now on.
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

    /// The serial number, empty if the disk has none or is silent for `patience_us`.
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

    /// What became of a request that the device has failed: it may have another size or shape now.
    fn failed(&self, request: Failure) -> Failure {
        match self.channel.geometry().sector_count < self.geometry.sector_count {
            true => Failure::Changed,
            false => request,
        }
    }

    /// Stops the device and starts it again; what was asked of it is forgotten.
    ///
    /// # Errors
    /// [`Failure::Lost`] if it does not stop or start. It is not asked anything any more then.
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

    /// Gives the device for ever what it may write to, and returns how many bytes that are.
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

    /// Says that the device is no longer there, and so writes to nothing.
    pub fn unplugged(&mut self) {
        self.channel.unplugged();
        self.is_in_flight = [false; REQUESTS_IN_FLIGHT];
        self.abandoned = None;
        self.lost_with = Some(0);
    }

    /// Whether requests can be made for this memory, or parts of it that begin whole blocks behind its start.
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

    /// True if the device has not stopped or started when it was told to, and so is not asked anything any more.
    /// What it may still write to has been given to it for ever: the disk can be dropped, and a new one made of the
    /// device.
    pub fn is_lost(&self) -> bool {
        self.lost_with.is_some()
    }

    /// True if the device was asked for something that nobody waits for any more, and has not answered yet.
    pub fn is_silent(&self) -> bool {
        self.is_lost() || self.is_busy()
    }

    /// Waits for the answer to any request. What the user wants counts from `heed_from_us` on.
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
            // The host may need this core for the copying.
            (self.surroundings.nap)();
        }
    }

    /// Waits for the answers to requests of which nobody wants to know any more. A device that answers what it was not
    /// asked, or asks for a reset, is reset.
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

    /// Asks for as much as the disk's own memory holds, at most, into that.
    fn ask(&mut self, ask: Ask, length: usize) -> Result<&[u8], Failure> {
        self.settle()?;
        let place = &mut self.own[..length];
        let request = match ask {
            Ask::Sectors(first) => Failure::Request { first, count: length / SECTOR_BYTES },
            Ask::SerialNumber => Failure::Request { first: 0, count: 0 },
        };
        // SAFETY: nobody touches the disk's own memory while a request is in flight: `settle` comes before each use, and
        // where the device cannot be stopped it is given away for ever.
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
        // It has no memory of its own then.
        self.check_lost()?;
        let block_bytes = self.geometry.block_bytes;
        if self.can_write_to(buffer) {
            return self.transfer(&mut InPlace { first, rest: buffer, block_bytes });
        }
        // Memory that could not be pinned, or that begins where no request can.
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

    fn read_lots(
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
