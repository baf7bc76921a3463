//! Products of float weights: four rows share each load of activations, and two tokens each load of
//! weights.

use super::float::{Float, fold, padded, vector};
use super::product::{row_pointers, store};
use crate::simd::{lanes::LANES, tiles::Tile};
use core::arch::x86_64::*;

/// The product of a tile of `F` weights with f32 activations of `cols` values a token.
///
/// # Safety
///
/// The CPU must have AVX2, FMA and F16C.
pub unsafe fn tile<F: Float>(w: &[u8], x: &[f32], cols: usize, out: &mut Tile<'_>) {
    let n_rows = out.rows().len();
    let row_bytes = cols * size_of::<F>();
    assert_eq!(w.len(), n_rows * row_bytes);
    for row in (0..n_rows).step_by(4) {
        let rows = row_pointers(w, row_bytes, n_rows, row);
        for (index, x) in x.chunks(2 * cols).enumerate() {
            // SAFETY: the assertion and `row_pointers` make `cols` weights readable in each row; the CPU has the
            // features, as is asked of the caller.
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
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn rows_4<F: Float, const T: usize>(rows: [*const u8; 4], x: &[f32], cols: usize) -> [__m128; T] {
    let mut sums = [[_mm256_setzero_ps(); 4]; T];
    let whole = cols / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: `at + LANES <= cols`, and the caller vouches for rows and tokens.
        unsafe {
            let x = core::array::from_fn(|t| <f32 as Float>::load(x.as_ptr().add(t * cols + at)));
            add(&mut sums, rows.map(|row| F::load(row.cast::<F>().add(at))), x);
        }
    }
    if whole < cols {
        let x = core::array::from_fn(|t| vector(&padded(&x[t * cols + whole..(t + 1) * cols])));
        let rest = rows.map(|row| {
            let mut rest = [F::default(); LANES];
            for (i, w) in rest[..cols - whole].iter_mut().enumerate() {
                // SAFETY: `whole + i < cols`, and the caller vouches for the rows.
                *w = unsafe { row.cast::<F>().add(whole + i).read_unaligned() };
            }
            vector(&rest)
        });
        add(&mut sums, rest, x);
    }
    sums.map(|sums| fold(sums))
}

/// Adds the products of eight columns.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn add<const T: usize>(sums: &mut [[__m256; 4]; T], w: [__m256; 4], x: [__m256; T]) {
    for (sums, x) in sums.iter_mut().zip(x) {
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = _mm256_fmadd_ps(w, x, *sum);
        }
    }
}
