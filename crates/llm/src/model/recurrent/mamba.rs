//! A selective state space (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces").
//!
//! ```text
//! x, z    = W_in · input                      [n_inner] each
//! x       = silu(convolution(x))
//! dt,B,C  = W_x · x                           [dt_rank], [n_state], [n_state]; normalised in some models
//! dt      = softplus(W_dt · dt + bias)        [n_inner]
//! of each channel i:
//! h[i][j] = exp(dt[i] · A[i][j]) · h[i][j] + dt[i] · B[j] · x[i]
//! y[i]    = Σ h[i][j] · C[j] + D[i] · x[i]
//! output  = W_out · (y · silu(z))
//! ```

use super::super::forward::Forward;
use super::super::recurrent_config::MambaConfig;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::super::weights::{Linear, Norm};
use super::convolution::{Convolution, Inputs};
use super::{scan_tokens, softplus};
use crate::parallel::for_each;
use crate::recurrent_state::LayerMemory;
use crate::simd::MambaStep;
use crate::state::StateStore;

/// The weights of a selective state space.
#[derive(Debug)]
pub struct Mamba<'a> {
    /// Its lengths.
    pub config: MambaConfig,
    /// `[2 · n_inner × n_embd]`: inputs of the convolution, then gates.
    pub w_in: Linear<'a>,
    /// Over the inputs.
    pub convolution: Convolution<'a>,
    /// `[dt_rank + 2 · n_state × n_inner]`
    pub w_x: Linear<'a>,
    /// Of what `w_x` gives, in models that normalise it.
    pub norms: Option<MambaNorms<'a>>,
    /// `[n_inner × dt_rank]`
    pub w_dt: Linear<'a>,
    /// `[n_inner][n_state]`
    pub a: &'a [f32],
    /// `[n_inner]`
    pub d: &'a [f32],
    /// `[n_embd × n_inner]`
    pub w_out: Linear<'a>,
}

/// The normalisations of step lengths, inputs and outputs of a state.
#[derive(Debug, Clone, Copy)]
pub struct MambaNorms<'a> {
    /// `[dt_rank]`
    pub dt: Norm<'a>,
    /// `[n_state]`
    pub b: Norm<'a>,
    /// `[n_state]`
    pub c: Norm<'a>,
}

/// Channels that a core takes at a time.
const CHANNELS: usize = 64;

impl Forward<'_, '_> {
    pub(super) fn mamba(
        &self,
        weights: &Mamba<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let MambaConfig { n_inner, n_state, dt_rank, .. } = weights.config;
        let n_tokens = batch.n_tokens;
        let kernels = self.compute.kernels;
        let n_parameters = dt_rank + 2 * n_state;
        let (scratch, _): (RecurrentScratch<'_>, _) = workspace.take();
        let RecurrentScratch {
            projected, convolved, parameters, gathered, steps, y, inner, quantized, ..
        } = scratch;
        let projected = &mut projected[..n_tokens * 2 * n_inner];
        let convolved = &mut convolved[..n_tokens * n_inner];
        let parameters = &mut parameters[..n_tokens * n_parameters];
        let gathered = &mut gathered[..n_tokens * dt_rank];
        let steps = &mut steps[..n_tokens * n_inner];
        let y = &mut y[..n_tokens * n_inner];
        let inner = &mut inner[..n_tokens * n_inner];

        self.compute.linear(&weights.w_in, x, quantized, projected);
        let inputs = Inputs { rows: projected, stride: 2 * n_inner, first: 0 };
        self.convolve(&weights.convolution, batch, inputs, store, convolved, |row| {
            self.compute.kernels.silu(row);
        });
        self.compute.linear(&weights.w_x, convolved, quantized, parameters);
        for (row, dt) in parameters.chunks_exact_mut(n_parameters).zip(gathered.chunks_exact_mut(dt_rank)) {
            if let Some(norms) = &weights.norms {
                let (dt, rest) = row.split_at_mut(dt_rank);
                let (b, c) = rest.split_at_mut(n_state);
                self.normalise_row(&norms.dt, dt);
                self.normalise_row(&norms.b, b);
                self.normalise_row(&norms.c, c);
            }
            dt.copy_from_slice(&row[..dt_rank]);
        }
        self.compute.linear(&weights.w_dt, gathered, quantized, steps);

        for span in batch.spans() {
            let LayerMemory { state, checkpoints, .. } = store.recurrent(span.slot, batch.layer);
            let n_tokens = span.n_tokens;
            let projected = &projected[span.rows(2 * n_inner)];
            let (convolved, steps) = (&convolved[span.rows(n_inner)], &steps[span.rows(n_inner)]);
            let parameters = &parameters[span.rows(n_parameters)];
            let y = &mut y[span.rows(n_inner)];
            scan_tokens(n_tokens, state, checkpoints, |state, tokens| {
                let blocks = state.chunks_mut(CHANNELS * n_state).zip(y.chunks_mut(CHANNELS * n_tokens));
                for_each(self.compute.workers, blocks.enumerate(), |(block, (state, y))| {
                    let n_channels = state.len() / n_state;
                    let first = block * CHANNELS;
                    for token in tokens.clone() {
                        let at = token * n_inner + first;
                        let mut dt = [0.0; CHANNELS];
                        let dt = &mut dt[..n_channels];
                        dt.iter_mut().zip(&steps[at..]).for_each(|(dt, step)| *dt = softplus(*step));
                        let parameters = &parameters[token * n_parameters + dt_rank..][..2 * n_state];
                        let (b, c) = parameters.split_at(n_state);
                        kernels.mamba_step(MambaStep {
                            state,
                            a: &weights.a[first * n_state..][..n_channels * n_state],
                            dt,
                            x: &convolved[at..][..n_channels],
                            b,
                            c,
                            y: &mut y[token * n_channels..][..n_channels],
                        });
                    }
                });
            });
            let y = &*y;
            let rows = inner[span.rows(n_inner)].chunks_exact_mut(n_inner);
            let rows = rows.zip(convolved.chunks_exact(n_inner));
            let rows = rows.zip(projected.chunks_exact(2 * n_inner)).enumerate();
            self.compute.each_token(rows, |(token, ((inner, x), projected))| {
                for (block, part) in inner.chunks_mut(CHANNELS).enumerate() {
                    let y = &y[block * CHANNELS * n_tokens + token * part.len()..][..part.len()];
                    part.copy_from_slice(y);
                }
                for ((inner, x), d) in inner.iter_mut().zip(x).zip(weights.d) {
                    *inner += d * x;
                }
                kernels.silu_gated(inner, &projected[n_inner..]);
            });
        }
        self.compute.linear(&weights.w_out, inner, quantized, x);
    }
}
