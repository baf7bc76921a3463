//! f32 to the blocks whose codes index a table: IQ4_NL, IQ4_XS and MXFP4, by ggml's searches.

use super::fit::{TINY, by_importance, extreme, mean_square};
use crate::blocks::{BlockIQ4NL, BlockIQ4XS, BlockMXFP4, E2M1_DOUBLED, HalfBytes, IQ4_VALUES, e8m0_half};

/// The code of the nearest of [`IQ4_VALUES`]; the larger one if two are equally near.
fn nearest(x: f32) -> u8 {
    let above = IQ4_VALUES.iter().position(|&value| x < f32::from(value)).unwrap_or(15).max(1);
    let [low, high] = [above - 1, above].map(|code| f32::from(IQ4_VALUES[code]));
    (if x - low < high - x { above - 1 } else { above }) as u8
}

/// The scale with which the table's values come closest to 32 weights.
fn fit(x: &[f32; 32], weights: &[f32; 32]) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return 0.0;
    }
    let fit = |inverse: f32| {
        x.iter().zip(weights).fold((0.0, 0.0), |(sum_qx, sum_qq), (&x, &w)| {
            let q = f32::from(IQ4_VALUES[nearest(inverse * x) as usize]);
            (sum_qx + w * q * x, sum_qq + w * q * q)
        })
    };
    let first = f32::from(IQ4_VALUES[0]);
    let (sum_qx, sum_qq) = fit(1.0 / (-extreme / first));
    let mut scale = if sum_qq > 0.0 { sum_qx / sum_qq } else { 0.0 };
    let mut best = scale * sum_qx;
    for step in -7_i8..=7 {
        let (sum_qx, sum_qq) = fit((f32::from(step) + first) / extreme);
        if sum_qq > 0.0 && sum_qx * sum_qx > best * sum_qq {
            scale = sum_qx / sum_qq;
            best = scale * sum_qx;
        }
    }
    scale
}

/// The weight of each error: the square of the value, or the importance of its column.
fn weights(x: &[f32; 32], importance: Option<&[f32; 32]>, square: f32) -> [f32; 32] {
    match importance {
        Some(importance) => by_importance(x, importance, square),
        None => x.map(|x| x * x),
    }
}

/// `1 / x`, and 0 for 0.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// Weights `i` and `16 + i` in byte `i`.
fn pack(codes: &[u8; 32]) -> [u8; 16] {
    core::array::from_fn(|i| codes[i] | codes[i + 16] << 4)
}

pub fn iq4_nl(x: &[f32; 32], importance: Option<&[f32; 32]>) -> BlockIQ4NL {
    let scale = fit(x, &weights(x, importance, 2.0 * mean_square(x)));
    let inverse = inverse(scale);
    BlockIQ4NL { d: HalfBytes::from_f32(scale), qs: pack(&x.map(|x| nearest(inverse * x))) }
}

pub fn iq4_xs(x: &[f32; 256], importance: Option<&[f32; 256]>) -> BlockIQ4XS {
    let (groups, _) = x.as_chunks::<32>();
    let importance = importance.map(|importance| importance.as_chunks::<32>().0);
    let square = 2.0 * mean_square(x);
    let fits: [f32; 8] = core::array::from_fn(|j| {
        fit(&groups[j], &weights(&groups[j], importance.map(|importance| &importance[j]), square))
    });
    let d = -extreme(&fits) / 32.0;
    let inverse_d = inverse(d);
    let scales = fits.map(|fit| libm::rintf(inverse_d * fit).clamp(-32.0, 31.0));
    let mut block =
        BlockIQ4XS { d: HalfBytes::from_f32(d), scales_h: [0; 2], scales_l: [0; 4], qs: [0; 128] };
    for (j, (&scale, qs)) in scales.iter().zip(block.qs.as_chunks_mut::<16>().0).enumerate() {
        let inverse = inverse(d * scale);
        *qs = pack(&groups[j].map(|x| nearest(inverse * x)));
        let stored = (scale + 32.0) as u8;
        block.scales_l[j / 2] |= (stored & 0xf) << (4 * (j % 2));
        block.scales_h[j / 4] |= stored >> 4 << (2 * (j % 4));
    }
    block
}

pub fn mxfp4(x: &[f32; 32]) -> BlockMXFP4 {
    let largest = extreme(x).abs();
    let e = if largest > 0.0 { (libm::floorf(libm::log2f(largest)) - 2.0 + 127.0) as u8 } else { 0 };
    let d = e8m0_half(e);
    let codes = x.map(|x| {
        let errors = E2M1_DOUBLED.map(|value| (f32::from(value) * d - x).abs());
        (1..16)
            .fold(0, |best: u8, code| if errors[code as usize] < errors[best as usize] { code } else { best })
    });
    BlockMXFP4 { e, qs: pack(&codes) }
}
