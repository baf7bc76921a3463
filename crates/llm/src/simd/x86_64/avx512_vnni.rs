//! The set for CPUs with AVX-512 VNNI: `VPDPBUSD` on vectors of 256 bits.

use super::product::{Dot, Weights32, tile_32};
use super::{avx2, weights32};
use crate::blocks::{GgmlType, with_block_of};
use crate::simd::{Kernels, Q8, TileFn, tiles::Tile};
use core::arch::x86_64::*;

pub static KERNELS: Kernels = Kernels { name: "avx512-vnni", product, ..avx2::TABLE };

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
            Block256 => avx2::product_256::<B>,
            _ => return None,
        ),
    })
}

fn product_32<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
    #[target_feature(enable = "avx2,fma,f16c,avx512vl,avx512vnni")]
    fn with_vnni<W: Weights32>(w: &[u8], x: Q8<'_>, out: &mut Tile<'_>) {
        // SAFETY: the features are enabled for this function.
        unsafe { tile_32::<Vnni, W>(w, x, out) }
    }
    // SAFETY: only `KERNELS` names this function, and who holds that has made sure of the features.
    unsafe { with_vnni::<W>(w, x, out) }
}

/// Four products added to 32 bits at once.
struct Vnni;

impl Dot for Vnni {
    #[target_feature(enable = "avx512vl,avx512vnni")]
    #[inline]
    unsafe fn dot_unsigned(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        _mm256_dpbusd_epi32(acc, w, x)
    }
}
