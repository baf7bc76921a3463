//! Batches of spans over a model, several sequences and one scratch.
//!
//! A [`Runner`] has a number of *slots*, each with the state of one sequence, and computes [`Span`]s of any of
//! them together: a sequence's logits are the same to the bit whatever else is in its batches.
//!
//! Neighbours: [`Forward`] computes, [`StateStore`] has the slots, [`Session`](super::Session) drives a runner of one slot.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{ControlFlow, Range};

use super::adapters::Adapters;
use super::error::{SessionError, SpanError};
use crate::arena::{Arena, OutOfMemory};
use crate::compute::{Adaptation, Compute, LowRanks};
use crate::kv_cache::{KvCache, KvShape, KvType};
use crate::model::forward::Forward;
use crate::model::{ClassifierScratch, Config, Input, Model, Ropes, Scratch, Span};
use crate::parallel::Workers;
use crate::quant::Precision;
use crate::recurrent_state::{RecurrentShape, RecurrentState, SavedStates};
use crate::simd::Kernels;
use crate::state::{Room, StateOptions, StateStore};

/// What a runner is to be able to do; more takes more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerOptions {
    /// Sequences, of up to as many positions as the model was trained for, and the pages that they share.
    pub state: StateOptions,
    /// Most tokens of a batch.
    pub n_batch: usize,
    /// Most tokens of a batch whose logits can be asked for.
    pub n_logits: usize,
    /// How activations enter matrix products.
    pub precision: Precision,
}

/// A model, the state of some sequences, and the scratch of a batch.
pub struct Runner<'m> {
    model: Arc<Model<'m>>,
    ropes: Ropes,
    compute: Compute<'m>,
    options: RunnerOptions,
    state: StateStore<'m>,
    scratch: Scratch<'m>,
    adapters: Adapters,
}

/// Most tokens of a batch, unless it is told otherwise; a longer prompt takes several.
const N_BATCH: usize = 512;

/// Checkpoints of recurrent layers for each text that can be computed together, if the memory has room for them: of a text's
/// end, so that a conversation goes on from there, and of places before.
pub const CHECKPOINTS_PER_TEXT: usize = 4;

impl RunnerOptions {
    /// Options to generate `n_slots` texts together, each of up to `n_ctx` positions: batches of up to 512 tokens, an F16 cache,
    /// and beginnings that texts have in common are computed once.
    pub fn new(config: &Config, n_ctx: usize, n_slots: usize) -> Self {
        // An encoder's tokens see each other, so that a text cannot be cut into batches.
        let n_batch = match config.is_encoder() {
            true => N_BATCH.min(n_ctx.saturating_mul(n_slots)).max(n_ctx),
            false => N_BATCH.min(n_ctx).max(n_slots),
        };
        let n_checkpoints =
            if config.is_recurrent() { n_slots.saturating_mul(CHECKPOINTS_PER_TEXT) } else { 0 };
        let state = StateOptions {
            n_slots,
            n_ctx,
            n_pages: StateOptions::pages_of(n_ctx).saturating_mul(n_slots),
            kv_type: KvType::F16,
            finds_prefixes: true,
            n_checkpoints,
            own_checkpoints: false,
        };
        Self { state, n_batch, n_logits: n_slots.min(n_batch), precision: Precision::Quantized }
    }

    /// Whether they suit a model.
    pub(super) fn check(&self, config: &Config) -> Result<(), SessionError> {
        let StateOptions { n_slots, n_ctx, n_pages, kv_type, .. } = self.state;
        if n_slots == 0 || n_pages > StateOptions::MAX_PAGES {
            return Err(SessionError::StateLength { n_slots, n_pages });
        }
        if !(1..=config.n_ctx_train).contains(&n_ctx) {
            return Err(SessionError::ContextLength { n_ctx, n_ctx_train: config.n_ctx_train });
        }
        if self.n_batch == 0 {
            return Err(SessionError::BatchLength { n_batch: self.n_batch, n_ctx });
        }
        let mut vectors = kv_shapes(config).flat_map(|shape| shape.vectors(kv_type));
        let most = kv_type.max_head_len().unwrap_or(usize::MAX);
        let refused = vectors.find(|(len, ty)| !len.is_multiple_of(ty.block_len()) || *len > most);
        match refused {
            Some((head_len, _)) if head_len > most => Err(SessionError::LongVectors { head_len, most }),
            Some((head_len, ty)) => Err(SessionError::HeadLength { head_len, block_len: ty.block_len() }),
            None => Ok(()),
        }
    }

