//! Four rows in two AVX-512 registers.

use super::lanes::F32x8;
use crate::simd::lanes::{LANES, Lanes, Work};
use crate::simd::quads::{QUAD, Quad, ROWS};
use core::arch::x86_64::*;
use half::{bf16, f16};

/// Two rows in each.
///
/// SAFETY of every function below: as [`Quad`] says, they are called by what `enter` runs, where the CPU has AVX-512 F.
#[derive(Clone, Copy)]
pub struct TwoTwice([__m512; 2]);

/// Two vectors of eight, one after the other.
#[target_feature(enable = "avx512f")]
#[inline]
fn joined(low: __m256, high: __m256) -> __m512 {
    let low = _mm512_castpd256_pd512(_mm256_castps_pd(low));
    _mm512_castpd_ps(_mm512_insertf64x4::<1>(low, _mm256_castps_pd(high)))
}

/// Eight values of 16 bits at each pointer.
///
/// # Safety
///
/// They must be readable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load_16_bits<E>(p: *const E, q: *const E) -> __m256i {
    // SAFETY: the caller vouches for the values.
    unsafe { _mm256_loadu2_m128i(q.cast(), p.cast()) }
}

impl Quad for TwoTwice {
    const GROUPS: usize = 2;

    #[inline(always)]
    unsafe fn enter(work: impl Work) {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl")]
        fn with_avx512(work: impl Work) {
            work.run();
        }
        // SAFETY: the CPU has the features, as is asked of the caller.
        unsafe { with_avx512(work) }
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the type.
        TwoTwice([unsafe { _mm512_set1_ps(x) }; 2])
    }

    #[inline(always)]
    fn of_rows([a, b, c, d]: [f32; ROWS]) -> Self {
        // SAFETY: see the type.
        TwoTwice(unsafe {
            [joined(_mm256_set1_ps(a), _mm256_set1_ps(b)), joined(_mm256_set1_ps(c), _mm256_set1_ps(d))]
        })
    }

    #[inline(always)]
    fn of_columns(x: &[f32; LANES]) -> Self {
        // SAFETY: see the type; the array holds what is read.
        unsafe {
            let columns = _mm512_broadcast_f64x4(_mm256_loadu_pd(x.as_ptr().cast()));
            TwoTwice([_mm512_castpd_ps(columns); 2])
        }
    }

    #[inline(always)]
    fn of(x: &[f32; QUAD]) -> Self {
        // SAFETY: see the type; the array holds both.
        TwoTwice(unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(QUAD / 2))] })
    }

    #[inline(always)]
    unsafe fn load_f32([a, b, c, d]: [*const f32; ROWS]) -> Self {
        // SAFETY: see the type; the caller vouches for the values.
        TwoTwice(unsafe {
            [joined(_mm256_loadu_ps(a), _mm256_loadu_ps(b)), joined(_mm256_loadu_ps(c), _mm256_loadu_ps(d))]
        })
    }

    #[inline(always)]
    unsafe fn load_f16([a, b, c, d]: [*const f16; ROWS]) -> Self {
        // SAFETY: see the type; the caller vouches for the values.
        TwoTwice(unsafe { [load_16_bits(a, b), load_16_bits(c, d)].map(|two| _mm512_cvtph_ps(two)) })
    }

    #[inline(always)]
    unsafe fn load_bf16([a, b, c, d]: [*const bf16; ROWS]) -> Self {
        // SAFETY: see the type; the caller vouches for the values.
        TwoTwice(unsafe {
            [load_16_bits(a, b), load_16_bits(c, d)]
                .map(|two| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(two))))
        })
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; QUAD]) {
        // SAFETY: see the type; the array has room for both.
        unsafe {
            _mm512_storeu_ps(out.as_mut_ptr(), self.0[0]);
            _mm512_storeu_ps(out.as_mut_ptr().add(QUAD / 2), self.0[1]);
        }
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: see the type.
        TwoTwice(unsafe { [_mm512_mul_ps(self.0[0], b.0[0]), _mm512_mul_ps(self.0[1], b.0[1])] })
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        let ([p, q], [r, s], [t, u]) = (self.0, b.0, c.0);
        // SAFETY: see the type.
        TwoTwice(unsafe { [_mm512_fmadd_ps(p, r, t), _mm512_fmadd_ps(q, s, u)] })
    }

    #[inline(always)]
    fn fold(self) -> [f32; ROWS] {
        // SAFETY: see the type.
        let rows = unsafe {
            let [a, c] = self.0.map(|x| _mm512_castps512_ps256(x));
            let [b, d] = self.0.map(|x| _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x))));
            [a, b, c, d]
        };
        F32x8::fold(rows.map(F32x8))
    }
}
