//! Conversations as the text that a model was trained on.
//!
//! A file brings its format as a Jinja template (`tokenizer.chat_template`); [`ChatTemplate`] fills
//! it in as Hugging Face's `apply_chat_template` does, and encodes the result. The template language
//! is that of the crate `jinja`. [`FAMILIES`] are formats for files that bring none; a [`Dialogue`] is
//! a conversation that grows.

mod capabilities;
mod dialogue;
mod error;
mod fallback;
mod families;
mod fitting;
mod template;
mod variables;

pub use dialogue::{Dialogue, Role};
pub use error::{ChatError, FamilyNames};
pub use families::{FAMILIES, Family};
pub use fitting::{Forgotten, Room};
pub use template::ChatTemplate;
pub use toolcalls::{Answer, Call, Event as Part, Format, Parser};
pub use variables::parser;

/// The time that templates are told where none is known: the beginning of 26 July 2024, the date that the
/// templates of Llama 3 themselves fall back to.
pub const DEFAULT_NOW_SECONDS: u64 = 1_721_952_000;

/// One turn of a conversation. [`new`](Self::new) makes one that only says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Message<'m> {
    /// `system` or its newer name `developer`, `user`, `assistant`, or `tool`, which brings the result of a call; some
    /// families know others.
    pub role: &'m str,
    /// What was said.
    pub content: &'m str,
    /// What an assistant thought before; empty if nothing. The template decides whether the model is shown it again.
    pub reasoning_content: &'m str,
    /// The tools that an assistant called.
    pub tool_calls: &'m [ToolCall<'m>],
    /// Of a result: the [`ToolCall::id`] of the call; empty if it is not known.
    pub tool_call_id: &'m str,
    /// Of a result: the tool's name; of others: who speaks. Empty if it is not known.
    pub name: &'m str,
}

impl<'m> Message<'m> {
    /// What somebody says.
    pub const fn new(role: &'m str, content: &'m str) -> Self {
        Self { role, content, reasoning_content: "", tool_calls: &[], tool_call_id: "", name: "" }
    }
}

/// A call of a tool by the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToolCall<'m> {
    /// What results refer to. The templates of Mistral want nine letters or digits.
    pub id: &'m str,
    /// Which tool.
    pub name: &'m str,
    /// Its arguments: the text of a JSON object. Blank is an object without keys.
    pub arguments: &'m str,
}

/// A tool that the model may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tool<'m> {
    /// What it is called.
    pub name: &'m str,
    /// What it does and when it helps, for the model to read.
    pub description: &'m str,
    /// Its arguments: the text of a JSON schema of an object. Blank is one without properties.
    pub parameters: &'m str,
}

/// A conversation to be continued, and what templates may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'m> {
    /// The turns so far.
    pub messages: &'m [Message<'m>],
    /// What the model may call.
    pub tools: &'m [Tool<'m>],
    /// End with the beginning of the assistant's turn, for the model to continue.
    pub add_generation_prompt: bool,
    /// Whether a model that can think before it answers should. Templates see it as `enable_thinking` and
    /// `thinking`; of `None` they see, as of llama.cpp, an `enable_thinking` that is true and no `thinking`.
    pub enable_thinking: Option<bool>,
    /// How much it should think, such as `low`. Templates see it as `reasoning_effort` and `reasoning_strength`, or else
    /// what they themselves assume; most know neither.
    pub reasoning_effort: Option<&'m str>,
    /// Seconds since the beginning of 1970 in local time, for templates that tell the date;
    /// [`DEFAULT_NOW_SECONDS`] for who has no calendar.
    pub now_seconds: Option<u64>,
}

impl<'m> Conversation<'m> {
    /// These turns, which the model is to answer, with nothing said of the rest.
    pub const fn new(messages: &'m [Message<'m>]) -> Self {
        Self {
            messages,
            tools: &[],
            add_generation_prompt: true,
            enable_thinking: None,
            reasoning_effort: None,
            now_seconds: None,
        }
    }

    /// The local time that templates are told, in seconds.
    fn now(&self) -> u64 {
        self.now_seconds.unwrap_or(DEFAULT_NOW_SECONDS)
    }
}
