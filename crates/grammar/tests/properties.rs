//! Properties of all grammars, vocabularies and texts.

mod common;

use std::sync::Arc;

use common::{byte_fallback, byte_level, bytes};
use grammar::{Constraint, ConstraintError, Grammar, GrammarError, Limits, Vocabulary};
use proptest::prelude::*;

/// The error of a constraint for which there is no memory.
const TOO_MANY: ConstraintError = ConstraintError::TooManyStates { memory_bytes: 0 };

/// An expression in GBNF.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "\"a\"", "\"b\"", "\"ab\"", "\"é\"", "\"日\"", "\"\"", "\" \"", "\"\\\"\"", "\",\""
        ]),
        prop::sample::select(vec!["[ab]", "[^b]", "[^\"\\\\\\n]", ".", "[a-zé]", "[日本]"]),
        prop::sample::select(vec!["\"a\" one", "\",\" two", "[b ] root"]),
        prop::sample::select(vec!["<[97]>", "!<[98]>", "<[260]>", "!<[270]>", "<[1]>"]),
    ]
    .prop_map(String::from);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let counts =
            prop::sample::select(vec!["*", "+", "?", "{2}", "{0,3}", "{2,}", "{3,500}", "{0,70000}"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.join(" ")),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join(" | "))),
            (inner, counts).prop_map(|(of, count)| format!("({of}){count}")),
        ]
    })
}

fn grammar() -> impl Strategy<Value = String> {
    (expression(), expression(), expression())
        .prop_map(|(root, one, two)| format!("root ::= {root}\none ::= {one}\ntwo ::= {two}"))
}

fn vocabularies() -> [Arc<Vocabulary>; 3] {
    [bytes(), byte_level(), byte_fallback()]
}

/// A grammar; `None` if it is refused for an allowed reason.
fn parsed(text: &str) -> Option<Arc<Grammar>> {
    match Grammar::parse(text, &|_| None) {
        Ok(grammar) => Some(Arc::new(grammar)),
        Err(GrammarError::MatchesNothing { .. }) => None,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// A constraint; `None` if the vocabulary lacks a token that the grammar refers to.
fn constrained(
    grammar: &Arc<Grammar>,
    vocabulary: Arc<Vocabulary>,
    memory_bytes: usize,
) -> Option<Constraint> {
    let limits = Limits { memory_bytes, n_rollback: 8, ..Limits::default() };
    match Constraint::new(Arc::clone(grammar), vocabulary, limits) {
        Ok(constraint) => Some(constraint),
        Err(ConstraintError::NoSuchToken { .. } | ConstraintError::TooManyStates { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn allowed(constraint: &mut Constraint) -> Vec<u32> {
    match constraint.allowed() {
        Ok(mask) => mask.tokens().collect(),
        Err(ConstraintError::NothingAllowed) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mask_holds_the_tokens_that_are_accepted(text in grammar(), choices in prop::collection::vec(any::<u32>(), 12)) {
        let Some(grammar) = parsed(&text) else { return Ok(()) };
        for vocabulary in vocabularies() {
            let Some(mut constraint) = constrained(&grammar, Arc::clone(&vocabulary), 1 << 21) else { continue };
            for &choice in &choices {
                let mask = allowed(&mut constraint);
                let can_end = constraint.can_end();
                for token in 0..vocabulary.n_vocab() + 1 {
                    let accepted = constraint.accept(token).is_ok();
                    prop_assert_eq!(mask.binary_search(&token).is_ok(), accepted, "token {}", token);
                    if accepted {
                        constraint.rollback(1).unwrap();
                    }
                }
                prop_assert_eq!(can_end, constraint.can_end());
                prop_assert_eq!(&mask, &allowed(&mut constraint));
                if mask.is_empty() {
                    break;
                }
                constraint.accept(mask[choice as usize % mask.len()]).unwrap();
            }
        }
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace(text in grammar(), choices in prop::collection::vec(any::<u32>(), 12)) {
        let Some(grammar) = parsed(&text) else { return Ok(()) };
        let Some(mut constraint) = constrained(&grammar, byte_level(), 1 << 21) else { return Ok(()) };
        let mut before = Vec::new();
        for &choice in &choices {
            let mask = allowed(&mut constraint);
            if mask.is_empty() {
                break;
            }
            constraint.accept(mask[choice as usize % mask.len()]).unwrap();
            before.push(mask);
        }
        let n_kept = before.len().min(8);
        if before.len() > 8 {
            let error = ConstraintError::RollbackTooLong { n_tokens: before.len(), n_kept: 8 };
            prop_assert_eq!(constraint.rollback(before.len()), Err(error));
        }
        for mask in before.iter().rev().take(n_kept) {
            constraint.rollback(1).unwrap();
            prop_assert_eq!(mask, &allowed(&mut constraint));
        }
    }

    #[test]
    fn little_memory_changes_nothing_but_errors(text in grammar(), choices in prop::collection::vec(any::<u32>(), 40)) {
        let Some(grammar) = parsed(&text) else { return Ok(()) };
        let Some(mut much) = constrained(&grammar, byte_level(), 1 << 22) else { return Ok(()) };
        let Some(mut little) = constrained(&grammar, byte_level(), 0) else { return Ok(()) };
        for &choice in &choices {
            let mask = allowed(&mut much);
            match little.allowed() {
                Ok(found) => prop_assert_eq!(found.tokens().collect::<Vec<_>>(), mask.clone()),
                Err(ConstraintError::NothingAllowed) => prop_assert!(mask.is_empty()),
                Err(error) => {
                    prop_assert_eq!(error, TOO_MANY);
                    break;
                }
            }
            if mask.is_empty() {
                break;
            }
            let token = mask[choice as usize % mask.len()];
            much.accept(token).unwrap();
            match little.accept(token) {
                Ok(()) => prop_assert_eq!(much.can_end(), little.can_end()),
                Err(error) => {
                    prop_assert_eq!(error, TOO_MANY);
                    break;
                }
            }
        }
    }

    /// Single bytes continue any text. So there is always a token that may come next, and a token is accepted as its bytes are.
    #[test]
    fn texts_never_end_where_they_may_not(choices in prop::collection::vec(any::<u32>(), 200), text in grammar()) {
        let text = text.replace("<[97]>", "\"x\"").replace("!<[98]>", ".").replace("<[260]>", "\"y\"");
        let text = text.replace("!<[270]>", "[xy]").replace("<[1]>", "\"z\"").replace("!\"", "\"").replace("!.", ".");
        let Some(grammar) = parsed(&text) else { return Ok(()) };
        for vocabulary in vocabularies() {
            let end = vocabulary.n_vocab() - 1;
            let mut constraint = constrained(&grammar, Arc::clone(&vocabulary), 1 << 22).unwrap();
            let mut other = constrained(&grammar, Arc::clone(&vocabulary), 1 << 22).unwrap();
            let mut text = Vec::new();
            for &choice in &choices {
                let mask = allowed(&mut constraint);
                prop_assert!(!mask.is_empty(), "after {:?}", String::from_utf8_lossy(&text));
                prop_assert_eq!(constraint.can_end(), mask.contains(&end));
                prop_assert_eq!(constraint.must_end(), mask == [end]);
                let token = mask[choice as usize % mask.len()];
                if token == end {
                    prop_assert!(std::str::from_utf8(&text).is_ok());
                    break;
                }
                constraint.accept(token).unwrap();
                text.extend_from_slice(vocabulary.bytes(token));
                other.accept_bytes(vocabulary.bytes(token)).unwrap();
                prop_assert_eq!(constraint.can_end(), other.can_end());
            }
        }
    }
}
