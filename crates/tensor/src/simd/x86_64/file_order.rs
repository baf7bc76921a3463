//! Integer products of weights in file order: the code that AVX2's sets share, over the [`Dot`] of each.

use super::weights32::{self, Avx2};
use crate::blocks::{GgmlType, Group256};
use crate::simd::file_order::{Range, Set, Weights32, Weights256, tile_32};
use crate::simd::lanes::Work;
use crate::simd::table::TileFn;
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// How a set multiplies and adds 8-bit integers.
pub trait Dot {
    /// Adds the products of 32 integers to eight partial sums.
    ///
    /// # Safety
    ///
    /// The CPU must have the set's instructions; `w` must be in 0..=128, `x` in -127..=127.
    unsafe fn dot_unsigned(acc: __m256i, w: __m256i, x: __m256i) -> __m256i;

    /// Runs `work`, compiled for the set's instructions.
    ///
    /// # Safety
    ///
    /// The CPU must have them, and AVX2, FMA and F16C.
    unsafe fn enter<V>(work: impl Work<V>);
}

/// The set that multiplies with `D`.
pub struct By<D>(PhantomData<D>);

impl<D: Dot> Set for By<D> {
    type Vectors = Avx2;
    type Blocks = [Prepared; 4];
    const TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn enter<V>(work: impl Work<V>) {
        // SAFETY: the caller guarantees that the CPU has the instructions.
        unsafe { D::enter(work) }
    }

    fn own_product(ty: GgmlType) -> Option<TileFn> {
        Some(match ty {
            GgmlType::Q4_0 => tile_32::<Self, weights32::Q4_0>,
            GgmlType::Q4_1 => tile_32::<Self, weights32::Q4_1>,
            GgmlType::Q5_0 => tile_32::<Self, weights32::Q5_0>,
            GgmlType::Q5_1 => tile_32::<Self, weights32::Q5_1>,
            GgmlType::Q8_0 => tile_32::<Self, weights32::Q8_0>,
            _ => return None,
        })
    }

    #[inline(always)]
    unsafe fn dots<W: Weights32<Vectors = Avx2>, const T: usize>(
        [a, b, c, d]: &[__m256i; 4],
        x: __m256i,
        x_sum: *const i32,
    ) -> __m128 {
        // SAFETY: by `Set`'s contract this runs only where the CPU has the instructions; the caller guarantees `x_sum`.
        unsafe {
            // Each of the eight lanes subtracts an eighth of the offset.
            let start = _mm256_set1_epi32(-*x_sum * (W::OFFSET / 8));
            let is_signed = W::RANGE != Range::Unsigned;
            // No closure here or below: it might not be compiled for the instructions.
            _mm_cvtepi32_ps(fold([
                dot::<D>(is_signed, start, *a, x),
                dot::<D>(is_signed, start, *b, x),
                dot::<D>(is_signed, start, *c, x),
                dot::<D>(is_signed, start, *d, x),
            ]))
        }
    }

    #[inline(always)]
    fn half_dots([a, b, c, d]: &[__m256i; 4], x: __m256i) -> [__m128; 2] {
        // SAFETY: by `Set`'s contract this runs only where the CPU has the instructions.
        unsafe {
            let start = _mm256_setzero_si256();
            let [low, high] = halves([
                dot::<D>(true, start, *a, x),
                dot::<D>(true, start, *b, x),
                dot::<D>(true, start, *c, x),
                dot::<D>(true, start, *d, x),
            ]);
            [_mm_cvtepi32_ps(low), _mm_cvtepi32_ps(high)]
        }
    }

    #[inline(always)]
    fn blocks(groups: &[Group256; 4]) -> [Prepared; 4] {
        let [a, b, c, d] = groups;
        // SAFETY: by `Set`'s contract this runs only where the CPU has the instructions.
        unsafe { [Prepared::new(a), Prepared::new(b), Prepared::new(c), Prepared::new(d)] }
    }

