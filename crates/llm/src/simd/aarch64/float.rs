//! Products and sums of float vectors.

use super::load::{load_f16x16, load_f32x16, store_f32x16};
use core::arch::aarch64::*;
use half::f16;

pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    // SAFETY: NEON is part of every target that this module is built for.
    unsafe { dot(a, b, load_f32x16, |x| x) }
}

pub fn dot_f16(a: &[f32], b: &[f16]) -> f32 {
    // SAFETY: NEON is part of every target that this module is built for.
    unsafe { dot(a, b, load_f16x16, f16::to_f32) }
}

pub fn add_scaled_f32(acc: &mut [f32], scale: f32, x: &[f32]) {
    // SAFETY: NEON is part of every target that this module is built for.
    unsafe { add_scaled(acc, scale, x, load_f32x16, |x| x) }
}

pub fn add_scaled_f16(acc: &mut [f32], scale: f32, x: &[f16]) {
    // SAFETY: NEON is part of every target that this module is built for.
    unsafe { add_scaled(acc, scale, x, load_f16x16, f16::to_f32) }
}

#[target_feature(enable = "neon")]
#[inline]
fn dot<T: Copy>(
    a: &[f32],
    b: &[T],
    load: impl Fn(&[T; 16]) -> [float32x4_t; 4],
    to_f32: impl Fn(T) -> f32,
) -> f32 {
    let (a, a_rest) = a.as_chunks();
    let (b, b_rest) = b.as_chunks();
    let mut sums = [vdupq_n_f32(0.0); 4];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (load_f32x16(a), load(b));
        for i in 0..4 {
            sums[i] = vfmaq_f32(sums[i], a[i], b[i]);
        }
    }
    let sum = vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3]));
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| a * to_f32(b)).sum();
    vaddvq_f32(sum) + rest
}

#[target_feature(enable = "neon")]
#[inline]
fn add_scaled<T: Copy>(
    acc: &mut [f32],
    scale: f32,
    x: &[T],
    load: impl Fn(&[T; 16]) -> [float32x4_t; 4],
    to_f32: impl Fn(T) -> f32,
) {
    let (acc, acc_rest) = acc.as_chunks_mut();
    let (x, x_rest) = x.as_chunks();
    for (acc, x) in acc.iter_mut().zip(x) {
        let (mut sums, x) = (load_f32x16(acc), load(x));
        for i in 0..4 {
            sums[i] = vfmaq_n_f32(sums[i], x[i], scale);
        }
        store_f32x16(acc, sums);
    }
    for (acc, &x) in acc_rest.iter_mut().zip(x_rest) {
        *acc += scale * to_f32(x);
    }
}
