//! Weights packed for each instruction set are arranged as [`Packing`](super::Packing) says, and give the same products.

extern crate std;

use super::{
    Activations, GgmlType, Matrix, Packing, Precision, activation_bytes, dequantize, matmul, matmul_each,
    matmul_pair, quantize,
};
use crate::blocks::PACKED;
use crate::parallel::Serial;
use crate::simd::Kernels;
use std::{vec, vec::Vec};

#[test]
fn rows_are_the_same_packed() {
    for (signed_nibbles, unsigned_bytes, rows) in [(false, false, 8), (true, false, 8), (false, true, 16)] {
        let packing =
            Packing { name: "test", rows, signed_nibbles, unsigned_bytes, fast_pack: None, types: &PACKED };
        for ty in PACKED {
            let cols = 3 * ty.block_len();
            let row_bytes = ty.row_bytes(cols).unwrap();
            let mut random = oorandom::Rand32::new(7);
            let plain: Vec<u8> = (0..rows * row_bytes).map(|_| random.rand_u32() as u8).collect();
            let mut packed = vec![0; plain.len()];
            packing.pack_group(ty, &plain, &mut packed);
            assert_ne!(plain, packed);
            for (row, plain) in plain.chunks_exact(row_bytes).enumerate() {
                let mut blocks = plain.chunks_exact(ty.block_bytes());
                packing.for_each_block(ty, &packed, row, |block| {
                    assert_eq!(Some(block), blocks.next(), "{ty}");
                });
            }
            let matrix = Matrix::new(ty, rows, cols, &packed).unwrap().packed(Some(&packing));
            let (mut want, mut got) = (vec![0.0; cols], vec![0.0; cols]);
            for (row, plain) in plain.chunks_exact(row_bytes).enumerate() {
                dequantize(ty, plain, &mut want);
                matrix.dequantize_row(row, &mut got);
                // Scales that are NaN give NaN, whose bits are not defined by arithmetic.
                let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(want.iter().zip(&got).all(same), "{ty}, row {row}");
            }
        }
    }
}

#[test]
fn every_set_packs_as_is_said_here() {
    let mut random = oorandom::Rand32::new(9);
    for packing in Kernels::available().filter_map(Kernels::packing) {
        for &ty in packing.types {
            for n_blocks in [1, 2, 5] {
                let group_bytes = packing.rows * n_blocks * ty.block_bytes();
                let plain: Vec<u8> = (0..group_bytes).map(|_| random.rand_u32() as u8).collect();
                // At an odd address, followed by a byte that must not change.
                let (mut want, mut got) = (vec![7; group_bytes + 2], vec![7; group_bytes + 2]);
                packing.pack_fields(ty, &plain, &mut want[1..=group_bytes]);
                packing.pack_group(ty, &plain, &mut got[1..=group_bytes]);
                assert_eq!(want, got, "{packing:?} {ty} {n_blocks}");
            }
        }
    }
}

fn product(kernels: &Kernels, w: &Matrix<'_>, x: &[f32], precision: Precision) -> Vec<f32> {
    let n_tokens = x.len() / w.n_cols();
    let mut scratch = vec![0; activation_bytes(w.n_cols(), n_tokens)];
    let mut x = Activations::new(x, w.n_cols(), &mut scratch, precision);
    let mut out = vec![f32::NAN; n_tokens * w.n_rows()];
    matmul(kernels, &Serial, w, &mut x, &mut out);
    out
}

