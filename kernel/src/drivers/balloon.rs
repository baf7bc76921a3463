//! The memory balloon. The host can take memory of the pool, which is its own until it gives it back. It is also told which
//! memory is free, and may use that without asking (VIRTIO 1.2, 5.5).
//!
//! One request is in flight at a time, and nothing waits for it: each [turn](Balloon::turn) checks whether it is done. Also
//! compiled for the host, where a test replaces the device.

use crate::{
    memory::pool::{Pool, Region},
    system::BalloonUsage,
};
use alloc::vec::Vec;
use log::warn;

/// The page size that host and guest use in this protocol, whatever their own page sizes are.
pub const PAGE_BYTES: usize = 4096;

/// Pages per request: Firecracker accepts no more in a descriptor.
pub const MAX_PAGES: usize = 256;

/// The host can use its memory in blocks of this size if possible.
const BLOCK_BYTES: usize = 2 << 20;

/// The most memory that is reported as free at once.
const MAX_REPORT_BYTES: usize = 64 << 20;

/// Free memory is reported only after this long without any computing, since freed memory is often needed again soon.
const REPORT_DELAY_US: u64 = 2_000_000;

/// When the pool has no memory for the host, the next attempt is made after this long.
const RETRY_US: u64 = 1_000_000;

/// If the device is silent for longer than this, a message is logged.
const PATIENCE_US: u64 = 5_000_000;

/// What the pages of a list are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// These pages now belong to the host.
    Inflate,
    /// These pages no longer belong to the host.
    Deflate,
}

/// The device broke a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// A balloon device.
pub trait Device {
    /// How many pages the host wants now.
    fn wanted_pages(&mut self) -> u32;

    /// Reports how many pages the host has.
    fn set_actual_pages(&mut self, pages: u32);

    /// The first page number that is too large for the device.
    fn page_limit(&self) -> u64;

    /// Stops the device, because it has broken a rule.
    fn stop(&mut self);

    /// Whether free memory can be reported to the device.
    fn takes_reports(&self) -> bool;

    /// Sends the numbers of at most [`MAX_PAGES`] pages.
    ///
    /// # Errors
    /// If the queue has no room although nothing is in flight.
    fn tell(&mut self, list: List, pages: &mut dyn Iterator<Item = u64>) -> Result<(), Broken>;

    /// Reports free memory, which belongs to the device until [`is_done`](Self::is_done).
    ///
    /// # Errors
    /// If the queue has no room although nothing is in flight.
    fn report(&mut self, memory: &mut [u8]) -> Result<(), Broken>;

    /// Whether the device is done with the last request.
    ///
    /// # Errors
    /// If it reports another request as done.
    fn is_done(&mut self) -> Result<bool, Broken>;

    /// Called now and then, with the total and the free memory of the pool in bytes.
    fn tell_statistics(&mut self, total_bytes: usize, free_bytes: usize);
}

/// The request in flight.
#[derive(Debug)]
enum Step {
    Nothing,
    /// Pages of the last chunk; those before this index have been sent.
    Pages(List, usize),
    /// Memory that nobody uses, being reported as free.
    Report(Region),
}

/// A balloon.
pub struct Balloon<D> {
    device: D,
    pool: &'static Pool,
    /// Memory that the host has, or is being told about.
    chunks: Vec<Region>,
    wanted_pages: u32,
    actual_pages: u32,
    step: Step,
    since_us: u64,
    report_at_us: u64,
    retry_at_us: u64,
    is_silence_told: bool,
    is_used: bool,
}

impl<D: Device> Balloon<D> {
    /// An empty balloon, which takes its memory from this pool.
    pub fn new(device: D, pool: &'static Pool) -> Self {
        Self {
            device,
            pool,
            chunks: Vec::new(),
            wanted_pages: 0,
            actual_pages: 0,
            step: Step::Nothing,
            since_us: 0,
            report_at_us: 0,
            retry_at_us: 0,
            is_silence_told: false,
            is_used: true,
        }
    }

