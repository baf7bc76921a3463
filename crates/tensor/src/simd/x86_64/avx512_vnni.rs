//! The set for CPUs with AVX-512 VNNI: `VPDPBUSD` on vectors of 256 bits.

use super::file_order::{By, Dot};
use super::{avx2, lanes::F32x8, packed, quads::TwoTwice};
use crate::simd::Kernels;
use crate::simd::file_order;
use crate::simd::float_product;
use crate::simd::lanes::Work;
use crate::simd::recurrence::Recurrence;
use core::arch::x86_64::*;

pub static KERNELS: Kernels = Kernels {
    name: "avx512-vnni",
    // Two groups of rows times six tokens: sums in 24 of the 32 registers.
    float_product: float_product::product::<TwoTwice, 2, 6>,
    product: file_order::product::<By<Vnni>>,
    // SAFETY: `Kernels::available` gives the table out only if the CPU has AVX2, FMA, F16C and AVX-512 F and VL.
    recurrence: unsafe { Recurrence::of::<F32x8, TwoTwice>() },
    packing: Some(&packed::PACKING),
    packed_product: packed::product,
    ..avx2::TABLE
};

/// Adds four products at once to 32 bits.
struct Vnni;

impl Dot for Vnni {
    #[target_feature(enable = "avx512vl,avx512vnni")]
    #[inline]
    unsafe fn dot_unsigned(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        _mm256_dpbusd_epi32(acc, w, x)
    }

    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        #[target_feature(enable = "avx2,fma,f16c,avx512vl,avx512vnni")]
        fn with_vnni<V>(work: impl Work<V>) {
            work.run();
        }
        // SAFETY: the caller guarantees AVX2, FMA, F16C and AVX-512 VL and VNNI.
        unsafe { with_vnni(work) }
    }
}
