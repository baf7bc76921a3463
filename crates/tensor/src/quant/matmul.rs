//! Matrix products: which loop is used for which type, and how the result is divided among cores.

use core::ops::Range;

use super::{Activations, Matrix, Precision};
use crate::parallel::{Serial, Workers};
use crate::simd::{
    Kernels, Q8, Q8Format,
    table::{FloatTileFn, PackedTileFn, Product, TileFn},
    tiles::{Output, Tile, TileSize, for_each_pair, for_each_tile},
};

/// Products with fewer multiplications stay on the calling core: waking the other cores would take longer.
const SERIAL_MACS: usize = 1 << 15;

/// Bytes of weights in a tile. They stay in the first-level cache for all tokens of the tile.
const TILE_BYTES: usize = 16 << 10;

/// Packed rows in a tile for many tokens; they share the arranged activations.
const PACKED_TILE_ROWS: usize = 1024;

/// Least number of tiles for each core, so that a core taken away for a while delays the others only a little.
const TILES_PER_WORKER: usize = 8;

/// Tokens in a tile.
const TILE_TOKENS: usize = 64;

/// Tokens in a tile of packed weights; they share the unpacked weights.
const PACKED_TILE_TOKENS: usize = 128;

/// `out[t][r] = Σ w[r][c] * x[t][c]`, where `out` is `[n_tokens × w.n_rows()]`.
///
/// Quantised weights are multiplied with activations rounded to 8 bits, unless the activations ask for [`Precision::Exact`]. F32,
/// F16 and BF16 weights are always multiplied with unrounded activations.
///
/// # Panics
///
/// If the shapes do not match. The weights must not be packed for another set than `kernels`; [`ModelBytes`](super::ModelBytes)
/// make sure of this for a whole model, and builds with debug assertions check it here too.
pub fn matmul(
    kernels: &Kernels,
    workers: &dyn Workers,
    w: &Matrix<'_>,
    x: &mut Activations<'_>,
    out: &mut [f32],
) {
    matmul_then(kernels, workers, w, x, out, &|_| {});
}

