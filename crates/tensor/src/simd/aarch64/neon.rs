//! The set for CPUs with base NEON only (Cortex-A53, A72): `SMULL`, `SMLAL`, `SADALP`.

use super::file_order::{Dot, Range, Weights32, Weights256, tile_32, tile_256};
use super::{
    dispatch::{self, Set},
    lanes::F32x8,
};
use crate::simd::attention_f32::Single;
use crate::simd::elementwise::Elementwise;
use crate::simd::float_product;
use crate::simd::quads::Four;
use crate::simd::quantize::quantize;
use crate::simd::recurrence::Recurrence;
use crate::simd::table::{AttendFns, Kernels};
use crate::simd::{Q8, tiles::Tile};
use core::arch::aarch64::*;

pub static KERNELS: Kernels = TABLE;

/// The table as a constant, from which faster sets take what they do not replace.
pub const TABLE: Kernels = Kernels {
    name: "neon",
    // SAFETY: NEON is part of every target that this module is built for.
    elementwise: unsafe { Elementwise::of::<F32x8>() },
    attend: AttendFns::of::<F32x8, Single>(),
    // SAFETY: NEON is part of every target that this module is built for.
    recurrence: unsafe { Recurrence::of::<F32x8, Four<F32x8>>() },
    quantize: quantize::<F32x8>,
    float_product: float_product::product::<Four<F32x8>, 1, 2>,
    product: dispatch::product::<Widening>,
    packing: None,
    packed_product: |_| None,
};

/// Products widened to 16 bits, added in pairs to 32.
struct Widening;

impl Set for Widening {
    unsafe fn product_32<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        // SAFETY: every CPU that this target is for has these instructions.
        unsafe { tile_32::<Widening, W>(w, x, out) }
    }

    unsafe fn product_256<W: Weights256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        // SAFETY: every CPU that this target is for has these instructions.
        unsafe { tile_256::<Widening, W>(w, x, out) }
    }
}

impl Dot for Widening {
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn dot_16(w: int8x16_t, x: int8x16_t) -> int32x4_t {
        // Two products of at most 128 * 127 fit 16 bits.
        let low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
        vpaddlq_s16(vmlal_high_s8(low, w, x))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn dot_32(w: [int8x16_t; 2], x: [int8x16_t; 2], range: Range) -> int32x4_t {
        let first = vmlal_high_s8(vmull_s8(vget_low_s8(w[0]), vget_low_s8(x[0])), w[0], x[0]);
        match range {
            Range::Small => {
                let sum = vmlal_s8(first, vget_low_s8(w[1]), vget_low_s8(x[1]));
                vpaddlq_s16(vmlal_high_s8(sum, w[1], x[1]))
            }
            Range::Full => {
                let second = vmull_s8(vget_low_s8(w[1]), vget_low_s8(x[1]));
                vpadalq_s16(vpaddlq_s16(first), vmlal_high_s8(second, w[1], x[1]))
            }
        }
    }
}
