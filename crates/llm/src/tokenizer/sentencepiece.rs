//! SentencePiece-style encoding: characters are joined in the order of the resulting tokens' scores, the highest first.
//! Characters without a token become bytes.

use alloc::vec::Vec;

use super::error::{TokenizerError, push};
use super::merge::{Joint, Merger, NO_TOKEN};
use super::vocabulary::{Vocabulary, append_escaped};

/// A SentencePiece-style encoder.
#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Whether a space is added before a text, and before the text after a special token.
    pub(super) add_space_prefix: bool,
    /// The token of each byte.
    byte_tokens: [u32; 256],
}

impl SentencePiece {
    pub(super) fn new(vocabulary: &Vocabulary<'_>, add_space_prefix: bool) -> Self {
        let mut byte_tokens = vocabulary.byte_tokens();
        for (byte, id) in (0..=u8::MAX).zip(&mut byte_tokens) {
            if *id == NO_TOKEN {
                *id = vocabulary.id_of(&[byte]).unwrap_or(NO_TOKEN);
            }
        }
        Self { add_space_prefix, byte_tokens }
    }

    /// Appends the ids of a text without special tokens.
    ///
    /// `first` says that the text begins the input or follows a special token; `unknown` stands for a byte without a
    /// token.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary<'_>,
        unknown: Option<u32>,
        text: &[u8],
        first: bool,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut escaped = Vec::new();
        if first && self.add_space_prefix {
            append_escaped(b" ", &mut escaped)?;
        }
        append_escaped(text, &mut escaped)?;
        let mut merger = Merger::default();
        let mut rest = escaped.as_slice();
        while !rest.is_empty() {
            // No ids at first: joined texts are looked up by their text, and a single character's token is needed only
            // at the end.
            let part = merger.fill(vocabulary, rest, |_| NO_TOKEN)?;
            merger.merge(part.len(), |left, _, end| {
                let id = vocabulary.id_of(&part[left.start as usize..end])?;
                Some(Joint { priority: descending(vocabulary.score(id)), id })
            })?;
            for (symbol, end) in merger.symbols(part.len()) {
                match symbol.id {
                    NO_TOKEN => {
                        self.push_char(vocabulary, unknown, &part[symbol.start as usize..end], out)?;
                    }
                    id => push(out, id)?,
                }
            }
            rest = &rest[part.len()..];
        }
        Ok(())
    }

    /// Appends the ids of a character that was not joined.
    fn push_char(
        &self,
        vocabulary: &Vocabulary<'_>,
        unknown: Option<u32>,
        char_bytes: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if let Some(id) = vocabulary.id_of(char_bytes) {
            return push(out, id);
        }
        for &byte in char_bytes {
            let id = match self.byte_tokens[usize::from(byte)] {
                NO_TOKEN => unknown.ok_or(TokenizerError::UnknownByte { byte })?,
                id => id,
            };
            push(out, id)?;
        }
        Ok(())
    }
}

/// A number that is smaller for a higher score, and never `u32::MAX`.
fn descending(score: f32) -> u32 {
    // Adding zero turns -0 into +0; a score is never NaN.
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
}
