//! Four rows in two AVX-512 registers.

use super::lanes::F32x8;
use crate::simd::lanes::{LANES, Lanes, Work};
use crate::simd::quads::{QUAD, Quad, ROWS};
use crate::simd::tiles::store_rows;
use core::arch::x86_64::*;
use half::{bf16, f16};

/// Two rows in each register.
///
/// `SAFETY: see the type` means: by [`Quad`]'s contract the code runs only within `enter`, where the CPU has AVX-512 F and VL.
#[derive(Clone, Copy)]
pub struct TwoTwice([__m512; 2]);

/// Joins two vectors of eight.
#[target_feature(enable = "avx512f")]
#[inline]
fn joined(low: __m256, high: __m256) -> __m512 {
    let low = _mm512_castpd256_pd512(_mm256_castps_pd(low));
    _mm512_castpd_ps(_mm512_insertf64x4::<1>(low, _mm256_castps_pd(high)))
}

/// Eight 16-bit values from each pointer.
///
/// # Safety
///
/// They must be readable.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn load_16_bits<E>(p: *const E, q: *const E) -> __m256i {
    // SAFETY: the caller guarantees that the values are readable.
    unsafe { _mm256_loadu2_m128i(q.cast(), p.cast()) }
}

/// Writes the sums of eight rows, two of them in each vector, as far as `out` reaches.
///
/// The order is that of [`Lanes::fold`]: halves first, then neighbours. The first step leaves four lanes of each row, the
/// second two (of rows 0, 4, 1, 5 and so on), the third one.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn store_sums_of_eight([a, b, c, d]: [__m512; 4], out: &mut [f32]) {
    let halves = |v, w| {
        let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(v, w);
        _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(v, w))
    };
    let (v, w) = (halves(a, b), halves(c, d));
    let (even, odd) = (_mm512_shuffle_ps::<0b10_00_10_00>(v, w), _mm512_shuffle_ps::<0b11_01_11_01>(v, w));
    let pairs = _mm512_add_ps(even, odd);
    let first = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    let second = _mm512_setr_epi32(1, 5, 9, 13, 3, 7, 11, 15, 0, 0, 0, 0, 0, 0, 0, 0);
    let sums = _mm512_add_ps(_mm512_permutexvar_ps(first, pairs), _mm512_permutexvar_ps(second, pairs));
    let mask = (1_u32 << out.len().min(2 * ROWS)) - 1;
    // SAFETY: writes only the lanes in the mask, at most `out.len()`.
    unsafe { _mm256_mask_storeu_ps(out.as_mut_ptr(), mask as u8, _mm512_castps512_ps256(sums)) }
}

impl Quad for TwoTwice {
    const GROUPS: usize = 2;

    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl")]
        fn with_avx512<V>(work: impl Work<V>) {
            work.run();
        }
        // SAFETY: the caller guarantees the features.
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
        // SAFETY: see the type; reads only the array.
        unsafe {
            let columns = _mm512_broadcast_f64x4(_mm256_loadu_pd(x.as_ptr().cast()));
            TwoTwice([_mm512_castpd_ps(columns); 2])
        }
    }

    #[inline(always)]
    fn of(x: &[f32; QUAD]) -> Self {
        // SAFETY: see the type; reads only the array.
        TwoTwice(unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(QUAD / 2))] })
    }

    #[inline(always)]
    unsafe fn load_f32([a, b, c, d]: [*const f32; ROWS]) -> Self {
        // SAFETY: see the type; the caller guarantees that the values are readable.
        TwoTwice(unsafe {
            [joined(_mm256_loadu_ps(a), _mm256_loadu_ps(b)), joined(_mm256_loadu_ps(c), _mm256_loadu_ps(d))]
        })
    }

    #[inline(always)]
    unsafe fn load_f16([a, b, c, d]: [*const f16; ROWS]) -> Self {
        // SAFETY: see the type; the caller guarantees that the values are readable.
        TwoTwice(unsafe { [load_16_bits(a, b), load_16_bits(c, d)].map(|two| _mm512_cvtph_ps(two)) })
    }

    #[inline(always)]
    unsafe fn load_bf16([a, b, c, d]: [*const bf16; ROWS]) -> Self {
        // SAFETY: see the type; the caller guarantees that the values are readable.
        TwoTwice(unsafe {
            [load_16_bits(a, b), load_16_bits(c, d)]
                .map(|two| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(two))))
        })
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; QUAD]) {
        // SAFETY: see the type; writes only the array.
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

    #[inline(always)]
    fn fold_groups<const G: usize>(groups: [Self; G], out: &mut [f32]) {
        let (eights, rest) = groups.as_chunks();
        for (eight, &[TwoTwice([a, b]), TwoTwice([c, d])]) in eights.iter().enumerate() {
            if let Some(out) = out.get_mut(eight * 2 * ROWS..) {
                // SAFETY: see the type.
                unsafe { store_sums_of_eight([a, b, c, d], out) };
            }
        }
        if let (&[last], Some(out)) = (rest, out.get_mut(eights.len() * 2 * ROWS..)) {
            store_rows(out, &last.fold());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Kernels;
    use alloc::vec::Vec;

    /// Writes the sums of `G` groups, first all together, then those of each group.
    struct Fold<'a, const G: usize> {
        groups: [[f32; QUAD]; G],
        together: &'a mut [f32],
        one_by_one: &'a mut Vec<f32>,
    }

    impl<const G: usize> Work<TwoTwice> for Fold<'_, G> {
        #[inline(always)]
        fn run(self) {
            let groups = self.groups.each_ref().map(TwoTwice::of);
            TwoTwice::fold_groups(groups, self.together);
            self.one_by_one.extend(groups.iter().flat_map(|group| group.fold()));
        }
    }

    fn check<const G: usize>() {
        // Values whose sum each order of additions rounds differently.
        let groups: [[f32; QUAD]; G] = core::array::from_fn(|group| {
            core::array::from_fn(|i| 1.0 / (1 + (group * QUAD + i) * 7 % 61) as f32 - 0.1)
        });
        for n_rows in 0..=G * ROWS + 1 {
            let (mut out, mut expected) = ([f32::INFINITY; 32], Vec::new());
            let work = Fold { groups, together: &mut out[..n_rows], one_by_one: &mut expected };
            // SAFETY: the caller of `check` made sure that the CPU has the instructions.
            unsafe { TwoTwice::enter(work) };
            expected.truncate(n_rows);
            expected.resize(out.len(), f32::INFINITY);
            assert_eq!(out[..], expected[..], "{n_rows} of {G} groups");
        }
    }

    #[test]
    fn groups_have_the_sums_of_each() {
        if Kernels::available().any(|kernels| kernels.name() == "avx512-vnni") {
            check::<1>();
            check::<2>();
            check::<3>();
            check::<4>();
        }
    }
}
