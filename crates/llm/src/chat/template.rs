//! The chat format of a model: [`ChatTemplate`].

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;

use jinja::{ErrorKind, Limits, Map, Template, Value};
use toolcalls::{Format, GENERIC};

use super::capabilities::{Capabilities, OTHER_QUESTION};
use super::fallback::fallback;
use super::variables::{ensure_room, message_value, tool_value};
use super::{ChatError, Conversation, DEFAULT_NOW_SECONDS, Message, Tool, families};
use crate::gguf::Gguf;
use crate::tokenizer::{EncodeOptions, Tokenizer};

/// The keys of a file's template: the general one or, if that is missing, the one for conversations with tools.
const TEMPLATE_KEYS: [&str; 2] = ["tokenizer.chat_template", "tokenizer.chat_template.tool_use"];

/// Limits for each trial run that determines what a template supports.
const PROBE_LIMITS: Limits =
    Limits { steps: 500_000, bytes: 8 << 20, now_seconds: Some(DEFAULT_NOW_SECONDS) };

/// The chat format of a model.
///
/// A template is probed once. Afterwards it gets messages in the form that it reads. If it does not support system
/// messages, a system message goes to the front of the user's next message. Tools that it does not show are described
/// in the system message, together with a form for calls. Calls and results that it does not show become text of
/// messages.
///
/// # Example
///
/// The templates that the crate brings can be used with any model:
///
/// ```no_run
/// use llm::chat::{ChatTemplate, Conversation, Message};
/// use llm::{gguf::Gguf, tokenizer::Tokenizer};
///
/// let file = std::fs::read("model.gguf")?;
/// let gguf = Gguf::parse(&file, file.len() as u64)?;
/// let tokenizer = Tokenizer::from_gguf(&gguf)?;
/// let template = match ChatTemplate::from_gguf(&gguf, &tokenizer) {
///     Ok(template) => template,
///     Err(_) => ChatTemplate::by_name("chatml", &tokenizer)?,
/// };
/// let messages = [Message::new("system", "Answer briefly."), Message::new("user", "What is 6 times 7?")];
/// let conversation = Conversation::new(&messages);
/// println!("{}", template.render(&conversation)?);
/// let mut ids = Vec::new();
/// template.encode(&tokenizer, &conversation, &mut ids)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ChatTemplate {
    template: Template,
    capabilities: Capabilities,
    /// How the model writes its answers.
    format: Format,
    /// The texts of the tokens that begin and end a text; empty if there are no such tokens.
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The format in a model's file.
    ///
    /// # Errors
    /// [`ChatError::NoTemplate`] if the file has none or an empty one; otherwise the error in the template.
    pub fn from_gguf(gguf: &Gguf<'_>, tokenizer: &Tokenizer<'_>) -> Result<Self, ChatError> {
        for key in TEMPLATE_KEYS {
            match gguf.str_value(key)? {
                Some(source) if !source.trim_ascii().is_empty() => return Self::new(source, tokenizer),
                _ => {}
            }
        }
        Err(ChatError::NoTemplate)
    }

    /// The format with this name, one of [`FAMILIES`](super::FAMILIES).
    ///
    /// # Errors
    /// [`ChatError::UnknownFamily`].
    pub fn by_name(name: &str, tokenizer: &Tokenizer<'_>) -> Result<Self, ChatError> {
        let family = families::find(name).ok_or_else(|| ChatError::UnknownFamily(name.into()))?;
        Self::new(family.template, tokenizer)
    }

    /// The format defined by this template.
    ///
    /// # Errors
    /// The error in the template.
    pub fn new(source: &str, tokenizer: &Tokenizer<'_>) -> Result<Self, ChatError> {
        let piece = |id: Option<u32>| match id.map(|id| tokenizer.piece(id)) {
            Some(Ok(piece)) => String::from_utf8_lossy(piece).into_owned(),
            _ => String::new(),
        };
        let mut chat = Self {
            template: Template::parse(source)?,
            capabilities: Capabilities::TEXT,
            format: Format::default(),
            bos: piece(tokenizer.bos_id()),
            eos: piece(tokenizer.eos_id()),
        };
        // If memory ran out during the trial, the capabilities are unknown.
        let starved = Cell::new(false);
        let fill_in = |messages: &[Message<'_>], tools: &[Tool<'_>], capabilities| {
            let conversation = Conversation { tools, ..Conversation::new(messages) };
            let filled = chat.fill_in(&conversation, capabilities, PROBE_LIMITS);
            if let Err(error) = &filled
                && error.is_out_of_memory()
            {
                starved.set(true);
            }
            filled.ok()
        };
        let capabilities = Capabilities::probe(source, &fill_in);
        let call = Capabilities::call_conversation(|messages, tools| {
            fill_in(messages, tools, capabilities).unwrap_or_default()
        });
        if starved.get() {
            return Err(ChatError::Context(ErrorKind::NoMemory));
        }
        chat.capabilities = capabilities;
        chat.format = Format::of(&[source, &call]);
        if !chat.capabilities.tools && chat.capabilities.tool_calls.is_none() {
            chat.format.form = &GENERIC;
        }
        Ok(chat)
    }

    /// How the model writes its answers, independent of any prompt.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether a message of an assistant can have several calls. Otherwise the template refuses them, or shows only
    /// one.
    pub fn takes_parallel_calls(&self) -> bool {
        self.capabilities.parallel_calls
    }

    /// A conversation as text.
    ///
    /// # Errors
    /// [`ChatError::Template`], for example if the template refuses an order of roles; [`ChatError::MessageLost`] if it
    /// leaves out the user's message; [`ChatError::Arguments`] and [`ChatError::Parameters`] if a call or a tool is not
    /// valid JSON.
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<String, ChatError> {
        let limits = Limits { now_seconds: Some(conversation.now()), ..Limits::default() };
        let text = self.fill_in(conversation, self.capabilities, limits)?;
        if self.loses_a_message(conversation, &text, limits)? {
            return Err(ChatError::MessageLost);
        }
        Ok(text)
    }

    /// A conversation as ids, ready for the model. The token that begins a text appears once if the file asks for it,
    /// whether or not the template writes it.
    ///
    /// Control tokens are recognised everywhere, also inside messages. Returns how to parse the answer.
    ///
    /// # Errors
    /// Those of [`ChatTemplate::render`] and [`Tokenizer::encode`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer<'_>,
        conversation: &Conversation<'_>,
        out: &mut Vec<u32>,
    ) -> Result<Format, ChatError> {
        let text = self.render(conversation)?;
        let begins_with_bos = !self.bos.is_empty() && text.starts_with(&self.bos);
        let options = EncodeOptions { add_special: !begins_with_bos, parse_special: true };
        tokenizer.encode(&text, options, out)?;
        let format = self.format.behind(&text);
        Ok(if conversation.tools.is_empty() { format.without_calls() } else { format })
    }

    fn fill_in(
        &self,
        conversation: &Conversation<'_>,
        capabilities: Capabilities,
        limits: Limits,
    ) -> Result<String, ChatError> {
        let context = self.context(conversation, capabilities)?;
        Ok(self.template.render(&context, limits)?)
    }

    /// Whether the `text` of a conversation does not depend on the user's last message.
    fn loses_a_message(
        &self,
        conversation: &Conversation<'_>,
        text: &str,
        limits: Limits,
    ) -> Result<bool, ChatError> {
        let messages = conversation.messages;
        let Some(last) = messages.iter().rposition(|message| message.role == "user") else {
            return Ok(false);
        };
        let said = messages[last].content.trim();
        if said.is_empty() || text.contains(said) {
            return Ok(false);
        }
        // The template may have changed the letters of the message, so compare with another message.
        let mut others = Vec::new();
        let needed_bytes = size_of_val(messages);
        others.try_reserve(messages.len()).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
        others.extend_from_slice(messages);
        others[last].content = OTHER_QUESTION;
        let other = Conversation { messages: &others, ..*conversation };
        match self.fill_in(&other, self.capabilities, limits) {
            Err(error) if error.is_out_of_memory() => Err(error),
            other => Ok(other.is_ok_and(|other| other == text)),
        }
    }

    /// The variables that a template sees: those of `apply_chat_template` and those of llama.cpp.
    fn context(&self, conversation: &Conversation<'_>, capabilities: Capabilities) -> Result<Map, ChatError> {
        let said = fallback(conversation, &capabilities, self.format.form)?;
        ensure_room(&said, conversation.tools)?;
        let messages = said.iter().map(|said| message_value(said, &capabilities));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        // All tools are checked, even if the template does not show them.
        let tools = conversation.tools.iter().map(tool_value).collect::<Result<Vec<_>, _>>()?;
        let tools = match capabilities.tools && !tools.is_empty() {
            true => Value::list(tools),
            false if capabilities.needs_tools => Value::list(Vec::new()),
            false => Ok(Value::None),
        };
        tools.and_then(|tools| self.variables(conversation, messages, tools)).map_err(ChatError::Context)
    }

    fn variables(
        &self,
        conversation: &Conversation<'_>,
        messages: Vec<Value>,
        tools: Value,
    ) -> Result<Map, ErrorKind> {
        let mut context = Map::new();
        context.insert("messages", Value::list(messages)?)?;
        // SmolLM 3's name for tools.
        context.insert("xml_tools", tools.clone())?;
        context.insert("tools", tools)?;
        context.insert("documents", Value::None)?;
        context.insert("add_generation_prompt", conversation.add_generation_prompt)?;
        context.insert("bos_token", self.bos.as_str())?;
        context.insert("eos_token", self.eos.as_str())?;
        // Only llama.cpp provides these: some templates have no default date.
        for (name, format) in [("date_string", "%d %b %Y"), ("datetime", "%b %d %Y")] {
            context.insert(name, jinja::format_time(conversation.now(), format)?)?;
        }
        context.insert("enable_thinking", conversation.enable_thinking.unwrap_or(true))?;
        if let Some(enable_thinking) = conversation.enable_thinking {
            // The name used by DeepSeek, Granite and Kimi.
            context.insert("thinking", enable_thinking)?;
        }
        if let Some(effort) = conversation.reasoning_effort {
            // The second name is Apriel's.
            context.insert("reasoning_effort", effort)?;
            context.insert("reasoning_strength", effort)?;
        }
        Ok(context)
    }
}
