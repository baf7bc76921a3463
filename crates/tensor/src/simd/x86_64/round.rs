//! Activations rounded to 8 bits.

use super::float::vector;
use crate::simd::{
    Q8Mut,
    scalar::{ROUNDING, scale_and_inverse},
};
use core::arch::x86_64::*;

/// Blocks of 32 values.
///
/// # Safety
///
/// The CPU must have AVX2, FMA and F16C.
pub unsafe fn quantize_32(x: &[f32], out: Q8Mut<'_>) {
    // SAFETY: the CPU has the features, as is asked of the caller.
    unsafe { blocks::<1>(x, out) }
}

/// Blocks of 256 values.
///
/// # Safety
///
/// The CPU must have AVX2, FMA and F16C.
pub unsafe fn quantize_256(x: &[f32], out: Q8Mut<'_>) {
    // SAFETY: the CPU has the features, as is asked of the caller.
    unsafe { blocks::<8>(x, out) }
}

/// Blocks of `N` times 32 values under one scale.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn blocks<const N: usize>(x: &[f32], out: Q8Mut<'_>) {
    let (x, _) = x.as_chunks::<32>();
    let (x, _) = x.as_chunks::<N>();
    let (quants, _) = out.quants.as_chunks_mut::<32>();
    let (quants, _) = quants.as_chunks_mut::<N>();
    let sums_per_block = out.sums.len() / x.len().max(1);
    let sums = out.sums.chunks_exact_mut(sums_per_block.max(1));
    for (((x, quants), scale), sums) in x.iter().zip(quants).zip(out.scales).zip(sums) {
        let largest =
            x.iter().fold(_mm256_setzero_si256(), |largest, x| _mm256_max_epu32(largest, magnitudes(x)));
        let (block_scale, inverse) = scale_and_inverse(amax(largest));
        *scale = block_scale;
        for (x, quants) in x.iter().zip(&mut *quants) {
            round_32(x, inverse, quants);
        }
        let (halves, _) = quants.as_flattened().as_chunks::<16>();
        // One sum for each 32 quants, or for each 16.
        for (sum, halves) in sums.iter_mut().zip(halves.chunks(2 * N / sums_per_block)) {
            *sum = halves.iter().map(sum_16).sum();
        }
    }
}

/// The bits of the largest of each four magnitudes: as integers they have the same order as the
/// numbers, and a NaN is above all of them.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn magnitudes(x: &[f32; 32]) -> __m256i {
    let (x, _) = x.as_chunks();
    let sign = _mm256_set1_epi32(i32::MIN);
    x.iter().fold(_mm256_setzero_si256(), |largest, x| {
        _mm256_max_epu32(largest, _mm256_andnot_si256(sign, _mm256_castps_si256(vector::<f32>(x))))
    })
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn amax(bits: __m256i) -> f32 {
    let bits = _mm_max_epu32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256::<1>(bits));
    let bits = _mm_max_epu32(bits, _mm_shuffle_epi32::<0b01_00_11_10>(bits));
    let bits = _mm_max_epu32(bits, _mm_shuffle_epi32::<0b10_11_00_01>(bits));
    f32::from_bits(_mm_cvtsi128_si32(bits) as u32)
}

/// Writes `x * inverse`, rounded with ties to even.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn round_32(x: &[f32; 32], inverse: f32, quants: &mut [i8; 32]) {
    let (x, _) = x.as_chunks();
    let [inverse, rounding] = [inverse, ROUNDING].map(|x| _mm256_set1_ps(x));
    // The integers are what is left of the bits without those of `rounding`.
    let round = |x| {
        _mm256_sub_epi32(
            _mm256_castps_si256(_mm256_fmadd_ps(vector::<f32>(x), inverse, rounding)),
            _mm256_castps_si256(rounding),
        )
    };
    let low = _mm256_packs_epi32(round(&x[0]), round(&x[1]));
    let high = _mm256_packs_epi32(round(&x[2]), round(&x[3]));
    // Packing works on each half apart: put the groups of four back into their order.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    // SAFETY: writes the 32 bytes of `quants`.
    unsafe { _mm256_storeu_si256(quants.as_mut_ptr().cast(), q) };
}

fn sum_16(quants: &[i8; 16]) -> i32 {
    i32::from(quants.iter().map(|&q| i16::from(q)).sum::<i16>())
}
