//! Conversations and tools in the requests of all routes: OpenAI's chats and responses, and Anthropic's messages.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use llm::chat;
use llm::quoted::Quoted;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{List, ListVisitor, Text};
use super::route::Shape;
use crate::error::ApiError;

/// Most parts in a message.
const MAX_PARTS: usize = 256;
/// Most calls in a message.
const MAX_CALLS: usize = 128;

/// A message of a conversation, or another kind of item. The route determines which fields are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message<'b> {
    /// For an item of a response: its type; a message by default.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'b>>,
    /// Who is speaking.
    pub role: Option<Role>,
    /// What is said.
    #[serde(borrow)]
    pub content: Content<'b>,
    /// What the model thought before it spoke.
    #[serde(borrow)]
    pub reasoning_content: Option<Text<'b>>,
    /// The same for an item of a response that has no content.
    #[serde(borrow)]
    pub summary: Content<'b>,
    /// The tools that the model called.
    #[serde(borrow)]
    pub tool_calls: Option<List<Call<'b>, MAX_CALLS>>,
    /// For a result: the id of the call. In responses, for a call too.
    #[serde(borrow, alias = "call_id")]
    pub tool_call_id: Option<Text<'b>>,
    /// For a result: the tool's name; for other messages: the speaker's name. In responses, for a call: the tool's name.
    #[serde(borrow)]
    pub name: Option<Text<'b>>,
    /// For an item of a response: whether it is complete.
    #[serde(borrow)]
    pub status: Option<Text<'b>>,
    /// For a call in a response: its arguments.
    #[serde(borrow)]
    pub arguments: JsonText<'b>,
    /// For a result in a response: its content.
    #[serde(borrow)]
    pub output: Content<'b>,
}

/// A call of a tool.
#[derive(Debug, Deserialize)]
pub struct Call<'b> {
    /// The id by which results refer to the call.
    #[serde(borrow, default)]
    pub id: Option<Text<'b>>,
    /// The tool that was called, and its arguments.
    #[serde(borrow)]
    pub function: CalledFunction<'b>,
}

/// The tool that was called, and its arguments.
#[derive(Debug, Deserialize)]
pub struct CalledFunction<'b> {
    /// The tool's name.
    #[serde(borrow)]
    pub name: Text<'b>,
    /// Its arguments.
    #[serde(borrow, default)]
    pub arguments: JsonText<'b>,
}

/// A tool that the model may call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Tool<'b> {
    /// `function`, or `custom` for Anthropic.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'b>>,
    /// The tool's definition in a chat. Other routes have its fields beside the type.
    #[serde(borrow)]
    pub function: Option<Function<'b>>,
    /// See [`Function`], also for the fields below.
    #[serde(borrow)]
    pub name: Option<Text<'b>>,
    /// What it does.
    #[serde(borrow)]
    pub description: Option<Text<'b>>,
    /// The JSON schema of its arguments.
    #[serde(borrow, alias = "input_schema")]
    pub parameters: Option<&'b RawValue>,
}

/// A tool's definition.
#[derive(Debug, Deserialize)]
pub struct Function<'b> {
    /// The tool's name.
    #[serde(borrow)]
    pub name: Text<'b>,
    /// What it does.
    #[serde(borrow, default)]
    pub description: Option<Text<'b>>,
    /// The JSON schema of its arguments.
    #[serde(borrow, default)]
    pub parameters: Option<&'b RawValue>,
}

/// JSON inside JSON: as a string, as OpenAI sends it, or as it is.
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
    /// It may call tools.
    Auto,
    /// It may not.
    None,
    /// It must call one.
    Required,
    /// It must call the tool of this name.
    Named(Cow<'b, str>),
}

impl<'b> ToolChoice<'b> {
    /// Reads the field, in OpenAI's words or Anthropic's.
    ///
    /// # Errors
    /// If the value is unknown.
    pub fn of(field: Option<&'b RawValue>) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Named<'n> {
            #[serde(borrow, rename = "type")]
            kind: Option<Text<'n>>,
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
            return match (name, named.kind.as_ref().map(|kind| &*kind.0)) {
                (Some(Text(name)), _) => {
                    check_name(&name, || String::from("tool_choice")).map(|()| Self::Named(name))
                }
                (None, Some("auto")) => Ok(Self::Auto),
                (None, Some("none")) => Ok(Self::None),
                (None, Some("any")) => Ok(Self::Required),
                (None, _) => Err(wrong()),
            };
        }
        Ok(match json {
            "null" | r#""auto""# => Self::Auto,
            r#""none""# => Self::None,
            r#""required""# => Self::Required,
            _ => return Err(wrong()),
        })
    }