    /// Bytes of keys and values, and of what recurrent layers keep; who holds which page is not among them.
    pub(super) fn state_bytes(&self, config: &Config) -> Result<usize, OutOfMemory> {
        let mut arena = Arena::measuring();
        KvCache::carve(kv_shapes(config), self.state.n_pages, self.state.kv_type, &mut arena)?;
        for _ in 0..self.state.n_slots {
            RecurrentState::carve(recurrent_shapes(config), self.state.own_checkpoints, &mut arena)?;
        }
        SavedStates::carve(recurrent_shapes(config), self.kept(config).n_checkpoints, &mut arena)?;
        Ok(arena.used_bytes())
    }

    /// What is kept of the sequences of a model.
    fn kept(&self, config: &Config) -> StateOptions {
        // What an encoder computes for a beginning depends on what follows.
        let finds_prefixes = self.state.finds_prefixes && !config.is_encoder();
        let n_checkpoints = if finds_prefixes { self.state.n_checkpoints } else { 0 };
        StateOptions { finds_prefixes, n_checkpoints, ..self.state }
    }

    /// Takes everything from `arena`.
    pub(super) fn carve<'m>(
        &self,
        config: &Config,
        arena: &mut Arena<'m>,
    ) -> Result<(StateStore<'m>, Scratch<'m>), OutOfMemory> {
        // What the matrices of a layer come to, about, without experts that are left out.
        let n_weights = config.n_embd.saturating_mul(config.n_embd).saturating_mul(8 * config.layers.len());
        let (kv_shapes, recurrent_shapes) = (kv_shapes(config), recurrent_shapes(config));
        let state = StateStore::carve(kv_shapes, recurrent_shapes, n_weights, self.kept(config), arena)?;
        Ok((state, Scratch::carve(config, self.n_batch, self.n_logits, self.state.n_ctx, arena)?))
    }
}

/// What each layer keeps of a text, however long that is.
fn recurrent_shapes(config: &Config) -> impl ExactSizeIterator<Item = RecurrentShape> + Clone {
    config.layers.iter().map(|layer| layer.state.recurrent_shape())
}

/// What each layer keeps of a position.
fn kv_shapes(config: &Config) -> impl ExactSizeIterator<Item = KvShape> {
    config.layers.iter().map(|layer| layer.state.kv_shape())
}

impl<'m> Runner<'m> {
    /// The memory that [`Runner::new`] needs for these options, to the byte, if it starts at a multiple of
    /// [`ALIGN`](crate::arena::ALIGN).
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the options do not suit the model.
    pub fn required_bytes(config: &Config, options: &RunnerOptions) -> Result<usize, SessionError> {
        options.check(config)?;
        let mut arena = Arena::measuring();
        options.carve(config, &mut arena)?;
        Ok(arena.used_bytes())
    }

    /// What of [`required_bytes`](Self::required_bytes) is neither keys and values nor what recurrent layers keep: buffers,
    /// and which text has which pages with which tokens.
    ///
    /// # Errors
    ///
    /// As [`required_bytes`](Self::required_bytes).
    pub fn scratch_bytes(config: &Config, options: &RunnerOptions) -> Result<usize, SessionError> {
        Ok(Self::required_bytes(config, options)? - options.state_bytes(config)?)
    }

    /// A runner of empty slots, whose state and scratch lie in `memory`.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the options do not suit the model, or `memory` or the heap is too small.
    ///
    /// # Panics
    ///
    /// If the model's weights have been packed for another set than `kernels`.
    pub fn new(
        model: impl Into<Arc<Model<'m>>>,
        options: RunnerOptions,
        kernels: &'static Kernels,
        workers: &'m dyn Workers,
        memory: &'m mut [u8],
    ) -> Result<Self, SessionError> {
        Self::in_arena(model.into(), options, kernels, workers, &mut Arena::new(memory))
    }

