//! Integer products of several weight rows with several tokens at once.
//!
//! Where a scale covers 32 weights, four rows share each load of activations, and two tokens each
//! unpacked group of weights. Blocks of 256 are unpacked once for all tokens of the tile. The
//! partial sums of four rows are folded to one vector with a lane for each row before they become
//! floats.

use crate::blocks::{Block256, Group256};
use crate::simd::{
    Q8,
    tiles::{Tile, store_rows},
};
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
    /// Scales of the four rows, for the first 16 weights and for the second.
    pub scales: [__m128; 2],
    /// Minimums of the four rows.
    pub mins: __m128,
}

/// How to load weights that have a scale for each 32 (or 16) of them.
pub trait Weights32 {
    /// A block as it is in a file.
    type Block;
    /// Bytes of a block.
    const BLOCK_BYTES: usize = size_of::<Self::Block>();
    /// Groups of 32 weights in a block.
    const GROUPS: usize = 1;
    /// Whether integers may be negative.
    const SIGNED: bool = false;
    /// What is to be subtracted from every integer, a multiple of 8.
    const OFFSET: i32 = 0;
    /// Whether there are minimums.
    const MINS: bool = false;
    /// Whether the two halves of a group have their own scales.
    const HALVES: bool = false;

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
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub fn store(out: &mut Tile<'_>, row: usize, token: usize, tokens: &[__m128]) {
    for (i, &vector) in tokens.iter().enumerate() {
        let mut sums = [0.0; 4];
        // SAFETY: writes the four floats.
        unsafe { _mm_storeu_ps(sums.as_mut_ptr(), vector) };
        store_rows(&mut out.token(token + i)[row..], &sums);
    }
}

/// Lane `i` of the first result is the sum of the lower half of `v[i]`, of the second that of the upper.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn halves(v: [__m256i; 4]) -> [__m128i; 2] {
    let folded = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    [_mm256_castsi256_si128(folded), _mm256_extracti128_si256::<1>(folded)]
}

/// Lane `i` of the result is the sum of `v[i]`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn fold(v: [__m256i; 4]) -> __m128i {
    let [low, high] = halves(v);
    _mm_add_epi32(low, high)
}

