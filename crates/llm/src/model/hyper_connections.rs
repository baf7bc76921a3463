//! Hyper-connections (Zhu et al. 2024): several residual streams instead of one.
//!
//! A mixer reads one mixture of all streams, and each stream takes a share of the mixer's output. Learned matrices compute both from the
//! streams themselves:
//!
//! ```text
//! y      = norm(x_s) of each stream s, in a row
//! g      = W_up · silu(W_down · y / n)
//! read   = (Σ_s y_s · sigmoid(g_s)) / n
//! share  = 2 · sigmoid(W_inject · y / n)
//! x_s    = x_s + share_s · mixer(read)
//! ```

use super::pass::Pass;
use super::scratch::{HyperScratch, Workspace};
use crate::compute::{Linear, Norm};

/// The weights of the mixture that one mixer reads, and of the streams' shares of its output.
#[derive(Debug)]
pub struct HyperConnection<'a> {
    /// `[n_stream][n_embd]`: the normalisation of each stream.
    pub norm: &'a [f32],
    /// `[rank × n_stream · n_embd]`
    pub down: Linear<'a>,
    /// `[n_stream · n_embd × rank]`
    pub up: Linear<'a>,
    /// `[n_stream × n_stream · n_embd]`: the streams' shares; `None` if nothing is added.
    pub inject: Option<Linear<'a>>,
}

impl Pass<'_> {
    /// Computes the mixture of the streams, `[n_tokens][n_stream][n_embd]`, into `mixture`, `[n_tokens][n_embd]`, and
    /// each stream's share of the mixer's output into `shares`, `[n_tokens][n_stream]`.
    #[inline(never)]
    pub(super) fn mix_streams(
        &self,
        weights: &HyperConnection<'_>,
        streams: &[f32],
        mixture: &mut [f32],
        shares: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        let (n_embd, kernels) = (self.config.n_embd, self.compute.kernels);
        let n_stream = weights.norm.len() / n_embd;
        let (HyperScratch { normalised, low, gates, quantized }, _) = workspace.take();
        let n_tokens = mixture.len() / n_embd;
        let normalised = &mut normalised[..streams.len()];
        let gates = &mut gates[..streams.len()];
        let low = &mut low[..n_tokens * weights.down.weight.n_rows()];
        normalised.copy_from_slice(streams);
        let scale = 1.0 / n_stream as f32;
        self.compute.each_token(normalised.chunks_exact_mut(n_stream * n_embd), |row| {
            self.normalise_streams(weights.norm, row);
        });
        self.compute.linear(&weights.down, normalised, quantized, low);
        kernels.scale(low, scale);
        kernels.silu(low);
        self.compute.linear(&weights.up, low, quantized, gates);
        if let Some(inject) = &weights.inject {
            let shares = &mut shares[..n_tokens * n_stream];
            self.compute.linear(inject, normalised, quantized, shares);
            kernels.scale(shares, scale);
            kernels.sigmoid(shares);
            kernels.scale(shares, 2.0);
        }
        let rows = normalised.chunks_exact_mut(n_stream * n_embd).zip(gates.chunks_exact(n_stream * n_embd));
        self.compute.each_token(mixture.chunks_exact_mut(n_embd).zip(rows), |(mixture, (row, gates))| {
            kernels.sigmoid_gated(row, gates);
            let (first, rest) = row.split_at(n_embd);
            mixture.copy_from_slice(first);
            rest.chunks_exact(n_embd).for_each(|stream| kernels.add(mixture, stream));
            kernels.scale(mixture, scale);
        });
    }

    /// Normalises each stream of one token's row with its own weights.
    pub(super) fn normalise_streams(&self, weights: &[f32], row: &mut [f32]) {
        let n_embd = self.config.n_embd;
        for (stream, weight) in row.chunks_exact_mut(n_embd).zip(weights.chunks_exact(n_embd)) {
            self.normalise_row(&Norm { weight: Some(weight), bias: None }, stream);
        }
    }

    /// Adds each stream's share of a mixer's output, `output`, `[n_tokens][n_embd]`.
    #[inline(never)]
    pub(super) fn inject(&self, output: &[f32], shares: &[f32], streams: &mut [f32]) {
        let n_embd = self.config.n_embd;
        let n_stream = streams.len() / output.len();
        let rows = streams.chunks_exact_mut(n_stream * n_embd).zip(shares.chunks_exact(n_stream));
        self.compute.each_token(rows.zip(output.chunks_exact(n_embd)), |((streams, shares), output)| {
            for (stream, share) in streams.chunks_exact_mut(n_embd).zip(shares) {
                self.compute.kernels.add_scaled(stream, *share, output);
            }
        });
    }
}
