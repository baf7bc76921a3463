//! Products of float vectors.

use crate::simd::lanes::LANES;
use core::arch::x86_64::*;
use half::{bf16, f16};

/// A type of floats in memory.
pub trait Float: Copy + Default {
    /// Eight of them, at any address.
    ///
    /// # Safety
    ///
    /// They must be readable, and the CPU must have AVX2, FMA and F16C.
    unsafe fn load(p: *const Self) -> __m256;
}

impl Float for f32 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(p: *const Self) -> __m256 {
        // SAFETY: the caller vouches for the values.
        unsafe { _mm256_loadu_ps(p) }
    }
}

impl Float for f16 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(p: *const Self) -> __m256 {
        // SAFETY: the caller vouches for the values.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) })
    }
}

impl Float for bf16 {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn load(p: *const Self) -> __m256 {
        // SAFETY: the caller vouches for the values.
        let bits = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(p.cast()) });
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
    }
}

/// Eight values as a vector.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub fn vector<F: Float>(x: &[F; LANES]) -> __m256 {
    // SAFETY: the array holds them, and the features are enabled here.
    unsafe { F::load(x.as_ptr()) }
}

/// `Σ a[i] * b[i]`.
///
/// # Safety
///
/// The CPU must have AVX2, FMA and F16C.
pub unsafe fn dot<F: Float>(a: &[f32], b: &[F]) -> f32 {
    // SAFETY: the CPU has the features, as is asked of the caller.
    unsafe { sum_of_products(a, b) }
}

/// The last elements, with zeros behind them.
pub fn padded<F: Float>(rest: &[F]) -> [F; LANES] {
    let mut padded = [F::default(); LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

/// Lane `i` is the sum of vector `i`'s lanes: halves first, then neighbours, as the definition does.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub fn fold(v: [__m256; 4]) -> __m128 {
    let [a, b, c, d] = v.map(|v| _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v)));
    _mm_hadd_ps(_mm_hadd_ps(a, b), _mm_hadd_ps(c, d))
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn sum_of_products<F: Float>(a: &[f32], b: &[F]) -> f32 {
    let (a, a_rest) = a.as_chunks();
    let (b, b_rest) = b.as_chunks();
    let mut sum = _mm256_setzero_ps();
    for (a, b) in a.iter().zip(b) {
        sum = _mm256_fmadd_ps(vector::<f32>(a), vector::<F>(b), sum);
    }
    if !a_rest.is_empty() {
        sum = _mm256_fmadd_ps(vector(&padded(a_rest)), vector(&padded(b_rest)), sum);
    }
    _mm_cvtss_f32(fold([sum; 4]))
}
