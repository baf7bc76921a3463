//! Blocks to f32.

use super::GgmlType;
use crate::blocks::{self, Block32};
use half::{bf16, f16};

/// Whether this crate can compute with weights of this type.
pub fn is_supported(ty: GgmlType) -> bool {
    use GgmlType::*;
    matches!(ty, F32 | F16 | BF16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0)
}

/// Writes the weights in `bytes`, whole blocks of type `ty`, as f32: bit for bit what ggml gives.
///
/// # Panics
///
/// If the type is not [supported](is_supported) or the lengths do not agree.
pub fn dequantize(ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(ty.row_bytes(out.len()), Some(bytes.len()), "{} weights of {ty}", out.len());
    match ty {
        GgmlType::F32 => floats(bytes, out, f32::from_le_bytes),
        GgmlType::F16 => floats(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        GgmlType::BF16 => floats(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        GgmlType::Q4_0 => groups_32::<blocks::BlockQ4_0>(bytes, out),
        GgmlType::Q4_1 => groups_32::<blocks::BlockQ4_1>(bytes, out),
        GgmlType::Q5_0 => groups_32::<blocks::BlockQ5_0>(bytes, out),
        GgmlType::Q5_1 => groups_32::<blocks::BlockQ5_1>(bytes, out),
        GgmlType::Q8_0 => groups_32::<blocks::BlockQ8_0>(bytes, out),
        _ => panic!("weights of type {ty} cannot be dequantised"),
    }
}

fn floats<const BYTES: usize>(bytes: &[u8], out: &mut [f32], to_f32: impl Fn([u8; BYTES]) -> f32) {
    let (values, _) = bytes.as_chunks();
    for (out, &value) in out.iter_mut().zip(values) {
        *out = to_f32(value);
    }
}

fn groups_32<B: Block32>(bytes: &[u8], out: &mut [f32]) {
    let groups =
        blocks::cast::<B>(bytes).iter().flat_map(|block| (0..B::GROUPS).map(|index| block.unpack(index)));
    for (group, out) in groups.zip(out.chunks_exact_mut(32)) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = group.scales[i / 16] * f32::from(group.quants[i]) + group.min;
        }
    }
}
