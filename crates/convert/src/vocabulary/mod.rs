//! The vocabulary of a checkpoint: tokenizer.json or tokenizer.model, and the files that belong to them.
//!
//! `tokenizer_json`, `word_piece`, `unigram` and `sentencepiece_model` read the tokens. `text_rules` and `pre_tokenizers` handle
//! what the file does to a text before tokenization. `chat_templates` reads the templates.

mod chat_templates;
mod pre_tokenizers;
mod sentencepiece_model;
mod text_rules;
mod tokenizer_json;
mod unigram;
mod word_piece;

use anyhow::{Context, Result, bail};
use llm::gguf::GgufWriter;
use serde_json::Value;

use super::family::{Unigram, VocabularyRules};
use super::{Files, ModelConfig, put_optional_u32, read_optional};
use chat_templates::ChatTemplates;

/// A vocabulary in GGUF's form.
#[derive(Debug)]
pub struct Vocabulary {
    tokens: Tokens,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    unknown_id: Option<u32>,
    pad_id: Option<u32>,
    mask_id: Option<u32>,
    add_bos: Option<bool>,
    add_eos: Option<bool>,
    add_sep: Option<bool>,
    /// Whether texts are enclosed in two special tokens.
    is_framed: bool,
    chat_templates: ChatTemplates,
}

/// The tokens of a file, and how texts become tokens.
#[derive(Debug)]
struct Tokens {
    kind: Kind,
    texts: Vec<String>,
    types: Vec<i32>,
    /// The special tokens that the file itself names.
    roles: Roles,
    /// The tokens that are added before and after every text.
    first: Option<u32>,
    last: Option<u32>,
}

/// Special tokens, by id.
#[derive(Debug, Default, Clone, Copy)]
struct Roles {
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    pad: Option<u32>,
}

