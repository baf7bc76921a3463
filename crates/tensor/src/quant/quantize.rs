//! Conversion of f32 to blocks, by the rules of ggml's reference quantisers.

use super::fit::{self, by_importance, extreme, mean_square};
use super::{GgmlType, quantize_k, quantize_table};
use crate::blocks::{BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, HalfBytes};
use half::{bf16, f16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Whether [`quantize`] can write this type.
pub fn can_quantize(ty: GgmlType) -> bool {
    use GgmlType::*;
    is_plain(ty) || matches!(ty, Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ4_NL | IQ4_XS | MXFP4)
}

/// Whether [`quantize_plain`] can write this type.
fn is_plain(ty: GgmlType) -> bool {
    use GgmlType::*;
    matches!(ty, F32 | F16 | BF16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0)
}

/// Writes `x` to `out` as whole blocks of type `ty`.
///
/// # Panics
///
/// If the type [cannot be written](can_quantize) or the lengths do not match.
pub fn quantize(ty: GgmlType, x: &[f32], out: &mut [u8]) {
    if is_plain(ty) {
        return quantize_plain(ty, x, out);
    }
    assert_eq!(ty.row_bytes(x.len()), Some(out.len()), "{} weights as {ty}", x.len());
    searched(ty, x, None, out);
}

/// Like [`quantize`], for types whose codes need no search. A program that uses only these does not contain the code for the
/// others.
///
/// # Panics
///
/// If it is another type or the lengths do not match.
pub(crate) fn quantize_plain(ty: GgmlType, x: &[f32], out: &mut [u8]) {
    assert_eq!(ty.row_bytes(x.len()), Some(out.len()), "{} weights as {ty}", x.len());
    match ty {
        GgmlType::F32 => floats(x, out, f32::to_le_bytes),
        GgmlType::F16 => floats(x, out, |x| f16::from_f32(x).to_le_bytes()),
        GgmlType::BF16 => floats(x, out, |x| bf16::from_f32(x).to_le_bytes()),
        GgmlType::Q4_0 => each(x, None, out, |x, _| q4_0(x)),
        GgmlType::Q4_1 => each(x, None, out, |x, _| q4_1(x)),
        GgmlType::Q5_0 => each(x, None, out, |x, _| q5_0(x)),
        GgmlType::Q5_1 => each(x, None, out, |x, _| q5_1(x)),
        GgmlType::Q8_0 => each(x, None, out, |x, _| q8_0(x)),
        _ => panic!("cannot quantise to {ty} without a search"),
    }
}

/// Writes a row to `out` as whole blocks of type `ty`, with smaller errors in columns of more `importance`. The importance of a
/// column is the mean square of the activations that it is multiplied with.
///
/// Types that importances do not affect (floats, Q8_0, MXFP4) are written like [`quantize`].
///
/// # Panics
///
/// If the type [cannot be written](can_quantize) or the lengths do not match.
pub fn quantize_row(ty: GgmlType, row: &[f32], importance: &[f32], out: &mut [u8]) {
    assert_eq!(row.len(), importance.len(), "weights and importances of a row");
    assert_eq!(ty.row_bytes(row.len()), Some(out.len()), "{} weights as {ty}", row.len());
    let square = mean_square(row);
    let weights = |x: &[f32; 32], w: Option<&[f32; 32]>| by_importance(x, w.unwrap_or(&[1.0; 32]), square);
    let importance = Some(importance);
    match ty {
        GgmlType::Q4_0 => each(row, importance, out, |x, w| {
            let grid = fit::symmetric(x, &weights(x, w), 8);
            BlockQ4_0 { d: HalfBytes::from_f32(grid.scale), qs: pack_nibbles(&x.map(|x| grid.code(x))) }
        }),
        GgmlType::Q4_1 => each(row, importance, out, |x, w| {
            let grid = fit::with_min(x, &weights(x, w), 15, fit::weighted_widths(), false);
            let [d, m] = [grid.scale, -grid.min].map(HalfBytes::from_f32);
            BlockQ4_1 { d, m, qs: pack_nibbles(&grid.codes) }
        }),
        GgmlType::Q5_0 => each(row, importance, out, |x, w| {
            let grid = fit::symmetric(x, &weights(x, w), 16);
            let codes = x.map(|x| grid.code(x));
            let (qh, qs) = (pack_fifth_bits(&codes), pack_nibbles(&codes));
            BlockQ5_0 { d: HalfBytes::from_f32(grid.scale), qh, qs }
        }),
        GgmlType::Q5_1 => each(row, importance, out, |x, w| {
            let grid = fit::with_min(x, &weights(x, w), 31, fit::weighted_widths(), false);
            let [d, m] = [grid.scale, -grid.min].map(HalfBytes::from_f32);
            BlockQ5_1 { d, m, qh: pack_fifth_bits(&grid.codes), qs: pack_nibbles(&grid.codes) }
        }),
        _ if is_plain(ty) => quantize_plain(ty, row, out),
        _ => searched(ty, row, importance, out),
    }
}

/// Writes the types whose scales always need a search.
fn searched(ty: GgmlType, x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    match ty {
        GgmlType::Q2_K => each(x, importance, out, quantize_k::q2_k),
        GgmlType::Q3_K => each(x, importance, out, quantize_k::q3_k),
        GgmlType::Q4_K => each(x, importance, out, quantize_k::q4_k),
        GgmlType::Q5_K => each(x, importance, out, quantize_k::q5_k),
        GgmlType::Q6_K => each(x, importance, out, quantize_k::q6_k),
        GgmlType::IQ4_NL => each(x, importance, out, quantize_table::iq4_nl),
        GgmlType::IQ4_XS => each(x, importance, out, quantize_table::iq4_xs),
        GgmlType::MXFP4 => each(x, importance, out, |x, _| quantize_table::mxfp4(x)),
        _ => panic!("cannot quantise to {ty}"),
    }
}

fn floats<const BYTES: usize>(x: &[f32], out: &mut [u8], to_bytes: impl Fn(f32) -> [u8; BYTES]) {
    let (values, _) = out.as_chunks_mut();
    for (value, &x) in values.iter_mut().zip(x) {
        *value = to_bytes(x);
    }
}

/// Writes blocks of `LEN` weights, each with the importances of its columns, if known.
fn each<B, const LEN: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    block: impl Fn(&[f32; LEN], Option<&[f32; LEN]>) -> B,
) where
    B: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned,
{
    let (inputs, _) = x.as_chunks();
    let importances = importance.map(|importance| importance.as_chunks().0);
    match <[B]>::mut_from_bytes(out) {
        Ok(blocks) => {
            for (index, (out, x)) in blocks.iter_mut().zip(inputs).enumerate() {
                *out = block(x, importances.map(|importances| &importances[index]));
            }
        }
        Err(_) => unreachable!("`quantize` checked that the output is whole blocks"),
    }
}

