//! The sequence mixer of RWKV-7 (Peng et al. 2025, "RWKV-7 Goose with Expressive Dynamic State Evolution"), and of
//! Qwen2 models that use it instead of attention (Li et al. 2025, "ARWKV").
//!
//! ```text
//! r, k, v = W_r · shifted_r(input), W_k · shifted_k(input), W_v · shifted_v(input)
//! w       = exp(-e^-½ · sigmoid(w0 + W2 · tanh(W1 · shifted_w(input))))
//! v       = v + (v of the first layer - v) · sigmoid(v0 + V2 · V1 · shifted_v(input))      but in the first layer
//! a       = sigmoid(a0 + A2 · A1 · shifted_a(input))          how fast the state learns
//! g       = G2 · sigmoid(G1 · shifted_g(input))
//! κ       = k · k_k / |k · k_k|                               of each head
//! k       = k + k · k_a · (a - 1)
//! of each head:
//! S       = diag(w) · S - κ · (a · κ)ᵀ · S + k · vᵀ
//! y       = S · r
//! output  = W_output · ((norm(y) + (Σ r · k · r_k) · v) · g)   normalised in each head
//! ```

use super::super::config::{Rwkv7Config, RwkvHeads};
use super::super::pass::Pass;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::rwkv6::parts;
use super::token_shift::ShiftedMixer;
use super::{Piece, RWKV_HEAD_NORM};
use crate::compute::{Linear, Norm};
use crate::quant::Activations;
use crate::simd::{Columns, DiagonalScan};
use crate::state::StateStore;

/// The weights of RWKV-7.
#[derive(Debug)]
pub struct Rwkv7<'a> {
    /// Its lengths.
    pub config: Rwkv7Config,
    /// `[5 or 6][n_embd]`: the shares of the token before in the inputs of receptance, decay, keys, values, learning rates
    /// and, in models that have them, gates.
    pub shares: &'a [f32],
    /// `[n_embd × n_embd]`
    pub receptance: Linear<'a>,
    /// `[n_embd × n_embd]`
    pub key: Linear<'a>,
    /// `[n_embd × n_embd]`
    pub value: Linear<'a>,
    /// The map of the decay.
    pub decay: LowRank<'a>,
    /// The map of the learning rates.
    pub rate: LowRank<'a>,
    /// The map of the shares of the first layer's values; `None` in the first layer itself.
    pub first_value: Option<LowRank<'a>>,
    /// `[gate_rank × n_embd]`, `[n_embd × gate_rank]`: the maps of the gates, in models that have them.
    pub gate: Option<[Linear<'a>; 2]>,
    /// `[n_embd]`: the factor of the keys for which the state is corrected.
    pub k_k: &'a [f32],
    /// `[n_embd]`: how much of a key depends on the learning rate.
    pub k_a: &'a [f32],
    /// `[n_embd]`: the bonus of the current token.
    pub r_k: &'a [f32],
    /// `[n_head][head_len]` each, in models that normalise.
    pub norm: Option<Norm<'a>>,
    /// `[n_embd × n_embd]`
    pub output: Linear<'a>,
}

/// An affine map of low rank: `bias + w2 · w1 · x`.
#[derive(Debug)]
pub struct LowRank<'a> {
    /// `[n_embd]`
    pub bias: &'a [f32],
    /// `[rank × n_embd]`
    pub w1: Linear<'a>,
    /// `[n_embd × rank]`
    pub w2: Linear<'a>,
}

/// `-e^-½`, the largest logarithm of a decay, as the reference rounds it.
const DECAY_RANGE: f32 = -0.606_531;

/// The least length by which a key is divided.
const LEAST_LENGTH: f32 = 1e-12;

