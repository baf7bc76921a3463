//! Attention over the residual stream of earlier layers (Kimi K3, Moonshot AI 2026).
//!
//! Before every group of a fixed number of layers the stream is stored, and a new one begins with the sequence mixer's output. A mixer
//! reads the sum of the stored streams and the current one, weighted by a softmax of scores. The score of a stream is the sum of its
//! normalised elements multiplied by learned weights.

use super::pass::Pass;

impl Pass<'_> {
    /// Computes the mixture of the `kept` streams, `[n_kept][n_tokens][n_embd]`, and of `x`, by these scores, into
    /// `mixture`.
    pub(super) fn mix_residuals(&self, scores: &[f32], kept: &[f32], x: &[f32], mixture: &mut [f32]) {
        let (kernels, n_embd) = (self.compute.kernels, scores.len());
        let eps = self.config.normalisation.eps;
        let stream_len = x.len();
        let rows = mixture.chunks_exact_mut(n_embd).zip(x.chunks_exact(n_embd)).enumerate();
        self.compute.each_token(rows, |(token, (mixture, x))| {
            let kept = kept.chunks_exact(stream_len).map(|stream| &stream[token * n_embd..][..n_embd]);
            mixture.fill(0.0);
            let (mut max, mut sum) = (f32::MIN, 0.0);
            for source in kept.chain([x]) {
                let mean_square = (kernels.sum_of_squares(source) / n_embd as f64) as f32;
                let score = kernels.dot_f32(source, scores) / libm::sqrtf(mean_square + eps);
                let new_max = score.max(max);
                let (rescale, weight) = (libm::expf(max - new_max), libm::expf(score - new_max));
                kernels.scale(mixture, rescale);
                kernels.add_scaled(mixture, weight, source);
                (max, sum) = (new_max, sum * rescale + weight);
            }
            kernels.scale(mixture, 1.0 / sum);
        });
    }
}
