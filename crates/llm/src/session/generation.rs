//! A text under generation: one token per step, to a stated end.

use core::fmt;

use super::stop_text::StopText;
use super::{Logits, Session, SessionError};
use crate::sampling::Sampler;
use crate::tokenizer::{StreamDecoder, Tokenizer};

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// As many tokens as were asked for.
    MaxTokens,
    /// The model chose a token that ends the text.
    EndOfText,
    /// One of the stop strings came up.
    StopString,
    /// No position of the context is left.
    ContextFull,
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FinishReason::MaxTokens => "token limit",
            FinishReason::EndOfText => "end of text",
            FinishReason::StopString => "stop string",
            FinishReason::ContextFull => "context full",
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
        /// The text that is certain now: whole characters, and nothing that may yet become part of a
        /// stop string. Often empty, and not always this token's own.
        text: &'t str,
    },
    /// The end; every further step gives the same reason.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Text that was held back.
        text: &'t str,
    },
}

/// A text under generation.
pub struct Generation<'g, 'm> {
    session: &'g mut Session<'m>,
    tokenizer: &'g Tokenizer<'m>,
    sampler: &'g mut Sampler,
    decoder: StreamDecoder,
    text: StopText<'g>,
    /// The last token given, whose position is not computed yet.
    pending: Option<u32>,
    n_left: usize,
    finished: Option<FinishReason>,
}

impl<'g, 'm> Generation<'g, 'm> {
    /// A generation that goes on from a `prompt` whose positions `session` has computed.
    pub(super) fn new(
        session: &'g mut Session<'m>,
        tokenizer: &'g Tokenizer<'m>,
        sampler: &'g mut Sampler,
        prompt: &[u32],
        max_tokens: usize,
        stop: &'g [&'g str],
    ) -> Result<Self, SessionError> {
        sampler.reset();
        prompt.iter().for_each(|&id| sampler.accept(id));
        Ok(Generation {
            session,
            tokenizer,
            sampler,
            decoder: StreamDecoder::new(tokenizer)?,
            text: StopText::new(stop, tokenizer.longest_piece_bytes())?,
            pending: None,
            n_left: max_tokens,
            finished: None,
        })
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
            self.session.forward(&[id], Logits::Last)?;
            self.pending = None;
        }
        let logits = self.session.scratch.first_logits(self.session.model.config());
        let id = self.sampler.sample(logits)?;
        if self.tokenizer.is_end_of_generation(id) {
            return Ok(self.finish(FinishReason::EndOfText));
        }
        self.sampler.accept(id);
        self.pending = Some(id);
        self.n_left -= 1;
        self.text.push(self.decoder.push(self.tokenizer, id)?.unwrap_or(""));
        if self.text.is_stopped() {
            self.finished = Some(FinishReason::StopString);
            return Ok(Step::Finished { reason: FinishReason::StopString, text: self.text.take() });
        }
        Ok(Step::Token { id, text: self.text.take() })
    }

    /// The logits of all tokens at the last step: what its token was chosen from.
    pub fn logits(&self) -> &[f32] {
        self.session.scratch.first_logits(self.session.model.config())
    }

    fn finish(&mut self, reason: FinishReason) -> Step<'_> {
        self.finished = Some(reason);
        self.text.push(self.decoder.finish().unwrap_or(""));
        self.text.release();
        Step::Finished { reason, text: self.text.take() }
    }
}
