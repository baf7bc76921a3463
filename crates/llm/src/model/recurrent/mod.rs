//! Recurrent sequence mixers. They remember earlier positions in a state of fixed size.
//!
//! Each file has one recurrence in plain form, with its paper. All of them process each span of a batch token by token,
//! so that a text gives the same bits in batches of any length. The heads, or blocks of channels, of all spans are
//! divided among the cores; each is processed by one core, in order.

mod channel_mix;
mod convolution;
mod delta_net;
mod head_mamba;
mod kimi_delta;
mod lightning;
mod mamba;
mod mamba2;
mod rwkv6;
mod rwkv7;
mod short_convolution;
mod token_shift;

pub use channel_mix::{ChannelMix, Receptance};
pub use convolution::Convolution;
pub(super) use convolution::advance_history;
pub use delta_net::{DeltaNet, DeltaNetGates};
pub use head_mamba::HeadMamba;
pub use kimi_delta::{KimiDelta, Projection};
pub use lightning::Lightning;
pub use mamba::{Mamba, MambaNorms};
pub use mamba2::Mamba2;
pub use rwkv6::{Rwkv6, Rwkv6Bonus, Rwkv6Input};
pub use rwkv7::{LowRank, Rwkv7};
pub use short_convolution::ShortConvolution;

use super::config::RwkvHeads;
use super::pass::Pass;
use super::scratch::Workspace;
use super::span::Batch;
use crate::compute::{BatchSpan, NormKind, Normalisation};
use crate::parallel::{for_each, for_tokens};
use crate::recurrent_state::{Checkpoint, LayerMemory};
use crate::simd::{Columns, state_len};
use crate::state::StateStore;

