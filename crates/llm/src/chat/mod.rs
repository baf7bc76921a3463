//! Turns conversations into the text format that a model was trained on.
//!
//! A model's file contains its format as a Jinja template (`tokenizer.chat_template`). [`ChatTemplate`] fills it in as
//! Hugging Face's `apply_chat_template` does, and encodes the result. The crate `jinja` implements the template
//! language. [`FAMILIES`] are formats for files without a template; a [`Dialogue`] is a conversation that grows.

mod capabilities;
mod dialogue;
mod error;
mod fallback;
mod families;
mod fitting;
mod template;
mod transcript;
mod variables;

pub use dialogue::{Dialogue, Retracted, Role};
pub use error::{ChatError, FamilyNames};
pub use families::{FAMILIES, Family};
pub use fitting::{Forgotten, Room};
pub use template::ChatTemplate;
pub use toolcalls::{Answer, Call, Event as Part, Format, Parser};
pub use transcript::Transcript;
pub use variables::parser;

/// The time given to templates if the real time is unknown: the beginning of 26 July 2024, the date that the templates
/// of Llama 3 themselves fall back to.
pub const DEFAULT_NOW_SECONDS: u64 = 1_721_952_000;

/// One message of a conversation. [`new`](Self::new) makes one that consists only of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Message<'m> {
    /// `system` or its newer name `developer`, `user`, `assistant`, or `tool` for the result of a call; some families
    /// know others.
    pub role: &'m str,
    /// The text.
    pub content: &'m str,
    /// The thoughts of an assistant before its answer; empty if there are none. The template decides whether the model
    /// sees them again.
    pub reasoning_content: &'m str,
    /// The tools that an assistant called.
    pub tool_calls: &'m [ToolCall<'m>],
    /// For a result, the [`ToolCall::id`] of the call; empty if unknown.
    pub tool_call_id: &'m str,
    /// For a result, the tool's name; for other messages, the name of the speaker. Empty if unknown.
    pub name: &'m str,
}

impl<'m> Message<'m> {
    /// A message that consists only of text.
    pub const fn new(role: &'m str, content: &'m str) -> Self {
        Self { role, content, reasoning_content: "", tool_calls: &[], tool_call_id: "", name: "" }
    }
}

/// A call of a tool by the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToolCall<'m> {
    /// The id that results refer to. Mistral's templates require nine letters or digits.
    pub id: &'m str,
    /// The name of the tool.
    pub name: &'m str,
    /// Its arguments: the text of a JSON object. A blank text means an object without keys.
    pub arguments: &'m str,
}

/// A tool that the model may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tool<'m> {
    /// Its name.
    pub name: &'m str,
    /// A description for the model: what the tool does and when it helps.
    pub description: &'m str,
    /// Its parameters: the text of a JSON schema of an object. A blank text means an object without properties.
    pub parameters: &'m str,
}

/// A conversation to be continued, and the settings that templates may read.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'m> {
    /// The turns so far.
    pub messages: &'m [Message<'m>],
    /// The tools that the model may call.
    pub tools: &'m [Tool<'m>],
    /// End with the beginning of the assistant's turn, for the model to continue.
    pub add_generation_prompt: bool,
    /// Whether a model that can think before it answers should do so. Templates see it as `enable_thinking` and
    /// `thinking`. For `None`, as with llama.cpp, they see an `enable_thinking` that is true and no `thinking`.
    pub enable_thinking: Option<bool>,
    /// How much it should think, such as `low`. Templates see it as `reasoning_effort` and `reasoning_strength`.
    /// Without it they use their own default; most templates know neither name.
    pub reasoning_effort: Option<&'m str>,
    /// Seconds since the beginning of 1970 in local time, for templates that state the date. `None` means
    /// [`DEFAULT_NOW_SECONDS`], for callers without a clock.
    pub now_seconds: Option<u64>,
}

impl<'m> Conversation<'m> {
    /// These messages, for the model to answer, with no other settings.
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

    /// The local time given to templates, in seconds.
    fn now(&self) -> u64 {
        self.now_seconds.unwrap_or(DEFAULT_NOW_SECONDS)
    }
}
