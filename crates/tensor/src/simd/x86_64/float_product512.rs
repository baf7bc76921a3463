//! Products of float weights in vectors of 512 bits, two rows in each: eight rows share each load of activations, and up to
//! six tokens each load of weights. Activations of the tokens stay in cache over the rows.

use super::float::{Float, padded};
use crate::simd::{lanes::LANES, tiles::Tile};
use core::arch::x86_64::*;
use half::{bf16, f16};

/// Tokens that share loads of weights, where there are so many: the sums are in 24 of the 32 registers.
const TOKENS: usize = 6;

/// Vectors of two rows at a time.
const PAIRS: usize = 4;

/// A type of floats, of which two rows are loaded into one vector.
pub trait Rows: Float {
    /// Eight of one row, then eight of the other.
    ///
    /// # Safety
    ///
    /// They must be readable, and the CPU must have AVX-512 F.
    unsafe fn load_two(p: [*const Self; 2]) -> __m512;
}

impl Rows for f32 {
    #[target_feature(enable = "avx2,avx512f")]
    #[inline]
    unsafe fn load_two([p, q]: [*const Self; 2]) -> __m512 {
        // SAFETY: the caller vouches for the values.
        let (p, q) = unsafe { (_mm256_loadu_pd(p.cast()), _mm256_loadu_pd(q.cast())) };
        _mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castpd256_pd512(p), q))
    }
}

impl Rows for f16 {
    #[target_feature(enable = "avx2,avx512f")]
    #[inline]
    unsafe fn load_two(p: [*const Self; 2]) -> __m512 {
        // SAFETY: the caller vouches for the values.
        _mm512_cvtph_ps(unsafe { two_halves(p.map(|p| p.cast())) })
    }
}

impl Rows for bf16 {
    #[target_feature(enable = "avx2,avx512f")]
    #[inline]
    unsafe fn load_two(p: [*const Self; 2]) -> __m512 {
        // SAFETY: the caller vouches for the values.
        let bits = _mm512_cvtepu16_epi32(unsafe { two_halves(p.map(|p| p.cast())) });
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
    }
}

/// Two vectors of eight values of 16 bits.
///
/// # Safety
///
/// They must be readable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn two_halves([p, q]: [*const __m128i; 2]) -> __m256i {
    // SAFETY: the caller vouches for the values.
    unsafe { _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(_mm_loadu_si128(p)), _mm_loadu_si128(q)) }
}

/// The product of a tile of `F` weights with f32 activations of `cols` values a token.
///
/// # Safety
///
/// The CPU must have AVX2, FMA, F16C and AVX-512 F and VL.
pub unsafe fn tile<F: Rows>(w: &[u8], x: &[f32], cols: usize, out: &mut Tile<'_>) {
    let n_rows = out.rows().len();
    let row_bytes = cols * size_of::<F>();
    assert_eq!(w.len(), n_rows * row_bytes);
    let mut token = 0;
    for x in x.chunks(TOKENS * cols) {
        for row in (0..n_rows).step_by(2 * PAIRS) {
            let row_at = |i: usize| w[(row + i).min(n_rows - 1) * row_bytes..].as_ptr().cast();
            let rows = core::array::from_fn(|pair| [row_at(2 * pair), row_at(2 * pair + 1)]);
            let (mut at, mut x) = (token, x);
            // As many at a time as there are, by powers of two.
            while !x.is_empty() {
                // SAFETY: the assertion and `row_at` make `cols` weights readable in each row, `x` holds the tokens, which the
                // tile has; the CPU has the features, as is asked of the caller.
                let n = unsafe {
                    match x.len() / cols {
                        6.. => rows_8::<F, 6>(rows, x, cols, out, row, at),
                        4.. => rows_8::<F, 4>(rows, x, cols, out, row, at),
                        2.. => rows_8::<F, 2>(rows, x, cols, out, row, at),
                        _ => rows_8::<F, 1>(rows, x, cols, out, row, at),
                    }
                };
                (at, x) = (at + n, &x[n * cols..]);
            }
        }
        token += TOKENS;
    }
}

