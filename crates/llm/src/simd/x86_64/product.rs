//! Integer products of several weight rows with several tokens at once.
//!
//! Where a scale covers 32 weights, four rows share each load of activations, and two tokens each
//! unpacked group of weights. Blocks of 256 are unpacked once for all tokens of the tile.

use super::float;
use crate::blocks::{self, Block256, Group256};
use crate::simd::{Q8, tiles::Tile};
use core::arch::x86_64::*;

/// An instruction (or two) that multiplies and adds 8-bit integers.
pub trait Dot {
    /// Adds the products of 32 integers to eight partial sums.
    ///
    /// # Safety
    ///
    /// The CPU has the instructions. `w` are in 0..=128, `x` in -127..=127.
    unsafe fn dot_unsigned(acc: __m256i, w: __m256i, x: __m256i) -> __m256i;
}

/// A group of 32 weights of each of four rows.
#[derive(Clone, Copy)]
pub struct FourGroups {
    /// The integers.
    pub quants: [__m256i; 4],
    /// Scales, in the upper half those of the second 16 weights.
    pub scales: [__m256; 4],
    /// Minimums of the four rows.
    pub mins: __m128,
}

/// How to load weights that have a scale for each 32 (or 16) of them.
pub trait Weights32 {
    /// Bytes of a block.
    const BLOCK_BYTES: usize;
    /// Groups of 32 weights in a block.
    const GROUPS: usize = 1;
    /// Whether integers may be negative.
    const SIGNED: bool = false;
    /// What is to be subtracted from every integer, a multiple of 8.
    const OFFSET: i32 = 0;
    /// Whether there are minimums.
    const MINS: bool = false;

    /// Loads group `index` of the blocks at `rows`.
    ///
    /// # Safety
    ///
    /// A block must be readable at each pointer, `index` below `GROUPS`, and the CPU must have AVX2,
    /// FMA and F16C.
    unsafe fn load(rows: [*const u8; 4], index: usize) -> FourGroups;
}

/// The first bytes of four rows from row `first` on, the last row standing in for those past it.
#[inline(always)]
pub fn row_pointers(w: &[u8], row_bytes: usize, n_rows: usize, first: usize) -> [*const u8; 4] {
    core::array::from_fn(|i| w[(first + i).min(n_rows - 1) * row_bytes..].as_ptr())
}

/// The product of a tile whose weights have a scale for each 32.
///
/// # Safety
///
/// The CPU has AVX2, FMA, F16C and the instructions that `D` names.
#[inline(always)]
pub unsafe fn tile_32<D: Dot, W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    let n_rows = out.rows().len();
    let n_tokens = x.n_tokens();
    let n_blocks = x.cols / (32 * W::GROUPS);
    let row_bytes = n_blocks * W::BLOCK_BYTES;
    assert_eq!(w.len(), n_rows * row_bytes);
    for row in (0..n_rows).step_by(4) {
        let rows = row_pointers(w, row_bytes, n_rows, row);
        let mut token = 0;
        while token < n_tokens {
            // SAFETY: the assertion and `row_pointers` make the rows readable; `x` holds the tokens;
            // the caller vouches for the instructions.
            unsafe {
                if n_tokens - token == 1 {
                    let sums = rows_32::<D, W, 1>(rows, n_blocks, x.tokens(token..token + 1));
                    store(out, row, token, &sums);
                } else {
                    let sums = rows_32::<D, W, 2>(rows, n_blocks, x.tokens(token..token + 2));
                    store(out, row, token, &sums);
                }
            }
            token += 2;
        }
    }
}

/// Writes the sums of four rows, of those that exist, for each token.
pub fn store(out: &mut Tile<'_>, row: usize, token: usize, sums: &[[f32; 4]]) {
    for (i, sums) in sums.iter().enumerate() {
        let out = &mut out.token(token + i)[row..];
        let n = out.len().min(4);
        out[..n].copy_from_slice(&sums[..n]);
    }
}

/// Four rows times `T` tokens: for each token the four sums.
///
/// # Safety
///
/// `n_blocks` blocks must be readable from each of `rows`, `x` must hold `T` tokens of as many
/// weights, and the CPU must have AVX2, FMA, F16C and the instructions that `D` names.
#[inline(always)]
unsafe fn rows_32<D: Dot, W: Weights32, const T: usize>(
    mut rows: [*const u8; 4],
    n_blocks: usize,
    x: Q8<'_>,
) -> [[f32; 4]; T] {
    // SAFETY: the loops visit each group of the rows and of the tokens once; the strides between
    // tokens are `cols` quants and `n_groups` scales and sums. The rest is what the caller vouches
    // for.
    unsafe {
        let n_groups = n_blocks * W::GROUPS;
        let mut sums = [[_mm256_setzero_ps(); 4]; T];
        let mut mins = [_mm_setzero_ps(); T];
        let mut quants = x.quants.as_ptr();
        let mut scales = x.scales.as_ptr();
        let mut x_sums = x.sums.as_ptr();
        for _ in 0..n_blocks {
            for index in 0..W::GROUPS {
                let w = W::load(rows, index);
                for (t, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_loadu_si256(quants.add(t * x.cols).cast());
                    let scale = _mm256_set1_ps(*scales.add(t * n_groups));
                    let x_sum = *x_sums.add(t * n_groups);
                    // Eight lanes each take an eighth of the offset.
                    let start = _mm256_set1_epi32(-x_sum * (W::OFFSET / 8));
                    for (sum, (w, w_scale)) in sums.iter_mut().zip(w.quants.into_iter().zip(w.scales)) {
                        let dots = if W::SIGNED {
                            // The sign moves to the activations, which are never -128.
                            D::dot_unsigned(start, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                        } else {
                            D::dot_unsigned(start, w, x)
                        };
                        *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), _mm256_mul_ps(w_scale, scale), *sum);
                    }
                    if W::MINS {
                        let x_sum = _mm_mul_ss(_mm_set_ss(x_sum as f32), _mm256_castps256_ps128(scale));
                        mins[t] = _mm_fmadd_ps(w.mins, _mm_broadcastss_ps(x_sum), mins[t]);
                    }
                }
                quants = quants.add(32);
                scales = scales.add(1);
                x_sums = x_sums.add(1);
            }
            rows = rows.map(|row| row.add(W::BLOCK_BYTES));
        }
        let mut result = [[0.0; 4]; T];
        for t in 0..T {
            let [a, b, c, d] = sums[t];
            let folded = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let folded = _mm_add_ps(_mm256_castps256_ps128(folded), _mm256_extractf128_ps::<1>(folded));
            _mm_storeu_ps(result[t].as_mut_ptr(), _mm_add_ps(folded, mins[t]));
        }
        result
    }
}

