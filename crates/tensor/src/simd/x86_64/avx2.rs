//! The set for CPUs with AVX2, FMA and F16C: `VPMADDUBSW`, `VPMADDWD`.

use super::file_order::{By, Dot};
use super::lanes::F32x8;
use crate::simd::attention_f32::Single;
use crate::simd::file_order;
use crate::simd::float_product::product;
use crate::simd::lanes::Work;
use crate::simd::quads::Four;
use crate::simd::table::Kernels;
use core::arch::x86_64::*;

pub static KERNELS: Kernels = TABLE;

/// The table as a constant: faster sets copy the entries that they do not replace.
pub const TABLE: Kernels = {
    let (product, float_product) = (file_order::product::<By<Widening>>, product::<Four<F32x8>, 1, 2>);
    // SAFETY: `Kernels::available` gives the table out only if the CPU has AVX2, FMA and F16C.
    unsafe { Kernels::of::<F32x8, Single>("avx2", product, float_product) }
};

/// Adds pairs of products in 16 bits, then pairs of these sums in 32 bits.
struct Widening;

impl Dot for Widening {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn dot_unsigned(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        let pairs = _mm256_maddubs_epi16(w, x);
        _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }

    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_avx2<V>(work: impl Work<V>) {
            work.run();
        }
        // SAFETY: the caller guarantees AVX2, FMA and F16C.
        unsafe { with_avx2(work) }
    }
}