    /// As [`new`](Self::new), in what `arena` has left.
    pub(super) fn in_arena(
        model: Arc<Model<'m>>,
        options: RunnerOptions,
        kernels: &'static Kernels,
        workers: &'m dyn Workers,
        arena: &mut Arena<'m>,
    ) -> Result<Self, SessionError> {
        assert!(model.can_run_on(kernels), "packed for another set of instructions than {}", kernels.name());
        options.check(model.config())?;
        let (precision, adaptation) = (options.precision, Adaptation::default());
        let compute = Compute { kernels, workers, precision, adaptation };
        let (state, scratch) = options.carve(model.config(), arena)?;
        let ropes = Ropes::new(&model, options.state.n_ctx)?;
        let adapters = Adapters::default();
        Ok(Runner { model, ropes, compute, options, state, scratch, adapters })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model<'m>> {
        &self.model
    }

    /// What the runner was made for.
    pub fn options(&self) -> &RunnerOptions {
        &self.options
    }

    /// Lets slots be [adapted](Self::adapt) by these from now on, which must be adapters of this model. All slots are
    /// emptied, and adapted with the `usual` scales, one of each adapter.
    ///
    /// # Errors
    ///
    /// [`SessionError::OutOfMemory`] if the heap is too small.
    ///
    /// # Panics
    ///
    /// If there are more or fewer scales than adapters.
    pub fn set_adapters(&mut self, adapters: Vec<LowRanks>, usual: Vec<f32>) -> Result<(), SessionError> {
        let n_slots = self.options.state.n_slots;
        self.adapters.set(adapters, usual, n_slots, self.options.n_batch, self.options.n_logits)?;
        for slot in 0..n_slots {
            self.state.join_group(slot, 0);
        }
        Ok(())
    }

    /// Takes the adapters away, to be [set](Self::set_adapters) in another runner of the model, and their usual scales. This one
    /// is to run nothing any more.
    pub fn take_adapters(&mut self) -> (Vec<LowRanks>, Vec<f32>) {
        self.adapters.take()
    }

    /// Changes the [usual scales](Self::usual_scales); slots stay as they are until they are [adapted](Self::adapt).
    ///
    /// # Panics
    ///
    /// If there are more or fewer scales than adapters.
    pub fn set_usual_scales(&mut self, usual: &[f32]) {
        self.adapters.set_usual(usual);
    }

    /// Adapts all slots as is usual.
    pub fn adapt_as_usual(&mut self) {
        let usual = self.usual_scales().to_vec();
        (0..self.options.state.n_slots).for_each(|slot| self.adapt(slot, &usual));
    }

    /// The adapters.
    pub fn adapters(&self) -> &[LowRanks] {
        self.adapters.list()
    }

    /// What slots are adapted with that are not adapted otherwise: one scale of each adapter.
    pub fn usual_scales(&self) -> &[f32] {
        self.adapters.usual()
    }

    /// Adapts a slot: what each adapter adds is multiplied by its scale there; 0 for those after the last scale. A slot that
    /// was adapted otherwise is emptied. What is computed is shared between slots that are adapted alike.
    ///
    /// # Panics
    ///
    /// If there is no such slot, or there are more scales than adapters.
    pub fn adapt(&mut self, slot: usize, scales: &[f32]) {
        if let Some(group) = self.adapters.adapt(slot, scales) {
            self.state.join_group(slot, group);
        }
    }

