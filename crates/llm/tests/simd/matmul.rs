//! Matrix products of every kernel set, compared with a product in f64 of the dequantised weights.

use crate::random::Random;
use crate::threads::Threads;
use llm::parallel::{Serial, Workers};
use llm::quant::{
    Activations, GgmlType, Matrix, Precision, activation_bytes, matmul, matmul_each, matmul_pair, quantize,
};
use llm::simd::Kernels;
use std::sync::atomic::{AtomicUsize, Ordering};

const TYPES: &[GgmlType] = {
    use GgmlType::*;
    &[F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0]
};

/// Block types.
const BLOCKS: &[GgmlType] = {
    use GgmlType::*;
    &[
        Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q1_0, Q2_0, IQ4_NL, MXFP4, NVFP4, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ1_S,
        IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_XS, TQ1_0, TQ2_0,
    ]
};

fn product(
    kernels: &Kernels,
    workers: &dyn Workers,
    w: &Matrix,
    x: &[f32],
    precision: Precision,
) -> Vec<f32> {
    let n_tokens = x.len() / w.n_cols();
    let mut scratch = vec![0; activation_bytes(w.n_cols(), n_tokens)];
    let mut x = Activations::new(x, w.n_cols(), &mut scratch, precision);
    let mut out = vec![f32::NAN; n_tokens * w.n_rows()];
    matmul(kernels, workers, w, &mut x, &mut out);
    out
}

/// The mean squared error, relative to the mean square of products of such rows and vectors if these are independent. (A single
/// product may happen to be near 0.)
fn error(got: &[f32], w: &Matrix, x: &[f32]) -> f64 {
    let expected = exact_product(w, x);
    let error: f64 = got.iter().zip(&expected).map(|(&got, want)| (f64::from(got) - want).powi(2)).sum();
    let energy = |v: &[f32]| v.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    let mut row = vec![0.0; w.n_cols()];
    let rows = (0..w.n_rows()).map(|index| {
        w.dequantize_row(index, &mut row);
        energy(&row)
    });
    error / (rows.sum::<f64>() * energy(x) / w.n_cols() as f64)
}

fn exact_product(w: &Matrix, x: &[f32]) -> Vec<f64> {
    let mut rows = vec![vec![0.0; w.n_cols()]; w.n_rows()];
    for (index, row) in rows.iter_mut().enumerate() {
        w.dequantize_row(index, row);
    }
    let dot = |row: &Vec<f32>, x: &[f32]| row.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
    x.chunks_exact(w.n_cols()).flat_map(|x| rows.iter().map(|row| dot(row, x)).collect::<Vec<_>>()).collect()
}

/// The bound for rounding errors in f32 sums of `n` terms: the square of `√n` units of roundoff, 2⁻²⁴.
fn f32_limit(n: usize) -> f64 {
    n as f64 * 2_f64.powi(-48)
}

#[test]
fn products_are_near_the_exact_ones() {
    let mut random = Random(1);
    for &ty in TYPES {
        for (rows, cols, n_tokens) in [(1, 256, 1), (37, 512, 1), (64, 256, 3), (19, 768, 34)] {
            let mut bytes = vec![0; rows * ty.row_bytes(cols).unwrap()];
            quantize(ty, &random.normals(rows * cols), &mut bytes);
            let w = Matrix::new(ty, rows, cols, &bytes).unwrap();
            let x = random.normals(n_tokens * cols);
            for kernels in Kernels::available() {
                let exact = product(kernels, &Serial, &w, &x, Precision::Exact);
                let exact_error = error(&exact, &w, &x);
                assert!(
                    exact_error < f32_limit(cols),
                    "{kernels:?} {ty} {rows}×{cols}×{n_tokens}: {exact_error:e}"
                );

                let rounded = product(kernels, &Serial, &w, &x, Precision::Quantized);
                let rounded_error = error(&rounded, &w, &x);
                let limit = if ty.block_len() == 1 { f32_limit(cols) } else { 1e-4 };
                assert!(
                    rounded_error < limit,
                    "{kernels:?} {ty} {rows}×{cols}×{n_tokens}: {rounded_error:e}"
                );
            }
        }
    }
}

#[test]
fn float_rows_may_have_any_length() {
    let mut random = Random(5);
    for kernels in Kernels::available() {
        for ty in [GgmlType::F32, GgmlType::F16, GgmlType::BF16] {
            for cols in 1..40 {
                for (rows, n_tokens) in [(1, 1), (6, 2), (3, 3), (5, 5), (4, 35), (17, 13)] {
                    let mut bytes = vec![0; rows * ty.row_bytes(cols).unwrap() + 1];
                    quantize(ty, &random.normals(rows * cols), &mut bytes[1..]);
                    let w = Matrix::new(ty, rows, cols, &bytes[1..]).unwrap();
                    let x = random.normals(n_tokens * cols);
                    let error = error(&product(kernels, &Serial, &w, &x, Precision::Quantized), &w, &x);
                    assert!(error < 1e-13, "{kernels:?} {ty} {rows}×{cols}×{n_tokens}: {error:e}");
                }
            }
        }
    }
}

