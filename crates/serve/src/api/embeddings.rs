//! Requests to turn texts into vectors.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use llm::front::embedding::{Embedding, EmbeddingWish, Pooling};
use serde::{Deserialize, Serialize, Serializer};

use super::json::Text;
use super::usage::Counted;
use super::values::Prompts;
use crate::error::ApiError;

/// Most bytes of a number in JSON, with a comma.
const MAX_NUMBER_BYTES: usize = 20;

/// The fields of a request.
#[derive(Debug, Deserialize)]
pub struct Asked<'b> {
    /// The name of a model.
    #[serde(borrow, default)]
    pub model: Option<Text<'b>>,
    /// The texts.
    #[serde(borrow)]
    pub input: Prompts<'b>,
    /// The form of the vectors.
    #[serde(default)]
    pub encoding_format: Option<Encoding>,
    /// How many of a vector's elements the client wants.
    #[serde(default)]
    pub dimensions: Option<usize>,
    /// After how many milliseconds the client no longer wants the vectors.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// How the vectors of a text's tokens become one vector.
    #[serde(borrow, default)]
    pooling: Option<Text<'b>>,
    /// As in llama.cpp's server: 2 for vectors of length 1, -1 for vectors as they are.
    #[serde(default)]
    embd_normalize: Option<i64>,
}

impl Asked<'_> {
    /// The request in the form that the engine takes.
    ///
    /// # Errors
    /// If vectors cannot be made as asked.
    pub fn wish(&self) -> Result<EmbeddingWish, ApiError> {
        let pooling = self.pooling.as_ref().map(|name| name.0.parse::<Pooling>());
        let pooling = pooling.transpose().ok().filter(|pooling| *pooling != Some(Pooling::None));
        let pooling =
            pooling.ok_or_else(|| ApiError::field("pooling", "expected mean, cls, last or rank"))?;
        let normalise = match self.embd_normalize {
            None => None,
            Some(2) => Some(true),
            Some(-1) => Some(false),
            Some(_) => {
                return Err(ApiError::field("embd_normalize", "expected 2 (length 1) or -1 (as they are)"));
            }
        };
        Ok(EmbeddingWish { pooling, normalise, max_tokens: None })
    }
}

/// The form of a vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Numbers.
    #[default]
    Float,
    /// The bytes of f32 numbers, little-endian, in base 64.
    Base64,
}

/// The vectors.
#[derive(Serialize)]
pub struct Answer<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: Counted,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

/// A vector in the form that was asked for.
enum Vector<'a> {
    Numbers(&'a [f32]),
    Base64(String),
}

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Numbers(values) => values.serialize(serializer),
            Self::Base64(text) => serializer.serialize_str(text),
        }
    }
}

impl<'a> Answer<'a> {
    /// The answer with these `n` vectors of a model.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn new(
        model: &'a str,
        embeddings: impl Iterator<Item = &'a Embedding>,
        n: usize,
        encoding: Encoding,
    ) -> Result<Self, ApiError> {
        let (mut data, mut n_tokens) = (Vec::new(), 0);
        data.try_reserve_exact(n).map_err(|_| ApiError::out_of_memory())?;
        for (index, embedding) in embeddings.enumerate() {
            n_tokens += embedding.n_tokens;
            let embedding = match encoding {
                Encoding::Float => Vector::Numbers(&embedding.values),
                Encoding::Base64 => Vector::Base64(in_base64(&embedding.values)?),
            };
            data.push(Item { object: "embedding", index, embedding });
        }
        let usage = Counted::new(n_tokens);
        Ok(Self { object: "list", data, model, usage })
    }

    /// An upper bound of the bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let of_item = |item: &Item<'_>| match &item.embedding {
            Vector::Numbers(values) => values.len() * MAX_NUMBER_BYTES,
            Vector::Base64(text) => text.len(),
        };
        self.model.len() + self.data.iter().map(|item| of_item(item) + 64).sum::<usize>()
    }
}

fn in_base64(values: &[f32]) -> Result<String, ApiError> {
    let (mut bytes, mut text) = (Vec::new(), String::new());
    let n_bytes = size_of_val(values);
    bytes.try_reserve_exact(n_bytes).map_err(|_| ApiError::out_of_memory())?;
    text.try_reserve_exact(n_bytes.div_ceil(3) * 4).map_err(|_| ApiError::out_of_memory())?;
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    BASE64_STANDARD.encode_string(&bytes, &mut text);
    Ok(text)
}
