//! [`Guide`]: what an answer has to keep to, part by part.
//!
//! ```text
//! (open) thought (close)   said ... trigger   calls
//! free, or so many tokens  free, or a grammar a grammar
//! ```
//!
//! An answer may begin with a thought, which is free up to the mark that ends it, or for so many tokens. What follows keeps to a
//! grammar, or is free; if it is free, it may keep to a grammar from a text on that begins a call. Marks are found in the text
//! of tokens, wherever tokens divide it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use grammar::{Constraint, ConstraintError, Mask, Vocabulary};

use super::{SamplingError, reserve};

/// Most triggers of a guide.
pub const MAX_TRIGGERS: usize = 4;
/// The white space that may stand between a thought and what has to keep to a grammar.
pub const BLANKS: [u8; 4] = *b"\t\n\r ";
/// Characters of white space that may stand between a thought and what has to keep to a grammar.
pub const MAX_BLANKS: u32 = 4;
/// The token that a grammar has between the mark that begins a thought and what follows the thought. No text has it there: the
/// guide reads it where the thought ends.
pub const THOUGHT_TOKEN: u32 = 0;

/// How many tokens can be taken back where nothing else limits it.
const N_ROLLBACK: usize = 64;
/// Further states that a token may lead to, beside one for each.
const N_SPARE: usize = 3;

/// The places of needles: what begins a thought, what ends one, and from there on triggers.
const OPEN: usize = 0;
const CLOSE: usize = 1;
const N_NEEDLES: usize = 2 + MAX_TRIGGERS;
/// A needle that cannot be found any more.
const MISSED: u8 = u8::MAX;

/// A text from which on an answer keeps to its grammar. The grammar's texts begin with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    /// The text, at most 200 bytes of it.
    pub text: &'static str,
    /// Whether it counts at the beginning of the answer only, behind white space.
    pub is_first: bool,
}

/// What is known of thoughts.
#[derive(Debug)]
pub struct Thinking {
    /// What begins one.
    pub open: &'static str,
    /// What ends one.
    pub close: &'static str,
    /// Whether the answer begins within one.
    pub starts_open: bool,
    /// Most tokens of all thoughts.
    pub budget: Option<usize>,
    /// The tokens that end one whose budget is used up.
    pub closing: Vec<u32>,
}

/// What an answer has to keep to, at some point of it. Nothing is allocated after it was made.
#[derive(Debug)]
pub struct Guide {
    vocabulary: Arc<Vocabulary>,
    constraint: Option<Constraint>,
    /// Whether all but thoughts keeps to the constraint, not only what a trigger begins.
    is_held: bool,
    needles: Needles,
    budget: Option<usize>,
    closing: Vec<u32>,
    /// Tokens without a text that are marks, by their ids, and their names.
    marks: Vec<(u32, Vec<u8>)>,
    /// Tokens that end a needle and go on in a way in which what follows cannot begin: needle, token, where the needle ends.
    spills: Vec<(u8, u32, u16)>,
    /// Room for a mask.
    words: Vec<u64>,
    first: At,
    at: At,
    /// Where it was before each of the last tokens, and how many states of the constraint the token took.
    past: Vec<(At, u8)>,
    n_rollback: usize,
}

/// Where in an answer.
#[derive(Debug, Clone, Copy)]
struct At {
    part: Part,
    /// Bytes of each needle that have come.
    matched: [u8; N_NEEDLES],
    n_thought: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The grammar holds, but a thought may begin.
    Begin,
    Thought,
    /// So many tokens have come that end the thought.
    Closing(usize),
    Free,
    Held,
    /// A call that a trigger began, whose grammar became too much to be read: it goes on freely.
    Released,
}

#[derive(Debug, Default)]
struct Needle {
    bytes: Vec<u8>,
    /// For each number of bytes that have come, how many of them are the beginning of the needle, too.
    back: Vec<u8>,
    is_first: bool,
    /// Whether white space may come before, if it counts at the beginning only.
    skips_blanks: bool,
}

#[derive(Debug, Default)]
struct Needles([Needle; N_NEEDLES]);

