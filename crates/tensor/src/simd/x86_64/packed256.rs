//! Packed weights in blocks of 256 with integer scales.

use super::rows::{
    ROWS, Rows16, dots, fifth_bits, halves, high_nibbles, looked_up, low_nibbles, prefetch, unit, unsigned,
};
use crate::blocks::{BlockIQ4XS, BlockQ4K, BlockQ5K, BlockQ6K, IQ4_VALUES};
use crate::simd::Q8;
use core::arch::x86_64::*;

/// How to load packed weights in blocks of 256 with integer scales.
pub trait Weights256 {
    /// A block of one row.
    type Block;
    /// Bytes of one block of each of the sixteen rows.
    const BYTES: usize = ROWS * size_of::<Self::Block>();
    /// What must be subtracted from the integers; 0 if there are minimums.
    const OFFSET: i32 = 0;
    /// Whether there are minimums.
    const MINS: bool = false;
    /// Whether each 16 weights have an integer scale, rather than each 32.
    const HALVES: bool = false;

    /// Loads weights `32 * j` to `32 * j + 31` of the blocks at `p`, as units of sixteen rows.
    ///
    /// # Safety
    ///
    /// The blocks must be readable, `j` must be below 8, and the CPU must have the features.
    unsafe fn quants(p: *const u8, j: usize) -> [__m512i; 8];

    /// The integer scales of the first and second half of these weights.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants).
    unsafe fn scales(p: *const u8, j: usize) -> [__m512i; 2];

    /// Factors of the activations' sums over the two halves, as pairs of 16-bit integers: the integer minimum twice or, for
    /// types with an offset, the integer scales.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants).
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn factors_of_sums(p: *const u8, j: usize) -> __m512i {
        // SAFETY: `scales` requires what this function does.
        let [first, second] = unsafe { Self::scales(p, j) };
        paired(first, second)
    }

    /// The scales of the scales and of the minimums.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants).
    unsafe fn d(p: *const u8) -> [__m512; 2];
}

/// Rows of weights in blocks of 256, loaded by `W`.
pub struct Of256<W>(W);

impl<W: Weights256> Rows16 for Of256<W> {
    const LEN: usize = 256;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: Q8<'_>) -> [__m512; T] {
        let mut sums = [_mm512_setzero_ps(); T];
        for block in 0..n_blocks {
            let mut products = [_mm512_setzero_si512(); T];
            let mut products_of_sums = [_mm512_setzero_si512(); T];
            // SAFETY: the loops read the blocks of rows and tokens that the caller guarantees; from one token to the next there
            // are `cols` quants, `n_blocks` scales and `16 * n_blocks` sums.
            unsafe {
                let w = w.add(block * W::BYTES);
                if T == 1 {
                    prefetch(w, W::BYTES);
                }
                let x_sums = core::array::from_fn::<_, T, _>(|t| {
                    pairs_of_sums(x.sums.as_ptr().add(16 * (t * n_blocks + block)))
                });
                let x_quants = x.quants.as_ptr().add(256 * block);
                for j in 0..8 {
                    let (quants, scales) = (W::quants(w, j), W::scales(w, j));
                    let factors = W::factors_of_sums(w, j);
                    for t in 0..T {
                        let x = x_quants.add(x.cols * t + 32 * j);
                        let product = if W::HALVES {
                            let first = _mm512_mullo_epi32(dots(0, &quants[..4], x), scales[0]);
                            let second = _mm512_mullo_epi32(dots(0, &quants[4..], x.add(16)), scales[1]);
                            _mm512_add_epi32(first, second)
                        } else {
                            _mm512_mullo_epi32(dots(0, &quants, x), scales[0])
                        };
                        products[t] = _mm512_add_epi32(products[t], product);
                        let x_sums = _mm512_set1_epi32(x_sums[t][j]);
                        products_of_sums[t] = _mm512_dpwssd_epi32(products_of_sums[t], factors, x_sums);
                    }
                }
                let [d, d_min] = W::d(w);
                for (t, sum) in sums.iter_mut().enumerate() {
                    let scale = _mm512_set1_ps(*x.scales.as_ptr().add(t * n_blocks + block));
                    let of_offsets = _mm512_mullo_epi32(products_of_sums[t], _mm512_set1_epi32(W::OFFSET));
                    let product = _mm512_cvtepi32_ps(_mm512_sub_epi32(products[t], of_offsets));
                    *sum = _mm512_fmadd_ps(product, _mm512_mul_ps(d, scale), *sum);
                    if W::MINS {
                        let product = _mm512_cvtepi32_ps(products_of_sums[t]);
                        *sum = _mm512_fnmadd_ps(product, _mm512_mul_ps(d_min, scale), *sum);
                    }
                }
            }
        }
        sums
    }
}

