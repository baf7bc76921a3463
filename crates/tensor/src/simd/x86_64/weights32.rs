//! Loading blocks of 32 weights in file order.

use crate::blocks::Group32;
use crate::simd::file_order::{FourGroups, Range, Weights32, vectors};
use core::arch::x86_64::*;
use core::mem::transmute;

vectors! {
    /// AVX2's vectors.
    Avx2: __m256i, __m128;
    of_group(group: &Group32) -> __m256i { _mm256_loadu_si256(group.quants.as_ptr().cast()) }
    [unsafe] next(p: &mut *const u8) -> __m256i {{
        let x = _mm256_loadu_si256(p.cast());
        *p = p.add(32);
        x
    }}
    splat(x: f32) -> __m128 { _mm_set1_ps(x) }
    of(x: [f32; 4]) -> __m128 { transmute::<[f32; 4], __m128>(x) }
    to_array(x: __m128) -> [f32; 4] { transmute::<__m128, [f32; 4]>(x) }
    scale(x: __m128, factor: f32) -> __m128 { _mm_mul_ps(x, _mm_set1_ps(factor)) }
    add(sum: __m128, a: __m128, b: __m128) -> __m128 { _mm_fmadd_ps(a, b, sum) }
    subtract(sum: __m128, a: __m128, b: __m128) -> __m128 { _mm_fnmadd_ps(a, b, sum) }
}

type Groups = FourGroups<Avx2>;

/// The low nibbles of sixteen bytes, then the high ones.
///
/// # Safety
///
/// Sixteen bytes must be readable at `p`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn nibbles(p: *const u8) -> __m256i {
    // SAFETY: the caller guarantees that the bytes are readable.
    let bytes = unsafe { _mm_loadu_si128(p.cast()) };
    _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes), _mm256_set1_epi8(0xf))
}

/// Nibbles at `p` with bit `i` of the u32 at `bits` as the fifth bit of weight `i`.
///
/// # Safety
///
/// Sixteen bytes must be readable at `p`, four at `bits`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn five_bits(p: *const u8, bits: *const u8) -> __m256i {
    // SAFETY: the caller guarantees that the bytes are readable.
    let (low, bits) = unsafe { (nibbles(p), bits.cast::<i32>().read_unaligned()) };
    // Copies each byte of `bits` to the eight weights whose fifth bits it holds.
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread);
    let own = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bits, own), own);
    _mm256_or_si256(low, _mm256_and_si256(set, _mm256_set1_epi8(0x10)))
}

/// The f16 values at four pointers.
///
/// # Safety
///
/// Two bytes must be readable at each of them.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn halves(p: [*const u8; 4]) -> __m128 {
    // SAFETY: the caller guarantees that the bytes are readable.
    let [a, b, c, d] = p.map(|p| unsafe { p.cast::<i16>().read_unaligned() });
    _mm_cvtph_ps(_mm_setr_epi16(a, b, c, d, 0, 0, 0, 0))
}

/// For types whose blocks begin with the scale and have no minimum.
///
/// # Safety
///
/// Two bytes must be readable at each of `rows`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn symmetric(quants: [__m256i; 4], rows: [*const u8; 4]) -> Groups {
    // SAFETY: the caller guarantees that the bytes are readable.
    Groups::symmetric(quants, unsafe { halves(rows) })
}

/// For types whose blocks begin with the scale and the minimum.
///
/// # Safety
///
/// Four bytes must be readable at each of `rows`.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn with_minimums(quants: [__m256i; 4], rows: [*const u8; 4]) -> Groups {
    // SAFETY: the caller guarantees that the bytes are readable.
    unsafe { Groups { quants, scales: [halves(rows); 2], mins: halves(rows.map(|row| row.add(2))) } }
}

types_of_weights! {
    Weights32, {
        type Vectors = Avx2;

        #[target_feature(enable = "avx2,fma,f16c")] #[inline]
        unsafe fn load(rows: [*const u8; 4], _index: usize) -> Groups
    };

    /// A scale, then 16 bytes of nibbles.
    Q4_0(BlockQ4_0) { OFFSET: i32 = 8 } { symmetric(rows.map(|row| nibbles(row.add(2))), rows) }

    /// Scale and minimum, then 16 bytes of nibbles.
    Q4_1(BlockQ4_1) { MINS: bool = true } { with_minimums(rows.map(|row| nibbles(row.add(4))), rows) }

    /// A scale, 4 bytes of fifth bits, then 16 bytes of nibbles.
    Q5_0(BlockQ5_0) { OFFSET: i32 = 16 } { symmetric(rows.map(|row| five_bits(row.add(6), row.add(2))), rows) }

    /// Scale and minimum, 4 bytes of fifth bits, then 16 bytes of nibbles.
    Q5_1(BlockQ5_1) { MINS: bool = true } { with_minimums(rows.map(|row| five_bits(row.add(8), row.add(4))), rows) }

    /// A scale, then 32 bytes.
    Q8_0(BlockQ8_0) { RANGE: Range = Range::Full } {
        symmetric(rows.map(|row| _mm256_loadu_si256(row.add(2).cast())), rows)
    }
}
