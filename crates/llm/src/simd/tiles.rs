//! Divides an output buffer among cores, each part handed to exactly one of them.
//!
//! Tiles are claimed while the work runs: a core that the host takes away for a while claims fewer.
//! [`crate::parallel::for_each_chunk`] does the same for contiguous chunks and needs no unsafe code; a tile is a
//! rectangle whose rows interleave with those of others.

use crate::parallel::Workers;
use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A rectangle of a token-major matrix `[n_tokens × n_rows]`, exclusively held.
pub struct Tile<'a> {
    /// Element (first token, first row) of the tile.
    origin: *mut f32,
    /// Elements from one token to the next.
    stride: usize,
    rows: Range<usize>,
    tokens: Range<usize>,
    owner: PhantomData<&'a mut [f32]>,
}

impl Tile<'_> {
    /// The output rows covered, counted in the whole matrix.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The tokens covered, counted in the whole matrix.
    pub fn tokens(&self) -> Range<usize> {
        self.tokens.clone()
    }

    /// Where the outputs of the first token begin, and how many elements further those of the next do.
    pub fn as_mut_ptr(&mut self) -> (*mut f32, usize) {
        (self.origin, self.stride)
    }

    /// The tile's outputs for its `token`-th token, one for each row.
    ///
    /// # Panics
    ///
    /// If the tile has no such token.
    pub fn token(&mut self, token: usize) -> &mut [f32] {
        assert!(token < self.tokens.len());
        // SAFETY: `for_each_tile` made the tile inside a slice that it holds exclusively and gave
        // no other tile these elements; the assertion keeps the access inside the rectangle.
        unsafe { core::slice::from_raw_parts_mut(self.origin.add(token * self.stride), self.rows.len()) }
    }
}

/// A pointer that the workers share.
struct Shared(*mut f32);

// SAFETY: `for_each_tile` gives each worker other elements than every other worker, so sharing the
// pointer shares no element, and f32 may be sent between threads.
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer. A method, so that closures capture the wrapper and not the bare pointer in it.
    fn get(&self) -> *mut f32 {
        self.0
    }
}

/// Cuts `out` (`[n_tokens × n_rows]`, token-major) into tiles of at most `tile_rows` × `tile_tokens`
/// and calls `job` once with each, on whichever worker claims it.
///
/// Tiles of the same rows follow each other, so that the weights of those rows stay in cache.
///
/// # Panics
///
/// If a tile size is 0 or `out` is no whole number of rows.
pub fn for_each_tile(
    workers: &dyn Workers,
    out: &mut [f32],
    n_rows: usize,
    tile_rows: usize,
    tile_tokens: usize,
    job: &(dyn Fn(Tile<'_>) + Sync),
) {
    if out.is_empty() {
        return;
    }
    assert!(out.len().is_multiple_of(n_rows));
    let n_tokens = out.len() / n_rows;
    let token_tiles = n_tokens.div_ceil(tile_tokens);
    let n_tiles = n_rows.div_ceil(tile_rows) * token_tiles;
    let base = Shared(out.as_mut_ptr());
    claim_each(workers, n_tiles, &|index| {
        let first_row = index / token_tiles * tile_rows;
        let first_token = index % token_tiles * tile_tokens;
        let rows = first_row..n_rows.min(first_row + tile_rows);
        let tokens = first_token..n_tokens.min(first_token + tile_tokens);
        job(Tile {
            // SAFETY: first_token < n_tokens and first_row < n_rows, hence within `out`.
            origin: unsafe { base.get().add(first_token * n_rows + first_row) },
            stride: n_rows,
            rows,
            tokens,
            owner: PhantomData,
        });
    });
}

/// The most shares that work is divided into; further workers begin with what is left of these.
const MAX_SHARES: usize = 16;

/// The next index of a share, in a cache line of its own: mostly one worker claims.
#[repr(align(128))]
struct Share(AtomicUsize);

/// Calls `job` once with every index below `count`.
///
/// Each worker begins with a share of its own, indices that follow each other, and then takes what is left of the
/// others'. So it reads weights in one piece, of which nearly all can be asked for ahead of time.
fn claim_each(workers: &dyn Workers, count: usize, job: &(dyn Fn(usize) + Sync)) {
    let n_shares = workers.count().min(count).min(MAX_SHARES);
    if n_shares <= 1 {
        return (0..count).for_each(job);
    }
    let shares: [Share; MAX_SHARES] =
        core::array::from_fn(|share| Share(AtomicUsize::new(count * share / n_shares)));
    let come = AtomicUsize::new(0);
    workers.run(&|| {
        let own = come.fetch_add(1, Ordering::Relaxed) % n_shares;
        for share in (own..n_shares).chain(0..own) {
            let end = count * (share + 1) / n_shares;
            loop {
                let index = shares[share].0.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                job(index);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::Serial;
    use crate::simd::std::{sync::Mutex, thread, vec, vec::Vec};

    /// So many cores, of which only some come.
    struct Coming {
        count: usize,
        n_coming: usize,
    }

    impl Workers for Coming {
        fn count(&self) -> usize {
            self.count
        }

        fn run(&self, job: &(dyn Fn() + Sync)) {
            thread::scope(|scope| (0..self.n_coming).for_each(|_| drop(scope.spawn(job))));
        }
    }

    #[test]
    fn each_index_is_claimed_once_whoever_comes() {
        for count in [0, 1, 2, 3, 7, 16, 17, 100] {
            for (n_workers, n_coming) in [(2, 1), (2, 2), (3, 2), (16, 5), (40, 1), (40, 8)] {
                let done = Mutex::new(vec![0; count]);
                let workers = Coming { count: n_workers, n_coming };
                claim_each(&workers, count, &|index| done.lock().unwrap()[index] += 1);
                assert_eq!(done.into_inner().unwrap(), vec![1; count], "{n_coming} of {n_workers}");
            }
        }
    }

    #[test]
    fn a_worker_alone_takes_them_in_order() {
        for workers in [&Serial as &dyn Workers, &Coming { count: 3, n_coming: 1 }] {
            let order = Mutex::new(Vec::new());
            claim_each(workers, 10, &|index| order.lock().unwrap().push(index));
            assert_eq!(order.into_inner().unwrap(), Vec::from_iter(0..10));
        }
    }
}
