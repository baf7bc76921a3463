//! The memory for models: regions of any size, which are reserved and freed.
//!
//! A [`Pool`] owns all RAM beyond the kernel image and the heap. A model takes one [`Region`] for its weights, which the disk's
//! DMA fills directly, and one for inference. Regions are few and large, so a first fit over a sorted list suffices.
//!
//! A device that does not respond may still write to memory after its reader has given up. Such memory is [pinned](Pool::pin):
//! when a region is dropped, its pinned parts are not freed until the [`Pins`] are dropped.

use alloc::vec::Vec;
use core::{
    ops::{Deref, DerefMut, Range},
    slice,
};
use spin::Mutex;

/// Start and length of every region are multiples of this: one cache line, which is also a good alignment for the widest vector loads.
pub const GRANULE_BYTES: usize = 64;

/// There is not enough contiguous memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not enough memory: {needed_bytes} bytes needed, {available_bytes} available")]
pub struct OutOfMemory {
    /// The requested size.
    pub needed_bytes: usize,
    /// The largest request that would have been granted.
    pub available_bytes: usize,
}

/// Several regions cannot be reserved together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// The size of all of them, each rounded up to [`GRANULE_BYTES`].
    pub needed_bytes: usize,
    /// Bytes that are free.
    pub free_bytes: usize,
    /// The longest free piece. If more bytes are free than needed, the free pieces are too short.
    pub longest_free_bytes: usize,
}

/// The range of the pool that a region occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint(Extent);

impl Footprint {
    /// The region's size, rounded up to [`GRANULE_BYTES`].
    pub fn size_bytes(&self) -> usize {
        self.0.length
    }
}

/// A range of free memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    start: usize,
    length: usize,
}

impl Extent {
    fn end(self) -> usize {
        self.start + self.length
    }

    fn overlap(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let length = self.end().min(other.end()).checked_sub(start)?;
        (length > 0).then_some(Self { start, length })
    }

    /// Where a block of `align_bytes` would begin, and how long it could be.
    fn fit(self, align_bytes: usize) -> Option<(usize, usize)> {
        let start = self.start.checked_next_multiple_of(align_bytes)?;
        let length = self.end().checked_sub(start)?;
        Some((start, length))
    }
}

#[derive(Debug, Clone)]
struct State {
    /// All memory that was added.
    banks: Vec<Extent>,
    /// Sorted by address; no two extents touch.
    free: Vec<Extent>,
    /// Memory that devices may still write to.
    pinned: Vec<Extent>,
    /// Parts of the free memory that were reported to the host; sorted by address; no two extents touch.
    reported: Vec<Extent>,
    /// Pinned parts of regions that were dropped; they become free when their pins are dropped.
    ownerless: Vec<Extent>,
    total_bytes: usize,
    high_water_bytes: usize,
}

/// Memory that regions are reserved from.
#[derive(Debug)]
pub struct Pool(Mutex<State>);

impl Pool {
    /// A pool without memory.
    #[expect(clippy::new_without_default, reason = "a pool is a static: `new` must be const")]
    pub const fn new() -> Self {
        Self(Mutex::new(State {
            banks: Vec::new(),
            free: Vec::new(),
            pinned: Vec::new(),
            reported: Vec::new(),
            ownerless: Vec::new(),
            total_bytes: 0,
            high_water_bytes: 0,
        }))
    }

    /// Adds memory; incomplete granules at either end are left out.
    pub fn add(&self, memory: &'static mut [u8]) {
        let (_, granules, _) = {
            // SAFETY: every bit pattern is valid both for bytes and for a granule, which consists of bytes.
            unsafe { memory.align_to_mut::<Granule>() }
        };
        let extent =
            Extent { start: granules.as_mut_ptr().expose_provenance(), length: size_of_val(granules) };
        if extent.length > 0 {
            let mut state = self.0.lock();
            state.total_bytes += extent.length;
            state.banks.push(extent);
            state.insert(extent);
        }
    }

