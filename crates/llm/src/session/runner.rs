//! Batches of spans over a model, several sequences and one scratch.
//!
//! A [`Runner`] has a number of *slots*, each with the keys and values of one sequence, and computes [`Span`]s of any of
//! them together: a sequence's logits are the same to the bit whatever else is in its batches. It keeps no text: who
//! calls it knows which tokens stand in which slot.
//!
//! Neighbours: [`Forward`] computes, [`Session`](super::Session) drives a runner of one slot.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::error::{SessionError, SpanError};
use crate::arena::{Arena, OutOfMemory};
use crate::compute::Compute;
use crate::kv_cache::{KvCache, KvType};
use crate::model::forward::Forward;
use crate::model::{Config, Input, Model, Ropes, Scratch, Span};
use crate::parallel::Workers;
use crate::quant::Precision;
use crate::simd::Kernels;

/// What a runner is to be able to do; more takes more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerOptions {
    /// Sequences that are kept at the same time.
    pub n_slots: usize,
    /// Positions of each, up to those that the model was trained for.
    pub n_ctx: usize,
    /// Most tokens of a batch.
    pub n_batch: usize,
    /// Most tokens of a batch whose logits can be asked for.
    pub n_logits: usize,
    /// The number format of keys and values.
    pub kv_type: KvType,
    /// How activations enter matrix products.
    pub precision: Precision,
}

/// A model, the state of some sequences, and the scratch of a batch.
pub struct Runner<'m> {
    model: Arc<Model<'m>>,
    ropes: Ropes,
    compute: Compute<'m>,
    options: RunnerOptions,
    /// One per slot.
    caches: Vec<KvCache<'m>>,
    /// The positions that each slot holds.
    lens: Vec<usize>,
    scratch: Scratch<'m>,
}

impl RunnerOptions {
    /// Whether they suit a model.
    pub(super) fn check(&self, config: &Config) -> Result<(), SessionError> {
        if !(1..=config.n_ctx_train).contains(&self.n_ctx) {
            return Err(SessionError::ContextLength { n_ctx: self.n_ctx, n_ctx_train: config.n_ctx_train });
        }
        if self.n_batch == 0 {
            return Err(SessionError::BatchLength { n_batch: self.n_batch, n_ctx: self.n_ctx });
        }
        let block_len = self.kv_type.block_len();
        let shapes = config.layers.iter().map(|layer| layer.state.kv_shape());
        let mut lengths = shapes.flat_map(|shape| [shape.head_len_k, shape.head_len_v]);
        match lengths.find(|len| !len.is_multiple_of(block_len)) {
            Some(head_len) => Err(SessionError::HeadLength { head_len, block_len }),
            None => Ok(()),
        }
    }

    /// Takes the keys and values of all slots from `arena`.
    pub(super) fn carve_caches<'m>(
        &self,
        config: &Config,
        arena: &mut Arena<'m>,
    ) -> Result<Vec<KvCache<'m>>, OutOfMemory> {
        let mut caches = Vec::new();
        caches.try_reserve_exact(self.n_slots).map_err(|_| OutOfMemory {
            needed_bytes: self.n_slots.saturating_mul(size_of::<KvCache<'_>>()),
            available_bytes: 0,
        })?;
        for _ in 0..self.n_slots {
            let shapes = config.layers.iter().map(|layer| layer.state.kv_shape());
            caches.push(KvCache::carve(shapes, self.n_ctx, self.kv_type, arena)?);
        }
        Ok(caches)
    }

    /// Takes everything from `arena`.
    pub(super) fn carve<'m>(
        &self,
        config: &Config,
        arena: &mut Arena<'m>,
    ) -> Result<(Vec<KvCache<'m>>, Scratch<'m>), OutOfMemory> {
        let caches = self.carve_caches(config, arena)?;
        Ok((caches, Scratch::carve(config, self.n_batch, self.n_logits, arena)?))
    }
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

    /// A runner of empty slots, whose state and scratch lie in `memory`.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the options do not suit the model, or `memory` or the heap is too small.
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
        options.check(model.config())?;
        let compute = Compute { kernels, workers, precision: options.precision };
        let (caches, scratch) = options.carve(model.config(), arena)?;
        let ropes = Ropes::new(&model, options.n_ctx)?;
        let mut lens = Vec::new();
        let needed_bytes = options.n_slots * size_of::<usize>();
        lens.try_reserve_exact(options.n_slots).map_err(|_| SessionError::OutOfHeap { needed_bytes })?;
        lens.resize(options.n_slots, 0);
        Ok(Runner { model, ropes, compute, options, caches, lens, scratch })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model<'m>> {
        &self.model
    }

    /// What the runner was made for.
    pub fn options(&self) -> &RunnerOptions {
        &self.options
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
        self.lens[slot]
    }

    /// Computes the tokens of all `spans` and returns the logits asked for, `[rows][n_vocab]`, in the order of the
    /// spans.
    ///
    /// A span may begin before the end of its slot: what the slot held from there on is forgotten. A span of an
    /// encoder is a whole text.
    ///
    /// `go_on` is called twice in each layer and can break off.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if there are no tokens, a span does not suit its slot or the model, or there are more tokens or
    /// rows of logits than the runner was made for; nothing has changed then. [`SessionError::Stopped`] if `go_on`
    /// breaks off: each slot then ends where its span began.
    pub fn run(
        &mut self,
        spans: &[Span<'_>],
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<&[f32], SessionError> {
        self.check(spans)?;
        for span in spans {
            self.lens[span.slot] = span.first_position;
        }
        let forward = Forward { model: &self.model, ropes: &self.ropes, compute: self.compute };
        let ControlFlow::Continue(logits) = forward.run(spans, &mut self.caches, &mut self.scratch, go_on)
        else {
            return Err(SessionError::Stopped);
        };
        for span in spans {
            self.lens[span.slot] += span.input.n_tokens(self.model.config().n_embd);
        }
        Ok(logits)
    }

    /// One row of the logits that the last batch gave.
    pub(super) fn logits_row(&self, row: usize) -> &[f32] {
        self.scratch.logits_row(row)
    }

    fn check(&self, spans: &[Span<'_>]) -> Result<(), SessionError> {
        let RunnerOptions { n_slots, n_ctx, n_batch, n_logits, .. } = self.options;
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
            if first_position > if config.is_encoder() { 0 } else { self.lens[slot] } {
                return Err(SpanError::Position { first_position, slot, len: self.lens[slot] }.into());
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
        Ok(())
    }
}
