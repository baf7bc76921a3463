//! What a tokenizer.json does to a text before its model sees it, as far as it affects the ids.
//!
//! A GGUF file has no such steps: it names one of the known ways. A combination of steps that no known way has is an error.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::pre_tokenizers;

/// The way of a file.
#[derive(Debug)]
pub enum TextRules {
    /// A pre-tokenizer splits words, and the bytes of each word are merged.
    ByteLevel(&'static [pre_tokenizers::Rule]),
    /// The characters of the whole text are merged; spaces are written as `▁`.
    SentencePiece {
        /// Whether a space is added in front of the text.
        add_space_prefix: bool,
        /// Whether `▁` begins a new word, which no merge crosses.
        splits_words: bool,
    },
}

/// The character that stands for a space.
pub const SPACE: &str = "▁";

impl TextRules {
    /// Reads the normalizer and the pre-tokenizer of a file. Adds a line to `notes` for each thing that is left out, as in
    /// llama.cpp.
    pub fn read(file: &Value, notes: &mut Vec<String>) -> Result<Self> {
        let mut normalizers = Vec::new();
        flatten(&file["normalizer"], "normalizers", &mut normalizers);
        let mut steps = Vec::new();
        flatten(&file["pre_tokenizer"], "pretokenizers", &mut steps);
        normalizers.retain(|step| !changes_nothing(step));
        normalizers.retain(|step| {
            let is_nfc = ty(step) == "NFC";
            if is_nfc {
                notes.push(
                    "normalizer NFC is left out, as by llama.cpp: texts are taken to be in that form"
                        .to_owned(),
                );
            }
            !is_nfc
        });
        let has_byte_level = steps.iter().any(|step| ty(step) == "ByteLevel");
        if file["model"]["byte_fallback"].as_bool() == Some(true) && !has_byte_level {
            Self::sentencepiece(&normalizers, &steps, notes)
        } else {
            if let Some(step) = normalizers.first() {
                bail!(
                    "normalizer {} has no place in GGUF beside byte-level BPE, expected none or NFC",
                    ty(step)
                );
            }
            let (expressions, n_before_bytes) = byte_level_steps(&steps)?;
            let rules = pre_tokenizers::find(&expressions)?;
            if rules.iter().any(|rule| n_before_bytes < rule.n_before_bytes()) {
                bail!(
                    "a pre-tokenizer behind ByteLevel, which sees bytes as ByteLevel spells them, cuts at {:?}; \
                     expected in front of it",
                    expressions.last().map_or("", String::as_str)
                );
            }
            Ok(Self::ByteLevel(rules))
        }
    }

