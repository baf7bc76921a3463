//! f32 to the K blocks of 2 to 6 bits, by the searches of ggml's quantisers.

use super::fit::{self, TINY, WithMin, by_importance, mean_square, round_to, steps};
use crate::blocks::{BlockQ2K, BlockQ3K, BlockQ4K, BlockQ5K, BlockQ6K, HalfBytes, six_bits};

/// The importances of the columns of a block of 256 weights, if they are known.
pub type Importance<'w> = Option<&'w [f32; 256]>;

/// How to fit groups with a minimum if no importances are known.
struct Plain<W> {
    /// The first grid to try, in steps beyond the largest code; each following one is a tenth wider.
    first_width: f32,
    n_steps: u8,
    /// Whether magnitudes of errors count instead of squares.
    is_absolute: bool,
    /// Given the mean square of a group, what is added to the magnitude of each weight, so that small weights count too.
    floor: W,
}

/// Scales and minimums of `N` groups of `LEN` weights.
struct WithMins<const N: usize> {
    d: HalfBytes,
    d_min: HalfBytes,
    scales: [u8; N],
    mins: [u8; N],
}

impl<const N: usize> WithMins<N> {
    /// Fits groups to codes of `0..=max`, and their scales and minimums to `0..=max_scale`.
    ///
    /// If importances are known, `spread` times the mean square of the block is added to the square of every weight.
    fn new<const LEN: usize>(
        x: &[f32; 256],
        importance: Importance<'_>,
        (max, max_scale, spread): (u8, u8, f32),
        plain: &Plain<impl Fn(f32) -> f32>,
    ) -> Self {
        let (groups, _) = x.as_chunks::<LEN>();
        let (scale_of_scales, scales, scale_of_mins, mins);
        if let Some(importance) = importance {
            let (importance, _) = importance.as_chunks::<LEN>();
            let square = spread * mean_square(x);
            let weights: [[f32; LEN]; N] =
                core::array::from_fn(|j| by_importance(&groups[j], &importance[j], square));
            let fits: [WithMin<LEN>; N] = core::array::from_fn(|j| {
                fit::with_min(&groups[j], &weights[j], max, fit::weighted_widths(), false)
            });
            let sums = weights.map(|weights| weights.iter().sum());
            (scale_of_scales, scales) =
                fit::positive(&fits.each_ref().map(|fit| fit.scale), &sums, max_scale);
            (scale_of_mins, mins) = fit::positive(&fits.map(|fit| fit.min), &sums, max_scale);
        } else {
            let fits: [WithMin<LEN>; N] = core::array::from_fn(|j| {
                let floor = (plain.floor)(mean_square(&groups[j]));
                let weights = groups[j].map(|x| floor + x.abs());
                let widths = steps(plain.first_width, 0.1, plain.n_steps);
                fit::with_min(&groups[j], &weights, max, widths, plain.is_absolute)
            });
            let rounded = |values: [f32; N]| {
                let highest = values.iter().copied().fold(0.0, f32::max);
                let inverse = if highest > 0.0 { f32::from(max_scale) / highest } else { 0.0 };
                (highest / f32::from(max_scale), values.map(|value| round_to(inverse * value, max_scale)))
            };
            (scale_of_scales, scales) = rounded(fits.each_ref().map(|fit| fit.scale));
            (scale_of_mins, mins) = rounded(fits.map(|fit| fit.min));
        }
        let (d, d_min) = (HalfBytes::from_f32(scale_of_scales), HalfBytes::from_f32(scale_of_mins));
        Self { d, d_min, scales, mins }
    }

    /// The codes, `0..=max`, for the scales as they are stored.
    fn codes(&self, x: &[f32; 256], max: u8) -> [u8; 256] {
        let mut codes = [0; 256];
        let len = 256 / N;
        for (j, (codes, x)) in codes.chunks_exact_mut(len).zip(x.chunks_exact(len)).enumerate() {
            let scale = self.d.to_f32() * f32::from(self.scales[j]);
            let min = self.d_min.to_f32() * f32::from(self.mins[j]);
            if scale != 0.0 {
                for (code, x) in codes.iter_mut().zip(x) {
                    *code = round_to((x + min) / scale, max);
                }
            }
        }
        codes
    }
}

/// The inverse of [`six_bits`].
fn pack_six_bits(scales: [u8; 8], mins: [u8; 8]) -> [u8; 12] {
    core::array::from_fn(|i| match i {
        0..4 => scales[i] | scales[i + 4] >> 4 << 6,
        4..8 => mins[i - 4] | mins[i] >> 4 << 6,
        _ => scales[i - 4] & 0xf | mins[i - 4] << 4,
    })
}

/// Weights `64 c + m` and `64 c + 32 + m` in byte `32 c + m`.
fn pack_nibbles(codes: &[u8; 256]) -> [u8; 128] {
    core::array::from_fn(|i| {
        let first = 64 * (i / 32) + i % 32;
        codes[first] & 0xf | codes[first + 32] << 4
    })
}

/// The low two bits of weight `128 c + 32 s + m` in bits `2 s` of byte `32 c + m`.
fn pack_pairs(codes: &[u8; 256]) -> [u8; 64] {
    core::array::from_fn(|i| {
        (0..4).fold(0, |bits, s| bits | (codes[128 * (i / 32) + 32 * s + i % 32] & 3) << (2 * s))
    })
}

/// Bit `bit` of weight `32 s + m` in bit `s` of byte `m`.
fn pack_bit(codes: &[u8; 256], bit: u8) -> [u8; 32] {
    core::array::from_fn(|m| (0..8).fold(0, |bits, s| bits | (codes[32 * s + m] >> bit & 1) << s))
}

