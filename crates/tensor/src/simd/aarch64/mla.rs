//! The set that multiplies packed weights in 16-bit lanes: `MLA`, part of base NEON.
//!
//! Each 32-bit lane holds four bytes of a row. They are split into two vectors of 16-bit lanes, one for bytes of even index,
//! one for odd, and so are the activations. A sum of up to 16 products fits its lane ([`products`]). An `MLA` does eight
//! products, no more than `SMLAL` and half as many as `SDOT`. But an emulator translates `MLA` to its host's vector
//! instructions, and calls a function for each of the others. It also calls one for each operation on floats; so f16 scales are
//! converted and, where that is exact, multiplied by the activations' scales, in integers.

use super::load::{load_16, next_16};
use super::neon;
use super::packed::{self, with_packed_type};
use super::packed256::{Weights256, add_block};
use super::rows::{Halves, Rows8, Sums, Weights32, without_offset};
use crate::blocks::GgmlType;
use crate::simd::Q8;
use crate::simd::table::{Kernels, PackedTileFn};
use core::arch::aarch64::*;
use core::marker::PhantomData;

pub static KERNELS: Kernels =
    Kernels { name: "mla", packing: Some(&packed::PACKING), packed_product: product, ..neon::TABLE };

fn product(ty: GgmlType) -> Option<PackedTileFn> {
    with_packed_type!(ty, W => packed::tile_by_fours::<Mla32<W>>, packed::tile_by_fours::<Mla256<W>>)
}

/// Converts scales in integers, except for one multiplication, which normalises subnormal numbers.
struct InIntegers;

impl Halves for InIntegers {
    #[inline(always)]
    unsafe fn next(p: &mut *const u8) -> Sums {
        // SAFETY: the caller guarantees the values; NEON is part of every target that this module is built for.
        unsafe {
            let bits = vreinterpretq_s16_u8(next_16(p));
            [to_f32(vmovl_s16(vget_low_s16(bits))), to_f32(vmovl_high_s16(bits))]
        }
    }
}

/// Converts f16 to f32; `bits` are those of f16, sign-extended to 32.
#[target_feature(enable = "neon")]
#[inline]
fn to_f32(bits: int32x4_t) -> float32x4_t {
    let bits = vandq_s32(vshlq_n_s32::<13>(bits), vdupq_n_s32(0x8fff_e000_u32 as i32));
    // The exponent's bias is 15 in f16 and 127 in f32.
    let number = vmulq_f32(vreinterpretq_f32_s32(bits), vdupq_n_f32((1_u128 << 112) as f32));
    // Infinities and NaN have the largest exponent in both formats.
    let largest = vceqq_s32(vandq_s32(bits, vdupq_n_s32(0x0f80_0000)), vdupq_n_s32(0x0f80_0000));
    let exponent = vandq_u32(largest, vdupq_n_u32(0x7f80_0000));
    vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(number), exponent))
}

/// Bytes in 16-bit lanes: those of even index, those of odd index.
type Pairs = [int16x8_t; 2];

/// Sign-extends bytes to 16-bit lanes, shifted right by `SHIFT - 8`.
#[target_feature(enable = "neon")]
#[inline]
fn pairs<const SHIFT: i32>(bytes: int8x16_t) -> Pairs {
    let both = vreinterpretq_s16_s8(bytes);
    [vshrq_n_s16::<SHIFT>(vshlq_n_s16::<8>(both)), vshrq_n_s16::<SHIFT>(both)]
}

/// The low nibbles of bytes, in 16-bit lanes.
#[target_feature(enable = "neon")]
#[inline]
fn low_nibbles(bytes: int8x16_t) -> Pairs {
    let (both, mask) = (vreinterpretq_u16_s8(bytes), vdupq_n_u16(0xf));
    [vandq_u16(both, mask), vandq_u16(vshrq_n_u16::<8>(both), mask)].map(|v| vreinterpretq_s16_u16(v))
}

/// The products of a token with the first and with the second four rows.
type Products<T> = [T; 2];

/// Adds the products of a unit of eight rows with lane `LANE` of the activations of `T` tokens.
#[target_feature(enable = "neon")]
#[inline]
fn add_unit<const LANE: i32, const T: usize>(
    sums: &mut [Products<int16x8_t>; T],
    w: [Pairs; 2],
    x: &[Pairs; T],
) {
    for (sums, x) in sums.iter_mut().zip(x) {
        for parity in 0..2 {
            let x = vreinterpretq_s16_s32(vdupq_laneq_s32::<LANE>(vreinterpretq_s32_s16(x[parity])));
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = vmlaq_s16(*sum, w[parity], x);
            }
        }
    }
}

