//! Packed weights that have integer scales under a scale for each 256 of them.

use super::load::{load_16, load_32, load_f16x8};
use super::one_token::{self, six_bit_order};
use super::packed::{ROWS, Rows8, Sums, signed, with_fifth_bit};
use crate::simd::Q8;
use core::arch::aarch64::*;

/// How to load packed weights that have integer scales under a scale for each 256 of them.
pub trait Weights256 {
    /// Bytes of the blocks of all eight rows.
    const BYTES: usize;
    /// Whether there are minimums.
    const MINS: bool = false;
    /// Whether each 16 weights have an integer scale, instead of each 32.
    const HALVES: bool = false;
    /// What the integers are too large by.
    const OFFSET: u8 = 0;

    /// Loads weights `32 * j` to `32 * j + 31` of the blocks at `p`.
    ///
    /// # Safety
    ///
    /// They must be readable, and `j` below 8; also below.
    unsafe fn quants(p: *const u8, j: usize) -> [[int8x16_t; 2]; 8];

    /// The integer scales of the two halves of these weights, of four rows.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants), and `half` below 2.
    unsafe fn scales(p: *const u8, j: usize, half: usize) -> [int32x4_t; 2];

    /// The integer minimums of these weights, of four rows.
    ///
    /// # Safety
    ///
    /// As for [`scales`](Self::scales).
    unsafe fn mins(p: *const u8, j: usize, half: usize) -> int32x4_t;

    /// The sums of the products with the 256 activations at `x`, each times its integer scale; of each 16
    /// activations the sums are given.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants); the activations must be readable, and the CPU must have FEAT_DotProd.
    unsafe fn products(p: *const u8, x: *const i8, x_sums: &[i32; 16]) -> [int32x4_t; 2];

    /// The scales of the scales and of the minimums.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants).
    unsafe fn d(p: *const u8) -> [Sums; 2];
}

/// Rows of such weights.
pub struct Of256<W>(W);

impl<W: Weights256> Rows8 for Of256<W> {
    const LEN: usize = 256;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: Q8<'_>) -> [Sums; T] {
        let mut sums = [[vdupq_n_f32(0.0); 2]; T];
        for block in 0..n_blocks {
            for (t, sums) in sums.iter_mut().enumerate() {
                let at = t * n_blocks + block;
                // SAFETY: the loops visit each block of the rows and of the tokens; the strides between
                // tokens are `cols` quants, `n_blocks` scales and 16 times as many sums.
                unsafe {
                    let w = w.add(block * W::BYTES);
                    let x_sums = &*x.sums.as_ptr().add(16 * at).cast::<[i32; 16]>();
                    let products = W::products(w, x.quants.as_ptr().add(256 * at), x_sums);
                    let scale = *x.scales.as_ptr().add(at);
                    let [d, d_min] = W::d(w);
                    for half in 0..2 {
                        let product = vcvtq_f32_s32(products[half]);
                        sums[half] = vfmaq_f32(sums[half], product, vmulq_n_f32(d[half], scale));
                        if W::MINS {
                            let product = vcvtq_f32_s32(min_products::<W>(w, x_sums, half));
                            sums[half] = vfmsq_f32(sums[half], product, vmulq_n_f32(d_min[half], scale));
                        }
                    }
                }
            }
        }
        sums
    }
}

/// The integer scales of each 32 weights of a block.
///
/// # Safety
///
/// As for [`Weights256::quants`].
#[target_feature(enable = "neon")]
#[inline]
unsafe fn scales_of_32<W: Weights256>(p: *const u8) -> one_token::Scales<8> {
    // SAFETY: the caller vouches for the blocks.
    core::array::from_fn(|j| [0, 1].map(|half| unsafe { W::scales(p, j, half) }[0]))
}

