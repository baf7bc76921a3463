//! WordPiece, the tokenizer of BERT: the text is cut into words at white space and punctuation, and each word is
//! covered from its beginning by the longest possible pieces.
//!
//! Source: llama.cpp's `bert` tokenizer. A piece that begins a word begins with `▁` in the file.

use alloc::vec::Vec;

use unicode_normalization::char::decompose_canonical;

use super::error::{TokenizerError, push, reserve};
use super::prefixes::Prefixes;
use super::roles::UNKNOWN_KEY;
use super::unicode::{Class, char_at, lower};
use super::vocabulary::{ESCAPED_SPACE, Vocabulary};

/// A WordPiece encoder.
#[derive(Debug)]
pub(super) struct WordPiece {
    /// The pieces that may cover a word.
    pub(super) tokens: Prefixes,
    /// Whether upper case is converted to lower case.
    pub(super) lowercase: bool,
    /// Whether accents are dropped.
    pub(super) strip_accents: bool,
}

impl WordPiece {
    /// Appends the ids of a text without special tokens. `unknown` stands for a word that the vocabulary
    /// cannot spell.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary<'_>,
        unknown: Option<u32>,
        text: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut word = Vec::new();
        reserve(&mut word, 4 * ESCAPED_SPACE.len())?;
        let mut at = 0;
        while let Some((c, len)) = char_at(text, at) {
            at += len;
            let c = if self.strip_accents { base_char(c) } else { c };
            let class = Class::of(c);
            if class.is(Class::SPACE) {
                self.finish_word(vocabulary, unknown, &mut word, out)?;
                continue;
            }
            if c == char::REPLACEMENT_CHARACTER
                || class.is(Class::CONTROL)
                || self.strip_accents && class.is(Class::MARK)
            {
                continue;
            }
            let alone =
                class.is(Class::PUNCTUATION) || class.is(Class::SYMBOL) && c.is_ascii() || is_ideograph(c);
            if alone {
                self.finish_word(vocabulary, unknown, &mut word, out)?;
            }
            push_char(if self.lowercase { lower(c) } else { c }, &mut word)?;
            if alone {
                self.finish_word(vocabulary, unknown, &mut word, out)?;
            }
        }
        self.finish_word(vocabulary, unknown, &mut word, out)
    }

    /// Appends the ids of a word that begins with `▁`, and empties it.
    fn finish_word(
        &self,
        vocabulary: &Vocabulary<'_>,
        unknown: Option<u32>,
        word: &mut Vec<u8>,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if word.is_empty() {
            return Ok(());
        }
        let before = out.len();
        let mut start = 0;
        while start < word.len() {
            let Some((len, id)) = self.tokens.longest(vocabulary.pieces(), &word[start..]) else {
                out.truncate(before);
                push(out, unknown.ok_or(TokenizerError::MissingToken { key: UNKNOWN_KEY })?)?;
                break;
            };
            push(out, id)?;
            start += len;
        }
        word.clear();
        Ok(())
    }
}

/// Appends a character to a word, which begins with `▁`.
fn push_char(c: char, word: &mut Vec<u8>) -> Result<(), TokenizerError> {
    let mut utf8 = [0; 4];
    let utf8 = c.encode_utf8(&mut utf8).as_bytes();
    reserve(word, ESCAPED_SPACE.len() + utf8.len())?;
    if word.is_empty() {
        word.extend_from_slice(ESCAPED_SPACE);
    }
    word.extend_from_slice(utf8);
    Ok(())
}

/// The first character of the canonical decomposition.
///
/// The reference keeps only this one, so Hangul syllables lose all letters but the first.
fn base_char(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    let mut first = None;
    decompose_canonical(c, |part| {
        first.get_or_insert(part);
    });
    first.unwrap_or(c)
}

/// The blocks of Chinese characters that BERT treats as separate words. Extension E begins where the published
/// tokenizer says, which differs from Unicode.
fn is_ideograph(c: char) -> bool {
    matches!(
        u32::from(c),
        0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xf900..=0xfaff
            | 0x20000..=0x2a6df
            | 0x2a700..=0x2b81f
            | 0x2b920..=0x2ceaf
            | 0x2f800..=0x2fa1f
    )
}
