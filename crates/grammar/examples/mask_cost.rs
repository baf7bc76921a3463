//! What a mask costs: the median time of masks that were not asked for before, at some hard points of texts.
//!
//! ```text
//! cargo run --release -p grammar --example mask_cost -- TOKENS
//! ```
//!
//! `TOKENS` has a line for each token: its bytes in hexadecimal, `end` for one that ends a text, nothing for one without text.
//! `scripts/golden/vocabulary.py FILE.gguf` writes it.

use std::sync::Arc;
use std::time::Instant;

use grammar::{Constraint, Grammar, Limits, Piece, Vocabulary};

const JSON_STRING: &str = r#"
root ::= "\"" char* "\"" ws
char ::= [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})
ws ::= | " " | "\n" [ \t]{0,20}
"#;

const JSON: &str = r#"
root   ::= value
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws     ::= | " " | "\n" [ \t]{0,20}
"#;

fn main() {
    let path = std::env::args().nth(1).expect("the file of tokens");
    let text = std::fs::read_to_string(path).expect("a readable file");
    let tokens: Vec<Option<Vec<u8>>> = text
        .lines()
        .map(|line| match line {
            "end" => None,
            _ => Some(
                (0..line.len() / 2)
                    .map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).unwrap())
                    .collect(),
            ),
        })
        .collect();
    let piece_of = |token: u32| match &tokens[token as usize] {
        None => Piece::End,
        Some(bytes) if bytes.is_empty() => Piece::Mark,
        Some(bytes) => Piece::Text(bytes),
    };
    let start = Instant::now();
    let vocabulary = Arc::new(Vocabulary::new(tokens.len() as u32, &piece_of).expect("a vocabulary"));
    println!(
        "{} tokens, {} bytes, {:.1} ms",
        tokens.len(),
        vocabulary.memory_bytes(),
        1e3 * start.elapsed().as_secs_f64()
    );
    let points: [(&str, &str, &str); 9] = [
        ("JSON, at the beginning", JSON, ""),
        ("JSON, a value", JSON, "{\"a\": "),
        ("JSON, after a value", JSON, "{\"a\": 1"),
        ("JSON, in a string", JSON, "{\"a\": \"b"),
        ("JSON, in a string, nested", JSON, "{\"a\": [[[[{\"b\": [\"c"),
        ("string of JSON", JSON_STRING, "\"a"),
        (
            "string of 10 to 1000 characters",
            "root ::= \"\\\"\" [^\"\\\\\\x00-\\x1F]{10,1000} \"\\\"\"",
            "\"abcdefghijklmn",
        ),
        ("any text", "root ::= .*", ""),
        ("words", "root ::= [a-z]+ (\" \" [a-z]+)* \".\"", ""),
    ];
    for (name, grammar, prefix) in points {
        let grammar = Arc::new(Grammar::parse(grammar, &|_| None).expect("a grammar"));
        let limits = Limits::default();
        let bytes = Constraint::memory_bytes(&grammar, &vocabulary, limits);
        // The first mask of a constraint fills its tables; after that only the mask itself is made again.
        let mut times = [Vec::new(), Vec::new()];
        let mut n_allowed = 0;
        for _ in 0..5 {
            let mut constraint =
                Constraint::new(Arc::clone(&grammar), Arc::clone(&vocabulary), limits).expect("a constraint");
            constraint.accept_bytes(prefix.as_bytes()).expect("a prefix of a text");
            for times in &mut times {
                constraint.forget_masks();
                let start = Instant::now();
                n_allowed = constraint.allowed().expect("a mask").count();
                times.push(start.elapsed().as_secs_f64());
            }
        }
        let [first, later] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            1e6 * times[times.len() / 2]
        });
        println!("{name}: {n_allowed} allowed, first {first:.0} us, later {later:.0} us, {bytes} bytes");
    }
}
