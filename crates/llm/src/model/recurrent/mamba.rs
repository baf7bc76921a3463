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

use super::super::config::MambaConfig;
use super::super::pass::Pass;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::convolution::Convolution;
use super::{HeadLens, Piece};
use crate::compute::{Linear, Norm};
use crate::quant::Activations;
use crate::simd::{Columns, MambaScan};
use crate::state::StateStore;

/// The weights of a selective state space.
#[derive(Debug)]
pub struct Mamba<'a> {
    /// Its lengths.
    pub config: MambaConfig,
    /// `[2 · n_inner × n_embd]`: inputs of the convolution, then gates.
    pub w_in: Linear<'a>,
    /// The convolution over the inputs.
    pub convolution: Convolution<'a>,
    /// `[dt_rank + 2 · n_state × n_inner]`
    pub w_x: Linear<'a>,
    /// The normalisations of the outputs of `w_x`, in models that have them.
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

/// Channels that a core computes at a time.
const CHANNELS: usize = 64;

impl Pass<'_> {
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
        let inputs = Columns { matrix: projected, width: 2 * n_inner, first: 0, len: n_inner };
        self.convolve(&weights.convolution, batch, inputs, store, convolved, |row| kernels.silu(row));
        self.compute.linear(&weights.w_x, convolved, quantized, parameters);
        let rows = parameters.chunks_exact_mut(n_parameters).zip(gathered.chunks_exact_mut(dt_rank));
        self.compute.each_token(rows, |(row, dt)| {
            if let Some(norms) = &weights.norms {
                let (dt, rest) = row.split_at_mut(dt_rank);
                let (b, c) = rest.split_at_mut(n_state);
                self.normalise_row(&norms.dt, dt);
                self.normalise_row(&norms.b, b);
                self.normalise_row(&norms.c, c);
            }
            dt.copy_from_slice(&row[..dt_rank]);
        });
        let mut gathered = Activations::new(gathered, dt_rank, quantized, self.compute.precision);
        self.compute.linear_then(&weights.w_dt, &mut gathered, steps, |steps, _, _| kernels.softplus(steps));

        let inner_columns = |matrix| Columns { matrix, width: n_inner, first: 0, len: n_inner };
        let (inputs, steps) = (inner_columns(&*convolved), inner_columns(&*steps));
        let parameters =
            Columns { matrix: parameters, width: n_parameters, first: dt_rank, len: 2 * n_state };
        let lens = HeadLens { state: CHANNELS * n_state, output: CHANNELS, all_outputs: n_inner };
        self.scan(batch, store, lens, y, &|Piece { head, first_token, n_tokens, state, y }| {
            let (first, n_channels) = (head * CHANNELS, y.len() / n_tokens);
            let parameters = parameters.tokens(first_token, n_tokens);
            kernels.mamba_scan(MambaScan {
                state,
                a: &weights.a[first * n_state..][..n_channels * n_state],
                dt: steps.tokens(first_token, n_tokens).part(first, n_channels),
                x: inputs.tokens(first_token, n_tokens).part(first, n_channels),
                b: parameters.part(0, n_state),
                c: parameters.part(n_state, n_state),
                y,
            });
        });
        self.gather(batch, lens, y, inner, &|token, inner| {
            for ((inner, x), d) in inner.iter_mut().zip(inputs.token(token)).zip(weights.d) {
                *inner += d * x;
            }
            kernels.silu_gated(inner, &projected[token * 2 * n_inner + n_inner..][..n_inner]);
        });
        self.compute.linear(&weights.w_out, inner, quantized, x);
    }
}
