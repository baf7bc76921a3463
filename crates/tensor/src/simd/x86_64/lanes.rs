//! Eight floats in an AVX register.

use crate::simd::lanes::{LANES, Lanes, Work};
use core::arch::x86_64::*;
use half::f16;

/// Eight floats.
///
/// SAFETY of every function below: as [`Lanes`] says, they are called by what `enter` runs, where the CPU has AVX2, FMA
/// and F16C.
#[derive(Clone, Copy)]
pub struct F32x8(pub(super) __m256);

impl Lanes for F32x8 {
    type Wide = [__m256d; 2];
    // Loaded again for each use: a broadcast from memory costs no more than one from a register.
    type Weights = *const f32;

    #[inline(always)]
    unsafe fn enter(work: impl Work) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_avx2(work: impl Work) {
            work.run();
        }
        // SAFETY: the CPU has the features, as is asked of the caller.
        unsafe { with_avx2(work) }
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load<const GROUP: usize>(p: *const f32) -> Self {
        // SAFETY: see the type; the caller vouches for the values.
        F32x8(unsafe { _mm256_loadu_ps(p.add(LANES * GROUP)) })
    }

    #[inline(always)]
    unsafe fn load_f16<const GROUP: usize>(p: *const f16) -> Self {
        // SAFETY: see the type; the caller vouches for the values.
        F32x8(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.add(LANES * GROUP).cast())) })
    }

    #[inline(always)]
    unsafe fn load_i8<const GROUP: usize>(p: *const i8) -> Self {
        // SAFETY: see the type; the caller vouches for the values.
        unsafe {
            let bytes = _mm_loadl_epi64(p.add(LANES * GROUP).cast());
            F32x8(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)))
        }
    }

    #[inline(always)]
    unsafe fn splat_f16(p: *const u8) -> Self {
        // SAFETY: see the type; the caller vouches for the bytes.
        unsafe {
            let bits = p.cast::<i16>().read_unaligned();
            F32x8(_mm256_cvtph_ps(_mm_set1_epi16(bits)))
        }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES]) {
        // SAFETY: see the type; writes the 32 bytes of `out`.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn store_f16(self, out: &mut [f16; LANES]) {
        // SAFETY: see the type; writes the 16 bytes of `out`.
        unsafe {
            let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            _mm_storeu_si128(out.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_add_ps(self.0, b.0) })
    }

    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_sub_ps(self.0, b.0) })
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_mul_ps(self.0, b.0) })
    }

    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_div_ps(self.0, b.0) })
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    fn max(self, b: Self) -> Self {
        // The second operand is the result where either is NaN.
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_max_ps(b.0, self.0) })
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_min_ps(b.0, self.0) })
    }

    #[inline(always)]
    fn low_bits_to_exponent(self) -> Self {
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(self.0))) })
    }

    #[inline(always)]
    fn turn_pairs(self, cos: &[f32; LANES / 2], sin: &[f32; LANES / 2]) -> Self {
        // SAFETY: see the type; reads the 16 bytes of each array.
        unsafe {
            let twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
            let [cos, sin] = [cos, sin]
                .map(|x| _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(x.as_ptr())), twice));
            let others = _mm256_permute_ps::<0b10_11_00_01>(self.0);
            F32x8(_mm256_fmaddsub_ps(self.0, cos, _mm256_mul_ps(others, sin)))
        }
    }

    #[inline(always)]
    fn fold(v: [Self; 4]) -> [f32; 4] {
        // SAFETY: see the type; four floats are as large as the vector.
        unsafe {
            let [a, b, c, d] =
                v.map(|v| _mm_add_ps(_mm256_castps256_ps128(v.0), _mm256_extractf128_ps::<1>(v.0)));
            let sums = _mm_hadd_ps(_mm_hadd_ps(a, b), _mm_hadd_ps(c, d));
            core::mem::transmute::<__m128, [f32; 4]>(sums)
        }
    }

    #[inline(always)]
    fn weights(w: &[f32; LANES]) -> Self::Weights {
        w.as_ptr()
    }

    #[inline(always)]
    fn add_weighted<const INDEX: usize>(self, v: Self, w: Self::Weights) -> Self {
        // SAFETY: see the type; `weights` was given the whole array, which the loop still borrows.
        F32x8(unsafe { _mm256_fmadd_ps(v.0, _mm256_broadcast_ss(&*w.add(INDEX)), self.0) })
    }

    #[inline(always)]
    fn wide_zeros() -> Self::Wide {
        // SAFETY: see the type.
        unsafe { [_mm256_setzero_pd(); 2] }
    }

    #[inline(always)]
    fn add_to(self, sums: Self::Wide) -> Self::Wide {
        let [low, high] = self.widened();
        // SAFETY: see the type.
        unsafe { [_mm256_add_pd(sums[0], low), _mm256_add_pd(sums[1], high)] }
    }

    #[inline(always)]
    fn add_square_to(self, sums: Self::Wide) -> Self::Wide {
        let [low, high] = self.widened();
        // SAFETY: see the type.
        unsafe { [_mm256_fmadd_pd(low, low, sums[0]), _mm256_fmadd_pd(high, high, sums[1])] }
    }

    #[inline(always)]
    fn wide_values(sums: Self::Wide) -> [f64; LANES] {
        // SAFETY: eight doubles are as large as the two vectors.
        unsafe { core::mem::transmute::<[__m256d; 2], [f64; LANES]>(sums) }
    }
}

impl F32x8 {
    #[inline(always)]
    fn widened(self) -> [__m256d; 2] {
        // SAFETY: see the type.
        unsafe {
            let high = _mm256_extractf128_ps::<1>(self.0);
            [_mm256_cvtps_pd(_mm256_castps256_ps128(self.0)), _mm256_cvtps_pd(high)]
        }
    }
}
