//! Messages and tools as Jinja values for templates, and the parser that reads calls of these tools.

use alloc::vec::Vec;

use jinja::{ErrorKind, Map, Value};
use toolcalls::{Arguments, OutOfMemory};

use super::capabilities::{ArgumentsForm, Capabilities, ContentForm};
use super::fallback::{NO_PARAMETERS, Said};
use super::{ChatError, Format, Parser, Tool, ToolCall};
use crate::quoted::beginning;

/// Most bytes that a message, a call or a tool takes besides its texts.
const VALUE_BYTES: usize = 1024;

/// Most bytes that a byte of JSON takes as Jinja values while lists grow.
const JSON_BYTES: usize = 64;

/// Makes sure that there is memory to turn messages and tools into values: allocates it and frees it again.
///
/// # Errors
/// [`ChatError::OutOfMemory`].
pub(super) fn ensure_room(messages: &[Said<'_>], tools: &[Tool<'_>]) -> Result<(), ChatError> {
    let of_call = |call: &ToolCall<'_>| {
        VALUE_BYTES + 2 * (call.id.len() + call.name.len()) + JSON_BYTES * call.arguments.len()
    };
    let of_message = |Said { message, content }: &Said<'_>| {
        let texts = [content, message.role, message.reasoning_content, message.tool_call_id, message.name];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        VALUE_BYTES + 3 * texts + message.tool_calls.iter().map(of_call).sum::<usize>()
    };
    let of_tool = |tool: &Tool<'_>| {
        VALUE_BYTES + 2 * (tool.name.len() + tool.description.len()) + JSON_BYTES * tool.parameters.len()
    };
    let needed_bytes = messages.iter().map(of_message).chain(tools.iter().map(of_tool)).sum();
    let mut probe: Vec<u8> = Vec::new();
    probe.try_reserve_exact(needed_bytes).map_err(|_| ChatError::OutOfMemory { needed_bytes })
}

/// A message in the form that the template takes.
///
/// # Errors
/// [`ChatError::Arguments`] if the arguments of a call are not a JSON object.
pub(super) fn message_value(said: &Said<'_>, capabilities: &Capabilities) -> Result<Value, ChatError> {
    let Said { message, content } = said;
    let calls = message.tool_calls.iter().map(|call| call_value(call, capabilities));
    let calls = calls.collect::<Result<Vec<_>, _>>()?;
    let has_calls = !calls.is_empty();
    let value = || {
        let mut value = Map::new();
        value.insert("role", message.role)?;
        let thought = message.reasoning_content;
        // gpt-oss's template refuses a call that has both content and thoughts.
        let leaves_out = capabilities.thinking_key && has_calls && !thought.is_empty();
        match capabilities.form_of(message.role) {
            _ if leaves_out => {}
            ContentForm::Text => value.insert("content", &**content)?,
            ContentForm::Parts => {
                let mut part = Map::new();
                part.insert("type", "text")?;
                part.insert("text", &**content)?;
                value.insert("content", Value::list(alloc::vec![part.into()])?)?;
            }
        }
        let thought_keys = ["reasoning_content", "thinking"];
        let n_keys = if capabilities.thinking_key { 2 } else { 1 };
        let texts = [("tool_call_id", message.tool_call_id), ("name", message.name)];
        let texts = texts.into_iter().chain(thought_keys.into_iter().take(n_keys).map(|key| (key, thought)));
        for (key, text) in texts.filter(|(_, text)| !text.is_empty()) {
            value.insert(key, text)?;
        }
        if has_calls {
            value.insert("tool_calls", Value::list(calls)?)?;
        }
        Ok(value.into())
    };
    value().map_err(ChatError::Context)
}

/// A call in the form that the template takes.
fn call_value(call: &ToolCall<'_>, capabilities: &Capabilities) -> Result<Value, ChatError> {
    let blank = call.arguments.trim_ascii().is_empty();
    let text = if blank { "{}" } else { call.arguments };
    let arguments = match capabilities.tool_calls {
        Some(ArgumentsForm::Object) => {
            object(text).ok_or_else(|| ChatError::Arguments(beginning(call.name).into()))?
        }
        _ => text.into(),
    };
    let value = || {
        let mut function = Map::new();
        function.insert("name", call.name)?;
        function.insert("arguments", arguments)?;
        let mut value = Map::new();
        if !call.id.is_empty() {
            value.insert("id", call.id)?;
        }
        value.insert("type", "function")?;
        value.insert("function", function)?;
        Ok(value.into())
    };
    value().map_err(ChatError::Context)
}

/// A tool in the form that templates take, which is that of OpenAI's API.
///
/// # Errors
/// [`ChatError::Parameters`] if its parameters are not a JSON object.
pub(super) fn tool_value(tool: &Tool<'_>) -> Result<Value, ChatError> {
    let blank = tool.parameters.trim_ascii().is_empty();
    let parameters = object(if blank { NO_PARAMETERS } else { tool.parameters });
    let parameters = parameters.ok_or_else(|| ChatError::Parameters(beginning(tool.name).into()))?;
    let value = || {
        let mut function = Map::new();
        function.insert("name", tool.name)?;
        function.insert("description", tool.description)?;
        function.insert("parameters", parameters)?;
        let mut value = Map::new();
        value.insert("type", "function")?;
        value.insert("function", function)?;
        Ok::<Value, ErrorKind>(value.into())
    };
    value().map_err(ChatError::Context)
}

/// A JSON object as a dict.
fn object(json: &str) -> Option<Value> {
    Value::from_json(json).ok().filter(|value| value.as_map().is_some())
}

/// A parser for answers in this format that may call these tools.
///
/// # Errors
/// [`ChatError::OutOfMemory`]; [`ChatError::Parameters`] if a tool's parameters are not a JSON object.
pub fn parser(format: Format, tools: &[Tool<'_>]) -> Result<Parser, ChatError> {
    let mut parser = Parser::new(format);
    if !matches!(format.form.arguments, Arguments::Keyed { .. }) {
        return Ok(parser);
    }
    ensure_room(&[], tools)?;
    for tool in tools.iter().filter(|tool| !tool.parameters.trim_ascii().is_empty()) {
        let parameters =
            object(tool.parameters).ok_or_else(|| ChatError::Parameters(beginning(tool.name).into()))?;
        let properties = parameters.as_map().and_then(|parameters| parameters.get("properties")?.as_map());
        for (key, schema) in properties.map_or(&[][..], Map::entries) {
            let kind = schema.as_map().and_then(|schema| schema.get("type")?.as_str());
            if let (Some(key), Some("string")) = (key.as_str(), kind) {
                let out_of_memory = |OutOfMemory { needed_bytes }| ChatError::OutOfMemory { needed_bytes };
                parser.add_text_argument(tool.name, key).map_err(out_of_memory)?;
            }
        }
    }
    Ok(parser)
}