    /// How much the host wants and has.
    pub fn usage(&self) -> BalloonUsage {
        BalloonUsage {
            wanted_bytes: self.wanted_pages as usize * PAGE_BYTES,
            given_bytes: self.actual_pages as usize * PAGE_BYTES,
            reported_bytes: self.pool.reported_bytes(),
        }
    }

    /// Takes the next step, if there is one. Returns when to call it again unless the device interrupts earlier. `is_idle` is
    /// true if nothing is being computed; `has_news` is true if the host may want a different amount than before.
    pub fn turn(&mut self, now_us: u64, is_idle: bool, has_news: bool) -> u64 {
        if !is_idle {
            self.report_at_us = now_us + REPORT_DELAY_US;
        }
        if !self.is_used {
            return u64::MAX;
        }
        if has_news {
            self.wanted_pages = self.device.wanted_pages();
            self.device.tell_statistics(self.pool.total_bytes(), self.pool.free_bytes());
        }
        self.next(now_us, is_idle).unwrap_or_else(|Broken(rule)| {
            // Memory that the device has been told about stays its own.
            self.is_used = false;
            self.device.stop();
            warn!("the memory balloon is not used any more: {rule}");
            u64::MAX
        })
    }

    fn next(&mut self, now_us: u64, is_idle: bool) -> Result<u64, Broken> {
        if !matches!(self.step, Step::Nothing) && !self.device.is_done()? {
            let waited_us = now_us.saturating_sub(self.since_us);
            if waited_us > PATIENCE_US && !self.is_silence_told {
                self.is_silence_told = true;
                warn!("the memory balloon does not answer");
            }
            // The longer the wait has lasted, the less often to check.
            return Ok(now_us + (waited_us / 4).clamp(100, RETRY_US));
        }
        self.since_us = now_us;
        self.is_silence_told = false;
        match core::mem::replace(&mut self.step, Step::Nothing) {
            Step::Nothing => {}
            Step::Report(region) => region.give_back_reported(),
            Step::Pages(list, n_told) => {
                let n_pages = self.chunks.last().map_or(0, |chunk| chunk.len() / PAGE_BYTES);
                if n_told < n_pages {
                    return self.tell(list, n_told, now_us);
                }
                match list {
                    List::Inflate => {
                        self.actual_pages += n_pages as u32;
                        self.join_last();
                    }
                    List::Deflate => {
                        self.actual_pages -= n_pages as u32;
                        self.chunks.pop();
                    }
                }
                self.device.set_actual_pages(self.actual_pages);
            }
        }
        if self.actual_pages > self.wanted_pages {
            return self.tell(List::Deflate, 0, now_us);
        }
        if self.actual_pages < self.wanted_pages {
            if now_us < self.retry_at_us {
                return Ok(self.retry_at_us);
            }
            return match self.chunk() {
                Some(chunk) => {
                    self.chunks.push(chunk);
                    self.tell(List::Inflate, 0, now_us)
                }
                None => {
                    self.retry_at_us = now_us + RETRY_US;
                    Ok(self.retry_at_us)
                }
            };
        }
        if !is_idle || !self.device.takes_reports() || now_us < self.report_at_us {
            return Ok(if self.device.takes_reports() { self.report_at_us } else { u64::MAX });
        }
        match self.pool.reserve_unreported(BLOCK_BYTES, MAX_REPORT_BYTES) {
            Some(mut region) => {
                self.device.report(&mut region)?;
                self.step = Step::Report(region);
                Ok(now_us)
            }
            // There is nothing more to report until something has been computed.
            None => {
                self.report_at_us = u64::MAX;
                Ok(u64::MAX)
            }
        }
    }

