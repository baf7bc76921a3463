//! Conversations and tools, as requests have them and as the engine takes them.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use llm::chat;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{List, Text, no_memory};
use crate::error::ApiError;

/// Most parts of a message.
const MAX_PARTS: usize = 256;
/// Most calls of a message.
const MAX_CALLS: usize = 128;

/// A message of a conversation.
#[derive(Debug, Deserialize)]
pub struct Message<'b> {
    /// Who says it.
    pub role: Role,
    /// What.
    #[serde(borrow, default)]
    pub content: Content<'b>,
    /// What the model thought before.
    #[serde(borrow, default)]
    pub reasoning_content: Option<Text<'b>>,
    /// The tools that it called.
    #[serde(borrow, default)]
    pub tool_calls: Option<List<Call<'b>, MAX_CALLS>>,
    /// Of a result: the id of the call.
    #[serde(borrow, default)]
    pub tool_call_id: Option<Text<'b>>,
    /// Of a result: the tool's name; of others: who speaks.
    #[serde(borrow, default)]
    pub name: Option<Text<'b>>,
}

/// A call of a tool.
#[derive(Debug, Deserialize)]
pub struct Call<'b> {
    /// What results refer to.
    #[serde(borrow, default)]
    pub id: Option<Text<'b>>,
    /// What was called.
    #[serde(borrow)]
    pub function: CalledFunction<'b>,
}

/// What was called.
#[derive(Debug, Deserialize)]
pub struct CalledFunction<'b> {
    /// Which tool.
    #[serde(borrow)]
    pub name: Text<'b>,
    /// Its arguments.
    #[serde(borrow, default)]
    pub arguments: JsonText<'b>,
}

/// A tool that the model may call.
#[derive(Debug, Deserialize)]
pub struct Tool<'b> {
    /// `function`.
    #[serde(borrow, rename = "type", default)]
    pub kind: Option<Text<'b>>,
    /// What it is.
    #[serde(borrow)]
    pub function: Function<'b>,
}

/// What a tool is.
#[derive(Debug, Deserialize)]
pub struct Function<'b> {
    /// What it is called.
    #[serde(borrow)]
    pub name: Text<'b>,
    /// What it does.
    #[serde(borrow, default)]
    pub description: Option<Text<'b>>,
    /// The JSON schema of its arguments.
    #[serde(borrow, default)]
    pub parameters: Option<&'b RawValue>,
}

/// JSON within JSON: as a string, as OpenAI has it, or as it is.
#[derive(Debug, Default)]
pub struct JsonText<'b>(pub Cow<'b, str>);

impl<'de: 'b, 'b> Deserialize<'de> for JsonText<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if json.starts_with('"') {
            let Text(text) = serde_json::from_str(json).map_err(de::Error::custom)?;
            return Ok(Self(text));
        }
        Ok(Self(Cow::Borrowed(if json == "null" { "" } else { json })))
    }
}

/// Whether a model may call tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice<'b> {
    /// It may.
    Auto,
    /// It may not.
    None,
    /// It must.
    Required,
    /// It must call this one.
    Named(Cow<'b, str>),
}

impl<'b> ToolChoice<'b> {
    /// What the field says.
    ///
    /// # Errors
    /// If that is nothing that there is.
    pub fn of(field: Option<&'b RawValue>) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Named<'n> {
            #[serde(borrow)]
            function: Option<NamedFunction<'n>>,
            #[serde(borrow)]
            name: Option<Text<'n>>,
        }
        #[derive(Deserialize)]
        struct NamedFunction<'n> {
            #[serde(borrow)]
            name: Text<'n>,
        }
        let json = field.map_or("null", RawValue::get);
        let wrong = || {
            let expected =
                r#"expected "auto", "none", "required" or {"type": "function", "function": {"name": …}}"#;
            ApiError::field("tool_choice", expected)
        };
        if json.starts_with('{') {
            let named: Named<'b> = serde_json::from_str(json).map_err(|_| wrong())?;
            let name = named.function.map(|function| function.name).or(named.name);
            return name.map(|Text(name)| Self::Named(name)).ok_or_else(wrong);
        }
        Ok(match json {
            "null" | r#""auto""# => Self::Auto,
            r#""none""# => Self::None,
            r#""required""# => Self::Required,
            _ => return Err(wrong()),
        })
    }
}

/// A message as the engine takes it, without its calls, and these.
#[derive(Debug, Default)]
pub struct Said<'b> {
    /// The message.
    pub message: chat::Message<'b>,
    /// The tools that it calls.
    pub calls: Vec<chat::ToolCall<'b>>,
}

