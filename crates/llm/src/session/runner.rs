//! Computes batches of spans with a model, several sequences and one scratch memory.
//!
//! A [`Runner`] has a number of *slots*, each with the state of one sequence, and computes [`Span`]s of several slots
//! together. A sequence's logits are the same to the bit whatever else is in the batch.
//!
//! Neighbours: [`Forward`] computes, [`StateStore`] holds the slots, [`Session`](super::Session) drives a runner of one slot.

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

/// The capabilities of a runner. Larger values need more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerOptions {
    /// The sequences, each with at most as many positions as the model was trained for, and the pages that they share.
    pub state: StateOptions,
    /// Most tokens of a batch.
    pub n_batch: usize,
    /// Most tokens of a batch whose logits can be requested.
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

/// Default for the most tokens of a batch; a longer prompt takes several batches.
const N_BATCH: usize = 512;

/// Checkpoints of recurrent layers for each slot, if the memory has room for them: one at the end of a text, so that a conversation can
/// continue from there, and some at earlier places.
pub const CHECKPOINTS_PER_TEXT: usize = 4;

impl RunnerOptions {
    /// Options to generate `n_slots` texts together, each with up to `n_ctx` positions: batches of up to 512 tokens and an F16 cache.
    /// Beginnings that texts have in common are computed once.
    pub fn new(config: &Config, n_ctx: usize, n_slots: usize) -> Self {
        // All tokens of an encoder see each other, so a text cannot be divided into batches.
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

    /// Checks that the options suit a model.
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

    /// Bytes of keys and values and of the state of recurrent layers, without the tables of pages.
    pub(super) fn state_bytes(&self, config: &Config) -> Result<usize, OutOfMemory> {
        let mut arena = Arena::measuring();
        KvCache::carve(kv_shapes(config), self.state.n_pages, self.state.kv_type, &mut arena)?;
        for _ in 0..self.state.n_slots {
            RecurrentState::carve(recurrent_shapes(config), self.state.own_checkpoints, &mut arena)?;
        }
        SavedStates::carve(recurrent_shapes(config), self.kept(config).n_checkpoints, &mut arena)?;
        Ok(arena.used_bytes())
    }

    /// The options of the sequence state, adjusted to the model.
    fn kept(&self, config: &Config) -> StateOptions {
        // In an encoder the results for a beginning depend on the tokens after it, so they cannot be shared.
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
        // The approximate number of weights in the matrices of all layers, not counting experts that are skipped.
        let n_weights = config.n_embd.saturating_mul(config.n_embd).saturating_mul(8 * config.layers.len());
        let (kv_shapes, recurrent_shapes) = (kv_shapes(config), recurrent_shapes(config));
        let state = StateStore::carve(kv_shapes, recurrent_shapes, n_weights, self.kept(config), arena)?;
        Ok((state, Scratch::carve(config, self.n_batch, self.n_logits, self.state.n_ctx, arena)?))
    }
}

/// The shape of the state that each layer keeps for a text, whatever its length.
fn recurrent_shapes(config: &Config) -> impl ExactSizeIterator<Item = RecurrentShape> + Clone {
    config.layers.iter().map(|layer| layer.state.recurrent_shape())
}

/// The shape of the keys and values that each layer keeps for a position.
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

    /// The part of [`required_bytes`](Self::required_bytes) that is neither keys and values nor the state of recurrent layers: buffers, and
    /// the tables of the texts' pages and tokens.
    ///
    /// # Errors
    ///
    /// Those of [`required_bytes`](Self::required_bytes).
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
    /// If the model's weights were packed for a different set than `kernels`.
    pub fn new(
        model: impl Into<Arc<Model<'m>>>,
        options: RunnerOptions,
        kernels: &'static Kernels,
        workers: &'m dyn Workers,
        memory: &'m mut [u8],
    ) -> Result<Self, SessionError> {
        Self::in_arena(model.into(), options, kernels, workers, &mut Arena::new(memory))
    }

