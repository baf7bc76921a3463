//! The set for CPUs with FEAT_DotProd (Cortex-A76 and later): `SDOT`.

use super::file_order::{By, Dot};
use super::{neon, packed};
use crate::simd::Kernels;
use crate::simd::file_order::{self, Range};
use crate::simd::lanes::Work;
use core::arch::{aarch64::*, asm};

pub static KERNELS: Kernels = TABLE;

/// The table as a constant: faster sets copy the entries that they do not replace.
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
        // SAFETY: the caller guarantees FEAT_DotProd, as `Dot` requires.
        unsafe { sdot(vdupq_n_s32(0), w, x) }
    }

    #[inline(always)]
    unsafe fn dot_32(w: [int8x16_t; 2], x: [int8x16_t; 2], _range: Range) -> int32x4_t {
        // SAFETY: the caller guarantees FEAT_DotProd, as `Dot` requires.
        unsafe { sdot(sdot(vdupq_n_s32(0), w[0], x[0]), w[1], x[1]) }
    }

    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        #[target_feature(enable = "dotprod")]
        fn with_sdot<V>(work: impl Work<V>) {
            work.run();
        }
        // SAFETY: the caller guarantees FEAT_DotProd, as `Dot` requires.
        unsafe { with_sdot(work) }
    }
}

/// `SDOT`: adds the products of four pairs of 8-bit integers to each lane of `acc`.
///
/// # Safety
///
/// The CPU must have FEAT_DotProd.
#[inline(always)]
unsafe fn sdot(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: accesses registers only; the caller guarantees FEAT_DotProd.
    unsafe {
        asm!(
            // Lets the assembler accept `SDOT` in whichever function the compiler places this.
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
