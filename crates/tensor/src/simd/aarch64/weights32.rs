//! Loads of weights that have a scale for each 32.

use super::file_order::{FourGroups, Range, Weights32};
use super::load::{load_16, load_f32x4, load_halves, load_u32};
use crate::blocks::{Block32, E2M1_DOUBLED, Group32, IQ4_VALUES, e8m0_half};
use core::{arch::aarch64::*, marker::PhantomData};

/// Low nibbles, high nibbles.
#[target_feature(enable = "neon")]
#[inline]
pub fn nibbles(bytes: uint8x16_t) -> [int8x16_t; 2] {
    [vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0xf))), vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes))]
}

/// Nibbles with bit `i` of `bits` as the fifth bit of number `i`.
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
    // SAFETY: reads the 16 bytes.
    vreinterpretq_s8_u8(unsafe { load_16::<0>(values.as_ptr().cast()) })
}

/// Nibbles looked up in a table of 16 values.
#[target_feature(enable = "neon")]
#[inline]
fn look_up(values: int8x16_t, bytes: uint8x16_t) -> [int8x16_t; 2] {
    nibbles(bytes).map(|codes| vqtbl1q_s8(values, vreinterpretq_u8_s8(codes)))
}

#[target_feature(enable = "neon")]
#[inline]
fn symmetric(quants: [[int8x16_t; 2]; 4], scales: float32x4_t) -> FourGroups {
    FourGroups { quants, scales: [scales; 2], mins: vdupq_n_f32(0.0) }
}

/// Scales and then minimums are what blocks begin with.
///
/// # Safety
///
/// The four bytes must be readable at each pointer.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn with_minimums(quants: [[int8x16_t; 2]; 4], rows: [*const u8; 4]) -> FourGroups {
    // SAFETY: the caller vouches for the bytes.
    unsafe { FourGroups { quants, scales: [load_halves::<0>(rows); 2], mins: load_halves::<2>(rows) } }
}

/// Any type, by its definition.
pub struct Unpacked<B>(PhantomData<B>);

impl<B: Block32> Weights32 for Unpacked<B> {
    type Block = B;
    const GROUPS: usize = B::GROUPS;
    const RANGE: Range = Range::Full;
    const HALVES: bool = B::HALVES;

    #[inline(always)]
    unsafe fn load(rows: [*const u8; 4], index: usize) -> FourGroups {
        // SAFETY: a block is readable at each pointer and, being `Unaligned`, a reference to it may
        // be made; a group holds two vectors of quants.
        unsafe {
            let groups = rows.map(|row| (*row.cast::<B>()).unpack(index));
            let quants = |group: &Group32| {
                let p = group.quants.as_ptr().cast::<int8x16_t>();
                [p.read(), p.add(1).read()]
            };
            let scales = |half: usize| load_f32x4(&groups.each_ref().map(|group| group.scales[half]));
            FourGroups {
                quants: groups.each_ref().map(quants),
                scales: [scales(0), scales(1)],
                mins: vdupq_n_f32(0.0),
            }
        }
    }
}

types_of_weights! {
    Weights32, { #[inline(always)] unsafe fn load(rows: [*const u8; 4], _index: usize) -> FourGroups };

    /// A scale, then 16 bytes.
    Q4_0(BlockQ4_0) { OFFSET: i32 = 8 } {
        symmetric(rows.map(|row| nibbles(load_16::<2>(row))), load_halves::<0>(rows))
    }

    /// Scale and minimum, then 16 bytes.
    Q4_1(BlockQ4_1) { MINS: bool = true } {
        with_minimums(rows.map(|row| nibbles(load_16::<4>(row))), rows)
    }

    /// A scale, then 4 and 16 bytes.
    Q5_0(BlockQ5_0) { OFFSET: i32 = 16 } {
        symmetric(rows.map(|row| five_bits(load_16::<6>(row), load_u32(row.add(2)))), load_halves::<0>(rows))
    }

    /// Scale and minimum, then 4 and 16 bytes.
    Q5_1(BlockQ5_1) { MINS: bool = true } {
        with_minimums(rows.map(|row| five_bits(load_16::<8>(row), load_u32(row.add(4)))), rows)
    }

    /// A scale, then 32 bytes.
    Q8_0(BlockQ8_0) { RANGE: Range = Range::Full } {
        let quants = |row| [load_16::<2>(row), load_16::<18>(row)].map(|v| vreinterpretq_s8_u8(v));
        symmetric(rows.map(quants), load_halves::<0>(rows))
    }

    /// A scale, then 16 bytes.
    Iq4Nl(BlockIQ4NL) { RANGE: Range = Range::Full } {
        let values = table_16(&IQ4_VALUES);
        symmetric(rows.map(|row| look_up(values, load_16::<2>(row))), load_halves::<0>(rows))
    }

    /// An exponent, then 16 bytes.
    Mxfp4(BlockMXFP4) {} {
        let values = table_16(&E2M1_DOUBLED);
        let scales = load_f32x4(&rows.map(|row| e8m0_half(*row)));
        symmetric(rows.map(|row| look_up(values, load_16::<1>(row))), scales)
    }
}
