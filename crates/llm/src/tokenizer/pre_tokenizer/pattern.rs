//! The regular expressions of the families, as data.

use super::words::{Words, deepseek_v3_word, gpt2_word};
use crate::tokenizer::error::TokenizerError;
use crate::tokenizer::unicode::{Class, char_at};

/// One regular expression.
#[derive(Debug)]
pub(super) enum Pattern {
    /// A run of characters.
    Run(Run),
    /// `\s+$`
    TrailingSpace,
    /// `[^\n]+|[\n]+`
    Lines,
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// The expressions that grew out of GPT-4's.
    Words(Words),
    /// The third expression of DeepSeek-V3.
    DeepSeekV3,
}

/// `lead? class{min,max}`
#[derive(Debug)]
pub(super) struct Run {
    /// What one character in front may be.
    pub(super) lead: Lead,
    pub(super) chars: Chars,
    pub(super) min: usize,
    pub(super) max: usize,
}

/// What one character in front of a run may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// Nothing.
    None,
    /// ` ?`
    Blank,
    /// `\s?`
    Space,
}

/// A bracket expression.
#[derive(Debug)]
pub(super) enum Chars {
    /// Characters with one of these properties.
    Of(Class),
    /// Characters with one of these properties, and these ASCII characters.
    OfOrAscii(Class, &'static [u8]),
    /// Characters in these ranges, ends included. White space beyond ASCII is never one of them:
    /// the reference replaces it before it matches such an expression.
    In(&'static [(char, char)]),
    /// All but white space and these characters.
    NotSpaceNor(&'static [char]),
}

impl Chars {
    fn contain(&self, c: char) -> bool {
        match self {
            Self::Of(class) => Class::of(c).is(*class),
            Self::OfOrAscii(class, ascii) => {
                Class::of(c).is(*class) || u8::try_from(c).is_ok_and(|c| ascii.contains(&c))
            }
            Self::In(ranges) => {
                ranges.iter().any(|&(first, last)| (first..=last).contains(&c)) && !c.is_whitespace()
            }
            Self::NotSpaceNor(excluded) => !c.is_whitespace() && !excluded.contains(&c),
        }
    }
}

impl Run {
    /// Where the match that begins at `start` ends.
    fn match_at(&self, text: &[u8], start: usize) -> Option<usize> {
        let begin = match (self.lead, char_at(text, start)?) {
            (Lead::Blank, (' ', len)) => start + len,
            (Lead::Space, (c, len)) if c.is_whitespace() => start + len,
            _ => start,
        };
        let mut end = begin;
        let mut n = 0;
        while n < self.max
            && let Some((c, len)) = char_at(text, end)
            && self.chars.contain(c)
        {
            end += len;
            n += 1;
        }
        (n >= self.min).then_some(end)
    }
}

impl Pattern {
    /// Hands out the matches and what lies between them.
    pub(super) fn split<'t>(
        &self,
        text: &'t [u8],
        part: &mut dyn FnMut(&'t [u8]) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        match self {
            Self::Run(run) => split_matches(text, part, |at| run.match_at(text, at)),
            Self::Lines => split_matches(text, part, |at| Some(line_end(text, at))),
            Self::Gpt2 => split_matches(text, part, |at| Some(gpt2_word(text, at))),
            Self::Words(words) => split_matches(text, part, |at| Some(words.end(text, at))),
            Self::DeepSeekV3 => split_matches(text, part, |at| deepseek_v3_word(text, at)),
            Self::TrailingSpace => {
                let (kept, trailing) = text.split_at(trailing_space_start(text));
                non_empty(kept, part)?;
                non_empty(trailing, part)
            }
        }
    }
}

fn non_empty<'t>(
    text: &'t [u8],
    part: &mut dyn FnMut(&'t [u8]) -> Result<(), TokenizerError>,
) -> Result<(), TokenizerError> {
    if text.is_empty() { Ok(()) } else { part(text) }
}

/// Looks for a match at each character and continues behind it.
fn split_matches<'t>(
    text: &'t [u8],
    part: &mut dyn FnMut(&'t [u8]) -> Result<(), TokenizerError>,
    match_at: impl Fn(usize) -> Option<usize>,
) -> Result<(), TokenizerError> {
    let mut gap_start = 0;
    let mut at = 0;
    while let Some((_, len)) = char_at(text, at) {
        match match_at(at) {
            Some(end) => {
                non_empty(&text[gap_start..at], part)?;
                part(&text[at..end])?;
                at = end;
                gap_start = end;
            }
            None => at += len,
        }
    }
    non_empty(&text[gap_start..], part)
}

/// The end of the run of newlines, or of other characters, that begins here.
fn line_end(text: &[u8], start: usize) -> usize {
    let rest = &text[start..];
    let is_newline = rest.first() == Some(&b'\n');
    let len = rest.iter().position(|&byte| (byte == b'\n') != is_newline).unwrap_or(rest.len());
    start + len
}

fn trailing_space_start(text: &[u8]) -> usize {
    let mut at = 0;
    let mut start = 0;
    while let Some((c, len)) = char_at(text, at) {
        at += len;
        if !c.is_whitespace() {
            start = at;
        }
    }
    start
}