impl Guide {
    /// A guide to answers that keep to `constraint` from the beginning, or behind a thought; with `triggers`, from one of them
    /// on. If there can be thoughts, the grammar's texts are those that follow a thought behind [`THOUGHT_TOKEN`], and where
    /// thoughts need not come, the others, and before that token what begins a thought; up to [`MAX_BLANKS`] of white space are
    /// among what follows it. `marks` are tokens without a text that are part of marks, and their names.
    ///
    /// # Errors
    /// If there is no memory for the tables: 8 bytes for 64 tokens, and some for tokens that contain ends of marks.
    ///
    /// # Panics
    /// With more than [`MAX_TRIGGERS`] triggers.
    pub fn new(
        vocabulary: Arc<Vocabulary>,
        constraint: Option<Constraint>,
        thinking: Option<Thinking>,
        triggers: &[Trigger],
        marks: Vec<(u32, Vec<u8>)>,
    ) -> Result<Self, SamplingError> {
        let is_held = constraint.is_some() && triggers.is_empty();
        let mut needles = Needles::default();
        let mut part = if is_held { Part::Held } else { Part::Free };
        let (mut budget, mut closing) = (None, Vec::new());
        if let Some(thinking) = thinking {
            part = match part {
                _ if thinking.starts_open => Part::Thought,
                Part::Held => Part::Begin,
                part => part,
            };
            needles.0[OPEN] = Needle::new(thinking.open, is_held)?;
            // The grammar has none there.
            needles.0[OPEN].skips_blanks = false;
            needles.0[CLOSE] = Needle::new(thinking.close, false)?;
            closing = thinking.closing;
            budget = thinking.budget.filter(|_| !closing.is_empty());
        }
        for (needle, trigger) in needles.0[CLOSE + 1..].iter_mut().zip(triggers) {
            *needle = Needle::new(trigger.text, trigger.is_first)?;
        }
        assert!(triggers.len() <= MAX_TRIGGERS, "{} triggers", triggers.len());
        let (mut words, mut past) = (Vec::new(), Vec::new());
        reserve(&mut words, vocabulary.n_vocab().div_ceil(64) as usize)?;
        let n_rollback = constraint.as_ref().map_or(N_ROLLBACK, |constraint| constraint.limits().n_rollback);
        let n_rollback = n_rollback.saturating_sub(N_SPARE);
        reserve(&mut past, n_rollback + 1)?;
        let at = At { part, matched: [0; N_NEEDLES], n_thought: 0 };
        let mut guide = Self {
            vocabulary,
            constraint,
            is_held,
            needles,
            budget,
            closing,
            marks,
            spills: Vec::new(),
            words,
            first: at,
            at,
            past,
            n_rollback,
        };
        guide.close_if_over();
        guide.first = guide.at;
        guide.find_spills()?;
        Ok(guide)
    }