#[test]
fn workers_change_nothing() {
    let mut random = Random(2);
    let (rows, cols, n_tokens) = (333, 256, 40);
    for kernels in Kernels::available() {
        for &ty in TYPES {
            let mut bytes = vec![0; rows * ty.row_bytes(cols).unwrap()];
            quantize(ty, &random.normals(rows * cols), &mut bytes);
            let w = Matrix::new(ty, rows, cols, &bytes).unwrap();
            let x = random.normals(n_tokens * cols);
            let alone = product(kernels, &Serial, &w, &x, Precision::Quantized);
            let together = product(kernels, &Threads(4), &w, &x, Precision::Quantized);
            assert_eq!(alone, together, "{kernels:?} {ty}");
        }
    }
}

#[test]
fn several_products_at_once_are_those_one_by_one() {
    use GgmlType::*;
    let mut random = Random(7);
    let cols = 512;
    // Types whose activations are rounded alike, and types that have them rounded differently or not at all.
    for types in [[Q4_0, Q8_0, Q4_1], [Q4_K, Q6_K, Q4_K], [Q4_0, Q4_K, F16], [F32, Q8_0, F32]] {
        for n_tokens in [1, 5, 70] {
            let rows = [200, 48, 200];
            let bytes = [0, 1, 2].map(|i| {
                let mut bytes = vec![0; rows[i] * types[i].row_bytes(cols).unwrap()];
                quantize(types[i], &random.normals(rows[i] * cols), &mut bytes);
                bytes
            });
            let w = [0, 1, 2].map(|i| Matrix::new(types[i], rows[i], cols, &bytes[i]).unwrap());
            let x = random.normals(n_tokens * cols);
            for (kernels, precision) in Kernels::available()
                .map(|kernels| (kernels, Precision::Quantized))
                .chain([(Kernels::detect(), Precision::Exact)])
            {
                let want = w.each_ref().map(|w| product(kernels, &Serial, w, &x, precision));
                for workers in [&Serial as &dyn Workers, &Threads(4)] {
                    let mut scratch = vec![0; activation_bytes(cols, n_tokens)];
                    let mut input = Activations::new(&x, cols, &mut scratch, precision);
                    let mut out = rows.map(|rows| vec![f32::NAN; n_tokens * rows]);
                    let outputs = out.each_mut().map(Vec::as_mut_slice);
                    let finished = [0, 1, 2].map(|_| AtomicUsize::new(0));
                    matmul_each(kernels, workers, w.each_ref(), &mut input, outputs, &|number, tile| {
                        let n_outputs = tile.rows().len() * tile.tokens().len();
                        finished[number].fetch_add(n_outputs, Ordering::Relaxed);
                    });
                    assert_eq!(out, want, "{kernels:?} {types:?}");
                    assert_eq!(finished.map(AtomicUsize::into_inner), rows.map(|rows| n_tokens * rows));

                    let [mut first, mut second] = [0, 2].map(|_| vec![f32::NAN; n_tokens * rows[0]]);
                    let pair = [&w[0], &w[2]];
                    matmul_pair(kernels, workers, pair, &mut input, [&mut first, &mut second], &|tiles| {
                        let [first, second] = tiles;
                        assert_eq!((first.rows(), first.tokens()), (second.rows(), second.tokens()));
                        for token in 0..first.tokens().len() {
                            first.token(token).swap_with_slice(second.token(token));
                        }
                    });
                    assert_eq!([&second, &first], [&want[0], &want[2]], "{kernels:?} {types:?}");
                }
            }
        }
    }
}

/// Bytes whose codes are the extremes and whose scales are ordinary, zero, subnormal or not finite.
fn extreme_rows(ty: GgmlType, rows: usize, cols: usize, random: &mut Random) -> Vec<u8> {
    const SCALES: [u16; 8] = [0x3c00, 0xbc00, 0x0000, 0x8001, 0x03ff, 0x7bff, 0x7c00, 0x7e00];
    const CODES: [u8; 8] = [0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0, 0x88, 0x81];
    let mut bytes = vec![0; rows * ty.row_bytes(cols).unwrap()];
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        let code = CODES[random.below(8)];
        block.fill_with(|| if random.below(4) == 0 { CODES[random.below(8)] } else { code });
        // In most rows all scales are finite, or no product would be.
        let n_scales = if random.below(50) == 0 { 8 } else { 5 };
        for &at in scale_offsets(ty) {
            block[at..at + 2].copy_from_slice(&SCALES[random.below(n_scales)].to_le_bytes());
        }
        if ty == GgmlType::MXFP4 {
            block[0] = [0, 1, 2, 127, 150, 230, 254, 255][random.below(n_scales)];
        }
    }
    bytes
}