    fn tell(&mut self, list: List, n_told: usize, now_us: u64) -> Result<u64, Broken> {
        let Some(chunk) = self.chunks.last() else { return Ok(u64::MAX) };
        let n_pages = (chunk.len() / PAGE_BYTES - n_told).min(MAX_PAGES);
        let first = (chunk.as_ptr().expose_provenance() / PAGE_BYTES + n_told) as u64;
        self.device.tell(list, &mut (first..).take(n_pages))?;
        self.step = Step::Pages(list, n_told + n_pages);
        Ok(now_us)
    }

    /// The length limit of a chunk, high enough that there are not too many chunks.
    fn most_bytes(&self) -> usize {
        const MAX_CHUNKS: usize = 4096;
        (self.pool.total_bytes() / MAX_CHUNKS).next_multiple_of(PAGE_BYTES).max(MAX_PAGES * PAGE_BYTES)
    }

    /// Joins the last two chunks if they are adjacent, so that a host that asks for one more page again and again does not get a
    /// chunk for each.
    fn join_last(&mut self) {
        let most = self.most_bytes();
        if let Some(last) = self.chunks.pop() {
            let apart = match self.chunks.last_mut() {
                Some(before) if before.len() + last.len() <= most => before.append(last).err(),
                _ => Some(last),
            };
            // There is room, since the chunk was in the list before.
            self.chunks.extend(apart);
        }
    }

    /// Memory for the host: as much as it wants, up to the longest chunk.
    fn chunk(&mut self) -> Option<Region> {
        let most = self.most_bytes();
        let wanted = (self.wanted_pages - self.actual_pages) as usize * PAGE_BYTES;
        self.chunks.try_reserve(1).ok()?;
        let region = self.pool.reserve(wanted.min(most), PAGE_BYTES).or_else(|refused| {
            let available_bytes = refused.available_bytes / PAGE_BYTES * PAGE_BYTES;
            self.pool.reserve(available_bytes, PAGE_BYTES)
        });
        let limit = self.device.page_limit();
        let is_nameable =
            |region: &Region| ((region.as_ptr().addr() + region.len()) / PAGE_BYTES) as u64 <= limit;
        region.ok().filter(|region| !region.is_empty() && is_nameable(region))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{boxed::Box, cell::RefCell, rc::Rc, vec};

    const MIB: usize = 1 << 20;

    #[derive(Default)]
    struct State {
        wanted: u32,
        actual: u32,
        /// Numbers of the pages that the host has.
        given: Vec<u64>,
        reported: Vec<(usize, usize)>,
        is_silent: bool,
        breaks: bool,
        is_stopped: bool,
        largest: usize,
    }

    #[derive(Default, Clone)]
    struct Fake(Rc<RefCell<State>>);

    impl Device for Fake {
        fn wanted_pages(&mut self) -> u32 {
            self.0.borrow().wanted
        }
        fn set_actual_pages(&mut self, pages: u32) {
            self.0.borrow_mut().actual = pages;
        }
        fn stop(&mut self) {
            self.0.borrow_mut().is_stopped = true;
        }
        fn page_limit(&self) -> u64 {
            u64::MAX
        }
        fn takes_reports(&self) -> bool {
            true
        }
        fn tell(&mut self, list: List, pages: &mut dyn Iterator<Item = u64>) -> Result<(), Broken> {
            let mut state = self.0.borrow_mut();
            let pages: Vec<u64> = pages.collect();
            assert!((1..=MAX_PAGES).contains(&pages.len()));
            state.largest = state.largest.max(pages.len());
            for page in pages {
                let place = state.given.iter().position(|given| *given == page);
                match (list, place) {
                    (List::Inflate, None) => state.given.push(page),
                    (List::Deflate, Some(place)) => drop(state.given.swap_remove(place)),
                    other => panic!("page {page}: {other:?}"),
                }
            }
            Ok(())
        }
        fn report(&mut self, memory: &mut [u8]) -> Result<(), Broken> {
            memory.fill(0);
            self.0.borrow_mut().reported.push((memory.as_ptr().addr(), memory.len()));
            Ok(())
        }
        fn is_done(&mut self) -> Result<bool, Broken> {
            match self.0.borrow().breaks {
                true => Err(Broken("it says that it has done what it was not asked")),
                false => Ok(!self.0.borrow().is_silent),
            }
        }
        fn tell_statistics(&mut self, total_bytes: usize, free_bytes: usize) {
            assert!(free_bytes <= total_bytes);
        }
    }

    /// A pool of this size that begins at a block boundary.
    fn pool(size_bytes: usize) -> &'static Pool {
        let pool = Box::leak(Box::new(Pool::new()));
        let memory = vec![0; size_bytes + BLOCK_BYTES].leak();
        let skip = memory.as_ptr().align_offset(BLOCK_BYTES);
        pool.add(&mut memory[skip..skip + size_bytes]);
        pool
    }

