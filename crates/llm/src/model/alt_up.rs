//! Alternating updates (Baykal et al. 2023) and learned augmented residuals (Menghani et al. 2024), as Gemma 3n has them.
//!
//! There are several residual streams; a layer computes with the first one. Before that it predicts each stream from all of them, and
//! afterwards it corrects the predictions by the change of the first one:
//!
//! ```text
//! m(x)  = tanh(W_router · norm(x) / n_embd)
//! p_i   = x_i + Σ_j (W_predict · m(x_0))_ij · x_j
//! x'    = layer(p_0)
//! x_i   = p_i + (x' - p_0) · (1 + (W_correct · m(x'))_i)
//! ```
//!
//! Beside the sequence mixer a layer has a map of low rank, and scales the sum: `(x + mixer(y) + y + norm(W_r ·
//! W_l · y)) / √2`, where `y` is what the mixer reads.

use super::config::AltUpConfig;
use super::pass::Pass;
use super::scratch::{AltUpScratch, Workspace};
use crate::compute::{Linear, Norm};

/// The maps between one stream and several, for each stream except the first.
#[derive(Debug)]
pub struct AltUpEnds<'a> {
    /// `[(n_stream - 1) · n_embd × n_embd]`: from the embedding to the streams.
    pub spread: Linear<'a>,
    /// The same, from the streams to the input of the output matrix.
    pub merge: Linear<'a>,
}

/// The weights of one layer's predictions and corrections.
#[derive(Debug)]
pub struct AltUp<'a> {
    /// `[n_stream × n_embd]`
    pub router: Linear<'a>,
    /// The normalisation of the router's input.
    pub router_norm: Norm<'a>,
    /// `[n_stream² × n_stream]`
    pub predict: Linear<'a>,
    /// `[n_stream × n_stream]`
    pub correct: Linear<'a>,
    /// `[n_embd]`: the factor of the corrected stream where it gates the token's embedding for the layer.
    pub correct_scale: &'a [f32],
    /// The map of low rank beside the sequence mixer.
    pub laurel: Laurel<'a>,
}

/// The weights of a map of low rank beside the sequence mixer.
#[derive(Debug)]
pub struct Laurel<'a> {
    /// `[laurel_rank × n_embd]`
    pub left: Linear<'a>,
    /// `[n_embd × laurel_rank]`
    pub right: Linear<'a>,
    /// The normalisation of their output.
    pub post_norm: Norm<'a>,
}

