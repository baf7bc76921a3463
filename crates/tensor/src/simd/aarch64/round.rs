//! Activations rounded to 8 bits.

use super::load::{load_f32x16, store_16};
use crate::simd::{
    Q8Mut,
    scalar::{ROUNDING, scale_and_inverse},
};
use core::arch::aarch64::*;

pub fn quantize_32(x: &[f32], out: Q8Mut<'_>) {
    // SAFETY: NEON is part of every target that this module is built for.
    unsafe { blocks_32(x, out) }
}

pub fn quantize_256(x: &[f32], out: Q8Mut<'_>) {
    // SAFETY: NEON is part of every target that this module is built for.
    unsafe { blocks_256(x, out) }
}

#[target_feature(enable = "neon")]
fn blocks_32(x: &[f32], out: Q8Mut<'_>) {
    let (blocks, _) = x.as_chunks::<32>();
    let (quants, _) = out.quants.as_chunks_mut::<32>();
    for (((x, quants), scale), sum) in blocks.iter().zip(quants).zip(out.scales).zip(out.sums) {
        let (x, _) = x.as_chunks();
        let x = [load_f32x16(&x[0]), load_f32x16(&x[1])];
        let (block_scale, inverse) = scale_and_inverse(amax(vmaxq_u32(magnitudes(x[0]), magnitudes(x[1]))));
        *scale = block_scale;
        let (quants, _) = quants.as_chunks_mut();
        *sum = round_16(x[0], inverse, &mut quants[0]) + round_16(x[1], inverse, &mut quants[1]);
    }
}

#[target_feature(enable = "neon")]
fn blocks_256(x: &[f32], out: Q8Mut<'_>) {
    let (blocks, _) = x.as_chunks::<256>();
    let (quants, _) = out.quants.as_chunks_mut::<256>();
    let (sums, _) = out.sums.as_chunks_mut::<16>();
    for (((x, quants), scale), sums) in blocks.iter().zip(quants).zip(out.scales).zip(sums) {
        let (x, _) = x.as_chunks();
        let largest =
            x.iter().fold(vdupq_n_u32(0), |largest, x| vmaxq_u32(largest, magnitudes(load_f32x16(x))));
        let (block_scale, inverse) = scale_and_inverse(amax(largest));
        *scale = block_scale;
        let (quants, _) = quants.as_chunks_mut();
        for ((x, quants), sum) in x.iter().zip(quants).zip(sums) {
            *sum = round_16(load_f32x16(x), inverse, quants);
        }
    }
}

/// The bits of the largest of each four magnitudes: as integers they have the same order as the
/// numbers, and a NaN is above all of them.
#[target_feature(enable = "neon")]
#[inline]
fn magnitudes(x: [float32x4_t; 4]) -> uint32x4_t {
    let bits = x.map(|x| vreinterpretq_u32_f32(vabsq_f32(x)));
    vmaxq_u32(vmaxq_u32(bits[0], bits[1]), vmaxq_u32(bits[2], bits[3]))
}

#[target_feature(enable = "neon")]
#[inline]
fn amax(bits: uint32x4_t) -> f32 {
    f32::from_bits(vmaxvq_u32(bits))
}

/// Writes `x * inverse`, rounded with ties to even, and returns its sum.
#[target_feature(enable = "neon")]
#[inline]
fn round_16(x: [float32x4_t; 4], inverse: f32, quants: &mut [i8; 16]) -> i32 {
    let rounding = vdupq_n_f32(ROUNDING);
    let q = x.map(|x| vmovn_s32(vreinterpretq_s32_f32(vfmaq_n_f32(rounding, x, inverse))));
    let q = [vcombine_s16(q[0], q[1]), vcombine_s16(q[2], q[3])].map(|q| vmovn_s16(q));
    let q = vcombine_s8(q[0], q[1]);
    store_16(quants, q);
    i32::from(vaddlvq_s8(q))
}