    /// Reserves `size_bytes` at an address that is a multiple of `align_bytes` (at least [`GRANULE_BYTES`]). The contents are
    /// whatever was there before.
    ///
    /// # Errors
    /// [`OutOfMemory`] if no free extent is long enough; nothing has changed then.
    ///
    /// # Panics
    /// If `align_bytes` is not a power of two.
    pub fn reserve(&'static self, size_bytes: usize, align_bytes: usize) -> Result<Region, OutOfMemory> {
        assert!(align_bytes.is_power_of_two(), "an alignment of {align_bytes} bytes is no power of two");
        let align_bytes = align_bytes.max(GRANULE_BYTES);
        let mut state = self.0.lock();
        let refused = |state: &State| OutOfMemory {
            needed_bytes: size_bytes,
            available_bytes: state.largest_free_bytes(align_bytes),
        };
        let Some(length) = size_bytes.checked_next_multiple_of(GRANULE_BYTES) else {
            return Err(refused(&state));
        };
        if length == 0 {
            return Ok(Region {
                pool: self,
                extent: Extent { start: align_bytes, length: 0 },
                size_bytes: 0,
            });
        }
        #[cfg(feature = "selftest")]
        if super::refusals::ALL.refuses_region() {
            return Err(refused(&state));
        }
        match state.take(length, align_bytes) {
            Some(extent) => Ok(Region { pool: self, extent, size_bytes }),
            None => Err(refused(&state)),
        }
    }

    /// Reserves free memory that has not been reported to the host: whole blocks of `block_bytes`, the first ones found, at most
    /// `max_bytes`. It is to be [given back](Region::give_back_reported) when the host has been told.
    ///
    /// # Panics
    /// If `block_bytes` is not a power of two.
    pub fn reserve_unreported(&'static self, block_bytes: usize, max_bytes: usize) -> Option<Region> {
        let mut state = self.0.lock();
        let high_water_bytes = state.high_water_bytes;
        let extent = state.unreported(block_bytes, max_bytes)?;
        let index = state.free.iter().position(|free| extent.overlap(*free).is_some())?;
        state.carve(index, extent);
        // This memory is not really in use.
        state.high_water_bytes = high_water_bytes;
        Some(Region { pool: self, extent, size_bytes: extent.length })
    }

    /// How much of the free memory was reported to the host.
    pub fn reported_bytes(&self) -> usize {
        self.0.lock().reported.iter().map(|extent| extent.length).sum()
    }

    /// Whether regions of these sizes could be reserved, the largest first, if the regions with the footprints `given_back` were
    /// dropped first.
    ///
    /// # Errors
    /// [`Shortage`] if they could not.
    pub fn room_for(&self, sizes_bytes: &[usize], given_back: &[Footprint]) -> Result<(), Shortage> {
        // Uses the same code as a real reservation.
        let mut state = self.0.lock().clone();
        for Footprint(extent) in given_back.iter().filter(|footprint| footprint.size_bytes() > 0) {
            state.release(*extent);
        }
        let shortage = |needed_bytes| Shortage {
            needed_bytes,
            free_bytes: state.free_bytes(),
            longest_free_bytes: state.largest_free_bytes(GRANULE_BYTES),
        };
        let granules = |size_bytes: &usize| size_bytes.checked_next_multiple_of(GRANULE_BYTES);
        let lengths: Option<Vec<_>> = sizes_bytes.iter().map(granules).collect();
        let mut lengths = lengths.ok_or(shortage(usize::MAX))?;
        sort::by_key(&mut lengths, |length| core::cmp::Reverse(*length));
        let refused = shortage(lengths.iter().copied().fold(0, usize::saturating_add));
        let fits = |length: usize| length == 0 || state.take(length, GRANULE_BYTES).is_some();
        if lengths.into_iter().all(fits) { Ok(()) } else { Err(refused) }
    }

