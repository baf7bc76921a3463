//! PLaMo 2's tokenizer: it covers a text with the tokens that have the highest sum of scores, searching from the end to
//! the beginning. Characters without a token become bytes.
//!
//! Source: llama.cpp's `plamo2` tokenizer, whose table of suffixes gives the same tokens at each place as
//! [`Prefixes`] does.

use alloc::vec::Vec;

use super::error::{TokenizerError, push, reserve};
use super::merge::NO_TOKEN;
use super::prefixes::Prefixes;
use super::unicode::char_at;
use super::vocabulary::{TokenKind, Vocabulary};

/// The score of a character without a token. A token with this score marks the end of the list of tokens at a position.
const UNKNOWN_SCORE: i32 = -10_000_000;

/// Tokens with this score or a lower one are never used.
const INVALID_SCORE: i32 = -20_000_000;

/// The cost of a position that cannot be reached.
const NO_WAY: i64 = 1 << 60;

/// The byte order mark, dropped at the beginning of a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// An encoder for PLaMo 2's vocabularies.
#[derive(Debug)]
pub(super) struct Plamo2 {
    tokens: Prefixes,
    /// The token of each byte.
    byte_tokens: [u32; 256],
}

/// The best path from a position to the end of the text.
#[derive(Debug, Clone, Copy)]
struct Best {
    cost: i64,
    /// The first token of the path, or [`NO_TOKEN`] for the bytes of a character.
    id: u32,
    /// Where that token ends.
    end: u32,
}

impl Plamo2 {
    pub(super) fn new(vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        let mut byte_tokens = [NO_TOKEN; 256];
        let is_byte = |id: u32| vocabulary.kind(id) == TokenKind::Byte;
        for id in (0..vocabulary.n_vocab() as u32).filter(|&id| is_byte(id)) {
            if let Some(byte) = vocabulary.byte_of(id) {
                byte_tokens[usize::from(byte)] = id;
            }
        }
        Ok(Self { tokens: Prefixes::of_those(vocabulary.pieces(), &|id| !is_byte(id))?, byte_tokens })
    }

    /// Appends the ids of a text without special tokens.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary<'_>,
        text: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let ways = self.best_ways(vocabulary, text)?;
        let mut at = 0;
        while at < text.len() {
            let Best { id, end, .. } = ways[at];
            let end = end as usize;
            if id != NO_TOKEN {
                push(out, id)?;
            } else {
                for &byte in &text[at..end] {
                    match self.byte_tokens[usize::from(byte)] {
                        NO_TOKEN => return Err(TokenizerError::UnknownByte { byte }),
                        id => push(out, id)?,
                    }
                }
            }
            at = end;
        }
        Ok(())
    }

    /// The best path from each position in a text at which a character begins.
    fn best_ways(&self, vocabulary: &Vocabulary<'_>, text: &[u8]) -> Result<Vec<Best>, TokenizerError> {
        let mut ways = Vec::new();
        reserve(&mut ways, text.len() + 1)?;
        ways.resize(text.len() + 1, Best { cost: NO_WAY, id: NO_TOKEN, end: 0 });
        // Until its path is found, each entry holds the end of its character.
        let mut at = 0;
        while let Some((_, len)) = char_at(text, at) {
            ways[at].end = (at + len) as u32;
            at += len;
        }
        ways[text.len()].cost = 0;

        let mut found: Vec<(usize, u32)> = Vec::new();
        for at in (0..text.len()).rev() {
            let char_end = ways[at].end as usize;
            // A position inside a character.
            if char_end == 0 {
                continue;
            }
            found.clear();
            // There is at most one token of each length, up to the longest token.
            reserve(&mut found, text.len().min(vocabulary.longest_bytes()))?;
            self.tokens.of(vocabulary.pieces(), &text[at..], &mut |len, id| found.push((at + len, id)));
            let tokens = found.iter().rev().map(|&(end, id)| (end, id, fixed_point(vocabulary.score(id))));
            let mut best = ways[at];
            for (end, id, score) in tokens.chain([(char_end, NO_TOKEN, UNKNOWN_SCORE)]) {
                let cost = ways[end].cost - i64::from(score);
                if score > INVALID_SCORE && ways[end].cost != NO_WAY && cost < best.cost {
                    best = Best { cost, id, end: end as u32 };
                }
                if score == UNKNOWN_SCORE {
                    break;
                }
            }
            ways[at] = best;
        }
        Ok(ways)
    }
}

/// A score in units of 1/10000, rounded half away from zero.
fn fixed_point(score: f32) -> i32 {
    if !score.is_finite() {
        return INVALID_SCORE;
    }
    let scaled = f64::from(score) * 1e4;
    // The conversion saturates.
    (scaled + 0.5f64.copysign(scaled)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_rounded_half_away_from_zero() {
        let known = [
            (0.0, 0),
            (-1.0, -10_000),
            (-0.000_061_035_156, -1),
            (-0.000_030_517_578, 0),
            (1.5, 15_000),
            (-1000.0, UNKNOWN_SCORE),
            (f32::INFINITY, INVALID_SCORE),
            (-1e30, i32::MIN),
            (1e30, i32::MAX),
        ];
        for (score, expected) in known {
            assert_eq!(fixed_point(score), expected, "{score}");
        }
    }
}
