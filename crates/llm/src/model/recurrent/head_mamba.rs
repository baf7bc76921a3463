//! A selective state space with the structure of Mamba, but with channels that belong to heads with one decay each, as in Mamba 2 (PLaMo 2,
//! Preferred Networks 2025).
//!
//! ```text
//! z, x    = W_in · input                      of each head, [head_len] each
//! x       = silu(convolution(x))
//! B,C,dt  = W_x · x                           [n_state], [n_state], [dt_rank]; normalised
//! dt      = softplus(W_dt · dt + bias)        [n_head]
//! of each head and each of its channels i:
//! h[i][j] = exp(dt · A) · h[i][j] + dt · B[j] · x[i]
//! y[i]    = Σ h[i][j] · C[j] + D · x[i]
//! output  = W_out · (y · silu(z))
//! ```

use super::super::config::HeadMambaConfig;
use super::super::pass::Pass;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::convolution::Convolution;
use super::mamba::MambaNorms;
use super::{HeadLens, Piece, TOKENS};
use crate::compute::Linear;
use crate::quant::Activations;
use crate::simd::{Columns, Mamba2Scan, state_len};
use crate::state::StateStore;

/// The weights of a selective state space with heads.
#[derive(Debug)]
pub struct HeadMamba<'a> {
    /// Its lengths.
    pub config: HeadMambaConfig,
    /// `[n_head · 2 · head_len × n_embd]`: each head's gates, then its inputs.
    pub w_in: Linear<'a>,
    /// The convolution over the inputs.
    pub convolution: Convolution<'a>,
    /// `[2 · n_state + dt_rank × n_inner]`
    pub w_x: Linear<'a>,
    /// The normalisations of the outputs of `w_x`.
    pub norms: MambaNorms<'a>,
    /// `[n_head × dt_rank]`
    pub w_dt: Linear<'a>,
    /// `[n_head]`
    pub a: &'a [f32],
    /// `[n_head]`
    pub d: &'a [f32],
    /// `[n_embd × n_inner]`
    pub w_out: Linear<'a>,
}

impl Pass<'_> {
    pub(super) fn head_mamba(
        &self,
        weights: &HeadMamba<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let HeadMambaConfig { n_inner, n_state, dt_rank, n_head, .. } = weights.config;
        let head_len = weights.config.head_len();
        let n_tokens = batch.n_tokens;
        let kernels = self.compute.kernels;
        let n_parameters = 2 * n_state + dt_rank;
        let (scratch, _): (RecurrentScratch<'_>, _) = workspace.take();
        let RecurrentScratch {
            projected,
            gate,
            convolved,
            parameters,
            gathered,
            steps,
            y,
            inner,
            quantized,
            ..
        } = scratch;
        let projected = &mut projected[..n_tokens * 2 * n_inner];
        let gate = &mut gate[..n_tokens * n_inner];
        let convolved = &mut convolved[..n_tokens * n_inner];
        let parameters = &mut parameters[..n_tokens * n_parameters];
        let gathered = &mut gathered[..n_tokens * dt_rank];
        let steps = &mut steps[..n_tokens * n_head];
        let (y, inner) = (&mut y[..n_tokens * n_inner], &mut inner[..n_tokens * n_inner]);

        self.compute.linear(&weights.w_in, x, quantized, projected);
        let rows = projected.chunks_exact(2 * n_inner).zip(gate.chunks_exact_mut(n_inner));
        self.compute.each_token(rows.zip(inner.chunks_exact_mut(n_inner)), |((row, gate), input)| {
            let heads = gate.chunks_exact_mut(head_len).zip(input.chunks_exact_mut(head_len));
            for ((gate, input), of_head) in heads.zip(row.chunks_exact(2 * head_len)) {
                gate.copy_from_slice(&of_head[..head_len]);
                input.copy_from_slice(&of_head[head_len..]);
            }
        });
        let inputs = Columns { matrix: inner, width: n_inner, first: 0, len: n_inner };
        self.convolve(&weights.convolution, batch, inputs, store, convolved, |row| kernels.silu(row));
        self.compute.linear(&weights.w_x, convolved, quantized, parameters);
        let rows = parameters.chunks_exact_mut(n_parameters).zip(gathered.chunks_exact_mut(dt_rank));
        self.compute.each_token(rows, |(row, gathered)| {
            let (b, rest) = row.split_at_mut(n_state);
            let (c, dt) = rest.split_at_mut(n_state);
            self.normalise_row(&weights.norms.b, b);
            self.normalise_row(&weights.norms.c, c);
            self.normalise_row(&weights.norms.dt, dt);
            gathered.copy_from_slice(dt);
        });
        let mut gathered = Activations::new(gathered, dt_rank, quantized, self.compute.precision);
        self.compute.linear_then(&weights.w_dt, &mut gathered, steps, |steps, _, _| kernels.softplus(steps));

        let steps = &*steps;
        let inputs = Columns { matrix: convolved, width: n_inner, first: 0, len: n_inner };
        let parameters = Columns { matrix: parameters, width: n_parameters, first: 0, len: n_parameters };
        let lens = HeadLens { state: state_len(head_len, n_state), output: head_len, all_outputs: n_inner };
        self.scan(batch, store, lens, y, &|piece| {
            let x = piece.part(inputs, head_len);
            let Piece { head, first_token, n_tokens, state, y } = piece;
            let parameters = parameters.tokens(first_token, n_tokens);
            let (mut dts, mut decays) = ([0.0; TOKENS], [0.0; TOKENS]);
            let (dt, decay) = (&mut dts[..n_tokens], &mut decays[..n_tokens]);
            for ((dt, decay), row) in
                dt.iter_mut().zip(&mut *decay).zip(steps.chunks_exact(n_head).skip(first_token))
            {
                (*dt, *decay) = (row[head], row[head] * weights.a[head]);
            }
            kernels.exp(decay);
            let (b, c) = (parameters.part(0, n_state), parameters.part(n_state, n_state));
            kernels.mamba2_scan(Mamba2Scan { state, decay, dt, x, b, c, y });
        });
        self.gather(batch, lens, y, inner, &|token, inner| {
            let heads = inner.chunks_exact_mut(head_len).zip(inputs.token(token).chunks_exact(head_len));
            for ((inner, x), d) in heads.zip(weights.d) {
                kernels.add_scaled(inner, *d, x);
            }
            kernels.silu_gated(inner, &gate[token * n_inner..][..n_inner]);
        });
        self.compute.linear(&weights.w_out, inner, quantized, x);
    }
}
