//! Decides which tokens of which texts are computed next.
//!
//! A [`Scheduler`] has a [`Runner`], the texts in its slots, and a queue of texts that wait for a slot. Each [`step`](Scheduler::step)
//! computes one batch: the next token of every running answer, and parts of the prompts in the remaining room. Prompts share that room
//! equally, so that a long prompt does not stall the others. Room that is still left is used for guesses at the next tokens of the answers
//! (see [`Speculation`]). If several texts with the same beginning arrive at the same time, the beginning is computed once. A text gets a
//! slot when there are pages for its prompt. When answers need more pages than there are, the youngest text gives up its slot, waits, and
//! is computed again later with the same bits, so that only the time changes.
//!
//! There is no clock here, no input or output, and no text: tokens come in and tokens go out. Nothing is allocated per
//! step, except for the tables of a text that follows a grammar: they exist from its first slot to its end.
//!
//! Files: `sequence` (a text and its progress), `admission` (which text gets a slot, and which gives it up), `pool` (a text that becomes a
//! vector), `plan` (the contents of a batch), `sharing` (texts that wait for a beginning that another text computes). Neighbours:
//! [`session`](crate::session) computes batches, [`sampling`](crate::sampling) chooses tokens.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;

use crate::kv_cache::PAGE_LEN;
use crate::model::{Input, Logits, Span};
use crate::sampling::{Candidate, Candidates, Chain, Sampler, SamplingError};
use crate::session::{Runner, RunnerOptions, SessionError, Speculation, Trust};

mod admission;
mod plan;
mod pool;
mod sequence;
mod sharing;

use admission::Lacking;
use plan::Part;
use pool::Pool;
use sequence::Sequence;

pub use pool::{EmbeddingOptions, Pooling};

/// Most texts that can be computed at the same time.
pub const MAX_RUNNING: usize = 64;

/// Identifies a text from its submission to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// A text to be continued.
pub struct Submission<'t> {
    /// Its tokens so far.
    pub prompt: &'t [u32],
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// Chooses the answer's tokens.
    pub sampler: Sampler,
    /// Most tokens that may be guessed at a time and verified in one batch; 0 for none. Guesses change the number of batches but no token.
    /// They are made as far as a batch has room for them and for their logits; with recurrent layers only if there is a checkpoint to
    /// return to, and if previous guesses were right.
    pub speculate: usize,
    /// The scale of each adapter; adapters after the last scale are off. `None` means the [usual
    /// scales](Runner::usual_scales).
    pub adapters: Option<&'t [f32]>,
}

/// The progress of a text with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// The slot.
    pub slot: usize,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Tokens of prompt and answer that have been computed, or found in the cache.
    pub n_computed: usize,
    /// Tokens of the answer so far.
    pub n_generated: usize,
    /// Tokens that may still be added to the answer.
    pub n_left: usize,
}

