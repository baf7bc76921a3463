//! The causal convolution with which recurrent mixers begin: the weighted sum of each channel's last few inputs.
//!
//! The inputs before the batch are the history, `[n_conv - 1][n_channels]` for each convolution of the layer: the last inputs of the
//! previous batch, zeros at first.

use core::ops::Range;

use super::super::pass::Pass;
use super::super::span::Batch;
use super::{SEQUENCES, some_spans, take_front};
use crate::parallel::{for_each, for_tokens};
use crate::recurrent_state::{Checkpoint, LayerMemory};
use crate::simd::{Columns, Convolve};
use crate::state::StateStore;

/// The weights of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Convolution<'a> {
    /// `[n_channels][n_conv]`
    pub weight: &'a [f32],
    /// `[n_channels]`
    pub bias: Option<&'a [f32]>,
    /// Positions that it sees.
    pub n_conv: usize,
    /// Channels.
    pub n_channels: usize,
    /// Where its part of the layer's history begins.
    pub first_history: usize,
}

/// Tokens that a core computes at a time.
const TOKENS: usize = 8;

impl Pass<'_> {
    /// Computes the outputs of all channels, `[n_tokens][n_channels]`, and passes them to `finish` token by token.
    /// Updates the histories in the spans' slots of `store` to those after these tokens.
    pub(super) fn convolve(
        &self,
        weights: &Convolution<'_>,
        batch: Batch<'_>,
        inputs: Columns<'_>,
        store: &mut StateStore<'_>,
        mut output: &mut [f32],
        finish: impl Fn(&mut [f32]) + Sync,
    ) {
        let workers = for_tokens(self.compute.workers, batch.n_tokens);
        let kernels = self.compute.kernels;
        for spans in some_spans(batch) {
            let spans = spans.iter().flatten();
            let parts = store.recurrent_of::<SEQUENCES>(spans.clone().map(|span| span.slot), batch.layer);
            let parts = parts.into_iter().flatten().zip(spans.clone()).flat_map(|([history, _], span)| {
                let of_span = take_front(&mut output, span.n_tokens * weights.n_channels);
                let parts = of_span.chunks_mut(TOKENS * weights.n_channels).enumerate();
                let history = &history[weights.history()];
                parts.map(move |(part, output)| (span, history, part * TOKENS, output))
            });
            for_each(workers, parts, |(span, history, first, output)| {
                kernels.convolve(Convolve {
                    weight: weights.weight,
                    bias: weights.bias,
                    history,
                    inputs: inputs.tokens(span.first_token, span.n_tokens),
                    first,
                    output,
                });
                output.chunks_exact_mut(weights.n_channels).for_each(&finish);
            });
        }
        advance_history(batch, store, weights.history(), inputs);
    }
}

/// Updates a part of the layer's history in each span's slot, `[positions][inputs.len]`, to that after the span's tokens, and the same part
/// of checkpoints to that after their tokens.
pub(in super::super) fn advance_history(
    batch: Batch<'_>,
    store: &mut StateStore<'_>,
    part: Range<usize>,
    inputs: Columns<'_>,
) {
    for span in batch.spans() {
        let LayerMemory { history, mut checkpoints, .. } = store.recurrent(span.slot, batch.layer);
        let inputs = inputs.tokens(span.first_token, span.n_tokens);
        while let Some(Checkpoint { after, history: saved, .. }) = checkpoints.next_due() {
            let saved = &mut saved[part.clone()];
            saved.copy_from_slice(&history[part.clone()]);
            advance(saved, inputs, after);
        }
        advance(&mut history[part.clone()], inputs, span.n_tokens);
    }
}

impl Convolution<'_> {
    /// Its part of the layer's history.
    fn history(&self) -> Range<usize> {
        self.first_history..self.first_history + (self.n_conv - 1) * self.n_channels
    }
}

/// Updates a history from before a batch to after `n_tokens` of it.
fn advance(history: &mut [f32], inputs: Columns<'_>, n_tokens: usize) {
    if n_tokens == 0 {
        return;
    }
    let (width, n_positions) = (inputs.len, history.len() / inputs.len);
    for index in 0..n_positions {
        let (to, from) = (index * width, (index + n_tokens) * width);
        if index + n_tokens < n_positions {
            history.copy_within(from..from + width, to);
        } else {
            history[to..][..width].copy_from_slice(inputs.token(index + n_tokens - n_positions));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_holds_the_last_inputs_however_a_text_is_cut() {
        let text: [f32; 18] = core::array::from_fn(|i| i as f32);
        let whole = Columns { matrix: &text, width: 3, first: 1, len: 2 };
        let mut expected = [-1.0; 6];
        advance(&mut expected, whole, 6);
        assert_eq!(expected, [10.0, 11.0, 13.0, 14.0, 16.0, 17.0]);
        for cut in 0..6 {
            let mut history = [-1.0; 6];
            advance(&mut history, whole, cut);
            for token in 0..6 - cut {
                advance(&mut history, whole.tokens(cut + token, 1), 1);
            }
            assert_eq!(history, expected, "cut after {cut}");
        }
    }
}
