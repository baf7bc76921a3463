//! Grammars made from JSON schemas, over vocabularies; schemas that are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use grammar::json_schema::{Options, Order, SchemaError, Spelling, Whitespace, Why};
use grammar::{Constraint, Grammar, Limits, Piece, Vocabulary};
use serde_json::Value;

const SUITE: &str = include_str!("json_schema_suite.json");

/// Pseudorandom numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Tokens of a vocabulary: all bytes, then pieces of the texts of the suite.
struct Tokens {
    name: &'static str,
    bytes: Vec<Vec<u8>>,
    numbers: BTreeMap<Vec<u8>, u32>,
    vocabulary: Arc<Vocabulary>,
}

impl Tokens {
    fn new(name: &'static str, n: usize, mut piece: impl FnMut(&mut Random) -> Vec<u8>) -> Self {
        let mut bytes: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let mut numbers: BTreeMap<Vec<u8>, u32> = bytes.iter().cloned().zip(0..).collect();
        let mut random = Random(7);
        while bytes.len() < n {
            let piece = piece(&mut random);
            if !piece.is_empty() && !numbers.contains_key(&piece) {
                numbers.insert(piece.clone(), bytes.len() as u32);
                bytes.push(piece);
            }
        }
        let piece_of = |token: u32| bytes.get(token as usize).map_or(Piece::End, |bytes| Piece::Text(bytes));
        let vocabulary = Arc::new(Vocabulary::new(bytes.len() as u32 + 1, &piece_of).unwrap());
        Self { name, bytes, numbers, vocabulary }
    }

    /// Three vocabularies: single bytes; whole characters, as SentencePiece makes them; and pieces as byte-level BPE makes
    /// them, which may begin and end inside characters.
    fn all() -> [Self; 3] {
        let characters: Vec<char> = SUITE.chars().collect();
        let of_characters = |random: &mut Random| {
            let (start, len) = (random.below(characters.len() - 8), 1 + random.below(6));
            characters[start..start + len].iter().collect::<String>().into_bytes()
        };
        let of_bytes = |random: &mut Random| {
            let (start, len) = (random.below(SUITE.len() - 8), 2 + random.below(6));
            SUITE.as_bytes()[start..start + len].to_vec()
        };
        [
            Self::new("bytes", 256, |_| Vec::new()),
            Self::new("characters", 3000, of_characters),
            Self::new("byte pairs", 3000, of_bytes),
        ]
    }

    fn end(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// Whether a text, divided into tokens at random, is accepted token by token and may end.
    fn accepts(&self, constraint: &mut Constraint, text: &str, random: &mut Random) -> bool {
        constraint.reset();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let fitting: Vec<u32> =
                (1..=rest.len().min(24)).filter_map(|len| self.numbers.get(&rest[..len]).copied()).collect();
            let token = fitting[random.below(fitting.len())];
            let allowed = constraint.allowed().is_ok_and(|mask| mask.allows(token));
            assert_eq!(constraint.accept(token).is_ok(), allowed, "{}: {text}", self.name);
            if !allowed {
                return false;
            }
            rest = &rest[self.bytes[token as usize].len()..];
        }
        let may_end = constraint.allowed().is_ok_and(|mask| mask.allows(self.end()));
        assert_eq!(may_end, constraint.can_end());
        may_end
    }
}

#[test]
fn the_suite_token_by_token() {
    let suite: Value = serde_json::from_str(SUITE).unwrap();
    let vocabularies = Tokens::all();
    let mut random = Random(1);
    let mut n_checked = 0;
    for group in suite["groups"].as_array().unwrap() {
        let grammar = match Grammar::of_json_schema(&group[1].to_string(), Options::VALID) {
            Ok(grammar) => Arc::new(grammar),
            Err(_) => continue,
        };
        for tokens in &vocabularies {
            let vocabulary = Arc::clone(&tokens.vocabulary);
            let mut constraint =
                Constraint::new(Arc::clone(&grammar), vocabulary, Limits::default()).unwrap();
            for case in group[2].as_array().unwrap() {
                let text = case[0].to_string();
                let accepted = tokens.accepts(&mut constraint, &text, &mut random);
                assert_eq!(accepted, case[1].as_bool().unwrap(), "{}, {}: {text}", tokens.name, group[0]);
                n_checked += 1;
            }
        }
    }
    assert!(n_checked > 3000, "{n_checked}");
}

