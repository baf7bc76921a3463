//! Conversations as the text that a model was trained on.
//!
//! A file brings its format as a Jinja template (`tokenizer.chat_template`); [`ChatTemplate`] fills
//! it in as Hugging Face's `apply_chat_template` does, and encodes the result. The template language
//! is that of the crate `jinja`. [`FAMILIES`] are formats for files that bring none; a [`Dialogue`] is
//! a conversation that grows.

mod dialogue;
mod error;
mod families;

use alloc::string::String;
use alloc::vec::Vec;

pub use dialogue::{Dialogue, Role};
pub use error::{ChatError, FamilyNames};
pub use families::{FAMILIES, Family};

use jinja::{Limits, Map, Template, Value};

use crate::gguf::Gguf;
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// The key of a file's template.
const TEMPLATE_KEY: &str = "tokenizer.chat_template";

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
    /// Whether a model that can think before it answers should; `None` leaves it to the template.
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

/// The chat format of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    template: Template,
    /// The texts of the tokens that begin and end a text; empty where there are none.
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The format that a file brings.
    ///
    /// # Errors
    /// [`ChatError::NoTemplate`] if it brings none; otherwise what is wrong with it.
    pub fn from_gguf(gguf: &Gguf<'_>, tokenizer: &Tokenizer<'_>) -> Result<Self, ChatError> {
        let source = gguf.str_value(TEMPLATE_KEY)?.ok_or(ChatError::NoTemplate)?;
        Self::new(source, tokenizer)
    }

    /// The format of this name, one of [`FAMILIES`].
    ///
    /// # Errors
    /// [`ChatError::UnknownFamily`].
    pub fn by_name(name: &str, tokenizer: &Tokenizer<'_>) -> Result<Self, ChatError> {
        let family = families::find(name).ok_or_else(|| ChatError::UnknownFamily(name.into()))?;
        Self::new(family.template, tokenizer)
    }

    /// The format of a template given by hand.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn new(source: &str, tokenizer: &Tokenizer<'_>) -> Result<Self, ChatError> {
        let piece = |id: Option<u32>| match id.map(|id| tokenizer.piece(id)) {
            Some(Ok(piece)) => String::from_utf8_lossy(piece).into_owned(),
            _ => String::new(),
        };
        Ok(Self {
            template: Template::parse(source)?,
            bos: piece(tokenizer.bos_id()),
            eos: piece(tokenizer.eos_id()),
        })
    }

    /// A conversation as text.
    ///
    /// # Errors
    /// [`ChatError::Template`], for example if the template refuses an order of roles.
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<String, ChatError> {
        let context = self.context(conversation).map_err(ChatError::Context)?;
        let limits = Limits { now_seconds: Some(conversation.now()), ..Limits::default() };
        Ok(self.template.render(&context, limits)?)
    }

    /// A conversation as ids, ready for the model: the token that begins a text is there once, as
    /// the file asks for it, whether the template writes it or not.
    ///
    /// Control tokens are recognised wherever they stand, in messages too.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`] and [`Tokenizer::encode`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer<'_>,
        conversation: &Conversation<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(), ChatError> {
        let text = self.render(conversation)?;
        let begins_with_bos = !self.bos.is_empty() && text.starts_with(&self.bos);
        let options = EncodeOptions { add_special: !begins_with_bos, parse_special: true };
        Ok(tokenizer.encode(&text, options, out)?)
    }

    /// The variables that `apply_chat_template` gives to a template.
    fn context(&self, conversation: &Conversation<'_>) -> Result<Map, jinja::ErrorKind> {
        let mut messages = Vec::new();
        for message in conversation.messages {
            let mut map = Map::new();
            map.insert("role", message.role)?;
            map.insert("content", message.content)?;
            messages.push(map.into());
        }
        let mut context = Map::new();
        context.insert("messages", Value::list(messages)?)?;
        context.insert("tools", Value::None)?;
        context.insert("documents", Value::None)?;
        context.insert("add_generation_prompt", conversation.add_generation_prompt)?;
        context.insert("bos_token", self.bos.as_str())?;
        context.insert("eos_token", self.eos.as_str())?;
        // Not in apply_chat_template, but in llama.cpp: some templates name no date of their own.
        for (name, format) in [("date_string", "%d %b %Y"), ("datetime", "%b %d %Y")] {
            context.insert(name, jinja::format_time(conversation.now(), format)?)?;
        }
        if let Some(enable_thinking) = conversation.enable_thinking {
            // DeepSeek's templates have another name for it.
            context.insert("enable_thinking", enable_thinking)?;
            context.insert("thinking", enable_thinking)?;
        }
        Ok(context)
    }
}
