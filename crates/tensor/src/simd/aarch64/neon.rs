//! The set for CPUs with base NEON only (Cortex-A53, A72): `SMULL`, `SMLAL`, `SADALP`.

use super::file_order::{By, Dot};
use super::lanes::F32x8;
use crate::simd::attention_f32::Single;
use crate::simd::file_order::{self, Range};
use crate::simd::float_product::product;
use crate::simd::lanes::Work;
use crate::simd::quads::Four;
use crate::simd::table::Kernels;
use core::arch::aarch64::*;

pub static KERNELS: Kernels = TABLE;

/// The table as a constant: faster sets copy the entries that they do not replace.
pub const TABLE: Kernels = {
    let (product, float_product) = (file_order::product::<By<Widening>>, product::<Four<F32x8>, 1, 2>);
    // SAFETY: NEON is part of every target that this module is built for.
    unsafe { Kernels::of::<F32x8, Single>("neon", product, float_product) }
};

/// Multiplies to 16 bits, then adds pairs of products to 32 bits.
struct Widening;

impl Dot for Widening {
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn dot_16(w: int8x16_t, x: int8x16_t) -> int32x4_t {
        // The sum of two products of at most 128 * 127 fits 16 bits.
        let low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
        vpaddlq_s16(vmlal_high_s8(low, w, x))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn dot_32(w: [int8x16_t; 2], x: [int8x16_t; 2], range: Range) -> int32x4_t {
        let first = vmlal_high_s8(vmull_s8(vget_low_s8(w[0]), vget_low_s8(x[0])), w[0], x[0]);
        match range {
            Range::Unsigned | Range::Small => {
                let sum = vmlal_s8(first, vget_low_s8(w[1]), vget_low_s8(x[1]));
                vpaddlq_s16(vmlal_high_s8(sum, w[1], x[1]))
            }
            Range::Full => {
                let second = vmull_s8(vget_low_s8(w[1]), vget_low_s8(x[1]));
                vpadalq_s16(vpaddlq_s16(first), vmlal_high_s8(second, w[1], x[1]))
            }
        }
    }

    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        work.run();
    }
}
