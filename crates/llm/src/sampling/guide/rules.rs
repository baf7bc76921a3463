//! [`Rules`]: what answers of a kind keep to, and all that is found out about it once for all of them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use grammar::{Constraint, ConstraintError, Grammar, Limits, Vocabulary};

use super::super::SamplingError;
use super::place::{At, CLOSE, N_NEEDLES, Needles, Part, TRIGGERS, is_also_close};
use super::{BLANKS, MAX_BLANKS, Thinking, Trigger};

/// What answers of a kind keep to, over a vocabulary. It is made once for all of them.
#[derive(Debug)]
pub struct Rules {
    pub(super) vocabulary: Arc<Vocabulary>,
    grammar: Option<(Arc<Grammar>, Limits)>,
    /// Whether all but thoughts keeps to the grammar, not only what a trigger begins.
    pub(super) is_held: bool,
    pub(super) needles: Needles,
    pub(super) closing: Vec<u32>,
    /// Tokens without a text that are marks, by their ids, and their names.
    marks: Vec<(u32, Vec<u8>)>,
    pub(super) spills: Vec<Spill>,
    /// Where an answer begins.
    pub(super) first: At,
}

/// A token that ends a needle and goes on in a way in which what follows cannot begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spill {
    pub needle: u8,
    pub token: u32,
    /// Where in its text the needle ends.
    pub end: u16,
}

impl Rules {
    /// Answers that keep to `grammar` from the beginning, or behind a thought; with `triggers`, from one of them on. If there can
    /// be thoughts, the grammar's texts are those that follow a thought behind [`THOUGHT_TOKEN`](super::THOUGHT_TOKEN), and where thoughts need not
    /// come, the others, and before that token what begins a thought; up to [`MAX_BLANKS`](super::MAX_BLANKS) of white space are among what
    /// follows it. `marks` are tokens without a text that are part of marks, and their names. Each answer may use what the limits
    /// say.
    ///
    /// # Errors
    /// As [`Constraint::new`], with the memory that it wants if there is none; and if there is none for what is found out.
    ///
    /// # Panics
    /// With more than [`MAX_TRIGGERS`](super::MAX_TRIGGERS) triggers, or more than four texts that end a thought too.
    #[inline(never)]
    pub fn new(
        vocabulary: Arc<Vocabulary>,
        grammar: Option<(Arc<Grammar>, Limits)>,
        thinking: Option<Thinking>,
        triggers: &[Trigger],
        marks: Vec<(u32, Vec<u8>)>,
    ) -> Result<Self, SamplingError> {
        let is_held = grammar.is_some() && triggers.is_empty();
        let needles = Needles::new(thinking.as_ref(), triggers, is_held)?;
        let part = match &thinking {
            Some(Thinking { starts_open: true, .. }) => Part::Thought,
            Some(_) if is_held => Part::Begin,
            _ if is_held => Part::Held,
            _ => Part::Free,
        };
        let closing = thinking.map_or(Vec::new(), |thinking| thinking.closing);
        let first = At { part, matched: [0; N_NEEDLES], n_thought: 0 };
        let spills = Vec::new();
        let mut rules = Self { vocabulary, grammar, is_held, needles, closing, marks, spills, first };
        // Made for this alone, it also shows that each answer can have one.
        let mut constraint = rules.constraint()?;
        for number in CLOSE..N_NEEDLES {
            if is_held || number >= TRIGGERS {
                rules.find_spills(number, constraint.as_mut())?;
            }
        }
        Ok(rules)
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        let of_grammar = self.grammar.as_ref().map_or(0, |(grammar, _)| grammar.bytes());
        size_of::<Self>() + of_grammar + size_of_val(&*self.spills)
    }

    /// What holds an answer at its beginning, if anything does.
    pub(super) fn constraint(&self) -> Result<Option<Constraint>, SamplingError> {
        let Some((grammar, limits)) = &self.grammar else { return Ok(None) };
        let needed_bytes = Constraint::memory_bytes(grammar, &self.vocabulary, *limits);
        let made = Constraint::new(grammar.clone(), self.vocabulary.clone(), *limits);
        made.map(Some).map_err(|error| match error {
            ConstraintError::OutOfMemory => SamplingError::OutOfMemory { needed_bytes },
            error => SamplingError::Constraint(error),
        })
    }

    /// Whether answers keep to a grammar, somewhere.
    pub(crate) fn has_grammar(&self) -> bool {
        self.grammar.is_some()
    }

    /// How many tokens can be taken back, unless nothing limits it.
    pub(super) fn n_rollback(&self) -> Option<usize> {
        self.grammar.as_ref().map(|(_, limits)| limits.n_rollback)
    }

    /// The text of a token, or its name if that is a mark.
    pub(super) fn text_of(&self, token: u32) -> &[u8] {
        match self.marks.iter().find(|(id, _)| *id == token) {
            Some((_, name)) => name,
            None => self.vocabulary.bytes(token),
        }
    }

    /// Finds the tokens that end a needle and go on in a way in which what follows cannot begin. Nothing follows what ends a held
    /// thought otherwise than it should.
    #[inline(never)]
    fn find_spills(
        &mut self,
        number: usize,
        mut constraint: Option<&mut Constraint>,
    ) -> Result<(), SamplingError> {
        let needle = self.needles.bytes(number);
        let Some(last) = needle.last() else { return Ok(()) };
        let mut spills = core::mem::take(&mut self.spills);
        for token in 0..self.vocabulary.n_vocab() {
            let text = self.text_of(token);
            for end in 1..=text.len() {
                let (head, rest) = text.split_at(end);
                let ends = head.last() == Some(last) && (head.ends_with(needle) || needle.ends_with(head));
                if !ends {
                    continue;
                }
                let can_follow = match (number, &mut constraint) {
                    (CLOSE, _) => {
                        rest.len() <= MAX_BLANKS as usize && rest.iter().all(|byte| BLANKS.contains(byte))
                    }
                    _ if is_also_close(number) => false,
                    (_, Some(constraint)) if !rest.is_empty() => {
                        let can_follow =
                            constraint.accept_bytes(needle).is_ok() && constraint.accept_bytes(rest).is_ok();
                        constraint.reset();
                        can_follow
                    }
                    _ => true,
                };
                if !can_follow {
                    let needed_bytes = (spills.len() + 1) * size_of::<Spill>();
                    spills.try_reserve(1).map_err(|_| SamplingError::OutOfMemory { needed_bytes })?;
                    spills.push(Spill { needle: number as u8, token, end: end as u16 });
                }
            }
        }
        self.spills = spills;
        Ok(())
    }
}
