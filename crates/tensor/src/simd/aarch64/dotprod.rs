//! The set for CPUs with FEAT_DotProd (Cortex-A76 and later): `SDOT`.

use super::file_order::{Dot, Range, Weights32, Weights256, tile_32, tile_256};
use super::{
    dispatch::{self, Set},
    neon, packed,
};
use crate::simd::{Kernels, Q8, tiles::Tile};
use core::arch::{aarch64::*, asm};

pub static KERNELS: Kernels = TABLE;

/// The table as a constant, from which faster sets take what they do not replace.
pub const TABLE: Kernels = Kernels {
    name: "dotprod",
    product: dispatch::product::<Sdot>,
    packing: Some(&packed::PACKING),
    packed_product: packed::product,
    ..neon::TABLE
};

/// `SDOT`, whose intrinsic is not stable.
struct Sdot;

impl Set for Sdot {
    unsafe fn product_32<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        #[target_feature(enable = "dotprod")]
        fn with_sdot<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
            // SAFETY: the feature is enabled for this function.
            unsafe { tile_32::<Sdot, W>(w, x, out) }
        }
        // SAFETY: the CPU has `SDOT`, as `Set` asks of the caller.
        unsafe { with_sdot::<W>(w, x, out) }
    }

    unsafe fn product_256<W: Weights256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        #[target_feature(enable = "dotprod")]
        fn with_sdot<W: Weights256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
            // SAFETY: the feature is enabled for this function.
            unsafe { tile_256::<Sdot, W>(w, x, out) }
        }
        // SAFETY: the CPU has `SDOT`, as `Set` asks of the caller.
        unsafe { with_sdot::<W>(w, x, out) }
    }
}

impl Dot for Sdot {
    #[inline(always)]
    unsafe fn dot_16(w: int8x16_t, x: int8x16_t) -> int32x4_t {
        // SAFETY: the CPU has the instruction, as `Dot` asks of the caller.
        unsafe { sdot(vdupq_n_s32(0), w, x) }
    }

    #[inline(always)]
    unsafe fn dot_32(w: [int8x16_t; 2], x: [int8x16_t; 2], _range: Range) -> int32x4_t {
        // SAFETY: the CPU has the instruction, as `Dot` asks of the caller.
        unsafe { sdot(sdot(vdupq_n_s32(0), w[0], x[0]), w[1], x[1]) }
    }
}

/// Adds the products of four pairs of integers to each lane.
///
/// # Safety
///
/// The CPU has the instruction.
#[inline(always)]
unsafe fn sdot(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: computes on registers alone.
    unsafe {
        asm!(
            // Whatever function the compiler puts this in before it inlines it.
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {w:v}.16b, {x:v}.16b",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}