/// An event of a step.
#[derive(Debug, PartialEq)]
pub enum Output<'l> {
    /// The computation of a text starts. Comes once, before its tokens.
    Started {
        /// How many tokens of its prompt were found in the cache and are not computed. These are all of them if another text with the same
        /// prompt has just reached its first token.
        n_reused: usize,
    },
    /// The heap has no room for the tables of an answer. A receiver that can free memory does so and continues; the allocation is then
    /// tried once more.
    Wanting,
    /// The next token of an answer, and the logits and candidates that it was drawn from.
    Token {
        /// Its id.
        token: u32,
        /// The logits of all tokens, `[n_vocab]`.
        logits: &'l [f32],
        /// The tokens that the sampler kept, with their probabilities. Greedy sampling keeps only the likeliest token.
        candidates: &'l [Candidate],
    },
    /// The result of a text that was to become a vector. Its end comes afterwards.
    Embedding {
        /// The vector, `[n_embd]`; without pooling one vector per token, `[n_tokens][n_embd]`; from a classifier the
        /// scores, `[n_labels]`.
        values: &'l [f32],
    },
    /// The end of an answer, after its last token.
    Finished {
        /// Why it ended.
        finish: Finish,
        /// How many tokens were guessed, and how many guesses were right.
        speculation: Speculation,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finish {
    /// As many tokens as requested were generated. Also the end of a text that became a vector, which has no answer.
    MaxTokens,
    /// The receiver of the last token wanted no more.
    Stopped,
    /// The constraint on the text is satisfied and allows nothing more.
    Complete,
    /// There are no more positions for the text.
    ContextFull,
    /// No token could be chosen.
    Sampling(SamplingError),
}

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// An empty prompt.
    #[error("the prompt is empty, expected at least one token")]
    NoTokens,
    /// A token that is not in the vocabulary.
    #[error("token id {id} is not in the vocabulary, expected 0 to {}", .n_vocab - 1)]
    TokenId {
        /// Its id.
        id: u32,
        /// Tokens in the vocabulary.
        n_vocab: usize,
    },
    /// A prompt that is longer than a text can be.
    #[error("the prompt has {n_tokens} tokens, a text can have {n_positions}")]
    PromptTooLong {
        /// Tokens of the prompt.
        n_tokens: usize,
        /// Positions of a text.
        n_positions: usize,
    },
    /// An encoder cannot continue a text.
    #[error("an encoder continues no text")]
    Encoder,
    /// A model without a classifier cannot score a text.
    #[error("the model has no classifier (cls tensors), so that it scores no text")]
    NoClassifier,
    /// The queue is full.
    #[error("{n_waiting} texts are waiting, which is as many as can; try again later")]
    QueueFull {
        /// Number of texts that wait.
        n_waiting: usize,
    },
    /// The heap has no room for the text.
    #[error("the heap has no {needed_bytes} bytes left")]
    OutOfHeap {
        /// Bytes requested.
        needed_bytes: usize,
    },
}

/// Why there can be no scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerError {
    /// The runner's batches do not have room for a token of each slot and its logits, or the runner has no slots, more
    /// slots than [`MAX_RUNNING`], or no pages.
    #[error("texts can be scheduled on a runner with 1 to {MAX_RUNNING} slots and at least one page, whose batches \
                 have room for a token and its logits of each", MAX_RUNNING = MAX_RUNNING)]
    Runner,
    /// The heap is too small.
    #[error("the heap has no {needed_bytes} bytes left")]
    OutOfHeap {
        /// Bytes requested.
        needed_bytes: usize,
    },
}

/// Counts of the work done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches.
    pub n_steps: usize,
    /// Tokens computed, guesses among them.
    pub n_computed: usize,
    /// Texts whose beginning was found in the cache when they got a slot.
    pub n_prefix_hits: usize,
    /// Tokens of these beginnings, which were not computed.
    pub n_reused: usize,
    /// Times that a text gave up its slot.
    pub n_preempted: usize,
}

impl Counts {
    /// The work done since `before`.
    pub fn since(self, before: Self) -> Self {
        Counts {
            n_steps: self.n_steps - before.n_steps,
            n_computed: self.n_computed - before.n_computed,
            n_prefix_hits: self.n_prefix_hits - before.n_prefix_hits,
            n_reused: self.n_reused - before.n_reused,
            n_preempted: self.n_preempted - before.n_preempted,
        }
    }
}

/// Many texts on one runner.
pub struct Scheduler<'m> {
    runner: Runner<'m>,
    /// Texts with a slot, oldest first.
    running: Vec<Sequence>,
    /// Texts without a slot. Those that gave up a slot come first.
    waiting: VecDeque<Sequence>,
    max_waiting: usize,
    /// Slots without a text.
    free_slots: Vec<usize>,
    /// The contents of the next batch.
    parts: Vec<Part>,
    /// The table of candidates to draw from, shared by all texts: the largest that any sampler needs.
    candidates: Candidates,
    last_id: u64,
    counts: Counts,
    /// Whether the runner may have been used for other work since a text last got a slot.
    is_lent: bool,
    /// Set if the first waiting text lacks memory.
    lacking: Option<Lacking>,
}