#[derive(Debug)]
enum Kind {
    /// Byte-level BPE: merges, and the rule that splits words.
    ByteLevelBpe { pre: &'static str, merges: Vec<String> },
    /// BPE over characters with byte fallback: merges.
    CharacterBpe { merges: Vec<String> },
    /// SentencePiece-style: scores.
    SentencePiece { scores: Vec<f32>, add_space_prefix: bool },
    /// Unigram, as in XLM-R: scores, and SentencePiece's map of characters.
    Unigram { scores: Vec<f32>, add_space_prefix: bool, remove_extra_whitespaces: bool, charsmap: Vec<u8> },
    /// WordPiece, as in BERT.
    WordPiece { lowercase: bool },
}

/// `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

impl Vocabulary {
    /// Reads the vocabulary for a model's embedding from tokenizer.json, or from tokenizer.model if there is no tokenizer.json or
    /// the family prefers it, and from tokenizer_config.json. Adds a line to `notes` for each thing that is left out, as in
    /// llama.cpp.
    pub fn read(files: &dyn Files, model: &ModelConfig, notes: &mut Vec<String>) -> Result<Self> {
        let (n_vocab, rules) = (model.vocab_size, model.vocabulary_rules());
        let settings = optional_json(files, "tokenizer_config.json")?;
        let config = optional_json(files, "config.json")?;
        let is_unigram = rules.unigram != Unigram::No;
        let json = read_optional(files, tokenizer_json::FILE)?;
        let model = match json {
            Some(_) if !rules.prefers_sentencepiece => None,
            _ if is_unigram => None,
            _ => read_optional(files, sentencepiece_model::FILE)?,
        };
        let mut unigram = None;
        for file in unigram::files(rules.unigram) {
            unigram = match unigram {
                None => read_optional(files, file)?.map(|bytes| (file, bytes)),
                found => found,
            };
        }
        let mut added_tokens = AddedTokens { rules, notes };
        let tokens = if let Some((file, bytes)) = unigram {
            let has_own = rules.unigram == Unigram::XlmR;
            let added = if has_own { Value::Null } else { optional_json(files, "added_tokens.json")? };
            unigram::read_model((*bytes).as_ref(), n_vocab as usize, has_own, &added).context(*file)?
        } else if let Some(bytes) = model {
            let added = optional_json(files, "added_tokens.json")?;
            sentencepiece_model::read(
                (*bytes).as_ref(),
                &added,
                &settings,
                n_vocab as usize,
                &mut added_tokens,
            )
            .context(sentencepiece_model::FILE)?
        } else if let Some(bytes) = json {
            tokenizer_json::read((*bytes).as_ref(), n_vocab as usize, &mut added_tokens)
                .context(tokenizer_json::FILE)?
        } else {
            let other = if is_unigram { unigram::files(rules.unigram) } else { &[sentencepiece_model::FILE] };
            bail!("there is no {}", [&[tokenizer_json::FILE], other].concat().join(", nor "));
        };
        let id_of = |name: &str| {
            let content = settings
                .get(name)
                .and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
            let listed = || {
                let key = format!("{name}_id");
                // In a model with vision, the part for texts may have it.
                let of_texts = || config.get("text_config")?.get(&key);
                let id = config.get(&key).filter(|id| !id.is_null()).or_else(of_texts)?;
                id.get(0).unwrap_or(id).as_u64()?.try_into().ok().filter(|&id| id < n_vocab)
            };
            content.and_then(|content| tokens.id_of(content)).or_else(listed)
        };
        let flag = |name: &str| settings.get(name).and_then(Value::as_bool);
        let roles = tokens.roles;
        // If a name is missing, BERT's name for the token at that end of a text is used instead.
        let first_of = |names: [&str; 2]| names.into_iter().find_map(id_of);
        let is_framed = rules.is_framed || matches!(tokens.kind, Kind::WordPiece { .. });
        let (bos_id, eos_id) = match is_framed {
            true => (first_of(["bos_token", "cls_token"]), first_of(["eos_token", "sep_token"])),
            false => (id_of("bos_token"), id_of("eos_token")),
        };
        let (bos_id, eos_id) = (bos_id.or(roles.bos), eos_id.or(roles.eos));
        // Newer files say with their post-processor, not with a flag, that texts begin with the start token.
        let is_first = bos_id.is_some() && tokens.first == bos_id;
        let is_last = eos_id.is_some() && tokens.last == eos_id;
        Ok(Vocabulary {
            bos_id,
            eos_id,
            unknown_id: id_of("unk_token").or(roles.unknown),
            pad_id: id_of("pad_token").or(roles.pad),
            mask_id: id_of("mask_token"),
            add_bos: flag("add_bos_token").or(Some(is_first || rules.is_framed)),
            add_eos: flag("add_eos_token").or((is_last || rules.is_framed).then_some(true)),
            is_framed: is_framed || is_unigram && rules.unigram != Unigram::Plain,
            add_sep: match is_unigram || rules.is_framed {
                true => {
                    let file = optional_json(files, tokenizer_json::FILE)?;
                    let told = file.get("post_processor").and_then(unigram::doubles_separator);
                    told.or(rules.is_framed.then_some(true))
                }
                false => is_framed.then_some(false),
            },
            chat_templates: ChatTemplates::read(files, &settings)?,
            tokens,
        })
    }

