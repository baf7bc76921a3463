//! Activations rounded to 8 bits, in the vectors of each set.
//!
//! As [`scalar`](super::scalar) defines, each becomes the integer in the lowest bits of `fma(x, 1 / scale, ROUNDING)`.

use super::lanes::{Lanes, Work};
use super::{Q8Format, Q8Mut};
use core::ops::RangeInclusive;

/// The smallest and the largest scale of activations. The product of a scale with any f16 is a normal number, even times 1/16,
/// by which a set multiplies scales if it keeps weights shifted left by four bits. So all sets round alike.
const SCALES: RangeInclusive<f32> = 1.0 / (1_u128 << 92) as f32..=(1_u128 << 96) as f32;

/// Adding this to a product leaves the nearest integer, ties to even, in the lowest bits of the sum: between 2^23 and 2^24 the
/// f32 numbers are the integers, and the additional 2^22 keeps the sum above 2^23 if the product is negative.
pub(super) const ROUNDING: f32 = 1.5 * (1 << 23) as f32;

/// The scale for values of magnitude up to `amax`, and its inverse. `amax` becomes 127; before rounding it is at most 127.497.
///
/// A scale is rounded to the eight significant bits of a bf16 (ggml's are f16). So its products with an f16, and with a sum of
/// products of 32 small integers, fit the 24 bits of an f32 and are exact.
///
/// Values too small for the smallest scale become zeros. Values that are too large or not finite get the scale NaN, so that
/// every product with them is NaN as well.
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
    // SAFETY: the caller guarantees that the CPU has the instructions.
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

/// The two vectors of an array.
#[inline(always)]
fn pair<V: Lanes>(x: &[f32; 16]) -> [V; 2] {
    let p = x.as_ptr();
    // SAFETY: the array holds two vectors.
    unsafe { [V::load::<0>(p), V::load::<1>(p)] }
}

/// The larger magnitude in each lane.
#[inline(always)]
fn largest<V: Lanes>([a, b]: [V; 2]) -> V {
    a.abs().max_magnitude(b.abs())
}