/// Like [`matmul`], but also calls `finish` with each tile of the result, on the core that computed it.
///
/// # Panics
///
/// Under the same conditions as [`matmul`].
pub fn matmul_then(
    kernels: &Kernels,
    workers: &dyn Workers,
    w: &Matrix<'_>,
    x: &mut Activations<'_>,
    out: &mut [f32],
    finish: &(dyn Fn(&mut Tile<'_>) + Sync),
) {
    matmul_each(kernels, workers, [w], x, [out], &|_, tile| finish(tile));
}

/// Like [`matmul_then`] for several matrices. If possible, the cores compute all of them in one run and synchronise only once.
/// `finish` also receives the number of the matrix.
///
/// # Panics
///
/// Under the same conditions as [`matmul`].
pub fn matmul_each<const N: usize>(
    kernels: &Kernels,
    workers: &dyn Workers,
    w: [&Matrix<'_>; N],
    x: &mut Activations<'_>,
    outputs: [&mut [f32]; N],
    finish: &(dyn Fn(usize, &mut Tile<'_>) + Sync),
) {
    let loops = w.map(|w| Loop::of(kernels, w, x.precision()));
    let Some(format) = common_format(&loops) else {
        for (number, (w, out)) in w.into_iter().zip(outputs).enumerate() {
            matmul_each(kernels, workers, [w], x, [out], &|_, tile| finish(number, tile));
        }
        return;
    };
    let workers = workers_for(&w, x, workers);
    let n_rows = w.iter().map(|w| w.n_rows()).sum();
    let size = tile_size(&loops, &w, n_rows, x.n_tokens(), workers.count());
    let mut number = 0;
    let outputs = outputs.map(|out| {
        check(kernels, w[number], x, out);
        number += 1;
        Output { out, n_rows: w[number - 1].n_rows() }
    });
    let input = Input::new(kernels, workers, x, format);
    for_each_tile(workers, outputs, size, &|number, mut tile| {
        input.multiply(&loops[number], w[number], &mut tile);
        finish(number, &mut tile);
    });
}

/// Like [`matmul_each`] for two matrices of the same shape, but calls `finish` with the two tiles at the same place.
///
/// # Panics
///
/// Under the same conditions as [`matmul`], or if the shapes differ.
pub fn matmul_pair(
    kernels: &Kernels,
    workers: &dyn Workers,
    w: [&Matrix<'_>; 2],
    x: &mut Activations<'_>,
    outputs: [&mut [f32]; 2],
    finish: &(dyn Fn(&mut [Tile<'_>; 2]) + Sync),
) {
    assert_eq!(w[0].n_rows(), w[1].n_rows());
    let loops = w.map(|w| Loop::of(kernels, w, x.precision()));
    let workers = workers_for(&w, x, workers);
    let n_rows = w[0].n_rows();
    let size = tile_size(&loops, &w, n_rows, x.n_tokens(), workers.count());
    let [first, second] = outputs;
    check(kernels, w[0], x, first);
    check(kernels, w[1], x, second);
    let format = common_format(&loops);
    if format.is_none() {
        // The activations are available in only one format at a time.
        matmul(kernels, workers, w[0], x, first);
    }
    let input = Input::new(kernels, workers, x, format.unwrap_or(loops[1].format()));
    let outputs = [first, second].map(|out| Output { out, n_rows });
    for_each_pair(workers, outputs, size, &|tiles| {
        if format.is_some() {
            input.multiply(&loops[0], w[0], &mut tiles[0]);
        }
        input.multiply(&loops[1], w[1], &mut tiles[1]);
        finish(tiles);
    });
}

#[inline(always)]
fn check(kernels: &Kernels, w: &Matrix<'_>, x: &Activations<'_>, out: &[f32]) {
    assert_eq!(w.n_cols(), x.cols());
    assert_eq!(out.len(), x.n_tokens() * w.n_rows());
    debug_assert!(
        w.packing().is_none_or(|packing| kernels.packing() == Some(packing)),
        "packed for another set"
    );
}

/// The loop that multiplies a matrix.
#[derive(Clone, Copy)]
enum Loop {
    /// Packed weights and rounded activations.
    Packed(Q8Format, Product<PackedTileFn>),
    /// Weights in file order and rounded activations.
    Integer(Q8Format, Product<TileFn>),
    /// Float weights and float activations.
    Float(Product<FloatTileFn>),
    /// Weights that are converted to floats first.
    Dequantized,
}

impl Loop {
    #[inline(always)]
    fn of(kernels: &Kernels, w: &Matrix<'_>, precision: Precision) -> Self {
        if precision == Precision::Quantized {
            if w.packing().is_some()
                && let Some((format, product)) = kernels.packed_product(w.ty())
            {
                return Self::Packed(format, product);
            }
            if let Some((format, product)) = kernels.integer_product(w.ty()) {
                return Self::Integer(format, product);
            }
        }
        kernels.float_product(w.ty()).map_or(Self::Dequantized, Self::Float)
    }

    /// The format to which activations are rounded, if they are.
    fn format(&self) -> Option<Q8Format> {
        match *self {
            Self::Packed(format, _) | Self::Integer(format, _) => Some(format),
            Self::Float(_) | Self::Dequantized => None,
        }
    }
}

/// The format of rounded activations that all loops use; `None` if they use none, or different ones.
#[inline(always)]
fn common_format(loops: &[Loop]) -> Option<Option<Q8Format>> {
    let mut formats = loops.iter().filter_map(Loop::format);
    let first = formats.next();
    formats.all(|format| Some(format) == first).then_some(first)
}

/// Only the calling core, if waking the others would take longer.
#[inline(always)]
fn workers_for<'w>(w: &[&Matrix<'_>], x: &Activations<'_>, workers: &'w dyn Workers) -> &'w dyn Workers {
    let macs: usize = w.iter().map(|w| w.n_rows() * w.n_cols() * x.n_tokens()).sum();
    if macs < SERIAL_MACS { &Serial } else { workers }
}

/// Activations in the form that the loops take.
struct Input<'a> {
    kernels: &'a Kernels,
    x: &'a [f32],
    cols: usize,
    rounded: Option<Q8<'a>>,
}

impl<'a> Input<'a> {
    fn new(
        kernels: &'a Kernels,
        workers: &dyn Workers,
        x: &'a mut Activations<'_>,
        format: Option<Q8Format>,
    ) -> Self {
        let (cols, floats) = (x.cols(), x.x());
        Self { kernels, x: floats, cols, rounded: format.map(|format| x.rounded(kernels, workers, format)) }
    }

    /// Computes a tile of the product with `w`.
    fn multiply(&self, by: &Loop, w: &Matrix<'_>, tile: &mut Tile<'_>) {
        let (w, tokens) = (w.rows(tile.rows()), tile.tokens());
        let floats = |tokens: Range<usize>| &self.x[tokens.start * self.cols..tokens.end * self.cols];
        match (by, &self.rounded) {
            (Loop::Packed(_, product), Some(x)) => {
                product.multiply(w.data(), w.skipped_rows(), x.tokens(tokens), tile);
            }
            (Loop::Integer(_, product), Some(x)) => product.multiply(w.data(), x.tokens(tokens), tile),
            (Loop::Float(product), _) => product.multiply(w.data(), floats(tokens), self.cols, tile),
            (Loop::Dequantized, _) => dequantized_product(self.kernels, &w, floats(tokens), tile),
            (Loop::Packed(..) | Loop::Integer(..), None) => unreachable!("the activations have been rounded"),
        }
    }
}

/// The size of the tiles of products with these matrices, of which `n_rows` rows in total are divided. The number of rows in a
/// tile is a multiple of the number that the kernels process at once.
fn tile_size(
    loops: &[Loop],
    w: &[&Matrix<'_>],
    n_rows: usize,
    n_tokens: usize,
    n_workers: usize,
) -> TileSize {
    let at_once = w.iter().map(|w| w.packing().map_or(4, |packing| packing.rows)).max().unwrap_or(1);
    // A single token reads the rows of a tile once. Many tokens read them once for each token, or, if they are packed, once for a
    // few tokens.
    let most = |w: &&Matrix<'_>| match n_tokens {
        1 => usize::MAX,
        _ if w.packing().is_some() => PACKED_TILE_ROWS,
        _ => TILE_BYTES / w.row_bytes(),
    };
    let by_share = match n_workers {
        1 => n_rows,
        _ => n_rows / (n_workers * TILES_PER_WORKER),
    };
    let is_packed = loops.iter().all(|by| matches!(by, Loop::Packed(..)));
    TileSize {
        // Pairs of groups share activations.
        rows: w.iter().map(most).fold(by_share, usize::min).max(1).next_multiple_of(2 * at_once),
        tokens: if is_packed { PACKED_TILE_TOKENS } else { TILE_TOKENS },
    }
}

/// Dequantises each row piece by piece and multiplies it with the f32 vectors.
fn dequantized_product(kernels: &Kernels, w: &Matrix<'_>, x: &[f32], out: &mut Tile<'_>) {
    // A multiple of every block length; small enough for the stack of a small kernel.
    const PIECE: usize = 256;
    let mut piece = [0.0; PIECE];
    for row in 0..w.n_rows() {
        let mut sums = [0.0; TILE_TOKENS];
        w.for_each_piece(row, &mut piece, |start, weights| {
            for (sum, x) in sums.iter_mut().zip(x.chunks_exact(w.n_cols())) {
                *sum += kernels.dot_f32(weights, &x[start..start + weights.len()]);
            }
        });
        for (token, &sum) in sums.iter().enumerate().take(x.len() / w.n_cols()) {
            out.token(token)[row] = sum;
        }
    }
}
