//! Judges and writes texts by JSON schemas, for `scripts/check-schemas`.
//!
//! Each line of the standard input is an object: `schema`; `texts`, to be judged by the grammar of all valid values;
//! `n_texts` and `seed`: how many to write by the grammar of what a model should write, with random choices among the tokens
//! that are allowed. For each line there is one with `error`, or with `accepted` (a list of booleans), `texts`, `n_unfinished`.

use std::io::BufRead;
use std::sync::Arc;

use grammar::json_schema::Options;
use grammar::{Constraint, Grammar, Limits, Piece, Vocabulary};
use serde_json::{Value, json};

/// Most tokens of a text.
const MAX_TOKENS: usize = 3000;

/// Numbers that look random: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }
}

/// A token for each byte, some words and marks as vocabularies have them, and an end.
fn tokens() -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let more = "{\" \", \":\" \":{\" \":[\" \"} \"] }, ], }] ]} ]] }} {} [] [\" [{ \":\" true false null 10 12 200 2024 -01- T1 0. .5 \
                the name id and in on st er ab foo bar type value :// .com @ä 日本 é語 😀 \\n \\u \\u00 \\\" \\\\";
    tokens.extend(more.split(' ').map(|word| word.as_bytes().to_vec()));
    // Parts of characters.
    tokens.extend([vec![0xE6, 0x97], vec![0xA5, b'"'], vec![b'a', 0xC3], vec![0xF0, 0x9F]]);
    tokens
}

fn write(grammar: &Arc<Grammar>, tokens: &[Vec<u8>], random: &mut Random) -> Result<Option<String>, String> {
    let end = tokens.len() as u32;
    let piece = |token: u32| tokens.get(token as usize).map_or(Piece::End, |bytes| Piece::Text(bytes));
    let vocabulary = Arc::new(Vocabulary::new(end + 1, &piece).map_err(|e| e.to_string())?);
    let mut constraint =
        Constraint::new(grammar.clone(), vocabulary, Limits::default()).map_err(|e| e.to_string())?;
    let mut text = Vec::new();
    // Some texts end as soon as they can, others hardly.
    let haste = random.below(4) + 1;
    for n in 0..MAX_TOKENS {
        let allowed: Vec<u32> = constraint.allowed().map_err(|e| e.to_string())?.tokens().collect();
        let hurries = random.below(4) < haste || n > MAX_TOKENS / 4;
        if allowed.contains(&end) && (hurries || allowed.len() == 1) {
            return String::from_utf8(text).map(Some).map_err(|e| e.to_string());
        }
        let closing: Vec<u32> = (allowed.iter().copied())
            .filter(|token| tokens.get(*token as usize).is_some_and(|b| b"\"]}".contains(&b[0])))
            .collect();
        let of = if hurries && !closing.is_empty() { &closing } else { &allowed };
        let token = of[random.below(of.len())];
        if token == end {
            continue;
        }
        constraint.accept(token).map_err(|e| e.to_string())?;
        text.extend_from_slice(&tokens[token as usize]);
    }
    Ok(None)
}

fn answer(line: &str, tokens: &[Vec<u8>]) -> Result<Value, String> {
    let asked: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let schema = asked["schema"].to_string();
    let mut accepted = Vec::new();
    if let Some(texts) = asked["texts"].as_array() {
        let grammar = Arc::new(Grammar::of_json_schema(&schema, Options::VALID).map_err(|e| e.to_string())?);
        let vocabulary = Arc::new(Vocabulary::new(0, &|_| Piece::End).map_err(|e| e.to_string())?);
        let mut constraint =
            Constraint::new(grammar, vocabulary, Limits::default()).map_err(|e| e.to_string())?;
        for text in texts.iter().filter_map(Value::as_str) {
            constraint.reset();
            accepted.push(constraint.accept_bytes(text.as_bytes()).is_ok() && constraint.can_end());
        }
    }
    let (mut texts, mut n_unfinished) = (Vec::new(), 0);
    if let Some(n_texts) = asked["n_texts"].as_u64() {
        let grammar =
            Arc::new(Grammar::of_json_schema(&schema, Options::GENERATED).map_err(|e| e.to_string())?);
        let mut random = Random(asked["seed"].as_u64().unwrap_or(0).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..n_texts {
            match write(&grammar, tokens, &mut random)? {
                Some(text) => texts.push(text),
                None => n_unfinished += 1,
            }
        }
    }
    Ok(json!({"accepted": accepted, "texts": texts, "n_unfinished": n_unfinished}))
}

fn main() {
    let tokens = tokens();
    for line in std::io::stdin().lock().lines() {
        match answer(&line.expect("readable input"), &tokens) {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("{}", json!({"error": error})),
        }
    }
}
