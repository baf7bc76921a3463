//! The set for CPUs with AVX-512 VNNI: `VPDPBUSD` on vectors of 256 bits.

use super::file_order::{Dot, Weights32, tile_32};
use super::{
    avx2,
    dispatch::{self, Set},
    lanes::F32x8,
    packed,
    quads::TwoTwice,
};
use crate::blocks::Block256;
use crate::simd::float_product;
use crate::simd::recurrence::Recurrence;
use crate::simd::{Kernels, Q8, tiles::Tile};
use core::arch::x86_64::*;

pub static KERNELS: Kernels = Kernels {
    name: "avx512-vnni",
    // Sums in 24 of the 32 registers.
    float_product: float_product::product::<TwoTwice, 2, 6>,
    product: dispatch::product::<Vnni>,
    // SAFETY: the table is given out only where the CPU has AVX2, FMA, F16C and AVX-512 F and VL.
    recurrence: unsafe { Recurrence::of::<F32x8, TwoTwice>() },
    packing: Some(&packed::PACKING),
    packed_product: packed::product,
    ..avx2::TABLE
};

/// Four products added to 32 bits at once.
struct Vnni;

impl Set for Vnni {
    unsafe fn product_32<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        #[target_feature(enable = "avx2,fma,f16c,avx512vl,avx512vnni")]
        fn with_vnni<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
            // SAFETY: the features are enabled for this function.
            unsafe { tile_32::<Vnni, W>(w, x, out) }
        }
        // SAFETY: the CPU has AVX2, FMA, F16C and AVX-512 VL and VNNI, as `Set` asks of the caller.
        unsafe { with_vnni::<W>(w, x, out) }
    }

    // Integer scales are applied to 16-bit sums, which VNNI does not have.
    unsafe fn product_256<B: Block256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        // SAFETY: the CPU has AVX2, FMA and F16C, as `Set` asks of the caller of a set that has more.
        unsafe { avx2::Widening::product_256::<B>(w, x, out) }
    }
}

impl Dot for Vnni {
    #[target_feature(enable = "avx512vl,avx512vnni")]
    #[inline]
    unsafe fn dot_unsigned(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        _mm256_dpbusd_epi32(acc, w, x)
    }
}