/// Sixteen sums as pairs of 16-bit integers. They fit: each is of 16 activations of at most 127.
///
/// # Safety
///
/// The sums must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn pairs_of_sums(p: *const i32) -> [i32; 8] {
    let mut pairs = [0; 8];
    // SAFETY: the caller guarantees that the sums are readable; writes only the 32 bytes of `pairs`.
    unsafe {
        let sums = _mm512_cvtepi32_epi16(_mm512_loadu_si512(p.cast()));
        _mm256_storeu_si256(pairs.as_mut_ptr().cast(), sums);
    }
    pairs
}

/// Pairs of 16-bit integers in 32-bit lanes: the lower half from `first`, the upper from `second`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn paired(first: __m512i, second: __m512i) -> __m512i {
    _mm512_mask_blend_epi16(0xaaaa_aaaa, first, _mm512_slli_epi32::<16>(second))
}

/// Byte `i` of each lane, in a lane of its own.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn byte(v: __m512i, i: usize) -> __m512i {
    _mm512_and_si512(_mm512_srlv_epi32(v, _mm512_set1_epi32(8 * i as i32)), _mm512_set1_epi32(0xff))
}

/// The 6-bit scale (`first` is 0) or minimum (`first` is 1) for the `j`-th 32 weights, from the three units at `p`:
/// [`six_bits`](crate::blocks::six_bits) of sixteen rows.
///
/// # Safety
///
/// The units must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn six_bits(p: *const u8, first: usize, j: usize) -> __m512i {
    // SAFETY: the caller guarantees that the units are readable.
    let (own, last) = unsafe { (unit(p.add(64 * first)), unit(p.add(128))) };
    if j < 4 {
        return _mm512_and_si512(byte(own, j), _mm512_set1_epi32(0x3f));
    }
    let last = if first == 0 { last } else { _mm512_srli_epi32::<4>(last) };
    let low = _mm512_and_si512(byte(last, j - 4), _mm512_set1_epi32(0xf));
    let high = _mm512_and_si512(_mm512_srli_epi32::<2>(byte(own, j - 4)), _mm512_set1_epi32(0x30));
    _mm512_or_si512(low, high)
}

/// The nibbles of weights `32 * j` to `32 * j + 31`: low ones for even `j`, high ones of the same bytes for odd `j`.
///
/// # Safety
///
/// The codes must be readable, and `j` below 8.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn paired_nibbles(p: *const u8, j: usize) -> [__m512i; 8] {
    core::array::from_fn(|i| {
        // SAFETY: the caller guarantees that the codes are readable.
        let codes = unsafe { unit(p.add(64 * (8 * (j / 2) + i))) };
        if j.is_multiple_of(2) { low_nibbles(codes) } else { high_nibbles(codes) }
    })
}

/// The beginning of blocks of Q4_K and Q5_K: `d`, `d_min`, then 12 bytes of scales and minimums.
macro_rules! starts_like_q4_k {
    () => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        #[inline]
        unsafe fn scales(p: *const u8, j: usize) -> [__m512i; 2] {
            // SAFETY: within the block: the units follow `d` and `d_min` of each row, 4 bytes.
            [unsafe { six_bits(p.add(ROWS * 4), 0, j) }; 2]
        }

        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        #[inline]
        unsafe fn factors_of_sums(p: *const u8, j: usize) -> __m512i {
            // SAFETY: within the block: the units follow `d` and `d_min` of each row, 4 bytes.
            let mins = unsafe { six_bits(p.add(ROWS * 4), 1, j) };
            paired(mins, mins)
        }

        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        #[inline]
        unsafe fn d(p: *const u8) -> [__m512; 2] {
            // SAFETY: within the block: it begins with `d` and `d_min` of all rows.
            unsafe { [halves(p), halves(p.add(ROWS * 2))] }
        }
    };
}

