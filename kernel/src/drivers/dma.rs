//! Memory that a device reads and writes on its own: the queues of a controller, and the data that it returns.

use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use core::{alloc::Layout, mem::forget, ptr::NonNull, slice};

/// Size of a page, at which such memory begins.
pub const PAGE_BYTES: usize = 4096;

/// Pages of the heap, initially zero. The device uses the same address and is coherent with the caches.
pub struct Pages {
    start: NonNull<u32>,
    layout: Layout,
}

// SAFETY: only this value and the device access the memory, and a device does not depend on which thread owns the value.
unsafe impl Send for Pages {}

impl Pages {
    /// `count` pages, which must be at least one.
    pub fn new(count: usize) -> Self {
        match Self::aligned(count, PAGE_BYTES) {
            Some(pages) => pages,
            None => handle_alloc_error(Layout::new::<[u8; PAGE_BYTES]>()),
        }
    }

    /// `count` pages, at least one, that begin at a multiple of `align_bytes`; `None` if there is no memory.
    pub fn aligned(count: usize, align_bytes: usize) -> Option<Self> {
        let size_bytes = count.max(1).checked_mul(PAGE_BYTES)?;
        let layout = Layout::from_size_align(size_bytes, align_bytes.max(PAGE_BYTES)).ok()?;
        // SAFETY: the layout is not empty, since there is at least one page.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start: start.cast(), layout })
    }

    /// The address by which the device accesses them.
    pub fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    /// Their total size.
    pub fn size_bytes(&self) -> usize {
        self.layout.size()
    }

    /// Leaves them to the device for ever.
    pub fn give_away(self) {
        forget(self);
    }

    /// # Panics
    /// If the index is beyond the pages.
    fn word(&self, index: usize) -> NonNull<u32> {
        assert!(index < self.size_bytes() / size_of::<u32>(), "word {index} of {} bytes", self.size_bytes());
        // SAFETY: the index was checked, so the result lies within the pages.
        unsafe { self.start.add(index) }
    }

    /// Reads the word with this index, which the device may have written.
    ///
    /// # Panics
    /// If the index is beyond the pages.
    pub fn read(&self, index: usize) -> u32 {
        // SAFETY: `word` points into the pages, and every bit pattern is a valid number, whoever wrote it.
        u32::from_le(unsafe { self.word(index).read_volatile() })
    }

    /// Writes the word with this index.
    ///
    /// # Panics
    /// If the index is beyond the pages.
    pub fn write(&mut self, index: usize, value: u32) {
        // SAFETY: `word` points into the pages; `&mut self` excludes other writers, and the device only reads this word.
        unsafe { self.word(index).write_volatile(value.to_le()) }
    }

    /// Writes two words, the first of which must have an even index.
    ///
    /// # Panics
    /// If the index is beyond the pages.
    pub fn write_u64(&mut self, index: usize, value: u64) {
        self.write(index, value as u32);
        self.write(index + 1, (value >> 32) as u32);
    }

    /// All bytes.
    ///
    /// # Safety
    /// No device may write to them as long as the slice is in use.
    pub unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes are initialised, and the caller promises that no device writes to them.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.size_bytes()) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the pages were allocated in `aligned` with this layout.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) };
    }
}
