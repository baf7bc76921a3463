//! Eight floats as an array: this defines what [`Lanes`] compute.

use super::lanes::{LANES, Lanes, add_lanes};
use super::quantize::ROUNDING;
use half::{bf16, f16};
use libm::fmaf as fma;

fn each(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    core::array::from_fn(f)
}

impl Lanes for [f32; LANES] {
    type Wide = [f64; LANES];
    type Weights = [f32; LANES];

    fn splat(x: f32) -> Self {
        [x; LANES]
    }

    unsafe fn load<const GROUP: usize>(p: *const f32) -> Self {
        // SAFETY: the caller guarantees that the values are readable.
        each(|i| unsafe { *p.add(LANES * GROUP + i) })
    }

    unsafe fn load_f16<const GROUP: usize>(p: *const f16) -> Self {
        // SAFETY: the caller guarantees that the values are readable.
        each(|i| unsafe { *p.add(LANES * GROUP + i) }.to_f32())
    }

    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: the caller guarantees that the values are readable.
        each(|i| unsafe { *p.add(i) }.to_f32())
    }

    unsafe fn load_i8<const GROUP: usize>(p: *const i8) -> Self {
        // SAFETY: the caller guarantees that the values are readable.
        each(|i| f32::from(unsafe { *p.add(LANES * GROUP + i) }))
    }

    unsafe fn splat_f16(p: *const u8) -> Self {
        // SAFETY: the caller guarantees that the bytes are readable.
        let bytes = unsafe { *p.cast::<[u8; 2]>() };
        Self::splat(f16::from_le_bytes(bytes).to_f32())
    }

    fn store(self, out: &mut [f32; LANES]) {
        *out = self;
    }

    fn store_f16(self, out: &mut [f16; LANES]) {
        *out = self.map(f16::from_f32);
    }

    fn add(self, b: Self) -> Self {
        each(|i| self[i] + b[i])
    }

    fn sub(self, b: Self) -> Self {
        each(|i| self[i] - b[i])
    }

    fn mul(self, b: Self) -> Self {
        each(|i| self[i] * b[i])
    }

    fn div(self, b: Self) -> Self {
        each(|i| self[i] / b[i])
    }

    fn fma(self, b: Self, c: Self) -> Self {
        each(|i| fma(self[i], b[i], c[i]))
    }

    fn max(self, b: Self) -> Self {
        each(|i| if b[i] > self[i] { b[i] } else { self[i] })
    }

    fn min(self, b: Self) -> Self {
        each(|i| if b[i] < self[i] { b[i] } else { self[i] })
    }

    fn abs(self) -> Self {
        self.map(f32::abs)
    }

    fn max_magnitude(self, b: Self) -> Self {
        // Compared as integers, magnitudes keep their order, and NaN is larger than all others.
        each(|i| f32::from_bits(self[i].to_bits().max(b[i].to_bits())))
    }

    fn largest_magnitude(self) -> f32 {
        f32::from_bits(self.map(f32::to_bits).into_iter().max().unwrap_or(0))
    }

    fn round(x: [Self; 2], inverse: f32, out: &mut [i8; 2 * LANES]) -> i32 {
        for (quant, x) in out.iter_mut().zip(x.as_flattened()) {
            *quant = fma(*x, inverse, ROUNDING).to_bits() as i8;
        }
        out.iter().map(|&quant| i32::from(quant)).sum()
    }

    fn low_bits_to_exponent(self) -> Self {
        each(|i| f32::from_bits(self[i].to_bits() << 23))
    }

    fn rope_norm(self, cos: &[f32; LANES / 2], sin: &[f32; LANES / 2]) -> Self {
        each(|i| {
            let product = self[i ^ 1] * sin[i / 2];
            fma(self[i], cos[i / 2], if i % 2 == 0 { -product } else { product })
        })
    }

    fn fold(v: [Self; 4]) -> [f32; 4] {
        v.map(add_lanes)
    }

    fn weights(w: &[f32; LANES]) -> Self::Weights {
        *w
    }

    fn add_weighted<const INDEX: usize>(self, v: Self, w: Self::Weights) -> Self {
        v.fma(Self::splat(w[INDEX]), self)
    }

    fn wide_zeros() -> Self::Wide {
        [0.0; LANES]
    }

    fn add_to(self, sums: Self::Wide) -> Self::Wide {
        core::array::from_fn(|i| sums[i] + f64::from(self[i]))
    }

    fn add_square_to(self, sums: Self::Wide) -> Self::Wide {
        core::array::from_fn(|i| sums[i] + f64::from(self[i]) * f64::from(self[i]))
    }

    fn wide_values(sums: Self::Wide) -> [f64; LANES] {
        sums
    }
}
