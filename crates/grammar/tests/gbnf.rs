//! Grammars in GBNF: what llama.cpp accepts, what is refused, and the reasons.

mod common;

use common::{constraint, keeps_to, parse};
use grammar::{Grammar, GrammarError};
use serde_json::Value;

#[test]
fn texts_are_judged_as_llama_cpp_judges_them() {
    let cases: Value = serde_json::from_str(include_str!("golden/gbnf.json")).unwrap();
    let mut n_points = 0;
    for case in cases.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let mut constraint = constraint(case["grammar"].as_str().unwrap());
        for text in case["texts"].as_array().unwrap() {
            let (accepted, next, ends) = (&text["accepted"], text["next"].as_array().unwrap(), &text["ends"]);
            let text = text["text"].as_str().unwrap();
            assert_eq!(keeps_to(&mut constraint, text), *accepted, "{name}: {text:?}");
            constraint.reset();
            let characters = text.chars().map(Some).chain([None]);
            for (i, character) in characters.take(next.len()).enumerate() {
                let mask = constraint.allowed();
                let ascii: String = match &mask {
                    Ok(mask) => {
                        (1..128).filter(|&token| mask.allows(token)).filter_map(char::from_u32).collect()
                    }
                    Err(_) => String::new(),
                };
                assert_eq!(ascii, next[i].as_str().unwrap(), "{name}: after {i} characters of {text:?}");
                assert_eq!(constraint.can_end(), ends[i], "{name}: after {i} characters of {text:?}");
                n_points += 1;
                if let Some(character) = character
                    && constraint.accept_bytes(character.encode_utf8(&mut [0; 4]).as_bytes()).is_err()
                {
                    assert_eq!(i + 1, next.len(), "{name}: {text:?}");
                }
            }
        }
    }
    assert!(n_points > 2000, "{n_points}");
}

fn error(text: &str) -> GrammarError {
    Grammar::parse(text, &|name| (name == "<think>").then_some(7)).unwrap_err()
}

/// The position at which a text is not understood.
fn position(text: &str) -> (u32, u32) {
    match error(text) {
        GrammarError::Syntax { line, column, .. } => (line, column),
        other => panic!("{text:?}: {other}"),
    }
}

#[test]
fn what_is_not_understood_is_refused_where_it_stands() {
    for (text, expected) in [
        ("root ::= \"a", (1, 10)),
        ("root ::= [a", (1, 10)),
        ("root ::= (\"a\"", (1, 10)),
        ("root ::= \"a\")", (1, 13)),
        ("root ::= \"a\" }", (1, 14)),
        ("root ::= *", (1, 10)),
        ("root ::= | +", (1, 12)),
        ("root ::= \"a\"{", (1, 14)),
        ("root ::= \"a\"{2", (1, 15)),
        ("root ::= \"a\"{2,3", (1, 17)),
        ("root ::= \"a\"{,3}", (1, 14)),
        ("root ::= \"a\"{3,2}", (1, 13)),
        ("root ::= \"a\"{99999999999}", (1, 14)),
        ("root ::= \"\\q\"", (1, 11)),
        ("root ::= \"\\x1\"", (1, 13)),
        ("root ::= \"\\uD800\"", (1, 11)),
        ("root ::= [b-a]", (1, 11)),
        ("root ::= []", (1, 10)),
        ("root ::= [^\\x00-\\U0010FFFF]", (1, 10)),
        ("root ::= [a-\\U00110000]", (1, 11)),
        ("root ::= \"a\"\n  | \"b\"", (2, 3)),
        ("root = \"a\"", (1, 6)),
        ("# é\nroot ::= \"é\" %", (2, 14)),
        ("root ::= !x", (1, 11)),
        ("root ::= <[7>", (1, 13)),
        ("root ::= <think", (1, 10)),
        ("root ::= <thunk>", (1, 10)),
        ("a_b ::= \"a\"", (1, 2)),
    ] {
        assert_eq!(position(text), expected, "{text:?}: {}", error(text));
    }
    let rest = "expected what is to be repeated before it";
    assert_eq!(
        error("root ::= *").to_string(),
        format!("line 1, column 10: a repetition of nothing; {rest}")
    );
}

#[test]
fn rules_that_are_missing_or_never_end_are_refused_by_name() {
    let undefined = |rule: &str| GrammarError::Undefined { rule: rule.into() };
    assert_eq!(error("root ::= a\na ::= numero"), undefined("numero"));
    assert_eq!(error("rot ::= \"a\""), undefined("root"));
    assert_eq!(error(""), undefined("root"));
    assert_eq!(error("root ::= \"a\"\nroot ::= \"b\""), GrammarError::DefinedTwice { rule: "root".into() });
    assert_eq!(
        error("root ::= \"a\" b\nb ::= \"c\" b"),
        GrammarError::MatchesNothing { rule: "root".into() }
    );
}

