//! f32 to the K blocks of 4, 5 and 6 bits, by the searches of ggml's reference quantisers.
//!
//! Both searches try grids somewhat wider and narrower than the one that just covers the values, fit
//! the scale (and minimum) to the rounded values by weighted least squares and keep the best.

use crate::blocks::{BlockQ4K, BlockQ5K, BlockQ6K, HalfBytes, six_bits};

/// The nearest integer, ties to even, in `0..=max`.
fn round_to(x: f32, max: u8) -> u8 {
    (libm::rintf(x) as i32).clamp(0, i32::from(max)) as u8
}

/// Rounds 32 values to `0..=max` on a grid that starts at a minimum not above 0. Returns its scale
/// and the minimum's magnitude.
///
/// `widths` are the grids tried, in steps beyond `max`.
fn fit_with_min(x: &[f32; 32], max: u8, widths: impl Iterator<Item = f32>) -> (f32, f32) {
    let mean_square = x.iter().map(|x| x * x).sum::<f32>() / 32.0;
    let weights = x.map(|x| libm::sqrtf(mean_square) + x.abs());
    let lowest = x.iter().copied().fold(x[0], f32::min).min(0.0);
    let highest = x.iter().copied().fold(x[0], f32::max);
    if highest == lowest {
        return (0.0, -lowest);
    }
    let error = |scale: f32, min: f32, codes: &[u8; 32]| -> f32 {
        let errors = codes.iter().zip(x).map(|(&code, x)| scale * f32::from(code) + min - x);
        errors.zip(&weights).map(|(error, w)| w * (error * error)).sum()
    };
    let sum_w: f32 = weights.iter().sum();
    let sum_x: f32 = weights.iter().zip(x).map(|(w, x)| w * x).sum();

    let inverse = f32::from(max) / (highest - lowest);
    let codes = x.map(|x| round_to(inverse * (x - lowest), max));
    let (mut scale, mut min) = (1.0 / inverse, lowest);
    let mut least_error = error(scale, min, &codes);
    for width in widths {
        // From the best minimum so far, not from the lowest value.
        let inverse = (width + f32::from(max)) / (highest - min);
        let codes = x.map(|x| round_to(inverse * (x - min), max));
        let (mut sum_l, mut sum_ll, mut sum_lx) = (0.0, 0.0, 0.0);
        for ((&code, &x), &w) in codes.iter().zip(x).zip(&weights) {
            let l = f32::from(code);
            sum_l += w * l;
            sum_ll += w * l * l;
            sum_lx += w * l * x;
        }
        let determinant = sum_w * sum_ll - sum_l * sum_l;
        if determinant <= 0.0 {
            continue;
        }
        let mut fitted_scale = (sum_w * sum_lx - sum_x * sum_l) / determinant;
        let mut fitted_min = (sum_ll * sum_x - sum_l * sum_lx) / determinant;
        if fitted_min > 0.0 {
            (fitted_scale, fitted_min) = (sum_lx / sum_ll, 0.0);
        }
        let fitted_error = error(fitted_scale, fitted_min, &codes);
        if fitted_error < least_error {
            (scale, min, least_error) = (fitted_scale, fitted_min, fitted_error);
        }
    }
    (scale, -min)
}

/// Scales and minimums of a block of 4 or 5 bits, and its codes.
struct WithMins {
    d: HalfBytes,
    d_min: HalfBytes,
    scales: [u8; 12],
    codes: [u8; 256],
}