    /// Like [`new`](Self::new), in the memory that is left in `arena`.
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
        let ropes = Ropes::new(model.config(), model.weights().rope_factors, options.state.n_ctx)?;
        let adapters = Adapters::default();
        Ok(Runner { model, ropes, compute, options, state, scratch, adapters })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model<'m>> {
        &self.model
    }

    /// The options that the runner was made with.
    pub fn options(&self) -> &RunnerOptions {
        &self.options
    }

    /// Sets the adapters by which slots can be [adapted](Self::adapt); they must be adapters of this model. All slots
    /// are emptied and set to the `usual` scales, one for each adapter.
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

    /// Removes the adapters and their usual scales, to be [set](Self::set_adapters) in another runner of the model. This runner must not
    /// run anything afterwards.
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

    /// Sets all slots to the usual scales.
    pub fn adapt_as_usual(&mut self) {
        let usual = self.usual_scales().to_vec();
        (0..self.options.state.n_slots).for_each(|slot| self.adapt(slot, &usual));
    }

    /// The adapters.
    pub fn adapters(&self) -> &[LowRanks] {
        self.adapters.list()
    }

    /// The scales of slots for which no others are set, one for each adapter.
    pub fn usual_scales(&self) -> &[f32] {
        self.adapters.usual()
    }

    /// Sets the scales of the adapters in a slot; adapters after the last scale get 0. If the scales change, the slot is emptied. Slots
    /// with equal scales share computed results.
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

    /// Whether the next position of a slot is in a page that other slots hold too, so that the page must be copied.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    pub fn is_last_page_shared(&self, slot: usize) -> bool {
        self.state.is_last_page_shared(slot)
    }

    /// Checkpoints that are not being made at the moment. Outside of the computation of a batch these are all.
    pub fn n_free_checkpoints(&self) -> usize {
        self.state.n_free_checkpoints()
    }

    /// How many of these tokens [`reuse`](Self::reuse) would find for a slot, if there are enough pages.
    pub(crate) fn n_known(&self, slot: usize, tokens: &[u32]) -> usize {
        self.state.n_known(slot, tokens)
    }

    /// The number of free pages that a text of these tokens would take in a slot after [`reuse`](Self::reuse) found its
    /// beginning.
    pub fn pages_lacking(&self, slot: usize, tokens: &[u32]) -> usize {
        self.state.pages_lacking(slot, tokens)
    }

    /// Forgets the positions of a slot from `len` on, and returns how many are left. The state of recurrent layers cannot be truncated to
    /// an arbitrary position: if they have computed positions beyond `len`, they return to a checkpoint or to the beginning. The contents
    /// of an emptied slot can be [found again](Self::reuse) until the memory is needed.
    ///
    /// # Panics
    ///
    /// If there is no such slot. The same holds for the functions below.
    pub fn truncate(&mut self, slot: usize, len: usize) -> usize {
        self.state.truncate(slot, len)
    }

    /// Makes slot `to` hold the same sequence as slot `from`; its previous contents are forgotten. The slots share
    /// their pages until one of them continues.
    pub fn fork(&mut self, from: usize, to: usize) {
        self.adapters.copy(from, to);
        self.state.fork(from, to);
    }

    /// Fills a slot with the longest beginning of `tokens` that is still known, and returns its length. The remaining tokens, always
    /// including the last, are left to be computed. The logits are the same to the bit as if all tokens were computed. In models with
    /// recurrent layers the beginning ends at a checkpoint. In encoders, whose positions see later ones, the length is 0.
    pub fn reuse(&mut self, slot: usize, tokens: &[u32]) -> usize {
        self.state.reuse(slot, tokens)
    }

    /// Plans a checkpoint of the recurrent layers in the slot's next span, before its last `n_after` tokens, if the slots have
    /// [room](StateOptions::own_checkpoints) for one. The checkpoint belongs to the slot and replaces an earlier one. The plan is dropped
    /// if the slot is emptied or gets another text first.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    pub fn plan_checkpoint(&mut self, slot: usize, n_after: usize) {
        self.state.plan_checkpoint(slot, n_after);
    }

    /// Plans a checkpoint in the slot's span of the next batch, after its first `after` tokens. [`truncate`](Self::truncate) returns to it
    /// if the guessed tokens after them are wrong. False if all existing checkpoints are more valuable, or there are none. The plan is
    /// dropped if the slot is emptied or gets another text first, if the batch is not computed, or if the span has fewer tokens.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    pub fn plan_return(&mut self, slot: usize, after: usize) -> bool {
        self.state.plan_return(slot, after)
    }

    /// Computes the tokens of all `spans` and returns the requested logits, `[rows][n_output]`, in the order of the
    /// spans: `n_vocab` numbers per row, or the hidden state in an encoder ([`Config::n_output`]).
    ///
    /// A span may begin before the end of its slot; the slot then forgets its positions from there on. In models with
    /// recurrent layers a span must begin at the end of its slot or at 0. A span of an encoder is a whole text.
    ///
    /// `go_on` is called twice in each layer and can break off.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if there are no tokens, a span does not suit its slot or the model, or there are more tokens or rows of logits than
    /// the runner was made for; nothing changes then. [`SessionError::Pages`] if all spans together need more pages than are free once the
    /// forgotten positions are released: each slot then ends where its span was to begin, whatever the order of the spans.
    /// [`SessionError::Stopped`] if `go_on` breaks off: each slot then ends where its span began; with recurrent layers it is back at a
    /// checkpoint or at 0 ([`len`](Self::len) tells).
    pub fn run(
        &mut self,
        spans: &[Span<'_>],
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<&[f32], SessionError> {
        let n_rows = self.compute(spans, go_on)?;
        Ok(self.logits(n_rows))
    }

    /// The last layer's output for these tokens of the last batch, counted from the batch's first token, `[tokens][n_embd]`: the input of
    /// the output matrix, or the hidden states of an encoder. Call this only once for each token.
    pub(crate) fn hidden_states(&mut self, tokens: Range<usize>) -> &[f32] {
        let compute = self.compute;
        let forward = Forward { model: &self.model, ropes: &self.ropes, compute, row_slots: &[] };
        forward.hidden_states(tokens, &mut self.scratch)
    }

    /// The scores that the model's classifier gives to a text represented by `x`, `[n_embd]`; empty if the model has no classifier.
    pub(crate) fn classify<'s>(&self, x: &[f32], scratch: &'s mut ClassifierScratch) -> &'s [f32] {
        match &self.model.weights().classifier {
            Some(classifier) => {
                classifier.scores(&self.compute, self.model.config().normalisation.eps, x, scratch)
            }
            None => &[],
        }
    }

    /// Like [`run`](Self::run), but returns only the number of rows of [logits](Self::logits).
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

    /// Checks that a batch can be computed. Returns how many rows of logits it gives.
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
