//! Scaled dot-product attention of one head (Vaswani et al. 2017), with an online softmax.
//!
//! Positions are taken in blocks. The output is kept relative to the largest score so far and
//! rescaled when a block brings a larger one (Milakov and Gimelshein 2018), so that no buffer grows
//! with the context.

use core::ops::Range;

use half::f16;

use crate::kv_cache::HeadElements;
use crate::simd::Kernels;

/// Positions whose scores are computed before they are used.
const BLOCK_LEN: usize = 64;

/// How the products of a query with the keys become scores.
#[derive(Debug, Clone, Copy)]
pub struct Scores {
    /// What products are multiplied by.
    pub scale: f32,
    /// Scores are bent to `c · tanh(score / c)`.
    pub softcap: Option<f32>,
    /// What a score loses for each position between key and query (ALiBi).
    pub slope: f32,
    /// A score that takes its share of the softmax and gives nothing.
    pub sink: Option<f32>,
}

/// Vectors of one head, one per position.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'c> {
    /// `[n_ctx][stride]`
    pub elements: HeadElements<'c>,
    /// Elements from one vector to the next.
    pub stride: usize,
}

/// `output = softmax(scores(q · keysᵀ)) · values` over the `visible` positions.
///
/// `q` is `[head_len_k]`, at `position`; `output` is `[head_len_v]`. A value may be the beginning of
/// a longer vector.
#[expect(clippy::too_many_arguments, reason = "the formula has as many")]
pub fn attend(
    kernels: &Kernels,
    q: &[f32],
    position: usize,
    keys: Vectors<'_>,
    values: Vectors<'_>,
    visible: Range<usize>,
    scores: Scores,
    output: &mut [f32],
) {
    let mut softmax = OnlineSoftmax::new(scores.sink);
    let mut block = [0.0_f32; BLOCK_LEN];
    output.fill(0.0);
    for first in visible.clone().step_by(BLOCK_LEN) {
        let block = &mut block[..BLOCK_LEN.min(visible.end - first)];
        for (score, key) in block.iter_mut().zip(first..) {
            let product = match keys.elements {
                HeadElements::F16(elements) => {
                    kernels.dot_f16(q, vector(elements, key, keys.stride, q.len()))
                }
                HeadElements::F32(elements) => {
                    kernels.dot_f32(q, vector(elements, key, keys.stride, q.len()))
                }
            };
            *score = scores.of(product, position.abs_diff(key));
        }
        softmax.add_block(block, output);
        let len = output.len();
        for (&weight, value) in block.iter().zip(first..) {
            match values.elements {
                HeadElements::F16(elements) => {
                    kernels.add_scaled_f16(
                        output,
                        weight,
                        vector::<f16>(elements, value, values.stride, len),
                    );
                }
                HeadElements::F32(elements) => {
                    kernels.add_scaled_f32(
                        output,
                        weight,
                        vector::<f32>(elements, value, values.stride, len),
                    );
                }
            }
        }
    }
    let normaliser = 1.0 / softmax.sum;
    output.iter_mut().for_each(|x| *x *= normaliser);
}

fn vector<T>(elements: &[T], position: usize, stride: usize, len: usize) -> &[T] {
    &elements[position * stride..][..len]
}

impl Scores {
    fn of(&self, product: f32, distance: usize) -> f32 {
        let score = self.scale * product;
        let score = match self.softcap {
            Some(cap) => cap * libm::tanhf(score / cap),
            None => score,
        };
        if self.slope == 0.0 { score } else { score - self.slope * distance as f32 }
    }
}

/// A softmax over scores that arrive in blocks.
struct OnlineSoftmax {
    /// The largest score so far.
    max: f32,
    /// The sum of `exp(score - max)` so far.
    sum: f32,
}

impl OnlineSoftmax {
    fn new(sink: Option<f32>) -> Self {
        match sink {
            Some(score) => OnlineSoftmax { max: score, sum: 1.0 },
            None => OnlineSoftmax { max: f32::NEG_INFINITY, sum: 0.0 },
        }
    }

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

    const LEN_K: usize = 8;
    const LEN_V: usize = 6;

    /// Attention as it is written in the papers, in double precision.
    fn definition(
        q: &[f32],
        position: usize,
        keys: &[f32],
        values: &[f32],
        visible: Range<usize>,
        scores: Scores,
    ) -> Vec<f64> {
        let weights: Vec<f64> = visible
            .clone()
            .map(|p| {
                let dot: f64 =
                    q.iter().zip(&keys[p * LEN_K..]).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                let score = dot * f64::from(scores.scale);
                let score =
                    scores.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                (score - f64::from(scores.slope) * position.abs_diff(p) as f64).exp()
            })
            .collect();
        let sum = weights.iter().sum::<f64>() + scores.sink.map_or(0.0, |sink| f64::from(sink).exp());
        (0..LEN_V)
            .map(|i| {
                weights
                    .iter()
                    .zip(visible.clone())
                    .map(|(w, p)| w / sum * f64::from(values[p * LEN_V + i]))
                    .sum()
            })
            .collect()
    }

    #[test]
    fn any_number_of_blocks_gives_what_the_definition_gives() {
        let n_ctx = 200;
        let wave =
            |n: usize, step: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * step).sin() * 2.0).collect() };
        let (q, keys, values) = (wave(LEN_K, 0.7), wave(n_ctx * LEN_K, 0.37), wave(n_ctx * LEN_V, 0.11));
        let halves = |x: &[f32]| -> Vec<f16> { x.iter().map(|&x| f16::from_f32(x)).collect() };
        let (keys_f16, values_f16) = (halves(&keys), halves(&values));
        let plain = Scores { scale: 0.5, softcap: None, slope: 0.0, sink: None };
        for scores in [
            plain,
            Scores { softcap: Some(2.0), ..plain },
            Scores { slope: 0.25, ..plain },
            Scores { sink: Some(1.5), ..plain },
        ] {
            for visible in [0..1, 0..2, 0..63, 0..64, 0..65, 0..200, 37..128, 199..200] {
                let position = visible.end - 1;
                let want = definition(&q, position, &keys, &values, visible.clone(), scores);
                for (keys, values, tolerance) in [
                    (HeadElements::F32(&keys), HeadElements::F32(&values), 1e-5),
                    (HeadElements::F16(&keys_f16), HeadElements::F16(&values_f16), 1e-2),
                ] {
                    let keys = Vectors { elements: keys, stride: LEN_K };
                    let values = Vectors { elements: values, stride: LEN_V };
                    let mut output = [f32::NAN; LEN_V];
                    attend(
                        Kernels::scalar(),
                        &q,
                        position,
                        keys,
                        values,
                        visible.clone(),
                        scores,
                        &mut output,
                    );
                    for (got, want) in output.iter().zip(&want) {
                        let error = (f64::from(*got) - want).abs();
                        assert!(error < tolerance, "{visible:?} with {scores:?}: {got} is not {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let (keys, values) = ([100.0, -100.0, 90.0], [1.0, 2.0, 3.0]);
        let vectors = |elements| Vectors { elements: HeadElements::F32(elements), stride: 1 };
        let scores = Scores { scale: 1.0, softcap: None, slope: 0.0, sink: None };
        let mut output = [0.0];
        attend(Kernels::scalar(), &[50.0], 2, vectors(&keys), vectors(&values), 0..3, scores, &mut output);
        assert_eq!(output, [1.0]);
    }
}
