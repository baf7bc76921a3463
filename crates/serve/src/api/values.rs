//! Values of fields that can be written in more than one way.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use llm::quoted::Quoted;
use llm::sampling::Stages;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::conversation::{Content, Message, Role};
use super::json::{List, ListVisitor, Text, push};
use crate::error::ApiError;

/// Most messages of a conversation.
pub const MAX_MESSAGES: usize = 4096;
/// Most parts of a message, and most stop texts.
pub const MAX_PARTS: usize = 256;
/// Most biases.
pub const MAX_BIASES: usize = 1024;
/// Most texts that become vectors in one request.
const MAX_PROMPTS: usize = 2048;
/// Most ids in a prompt, or in a text to be decoded.
pub const MAX_IDS: usize = 1 << 20;

/// A conversation: items, or a text that the user says.
#[derive(Debug)]
pub struct Input<'b>(pub Vec<Message<'b>>);

impl<'de: 'b, 'b> Deserialize<'de> for Input<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of items")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Input<'de>, E> {
        asked(Cow::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Input<'de>, E> {
        asked(Cow::Owned(super::json::copy(text)?))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Input<'de>, A::Error> {
        let List(items) = ListVisitor::<_, MAX_MESSAGES>::default().visit_seq(items)?;
        Ok(Input(items))
    }
}

/// A conversation that consists of this question.
fn asked<E: de::Error>(text: Cow<'_, str>) -> Result<Input<'_>, E> {
    let mut items = Vec::new();
    let role = Some(Role::User);
    push(&mut items, Message { role, content: Content::Text(text), ..Message::default() }, 1)?;
    Ok(Input(items))
}

/// A prompt: a text, or token ids.
#[derive(Debug, PartialEq, Eq)]
pub enum Prompt<'b> {
    /// A text.
    Text(Cow<'b, str>),
    /// Ids of tokens.
    Ids(Vec<u32>),
}

impl Prompt<'_> {
    /// A copy that does not borrow from the body.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn into_owned(self) -> Result<Prompt<'static>, ApiError> {
        Ok(match self {
            Self::Ids(ids) => Prompt::Ids(ids),
            Self::Text(Cow::Owned(text)) => Prompt::Text(Cow::Owned(text)),
            Self::Text(Cow::Borrowed(text)) => Prompt::Text(Cow::Owned(super::json::own(text)?)),
        })
    }
}

/// Prompts: one text, several texts, the ids of one prompt, or those of several.
#[derive(Debug)]
pub struct Prompts<'b>(pub Vec<Prompt<'b>>);

impl<'de: 'b, 'b> Deserialize<'de> for Prompts<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PromptsVisitor)
    }
}

struct PromptsVisitor;