/// Whether the grammar of a schema accepts texts.
fn check(schema: &str, options: Options, accepted: &[&str], refused: &[&str]) {
    let grammar =
        Grammar::of_json_schema(schema, options).unwrap_or_else(|error| panic!("{error}: {schema}"));
    let vocabulary = Arc::new(Vocabulary::new(0, &|_| Piece::End).unwrap());
    let mut constraint = Constraint::new(Arc::new(grammar), vocabulary, Limits::default()).unwrap();
    for (texts, expected) in [(accepted, true), (refused, false)] {
        for text in texts {
            constraint.reset();
            let is_accepted = constraint.accept_bytes(text.as_bytes()).is_ok() && constraint.can_end();
            assert_eq!(is_accepted, expected, "{schema}: {text}");
        }
    }
}

#[test]
fn members_in_order_or_not() {
    let schema = r#"{"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"null"},"c":{"type":"null"}},
                     "required":["b","c"],"additionalProperties":{"type":"boolean"}}"#;
    let in_order =
        [r#"{"b":1,"c":null}"#, r#"{"b":1,"a":null,"c":null}"#, r#"{"b":1,"c":null,"d":true,"e":false}"#];
    let others =
        [r#"{"c":null,"b":1}"#, r#"{"d":true,"b":1,"c":null}"#, r#"{"b":1,"d":true,"a":null,"c":null}"#];
    let never = [
        r#"{"b":1}"#,
        r#"{"b":1,"c":null,"b":1}"#,
        r#"{"b":1,"c":null,"d":1}"#,
        "{}",
        r#"{"b":1,"c":null,}"#,
    ];
    let all = Options { whitespace: Whitespace::None, ..Options::VALID };
    check(schema, all, &in_order, &never);
    check(schema, all, &others, &never);
    check(schema, Options { order: Order::Schema, ..all }, &in_order, &never);
    check(schema, Options { order: Order::Schema, ..all }, &in_order, &others);
    let counted = r#"{"properties":{"a":true,"b":true,"c":true},"minProperties":2,"maxProperties":3}"#;
    for order in [Order::Any, Order::Schema] {
        let accepted = [r#"{"a":1,"c":2}"#, r#"{"b":1,"z":2}"#, r#"{"a":1,"b":1,"c":1}"#, r#"{"x":1,"y":2}"#];
        let refused = ["{}", r#"{"a":1}"#, r#"{"a":1,"b":1,"c":1,"d":1}"#, r#"{"w":1,"x":1,"y":1,"z":1}"#];
        check(counted, Options { order, ..all }, &accepted, &refused);
    }
}

#[test]
fn how_texts_are_written() {
    let schema = r#"{"properties":{"ä/\n":{"enum":["x",1.50,-0.0]}},"additionalProperties":false}"#;
    let plain = Options { spelling: Spelling::Plain, whitespace: Whitespace::None, ..Options::VALID };
    check(
        schema,
        plain,
        &[r#"{"ä/\n":"x"}"#, r#"{"ä/\n":1.5}"#, r#"{"ä/\n":0}"#, "{}"],
        &[r#"{"\u00e4/\n":"x"}"#, r#"{"ä\/\n":"x"}"#, r#"{"ä/\n":"\u0078"}"#, r#"{"ä/\n":1.50}"#, "{ }"],
    );
    check(
        schema,
        Options::VALID,
        &[r#"{"\u00E4\/\u000a": "\u0078"}"#, r#"{"ä/\n":1.500}"#, r#"{"ä/\n":-0.00}"#, "{\r\n\t}"],
        &["{\"ä/\n\":1.5}", r#"{"ä/\n":1.51}"#, r#"{"ä/\n":01.5}"#],
    );
    check(r#"{"const":"😀\u0001"}"#, plain, &[r#""😀\u0001""#], &[r#""\ud83d\ude00\u0001""#]);
    check(
        r#"{"const":"😀\u0001"}"#,
        Options::VALID,
        &[r#""\uD83d\uDE00\u0001""#],
        &[r#""\ude00\ud83d\u0001""#],
    );
    check(
        r#"{"type":"string","maxLength":1}"#,
        Options::VALID,
        &[r#""\ud83d\ude00""#, r#""""#],
        &[r#""ab""#, r#""\ud83d""#],
    );
    check(r#"{"type":"number"}"#, Options::VALID, &["1e5", "-0.5E-10", "12"], &["1.", ".5", "+1", "01"]);
    check(r#"{"type":"integer"}"#, Options::VALID, &["1.0", "-12", "0"], &["1.5", "1e0"]);
    check(r#"{"type":"integer"}"#, Options::GENERATED, &["-12", "0"], &["1.0"]);
    check(r#"{"type":"integer"}"#, Options::GENERATED, &["1234567890123456"], &["12345678901234567"]);
}

#[test]
fn a_model_writes_only_what_is_named() {
    let open = r#"{"properties":{"a":true}}"#;
    check(open, Options::GENERATED, &[r#"{"a":1}"#, "{}", "[]", "7"], &[r#"{"b":1}"#, r#"{"a":1, "b":1}"#]);
    check(open, Options { unnamed_members: true, ..Options::GENERATED }, &[r#"{"a":1,"b":1}"#], &[]);
    let said = r#"{"type":"object","properties":{"a":true},"additionalProperties":{"type":"null"}}"#;
    check(said, Options::GENERATED, &[r#"{"a":1,"b":null}"#], &[r#"{"b":1}"#]);
    check(
        grammar::json_schema::ANY_OBJECT,
        Options::GENERATED,
        &[r#"{"b":[{"c":"d"}]}"#, "{}"],
        &["[]", "1"],
    );
}

#[test]
fn formats_are_asserted_when_asked() {
    let cases: [(&str, &[&str], &[&str]); 9] = [
        (
            "date",
            &["2024-02-29", "1999-12-31"],
            &["2023-02-29", "2024-13-01", "2024-04-31", "0000-01-01", "24-01-01"],
        ),
        ("time", &["23:59:59Z", "00:00:00.123+05:30"], &["24:00:00Z", "12:00:00", "12:60:00Z"]),
        ("date-time", &["2024-02-29T12:00:00Z"], &["2024-02-30T12:00:00Z", "2024-02-29 12:00:00Z"]),
        ("uuid", &["2EB8AA08-aa98-11ea-b4aa-73b441d16380"], &["2eb8aa08-aa98-11ea-b4aa73b441d16380"]),
        ("ipv4", &["127.0.0.1", "255.255.255.255"], &["256.0.0.1", "1.2.3", "01.2.3.4"]),
        ("ipv6", &["::1", "::", "1:2:3:4:5:6:7:8", "fe80::1:2"], &["1::2::3", "1:2:3", ":1", "12345::"]),
        ("email", &["joe.bloggs@example.com"], &["2962", "@example.com", "a..b@example.com"]),
        ("hostname", &["www.example.com", "localhost"], &["-a.com", "a_b.com", "a..b"]),
        ("uri", &["http://foo.bar/?baz=qux#quuz", "urn:oasis:names"], &["//foo.bar", "a b:c", "abc"]),
    ];
    for (format, valid, invalid) in cases {
        let schema = format!(r#"{{"type":"string","format":"{format}"}}"#);
        let quoted = |texts: &[&str]| texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>();
        let (valid, invalid) = (quoted(valid), quoted(invalid));
        let (valid, invalid): (Vec<&str>, Vec<&str>) =
            (valid.iter().map(String::as_str).collect(), invalid.iter().map(String::as_str).collect());
        check(&schema, Options { formats: true, ..Options::VALID }, &valid, &invalid);
        check(&schema, Options::VALID, &invalid, &[]);
    }
    check(r#"{"format":"int32"}"#, Options::GENERATED, &["\"x\"", "1"], &[]);
}

#[test]
fn elements_that_differ() {
    let set = r#"{"type":"array","items":{"enum":["a","b","c",1,1.0]},"uniqueItems":true,"minItems":1,"maxItems":3}"#;
    let compact = Options { whitespace: Whitespace::None, ..Options::VALID };
    let accepted = [r#"["a"]"#, r#"["c","a","b"]"#, r#"[1,"a"]"#, r#"["a",1.0]"#];
    check(set, compact, &accepted, &["[]", r#"["a","a"]"#, "[1,1.0]", r#"["a","b","c",1]"#]);
    let booleans = r##"{"items":{"$ref":"#/$defs/b"},"uniqueItems":true,"$defs":{"b":{"type":"boolean"}}}"##;
    check(booleans, compact, &["[true,false]", "[]"], &["[true,true]", "[false,true,false]"]);
}

#[test]
fn what_is_refused_is_named() {
    let expressible = |why| Why::NotExpressible(why);
    let unique = "that elements differ, unless they are all of a list of values, or of type boolean";
    let opposite = "the opposite of what depends on what other schemas have looked at";
    let cases: [(&str, &str, Why); 24] = [
        (
            r#"{"properties":{"a/b":{"items":{"pattern":"(?<=x)y"}}}}"#,
            "/properties/a~1b/items/pattern",
            Why::Pattern { at: 3, problem: "a group of a kind that is not supported" },
        ),
        (
            r#"{"pattern":"a\\b"}"#,
            "/pattern",
            Why::Pattern { at: 3, problem: "word boundaries are not supported" },
        ),
        (
            r#"{"patternProperties":{"(":true}}"#,
            "/patternProperties/(",
            Why::Pattern { at: 1, problem: "a group without its end" },
        ),
        (r#"{"$ref":"http://example.com/x"}"#, "/$ref", Why::Unresolved),
        (r##"{"items":{"$ref":"#/$defs/~missing"}}"##, "/items/$ref", Why::Unresolved),
        (r##"{"allOf":[{"$ref":"#/allOf/0"}]}"##, "/allOf/0", Why::Cyclic),
        (
            r#"{"items":[{"type":"strin"}]}"#,
            "/items/0/type",
            Why::Expected("null, boolean, number, integer, string, array or object, or an array of these"),
        ),
        (
            r#"{"type":7}"#,
            "/type",
            Why::Expected("null, boolean, number, integer, string, array or object, or an array of these"),
        ),
        (r#"{"minLength":-1}"#, "/minLength", Why::Expected("an integer from 0 up")),
        (r#"{"maxItems":"3"}"#, "/maxItems", Why::Expected("an integer from 0 up")),
        (r#"{"minimum":"3"}"#, "/minimum", Why::Expected("a number")),
        (r#"{"exclusiveMinimum":true}"#, "/exclusiveMinimum", Why::Expected("a number")),
        (r#"{"multipleOf":0}"#, "/multipleOf", Why::Expected("a number above 0")),
        (
            r#"{"multipleOf":0.123456789}"#,
            "/multipleOf",
            expressible("the divisor has too many remainders to tell apart"),
        ),
        (r#"{"enum":3}"#, "/enum", Why::Expected("an array of values")),
        (r#"{"required":["a",1]}"#, "/required", Why::Expected("an array of strings")),
        (r#"{"properties":[]}"#, "/properties", Why::Expected("an object of schemas")),
        (r#"{"anyOf":[]}"#, "/anyOf", Why::Expected("at least one schema")),
        (r#"{"anyOf":{}}"#, "/anyOf", Why::Expected("an array of schemas")),
        (r#"{"items":3}"#, "/items", Why::Expected("a schema: an object or a boolean")),
        (
            r#"{"$schema":"http://example.com/own"}"#,
            "/$schema",
            Why::Expected("the URI of draft 2020-12, https://json-schema.org/draft/2020-12/schema"),
        ),
        (r#"{"items":{"uniqueItems":true}}"#, "/items/uniqueItems", expressible(unique)),
        (
            r#"{"not":{"uniqueItems":true}}"#,
            "/not/uniqueItems",
            expressible("that elements of an array are equal"),
        ),
        (r#"{"not":{"unevaluatedItems":false}}"#, "/not/unevaluatedItems", expressible(opposite)),
    ];
    for (schema, pointer, why) in cases {
        let error = Grammar::of_json_schema(schema, Options::VALID).err();
        assert_eq!(error, Some(SchemaError::At { pointer: pointer.into(), why }), "{schema}");
    }
    for schema in [
        "false",
        r#"{"allOf":[{"type":"null"},{"type":"string"}]}"#,
        r#"{"minimum":3,"maximum":2,"type":"number"}"#,
    ] {
        assert_eq!(
            Grammar::of_json_schema(schema, Options::VALID).err(),
            Some(SchemaError::Unsatisfiable),
            "{schema}"
        );
    }
    let syntax = Grammar::of_json_schema("{\n  \"type\": }", Options::VALID).err();
    assert_eq!(syntax, Some(SchemaError::Syntax { line: 2, column: 11 }));
}

/// Schemas of the suite with characters replaced, removed and repeated: the result is an error or a grammar, never a panic.
#[test]
fn damaged_schemas() {
    let suite: Value = serde_json::from_str(SUITE).unwrap();
    let mut random = Random(3);
    let (mut n_grammars, mut n_errors) = (0, 0);
    for group in suite["groups"].as_array().unwrap() {
        let schema: Vec<char> = group[1].to_string().chars().collect();
        for _ in 0..20 {
            let mut damaged = schema.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(damaged.len());
                match random.below(4) {
                    0 => damaged[at] = schema[random.below(schema.len())],
                    1 => drop(damaged.remove(at)),
                    2 => damaged.insert(at, schema[random.below(schema.len())]),
                    _ => {
                        let end = damaged.len().min(at + 1 + random.below(20));
                        let part = damaged[at..end].to_vec();
                        let to = random.below(damaged.len());
                        damaged.splice(to..to, part);
                    }
                }
                damaged.push(' ');
            }
            let damaged: String = damaged.into_iter().collect();
            match Grammar::of_json_schema(&damaged, Options::VALID) {
                Ok(_) => n_grammars += 1,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    n_errors += 1;
                }
            }
        }
    }
    assert!(n_grammars > 500 && n_errors > 500, "{n_grammars}, {n_errors}");
}
