//! Unigram: covers a text with the tokens that have the highest sum of scores.
//!
//! Source: llama.cpp's `t5` tokenizer, which follows SentencePiece's search (Kudo 2018, after Viterbi). The
//! text is normalised first: sequences of the file's [`Charsmap`] are replaced, spaces become `▁`.

use alloc::vec::Vec;

use super::charsmap::Charsmap;
use super::error::{MAX_TEXT_BYTES, TokenizerError, push, reserve};
use super::merge::NO_TOKEN;
use super::prefixes::Prefixes;
use super::roles::UNKNOWN_KEY;
use super::unicode::char_at;
use super::vocabulary::{ESCAPED_SPACE, TokenKind, Vocabulary};
use crate::gguf::Gguf;

/// A character without a token gets the score of the least likely token minus this.
const UNKNOWN_PENALTY: f32 = 10.0;

/// A Unigram encoder.
#[derive(Debug)]
pub(super) struct Unigram<'a> {
    charsmap: Option<Charsmap<'a>>,
    /// Whether a space is added before the first word of a text.
    add_space_prefix: bool,
    /// Whether all white space before a word is merged into one space.
    merge_spaces: bool,
    /// The tokens that may cover a text.
    tokens: Prefixes,
    /// Tokens whose text is not normalised.
    user_defined: Prefixes,
    /// The score of a character without a token.
    unknown_score: f32,
}

/// The best way to cover a text up to a position.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    /// Its last token.
    id: u32,
    /// Where that token begins.
    start: u32,
}

impl<'a> Unigram<'a> {
    pub(super) fn from_gguf(gguf: &Gguf<'a>, vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        use TokenKind::{Normal, Unused, UserDefined};
        let pieces = vocabulary.pieces();
        let is = |id: u32, kind: TokenKind| vocabulary.kind(id) == kind;
        let normal = (0..vocabulary.n_vocab() as u32).filter(|&id| is(id, Normal));
        let lowest = normal.map(|id| vocabulary.score(id)).fold(f32::MAX, f32::min);
        Ok(Self {
            charsmap: Charsmap::from_gguf(gguf)?,
            add_space_prefix: gguf.bool_value("tokenizer.ggml.add_space_prefix")?.unwrap_or(false),
            merge_spaces: gguf.bool_value("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
            tokens: Prefixes::of_those(pieces, &|id| {
                matches!(vocabulary.kind(id), Normal | UserDefined | Unused)
            })?,
            user_defined: Prefixes::of_those(pieces, &|id| is(id, UserDefined))?,
            unknown_score: lowest - UNKNOWN_PENALTY,
        })
    }

    /// Whether encoding adds a space before a text that does not begin with one.
    pub(super) fn prefixes_space(&self) -> bool {
        self.add_space_prefix || self.merge_spaces
    }

    /// Appends the ids of a text without special tokens. `unknown` stands for text that no token covers.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary<'_>,
        unknown: Option<u32>,
        text: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let text = self.normalised(vocabulary, text)?;
        let unknown = unknown.unwrap_or(NO_TOKEN);
        let before = out.len();
        let ways = self.best_ways(vocabulary, unknown, &text)?;
        let mut place = text.len();
        let mut behind_unknown = false;
        while place > 0 {
            let Best { id, start, .. } = ways[place];
            // Consecutive characters without a token become one unknown token.
            if id != unknown || !behind_unknown {
                if id == NO_TOKEN {
                    return Err(TokenizerError::MissingToken { key: UNKNOWN_KEY });
                }
                push(out, id)?;
            }
            behind_unknown = id == unknown;
            place = start as usize;
        }
        out[before..].reverse();
        Ok(())
    }

    /// The best way to each position in a text at which a character or a token ends.
    fn best_ways(
        &self,
        vocabulary: &Vocabulary<'_>,
        unknown: u32,
        text: &[u8],
    ) -> Result<Vec<Best>, TokenizerError> {
        let mut ways = Vec::new();
        reserve(&mut ways, text.len() + 1)?;
        ways.resize(text.len() + 1, Best { score: f64::MIN, id: unknown, start: 0 });
        ways[0].score = 0.0;
        let pieces = vocabulary.pieces();
        let mut at = 0;
        while let Some(&first) = text.get(at) {
            let char_end = (at + announced_len(first)).min(text.len());
            let so_far = ways[at].score;
            let mut step = |end: usize, id, score| {
                let score = so_far + score;
                if score > ways[end].score {
                    ways[end] = Best { score, id, start: at as u32 };
                }
            };
            let mut covers_char = false;
            self.tokens.of(pieces, &text[at..], &mut |len, id| {
                covers_char |= at + len == char_end;
                let certain = vocabulary.kind(id) == TokenKind::UserDefined;
                step(at + len, id, if certain { 0.0 } else { f64::from(vocabulary.score(id)) });
            });
            if !covers_char {
                step(char_end, unknown, f64::from(self.unknown_score));
            }
            at = char_end;
        }
        Ok(ways)
    }

    /// The normalised text, which is then cut into tokens.
    fn normalised(&self, vocabulary: &Vocabulary<'_>, text: &[u8]) -> Result<Vec<u8>, TokenizerError> {
        let mut out = Vec::new();
        reserve(&mut out, text.len().saturating_mul(2))?;
        let mut prefix = self.add_space_prefix;
        let mut in_word = false;
        let mut at = 0;
        while at < text.len() {
            let (len, replacement) = self.replaced(vocabulary, &text[at..])?;
            at += len;
            if out.len() > MAX_TEXT_BYTES {
                return Err(TokenizerError::TextTooLong { len_bytes: out.len() });
            }
            for &byte in replacement {
                let is_space = byte == b' ';
                let begins_word = !core::mem::replace(&mut in_word, !is_space) && !is_space;
                if begins_word && (prefix || self.merge_spaces) || is_space && !self.merge_spaces {
                    reserve(&mut out, ESCAPED_SPACE.len())?;
                    out.extend_from_slice(ESCAPED_SPACE);
                }
                if begins_word {
                    prefix = false;
                }
                if !is_space {
                    push(&mut out, byte)?;
                }
            }
        }
        Ok(out)
    }

    /// The beginning of a text that is normalised in one step: its length and its replacement. The text must not be
    /// empty.
    fn replaced<'t>(
        &self,
        vocabulary: &Vocabulary<'_>,
        text: &'t [u8],
    ) -> Result<(usize, &'t [u8]), TokenizerError>
    where
        'a: 't,
    {
        // As in the reference, the beginning of a user-defined token is enough.
        let kept = self.user_defined.of(vocabulary.pieces(), text, &mut |_, _| {});
        if kept > 0 {
            return Ok((kept, &text[..kept]));
        }
        if let Some(charsmap) = &self.charsmap
            && let Some(replaced) = charsmap.longest(text)?
        {
            return Ok(replaced);
        }
        Ok(match char_at(text, 0) {
            Some((char::REPLACEMENT_CHARACTER, len)) => (len, "\u{fffd}".as_bytes()),
            Some((_, len)) => (len, &text[..len]),
            None => (text.len(), text),
        })
    }
}

/// The length of a UTF-8 character by its first byte. A byte that begins no character counts as one character.
fn announced_len(first: u8) -> usize {
    match first {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
        _ => 1,
    }
}
