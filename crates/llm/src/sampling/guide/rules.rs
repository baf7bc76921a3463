//! [`Rules`]: the rules for answers of a kind, with everything that is computed once for all of them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use grammar::{Constraint, ConstraintError, Grammar, Limits, Vocabulary};

use super::super::SamplingError;
use super::place::{At, CLOSE, N_NEEDLES, Needles, Part, TRIGGERS, is_also_close};
use super::{BLANKS, MAX_BLANKS, Thinking, Trigger};

/// The rules for answers of a kind, for one vocabulary. They are made once and shared by all such answers.
#[derive(Debug)]
pub struct Rules {
    pub(super) vocabulary: Arc<Vocabulary>,
    grammar: Option<(Arc<Grammar>, Limits)>,
    /// Whether everything except thoughts must follow the grammar, not only the text after a trigger.
    pub(super) is_held: bool,
    pub(super) needles: Needles,
    pub(super) closing: Vec<u32>,
    /// Tokens without text that are marks: their ids, in order, and their names.
    marks: Vec<(u32, Vec<u8>)>,
    pub(super) spills: Vec<Spill>,
    /// The position at the beginning of an answer.
    pub(super) first: At,
}

/// A token that contains the end of a needle, followed by text with which the next part cannot begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spill {
    pub needle: u8,
    pub token: u32,
    /// Where the needle ends in the token's text.
    pub end: u16,
}

impl Rules {
    /// Rules for answers that follow `grammar` from the beginning or after a thought; with `triggers`, from one of these on. If thoughts
    /// are possible, the grammar must describe them: [`THOUGHT_TOKEN`](super::THOUGHT_TOKEN) stands for the thought, before it comes the
    /// mark that begins the thought (unless answers begin inside one), and after it up to [`MAX_BLANKS`](super::MAX_BLANKS) white space
    /// characters and the rest. If thoughts are optional, the grammar must also contain the texts without a thought. `marks` are tokens
    /// without text that are part of marks, and their names. Each answer may use as much memory as the limits allow.
    ///
    /// # Errors
    /// Those of [`Constraint::new`], with the memory that it needs if there is too little; and if there is no memory for the rules
    /// themselves.
    ///
    /// # Panics
    /// If there are more than [`MAX_TRIGGERS`](super::MAX_TRIGGERS) triggers, or more than four further texts that end
    /// a thought.
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
        // This constraint is used only here, but making it also shows that each answer can have one.
        let mut constraint = rules.constraint()?;
        for number in CLOSE..N_NEEDLES {
            if is_held || number >= TRIGGERS {
                rules.find_spills(number, constraint.as_mut())?;
            }
        }
        Ok(rules)
    }

    /// The approximate number of bytes that it takes.
    pub fn bytes(&self) -> usize {
        let of_grammar = self.grammar.as_ref().map_or(0, |(grammar, _)| grammar.bytes());
        size_of::<Self>() + of_grammar + size_of_val(&*self.spills)
    }

    /// The constraint of an answer at its beginning, if there is a grammar.
    pub(super) fn constraint(&self) -> Result<Option<Constraint>, SamplingError> {
        let Some((grammar, limits)) = &self.grammar else { return Ok(None) };
        let needed_bytes = Constraint::memory_bytes(grammar, &self.vocabulary, *limits);
        let made = Constraint::new(grammar.clone(), self.vocabulary.clone(), *limits);
        made.map(Some).map_err(|error| match error {
            ConstraintError::OutOfMemory => SamplingError::OutOfMemory { needed_bytes },
            error => SamplingError::Constraint(error),
        })
    }

    /// Whether any part of an answer must follow a grammar.
    pub(crate) fn has_grammar(&self) -> bool {
        self.grammar.is_some()
    }

    /// How many tokens can be taken back; `None` if nothing limits the number.
    pub(super) fn n_rollback(&self) -> Option<usize> {
        self.grammar.as_ref().map(|(_, limits)| limits.n_rollback)
    }

    /// The text of a token, or its name if it is a mark.
    pub(super) fn text_of(&self, token: u32) -> &[u8] {
        match self.marks.iter().find(|(id, _)| *id == token) {
            Some((_, name)) => name,
            None => self.vocabulary.bytes(token),
        }
    }

    /// Finds the tokens that contain the end of a needle, followed by text with which the next part cannot begin. If a constrained part
    /// must follow a thought, no text may follow a needle other than the proper mark.
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