pub fn q2_k(x: &[f32; 256], importance: Importance<'_>) -> BlockQ2K {
    let plain = Plain { first_width: -0.5, n_steps: 15, is_absolute: true, floor: |_| 0.0 };
    let made = WithMins::<16>::new::<16>(x, importance, (3, 15, 1.0), &plain);
    BlockQ2K {
        scales: core::array::from_fn(|j| made.scales[j] | made.mins[j] << 4),
        qs: pack_pairs(&made.codes(x, 3)),
        d: made.d,
        d_min: made.d_min,
    }
}

pub fn q4_k(x: &[f32; 256], importance: Importance<'_>) -> BlockQ4K {
    let plain = Plain { first_width: -1.0, n_steps: 20, is_absolute: false, floor: libm::sqrtf };
    let made = WithMins::<8>::new::<32>(x, importance, (15, 63, 2.0), &plain);
    let scales = pack_six_bits(made.scales, made.mins);
    debug_assert_eq!(six_bits(&scales), (made.scales, made.mins));
    BlockQ4K { d: made.d, d_min: made.d_min, scales, qs: pack_nibbles(&made.codes(x, 15)) }
}

pub fn q5_k(x: &[f32; 256], importance: Importance<'_>) -> BlockQ5K {
    let plain = Plain { first_width: -0.5, n_steps: 15, is_absolute: false, floor: libm::sqrtf };
    let made = WithMins::<8>::new::<32>(x, importance, (31, 63, 2.0), &plain);
    let codes = made.codes(x, 31);
    BlockQ5K {
        d: made.d,
        d_min: made.d_min,
        scales: pack_six_bits(made.scales, made.mins),
        qh: pack_bit(&codes, 4),
        qs: pack_nibbles(&codes),
    }
}

/// The codes, `0..2 n`, of 16 groups of 16 weights for the scales as they are stored.
fn codes_about_zero(x: &[f32; 256], d: HalfBytes, scales: &[i8; 16], n: i8) -> [u8; 256] {
    let mut codes = [n as u8; 256];
    for ((codes, x), &scale) in codes.chunks_exact_mut(16).zip(x.chunks_exact(16)).zip(scales) {
        let scale = d.to_f32() * f32::from(scale);
        if scale != 0.0 {
            let limit = f32::from(n);
            for (code, x) in codes.iter_mut().zip(x) {
                *code = (libm::rintf(x / scale).clamp(-limit, limit - 1.0) as i8 + n) as u8;
            }
        }
    }
    codes
}

pub fn q3_k(x: &[f32; 256], importance: Importance<'_>) -> BlockQ3K {
    let (groups, _) = x.as_chunks::<16>();
    let (d, scales): (f32, [i8; 16]);
    if let Some(importance) = importance {
        let (importance, _) = importance.as_chunks::<16>();
        let square = 2.0 * mean_square(x);
        let weights: [[f32; 16]; 16] =
            core::array::from_fn(|j| by_importance(&groups[j], &importance[j], square));
        let fits: [f32; 16] = core::array::from_fn(|j| fit::symmetric(&groups[j], &weights[j], 4).scale);
        let of_scales = fit::symmetric(&fits, &weights.map(|weights| weights.iter().sum()), 32);
        scales = fits.map(|fit| of_scales.code(fit) as i8 - 32);
        d = of_scales.scale;
    } else {
        let fits: [f32; 16] = core::array::from_fn(|j| fit::improved_about_zero(&groups[j], 4));
        let largest = fit::extreme(&fits);
        let inverse = -32.0 / largest;
        d = if largest == 0.0 { 0.0 } else { 1.0 / inverse };
        scales =
            fits.map(
                |fit| if largest == 0.0 { -32 } else { libm::rintf(inverse * fit).clamp(-32.0, 31.0) as i8 },
            );
    }
    let d = HalfBytes::from_f32(d);
    let codes = codes_about_zero(x, d, &scales, 4);
    let stored = scales.map(|scale| (scale + 32) as u8);
    BlockQ3K {
        hmask: pack_bit(&codes, 2),
        qs: pack_pairs(&codes),
        scales: core::array::from_fn(|i| match i {
            0..8 => stored[i] & 0xf | stored[i + 8] << 4,
            _ => (0..4).fold(0, |bits, k| bits | stored[4 * k + i - 8] >> 4 << (2 * k)),
        }),
        d,
    }
}

pub fn q6_k(x: &[f32; 256], importance: Importance<'_>) -> BlockQ6K {
    let (groups, _) = x.as_chunks::<16>();
    let squares = x.map(|x| x * x);
    let (weights, _) = importance.unwrap_or(&squares).as_chunks::<16>();
    let fits: [f32; 16] = core::array::from_fn(|j| fit::symmetric(&groups[j], &weights[j], 32).scale);
    let largest = fit::extreme(&fits);
    if largest.abs() < TINY {
        // The code 0 stands for -32, but the scale is 0.
        return BlockQ6K { ql: [0; 128], qh: [0; 64], scales: [0; 16], d: HalfBytes::from_f32(0.0) };
    }
    let inverse = -128.0 / largest;
    let d = HalfBytes::from_f32(1.0 / inverse);
    let scales = fits.map(|fit| libm::rintf(inverse * fit).min(127.0) as i8);
    let codes = codes_about_zero(x, d, &scales, 32);
    BlockQ6K {
        ql: core::array::from_fn(|i| {
            let first = 128 * (i / 64) + i % 64;
            codes[first] & 0xf | codes[first + 64] << 4
        }),
        qh: core::array::from_fn(|i| {
            (0..4).fold(0, |bits, s| bits | codes[128 * (i / 32) + 32 * s + i % 32] >> 4 << (2 * s))
        }),
        scales,
        d,
    }
}