/// Adds the products of 16 weights of eight rows with the activations at `x` to the 16-bit `sums`.
///
/// # Safety
///
/// 16 activations must be readable at each pointer of `x`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn add_16<const T: usize>(
    sums: &mut [Products<int16x8_t>; T],
    w: &[[int8x16_t; 2]; 4],
    x: [*const i8; T],
    split: impl Fn(int8x16_t) -> Pairs,
) {
    // SAFETY: the caller guarantees 16 activations at each pointer.
    let x = x.map(|x| pairs::<8>(vreinterpretq_s8_u8(unsafe { load_16::<0>(x.cast()) })));
    add_unit::<0, T>(sums, w[0].map(&split), &x);
    add_unit::<1, T>(sums, w[1].map(&split), &x);
    add_unit::<2, T>(sums, w[2].map(&split), &x);
    add_unit::<3, T>(sums, w[3].map(&split), &x);
}

/// The sum of the two 16-bit halves of each 32-bit lane.
#[target_feature(enable = "neon")]
#[inline]
fn fold(sums: int16x8_t) -> int32x4_t {
    let both = vreinterpretq_s32_s16(sums);
    vsraq_n_s32::<16>(vshrq_n_s32::<16>(both), vshlq_n_s32::<16>(both))
}

/// The products of 16 or 32 weights with the activations at `x`. The bytes of `w` are weights times `1 << (SHIFT - 8)`, and
/// `largest` is the largest magnitude of a weight.
///
/// # Safety
///
/// 16 activations for each element of `w` must be readable at each pointer of `x`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn products<const SHIFT: i32, const T: usize>(
    largest: i32,
    w: &[[[int8x16_t; 2]; 4]],
    x: [*const i8; T],
) -> [Products<int32x4_t>; T] {
    // SAFETY: the caller guarantees 16 activations for each element of `w`.
    unsafe {
        let zero = [[vdupq_n_s16(0); 2]; T];
        if largest > 32 {
            // The sum of three products with 8-bit weights can exceed 16 bits, so the high and low nibbles are multiplied
            // separately.
            let (mut high, mut low) = (zero, zero);
            for (i, w) in w.iter().enumerate() {
                add_16(&mut high, w, x.map(|x| x.add(16 * i)), |v| pairs::<12>(v));
            }
            for (i, w) in w.iter().enumerate() {
                add_16(&mut low, w, x.map(|x| x.add(16 * i)), |v| low_nibbles(v));
            }
            return core::array::from_fn(|t| {
                core::array::from_fn(|half| {
                    vaddq_s32(vshlq_n_s32::<4>(fold(high[t][half])), fold(low[t][half]))
                })
            });
        }
        // Each 16 weights of a row add 8 products to a lane.
        let at_once = if largest * 127 * 16 < 1 << 15 { 2 } else { 1 };
        let mut all = [[vdupq_n_s32(0); 2]; T];
        for (i, w) in w.chunks(at_once).enumerate() {
            let mut sums = zero;
            for (j, w) in w.iter().enumerate() {
                add_16(&mut sums, w, x.map(|x| x.add(16 * (at_once * i + j))), |v| pairs::<SHIFT>(v));
            }
            for (all, sums) in all.iter_mut().zip(sums) {
                *all = [0, 1].map(|half| vaddq_s32(all[half], fold(sums[half])));
            }
        }
        all
    }
}

/// Rows of weights in blocks of 32.
struct Mla32<W>(PhantomData<W>);

impl<W: Weights32> Rows8 for Mla32<W> {
    const LEN: usize = 32;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn product<const T: usize>(mut w: *const u8, n_blocks: usize, x: &Q8<'_>) -> [Sums; T] {
        let mut sums = [[vdupq_n_f32(0.0); 2]; T];
        let mut not_finite = [false; T];
        // SAFETY: within the tokens' arrays, or at their ends.
        let (mut quants, mut scales): ([_; T], [_; T]) = unsafe {
            (
                core::array::from_fn(|t| x.quants.as_ptr().add(t * x.cols)),
                core::array::from_fn(|t| x.scales.as_ptr().add(t * n_blocks)),
            )
        };
        for block in 0..n_blocks {
            // SAFETY: the loop reads each of the rows' and the tokens' blocks once; the caller guarantees `n_blocks` of them.
            unsafe {
                let group = W::next::<InIntegers>(&mut w);
                let w = without_offset(group.quants, W::OFFSET);
                let (w, _) = w.as_chunks::<4>();
                let products = match W::UNIT {
                    1.0 => products::<8, T>(W::LARGEST, w, quants),
                    _ => products::<12, T>(W::LARGEST, w, quants),
                };
                quants = quants.map(|quants| quants.add(32));
                for t in 0..T {
                    let scale = *scales[t];
                    scales[t] = scales[t].add(1);
                    not_finite[t] |= scale.to_bits() == f32::NAN.to_bits();
                    for half in 0..2 {
                        let sum = &mut sums[t][half];
                        *sum = match W::SMALL {
                            true => add_small(*sum, products[t][half], group.scales[half], scale),
                            false => vfmaq_f32(
                                *sum,
                                vcvtq_f32_s32(products[t][half]),
                                vmulq_n_f32(group.scales[half], scale),
                            ),
                        };
                        if W::MINS {
                            let x_sum = x.sums[t * n_blocks + block] as f32;
                            *sum = vfmaq_n_f32(*sum, vmulq_n_f32(group.mins[half], scale), x_sum);
                        }
                    }
                }
            }
        }
        for (sums, not_finite) in sums.iter_mut().zip(not_finite) {
            if W::SMALL && not_finite {
                *sums = [vdupq_n_f32(f32::NAN); 2];
            }
        }
        sums
    }
}

