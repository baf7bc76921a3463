//! Hyper-parameters, read from a file's keys.

use super::architecture::{Architecture, NormKind, Positions};
use super::error::ModelError;
use super::rope::RopeConfig;
use crate::gguf::{Gguf, Name, Value};

/// The dimensions and constants of a model.
///
/// Names are those of llama.cpp's hyper-parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: &'static Architecture,
    /// Tokens in the vocabulary: rows of the embedding matrix.
    pub n_vocab: usize,
    /// Positions that the model was trained for.
    pub n_ctx_train: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Query heads per layer.
    pub n_head: usize,
    /// Key and value heads per layer; each serves `n_head / n_head_kv` query heads.
    pub n_head_kv: usize,
    /// Elements of a query or key head.
    pub head_len_k: usize,
    /// Elements of a value head.
    pub head_len_v: usize,
    /// Width of the feed-forward block.
    pub n_ff: usize,
    /// Added to the variance before the square root of a normalisation.
    pub norm_eps: f32,
    /// The rotary embedding, in families that have one.
    pub rope: Option<RopeConfig>,
}

/// Widths above this are refused: no model comes near, and products of two stay far from overflow.
const MAX_WIDTH: u32 = 1 << 24;

impl Config {
    /// Reads the hyper-parameters; needs the file's header only.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if the family is unknown, a required key is missing or of another type, a
    /// value makes no sense, or the embedding matrix is missing.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, ModelError> {
        let name = gguf
            .str_value("general.architecture")?
            .ok_or_else(|| ModelError::missing_key("general.architecture"))?;
        let architecture =
            Architecture::from_name(name).ok_or_else(|| ModelError::UnknownArchitecture(Name::from(name)))?;
        let keys = Keys { gguf, prefix: architecture.name };

        let n_embd = keys.width("embedding_length")?;
        let n_head = keys.width("attention.head_count")?;
        let n_head_kv = keys.optional_width("attention.head_count_kv")?.unwrap_or(n_head);
        let head_len = match keys.optional_width("attention.key_length")? {
            Some(head_len) => head_len,
            None if n_embd.is_multiple_of(n_head) => n_embd / n_head,
            None => {
                return Err(keys.invalid("attention.head_count", n_head, "a divisor of embedding_length"));
            }
        };
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(keys.invalid(
                "attention.head_count_kv",
                n_head_kv,
                "a divisor of attention.head_count",
            ));
        }
        let n_layer = keys.width("block_count")?;
        if n_layer > gguf.tensors().len() {
            return Err(keys.invalid("block_count", n_layer, "at most the number of tensors"));
        }
        let eps_key = match architecture.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        let rope = match architecture.positions {
            Positions::Rope(_) => Some(RopeConfig::from_keys(&keys, head_len)?),
            Positions::Learned => None,
        };
        let embedding = gguf
            .tensor("token_embd.weight")
            .ok_or_else(|| ModelError::missing_tensor("token_embd.weight"))?;
        Ok(Config {
            architecture,
            n_vocab: n_vocab(gguf, embedding.dims[1])?,
            n_ctx_train: keys.width("context_length")?,
            n_embd,
            n_layer,
            n_head,
            n_head_kv,
            head_len_k: head_len,
            head_len_v: keys.optional_width("attention.value_length")?.unwrap_or(head_len),
            n_ff: keys.width("feed_forward_length")?,
            norm_eps: keys.positive(eps_key)?,
            rope,
        })
    }

    /// Query heads that share one key and value head.
    pub fn n_head_per_kv(&self) -> usize {
        self.n_head / self.n_head_kv
    }
}

/// The number of embedding rows, which a vocabulary in the same file must agree with.
fn n_vocab(gguf: &Gguf<'_>, embedding_rows: u64) -> Result<usize, ModelError> {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    if let Some(Value::Array(tokens)) = gguf.get(TOKENS)
        && tokens.len() as u64 != embedding_rows
    {
        return Err(ModelError::InvalidKey {
            key: Name::from(TOKENS),
            value: tokens.len() as f64,
            expected: "as many tokens as token_embd.weight has rows",
        });
    }
    match u32::try_from(embedding_rows) {
        Ok(n_vocab) if n_vocab > 0 => Ok(n_vocab as usize),
        _ => Err(ModelError::InvalidKey {
            key: Name::from("token_embd.weight"),
            value: embedding_rows as f64,
            expected: "1 to 4294967295 rows",
        }),
    }
}

/// The keys of one family: `<prefix>.<suffix>`.
pub(super) struct Keys<'g, 'a> {
    pub(super) gguf: &'g Gguf<'a>,
    pub(super) prefix: &'static str,
}

impl Keys<'_, '_> {
    fn name(&self, suffix: &str) -> Name {
        Name::format(format_args!("{}.{suffix}", self.prefix))
    }

    /// The error for a value that cannot be.
    pub(super) fn invalid(&self, suffix: &str, value: usize, expected: &'static str) -> ModelError {
        ModelError::InvalidKey { key: self.name(suffix), value: value as f64, expected }
    }

    /// A dimension: 1 to 2^24.
    pub(super) fn width(&self, suffix: &str) -> Result<usize, ModelError> {
        self.optional_width(suffix)?.ok_or_else(|| ModelError::MissingKey(self.name(suffix)))
    }

    /// A dimension that may be absent.
    pub(super) fn optional_width(&self, suffix: &str) -> Result<Option<usize>, ModelError> {
        match self.gguf.u32_value(self.name(suffix).as_str())? {
            None => Ok(None),
            Some(width @ 1..=MAX_WIDTH) => Ok(Some(width as usize)),
            Some(width) => Err(self.invalid(suffix, width as usize, "1 to 16777216")),
        }
    }

    /// A number above zero.
    pub(super) fn positive(&self, suffix: &str) -> Result<f32, ModelError> {
        self.optional_positive(suffix)?.ok_or_else(|| ModelError::MissingKey(self.name(suffix)))
    }

    /// A number above zero that may be absent.
    pub(super) fn optional_positive(&self, suffix: &str) -> Result<Option<f32>, ModelError> {
        match self.gguf.f32_value(self.name(suffix).as_str())? {
            Some(x) if !(x > 0.0 && x.is_finite()) => Err(ModelError::InvalidKey {
                key: self.name(suffix),
                value: x.into(),
                expected: "a finite number above 0",
            }),
            x => Ok(x),
        }
    }

    /// The error for a value that selects something not implemented.
    pub(super) fn unsupported(&self, suffix: &str, value: &str, supported: &'static str) -> ModelError {
        ModelError::UnsupportedKey { key: self.name(suffix), value: Name::from(value), supported }
    }

    /// A name that may be absent.
    pub(super) fn optional_str(&self, suffix: &str) -> Result<Option<&str>, ModelError> {
        Ok(self.gguf.str_value(self.name(suffix).as_str())?)
    }
}
