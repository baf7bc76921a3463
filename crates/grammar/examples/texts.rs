//! Writes texts by JSON schemas and by grammars in GBNF, and judges texts, for `scripts/check-schemas` and
//! `scripts/check-grammars`.
//!
//! Each line of the standard input is an object, and for each line there is one with `error` or with what was asked for:
//!
//! - `schema`, a JSON schema, or `grammar`, a text in GBNF;
//! - `tokens`, the bytes of each token, in place of those from here; the token after the last one is the end;
//! - `n_texts` and `seed`: how many texts to write, with random choices among the tokens that are allowed, by the grammar given or
//!   by that of what a model should write. `n_tries` is how many to begin at most, `n_texts` unless given. The answer has `texts`
//!   and `n_unfinished`;
//! - `texts`, with a schema: texts to be judged by the grammar of all valid values. The answer has `accepted`, a list of booleans;
//! - `beginnings`, with a grammar: lists of bytes. The answer has `masks`: for each the tokens that may come after it, or null
//!   where the bytes may not come.

use std::io::BufRead;
use std::sync::Arc;

use grammar::json_schema::Options;
use grammar::{Constraint, ConstraintError, Grammar, Limits, Piece, Vocabulary};
use serde_json::{Value, json};

/// How texts are written.
struct Manner {
    /// Most tokens of a text.
    max_tokens: usize,
    /// What tokens that bring the end nearer begin with.
    closing: &'static [u8],
}

const OF_SCHEMAS: Manner = Manner { max_tokens: 3000, closing: b"\"]}" };
const OF_GRAMMARS: Manner = Manner { max_tokens: 400, closing: b")]}>\"\n" };

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

fn vocabulary(tokens: &[Vec<u8>]) -> Result<Arc<Vocabulary>, String> {
    let piece = |token: u32| tokens.get(token as usize).map_or(Piece::End, |bytes| Piece::Text(bytes));
    Ok(Arc::new(Vocabulary::new(tokens.len() as u32 + 1, &piece).map_err(|e| e.to_string())?))
}

/// A text, or none if it is too long before it may end.
fn write(
    constraint: &mut Constraint,
    tokens: &[Vec<u8>],
    random: &mut Random,
    manner: &Manner,
) -> Result<Option<String>, String> {
    let end = tokens.len() as u32;
    constraint.reset();
    let mut text = Vec::new();
    // Some texts end as soon as they can, others hardly.
    let haste = random.below(4) + 1;
    for n in 0..manner.max_tokens {
        let allowed: Vec<u32> = constraint.allowed().map_err(|e| e.to_string())?.tokens().collect();
        let hurries = random.below(4) < haste || n > manner.max_tokens / 4;
        if allowed.contains(&end) && (hurries || allowed.len() == 1) {
            return String::from_utf8(text).map(Some).map_err(|e| e.to_string());
        }
        let closing: Vec<u32> = (allowed.iter().copied())
            .filter(|token| tokens.get(*token as usize).is_some_and(|b| manner.closing.contains(&b[0])))
            .collect();
        let of = if hurries && !closing.is_empty() { &closing } else { &allowed };
        let mut token = of[random.below(of.len())];
        if n > manner.max_tokens / 4 {
            token = last_token(constraint, &allowed, random)?.unwrap_or(token);
        }
        if token == end {
            continue;
        }
        constraint.accept(token).map_err(|e| e.to_string())?;
        text.extend_from_slice(&tokens[token as usize]);
    }
    Ok(None)
}