    /// True if all of `memory` belongs to the pool, so that it can be pinned.
    pub fn contains(&self, memory: &[u8]) -> bool {
        let memory = Extent { start: memory.as_ptr().expose_provenance(), length: memory.len() };
        self.0.lock().banks.iter().any(|bank| bank.start <= memory.start && memory.end() <= bank.end())
    }

    /// Keeps memory, given as ranges of addresses, from being reserved again until the pins are dropped.
    pub fn pin(&'static self, ranges: impl IntoIterator<Item = Range<usize>>) -> Pins {
        let granules = |range: Range<usize>| {
            let start = range.start / GRANULE_BYTES * GRANULE_BYTES;
            Extent { start, length: range.end.next_multiple_of(GRANULE_BYTES).saturating_sub(start) }
        };
        let extents: Vec<_> = ranges.into_iter().map(granules).collect();
        self.0.lock().pinned.extend(&extents);
        Pins { pool: self, extents }
    }

    /// Memory that nobody has reserved but that a device may still write to.
    pub fn held_bytes(&self) -> usize {
        self.0.lock().ownerless.iter().map(|extent| extent.length).sum()
    }

    /// All memory that was added.
    pub fn total_bytes(&self) -> usize {
        self.0.lock().total_bytes
    }

    /// Memory that is not reserved.
    pub fn free_bytes(&self) -> usize {
        self.0.lock().free_bytes()
    }

    /// The largest region that could be reserved now.
    pub fn largest_free_bytes(&self) -> usize {
        self.0.lock().largest_free_bytes(GRANULE_BYTES)
    }

    /// The most that was ever reserved at once.
    pub fn high_water_bytes(&self) -> usize {
        self.0.lock().high_water_bytes
    }
}

#[repr(C, align(64))]
struct Granule([u8; GRANULE_BYTES]);

impl State {
    fn free_bytes(&self) -> usize {
        self.free.iter().map(|extent| extent.length).sum()
    }

    fn largest_free_bytes(&self, align_bytes: usize) -> usize {
        let lengths = self.free.iter().filter_map(|extent| extent.fit(align_bytes));
        lengths.map(|(_, length)| length).max().unwrap_or(0)
    }

    fn take(&mut self, length: usize, align_bytes: usize) -> Option<Extent> {
        let (index, start) = self.free.iter().enumerate().find_map(|(index, extent)| {
            let (start, available) = extent.fit(align_bytes)?;
            (available >= length).then_some((index, start))
        })?;
        let taken = Extent { start, length };
        self.carve(index, taken);
        let reserved_bytes = self.total_bytes - self.free_bytes();
        self.high_water_bytes = self.high_water_bytes.max(reserved_bytes);
        Some(taken)
    }

    /// Removes `taken` from the free extent with this index, which contains it.
    fn carve(&mut self, index: usize, taken: Extent) {
        cut(&mut self.free, index, taken);
        // Memory in use does not count as reported any more.
        while let Some(index) = self.reported.iter().position(|reported| reported.overlap(taken).is_some()) {
            cut(&mut self.reported, index, taken);
        }
    }

    /// Consecutive blocks that are free and not reported.
    fn unreported(&self, block_bytes: usize, max_bytes: usize) -> Option<Extent> {
        let blocks = |start: usize, end: usize| {
            let start = start.checked_next_multiple_of(block_bytes)?;
            let length = (end / block_bytes * block_bytes)
                .checked_sub(start)?
                .min(max_bytes / block_bytes * block_bytes);
            (length > 0).then_some(Extent { start, length })
        };
        self.free.iter().find_map(|free| {
            let mut start = free.start;
            let reported = self.reported.iter().filter_map(|reported| reported.overlap(*free));
            let mut gaps = reported
                .map(|reported| blocks(core::mem::replace(&mut start, reported.end()), reported.start));
            gaps.find_map(|gap| gap).or_else(|| blocks(start, free.end()))
        })
    }

