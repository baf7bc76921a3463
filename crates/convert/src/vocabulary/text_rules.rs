//! What a tokenizer.json does to a text before its model sees it, as far as ids depend on it.
//!
//! A GGUF file has no such steps: it names one of the ways that are known. A step that none of them has is an error.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::pre_tokenizers;

/// The way of a file.
#[derive(Debug)]
pub enum TextRules {
    /// Words are cut by a pre-tokenizer, and their bytes merged.
    ByteLevel(&'static [pre_tokenizers::Rule]),
    /// The characters of the whole text are merged, spaces among them as `▁`.
    SentencePiece {
        /// Whether a space is put in front.
        add_space_prefix: bool,
        /// Whether `▁` begins a new word, which no merge crosses.
        splits_words: bool,
    },
}

/// What stands for a space.
pub const SPACE: &str = "▁";

impl TextRules {
    /// Reads the normalizer and the pre-tokenizer of a file. Puts what is left out, as llama.cpp leaves it out, into
    /// `notes`.
    pub fn read(file: &Value, notes: &mut Vec<String>) -> Result<Self> {
        let mut normalizers = Vec::new();
        flatten(&file["normalizer"], "normalizers", &mut normalizers);
        let mut steps = Vec::new();
        flatten(&file["pre_tokenizer"], "pretokenizers", &mut steps);
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
                bail!("normalizer {} has no place beside byte-level BPE, expected none or NFC", ty(step));
            }
            Ok(Self::ByteLevel(pre_tokenizers::find(&byte_level_steps(&steps)?)?))
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
                other => bail!("normalizer {other} has no place beside byte fallback"),
            }
        }
        for step in steps {
            match ty(step) {
                // There are no spaces any more to split at.
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
                    if prefixes && !add_space_prefix {
                        notes.push(
                            "pre-tokenizer Metaspace puts a space in front of texts only that begin with none; \
                             as with llama.cpp, all get one"
                                .to_owned(),
                        );
                    }
                    add_space_prefix |= prefixes;
                }
                other => bail!("pre-tokenizer {other} has no place beside byte fallback"),
            }
        }
        if !is_replaced {
            bail!("neither the normalizer nor the pre-tokenizer turns spaces into {SPACE:?}");
        }
        Ok(Self::SentencePiece { add_space_prefix, splits_words })
    }
}

/// The steps of a pre-tokenizer before byte-level BPE, as expressions in [`pre_tokenizers::Rule`]'s way.
fn byte_level_steps(steps: &[&Value]) -> Result<Vec<String>> {
    let mut expressions = Vec::new();
    let mut has_byte_level = false;
    for step in steps {
        match ty(step) {
            "ByteLevel" => {
                has_byte_level = true;
                if step["add_prefix_space"].as_bool() == Some(true) {
                    bail!("pre-tokenizer ByteLevel has add_prefix_space true, expected false");
                }
                if step["use_regex"].as_bool().unwrap_or(true) {
                    expressions.push(pre_tokenizers::GPT2.to_owned());
                }
            }
            "Digits" => {
                let apart = step["individual_digits"].as_bool() == Some(true);
                expressions.push(if apart { r"\p{N}" } else { r"\p{N}+" }.to_owned());
            }
            "Split" => {
                let (behavior, invert) = (step["behavior"].as_str(), step["invert"].as_bool() == Some(true));
                match (behavior, invert) {
                    // What is between the matches is a word as well, or there is nothing between them.
                    (Some("Isolated"), _) | (Some("Removed"), true) => {}
                    _ => bail!(
                        "pre-tokenizer Split has behavior {} and invert {invert}, expected Isolated",
                        step["behavior"]
                    ),
                }
                let expression = step.pointer("/pattern/Regex").and_then(Value::as_str);
                let expression = expression
                    .with_context(|| format!("pre-tokenizer Split has pattern {}", step["pattern"]))?;
                expressions.push(pre_tokenizers::canonical(expression));
            }
            "" => bail!("the pre-tokenizer {step} has no type"),
            other => bail!("pre-tokenizer {other} is not one that is known"),
        }
    }
    if !has_byte_level {
        bail!("the pre-tokenizer has no ByteLevel, and the model no byte_fallback");
    }
    Ok(expressions)
}

/// The steps of a part that may be a sequence, of sequences maybe.
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

/// What a step looks for, as a text or an expression.
fn pattern(step: &Value) -> Option<&str> {
    step.pointer("/pattern/String").or_else(|| step.pointer("/pattern/Regex"))?.as_str()
}
