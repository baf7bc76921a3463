//! An allocator for tests of unsafe code: the memory after a block cannot be accessed. A read or write past the end of a block,
//! or in a block that has been freed, ends the test program by a signal.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr::null_mut,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

/// Off where a sanitizer's allocator must see all blocks: `scripts/check-memory`.
const IS_ON: bool = option_env!("FERRITE_WITHOUT_FENCE").is_none();

/// Addresses for all blocks ever allocated: no address is used twice.
const ARENA_BYTES: usize = 64 << 30;

/// The most blocks that exist at a time. Each takes two mappings, of which Linux allows 65530 by default; further blocks come
/// from the system's allocator.
const MAX_LIVE: usize = 30_000;

/// Shorter blocks get no fence: none of them is a vector, and fences for texts would take much time. Blocks of a thread that panics get
/// none either: with `RUST_BACKTRACE` set, the standard library keeps so many for ever that no later block would have a fence.
const MIN_BYTES: usize = 32;

/// Blocks that end at an inaccessible page, or as close before it as their alignment allows.
struct Fence {
    arena: OnceLock<Option<Arena>>,
    used_bytes: AtomicUsize,
    n_live: AtomicUsize,
}

/// Addresses that are inaccessible except for the blocks in them.
#[derive(Clone, Copy)]
struct Arena {
    start: *mut u8,
    page_bytes: usize,
}

// SAFETY: a number.
unsafe impl Send for Arena {}
// SAFETY: a number.
unsafe impl Sync for Arena {}

#[global_allocator]
static ALLOCATOR: Fence =
    Fence { arena: OnceLock::new(), used_bytes: AtomicUsize::new(0), n_live: AtomicUsize::new(0) };

impl Fence {
    fn arena(&self) -> Option<Arena> {
        if !IS_ON {
            return None;
        }
        *self.arena.get_or_init(|| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: a new mapping.
            let start = unsafe { libc::mmap(null_mut(), ARENA_BYTES, libc::PROT_NONE, flags, -1, 0) };
            // SAFETY: asks for a number.
            let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let page_bytes = usize::try_from(page_bytes).ok()?;
            (start != libc::MAP_FAILED).then_some(Arena { start: start.cast(), page_bytes })
        })
    }

    /// A block of zeros followed by a fence, if the block should have one and there is room.
    fn fenced(&self, layout: Layout) -> Option<*mut u8> {
        let Arena { start, page_bytes } = self.arena()?;
        if layout.size() < MIN_BYTES
            || layout.align() > page_bytes
            || thread::panicking()
            || self.n_live.load(Relaxed) > MAX_LIVE
            || self.used_bytes.load(Relaxed) > ARENA_BYTES / 2
        {
            return None;
        }
        let n_bytes = layout.size().checked_next_multiple_of(page_bytes)?;
        let offset = self.used_bytes.fetch_add(n_bytes + page_bytes, Relaxed);
        if offset + n_bytes + page_bytes > ARENA_BYTES {
            return None;
        }
        // SAFETY: within the arena, and nobody else's.
        let pages = unsafe { start.add(offset) };
        // SAFETY: as above.
        let is_accessible =
            unsafe { libc::mprotect(pages.cast(), n_bytes, libc::PROT_READ | libc::PROT_WRITE) } == 0;
        assert!(is_accessible, "no memory for a block with a fence");
        self.n_live.fetch_add(1, Relaxed);
        // SAFETY: within these pages.
        Some(unsafe { pages.add((n_bytes - layout.size()) / layout.align() * layout.align()) })
    }
}

// SAFETY: blocks are pages of their own, as long as asked for and as aligned; others are the system's.
unsafe impl GlobalAlloc for Fence {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        self.fenced(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        self.fenced(layout).unwrap_or_else(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.arena() {
            Some(Arena { start, page_bytes })
                if (start.addr()..start.addr() + ARENA_BYTES).contains(&block.addr()) =>
            {
                let n_bytes = layout.size().next_multiple_of(page_bytes);
                let offset = (n_bytes - layout.size()) / layout.align() * layout.align();
                // SAFETY: the pages that `fenced` made accessible, which are this block's.
                unsafe {
                    let pages = block.sub(offset).cast();
                    libc::madvise(pages, n_bytes, libc::MADV_DONTNEED);
                    libc::mprotect(pages, n_bytes, libc::PROT_NONE);
                }
                self.n_live.fetch_sub(1, Relaxed);
            }
            // SAFETY: the caller's promise.
            _ => unsafe { System.dealloc(block, layout) },
        }
    }
}