impl<'de> Visitor<'de> for PromptsVisitor {
    type Value = Prompts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an array of strings, an array of token ids, or an array of such arrays")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Prompts<'de>, E> {
        one(Prompt::Text(text.into()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Prompts<'de>, E> {
        one(Prompt::Text(super::json::copy(text)?.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Prompts<'de>, A::Error> {
        let (mut prompts, mut ids) = (Vec::new(), Vec::new());
        while let Some(element) = elements.next_element::<Element<'de>>()? {
            match element {
                Element::Id(id) if prompts.is_empty() => push(&mut ids, id, MAX_IDS)?,
                Element::Prompt(prompt) if ids.is_empty() => push(&mut prompts, prompt, MAX_PROMPTS)?,
                _ => return Err(de::Error::custom("expected either texts or token ids")),
            }
        }
        if !ids.is_empty() {
            return one(Prompt::Ids(ids));
        }
        Ok(Prompts(prompts))
    }
}

fn one<E: de::Error>(prompt: Prompt<'_>) -> Result<Prompts<'_>, E> {
    let mut prompts = Vec::new();
    push(&mut prompts, prompt, 1)?;
    Ok(Prompts(prompts))
}

/// An element of an array that is one prompt, or several.
enum Element<'b> {
    Id(u32),
    Prompt(Prompt<'b>),
}

impl<'de: 'b, 'b> Deserialize<'de> for Element<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a token id or an array of token ids")
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Self::Value, E> {
                let unknown = || E::invalid_value(de::Unexpected::Unsigned(id), &self);
                u32::try_from(id).map(Element::Id).map_err(|_| unknown())
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Element::Prompt(Prompt::Text(text.into())))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Element::Prompt(Prompt::Text(super::json::copy(text)?.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = elements.next_element()? {
                    push(&mut ids, id, MAX_IDS)?;
                }
                Ok(Element::Prompt(Prompt::Ids(ids)))
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}

/// Stop texts: one, or several.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stop<'b>(pub Vec<Text<'b>>);

impl<'de: 'b, 'b> Deserialize<'de> for Stop<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StopVisitor;
        impl<'de> Visitor<'de> for StopVisitor {
            type Value = Stop<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Stop<'de>, E> {
                let mut stop = Vec::new();
                push(&mut stop, Text(Cow::Borrowed(text)), MAX_PARTS)?;
                Ok(Stop(stop))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Stop<'de>, E> {
                let mut stop = Vec::new();
                push(&mut stop, Text(Cow::Owned(super::json::copy(text)?)), MAX_PARTS)?;
                Ok(Stop(stop))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Stop<'de>, A::Error> {
                let mut stop = Vec::new();
                while let Some(text) = texts.next_element()? {
                    push(&mut stop, text, MAX_PARTS)?;
                }
                Ok(Stop(stop))
            }
        }
        deserializer.deserialize_any(StopVisitor)
    }
}

/// Numbers that are added to logits: for OpenAI an object with ids as names, for llama.cpp an array of pairs.
#[derive(Debug, Default, PartialEq)]
pub struct Biases(pub Vec<(u32, f32)>);

impl<'de> Deserialize<'de> for Biases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BiasVisitor;
        impl<'de> Visitor<'de> for BiasVisitor {
            type Value = Biases;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token ids and numbers, or an array of pairs of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Biases, A::Error> {
                let mut biases = Vec::new();
                while let Some((Text(id), bias)) = entries.next_entry::<Text<'de>, f32>()? {
                    let id = id.parse().map_err(|_| {
                        let id = Quoted(&id);
                        de::Error::custom(format_args!("{id} is no id of a token, which is a whole number"))
                    })?;
                    push(&mut biases, (id, bias), MAX_BIASES)?;
                }
                Ok(Biases(biases))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Biases, A::Error> {
                let mut biases = Vec::new();
                while let Some(pair) = pairs.next_element()? {
                    push(&mut biases, pair, MAX_BIASES)?;
                }
                Ok(Biases(biases))
            }
        }
        deserializer.deserialize_any(BiasVisitor)
    }
}

/// The stages in order: an array of names, or a string of letters as in llama.cpp, or a string of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samplers {
    /// The stages.
    pub stages: Stages,
    /// Whether `infill` is among them. That stage is only for gaps and changes nothing here.
    pub has_infill: bool,
}

impl<'de> Deserialize<'de> for Samplers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SamplersVisitor;
        impl<'de> Visitor<'de> for SamplersVisitor {
            type Value = Samplers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of names, or a string of letters from edskypmxt")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Samplers, E> {
                let stages = Stages::of_letters(text).or_else(|| text.parse().ok());
                stages
                    .map(|stages| Samplers { stages, has_infill: false })
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Samplers, A::Error> {
                let (mut stages, mut has_infill) = (Stages::NONE, false);
                while let Some(Text(name)) = names.next_element::<Text<'de>>()? {
                    if name == "infill" {
                        has_infill = true;
                    } else if !stages.push_called(&name) {
                        let expected = Stages::EXPECTED;
                        let name = Quoted(&name);
                        return Err(de::Error::custom(format_args!(
                            "{name} is not taken, expected {expected}"
                        )));
                    }
                }
                Ok(Samplers { stages, has_infill })
            }
        }
        deserializer.deserialize_any(SamplersVisitor)
    }
}

/// Whether log-probabilities are wanted, or for how many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logprobs {
    /// Whether.
    Are(bool),
    /// For how many tokens.
    Of(u32),
}

impl<'de> Deserialize<'de> for Logprobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LogprobsVisitor;
        impl Visitor<'_> for LogprobsVisitor {
            type Value = Logprobs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean or a whole number")
            }

            fn visit_bool<E: de::Error>(self, are: bool) -> Result<Logprobs, E> {
                Ok(Logprobs::Are(are))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Logprobs, E> {
                let n = u32::try_from(n);
                n.map(Logprobs::Of).map_err(|_| E::custom("expected a boolean or a small whole number"))
            }
        }
        deserializer.deserialize_any(LogprobsVisitor)
    }
}
