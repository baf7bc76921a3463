//! Vocabularies and constraints for tests.
#![allow(dead_code, reason = "no test needs all of them")]

use std::sync::Arc;

use grammar::{Constraint, Grammar, Limits, Piece, Vocabulary};

/// The token in [`bytes`] that ends texts.
pub const END: u32 = 256;

/// A vocabulary of these texts, followed by a token that ends texts. Empty texts are control tokens.
pub fn vocabulary(pieces: &[Vec<u8>]) -> Arc<Vocabulary> {
    let piece_of = |token: u32| match pieces.get(token as usize) {
        None => Piece::End,
        Some(piece) if piece.is_empty() => Piece::Mark,
        Some(piece) => Piece::Text(piece),
    };
    Arc::new(Vocabulary::new(pieces.len() as u32 + 1, &piece_of).unwrap())
}

/// A token for each byte, and one that ends texts.
pub fn bytes() -> Arc<Vocabulary> {
    vocabulary(&all_bytes())
}

fn all_bytes() -> Vec<Vec<u8>> {
    (0..=255).map(|byte| vec![byte]).collect()
}

/// Tokens like those of byte-level BPE: all bytes, then longer ones, some of which begin or end inside a character.
pub fn byte_level() -> Arc<Vocabulary> {
    let mut pieces = all_bytes();
    let long = [
        "ab", "ba", "aab", "bb", " a", "\"a", "a\"", "é", "aé", "éa", "日", "日本", "\\n", "\n\n", ", ",
        "\"}", "a,b",
    ];
    pieces.extend(long.map(|text| text.as_bytes().to_vec()));
    pieces.extend([b"a\xC3".to_vec(), b"\xA9b".to_vec(), b"\xE6\x97".to_vec(), b"\xA5\xE6\x9C".to_vec()]);
    // Two marks, and a text that is there twice.
    pieces.extend([vec![], vec![], b"ab".to_vec()]);
    vocabulary(&pieces)
}

/// Tokens like those of SentencePiece: control tokens, single bytes, then texts, among which single characters appear once
/// more.
pub fn byte_fallback() -> Arc<Vocabulary> {
    let mut pieces = vec![vec![], vec![]];
    pieces.extend(all_bytes());
    let texts =
        ["a", "b", ",", "é", "日", " a", " ab", "abab", "b,", "\"", "\"a", "aa", "本", "日本", "é,", " "];
    pieces.extend(texts.map(|text| text.as_bytes().to_vec()));
    vocabulary(&pieces)
}

/// Tokens for printable ASCII, control tokens below 32, and one that ends texts.
pub fn marks() -> Arc<Vocabulary> {
    vocabulary(&(0..127).map(|byte| if byte < 32 { vec![] } else { vec![byte] }).collect::<Vec<_>>())
}

pub fn parse(grammar: &str) -> Arc<Grammar> {
    let token_of = |name: &str| (name == "<think>").then_some(7);
    Arc::new(Grammar::parse(grammar, &token_of).unwrap_or_else(|error| panic!("{error}\n{grammar}")))
}

pub fn constraint_of(grammar: Arc<Grammar>, vocabulary: Arc<Vocabulary>) -> Constraint {
    Constraint::new(grammar, vocabulary, Limits::default()).unwrap()
}

/// A constraint on single bytes.
pub fn constraint(grammar: &str) -> Constraint {
    constraint_of(parse(grammar), bytes())
}

/// Whether the whole text is in the language of the grammar.
pub fn keeps_to(constraint: &mut Constraint, text: &str) -> bool {
    constraint.reset();
    constraint.accept_bytes(text.as_bytes()).is_ok() && constraint.can_end()
}

/// The same for a text in which a number in parentheses is a token. The masks must give the same answer.
pub fn keeps_to_with_tokens(constraint: &mut Constraint, text: &str) -> bool {
    constraint.reset();
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((number, after)) => {
                tokens.push(number.parse().unwrap());
                rest = after;
            }
            None => {
                tokens.push(u32::from(first));
                rest = &rest[1..];
            }
        }
    }
    for token in tokens {
        let is_allowed = constraint.allowed().is_ok_and(|mask| mask.allows(token));
        assert_eq!(constraint.accept(token).is_ok(), is_allowed);
        if !is_allowed {
            return false;
        }
    }
    constraint.can_end()
}