    fn balloon(pool: &'static Pool) -> (Balloon<Fake>, Fake) {
        let device = Fake::default();
        (Balloon::new(device.clone(), pool), device)
    }

    /// Takes turns until there is nothing left to do at this time.
    fn settle(balloon: &mut Balloon<Fake>, now_us: u64, is_idle: bool) -> u64 {
        (0..10_000)
            .map(|_| balloon.turn(now_us, is_idle, true))
            .find(|&wake_us| wake_us > now_us)
            .expect("it comes to an end")
    }

    #[test]
    fn the_host_gets_and_gives_back_to_the_page() {
        let pool = pool(64 * MIB);
        let (mut balloon, device) = balloon(pool);
        for pages in [2561, 4000, 300, 299, 0, 16_384, 0] {
            device.0.borrow_mut().wanted = pages;
            settle(&mut balloon, 0, false);
            let state = device.0.borrow();
            assert_eq!((state.actual, state.given.len()), (pages, pages as usize));
            assert_eq!(pool.free_bytes(), 64 * MIB - pages as usize * PAGE_BYTES);
            assert_eq!(balloon.usage().given_bytes, pages as usize * PAGE_BYTES);
        }
        assert_eq!((device.0.borrow().largest, pool.largest_free_bytes()), (MAX_PAGES, 64 * MIB));
    }

    #[test]
    fn who_wants_a_page_more_again_and_again_has_few_chunks() {
        let pool = pool(64 * MIB);
        let (mut balloon, device) = balloon(pool);
        for pages in 1..=4000 {
            device.0.borrow_mut().wanted = pages;
            settle(&mut balloon, 0, false);
            assert_eq!(device.0.borrow().actual, pages);
            assert!(balloon.chunks.len() <= (pages as usize).div_ceil(MAX_PAGES), "{}", balloon.chunks.len());
        }
        assert!(balloon.chunks.iter().all(|chunk| chunk.len() <= MIB));
        for pages in [3999, 1000, 1, 0] {
            device.0.borrow_mut().wanted = pages;
            settle(&mut balloon, 0, false);
            let state = device.0.borrow();
            assert_eq!((state.actual, state.given.len()), (pages, pages as usize));
            assert_eq!(pool.free_bytes(), 64 * MIB - pages as usize * PAGE_BYTES);
        }
    }

    #[test]
    fn what_models_have_is_never_given() {
        let pool = pool(8 * MIB);
        let (mut balloon, device) = balloon(pool);
        let mut model = pool.reserve(5 * MIB + 64, 64).unwrap();
        model.fill(0x5a);
        device.0.borrow_mut().wanted = u32::MAX;
        assert_eq!(settle(&mut balloon, 7, false), 7 + RETRY_US);
        let pages = (3 * MIB - 64) / PAGE_BYTES;
        assert_eq!(device.0.borrow().actual as usize, pages);
        let in_model = |page: &u64| {
            model.as_ptr_range().contains(&core::ptr::without_provenance(*page as usize * PAGE_BYTES))
        };
        assert!(!device.0.borrow().given.iter().any(in_model));
        // The freed memory goes to the host at the next attempt; turns before that do nothing.
        drop(model);
        assert_eq!(settle(&mut balloon, 8, false), 7 + RETRY_US);
        assert_eq!(device.0.borrow().actual as usize, pages);
        settle(&mut balloon, 7 + RETRY_US, false);
        assert_eq!(device.0.borrow().actual as usize, 8 * MIB / PAGE_BYTES);
        device.0.borrow_mut().wanted = 0;
        settle(&mut balloon, 9, false);
        assert_eq!(pool.largest_free_bytes(), 8 * MIB);
    }

