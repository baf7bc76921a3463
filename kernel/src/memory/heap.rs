//! The small heap: `linked_list_allocator` behind a lock, with what it last refused.
//!
//! One region of fixed size, for tables, strings and page tables: few and long-lived blocks. Model
//! weights and inference memory never come from here but from the [pool](super::pool).

use core::{
    alloc::{GlobalAlloc, Layout},
    mem::MaybeUninit,
    ptr::{self, NonNull},
};
use spin::Mutex;

/// How full the heap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapUsage {
    /// Bytes in allocated blocks, their padding included.
    pub used_bytes: usize,
    /// Bytes in all.
    pub size_bytes: usize,
}

/// A heap without memory until [`Heap::init`] gives it some.
pub struct Heap(Mutex<linked_list_allocator::Heap>);

impl Heap {
    /// A heap that refuses every request.
    #[expect(clippy::new_without_default, reason = "a heap is a static: `new` must be const")]
    pub const fn new() -> Self {
        Self(Mutex::new(linked_list_allocator::Heap::empty()))
    }

    /// Gives the heap its memory, once.
    ///
    /// # Panics
    /// If it has memory already.
    pub fn init(&self, memory: &'static mut [MaybeUninit<u8>]) {
        let mut heap = self.0.lock();
        assert_eq!(heap.size(), 0, "the heap has its memory already");
        heap.init_from_slice(memory);
    }

    /// How full the heap is.
    pub fn usage(&self) -> HeapUsage {
        let heap = self.0.lock();
        HeapUsage { used_bytes: heap.used(), size_bytes: heap.size() }
    }
}

// SAFETY: the inner allocator returns blocks that fit the layout and overlap no other live block,
// or an error, which becomes null; the lock keeps its list consistent. Interrupt handlers do not
// allocate, so the lock cannot be found taken by the core that wants it.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.0.lock().allocate_first_fit(layout) {
            Ok(block) => block.as_ptr(),
            Err(()) => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller passes a block that `alloc` returned, with its layout.
            unsafe { self.0.lock().deallocate(block, layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{boxed::Box, vec};

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
        // SAFETY: the block came from this heap with this layout and is not used any more.
        unsafe { heap.dealloc(block, layout) };
        assert_eq!(heap.usage().used_bytes, 0);
    }
}
