//! A selective state space with one decay for each head (Dao and Gu 2024, "Transformers are SSMs: Generalized Models and
//! Efficient Algorithms Through Structured State Space Duality").
//!
//! ```text
//! z, xBC, dt = W_in · input                   [n_inner], [n_inner + 2 · n_group · n_state], [n_head]
//! x, B, C    = silu(convolution(xBC))
//! dt         = softplus(dt + bias)
//! of each head, with the B and C of its group, and each of its channels i:
//! h[i][j]    = exp(dt · A) · h[i][j] + dt · B[j] · x[i]
//! y[i]       = Σ h[i][j] · C[j] + D · x[i]
//! output     = W_out · norm(y · silu(z))      normalised in each group, in most models
//! ```

use super::super::forward::Forward;
use super::super::recurrent_config::Mamba2Config;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::super::weights::{Linear, Norm};
use super::convolution::{Convolution, Inputs};
use super::{scan_tokens, softplus};
use crate::parallel::for_each;
use crate::recurrent_state::LayerMemory;
use crate::simd::Mamba2Step;
use crate::state::StateStore;

/// The weights of a selective state space with heads.
#[derive(Debug)]
pub struct Mamba2<'a> {
    /// Its lengths.
    pub config: Mamba2Config,
    /// `[2 · n_inner + 2 · n_group · n_state + n_head × n_embd]`: gates, inputs of the convolution, step lengths.
    pub w_in: Linear<'a>,
    /// Over inputs of the state, and what it is written and read by.
    pub convolution: Convolution<'a>,
    /// `[n_head]`
    pub dt_bias: &'a [f32],
    /// `[n_head]`
    pub a: &'a [f32],
    /// `[n_head]`
    pub d: &'a [f32],
    /// `[n_group][n_inner / n_group]`, in models that normalise.
    pub norm: Option<&'a [f32]>,
    /// `[n_embd × n_inner]`
    pub w_out: Linear<'a>,
}

impl Forward<'_, '_> {
    pub(super) fn mamba2(
        &self,
        weights: &Mamba2<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let Mamba2Config { n_inner, n_state, n_head, n_group, .. } = weights.config;
        let (n_channels, head_len) = (weights.config.n_channels(), weights.config.head_len());
        let n_tokens = batch.n_tokens;
        let kernels = self.compute.kernels;
        let n_projected = n_inner + n_channels + n_head;
        let (scratch, _): (RecurrentScratch<'_>, _) = workspace.take();
        let RecurrentScratch { projected, convolved, y, inner, quantized, .. } = scratch;
        let projected = &mut projected[..n_tokens * n_projected];
        let convolved = &mut convolved[..n_tokens * n_channels];
        let y = &mut y[..n_tokens * n_inner];
        let inner = &mut inner[..n_tokens * n_inner];

        self.compute.linear(&weights.w_in, x, quantized, projected);
        let inputs = Inputs { rows: projected, stride: n_projected, first: n_inner };
        self.convolve(&weights.convolution, batch, inputs, store, convolved, |row| {
            self.compute.kernels.silu(row);
        });

        for span in batch.spans() {
            let LayerMemory { state, checkpoints, .. } = store.recurrent(span.slot, batch.layer);
            let n_tokens = span.n_tokens;
            let projected = &projected[span.rows(n_projected)];
            let convolved = &convolved[span.rows(n_channels)];
            let y = &mut y[span.rows(n_inner)];
            scan_tokens(n_tokens, state, checkpoints, |state, tokens| {
                let states = state.chunks_exact_mut(head_len * n_state);
                let heads = states.zip(y.chunks_exact_mut(n_tokens * head_len)).enumerate();
                for_each(self.compute.workers, heads, |(head, (state, y))| {
                    let group = head / (n_head / n_group);
                    for token in tokens.clone() {
                        let dt = projected[token * n_projected + n_inner + n_channels + head];
                        let dt = softplus(dt + weights.dt_bias[head]);
                        let row = &convolved[token * n_channels..][..n_channels];
                        let (x, shared) = row.split_at(n_inner);
                        let (b, c) = shared.split_at(n_group * n_state);
                        kernels.mamba2_step(Mamba2Step {
                            state,
                            decay: libm::expf(dt * weights.a[head]),
                            dt,
                            x: &x[head * head_len..][..head_len],
                            b: &b[group * n_state..][..n_state],
                            c: &c[group * n_state..][..n_state],
                            y: &mut y[token * head_len..][..head_len],
                        });
                    }
                });
            });
            let y = &*y;
            let rows = inner[span.rows(n_inner)].chunks_exact_mut(n_inner);
            let rows = rows.zip(convolved.chunks_exact(n_channels));
            let rows = rows.zip(projected.chunks_exact(n_projected)).enumerate();
            self.compute.each_token(rows, |(token, ((inner, convolved), projected))| {
                let heads = inner.chunks_exact_mut(head_len).zip(convolved.chunks_exact(head_len));
                for (head, (inner, x)) in heads.enumerate() {
                    inner.copy_from_slice(&y[(head * n_tokens + token) * head_len..][..head_len]);
                    kernels.add_scaled(inner, weights.d[head], x);
                }
                kernels.silu_gated(inner, &projected[..n_inner]);
                if let Some(norm) = weights.norm {
                    let group_len = n_inner / n_group;
                    for (group, norm) in inner.chunks_exact_mut(group_len).zip(norm.chunks_exact(group_len)) {
                        self.normalise_row(&Norm { weight: Some(norm), bias: None }, group);
                    }
                }
            });
        }
        self.compute.linear(&weights.w_out, inner, quantized, x);
    }
}
