//! A prompt in, one token per step.
//!
//! A [`Session`] is one text with a model; a [`Generation`] drives it from a prompt to a stated end. A [`Runner`]
//! computes batches of several texts. The caller lends the memory, and can ask beforehand how much is needed
//! ([`Session::required_bytes`]); nothing is allocated per token.

use alloc::sync::Arc;
use core::ops::ControlFlow;

use crate::arena::Arena;
use crate::kv_cache::KvType;
use crate::model::{Config, Input, Model};
use crate::parallel::Workers;
use crate::quant::Precision;
use crate::sampling::Sampler;
use crate::simd::Kernels;
use crate::state::StateOptions;
use crate::tokenizer::Tokenizer;

mod adapters;
mod error;
mod generation;
mod runner;
mod speculation;
mod stop_text;
mod text_stream;

pub use crate::model::{Logits, Span};
pub use error::{SessionError, SpanError};
pub use generation::{FinishReason, Generation, Step};
pub use runner::{CHECKPOINTS_PER_TEXT, Runner, RunnerOptions};
pub use speculation::Speculation;
pub(crate) use speculation::{Trust, continuation};
pub(crate) use text_stream::TextStream;

/// The capabilities of a session. Larger values need more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Positions of the context, at most as many as the model was trained for.
    pub n_ctx: usize,
    /// Tokens computed at a time; a longer prompt takes several rounds.
    pub n_batch: usize,
    /// Most positions of one batch whose logits can be requested: 1 to generate, and one more for each token to be
    /// [guessed](Generation::speculate).
    pub n_logits: usize,
    /// The number format of the cache.
    pub kv_type: KvType,
    /// How activations enter matrix products.
    pub precision: Precision,
}

impl SessionOptions {
    /// Options to generate text with a context of `n_ctx`: batches of up to 512 tokens and an F16 cache.
    pub fn generate(n_ctx: usize) -> Self {
        SessionOptions {
            n_ctx,
            n_batch: n_ctx.min(512),
            n_logits: 1,
            kv_type: KvType::F16,
            precision: Precision::Quantized,
        }
    }

    /// The options of the one-slot runner that the session drives.
    fn runner(&self) -> RunnerOptions {
        let SessionOptions { n_ctx, n_batch, n_logits, kv_type, precision } = *self;
        let n_pages = StateOptions::pages_of(n_ctx);
        let state = StateOptions {
            n_slots: 1,
            n_ctx,
            n_pages,
            kv_type,
            finds_prefixes: false,
            n_checkpoints: 0,
            own_checkpoints: true,
        };
        RunnerOptions { state, n_batch, n_logits, precision }
    }

    fn check(&self, config: &Config) -> Result<(), SessionError> {
        self.runner().check(config)?;
        if config.is_encoder() && self.n_batch != self.n_ctx {
            return Err(SessionError::EncoderBatch { n_batch: self.n_batch, n_ctx: self.n_ctx });
        }
        match (1..=self.n_ctx).contains(&self.n_batch) {
            true => Ok(()),
            false => Err(SessionError::BatchLength { n_batch: self.n_batch, n_ctx: self.n_ctx }),
        }
    }
}

/// One text with a model: a runner of one slot, and the slot's tokens.
pub struct Session<'m> {
    runner: Runner<'m>,
    options: SessionOptions,
    /// The token that each position was computed for, `[n_ctx]`; the first `n_past` are filled.
    tokens: &'m mut [u32],
    /// Positions computed. The slot may hold more, from guesses.
    n_past: usize,
}

impl<'m> Session<'m> {
    /// The memory that [`Session::new`] needs for these options, to the byte, if it starts at a
    /// multiple of [`ALIGN`](crate::arena::ALIGN).
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the options do not suit the model.
    pub fn required_bytes(config: &Config, options: &SessionOptions) -> Result<usize, SessionError> {
        options.check(config)?;
        let mut arena = Arena::measuring();
        options.runner().carve(config, &mut arena)?;
        arena.take::<u32>(options.n_ctx)?;
        Ok(arena.used_bytes())
    }

    /// The part of [`required_bytes`](Self::required_bytes) that is neither keys and values nor the state of recurrent layers: buffers, the
    /// tokens of the text, and the table of its pages.
    ///
    /// # Errors
    ///
    /// Those of [`required_bytes`](Self::required_bytes).
    pub fn scratch_bytes(config: &Config, options: &SessionOptions) -> Result<usize, SessionError> {
        Ok(Self::required_bytes(config, options)? - options.runner().state_bytes(config)?)
    }

