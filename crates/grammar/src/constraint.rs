//! A text within a grammar: which tokens may come next, and which have come.

use alloc::collections::TryReserveError;
use alloc::sync::Arc;

use crate::machine::{DEAD, Machine, Sizes, Stop};
use crate::mask::{Mask, Masks};
use crate::program::Grammar;
use crate::tokens::Vocabulary;

/// The resources that a [`Constraint`] may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all its tables, which are allocated when it is made. The grammar and the vocabulary are not counted.
    pub memory_bytes: usize,
    /// How many tokens [`Constraint::rollback`] can take back.
    pub n_rollback: usize,
    /// Steps of the machine for one mask or one token; a step takes some forty nanoseconds. Cached results count the same as new
    /// ones, so that guesses that are taken back do not change any text.
    pub steps: u64,
}

impl Default for Limits {
    /// 3.5 MiB, which is enough for large schemas with a vocabulary of 152 000 tokens; 64 tokens; some 40 ms.
    fn default() -> Self {
        Self { memory_bytes: 7 << 19, n_rollback: 64, steps: 1_000_000 }
    }
}

/// Why a text cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// The token may not come here.
    #[error("the grammar does not allow token {token} here")]
    NotAllowed {
        /// The token.
        token: u32,
    },
    /// The bytes may not come here.
    #[error("the grammar does not allow these bytes here")]
    BytesNotAllowed,
    /// No token of the vocabulary continues the text within the grammar.
    #[error("no token of the vocabulary continues the text as the grammar demands")]
    NothingAllowed,
    /// The grammar refers to a token that the vocabulary does not have.
    #[error("the grammar refers to token {token}, but the vocabulary has {n_vocab}")]
    NoSuchToken {
        /// The token.
        token: u32,
        /// Number of tokens in the vocabulary.
        n_vocab: u32,
    },
    /// More tokens should be taken back than are remembered.
    #[error("{n_tokens} tokens cannot be taken back, {n_kept} are remembered")]
    RollbackTooLong {
        /// How many should be taken back.
        n_tokens: usize,
        /// How many can be taken back.
        n_kept: usize,
    },
    /// The text has too many readings for [`Limits::memory_bytes`], or is nested too deeply for it.
    #[error("the grammar can be read in too many ways here for {memory_bytes} bytes")]
    TooManyStates {
        /// The limit.
        memory_bytes: usize,
    },
    /// More work than [`Limits::steps`].
    #[error("the grammar takes more than {steps} steps for a token here")]
    TooManySteps {
        /// The limit.
        steps: u64,
    },
    /// No memory is left for the tables.
    #[error("no memory is left for the tables of a grammar")]
    OutOfMemory,
}

impl From<TryReserveError> for ConstraintError {
    fn from(_: TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

/// A text within a grammar, up to some point. Nothing is allocated after it is made.
#[derive(Debug)]
pub struct Constraint {
    vocabulary: Arc<Vocabulary>,
    machine: Machine,
    masks: Masks,
    limits: Limits,
}

impl Constraint {
    /// A constraint at the beginning of a text.
    ///
    /// # Errors
    /// [`ConstraintError::NoSuchToken`]; [`ConstraintError::OutOfMemory`]; [`ConstraintError::TooManyStates`] or
    /// [`ConstraintError::TooManySteps`] if the beginning alone is too much.
    pub fn new(
        grammar: Arc<Grammar>,
        vocabulary: Arc<Vocabulary>,
        limits: Limits,
    ) -> Result<Self, ConstraintError> {
        let n_vocab = vocabulary.n_vocab();
        if let Some(token) = grammar.max_token
            && token >= n_vocab
        {
            return Err(ConstraintError::NoSuchToken { token, n_vocab });
        }
        let n_masks = n_masks(limits, n_vocab);
        let sizes = sizes(&grammar, &vocabulary, limits);
        let machine = Machine::new(grammar, sizes, limits.steps).map_err(|error| match error {
            Ok(error) => error.into(),
            Err(stop) => stopped(stop, limits),
        })?;
        Ok(Self { machine, masks: Masks::new(n_masks, n_vocab)?, vocabulary, limits })
    }

    /// Bytes of a constraint's tables. They exceed [`Limits::memory_bytes`] only if that is too little for any text.
    pub fn memory_bytes(grammar: &Grammar, vocabulary: &Vocabulary, limits: Limits) -> usize {
        let n_vocab = vocabulary.n_vocab();
        Masks::bytes(n_masks(limits, n_vocab), n_vocab) + sizes(grammar, vocabulary, limits).bytes(grammar)
    }

    /// The tokens that may come next. Tokens that end the text are included if the text may end here, and are the only ones if it
    /// must end here.
    ///
    /// # Errors
    /// [`ConstraintError::NothingAllowed`], [`ConstraintError::TooManyStates`], [`ConstraintError::TooManySteps`]. The text stays
    /// as it was.
    pub fn allowed(&mut self) -> Result<Mask<'_>, ConstraintError> {
        self.machine.allow_steps(self.limits.steps);
        let mask =
            self.masks.get(&mut self.machine, &self.vocabulary).map_err(|stop| stopped(stop, self.limits))?;
        match mask.words().iter().any(|&word| word != 0) {
            true => Ok(mask),
            false => Err(ConstraintError::NothingAllowed),
        }
    }

    /// Advances by a token.
    ///
    /// # Errors
    /// [`ConstraintError::NotAllowed`], [`ConstraintError::TooManyStates`], [`ConstraintError::TooManySteps`]. The text stays as
    /// it was, but one token fewer can be taken back.
    pub fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        if token >= self.vocabulary.n_vocab() {
            return Err(ConstraintError::NotAllowed { token });
        }
        let is_end = self.vocabulary.is_end(token);
        let may_end = is_end && self.can_end();
        self.machine.push();
        self.machine.allow_steps(self.limits.steps);
        let read = self.machine.read_token(token, self.vocabulary.bytes(token), !is_end);
        if read.is_ok() && self.machine.state() == DEAD && may_end {
            self.machine.end();
        }
        self.settle(read, ConstraintError::NotAllowed { token })
    }