    /// Frees memory that its owner has dropped, except for pinned parts.
    fn release(&mut self, extent: Extent) {
        let pin = self.pinned.iter().find_map(|pin| pin.overlap(extent));
        let Some(pin) = pin else {
            self.insert(extent);
            return;
        };
        self.ownerless.push(pin);
        for rest in [
            Extent { start: extent.start, length: pin.start - extent.start },
            Extent { start: pin.end(), length: extent.end() - pin.end() },
        ] {
            if rest.length > 0 {
                self.release(rest);
            }
        }
    }

    fn unpin(&mut self, extents: &[Extent]) {
        for extent in extents {
            if let Some(index) = self.pinned.iter().position(|pin| pin == extent) {
                self.pinned.swap_remove(index);
            }
        }
        for extent in core::mem::take(&mut self.ownerless) {
            self.release(extent);
        }
    }

    fn insert(&mut self, extent: Extent) {
        join(&mut self.free, extent);
    }
}

/// Removes the part of the extent with this index that overlaps `taken` from a sorted list.
fn cut(list: &mut Vec<Extent>, index: usize, taken: Extent) {
    let whole = list.remove(index);
    for rest in [
        Extent { start: taken.end(), length: whole.end().saturating_sub(taken.end()) },
        Extent { start: whole.start, length: taken.start.saturating_sub(whole.start) },
    ] {
        if rest.length > 0 {
            list.insert(index, rest);
        }
    }
}

/// Adds an extent to a sorted list in which none overlaps it, and joins it with those that it touches.
fn join(list: &mut Vec<Extent>, mut extent: Extent) {
    let mut index = list.partition_point(|other| other.start < extent.start);
    if let Some(after) = list.get(index)
        && after.start == extent.end()
    {
        extent.length += after.length;
        list.remove(index);
    }
    if let Some(before) = index.checked_sub(1).map(|before| list[before])
        && before.end() == extent.start
    {
        index -= 1;
        extent = Extent { start: before.start, length: before.length + extent.length };
        list.remove(index);
    }
    list.insert(index, extent);
}

/// Memory that is reserved until this is dropped.
#[derive(Debug)]
pub struct Region {
    pool: &'static Pool,
    extent: Extent,
    size_bytes: usize,
}

impl Region {
    /// The range of the pool that it occupies.
    pub fn footprint(&self) -> Footprint {
        Footprint(self.extent)
    }
}

impl Region {
    /// Takes over the memory of a region that begins where this one ends.
    ///
    /// # Errors
    /// The other region, if it begins elsewhere.
    pub fn append(&mut self, other: Self) -> Result<(), Self> {
        let is_next = self.extent.start + self.size_bytes == other.extent.start && other.extent.length > 0;
        if !is_next || !core::ptr::eq(self.pool, other.pool) {
            return Err(other);
        }
        self.extent.length += other.extent.length;
        self.size_bytes += other.size_bytes;
        core::mem::forget(other);
        Ok(())
    }

    /// Frees the memory, and marks it as reported to the host.
    pub fn give_back_reported(self) {
        let (pool, extent) = (self.pool, self.extent);
        drop(self);
        let mut state = pool.0.lock();
        // Pinned parts are not free.
        let is_free = state.free.iter().any(|free| free.overlap(extent) == Some(extent));
        if is_free && extent.length > 0 {
            join(&mut state.reported, extent);
        }
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = core::ptr::with_exposed_provenance(self.extent.start);
        // SAFETY: the extent lies within memory that `Pool::add` was given for ever, and belongs to this region alone until it is
        // dropped; every byte of RAM is a valid `u8`.
        unsafe { slice::from_raw_parts(start, self.size_bytes) }
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = core::ptr::with_exposed_provenance_mut(self.extent.start);
        // SAFETY: the extent lies within memory that `Pool::add` was given for ever, and belongs to this region alone; `&mut
        // self` makes the access exclusive.
        unsafe { slice::from_raw_parts_mut(start, self.size_bytes) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.extent.length > 0 {
            self.pool.0.lock().release(self.extent);
        }
    }
}

/// Memory that is not reserved again until this is dropped.
#[derive(Debug)]
pub struct Pins {
    pool: &'static Pool,
    extents: Vec<Extent>,
}

impl Pins {
    /// How many bytes are pinned.
    pub fn size_bytes(&self) -> usize {
        self.extents.iter().map(|extent| extent.length).sum()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.pool.0.lock().unpin(&self.extents);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{boxed::Box, vec};

    fn pool(size_bytes: usize) -> &'static Pool {
        let pool = Box::leak(Box::new(Pool::new()));
        // One more granule, because the vector's start is not aligned.
        let memory = vec![0; size_bytes + GRANULE_BYTES].leak();
        let skip = memory.as_ptr().align_offset(GRANULE_BYTES);
        pool.add(&mut memory[skip..skip + size_bytes]);
        assert_eq!(pool.total_bytes(), size_bytes);
        pool
    }

