//! The exponential function, and the functions built on it.
//!
//! `x` is split into `n ln 2 + r` with an integer `n` and `|r| ≤ ln 2 / 2` (Cody and Waite 1980). A polynomial gives `exp(r)`,
//! and `2^n` is assembled from its bits.

use super::lanes::Lanes;

/// At and below this value the result is 0: `2^n` would be less than the smallest normal number.
const LOWEST: f32 = -87.0;
/// Above this value the result overflows.
const HIGHEST: f32 = 89.0;

const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// `ln 2` in two parts. The first has nine bits, so that its products with `n` are exact.
const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];

/// Adding this to a small number rounds the number to an integer, which is then in the lowest bits. The constant also adds 126
/// to them, which makes them the biased exponent of `2^(n-1)`.
const ROUNDER: f32 = 12_582_912.0 + 126.0;

/// `2 exp(r) = 2 + 2r + c₂r² + c₃r³ + …`, highest power first. The coefficients minimise the relative error, which is below
/// 2^-28 before rounding.
const COEFFICIENTS: [f32; 5] = [0.002_762_907_9, 0.016_737_49, 0.083_336_78, 0.333_330_42, 0.999_999_9];

/// `exp(x)`, within one unit in the last place; 0 below -86.98 (where it would be less than 1.7e-38), infinite from 88.73 on,
/// NaN for NaN.
#[inline(always)]
pub fn exp<V: Lanes>(x: V) -> V {
    exp_below_highest(x.min(V::splat(HIGHEST)))
}

/// As [`exp`], for an `x` that is at most 89 or NaN.
#[inline(always)]
pub fn exp_below_highest<V: Lanes>(x: V) -> V {
    let x = x.max(V::splat(LOWEST));
    let shifted = x.fma(V::splat(LOG2_E), V::splat(ROUNDER));
    let n = shifted.sub(V::splat(ROUNDER));
    let r = n.fma(V::splat(-LN_2[0]), x);
    let r = n.fma(V::splat(-LN_2[1]), r);
    let [first, rest @ ..] = COEFFICIENTS;
    let mut sum = V::splat(first);
    for coefficient in rest {
        sum = sum.fma(r, V::splat(coefficient));
    }
    let sum = sum.fma(r, V::splat(2.0)).fma(r, V::splat(2.0));
    // Twice exp(r), times half of 2^n: 2^n itself would overflow before the product does.
    sum.mul(shifted.low_bits_to_exponent())
}

/// `ln(1 + exp(x))`, a smooth form of `max(x, 0)`. It is computed as `max(x, 0) + ln(1 + t)` with `t = exp(-|x|)`, which is at
/// most 1.
///
/// `ln(1 + t)` is `2 artanh(s)` with `s = t / (2 + t)`, which is at most 1/3. The power series ends where further terms no
/// longer change the result.
#[inline(always)]
pub fn softplus<V: Lanes>(x: V) -> V {
    /// `2 / (2n + 1)`, highest power first.
    const SERIES: [f32; 7] = [2.0 / 15.0, 2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0];
    let zero = V::splat(0.0);
    let positive = x.max(zero);
    // -|x|
    let t = exp_below_highest(x.min(zero).sub(positive));
    let s = t.div(t.add(V::splat(2.0)));
    let square = s.mul(s);
    let [first, rest @ ..] = SERIES;
    let mut sum = V::splat(first);
    for coefficient in rest {
        sum = sum.fma(square, V::splat(coefficient));
    }
    sum.fma(square, V::splat(2.0)).fma(s, positive)
}

/// `x / (1 + exp(-x))` (Elfwing et al. 2017).
#[inline(always)]
pub fn silu<V: Lanes>(x: V) -> V {
    divided(x, x.mul(V::splat(-1.0)))
}

/// `x / (1 + exp(-gate))`.
#[inline(always)]
pub fn sigmoid_gated<V: Lanes>(x: V, gate: V) -> V {
    divided(x, gate.mul(V::splat(-1.0)))
}

/// The tanh form of GELU (Hendrycks and Gimpel 2016): `x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`,
/// which is `x / (1 + exp(-2 √(2/π) (x + 0.044715 x³)))`.
#[inline(always)]
pub fn gelu<V: Lanes>(x: V) -> V {
    /// `-2 √(2/π)`
    const LINEAR: f32 = -1.595_769;
    const CUBIC: f32 = LINEAR * 0.044_715;
    let factor = x.mul(x).fma(V::splat(CUBIC), V::splat(LINEAR));
    divided(x, x.mul(factor))
}

/// `x / (1 + exp(exponent))`.
#[inline(always)]
fn divided<V: Lanes>(x: V, exponent: V) -> V {
    x.div(exp(exponent).add(V::splat(1.0)))
}

/// `tanh(x) = 1 - 2 / (1 + exp(2x))`.
#[inline(always)]
pub fn tanh<V: Lanes>(x: V) -> V {
    let denominator = exp(x.add(x)).add(V::splat(1.0));
    V::splat(1.0).sub(V::splat(2.0).div(denominator))
}
