//! Activations rounded to 8 bits, in the vectors of each set.
//!
//! As [`scalar`](super::scalar) says, they become the integers in the lowest bits of `fma(x, 1 / scale, ROUNDING)`.

use super::lanes::{Lanes, Work};
use super::{Q8Format, Q8Mut};
use core::ops::RangeInclusive;

/// The smallest and the largest scale of activations. Products with any f16 and with the power of two that a
/// set may keep its weights shifted by (1/16) are normal numbers, so that every set rounds alike.
const SCALES: RangeInclusive<f32> = 1.0 / (1_u128 << 92) as f32..=(1_u128 << 96) as f32;

/// Added to a product, it leaves its nearest integer in the lowest bits of the sum, ties to even: from 2^23 on the
/// integers are what an f32 has, and half as much more keeps negative products above it.
pub(super) const ROUNDING: f32 = 1.5 * (1 << 23) as f32;

/// The scale and its inverse for values of magnitude up to `amax`, so that it becomes 127: at most 127.497 before
/// it is rounded.
///
/// A scale is rounded to eight significant bits, a bf16 as ggml's is an f16: its product with an f16 is exact,
/// and with the sum of the products of 32 small integers it fits the 24 bits of an f32.
///
/// Values too small for the smallest scale become zeros; those that are too large or not finite get a
/// scale of NaN, so that every product with them is NaN as well.
fn scale_and_inverse(amax: f32) -> (f32, f32) {
    let scale = f32::from_bits(((amax / 127.0).to_bits() + 0x8000) & 0xffff_0000);
    if scale < *SCALES.start() {
        (0.0, 0.0)
    } else if scale <= *SCALES.end() {
        (scale, 1.0 / scale)
    } else {
        (f32::NAN, 0.0)
    }
}

/// Rounds whole blocks of this format in vectors of type `V`.
///
/// # Safety
///
/// The CPU must have the instructions of `V`'s set.
pub unsafe fn quantize<V: Lanes>(format: Q8Format, x: &[f32], out: Q8Mut<'_>) {
    // SAFETY: the CPU has the instructions, as is asked of the caller here and there.
    unsafe { V::enter::<V>(Rounding { format, x, out }) }
}

struct Rounding<'a> {
    format: Q8Format,
    x: &'a [f32],
    out: Q8Mut<'a>,
}

impl<V: Lanes> Work<V> for Rounding<'_> {
    #[inline(always)]
    fn run(self) {
        let Q8Mut { quants, scales, sums } = self.out;
        match self.format {
            Q8Format::Blocks32 => {
                let blocks = self.x.as_chunks::<32>().0.iter().zip(quants.as_chunks_mut::<32>().0);
                for (((x, quants), scale), sum) in blocks.zip(scales).zip(sums) {
                    let p = x.as_ptr();
                    // SAFETY: the block holds four vectors.
                    let x =
                        unsafe { [[V::load::<0>(p), V::load::<1>(p)], [V::load::<2>(p), V::load::<3>(p)]] };
                    let largest = largest(x[0]).max_magnitude(largest(x[1]));
                    let (block_scale, inverse) = scale_and_inverse(largest.largest_magnitude());
                    *scale = block_scale;
                    let (quants, _) = quants.as_chunks_mut();
                    *sum = V::round(x[0], inverse, &mut quants[0]) + V::round(x[1], inverse, &mut quants[1]);
                }
            }
            Q8Format::Blocks256 => {
                let blocks = self.x.as_chunks::<256>().0.iter().zip(quants.as_chunks_mut::<256>().0);
                for (((x, quants), scale), sums) in blocks.zip(scales).zip(sums.as_chunks_mut::<16>().0) {
                    let (x, _) = x.as_chunks::<16>();
                    let mut all = V::splat(0.0);
                    for x in x {
                        all = all.max_magnitude(largest(pair(x)));
                    }
                    let (block_scale, inverse) = scale_and_inverse(all.largest_magnitude());
                    *scale = block_scale;
                    for ((x, quants), sum) in x.iter().zip(quants.as_chunks_mut().0).zip(sums) {
                        *sum = V::round(pair(x), inverse, quants);
                    }
                }
            }
        }
    }
}

/// Two vectors.
#[inline(always)]
fn pair<V: Lanes>(x: &[f32; 16]) -> [V; 2] {
    let p = x.as_ptr();
    // SAFETY: the array holds both.
    unsafe { [V::load::<0>(p), V::load::<1>(p)] }
}

/// The larger magnitude of each two.
#[inline(always)]
fn largest<V: Lanes>([a, b]: [V; 2]) -> V {
    a.abs().max_magnitude(b.abs())
}
