//! Products of float weights: four rows share each load of activations, and four tokens each load of
//! weights.

use super::load::{load_16, load_bf16x4, load_f16x4, load_f32x4};
use super::product::{row_pointers, store};
use crate::simd::tiles::Tile;
use core::arch::aarch64::*;
use half::{bf16, f16};

/// A type of float weights.
pub trait Float {
    /// Bytes of a weight.
    const BYTES: usize;

    /// Four weights from `p` on.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn load_4(p: *const u8) -> float32x4_t;

    /// The weight at `p`.
    ///
    /// # Safety
    ///
    /// It must be readable.
    unsafe fn load_1(p: *const u8) -> f32;
}

impl Float for f32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load_4(p: *const u8) -> float32x4_t {
        // SAFETY: the caller vouches for the bytes.
        unsafe { vreinterpretq_f32_u8(load_16::<0>(p)) }
    }

    #[inline(always)]
    unsafe fn load_1(p: *const u8) -> f32 {
        // SAFETY: the caller vouches for the bytes.
        f32::from_le_bytes(unsafe { p.cast::<[u8; 4]>().read() })
    }
}

impl Float for f16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load_4(p: *const u8) -> float32x4_t {
        // SAFETY: the caller vouches for the bytes.
        unsafe { load_f16x4(p) }
    }

    #[inline(always)]
    unsafe fn load_1(p: *const u8) -> f32 {
        // SAFETY: the caller vouches for the bytes.
        f16::from_le_bytes(unsafe { p.cast::<[u8; 2]>().read() }).to_f32()
    }
}

impl Float for bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load_4(p: *const u8) -> float32x4_t {
        // SAFETY: the caller vouches for the bytes.
        unsafe { load_bf16x4(p) }
    }

    #[inline(always)]
    unsafe fn load_1(p: *const u8) -> f32 {
        // SAFETY: the caller vouches for the bytes.
        bf16::from_le_bytes(unsafe { p.cast::<[u8; 2]>().read() }).to_f32()
    }
}

/// The product of a tile of `F` weights with f32 activations of `cols` values a token.
pub fn tile<F: Float>(w: &[u8], x: &[f32], cols: usize, out: &mut Tile<'_>) {
    let n_rows = out.rows().len();
    let row_bytes = cols * F::BYTES;
    assert_eq!(w.len(), n_rows * row_bytes);
    for row in (0..n_rows).step_by(4) {
        let rows = row_pointers(w, row_bytes, n_rows, row);
        for (index, x) in x.chunks(4 * cols).enumerate() {
            // SAFETY: the assertion and `row_pointers` make `cols` weights readable in each row; NEON
            // is part of every target that this module is built for.
            unsafe {
                match x.len() / cols {
                    1 => store(out, row, 4 * index, &rows_4::<F, 1, 4>(rows, x, cols)),
                    2 => store(out, row, 4 * index, &rows_4::<F, 2, 2>(rows, x, cols)),
                    3 => store(out, row, 4 * index, &rows_4::<F, 3, 1>(rows, x, cols)),
                    _ => store(out, row, 4 * index, &rows_4::<F, 4, 1>(rows, x, cols)),
                }
            }
        }
    }
}

/// Four rows times `T` tokens; lane `r` of result `t` belongs to row `r` and token `t`.
///
/// Each product has `U` partial sums, so that no addition waits for the one before it.
///
/// # Safety
///
/// `cols` weights must be readable from each of `rows`, and `x` must hold `T` tokens.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn rows_4<F: Float, const T: usize, const U: usize>(
    rows: [*const u8; 4],
    x: &[f32],
    cols: usize,
) -> [float32x4_t; T] {
    let x: [&[f32]; T] = core::array::from_fn(|t| &x[t * cols..(t + 1) * cols]);
    let mut sums = [[[vdupq_n_f32(0.0); 4]; T]; U];
    let whole = cols / (4 * U) * (4 * U);
    for first in (0..whole).step_by(4 * U) {
        for (u, sums) in sums.iter_mut().enumerate() {
            let at = first + 4 * u;
            // SAFETY: `at + 4 <= cols`, and the caller vouches for the rows.
            unsafe {
                let w = rows.map(|row| F::load_4(row.add(at * F::BYTES)));
                for (sums, x) in sums.iter_mut().zip(x) {
                    let x = vreinterpretq_f32_u8(load_16::<0>(x.as_ptr().add(at).cast()));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = vfmaq_f32(*sum, w, x);
                    }
                }
            }
        }
    }
    let mut folded = [vdupq_n_f32(0.0); T];
    for sums in sums {
        for (folded, [a, b, c, d]) in folded.iter_mut().zip(sums) {
            *folded = vaddq_f32(*folded, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
        }
    }
    for at in whole..cols {
        // SAFETY: `at < cols`, and the caller vouches for the rows.
        let w = rows.map(|row| unsafe { F::load_1(row.add(at * F::BYTES)) });
        for (folded, x) in folded.iter_mut().zip(x) {
            *folded = vfmaq_n_f32(*folded, load_f32x4(&w), x[at]);
        }
    }
    folded
}
