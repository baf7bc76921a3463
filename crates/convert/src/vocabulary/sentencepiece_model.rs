//! tokenizer.model: a vocabulary in SentencePiece's format, for checkpoints without tokenizer.json.
//!
//! The file is a protocol buffers message, `ModelProto` of `sentencepiece_model.proto`. Only the fields that matter here are
//! declared.

use anyhow::{Context, Result, bail};
use prost::Message;
use serde_json::Value;

use super::text_rules::SPACE;
use super::{AddedTokens, BYTE, CONTROL, Kind, NORMAL, Roles, Tokens, UNKNOWN, UNUSED, USER_DEFINED};

pub const FILE: &str = "tokenizer.model";

#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pub pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    pub trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    pub normalizer: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Piece {
    #[prost(string, optional, tag = "1")]
    pub piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub score: Option<f32>,
    /// GGUF uses the same numbers.
    #[prost(int32, optional, tag = "3")]
    pub ty: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    pub model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    pub treat_whitespace_as_suffix: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    pub unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41")]
    pub bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    pub eos_id: Option<i32>,
    #[prost(int32, optional, tag = "43")]
    pub pad_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct NormalizerSpec {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    pub add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub escape_whitespaces: Option<bool>,
}

/// `TrainerSpec.model_type`.
const MODEL_TYPES: [&str; 5] = ["0", "UNIGRAM", "BPE", "WORD", "CHAR"];
pub const UNIGRAM: i32 = 1;
const BPE: i32 = 2;

impl TrainerSpec {
    /// The special tokens.
    pub fn roles(&self, n_vocab: usize) -> Roles {
        let id = |id: Option<i32>, default: i32| {
            u32::try_from(id.unwrap_or(default)).ok().filter(|&id| (id as usize) < n_vocab)
        };
        Roles {
            bos: id(self.bos_id, 1),
            eos: id(self.eos_id, 2),
            unknown: id(self.unk_id, 0),
            pad: id(self.pad_id, -1),
        }
    }
}

impl ModelProto {
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        ModelProto::decode(bytes).context("it is no SentencePiece model")
    }
}

/// The score of tokens that no merge produces, as in llama.cpp.
const UNUSED_SCORE: f32 = -10_000.0;
pub const ADDED_SCORE: f32 = -1000.0;

/// Reads the file, with added_tokens.json and tokenizer_config.json, for an embedding with `n_vocab` rows.
pub fn read(
    bytes: &[u8],
    added: &Value,
    settings: &Value,
    n_vocab: usize,
    added_tokens: &mut AddedTokens<'_>,
) -> Result<Tokens> {
    let model = ModelProto::parse(bytes)?;
    let trainer = model.trainer.unwrap_or_default();
    let normalizer = model.normalizer.unwrap_or_default();
    check(&trainer, &normalizer)?;
    if model.pieces.is_empty() {
        bail!("it has no pieces");
    }
    if model.pieces.len() > n_vocab {
        bail!("it has {} pieces, but vocab_size is {n_vocab}", model.pieces.len());
    }

    let mut texts: Vec<String> = (0..n_vocab).map(|id| format!("[PAD{id}]")).collect();
    let mut scores = vec![UNUSED_SCORE; n_vocab];
    let mut types = vec![UNUSED; n_vocab];
    for (id, piece) in model.pieces.into_iter().enumerate() {
        let text = piece.piece.with_context(|| format!("piece {id} has no text"))?;
        types[id] = match piece.ty.unwrap_or(NORMAL) {
            ty @ (NORMAL | UNKNOWN | CONTROL | USER_DEFINED | UNUSED | BYTE) => ty,
            ty => bail!("piece {id} has type {ty}, expected 1 to 6"),
        };
        // GGUF searches for these tokens before spaces are escaped.
        texts[id] = if types[id] == USER_DEFINED { text.replace(SPACE, " ") } else { text };
        scores[id] = piece.score.unwrap_or(0.0);
    }
    let mut add = |id: u64, text: &str, ty: i32| -> Result<()> {
        let index = usize::try_from(id).ok().filter(|&index| index < n_vocab);
        let index = index
            .with_context(|| format!("added token {text:?} has id {id}, but vocab_size is {n_vocab}"))?;
        texts[index] = if ty == USER_DEFINED { text.replace(SPACE, " ") } else { text.to_owned() };
        (scores[index], types[index]) = (ADDED_SCORE, ty);
        Ok(())
    };
    for (text, id) in added.as_object().into_iter().flatten() {
        let id = id.as_u64().with_context(|| format!("added_tokens.json: {text:?} has id {id}"))?;
        add(id, text, USER_DEFINED)?;
    }
    for (id, token) in settings["added_tokens_decoder"].as_object().into_iter().flatten() {
        let context = || format!("tokenizer_config.json: added token {id} is {token}");
        let number = id.parse().with_context(context)?;
        added_tokens.check(token).with_context(context)?;
        let text = token["content"].as_str().with_context(context)?;
        let ty = added_tokens.ty(text, token["special"].as_bool() == Some(true));
        // The token for unknown text keeps its type.
        let is_unknown = trainer.unk_id.unwrap_or(0) == i32::try_from(number).unwrap_or(-1);
        add(number, text, if is_unknown { UNKNOWN } else { ty })?;
    }
    let roles = trainer.roles(n_vocab);
    let add_space_prefix = normalizer.add_dummy_prefix.unwrap_or(true);
    Ok(Tokens {
        kind: Kind::SentencePiece { scores, add_space_prefix },
        texts,
        types,
        roles,
        // Programs that read these files add this token.
        first: roles.bos,
        last: None,
    })
}

/// Checks that texts are merged by scores, and that normalization changes nothing but their spaces.
fn check(trainer: &TrainerSpec, normalizer: &NormalizerSpec) -> Result<()> {
    let model_type = trainer.model_type.unwrap_or(UNIGRAM);
    if model_type != BPE {
        let name = usize::try_from(model_type).ok().and_then(|ty| MODEL_TYPES.get(ty)).unwrap_or(&"unknown");
        bail!("model_type is {name}, expected BPE");
    }
    if trainer.treat_whitespace_as_suffix == Some(true) {
        bail!("treat_whitespace_as_suffix is true, expected false");
    }
    if normalizer.precompiled_charsmap.as_ref().is_some_and(|map| !map.is_empty()) {
        bail!("the normalizer is {:?}, expected identity", normalizer.name.as_deref().unwrap_or_default());
    }
    if normalizer.remove_extra_whitespaces.unwrap_or(true) {
        bail!("remove_extra_whitespaces is true, expected false");
    }
    if normalizer.escape_whitespaces == Some(false) {
        bail!("escape_whitespaces is false, expected true");
    }
    Ok(())
}
