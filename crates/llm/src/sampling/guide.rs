//! [`Guide`]: the rules that each part of an answer must follow.
//!
//! ```text
//! (open) thought (close)   said ... trigger   calls
//! free, or so many tokens  free, or a grammar a grammar
//! ```
//!
//! An answer may begin with a thought, which is unconstrained up to the mark that ends it, or up to a number of tokens. The rest follows a
//! grammar or is free. If it is free, a trigger text that begins a call may start a grammar. Marks are searched for in the text of the
//! tokens, however the tokens divide it.
//!
//! Files: `rules` (the rules for answers of a kind), `place` (the current position in an answer, and the search for
//! marks).

mod place;
mod rules;

use alloc::sync::Arc;
use alloc::vec::Vec;

use grammar::{Constraint, ConstraintError, Mask};

use super::{SamplingError, reserve};
use place::{At, CLOSE, MISSED, N_NEEDLES, OPEN, Part, TRIGGERS};

pub use rules::Rules;

/// Most triggers of a guide.
pub const MAX_TRIGGERS: usize = 4;
/// The white space characters that may stand between a thought and the part that follows a grammar.
pub const BLANKS: [u8; 4] = *b"\t\n\r ";
/// Most white space characters between a thought and the part that follows a grammar.
pub const MAX_BLANKS: u32 = 4;
/// The token that stands for the thought in a grammar, between the mark that begins a thought and the text after it. It never appears in
/// the answer: the guide feeds it to the grammar where the thought ends.
pub const THOUGHT_TOKEN: u32 = 0;

/// Memory that must be left for others after the tables have been made.
const LEFT_BYTES: usize = 1 << 20;
/// How many tokens can be taken back if nothing else limits the number.
const N_ROLLBACK: usize = 64;
/// Spare states of the constraint, because a token may take more than one.
const N_SPARE: usize = 3;

/// A text that starts the grammar: from this text on the answer must follow it. The texts of the grammar begin with the
/// trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    /// The text, at most 200 bytes of it.
    pub text: &'static str,
    /// Whether it counts only at the beginning of the answer, possibly after white space.
    pub is_first: bool,
}

/// The marks of thoughts.
#[derive(Debug)]
pub struct Thinking {
    /// The mark that begins a thought.
    pub open: &'static str,
    /// The mark that ends a thought.
    pub close: &'static str,
    /// Other texts that end a thought, because they begin another visible part. If a constrained part must follow the thought, these texts
    /// are forbidden inside it.
    pub also_close: &'static [&'static str],
    /// Whether the answer begins inside a thought.
    pub starts_open: bool,
    /// The tokens that end a thought whose budget is used up.
    pub closing: Vec<u32>,
}

/// The rules of an answer and the current position in it. Nothing is allocated after it is prepared.
#[derive(Debug)]
pub struct Guide {
    rules: Arc<Rules>,
    /// Present after preparation, if there is a grammar.
    constraint: Option<Constraint>,
    /// Most tokens of all thoughts together.
    budget: Option<usize>,
    /// Room for a mask.
    words: Vec<u64>,
    first: At,
    at: At,
    /// The position before each of the last tokens, and how many states of the constraint that token took.
    past: Vec<(At, u8)>,
    n_rollback: usize,
}