impl<'m> Scheduler<'m> {
    /// A scheduler without texts, of which up to `max_waiting` may wait for a slot.
    ///
    /// # Errors
    ///
    /// [`SchedulerError`] if the runner does not suit, or the heap is too small.
    pub fn new(runner: Runner<'m>, max_waiting: usize) -> Result<Self, SchedulerError> {
        let options = *runner.options();
        let n_slots = options.state.n_slots;
        if !(1..=MAX_RUNNING.min(options.n_batch).min(options.n_logits)).contains(&n_slots)
            || options.state.n_pages == 0
        {
            return Err(SchedulerError::Runner);
        }
        let mut scheduler = Scheduler {
            runner,
            running: Vec::new(),
            waiting: VecDeque::new(),
            max_waiting,
            free_slots: Vec::new(),
            parts: Vec::new(),
            candidates: Candidates::default(),
            last_id: 0,
            counts: Counts::default(),
            // The slots may hold texts from before, which must be forgotten.
            is_lent: true,
            lacking: None,
        };
        // The queue needs extra room for texts that give up their slots.
        let n_waiting = max_waiting.saturating_add(n_slots);
        let needed_bytes = n_waiting.saturating_add(n_slots).saturating_mul(size_of::<Sequence>());
        let out_of_heap = |_| SchedulerError::OutOfHeap { needed_bytes };
        scheduler.running.try_reserve_exact(n_slots).map_err(out_of_heap)?;
        scheduler.waiting.try_reserve_exact(n_waiting).map_err(out_of_heap)?;
        scheduler.free_slots.try_reserve_exact(n_slots).map_err(out_of_heap)?;
        scheduler.parts.try_reserve_exact(n_slots).map_err(out_of_heap)?;
        scheduler.free_slots.extend((0..n_slots).rev());
        Ok(scheduler)
    }

