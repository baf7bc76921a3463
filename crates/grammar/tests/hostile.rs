//! Grammars that could take much time or memory are refused, or take little. The tests count steps and measure no time.

mod common;

use std::sync::Arc;

use common::{byte_level, bytes, constraint_of, keeps_to, parse};
use grammar::{Constraint, ConstraintError, Grammar, GrammarError, Limits};

fn error(text: &str) -> GrammarError {
    Grammar::parse(text, &|_| None).unwrap_err()
}

/// Reads `text` `n` times, with a mask before each time and this many steps for each; returns the error, if there is one.
fn drive(grammar: &str, text: &str, n: usize, steps: u64) -> Result<Constraint, ConstraintError> {
    let limits = Limits { steps, ..Limits::default() };
    let mut constraint = Constraint::new(parse(grammar), byte_level(), limits)?;
    for _ in 0..n {
        constraint.allowed()?;
        constraint.accept_bytes(text.as_bytes())?;
    }
    Ok(constraint)
}

#[test]
fn large_counts_take_no_memory() {
    let small = parse("root ::= \"a\"{0,10}");
    let large = parse("root ::= ((\"a\"{0,100000} \"b\"){7,1000000} [c-é]{9999999}){0,4000000000}");
    assert!(large.len() < small.len() + 30 && large.bytes() < small.bytes() + 2000, "{}", large.bytes());
    let mut constraint = constraint_of(parse("root ::= \"a\"{3,100000} \"b\""), bytes());
    assert!(keeps_to(&mut constraint, &("a".repeat(100_000) + "b")));
    assert!(!keeps_to(&mut constraint, &("a".repeat(100_001) + "b")));
    assert!(!keeps_to(&mut constraint, "aab"));
}

/// In each of these, the number of readings grows exponentially with the text.
#[test]
fn ambiguity_takes_no_more_than_its_readings_differ_in() {
    let grammars = [
        ("root ::= (\"a\" | \"a\" \"a\" | \"aa\" \"a\")* \"b\"", 200),
        ("root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"", 200),
        ("root ::= s \"b\"\ns ::= \"a\" | \"a\" s | \"a\" s s", 60),
        ("root ::= ((\"a\"{0,1000}){0,1000}){0,1000}", 100),
        ("root ::= ((\"a\"?){0,1000000}){1000000} \"b\"", 100),
        ("root ::= (\"a\"* \"a\"* \"a\"* \"a\"*)* \"b\"", 100),
        ("root ::= x{0,9}\nx ::= \"a\" | y\ny ::= \"a\" z | \"a\"\nz ::= \"a\" | \"a\" y", 20),
    ];
    for (grammar, n) in grammars {
        assert!(drive(grammar, "a", n, 20_000).is_ok(), "{grammar}");
    }
}

#[test]
fn what_is_beyond_the_limits_is_refused() {
    // All counts from n/2 to n are different, and all of them matter.
    let many = "root ::= (\"a\" | \"aa\"){30000,60000} \"b\"";
    match drive(many, "a", 20_000, 100_000) {
        Err(ConstraintError::TooManySteps { .. } | ConstraintError::TooManyStates { .. }) => {}
        other => panic!("{other:?}"),
    }
    // Nested as deep as the memory is large.
    match drive("root ::= \"(\" root \")\" | \"a\"", "(", 1 << 20, 100_000) {
        Err(ConstraintError::TooManyStates { .. }) => {}
        other => panic!("{other:?}"),
    }
    // It may be nested deeply, and the way back is found.
    let mut constraint = constraint_of(parse("root ::= \"(\" root \")\" | \"a\""), bytes());
    let n = 3000;
    assert!(keeps_to(&mut constraint, &("(".repeat(n) + "a" + &")".repeat(n))));
    assert!(!keeps_to(&mut constraint, &("(".repeat(n) + "a" + &")".repeat(n - 1))));
}

#[test]
fn chains_of_rules_are_refused_or_followed() {
    let chain = |n: usize| {
        let rules: String = (1..n).map(|i| format!("r{i} ::= r{} | \"{}\"\n", i + 1, i % 10)).collect();
        format!("root ::= r1\n{rules}r{n} ::= \"a\"")
    };
    assert!(drive(&chain(2000), "a", 1, 100_000).is_ok());
    let grammar = Grammar::parse(&chain(30_000), &|_| None).unwrap();
    match Constraint::new(Arc::new(grammar), bytes(), Limits::default()) {
        Err(ConstraintError::TooManyStates { .. }) => {}
        other => panic!("{other:?}"),
    }
    let circle = chain(30_000).replace("::= \"a\"", "::= r1 \"a\"");
    assert!(matches!(error(&circle), GrammarError::LeftRecursion { .. }));
}

/// Each of these allows nearly all tokens.
#[test]
fn many_negated_tokens_are_one() {
    let many: String = (0..3000).map(|i| format!(" | !<[{}]> \"{i}\"", i % 200)).collect();
    let mut constraint = constraint_of(parse(&format!("root ::= !<[0]>{many}")), byte_level());
    // All but the end.
    let n_vocab = constraint.vocabulary().n_vocab();
    assert_eq!(constraint.allowed().unwrap().count() as u32, n_vocab - 1);
    let mut constraint = constraint_of(parse("root ::= !<[7]> | !<[7]> \"a\" | \"b\""), byte_level());
    assert_eq!(constraint.allowed().unwrap().count() as u32, n_vocab - 2);
}

#[test]
fn nesting_is_limited() {
    let nested = |n: usize| format!("root ::= {}\"a\"{}", "(".repeat(n), ")".repeat(n));
    assert!(Grammar::parse(&nested(80), &|_| None).is_ok());
    assert!(matches!(error(&nested(81)), GrammarError::Syntax { line: 1, column: 90, .. }));
    assert!(matches!(error(&nested(1_000_000)), GrammarError::Syntax { line: 1, column: 90, .. }));
    let repeated = format!("root ::= \"a\"{}", "*".repeat(1000));
    assert!(matches!(error(&repeated), GrammarError::TooDeep { limit: 256 }));
    let starred = format!("root ::= {}\"a\"{}", "(".repeat(80), "*)".repeat(80));
    assert!(drive(&starred, "a", 10, 20_000).is_ok());
}

#[test]
fn size_is_limited() {
    let many = |what: &str| error(&format!("root ::= {}", what.repeat(200_000)));
    assert!(matches!(many("\"a\" "), GrammarError::TooMany { what: "expressions", .. }));
    assert!(matches!(many("[a-z]|"), GrammarError::TooMany { what: "expressions", .. }));
    let rules: String = (0..200_000).map(|i| format!("r{i} ::= \"\"\n")).collect();
    assert_eq!(error(&rules), GrammarError::TooMany { what: "rules", limit: 1 << 17 });
    let wide: String = (0..5000).map(|i| format!(" | \"{i}\"")).collect();
    match Constraint::new(parse(&format!("root ::= \"x\"{wide}")), bytes(), Limits::default()) {
        Err(ConstraintError::TooManyStates { .. }) => {}
        other => panic!("{other:?}"),
    }
    let wide: String = (0..2000).map(|i| format!(" | \"{i}\"")).collect();
    assert!(drive(&format!("root ::= \"x\"{wide}"), "19", 1, 100_000).is_ok());
}