/// The weights of a recurrent mixer.
#[derive(Debug)]
pub enum Recurrent<'a> {
    /// A selective state space with a decay for each element of its state.
    Mamba(Mamba<'a>),
    /// A selective state space with a decay for each head.
    Mamba2(Mamba2<'a>),
    /// Linear attention with the gated delta rule.
    DeltaNet(DeltaNet<'a>),
    /// A convolution between two gates.
    ShortConvolution(ShortConvolution<'a>),
    /// A state space with the structure of Mamba, but with a decay for each head.
    HeadMamba(HeadMamba<'a>),
    /// The gated delta rule with a decay for each channel.
    KimiDelta(KimiDelta<'a>),
    /// Linear attention with a constant decay.
    Lightning(Lightning<'a>),
    /// RWKV's sixth generation.
    Rwkv6(Rwkv6<'a>),
    /// RWKV's seventh generation.
    Rwkv7(Rwkv7<'a>),
}

impl Pass<'_> {
    /// Computes the mixer of one layer. The output replaces the input `x`, `[n_tokens][n_embd]`; the layer's state in the spans' slots of
    /// `store` is updated to the state after these tokens. `first_values` are the values that RWKV-7 passes from the first layer to the
    /// others.
    pub(super) fn recurrent(
        &self,
        weights: &Recurrent<'_>,
        batch: Batch<'_>,
        x: &mut [f32],
        store: &mut StateStore<'_>,
        first_values: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        match weights {
            Recurrent::Mamba(mamba) => self.mamba(mamba, batch, x, store, workspace),
            Recurrent::Mamba2(mamba2) => self.mamba2(mamba2, batch, x, store, workspace),
            Recurrent::DeltaNet(delta_net) => self.delta_net(delta_net, batch, x, store, workspace),
            Recurrent::ShortConvolution(convolution) => {
                self.short_convolution(convolution, batch, x, store, workspace);
            }
            Recurrent::HeadMamba(mamba) => self.head_mamba(mamba, batch, x, store, workspace),
            Recurrent::KimiDelta(delta) => self.kimi_delta(delta, batch, x, store, workspace),
            Recurrent::Lightning(lightning) => self.lightning(lightning, batch, x, store, workspace),
            Recurrent::Rwkv6(rwkv) => self.rwkv6(rwkv, batch, x, store, workspace),
            Recurrent::Rwkv7(rwkv) => self.rwkv7(rwkv, batch, x, store, first_values, workspace),
        }
    }
}

/// The normalisation of a head's outputs in RWKV.
const RWKV_HEAD_NORM: Normalisation = Normalisation { kind: NormKind::Layer, eps: 64e-5 };

/// Sequences whose tokens are divided among the cores in one run.
const SEQUENCES: usize = 16;

/// Tokens of a head that a core computes at a time.
const TOKENS: usize = 16;

/// Consecutive tokens of one head, or of one block of channels.
struct Piece<'p> {
    /// The head's number, or the block's.
    head: usize,
    /// The first token, counted from the batch's.
    first_token: usize,
    /// At most [`TOKENS`].
    n_tokens: usize,
    /// The head's state.
    state: &'p mut [f32],
    /// `[n_tokens][outputs of the head]`
    y: &'p mut [f32],
}

impl Piece<'_> {
    /// The part of `x` for the piece's tokens and its head, where heads have this length.
    fn part<'x>(&self, x: Columns<'x>, head_len: usize) -> Columns<'x> {
        x.tokens(self.first_token, self.n_tokens).part(self.head * head_len, head_len)
    }
}

/// The lengths of one head, or of one block of channels; the last block may have fewer.
#[derive(Clone, Copy)]
struct HeadLens {
    /// Elements of its state.
    pub state: usize,
    /// Outputs of a token.
    pub output: usize,
    /// Outputs of a token for all heads together.
    pub all_outputs: usize,
}

impl RwkvHeads {
    /// The lengths of a head, as one core computes it.
    fn lens(&self) -> HeadLens {
        let RwkvHeads { n_inner, head_len, .. } = *self;
        HeadLens { state: state_len(head_len, head_len), output: head_len, all_outputs: n_inner }
    }
}

impl Pass<'_> {
    /// Calls `scan` with the tokens of each head of each span, in order, and with the head's state, which it updates.
    /// Each head is processed by one core. The cores synchronise where a checkpoint is made.
    ///
    /// `y` becomes `[heads][n_tokens of the span][outputs of a head]`, one span after the other.
    fn scan(
        &self,
        batch: Batch<'_>,
        store: &mut StateStore<'_>,
        lens: HeadLens,
        y: &mut [f32],
        scan: &(dyn Fn(Piece<'_>) + Sync),
    ) {
        for spans in some_spans(batch) {
            let first_token = spans[0].map_or(0, |span| span.first_token);
            let spans = spans.iter().flatten();
            // The number of tokens of each span that the state already covers.
            let mut done = [0; SEQUENCES];
            loop {
                let mut ends = done;
                for (span, end) in spans.clone().zip(&mut ends) {
                    *end = save(store.recurrent(span.slot, batch.layer), *end).unwrap_or(span.n_tokens);
                }
                if ends == done {
                    break;
                }
                let parts = store.recurrent_of::<SEQUENCES>(spans.clone().map(|span| span.slot), batch.layer);
                let mut rest = &mut y[first_token * lens.all_outputs..];
                let places = spans.clone().zip(done.into_iter().zip(ends));
                let heads = parts.into_iter().flatten().zip(places);
                let heads = heads.flat_map(|([_, state], (span, (first, end)))| {
                    let of_span = take_front(&mut rest, span.n_tokens * lens.all_outputs);
                    let outputs = of_span.chunks_mut(lens.output * span.n_tokens);
                    let heads = state.chunks_mut(lens.state).zip(outputs).enumerate();
                    // No heads for a span that is done.
                    let heads = heads.take(if first < end { usize::MAX } else { 0 });
                    heads.map(move |of_head| (span, first..end, of_head))
                });
                for_each(self.compute.workers, heads, |(span, tokens, (head, (state, y)))| {
                    let n_outputs = y.len() / span.n_tokens;
                    for first in tokens.clone().step_by(TOKENS) {
                        let end = tokens.end.min(first + TOKENS);
                        scan(Piece {
                            head,
                            first_token: span.first_token + first,
                            n_tokens: end - first,
                            state,
                            y: &mut y[first * n_outputs..end * n_outputs],
                        });
                    }
                });
                done = ends;
            }
        }
    }

    /// Brings the outputs of [`scan`](Self::scan) into the order of the tokens, `[n_tokens][outputs of all heads]`, and
    /// calls `finish` with each token's number and outputs.
    fn gather(
        &self,
        batch: Batch<'_>,
        lens: HeadLens,
        y: &[f32],
        output: &mut [f32],
        finish: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        let places = batch.spans().flat_map(|span| (0..span.n_tokens).map(move |token| (span, token)));
        let rows = places.zip(output.chunks_exact_mut(lens.all_outputs));
        for_each(for_tokens(self.compute.workers, batch.n_tokens), rows, |((span, token), row)| {
            let y = &y[span.rows(lens.all_outputs)];
            for (head, part) in row.chunks_mut(lens.output).enumerate() {
                let first = head * lens.output * span.n_tokens + token * part.len();
                part.copy_from_slice(&y[first..][..part.len()]);
            }
            finish(span.first_token + token, row);
        });
    }
}

/// The spans of a batch, some at a time.
fn some_spans(batch: Batch<'_>) -> impl Iterator<Item = [Option<BatchSpan>; SEQUENCES]> {
    let mut spans = batch.spans().fuse();
    core::iter::from_fn(move || {
        let some: [Option<BatchSpan>; SEQUENCES] = core::array::from_fn(|_| spans.next());
        some[0].is_some().then_some(some)
    })
}

/// Copies the state after `done` tokens of a batch to the checkpoints that are made there, and returns after how many tokens
/// the next one is made.
fn save(memory: LayerMemory<'_>, done: usize) -> Option<usize> {
    let LayerMemory { state, mut checkpoints, .. } = memory;
    while let Some(Checkpoint { after, state: saved, .. }) = checkpoints.next_due() {
        if after > done {
            return Some(after);
        }
        if after == done {
            saved.copy_from_slice(state);
        }
    }
    None
}

/// The first `len` elements, which are taken away.
fn take_front<'s>(rest: &mut &'s mut [f32], len: usize) -> &'s mut [f32] {
    let (front, after) = core::mem::take(rest).split_at_mut(len);
    *rest = after;
    front
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::arena::Arena;
    use crate::recurrent_state::{RecurrentShape, RecurrentState, SavedStates};

    #[test]
    fn a_state_is_saved_where_checkpoints_are_made() {
        let shapes = [RecurrentShape { n_history: 0, n_state: 1 }];
        let mut memory = std::vec![0; 1024];
        let mut arena = Arena::new(&mut memory);
        let mut store = RecurrentState::carve(shapes.into_iter(), false, &mut arena).unwrap();
        let mut saved = SavedStates::carve(shapes.into_iter(), 2, &mut arena).unwrap();
        saved.plan(0, 0, 5);
        saved.plan(1, 0, 2);
        store.begin_batch(0, 5);
        for (done, next) in [(0, Some(2)), (2, Some(5)), (5, None)] {
            store.parts(0)[1][0] = done as f32;
            assert_eq!(save(store.layer(0, 0, &mut saved), done), next);
        }
        for (index, want) in [(1, 2.0), (0, 5.0)] {
            saved.restore(index, &mut store);
            assert_eq!(store.parts(0)[1], [want]);
        }
    }
}
