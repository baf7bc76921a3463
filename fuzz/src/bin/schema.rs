//! Any text as a JSON schema: an error, or a grammar all of whose texts are JSON, and which accepts what a model may write.
//!
//! The input is the schema, a byte 0, and a text. Where the grammar does not accept the text, what it accepts of it is continued
//! by the first bytes that it allows.
#![no_main]

use std::sync::{Arc, LazyLock};

use grammar::json_schema::Options;
use grammar::{Constraint, Grammar, Limits, Piece, Vocabulary};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { memory_bytes: 1 << 18, n_rollback: 0, steps: 200_000 };

/// A token for each byte, and an end.
static VOCABULARY: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| {
    let bytes: Vec<u8> = (0..=255).collect();
    let piece_of = |token: u32| bytes.get(token as usize..token as usize + 1).map_or(Piece::End, Piece::Text);
    Arc::new(Vocabulary::new(257, &piece_of).expect("few tokens"))
});

fuzz_target!(|input: &[u8]| {
    let (schema, text) = match input.iter().position(|&byte| byte == 0) {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[][..]),
    };
    let Ok(schema) = core::str::from_utf8(schema) else { return };
    let all = Options { formats: true, ..Options::VALID };
    let (valid, generated) =
        match (Grammar::of_json_schema(schema, all), Grammar::of_json_schema(schema, Options::GENERATED)) {
            (Ok(valid), Ok(generated)) => (Arc::new(valid), Arc::new(generated)),
            (valid, generated) => {
                for error in [valid.err(), generated.err()].into_iter().flatten() {
                    assert!(!error.to_string().is_empty());
                }
                return;
            }
        };
    for grammar in [&generated, &valid] {
        let Some(written) = write(grammar, text) else { continue };
        let written = String::from_utf8(written).expect("grammars of schemas are of characters");
        let json = serde_json::from_str::<serde_json::Value>(&written);
        // Numbers may be too large for serde_json, and values too deep.
        if let Err(error) = json {
            assert!(!error.is_eof() && !error.is_io(), "{schema}: {written}: {error}");
        }
        let Some(mut constraint) = constraint(&valid) else { continue };
        match constraint.accept_bytes(written.as_bytes()) {
            Ok(()) => assert!(constraint.can_end(), "{schema}: {written}"),
            Err(error) => {
                assert!(!matches!(error, grammar::ConstraintError::BytesNotAllowed), "{schema}: {written}")
            }
        }
    }
});

fn constraint(grammar: &Arc<Grammar>) -> Option<Constraint> {
    Constraint::new(Arc::clone(grammar), Arc::clone(&VOCABULARY), LIMITS).ok()
}

/// What a grammar accepts of a text, and how that may go on.
fn write(grammar: &Arc<Grammar>, text: &[u8]) -> Option<Vec<u8>> {
    let mut constraint = constraint(grammar)?;
    let mut written = Vec::new();
    for &byte in text {
        let is_allowed = constraint.allowed().ok()?.allows(byte.into());
        assert_eq!(constraint.accept(byte.into()).is_ok(), is_allowed);
        if !is_allowed {
            break;
        }
        written.push(byte);
    }
    while !constraint.can_end() && written.len() < 1024 {
        let next = constraint.allowed().ok()?.tokens().last()?;
        constraint.accept(next).ok()?;
        written.push(next as u8);
    }
    constraint.can_end().then_some(written)
}
