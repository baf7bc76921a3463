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
        // SAFETY: `Grid` made the tile inside a slice that it holds exclusively and gave no other tile these
        // elements; the assertion keeps the access inside the rectangle.
        unsafe { core::slice::from_raw_parts_mut(self.origin.add(token * self.stride), self.rows.len()) }
    }
}

/// Writes the sums of four rows, of those that exist, to where the first one's belongs. There once for all products: each would
/// have a copy of a length that is not known to compile.
#[inline(never)]
pub(super) fn store_rows(out: &mut [f32], sums: &[f32; 4]) {
    match out.first_chunk_mut() {
        Some(out) => *out = *sums,
        None => out.copy_from_slice(&sums[..out.len()]),
    }
}

/// A token-major matrix `[n_tokens × n_rows]` that is to be cut into tiles.
pub struct Output<'a> {
    /// The elements.
    pub out: &'a mut [f32],
    /// Elements of a token.
    pub n_rows: usize,
}

/// How large tiles are at most.
#[derive(Debug, Clone, Copy)]
pub struct TileSize {
    /// Rows.
    pub rows: usize,
    /// Tokens.
    pub tokens: usize,
}

/// An [`Output`] cut into tiles, as the workers share it.
struct Grid<'a> {
    origin: *mut f32,
    n_rows: usize,
    n_tokens: usize,
    size: TileSize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: each tile is handed to one worker alone, and those of different numbers share no element; f32 may be sent
// between threads.
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

    /// The tile of this number: those of the same rows follow each other, so that the weights of these rows stay in
    /// cache.
    ///
    /// # Safety
    ///
    /// Each tile is to be taken once.
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

/// Cuts each of `outputs` into tiles and calls `job` once with each tile and the number of its output, on whichever
/// worker claims it.
///
/// # Panics
///
/// If a tile size is 0 or an output is no whole number of rows.
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

/// Cuts two outputs of the same shape into tiles and calls `job` once with each pair of tiles in the same place, on
/// whichever worker claims them.
///
/// # Panics
///
/// As [`for_each_tile`], or if the shapes differ.
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