pub struct Q4K;

impl Weights256 for Q4K {
    type Block = BlockQ4K;
    const MINS: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [__m512i; 8] {
        // SAFETY: within the block: the codes follow 16 bytes of each row.
        unsafe { paired_nibbles(p.add(ROWS * 16), j) }
    }

    starts_like_q4_k!();
}

pub struct Q5K;

impl Weights256 for Q5K {
    type Block = BlockQ5K;
    const MINS: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [__m512i; 8] {
        // SAFETY: within the block: the fifth bits follow 16 bytes of each row, the codes 48.
        unsafe {
            let low = paired_nibbles(p.add(ROWS * 48), j);
            core::array::from_fn(|i| _mm512_or_si512(low[i], fifth_bits(unit(p.add(ROWS * 16 + 64 * i)), j)))
        }
    }

    starts_like_q4_k!();
}

pub struct Q6K;

impl Weights256 for Q6K {
    type Block = BlockQ6K;
    const OFFSET: i32 = 32;
    const HALVES: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [__m512i; 8] {
        // Of each 128 weights, the first 64 are low nibbles, the others high nibbles.
        let (part, s) = (j / 4, j % 4);
        core::array::from_fn(|i| {
            // SAFETY: within the block: 128 bytes of lower bits of each row, then 64 bytes of upper ones.
            let (low, high) = unsafe {
                let low = unit(p.add(64 * (16 * part + 8 * (s % 2) + i)));
                (low, unit(p.add(ROWS * 128 + 64 * (8 * part + i))))
            };
            let low = if s < 2 { low_nibbles(low) } else { high_nibbles(low) };
            let high = match s {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<2>(high),
                2 => high,
                _ => _mm512_srli_epi16::<2>(high),
            };
            _mm512_or_si512(low, _mm512_and_si512(high, _mm512_set1_epi8(0x30)))
        })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(p: *const u8, j: usize) -> [__m512i; 2] {
        // SAFETY: within the block: the scales follow 192 bytes of each row, four in a unit.
        let scales = unsafe { unit(p.add(ROWS * 192 + 64 * (j / 2))) };
        [2 * (j % 2), 2 * (j % 2) + 1].map(|i| {
            let moved = _mm512_sllv_epi32(scales, _mm512_set1_epi32(24 - 8 * i as i32));
            _mm512_srai_epi32::<24>(moved)
        })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn d(p: *const u8) -> [__m512; 2] {
        // SAFETY: within the block: `d` follows 208 bytes of each row.
        [unsafe { halves(p.add(ROWS * 208)) }, _mm512_setzero_ps()]
    }
}

pub struct IQ4XS;

impl Weights256 for IQ4XS {
    type Block = BlockIQ4XS;
    const OFFSET: i32 = 127;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [__m512i; 8] {
        // SAFETY: within the block: the codes follow 8 bytes of each row, 16 bytes for each 32 weights.
        unsafe { looked_up(p.add(ROWS * (8 + 16 * j)), &const { unsigned(IQ4_VALUES, Self::OFFSET) }) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn scales(p: *const u8, j: usize) -> [__m512i; 2] {
        // SAFETY: within the block: after `d`, 16 bits with the upper two of each scale, then a unit with the lower four.
        let (high, low) = unsafe { (_mm256_loadu_si256(p.add(ROWS * 2).cast()), unit(p.add(ROWS * 4))) };
        let bits = |v, from: usize, mask| {
            _mm512_and_si512(_mm512_srlv_epi32(v, _mm512_set1_epi32(from as i32)), _mm512_set1_epi32(mask))
        };
        let high = bits(_mm512_cvtepu16_epi32(high), 2 * j, 3);
        let scale = _mm512_or_si512(bits(low, 4 * j, 0xf), _mm512_slli_epi32::<4>(high));
        [_mm512_sub_epi32(scale, _mm512_set1_epi32(32)); 2]
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn d(p: *const u8) -> [__m512; 2] {
        // SAFETY: within the block: it begins with `d` of all rows.
        [unsafe { halves(p) }, _mm512_setzero_ps()]
    }
}
