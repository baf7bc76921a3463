//! Scaled dot-product attention of one head (Vaswani et al. 2017), with an online softmax.
//!
//! Positions are taken in blocks. The output is kept relative to the largest score so far and
//! rescaled when a block brings a larger one (Milakov and Gimelshein 2018), so that no buffer grows
//! with the context.

use half::f16;

use crate::kv_cache::HeadElements;
use crate::simd::Kernels;

/// Positions whose scores are computed before they are used.
const BLOCK_LEN: usize = 64;

/// `output = softmax(q · keysᵀ · scale) · values` over the first `n_positions`.
///
/// `q` is `[head_len_k]`, `output` `[head_len_v]`.
pub fn attend(
    kernels: &Kernels,
    q: &[f32],
    keys: HeadElements<'_>,
    values: HeadElements<'_>,
    n_positions: usize,
    scale: f32,
    output: &mut [f32],
) {
    let mut softmax = OnlineSoftmax { max: f32::NEG_INFINITY, sum: 0.0 };
    let mut scores = [0.0_f32; BLOCK_LEN];
    output.fill(0.0);
    for first in (0..n_positions).step_by(BLOCK_LEN) {
        let scores = &mut scores[..BLOCK_LEN.min(n_positions - first)];
        for (score, position) in scores.iter_mut().zip(first..) {
            *score = scale
                * match keys {
                    HeadElements::F16(keys) => kernels.dot_f16(q, vector(keys, position, q.len())),
                    HeadElements::F32(keys) => kernels.dot_f32(q, vector(keys, position, q.len())),
                };
        }
        softmax.add_block(scores, output);
        for (&weight, position) in scores.iter().zip(first..) {
            let len = output.len();
            match values {
                HeadElements::F16(values) => {
                    kernels.add_scaled_f16(output, weight, vector::<f16>(values, position, len));
                }
                HeadElements::F32(values) => {
                    kernels.add_scaled_f32(output, weight, vector::<f32>(values, position, len));
                }
            }
        }
    }
    let normaliser = 1.0 / softmax.sum;
    output.iter_mut().for_each(|x| *x *= normaliser);
}

fn vector<T>(elements: &[T], position: usize, len: usize) -> &[T] {
    &elements[position * len..][..len]
}

/// A softmax over scores that arrive in blocks.
struct OnlineSoftmax {
    /// The largest score so far.
    max: f32,
    /// The sum of `exp(score - max)` so far.
    sum: f32,
}

impl OnlineSoftmax {
    /// Turns a block's scores into weights `exp(score - max)`, and rescales `output`, made with the
    /// weights of earlier blocks, to the new maximum.
    fn add_block(&mut self, scores: &mut [f32], output: &mut [f32]) {
        let max = scores.iter().copied().fold(self.max, f32::max);
        let rescale = libm::expf(self.max - max);
        if rescale != 1.0 {
            self.sum *= rescale;
            output.iter_mut().for_each(|x| *x *= rescale);
        }
        for score in scores {
            *score = libm::expf(*score - max);
            self.sum += *score;
        }
        self.max = max;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    /// Attention as it is written in the paper, in double precision.
    fn definition(
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        n_positions: usize,
        scale: f32,
        len_v: usize,
    ) -> Vec<f64> {
        let weights: Vec<f64> = keys
            .chunks_exact(q.len())
            .take(n_positions)
            .map(|key| {
                let dot: f64 = q.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                (dot * f64::from(scale)).exp()
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        (0..len_v)
            .map(|i| {
                weights.iter().enumerate().map(|(p, w)| w / sum * f64::from(values[p * len_v + i])).sum()
            })
            .collect()
    }

    #[test]
    fn blocks_of_any_number_give_what_the_definition_gives() {
        let (len_k, len_v, n_ctx) = (8, 6, 200);
        let wave =
            |n: usize, step: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * step).sin() * 2.0).collect() };
        let (q, keys, values) = (wave(len_k, 0.7), wave(n_ctx * len_k, 0.37), wave(n_ctx * len_v, 0.11));
        let halves = |x: &[f32]| -> Vec<f16> { x.iter().map(|&x| f16::from_f32(x)).collect() };
        let (keys_f16, values_f16) = (halves(&keys), halves(&values));
        for n_positions in [1, 2, 63, 64, 65, 128, 200] {
            let want = definition(&q, &keys, &values, n_positions, 0.5, len_v);
            for (keys, values, tolerance) in [
                (HeadElements::F32(&keys), HeadElements::F32(&values), 1e-5),
                (HeadElements::F16(&keys_f16), HeadElements::F16(&values_f16), 1e-2),
            ] {
                let mut output = [f32::NAN; 6];
                attend(Kernels::scalar(), &q, keys, values, n_positions, 0.5, &mut output);
                for (got, want) in output.iter().zip(&want) {
                    assert!(
                        (f64::from(*got) - want).abs() < tolerance,
                        "{n_positions} positions: {got} is not {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let keys = [100.0, -100.0, 90.0];
        let mut output = [0.0];
        let values = [1.0, 2.0, 3.0];
        attend(
            Kernels::scalar(),
            &[50.0],
            HeadElements::F32(&keys),
            HeadElements::F32(&values),
            3,
            1.0,
            &mut output,
        );
        assert_eq!(output, [1.0]);
    }
}
