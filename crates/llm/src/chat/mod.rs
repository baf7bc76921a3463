//! Conversations as the text that a model was trained on.
//!
//! A file brings its format as a Jinja template (`tokenizer.chat_template`); [`ChatTemplate`] fills
//! it in as Hugging Face's `apply_chat_template` does, and encodes the result. The template language
//! is that of the crate `jinja`. [`FAMILIES`] are formats for files that bring none; a [`Dialogue`] is
//! a conversation that grows.

mod capabilities;
mod dialogue;
mod error;
mod families;
mod fitting;
mod template;

pub use dialogue::{Dialogue, Role};
pub use error::{ChatError, FamilyNames};
pub use families::{FAMILIES, Family};
pub use fitting::{Forgotten, Room};
pub use template::ChatTemplate;

/// The time that templates are told where none is known: the beginning of 26 July 2024, the date that the
/// templates of Llama 3 themselves fall back to.
pub const DEFAULT_NOW_SECONDS: u64 = 1_721_952_000;

/// One turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'m> {
    /// `system`, `user` or `assistant`; some families know others.
    pub role: &'m str,
    /// What was said.
    pub content: &'m str,
}

/// A conversation to be continued, and what templates may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'m> {
    /// The turns so far.
    pub messages: &'m [Message<'m>],
    /// End with the beginning of the assistant's turn, for the model to continue.
    pub add_generation_prompt: bool,
    /// Whether a model that can think before it answers should. Templates see it as `enable_thinking` and
    /// `thinking`; of `None` they see, as of llama.cpp, an `enable_thinking` that is true and no `thinking`.
    pub enable_thinking: Option<bool>,
    /// Seconds since the beginning of 1970 in local time, for templates that tell the date;
    /// [`DEFAULT_NOW_SECONDS`] for who has no calendar.
    pub now_seconds: Option<u64>,
}

impl Conversation<'_> {
    /// The local time that templates are told, in seconds.
    fn now(&self) -> u64 {
        self.now_seconds.unwrap_or(DEFAULT_NOW_SECONDS)
    }
}
