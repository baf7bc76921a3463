//! Products of float weights: four rows share each load of activations, and two tokens each load of
//! weights.

use super::float;
use super::product::{row_pointers, store};
use crate::simd::tiles::Tile;
use core::arch::x86_64::*;
use half::{bf16, f16};

/// A type of float weights.
pub trait Float {
    /// Bytes of a weight.
    const BYTES: usize;

    /// Eight weights from `p` on.
    ///
    /// # Safety
    ///
    /// They must be readable, and the CPU must have AVX2 and F16C.
    unsafe fn load_8(p: *const u8) -> __m256;

    /// The weight at `p`.
    ///
    /// # Safety
    ///
    /// It must be readable.
    unsafe fn load_1(p: *const u8) -> f32;
}

impl Float for f32 {
    const BYTES: usize = 4;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load_8(p: *const u8) -> __m256 {
        // SAFETY: the caller vouches for the bytes.
        unsafe { _mm256_loadu_ps(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load_1(p: *const u8) -> f32 {
        // SAFETY: the caller vouches for the bytes.
        f32::from_le_bytes(unsafe { p.cast::<[u8; 4]>().read() })
    }
}

impl Float for f16 {
    const BYTES: usize = 2;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load_8(p: *const u8) -> __m256 {
        // SAFETY: the caller vouches for the bytes.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) })
    }

    #[inline(always)]
    unsafe fn load_1(p: *const u8) -> f32 {
        // SAFETY: the caller vouches for the bytes.
        f16::from_le_bytes(unsafe { p.cast::<[u8; 2]>().read() }).to_f32()
    }
}

impl Float for bf16 {
    const BYTES: usize = 2;

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load_8(p: *const u8) -> __m256 {
        // SAFETY: the caller vouches for the bytes.
        let bits = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(p.cast()) });
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
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
        for (index, x) in x.chunks(2 * cols).enumerate() {
            // SAFETY: the assertion and `row_pointers` make `cols` weights readable in each row; who
            // calls this through a table has made sure of the features.
            unsafe {
                match x.len() / cols {
                    1 => store(out, row, 2 * index, &rows_4::<F, 1, 2>(rows, x, cols)),
                    _ => store(out, row, 2 * index, &rows_4::<F, 2, 1>(rows, x, cols)),
                }
            }
        }
    }
}

/// Four rows times `T` tokens: for each token the four sums.
///
/// Each product has `U` partial sums, so that no addition waits for the one before it.
///
/// # Safety
///
/// `cols` weights must be readable from each of `rows`, and `x` must hold `T` tokens.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn rows_4<F: Float, const T: usize, const U: usize>(
    rows: [*const u8; 4],
    x: &[f32],
    cols: usize,
) -> [[f32; 4]; T] {
    let x: [&[f32]; T] = core::array::from_fn(|t| &x[t * cols..(t + 1) * cols]);
    let mut sums = [[[_mm256_setzero_ps(); 4]; T]; U];
    let whole = cols / (8 * U) * (8 * U);
    for first in (0..whole).step_by(8 * U) {
        for (u, sums) in sums.iter_mut().enumerate() {
            let at = first + 8 * u;
            // SAFETY: `at + 8 <= cols`, and the caller vouches for the rows.
            unsafe {
                let w = rows.map(|row| F::load_8(row.add(at * F::BYTES)));
                for (sums, x) in sums.iter_mut().zip(x) {
                    let x = _mm256_loadu_ps(x.as_ptr().add(at));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = _mm256_fmadd_ps(w, x, *sum);
                    }
                }
            }
        }
    }
    let mut result = [[0.0; 4]; T];
    for sums in sums {
        for (result, sum) in result.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            *result += float::sum(*sum);
        }
    }
    for at in whole..cols {
        // SAFETY: `at < cols`, and the caller vouches for the rows.
        let w = rows.map(|row| unsafe { F::load_1(row.add(at * F::BYTES)) });
        for (result, x) in result.iter_mut().zip(x) {
            for (result, w) in result.iter_mut().zip(w) {
                *result += w * x[at];
            }
        }
    }
    result
}
