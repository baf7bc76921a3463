//! Linear attention with the gated delta rule (Yang, Kautz and Hatamizadeh 2024, "Gated Delta Networks: Improving Mamba2
//! with Delta Rule").
//!
//! ```text
//! q, k, v = silu(convolution(W_qkv · input))
//! z       = W_gate · input
//! beta    = sigmoid(W_beta · input)           of each head with a value
//! decay   = exp(A · softplus(W_alpha · input + bias))
//! q, k    = q / |q| / √head_len_k, k / |k|
//! of each head with a value, with the query and the key that go with it:
//! S       = decay · S                         [head_len_v][head_len_k]
//! S       = S + beta · (v - S · k) · kᵀ       what is stored for this key is corrected
//! y       = S · q
//! output  = W_out · (norm(y) · silu(z))      or sigmoid(z)
//! ```

use super::super::architecture::OutputGate;
use super::super::config::DeltaNetConfig;
use super::super::pass::Pass;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::convolution::Convolution;
use super::{HeadLens, Piece, TOKENS};
use crate::compute::{Linear, Norm};
use crate::quant::Activations;
use crate::simd::{Columns, DeltaScan, state_len};
use crate::state::StateStore;

/// The weights of linear attention with the gated delta rule.
#[derive(Debug)]
pub struct DeltaNet<'a> {
    /// Its lengths.
    pub config: DeltaNetConfig,
    /// `[2 · n_key + n_value × n_embd]`: queries, keys, values.
    pub wqkv: Linear<'a>,
    /// `[n_value × n_embd]`: gates of the output.
    pub w_gate: Linear<'a>,
    /// The convolution over queries, keys and values.
    pub convolution: Convolution<'a>,
    /// How much is written and forgotten.
    pub gates: DeltaNetGates<'a>,
    /// `[n_head_v]`
    pub dt_bias: &'a [f32],
    /// `[n_head_v]`
    pub a: &'a [f32],
    /// `[head_len_v]`
    pub norm: &'a [f32],
    /// `[n_embd × n_value]`
    pub w_out: Linear<'a>,
}

/// The projections to `beta` and `alpha`, one element for each head with a value.
#[derive(Debug)]
pub enum DeltaNetGates<'a> {
    /// A matrix each.
    Apart {
        /// `[n_head_v × n_embd]`
        beta: Linear<'a>,
        /// `[n_head_v × n_embd]`
        alpha: Linear<'a>,
    },
    /// `[2 · n_head_v × n_embd]`: for each head with a key, first `beta` and then `alpha` of the values that belong to
    /// it.
    Together(Linear<'a>),
}

impl Pass<'_> {
    pub(super) fn delta_net(
        &self,
        weights: &DeltaNet<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let net = weights.config;
        let DeltaNetConfig { head_len_k, head_len_v, n_head_k, n_head_v, .. } = net;
        let (n_key, n_value, n_channels) = (net.n_key(), net.n_value(), net.n_channels());
        let config = self.config;
        let n_tokens = batch.n_tokens;
        let kernels = self.compute.kernels;
        let (scratch, _): (RecurrentScratch<'_>, _) = workspace.take();
        let RecurrentScratch { projected, gate, convolved, parameters, y, inner, quantized, .. } = scratch;
        let projected = &mut projected[..n_tokens * n_channels];
        let gate = &mut gate[..n_tokens * n_value];
        let convolved = &mut convolved[..n_tokens * n_channels];
        let parameters = &mut parameters[..n_tokens * 2 * n_head_v];
        let y = &mut y[..n_tokens * n_value];
        let inner = &mut inner[..n_tokens * n_value];

        let mut input = Activations::new(x, config.n_embd, quantized, self.compute.precision);
        self.compute.linear_each([&weights.wqkv, &weights.w_gate], &mut input, [&mut *projected, &mut *gate]);
        match &weights.gates {
            DeltaNetGates::Apart { beta, alpha } => {
                let (betas, alphas) = parameters.split_at_mut(n_tokens * n_head_v);
                self.compute.linear_each([beta, alpha], &mut input, [betas, alphas]);
            }
            DeltaNetGates::Together(both) => self.compute.linear_of(both, &mut input, parameters),
        }
        let inputs = Columns { matrix: projected, width: n_channels, first: 0, len: n_channels };
        let query_scale = 1.0 / libm::sqrtf(head_len_k as f32);
        self.convolve(&weights.convolution, batch, inputs, store, convolved, |row| {
            kernels.silu(row);
            for (head, vector) in row[..2 * n_key].chunks_exact_mut(head_len_k).enumerate() {
                let scale = if head < n_head_k { query_scale } else { 1.0 };
                self.normalise_length(vector, scale);
            }
        });

        let parameters = &*parameters;
        // `beta` and `alpha` of a head.
        let gates_of = |token: usize, head: usize| match weights.gates {
            DeltaNetGates::Apart { .. } => {
                let at = token * n_head_v + head;
                (parameters[at], parameters[n_tokens * n_head_v + at])
            }
            DeltaNetGates::Together(_) => {
                let n_together = n_head_v / n_head_k;
                let at = token * 2 * n_head_v + head / n_together * 2 * n_together + head % n_together;
                (parameters[at], parameters[at + n_together])
            }
        };
        let inputs = Columns { matrix: convolved, width: n_channels, first: 0, len: n_channels };
        let lens =
            HeadLens { state: state_len(head_len_v, head_len_k), output: head_len_v, all_outputs: n_value };
        self.scan(batch, store, lens, y, &|Piece { head, first_token, n_tokens, state, y }| {
            let inputs = inputs.tokens(first_token, n_tokens);
            let key = net.key_head(head) * head_len_k;
            let [mut betas, mut raw_betas, mut decays] = [[1.0; TOKENS]; 3];
            let (beta, raw_beta) = (&mut betas[..n_tokens], &mut raw_betas[..n_tokens]);
            let decay = &mut decays[..n_tokens];
            for (token, (beta, decay)) in raw_beta.iter_mut().zip(&mut *decay).enumerate() {
                let (of_beta, alpha) = gates_of(first_token + token, head);
                (*beta, *decay) = (of_beta, alpha + weights.dt_bias[head]);
            }
            kernels.sigmoid_gated(beta, raw_beta);
            kernels.softplus(decay);
            decay.iter_mut().for_each(|decay| *decay *= weights.a[head]);
            kernels.exp(decay);
            kernels.delta_scan(DeltaScan {
                state,
                decay,
                beta,
                k: inputs.part(n_key + key, head_len_k),
                v: inputs.part(2 * n_key + head * head_len_v, head_len_v),
                q: inputs.part(key, head_len_k),
                y,
            });
        });
        self.gather(batch, lens, y, inner, &|token, inner| {
            for inner in inner.chunks_exact_mut(head_len_v) {
                self.normalise_row(&Norm { weight: Some(weights.norm), bias: None }, inner);
            }
            let gate = &gate[token * n_value..][..n_value];
            match net.output_gate {
                OutputGate::Silu => kernels.silu_gated(inner, gate),
                OutputGate::Sigmoid => kernels.sigmoid_gated(inner, gate),
            }
        });
        self.compute.linear(&weights.w_out, inner, quantized, x);
    }

    /// `vector · scale / |vector|`, with the model's epsilon in the square of the length.
    pub(super) fn normalise_length(&self, vector: &mut [f32], scale: f32) {
        let square = self.compute.kernels.sum_of_squares(vector) + f64::from(self.config.normalisation.eps);
        self.compute.kernels.scale(vector, scale / libm::sqrtf(square as f32));
    }
}
