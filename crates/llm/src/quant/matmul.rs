//! Matrix products: which loop multiplies which type, and how the result is divided among cores.

use super::{Activations, Matrix, Precision};
use crate::parallel::{Serial, Workers};
use crate::simd::{
    Kernels,
    tiles::{Tile, for_each_tile},
};

/// Products below this many multiplications stay on the calling core: waking the others would
/// take longer.
const SERIAL_MACS: usize = 1 << 15;

/// Bytes of weights in a tile, so that they stay in the first-level cache over its tokens.
const TILE_BYTES: usize = 16 << 10;

/// Packed rows in a tile for many tokens: they share the arrangement of activations.
const PACKED_TILE_ROWS: usize = 1024;

/// Tiles for each core at least, so that a core taken away for a while holds little back.
const TILES_PER_WORKER: usize = 8;

/// Tokens in a tile.
const TILE_TOKENS: usize = 64;

/// Tokens in a tile of packed weights, which share their unpacking.
const PACKED_TILE_TOKENS: usize = 128;

/// `out[t][r] = Σ w[r][c] * x[t][c]`, `out` being `[n_tokens × w.n_rows()]`.
///
/// Quantised weights are multiplied with activations rounded to 8 bits unless these ask for
/// [`Precision::Exact`]; F32, F16 and BF16 weights always with the activations as they are.
///
/// # Panics
///
/// If the shapes do not agree, or the weights have been packed for another set than `kernels`.
pub fn matmul(
    kernels: &Kernels,
    workers: &dyn Workers,
    w: &Matrix<'_>,
    x: &mut Activations<'_>,
    out: &mut [f32],
) {
    matmul_then(kernels, workers, w, x, out, &|_| {});
}

/// As [`matmul`], and calls `finish` with each tile of the result, on the core that has computed it.
///
/// # Panics
///
/// As [`matmul`].
pub fn matmul_then(
    kernels: &Kernels,
    workers: &dyn Workers,
    w: &Matrix<'_>,
    x: &mut Activations<'_>,
    out: &mut [f32],
    finish: &(dyn Fn(&mut Tile<'_>) + Sync),
) {
    assert_eq!(w.n_cols(), x.cols());
    assert_eq!(out.len(), x.n_tokens() * w.n_rows());
    assert!(w.packing().is_none_or(|packing| kernels.packing() == Some(packing)), "packed for another set");
    let macs = w.n_rows() * w.n_cols() * x.n_tokens();
    let workers = if macs < SERIAL_MACS { &Serial } else { workers };
    let tile_rows = tile_rows(w, x.n_tokens(), workers.count());

    if x.precision() == Precision::Quantized
        && w.packing().is_some()
        && let Some((format, tile_fn)) = kernels.packed_product(w.ty())
    {
        let x = x.rounded(kernels, workers, format);
        for_each_tile(workers, out, w.n_rows(), tile_rows, PACKED_TILE_TOKENS, &|mut tile| {
            let w = w.rows(tile.rows());
            tile_fn(w.data(), w.skipped_rows(), x.tokens(tile.tokens()), &mut tile);
            finish(&mut tile);
        });
        return;
    }
    if x.precision() == Precision::Quantized
        && let Some((format, tile_fn)) = kernels.integer_product(w.ty())
    {
        let x = x.rounded(kernels, workers, format);
        for_each_tile(workers, out, w.n_rows(), tile_rows, TILE_TOKENS, &|mut tile| {
            tile_fn(w.rows(tile.rows()).data(), x.tokens(tile.tokens()), &mut tile);
            finish(&mut tile);
        });
        return;
    }
    let (cols, x) = (x.cols(), x.x());
    let tile_fn = kernels.float_product(w.ty());
    for_each_tile(workers, out, w.n_rows(), tile_rows, TILE_TOKENS, &|mut tile| {
        let tokens = tile.tokens();
        let x = &x[tokens.start * cols..tokens.end * cols];
        let w = w.rows(tile.rows());
        match tile_fn {
            Some(tile_fn) => tile_fn(w.data(), x, cols, &mut tile),
            None => dequantized_product(kernels, &w, x, &mut tile),
        }
        finish(&mut tile);
    });
}

/// Rows in a tile, a multiple of the rows that the kernels take at once.
fn tile_rows(w: &Matrix<'_>, n_tokens: usize, n_workers: usize) -> usize {
    let at_once = w.packing().map_or(4, |packing| packing.rows);
    // The rows of a tile are read once by a single token, and once or packed a few at a time by many.
    let most = match n_tokens {
        1 => usize::MAX,
        _ if w.packing().is_some() => PACKED_TILE_ROWS,
        _ => TILE_BYTES / w.row_bytes(),
    };
    let by_share = match n_workers {
        1 => w.n_rows(),
        _ => w.n_rows() / (n_workers * TILES_PER_WORKER),
    };
    // Pairs of groups share activations.
    most.min(by_share).max(1).next_multiple_of(2 * at_once)
}

/// Dequantises each row piece by piece and multiplies it with the f32 vectors.
fn dequantized_product(kernels: &Kernels, w: &Matrix<'_>, x: &[f32], out: &mut Tile<'_>) {
    // A multiple of every block length that fits the stack of a small kernel.
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
