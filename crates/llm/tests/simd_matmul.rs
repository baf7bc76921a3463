//! Matrix products of every kernel set against a product in f64 of the dequantised weights.

mod random;

use llm::parallel::{Serial, Workers};
use llm::quant::{Activations, GgmlType, Matrix, Precision, activation_bytes, matmul, quantize};
use llm::simd::Kernels;
use random::Random;

const TYPES: &[GgmlType] = {
    use GgmlType::*;
    &[F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0]
};

/// Four threads that claim shares at the same time.
struct Threads;

impl Workers for Threads {
    fn count(&self) -> usize {
        4
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 0..self.count() {
                scope.spawn(job);
            }
        });
    }
}

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

/// Mean squared error, as a fraction of the mean square that products of such rows and vectors have
/// when these are independent. (A single product may happen to be near 0.)
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

#[test]
fn products_are_near_the_exact_ones() {
    let mut random = Random(1);
    for kernels in Kernels::available() {
        for &ty in TYPES {
            for (rows, cols, n_tokens) in [(1, 256, 1), (37, 512, 1), (64, 256, 3), (19, 768, 34)] {
                let mut bytes = vec![0; rows * ty.row_bytes(cols).unwrap()];
                quantize(ty, &random.normals(rows * cols), &mut bytes);
                let w = Matrix::new(ty, rows, cols, &bytes).unwrap();
                let x = random.normals(n_tokens * cols);
                let exact = product(kernels, &Serial, &w, &x, Precision::Exact);
                let exact_error = error(&exact, &w, &x);
                assert!(exact_error < 1e-13, "{kernels:?} {ty} {rows}×{cols}×{n_tokens}: {exact_error:e}");

                let rounded = product(kernels, &Serial, &w, &x, Precision::Quantized);
                let rounded_error = error(&rounded, &w, &x);
                let limit = if ty.block_len() == 1 { 1e-13 } else { 1e-4 };
                assert!(
                    rounded_error < limit,
                    "{kernels:?} {ty} {rows}×{cols}×{n_tokens}: {rounded_error:e}"
                );
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
            let together = product(kernels, &Threads, &w, &x, Precision::Quantized);
            assert_eq!(alone, together, "{kernels:?} {ty}");
        }
    }
}
