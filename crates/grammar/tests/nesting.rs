//! Grammars whose values may nest only to a limited depth: every text that is accepted so far can be completed.

use std::sync::Arc;

use grammar::json_schema::{Options, Order};
use grammar::{Constraint, Grammar, GrammarError, Limits, Piece, Vocabulary};

/// Recursive schemas, and the smallest nesting depth that they need, counted in calls.
const SCHEMAS: [&str; 7] = [
    // No way out but an array without elements.
    r##"{"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#"}},"name":{"type":"null"}},
        "required":["children","name"],"additionalProperties":false}"##,
    // Two of them, and one that is the last.
    r##"{"type":"object","properties":{"left":{"$ref":"#/$defs/list"},"right":{"$ref":"#/$defs/list"}},
        "required":["left","right"],"additionalProperties":false,
        "$defs":{"list":{"type":"array","items":{"$ref":"#"},"maxItems":2}}}"##,
    // Members in any order, of which two must be there, and one more.
    r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/n"},"b":{"$ref":"#/$defs/n"},"c":{"$ref":"#/$defs/n"},"d":{"type":"null"}},
        "required":["a"],"minProperties":3,"additionalProperties":false,
        "$defs":{"n":{"type":"array","items":{"$ref":"#"}}}}"##,
    // Alternatives, one of which needs more than the other.
    r##"{"anyOf":[{"type":"array","items":{"$ref":"#"},"minItems":2},
        {"type":"object","properties":{"x":{"type":"object","properties":{"y":{"type":"array","items":{"$ref":"#"}}},
        "required":["y"],"additionalProperties":false}},"required":["x"],"additionalProperties":false}]}"##,
    r##"{"type":"array","items":{"$ref":"#"}}"##,
    r##"{"type":"object","additionalProperties":{"$ref":"#"}}"##,
    r##"{"type":"array","prefixItems":[{"$ref":"#/$defs/e"},{"$ref":"#/$defs/e"}],"minItems":2,"items":false,
        "$defs":{"e":{"anyOf":[{"type":"array","maxItems":0},{"$ref":"#"},{"type":"object","properties":{"k":{"$ref":"#"}},
        "required":["k"]}]}}}"##,
];

/// Pseudorandom numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn nested(schema: &str, order: Order, limit: u32) -> Result<Grammar, GrammarError> {
    Grammar::of_json_schema(schema, Options { order, ..Options::GENERATED }).unwrap().nested(limit)
}

#[test]
fn what_may_come_can_always_be_ended() {
    const PIECES: [&[u8]; 5] = [b"[[", b"{\"a\":", b"\":[", b"],\"", b",["];
    let piece = |token: u32| match token {
        0..=255 => Piece::Text(&BYTES[token as usize]),
        256..=260 => Piece::Text(PIECES[token as usize - 256]),
        _ => Piece::End,
    };
    let vocabulary = Arc::new(Vocabulary::new(262, &piece).unwrap());
    let mut random = Random(3);
    let (mut n_ended, mut deepest) = (0, 0);
    for schema in SCHEMAS {
        for order in [Order::Any, Order::Schema] {
            for limit in [0, 1, 2, 3, 4, 5, 6, 9, 14, 55] {
                let Ok(grammar) = nested(schema, order, limit) else { continue };
                let mut constraint =
                    Constraint::new(Arc::new(grammar), vocabulary.clone(), Limits::default()).unwrap();
                for eagerness in [0, 3, 30] {
                    let (mut text, mut depth, mut is_text) = (Vec::new(), 0_u32, false);
                    constraint.reset();
                    for _ in 0..300 {
                        let mask = constraint.allowed().unwrap_or_else(|error| {
                            panic!("{error}: {limit}, {}", String::from_utf8_lossy(&text))
                        });
                        // What nests comes first, but for now and then.
                        let opens: Vec<u32> = [256, 257, 258, 260, b'['.into(), b'{'.into()]
                            .into_iter()
                            .filter(|&t| mask.allows(t))
                            .collect();
                        let all: Vec<u32> = mask.tokens().collect();
                        let of =
                            if opens.is_empty() || random.below(eagerness + 1) == 0 { &all } else { &opens };
                        let token = of[random.below(of.len())];
                        constraint.accept(token).unwrap();
                        let Piece::Text(bytes) = piece(token) else { break };
                        for byte in bytes {
                            match byte {
                                // An escaped one in a name does not count.
                                b'"' if !is_text || !ends_escaped(&text) => is_text = !is_text,
                                b'[' | b'{' if !is_text => depth += 1,
                                b']' | b'}' if !is_text => depth -= 1,
                                _ => {}
                            }
                            text.push(*byte);
                        }
                        deepest = deepest.max(depth);
                    }
                    n_ended += u32::from(constraint.must_end());
                }
            }
        }
    }
    assert!(n_ended > 50, "{n_ended}");
    assert!((50..=56).contains(&deepest), "{deepest}");
}

