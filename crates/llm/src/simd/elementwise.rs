//! What is done to each element of a row, and the sums that normalisations need.

use super::exp;
use super::lanes::Lanes;
use super::scalar::LANES;

/// Takes the first elements of pairs, the second ones, cosines and sines.
type TurnFn = fn(&mut [f32], &mut [f32], &[f32], &[f32]);

/// Routines over rows, as entries of a set's table.
///
/// Lengths are equal where there are several slices.
pub struct Elementwise {
    pub add: fn(&mut [f32], &[f32]),
    pub add_scaled: fn(&mut [f32], f32, &[f32]),
    pub multiply: fn(&mut [f32], &[f32]),
    pub scale: fn(&mut [f32], f32),
    pub shift: fn(&mut [f32], f32),
    pub sum: fn(&[f32]) -> f64,
    pub sum_of_squares: fn(&[f32]) -> f64,
    pub exp: fn(&mut [f32]),
    pub silu: fn(&mut [f32]),
    pub silu_gated: fn(&mut [f32], &[f32]),
    pub gelu: fn(&mut [f32]),
    pub gelu_gated: fn(&mut [f32], &[f32]),
    pub tanh: fn(&mut [f32]),
    pub turn_halves: TurnFn,
    pub turn_pairs: fn(&mut [f32], &[f32], &[f32]),
}

impl Elementwise {
    /// The routines in vectors of type `V`.
    pub const fn of<V: Lanes>() -> Self {
        Elementwise {
            add: |x, y| V::enter(|| zip::<V>(x, y, |x, y| x.add(y))),
            add_scaled: |x, factor, y| V::enter(|| zip::<V>(x, y, |x, y| y.fma(V::splat(factor), x))),
            multiply: |x, y| V::enter(|| zip::<V>(x, y, |x, y| x.mul(y))),
            scale: |x, factor| V::enter(|| map::<V>(x, |x| x.mul(V::splat(factor)))),
            shift: |x, addend| V::enter(|| map::<V>(x, |x| x.add(V::splat(addend)))),
            sum: |x| V::enter(|| fold::<V>(x, |sums, x| x.add_to(sums))),
            sum_of_squares: |x| V::enter(|| fold::<V>(x, |sums, x| x.add_square_to(sums))),
            exp: |x| V::enter(|| map::<V>(x, |x| exp::exp(x))),
            silu: |x| V::enter(|| map::<V>(x, |x| exp::silu(x))),
            silu_gated: |up, gate| V::enter(|| zip::<V>(up, gate, |up, gate| up.mul(exp::silu(gate)))),
            gelu: |x| V::enter(|| map::<V>(x, |x| exp::gelu(x))),
            gelu_gated: |up, gate| V::enter(|| zip::<V>(up, gate, |up, gate| up.mul(exp::gelu(gate)))),
            tanh: |x| V::enter(|| map::<V>(x, |x| exp::tanh(x))),
            turn_halves: |first, second, cos, sin| {
                V::enter(|| turn_halves::<V>(first, second, cos, sin));
            },
            turn_pairs: |x, cos, sin| V::enter(|| turn_pairs::<V>(x, cos, sin)),
        }
    }
}

/// `x[i] = f(x[i])`.
#[inline(always)]
fn map<V: Lanes>(x: &mut [f32], f: impl Fn(V) -> V) {
    let (vectors, rest) = x.as_chunks_mut();
    for x in vectors {
        f(V::of(x)).store(x);
    }
    if !rest.is_empty() {
        let mut last = padded(rest);
        f(V::of(&last)).store(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// `x[i] = f(x[i], y[i])`.
#[inline(always)]
fn zip<V: Lanes>(x: &mut [f32], y: &[f32], f: impl Fn(V, V) -> V) {
    let (vectors, rest) = x.as_chunks_mut();
    let (y_vectors, y_rest) = y.as_chunks();
    for (x, y) in vectors.iter_mut().zip(y_vectors) {
        f(V::of(x), V::of(y)).store(x);
    }
    if !rest.is_empty() {
        let mut last = padded(rest);
        f(V::of(&last), V::of(&padded(y_rest))).store(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// Eight sums in double precision, the `i`-th of the elements `i`, `i + 8`, …, added up in order.
#[inline(always)]
fn fold<V: Lanes>(x: &[f32], add: impl Fn(V::Wide, V) -> V::Wide) -> f64 {
    let (vectors, rest) = x.as_chunks();
    let mut sums = V::wide_zeros();
    for x in vectors {
        sums = add(sums, V::of(x));
    }
    if !rest.is_empty() {
        sums = add(sums, V::of(&padded(rest)));
    }
    V::wide_values(sums).into_iter().sum()
}

/// Turns each pair `(first[i], second[i])`.
#[inline(always)]
fn turn_halves<V: Lanes>(first: &mut [f32], second: &mut [f32], cos: &[f32], sin: &[f32]) {
    let turn = |a: &mut [f32; LANES], b: &mut [f32; LANES], cos: &[f32; LANES], sin: &[f32; LANES]| {
        let (x, y, cos, sin) = (V::of(a), V::of(b), V::of(cos), V::of(sin));
        x.fma(cos, y.mul(V::splat(-1.0)).mul(sin)).store(a);
        y.fma(cos, x.mul(sin)).store(b);
    };
    let (firsts, first_rest) = first.as_chunks_mut();
    let (seconds, second_rest) = second.as_chunks_mut();
    let ((cos, cos_rest), (sin, sin_rest)) = (cos.as_chunks(), sin.as_chunks());
    for (((a, b), cos), sin) in firsts.iter_mut().zip(seconds).zip(cos).zip(sin) {
        turn(a, b, cos, sin);
    }
    if !first_rest.is_empty() {
        let (mut a, mut b) = (padded(first_rest), padded(second_rest));
        turn(&mut a, &mut b, &padded(cos_rest), &padded(sin_rest));
        first_rest.copy_from_slice(&a[..first_rest.len()]);
        second_rest.copy_from_slice(&b[..second_rest.len()]);
    }
}

/// Turns each pair `(x[2i], x[2i + 1])`.
#[inline(always)]
fn turn_pairs<V: Lanes>(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (vectors, rest) = x.as_chunks_mut();
    let ((cos, cos_rest), (sin, sin_rest)) = (cos.as_chunks(), sin.as_chunks());
    for ((x, cos), sin) in vectors.iter_mut().zip(cos).zip(sin) {
        V::of(x).turn_pairs(cos, sin).store(x);
    }
    if !rest.is_empty() {
        let mut last = padded(rest);
        V::of(&last).turn_pairs(&padded(cos_rest), &padded(sin_rest)).store(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// The last elements, with zeros behind them.
#[inline(always)]
fn padded<const N: usize>(rest: &[f32]) -> [f32; N] {
    let mut padded = [0.0; N];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}