/// Of some tokens that may come, one after which the text may end.
fn last_token(
    constraint: &mut Constraint,
    allowed: &[u32],
    random: &mut Random,
) -> Result<Option<u32>, String> {
    for _ in 0..32 {
        let token = allowed[random.below(allowed.len())];
        constraint.accept(token).map_err(|e| e.to_string())?;
        let is_last = constraint.can_end();
        constraint.rollback(1).map_err(|e| e.to_string())?;
        if is_last {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// The texts that are asked for, and how many were not finished.
fn written(
    asked: &Value,
    grammar: Arc<Grammar>,
    tokens: &[Vec<u8>],
    manner: &Manner,
) -> Result<(Vec<String>, u64), String> {
    let (mut texts, mut n_unfinished) = (Vec::new(), 0);
    let Some(n_texts) = asked["n_texts"].as_u64() else { return Ok((texts, n_unfinished)) };
    let n_tries = asked["n_tries"].as_u64().unwrap_or(n_texts);
    let mut random = Random(asked["seed"].as_u64().unwrap_or(0).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut constraint =
        Constraint::new(grammar, vocabulary(tokens)?, Limits::default()).map_err(|e| e.to_string())?;
    while (texts.len() as u64) < n_texts && texts.len() as u64 + n_unfinished < n_tries {
        match write(&mut constraint, tokens, &mut random, manner)? {
            Some(text) => texts.push(text),
            None => n_unfinished += 1,
        }
    }
    Ok((texts, n_unfinished))
}

fn answer_of_schema(asked: &Value, schema: &str, tokens: &[Vec<u8>]) -> Result<Value, String> {
    let mut accepted = Vec::new();
    if let Some(texts) = asked["texts"].as_array() {
        let grammar = Arc::new(Grammar::of_json_schema(schema, Options::VALID).map_err(|e| e.to_string())?);
        let vocabulary = Arc::new(Vocabulary::new(0, &|_| Piece::End).map_err(|e| e.to_string())?);
        let mut constraint =
            Constraint::new(grammar, vocabulary, Limits::default()).map_err(|e| e.to_string())?;
        for text in texts.iter().filter_map(Value::as_str) {
            constraint.reset();
            accepted.push(constraint.accept_bytes(text.as_bytes()).is_ok() && constraint.can_end());
        }
    }
    let grammar = Arc::new(Grammar::of_json_schema(schema, Options::GENERATED).map_err(|e| e.to_string())?);
    let (texts, n_unfinished) = written(asked, grammar, tokens, &OF_SCHEMAS)?;
    Ok(json!({"accepted": accepted, "texts": texts, "n_unfinished": n_unfinished}))
}

fn answer_of_grammar(asked: &Value, grammar: &str, tokens: &[Vec<u8>]) -> Result<Value, String> {
    let grammar = Arc::new(Grammar::parse(grammar, &|_| None).map_err(|e| e.to_string())?);
    let mut masks = Vec::new();
    if !asked["beginnings"].is_null() {
        let beginnings: Vec<Vec<u8>> = byte_lists(&asked["beginnings"])?;
        let mut constraint = Constraint::new(grammar.clone(), vocabulary(tokens)?, Limits::default())
            .map_err(|e| e.to_string())?;
        for beginning in beginnings {
            constraint.reset();
            masks.push(match constraint.accept_bytes(&beginning).and_then(|()| constraint.allowed()) {
                Ok(mask) => Some(mask.tokens().collect::<Vec<_>>()),
                Err(ConstraintError::BytesNotAllowed | ConstraintError::NothingAllowed) => None,
                Err(error) => return Err(error.to_string()),
            });
        }
    }
    let (texts, n_unfinished) = written(asked, grammar, tokens, &OF_GRAMMARS)?;
    Ok(json!({"masks": masks, "texts": texts, "n_unfinished": n_unfinished}))
}

fn byte_lists(value: &Value) -> Result<Vec<Vec<u8>>, String> {
    serde_json::from_value(value.clone()).map_err(|e| e.to_string())
}

fn answer(line: &str) -> Result<Value, String> {
    let asked: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let tokens = if asked["tokens"].is_null() { tokens() } else { byte_lists(&asked["tokens"])? };
    match asked["grammar"].as_str() {
        Some(grammar) => answer_of_grammar(&asked, grammar, &tokens),
        None => answer_of_schema(&asked, &asked["schema"].to_string(), &tokens),
    }
}

fn main() {
    for line in std::io::stdin().lock().lines() {
        match answer(&line.expect("readable input")) {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("{}", json!({"error": error})),
        }
    }
}
