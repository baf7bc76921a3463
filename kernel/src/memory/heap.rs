//! The small heap: `linked_list_allocator` behind a lock, and a reserve for small blocks.
//!
//! The heap is one region of fixed size, for tables, strings and page tables: few and long-lived blocks. Model weights and
//! inference memory never come from here, but from the [pool](super::pool).
//!
//! Blocks larger than [`SMALL_BLOCK_BYTES`] are requested only by code that can handle a refusal, and are refused when there is
//! no room. Smaller blocks, which most code cannot do without, then come from the reserve. When much of the reserve is in use,
//! the heap [is low](Heap::is_low), and code that brings new work waits until it is not.

use core::{
    alloc::{GlobalAlloc, Layout},
    mem::MaybeUninit,
    ptr::{self, NonNull},
};
use llm::SMALL_BLOCK_BYTES;
use spin::Mutex;

/// The reserve is one part in this many of the heap's memory.
const RESERVE_PART: usize = 16;

/// The heap is low when more than one part in this many of the reserve is in use.
const LOW_PART: usize = 4;

/// How much of the heap is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapUsage {
    /// Bytes of allocated blocks, including padding.
    pub used_bytes: usize,
    /// Bytes in all.
    pub size_bytes: usize,
}

/// A heap without memory until [`Heap::init`] gives it some.
pub struct Heap(Mutex<Parts>);

struct Parts {
    main: linked_list_allocator::Heap,
    reserve: linked_list_allocator::Heap,
}

impl Parts {
    fn of(&mut self, block: NonNull<u8>) -> &mut linked_list_allocator::Heap {
        match block.as_ptr() >= self.reserve.bottom() {
            true => &mut self.reserve,
            false => &mut self.main,
        }
    }
}

impl Heap {
    /// A heap that refuses every request.
    #[expect(clippy::new_without_default, reason = "a heap is a static: `new` must be const")]
    pub const fn new() -> Self {
        let empty = linked_list_allocator::Heap::empty;
        Self(Mutex::new(Parts { main: empty(), reserve: empty() }))
    }

    /// Gives the heap its memory, once.
    ///
    /// # Panics
    /// If it already has memory, or the memory is smaller than some hundred bytes.
    pub fn init(&self, memory: &'static mut [MaybeUninit<u8>]) {
        let mut parts = self.0.lock();
        // The reserve is at the end.
        let (main, reserve) = memory.split_at_mut(memory.len() - memory.len() / RESERVE_PART);
        parts.main.init_from_slice(main);
        parts.reserve.init_from_slice(reserve);
    }

    /// How much of the heap is in use.
    pub fn usage(&self) -> HeapUsage {
        let Parts { main, reserve } = &*self.0.lock();
        HeapUsage { used_bytes: main.used() + reserve.used(), size_bytes: main.size() + reserve.size() }
    }

    /// Whether small blocks have taken a quarter of the reserve: there is then no room for anything new.
    pub fn is_low(&self) -> bool {
        let Parts { reserve, .. } = &*self.0.lock();
        reserve.used() > reserve.size() / LOW_PART
    }
}

// SAFETY: the inner allocators return either blocks that fit the layout and overlap no other live block, or an error, which
// becomes null. The lock keeps their lists consistent, and each block is returned to the allocator whose memory it lies in.
// Interrupt handlers do not allocate, so a core never waits for a lock that it holds itself.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        #[cfg(feature = "selftest")]
        if super::refusals::ALL.refuses_block(layout.size(), layout.align()) {
            return ptr::null_mut();
        }
        let Parts { main, reserve } = &mut *self.0.lock();
        let mut block = main.allocate_first_fit(layout);
        if block.is_err() && layout.size() <= SMALL_BLOCK_BYTES {
            block = reserve.allocate_first_fit(layout);
        }
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        #[cfg(feature = "selftest")]
        super::refusals::ALL.given_back(layout.size());
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller passes a block that `alloc` returned, with its layout.
            unsafe { self.0.lock().of(block).deallocate(block, layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{boxed::Box, vec, vec::Vec};

    #[test]
    fn serves_blocks_and_takes_them_back() {
        let heap = Heap::new();
        let layout = Layout::from_size_align(1000, 64).unwrap();
        // SAFETY: the layout is not empty.
        assert!(unsafe { heap.alloc(layout) }.is_null());

        heap.init(Box::leak(vec![MaybeUninit::uninit(); 1 << 16].into_boxed_slice()));
        assert_eq!(heap.usage().used_bytes, 0);
        // SAFETY: the layout is not empty.
        let block = unsafe { heap.alloc(layout) };
        assert!(!block.is_null() && block.addr().is_multiple_of(64));
        assert!(heap.usage().used_bytes >= 1000);

        let too_much = Layout::from_size_align(1 << 17, 8).unwrap();
        // SAFETY: the layout is not empty.
        assert!(unsafe { heap.alloc(too_much) }.is_null());
        // SAFETY: the block came from this heap with this layout and is not used afterwards.
        unsafe { heap.dealloc(block, layout) };
        assert_eq!(heap.usage().used_bytes, 0);
    }

    #[test]
    fn small_blocks_are_there_when_large_ones_are_refused() {
        const BYTES: usize = 1 << 20;
        let heap = Heap::new();
        heap.init(Box::leak(vec![MaybeUninit::uninit(); BYTES].into_boxed_slice()));
        let small = Layout::from_size_align(SMALL_BLOCK_BYTES, 8).unwrap();
        let large = Layout::from_size_align(SMALL_BLOCK_BYTES + 1, 8).unwrap();
        // SAFETY: the layout is not empty.
        let take = |layout| Some(unsafe { heap.alloc(layout) }).filter(|block| !block.is_null());
        // SAFETY: callers pass blocks of this heap with their layouts, and do not use them afterwards.
        let give = |block, layout| unsafe { heap.dealloc(block, layout) };

        let large_blocks: Vec<_> = core::iter::from_fn(|| take(large)).collect();
        let taken = large_blocks.len() * SMALL_BLOCK_BYTES;
        let left = BYTES - BYTES / RESERVE_PART;
        assert!((left - 3 * SMALL_BLOCK_BYTES..left).contains(&taken), "{taken} of {BYTES}");
        assert!(!heap.is_low());
        // The heap is not low until much of the reserve is taken; when nothing is left, it refuses even small blocks.
        let mut n_before_low = 0;
        let small_blocks: Vec<_> = core::iter::from_fn(|| {
            n_before_low += usize::from(!heap.is_low());
            take(small)
        })
        .collect();
        assert!((14..=16).contains(&small_blocks.len()), "{} blocks", small_blocks.len());
        assert!((4..=6).contains(&n_before_low), "{n_before_low} blocks");
        assert!(heap.is_low() && take(large).is_none());
        // Freed blocks return to the part that they came from.
        small_blocks.into_iter().for_each(|block| give(block, small));
        assert!(!heap.is_low() && take(large).is_none());
        large_blocks.into_iter().for_each(|block| give(block, large));
        assert_eq!(heap.usage().used_bytes, 0);
        let most = Layout::from_size_align(left - 64, 8).unwrap();
        give(take(most).expect("it is in one piece again"), most);
    }
}
