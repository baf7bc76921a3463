//! Products and sums of float vectors.

use core::arch::x86_64::*;
use half::f16;

pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: who calls this through a table has made sure of AVX2, FMA and F16C.
    unsafe { dot(a, b, |b| load_f32x8(b), |x| x) }
}

pub fn dot_f16(a: &[f32], b: &[f16]) -> f32 {
    // SAFETY: as for `dot_f32`.
    unsafe { dot(a, b, |b| load_f16x8(b), f16::to_f32) }
}

pub fn add_scaled_f32(acc: &mut [f32], scale: f32, x: &[f32]) {
    // SAFETY: as for `dot_f32`.
    unsafe { add_scaled(acc, scale, x, |x| load_f32x8(x), |x| x) }
}

pub fn add_scaled_f16(acc: &mut [f32], scale: f32, x: &[f16]) {
    // SAFETY: as for `dot_f32`.
    unsafe { add_scaled(acc, scale, x, |x| load_f16x8(x), f16::to_f32) }
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub fn load_f32x8(x: &[f32; 8]) -> __m256 {
    // SAFETY: reads the 32 bytes of `x`.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn load_f16x8(x: &[f16; 8]) -> __m256 {
    // SAFETY: reads the 16 bytes of `x`.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(x.as_ptr().cast()) })
}

/// The sum of the lanes.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub fn sum(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn dot<T: Copy>(a: &[f32], b: &[T], load: impl Fn(&[T; 8]) -> __m256, to_f32: impl Fn(T) -> f32) -> f32 {
    let (a, a_rest) = a.as_chunks();
    let (b, b_rest) = b.as_chunks();
    let mut sums = [_mm256_setzero_ps(); 4];
    let (a_fours, a_eights) = a.as_chunks::<4>();
    let (b_fours, b_eights) = b.as_chunks::<4>();
    for (a, b) in a_fours.iter().zip(b_fours) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum = _mm256_fmadd_ps(load_f32x8(a), load(b), *sum);
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_eights.iter().zip(b_eights)) {
        *sum = _mm256_fmadd_ps(load_f32x8(a), load(b), *sum);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| a * to_f32(b)).sum();
    sum(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]))) + rest
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn add_scaled<T: Copy>(
    acc: &mut [f32],
    scale: f32,
    x: &[T],
    load: impl Fn(&[T; 8]) -> __m256,
    to_f32: impl Fn(T) -> f32,
) {
    let (acc, acc_rest) = acc.as_chunks_mut::<8>();
    let (x, x_rest) = x.as_chunks();
    for (acc, x) in acc.iter_mut().zip(x) {
        let sum = _mm256_fmadd_ps(load(x), _mm256_set1_ps(scale), load_f32x8(acc));
        // SAFETY: writes the 32 bytes of `acc`.
        unsafe { _mm256_storeu_ps(acc.as_mut_ptr(), sum) };
    }
    for (acc, &x) in acc_rest.iter_mut().zip(x_rest) {
        *acc += scale * to_f32(x);
    }
}
