//! tokenizer.json and its companions: the vocabulary of a checkpoint.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use llm::gguf::GgufWriter;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::{Files, put_optional_u32, read, read_optional};

/// A vocabulary as GGUF holds it.
#[derive(Debug)]
pub struct Vocabulary {
    kind: Kind,
    tokens: Vec<String>,
    token_types: Vec<i32>,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    pad_id: Option<u32>,
    add_bos: Option<bool>,
    add_eos: Option<bool>,
    chat_template: Option<String>,
}

#[derive(Debug)]
enum Kind {
    /// Byte-level BPE: merges, and the rule that cuts words.
    ByteLevelBpe { pre: &'static str, merges: Vec<String> },
    /// SentencePiece-style: scores.
    SentencePiece { scores: Vec<f32>, add_space_prefix: bool },
}

/// `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The patterns by which published vocabularies cut words, with llama.cpp's names for them.
const PATTERNS: [(&str, &str); 2] = [
    (
        "llama-bpe",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "qwen2",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
];

impl Vocabulary {
    /// Reads tokenizer.json, and tokenizer_config.json where there is one, for an embedding of `n_vocab` rows.
    pub fn read(files: &dyn Files, n_vocab: u32) -> Result<Self> {
        const FILE: &str = "tokenizer.json";
        let file: Value = serde_json::from_slice((*read(files, FILE)?).as_ref()).context(FILE)?;
        let settings = optional_json(files, "tokenizer_config.json")?;
        let config = optional_json(files, "config.json")?;

        check_model(&file["model"]).context(FILE)?;
        let merges = merges(&file["model"]).context(FILE)?;
        let tokenizer = load(&file, &merges).context(FILE)?;
        let (tokens, token_types) = tokens(&tokenizer, n_vocab as usize).context(FILE)?;
        let kind = Kind::of(&file, &tokens, &merges).context(FILE)?;
        let id_of = |name: &str| {
            let content = settings
                .get(name)
                .and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
            let listed = || {
                let id = config.get(format!("{name}_id"))?;
                id.get(0).unwrap_or(id).as_u64()?.try_into().ok()
            };
            content.and_then(|content| tokenizer.token_to_id(content)).or_else(listed)
        };
        let flag = |name: &str| settings.get(name).and_then(Value::as_bool);
        let mut vocabulary = Vocabulary {
            kind,
            tokens,
            token_types,
            bos_id: id_of("bos_token"),
            eos_id: id_of("eos_token"),
            pad_id: id_of("pad_token"),
            add_bos: flag("add_bos_token"),
            add_eos: flag("add_eos_token"),
            chat_template: settings.get("chat_template").and_then(Value::as_str).map(str::to_owned),
        };
        vocabulary.mark_byte_tokens();
        // Newer files say by their post-processor, not by a flag, that texts begin with the start token.
        let first = first_id(&file["post_processor"]);
        let begins_with_bos = vocabulary.bos_id.is_some() && first == vocabulary.bos_id.map(u64::from);
        vocabulary.add_bos.get_or_insert(begins_with_bos);
        Ok(vocabulary)
    }

    fn mark_byte_tokens(&mut self) {
        if matches!(self.kind, Kind::SentencePiece { .. }) {
            for (token, ty) in self.tokens.iter().zip(&mut self.token_types) {
                match token.as_str() {
                    "<unk>" => *ty = UNKNOWN,
                    _ if is_byte_token(token) => *ty = BYTE,
                    _ => {}
                }
            }
        }
    }

    /// Adds the vocabulary to a GGUF header.
    pub fn describe(&self, writer: &mut GgufWriter) -> Result<()> {
        match &self.kind {
            Kind::ByteLevelBpe { pre, merges } => {
                writer.put_str("tokenizer.ggml.model", "gpt2")?;
                writer.put_str("tokenizer.ggml.pre", pre)?;
                writer.put_strings("tokenizer.ggml.merges", merges.iter())?;
            }
            Kind::SentencePiece { scores, add_space_prefix } => {
                writer.put_str("tokenizer.ggml.model", "llama")?;
                writer.put_f32s("tokenizer.ggml.scores", scores)?;
                writer.put_bool("tokenizer.ggml.add_space_prefix", *add_space_prefix)?;
            }
        }
        writer.put_strings("tokenizer.ggml.tokens", self.tokens.iter())?;
        writer.put_i32s("tokenizer.ggml.token_type", &self.token_types)?;
        put_optional_u32(writer, "tokenizer.ggml.bos_token_id", self.bos_id)?;
        put_optional_u32(writer, "tokenizer.ggml.eos_token_id", self.eos_id)?;
        put_optional_u32(writer, "tokenizer.ggml.padding_token_id", self.pad_id)?;
        if let Some(add_bos) = self.add_bos {
            writer.put_bool("tokenizer.ggml.add_bos_token", add_bos)?;
        }
        if let Some(add_eos) = self.add_eos {
            writer.put_bool("tokenizer.ggml.add_eos_token", add_eos)?;
        }
        if let Some(chat_template) = &self.chat_template {
            writer.put_str("tokenizer.chat_template", chat_template)?;
        }
        Ok(())
    }
}

impl Kind {
    fn of(file: &Value, tokens: &[String], merges: &[[String; 2]]) -> Result<Self> {
        if file["model"]["byte_fallback"].as_bool() == Some(true) {
            let spaces = format!("{}{}", file["normalizer"], file["pre_tokenizer"]);
            return Ok(Kind::SentencePiece {
                scores: scores(tokens, merges),
                add_space_prefix: spaces.contains(r#""type":"Prepend""#)
                    || spaces.contains(r#""prepend_scheme":"first""#)
                    || spaces.contains(r#""prepend_scheme":"always""#),
            });
        }
        let pre = pre_tokenizer(&file["pre_tokenizer"])?;
        Ok(Kind::ByteLevelBpe {
            pre,
            merges: merges.iter().map(|[left, right]| format!("{left} {right}")).collect(),
        })
    }
}

/// Makes sure that the model is one of merges alone.
fn check_model(model: &Value) -> Result<()> {
    if model["type"].as_str().unwrap_or("BPE") != "BPE" {
        bail!("the model is {}, expected BPE", model["type"]);
    }
    for affix in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[affix].as_str().is_some_and(|affix| !affix.is_empty()) {
            bail!("the model has {affix} {}, expected none", model[affix]);
        }
    }
    Ok(())
}

/// The tokens and merges of a file.
///
/// What else a file has, the crate `tokenizers` gets no sight of: it takes these parts to be well formed, and they
/// have no effect on the tokens.
fn load(file: &Value, merges: &[[String; 2]]) -> Result<Tokenizer> {
    let model = &file["model"];
    let added_tokens = file["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    let parts = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": null,
        "model": { "type": "BPE", "vocab": model["vocab"], "merges": merges },
    });
    let tokenizer = Tokenizer::from_bytes(parts.to_string()).map_err(|error| anyhow::anyhow!("{error}"))?;
    // Those whose ids would leave a gap get others.
    for token in added_tokens {
        let id = token["id"].as_u64();
        let found = token["content"].as_str().and_then(|content| tokenizer.token_to_id(content));
        if id.is_none() || id != found.map(u64::from) {
            match found {
                Some(next) => {
                    bail!("added token {} has id {}, expected {next}", token["content"], token["id"])
                }
                None => bail!("added token {} has no content", token["id"]),
            }
        }
    }
    Ok(tokenizer)
}

/// The token that a post-processor puts before every text.
fn first_id(post_processor: &Value) -> Option<u64> {
    match post_processor.get("type")?.as_str()? {
        "TemplateProcessing" => {
            let name = post_processor.pointer("/single/0/SpecialToken/id")?.as_str()?;
            post_processor.get("special_tokens")?.get(name)?.pointer("/ids/0")?.as_u64()
        }
        "BertProcessing" | "RobertaProcessing" => post_processor.pointer("/cls/1")?.as_u64(),
        "Sequence" => post_processor.get("processors")?.as_array()?.iter().find_map(first_id),
        _ => None,
    }
}

/// Texts and types of all tokens by id, up to the rows of the embedding.
fn tokens(tokenizer: &Tokenizer, n_vocab: usize) -> Result<(Vec<String>, Vec<i32>)> {
    // Rows without a token, which writers add to round the number up.
    let mut tokens: Vec<String> = (0..n_vocab).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; n_vocab];
    for (token, id) in tokenizer.get_vocab(true) {
        let id = id as usize;
        if id >= n_vocab {
            bail!("token {token:?} has id {id}, but vocab_size is {n_vocab}");
        }
        (tokens[id], types[id]) = (token, NORMAL);
    }
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        let ty = types.get_mut(id as usize);
        let ty = ty.with_context(|| format!("an added token has id {id}, but vocab_size is {n_vocab}"))?;
        *ty = if token.special { CONTROL } else { USER_DEFINED };
    }
    Ok((tokens, types))
}

/// The pairs to merge, first ones first.
fn merges(model: &Value) -> Result<Vec<[String; 2]>> {
    let merges = model.get("merges").and_then(Value::as_array).context("the model has no merges")?;
    let pair = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(left, right)| [left.to_owned(), right.to_owned()]),
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(left), Value::String(right)] => Some([left.clone(), right.clone()]),
            _ => None,
        },
        _ => None,
    };
    merges.iter().map(|merge| pair(merge).with_context(|| format!("merge {merge} is no pair"))).collect()
}