impl Pass<'_> {
    /// `first_values` are the values of the first layer, which stores them there.
    pub(super) fn rwkv7(
        &self,
        weights: &Rwkv7<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        first_values: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        let heads = weights.config.heads;
        let RwkvHeads { n_inner, head_len, .. } = heads;
        let n_tokens = batch.n_tokens;
        let (compute, kernels) = (self.compute, self.compute.kernels);
        let (scratch, _): (RecurrentScratch<'_>, _) = workspace.take();
        let RecurrentScratch { projected, gate, convolved, gathered, steps, y, inner, quantized, .. } =
            scratch;
        let n_all = n_tokens * n_inner;
        let [decay, key, value, receptance, rate, corrected] = parts(projected, n_all);
        let gate = &mut gate[..if weights.gate.is_some() { n_all } else { 0 }];
        let mixed = &mut convolved[..n_all];
        let differences = &mut steps[..n_all];
        let (y, inner) = (&mut y[..n_all], &mut inner[..n_all]);
        let first_values = &mut first_values[..n_all];

        self.token_shift(ShiftedMixer::Time, batch, x, store, differences);
        for (index, shares) in weights.shares.chunks_exact(n_inner).enumerate() {
            self.shifted(x, differences, shares, mixed);
            let mut input = Activations::new(mixed, n_inner, quantized, compute.precision);
            match index {
                0 => compute.linear_of(&weights.receptance, &mut input, receptance),
                1 => {
                    let tanh = |hidden: &mut [f32]| kernels.tanh(hidden);
                    self.low_rank(&weights.decay, mixed, gathered, quantized, decay, tanh, |decay| {
                        kernels.sigmoid(decay);
                        kernels.scale(decay, DECAY_RANGE);
                        kernels.exp(decay);
                    });
                }
                2 => compute.linear_of(&weights.key, &mut input, key),
                3 => {
                    compute.linear_of(&weights.value, &mut input, value);
                    match &weights.first_value {
                        None => first_values.copy_from_slice(value),
                        Some(shares) => {
                            self.low_rank(
                                shares,
                                mixed,
                                gathered,
                                quantized,
                                y,
                                |_| {},
                                |shares| {
                                    kernels.sigmoid(shares);
                                },
                            );
                            let rows =
                                value.chunks_exact_mut(n_inner).zip(first_values.chunks_exact(n_inner));
                            compute.each_token(
                                rows.zip(y.chunks_exact(n_inner)),
                                |((value, first), shares)| {
                                    for ((value, first), share) in value.iter_mut().zip(first).zip(shares) {
                                        *value += (first - *value) * share;
                                    }
                                },
                            );
                        }
                    }
                }
                4 => self.low_rank(
                    &weights.rate,
                    mixed,
                    gathered,
                    quantized,
                    rate,
                    |_| {},
                    |rate| {
                        kernels.sigmoid(rate);
                    },
                ),
                _ => {
                    let Some([w1, w2]) = &weights.gate else { continue };
                    let hidden = &mut gathered[..n_tokens * w1.weight.n_rows()];
                    compute.linear_then(w1, &mut input, hidden, |hidden, _, _| kernels.sigmoid(hidden));
                    compute.linear(w2, hidden, quantized, gate);
                }
            }
        }
        let rows = key.chunks_exact_mut(n_inner).zip(rate.chunks_exact_mut(n_inner));
        compute.each_token(rows.zip(corrected.chunks_exact_mut(n_inner)), |((key, rate), corrected)| {
            corrected.copy_from_slice(key);
            kernels.multiply(corrected, weights.k_k);
            for vector in corrected.chunks_exact_mut(head_len) {
                let length = libm::sqrtf(kernels.sum_of_squares(vector) as f32);
                kernels.scale(vector, 1.0 / length.max(LEAST_LENGTH));
            }
            for ((key, k_a), rate) in key.iter_mut().zip(weights.k_a).zip(&*rate) {
                let part = *key * k_a;
                *key += rate * part - part;
            }
            // The vectors by which the state is read and by which the correction is written.
            for (rate, corrected) in rate.iter_mut().zip(corrected) {
                (*rate, *corrected) = (-*corrected, *corrected * *rate);
            }
        });

        let columns = |matrix| Columns { matrix, width: n_inner, first: 0, len: n_inner };
        let [decay, key, value, query] = [&*decay, key, value, receptance].map(columns);
        let [read_by, written_by] = [&*rate, corrected].map(columns);
        self.scan(batch, store, heads.lens(), y, &|piece| {
            let parts = [decay, key, value, query, read_by, written_by].map(|x| piece.part(x, head_len));
            let [decay, k, v, q, read_by, written_by] = parts;
            let Piece { state, y, .. } = piece;
            kernels.diagonal_scan(DiagonalScan {
                state,
                decay,
                k,
                v,
                q,
                correction: Some([read_by, written_by]),
                reads_before: false,
                y,
            });
        });
        self.gather(batch, heads.lens(), y, inner, &|token, inner| {
            for (head, y) in inner.chunks_exact_mut(head_len).enumerate() {
                let part = head * head_len..(head + 1) * head_len;
                let [key, value, query] = [key, value, query].map(|x| &x.token(token)[part.clone()]);
                let elements = key.iter().zip(query).zip(&weights.r_k[part.clone()]);
                let bonus: f32 = elements.map(|((key, query), r_k)| key * query * r_k).sum();
                if let Some(norm) = &weights.norm {
                    RWKV_HEAD_NORM.apply(kernels, &norm.part(part), y);
                }
                kernels.add_scaled(y, bonus, value);
            }
            if weights.gate.is_some() {
                kernels.multiply(inner, &gate[token * n_inner..][..n_inner]);
            }
        });
        compute.linear(&weights.output, inner, quantized, x);
    }

    /// `output = finish(bias + w2 · between(w1 · x))` for each token of `x`; `hidden` is a buffer for `w1 · x`.
    #[expect(clippy::too_many_arguments, reason = "two functions beside what a product takes")]
    fn low_rank(
        &self,
        map: &LowRank<'_>,
        x: &[f32],
        hidden: &mut [f32],
        quantized: &mut [u8],
        output: &mut [f32],
        between: impl Fn(&mut [f32]) + Sync,
        finish: impl Fn(&mut [f32]) + Sync,
    ) {
        let LowRank { bias, w1, w2 } = map;
        let (compute, rank) = (self.compute, w1.weight.n_rows());
        let hidden = &mut hidden[..x.len() / w1.weight.n_cols() * rank];
        let mut input = Activations::new(x, w1.weight.n_cols(), quantized, compute.precision);
        compute.linear_then(w1, &mut input, hidden, |hidden, _, _| between(hidden));
        let mut input = Activations::new(hidden, rank, quantized, compute.precision);
        compute.linear_then(w2, &mut input, output, |output, channels, _| {
            compute.kernels.add(output, &bias[channels]);
            finish(output);
        });
    }
}
