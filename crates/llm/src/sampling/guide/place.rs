//! The current position in an answer ([`At`]): its part, and how much of each text that begins another part has been
//! matched ([`Needles`]).

use alloc::vec::Vec;

use super::super::{SamplingError, reserve};
use super::{MAX_TRIGGERS, Thinking, Trigger};

/// The indices of needles: the mark that begins a thought, the mark that ends one, then other texts that end one, then
/// triggers.
pub(super) const OPEN: usize = 0;
pub(super) const CLOSE: usize = 1;
const ALSO_CLOSE: usize = 2;
pub(super) const TRIGGERS: usize = ALSO_CLOSE + MAX_ALSO_CLOSE;
pub(super) const N_NEEDLES: usize = TRIGGERS + MAX_TRIGGERS;
/// Most texts that end a thought besides its proper mark.
const MAX_ALSO_CLOSE: usize = 4;
/// Marks a needle that can no longer be found.
pub(super) const MISSED: u8 = u8::MAX;

/// A position in an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub part: Part,
    /// How many bytes of each needle have been matched.
    pub matched: [u8; N_NEEDLES],
    pub n_thought: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The grammar applies, but a thought may still begin.
    Begin,
    Thought,
    /// A thought is being closed; this many of its closing tokens have come.
    Closing(usize),
    Free,
    Held,
    /// A call that a trigger began, but whose grammar exceeded its limits: it continues freely.
    Released,
}

impl Part {
    /// Whether this needle is searched for in this part.
    fn seeks(self, number: usize) -> bool {
        match self {
            Self::Begin => number == OPEN,
            Self::Thought => (CLOSE..TRIGGERS).contains(&number),
            Self::Free => number == OPEN || number >= TRIGGERS,
            Self::Closing(_) | Self::Held | Self::Released => false,
        }
    }
}

/// A text that is searched for.
#[derive(Debug, Default)]
struct Needle {
    bytes: Vec<u8>,
    /// For each number of matched bytes, the length of their longest proper suffix that is also a beginning of the
    /// needle (as in the Knuth-Morris-Pratt search).
    back: Vec<u8>,
    is_first: bool,
    /// For a needle that counts only at the beginning: whether white space may come before it.
    skips_blanks: bool,
}

/// All texts that are searched for.
#[derive(Debug, Default)]
pub(super) struct Needles([Needle; N_NEEDLES]);

/// Whether this needle ends a thought but is not its proper mark.
pub(super) fn is_also_close(number: usize) -> bool {
    (ALSO_CLOSE..TRIGGERS).contains(&number)
}

impl Needle {
    fn new(text: &str, is_first: bool, skips_blanks: bool) -> Result<Self, SamplingError> {
        let text = &text.as_bytes()[..text.len().min(200)];
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        reserve(&mut bytes, text.len())?;
        reserve(&mut back, text.len())?;
        bytes.extend_from_slice(text);
        for n in 1..=text.len() {
            let longest = (0..n).rev().find(|&len| text[..n].ends_with(&text[..len]));
            back.push(longest.unwrap_or(0) as u8);
        }
        Ok(Self { bytes, back, is_first, skips_blanks })
    }

    /// How many bytes of the needle are matched after one more byte.
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
    /// The marks of thoughts, and triggers.
    ///
    /// # Errors
    /// If there is no memory for them.
    ///
    /// # Panics
    /// If there are more triggers, or more texts that end a thought, than allowed.
    #[inline(never)]
    pub fn new(
        thinking: Option<&Thinking>,
        triggers: &[Trigger],
        is_held: bool,
    ) -> Result<Self, SamplingError> {
        let mut needles = Self::default();
        if let Some(Thinking { open, close, also_close, .. }) = thinking {
            assert!(also_close.len() <= MAX_ALSO_CLOSE, "{} texts that end a thought", also_close.len());
            // Under a grammar no white space may come before it.
            needles.0[OPEN] = Needle::new(open, is_held, false)?;
            needles.0[CLOSE] = Needle::new(close, false, true)?;
            for (needle, text) in needles.0[ALSO_CLOSE..].iter_mut().zip(*also_close) {
                *needle = Needle::new(text, false, true)?;
            }
        }
        assert!(triggers.len() <= MAX_TRIGGERS, "{} triggers", triggers.len());
        for (needle, trigger) in needles.0[TRIGGERS..].iter_mut().zip(triggers) {
            *needle = Needle::new(trigger.text, trigger.is_first, true)?;
        }
        Ok(needles)
    }

    /// The text of a needle; empty if there is no such needle.
    pub fn bytes(&self, number: usize) -> &[u8] {
        &self.0[number].bytes
    }

    /// Reads a text up to the end of the first needle that is searched for here. Returns the needle, and where it ends.
    pub fn scan(&self, at: &mut At, text: &[u8]) -> Option<(usize, usize)> {
        for (index, &byte) in text.iter().enumerate() {
            for (number, needle) in self.0.iter().enumerate() {
                let matched = &mut at.matched[number];
                if needle.bytes.is_empty() || *matched == MISSED || !at.part.seeks(number) {
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

    /// Moves past a needle that begins a thought, or that ends one after which nothing is constrained. Returns whether
    /// the needle is of this kind.
    pub fn pass(&self, at: &mut At, number: usize, is_held: bool) -> bool {
        let part = match number {
            OPEN => Part::Thought,
            CLOSE if !is_held => Part::Free,
            number if is_also_close(number) && !is_held => Part::Free,
            _ => return false,
        };
        (at.part, at.matched) = (part, [0; N_NEEDLES]);
        if is_also_close(number) {
            // The needle is also the beginning of the next part, which is longer.
            let _ = self.scan(at, self.bytes(number));
        }
        true
    }

    /// Whether a guide that reads this text finds the end of this needle there.
    pub fn ends(&self, mut at: At, text: &[u8], number: usize, end: usize, is_held: bool) -> bool {
        // Quick check: too few bytes have been matched for most of them.
        if usize::from(at.matched[number]) + end < self.bytes(number).len() {
            return false;
        }
        let mut read = 0;
        while let Some((found, n)) = self.scan(&mut at, &text[read..]) {
            read += n;
            if (found, read) == (number, end) {
                return true;
            }
            if !self.pass(&mut at, found, is_held) {
                return false;
            }
        }
        false
    }
}