    /// Advances by a reference to a token, whatever the token's text is; readings that continue with that text instead end here.
    /// Counts as one token for [`Constraint::rollback`].
    ///
    /// # Errors
    /// The same as for [`Constraint::accept`].
    pub fn accept_reference(&mut self, token: u32) -> Result<(), ConstraintError> {
        self.machine.push();
        self.machine.allow_steps(self.limits.steps);
        let read = self.machine.read_token(token, &[], false);
        self.settle(read, ConstraintError::NotAllowed { token })
    }

    /// Advances by bytes of text, which count as one token for [`Constraint::rollback`].
    ///
    /// # Errors
    /// [`ConstraintError::BytesNotAllowed`], and the errors of [`Constraint::accept`].
    pub fn accept_bytes(&mut self, bytes: &[u8]) -> Result<(), ConstraintError> {
        self.machine.push();
        self.machine.allow_steps(self.limits.steps.saturating_mul(bytes.len() as u64));
        let read = self.machine.read(bytes);
        self.settle(read, ConstraintError::BytesNotAllowed)
    }

    /// Takes back the last reading if it led nowhere.
    fn settle(&mut self, read: Result<(), Stop>, error: ConstraintError) -> Result<(), ConstraintError> {
        let result = match read {
            Err(stop) => Err(stopped(stop, self.limits)),
            Ok(()) if self.machine.state() == DEAD => Err(error),
            Ok(()) => return Ok(()),
        };
        self.machine.rollback(1);
        result
    }

    /// Takes back the last `n_tokens` tokens.
    ///
    /// # Errors
    /// [`ConstraintError::RollbackTooLong`] if that is more than [`Limits::n_rollback`], or more than have come.
    pub fn rollback(&mut self, n_tokens: usize) -> Result<(), ConstraintError> {
        let n_kept = self.machine.n_kept();
        if n_tokens > n_kept {
            return Err(ConstraintError::RollbackTooLong { n_tokens, n_kept });
        }
        self.machine.rollback(n_tokens);
        Ok(())
    }

    /// Returns to the beginning of a text.
    pub fn reset(&mut self) {
        self.machine.reset();
    }

    /// Computes the next masks again even if they are cached: for measurements.
    pub fn forget_masks(&mut self) {
        self.masks.forget();
    }

    /// Whether the text may end here.
    pub fn can_end(&self) -> bool {
        self.machine.can_end(self.machine.state())
    }

    /// Whether the text must end here.
    pub fn must_end(&self) -> bool {
        self.machine.must_end(self.machine.state())
    }

    /// The resources that it may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }
}

/// The number of cached masks: a sixteenth of the memory, at least one.
fn n_masks(limits: Limits, n_vocab: u32) -> usize {
    (limits.memory_bytes / 16 / Masks::bytes(1, n_vocab).max(1)).clamp(1, 64)
}

fn sizes(grammar: &Grammar, vocabulary: &Vocabulary, limits: Limits) -> Sizes {
    let masks = Masks::bytes(n_masks(limits, vocabulary.n_vocab()), vocabulary.n_vocab());
    let rest = limits.memory_bytes.saturating_sub(masks);
    // The state before the last token is always kept, in case the token turns out not to be allowed.
    Sizes::divided(grammar, rest, limits.n_rollback.max(1) + 1, vocabulary.longest() + 1)
}

fn stopped(stop: Stop, limits: Limits) -> ConstraintError {
    match stop {
        Stop::Full | Stop::TooManyStates => {
            ConstraintError::TooManyStates { memory_bytes: limits.memory_bytes }
        }
        Stop::TooManySteps => ConstraintError::TooManySteps { steps: limits.steps },
    }
}