    /// The runner.
    pub fn runner(&self) -> &Runner<'m> {
        &self.runner
    }

    /// See [`Runner::set_usual_scales`]. Texts that were already submitted keep their scales.
    ///
    /// # Panics
    ///
    /// Those of that function.
    pub fn set_usual_scales(&mut self, usual: &[f32]) {
        self.runner.set_usual_scales(usual);
    }

    /// Number of texts with a slot.
    pub fn n_running(&self) -> usize {
        self.running.len()
    }

    /// Texts with a slot, oldest first.
    pub fn running(&self) -> impl Iterator<Item = Running> {
        self.running.iter().map(Sequence::progress)
    }

    /// Number of texts without a slot.
    pub fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Total number of pages.
    pub fn n_pages(&self) -> usize {
        self.runner.options().state.n_pages
    }

    /// Pages that running texts hold.
    pub fn n_used_pages(&self) -> usize {
        self.n_pages() - self.runner.n_free_pages()
    }

    /// The runner, for other work (a benchmark, the logits of certain tokens), if no text is running or waiting. The contents of its slots
    /// are forgotten before the next text gets one.
    pub fn idle_runner(&mut self) -> Option<&mut Runner<'m>> {
        if !self.running.is_empty() || !self.waiting.is_empty() {
            return None;
        }
        self.is_lent = true;
        Some(&mut self.runner)
    }

    /// Counts of the work done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Most positions of a text: those of a context, limited by the number of pages and, in an encoder, by the size of
    /// a batch.
    pub fn n_positions(&self) -> usize {
        let RunnerOptions { state, n_batch, .. } = self.runner.options();
        let n_of_text = if self.runner.model().config().is_encoder() { *n_batch } else { usize::MAX };
        state.n_ctx.min(state.n_pages.saturating_mul(PAGE_LEN)).min(n_of_text)
    }

    /// Takes a text, which waits until there is a slot for it.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] says what is wrong with the text, or what there is no room for.
    pub fn submit(&mut self, submission: Submission<'_>) -> Result<SequenceId, SubmitError> {
        let Submission { prompt, max_tokens, sampler, speculate, adapters } = submission;
        if self.runner.model().config().is_encoder() {
            return Err(SubmitError::Encoder);
        }
        let n_positions = self.check(prompt)?;
        let trust = self.runner.model().config().is_recurrent().then(Trust::default);
        let (sampling, candidates) = sampler.into_parts();
        let id = self.next_id();
        let speculation = (speculate, trust);
        let usual = self.runner.usual_scales();
        let adapters = adapters.map_or(usual, |scales| &scales[..scales.len().min(usual.len())]);
        let sequence = Sequence::new(id, prompt, max_tokens, speculation, n_positions, sampling)?;
        self.waiting.push_back(sequence.adapted(adapters)?);
        if candidates.capacity() > self.candidates.capacity() {
            self.candidates = candidates;
        }
        Ok(id)
    }

    /// Takes a text that is to become a vector. All its tokens are computed, even if its beginning is cached. It waits for its turn like
    /// other texts. The last layer's output is normalised as it would be before an output matrix.
    ///
    /// # Errors
    ///
    /// Those of [`submit`](Self::submit), except that every kind of model is accepted.
    pub fn submit_embedding(
        &mut self,
        tokens: &[u32],
        options: EmbeddingOptions,
    ) -> Result<SequenceId, SubmitError> {
        let n_positions = self.check(tokens)?;
        let config = self.runner.model().config();
        let classifier = self.runner.model().weights().classifier.as_ref();
        let pool = Pool::of_text(options, tokens.len(), config, classifier)?;
        let sampling = Chain::nothing(config.n_vocab);
        let id = self.next_id();
        let mut sequence = Sequence::new(id, tokens, 1, (0, None), n_positions, sampling)?;
        sequence.pool = Some(pool);
        self.waiting.push_back(sequence.adapted(self.runner.usual_scales())?);
        Ok(id)
    }

    fn next_id(&mut self) -> SequenceId {
        self.last_id += 1;
        SequenceId(self.last_id)
    }

    /// Checks that a text of these tokens can be taken. Returns the most positions that it can have.
    fn check(&self, prompt: &[u32]) -> Result<usize, SubmitError> {
        let (n_vocab, n_positions) = (self.runner.model().config().n_vocab, self.n_positions());
        if prompt.is_empty() {
            return Err(SubmitError::NoTokens);
        }
        if let Some(&id) = prompt.iter().find(|&&id| id as usize >= n_vocab) {
            return Err(SubmitError::TokenId { id, n_vocab });
        }
        if prompt.len() > n_positions {
            return Err(SubmitError::PromptTooLong { n_tokens: prompt.len(), n_positions });
        }
        // Texts for which there is a free slot do not count, because they wait only for the next step.
        if self.waiting.len() >= self.max_waiting.saturating_add(self.free_slots.len()) {
            return Err(SubmitError::QueueFull { n_waiting: self.waiting.len() });
        }
        Ok(n_positions)
    }

    /// Ends a text without any further event. Returns whether there was a text with this id.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        if let Some(index) = self.running.iter().position(|sequence| sequence.id == id) {
            let sequence = self.running.remove(index);
            self.give_back(sequence.slot);
            return true;
        }
        match self.waiting.iter().position(|sequence| sequence.id == id) {
            Some(index) => self.waiting.remove(index).is_some(),
            None => false,
        }
    }

    /// Computes one batch and reports the results of each text. Returns the number of tokens in the batch, 0 if there is no text left.
    /// Texts that ask for no tokens end without waiting for a slot.
    ///
    /// `on_output` ends an answer by returning a break. `go_on` is called twice in each layer and can break off the
    /// batch.
    ///
    /// # Errors
    ///
    /// [`SessionError::Stopped`] if `go_on` breaks off. No text is lost: the next step computes the same tokens and, with recurrent layers,
    /// possibly some before them again.
    pub fn step(
        &mut self,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>,
    ) -> Result<usize, SessionError> {
        self.finish_waiting(on_output);
        self.admit(on_output);
        self.plan();
        if self.parts.is_empty() {
            return Ok(0);
        }
        let nothing = Span { slot: 0, first_position: 0, input: Input::Tokens(&[]), logits: Logits::None };
        let mut spans = [nothing; MAX_RUNNING];
        let spans = &mut spans[..self.parts.len()];
        for (span, part) in spans.iter_mut().zip(&self.parts) {
            *span = part.span(&self.running[part.index]);
        }
        let n_vocab = self.runner.model().config().n_vocab;
        let n_rows = match self.runner.compute(spans, go_on) {
            Ok(n_rows) => n_rows,
            Err(error) => {
                for sequence in &mut self.running {
                    sequence.drop_guesses();
                    // Recurrent layers may have returned to a point before the beginning of the batch.
                    sequence.n_computed = self.runner.len(sequence.slot);
                }
                return Err(error);
            }
        };
        let (mut n_rows_before, mut n_tokens) = (0, 0);
        for part in &self.parts {
            let (before, younger) = self.running.split_at_mut(part.index + 1);
            let sequence = &mut before[part.index];
            let n_of_part = part.n_rows(sequence);
            if let Some(pool) = &mut sequence.pool {
                pool.add(sequence.n_computed, self.runner.hidden_states(n_tokens..n_tokens + part.n_tokens));
            }
            let rows = n_rows_before * n_vocab..(n_rows_before + n_of_part) * n_vocab;
            n_rows_before += n_of_part;
            sequence.n_computed += part.n_tokens;
            n_tokens += part.n_tokens + part.n_guessed;
            let logits = &self.runner.logits(n_rows)[rows.clone()];
            sequence.choose(logits, n_vocab, &mut self.candidates, on_output);
            sequence.end_embedding(&self.runner, on_output);
            if n_of_part == 0 || part.n_guessed > 0 {
                continue;
            }
            let (computed, adapters) = (&sequence.tokens[..sequence.n_computed], &sequence.adapters);
            for equal in younger.iter_mut().filter(|other| {
                other.n_awaited > 0 && other.tokens == computed && other.adapters == *adapters
            }) {
                self.runner.fork(sequence.slot, equal.slot);
                equal.begin(sequence.n_computed, &mut self.counts, on_output);
                let logits = &self.runner.logits(n_rows)[rows.clone()];
                equal.choose(logits, n_vocab, &mut self.candidates, on_output);
            }
        }
        for part in &self.parts {
            // Remove the wrong guesses.
            let sequence = &mut self.running[part.index];
            sequence.return_to(self.runner.truncate(sequence.slot, sequence.n_computed));
        }
        self.counts.n_steps += 1;
        self.counts.n_computed += n_tokens;
        self.remove_finished(on_output);
        Ok(n_tokens)
    }

    /// Ends waiting texts that ask for no tokens.
    fn finish_waiting(&mut self, on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>) {
        self.waiting.retain(|sequence| {
            if let Some(finish) = sequence.finish {
                // The answer is over whether or not the receiver breaks.
                let _ = on_output(sequence.id, sequence.finished(finish));
            }
            sequence.finish.is_none()
        });
    }

    fn remove_finished(&mut self, on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>) {
        let mut index = 0;
        while index < self.running.len() {
            match self.running[index].finish.take() {
                None => index += 1,
                Some(finish) => {
                    let sequence = self.running.remove(index);
                    self.give_back(sequence.slot);
                    // The answer is over whether or not the receiver breaks.
                    let _ = on_output(sequence.id, sequence.finished(finish));
                }
            }
        }
    }
}

impl fmt::Display for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finish::MaxTokens => f.write_str("token limit"),
            Finish::Stopped => f.write_str("stopped"),
            Finish::Complete => f.write_str("complete"),
            Finish::ContextFull => f.write_str("context full"),
            Finish::Sampling(error) => error.fmt(f),
        }
    }
}
