//! Vocabularies and constraints for tests.
#![allow(dead_code)]

use std::sync::Arc;

use grammar::{Constraint, Grammar, Limits, Piece, Vocabulary};

/// The token that ends texts in [`bytes`].
pub const END: u32 = 256;

/// A token for each byte, and an end.
pub fn bytes() -> Arc<Vocabulary> {
    let bytes: Vec<u8> = (0..=255).collect();
    let piece_of = |token: u32| bytes.get(token as usize..token as usize + 1).map_or(Piece::End, Piece::Text);
    Arc::new(Vocabulary::new(END + 1, &piece_of).unwrap())
}

/// Tokens for printable ASCII, marks below 32, and an end.
pub fn marks() -> Arc<Vocabulary> {
    let bytes: Vec<u8> = (0..=126).collect();
    let piece_of = |token: u32| match token {
        0..32 => Piece::Mark,
        32..127 => Piece::Text(&bytes[token as usize..][..1]),
        _ => Piece::End,
    };
    Arc::new(Vocabulary::new(128, &piece_of).unwrap())
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

/// Whether a text keeps to the grammar as a whole.
pub fn keeps_to(constraint: &mut Constraint, text: &str) -> bool {
    constraint.reset();
    constraint.accept_bytes(text.as_bytes()).is_ok() && constraint.can_end()
}

/// The same for a text in which a number in parentheses is a token. What the masks say must agree.
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