    /// Adds the vocabulary to a GGUF header.
    pub fn describe(&self, writer: &mut GgufWriter) -> Result<()> {
        match &self.tokens.kind {
            Kind::ByteLevelBpe { pre, merges } => {
                writer.put_str("tokenizer.ggml.model", "gpt2")?;
                writer.put_str("tokenizer.ggml.pre", pre)?;
                writer.put_strings("tokenizer.ggml.merges", merges.iter())?;
            }
            Kind::CharacterBpe { merges } => {
                writer.put_str("tokenizer.ggml.model", "gpt2")?;
                writer.put_str("tokenizer.ggml.pre", "sarvam-moe")?;
                writer.put_strings("tokenizer.ggml.merges", merges.iter())?;
            }
            Kind::SentencePiece { scores, add_space_prefix } => {
                writer.put_str("tokenizer.ggml.model", "llama")?;
                writer.put_str("tokenizer.ggml.pre", "default")?;
                writer.put_f32s("tokenizer.ggml.scores", scores)?;
                writer.put_bool("tokenizer.ggml.add_space_prefix", *add_space_prefix)?;
            }
            Kind::Unigram { scores, add_space_prefix, remove_extra_whitespaces, charsmap } => {
                writer.put_str("tokenizer.ggml.model", "t5")?;
                writer.put_str("tokenizer.ggml.pre", "default")?;
                writer.put_f32s("tokenizer.ggml.scores", scores)?;
                writer.put_bool("tokenizer.ggml.add_space_prefix", *add_space_prefix)?;
                writer.put_bool("tokenizer.ggml.remove_extra_whitespaces", *remove_extra_whitespaces)?;
                if !charsmap.is_empty() {
                    writer.put_bytes("tokenizer.ggml.precompiled_charsmap", charsmap)?;
                }
            }
            // Written below, with the tokens that it needs.
            Kind::WordPiece { .. } => {}
        }
        if let Kind::WordPiece { lowercase } = &self.tokens.kind {
            writer.put_str("tokenizer.ggml.model", "bert")?;
            writer.put_str("tokenizer.ggml.pre", "jina-v1-en")?;
            writer.put_bool("tokenizer.ggml.normalizer.lowercase", *lowercase)?;
        }
        writer.put_strings("tokenizer.ggml.tokens", self.tokens.texts.iter())?;
        writer.put_i32s("tokenizer.ggml.token_type", &self.tokens.types)?;
        put_optional_u32(writer, "tokenizer.ggml.bos_token_id", self.bos_id)?;
        put_optional_u32(writer, "tokenizer.ggml.eos_token_id", self.eos_id)?;
        put_optional_u32(writer, "tokenizer.ggml.unknown_token_id", self.unknown_id)?;
        put_optional_u32(writer, "tokenizer.ggml.padding_token_id", self.pad_id)?;
        if let Some(add_bos) = self.add_bos {
            writer.put_bool("tokenizer.ggml.add_bos_token", add_bos)?;
        }
        if let Some(add_eos) = self.add_eos {
            writer.put_bool("tokenizer.ggml.add_eos_token", add_eos)?;
        }
        if self.is_framed {
            put_optional_u32(writer, "tokenizer.ggml.seperator_token_id", self.eos_id)?;
            put_optional_u32(writer, "tokenizer.ggml.mask_token_id", self.mask_id)?;
        }
        if let Some(add_sep) = self.add_sep {
            writer.put_bool("tokenizer.ggml.add_sep_token", add_sep)?;
        }
        self.chat_templates.describe(writer)
    }
}

impl Tokens {
    fn id_of(&self, text: &str) -> Option<u32> {
        let is_meant = |&(known, &ty): &(&String, &i32)| known == text && ty != UNUSED;
        self.texts.iter().zip(&self.types).position(|(known, ty)| is_meant(&(known, ty))).map(|id| id as u32)
    }
}

/// How added tokens are read.
struct AddedTokens<'n> {
    rules: VocabularyRules,
    notes: &'n mut Vec<String>,
}

impl AddedTokens<'_> {
    /// Checks that an added token is found wherever its text occurs, and removes nothing else from the text except what programs
    /// know from the model's name.
    fn check(&mut self, token: &Value) -> Result<()> {
        for flag in ["lstrip", "rstrip", "single_word"] {
            if token[flag].as_bool() != Some(true) {
                continue;
            }
            if self.rules.strips != Some(flag) {
                bail!(
                    "added token {} has {flag} true, which has no place in GGUF; expected false",
                    token["content"]
                );
            }
            let note = format!(
                "{flag} of added tokens is left out, as by llama.cpp: spaces beside them stay, unless a program knows the model by \
                 its name"
            );
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        Ok(())
    }

    /// `tokenizer.ggml.token_type` of an added token.
    fn ty(&self, text: &str, is_special: bool) -> i32 {
        let is_control = is_special || self.rules.judges_by_looks && looks_special(text);
        if is_control { CONTROL } else { USER_DEFINED }
    }
}

/// Whether a token looks like a control token: llama.cpp's rule for files that do not mark such tokens as special.
fn looks_special(text: &str) -> bool {
    let is_between = |begin: &str, end: &str| text.starts_with(begin) && text.ends_with(end);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || is_between("<|", "|>")
        || is_between("<｜", "｜>")
        || is_between("<unused", ">")
}

/// Whether this is `<0x00>` to `<0xFF>`.
fn is_byte_token(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// The contents of a JSON file; `null` if there is no such file.
fn optional_json(files: &dyn Files, name: &str) -> Result<Value> {
    match read_optional(files, name)? {
        Some(bytes) => serde_json::from_slice((*bytes).as_ref()).with_context(|| name.to_owned()),
        None => Ok(Value::Null),
    }
}