    #[test]
    fn regions_are_aligned_disjoint_and_given_back() {
        let pool = pool(1 << 16);
        let mut a = pool.reserve(1000, 1).unwrap();
        let mut b = pool.reserve(5000, 4096).unwrap();
        assert_eq!((a.len(), b.len()), (1000, 5000));
        assert!(a.as_ptr().addr().is_multiple_of(GRANULE_BYTES));
        assert!(b.as_ptr().addr().is_multiple_of(4096));
        a.fill(1);
        b.fill(2);
        assert!(a.iter().all(|&byte| byte == 1));
        drop(a);
        drop(b);
        assert_eq!(pool.free_bytes(), 1 << 16);
        assert_eq!(pool.largest_free_bytes(), 1 << 16);
        assert!(pool.high_water_bytes() >= 6016);
    }

    #[test]
    fn regions_that_follow_each_other_become_one() {
        let pool = pool(64 * 16);
        let [mut a, b, c] = [64, 100, 64].map(|size_bytes| pool.reserve(size_bytes, 64).unwrap());
        let c = a.append(c).unwrap_err();
        a.append(b).unwrap();
        assert_eq!((a.len(), a.footprint().size_bytes()), (164, 192));
        // The bytes between them belong to neither.
        let c = a.append(c).unwrap_err();
        drop(a);
        assert_eq!((pool.free_bytes(), pool.largest_free_bytes()), (64 * 15, 64 * 12));
        drop(c);
        assert_eq!(pool.largest_free_bytes(), 64 * 16);
    }

    #[test]
    fn refusal_names_needed_and_available() {
        let pool = pool(4096);
        let held = pool.reserve(1024, 64).unwrap();
        let refused = pool.reserve(4096, 64).unwrap_err();
        assert_eq!(refused, OutOfMemory { needed_bytes: 4096, available_bytes: 3072 });
        assert_eq!(std::format!("{refused}"), "not enough memory: 4096 bytes needed, 3072 available");
        drop(held);
        assert!(pool.reserve(4096, 64).is_ok());
        assert!(pool.reserve(usize::MAX, 64).is_err());
        assert!(pool.reserve(64, 1 << 62).is_err());
    }