/// Eight rows times the first `T` tokens of `x`, to the tile's rows from `row` on and its tokens from `token` on; `T`.
///
/// # Safety
///
/// `cols` weights must be readable from each of `rows`, `x` must hold `T` tokens, and the tile must have them and the first row.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl")]
unsafe fn rows_8<F: Rows, const T: usize>(
    rows: [[*const F; 2]; PAIRS],
    x: &[f32],
    cols: usize,
    out: &mut Tile<'_>,
    row: usize,
    token: usize,
) -> usize {
    let mut sums = [[_mm512_setzero_ps(); PAIRS]; T];
    let whole = cols / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        // SAFETY: `at + LANES <= cols`, and the caller vouches for rows and tokens.
        unsafe {
            let w = rows.map(|two| F::load_two(two.map(|row| row.add(at))));
            for (t, sums) in sums.iter_mut().enumerate() {
                add(sums, w, x.as_ptr().add(t * cols + at));
            }
        }
    }
    if whole < cols {
        let w = rows.map(|two| {
            let rest = two.map(|row| {
                let mut rest = [F::default(); LANES];
                for (i, w) in rest[..cols - whole].iter_mut().enumerate() {
                    // SAFETY: `whole + i < cols`, and the caller vouches for the rows.
                    *w = unsafe { row.add(whole + i).read_unaligned() };
                }
                rest
            });
            // SAFETY: the arrays hold eight values each.
            unsafe { F::load_two([rest[0].as_ptr(), rest[1].as_ptr()]) }
        });
        for (t, sums) in sums.iter_mut().enumerate() {
            let x = padded(&x[t * cols + whole..(t + 1) * cols]);
            // SAFETY: the array holds eight values.
            unsafe { add(sums, w, x.as_ptr()) };
        }
    }
    for (t, sums) in sums.iter().enumerate() {
        // SAFETY: the caller vouches for the tokens and the row.
        unsafe { store(out, row, token + t, sums) };
    }
    T
}

/// Writes the sums of the lanes of each row, up to where the tile ends.
///
/// # Safety
///
/// The tile must have the token and the row.
#[target_feature(enable = "avx2,avx512f,avx512vl")]
#[inline]
unsafe fn store(out: &mut Tile<'_>, row: usize, token: usize, &[a, b, c, d]: &[__m512; PAIRS]) {
    // Halves first, then neighbours, as the definition does: four lanes of each row, then two, then one, of rows 0, 4, 1, 5
    // and so on.
    let halves = |v, w| {
        let (low, high) =
            (_mm512_shuffle_f32x4::<0b10_00_10_00>(v, w), _mm512_shuffle_f32x4::<0b11_01_11_01>(v, w));
        _mm512_add_ps(low, high)
    };
    let (v, w) = (halves(a, b), halves(c, d));
    let (even, odd) = (_mm512_shuffle_ps::<0b10_00_10_00>(v, w), _mm512_shuffle_ps::<0b11_01_11_01>(v, w));
    let pairs = _mm512_add_ps(even, odd);
    let first = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    let second = _mm512_setr_epi32(1, 5, 9, 13, 3, 7, 11, 15, 0, 0, 0, 0, 0, 0, 0, 0);
    let rows = _mm512_add_ps(_mm512_permutexvar_ps(first, pairs), _mm512_permutexvar_ps(second, pairs));
    let n_rows = (out.rows().len() - row).min(2 * PAIRS);
    let (origin, stride) = out.as_mut_ptr();
    // SAFETY: the caller vouches for the token and the row; the mask ends where the tile does.
    unsafe {
        let to = origin.add(token * stride + row);
        _mm256_mask_storeu_ps(to, 0xff >> (2 * PAIRS - n_rows), _mm512_castps512_ps256(rows));
    }
}

/// Adds the products of eight columns of each row.
///
/// # Safety
///
/// Eight values must be readable from `x`.
#[target_feature(enable = "avx2,fma,avx512f")]
#[inline]
unsafe fn add(sums: &mut [__m512; PAIRS], w: [__m512; PAIRS], x: *const f32) {
    // SAFETY: the caller vouches for the values.
    let x = _mm512_castpd_ps(_mm512_broadcast_f64x4(unsafe { _mm256_loadu_pd(x.cast()) }));
    for (sum, w) in sums.iter_mut().zip(w) {
        *sum = _mm512_fmadd_ps(w, x, *sum);
    }
}
