//! A text and its progress.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::pool::Pool;
use super::{Counts, Finish, Output, Running, SequenceId, SubmitError};
use crate::sampling::{Candidates, Chain, SamplingError};
use crate::session::{Runner, Speculation, Trust, continuation};

/// A prompt and the answer so far.
pub(super) struct Sequence {
    pub id: SequenceId,
    /// Prompt and answer, then guesses at the next tokens. It has room for all tokens that may come.
    pub tokens: Vec<u32>,
    /// How many tokens at the end of `tokens` are guesses.
    n_guessed: usize,
    /// Its slot, while it has one.
    pub slot: usize,
    /// How many of `tokens` the slot holds.
    pub n_computed: usize,
    /// How many tokens at the start of `tokens` another text is computing for it; 0 if it does not wait.
    pub n_awaited: usize,
    /// Whether its start has been reported.
    has_started: bool,
    /// How many tokens of the answer must be computed again because a guess after them was wrong.
    n_again: usize,
    /// How many tokens at the start of `tokens` are the prompt.
    n_prompt: usize,
    /// Why it ended, once it has.
    pub finish: Option<Finish>,
    /// How many tokens may still be added to the answer.
    n_left: usize,
    /// Most tokens that may be guessed at a time.
    max_guessed: usize,
    speculation: Speculation,
    /// Decides which guesses are made, if wrong ones are costly.
    trust: Option<Trust>,
    /// Most tokens of prompt and answer.
    n_positions: usize,
    sampling: Chain,
    /// The scale of each adapter; adapters after the last scale are off.
    pub adapters: Vec<f32>,
    /// The result, if the text is to become a vector instead of being answered.
    pub pool: Option<Pool>,
}

impl Sequence {
    pub fn new(
        id: SequenceId,
        prompt: &[u32],
        max_tokens: usize,
        (max_guessed, trust): (usize, Option<Trust>),
        n_positions: usize,
        mut sampling: Chain,
    ) -> Result<Self, SubmitError> {
        // The last token of an answer needs no position.
        let most = prompt.len().saturating_add(max_tokens).min(n_positions + 1);
        let mut tokens = Vec::new();
        let needed_bytes = most.saturating_mul(size_of::<u32>());
        tokens.try_reserve_exact(most).map_err(|_| SubmitError::OutOfHeap { needed_bytes })?;
        tokens.extend_from_slice(prompt);
        sampling.reset();
        prompt.iter().for_each(|&token| sampling.accept(token));
        Ok(Sequence {
            id,
            tokens,
            n_guessed: 0,
            slot: 0,
            n_computed: 0,
            n_awaited: 0,
            has_started: false,
            n_again: 0,
            n_prompt: prompt.len(),
            finish: (max_tokens == 0).then_some(Finish::MaxTokens),
            n_left: max_tokens,
            max_guessed,
            speculation: Speculation::default(),
            trust,
            n_positions,
            sampling,
            adapters: Vec::new(),
            pool: None,
        })
    }

    /// The same with these scales of the adapters.
    pub fn adapted(mut self, scales: &[f32]) -> Result<Self, SubmitError> {
        let needed_bytes = size_of_val(scales);
        self.adapters.try_reserve_exact(scales.len()).map_err(|_| SubmitError::OutOfHeap { needed_bytes })?;
        self.adapters.extend_from_slice(scales);
        Ok(self)
    }

    /// Allocates the tables that only a text with a slot needs.
    ///
    /// # Errors
    /// If there is no memory for them; the call can be repeated.
    pub fn prepare(
        &mut self,
        on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>,
    ) -> Result<(), SamplingError> {
        let prepared = self.sampling.prepare();
        match prepared.is_err() && on_output(self.id, Output::Wanting).is_continue() {
            true => self.sampling.prepare(),
            false => prepared,
        }
    }

    /// Whether it has the tables of a grammar.
    pub fn has_tables(&self) -> bool {
        self.sampling.has_tables()
    }

    /// Whether it still needs the tables of a grammar.
    pub fn lacks_tables(&self) -> bool {
        self.sampling.lacks_tables()
    }

    /// Notes that its computation starts, after `n_known` tokens that the slot already holds.
    pub fn begin(
        &mut self,
        n_known: usize,
        counts: &mut Counts,
        on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>,
    ) {
        (self.n_computed, self.n_awaited) = (n_known, 0);
        counts.n_prefix_hits += usize::from(n_known > 0);
        counts.n_reused += n_known;
        let is_first = !core::mem::replace(&mut self.has_started, true);
        if is_first && on_output(self.id, Output::Started { n_reused: n_known }).is_break() {
            self.finish = Some(Finish::Stopped);
        }
    }

    /// Its progress.
    pub fn progress(&self) -> Running {
        let &Self { slot, n_prompt, n_computed, n_left, .. } = self;
        let n_generated = self.tokens.len() - self.n_guessed - n_prompt;
        Running { slot, n_prompt, n_computed, n_generated, n_left }
    }

    /// Whether a cached beginning need not be computed. It must be computed if the output for each token is needed.
    pub fn can_reuse(&self) -> bool {
        self.pool.is_none()
    }