/// Whether the next byte follows an odd number of backslashes.
fn ends_escaped(text: &[u8]) -> bool {
    text.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

static BYTES: [[u8; 1]; 256] = {
    let mut bytes = [[0]; 256];
    let mut i = 0;
    while i < 256 {
        bytes[i] = [i as u8];
        i += 1;
    }
    bytes
};

#[test]
fn a_schema_that_never_ends_within_the_limit_is_refused() {
    // An array in an object in an object.
    let schema = r#"{"type":"object","properties":{"x":{"type":"object","properties":{"y":{"type":"array"}},
        "required":["y"]}},"required":["x"]}"#;
    for order in [Order::Any, Order::Schema] {
        let accepted: Vec<u32> = (0..20).filter(|&limit| nested(schema, order, limit).is_ok()).collect();
        let least = accepted[0];
        assert!((2..=5).contains(&least) && accepted.len() as u32 == 20 - least, "{accepted:?}");
        assert_eq!(
            nested(schema, order, least - 1).unwrap_err(),
            GrammarError::TooNested { limit: least - 1 }
        );
    }
    // Each of these needs no more than what its innermost value is in.
    for schema in SCHEMAS {
        assert!(
            nested(schema, Order::Any, 8).is_ok() && nested(schema, Order::Schema, 8).is_ok(),
            "{schema}"
        );
    }
    assert!(nested(SCHEMAS[4], Order::Schema, 0).is_ok());
    // What stands behind a call is known before what is called.
    let grammar =
        Grammar::parse("root ::= \"a\" b \"c\"\nb ::= \"d\" e \"f\"\ne ::= \"[\" \"x\"* \"]\"", &|_| None);
    assert!(grammar.unwrap().nested(2).is_ok());
}

#[test]
fn long_chains_of_rules_are_followed_to_their_end() {
    // Each rule calls the one before it; a call that is the last thing of a rule is as deep as its caller.
    let chain = |alternatives: fn(u32) -> String| {
        let rules: String = (1..10_000).map(|i| format!("r{i} ::= {}\n", alternatives(i - 1))).collect();
        Grammar::parse(&format!("root ::= r9999\nr0 ::= \"[]\"\n{rules}"), &|_| None).unwrap()
    };
    assert!(chain(|r| format!("\"a\" r{r} | \"b\" r{r} \"c\"")).nested(0).is_ok());
    let refused = chain(|r| format!("\"b\" r{r} \"c\" | \"d\" r{r} \"e\"")).nested(55);
    assert_eq!(refused.unwrap_err(), GrammarError::TooNested { limit: 55 });
}

/// A call at the end of a rule returns to nothing, so it needs no room for a return position. A call before something else
/// does.
#[test]
fn what_is_called_last_has_room_at_the_bound() {
    let grammar =
        Grammar::parse("root ::= r | r \"x\"\nr ::= \"[]\"\n", &|_| None).unwrap().nested(0).unwrap();
    let piece = |token: u32| BYTES.get(token as usize).map_or(Piece::End, |byte| Piece::Text(byte));
    let vocabulary = Arc::new(Vocabulary::new(257, &piece).unwrap());
    let mut constraint = Constraint::new(Arc::new(grammar), vocabulary, Limits::default()).unwrap();
    for byte in *b"[]" {
        assert_eq!(constraint.allowed().unwrap().tokens().collect::<Vec<_>>(), [u32::from(byte)]);
        constraint.accept(byte.into()).unwrap();
    }
    assert!(constraint.can_end());
}
