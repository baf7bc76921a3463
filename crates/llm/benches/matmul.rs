//! Speed of matrix products: `cargo bench -p llm --bench matmul [-- TYPE...]`.
//!
//! Prints one Markdown row for each type and kernel set: billions of multiply-adds per second on one core, for one token and
//! for 32 tokens, the best of several runs.

use llm::parallel::Serial;
use llm::quant::{Activations, GgmlType, Matrix, Precision, activation_bytes, matmul};
use llm::simd::Kernels;
use std::time::Instant;

const ROWS: usize = 512;
const COLS: usize = 2048;
const RUNS: usize = 7;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut types: Vec<GgmlType> = names.iter().filter_map(|name| GgmlType::from_name(name)).collect();
    if types.is_empty() {
        use GgmlType::*;
        types = vec![F32, F16, Q4_0, Q8_0, Q4_1, Q5_0, Q4_K, Q5_K, Q6_K, IQ4_XS, MXFP4, IQ3_S, IQ2_XXS];
    }
    println!("| type | kernels | 1 token | 32 tokens |\n|---|---|---|---|");
    for ty in types {
        // Zeros are as fast as any other weights: no product depends on values.
        let bytes = vec![0; ROWS * ty.row_bytes(COLS).expect("a multiple of every block length")];
        let w = Matrix::new(ty, ROWS, COLS, &bytes).expect("a supported type");
        for kernels in Kernels::available() {
            let [one, many] = [1, 32].map(|n_tokens| giga_macs_per_second(kernels, &w, n_tokens));
            println!("| {ty} | {} | {one:.2} | {many:.2} |", kernels.name());
        }
    }
}

fn giga_macs_per_second(kernels: &Kernels, w: &Matrix, n_tokens: usize) -> f64 {
    let x = vec![0.5; n_tokens * COLS];
    let mut scratch = vec![0; activation_bytes(COLS, n_tokens)];
    let mut out = vec![0.0; n_tokens * ROWS];
    let fastest = (0..RUNS)
        .map(|_| {
            let mut x = Activations::new(&x, COLS, &mut scratch, Precision::Quantized);
            let start = Instant::now();
            matmul(kernels, &Serial, w, &mut x, &mut out);
            start.elapsed()
        })
        .min()
        .expect("at least one run");
    (ROWS * COLS * n_tokens) as f64 / fastest.as_secs_f64() / 1e9
}
