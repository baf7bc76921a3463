//! Where an answer is ([`At`]): its part, and how much has come of each text that begins another ([`Needles`]).

use alloc::vec::Vec;

use super::super::{SamplingError, reserve};
use super::{MAX_TRIGGERS, Thinking, Trigger};

/// The places of needles: what begins a thought, what ends one, and from here on what ends one too, then triggers.
pub(super) const OPEN: usize = 0;
pub(super) const CLOSE: usize = 1;
const ALSO_CLOSE: usize = 2;
pub(super) const TRIGGERS: usize = ALSO_CLOSE + MAX_ALSO_CLOSE;
pub(super) const N_NEEDLES: usize = TRIGGERS + MAX_TRIGGERS;
/// Most texts that end a thought beside the one that should.
const MAX_ALSO_CLOSE: usize = 4;
/// A needle that cannot be found any more.
pub(super) const MISSED: u8 = u8::MAX;

/// Where in an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub part: Part,
    /// Bytes of each needle that have come.
    pub matched: [u8; N_NEEDLES],
    pub n_thought: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
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

impl Part {
    /// Whether a needle matters in it.
    fn seeks(self, number: usize) -> bool {
        match self {
            Self::Begin => number == OPEN,
            Self::Thought => (CLOSE..TRIGGERS).contains(&number),
            Self::Free => number == OPEN || number >= TRIGGERS,
            Self::Closing(_) | Self::Held | Self::Released => false,
        }
    }
}

/// A text that is looked for.
#[derive(Debug, Default)]
struct Needle {
    bytes: Vec<u8>,
    /// For each number of bytes that have come, how many of them are the beginning of the needle, too.
    back: Vec<u8>,
    is_first: bool,
    /// Whether white space may come before, if it counts at the beginning only.
    skips_blanks: bool,
}

/// All that are looked for.
#[derive(Debug, Default)]
pub(super) struct Needles([Needle; N_NEEDLES]);

/// Whether this needle is one that ends a thought beside the one that should.
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
    /// The marks of thoughts, and triggers.
    ///
    /// # Errors
    /// If there is no memory for them.
    ///
    /// # Panics
    /// With more triggers, or texts that end a thought, than there can be.
    #[inline(never)]
    pub fn new(
        thinking: Option<&Thinking>,
        triggers: &[Trigger],
        is_held: bool,
    ) -> Result<Self, SamplingError> {
        let mut needles = Self::default();
        if let Some(Thinking { open, close, also_close, .. }) = thinking {
            assert!(also_close.len() <= MAX_ALSO_CLOSE, "{} texts that end a thought", also_close.len());
            // A grammar has no white space there.
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

    /// The text of one; empty if there is none.
    pub fn bytes(&self, number: usize) -> &[u8] {
        &self.0[number].bytes
    }

    /// Reads a text up to the end of the first needle that matters here; which one it is, and where its end is.
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

    /// Goes on behind a needle that begins a thought, or ends one that nothing held follows; whether it is such a one.
    pub fn pass(&self, at: &mut At, number: usize, is_held: bool) -> bool {
        let part = match number {
            OPEN => Part::Thought,
            CLOSE if !is_held => Part::Free,
            number if is_also_close(number) && !is_held => Part::Free,
            _ => return false,
        };
        (at.part, at.matched) = (part, [0; N_NEEDLES]);
        if is_also_close(number) {
            // It begins what follows, of which there is more than it.
            let _ = self.scan(at, self.bytes(number));
        }
        true
    }

    /// Whether this needle ends there in a text, as a guide reads it.
    pub fn ends(&self, mut at: At, text: &[u8], number: usize, end: usize, is_held: bool) -> bool {
        // Most cannot, however they are read.
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
