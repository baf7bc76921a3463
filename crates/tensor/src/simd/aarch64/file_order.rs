//! Integer products of weights in file order: the code that NEON's sets share, over the [`Dot`] of each.

use super::load::load_16;
use super::weights32::{self, Neon};
use super::weights256;
use crate::blocks::{GgmlType, Group256};
use crate::simd::file_order::{Range, Set, Weights32, Weights256, tile_32, tile_256};
use crate::simd::lanes::Work;
use crate::simd::table::TileFn;
use core::arch::aarch64::*;
use core::marker::PhantomData;

/// How a set multiplies and adds 8-bit integers.
pub trait Dot {
    /// Four partial sums of the products of 16 integers.
    ///
    /// # Safety
    ///
    /// The CPU must have the set's instruction.
    unsafe fn dot_16(w: int8x16_t, x: int8x16_t) -> int32x4_t;

    /// Four partial sums of the products of 32 integers.
    ///
    /// # Safety
    ///
    /// The CPU must have the set's instruction.
    unsafe fn dot_32(w: [int8x16_t; 2], x: [int8x16_t; 2], range: Range) -> int32x4_t;

    /// Runs `work`, compiled for the set's instruction.
    ///
    /// # Safety
    ///
    /// The CPU must have it.
    unsafe fn enter<V>(work: impl Work<V>);
}

/// The set that multiplies with `D`.
pub struct By<D>(PhantomData<D>);

impl<D: Dot> Set for By<D> {
    type Vectors = Neon;
    type Blocks = ();
    const TOKENS: usize = 4;

    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        // SAFETY: the caller guarantees that the CPU has the instruction.
        unsafe { D::enter(work) }
    }

    fn own_product(ty: GgmlType) -> Option<TileFn> {
        Some(match ty {
            GgmlType::Q4_0 => tile_32::<Self, weights32::Q4_0>,
            GgmlType::Q4_1 => tile_32::<Self, weights32::Q4_1>,
            GgmlType::Q5_0 => tile_32::<Self, weights32::Q5_0>,
            GgmlType::Q5_1 => tile_32::<Self, weights32::Q5_1>,
            GgmlType::Q8_0 => tile_32::<Self, weights32::Q8_0>,
            GgmlType::IQ4_NL => tile_32::<Self, weights32::Iq4Nl>,
            GgmlType::MXFP4 => tile_32::<Self, weights32::Mxfp4>,
            GgmlType::Q2_K => tile_256::<Self, weights256::Q2K>,
            GgmlType::Q3_K => tile_256::<Self, weights256::Q3K>,
            GgmlType::Q4_K => tile_256::<Self, weights256::Q4K>,
            GgmlType::Q5_K => tile_256::<Self, weights256::Q5K>,
            GgmlType::Q6_K => tile_256::<Self, weights256::Q6K>,
            GgmlType::IQ4_XS => tile_256::<Self, weights256::Iq4Xs>,
            _ => return None,
        })
    }

    /// Three or four tokens share weights from which the offset is subtracted once; with fewer, `dots` subtracts it from the
    /// products.
    #[inline(always)]
    fn for_tokens<W: Weights32<Vectors = Neon>, const T: usize>(
        w: [[int8x16_t; 2]; 4],
    ) -> [[int8x16_t; 2]; 4] {
        if T <= 2 || W::OFFSET == 0 {
            return w;
        }
        // SAFETY: NEON is part of every target that this module is built for.
        unsafe {
            let offset = vdupq_n_s8(W::OFFSET as i8);
            w.map(|row| row.map(|quants| vsubq_s8(quants, offset)))
        }
    }

    #[inline(always)]
    unsafe fn dots<W: Weights32<Vectors = Neon>, const T: usize>(
        w: &[[int8x16_t; 2]; 4],
        x: [int8x16_t; 2],
        x_sum: *const i32,
    ) -> float32x4_t {
        // SAFETY: by `Set`'s contract this runs only where the CPU has the instruction; the caller guarantees `x_sum`.
        unsafe {
            let mut dots = fold(core::array::from_fn(|r| D::dot_32(w[r], x, W::RANGE)));
            if T <= 2 && W::OFFSET != 0 {
                dots = vsubq_s32(dots, vdupq_n_s32(*x_sum * W::OFFSET));
            }
            vcvtq_f32_s32(dots)
        }
    }

    #[inline(always)]
    fn half_dots(w: &[[int8x16_t; 2]; 4], x: [int8x16_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: by `Set`'s contract this runs only where the CPU has the instruction.
        let dots = |half: usize| unsafe {
            vcvtq_f32_s32(fold(core::array::from_fn(|r| D::dot_16(w[r][half], x[half]))))
        };
        [dots(0), dots(1)]
    }

    #[inline(always)]
    fn blocks(_groups: &[Group256; 4]) {}

    #[inline(always)]
    fn block_dots<W: Weights256>(rows: &[Group256; 4], _blocks: &(), x: &[i8; 256]) -> float32x4_t {
        // SAFETY: reads only the 256 quants and 16 scales of each group, whose alignment is 32, and the 256 of `x`. By `Set`'s
        // contract this runs only where the CPU has the instruction.
        unsafe {
            let mut sums = [vdupq_n_s32(0); 4];
            for (j, x) in x.as_chunks::<32>().0.iter().enumerate() {
                let load = |p: *const i8| vreinterpretq_s8_u8(load_16::<0>(p.cast()));
                let x = [load(x.as_ptr()), load(x.as_ptr().add(16))];
                each_below!(4 in 0 1 2 3, |r| {
                    let (sum, row) = (&mut sums[r], &rows[r]);
                    let w = row.quants.as_ptr().add(32 * j).cast::<int8x16_t>();
                    let (w, scales) = ([w.read(), w.add(1).read()], &row.scales[2 * j..2 * j + 2]);
                    if W::PAIRED {
                        *sum = vmlaq_n_s32(*sum, D::dot_32(w, x, W::RANGE), i32::from(scales[0]));
                    } else {
                        *sum = vmlaq_n_s32(*sum, D::dot_16(w[0], x[0]), i32::from(scales[0]));
                        *sum = vmlaq_n_s32(*sum, D::dot_16(w[1], x[1]), i32::from(scales[1]));
                    }
                });
            }
            vcvtq_f32_s32(fold(sums))
        }
    }

    #[inline(always)]
    fn min_dots(rows: &[Group256; 4], _blocks: &(), x_sums: &[i32; 16]) -> float32x4_t {
        // SAFETY: reads only the 16 minimums of each group, whose alignment is 32, and `x_sums`. NEON is part of every target
        // that this module is built for.
        unsafe {
            let mut sums = [vdupq_n_s32(0); 4];
            for (j, x_sums) in x_sums.as_chunks::<4>().0.iter().enumerate() {
                let x_sums = vreinterpretq_s32_u8(load_16::<0>(x_sums.as_ptr().cast()));
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let mins = row.mins.as_ptr().add(4 * j).cast::<int16x4_t>().read();
                    *sum = vmlaq_s32(*sum, vmovl_s16(mins), x_sums);
                }
            }
            vcvtq_f32_s32(fold(sums))
        }
    }
}

/// Lane `i` of the result is the sum of `v[i]`.
#[target_feature(enable = "neon")]
#[inline]
fn fold(v: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]))
}
