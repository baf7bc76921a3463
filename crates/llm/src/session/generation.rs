//! A text being generated: one token per step, to a stated end.

use core::fmt;
use core::ops::ControlFlow;

use super::speculation::{Draft, Speculation};
use super::{Logits, Session, SessionError, TextStream};
use crate::sampling::Sampler;
use crate::tokenizer::Tokenizer;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// As many tokens as requested were generated.
    MaxTokens,
    /// The model chose a token that ends the text.
    EndOfText,
    /// One of the stop strings appeared.
    StopString,
    /// No position of the context is left.
    ContextFull,
    /// The caller ended it; no [`Step`] says so.
    Cancelled,
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FinishReason::MaxTokens => "token limit",
            FinishReason::EndOfText => "end of text",
            FinishReason::StopString => "stop string",
            FinishReason::ContextFull => "context full",
            FinishReason::Cancelled => "stopped",
        })
    }
}

/// One step of a generation.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'t> {
    /// A token.
    Token {
        /// Its id.
        id: u32,
        /// The text that has become certain: whole characters, and nothing that may still become part of a stop string.
        /// Often empty, and not always the text of this token.
        text: &'t str,
    },
    /// The end; every further step gives the same reason.
    Finished {
        /// Why.
        reason: FinishReason,
        /// The rest of the text, which was held back until now.
        text: &'t str,
    },
}

/// A text being generated.
pub struct Generation<'g, 'm> {
    session: &'g mut Session<'m>,
    tokenizer: &'g Tokenizer<'m>,
    sampler: &'g mut Sampler,
    text: TextStream,
    /// The last token returned, whose position is not computed yet.
    pending: Option<u32>,
    /// The tokens guessed and computed after it.
    draft: Draft,
    /// The row of logits that the last token was drawn from.
    row: usize,
    n_left: usize,
    finished: Option<FinishReason>,
}

impl<'g, 'm> Generation<'g, 'm> {
    /// A generation that continues a `prompt` whose positions `session` has computed.
    pub(super) fn new(
        session: &'g mut Session<'m>,
        tokenizer: &'g Tokenizer<'m>,
        sampler: &'g mut Sampler,
        prompt: &[u32],
        max_tokens: usize,
        stop: &[&str],
    ) -> Result<Self, SessionError> {
        sampler.reset();
        prompt.iter().for_each(|&id| sampler.accept(id));
        Ok(Generation {
            session,
            tokenizer,
            sampler,
            text: TextStream::new(tokenizer, stop, None)?,
            pending: None,
            draft: Draft::new(0, false)?,
            row: 0,
            n_left: max_tokens,
            finished: None,
        })
    }

    /// Guesses up to `n_draft` next tokens from what followed the same words earlier in the text, and computes them
    /// together with the last token. There can be at most one guess fewer than the session has rows of logits.
    ///
    /// Guesses do not change which tokens come, whatever the sampling parameters: they only change the number of batches. Recurrent layers
    /// need a checkpoint before the guesses, which replaces an earlier one, so with such layers guesses are made only where previous ones
    /// were right.
    ///
    /// # Errors
    ///
    /// [`SessionError::OutOfHeap`] if there is no memory for the guess.
    pub fn speculate(mut self, n_draft: usize) -> Result<Self, SessionError> {
        let options = &self.session.options;
        let most = options.n_logits.min(options.n_batch) - 1;
        self.draft = Draft::new(n_draft.min(most), self.session.model().config().is_recurrent())?;
        Ok(self)
    }

    /// How many tokens have been guessed so far, and how many of the guesses were right.
    pub fn speculation(&self) -> Speculation {
        self.draft.counts()
    }

    /// The next token, or the end.
    ///
    /// # Errors
    ///
    /// [`SessionError::Sampling`] if the logits are not numbers.
    pub fn step(&mut self) -> Result<Step<'_>, SessionError> {
        if let Some(reason) = self.finished {
            return Ok(Step::Finished { reason, text: "" });
        }
        if self.n_left == 0 {
            return Ok(self.finish(FinishReason::MaxTokens));
        }
        if let Some(id) = self.pending {
            if self.session.n_past == self.session.options.n_ctx {
                return Ok(self.finish(FinishReason::ContextFull));
            }
            self.compute(id)?;
            self.pending = None;
        }
        self.row = self.draft.row();
        let logits = self.session.runner.logits_row(self.row);
        let id = self.sampler.sample(logits)?;
        if self.tokenizer.is_end_of_generation(id) {
            return Ok(self.finish(FinishReason::EndOfText));
        }
        self.sampler.accept(id);
        if self.draft.accept(id) {
            self.session.n_past += 1;
        } else {
            self.pending = Some(id);
        }
        self.n_left -= 1;
        if self.text.push(self.tokenizer, id)? {
            self.finished = Some(FinishReason::StopString);
            return Ok(Step::Finished { reason: FinishReason::StopString, text: self.text.take() });
        }
        Ok(Step::Token { id, text: self.text.take() })
    }

    /// The logits of all tokens at the last step, from which its token was chosen.
    pub fn logits(&self) -> &[f32] {
        self.session.runner.logits_row(self.row)
    }

    /// Computes the position of `id` and those of the guesses after it. The cache then holds all of them, but only `id`
    /// counts as computed: a guess counts once it proves right, and is overwritten otherwise.
    fn compute(&mut self, id: u32) -> Result<(), SessionError> {
        let session = &mut *self.session;
        let n_past = session.n_past;
        let limit = (session.options.n_ctx - n_past - 1).min(self.n_left - 1);
        self.draft.draw_up(&session.tokens[..n_past], id, limit);
        let batch = self.draft.batch();
        session.compute_after(batch, Logits::All, batch.len() - 1, &mut || ControlFlow::Continue(()))?;
        session.n_past = n_past + 1;
        Ok(())
    }

    fn finish(&mut self, reason: FinishReason) -> Step<'_> {
        self.finished = Some(reason);
        self.text.finish();
        Step::Finished { reason, text: self.text.take() }
    }
}
