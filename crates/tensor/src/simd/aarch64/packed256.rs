//! Packed weights in blocks of 256 with integer scales.

#![allow(non_camel_case_types, reason = "the names of GGUF's types")]

use super::load::{load_16, load_32, load_f16x8};
use super::one_token;
use super::rows::{ROWS, Rows8, Sums, signed};
use crate::blocks::{BlockQ4K, BlockQ5K, BlockQ6K};
use crate::simd::Q8;
use core::arch::aarch64::*;

/// How to load packed weights in blocks of 256 with integer scales.
pub trait Weights256 {
    /// A block of one row.
    type Block;
    /// Bytes of one block of each of the eight rows.
    const BYTES: usize = ROWS * size_of::<Self::Block>();
    /// Whether there are minimums.
    const MINS: bool = false;
    /// Whether each 16 weights have an integer scale, rather than each 32.
    const HALVES: bool = false;
    /// What must be subtracted from the integers.
    const OFFSET: u8 = 0;
    /// The largest magnitude of a weight in units of its scale, without the offset.
    const LARGEST: i32;

    /// Loads weights `32 * j` to `32 * j + 31` of the blocks at `p`, as units of eight rows.
    ///
    /// # Safety
    ///
    /// The blocks must be readable, and `j` must be below 8.
    unsafe fn quants(p: *const u8, j: usize) -> [[int8x16_t; 2]; 8];

    /// The integer scales for each 32 weights, or for each 16.
    type Scales: AsRef<[[int32x4_t; 2]]>;

    /// The integer scales.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants).
    unsafe fn scales(p: *const u8) -> Self::Scales;

    /// The integer minimums for each 32 weights.
    ///
    /// # Safety
    ///
    /// As for [`quants`](Self::quants).
    unsafe fn mins(p: *const u8) -> [[int32x4_t; 2]; 8];

    /// The products with the 256 activations at `x`, times their integer scales, added up. `x_sums` are the sums of each 16
    /// activations.
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

/// Rows of weights in blocks of 256, loaded by `W`.
pub struct Of256<W>(W);

impl<W: Weights256> Rows8 for Of256<W> {
    const LEN: usize = 256;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: &Q8<'_>) -> [Sums; T] {
        let mut sums = [[vdupq_n_f32(0.0); 2]; T];
        for block in 0..n_blocks {
            for (t, sums) in sums.iter_mut().enumerate() {
                let at = t * n_blocks + block;
                // SAFETY: the loops read the blocks of rows and tokens that the caller guarantees; from one token to the next
                // there are `cols` quants, `n_blocks` scales and `16 * n_blocks` sums.
                unsafe {
                    let w = w.add(block * W::BYTES);
                    let x_sums = &*x.sums.as_ptr().add(16 * at).cast::<[i32; 16]>();
                    let products = W::products(w, x.quants.as_ptr().add(256 * at), x_sums);
                    let scale = *x.scales.as_ptr().add(at);
                    add_block::<W>(w, products, x_sums, scale, sums);
                }
            }
        }
        sums
    }
}

/// Adds the integer `products` of the block at `w`, times its scales and `x_scale`, to the sums, and subtracts the minimums'
/// share if there are any.
///
/// # Safety
///
/// As for [`Weights256::quants`].
#[target_feature(enable = "neon")]
#[inline]
pub unsafe fn add_block<W: Weights256>(
    w: *const u8,
    products: [int32x4_t; 2],
    x_sums: &[i32; 16],
    x_scale: f32,
    sums: &mut Sums,
) {
    // SAFETY: the caller guarantees that the blocks at `w` are readable.
    let [d, d_min] = unsafe { W::d(w) };
    // SAFETY: the caller guarantees that the blocks at `w` are readable.
    let mins = if W::MINS { min_products(unsafe { W::mins(w) }, x_sums) } else { products };
    for half in 0..2 {
        let product = vcvtq_f32_s32(products[half]);
        sums[half] = vfmaq_f32(sums[half], product, vmulq_n_f32(d[half], x_scale));
        if W::MINS {
            let product = vcvtq_f32_s32(mins[half]);
            sums[half] = vfmsq_f32(sums[half], product, vmulq_n_f32(d_min[half], x_scale));
        }
    }
}

/// The products of the minimums with the sums of a token's activations.
#[target_feature(enable = "neon")]
#[inline]
fn min_products(mins: [[int32x4_t; 2]; 8], x_sums: &[i32; 16]) -> [int32x4_t; 2] {
    let (pairs, _) = x_sums.as_chunks::<2>();
    let mut products = [vdupq_n_s32(0); 2];
    for (mins, pair) in mins.into_iter().zip(pairs) {
        for (product, min) in products.iter_mut().zip(mins) {
            *product = vmlaq_n_s32(*product, min, pair[0] + pair[1]);
        }
    }
    products
}

