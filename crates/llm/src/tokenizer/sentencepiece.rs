//! SentencePiece-style encoding: characters joined by the scores of the tokens that come of it, the
//! highest first; characters that are no token become bytes.

use alloc::vec::Vec;

use super::error::{TokenizerError, push, reserve};
use super::merge::{Joint, Merger, NO_TOKEN};
use super::vocabulary::{ESCAPED_SPACE, Vocabulary};

/// A SentencePiece-style encoder.
#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Whether a space goes in front of a text, and of a text behind a special token.
    pub(super) add_space_prefix: bool,
    /// The token of each byte.
    byte_tokens: [u32; 256],
    /// Stands for a byte without a token.
    unknown: Option<u32>,
    /// No token has a space behind another character, so that words can be encoded one by one.
    spaces_only_lead: bool,
}

impl SentencePiece {
    pub(super) fn new(vocabulary: &Vocabulary<'_>, add_space_prefix: bool, unknown: Option<u32>) -> Self {
        let mut byte_tokens = vocabulary.byte_tokens();
        for (byte, id) in (0..=u8::MAX).zip(&mut byte_tokens) {
            if *id == NO_TOKEN {
                *id = vocabulary.id_of(&[byte]).unwrap_or(NO_TOKEN);
            }
        }
        Self {
            add_space_prefix,
            byte_tokens,
            unknown,
            spaces_only_lead: (0..vocabulary.n_vocab() as u32)
                .all(|id| spaces_only_lead(vocabulary.piece(id))),
        }
    }

    /// Appends the ids of a text without special tokens.
    ///
    /// `first` says that it begins the input or stands behind a special token.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary<'_>,
        text: &[u8],
        first: bool,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut merger = Merger::default();
        let mut word = Vec::new();
        reserve(&mut word, 4 * ESCAPED_SPACE.len())?;
        if first && self.add_space_prefix {
            self.push_char(ESCAPED_SPACE, &mut merger, &mut word)?;
        }
        let mut in_spaces = true;
        let mut rest = text;
        while !rest.is_empty() {
            let (char_bytes, behind) = rest.split_at(char_len(rest));
            rest = behind;
            let char_bytes = if char_bytes == b" " { ESCAPED_SPACE } else { char_bytes };
            let is_space = char_bytes == ESCAPED_SPACE;
            if is_space && !in_spaces && self.spaces_only_lead {
                self.encode_word(vocabulary, &word, &mut merger, out)?;
                word.clear();
                merger.clear();
            }
            in_spaces = is_space;
            self.push_char(char_bytes, &mut merger, &mut word)?;
        }
        self.encode_word(vocabulary, &word, &mut merger, out)
    }

    fn push_char(
        &self,
        char_bytes: &[u8],
        merger: &mut Merger,
        word: &mut Vec<u8>,
    ) -> Result<(), TokenizerError> {
        merger.push(word.len(), NO_TOKEN)?;
        reserve(word, char_bytes.len())?;
        word.extend_from_slice(char_bytes);
        Ok(())
    }

    /// Joins the symbols of a word and appends their ids.
    fn encode_word(
        &self,
        vocabulary: &Vocabulary<'_>,
        word: &[u8],
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        merger.merge(word.len(), |left, _, end| {
            let id = vocabulary.id_of(&word[left.start as usize..end])?;
            Some(Joint { priority: descending(vocabulary.score(id)), id })
        })?;
        for (symbol, end) in merger.symbols(word.len()) {
            let text = &word[symbol.start as usize..end];
            if symbol.id != NO_TOKEN {
                push(out, symbol.id)?;
            } else if let Some(id) = vocabulary.id_of(text) {
                push(out, id)?;
            } else {
                for &byte in text {
                    let id = match self.byte_tokens[usize::from(byte)] {
                        NO_TOKEN => self.unknown.ok_or(TokenizerError::UnknownByte { byte })?,
                        id => id,
                    };
                    push(out, id)?;
                }
            }
        }
        Ok(())
    }
}

/// The bytes of the first character of a text, judged by its first byte alone.
fn char_len(text: &[u8]) -> usize {
    let len = match text.first() {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..) => 4,
        _ => 1,
    };
    len.min(text.len())
}

/// Whether no space of the piece stands behind another character.
fn spaces_only_lead(piece: &[u8]) -> bool {
    let mut rest = piece;
    while let Some(behind) = rest.strip_prefix(ESCAPED_SPACE) {
        rest = behind;
    }
    !rest.windows(ESCAPED_SPACE.len()).any(|window| window == ESCAPED_SPACE)
}

/// A number that is smaller for a higher score, and never `u32::MAX`.
fn descending(score: f32) -> u32 {
    // Adding zero makes one of the two zeros; a score is never NaN.
    let bits = (score + 0.0).to_bits();
    // Floats order like sign and magnitude.
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_come_first() {
        let scores = [f32::INFINITY, 1e9, 1.0, 1e-40, 0.0, -1e-40, -1.0, -1e9, f32::NEG_INFINITY];
        for pair in scores.windows(2) {
            assert!(descending(pair[0]) < descending(pair[1]), "{pair:?}");
        }
        assert_eq!(descending(0.0), descending(-0.0));
        assert!(descending(f32::NEG_INFINITY) < u32::MAX);
    }

    #[test]
    fn pieces_with_inner_spaces_are_told() {
        for piece in ["", "▁", "▁▁▁", "▁a", "ab", "▁▁ab"] {
            assert!(spaces_only_lead(piece.as_bytes()), "{piece}");
        }
        for piece in ["a▁", "▁a▁", "a▁b", "▁▁a▁▁"] {
            assert!(!spaces_only_lead(piece.as_bytes()), "{piece}");
        }
    }
}