    #[test]
    fn free_memory_is_told_once_and_only_while_nobody_computes() {
        let pool = pool(300 * MIB);
        let (mut balloon, device) = balloon(pool);
        let mut model = pool.reserve(5 * MIB, 64).unwrap();
        model.fill(0x5a);
        assert_eq!(settle(&mut balloon, 1, false), 1 + REPORT_DELAY_US);
        assert_eq!(settle(&mut balloon, 2, true), 1 + REPORT_DELAY_US);
        assert_eq!(device.0.borrow().reported, []);
        assert_eq!(settle(&mut balloon, 1 + REPORT_DELAY_US, true), u64::MAX);
        let reported = core::mem::take(&mut device.0.borrow_mut().reported);
        let whole = |&(start, length): &(usize, usize)| start % BLOCK_BYTES == 0 && length % BLOCK_BYTES == 0;
        assert!(reported.iter().all(whole) && reported.iter().all(|&(_, length)| length <= MAX_REPORT_BYTES));
        assert_eq!(reported.iter().map(|(_, length)| length).sum::<usize>(), 294 * MIB);
        assert_eq!((balloon.usage().reported_bytes, pool.free_bytes()), (294 * MIB, 295 * MIB));
        assert!(model.iter().all(|&byte| byte == 0x5a));
        // No further memory is free.
        settle(&mut balloon, 10_000_000, false);
        settle(&mut balloon, 20_000_000, true);
        assert_eq!(device.0.borrow().reported, []);
        // Memory that was used and freed is reported again.
        drop(model);
        drop(pool.reserve(100 * MIB, 64).unwrap());
        assert_eq!(pool.reported_bytes(), 200 * MIB);
        settle(&mut balloon, 30_000_000, false);
        settle(&mut balloon, 40_000_000, true);
        let reported = &device.0.borrow().reported;
        assert_eq!(reported.iter().map(|(_, length)| length).sum::<usize>(), 100 * MIB);
    }

    #[test]
    fn a_silent_device_is_asked_ever_less_often_and_a_broken_one_no_more() {
        let pool = pool(8 * MIB);
        let (mut balloon, device) = balloon(pool);
        device.0.borrow_mut().wanted = 512;
        device.0.borrow_mut().is_silent = true;
        assert_eq!(balloon.turn(0, false, true), 0);
        let (mut now_us, mut n_turns) = (0, 0);
        while now_us < 60_000_000 {
            let next_us = balloon.turn(now_us, false, false);
            assert!(next_us > now_us);
            (now_us, n_turns) = (next_us, n_turns + 1);
        }
        assert!(n_turns < 150, "{n_turns}");
        assert_eq!((balloon.usage().given_bytes, pool.free_bytes()), (0, 7 * MIB));
        device.0.borrow_mut().breaks = true;
        assert_eq!(balloon.turn(now_us, false, true), u64::MAX);
        assert!(device.0.borrow().is_stopped);
        device.0.borrow_mut().breaks = false;
        device.0.borrow_mut().is_silent = false;
        assert_eq!(balloon.turn(now_us, true, true), u64::MAX);
        // Memory that the device was told about stays its own.
        assert_eq!(pool.free_bytes(), 7 * MIB);
    }
}
