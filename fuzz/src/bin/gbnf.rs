//! Any grammar with any text: an error, or masks that agree with what is accepted, within little memory and few steps.
//!
//! The input is the grammar, a byte 0, and what is done: each byte is a token, or with its highest bit something else.
#![no_main]

use std::sync::{Arc, LazyLock};

use grammar::{Constraint, ConstraintError, Grammar, Limits, Piece, Vocabulary};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { memory_bytes: 0, n_rollback: 5, steps: 4_000 };
const N_VOCAB: u32 = 160;

/// ASCII, longer texts, parts of characters, a text that is there twice, marks, an end.
static VOCABULARY: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| {
    let mut pieces: Vec<Vec<u8>> = (0..128).map(|byte| vec![byte]).collect();
    pieces.extend(
        ["ab", "ab", "a\"", "\"b", "\\n", "é", "日", "aé", "  ", "\n\n", "12", "}{"].map(|text| text.into()),
    );
    pieces.extend([&b"\xC3"[..], b"\xA9a", b"\xE6\x97", b"\xA5", b"\xF0\x9F", b"\x98\x80"].map(Vec::from));
    let piece_of = |token: u32| match pieces.get(token as usize) {
        Some(piece) => Piece::Text(piece),
        None if token + 1 < N_VOCAB => Piece::Mark,
        None => Piece::End,
    };
    Arc::new(Vocabulary::new(N_VOCAB, &piece_of).unwrap())
});

fuzz_target!(|input: &[u8]| {
    let (text, actions) = match input.iter().position(|&byte| byte == 0) {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[][..]),
    };
    let Ok(text) = core::str::from_utf8(text) else { return };
    let grammar = match Grammar::parse(text, &|name| (name == "<think>").then_some(150)) {
        Ok(grammar) => grammar,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    if let Err(error) = drive(grammar, actions) {
        assert!(!error.to_string().is_empty());
    }
});

/// The tokens that may come; none if no token continues the text.
fn allowed(constraint: &mut Constraint) -> Result<Vec<u32>, ConstraintError> {
    match constraint.allowed() {
        Ok(mask) => Ok(mask.tokens().collect()),
        Err(ConstraintError::NothingAllowed) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn drive(grammar: Grammar, actions: &[u8]) -> Result<(), ConstraintError> {
    let mut constraint = Constraint::new(Arc::new(grammar), Arc::clone(&VOCABULARY), LIMITS)?;
    for &action in actions.iter().take(16) {
        let mask = allowed(&mut constraint)?;
        let can_end = constraint.can_end();
        let token = match action {
            0..0x80 => u32::from(action),
            0x80..0x90 => 124 + u32::from(action & 15),
            0x90..0xB0 => 140 + u32::from(action & 31),
            0xB0..0xF0 if mask.is_empty() => return Ok(()),
            0xB0..0xF0 => mask[usize::from(action) % mask.len()],
            0xF0..0xF8 => {
                let _ = constraint.rollback(usize::from(action & 7));
                continue;
            }
            _ => {
                constraint.reset();
                continue;
            }
        };
        match constraint.accept(token) {
            Ok(()) => assert!(mask.binary_search(&token).is_ok(), "{token} was accepted"),
            Err(ConstraintError::NotAllowed { .. }) => {
                assert!(mask.binary_search(&token).is_err(), "{token}")
            }
            Err(error) => return Err(error),
        }
        if mask.binary_search(&token).is_ok() && action & 1 == 0 {
            // What is taken back leaves no trace.
            constraint.rollback(1)?;
            assert_eq!(constraint.can_end(), can_end);
            assert_eq!(allowed(&mut constraint)?, mask);
            constraint.accept(token)?;
        }
    }
    Ok(())
}
