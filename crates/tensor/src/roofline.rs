//! The upper bounds of inference speed: how fast weights can be read from memory, and how fast they can be multiplied once they
//! have been read.
//!
//! A generated token reads each weight once, so [`read`] bounds it; a long prompt reads a weight once
//! for many tokens, so [`multiply`] bounds it (Williams, Waterman and Patterson, "Roofline", 2009).
//! The caller measures the time of both.
//!
//! Neighbours: the matrix products of [`crate::quant`], over [`crate::parallel`].

use alloc::vec;
use core::{
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
};

use zerocopy::FromBytes;

use crate::{
    parallel::{Serial, Workers},
    quant::{Activations, GgmlType, Matrix, Precision, activation_bytes},
    simd::Kernels,
};

/// How much a core claims at once.
const CHUNK_WORDS: usize = (256 << 10) / size_of::<u64>();

/// Shape of the weights that are multiplied: small enough to stay in a core's first- or second-level cache.
const ROWS: usize = 64;
const COLS: usize = 1024;

/// Reads all of `memory` once with at most `n_cores` cores.
///
/// To measure memory rather than caches, make it many times as large as the caches, and write to it first: pages that were never
/// written to may all be the same page of zeroes.
///
/// # Panics
///
/// If `memory` is not a whole number of aligned words of eight bytes.
pub fn read(workers: &dyn Workers, n_cores: usize, memory: &[u8]) {
    let words = <[u64]>::ref_from_bytes(memory).expect("whole words");
    let come = AtomicUsize::new(0);
    let claimed = AtomicUsize::new(0);
    workers.run(&|| {
        if come.fetch_add(1, Ordering::Relaxed) >= n_cores {
            return;
        }
        while let Some(chunk) = words.chunks(CHUNK_WORDS).nth(claimed.fetch_add(1, Ordering::Relaxed)) {
            black_box(chunk.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word)));
        }
    });
}

/// Multiplies Q4_0 weights, arranged as in a loaded model, with `n_tokens` tokens on this core, `n_times` in a row. Returns the
/// number of multiply-accumulates.
pub fn multiply(kernels: &Kernels, n_tokens: usize, n_times: usize) -> u64 {
    const TYPE: GgmlType = GgmlType::Q4_0;
    const ALIGN_BYTES: usize = 64;
    let len_bytes = ROWS * COLS / TYPE.block_len() * TYPE.block_bytes();
    let bytes = vec![0; len_bytes + ALIGN_BYTES];
    let start = bytes.as_ptr().align_offset(ALIGN_BYTES);
    // Zeroes are valid weights in every arrangement, and take as long as others.
    let weights = Matrix::new(TYPE, ROWS, COLS, &bytes[start..start + len_bytes])
        .expect("so many bytes are so many rows")
        .packed(kernels.packing());
    let x = vec![1.0; COLS * n_tokens];
    let mut scratch = vec![0; activation_bytes(COLS, n_tokens)];
    let mut x = Activations::new(&x, COLS, &mut scratch, Precision::Quantized);
    let mut out = vec![0.0; ROWS * n_tokens];
    for _ in 0..n_times {
        crate::quant::matmul(kernels, &Serial, &weights, &mut x, &mut out);
        black_box(&mut out);
    }
    (ROWS * COLS * n_tokens * n_times) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU64;
    use zerocopy::IntoBytes;

    /// Runs each job several times in a row, as often as it is told.
    struct Cores {
        n: usize,
        runs: AtomicU64,
    }

    impl Workers for Cores {
        fn count(&self) -> usize {
            self.n
        }

        fn run(&self, job: &(dyn Fn() + Sync)) {
            self.runs.fetch_add(1, Ordering::Relaxed);
            (0..self.n).for_each(|_| job());
        }
    }

    #[test]
    fn reading_ends_with_any_number_of_cores_and_words() {
        let cores = Cores { n: 3, runs: AtomicU64::new(0) };
        for n_words in [0, 1, CHUNK_WORDS, 2 * CHUNK_WORDS + 1] {
            for n_cores in 1..=3 {
                read(&cores, n_cores, vec![1u64; n_words].as_bytes());
            }
        }
        assert_eq!(cores.runs.into_inner(), 12);
    }

    #[test]
    fn every_set_multiplies_one_and_many_tokens() {
        for kernels in Kernels::available() {
            assert_eq!(multiply(kernels, 1, 2), 2 * 65536, "{}", kernels.name());
            assert_eq!(multiply(kernels, 64, 1), 64 * 65536, "{}", kernels.name());
        }
    }
}
