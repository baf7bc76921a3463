//! The dense channel mixer.

use super::forward::Forward;
use super::scratch::MixerScratch;
use super::weights::DenseFeedForward;
use crate::quant::Activations;

impl Forward<'_, '_> {
    /// `output = down(activation(gate(x)) · up(x))`, or without a gate `down(activation(up(x)))`;
    /// `x` and `output` are `[n_tokens][n_embd]`.
    pub(super) fn feed_forward(
        &self,
        weights: &DenseFeedForward<'_>,
        x: &[f32],
        output: &mut [f32],
        scratch: &mut MixerScratch<'_>,
        quantized: &mut [u8],
    ) {
        let activation = self.model.config().architecture.activation;
        let n_tokens = x.len() / weights.up.weight.n_cols();
        let n_ff = weights.up.weight.n_rows();
        let n_hidden = n_tokens * n_ff;
        let up = &mut scratch.up[..n_hidden];
        let mut input = Activations::new(x, weights.up.weight.n_cols(), quantized, self.precision);
        self.linear_of(&weights.up, &mut input, up);
        match &weights.gate {
            Some(weight) => {
                let gate = &mut scratch.gate[..n_hidden];
                self.linear_of(weight, &mut input, gate);
                let rows = up.chunks_exact_mut(n_ff).zip(gate.chunks_exact(n_ff));
                self.each_token(rows, |(up, gate)| activation.apply_gated(self.kernels, gate, up));
            }
            None => self.each_token(up.chunks_exact_mut(n_ff), |up| activation.apply(self.kernels, up)),
        }
        self.linear(&weights.down, up, quantized, output);
    }
}