/// Tokens for which a block is unpacked once.
const MAX_TOKENS: usize = 32;

/// The product of a tile whose weights have a scale for each 256.
///
/// # Safety
///
/// The CPU has AVX2, FMA and F16C.
#[inline(always)]
pub unsafe fn tile_256<B: Block256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    let n_blocks = x.cols / 256;
    let rows = blocks::cast::<B>(w).chunks_exact(n_blocks);
    assert_eq!(rows.len(), out.rows().len());
    let mut group = Group256::ZERO;
    for (row, blocks) in rows.enumerate() {
        for first_token in (0..x.n_tokens()).step_by(MAX_TOKENS) {
            let tokens = first_token..x.n_tokens().min(first_token + MAX_TOKENS);
            // SAFETY: the caller vouches for the instructions.
            unsafe {
                let mut sums = [_mm256_setzero_ps(); MAX_TOKENS];
                for (index, block) in blocks.iter().enumerate() {
                    block.unpack(&mut group);
                    let group = Prepared::new(&group);
                    for (token, sum) in tokens.clone().zip(&mut sums) {
                        let at = token * n_blocks + index;
                        let quants = &x.quants[256 * at..256 * (at + 1)];
                        let x_sums = &x.sums[16 * at..16 * (at + 1)];
                        *sum = group.add_product(quants, x_sums, x.scales[at], *sum);
                    }
                }
                for (i, &sum) in sums[..tokens.len()].iter().enumerate() {
                    out.token(first_token + i)[row] = float::sum(sum);
                }
            }
        }
    }
}

/// An unpacked block in registers' form.
struct Prepared {
    quants: [__m256i; 8],
    /// For each 32 quants the two scales, each eight times.
    scales: [__m256i; 8],
    mins: [__m256i; 2],
    d: f32,
    d_min: f32,
}

impl Prepared {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn new(group: &Group256) -> Self {
        // SAFETY: a group holds 8 times 32 quants and 16 minimums.
        let quants =
            core::array::from_fn(|j| unsafe { _mm256_loadu_si256(group.quants.as_ptr().add(32 * j).cast()) });
        let scales = core::array::from_fn(|j| {
            _mm256_set_m128i(_mm_set1_epi16(group.scales[2 * j + 1]), _mm_set1_epi16(group.scales[2 * j]))
        });
        let mins = core::array::from_fn(|j| {
            // SAFETY: as above.
            _mm256_cvtepi16_epi32(unsafe { _mm_loadu_si128(group.mins.as_ptr().add(8 * j).cast()) })
        });
        Self { quants, scales, mins, d: group.d, d_min: group.d_min }
    }

    /// Adds the product with one token to its partial sums.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn add_product(&self, x: &[i8], x_sums: &[i32], x_scale: f32, sum: __m256) -> __m256 {
        let (x, _) = x.as_chunks::<32>();
        let mut dots = _mm256_setzero_si256();
        for j in 0..8 {
            // SAFETY: reads the 32 quants.
            let x = unsafe { _mm256_loadu_si256(x[j].as_ptr().cast()) };
            // The sign moves to the activations, which are never -128; two products of at most
            // 128 * 127 fit 16 bits.
            let w = self.quants[j];
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
            dots = _mm256_add_epi32(dots, _mm256_madd_epi16(pairs, self.scales[j]));
        }
        let sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), _mm256_set1_ps(self.d * x_scale), sum);
        if self.d_min == 0.0 {
            return sum;
        }
        let (x_sums, _) = x_sums.as_chunks::<8>();
        let products = [0, 1].map(|j| {
            // SAFETY: reads eight sums.
            let x_sums = unsafe { _mm256_loadu_si256(x_sums[j].as_ptr().cast()) };
            _mm256_mullo_epi32(self.mins[j], x_sums)
        });
        let mins = _mm256_cvtepi32_ps(_mm256_add_epi32(products[0], products[1]));
        _mm256_fnmadd_ps(mins, _mm256_set1_ps(self.d_min * x_scale), sum)
    }
}
