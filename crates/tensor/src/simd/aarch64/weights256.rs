//! Unpacking blocks of 256 weights in file order.

use super::load::load_16;
use super::weights32::{nibbles, table_16};
use crate::blocks::{Block256, Group256, IQ4_VALUES};
use crate::simd::file_order::{Range, Weights256};
use core::arch::aarch64::*;

/// Writes quants `at..at + 16`; `at` is a multiple of 16.
#[target_feature(enable = "neon")]
#[inline]
fn set(out: &mut Group256, at: usize, quants: int8x16_t) {
    let quants_out = &mut out.quants[at..at + 16];
    // SAFETY: writes only these 16 bytes; the alignment of the group is 32, and `at` is a multiple of 16.
    unsafe { quants_out.as_mut_ptr().cast::<int8x16_t>().write(quants) };
}

/// Bits `shift..shift + 2` of each byte.
#[target_feature(enable = "neon")]
#[inline]
fn two_bits(bytes: uint8x16_t, shift: usize) -> int8x16_t {
    let shifted = vshlq_u8(bytes, vdupq_n_s8(-(shift as i8)));
    vreinterpretq_s8_u8(vandq_u8(shifted, vdupq_n_u8(3)))
}

/// In each byte: 16 if the bit is set, otherwise 0.
#[target_feature(enable = "neon")]
#[inline]
fn sixteen_where_set(bytes: uint8x16_t, bit: usize) -> int8x16_t {
    let set = vtstq_u8(bytes, vdupq_n_u8(1 << bit));
    vreinterpretq_s8_u8(vandq_u8(set, vdupq_n_u8(16)))
}

types_of_weights! {
    Weights256, {
        #[target_feature(enable = "neon")] #[inline]
        unsafe fn unpack(block: &Self::Block, out: &mut Group256)
    };

    Q2K(BlockQ2K) { MINS: bool = true } {
        for v in 0..4 {
            let bytes = load_16::<0>(block.qs.as_ptr().add(16 * v));
            for s in 0..4 {
                set(out, 128 * (v / 2) + 32 * s + 16 * (v % 2), two_bits(bytes, 2 * s));
            }
        }
        block.unpack_scales(out);
    }

    Q3K(BlockQ3K) {} {
        for v in 0..4 {
            let bytes = load_16::<0>(block.qs.as_ptr().add(16 * v));
            let mask = load_16::<0>(block.hmask.as_ptr().add(16 * (v % 2)));
            for s in 0..4 {
                let clear = vceqzq_u8(vandq_u8(mask, vdupq_n_u8(1 << (4 * (v / 2) + s))));
                let four = vreinterpretq_s8_u8(vandq_u8(clear, vdupq_n_u8(4)));
                set(out, 128 * (v / 2) + 32 * s + 16 * (v % 2), vsubq_s8(two_bits(bytes, 2 * s), four));
            }
        }
        block.unpack_scales(out);
    }

    Q4K(BlockQ4K) { MINS: bool = true, PAIRED: bool = true } {
        for v in 0..8 {
            let [low, high] = nibbles(load_16::<0>(block.qs.as_ptr().add(16 * v)));
            let at = 64 * (v / 2) + 16 * (v % 2);
            set(out, at, low);
            set(out, at + 32, high);
        }
        block.unpack_scales(out);
    }

    Q5K(BlockQ5K) { MINS: bool = true, PAIRED: bool = true } {
        for v in 0..8 {
            let [low, high] = nibbles(load_16::<0>(block.qs.as_ptr().add(16 * v)));
            let fifth = load_16::<0>(block.qh.as_ptr().add(16 * (v % 2)));
            let (s, at) = (2 * (v / 2), 64 * (v / 2) + 16 * (v % 2));
            set(out, at, vorrq_s8(low, sixteen_where_set(fifth, s)));
            set(out, at + 32, vorrq_s8(high, sixteen_where_set(fifth, s + 1)));
        }
        block.unpack_scales(out);
    }

    Q6K(BlockQ6K) {} {
        for v in 0..4 {
            let high = load_16::<0>(block.qh.as_ptr().add(16 * v));
            let (c, m) = (v / 2, 16 * (v % 2));
            let first = nibbles(load_16::<0>(block.ql.as_ptr().add(64 * c + m)));
            let second = nibbles(load_16::<0>(block.ql.as_ptr().add(64 * c + 32 + m)));
            for (s, low) in [first[0], second[0], first[1], second[1]].into_iter().enumerate() {
                let code = vorrq_s8(low, vshlq_n_s8::<4>(two_bits(high, 2 * s)));
                set(out, 128 * c + 32 * s + m, vsubq_s8(code, vdupq_n_s8(32)));
            }
        }
        block.unpack_scales(out);
    }

    Iq4Xs(BlockIQ4XS) { RANGE: Range = Range::Full, PAIRED: bool = true } {
        let values = table_16(&IQ4_VALUES);
        for v in 0..8 {
            let [low, high] = nibbles(load_16::<0>(block.qs.as_ptr().add(16 * v)));
            set(out, 32 * v, vqtbl1q_s8(values, vreinterpretq_u8_s8(low)));
            set(out, 32 * v + 16, vqtbl1q_s8(values, vreinterpretq_u8_s8(high)));
        }
        block.unpack_scales(out);
    }
}