impl Pass<'_> {
    /// Makes the streams after the first, `[n_stream][n_tokens][n_embd]` in `streams`, from the tokens' embeddings `x`, scaled to the same
    /// length.
    #[inline(never)]
    pub(super) fn spread_streams(
        &self,
        ends: &AltUpEnds<'_>,
        x: &[f32],
        streams: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        let n_embd = self.config.n_embd;
        let (AltUpScratch { quantized, .. }, _) = workspace.take();
        for (index, stream) in streams.chunks_exact_mut(x.len()).skip(1).enumerate() {
            self.compute.linear(
                &ends.spread.rows(index * n_embd..(index + 1) * n_embd),
                x,
                quantized,
                stream,
            );
            self.scale_to_length_of(x, stream);
        }
    }

    /// Merges all streams into one, which replaces the first, `x`: the mean of the streams after their matrices are
    /// applied.
    #[inline(never)]
    pub(super) fn merge_streams(
        &self,
        ends: &AltUpEnds<'_>,
        x: &mut [f32],
        streams: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        let n_embd = self.config.n_embd;
        let n_stream = streams.len() / x.len();
        let (AltUpScratch { quantized, .. }, _) = workspace.take();
        let (output, others) = streams.split_at_mut(x.len());
        for (index, stream) in others.chunks_exact_mut(x.len()).enumerate() {
            let rows = index * n_embd..(index + 1) * n_embd;
            self.compute.linear(&ends.merge.rows(rows), stream, quantized, output);
            self.scale_to_length_of(x, output);
            stream.copy_from_slice(output);
        }
        others.chunks_exact(x.len()).for_each(|stream| self.compute.kernels.add(x, stream));
        self.compute.kernels.scale(x, 1.0 / n_stream as f32);
    }

    /// Predicts all streams; the first becomes `x`.
    #[inline(never)]
    pub(super) fn predict_streams(
        &self,
        weights: &AltUp<'_>,
        x: &mut [f32],
        streams: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        let (n_embd, stream_len) = (self.config.n_embd, x.len());
        let n_stream = weights.router.weight.n_rows();
        let mut scratch: AltUpScratch<'_> = workspace.take().0;
        let shares = self.shares(weights, &weights.predict, x, &mut scratch);
        streams[..stream_len].copy_from_slice(x);
        for (token, shares) in shares.chunks_exact(n_stream * n_stream).enumerate() {
            for element in token * n_embd..(token + 1) * n_embd {
                let mut before = [0.0; AltUpConfig::MAX_STREAMS];
                let before = &mut before[..n_stream];
                let places = (element..).step_by(stream_len);
                before.iter_mut().zip(places.clone()).for_each(|(before, at)| *before = streams[at]);
                for ((at, shares), own) in places.zip(shares.chunks_exact(n_stream)).zip(&*before) {
                    let sum = shares.iter().zip(&*before).fold(0.0, |sum, (share, x)| sum + share * x);
                    streams[at] = sum + own;
                }
            }
        }
        x.copy_from_slice(&streams[..stream_len]);
    }

    /// Corrects the predictions by the layer's output for the first stream, `x`, and that stream too.
    #[inline(never)]
    pub(super) fn correct_streams(
        &self,
        weights: &AltUp<'_>,
        x: &mut [f32],
        streams: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        let (n_embd, stream_len) = (self.config.n_embd, x.len());
        let n_stream = weights.router.weight.n_rows();
        let mut scratch: AltUpScratch<'_> = workspace.take().0;
        let shares = self.shares(weights, &weights.correct, x, &mut scratch);
        let rows = x.chunks_exact_mut(n_embd).zip(shares.chunks_exact_mut(n_stream)).enumerate();
        for (token, (x, shares)) in rows {
            let row = |stream: usize| {
                stream * stream_len + token * n_embd..stream * stream_len + (token + 1) * n_embd
            };
            x.iter_mut().zip(&streams[row(0)]).for_each(|(x, predicted)| *x -= predicted);
            for (stream, share) in shares.iter().enumerate() {
                self.compute.kernels.add_scaled(&mut streams[row(stream)], share + 1.0, x);
            }
            x.copy_from_slice(&streams[row(0)]);
        }
    }

    /// Adds to all streams except the first.
    pub(super) fn add_to_others(&self, addend: &[f32], streams: &mut [f32]) {
        let others = streams.chunks_exact_mut(addend.len()).skip(1);
        others.for_each(|stream| self.compute.kernels.add(stream, addend));
    }

    /// Computes into `output` what the map of low rank adds to the sequence mixer's output, from the mixer's input `x`.
    #[inline(never)]
    pub(super) fn laurel(
        &self,
        weights: &Laurel<'_>,
        x: &[f32],
        output: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        let n_embd = self.config.n_embd;
        let (AltUpScratch { low, quantized, .. }, _) = workspace.take();
        let low = &mut low[..x.len() / n_embd * weights.left.weight.n_rows()];
        self.compute.linear(&weights.left, x, quantized, low);
        self.compute.linear(&weights.right, low, quantized, output);
        output.chunks_exact_mut(n_embd).for_each(|row| self.normalise_row(&weights.post_norm, row));
        self.compute.kernels.add(output, x);
    }

    /// Applies `matrix` to the router's output for each token of `x`.
    fn shares<'s>(
        &self,
        weights: &AltUp<'_>,
        matrix: &Linear<'_>,
        x: &[f32],
        scratch: &'s mut AltUpScratch<'_>,
    ) -> &'s mut [f32] {
        let (n_embd, kernels) = (self.config.n_embd, self.compute.kernels);
        let AltUpScratch { normalised, routed, shares, quantized, .. } = scratch;
        let n_tokens = x.len() / n_embd;
        let normalised = &mut normalised[..x.len()];
        self.normalise(Some(&weights.router_norm), x, normalised);
        kernels.scale(normalised, 1.0 / n_embd as f32);
        let routed = &mut routed[..n_tokens * weights.router.weight.n_rows()];
        self.compute.linear(&weights.router, normalised, quantized, routed);
        kernels.tanh(routed);
        let shares = &mut shares[..n_tokens * matrix.weight.n_rows()];
        self.compute.linear(matrix, routed, quantized, shares);
        shares
    }

    /// Scales each row of `rows` to the length of the same row of `x`.
    fn scale_to_length_of(&self, x: &[f32], rows: &mut [f32]) {
        let (n_embd, kernels) = (self.config.n_embd, self.compute.kernels);
        let length = |row: &[f32]| libm::sqrtf(kernels.sum_of_squares(row) as f32);
        self.compute.each_token(rows.chunks_exact_mut(n_embd).zip(x.chunks_exact(n_embd)), |(row, x)| {
            kernels.scale(row, length(x) / length(row));
        });
    }
}
