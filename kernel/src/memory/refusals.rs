//! Refusals on purpose: larger blocks of the heap and regions of the pool are counted, and those of chosen numbers are refused.
//!
//! Only kernels that are built for tests do that: the [heap](super::heap) and the [pool](super::pool) ask [`ALL`] there.

use core::ops::RangeInclusive;
use llm::SMALL_BLOCK_BYTES;
use spin::Mutex;

/// No number.
pub const NOTHING: RangeInclusive<u64> = RangeInclusive::new(1, 0);

/// What was counted since the last question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Blocks and regions that were requested.
    pub n_requested: u64,
    /// Those of them that were refused on purpose.
    pub n_refused: u64,
}

/// The count, and what is to be refused.
#[derive(Debug)]
struct State {
    refused: RangeInclusive<u64>,
    counted: Counted,
    /// The larger block that was requested last.
    last: Option<Block>,
    /// Bytes in one piece that are there for certain: a block was requested and at once given back, as code does to learn whether there is room
    /// for what a library then takes for granted. What fits is neither counted nor refused.
    hole_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    size_bytes: usize,
    taken_bytes: usize,
    is_in_hole: bool,
}

/// Counts requests for memory and refuses some of them.
#[derive(Debug)]
pub struct Refusals(Mutex<State>);

/// Those of this machine.
pub static ALL: Refusals = Refusals::new();

impl Refusals {
    /// Refuses nothing.
    #[expect(clippy::new_without_default, reason = "`ALL` is a static: `new` must be const")]
    pub const fn new() -> Self {
        Self(Mutex::new(State::new(NOTHING)))
    }

    /// Counts anew and refuses the requests of these numbers, from 0; returns what was counted until now.
    pub fn begin(&self, refused: RangeInclusive<u64>) -> Counted {
        core::mem::replace(&mut *self.0.lock(), State::new(refused)).counted
    }

    /// Whether the heap is to refuse a block of this size.
    pub fn refuses_block(&self, size_bytes: usize, align_bytes: usize) -> bool {
        let state = &mut *self.0.lock();
        // What it may take beside its own size.
        let taken_bytes = size_bytes.next_multiple_of(16) + align_bytes;
        let is_in_hole = taken_bytes <= state.hole_bytes;
        if is_in_hole {
            state.hole_bytes -= taken_bytes;
        }
        if size_bytes <= SMALL_BLOCK_BYTES {
            return false;
        }
        state.last = Some(Block { size_bytes, taken_bytes, is_in_hole });
        !is_in_hole && state.refuses()
    }

    /// Whether the pool is to refuse a region.
    pub fn refuses_region(&self) -> bool {
        self.0.lock().refuses()
    }

    /// Says that the heap has got back a block of this size.
    pub fn given_back(&self, size_bytes: usize) {
        let state = &mut *self.0.lock();
        match state.last {
            Some(Block { size_bytes: last_bytes, taken_bytes, is_in_hole }) if last_bytes == size_bytes => {
                state.last = None;
                state.hole_bytes = match is_in_hole {
                    true => state.hole_bytes + taken_bytes,
                    false => state.hole_bytes.max(taken_bytes),
                };
            }
            _ => {}
        }
    }
}

impl State {
    const fn new(refused: RangeInclusive<u64>) -> Self {
        let counted = Counted { n_requested: 0, n_refused: 0 };
        Self { refused, counted, last: None, hole_bytes: 0 }
    }

    fn refuses(&mut self) -> bool {
        let is_refused = self.refused.contains(&self.counted.n_requested);
        self.counted.n_requested += 1;
        self.counted.n_refused += u64::from(is_refused);
        is_refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 2 * SMALL_BLOCK_BYTES;

    #[test]
    fn larger_blocks_and_regions_are_counted_and_those_of_the_numbers_are_refused() {
        let refusals = Refusals::new();
        let request = || {
            let small = refusals.refuses_block(SMALL_BLOCK_BYTES, 8);
            let large = refusals.refuses_block(LARGE, 8);
            [small, large, refusals.refuses_region(), refusals.refuses_block(LARGE, 8)]
        };
        assert_eq!(request(), [false; 4]);
        assert_eq!(refusals.begin(1..=1), Counted { n_requested: 3, n_refused: 0 });
        assert_eq!(request(), [false, false, true, false]);
        assert_eq!(refusals.begin(1..=u64::MAX), Counted { n_requested: 3, n_refused: 1 });
        assert_eq!(request(), [false, false, true, true]);
        assert_eq!(refusals.begin(NOTHING), Counted { n_requested: 3, n_refused: 2 });
        assert_eq!(request(), [false; 4]);
    }

    #[test]
    fn what_was_found_to_be_there_is_not_refused() {
        let refusals = Refusals::new();
        let counted = || refusals.begin(0..=u64::MAX).n_requested;
        // Room for several blocks is sought, and then taken by one that grows and by a small one.
        refusals.begin(NOTHING);
        for _ in 0..2 {
            assert!(!refusals.refuses_block(4 * LARGE, 8));
            refusals.given_back(4 * LARGE);
        }
        for size_bytes in [LARGE, 2 * LARGE, 100] {
            assert!(!refusals.refuses_block(size_bytes, 8));
        }
        refusals.given_back(LARGE);
        assert_eq!(counted(), 1);
        // What was given back later than at once may be anybody's.
        refusals.begin(NOTHING);
        assert!(!refusals.refuses_block(4 * LARGE, 8) && !refusals.refuses_block(LARGE, 8));
        refusals.given_back(4 * LARGE);
        assert!(!refusals.refuses_block(LARGE, 8));
        assert_eq!(counted(), 3);
        // A hole of before the count is nobody's.
        assert!(refusals.refuses_block(LARGE, 8));
        refusals.given_back(SMALL_BLOCK_BYTES);
        assert!(refusals.refuses_block(LARGE, 8));
    }
}