impl Guide {
    /// A guide for an answer that follows these rules. Its thoughts have up to `budget` tokens, if the rules have tokens to end a thought.
    /// It takes little memory until it is prepared.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn new(rules: Arc<Rules>, budget: Option<usize>) -> Result<Self, SamplingError> {
        let n_rollback = rules.n_rollback().unwrap_or(N_ROLLBACK).saturating_sub(N_SPARE);
        let mut past = Vec::new();
        reserve(&mut past, n_rollback + 1)?;
        let budget = budget.filter(|_| !rules.closing.is_empty());
        let first = rules.first;
        let (constraint, words) = (None, Vec::new());
        let mut guide = Self { rules, constraint, budget, words, first, at: first, past, n_rollback };
        guide.close_if_over();
        guide.first = guide.at;
        Ok(guide)
    }

    /// Makes the tables unless they exist. They take as much memory as [`Limits`](grammar::Limits) allow, and one bit
    /// per token.
    ///
    /// # Errors
    /// If there is no memory for them, or less than a mebibyte would be left beside those of a grammar.
    pub(super) fn prepare(&mut self) -> Result<(), SamplingError> {
        if self.words.capacity() > 0 {
            return Ok(());
        }
        // Checks that this much memory is left for everything else. Without a grammar the guide takes hardly any.
        let mut left = Vec::<u8>::new();
        reserve(&mut left, if self.rules.has_grammar() { LEFT_BYTES } else { 0 })?;
        // Keeps the compiler from removing the unused allocation.
        core::hint::black_box(&mut left);
        let constraint = self.rules.constraint()?;
        // At least one word, even for an empty vocabulary.
        reserve(&mut self.words, self.rules.vocabulary.n_vocab() as usize / 64 + 1)?;
        self.constraint = constraint;
        Ok(())
    }

    /// Whether there are tables of a grammar.
    pub(super) fn has_tables(&self) -> bool {
        self.constraint.is_some()
    }

    /// Whether there is a grammar without tables.
    pub(super) fn lacks_tables(&self) -> bool {
        self.rules.has_grammar() && self.constraint.is_none()
    }

    /// Returns to the beginning of an answer.
    pub(super) fn reset(&mut self) {
        if let Some(constraint) = &mut self.constraint {
            constraint.reset();
        }
        self.at = self.first;
        self.past.clear();
    }

    /// How many tokens can be taken back, if that many came.
    pub(super) fn n_rollback(&self) -> usize {
        self.n_rollback
    }

    /// The token that must come next, whatever the model prefers.
    pub(super) fn forced(&self) -> Option<u32> {
        match self.at.part {
            Part::Closing(n) => self.rules.closing.get(n).copied(),
            _ => None,
        }
    }

    /// Whether the answer is complete by its grammar and may have nothing more.
    pub(super) fn must_end(&self) -> bool {
        let is_held = matches!(self.at.part, Part::Held | Part::Begin);
        is_held && self.constraint.as_ref().is_some_and(Constraint::must_end)
    }

    /// The tokens that may come next; `None` if all may.
    ///
    /// # Errors
    /// Those of [`Constraint::allowed`].
    pub(super) fn allowed(&mut self) -> Result<Option<Mask<'_>>, ConstraintError> {
        if let (Part::Held | Part::Begin, Some(constraint)) = (self.at.part, &mut self.constraint) {
            // An optional call must not make the answer fail. The second call of `allowed` finds the mask that is
            // already computed.
            if !self.rules.is_held && constraint.allowed().is_err_and(is_too_much) {
                self.at.part = Part::Released;
                return Ok(None);
            }
            return constraint.allowed().map(Some);
        }
        let Self { rules, words, at, .. } = self;
        let Rules { vocabulary, needles, spills, is_held, .. } = &**rules;
        let mut is_some = false;
        let mut forbid = |token: u32| {
            if !core::mem::replace(&mut is_some, true) {
                let n_vocab = vocabulary.n_vocab();
                words.clear();
                words.resize(n_vocab.div_ceil(64) as usize, u64::MAX);
                if let (Some(last), 1..) = (words.last_mut(), n_vocab % 64) {
                    *last = (1 << (n_vocab % 64)) - 1;
                }
            }
            words[token as usize / 64] &= !(1 << (token % 64));
        };
        // An answer that must follow a grammar must not end inside a thought.
        if *is_held {
            vocabulary.ends().iter().for_each(|&token| forbid(token));
        }
        for spill in spills {
            let (number, end) = (usize::from(spill.needle), usize::from(spill.end));
            if needles.ends(*at, rules.text_of(spill.token), number, end, *is_held) {
                forbid(spill.token);
            }
        }
        Ok(is_some.then(|| Mask::of(words)))
    }

    /// Advances by a token.
    ///
    /// # Errors
    /// Those of [`Constraint::accept`]; the position is then unchanged.
    pub(super) fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        let (before, mut n_states) = (self.at, 0);
        if let Err(error) = self.go_on(token, &mut n_states) {
            self.take_back(before, n_states);
            if self.rules.is_held || !is_too_much(error) {
                return Err(error);
            }
            n_states = 0;
            self.at.part = Part::Released;
        }
        if self.past.len() > self.n_rollback {
            self.past.remove(0);
        }
        self.past.push((before, n_states));
        Ok(())
    }

    /// Takes back the last `n` tokens. At least `n` tokens must have come.
    pub(super) fn rollback(&mut self, n: usize) {
        for _ in 0..n {
            if let Some((before, n_states)) = self.past.pop() {
                self.take_back(before, n_states);
            }
        }
    }

    fn take_back(&mut self, before: At, n_states: u8) {
        self.at = before;
        if let Some(constraint) = &mut self.constraint
            && constraint.rollback(n_states.into()).is_err()
        {
            unreachable!("as many are remembered");
        }
    }

    fn go_on(&mut self, token: u32, n_states: &mut u8) -> Result<(), ConstraintError> {
        let (part, rules) = (self.at.part, self.rules.clone());
        match part {
            Part::Closing(n) if rules.closing.get(n) != Some(&token) => {
                return Err(ConstraintError::NotAllowed { token });
            }
            Part::Closing(n) if n + 1 < rules.closing.len() => {
                self.at.part = Part::Closing(n + 1);
                return Ok(());
            }
            Part::Closing(_) => return self.leave_thought(&[], n_states),
            Part::Held | Part::Begin => {
                self.read(n_states, |constraint| constraint.accept(token))?;
                if part == Part::Held {
                    return Ok(());
                }
            }
            Part::Thought if rules.is_held && rules.vocabulary.is_end(token) => {
                return Err(ConstraintError::NotAllowed { token });
            }
            Part::Released => return Ok(()),
            Part::Thought | Part::Free => {}
        }
        self.read_text(&rules, token, n_states)?;
        self.at.n_thought += usize::from(part == Part::Thought && self.at.part == Part::Thought);
        self.close_if_over();
        if self.at.part == Part::Begin && self.at.matched[OPEN] == MISSED {
            self.at.part = Part::Held;
        }
        Ok(())
    }

    fn read_text(&mut self, rules: &Rules, token: u32, n_states: &mut u8) -> Result<(), ConstraintError> {
        let mut text = rules.text_of(token);
        while let Some((needle, end)) = rules.needles.scan(&mut self.at, text) {
            text = &text[end..];
            if rules.needles.pass(&mut self.at, needle, rules.is_held) {
                continue;
            }
            if needle == CLOSE {
                return self.leave_thought(text, n_states);
            }
            if needle < TRIGGERS {
                return Err(ConstraintError::NotAllowed { token });
            }
            (self.at.part, self.at.matched) = (Part::Held, [0; N_NEEDLES]);
            self.read(n_states, |constraint| constraint.accept_bytes(rules.needles.bytes(needle)))?;
            return match text {
                [] => Ok(()),
                rest => self.read(n_states, |constraint| constraint.accept_bytes(rest)),
            };
        }
        Ok(())
    }

    /// Leaves a thought. `rest` is the text in the last token after the mark.
    fn leave_thought(&mut self, rest: &[u8], n_states: &mut u8) -> Result<(), ConstraintError> {
        let is_held = self.rules.is_held;
        self.at.matched = [0; N_NEEDLES];
        self.at.part = if is_held { Part::Held } else { Part::Free };
        if !is_held {
            return Ok(());
        }
        self.read(n_states, |constraint| constraint.accept_reference(THOUGHT_TOKEN))?;
        match rest {
            [] => Ok(()),
            rest => self.read(n_states, |constraint| constraint.accept_bytes(rest)),
        }
    }

    fn read(
        &mut self,
        n_states: &mut u8,
        read: impl FnOnce(&mut Constraint) -> Result<(), ConstraintError>,
    ) -> Result<(), ConstraintError> {
        debug_assert!(self.constraint.is_some() || !self.rules.has_grammar(), "it is not prepared");
        if let Some(constraint) = &mut self.constraint {
            read(constraint)?;
            *n_states += 1;
        }
        Ok(())
    }

    /// Starts to close a thought if its budget is used up.
    fn close_if_over(&mut self) {
        if self.at.part == Part::Thought && self.budget.is_some_and(|budget| self.at.n_thought >= budget) {
            self.at.part = Part::Closing(0);
        }
    }
}

/// Whether the error means that a grammar exceeds its limits, or allows no token.
fn is_too_much(error: ConstraintError) -> bool {
    matches!(
        error,
        ConstraintError::TooManyStates { .. }
            | ConstraintError::TooManySteps { .. }
            | ConstraintError::NothingAllowed
    )
}

#[cfg(test)]
mod tests;