/// The offsets of the f16 scales and minimums in a block.
fn scale_offsets(ty: GgmlType) -> &'static [usize] {
    use GgmlType::*;
    match ty {
        Q4_1 | Q5_1 | Q4_K | Q5_K => &[0, 2],
        Q2_K => &[80, 82],
        Q3_K => &[108],
        Q6_K => &[208],
        TQ1_0 => &[52],
        TQ2_0 => &[64],
        MXFP4 | NVFP4 | IQ1_M => &[],
        _ => &[0],
    }
}

#[test]
fn every_set_gives_the_bits_of_the_scalar_one() {
    let mut random = Random(3);
    for &ty in BLOCKS {
        for n_blocks in [1, 2, 3, 5, 8] {
            for (rows, n_tokens) in [(1, 1), (2, 3), (3, 2), (5, 4), (9, 5), (4, 33)] {
                let cols = n_blocks * ty.block_len();
                let bytes = extreme_rows(ty, rows, cols, &mut random);
                // One byte further, so that no field is where the compiler might expect it.
                let mut shifted = vec![0; bytes.len() + 1];
                shifted[1..].copy_from_slice(&bytes);
                let w = Matrix::new(ty, rows, cols, &shifted[1..]).unwrap();
                let mut x = random.normals(n_tokens * cols);
                for x in &mut x {
                    match random.below(40) {
                        0 => *x = 0.0,
                        1 => *x = 1e20,
                        2 => *x = -1e20,
                        3 => *x = 1e-38,
                        _ => {}
                    }
                }
                if random.below(4) == 0 {
                    let at = random.below(x.len());
                    x[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][random.below(3)];
                }
                let want = product(Kernels::scalar(), &Serial, &w, &x, Precision::Quantized);
                for kernels in Kernels::available() {
                    let got = product(kernels, &Serial, &w, &x, Precision::Quantized);
                    assert_same(&got, &want, &format!("{kernels:?} {ty} {rows}×{cols}×{n_tokens}"));
                }
            }
        }
    }
}

#[test]
fn every_set_gives_the_bits_of_the_scalar_one_with_floats() {
    let mut random = Random(6);
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::BF16] {
        for cols in [1, 3, 7, 8, 9, 31, 64, 100, 777] {
            for (rows, n_tokens) in [(1, 1), (6, 2), (3, 3), (5, 5), (4, 35), (17, 13)] {
                let mut bytes = vec![0; rows * ty.row_bytes(cols).unwrap() + 1];
                quantize(ty, &random.normals(rows * cols), &mut bytes[1..]);
                let w = Matrix::new(ty, rows, cols, &bytes[1..]).unwrap();
                let x = random.normals(n_tokens * cols);
                let want = product(Kernels::scalar(), &Serial, &w, &x, Precision::Quantized);
                for kernels in Kernels::available() {
                    let got = product(kernels, &Serial, &w, &x, Precision::Quantized);
                    assert_same(&got, &want, &format!("{kernels:?} {ty} {rows}×{cols}×{n_tokens}"));
                }
            }
        }
    }
}

/// Whether both contain the same numbers, with NaN in the same places.
fn assert_same(got: &[f32], want: &[f32], what: &str) {
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got == want || got.is_nan() && want.is_nan(), "{what}, product {index}: {got} for {want}");
    }
}

#[test]
fn rounding_agrees_to_the_bit() {
    let mut random = Random(4);
    // The product with one-hot weights shows scale * quant of each value.
    let (rows, cols) = (32, 32);
    let mut one_hot = vec![0.0; rows * cols];
    for row in 0..rows {
        one_hot[row * cols + row] = 127.0;
    }
    let mut bytes = vec![0; rows * GgmlType::Q8_0.row_bytes(cols).unwrap()];
    quantize(GgmlType::Q8_0, &one_hot, &mut bytes);
    let w = Matrix::new(GgmlType::Q8_0, rows, cols, &bytes).unwrap();
    for kernels in Kernels::available() {
        for round in 0..200 {
            let mut x = random.normals(cols);
            if round % 2 == 0 {
                // Ties: multiples of a half, the largest 127.
                x.iter_mut().for_each(|x| *x = (*x * 64.0).round().clamp(-253.0, 253.0) / 2.0);
                x[random.below(cols)] = 127.0;
            }
            let got = product(kernels, &Serial, &w, &x, Precision::Quantized);
            let amax = x.iter().fold(0.0, |amax: f32, x| amax.max(x.abs()));
            // Eight significant bits.
            let scale = amax / 127.0;
            let unit = 2_f32.powi(scale.log2().floor() as i32 - 7);
            let scale = (scale / unit).round() * unit;
            for (&got, &x) in got.iter().zip(&x) {
                // Exact in double precision.
                let quant = (f64::from(x) * f64::from(1.0 / scale)).round_ties_even() as f32;
                assert_eq!(got, scale * (127.0 * quant), "{kernels:?} {x} of {amax}");
            }
        }
    }
}
