//! The set for CPUs with FEAT_DotProd (Cortex-A76 and later): `SDOT`.

use super::file_order::{By, Dot};
use super::{neon, packed};
use crate::simd::Kernels;
use crate::simd::file_order::{self, Range};
use crate::simd::lanes::Work;
use core::arch::{aarch64::*, asm};

pub static KERNELS: Kernels = TABLE;

/// The table as a constant, from which faster sets take what they do not replace.
pub const TABLE: Kernels = Kernels {
    name: "dotprod",
    product: file_order::product::<By<Sdot>>,
    packing: Some(&packed::PACKING),
    packed_product: packed::product,
    ..neon::TABLE
};

/// `SDOT`, whose intrinsic is not stable.
struct Sdot;

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

    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        #[target_feature(enable = "dotprod")]
        fn with_sdot<V>(work: impl Work<V>) {
            work.run();
        }
        // SAFETY: the CPU has the instruction, as is asked of the caller.
        unsafe { with_sdot(work) }
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
