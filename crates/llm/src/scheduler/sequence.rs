//! A text, and how far it is.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::{Finish, Output, SequenceId, SubmitError};
use crate::sampling::Sampler;
use crate::session::Speculation;

/// A prompt and the answer so far.
pub(super) struct Sequence {
    pub id: SequenceId,
    /// Prompt and answer, with room for all that may come.
    pub tokens: Vec<u32>,
    /// Its slot, while it has one.
    pub slot: usize,
    /// How many of `tokens` the slot holds.
    pub n_computed: usize,
    /// Why it is over, once it is.
    pub finish: Option<Finish>,
    /// How many tokens the answer may still have.
    n_left: usize,
    /// Most tokens of prompt and answer.
    n_positions: usize,
    sampler: Sampler,
}

impl Sequence {
    pub fn new(
        id: SequenceId,
        prompt: &[u32],
        max_tokens: usize,
        n_positions: usize,
        mut sampler: Sampler,
    ) -> Result<Self, SubmitError> {
        // The last token of an answer needs no position.
        let most = prompt.len().saturating_add(max_tokens).min(n_positions + 1);
        let mut tokens = Vec::new();
        let needed_bytes = most.saturating_mul(size_of::<u32>());
        tokens.try_reserve_exact(most).map_err(|_| SubmitError::OutOfHeap { needed_bytes })?;
        tokens.extend_from_slice(prompt);
        sampler.reset();
        prompt.iter().for_each(|&token| sampler.accept(token));
        Ok(Sequence {
            id,
            tokens,
            slot: 0,
            n_computed: 0,
            finish: (max_tokens == 0).then_some(Finish::MaxTokens),
            n_left: max_tokens,
            n_positions,
            sampler,
        })
    }

    /// Tokens to be computed before the next one can be chosen.
    pub fn n_pending(&self) -> usize {
        self.tokens.len() - self.n_computed
    }

    /// What is told of its end.
    pub fn finished(&self, finish: Finish) -> Output<'static> {
        Output::Finished { finish, speculation: Speculation::default() }
    }

    /// Chooses the next token by the logits after the last one.
    pub fn choose(
        &mut self,
        logits: &[f32],
        on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>,
    ) {
        if self.finish.is_some() {
            return;
        }
        let token = match self.sampler.sample(logits) {
            Ok(token) => token,
            Err(error) => {
                self.finish = Some(Finish::Sampling(error));
                return;
            }
        };
        self.sampler.accept(token);
        self.n_left -= 1;
        let wants_more = on_output(self.id, Output::Token { token, logits });
        let is_full = self.tokens.len() == self.n_positions;
        self.tokens.push(token);
        self.finish = match wants_more {
            ControlFlow::Break(()) => Some(Finish::Stopped),
            _ if self.n_left == 0 => Some(Finish::MaxTokens),
            _ if is_full => Some(Finish::ContextFull),
            ControlFlow::Continue(()) => None,
        };
    }
}
