//! The channel mixer of RWKV (Peng et al. 2023), a feed-forward block that reads shifted tokens:
//!
//! ```text
//! k      = max(0, W_key · shifted(input))²
//! output = sigmoid(W_receptance · shifted(input)) · (W_value · k)       RWKV-7 has no receptance
//! ```

use super::super::activation::relu_squared;
use super::super::pass::Pass;
use super::super::scratch::{ChannelMixScratch, Workspace};
use super::super::span::Batch;
use super::token_shift::ShiftedMixer;
use crate::compute::Linear;
use crate::quant::Activations;
use crate::state::StateStore;

/// The weights of a channel mixer.
#[derive(Debug)]
pub struct ChannelMix<'a> {
    /// `[n_embd]`: the shares of the token before in the input of the keys.
    pub key_shares: &'a [f32],
    /// `[n_ff × n_embd]`
    pub key: Linear<'a>,
    /// `[n_embd × n_ff]`
    pub value: Linear<'a>,
    /// The gate of the outputs, in models that have one.
    pub receptance: Option<Receptance<'a>>,
}

/// The gate of the outputs of a channel mixer.
#[derive(Debug)]
pub struct Receptance<'a> {
    /// `[n_embd]`: the shares of the token before in its input.
    pub shares: &'a [f32],
    /// `[n_embd × n_embd]`
    pub weight: Linear<'a>,
}

impl Pass<'_> {
    /// Computes the channel mixer of one layer. The output replaces the input `x`, `[n_tokens][n_embd]`.
    pub(in super::super) fn channel_mix(
        &self,
        weights: &ChannelMix<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let n_embd = weights.key.weight.n_cols();
        let (scratch, _): (ChannelMixScratch<'_>, _) = workspace.take();
        let ChannelMixScratch { differences, mixed, receptance, keys, quantized } = scratch;
        let differences = &mut differences[..x.len()];
        let mixed = &mut mixed[..x.len()];
        let receptance = &mut receptance[..if weights.receptance.is_some() { x.len() } else { 0 }];
        let keys = &mut keys[..batch.n_tokens * weights.key.weight.n_rows()];

        self.token_shift(ShiftedMixer::Channels, batch, x, store, differences);
        if let Some(Receptance { shares, weight }) = &weights.receptance {
            self.shifted(x, differences, shares, mixed);
            self.compute.linear(weight, mixed, quantized, receptance);
        }
        self.shifted(x, differences, weights.key_shares, mixed);
        let mut input = Activations::new(mixed, n_embd, quantized, self.compute.precision);
        self.compute.linear_then(&weights.key, &mut input, keys, |keys, _, _| {
            keys.iter_mut().for_each(|key| *key = relu_squared(*key));
        });
        self.compute.linear(&weights.value, keys, quantized, x);
        if weights.receptance.is_some() {
            let rows = x.chunks_exact_mut(n_embd).zip(receptance.chunks_exact(n_embd));
            self.compute
                .each_token(rows, |(x, receptance)| self.compute.kernels.sigmoid_gated(x, receptance));
        }
    }
}
