//! The regular expressions of the families, as data.

use super::words::{Newlines, Words, deepseek_v3_word, gpt2_word};
use crate::tokenizer::error::TokenizerError;
use crate::tokenizer::unicode::{Class, char_at};

/// One regular expression.
#[derive(Debug)]
pub(super) enum Pattern {
    /// A run of characters.
    Run(Run),
    /// The first of these that matches.
    FirstOf(&'static [Run]),
    /// A run between two texts. These neither begin nor end with a character of the run.
    Between(&'static str, Run, &'static str),
    /// `\p{N}` in groups of three, counted from the end of the run. As in the reference, the text before a run is part
    /// of its first word.
    NumbersFromTheRight,
    /// `(?=(\d{3})+(?!\d))`: the positions before each group of three digits, counted from the end of the run.
    DigitGroups,
    /// `\s+$`
    TrailingSpace,
    /// `[^\n]+|[\n]+`
    Lines,
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// The expressions that grew out of GPT-4's.
    Words(Words),
    /// The third expression of DeepSeek-V3.
    DeepSeekV3(Newlines),
}

/// `lead? class{min,max}`
#[derive(Debug)]
pub(super) struct Run {
    /// The optional character before the run.
    pub(super) lead: Lead,
    pub(super) chars: Chars,
    pub(super) min: usize,
    pub(super) max: usize,
}

/// The optional character before a run.
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
    /// All characters except white space and these.
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
                ranges.iter().any(|&(first, last)| (first..=last).contains(&c))
                    && (c.is_ascii() || !c.is_whitespace())
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
    /// Passes on the matches and the text between them.
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
            Self::DeepSeekV3(newlines) => {
                split_matches(text, part, |at| deepseek_v3_word(text, at, *newlines))
            }
            Self::FirstOf(runs) => {
                split_matches(text, part, |at| runs.iter().find_map(|run| run.match_at(text, at)))
            }
            Self::Between(open, run, close) => split_matches(text, part, |at| {
                let begin = text[at..].starts_with(open.as_bytes()).then_some(at + open.len())?;
                let end = run.match_at(text, begin)?;
                text[end..].starts_with(close.as_bytes()).then_some(end + close.len())
            }),
            Self::NumbersFromTheRight => split_by_three(
                text,
                part,
                Numbers { digit: |c| Class::of(c).is(Class::NUMBER), apart: false },
            ),
            Self::DigitGroups => {
                split_by_three(text, part, Numbers { digit: |c| c.is_ascii_digit(), apart: true })
            }
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

/// Searches for a match at each character and continues after it.
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

/// How numbers are cut into groups of three.
struct Numbers {
    digit: fn(char) -> bool,
    /// Whether a run is separated from the text before it if its number of digits is a multiple of three.
    apart: bool,
}

/// Cuts runs of digits into groups of three, counted from their ends.
fn split_by_three<'t>(
    text: &'t [u8],
    part: &mut dyn FnMut(&'t [u8]) -> Result<(), TokenizerError>,
    numbers: Numbers,
) -> Result<(), TokenizerError> {
    let digit_end =
        |at: usize| char_at(text, at).filter(|&(c, _)| (numbers.digit)(c)).map(|(_, len)| at + len);
    let mut part_start = 0;
    let mut at = 0;
    while let Some((_, len)) = char_at(text, at) {
        let mut n = core::iter::successors(digit_end(at), |&end| digit_end(end)).count();
        if n == 0 {
            at += len;
            continue;
        }
        let mut cut_before = numbers.apart;
        while let Some(end) = digit_end(at) {
            if n.is_multiple_of(3) && cut_before {
                non_empty(&text[part_start..at], part)?;
                part_start = at;
            }
            cut_before = true;
            n -= 1;
            at = end;
        }
        if !numbers.apart {
            part(&text[part_start..at])?;
            part_start = at;
        }
    }
    non_empty(&text[part_start..], part)
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