    /// A guide to answers that keep to `constraint` all the way.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn held(constraint: Constraint) -> Result<Self, SamplingError> {
        Self::new(constraint.vocabulary().clone(), Some(constraint), None, &[], Vec::new())
    }

    /// Goes back to the beginning of an answer.
    pub(super) fn reset(&mut self) {
        if let Some(constraint) = &mut self.constraint {
            constraint.reset();
        }
        self.at = self.first;
        self.past.clear();
    }

    /// How many tokens can be taken back, if as many came.
    pub(super) fn n_rollback(&self) -> usize {
        self.n_rollback
    }

    /// The token that has to come, whatever the model would have.
    pub(super) fn forced(&self) -> Option<u32> {
        match self.at.part {
            Part::Closing(n) => self.closing.get(n).copied(),
            _ => None,
        }
    }

    /// Whether the answer has all that its grammar wants, and may have no more.
    pub(super) fn must_end(&self) -> bool {
        let is_held = matches!(self.at.part, Part::Held | Part::Begin);
        is_held && self.constraint.as_ref().is_some_and(Constraint::must_end)
    }

    /// The tokens that may come next; `None` if all may.
    ///
    /// # Errors
    /// As [`Constraint::allowed`].
    pub(super) fn allowed(&mut self) -> Result<Option<Mask<'_>>, ConstraintError> {
        if let (Part::Held | Part::Begin, Some(constraint)) = (self.at.part, &mut self.constraint) {
            // Who need not call is not to lose an answer for it. A mask that is there is found again.
            if !self.is_held && constraint.allowed().is_err_and(is_too_much) {
                self.at.part = Part::Released;
                return Ok(None);
            }
            return constraint.allowed().map(Some);
        }
        let Self { vocabulary, needles, marks, spills, words, at, is_held, .. } = self;
        // An answer that has to keep to a grammar does not end within a thought.
        let may_end = !*is_held;
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
        if !may_end {
            vocabulary.ends().iter().for_each(|&token| forbid(token));
        }
        for &(number, token, end) in &*spills {
            let (number, end) = (usize::from(number), usize::from(end));
            // Most cannot end here, however they are read.
            let may_end_here = usize::from(at.matched[number]) + end >= needles.0[number].bytes.len();
            let text = text_of(vocabulary, marks, token);
            if may_end_here && needles.ends(*at, text, number, end, *is_held) {
                forbid(token);
            }
        }
        Ok(is_some.then(|| Mask::of(words)))
    }

    /// Goes on after a token.
    ///
    /// # Errors
    /// As [`Constraint::accept`]; the answer stays where it is.
    pub(super) fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        let (before, mut n_states) = (self.at, 0);
        if let Err(error) = self.go_on(token, &mut n_states) {
            self.take_back(before, n_states);
            if self.is_held || !is_too_much(error) {
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

    /// Takes back the last `n` tokens, of which there were so many.
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
        let part = self.at.part;
        match part {
            Part::Closing(n) if self.closing.get(n) != Some(&token) => {
                return Err(ConstraintError::NotAllowed { token });
            }
            Part::Closing(n) if n + 1 < self.closing.len() => {
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
            Part::Thought if self.is_held && self.vocabulary.is_end(token) => {
                return Err(ConstraintError::NotAllowed { token });
            }
            Part::Released => return Ok(()),
            Part::Thought | Part::Free => {}
        }
        let vocabulary = self.vocabulary.clone();
        let marks = core::mem::take(&mut self.marks);
        let read = self.read_text(text_of(&vocabulary, &marks, token), n_states);
        self.marks = marks;
        read?;
        self.at.n_thought += usize::from(part == Part::Thought && self.at.part == Part::Thought);
        self.close_if_over();
        if self.at.part == Part::Begin && self.at.matched[OPEN] == MISSED {
            self.at.part = Part::Held;
        }
        Ok(())
    }

    fn read_text(&mut self, text: &[u8], n_states: &mut u8) -> Result<(), ConstraintError> {
        let mut text = text;
        while let Some((needle, end)) = self.needles.scan(&mut self.at, text) {
            text = &text[end..];
            self.at.matched = [0; N_NEEDLES];
            match needle {
                OPEN => self.at.part = Part::Thought,
                CLOSE => {
                    self.leave_thought(text, n_states)?;
                    if self.is_held {
                        return Ok(());
                    }
                }
                trigger => {
                    self.at.part = Part::Held;
                    let trigger = core::mem::take(&mut self.needles.0[trigger].bytes);
                    let read = self.read(n_states, |constraint| constraint.accept_bytes(&trigger));
                    self.needles.0[needle].bytes = trigger;
                    read?;
                    return match text {
                        [] => Ok(()),
                        rest => self.read(n_states, |constraint| constraint.accept_bytes(rest)),
                    };
                }
            }
        }
        Ok(())
    }

    /// Goes on behind a thought, of which the last token has this text behind it.
    fn leave_thought(&mut self, rest: &[u8], n_states: &mut u8) -> Result<(), ConstraintError> {
        self.at.matched = [0; N_NEEDLES];
        self.at.part = if self.is_held { Part::Held } else { Part::Free };
        if !self.is_held {
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
        if let Some(constraint) = &mut self.constraint {
            read(constraint)?;
            *n_states += 1;
        }
        Ok(())
    }

    /// Begins to end a thought whose budget is used up.
    fn close_if_over(&mut self) {
        if self.at.part == Part::Thought && self.budget.is_some_and(|budget| self.at.n_thought >= budget) {
            self.at.part = Part::Closing(0);
        }
    }

    /// Finds the tokens that end a needle and go on in a way in which what follows cannot begin.
    fn find_spills(&mut self) -> Result<(), SamplingError> {
        let vocabulary = self.vocabulary.clone();
        for number in CLOSE..N_NEEDLES {
            if number == CLOSE && !self.is_held {
                continue;
            }
            let needle = core::mem::take(&mut self.needles.0[number].bytes);
            let found = self.spills_of(number, &needle, &vocabulary);
            self.needles.0[number].bytes = needle;
            found?;
        }
        Ok(())
    }

    fn spills_of(
        &mut self,
        number: usize,
        needle: &[u8],
        vocabulary: &Vocabulary,
    ) -> Result<(), SamplingError> {
        let Some(last) = needle.last() else { return Ok(()) };
        for token in 0..vocabulary.n_vocab() {
            let text = vocabulary.bytes(token);
            for end in 1..text.len() {
                let (head, rest) = text.split_at(end);
                let ends = head.last() == Some(last) && (head.ends_with(needle) || needle.ends_with(head));
                if ends && !self.can_follow(number, needle, rest) {
                    let needed_bytes = (self.spills.len() + 1) * size_of::<(u8, u32, u16)>();
                    let out_of_memory = |_| SamplingError::OutOfMemory { needed_bytes };
                    self.spills.try_reserve(1).map_err(out_of_memory)?;
                    self.spills.push((number as u8, token, end as u16));
                }
            }
        }
        Ok(())
    }

    fn can_follow(&mut self, number: usize, needle: &[u8], rest: &[u8]) -> bool {
        if number == CLOSE {
            return rest.len() <= MAX_BLANKS as usize && rest.iter().all(|byte| BLANKS.contains(byte));
        }
        let Some(constraint) = &mut self.constraint else { return true };
        let can_follow = constraint.accept_bytes(needle).is_ok() && constraint.accept_bytes(rest).is_ok();
        constraint.reset();
        can_follow
    }
}

/// Whether a grammar takes more to be read than it may.
fn is_too_much(error: ConstraintError) -> bool {
    matches!(error, ConstraintError::TooManyStates { .. } | ConstraintError::TooManySteps { .. })
}

/// The text of a token, or its name if that is a mark.
fn text_of<'t>(vocabulary: &'t Vocabulary, marks: &'t [(u32, Vec<u8>)], token: u32) -> &'t [u8] {
    let is_mark = |(id, _): &&(u32, Vec<u8>)| *id == token;
    match marks.iter().find(is_mark) {
        Some((_, name)) => name,
        None => vocabulary.bytes(token),
    }
}

impl Needle {
    fn new(text: &str, is_first: bool) -> Result<Self, SamplingError> {
        let text = &text.as_bytes()[..text.len().min(200)];
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        reserve(&mut bytes, text.len())?;
        reserve(&mut back, text.len())?;
        bytes.extend_from_slice(text);
        for n in 1..=text.len() {
            let longest = (0..n).rev().find(|&len| text[..n].ends_with(&text[..len]));
            back.push(longest.unwrap_or(0) as u8);
        }
        Ok(Self { bytes, back, is_first, skips_blanks: true })
    }

    /// How many bytes of it have come after one more.
    fn step(&self, matched: u8, byte: u8) -> u8 {
        let mut matched = matched;
        loop {
            match self.bytes.get(usize::from(matched)) {
                Some(&expected) if expected == byte => return matched + 1,
                _ if self.is_first && self.skips_blanks && matched == 0 && byte.is_ascii_whitespace() => {
                    return 0;
                }
                _ if self.is_first => return MISSED,
                _ if matched == 0 => return 0,
                _ => matched = self.back[usize::from(matched) - 1],
            }
        }
    }
}

impl Needles {
    /// Reads a text up to the end of the first needle that matters here; which one it is, and where its end is.
    fn scan(&self, at: &mut At, text: &[u8]) -> Option<(usize, usize)> {
        let needles = match at.part {
            Part::Begin => OPEN..CLOSE,
            Part::Thought => CLOSE..CLOSE + 1,
            Part::Free => 0..N_NEEDLES,
            Part::Closing(_) | Part::Held | Part::Released => return None,
        };
        for (index, &byte) in text.iter().enumerate() {
            for number in needles.clone() {
                let (needle, matched) = (&self.0[number], &mut at.matched[number]);
                if needle.bytes.is_empty() || *matched == MISSED || (number == CLOSE && needles.len() > 1) {
                    continue;
                }
                *matched = needle.step(*matched, byte);
                if usize::from(*matched) == needle.bytes.len() {
                    return Some((number, index + 1));
                }
            }
        }
        None
    }

    /// Whether this needle ends there in a text, as [`Guide::read_text`] reads it.
    fn ends(&self, mut at: At, text: &[u8], number: usize, end: usize, is_held: bool) -> bool {
        let mut read = 0;
        while let Some((found, n)) = self.scan(&mut at, &text[read..]) {
            read += n;
            if (found, read) == (number, end) {
                return true;
            }
            at.matched = [0; N_NEEDLES];
            at.part = match found {
                OPEN => Part::Thought,
                CLOSE if !is_held => Part::Free,
                _ => return false,
            };
        }
        false
    }
}

#[cfg(test)]
mod tests;
