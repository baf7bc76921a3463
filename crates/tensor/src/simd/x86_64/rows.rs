//! Groups of sixteen packed rows, which all products of packed weights share: their codes are loaded and multiplied here.
//!
//! Neighbours: [`packed32`](super::packed32) and [`packed256`](super::packed256) define the types of blocks.

use crate::simd::Q8;
use core::arch::x86_64::*;

/// Rows in a group.
pub const ROWS: usize = 16;

/// The product of sixteen rows with some tokens, for one kind of blocks.
pub trait Rows16 {
    /// Weights in a block.
    const LEN: usize;
    /// Bytes of one block of each of the sixteen rows.
    const BYTES: usize;

    /// Sixteen rows times `T` tokens.
    ///
    /// # Safety
    ///
    /// `n_blocks` blocks of sixteen rows must be readable at `w`, `x` must hold `T` tokens of as many weights, and the CPU must
    /// have the features.
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: Q8<'_>) -> [__m512; T];
}

/// A unit of each of sixteen rows: 64 bytes.
///
/// # Safety
///
/// They must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub unsafe fn unit(p: *const u8) -> __m512i {
    // SAFETY: the caller guarantees that the bytes are readable.
    unsafe { _mm512_loadu_si512(p.cast()) }
}

/// Sixteen f16 values, converted to f32.
///
/// # Safety
///
/// They must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub unsafe fn halves(p: *const u8) -> __m512 {
    // SAFETY: the caller guarantees that the values are readable.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(p.cast()) })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub fn low_nibbles(v: __m512i) -> __m512i {
    _mm512_and_si512(v, _mm512_set1_epi8(0xf))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub fn high_nibbles(v: __m512i) -> __m512i {
    low_nibbles(_mm512_srli_epi16::<4>(v))
}

/// Bit `from` of each byte, moved to bit 4.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub fn fifth_bits(v: __m512i, from: usize) -> __m512i {
    let v = if from <= 4 {
        _mm512_sllv_epi16(v, _mm512_set1_epi16(4 - from as i16))
    } else {
        _mm512_srlv_epi16(v, _mm512_set1_epi16(from as i16 - 4))
    };
    _mm512_and_si512(v, _mm512_set1_epi8(0x10))
}

/// `start` plus the products of `4 * w.len()` weights of each of sixteen rows with the activations at `x`.
///
/// # Safety
///
/// The activations must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub unsafe fn dots(start: i32, w: &[__m512i], x: *const i8) -> __m512i {
    let mut dots = _mm512_set1_epi32(start);
    for (i, &w) in w.iter().enumerate() {
        // SAFETY: the caller guarantees that the activations are readable.
        let x = unsafe { x.add(4 * i).cast::<i32>().read_unaligned() };
        dots = _mm512_dpbusd_epi32(dots, w, _mm512_set1_epi32(x));
    }
    dots
}

/// How far ahead, in bytes, memory is prefetched when blocks are multiplied with a single token.
const PREFETCHED_BYTES: usize = 4 << 10;

/// Prefetches `bytes` bytes, [`PREFETCHED_BYTES`] after `p`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub fn prefetch(p: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // A prefetch may be of any address.
        _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(PREFETCHED_BYTES + line).cast());
    }
}

/// The nibbles of four units of sixteen rows at `p`: all low ones, then all high ones.
///
/// # Safety
///
/// The codes must be readable, and the CPU must have the features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub unsafe fn nibbles(p: *const u8) -> [__m512i; 8] {
    // SAFETY: the caller guarantees that the four units are readable.
    let codes: [_; 4] = core::array::from_fn(|i| unsafe { unit(p.add(64 * i)) });
    core::array::from_fn(|i| if i < 4 { low_nibbles(codes[i]) } else { high_nibbles(codes[i - 4]) })
}

/// Values of 4-bit codes with `offset` added, which makes them unsigned.
pub const fn unsigned(values: [i8; 16], offset: i32) -> [u8; 16] {
    let mut unsigned = [0; 16];
    let mut code = 0;
    while code < 16 {
        unsigned[code] = (values[code] as i32 + offset) as u8;
        code += 1;
    }
    unsigned
}

/// The values of the codes that [`nibbles`] loads.
///
/// # Safety
///
/// As for [`nibbles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
pub unsafe fn looked_up(p: *const u8, values: &[u8; 16]) -> [__m512i; 8] {
    // SAFETY: reads only the sixteen values, and the codes that the caller guarantees.
    let (table, codes) = unsafe { (_mm_loadu_si128(values.as_ptr().cast()), nibbles(p)) };
    let table = _mm512_broadcast_i32x4(table);
    core::array::from_fn(|i| _mm512_shuffle_epi8(table, codes[i]))
}
