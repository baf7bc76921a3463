//! The set for CPUs with AVX2, FMA and F16C: `VPMADDUBSW`, `VPMADDWD`.

use super::product::{Dot, Weights32, tile_32, tile_256};
use super::{float, float_product, round, weights32};
use crate::blocks::{Block256, GgmlType, with_block_of};
use crate::simd::{FloatTileFn, Kernels, Q8, TileFn, tiles::Tile};
use core::arch::x86_64::*;
use half::{bf16, f16};

pub static KERNELS: Kernels = TABLE;

/// The table as a constant, from which faster sets take what they do not replace.
pub const TABLE: Kernels = Kernels {
    name: "avx2",
    dot_f32: float::dot_f32,
    dot_f16: float::dot_f16,
    add_scaled_f32: float::add_scaled_f32,
    add_scaled_f16: float::add_scaled_f16,
    quantize_32: round::quantize_32,
    quantize_256: round::quantize_256,
    float_product: product_float,
    product,
};

fn product_float(ty: GgmlType) -> Option<FloatTileFn> {
    match ty {
        GgmlType::F32 => Some(float_product::tile::<f32>),
        GgmlType::F16 => Some(float_product::tile::<f16>),
        GgmlType::BF16 => Some(float_product::tile::<bf16>),
        _ => None,
    }
}

fn product(ty: GgmlType) -> Option<TileFn> {
    Some(match ty {
        GgmlType::Q4_0 => product_32::<weights32::Q4_0>,
        GgmlType::Q4_1 => product_32::<weights32::Q4_1>,
        GgmlType::Q5_0 => product_32::<weights32::Q5_0>,
        GgmlType::Q5_1 => product_32::<weights32::Q5_1>,
        GgmlType::Q8_0 => product_32::<weights32::Q8_0>,
        _ => with_block_of!(
            ty,
            Block32 => product_32::<weights32::Unpacked<B>>,
            Block256 => product_256::<B>,
            _ => return None,
        ),
    })
}

fn product_32<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn with_avx2<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        // SAFETY: the features are enabled for this function.
        unsafe { tile_32::<Widening, W>(w, x, out) }
    }
    // SAFETY: only `KERNELS` names this function, and who holds that has made sure of the features.
    unsafe { with_avx2::<W>(w, x, out) }
}

/// Blocks of 256: their integer scales are applied to 16-bit sums, which VNNI does not have.
pub fn product_256<B: Block256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn with_avx2<B: Block256>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        // SAFETY: the features are enabled for this function.
        unsafe { tile_256::<B>(w, x, out) }
    }
    // SAFETY: only tables that need the features name this function.
    unsafe { with_avx2::<B>(w, x, out) }
}

/// Pairs of products in 16 bits, added in pairs to 32.
struct Widening;

impl Dot for Widening {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn dot_unsigned(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        let pairs = _mm256_maddubs_epi16(w, x);
        _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}