    // `D` is not used: integer scales multiply 16-bit sums, which VNNI does not compute.
    #[inline(always)]
    fn block_dots<W: Weights256>(
        _groups: &[Group256; 4],
        [a, b, c, d]: &[Prepared; 4],
        x: &[i8; 256],
    ) -> __m128 {
        // SAFETY: by `Set`'s contract this runs only where the CPU has the instructions.
        unsafe { _mm_cvtepi32_ps(fold([a.dots(x), b.dots(x), c.dots(x), d.dots(x)])) }
    }

    #[inline(always)]
    fn min_dots(_groups: &[Group256; 4], [a, b, c, d]: &[Prepared; 4], x_sums: &[i32; 16]) -> __m128 {
        // SAFETY: by `Set`'s contract this runs only where the CPU has the instructions.
        unsafe {
            let dots = [a.min_dots(x_sums), b.min_dots(x_sums), c.min_dots(x_sums), d.min_dots(x_sums)];
            _mm_cvtepi32_ps(fold(dots))
        }
    }
}

/// Like [`Dot::dot_unsigned`], if `is_signed` also for weights in -128..=127.
///
/// # Safety
///
/// As for [`Dot::dot_unsigned`].
#[inline(always)]
unsafe fn dot<D: Dot>(is_signed: bool, acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
    // SAFETY: the caller guarantees the instructions and `x`; magnitudes are in 0..=128.
    unsafe {
        match is_signed {
            // The activations, which are never -128, get the sign.
            true => D::dot_unsigned(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w)),
            false => D::dot_unsigned(acc, w, x),
        }
    }
}

/// Lane `i` of the first result is the sum of the lower half of `v[i]`, lane `i` of the second that of the upper half.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn halves(v: [__m256i; 4]) -> [__m128i; 2] {
    let folded = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    [_mm256_castsi256_si128(folded), _mm256_extracti128_si256::<1>(folded)]
}

/// Lane `i` of the result is the sum of `v[i]`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn fold(v: [__m256i; 4]) -> __m128i {
    let [low, high] = halves(v);
    _mm_add_epi32(low, high)
}

/// The integers of an unpacked block, as vectors.
pub struct Prepared {
    quants: [__m256i; 8],
    /// For each 32 quants, two scales, eight times each.
    scales: [__m256i; 8],
    mins: [__m256i; 2],
}

impl Prepared {
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn new(group: &Group256) -> Self {
        // SAFETY: a group holds 8 times 32 quants.
        let quants =
            core::array::from_fn(|j| unsafe { _mm256_loadu_si256(group.quants.as_ptr().add(32 * j).cast()) });
        let scales = core::array::from_fn(|j| {
            _mm256_set_m128i(_mm_set1_epi16(group.scales[2 * j + 1]), _mm_set1_epi16(group.scales[2 * j]))
        });
        let mins = core::array::from_fn(|j| {
            // SAFETY: these are eight of a group's 16 minimums.
            _mm256_cvtepi16_epi32(unsafe { _mm_loadu_si128(group.mins.as_ptr().add(8 * j).cast()) })
        });
        Self { quants, scales, mins }
    }

    /// Eight partial sums of `scale * quant * x`.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn dots(&self, x: &[i8]) -> __m256i {
        let (x, _) = x.as_chunks::<32>();
        let mut dots = _mm256_setzero_si256();
        for j in 0..8 {
            // SAFETY: reads only the 32 activations of `x[j]`.
            let x = unsafe { _mm256_loadu_si256(x[j].as_ptr().cast()) };
            // The activations, which are never -128, get the sign. Two products of at most 128 * 127 fit 16 bits.
            let w = self.quants[j];
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
            dots = _mm256_add_epi32(dots, _mm256_madd_epi16(pairs, self.scales[j]));
        }
        dots
    }

    /// Eight partial sums of `min * x_sum`.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn min_dots(&self, x_sums: &[i32]) -> __m256i {
        let (x_sums, _) = x_sums.as_chunks::<8>();
        let [a, b] = [0, 1].map(|j| {
            // SAFETY: reads only the eight sums of `x_sums[j]`.
            let x_sums = unsafe { _mm256_loadu_si256(x_sums[j].as_ptr().cast()) };
            _mm256_mullo_epi32(self.mins[j], x_sums)
        });
        _mm256_add_epi32(a, b)
    }
}