/// `1 / d`, and 0 for a block of zeros.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The smallest and the largest value.
fn range(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &x| (min.min(x), max.max(x)))
}

/// Weights `i` and `16 + i` in byte `i`.
fn pack_nibbles(q: &[u8; 32]) -> [u8; 16] {
    core::array::from_fn(|i| q[i] & 0xf | q[i + 16] << 4)
}

/// The fifth bit of weight `i` as bit `i`.
fn pack_fifth_bits(q: &[u8; 32]) -> [u8; 4] {
    let bits = q.iter().enumerate().fold(0, |bits, (i, &q)| bits | u32::from(q >> 4 & 1) << i);
    bits.to_le_bytes()
}

fn q4_0(x: &[f32; 32]) -> BlockQ4_0 {
    let d = extreme(x) / -8.0;
    let id = inverse(d);
    let q = x.map(|x| ((x * id + 8.5) as u8).min(15));
    BlockQ4_0 { d: HalfBytes::from_f32(d), qs: pack_nibbles(&q) }
}

fn q4_1(x: &[f32; 32]) -> BlockQ4_1 {
    let (min, max) = range(x);
    let d = (max - min) / 15.0;
    let id = inverse(d);
    let q = x.map(|x| (((x - min) * id + 0.5) as u8).min(15));
    BlockQ4_1 { d: HalfBytes::from_f32(d), m: HalfBytes::from_f32(min), qs: pack_nibbles(&q) }
}

fn q5_0(x: &[f32; 32]) -> BlockQ5_0 {
    let d = extreme(x) / -16.0;
    let id = inverse(d);
    let q = x.map(|x| ((x * id + 16.5) as u8).min(31));
    BlockQ5_0 { d: HalfBytes::from_f32(d), qh: pack_fifth_bits(&q), qs: pack_nibbles(&q) }
}

fn q5_1(x: &[f32; 32]) -> BlockQ5_1 {
    let (min, max) = range(x);
    let d = (max - min) / 31.0;
    let id = inverse(d);
    let q = x.map(|x| (((x - min) * id + 0.5) as u8).min(31));
    BlockQ5_1 {
        d: HalfBytes::from_f32(d),
        m: HalfBytes::from_f32(min),
        qh: pack_fifth_bits(&q),
        qs: pack_nibbles(&q),
    }
}

fn q8_0(x: &[f32; 32]) -> BlockQ8_0 {
    let d = extreme(x).abs() / 127.0;
    let id = inverse(d);
    BlockQ8_0 { d: HalfBytes::from_f32(d), qs: x.map(|x| libm::roundf(x * id) as i8) }
}