/// The products of the minimums of four rows with the sums of a token.
///
/// # Safety
///
/// As for [`Weights256::quants`].
#[target_feature(enable = "neon")]
#[inline]
unsafe fn min_products<W: Weights256>(w: *const u8, x_sums: &[i32; 16], half: usize) -> int32x4_t {
    let (pairs, _) = x_sums.as_chunks::<2>();
    let mut product = vdupq_n_s32(0);
    for (j, pair) in pairs.iter().enumerate() {
        // SAFETY: the caller vouches for the blocks.
        product = vmlaq_n_s32(product, unsafe { W::mins(w, j, half) }, pair[0] + pair[1]);
    }
    product
}

/// The pair of units at `p + 32 * index`.
///
/// # Safety
///
/// They must be readable.
#[inline(always)]
unsafe fn units(p: *const u8, index: usize) -> [uint8x16_t; 2] {
    // SAFETY: the caller vouches for the bytes.
    unsafe { load_32(p.add(32 * index)) }
}

/// Byte `i` of each lane.
#[target_feature(enable = "neon")]
#[inline]
fn byte(v: uint32x4_t, i: usize) -> uint32x4_t {
    vandq_u32(vshlq_u32(v, vdupq_n_s32(-8 * i as i32)), vdupq_n_u32(0xff))
}

/// Scales or minimums of 6 bits for each 32 weights of four rows, from the three units at `p`: number
/// `j` of those whose lower four lie in unit `first`.
///
/// # Safety
///
/// The units must be readable.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn six_bits(p: *const u8, first: usize, j: usize, half: usize) -> int32x4_t {
    // SAFETY: the caller vouches for the units.
    let unit = |index| vreinterpretq_u32_u8(unsafe { load_16::<0>(p.add(32 * index + 16 * half)) });
    let own = unit(first);
    let six = if j < 4 {
        vandq_u32(byte(own, j), vdupq_n_u32(0x3f))
    } else {
        let last = if first == 0 { unit(2) } else { vshrq_n_u32::<4>(unit(2)) };
        let low = vandq_u32(byte(last, j - 4), vdupq_n_u32(0xf));
        vorrq_u32(low, vandq_u32(vshrq_n_u32::<2>(byte(own, j - 4)), vdupq_n_u32(0x30)))
    };
    vreinterpretq_s32_u32(six)
}

/// The nibbles of weights `32 * j` to `32 * j + 31` in pairs of 32 under the same bytes.
///
/// # Safety
///
/// The codes must be readable, and `j` below 8.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn paired_nibbles(p: *const u8, j: usize) -> [[uint8x16_t; 2]; 8] {
    core::array::from_fn(|i| {
        // SAFETY: the caller vouches for the codes.
        let codes = unsafe { units(p, 8 * (j / 2) + i) };
        match j.is_multiple_of(2) {
            true => codes.map(|v| vandq_u8(v, vdupq_n_u8(0xf))),
            false => codes.map(|v| vshrq_n_u8::<4>(v)),
        }
    })
}

pub struct Q4K;

