//! Products of float weights: four rows share each load of activations, and two tokens each load of
//! weights.

use super::float::{Float, padded, vectors};
use super::product::{row_pointers, store};
use crate::simd::{lanes::LANES, tiles::Tile};
use core::arch::aarch64::*;

/// The product of a tile of `F` weights with f32 activations of `cols` values a token.
pub fn tile<F: Float>(w: &[u8], x: &[f32], cols: usize, out: &mut Tile<'_>) {
    let n_rows = out.rows().len();
    let row_bytes = cols * size_of::<F>();
    assert_eq!(w.len(), n_rows * row_bytes);
    for row in (0..n_rows).step_by(4) {
        let rows = row_pointers(w, row_bytes, n_rows, row);
        for (index, x) in x.chunks(2 * cols).enumerate() {
            // SAFETY: the assertion and `row_pointers` make `cols` weights readable in each row; NEON
            // is part of every target that this module is built for.
            unsafe {
                match x.len() / cols {
                    1 => store(out, row, 2 * index, &rows_4::<F, 1>(rows, x, cols)),
                    _ => store(out, row, 2 * index, &rows_4::<F, 2>(rows, x, cols)),
                }
            }
        }
    }
}

/// Four rows times `T` tokens; lane `r` of result `t` belongs to row `r` and token `t`.
///
/// # Safety
///
/// `cols` weights must be readable from each of `rows`, and `x` must hold `T` tokens.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn rows_4<F: Float, const T: usize>(rows: [*const u8; 4], x: &[f32], cols: usize) -> [float32x4_t; T] {
    let mut sums = [[[vdupq_n_f32(0.0); 2]; 4]; T];
    let whole = cols / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: `at + LANES <= cols`, and the caller vouches for rows and tokens.
        unsafe {
            let x = core::array::from_fn(|t| <f32 as Float>::load(x.as_ptr().add(t * cols + at)));
            add(&mut sums, |row| F::load(rows[row].cast::<F>().add(at)), x);
        }
    }
    if whole < cols {
        let x = core::array::from_fn(|t| vectors(&padded(&x[t * cols + whole..(t + 1) * cols])));
        let rest = |row: usize| {
            let mut rest = [F::default(); LANES];
            for (i, w) in rest[..cols - whole].iter_mut().enumerate() {
                // SAFETY: `whole + i < cols`, and the caller vouches for the rows.
                *w = unsafe { rows[row].cast::<F>().add(whole + i).read_unaligned() };
            }
            vectors(&rest)
        };
        add(&mut sums, rest, x);
    }
    // Halves first, then neighbours, as the definition does.
    sums.map(|sums| {
        let [a, b, c, d] = sums.map(|[low, high]| vaddq_f32(low, high));
        vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d))
    })
}

/// Adds the products of eight columns.
#[target_feature(enable = "neon")]
#[inline]
fn add<const T: usize>(
    sums: &mut [[[float32x4_t; 2]; 4]; T],
    w: impl Fn(usize) -> [float32x4_t; 2],
    x: [[float32x4_t; 2]; T],
) {
    for row in 0..4 {
        let w = w(row);
        for (sums, x) in sums.iter_mut().zip(x) {
            sums[row] = [vfmaq_f32(sums[row][0], w[0], x[0]), vfmaq_f32(sums[row][1], w[1], x[1])];
        }
    }
}