/// Shifts each byte left until bit `bit` is its highest. The bits that come in from below are undefined.
///
/// An emulator does this multiplication with an instruction of its host, but not a shift by a variable.
#[target_feature(enable = "neon")]
#[inline]
fn highest_of_bytes(bytes: uint8x16_t, bit: usize) -> uint8x16_t {
    // A table: the compiler would turn a computed power of two back into a shift.
    static FACTORS: [u16; 8] = [128, 64, 32, 16, 8, 4, 2, 1];
    // Bits shifted out of a lane's lower byte come in below the shifted bits of the upper one.
    vreinterpretq_u8_u16(vmulq_u16(vreinterpretq_u16_u8(bytes), vdupq_n_u16(FACTORS[bit % 8])))
}

/// Unit `index` of eight rows, whose units begin at `p`.
///
/// # Safety
///
/// It must be readable.
#[inline(always)]
unsafe fn units(p: *const u8, index: usize) -> [uint8x16_t; 2] {
    // SAFETY: the caller guarantees that the unit is readable.
    unsafe { load_32(p.add(32 * index)) }
}

/// The four bytes of each lane, each in a vector of its own.
#[target_feature(enable = "neon")]
#[inline]
fn four_bytes(v: uint32x4_t) -> [int32x4_t; 4] {
    let byte = vdupq_n_u32(0xff);
    [
        vandq_u32(v, byte),
        vandq_u32(vshrq_n_u32::<8>(v), byte),
        vandq_u32(vshrq_n_u32::<16>(v), byte),
        vshrq_n_u32::<24>(v),
    ]
    .map(|v| vreinterpretq_s32_u32(v))
}

/// The four signed bytes of each lane, each in a vector of its own.
#[target_feature(enable = "neon")]
#[inline]
fn four_signed_bytes(v: int32x4_t) -> [int32x4_t; 4] {
    [
        vshrq_n_s32::<24>(vshlq_n_s32::<24>(v)),
        vshrq_n_s32::<24>(vshlq_n_s32::<16>(v)),
        vshrq_n_s32::<24>(vshlq_n_s32::<8>(v)),
        vshrq_n_s32::<24>(v),
    ]
}

/// The 6-bit scales (`FIRST` is 0) or minimums (`FIRST` is 1) for each 32 weights, from the three units at `p`:
/// [`six_bits`](crate::blocks::six_bits) of eight rows.
///
/// # Safety
///
/// The units must be readable.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn six_bits<const FIRST: usize>(p: *const u8) -> [[int32x4_t; 2]; 8] {
    // SAFETY: the caller guarantees that the units are readable.
    let unit = |index: usize, half: usize| unsafe { load_16::<0>(p.add(32 * index + 16 * half)) };
    let [first, second] = [0, 1].map(|half| {
        let (own, last) = (unit(FIRST, half), unit(2, half));
        let low = vandq_u8(own, vdupq_n_u8(0x3f));
        let last = if FIRST == 0 { vandq_u8(last, vdupq_n_u8(0xf)) } else { vshrq_n_u8::<4>(last) };
        let high = vorrq_u8(last, vandq_u8(vshrq_n_u8::<2>(own), vdupq_n_u8(0x30)));
        [low, high].map(|v| four_bytes(vreinterpretq_u32_u8(v)))
    });
    let [[a, b, c, d], [e, f, g, h]] = first;
    let [[i, j, k, l], [m, n, o, p]] = second;
    [[a, i], [b, j], [c, k], [d, l], [e, m], [f, n], [g, o], [h, p]]
}

/// The nibbles of weights `32 * j` to `32 * j + 31`: low ones for even `j`, high ones of the same bytes for odd `j`.
///
/// # Safety
///
/// The codes must be readable, and `j` below 8.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn paired_nibbles(p: *const u8, j: usize) -> [[uint8x16_t; 2]; 8] {
    core::array::from_fn(|i| {
        // SAFETY: the caller guarantees that the codes are readable.
        let codes = unsafe { units(p, 8 * (j / 2) + i) };
        match j.is_multiple_of(2) {
            true => codes.map(|v| vandq_u8(v, vdupq_n_u8(0xf))),
            false => codes.map(|v| vshrq_n_u8::<4>(v)),
        }
    })
}

/// The beginning of blocks of Q4_K and Q5_K: `d`, `d_min`, then 12 bytes of scales and minimums.
macro_rules! starts_like_q4_k {
    () => {
        type Scales = [[int32x4_t; 2]; 8];

        #[target_feature(enable = "neon")]
        #[inline]
        unsafe fn scales(p: *const u8) -> Self::Scales {
            // SAFETY: within the block: the units follow `d` and `d_min` of each row, 4 bytes.
            unsafe { six_bits::<0>(p.add(ROWS * 4)) }
        }

        #[target_feature(enable = "neon")]
        #[inline]
        unsafe fn mins(p: *const u8) -> [[int32x4_t; 2]; 8] {
            // SAFETY: within the block: the units follow `d` and `d_min` of each row, 4 bytes.
            unsafe { six_bits::<1>(p.add(ROWS * 4)) }
        }

        #[inline(always)]
        unsafe fn d(p: *const u8) -> [Sums; 2] {
            // SAFETY: within the block: it begins with `d` and `d_min` of all rows.
            unsafe { [load_f16x8(p), load_f16x8(p.add(ROWS * 2))] }
        }
    };
}

