//! A convolution over a few positions between two gates (LFM2, Liquid AI 2025).
//!
//! ```text
//! b, c, x = W_in · input                      [n_embd] each
//! output  = W_out · (c · convolution(b · x))
//! ```

use super::super::config::ShortConvolutionConfig;
use super::super::pass::Pass;
use super::super::scratch::{RecurrentScratch, Workspace};
use super::super::span::Batch;
use super::convolution::Convolution;
use crate::compute::Linear;
use crate::simd::Columns;
use crate::state::StateStore;

/// The weights of a convolution between two gates.
#[derive(Debug)]
pub struct ShortConvolution<'a> {
    /// Its lengths.
    pub config: ShortConvolutionConfig,
    /// `[3 · n_embd × n_embd]`: the gate of the inputs, the gate of the outputs, the inputs.
    pub w_in: Linear<'a>,
    /// The convolution over the gated inputs.
    pub convolution: Convolution<'a>,
    /// `[n_embd × n_embd]`
    pub w_out: Linear<'a>,
}

impl Pass<'_> {
    pub(super) fn short_convolution(
        &self,
        weights: &ShortConvolution<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let n_inner = weights.config.n_inner;
        let n_tokens = batch.n_tokens;
        let (scratch, _): (RecurrentScratch<'_>, _) = workspace.take();
        let RecurrentScratch { projected, convolved, quantized, .. } = scratch;
        let projected = &mut projected[..n_tokens * 3 * n_inner];
        let convolved = &mut convolved[..n_tokens * n_inner];

        self.compute.linear(&weights.w_in, x, quantized, projected);
        self.compute.each_token(projected.chunks_exact_mut(3 * n_inner), |row| {
            let (gates, x) = row.split_at_mut(2 * n_inner);
            self.compute.kernels.multiply(x, &gates[..n_inner]);
        });
        let inputs = Columns { matrix: projected, width: 3 * n_inner, first: 2 * n_inner, len: n_inner };
        self.convolve(&weights.convolution, batch, inputs, store, convolved, |_| {});
        let rows = convolved.chunks_exact_mut(n_inner).zip(projected.chunks_exact(3 * n_inner));
        self.compute.each_token(rows, |(output, row)| {
            self.compute.kernels.multiply(output, &row[n_inner..2 * n_inner])
        });
        self.compute.linear(&weights.w_out, convolved, quantized, x);
    }
}