/// `sum + products * (w_scale * x_scale)`, rounded once, for a finite `x_scale`.
///
/// It is computed as `products * m * (w_scale * 2^e)`, where `x_scale = m * 2^e` and `m` has eight bits. Both factors of the
/// `FMLA` are exact: the first is a product of integers, the second adds exponents.
#[target_feature(enable = "neon")]
#[inline]
fn add_small(sum: float32x4_t, products: int32x4_t, w_scale: float32x4_t, x_scale: f32) -> float32x4_t {
    const BIAS_AND_BITS: i32 = (127 + 7) << 23;
    let bits = x_scale.to_bits() as i32;
    let significand = 0x80 | bits >> 16 & 0x7f;
    // If the scale is zero, so are all activations.
    let exponent = if bits == 0 { 0 } else { (bits & 0x7f80_0000) - BIAS_AND_BITS };
    let w_scale = vreinterpretq_s32_f32(w_scale);
    // Zero has no exponent to add to, so its products are cleared.
    let is_zero = vceqzq_s32(vshlq_n_s32::<1>(w_scale));
    let products = vmulq_s32(products, vdupq_n_s32(significand));
    let products = vbicq_s32(products, vreinterpretq_s32_u32(is_zero));
    let factor = vreinterpretq_f32_s32(vaddq_s32(w_scale, vdupq_n_s32(exponent)));
    vfmaq_f32(sum, vcvtq_f32_s32(products), factor)
}

/// Rows of weights in blocks of 256 with integer scales.
struct Mla256<W>(PhantomData<W>);

impl<W: Weights256> Rows8 for Mla256<W> {
    const LEN: usize = 256;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: &Q8<'_>) -> [Sums; T] {
        let mut sums = [[vdupq_n_f32(0.0); 2]; T];
        for block in 0..n_blocks {
            // SAFETY: the loops read the blocks of rows and tokens that the caller guarantees; from one token to the next there
            // are `cols` quants, `n_blocks` scales and `16 * n_blocks` sums.
            unsafe {
                let w = w.add(block * W::BYTES);
                let x_at: [usize; T] = core::array::from_fn(|t| t * n_blocks + block);
                let scales = W::scales(w);
                let mut all = [[vdupq_n_s32(0); 2]; T];
                for j in 0..8 {
                    let quants = without_offset(W::quants(w, j), W::OFFSET);
                    let (quants, _) = quants.as_chunks::<4>();
                    let x = x_at.map(|at| x.quants.as_ptr().add(256 * at + 32 * j));
                    match W::HALVES {
                        true => {
                            for half in 0..2 {
                                let products = products::<8, T>(
                                    W::LARGEST,
                                    &quants[half..=half],
                                    x.map(|x| x.add(16 * half)),
                                );
                                add_scaled(&mut all, products, scales.as_ref()[2 * j + half]);
                            }
                        }
                        false => {
                            add_scaled(&mut all, products::<8, T>(W::LARGEST, quants, x), scales.as_ref()[j])
                        }
                    }
                }
                for t in 0..T {
                    let x_sums = &*x.sums.as_ptr().add(16 * x_at[t]).cast();
                    add_block::<W>(w, all[t], x_sums, *x.scales.as_ptr().add(x_at[t]), &mut sums[t]);
                }
            }
        }
        sums
    }
}

/// Adds products times the integer scales of their rows to `all`.
#[target_feature(enable = "neon")]
#[inline]
fn add_scaled<const T: usize>(
    all: &mut [Products<int32x4_t>; T],
    products: [Products<int32x4_t>; T],
    scales: [int32x4_t; 2],
) {
    for (all, products) in all.iter_mut().zip(products) {
        *all = [0, 1].map(|half| vmlaq_s32(all[half], products[half], scales[half]));
    }
}