/// Messages as the engine takes them.
///
/// # Errors
/// If there is no memory for them.
pub fn messages_of<'s>(said: &'s [Said<'s>]) -> Result<Vec<chat::Message<'s>>, ApiError> {
    let mut messages = Vec::new();
    messages.try_reserve_exact(said.len()).map_err(|_| ApiError::out_of_memory())?;
    messages
        .extend(said.iter().map(|Said { message, calls }| chat::Message { tool_calls: calls, ..*message }));
    Ok(messages)
}

impl<'b> Message<'b> {
    /// The same as the engine takes it.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn said(&'b self) -> Result<Said<'b>, ApiError> {
        let text = |field: &'b Option<Text<'b>>| field.as_ref().map_or("", |text| &*text.0);
        let mut calls = Vec::new();
        let asked = self.tool_calls.as_ref().map_or(&[][..], |calls| &calls.0);
        calls.try_reserve_exact(asked.len()).map_err(|_| ApiError::out_of_memory())?;
        calls.extend(asked.iter().map(|Call { id, function }| chat::ToolCall {
            id: text(id),
            name: &function.name.0,
            arguments: &function.arguments.0,
        }));
        let message = chat::Message {
            role: self.role.name(),
            content: &self.content.0,
            reasoning_content: text(&self.reasoning_content),
            tool_calls: &[],
            tool_call_id: text(&self.tool_call_id),
            name: text(&self.name),
        };
        Ok(Said { message, calls })
    }
}

/// What the model may call, as the engine takes it.
///
/// # Errors
/// If there is no memory for it, or a tool is no function.
pub fn tools<'b>(tools: &'b [Tool<'b>]) -> Result<Vec<chat::Tool<'b>>, ApiError> {
    let mut known = Vec::new();
    known.try_reserve_exact(tools.len()).map_err(|_| ApiError::out_of_memory())?;
    for (index, Tool { kind, function }) in tools.iter().enumerate() {
        if let Some(Text(kind)) = kind.as_ref().filter(|kind| kind.0 != "function") {
            let message = format!("{kind:?} is not supported, only \"function\"");
            return Err(ApiError::field(format!("tools[{index}].type"), message));
        }
        let description = function.description.as_ref().map_or("", |text| &*text.0);
        let parameters = function.parameters.map_or("", RawValue::get);
        let parameters = if parameters == "null" { "" } else { parameters };
        known.push(chat::Tool { name: &function.name.0, description, parameters });
    }
    Ok(known)
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Whoever sets the model's task.
    System,
    /// The newer name for it.
    Developer,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
    /// What a function returned.
    Tool,
}

impl Role {
    /// What templates call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System | Self::Developer => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// What a message says: a text, or several of which each is a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content<'b>(pub Cow<'b, str>);

impl<'de: 'b, 'b> Deserialize<'de> for Content<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, null, or an array of parts of type text")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Content<'de>, E> {
        Ok(Content(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<'de>, E> {
        super::json::copy(text).map(|copy| Content(Cow::Owned(copy)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content<'de>, A::Error> {
        let Some(Part(mut joined)) = parts.next_element()? else { return Ok(Content::default()) };
        let mut n_parts = 1;
        while let Some(Part(text)) = parts.next_element()? {
            n_parts += 1;
            if n_parts > MAX_PARTS {
                return Err(de::Error::custom(format_args!("more than {MAX_PARTS} parts")));
            }
            let joined: &mut String = joined.to_mut();
            joined.try_reserve(text.len() + 1).map_err(|_| no_memory())?;
            joined.push('\n');
            joined.push_str(&text);
        }
        Ok(Content(joined))
    }
}

/// A part of a message.
struct Part<'b>(Cow<'b, str>);

impl<'de: 'b, 'b> Deserialize<'de> for Part<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields<'f> {
            #[serde(borrow, rename = "type")]
            kind: TextKind<'f>,
            #[serde(borrow, default)]
            text: Option<Text<'f>>,
        }
        let Fields { kind: TextKind(_), text } = Fields::deserialize(deserializer)?;
        text.map(|Text(text)| Self(text)).ok_or_else(|| de::Error::missing_field("text"))
    }
}

/// The type of a part, which is `text`.
struct TextKind<'b>(core::marker::PhantomData<&'b ()>);

impl<'de: 'b, 'b> Deserialize<'de> for TextKind<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(kind) = Text::deserialize(deserializer)?;
        match &*kind {
            "text" => Ok(Self(core::marker::PhantomData)),
            other => {
                Err(de::Error::custom(format_args!("parts of type {other:?} are not supported, only text")))
            }
        }
    }
}
