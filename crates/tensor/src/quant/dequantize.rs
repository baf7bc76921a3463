//! Blocks to f32.

use super::GgmlType;
use crate::blocks::{self, Block32, Block256, Group256, with_block_of};
use crate::simd::Q8Format;
use half::{bf16, f16};

/// Whether this crate can compute with weights of this type.
pub fn is_supported(ty: GgmlType) -> bool {
    matches!(ty, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16) || Q8Format::for_weights(ty).is_some()
}

/// Writes the weights in `bytes`, whole blocks of type `ty`, as f32, with the same bits as ggml.
///
/// # Panics
///
/// If the type is not [supported](is_supported) or the lengths do not match.
pub fn dequantize(ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(ty.row_bytes(out.len()), Some(bytes.len()), "{} weights of {ty}", out.len());
    match ty {
        GgmlType::F32 => floats(bytes, out, f32::from_le_bytes),
        GgmlType::F16 => floats(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        GgmlType::BF16 => floats(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        _ => with_block_of!(
            ty,
            Block32 => groups_32::<B>(bytes, out),
            Block256 => groups_256::<B>(bytes, out),
            _ => panic!("weights of type {ty} cannot be dequantised"),
        ),
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
        let (halves, _) = group.quants.as_chunks::<16>();
        for ((quants, out), scale) in halves.iter().zip(out.chunks_exact_mut(16)).zip(group.scales) {
            for (out, quant) in out.iter_mut().zip(quants) {
                *out = scale * f32::from(*quant) + group.min;
            }
        }
    }
}

fn groups_256<B: Block256>(bytes: &[u8], out: &mut [f32]) {
    let mut group = Group256::ZERO;
    for (block, out) in blocks::cast::<B>(bytes).iter().zip(out.chunks_exact_mut(256)) {
        block.unpack(&mut group);
        for (i, out) in out.iter_mut().enumerate() {
            let scale = group.d * f32::from(group.scales[i / 16]);
            let min = group.d_min * f32::from(group.mins[i / 16]);
            *out = scale * f32::from(group.quants[i]) - min;
        }
    }
}