    fn sentencepiece(normalizers: &[&Value], steps: &[&Value], notes: &mut Vec<String>) -> Result<Self> {
        let (mut is_replaced, mut add_space_prefix, mut splits_words) = (false, false, false);
        for step in normalizers {
            match ty(step) {
                "Prepend" if step["prepend"] == SPACE => add_space_prefix = true,
                "Replace" if pattern(step) == Some(" ") && step["content"] == SPACE => is_replaced = true,
                "Prepend" => {
                    bail!("normalizer Prepend puts {} in front, expected {SPACE:?}", step["prepend"])
                }
                "Replace" => bail!(
                    "normalizer Replace turns {} into {}, expected \" \" into {SPACE:?}",
                    step["pattern"],
                    step["content"]
                ),
                other => bail!(
                    "normalizer {other} has no place in GGUF beside byte fallback, expected Prepend or Replace"
                ),
            }
        }
        for step in steps {
            match ty(step) {
                // No spaces are left to split at.
                "Split" if is_replaced && pattern(step) == Some(" ") => {}
                "Metaspace" => {
                    if step["replacement"] != SPACE {
                        bail!(
                            "pre-tokenizer Metaspace has replacement {}, expected {SPACE:?}",
                            step["replacement"]
                        );
                    }
                    is_replaced = true;
                    splits_words |= step["split"].as_bool().unwrap_or(true);
                    let prefixes = match step["prepend_scheme"].as_str() {
                        None => step["add_prefix_space"].as_bool().unwrap_or(true),
                        Some("always" | "first") => true,
                        Some("never") => false,
                        Some(other) => bail!("pre-tokenizer Metaspace has prepend_scheme {other:?}"),
                    };
                    if step["prepend_scheme"] == "first" && !add_space_prefix {
                        notes.push(
                            "pre-tokenizer Metaspace (prepend_scheme first) puts no space in front of texts behind special \
                             tokens; as with llama.cpp, they get one"
                                .to_owned(),
                        );
                    }
                    if prefixes && !add_space_prefix {
                        notes.push(
                            "pre-tokenizer Metaspace puts a space in front of texts only that begin with none; \
                             as with llama.cpp, all get one"
                                .to_owned(),
                        );
                    }
                    add_space_prefix |= prefixes;
                }
                "Split" => bail!(
                    "pre-tokenizer Split at {} has no place in GGUF beside byte fallback",
                    step["pattern"]
                ),
                other => {
                    bail!(
                        "pre-tokenizer {other} has no place in GGUF beside byte fallback, expected Metaspace"
                    )
                }
            }
        }
        if !is_replaced {
            bail!("neither the normalizer nor the pre-tokenizer turns spaces into {SPACE:?}");
        }
        Ok(Self::SentencePiece { add_space_prefix, splits_words })
    }
}

/// The steps of a pre-tokenizer before byte-level BPE, as expressions in the form of [`pre_tokenizers::Rule`], and how many of
/// them see the text itself instead of its bytes.
fn byte_level_steps(steps: &[&Value]) -> Result<(Vec<String>, usize)> {
    let mut expressions = Vec::new();
    let mut n_before_bytes = None;
    for step in steps {
        match ty(step) {
            "ByteLevel" => {
                if step["add_prefix_space"].as_bool() == Some(true) {
                    bail!(
                        "pre-tokenizer ByteLevel has add_prefix_space true, which has no place in GGUF beside byte-level \
                         BPE; expected false"
                    );
                }
                if step["use_regex"].as_bool().unwrap_or(true) {
                    expressions.push(pre_tokenizers::GPT2.to_owned());
                }
                n_before_bytes.get_or_insert(expressions.len());
            }
            "Digits" => {
                let apart = step["individual_digits"].as_bool() == Some(true);
                expressions
                    .push(if apart { pre_tokenizers::NUMBER } else { pre_tokenizers::NUMBERS }.to_owned());
            }
            "Punctuation" => {
                if step["behavior"] != "Contiguous" {
                    bail!("pre-tokenizer Punctuation has behavior {}, expected Contiguous", step["behavior"]);
                }
                expressions.push(pre_tokenizers::PUNCTUATION.to_owned());
            }
            "Split" => expressions.push(split(step)?),
            "" => bail!("the pre-tokenizer {step} has no type"),
            other => bail!("pre-tokenizer {other} is not one that is known"),
        }
    }
    let n_before_bytes =
        n_before_bytes.context("the pre-tokenizer has no ByteLevel, and the model no byte_fallback")?;
    Ok((expressions, n_before_bytes))
}

/// The expression of a step that splits words.
fn split(step: &Value) -> Result<String> {
    let expression = step.pointer("/pattern/Regex").and_then(Value::as_str);
    let expression = expression
        .with_context(|| format!("pre-tokenizer Split has pattern {}, expected a Regex", step["pattern"]))?;
    let expression = pre_tokenizers::canonical(expression);
    let inverted = step["invert"].as_bool() == Some(true);
    match step["behavior"].as_str() {
        // The text between matches becomes words too, or there is no text between them.
        Some("Isolated") => Ok(expression),
        Some("Removed") if inverted && pre_tokenizers::covers_all(&expression) => Ok(expression),
        Some("Removed") => bail!(
            "pre-tokenizer Split at {expression:?} (behavior Removed, invert {inverted}) leaves out a part of the text, \
             which GGUF has no way to say; expected Isolated"
        ),
        _ => bail!(
            "pre-tokenizer Split at {expression:?} has behavior {} and invert {inverted}, expected Isolated",
            step["behavior"]
        ),
    }
}

/// Whether a normalizer returns every text unchanged.
fn changes_nothing(step: &Value) -> bool {
    match ty(step) {
        "Strip" => step["strip_left"] == false && step["strip_right"] == false,
        "Replace" => step["content"].is_string() && step.pointer("/pattern/String") == step.get("content"),
        _ => false,
    }
}

/// The steps of a part, which may be a sequence, possibly of sequences.
fn flatten<'v>(part: &'v Value, list: &str, steps: &mut Vec<&'v Value>) {
    match (ty(part), part[list].as_array()) {
        ("Sequence", Some(parts)) => parts.iter().for_each(|part| flatten(part, list, steps)),
        _ if part.is_null() => {}
        _ => steps.push(part),
    }
}

fn ty(step: &Value) -> &str {
    step["type"].as_str().unwrap_or_default()
}

/// What a step searches for, as a text or an expression.
fn pattern(step: &Value) -> Option<&str> {
    step.pointer("/pattern/String").or_else(|| step.pointer("/pattern/Regex"))?.as_str()
}