    /// The instruction set in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.compute.kernels
    }

    /// The positions that a slot holds.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    pub fn len(&self, slot: usize) -> usize {
        self.state.len(slot)
    }

    /// Pages that no slot holds.
    pub fn n_free_pages(&self) -> usize {
        self.state.n_free_pages()
    }

    /// Whether the next position of a slot is in a page that other slots hold, which it takes a copy of.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    pub fn is_last_page_shared(&self, slot: usize) -> bool {
        self.state.is_last_page_shared(slot)
    }

    /// Checkpoints that are not being made: all, but while a batch is computed.
    pub fn n_free_checkpoints(&self) -> usize {
        self.state.n_free_checkpoints()
    }

    /// How many of these tokens [`reuse`](Self::reuse) would find in a slot, if there are pages for it.
    pub(crate) fn n_known(&self, slot: usize, tokens: &[u32]) -> usize {
        self.state.n_known(slot, tokens)
    }

    /// Free pages that a text of these tokens would take in a slot, if [`reuse`](Self::reuse) found its beginning.
    pub fn pages_lacking(&self, slot: usize, tokens: &[u32]) -> usize {
        self.state.pages_lacking(slot, tokens)
    }

    /// Forgets the positions of a slot from `len` on, and returns how many it has then: what recurrent layers keep cannot
    /// be cut back to any position, so that where they have gone on from there, they go back to a checkpoint, or
    /// to the beginning. What an emptied slot held can be [found again](Self::reuse) until the memory is needed.
    ///
    /// # Panics
    ///
    /// If there is no such slot; here and below.
    pub fn truncate(&mut self, slot: usize, len: usize) -> usize {
        self.state.truncate(slot, len)
    }

    /// Makes slot `to` the same sequence as slot `from`, and forgets what it was. They share their pages until one goes
    /// on.
    pub fn fork(&mut self, from: usize, to: usize) {
        self.adapters.copy(from, to);
        self.state.fork(from, to);
    }

    /// Makes a slot the longest beginning of `tokens` that is still known, and returns its length: the others, the
    /// last always among them, are left to be computed. The logits are the same to the bit as if all were. In models with
    /// recurrent layers it ends where there is a checkpoint; in encoders, whose positions see those after them, it is 0.
    pub fn reuse(&mut self, slot: usize, tokens: &[u32]) -> usize {
        self.state.reuse(slot, tokens)
    }

    /// Lets the slot's next span make a checkpoint of its own of what recurrent layers keep, before its last `n_after` tokens
    /// and in the place of an earlier one, if the slots have [room](StateOptions::own_checkpoints) for one. A slot that is
    /// emptied or made another text before forgets that.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    pub fn plan_checkpoint(&mut self, slot: usize, n_after: usize) {
        self.state.plan_checkpoint(slot, n_after);
    }

    /// Lets the slot's span in the next batch make a checkpoint after its first `after` tokens, to which
    /// [`truncate`](Self::truncate) goes back if the tokens after them were guessed wrong. False if all checkpoints are
    /// worth more than that, or there are none. A slot that is emptied or made another text before forgets that, and so it
    /// does if the batch is not computed or the span has fewer tokens.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    pub fn plan_return(&mut self, slot: usize, after: usize) -> bool {
        self.state.plan_return(slot, after)
    }

    /// Computes the tokens of all `spans` and returns the logits asked for, `[rows][n_output]`, in the order of the
    /// spans: `n_vocab` numbers for each, or of an encoder its hidden state ([`Config::n_output`]).
    ///
    /// A span may begin before the end of its slot: what the slot held from there on is forgotten. In models with
    /// recurrent layers it begins there or at 0. A span of an encoder is a whole text.
    ///
    /// `go_on` is called twice in each layer and can break off.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if there are no tokens, a span does not suit its slot or the model, or there are more tokens or
    /// rows of logits than the runner was made for; nothing has changed then. [`SessionError::Pages`] if all spans together
    /// need more pages than are free without what they forget: each slot then ends where its span was to begin, whatever
    /// the order of the spans. [`SessionError::Stopped`] if `go_on` breaks off: each slot then ends where its span began, or
    /// with recurrent layers is back at a checkpoint or at 0 ([`len`](Self::len) tells).
    pub fn run(
        &mut self,
        spans: &[Span<'_>],
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<&[f32], SessionError> {
        let n_rows = self.compute(spans, go_on)?;
        Ok(self.logits(n_rows))
    }

    /// What the last layer gave for these tokens of the last batch, counted from its first, `[tokens][n_embd]`: what an output
    /// matrix is multiplied with, or the hidden states of an encoder. To be asked once for each token.
    pub(crate) fn hidden_states(&mut self, tokens: Range<usize>) -> &[f32] {
        let compute = self.compute;
        let forward = Forward { model: &self.model, ropes: &self.ropes, compute, row_slots: &[] };
        forward.hidden_states(tokens, &mut self.scratch)
    }

    /// The scores that the model's classifier gives a text that `x`, `[n_embd]`, stands for; none if it has no classifier.
    pub(crate) fn classify<'s>(&self, x: &[f32], scratch: &'s mut ClassifierScratch) -> &'s [f32] {
        match &self.model.weights().classifier {
            Some(classifier) => {
                classifier.scores(&self.compute, self.model.config().normalisation.eps, x, scratch)
            }
            None => &[],
        }
    }

    /// As [`run`](Self::run); answers how many rows of [logits](Self::logits) there are.
    pub(crate) fn compute(
        &mut self,
        spans: &[Span<'_>],
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<usize, SessionError> {
        let n_rows = self.check(spans)?;
        let n_embd = self.model.config().n_embd;
        let rooms = spans.iter().map(|span| Room {
            slot: span.slot,
            first: span.first_position,
            n: span.input.n_tokens(n_embd),
        });
        self.state.prepare(rooms).map_err(SessionError::Pages)?;
        self.adapters.place(spans, n_embd);
        let (adaptation, row_slots) = self.adapters.of_batch();
        let compute = Compute { adaptation, ..self.compute };
        let forward = Forward { model: &self.model, ropes: &self.ropes, compute, row_slots };
        match forward.run(spans, &mut self.state, &mut self.scratch, go_on) {
            ControlFlow::Continue(_) => {}
            ControlFlow::Break(()) => {
                spans.iter().for_each(|span| self.state.abandon(span.slot));
                return Err(SessionError::Stopped);
            }
        }
        for span in spans {
            let tokens = (0..span.input.n_tokens(n_embd)).map(|token| match span.input {
                Input::Tokens(ids) => Some(ids[token]),
                Input::Embeddings(_) => None,
            });
            self.state.commit(span.slot, tokens);
        }
        Ok(n_rows)
    }

    /// The first `n_rows` rows of the logits that the last batch gave.
    pub(crate) fn logits(&self, n_rows: usize) -> &[f32] {
        self.scratch.logits(n_rows)
    }

    /// One row of the logits that the last batch gave.
    pub(super) fn logits_row(&self, row: usize) -> &[f32] {
        self.scratch.logits_row(row)
    }

    /// Whether a batch can be; how many rows of logits it gives.
    fn check(&self, spans: &[Span<'_>]) -> Result<usize, SessionError> {
        let RunnerOptions { n_batch, n_logits, .. } = self.options;
        let StateOptions { n_slots, n_ctx, .. } = self.options.state;
        let config = self.model.config();
        let (mut n_tokens, mut n_rows) = (0, 0);
        for (index, span) in spans.iter().enumerate() {
            let Span { slot, first_position, input, logits } = *span;
            let span_tokens = input.n_tokens(config.n_embd);
            if slot >= n_slots {
                return Err(SpanError::Slot { slot, n_slots }.into());
            }
            if spans[..index].iter().any(|other| other.slot == slot) {
                return Err(SpanError::SlotTwice { slot }.into());
            }
            if first_position > if config.is_encoder() { 0 } else { self.state.len(slot) } {
                return Err(SpanError::Position { first_position, slot, len: self.state.len(slot) }.into());
            }
            if config.is_recurrent() && first_position != 0 && first_position != self.state.len(slot) {
                let len = self.state.len(slot);
                return Err(SpanError::Recurrent { first_position, slot, len }.into());
            }
            match input {
                Input::Tokens(ids) => {
                    if let Some(&id) = ids.iter().find(|&&id| id as usize >= config.n_vocab) {
                        return Err(SessionError::TokenId { id, n_vocab: config.n_vocab });
                    }
                }
                Input::Embeddings(rows) => {
                    if !rows.len().is_multiple_of(config.n_embd) {
                        let (len, n_embd) = (rows.len(), config.n_embd);
                        return Err(SpanError::Embeddings { len, n_embd }.into());
                    }
                }
            }
            if span_tokens == 0 {
                return Err(SessionError::NoTokens);
            }
            if span_tokens > n_ctx - first_position {
                return Err(SessionError::ContextFull {
                    n_tokens: span_tokens,
                    n_past: first_position,
                    n_ctx,
                });
            }
            if !logits.are_in(span_tokens) {
                return Err(SpanError::Rows { n_tokens: span_tokens }.into());
            }
            n_tokens += span_tokens;
            n_rows += logits.rows(span_tokens);
        }
        if n_tokens == 0 {
            return Err(SessionError::NoTokens);
        }
        if n_tokens > n_batch {
            return Err(SpanError::Batch { n_tokens, n_batch }.into());
        }
        if n_rows > n_logits {
            return Err(SessionError::LogitsRows { n_rows, n_logits });
        }
        Ok(n_rows)
    }
}
