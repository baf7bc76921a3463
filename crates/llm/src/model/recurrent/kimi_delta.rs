//! Kimi delta attention (Kimi Team 2025, "Kimi Linear: An Expressive, Efficient Attention Architecture"): the gated delta
//! rule with a decay for each channel of a key.
//!
//! ```text
//! q, k, v = silu(convolution(W_q · input)), silu(convolution(W_k · input)), silu(convolution(W_v · input))
//! beta    = sigmoid(W_beta · input)           of each head
//! w       = exp(decay(W_f · input + bias))    of each channel of a key
//! q, k    = q / |q| / √head_len, k / |k|
//! of each head:
//! S       = S · diag(w)                       [head_len][head_len]
//! S       = S + beta · (v - S · k) · kᵀ       what is stored for this key is corrected
//! y       = S · q
//! output  = W_out · (norm(y) · sigmoid(W_g · input))
//! ```

use super::super::config::{DecayRange, KimiDeltaConfig};
use super::super::pass::Pass;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::convolution::Convolution;
use super::rwkv6::parts;
use super::{HeadLens, Piece};
use crate::compute::{Linear, Norm};
use crate::quant::Activations;
use crate::simd::{Columns, DiagonalScan, state_len};
use crate::state::StateStore;

/// The weights of Kimi delta attention.
#[derive(Debug)]
pub struct KimiDelta<'a> {
    /// Its lengths.
    pub config: KimiDeltaConfig,
    /// Queries, keys and values, `[n_inner × n_embd]` each.
    pub qkv: [Linear<'a>; 3],
    /// The convolution over each of them.
    pub convolutions: [Convolution<'a>; 3],
    /// The projection that determines how much is forgotten, `[n_inner × n_embd]`.
    pub forget: Projection<'a>,
    /// `[n_inner]`
    pub forget_bias: &'a [f32],
    /// `[n_head]`
    pub a: &'a [f32],
    /// `[n_head × n_embd]`: determines how much is written.
    pub beta: Linear<'a>,
    /// `[n_inner × n_embd]`: gates of the output.
    pub gate: Projection<'a>,
    /// `[head_len]`
    pub norm: &'a [f32],
    /// `[n_embd × n_inner]`
    pub w_out: Linear<'a>,
}

/// A matrix, or the product of two with few dimensions between them; the one that is applied first comes first.
#[derive(Debug)]
pub enum Projection<'a> {
    /// A matrix.
    Full(Linear<'a>),
    /// Two.
    LowRank([Linear<'a>; 2]),
}

impl Pass<'_> {
    pub(super) fn kimi_delta(
        &self,
        weights: &KimiDelta<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let KimiDeltaConfig { n_head, head_len, decay_range, .. } = weights.config;
        let n_inner = weights.config.n_inner();
        let n_tokens = batch.n_tokens;
        let (compute, kernels) = (self.compute, self.compute.kernels);
        let (scratch, _): (RecurrentScratch<'_>, _) = workspace.take();
        let RecurrentScratch { projected, gate, convolved, parameters, gathered, steps, y, inner, quantized } =
            scratch;
        let n_all = n_tokens * n_inner;
        let mut inputs: [_; 3] = parts(projected, n_all);
        let [query, key, value] = parts(convolved, n_all);
        let (gate, decay) = (&mut gate[..n_all], &mut steps[..n_all]);
        let beta = &mut parameters[..n_tokens * n_head];
        let (y, inner) = (&mut y[..n_all], &mut inner[..n_all]);

        let mut input = Activations::new(x, self.config.n_embd, quantized, compute.precision);
        compute.linear_each(weights.qkv.each_ref(), &mut input, inputs.each_mut().map(|input| &mut **input));
        compute.linear_of(&weights.beta, &mut input, beta);
        for (projection, output) in [(&weights.forget, &mut *decay), (&weights.gate, &mut *gate)] {
            self.project(projection, x, gathered, quantized, output);
        }
        let query_scale = 1.0 / libm::sqrtf(head_len as f32);
        for (index, output) in [&mut *query, &mut *key, &mut *value].into_iter().enumerate() {
            let inputs = Columns { matrix: &*inputs[index], width: n_inner, first: 0, len: n_inner };
            self.convolve(&weights.convolutions[index], batch, inputs, store, output, |row| {
                kernels.silu(row);
                let scale = if index == 0 { query_scale } else { 1.0 };
                if index < 2 {
                    row.chunks_exact_mut(head_len).for_each(|vector| self.normalise_length(vector, scale));
                }
            });
        }
        kernels.sigmoid(beta);
        // The vectors by which the state is read and by which its correction is written.
        let [read_by, written_by, _] = inputs;
        let rows = decay.chunks_exact_mut(n_inner).zip(key.chunks_exact_mut(n_inner));
        let rows = rows.zip(read_by.chunks_exact_mut(n_inner).zip(written_by.chunks_exact_mut(n_inner)));
        compute.each_token(rows.zip(beta.chunks_exact(n_head)), |(((decay, key), (read, written)), beta)| {
            kernels.add(decay, weights.forget_bias);
            weights.decays(decay_range, kernels, decay);
            read.copy_from_slice(key);
            kernels.multiply(read, decay);
            for (key, beta) in key.chunks_exact_mut(head_len).zip(beta) {
                kernels.scale(key, *beta);
            }
            written.copy_from_slice(key);
            kernels.scale(written, -1.0);
        });

        let columns = |matrix| Columns { matrix, width: n_inner, first: 0, len: n_inner };
        let columns = [&*decay, key, value, query, read_by, written_by].map(columns);
        let lens = HeadLens { state: state_len(head_len, head_len), output: head_len, all_outputs: n_inner };
        self.scan(batch, store, lens, y, &|piece| {
            let [decay, k, v, q, read_by, written_by] = columns.map(|x| piece.part(x, head_len));
            let Piece { state, y, .. } = piece;
            let correction = Some([read_by, written_by]);
            kernels.diagonal_scan(DiagonalScan { state, decay, k, v, q, correction, reads_before: false, y });
        });
        self.gather(batch, lens, y, inner, &|token, inner| {
            for head in inner.chunks_exact_mut(head_len) {
                self.normalise_row(&Norm { weight: Some(weights.norm), bias: None }, head);
            }
            kernels.sigmoid_gated(inner, &gate[token * n_inner..][..n_inner]);
        });
        compute.linear(&weights.w_out, inner, quantized, x);
    }

    /// `output = projection · x` for each token of `x`; `hidden` is a buffer for the result between two matrices.
    fn project(
        &self,
        projection: &Projection<'_>,
        x: &[f32],
        hidden: &mut [f32],
        quantized: &mut [u8],
        output: &mut [f32],
    ) {
        match projection {
            Projection::Full(linear) => self.compute.linear(linear, x, quantized, output),
            Projection::LowRank([first, second]) => {
                let hidden = &mut hidden[..x.len() / first.weight.n_cols() * first.weight.n_rows()];
                self.compute.linear(first, x, quantized, hidden);
                self.compute.linear(second, hidden, quantized, output);
            }
        }
    }
}

impl KimiDelta<'_> {
    /// Turns the projection's output for one token into the factors of the state.
    fn decays(&self, range: DecayRange, kernels: &crate::simd::Kernels, decay: &mut [f32]) {
        let heads = |decay: &mut [f32], sign: f32| {
            for (head, a) in decay.chunks_exact_mut(self.config.head_len).zip(self.a) {
                kernels.scale(head, sign * a);
            }
        };
        match range {
            DecayRange::All => {
                kernels.softplus(decay);
                heads(decay, 1.0);
            }
            DecayRange::Above { least, sign } => {
                heads(decay, sign);
                kernels.sigmoid(decay);
                kernels.scale(decay, least);
            }
        }
        kernels.exp(decay);
    }
}