    /// Tokens to be computed before the next one can be chosen.
    pub fn n_pending(&self) -> usize {
        self.tokens.len() - self.n_guessed - self.n_computed
    }

    /// Whether more tokens are to be computed than the last one and those that a wrong guess undid.
    pub fn is_behind(&self) -> bool {
        self.n_pending() > 1 + self.n_again
    }

    /// Whether tokens known beforehand (the prompt, or an answer to be recomputed with a new slot) are still to be
    /// computed.
    pub fn is_in_prompt(&self) -> bool {
        self.is_behind() || !self.is_answering()
    }

    /// Whether the answer has begun.
    pub fn is_answering(&self) -> bool {
        self.tokens.len() - self.n_guessed > self.n_prompt
    }

    /// Notes that after wrong guesses the slot holds `n_computed` tokens; the remaining tokens of the answer are
    /// computed again.
    pub fn return_to(&mut self, n_computed: usize) {
        self.n_again = self.n_computed - n_computed;
        self.n_computed = n_computed;
    }

    /// The event that reports its end.
    pub fn finished(&self, finish: Finish) -> Output<'static> {
        Output::Finished { finish, speculation: self.speculation }
    }

    /// Guesses up to `limit` tokens after the one that is to be computed. Returns how many it guessed.
    pub fn guess(&mut self, limit: usize) -> usize {
        let Some((&last, text)) = self.tokens.split_last() else { return 0 };
        // One token is chosen without a guess, and the last token needs no position.
        let limit =
            limit.min(self.max_guessed).min(self.n_left - 1).min(self.n_positions - self.tokens.len());
        if limit == 0 {
            return 0;
        }
        let guess = continuation(text, last).unwrap_or_default();
        let n_trusted = self.trust.as_ref().map_or(limit, |trust| trust.limit().min(limit));
        if let Some(trust) = self.trust.as_mut().filter(|_| n_trusted == 0) {
            trust.expect(guess.first().copied());
        }
        let n_guessed = self.sampling.n_possible(&guess[..guess.len().min(n_trusted)]);
        let first = self.tokens.len() - 1 - guess.len();
        self.tokens.extend_from_within(first..first + n_guessed);
        self.n_guessed = n_guessed;
        n_guessed
    }

    /// Forgets guesses that have not proved right.
    pub fn drop_guesses(&mut self) {
        self.tokens.truncate(self.tokens.len() - self.n_guessed);
        self.n_guessed = 0;
    }

    /// Chooses the next tokens from the logits after the pending token and after each guess: one token, and one more as long as the guess
    /// before it was right.
    pub fn choose(
        &mut self,
        rows: &[f32],
        n_vocab: usize,
        candidates: &mut Candidates,
        on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>,
    ) {
        self.speculation.n_drafted += self.n_guessed;
        for logits in rows.chunks_exact(n_vocab) {
            if self.finish.is_some() || self.n_pending() > 0 {
                break;
            }
            self.choose_one(logits, candidates, on_output);
        }
        self.drop_guesses();
    }

    /// If the text is to become a vector and all its tokens have been computed, reports the vector and ends the text.
    pub fn end_embedding(
        &mut self,
        runner: &Runner<'_>,
        on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>,
    ) {
        if self.n_pending() == 0
            && let Some(pool) = &mut self.pool
        {
            // The text is over whether or not the receiver breaks.
            let _ = on_output(self.id, Output::Embedding { values: pool.finish(runner) });
            self.finish = Some(Finish::MaxTokens);
        }
    }

    fn choose_one(
        &mut self,
        logits: &[f32],
        candidates: &mut Candidates,
        on_output: &mut dyn FnMut(SequenceId, Output<'_>) -> ControlFlow<()>,
    ) {
        let token = match self.sampling.sample(candidates, logits) {
            Ok(token) => token,
            Err(error) => {
                self.finish = Some(Finish::Sampling(error));
                return;
            }
        };
        self.sampling.accept(token);
        self.n_left -= 1;
        let candidates = candidates.entries();
        let wants_more = on_output(self.id, Output::Token { token, logits, candidates });
        let is_full = self.tokens.len() - self.n_guessed == self.n_positions;
        self.push(token);
        self.finish = match wants_more {
            ControlFlow::Break(()) => Some(Finish::Stopped),
            _ if self.sampling.must_end() => Some(Finish::Complete),
            _ if self.n_left == 0 => Some(Finish::MaxTokens),
            _ if is_full => Some(Finish::ContextFull),
            ControlFlow::Continue(()) => None,
        };
    }

    /// Adds the next token. If it was guessed, it is already computed.
    fn push(&mut self, token: u32) {
        let guess = (self.n_guessed > 0).then(|| self.tokens[self.tokens.len() - self.n_guessed]);
        let is_right = guess == Some(token);
        if is_right {
            self.n_guessed -= 1;
            self.n_computed += 1;
            self.speculation.n_accepted += 1;
        } else {
            self.drop_guesses();
            self.tokens.push(token);
        }
        if let Some(trust) = &mut self.trust {
            match guess {
                Some(_) if is_right => trust.hold(self.n_guessed == 0),
                Some(_) => trust.fail(),
                None => trust.see(token),
            }
        }
    }
}
