//! The set for CPUs with AVX2, FMA and F16C: `VPMADDUBSW`, `VPMADDWD`.

use super::file_order::{Dot, Weights32, tile_32, tile_256};
use super::{
    dispatch::{self, Set},
    lanes::F32x8,
};
use crate::blocks::Block256;
use crate::simd::attention_f32::Single;
use crate::simd::elementwise::Elementwise;
use crate::simd::float_product;
use crate::simd::quads::Four;
use crate::simd::quantize::quantize;
use crate::simd::recurrence::Recurrence;
use crate::simd::table::{AttendFns, Kernels};
use crate::simd::{Q8, tiles::Tile};
use core::arch::x86_64::*;

pub static KERNELS: Kernels = TABLE;

/// The table as a constant, from which faster sets take what they do not replace.
pub const TABLE: Kernels = Kernels {
    name: "avx2",
    // SAFETY: the table is given out only where the CPU has AVX2, FMA and F16C.
    elementwise: unsafe { Elementwise::of::<F32x8>() },
    attend: AttendFns::of::<F32x8, Single>(),
    // SAFETY: the table is given out only where the CPU has AVX2, FMA and F16C.
    recurrence: unsafe { Recurrence::of::<F32x8, Four<F32x8>>() },
    quantize: quantize::<F32x8>,
    float_product: float_product::product::<Four<F32x8>, 1, 2>,
    product: dispatch::product::<Widening>,
    packing: None,
    packed_product: |_| None,
};

/// Pairs of products in 16 bits, added in pairs to 32.
pub struct Widening;

impl Set for Widening {
    unsafe fn product_32<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_avx2<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
            // SAFETY: the features are enabled for this function.
            unsafe { tile_32::<Widening, W>(w, x, out) }
        }
        // SAFETY: the CPU has AVX2, FMA and F16C, as `Set` asks of the caller.
        unsafe { with_avx2::<W>(w, x, out) }
    }

    // Blocks of 256: their integer scales are applied to 16-bit sums, which VNNI does not have.
    unsafe fn product_256<B: Block256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_avx2<B: Block256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
            // SAFETY: the features are enabled for this function.
            unsafe { tile_256::<B>(w, x, out) }
        }
        // SAFETY: the CPU has AVX2, FMA and F16C, as `Set` asks of the caller.
        unsafe { with_avx2::<B>(w, x, out) }
    }
}

impl Dot for Widening {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn dot_unsigned(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        let pairs = _mm256_maddubs_epi16(w, x);
        _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}
