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

use super::super::config::Mamba2Config;
use super::super::pass::Pass;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::convolution::Convolution;
use super::{HeadLens, Piece, TOKENS};
use crate::compute::{Linear, Norm};
use crate::simd::{Columns, Mamba2Scan, state_len};
use crate::state::StateStore;

/// The weights of a selective state space with heads.
#[derive(Debug)]
pub struct Mamba2<'a> {
    /// Its lengths.
    pub config: Mamba2Config,
    /// `[2 · n_inner + 2 · n_group · n_state + n_head × n_embd]`: gates, inputs of the convolution, step lengths.
    pub w_in: Linear<'a>,
    /// The convolution over the inputs of the state and the vectors by which it is written and read.
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

impl Pass<'_> {
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
        let inputs = Columns { matrix: projected, width: n_projected, first: n_inner, len: n_channels };
        self.convolve(&weights.convolution, batch, inputs, store, convolved, |row| kernels.silu(row));

        let (projected, convolved) = (&*projected, &*convolved);
        let inputs = Columns { matrix: convolved, width: n_channels, first: 0, len: n_channels };
        let lens = HeadLens { state: state_len(head_len, n_state), output: head_len, all_outputs: n_inner };
        self.scan(batch, store, lens, y, &|Piece { head, first_token, n_tokens, state, y }| {
            let inputs = inputs.tokens(first_token, n_tokens);
            let group = head / (n_head / n_group);
            let (mut dts, mut decays) = ([0.0; TOKENS], [0.0; TOKENS]);
            let (dt, decay) = (&mut dts[..n_tokens], &mut decays[..n_tokens]);
            for (dt, row) in dt.iter_mut().zip(projected.chunks_exact(n_projected).skip(first_token)) {
                *dt = row[n_inner + n_channels + head] + weights.dt_bias[head];
            }
            kernels.softplus(dt);
            decay.iter_mut().zip(&*dt).for_each(|(decay, dt)| *decay = dt * weights.a[head]);
            kernels.exp(decay);
            kernels.mamba2_scan(Mamba2Scan {
                state,
                decay,
                dt,
                x: inputs.part(head * head_len, head_len),
                b: inputs.part(n_inner + group * n_state, n_state),
                c: inputs.part(n_inner + (n_group + group) * n_state, n_state),
                y,
            });
        });
        self.gather(batch, lens, y, inner, &|token, inner| {
            let x = inputs.part(0, n_inner).token(token);
            let heads = inner.chunks_exact_mut(head_len).zip(x.chunks_exact(head_len));
            for ((inner, x), d) in heads.zip(weights.d) {
                kernels.add_scaled(inner, *d, x);
            }
            kernels.silu_gated(inner, &projected[token * n_projected..][..n_inner]);
            if let Some(norm) = weights.norm {
                let group_len = n_inner / n_group;
                for (group, norm) in inner.chunks_exact_mut(group_len).zip(norm.chunks_exact(group_len)) {
                    self.normalise_row(&Norm { weight: Some(norm), bias: None }, group);
                }
            }
        });
        self.compute.linear(&weights.w_out, inner, quantized, x);
    }
}