    /// Whether the field says, in Anthropic's words, that an answer may have only one call.
    pub fn disables_parallel(field: Option<&RawValue>) -> bool {
        #[derive(Deserialize)]
        struct Parallel {
            #[serde(default)]
            disable_parallel_tool_use: bool,
        }
        let json = field.map_or("", RawValue::get);
        serde_json::from_str::<Parallel>(json).is_ok_and(|parallel| parallel.disable_parallel_tool_use)
    }
}

/// Most bytes of a tool's name. With what surrounds it, a call with a longer name is not recognised.
const MAX_NAME_BYTES: usize = 240;

/// Refuses a name that is too long, before it is copied anywhere.
fn check_name(name: &str, field: impl FnOnce() -> String) -> Result<(), ApiError> {
    match name.len() {
        0..=MAX_NAME_BYTES => Ok(()),
        n => Err(ApiError::field(
            field(),
            format!("a tool's name has at most {MAX_NAME_BYTES} bytes, not {n}"),
        )),
    }
}

/// The tools in the form that the engine takes.
///
/// # Errors
/// If there is no memory for them, or a tool is not a function.
pub fn tools<'b>(shape: Shape, tools: &'b [Tool<'b>]) -> Result<Vec<chat::Tool<'b>>, ApiError> {
    let mut known = Vec::new();
    known.try_reserve_exact(tools.len()).map_err(|_| ApiError::out_of_memory())?;
    // On other routes such a tool takes a text instead of an object of arguments.
    let kinds = if shape == Shape::Messages { &["function", "custom"][..] } else { &["function"] };
    for (index, tool) in tools.iter().enumerate() {
        let Tool { kind, function, name, description, parameters } = tool;
        if let Some(Text(kind)) = kind.as_ref().filter(|kind| !kinds.contains(&&*kind.0)) {
            let message = format!("{} is not supported, only functions", Quoted(kind));
            return Err(ApiError::field(format!("tools[{index}].type"), message));
        }
        let (name, description, parameters) = match (function, name) {
            (Some(Function { name, description, parameters }), _) => (name, description, parameters),
            (None, Some(name)) => (name, description, parameters),
            (None, None) => {
                return Err(ApiError::field(format!("tools[{index}]"), "expected a function with a name"));
            }
        };
        let field = if function.is_some() { "tools[].function.name" } else { "tools[].name" };
        check_name(&name.0, || field.replace("[]", &format!("[{index}]")))?;
        let parameters = parameters.map_or("", RawValue::get);
        let parameters = if parameters == "null" { "" } else { parameters };
        let description = description.as_ref().map_or("", |text| &*text.0);
        known.push(chat::Tool { name: &name.0, description, parameters });
    }
    Ok(known)
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the model's task.
    System,
    /// The newer name for `system`.
    Developer,
    /// Asks.
    User,
    /// The model.
    Assistant,
    /// The result of a function.
    Tool,
}

impl Role {
    /// The name that templates use.
    pub fn name(self) -> &'static str {
        match self {
            Self::System | Self::Developer => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// The content of a message: a text, or parts.
#[derive(Debug)]
pub enum Content<'b> {
    /// A text.
    Text(Cow<'b, str>),
    /// Parts.
    Parts(List<Part<'b>, MAX_PARTS>),
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Text(Cow::Borrowed(""))
    }
}

impl<'de: 'b, 'b> Deserialize<'de> for Content<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, null, or an array of parts")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Content<'de>, E> {
        Ok(Content::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<'de>, E> {
        super::json::copy(text).map(|copy| Content::Text(Cow::Owned(copy)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content<'de>, A::Error> {
        ListVisitor::default().visit_seq(parts).map(Content::Parts)
    }
}

/// A part of a message. Its type determines which fields are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Part<'b> {
    /// Its type.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'b>>,
    /// The text that is said, or thought.
    #[serde(borrow, alias = "thinking")]
    pub text: Option<Text<'b>>,
    /// For a call: the id by which results refer to it.
    #[serde(borrow)]
    pub id: Option<Text<'b>>,
    /// For a call: the tool's name.
    #[serde(borrow)]
    pub name: Option<Text<'b>>,
    /// For a call: its arguments.
    #[serde(borrow)]
    pub input: JsonText<'b>,
    /// For a result: the id of the call.
    #[serde(borrow)]
    pub tool_use_id: Option<Text<'b>>,
    /// For a result: its content. It is parsed only when needed: nested parts would otherwise need an unbounded stack.
    #[serde(borrow)]
    pub content: Option<&'b RawValue>,
    /// For a result: whether the tool failed.
    pub is_error: Option<bool>,
}
