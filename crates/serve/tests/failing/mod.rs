//! An allocator that refuses chosen blocks, as an exhausted heap does.
//!
//! It follows the rules of the kernel's heap: blocks of at most [`SMALL_BLOCK_BYTES`] come from a reserve when nothing else is left, and
//! larger ones are refused. It counts the larger blocks, except those whose caller cannot handle a refusal and that fit into a block that
//! the thread has just freed: memory that is certainly free is not refused.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm::SMALL_BLOCK_BYTES;

/// Size in bytes of the reserve for small blocks.
const RESERVE_BYTES: usize = 64 << 20;

/// Which of the larger blocks are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// None.
    Nothing,
    /// The block with this number, from 0.
    Only(u64),
    /// That block and all later ones; from the block before it on, smaller blocks come from the reserve.
    From(u64),
}

/// What was allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Number of blocks of more than [`SMALL_BLOCK_BYTES`].
    pub n_large: u64,
    /// Number of them that were refused.
    pub n_refused: u64,
    /// The most bytes of the reserve that were in use at a time.
    pub reserve_bytes: usize,
}

#[derive(Clone, Copy)]
struct State {
    is_armed: bool,
    refused: Refused,
    seen: Seen,
    /// The size of a contiguous piece of memory that was freed and has not been allocated again.
    hole_bytes: usize,
}

const OFF: State = State {
    is_armed: false,
    refused: Refused::Nothing,
    seen: Seen { n_large: 0, n_refused: 0, reserve_bytes: 0 },
    hole_bytes: 0,
};

struct Reserve(UnsafeCell<[u8; RESERVE_BYTES]>);

// SAFETY: one thread at a time takes blocks from it, by `TURN`.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve = Reserve(UnsafeCell::new([0; RESERVE_BYTES]));

std::thread_local! {
    static STATE: Cell<State> = const { Cell::new(OFF) };
}

/// Number of bytes of the reserve that have been allocated.
static HANDED_OUT: AtomicUsize = AtomicUsize::new(0);

/// Number of these bytes that are still in use.
static LIVE: AtomicUsize = AtomicUsize::new(0);

static TURN: Mutex<()> = Mutex::new(());

/// Held by the test that has blocks refused, from before [`begin`] until all that it allocated has been freed, because there is only one
/// reserve.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts counting.
pub fn begin(refused: Refused) {
    STATE.set(State { refused, ..OFF });
}

/// The counts since then.
pub fn end() -> Seen {
    STATE.replace(OFF).seen
}

/// Runs code whose allocations are counted.
pub fn counted<R>(work: impl FnOnce() -> R) -> R {
    let set = |is_armed| STATE.set(State { is_armed, ..STATE.get() });
    set(true);
    let result = work();
    set(false);
    result
}

pub struct Failing;

fn reserve_range() -> std::ops::Range<usize> {
    let start = RESERVE.0.get().addr();
    start..start + RESERVE_BYTES
}

fn from_reserve(layout: Layout) -> *mut u8 {
    let live = LIVE.load(Ordering::SeqCst);
    let taken = if live == 0 { 0 } else { HANDED_OUT.load(Ordering::SeqCst) };
    let start = (reserve_range().start + taken).next_multiple_of(layout.align()) - reserve_range().start;
    let end = start + layout.size();
    if end > RESERVE_BYTES {
        return std::ptr::null_mut();
    }
    HANDED_OUT.store(end, Ordering::SeqCst);
    LIVE.fetch_add(layout.size(), Ordering::SeqCst);
    // SAFETY: `start` is within the reserve.
    unsafe { RESERVE.0.get().cast::<u8>().add(start) }
}

// SAFETY: blocks are the system's or of the reserve, of which each byte is in one block at most: blocks are handed out in ascending
// order, and from its beginning again only when none is used.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut state = STATE.get();
        if state.is_armed {
            // What it may take beside its own size.
            let taken = layout.size().next_multiple_of(16) + layout.align();
            let is_there = taken <= state.hole_bytes;
            let is_small = layout.size() <= SMALL_BLOCK_BYTES;
            // One that can be refused is, all the same.
            let is_there = is_there && (is_small || !can_be_refused(None));
            if is_there {
                state.hole_bytes -= taken;
                STATE.set(state);
            }
            let seen = &mut state.seen;
            if !is_small && !is_there {
                let number = seen.n_large;
                seen.n_large += 1;
                let is_refused = match state.refused {
                    Refused::Nothing => false,
                    Refused::Only(n) => number == n,
                    Refused::From(n) => number >= n,
                };
                seen.n_refused += u64::from(is_refused);
                STATE.set(state);
                if is_refused {
                    can_be_refused(Some((layout.size(), state.hole_bytes)));
                    return std::ptr::null_mut();
                }
            } else if !is_there && matches!(state.refused, Refused::From(n) if seen.n_large >= n) {
                let block = from_reserve(layout);
                seen.reserve_bytes = seen.reserve_bytes.max(LIVE.load(Ordering::SeqCst));
                STATE.set(state);
                return block;
            }
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !STATE.get().is_armed {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as the caller promises.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: the block has this many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let state = STATE.get();
        if state.is_armed && layout.size() > state.hole_bytes.max(SMALL_BLOCK_BYTES) {
            STATE.set(State { hole_bytes: layout.size(), ..state });
        }
        if reserve_range().contains(&block.addr()) {
            LIVE.fetch_sub(layout.size(), Ordering::SeqCst);
            return;
        }
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Whether the caller can handle a refusal of this block. A refusal that it cannot handle is printed, because it ends the process.
fn can_be_refused(refused: Option<(usize, usize)>) -> bool {
    let state = STATE.get();
    STATE.set(State { is_armed: false, ..state });
    let callers = std::backtrace::Backtrace::force_capture().to_string();
    let can_be = callers.contains("try_reserve");
    if let (Some((n_bytes, n_there)), false) = (refused, can_be) {
        std::eprintln!("{n_bytes} bytes taken for granted, {n_there} are there:\n{callers}");
    }
    STATE.set(state);
    can_be
}
