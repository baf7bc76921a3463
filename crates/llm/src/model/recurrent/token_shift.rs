//! The token shift of RWKV (Peng et al. 2023): a mixer reads each token mixed with the one before it, channel by channel.
//!
//! The token before the batch is in the history, `[mixers][n_embd]`: the last token that each mixer of the layer has read, zeros at first.

use super::super::pass::Pass;
use super::super::span::Batch;
use crate::recurrent_state::{Checkpoint, LayerMemory};
use crate::state::StateStore;

/// The mixers of a layer that read shifted tokens, in the order of their parts of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShiftedMixer {
    /// Along the sequence.
    Time = 0,
    /// Along the channels.
    Channels = 1,
}

impl Pass<'_> {
    /// Computes the difference from each token of `x` to the one before it, `[n_tokens][n_embd]`, into `differences`.
    /// Updates the mixer's part of the history in the spans' slots of `store` to that after these tokens.
    pub(super) fn token_shift(
        &self,
        mixer: ShiftedMixer,
        batch: Batch<'_>,
        x: &[f32],
        store: &mut StateStore<'_>,
        differences: &mut [f32],
    ) {
        let n_embd = self.config.n_embd;
        let part = mixer as usize * n_embd..(mixer as usize + 1) * n_embd;
        for span in batch.spans() {
            let x = &x[span.rows(n_embd)];
            let LayerMemory { history, mut checkpoints, .. } = store.recurrent(span.slot, batch.layer);
            let history = &mut history[part.clone()];
            // The last of the first `n` tokens.
            let last = |n: usize, history: &[f32], to: &mut [f32]| {
                let row = n.checked_sub(1).map_or(history, |last| &x[last * n_embd..][..n_embd]);
                to.copy_from_slice(row);
            };
            while let Some(Checkpoint { after, history: saved, .. }) = checkpoints.next_due() {
                last(after, history, &mut saved[part.clone()]);
            }
            let rows = differences[span.rows(n_embd)].chunks_exact_mut(n_embd);
            for (token, (row, x)) in rows.zip(x.chunks_exact(n_embd)).enumerate() {
                last(token, history, row);
                self.compute.kernels.add_scaled(row, -1.0, x);
            }
            if let Some(row) = x.chunks_exact(n_embd).next_back() {
                history.copy_from_slice(row);
            }
        }
    }

    /// Each token of `x` mixed with the one before it; channel `i` takes the share `shares[i]` of the latter.
    pub(super) fn shifted(&self, x: &[f32], differences: &[f32], shares: &[f32], mixed: &mut [f32]) {
        let (kernels, n_embd) = (self.compute.kernels, shares.len());
        let rows = mixed.chunks_exact_mut(n_embd).zip(x.chunks_exact(n_embd));
        self.compute.each_token(rows.zip(differences.chunks_exact(n_embd)), |((mixed, x), difference)| {
            mixed.copy_from_slice(difference);
            kernels.multiply(mixed, shares);
            kernels.add(mixed, x);
        });
    }
}
