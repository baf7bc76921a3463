//! The causal convolution that recurrent mixers begin with: each channel's last few inputs, weighted.
//!
//! `y[t][c] = bias[c] + Σ weight[c][j] · x[t - (n_conv - 1) + j][c]` for `j` from 0, each product and sum rounded. What
//! lies before the batch is the history, `[n_conv - 1][n_channels]`: the last inputs of the batch before, zeros at
//! first.

use super::super::forward::Forward;
use super::super::span::Batch;
use crate::recurrent_state::{Checkpoint, LayerMemory};
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
}

/// Inputs of a convolution: a part of the row of each token.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'x> {
    /// The rows of all tokens.
    pub rows: &'x [f32],
    /// The length of a row.
    pub stride: usize,
    /// Where the inputs begin in a row.
    pub first: usize,
}

impl Forward<'_, '_> {
    /// The outputs of all channels, `[n_tokens][n_channels]`, given to `finish` token by token; the histories in the
    /// spans' slots of `store` become those after these tokens.
    pub(super) fn convolve(
        &self,
        weights: &Convolution<'_>,
        batch: Batch<'_>,
        inputs: Inputs<'_>,
        store: &mut StateStore<'_>,
        output: &mut [f32],
        finish: impl Fn(&mut [f32]) + Sync,
    ) {
        for span in batch.spans() {
            let LayerMemory { history, mut checkpoints, .. } = store.recurrent(span.slot, batch.layer);
            let inputs = Inputs { rows: &inputs.rows[span.rows(inputs.stride)], ..inputs };
            let output = &mut output[span.rows(weights.n_channels)];
            let past = &*history;
            let rows = output.chunks_exact_mut(weights.n_channels).enumerate();
            self.compute.each_token(rows, |(token, output)| {
                weights.of_token(token, inputs, past, output);
                finish(output);
            });
            while let Some(Checkpoint { after, history: saved, .. }) = checkpoints.next_due() {
                saved.copy_from_slice(history);
                weights.advance(saved, inputs, after);
            }
            weights.advance(history, inputs, span.n_tokens);
        }
    }
}

impl Convolution<'_> {
    /// The outputs of one token.
    fn of_token(&self, token: usize, inputs: Inputs<'_>, history: &[f32], output: &mut [f32]) {
        match self.bias {
            Some(bias) => output.copy_from_slice(bias),
            None => output.fill(0.0),
        }
        for tap in 0..self.n_conv {
            let row = self.row(token + tap, inputs, history);
            let weights = self.weight[tap..].iter().step_by(self.n_conv);
            for ((y, x), weight) in output.iter_mut().zip(row).zip(weights) {
                *y += x * weight;
            }
        }
    }

    /// The inputs at `index`, counted from the first of the history.
    fn row<'x>(&self, index: usize, inputs: Inputs<'x>, history: &'x [f32]) -> &'x [f32] {
        match index.checked_sub(self.n_conv - 1) {
            None => &history[index * self.n_channels..][..self.n_channels],
            Some(token) => &inputs.rows[token * inputs.stride + inputs.first..][..self.n_channels],
        }
    }

    /// Makes of a history before a batch that after `n_tokens` of it.
    fn advance(&self, history: &mut [f32], inputs: Inputs<'_>, n_tokens: usize) {
        if n_tokens == 0 {
            return;
        }
        for index in 0..self.n_conv - 1 {
            let (to, from) = (index * self.n_channels, (index + n_tokens) * self.n_channels);
            if index + n_tokens < self.n_conv - 1 {
                history.copy_within(from..from + self.n_channels, to);
            } else {
                let row = self.row(index + n_tokens, inputs, &[]);
                history[to..][..self.n_channels].copy_from_slice(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_holds_the_last_inputs_however_a_text_is_cut() {
        let weights = Convolution { weight: &[0.0; 8], bias: None, n_conv: 4, n_channels: 2 };
        let text: [f32; 18] = core::array::from_fn(|i| i as f32);
        let whole = Inputs { rows: &text, stride: 3, first: 1 };
        let mut expected = [-1.0; 6];
        weights.advance(&mut expected, whole, 6);
        assert_eq!(expected, [10.0, 11.0, 13.0, 14.0, 16.0, 17.0]);
        for cut in 0..6 {
            let mut history = [-1.0; 6];
            weights.advance(&mut history, whole, cut);
            let rest = Inputs { rows: &text[3 * cut..], ..whole };
            for token in 0..6 - cut {
                weights.advance(&mut history, Inputs { rows: &rest.rows[3 * token..], ..rest }, 1);
            }
            assert_eq!(history, expected, "cut after {cut}");
        }
    }

    #[test]
    fn outputs_are_weighted_sums_of_the_last_inputs() {
        let weights =
            Convolution { weight: &[1.0, 10.0, 100.0], bias: Some(&[0.5]), n_conv: 3, n_channels: 1 };
        let inputs = Inputs { rows: &[3.0, 4.0], stride: 1, first: 0 };
        let mut output = [0.0];
        weights.of_token(0, inputs, &[1.0, 2.0], &mut output);
        assert_eq!(output, [321.5]);
        weights.of_token(1, inputs, &[1.0, 2.0], &mut output);
        assert_eq!(output, [432.5]);
    }
}
