//! Products of float vectors.

use super::load::{load_bf16x8, load_f16x8, load_f32x8};
use crate::simd::lanes::LANES;
use core::arch::aarch64::*;
use half::{bf16, f16};

/// A type of floats in memory.
pub trait Float: Copy + Default {
    /// Eight of them, at any address.
    ///
    /// # Safety
    ///
    /// They must be readable.
    unsafe fn load(p: *const Self) -> [float32x4_t; 2];
}

impl Float for f32 {
    #[inline(always)]
    unsafe fn load(p: *const Self) -> [float32x4_t; 2] {
        // SAFETY: the caller vouches for the values.
        unsafe { load_f32x8(p.cast()) }
    }
}

impl Float for f16 {
    #[inline(always)]
    unsafe fn load(p: *const Self) -> [float32x4_t; 2] {
        // SAFETY: the caller vouches for the values.
        unsafe { load_f16x8(p.cast()) }
    }
}

impl Float for bf16 {
    #[inline(always)]
    unsafe fn load(p: *const Self) -> [float32x4_t; 2] {
        // SAFETY: the caller vouches for the values.
        unsafe { load_bf16x8(p.cast()) }
    }
}

/// Eight values as vectors.
#[inline(always)]
pub fn vectors<F: Float>(x: &[F; LANES]) -> [float32x4_t; 2] {
    // SAFETY: the array holds them.
    unsafe { F::load(x.as_ptr()) }
}

pub fn dot<F: Float>(a: &[f32], b: &[F]) -> f32 {
    // SAFETY: NEON is part of every target that this module is built for.
    unsafe { sum_of_products(a, b) }
}

/// The last elements, with zeros behind them.
#[inline(always)]
pub fn padded<F: Float>(rest: &[F]) -> [F; LANES] {
    let mut padded = [F::default(); LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

#[target_feature(enable = "neon")]
#[inline]
fn sum_of_products<F: Float>(a: &[f32], b: &[F]) -> f32 {
    let (a, a_rest) = a.as_chunks();
    let (b, b_rest) = b.as_chunks();
    let mut sums = [vdupq_n_f32(0.0); 2];
    let mut add = |a, b| {
        let (a, b) = (vectors::<f32>(a), vectors::<F>(b));
        sums = [vfmaq_f32(sums[0], a[0], b[0]), vfmaq_f32(sums[1], a[1], b[1])];
    };
    for (a, b) in a.iter().zip(b) {
        add(a, b);
    }
    if !a_rest.is_empty() {
        add(&padded(a_rest), &padded(b_rest));
    }
    // Adds neighbours first, as the definition does.
    vaddvq_f32(vaddq_f32(sums[0], sums[1]))
}