#[test]
fn products_are_the_same_packed() {
    let mut random = oorandom::Rand32::new(8);
    for kernels in Kernels::available() {
        let Some(packing) = kernels.packing() else { continue };
        for &ty in packing.types {
            for (n_groups, n_blocks, n_tokens) in [
                (1, 1, 1),
                (2, 3, 2),
                (3, 5, 3),
                (2, 8, 4),
                (1, 2, 137),
                (1, 71, 8),
                (2, 1, 1),
                (2, 2, 1),
                (1, 3, 4),
                (1, 4, 4),
                (1, 5, 5),
                (2, 6, 6),
                (1, 131, 7),
                (3, 64, 8),
                (1, 65, 15),
                (2, 3, 10),
            ] {
                let (rows, cols) = (n_groups * packing.rows, n_blocks * ty.block_len());
                let row_bytes = ty.row_bytes(cols).unwrap();
                let mut plain: Vec<u8> = (0..rows * row_bytes).map(|_| random.rand_u32() as u8).collect();
                for block in plain.chunks_exact_mut(ty.block_bytes()) {
                    // Scales neither infinite nor NaN.
                    for at in [0, 1, 2, 3, 208, 209] {
                        if let Some(byte) = block.get_mut(at).filter(|_| ty != GgmlType::Q6_K || at >= 208) {
                            *byte &= 0xbf;
                        }
                    }
                    if random.rand_range(0..8) == 0 {
                        // Scales of zero, or subnormal ones of either sign.
                        let at = if ty == GgmlType::Q6_K { 208 } else { 0 };
                        let exponent = block.get_mut(at + usize::from(ty != GgmlType::MXFP4));
                        *exponent.unwrap() &= 0x83;
                        block[at] &= [0, 0xff][random.rand_range(0..2) as usize];
                    }
                }
                let mut packed = vec![0; plain.len() + 1];
                let group_bytes = packing.rows * row_bytes;
                for (plain, packed) in
                    plain.chunks_exact(group_bytes).zip(packed[1..].chunks_exact_mut(group_bytes))
                {
                    packing.pack_group(ty, plain, packed);
                }
                let plain = Matrix::new(ty, rows, cols, &plain).unwrap();
                let packed = Matrix::new(ty, rows, cols, &packed[1..]).unwrap().packed(Some(packing));
                // Small enough that scales of activations, and their products with the weights' scales, become subnormal.
                let magnitude = [1.0, 1e-20, 1e-25, 1e-30, 1e-34, 1e-38][random.rand_range(0..6) as usize];
                let mut x: Vec<f32> =
                    (0..n_tokens * cols).map(|_| magnitude * (random.rand_float() - 0.5)).collect();
                if n_tokens > 1 {
                    // One token whose products are NaN or infinite, and one whose products are far from the others'.
                    x[cols / 2] = [f32::NAN, f32::NEG_INFINITY, 1e32][random.rand_range(0..3) as usize];
                    x[cols..2 * cols].iter_mut().for_each(|x| *x *= 1e25);
                }
                for range in [0..rows, 1..rows, 0..rows - 3, 5..6, 3..rows - 1] {
                    let (plain, packed) = (plain.rows(range.clone()), packed.rows(range.clone()));
                    for precision in [Precision::Quantized, Precision::Exact] {
                        let want = product(Kernels::scalar(), &plain, &x, precision);
                        let got = product(kernels, &packed, &x, precision);
                        let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
                        assert!(
                            want.iter().zip(&got).all(same),
                            "{kernels:?} {ty} {range:?} of {rows}×{cols}×{n_tokens}"
                        );
                        assert!(precision == Precision::Exact || n_tokens == 1 || got[0].is_nan());
                    }
                }
            }
        }
    }
}

#[test]
fn several_products_at_once_are_the_same_packed() {
    let mut random = oorandom::Rand32::new(10);
    const COLS: usize = 256;
    for kernels in Kernels::available() {
        let Some(packing) = kernels.packing() else { continue };
        for (types, n_groups) in [
            ([GgmlType::Q4_0, GgmlType::Q8_0], 3),
            // The formats of the activations differ.
            ([GgmlType::Q4_K, GgmlType::Q4_0], 2),
            // The second matrix is not packed.
            ([GgmlType::Q4_0, GgmlType::F16], 5),
        ] {
            let rows = n_groups * packing.rows;
            let bytes = types.map(|ty| {
                let weights: Vec<f32> = (0..rows * COLS).map(|_| random.rand_float() - 0.5).collect();
                let mut plain = vec![0; ty.row_bytes(COLS).unwrap() * rows];
                quantize(ty, &weights, &mut plain);
                if !packing.types.contains(&ty) {
                    return plain;
                }
                let mut packed = vec![0; plain.len()];
                let group_bytes = plain.len() / n_groups;
                for (plain, packed) in
                    plain.chunks_exact(group_bytes).zip(packed.chunks_exact_mut(group_bytes))
                {
                    packing.pack_group(ty, plain, packed);
                }
                packed
            });
            // A number of rows that is not a multiple of a group's, so that matrices end within a group.
            for end in [rows, rows - 3] {
                let matrix = |number: usize| {
                    let whole = Matrix::new(types[number], rows, COLS, &bytes[number]).unwrap();
                    whole.packed(Some(packing)).rows(0..end)
                };
                let w = [matrix(0), matrix(1)];
                for n_tokens in [1, 3, 9] {
                    let x: Vec<f32> = (0..n_tokens * COLS).map(|_| random.rand_float() - 0.5).collect();
                    let want = [0, 1].map(|number| product(kernels, &w[number], &x, Precision::Quantized));
                    let mut scratch = vec![0; activation_bytes(COLS, n_tokens)];
                    for is_pair in [false, true] {
                        let mut x = Activations::new(&x, COLS, &mut scratch, Precision::Quantized);
                        let mut got = [0, 1].map(|_| vec![f32::NAN; n_tokens * end]);
                        let [first, second] = &mut got;
                        let (w, out) = ([&w[0], &w[1]], [&mut first[..], &mut second[..]]);
                        match is_pair {
                            false => matmul_each(kernels, &Serial, w, &mut x, out, &|_, _| {}),
                            true => matmul_pair(kernels, &Serial, w, &mut x, out, &|_| {}),
                        }
                        assert_eq!(
                            got, want,
                            "{kernels:?} {types:?} {end} rows, {n_tokens} tokens, pair {is_pair}"
                        );
                    }
                }
            }
        }
    }
}
