//! Tests of the engine's block formats as linked by the kernel, on the weights of `tiny`.

use std::{vec, vec::Vec};

use llm::{
    gguf::Gguf,
    parallel::Serial,
    quant::{Activations, GgmlType, Matrix, Precision, activation_bytes, matmul, quantize},
    simd::Kernels,
};

use super::fixtures;

/// Runs `test` on a Q4_0 matrix of `tiny`.
fn with_q4_0(test: impl FnOnce(&Matrix<'_>)) {
    let file = fixtures::aligned(&fixtures::tiny());
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tensor = gguf.tensor("blk.0.ffn_up.weight").unwrap();
    assert_eq!(tensor.ty, GgmlType::Q4_0);
    let (cols, rows) = (tensor.dims[0] as usize, tensor.dims[1] as usize);
    test(&Matrix::new(tensor.ty, rows, cols, gguf.tensor_data(tensor).unwrap()).unwrap());
}

/// Half a sine wave with rising amplitude.
fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.37).sin() * (1.0 + i as f32 / 50.0)).collect()
}

#[test]
fn each_format_keeps_weights_within_half_a_step() {
    let weights = wave(256);
    // The step is the largest magnitude of a block divided by this number. The formats with 4 and 5 bits and only a scale have
    // one more value on one side, and may clip the other side by a whole step.
    for (ty, steps, tolerance) in [
        (GgmlType::F32, f32::INFINITY, 0.0),
        (GgmlType::F16, 1024.0, 0.5),
        (GgmlType::BF16, 128.0, 0.5),
        (GgmlType::Q8_0, 127.0, 0.51),
        (GgmlType::Q5_1, 15.5, 0.52),
        (GgmlType::Q5_0, 16.0, 1.02),
        (GgmlType::Q4_1, 7.5, 0.52),
        (GgmlType::Q4_0, 8.0, 1.02),
    ] {
        let mut bytes = fixtures::aligned(&vec![0; ty.row_bytes(weights.len()).unwrap()]);
        quantize(ty, &weights, &mut bytes);
        let mut back = vec![0.0; weights.len()];
        Matrix::new(ty, 1, weights.len(), &bytes).unwrap().dequantize_row(0, &mut back);
        for (given, back) in weights.chunks(32).zip(back.chunks(32)) {
            let largest = given.iter().fold(0.0, |m: f32, w| m.max(w.abs()));
            for (given, back) in given.iter().zip(back) {
                assert!((given - back).abs() <= tolerance * largest / steps, "{ty}: {back} for {given}");
            }
        }
    }
}

#[test]
fn q4_0_blocks_mean_what_ggml_says() {
    with_q4_0(|matrix| {
        let mut row = vec![0.0; matrix.n_cols()];
        matrix.dequantize_row(3, &mut row);
        let bytes = matrix.rows(3..4).data();
        // ggml's block_q4_0: an f16 scale, then sixteen bytes. Their low nibbles are the first half of the block, their high
        // nibbles the second half; 8 is added to each value.
        for (block, weights) in bytes.chunks(18).zip(row.chunks(32)) {
            let bits = u32::from(u16::from_le_bytes([block[0], block[1]]));
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            let (exponent, fraction) = ((bits >> 10 & 31) as i32, (bits & 1023) as f32 / 1024.0);
            let magnitude = match exponent {
                0 => fraction * 2f32.powi(-14),
                _ => (1.0 + fraction) * 2f32.powi(exponent - 15),
            };
            for (i, byte) in block[2..].iter().enumerate() {
                assert_eq!(weights[i], f32::from((byte & 15) as i8 - 8) * (sign * magnitude));
                assert_eq!(weights[i + 16], f32::from((byte >> 4) as i8 - 8) * (sign * magnitude));
            }
        }
        assert!(row.iter().any(|weight| *weight != 0.0));
    });
}

#[test]
fn products_with_quantised_activations_are_close_to_the_exact_ones() {
    with_q4_0(|matrix| {
        let x = wave(matrix.n_cols());
        let expected: Vec<f64> = (0..matrix.n_rows())
            .map(|row| {
                let mut weights = vec![0.0; matrix.n_cols()];
                matrix.dequantize_row(row, &mut weights);
                weights.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
            })
            .collect();
        let power: f64 = expected.iter().map(|e| e * e).sum();
        for (precision, limit) in [(Precision::Exact, 1e-10), (Precision::Quantized, 1e-3)] {
            for kernels in Kernels::available() {
                let mut out = vec![0.0; matrix.n_rows()];
                let mut scratch = fixtures::aligned(&vec![0; activation_bytes(matrix.n_cols(), 1)]);
                let mut activations = Activations::new(&x, matrix.n_cols(), &mut scratch, precision);
                matmul(kernels, &Serial, matrix, &mut activations, &mut out);
                let error: f64 = out.iter().zip(&expected).map(|(o, e)| (f64::from(*o) - e).powi(2)).sum();
                assert!(error / power < limit, "{} {precision:?}: {:e}", kernels.name(), error / power);
            }
        }
    });
}