    #[test]
    fn room_is_known_to_the_byte_before_anything_is_given_back() {
        let pool = pool(64 * 16);
        let mut held: Vec<_> = [3, 6, 4, 3].map(|n| Some(pool.reserve(64 * n, 64).unwrap())).into();
        let footprint = |region: &Option<Region>| region.as_ref().unwrap().footprint();
        let shortage = |needed: usize, free: usize, longest: usize| Shortage {
            needed_bytes: 64 * needed,
            free_bytes: 64 * free,
            longest_free_bytes: 64 * longest,
        };
        assert_eq!(pool.room_for(&[1, 65], &[]), Err(shortage(3, 0, 0)));
        assert_eq!(pool.room_for(&[0], &[]), Ok(()));
        assert_eq!(pool.room_for(&[64 * 2, 64 * 4], &[footprint(&held[1])]), Ok(()));
        assert_eq!(pool.room_for(&[64 * 2, 64 * 4 + 1], &[footprint(&held[1])]), Err(shortage(7, 6, 6)));
        assert_eq!(pool.room_for(&[usize::MAX, 1], &[]).unwrap_err().needed_bytes, usize::MAX);
        // Enough memory, but in separate pieces.
        let apart = [footprint(&held[1]), footprint(&held[3])];
        assert_eq!(pool.room_for(&[64 * 7], &apart), Err(shortage(7, 9, 6)));
        assert_eq!(pool.room_for(&[64 * 4, 64 * 5], &apart), Err(shortage(9, 9, 6)));
        // The order in which they are listed does not matter.
        assert_eq!(pool.room_for(&[64 * 3, 64 * 6], &apart), Ok(()));
        assert_eq!(pool.room_for(&[64 * 6, 64 * 3], &apart), Ok(()));
        // Nothing has changed, and what the answer said holds.
        assert_eq!(pool.free_bytes(), 0);
        held[1] = None;
        held[3] = None;
        assert!(pool.reserve(64 * 7, 64).is_err());
        let _first = pool.reserve(64 * 6, 64).unwrap();
        let _second = pool.reserve(64 * 3, 64).unwrap();
        assert_eq!(pool.free_bytes(), 0);
    }

    #[test]
    fn an_empty_region_takes_nothing() {
        let pool = pool(64);
        let empty = pool.reserve(0, 4096).unwrap();
        assert!(empty.is_empty());
        assert_eq!(pool.free_bytes(), 64);
    }

    #[test]
    fn any_order_of_release_leaves_one_extent() {
        let pool = pool(64 * 12);
        // Every order of freeing four regions that fill the pool.
        for order in 0..24_usize {
            let mut held: Vec<_> = (0..4).map(|_| pool.reserve(64 * 3, 64).unwrap()).collect();
            assert_eq!(pool.free_bytes(), 0);
            for (step, radix) in [24, 6, 2, 1].into_iter().enumerate() {
                let pick = if step == 3 { 0 } else { order % radix * held.len() / radix };
                held.remove(pick);
            }
            assert_eq!(pool.largest_free_bytes(), 64 * 12);
        }
    }

    #[test]
    fn memory_in_pieces_stays_in_pieces() {
        let pool = pool(640);
        let memory = vec![0; 1024].leak();
        pool.add(memory);
        assert!(pool.total_bytes() >= 640 + 1024 - 64);
        assert!(pool.reserve(1500, 64).is_err());
        assert!(pool.reserve(640, 64).is_ok());
    }

    #[test]
    fn pinned_memory_is_free_when_neither_owner_nor_device_has_it() {
        let pool = pool(64 * 16);
        let region = pool.reserve(64 * 10, 64).unwrap();
        let start = region.as_ptr().addr();
        assert!(pool.contains(&region) && !pool.contains(&[0; 8]));
        // The second begins within the last granule of the first.
        let first = pool.pin([start + 100..start + 200, start + 600..start + 640]);
        let second = pool.pin([start + 200..start + 300]);
        assert_eq!((pool.free_bytes(), pool.held_bytes()), (64 * 6, 0));
        drop(region);
        // Granules 1 to 4 and 9.
        assert_eq!((pool.free_bytes(), pool.held_bytes()), (64 * 11, 64 * 5));
        assert_eq!(pool.largest_free_bytes(), 64 * 6);
        drop(first);
        // Granules 3 and 4.
        assert_eq!((pool.free_bytes(), pool.held_bytes()), (64 * 14, 64 * 2));
        drop(second);
        assert_eq!((pool.largest_free_bytes(), pool.held_bytes()), (64 * 16, 0));
        let region = pool.reserve(64 * 16, 64).unwrap();
        drop(pool.pin([start..start + 64]));
        drop(region);
        assert_eq!(pool.largest_free_bytes(), 64 * 16);
    }
}
