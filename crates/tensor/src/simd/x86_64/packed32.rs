//! Packed weights that have a scale for each 32 of them.

use super::rows::{ROWS, Rows16, dots, fifth_bits, halves, looked_up, nibbles, prefetch, unit, unsigned};
use crate::blocks::{E2M1_DOUBLED, IQ4_VALUES};
use crate::simd::Q8;
use core::arch::x86_64::*;

/// 32 weights of each of sixteen rows.
pub struct Groups {
    /// Four of each row, as unsigned bytes.
    quants: [__m512i; 8],
    scales: __m512,
    mins: __m512,
}

/// How to load packed weights that have a scale for each 32 of them.
pub trait Weights32 {
    /// Bytes of the blocks of all sixteen rows.
    const BYTES: usize;
    /// What is to be subtracted from every integer.
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

/// Rows of such weights.
pub struct Of32<W>(W);

impl<W: Weights32> Rows16 for Of32<W> {
    const LEN: usize = 32;
    const BYTES: usize = W::BYTES;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn product<const T: usize>(w: *const u8, n_blocks: usize, x: Q8<'_>) -> [__m512; T] {
        let mut sums = [_mm512_setzero_ps(); T];
        for block in 0..n_blocks {
            // SAFETY: the loop visits each block of the rows and each group of the tokens once; the
            // strides between tokens are `cols` quants and `n_blocks` scales and sums.
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

pub struct Q4_0;

impl Weights32 for Q4_0 {
    const BYTES: usize = ROWS * 18;
    const OFFSET: i32 = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales, then the codes.
        unsafe { Groups { quants: nibbles(p.add(32)), scales: halves(p), mins: _mm512_setzero_ps() } }
    }
}

pub struct Q4_1;

impl Weights32 for Q4_1 {
    const BYTES: usize = ROWS * 20;
    const MINS: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales and minimums, then the codes.
        unsafe { Groups { quants: nibbles(p.add(64)), scales: halves(p), mins: halves(p.add(32)) } }
    }
}

/// As [`nibbles`], with the fifth bits of sixteen rows, a unit, at `bits`.
///
/// # Safety
///
/// As for [`nibbles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn five_bits(p: *const u8, bits: *const u8) -> [__m512i; 8] {
    // SAFETY: the caller vouches for the bytes.
    let (low, bits) = unsafe { (nibbles(p), unit(bits)) };
    core::array::from_fn(|i| _mm512_or_si512(low[i], fifth_bits(bits, i)))
}

pub struct Q5_0;

impl Weights32 for Q5_0 {
    const BYTES: usize = ROWS * 22;
    const OFFSET: i32 = 16;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales, the fifth bits, then the codes.
        unsafe {
            let quants = five_bits(p.add(96), p.add(32));
            Groups { quants, scales: halves(p), mins: _mm512_setzero_ps() }
        }
    }
}

pub struct Q5_1;

impl Weights32 for Q5_1 {
    const BYTES: usize = ROWS * 24;
    const MINS: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales and minimums, the fifth bits, then the codes.
        unsafe {
            let quants = five_bits(p.add(128), p.add(64));
            Groups { quants, scales: halves(p), mins: halves(p.add(32)) }
        }
    }
}

pub struct Q8_0;

impl Weights32 for Q8_0 {
    const BYTES: usize = ROWS * 34;
    const OFFSET: i32 = 128;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales, then eight units.
        unsafe {
            let quants = core::array::from_fn(|i| unit(p.add(32 + 64 * i)));
            Groups { quants, scales: halves(p), mins: _mm512_setzero_ps() }
        }
    }
}

pub struct IQ4NL;

impl Weights32 for IQ4NL {
    const BYTES: usize = ROWS * 18;
    const OFFSET: i32 = 127;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen scales, then the codes.
        unsafe {
            let quants = looked_up(p.add(32), &const { unsigned(IQ4_VALUES, Self::OFFSET) });
            Groups { quants, scales: halves(p), mins: _mm512_setzero_ps() }
        }
    }
}

pub struct MXFP4;

impl Weights32 for MXFP4 {
    const BYTES: usize = ROWS * 17;
    const OFFSET: i32 = 12;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn load(p: *const u8) -> Groups {
        // SAFETY: sixteen exponents, then the codes.
        unsafe {
            let quants = looked_up(p.add(16), &const { unsigned(E2M1_DOUBLED, Self::OFFSET) });
            Groups { quants, scales: e8m0_halves(p), mins: _mm512_setzero_ps() }
        }
    }
}

/// Sixteen scales `2^(e - 128)`, as [`e8m0_half`](crate::blocks::e8m0_half) has them.
///
/// # Safety
///
/// They must be readable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
unsafe fn e8m0_halves(p: *const u8) -> __m512 {
    // SAFETY: the caller vouches for the bytes.
    let e = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(p.cast()) });
    let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
    let subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), e);
    let is_subnormal = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
    _mm512_castsi512_ps(_mm512_mask_blend_epi32(is_subnormal, normal, subnormal))
}
