//! Packed weights in blocks of 32.

use super::rows::{ROWS, Rows16, dots, fifth_bits, halves, looked_up, nibbles, prefetch, unit, unsigned};
use crate::blocks::{E2M1_DOUBLED, IQ4_VALUES};
use crate::simd::Q8;
use core::arch::x86_64::*;

/// 32 weights of each of sixteen rows.
pub struct Groups {
    /// Eight units of sixteen rows, as unsigned bytes.
    quants: [__m512i; 8],
    scales: __m512,
    mins: __m512,
}

/// How to load packed weights in blocks of 32.
pub trait Weights32 {
    /// A block of one row.
    type Block;
    /// Bytes of one block of each of the sixteen rows.
    const BYTES: usize = ROWS * size_of::<Self::Block>();
    /// What must be subtracted from the integers.
    const OFFSET: i32 = 0;
    /// Whether there are minimums.
    const MINS: bool = false;

    /// Loads the blocks at `p`.
    ///
    /// # Safety
    ///
    /// They must be readable, and the CPU must have the features.
    unsafe fn load(p: *const u8) -> Groups;
}

/// Rows of weights in blocks of 32, loaded by `W`.
pub struct Of32<W>(W);

impl<W: Weights32> Rows16 for Of32<W> {
    const LEN: usize = 32;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: Q8<'_>) -> [__m512; T] {
        let mut sums = [_mm512_setzero_ps(); T];
        for block in 0..n_blocks {
            // SAFETY: the loop reads the blocks of rows and tokens that the caller guarantees; from one token to the next there
            // are `cols` quants, `n_blocks` scales and `n_blocks` sums.
            unsafe {
                let w = w.add(block * W::BYTES);
                if T == 1 {
                    prefetch(w, W::BYTES);
                }
                let w = W::load(w);
                for (t, sum) in sums.iter_mut().enumerate() {
                    let at = t * n_blocks + block;
                    let x_sum = *x.sums.as_ptr().add(at);
                    let dots = dots(-W::OFFSET * x_sum, &w.quants, x.quants.as_ptr().add(32 * at));
                    let scale = _mm512_set1_ps(*x.scales.as_ptr().add(at));
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), _mm512_mul_ps(w.scales, scale), *sum);
                    if W::MINS {
                        let x_sum = _mm512_set1_ps(x_sum as f32);
                        *sum = _mm512_fmadd_ps(x_sum, _mm512_mul_ps(w.mins, scale), *sum);
                    }
                }
            }
        }
        sums
    }
}

/// Like [`nibbles`], with the fifth bits of sixteen rows from the unit at `bits`.
///
/// # Safety
///
/// As for [`nibbles`]; the unit must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn five_bits(p: *const u8, bits: *const u8) -> [__m512i; 8] {
    // SAFETY: the caller guarantees that codes and unit are readable.
    let (low, bits) = unsafe { (nibbles(p), unit(bits)) };
    core::array::from_fn(|i| _mm512_or_si512(low[i], fifth_bits(bits, i)))
}

types_of_weights! {
    Weights32, {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")] #[inline]
        unsafe fn load(p: *const u8) -> Groups
    };

    /// Scales, then the codes.
    Q4_0(BlockQ4_0) { OFFSET: i32 = 8 } {
        Groups { quants: nibbles(p.add(32)), scales: halves(p), mins: _mm512_setzero_ps() }
    }

    /// Scales and minimums, then the codes.
    Q4_1(BlockQ4_1) { MINS: bool = true } {
        Groups { quants: nibbles(p.add(64)), scales: halves(p), mins: halves(p.add(32)) }
    }

    /// Scales, the fifth bits, then the codes.
    Q5_0(BlockQ5_0) { OFFSET: i32 = 16 } {
        Groups { quants: five_bits(p.add(96), p.add(32)), scales: halves(p), mins: _mm512_setzero_ps() }
    }

    /// Scales and minimums, the fifth bits, then the codes.
    Q5_1(BlockQ5_1) { MINS: bool = true } {
        Groups { quants: five_bits(p.add(128), p.add(64)), scales: halves(p), mins: halves(p.add(32)) }
    }

    /// Scales, then eight units.
    Q8_0(BlockQ8_0) { OFFSET: i32 = 128 } {
        let quants = core::array::from_fn(|i| unit(p.add(32 + 64 * i)));
        Groups { quants, scales: halves(p), mins: _mm512_setzero_ps() }
    }

    /// Scales, then the codes.
    IQ4NL(BlockIQ4NL) { OFFSET: i32 = 127 } {
        let quants = looked_up(p.add(32), &const { unsigned(IQ4_VALUES, Self::OFFSET) });
        Groups { quants, scales: halves(p), mins: _mm512_setzero_ps() }
    }

    /// Exponents, then the codes.
    MXFP4(BlockMXFP4) { OFFSET: i32 = 12 } {
        let quants = looked_up(p.add(16), &const { unsigned(E2M1_DOUBLED, Self::OFFSET) });
        Groups { quants, scales: e8m0_halves(p), mins: _mm512_setzero_ps() }
    }
}

/// Sixteen scales `2^(e - 128)`, computed like [`e8m0_half`](crate::blocks::e8m0_half).
///
/// # Safety
///
/// 16 bytes must be readable at `p`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn e8m0_halves(p: *const u8) -> __m512 {
    // SAFETY: the caller guarantees that the bytes are readable.
    let e = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(p.cast()) });
    let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
    let subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), e);
    let is_subnormal = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
    _mm512_castsi512_ps(_mm512_mask_blend_epi32(is_subnormal, normal, subnormal))
}