impl WithMins {
    fn new(x: &[f32; 256], max: u8, widths: impl Iterator<Item = f32> + Clone) -> Self {
        let (groups, _) = x.as_chunks::<32>();
        let fits: [(f32, f32); 8] = core::array::from_fn(|j| fit_with_min(&groups[j], max, widths.clone()));
        let max_scale = fits.iter().map(|fit| fit.0).fold(0.0, f32::max);
        let max_min = fits.iter().map(|fit| fit.1).fold(0.0, f32::max);
        let inverse = |max: f32| if max > 0.0 { 63.0 / max } else { 0.0 };
        let scales = pack_six_bits(
            fits.map(|fit| round_to(inverse(max_scale) * fit.0, 63)),
            fits.map(|fit| round_to(inverse(max_min) * fit.1, 63)),
        );
        let d = HalfBytes::from_f32(max_scale / 63.0);
        let d_min = HalfBytes::from_f32(max_min / 63.0);

        // The codes follow from the scales as they are stored.
        let mut codes = [0; 256];
        let (rounded_scales, rounded_mins) = six_bits(&scales);
        for (j, (codes, x)) in codes.chunks_exact_mut(32).zip(groups).enumerate() {
            let scale = d.to_f32() * f32::from(rounded_scales[j]);
            let min = d_min.to_f32() * f32::from(rounded_mins[j]);
            if scale != 0.0 {
                for (code, x) in codes.iter_mut().zip(x) {
                    *code = round_to((x + min) / scale, max);
                }
            }
        }
        Self { d, d_min, scales, codes }
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

/// Steps of a tenth from `first` on, `first` included.
fn tenths(first: f32, n_steps: u8) -> impl Iterator<Item = f32> + Clone {
    (0..=n_steps).map(move |step| first + 0.1 * f32::from(step))
}

pub fn q4_k(x: &[f32; 256]) -> BlockQ4K {
    let WithMins { d, d_min, scales, codes } = WithMins::new(x, 15, tenths(-1.0, 20));
    BlockQ4K { d, d_min, scales, qs: pack_nibbles(&codes) }
}

pub fn q5_k(x: &[f32; 256]) -> BlockQ5K {
    let WithMins { d, d_min, scales, codes } = WithMins::new(x, 31, tenths(-0.5, 15));
    let qh = core::array::from_fn(|m| (0..8).fold(0, |bits, s| bits | codes[32 * s + m] >> 4 << s));
    BlockQ5K { d, d_min, scales, qh, qs: pack_nibbles(&codes) }
}

/// Below this magnitude a group counts as zero.
const TINY: f32 = 1e-15;

/// The scale that fits 16 values rounded to -32..=31 best, weighted by their squares.
fn fit_symmetric(x: &[f32; 16]) -> f32 {
    let extreme = x.iter().fold(0.0, |best, &x| if x.abs() > f32::abs(best) { x } else { best });
    if extreme.abs() < TINY {
        return 0.0;
    }
    let fit = |inverse: f32| {
        x.iter().fold((0.0, 0.0), |(sum_lx, sum_ll), &x| {
            let l = libm::rintf(inverse * x).clamp(-32.0, 31.0);
            let w = x * x;
            (sum_lx + w * x * l, sum_ll + w * l * l)
        })
    };
    let (sum_lx, sum_ll) = fit(-32.0 / extreme);
    let mut scale = if sum_ll != 0.0 { sum_lx / sum_ll } else { 0.0 };
    let mut best = scale * sum_lx;
    for step in (-9_i8..=9).filter(|&step| step != 0) {
        let (sum_lx, sum_ll) = fit(-(32.0 + 0.1 * f32::from(step)) / extreme);
        if sum_ll > 0.0 && sum_lx * sum_lx > best * sum_ll {
            scale = sum_lx / sum_ll;
            best = scale * sum_lx;
        }
    }
    scale
}

pub fn q6_k(x: &[f32; 256]) -> BlockQ6K {
    let (groups, _) = x.as_chunks::<16>();
    let fits: [f32; 16] = core::array::from_fn(|j| fit_symmetric(&groups[j]));
    let largest = fits.iter().fold(0.0, |best, &fit| if fit.abs() > f32::abs(best) { fit } else { best });
    if largest.abs() < TINY {
        // The code 0 stands for -32, but under a scale of 0.
        return BlockQ6K { ql: [0; 128], qh: [0; 64], scales: [0; 16], d: HalfBytes::from_f32(0.0) };
    }
    let inverse = -128.0 / largest;
    let d = HalfBytes::from_f32(1.0 / inverse);
    let scales = fits.map(|fit| libm::rintf(inverse * fit).min(127.0) as i8);

    let mut codes = [32; 256];
    for ((codes, x), &scale) in codes.chunks_exact_mut(16).zip(groups).zip(&scales) {
        let scale = d.to_f32() * f32::from(scale);
        if scale != 0.0 {
            for (code, x) in codes.iter_mut().zip(x) {
                *code = (libm::rintf(x / scale).clamp(-32.0, 31.0) as i8 + 32) as u8;
            }
        }
    }
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