#[test]
fn left_recursion_is_refused_by_name() {
    for (text, rule) in [
        ("root ::= \"a\" | root \"a\"", "root"),
        ("root ::= asdf\nasdf ::= \"a\" | asdf \"a\"", "asdf"),
        ("root ::= asdf\nasdf ::= \"a\" | foo \"b\"\nfoo ::= \"c\" | asdf \"d\" | \"e\"", "asdf"),
        (
            "root ::= asdf\nasdf ::= \"a\" | foo \"b\"\nfoo ::= \"c\" | empty asdf \"d\"\nempty ::= \"blah\" | ",
            "asdf",
        ),
        ("root ::= x* root \"a\" | \"b\"\nx ::= \"x\"", "root"),
        ("root ::= \"a\"\nunused ::= (\"\" | \"b\"){0,9} (unused)", "unused"),
        ("root ::= (root)*", "root"),
    ] {
        assert_eq!(error(text), GrammarError::LeftRecursion { rule: rule.into() }, "{text:?}");
    }
}

#[test]
fn alternatives_that_never_end_are_left_out() {
    let mut constraint =
        constraint("root ::= \"a\" (\"b\" | \"c\" endless | endless)? \"d\"\nendless ::= \"x\" endless");
    assert!(keeps_to(&mut constraint, "abd") && keeps_to(&mut constraint, "ad"));
    constraint.reset();
    constraint.accept_bytes(b"a").unwrap();
    assert_eq!(
        constraint.allowed().unwrap().tokens().collect::<Vec<_>>(),
        [u32::from(b'b'), u32::from(b'd')]
    );
}

/// Cases of llama.cpp's tests: texts with tokens, which are in parentheses here.
#[test]
fn tokens_are_referred_to_by_number_and_by_text() {
    let content = "root ::= <[10]> content <[11]>\ncontent ::= (!<[11]>)*";
    let tools = "root ::= reasoning+ content tool-call*
        reasoning ::= <[10]> (!<[11]>)* <[11]>
        content ::= <[20]> (!<[21]>)* <[21]>
        tool-call ::= <[12]> name <[13]> args <[14]>
        name ::= (!<[13]>)+
        args ::= (!<[14]>)*";
    let cases: [(&str, &[&str], &[&str]); 3] = [
        (
            content,
            &["(10)hello(11)", "(10)text(12) and(13) more(11)", "(10)(11)", "(10)(12)(13)(14)(15)(11)"],
            &["(10)no end", "(10)", "no start(11)", "(10)(11)(11)", "(11)wrong order(10)"],
        ),
        (
            tools,
            &[
                "(10)I think(11)(20)hello!(21)(12)search(13)query=test(14)",
                "(10)1(11)(10)2(11)(20)(21)(12)tool(13)(14)",
                "(10)(11)(20)content(21)",
                "(10)think(12) nested(11)(20)(10)more(21)(12)fn(13)x=1(14)(12)fn2(13)(14)",
            ],
            &[
                "(20)content only(21)",
                "(10)no closing",
                "(10)(11)(20)no closing",
                "(10)(11)(20)(21)(12)incomplete",
                "(10)(11)(11)(20)(21)",
            ],
        ),
        ("root ::= <think> [a-z]+ <[8]>", &["(7)abc(8)"], &["(7)(8)", "abc(8)", "(7)abc"]),
    ];
    for (grammar, accepted, refused) in cases {
        let mut constraint = common::constraint_of(parse(grammar), common::marks());
        for (texts, expected) in [(accepted, true), (refused, false)] {
            for text in texts {
                assert_eq!(common::keeps_to_with_tokens(&mut constraint, text), expected, "{text:?}");
            }
        }
    }
}

#[test]
fn a_token_is_what_is_referred_to_or_its_text() {
    // Token 97 is the text "a" as well.
    let mut constraint = constraint("root ::= <[97]> \"b\" | \"ac\"");
    constraint.accept(97).unwrap();
    assert_eq!(constraint.allowed().unwrap().tokens().collect::<Vec<_>>(), [98, 99]);
    constraint.reset();
    // Its bytes alone are not the token.
    constraint.accept_bytes(b"a").unwrap();
    assert_eq!(constraint.allowed().unwrap().tokens().collect::<Vec<_>>(), [99]);
}

#[test]
fn the_end_comes_where_the_text_may_end() {
    let mut constraint = constraint("root ::= \"a\"+");
    let end = common::END;
    assert!(constraint.accept(end).is_err());
    constraint.accept(97).unwrap();
    assert!(constraint.can_end() && !constraint.must_end());
    assert_eq!(constraint.allowed().unwrap().tokens().collect::<Vec<_>>(), [97, end]);
    constraint.accept(end).unwrap();
    assert!(constraint.must_end());
    assert_eq!(constraint.allowed().unwrap().tokens().collect::<Vec<_>>(), [end]);
    constraint.rollback(1).unwrap();
    constraint.accept(97).unwrap();
}

/// A grammar may also name a token that ends texts, because some chat formats end a part of an answer with one.
#[test]
fn the_end_may_be_referred_to() {
    let mut constraint = constraint("root ::= \"a\" (<[256]> \"b\")? | !<[97]> \"c\"");
    assert!(!constraint.allowed().unwrap().allows(common::END), "any other token is no end");
    constraint.accept(97).unwrap();
    assert!(constraint.can_end());
    constraint.accept(common::END).unwrap();
    assert_eq!(constraint.allowed().unwrap().tokens().collect::<Vec<_>>(), [98]);
}