impl Weights256 for Q4K {
    const BYTES: usize = ROWS * 144;
    const MINS: bool = true;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [[int8x16_t; 2]; 8] {
        // SAFETY: the codes lie behind the two scales and 12 bytes of scales and minimums of each row.
        signed(unsafe { paired_nibbles(p.add(ROWS * 16), j) })
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn products(p: *const u8, x: *const i8, _x_sums: &[i32; 16]) -> [int32x4_t; 2] {
        // SAFETY: as above; the caller vouches for the activations.
        unsafe { one_token::four_bits(p.add(ROWS * 16), &scales_of_32::<Self>(p), x) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn scales(p: *const u8, j: usize, half: usize) -> [int32x4_t; 2] {
        // SAFETY: the units lie behind the two scales.
        [unsafe { six_bits(p.add(ROWS * 4), 0, j, half) }; 2]
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn mins(p: *const u8, j: usize, half: usize) -> int32x4_t {
        // SAFETY: as above.
        unsafe { six_bits(p.add(ROWS * 4), 1, j, half) }
    }

    #[inline(always)]
    unsafe fn d(p: *const u8) -> [Sums; 2] {
        // SAFETY: a block begins with the two.
        unsafe { [load_f16x8(p), load_f16x8(p.add(ROWS * 2))] }
    }
}

pub struct Q5K;

impl Weights256 for Q5K {
    const BYTES: usize = ROWS * 176;
    const MINS: bool = true;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [[int8x16_t; 2]; 8] {
        // SAFETY: the fifth bits lie behind scales and minimums, the codes behind 32 bytes of them.
        unsafe {
            let low = paired_nibbles(p.add(ROWS * 48), j);
            signed(core::array::from_fn(|i| {
                let fifth = units(p.add(ROWS * 16), i);
                [0, 1].map(|half| with_fifth_bit(low[i][half], fifth[half], j))
            }))
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn products(p: *const u8, x: *const i8, _x_sums: &[i32; 16]) -> [int32x4_t; 2] {
        // SAFETY: as above; the caller vouches for the activations.
        unsafe { one_token::five_bits(p.add(ROWS * 48), p.add(ROWS * 16), &scales_of_32::<Self>(p), x) }
    }

    #[inline(always)]
    unsafe fn scales(p: *const u8, j: usize, half: usize) -> [int32x4_t; 2] {
        // SAFETY: as for Q4_K.
        unsafe { Q4K::scales(p, j, half) }
    }

    #[inline(always)]
    unsafe fn mins(p: *const u8, j: usize, half: usize) -> int32x4_t {
        // SAFETY: as for Q4_K.
        unsafe { Q4K::mins(p, j, half) }
    }

    #[inline(always)]
    unsafe fn d(p: *const u8) -> [Sums; 2] {
        // SAFETY: as for Q4_K.
        unsafe { Q4K::d(p) }
    }
}

pub struct Q6K;

impl Weights256 for Q6K {
    const BYTES: usize = ROWS * 210;
    const HALVES: bool = true;
    const OFFSET: u8 = 32;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [[int8x16_t; 2]; 8] {
        // Of 128 weights the first and second 32 lie in the lower nibbles, the others in the upper.
        let (part, s) = (j / 4, j % 4);
        let quants = core::array::from_fn(|i| {
            // SAFETY: 128 bytes of lower bits, then 64 bytes of upper ones, of each row.
            let (low, high) =
                unsafe { (units(p, 16 * part + 8 * (s % 2) + i), units(p.add(ROWS * 128), 8 * part + i)) };
            [0, 1].map(|half| {
                let low = match s {
                    0 | 1 => vandq_u8(low[half], vdupq_n_u8(0xf)),
                    _ => vshrq_n_u8::<4>(low[half]),
                };
                let high = vshlq_u8(high[half], vdupq_n_s8(4 - 2 * s as i8));
                vbslq_u8(vdupq_n_u8(0x30), high, low)
            })
        });
        signed(quants)
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn products(p: *const u8, x: *const i8, x_sums: &[i32; 16]) -> [int32x4_t; 2] {
        let scales = core::array::from_fn(|i| {
            let of_16 = six_bit_order(i);
            // SAFETY: the caller vouches for the blocks.
            [0, 1].map(|half| unsafe { Self::scales(p, of_16 / 2, half) }[of_16 % 2])
        });
        // SAFETY: the codes come first, then the upper bits; the caller vouches for the activations.
        unsafe { one_token::six_bits(p, p.add(ROWS * 128), &scales, x, x_sums) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn scales(p: *const u8, j: usize, half: usize) -> [int32x4_t; 2] {
        // SAFETY: behind lower and upper bits, four scales in each unit.
        let unit = unsafe { load_16::<0>(p.add(ROWS * 192 + 32 * (j / 2) + 16 * half)) };
        [0, 1].map(|i| {
            let left = vdupq_n_s32(24 - 8 * (2 * (j % 2) + i) as i32);
            vshrq_n_s32::<24>(vshlq_s32(vreinterpretq_s32_u8(unit), left))
        })
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn mins(_p: *const u8, _j: usize, _half: usize) -> int32x4_t {
        vdupq_n_s32(0)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn d(p: *const u8) -> [Sums; 2] {
        // SAFETY: the scale of the scales comes last.
        [unsafe { load_f16x8(p.add(ROWS * 208)) }, [vdupq_n_f32(0.0); 2]]
    }
}