/// Four rows times `T` tokens; lane `r` of result `t` belongs to row `r` and token `t`.
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
) -> [__m128; T] {
    // SAFETY: the loops visit each group of the rows and of the tokens once; the strides between
    // tokens are `cols` quants and `n_groups` scales and sums. The rest is what the caller vouches
    // for.
    unsafe {
        let n_groups = n_blocks * W::GROUPS;
        let mut sums = [_mm_setzero_ps(); T];
        let mut quants = x.quants.as_ptr();
        let mut scales = x.scales.as_ptr();
        let mut x_sums = x.sums.as_ptr();
        for _ in 0..n_blocks {
            for index in 0..W::GROUPS {
                let w = W::load(rows, index);
                for (t, sum) in sums.iter_mut().enumerate() {
                    let x = _mm256_loadu_si256(quants.add(t * x.cols).cast());
                    let scale = _mm_set1_ps(*scales.add(t * n_groups));
                    let x_sum = *x_sums.add(t * n_groups);
                    // Eight lanes each take an eighth of the offset.
                    let start = _mm256_set1_epi32(-x_sum * (W::OFFSET / 8));
                    let dots = w.quants.map(|w| {
                        if W::SIGNED {
                            // The sign moves to the activations, which are never -128.
                            D::dot_unsigned(start, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                        } else {
                            D::dot_unsigned(start, w, x)
                        }
                    });
                    let mut add = |integers, w_scale| {
                        *sum = _mm_fmadd_ps(_mm_cvtepi32_ps(integers), _mm_mul_ps(w_scale, scale), *sum);
                    };
                    if W::HALVES {
                        let [low, high] = halves(dots);
                        add(low, w.scales[0]);
                        add(high, w.scales[1]);
                    } else {
                        add(fold(dots), w.scales[0]);
                    }
                    if W::MINS {
                        add(_mm_set1_epi32(x_sum), w.mins);
                    }
                }
                quants = quants.add(32);
                scales = scales.add(1);
                x_sums = x_sums.add(1);
            }
            rows = rows.map(|row| row.add(W::BLOCK_BYTES));
        }
        sums
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
    let n_rows = out.rows().len();
    let n_tokens = x.n_tokens();
    let n_blocks = x.cols / 256;
    let row_bytes = n_blocks * size_of::<B>();
    assert_eq!(w.len(), n_rows * row_bytes);
    for row in (0..n_rows).step_by(4) {
        let rows = row_pointers(w, row_bytes, n_rows, row);
        for first_token in (0..n_tokens).step_by(MAX_TOKENS) {
            let tokens = first_token..n_tokens.min(first_token + MAX_TOKENS);
            // SAFETY: the assertion and `row_pointers` make the blocks readable and, being `Unaligned`,
            // references to them may be made; the caller vouches for the instructions.
            unsafe {
                let mut sums = [_mm_setzero_ps(); MAX_TOKENS];
                for block in 0..n_blocks {
                    let four = FourBlocks::new(rows.map(|row| &*row.cast::<B>().add(block)));
                    for (token, sum) in tokens.clone().zip(&mut sums) {
                        let at = token * n_blocks + block;
                        let quants = &x.quants[256 * at..256 * (at + 1)];
                        let x_sums = &x.sums[16 * at..16 * (at + 1)];
                        *sum = four.add_products::<B>(quants, x_sums, x.scales[at], *sum);
                    }
                }
                store(out, row, first_token, &sums[..tokens.len()]);
            }
        }
    }
}

/// Unpacked blocks of four rows.
struct FourBlocks {
    rows: [Prepared; 4],
    d: __m128,
    d_min: __m128,
}

impl FourBlocks {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn new<B: Block256>(blocks: [&B; 4]) -> Self {
        let mut group = Group256::ZERO;
        let (mut d, mut d_min) = ([0.0; 4], [0.0; 4]);
        let rows = core::array::from_fn(|row| {
            blocks[row].unpack(&mut group);
            (d[row], d_min[row]) = (group.d, group.d_min);
            Prepared::new(&group)
        });
        // SAFETY: reads four floats each.
        unsafe { Self { rows, d: _mm_loadu_ps(d.as_ptr()), d_min: _mm_loadu_ps(d_min.as_ptr()) } }
    }

    /// Adds the products with one token to the rows' sums.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn add_products<B: Block256>(&self, x: &[i8], x_sums: &[i32], x_scale: f32, sum: __m128) -> __m128 {
        let x_scale = _mm_set1_ps(x_scale);
        let dots = _mm_cvtepi32_ps(fold(self.rows.each_ref().map(|row| row.dots(x))));
        let sum = _mm_fmadd_ps(dots, _mm_mul_ps(self.d, x_scale), sum);
        if !B::MINS {
            return sum;
        }
        let mins = _mm_cvtepi32_ps(fold(self.rows.each_ref().map(|row| row.min_dots(x_sums))));
        _mm_fnmadd_ps(mins, _mm_mul_ps(self.d_min, x_scale), sum)
    }
}

/// An unpacked block in registers' form, without the scales of its scales.
struct Prepared {
    quants: [__m256i; 8],
    /// For each 32 quants the two scales, each eight times.
    scales: [__m256i; 8],
    mins: [__m256i; 2],
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
            // SAFETY: a group holds 16 minimums, of which these are eight.
            _mm256_cvtepi16_epi32(unsafe { _mm_loadu_si128(group.mins.as_ptr().add(8 * j).cast()) })
        });
        Self { quants, scales, mins }
    }

    /// Eight partial sums of `scale * quant * x`.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn dots(&self, x: &[i8]) -> __m256i {
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
        dots
    }

    /// Eight partial sums of `min * x`.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn min_dots(&self, x_sums: &[i32]) -> __m256i {
        let (x_sums, _) = x_sums.as_chunks::<8>();
        let [a, b] = [0, 1].map(|j| {
            // SAFETY: reads eight sums.
            let x_sums = unsafe { _mm256_loadu_si256(x_sums[j].as_ptr().cast()) };
            _mm256_mullo_epi32(self.mins[j], x_sums)
        });
        _mm256_add_epi32(a, b)
    }
}
