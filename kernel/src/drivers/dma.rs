//! Memory that a device reads and writes whenever it likes: the queues of a controller, and what it answers.

use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use core::{alloc::Layout, mem::forget, ptr::NonNull, slice};

/// Size of a page, at which such memory begins.
pub const PAGE_BYTES: usize = 4096;

/// Some pages of the heap, zeroed at first. A device sees them at their address, and is coherent with the caches.
pub struct Pages {
    start: NonNull<u32>,
    layout: Layout,
}

// SAFETY: the memory belongs to the value alone, but for the device, which no thread is.
unsafe impl Send for Pages {}

impl Pages {
    /// `count` pages, one at least.
    pub fn new(count: usize) -> Self {
        match Self::aligned(count, PAGE_BYTES) {
            Some(pages) => pages,
            None => handle_alloc_error(Layout::new::<[u8; PAGE_BYTES]>()),
        }
    }

    /// `count` pages, one at least, that begin at a multiple of `align_bytes`; `None` if there are none.
    pub fn aligned(count: usize, align_bytes: usize) -> Option<Self> {
        let size_bytes = count.max(1).checked_mul(PAGE_BYTES)?;
        let layout = Layout::from_size_align(size_bytes, align_bytes.max(PAGE_BYTES)).ok()?;
        // SAFETY: there is one page at least.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start: start.cast(), layout })
    }

    /// Where the device finds them.
    pub fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    /// What they take.
    pub fn size_bytes(&self) -> usize {
        self.layout.size()
    }

    /// Gives them to the device for ever.
    pub fn give_away(self) {
        forget(self);
    }

    /// # Panics
    /// If the word is beyond the pages.
    fn word(&self, index: usize) -> NonNull<u32> {
        assert!(index < self.size_bytes() / size_of::<u32>(), "word {index} of {} bytes", self.size_bytes());
        // SAFETY: within the pages.
        unsafe { self.start.add(index) }
    }

    /// The word with this number, as the device has written it.
    ///
    /// # Panics
    /// If there is none.
    pub fn read(&self, index: usize) -> u32 {
        // SAFETY: any bits are a number, whoever wrote them.
        u32::from_le(unsafe { self.word(index).read_volatile() })
    }

    /// Writes the word with this number.
    ///
    /// # Panics
    /// If there is none.
    pub fn write(&mut self, index: usize, value: u32) {
        // SAFETY: the word is within the pages, and `&mut self` makes the access exclusive but for the device, which only reads it.
        unsafe { self.word(index).write_volatile(value.to_le()) }
    }

    /// Writes two words, which begin with an even number.
    ///
    /// # Panics
    /// If there are none.
    pub fn write_u64(&mut self, index: usize, value: u64) {
        self.write(index, value as u32);
        self.write(index + 1, (value >> 32) as u32);
    }

    /// All bytes.
    ///
    /// # Safety
    /// No device may write to them meanwhile.
    pub unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: they are initialised, and the caller promises that nobody writes to them.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.size_bytes()) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: they come from `aligned`, with this layout.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) };
    }
}
