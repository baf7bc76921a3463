//! Eight floats in an AVX register.

use crate::simd::lanes::{LANES, Lanes, Work};
use crate::simd::quantize::ROUNDING;
use core::arch::x86_64::*;
use half::{bf16, f16};

/// Eight floats.
///
/// `SAFETY: see the type` means: by [`Lanes`]'s contract the code runs only within `enter`, where the CPU has AVX2, FMA and
/// F16C.
#[derive(Clone, Copy)]
pub struct F32x8(pub(super) __m256);

/// Functions that are one expression of vectors.
macro_rules! operations {
    ($($name:ident($a:ident $(, $b:ident)*) $value:expr;)+) => {$(
        #[inline(always)]
        fn $name(self $(, $b: Self)*) -> Self {
            let ($a, $($b,)*) = (self.0, $($b.0,)*);
            // SAFETY: see the type.
            F32x8(unsafe { $value })
        }
    )+};
}

impl Lanes for F32x8 {
    type Wide = [__m256d; 2];
    // A pointer, loaded from at each use: a broadcast from memory costs no more than one from a register.
    type Weights = *const f32;

    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_avx2<V>(work: impl Work<V>) {
            work.run();
        }
        // SAFETY: the caller guarantees the features.
        unsafe { with_avx2(work) }
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the type.
        F32x8(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load<const GROUP: usize>(p: *const f32) -> Self {
        // SAFETY: see the type; the caller guarantees that the values are readable.
        F32x8(unsafe { _mm256_loadu_ps(p.add(LANES * GROUP)) })
    }

    #[inline(always)]
    unsafe fn load_f16<const GROUP: usize>(p: *const f16) -> Self {
        // SAFETY: see the type; the caller guarantees that the values are readable.
        F32x8(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.add(LANES * GROUP).cast())) })
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: see the type; the caller guarantees that the values are readable.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)))
        }
    }

    #[inline(always)]
    unsafe fn load_i8<const GROUP: usize>(p: *const i8) -> Self {
        // SAFETY: see the type; the caller guarantees that the values are readable.
        unsafe {
            let bytes = _mm_loadl_epi64(p.add(LANES * GROUP).cast());
            F32x8(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)))
        }
    }

    #[inline(always)]
    unsafe fn splat_f16(p: *const u8) -> Self {
        // SAFETY: see the type; the caller guarantees that the bytes are readable.
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

    operations! {
        add(a, b) _mm256_add_ps(a, b);
        sub(a, b) _mm256_sub_ps(a, b);
        mul(a, b) _mm256_mul_ps(a, b);
        div(a, b) _mm256_div_ps(a, b);
        // If either operand is NaN, the result is the second one.
        max(a, b) _mm256_max_ps(b, a);
        min(a, b) _mm256_min_ps(b, a);
        fma(a, b, c) _mm256_fmadd_ps(a, b, c);
        abs(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        // Compared as integers, magnitudes keep their order, and NaN is larger than all others.
        max_magnitude(a, b) _mm256_castsi256_ps(_mm256_max_epu32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
        low_bits_to_exponent(a) _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a)));
    }

    #[inline(always)]
    fn largest_magnitude(self) -> f32 {
        // SAFETY: see the type.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let bits = _mm_max_epu32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256::<1>(bits));
            let bits = _mm_max_epu32(bits, _mm_shuffle_epi32::<0b01_00_11_10>(bits));
            let bits = _mm_max_epu32(bits, _mm_shuffle_epi32::<0b10_11_00_01>(bits));
            f32::from_bits(_mm_cvtsi128_si32(bits) as u32)
        }
    }

    #[inline(always)]
    fn round(x: [Self; 2], inverse: f32, out: &mut [i8; 2 * LANES]) -> i32 {
        // SAFETY: see the type; writes the 16 bytes of `out`.
        unsafe {
            let [inverse, rounding] = [inverse, ROUNDING].map(|x| _mm256_set1_ps(x));
            // The integer is the difference between the bits of the sum and those of `rounding`.
            let [a, b] = x.map(|x| {
                let sum = _mm256_castps_si256(_mm256_fmadd_ps(x.0, inverse, rounding));
                _mm256_sub_epi32(sum, _mm256_castps_si256(rounding))
            });
            // `VPACKSSDW` packs each 128-bit half separately; the permutation restores the order.
            let q = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
            let halves = [_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q)];
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packs_epi16(halves[0], halves[1]));
            let pairs = _mm_madd_epi16(_mm_add_epi16(halves[0], halves[1]), _mm_set1_epi16(1));
            let pairs = _mm_add_epi32(pairs, _mm_shuffle_epi32::<0b01_00_11_10>(pairs));
            _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32::<0b10_11_00_01>(pairs)))
        }
    }

    #[inline(always)]
    fn rope_norm(self, cos: &[f32; LANES / 2], sin: &[f32; LANES / 2]) -> Self {
        // SAFETY: see the type; reads only the 16 bytes of each array.
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
        // SAFETY: see the type; both types hold four floats.
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
        // SAFETY: see the type; `w` points to the array that `weights` got, which the calling loop still borrows.
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
        // SAFETY: both types hold eight doubles without padding.
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