    /// A session with an empty cache, whose cache and scratch lie in `memory`.
    ///
    /// Several sessions can share a `model`, each with a clone of the same [`Arc`].
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the options do not suit the model or `memory` is too small.
    pub fn new(
        model: impl Into<Arc<Model<'m>>>,
        options: SessionOptions,
        kernels: &'static Kernels,
        workers: &'m dyn Workers,
        memory: &'m mut [u8],
    ) -> Result<Self, SessionError> {
        let model = model.into();
        options.check(model.config())?;
        let mut arena = Arena::new(memory);
        let runner = Runner::in_arena(model, options.runner(), kernels, workers, &mut arena)?;
        let tokens = arena.take(options.n_ctx)?;
        Ok(Session { runner, options, tokens, n_past: 0 })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model<'m>> {
        self.runner.model()
    }

    /// The options that the session was made with.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// The instruction set in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.runner.kernels()
    }

    /// Positions computed so far.
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// Forgets all positions.
    pub fn reset(&mut self) {
        self.n_past = 0;
    }

    /// Keeps the positions that were computed for the first tokens of `prompt` and forgets the others, so that
    /// [`resume`](Self::resume) computes only the rest. The last token of the prompt is always left to be computed.
    ///
    /// Thus the earlier turns of a conversation need not be computed again.
    ///
    /// The state of recurrent layers cannot be truncated to an arbitrary position. If a computed position has to be
    /// forgotten, they return to the checkpoint that [`forward`](Self::forward) made, provided that it belongs to the
    /// beginning of `prompt`; otherwise to an empty state. [`n_past`](Self::n_past) tells how many positions are left.
    pub fn keep_common_prefix(&mut self, prompt: &[u32]) {
        let computed = &self.tokens[..self.n_past];
        let n_common = computed.iter().zip(prompt).take_while(|(computed, token)| computed == token).count();
        self.n_past = self.runner.truncate(0, n_common.min(prompt.len().saturating_sub(1)));
    }

    /// Computes `tokens` at the positions that follow those computed so far, and returns the logits requested,
    /// `[rows][n_output]`: `n_vocab` numbers per row, or the hidden state in an encoder.
    ///
    /// An encoder has no memory: its tokens are a whole text each time.
    ///
    /// Any number of tokens is computed in batches of `n_batch`. Only the last batch gives logits, so [`Logits::All`]
    /// allows only one batch, and [`Logits::Rows`] count from the first token of the last batch.
    ///
    /// If there are several tokens, recurrent layers make a checkpoint before the last one, which replaces an earlier
    /// checkpoint.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if there are no tokens, an id is not in the vocabulary, the context is too short, or more rows
    /// of logits are requested than the session was made for. The session is then unchanged.
    pub fn forward(&mut self, tokens: &[u32], wanted: Logits<'_>) -> Result<&[f32], SessionError> {
        self.forward_while(tokens, wanted, &mut || ControlFlow::Continue(()))
    }

    /// Like [`forward`](Self::forward), but can be broken off: `go_on` is called twice in each layer of each batch.
    ///
    /// # Errors
    ///
    /// Those of [`forward`](Self::forward), and [`SessionError::Stopped`] if `go_on` breaks off. The session is then as
    /// it was before the batch; with recurrent layers it is at an earlier checkpoint, or empty.
    /// [`n_past`](Self::n_past) tells which positions need not be computed again.
    pub fn forward_while(
        &mut self,
        tokens: &[u32],
        wanted: Logits<'_>,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<&[f32], SessionError> {
        let n_rows = self.compute_after(tokens, wanted, 1, go_on)?;
        Ok(self.runner.logits(n_rows))
    }

    /// Like [`forward_while`](Self::forward_while), with the checkpoint before the last `n_after` tokens. No checkpoint is made if
    /// `n_after` is 0, or for a single token, which is a step of a generation and not a useful place to return to. Returns the number of
    /// rows of logits.
    fn compute_after(
        &mut self,
        tokens: &[u32],
        wanted: Logits<'_>,
        n_after: usize,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<usize, SessionError> {
        let SessionOptions { n_ctx, n_batch, n_logits, .. } = self.options;
        let n_vocab = self.runner.model().config().n_vocab;
        if tokens.is_empty() {
            return Err(SessionError::NoTokens);
        }
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= n_vocab) {
            return Err(SessionError::TokenId { id, n_vocab });
        }
        if self.runner.model().config().is_encoder() {
            self.reset();
        }
        if tokens.len() > n_ctx - self.n_past {
            return Err(SessionError::ContextFull { n_tokens: tokens.len(), n_past: self.n_past, n_ctx });
        }
        let n_rows = wanted.rows(tokens.len());
        let is_of_all = matches!(wanted, Logits::All | Logits::Tail(_));
        let most_rows = if is_of_all { n_logits.min(n_batch) } else { n_logits };
        if n_rows > most_rows {
            return Err(SessionError::LogitsRows { n_rows, n_logits: most_rows });
        }
        let (before, last) = tokens.split_at((tokens.len() - 1) / n_batch * n_batch);
        if !wanted.are_in(last.len()) {
            return Err(SpanError::Rows { n_tokens: last.len() }.into());
        }

        let first_new = self.n_past;
        self.tokens[first_new..][..tokens.len()].copy_from_slice(tokens);
        if self.model().config().is_recurrent() && first_new > 0 {
            // Removes wrong guesses. With recurrent layers, positions before them may have to be computed again.
            self.n_past = self.runner.truncate(0, first_new);
        }
        let n_again = first_new - self.n_past;
        let is_one_batch = before.is_empty() && n_again + last.len() <= n_batch;
        let (n_last, wanted) = match wanted {
            Logits::Rows(_) => (last.len(), wanted),
            _ if !is_one_batch => (last.len(), wanted),
            Logits::All => (n_again + last.len(), Logits::Tail(last.len())),
            _ => (n_again + last.len(), wanted),
        };
        let Session { runner, tokens: all, n_past, .. } = self;
        let (before, last) =
            all[*n_past..first_new + tokens.len()].split_at(first_new + tokens.len() - *n_past - n_last);
        for batch in before.chunks(n_batch) {
            compute(runner, n_past, batch, Logits::None, go_on)?;
        }
        if n_after > 0 && tokens.len() > 1 {
            runner.plan_checkpoint(0, n_after);
        }
        compute(runner, n_past, last, wanted, go_on)
    }

    /// Starts to generate up to `max_tokens` tokens after `prompt`, from an empty cache.
    ///
    /// The text ends before a token that the vocabulary marks as an end, and before the first of the `stop` strings. A
    /// stop string that is the name of a token without text, such as `<|im_end|>`, is found too.
    ///
    /// # Errors
    ///
    /// [`SessionError`] if the prompt is empty or does not fit the context, or the heap has no room for the text that
    /// stop strings may hold back.
    pub fn generate<'g>(
        &'g mut self,
        tokenizer: &'g Tokenizer<'m>,
        sampler: &'g mut Sampler,
        prompt: &[u32],
        max_tokens: usize,
        stop: &[&str],
    ) -> Result<Generation<'g, 'm>, SessionError> {
        self.reset();
        self.resume(tokenizer, sampler, prompt, max_tokens, stop, &mut || ControlFlow::Continue(()))
    }

    /// Like [`generate`](Self::generate), but starts from a cache that holds the first [`n_past`](Self::n_past) tokens
    /// of `prompt`, without the last one. `go_on` can break off while the others are computed.
    ///
    /// # Errors
    ///
    /// Those of [`generate`](Self::generate) and [`forward_while`](Self::forward_while).
    pub fn resume<'g>(
        &'g mut self,
        tokenizer: &'g Tokenizer<'m>,
        sampler: &'g mut Sampler,
        prompt: &[u32],
        max_tokens: usize,
        stop: &[&str],
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Generation<'g, 'm>, SessionError> {
        if prompt.len() > self.options.n_ctx {
            return Err(SessionError::PromptTooLong { n_tokens: prompt.len(), n_ctx: self.options.n_ctx });
        }
        self.forward_while(prompt.get(self.n_past..).unwrap_or_default(), Logits::Last, go_on)?;
        Generation::new(self, tokenizer, sampler, prompt, max_tokens, stop)
    }
}

/// Computes the tokens after the first `n_past` positions of a session's only text. Returns the number of rows of
/// logits.
fn compute(
    runner: &mut Runner<'_>,
    n_past: &mut usize,
    tokens: &[u32],
    logits: Logits<'_>,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<usize, SessionError> {
    let span = Span { slot: 0, first_position: *n_past, input: Input::Tokens(tokens), logits };
    let computed = runner.compute(&[span], go_on);
    if let Ok(_) | Err(SessionError::Stopped) = computed {
        *n_past = runner.len(0);
    }
    computed
}
