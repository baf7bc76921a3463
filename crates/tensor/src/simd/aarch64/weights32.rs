//! Loading blocks of 32 weights in file order.

use super::load::{load_16, load_32, load_f32x4, load_halves, load_u32, next_32};
use crate::blocks::{E2M1_DOUBLED, Group32, IQ4_VALUES, e8m0_half};
use crate::simd::file_order::{FourGroups, Range, Weights32, vectors};
use core::arch::aarch64::*;
use core::mem::transmute;

vectors! {
    /// NEON's vectors.
    Neon: [int8x16_t; 2], float32x4_t;
    of_group(group: &Group32) -> [int8x16_t; 2] {
        load_32(group.quants.as_ptr().cast()).map(|v| vreinterpretq_s8_u8(v))
    }
    [unsafe] next(p: &mut *const u8) -> [int8x16_t; 2] { next_32(p).map(|v| vreinterpretq_s8_u8(v)) }
    splat(x: f32) -> float32x4_t { vdupq_n_f32(x) }
    of(x: [f32; 4]) -> float32x4_t { transmute::<[f32; 4], float32x4_t>(x) }
    to_array(x: float32x4_t) -> [f32; 4] { transmute::<float32x4_t, [f32; 4]>(x) }
    scale(x: float32x4_t, factor: f32) -> float32x4_t { vmulq_n_f32(x, factor) }
    add(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t { vfmaq_f32(sum, a, b) }
    subtract(sum: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t { vfmsq_f32(sum, a, b) }
}

type Groups = FourGroups<Neon>;

/// The low nibbles, then the high ones.
#[target_feature(enable = "neon")]
#[inline]
pub fn nibbles(bytes: uint8x16_t) -> [int8x16_t; 2] {
    [vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0xf))), vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes))]
}

/// Nibbles with bit `i` of `bits` as the fifth bit of weight `i`.
#[target_feature(enable = "neon")]
#[inline]
fn five_bits(bytes: uint8x16_t, bits: u32) -> [int8x16_t; 2] {
    let low = nibbles(bytes);
    let fifth = |bits: u32| {
        let bits = vcombine_u8(vdup_n_u8(bits as u8), vdup_n_u8((bits >> 8) as u8));
        let mask = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
        vreinterpretq_s8_u8(vandq_u8(vtstq_u8(bits, mask), vdupq_n_u8(0x10)))
    };
    [vorrq_s8(low[0], fifth(bits)), vorrq_s8(low[1], fifth(bits >> 16))]
}

/// A table of 16 values in a register.
#[target_feature(enable = "neon")]
#[inline]
pub fn table_16(values: &[i8; 16]) -> int8x16_t {
    // SAFETY: reads only the 16 bytes of `values`.
    vreinterpretq_s8_u8(unsafe { load_16::<0>(values.as_ptr().cast()) })
}

/// Nibbles looked up in a table of 16 values.
#[target_feature(enable = "neon")]
#[inline]
fn look_up(values: int8x16_t, bytes: uint8x16_t) -> [int8x16_t; 2] {
    nibbles(bytes).map(|codes| vqtbl1q_s8(values, vreinterpretq_u8_s8(codes)))
}

/// For types whose blocks begin with the scale and the minimum.
///
/// # Safety
///
/// Four bytes must be readable at each of `rows`.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn with_minimums(quants: [[int8x16_t; 2]; 4], rows: [*const u8; 4]) -> Groups {
    // SAFETY: the caller guarantees that the bytes are readable.
    unsafe { Groups { quants, scales: [load_halves::<0>(rows); 2], mins: load_halves::<2>(rows) } }
}

types_of_weights! {
    Weights32, {
        type Vectors = Neon;

        #[inline(always)]
        unsafe fn load(rows: [*const u8; 4], _index: usize) -> Groups
    };

    /// A scale, then 16 bytes of nibbles.
    Q4_0(BlockQ4_0) { OFFSET: i32 = 8 } {
        Groups::symmetric(rows.map(|row| nibbles(load_16::<2>(row))), load_halves::<0>(rows))
    }

    /// Scale and minimum, then 16 bytes of nibbles.
    Q4_1(BlockQ4_1) { MINS: bool = true } {
        with_minimums(rows.map(|row| nibbles(load_16::<4>(row))), rows)
    }

    /// A scale, 4 bytes of fifth bits, then 16 bytes of nibbles.
    Q5_0(BlockQ5_0) { OFFSET: i32 = 16 } {
        Groups::symmetric(rows.map(|row| five_bits(load_16::<6>(row), load_u32(row.add(2)))), load_halves::<0>(rows))
    }

    /// Scale and minimum, 4 bytes of fifth bits, then 16 bytes of nibbles.
    Q5_1(BlockQ5_1) { MINS: bool = true } {
        with_minimums(rows.map(|row| five_bits(load_16::<8>(row), load_u32(row.add(4)))), rows)
    }

    /// A scale, then 32 bytes.
    Q8_0(BlockQ8_0) { RANGE: Range = Range::Full } {
        let quants = |row| [load_16::<2>(row), load_16::<18>(row)].map(|v| vreinterpretq_s8_u8(v));
        Groups::symmetric(rows.map(quants), load_halves::<0>(rows))
    }

    /// A scale, then 16 bytes of codes.
    Iq4Nl(BlockIQ4NL) { RANGE: Range = Range::Full } {
        let values = table_16(&IQ4_VALUES);
        Groups::symmetric(rows.map(|row| look_up(values, load_16::<2>(row))), load_halves::<0>(rows))
    }

    /// An exponent, then 16 bytes of codes.
    Mxfp4(BlockMXFP4) { RANGE: Range = Range::Small } {
        let values = table_16(&E2M1_DOUBLED);
        let scales = load_f32x4(&rows.map(|row| e8m0_half(*row)));
        Groups::symmetric(rows.map(|row| look_up(values, load_16::<1>(row))), scales)
    }
}