/// Scores in the order of the merges: of two possible merges, the one that comes first has the higher score.
fn scores(tokens: &[String], merges: &[[String; 2]]) -> Vec<f32> {
    let mut ranks = HashMap::new();
    for (rank, [left, right]) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    tokens.iter().map(|token| ranks.get(token).map_or(0.0, |&rank| -(rank as f32))).collect()
}

/// llama.cpp's name for the rule that cuts words.
fn pre_tokenizer(rule: &Value) -> Result<&'static str> {
    let steps = match rule.get("pretokenizers").and_then(Value::as_array) {
        Some(steps) => steps.clone(),
        None => vec![rule.clone()],
    };
    let ty = |step: &Value| step.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let types: Vec<String> = steps.iter().map(ty).collect();
    match types.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ByteLevel"] => Ok("gpt-2"),
        ["Digits", "ByteLevel"] => Ok("smollm"),
        ["Split", "ByteLevel"] => {
            let pattern = steps[0].pointer("/pattern/Regex").and_then(Value::as_str).unwrap_or_default();
            match PATTERNS.iter().find(|(_, known)| *known == pattern) {
                Some((name, _)) => Ok(name),
                None => bail!("the pre-tokenizer's pattern {pattern:?} is not one that is known"),
            }
        }
        _ => bail!("the pre-tokenizer is {types:?}, expected ByteLevel, or Digits or Split before it"),
    }
}

/// Whether this is `<0x00>` to `<0xFF>`.
fn is_byte_token(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// What a JSON file says; nothing if there is none.
fn optional_json(files: &dyn Files, name: &str) -> Result<Value> {
    match read_optional(files, name)? {
        Some(bytes) => serde_json::from_slice((*bytes).as_ref()).with_context(|| name.to_owned()),
        None => Ok(Value::Null),
    }
}
