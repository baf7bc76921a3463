//! Texts as vectors.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use llm::front::embedding::Embedding;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::fields::Prompt;
use super::json::{Text, push};
use crate::error::ApiError;

/// Most texts of a request.
const MAX_INPUTS: usize = 2048;
/// Most bytes of a number in JSON, and a comma.
const MAX_NUMBER_BYTES: usize = 20;

/// What is asked.
#[derive(Debug, Deserialize)]
pub struct Asked<'b> {
    /// The name of a model.
    #[serde(borrow, default)]
    pub model: Option<Text<'b>>,
    /// The texts.
    pub input: Inputs,
    /// The form of the vectors.
    #[serde(default)]
    pub encoding_format: Option<Encoding>,
    /// How many of a vector's elements are wanted.
    #[serde(default)]
    pub dimensions: Option<usize>,
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

/// Texts: one, several, the ids of one, or those of several. They are copies, since vectors are computed one at a time, and the
/// body is not kept meanwhile.
#[derive(Debug)]
pub struct Inputs(pub Vec<Prompt<'static>>);

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputsVisitor)
    }
}

struct InputsVisitor;

impl<'de> Visitor<'de> for InputsVisitor {
    type Value = Inputs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an array of strings, an array of token ids, or an array of such arrays")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Inputs, E> {
        one(Prompt::Text(super::json::copy(text)?.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Inputs, A::Error> {
        let (mut inputs, mut ids) = (Vec::new(), Vec::new());
        while let Some(element) = elements.next_element::<Element>()? {
            match element {
                Element::Id(id) if inputs.is_empty() => push(&mut ids, id, super::fields::MAX_IDS)?,
                Element::Input(input) if ids.is_empty() => push(&mut inputs, input, MAX_INPUTS)?,
                _ => return Err(de::Error::custom("expected either texts or token ids")),
            }
        }
        if !ids.is_empty() {
            return one(Prompt::Ids(ids));
        }
        Ok(Inputs(inputs))
    }
}

fn one<E: de::Error>(input: Prompt<'static>) -> Result<Inputs, E> {
    let mut inputs = Vec::new();
    push(&mut inputs, input, 1)?;
    Ok(Inputs(inputs))
}

/// What stands in an array of inputs.
enum Element {
    Id(u32),
    Input(Prompt<'static>),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a token id or an array of token ids")
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Self::Value, E> {
                let unknown = || E::invalid_value(de::Unexpected::Unsigned(id), &self);
                u32::try_from(id).map(Element::Id).map_err(|_| unknown())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Element::Input(Prompt::Text(super::json::copy(text)?.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = elements.next_element()? {
                    push(&mut ids, id, super::fields::MAX_IDS)?;
                }
                Ok(Element::Input(Prompt::Ids(ids)))
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}

/// The vectors.
#[derive(Serialize)]
pub struct Answer<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

/// A vector in its form.
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

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl<'a> Answer<'a> {
    /// These vectors of a model.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn new(model: &'a str, embeddings: &'a [Embedding], encoding: Encoding) -> Result<Self, ApiError> {
        let mut data = Vec::new();
        data.try_reserve_exact(embeddings.len()).map_err(|_| ApiError::out_of_memory())?;
        for (index, embedding) in embeddings.iter().enumerate() {
            let embedding = match encoding {
                Encoding::Float => Vector::Numbers(&embedding.values),
                Encoding::Base64 => Vector::Base64(in_base64(&embedding.values)?),
            };
            data.push(Item { object: "embedding", index, embedding });
        }
        let n_tokens = embeddings.iter().map(|embedding| embedding.n_tokens).sum();
        let usage = Usage { prompt_tokens: n_tokens, total_tokens: n_tokens };
        Ok(Self { object: "list", data, model, usage })
    }

    /// Bytes of its texts, at most.
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
