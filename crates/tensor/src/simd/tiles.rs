//! Divides an output buffer among cores and gives each part to exactly one of them.
//!
//! Cores claim tiles while the work runs, so a core that the host suspends for a while claims fewer.
//! [`crate::parallel::for_each_chunk`] does the same for contiguous chunks and needs no unsafe code. A tile is a rectangle, and
//! its rows interleave with those of other tiles.

use crate::parallel::Workers;
use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A rectangle of a token-major matrix `[n_tokens × n_rows]`, with exclusive access.
pub struct Tile<'a> {
    /// The element at the first token and first row of the tile.
    origin: *mut f32,
    /// Number of elements from one token to the next.
    stride: usize,
    rows: Range<usize>,
    tokens: Range<usize>,
    owner: PhantomData<&'a mut [f32]>,
}

impl Tile<'_> {
    /// The output rows of the tile, as indices into the whole matrix.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The tokens of the tile, as indices into the whole matrix.
    pub fn tokens(&self) -> Range<usize> {
        self.tokens.clone()
    }

    /// A pointer to the outputs of the first token, and the number of elements from one token's outputs to the next's.
    pub fn as_mut_ptr(&mut self) -> (*mut f32, usize) {
        (self.origin, self.stride)
    }

    /// The tile's outputs for its `token`-th token, one per row.
    ///
    /// # Panics
    ///
    /// If the tile has no such token.
    pub fn token(&mut self, token: usize) -> &mut [f32] {
        assert!(token < self.tokens.len());
        // SAFETY: `Grid` made the tile inside a slice that it borrows mutably and gave no other tile these elements; the
        // assertion keeps the access inside the rectangle.
        unsafe { core::slice::from_raw_parts_mut(self.origin.add(token * self.stride), self.rows.len()) }
    }
}

/// Writes the sums of up to four rows, the first at `out[0]`. All products share this function: inlined, each of them would
/// have a copy for a length that is not known at compile time.
#[inline(never)]
pub(super) fn store_rows(out: &mut [f32], sums: &[f32; 4]) {
    match out.first_chunk_mut() {
        Some(out) => *out = *sums,
        None => out.copy_from_slice(&sums[..out.len()]),
    }
}

/// A token-major matrix `[n_tokens × n_rows]` to be divided into tiles.
pub struct Output<'a> {
    /// The elements.
    pub out: &'a mut [f32],
    /// Number of elements per token.
    pub n_rows: usize,
}

/// The maximum size of a tile.
#[derive(Debug, Clone, Copy)]
pub struct TileSize {
    /// Number of rows.
    pub rows: usize,
    /// Number of tokens.
    pub tokens: usize,
}

/// An [`Output`] divided into tiles, which the workers share.
struct Grid<'a> {
    origin: *mut f32,
    n_rows: usize,
    n_tokens: usize,
    size: TileSize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: callers of `tile` take each tile only once, and different tiles share no element; f32 may be sent between threads.
unsafe impl Sync for Grid<'_> {}

impl<'a> Grid<'a> {
    #[inline(always)]
    fn new(output: Output<'a>, size: TileSize) -> Self {
        let Output { out, n_rows } = output;
        assert!(out.len().is_multiple_of(n_rows));
        Self { origin: out.as_mut_ptr(), n_rows, n_tokens: out.len() / n_rows, size, owner: PhantomData }
    }

    #[inline(always)]
    fn n_tiles(&self) -> usize {
        self.n_rows.div_ceil(self.size.rows) * self.n_tokens.div_ceil(self.size.tokens)
    }

    /// The tile with this number. Tiles of the same rows have consecutive numbers, so that the weights of these rows stay in
    /// the cache.
    ///
    /// # Safety
    ///
    /// Each tile may be taken only once.
    unsafe fn tile(&self, index: usize) -> Tile<'_> {
        assert!(index < self.n_tiles());
        let token_tiles = self.n_tokens.div_ceil(self.size.tokens);
        let first_row = index / token_tiles * self.size.rows;
        let first_token = index % token_tiles * self.size.tokens;
        Tile {
            // SAFETY: first_token < n_tokens and first_row < n_rows, hence within the output.
            origin: unsafe { self.origin.add(first_token * self.n_rows + first_row) },
            stride: self.n_rows,
            rows: first_row..self.n_rows.min(first_row + self.size.rows),
            tokens: first_token..self.n_tokens.min(first_token + self.size.tokens),
            owner: PhantomData,
        }
    }
}

/// Divides each of `outputs` into tiles, and calls `job` once with each tile and the index of its output, on the worker that
/// claims the tile.
///
/// # Panics
///
/// If a tile size is 0, or if an output is not a whole number of rows.
pub fn for_each_tile<const N: usize>(
    workers: &dyn Workers,
    outputs: [Output<'_>; N],
    size: TileSize,
    job: &(dyn Fn(usize, Tile<'_>) + Sync),
) {
    let grids = outputs.map(|output| Grid::new(output, size));
    claim_each(workers, grids.iter().map(Grid::n_tiles).sum(), &|mut index| {
        for (number, grid) in grids.iter().enumerate() {
            match index.checked_sub(grid.n_tiles()) {
                Some(behind) => index = behind,
                // SAFETY: `claim_each` gives each index once.
                None => return job(number, unsafe { grid.tile(index) }),
            }
        }
    });
}

/// Divides two outputs of the same shape into tiles, and calls `job` once with each pair of tiles at the same place, on the
/// worker that claims the pair.
///
/// # Panics
///
/// As [`for_each_tile`], and if the shapes differ.
pub fn for_each_pair(
    workers: &dyn Workers,
    outputs: [Output<'_>; 2],
    size: TileSize,
    job: &(dyn Fn(&mut [Tile<'_>; 2]) + Sync),
) {
    assert_eq!(outputs[0].n_rows, outputs[1].n_rows);
    assert_eq!(outputs[0].out.len(), outputs[1].out.len());
    let grids = outputs.map(|output| Grid::new(output, size));
    claim_each(workers, grids[0].n_tiles(), &|index| {
        // SAFETY: `claim_each` gives each index once.
        let mut tiles = unsafe { [grids[0].tile(index), grids[1].tile(index)] };
        job(&mut tiles);
    });
}

/// The maximum number of shares; if there are more workers, the others start with what is left of these shares.
const MAX_SHARES: usize = 16;

/// The next index of a share, in a cache line of its own because mostly a single worker claims from it.
#[repr(align(128))]
struct Share(AtomicUsize);

/// Calls `job` once with every index below `count`.
///
/// Each worker starts with a share of its own, which is a range of consecutive indices, and then takes what is left of other
/// shares. So a worker reads nearly all its weights in one contiguous piece, which can be prefetched.
fn claim_each(workers: &dyn Workers, count: usize, job: &(dyn Fn(usize) + Sync)) {
    let job = |index| {
        job(index);
        workers.yield_now();
    };
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