pub struct Q4_K;

impl Weights256 for Q4_K {
    type Block = BlockQ4K;
    const LARGEST: i32 = 15;
    const MINS: bool = true;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [[int8x16_t; 2]; 8] {
        // SAFETY: within the block: the codes follow 16 bytes of each row.
        signed(unsafe { paired_nibbles(p.add(ROWS * 16), j) })
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn products(p: *const u8, x: *const i8, _x_sums: &[i32; 16]) -> [int32x4_t; 2] {
        // SAFETY: within the block: the codes follow 16 bytes of each row. The caller guarantees the activations and
        // FEAT_DotProd.
        unsafe { one_token::four_bits(p.add(ROWS * 16), &Self::scales(p), x) }
    }

    starts_like_q4_k!();
}

pub struct Q5_K;

impl Weights256 for Q5_K {
    type Block = BlockQ5K;
    const LARGEST: i32 = 31;
    const MINS: bool = true;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [[int8x16_t; 2]; 8] {
        // SAFETY: within the block: the fifth bits follow 16 bytes of each row, the codes 48.
        unsafe {
            let low = paired_nibbles(p.add(ROWS * 48), j);
            signed(core::array::from_fn(|i| {
                let fifth = units(p.add(ROWS * 16), i);
                [0, 1].map(|half| {
                    let fifth = vshrq_n_u8::<3>(highest_of_bytes(fifth[half], j));
                    vbslq_u8(vdupq_n_u8(0x10), fifth, low[i][half])
                })
            }))
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn products(p: *const u8, x: *const i8, _x_sums: &[i32; 16]) -> [int32x4_t; 2] {
        // SAFETY: within the block: the fifth bits follow 16 bytes of each row, the codes 48. The caller guarantees the
        // activations and FEAT_DotProd.
        unsafe { one_token::five_bits(p.add(ROWS * 48), p.add(ROWS * 16), &Self::scales(p), x) }
    }

    starts_like_q4_k!();
}

pub struct Q6_K;

impl Weights256 for Q6_K {
    type Block = BlockQ6K;
    const LARGEST: i32 = 32;
    const HALVES: bool = true;
    const OFFSET: u8 = 32;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn quants(p: *const u8, j: usize) -> [[int8x16_t; 2]; 8] {
        // Of each 128 weights, the first 64 are low nibbles, the others high nibbles.
        let (part, s) = (j / 4, j % 4);
        let quants = core::array::from_fn(|i| {
            // SAFETY: within the block: 128 bytes of lower bits of each row, then 64 bytes of upper ones.
            let (low, high) =
                unsafe { (units(p, 16 * part + 8 * (s % 2) + i), units(p.add(ROWS * 128), 8 * part + i)) };
            [0, 1].map(|half| {
                let low = match s {
                    0 | 1 => vandq_u8(low[half], vdupq_n_u8(0xf)),
                    _ => vshrq_n_u8::<4>(low[half]),
                };
                let high = vshrq_n_u8::<2>(highest_of_bytes(high[half], 2 * s + 1));
                vbslq_u8(vdupq_n_u8(0x30), high, low)
            })
        });
        signed(quants)
    }

    type Scales = [[int32x4_t; 2]; 16];

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn products(p: *const u8, x: *const i8, x_sums: &[i32; 16]) -> [int32x4_t; 2] {
        // SAFETY: the upper bits follow 128 bytes of each row; the caller guarantees the activations and FEAT_DotProd.
        unsafe { one_token::six_bits(p, p.add(ROWS * 128), &Self::scales(p), x, x_sums) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn scales(p: *const u8) -> Self::Scales {
        // SAFETY: within the block: the scales follow 192 bytes of each row, four in a unit.
        let unit =
            |index: usize, half: usize| unsafe { load_16::<0>(p.add(ROWS * 192 + 32 * index + 16 * half)) };
        let [first, second] = [0, 1]
            .map(|half| [0, 1, 2, 3].map(|index| four_signed_bytes(vreinterpretq_s32_u8(unit(index, half)))));
        let mut scales = [[vdupq_n_s32(0); 2]; 16];
        for ((scales, first), second) in scales.as_chunks_mut::<4>().0.iter_mut().zip(first).zip(second) {
            *scales =
                [[first[0], second[0]], [first[1], second[1]], [first[2], second[2]], [first[3], second[3]]];
        }
        scales
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn mins(_p: *const u8) -> [[int32x4_t; 2]; 8] {
        [[vdupq_n_s32(0); 2]; 8]
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn d(p: *const u8) -> [Sums; 2] {
        // SAFETY: within the block: `d` follows 208 bytes of each row.
        [unsafe { load_f16x8(p.add(ROWS * 208)) }, [vdupq_n_f32(0.0); 2]]
    }
}
