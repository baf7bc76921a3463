//! [`Said`]: the messages of a conversation in the form that the engine takes, made from the messages of all routes.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use llm::chat;
use llm::quoted::Quoted;
use serde_json::value::RawValue;

use super::conversation::{Content, Message, Part, Role};
use super::fields::Fields;
use super::json::{Text, ensure_room};
use super::route::Shape;
use crate::error::ApiError;

/// A message with everything it needs.
#[derive(Debug, Default)]
pub struct Said<'b> {
    role: &'static str,
    content: Cow<'b, str>,
    reasoning: Cow<'b, str>,
    calls: Vec<chat::ToolCall<'b>>,
    tool_call_id: &'b str,
    name: &'b str,
}

/// Messages in the form that the engine takes.
///
/// # Errors
/// If there is no memory for them.
pub fn messages_of<'s>(said: &'s [Said<'s>]) -> Result<Vec<chat::Message<'s>>, ApiError> {
    let mut messages = Vec::new();
    messages.try_reserve_exact(said.len()).map_err(|_| ApiError::out_of_memory())?;
    messages.extend(said.iter().map(|Said { role, content, reasoning, calls, tool_call_id, name }| {
        chat::Message { role, content, reasoning_content: reasoning, tool_calls: calls, tool_call_id, name }
    }));
    Ok(messages)
}

/// Refuses a conversation that ends with a message of the model: an answer is always a new message and never continues one.
///
/// # Errors
/// If the conversation ends that way.
pub fn refuse_begun(said: &[Said<'_>]) -> Result<(), ApiError> {
    match said.last() {
        Some(last) if last.role == Role::Assistant.name() => Err(ApiError::field(
            "messages",
            "the last message is the assistant's; going on with one is not supported, end with the user's",
        )),
        _ => Ok(()),
    }
}

/// The messages in a request to a route of this shape.
///
/// # Errors
/// If there are none, a part is of a type that is not supported, or there is no memory.
pub fn said<'b>(shape: Shape, fields: &'b Fields<'b>) -> Result<Vec<Said<'b>>, ApiError> {
    let (field, messages) = match (shape, &fields.input, &fields.messages) {
        (Shape::Responses, Some(input), _) => ("input", &input.0[..]),
        (Shape::Responses, None, _) => ("input", &[][..]),
        (_, _, messages) => ("messages", messages.as_ref().map_or(&[][..], |messages| &messages.0)),
    };
    if messages.is_empty() {
        return Err(ApiError::field(field, "expected an array of at least one message"));
    }
    let mut talk = Talk { said: Vec::new() };
    if shape != Shape::Chat {
        let system = text(&fields.system, "system", &TEXTS)?;
        let system = if shape == Shape::Messages { without_stamp(system)? } else { system };
        if !system.is_empty() {
            talk.push(Role::System.name())?.content = system;
        }
    }
    for (index, message) in messages.iter().enumerate() {
        let path = format!("{field}[{index}]");
        match shape {
            Shape::Messages => talk.take_blocks(message, &path)?,
            Shape::Responses => talk.take_item(message, &path)?,
            _ => talk.take(message, &path)?,
        }
    }
    Ok(talk.said)
}

/// The beginning of Claude Code's system prompt: a line with a stamp, `cch=`, that differs in each request.
const STAMPED: &str = "x-anthropic-billing-header:";

/// Makes the stamp the same in each request: otherwise no prompt would begin like an earlier one, and the cache would be useless.
fn without_stamp(system: Cow<'_, str>) -> Result<Cow<'_, str>, ApiError> {
    const KEY: &str = "cch=";
    const STAMP: &str = "00000";
    let place = system.strip_prefix(STAMPED).and_then(|rest| rest.find(KEY));
    let Some(start) = place.map(|place| STAMPED.len() + place + KEY.len()) else { return Ok(system) };
    let (stamp, end) = (start..start + STAMP.len(), start + STAMP.len());
    if system.get(stamp.clone()).is_none() || system.as_bytes().get(end) != Some(&b';') {
        return Ok(system);
    }
    let mut system = owned(system)?;
    system.replace_range(stamp, STAMP);
    Ok(Cow::Owned(system))
}

/// How far back, in messages and in calls, to look for the call that a result belongs to.
const MAX_RESULTS: usize = 256;

/// Types of parts that hold text.
const TEXTS: [&str; 3] = ["text", "input_text", "output_text"];
/// Types of parts that hold thoughts.
const THOUGHTS: [&str; 2] = ["reasoning_text", "summary_text"];

/// The texts of all parts, each on its own line. The parts must be of these types.
fn text<'b>(content: &'b Content<'b>, path: &str, kinds: &[&str]) -> Result<Cow<'b, str>, ApiError> {
    let parts = match content {
        Content::Text(text) => return Ok(Cow::Borrowed(text)),
        Content::Parts(parts) => &parts.0,
    };
    let mut joined = Joined::default();
    for (index, part) in parts.iter().enumerate() {
        let path = || format!("{path}[{index}]");
        if !kinds.contains(&part.kind()) {
            return Err(part.unsupported(path(), kinds[0]));
        }
        joined.push(part.said(path)?)?;
    }
    Ok(joined.0.unwrap_or_default())
}

/// Texts, each on its own line.
#[derive(Default)]
struct Joined<'b>(Option<Cow<'b, str>>);

impl<'b> Joined<'b> {
    fn push(&mut self, text: &'b str) -> Result<(), ApiError> {
        let Some(before) = &mut self.0 else {
            self.0 = Some(Cow::Borrowed(text));
            return Ok(());
        };
        let mut joined = owned(core::mem::take(before))?;
        joined.try_reserve(text.len() + 1).map_err(|_| ApiError::out_of_memory())?;
        joined.push('\n');
        joined.push_str(text);
        *before = Cow::Owned(joined);
        Ok(())
    }
}

/// Adds a text after another, on its own line.
fn add_line<'b>(before: &mut Cow<'b, str>, text: Cow<'b, str>) -> Result<(), ApiError> {
    if before.is_empty() {
        *before = text;
        return Ok(());
    }
    if text.is_empty() {
        return Ok(());
    }
    let mut joined = owned(core::mem::take(before))?;
    joined.try_reserve(text.len() + 1).map_err(|_| ApiError::out_of_memory())?;
    joined.push('\n');
    joined.push_str(&text);
    *before = Cow::Owned(joined);
    Ok(())
}

fn owned(text: Cow<'_, str>) -> Result<String, ApiError> {
    match text {
        Cow::Owned(text) => Ok(text),
        Cow::Borrowed(text) => {
            let mut own = String::new();
            own.try_reserve(text.len()).map_err(|_| ApiError::out_of_memory())?;
            own.push_str(text);
            Ok(own)
        }
    }
}

impl<'b> Part<'b> {
    fn kind(&self) -> &str {
        or_empty(&self.kind)
    }

    fn said(&'b self, path: impl FnOnce() -> String) -> Result<&'b str, ApiError> {
        let text = self.text.as_ref().map(|text| &*text.0);
        text.ok_or_else(|| ApiError::field(path(), "missing field `text`"))
    }

    fn unsupported(&self, path: String, only: &str) -> ApiError {
        let message = format!("parts of type {} are not supported, only {only}", Quoted(self.kind()));
        ApiError::field(path + ".type", message)
    }
}

fn or_empty<'b>(field: &'b Option<Text<'b>>) -> &'b str {
    field.as_ref().map_or("", |text| &*text.0)
}

/// The conversation so far.
struct Talk<'b> {
    said: Vec<Said<'b>>,
}

impl<'b> Talk<'b> {
    fn push(&mut self, role: &'static str) -> Result<&mut Said<'b>, ApiError> {
        self.said.try_reserve(1).map_err(|_| ApiError::out_of_memory())?;
        self.said.push(Said { role, ..Said::default() });
        self.said.last_mut().ok_or_else(ApiError::out_of_memory)
    }

    /// Adds the result of a call, with the name of the tool that was called.
    fn push_result(&mut self, id: &'b str, content: Cow<'b, str>) -> Result<(), ApiError> {
        let recent = self.said.iter().rev().take(MAX_RESULTS);
        let mut calls = recent.flat_map(|said| said.calls.iter().rev()).take(MAX_RESULTS);
        let name = calls.find(|call| call.id == id).map_or("", |call| call.name);
        let said = self.push(Role::Tool.name())?;
        (said.content, said.tool_call_id, said.name) = (content, id, name);
        Ok(())
    }

    /// The message for what the model says next: its last one, if nobody spoke in between.
    fn assistant(&mut self) -> Result<&mut Said<'b>, ApiError> {
        self.of(Role::Assistant.name())
    }

    /// The message for what somebody says next: their last one, if nobody spoke in between.
    fn of(&mut self, role: &'static str) -> Result<&mut Said<'b>, ApiError> {
        if self.said.last().is_none_or(|last| last.role != role) {
            self.push(role)?;
        }
        self.said.last_mut().ok_or_else(ApiError::out_of_memory)
    }

    /// Adds a message of a chat.
    fn take(&mut self, message: &'b Message<'b>, path: &str) -> Result<(), ApiError> {
        let content = text(&message.content, &format!("{path}.content"), &TEXTS[..1])?;
        let said = self.push(role(message, path)?.name())?;
        said.content = content;
        said.reasoning = Cow::Borrowed(or_empty(&message.reasoning_content));
        said.tool_call_id = or_empty(&message.tool_call_id);
        said.name = or_empty(&message.name);
        let calls = message.tool_calls.as_ref().map_or(&[][..], |calls| &calls.0);
        said.calls.try_reserve_exact(calls.len()).map_err(|_| ApiError::out_of_memory())?;
        said.calls.extend(calls.iter().map(|call| chat::ToolCall {
            id: or_empty(&call.id),
            name: &call.function.name.0,
            arguments: &call.function.arguments.0,
        }));
        Ok(())
    }

    /// Adds one of Anthropic's messages. Results of tools, which are part of a user's message, come first.
    fn take_blocks(&mut self, message: &'b Message<'b>, path: &str) -> Result<(), ApiError> {
        let role = role(message, path)?.name();
        let parts = match &message.content {
            Content::Text(text) => {
                return add_line(&mut self.of(role)?.content, Cow::Borrowed(text));
            }
            Content::Parts(parts) => &parts.0,
        };
        let (mut texts, mut thoughts, mut calls) = (Joined::default(), Joined::default(), Vec::new());
        let n_said = self.said.len();
        for (index, part) in parts.iter().enumerate() {
            let path = || format!("{path}.content[{index}]");
            match part.kind() {
                "text" => texts.push(part.said(path)?)?,
                "thinking" => thoughts.push(part.said(path)?)?,
                // Nobody here can read it.
                "redacted_thinking" => {}
                "tool_use" => push_call(&mut calls, &part.id, &part.name, &part.input.0, path)?,
                "tool_result" => {
                    let json = part.content.map_or("null", RawValue::get);
                    let content = result(json, path)?;
                    let content = if part.is_error == Some(true) { failed(content)? } else { content };
                    self.push_result(or_empty(&part.tool_use_id), content)?;
                }
                _ => return Err(part.unsupported(path(), "text, thinking, tool_use and tool_result")),
            }
        }
        let is_result_alone = self.said.len() > n_said && texts.0.is_none();
        if !is_result_alone {
            let (content, reasoning) = (texts.0.unwrap_or_default(), thoughts.0.unwrap_or_default());
            let said = self.of(role)?;
            add_line(&mut said.content, content)?;
            add_line(&mut said.reasoning, reasoning)?;
            said.calls.try_reserve(calls.len()).map_err(|_| ApiError::out_of_memory())?;
            said.calls.append(&mut calls);
        }
        Ok(())
    }

    /// Adds an item of a response. What the model thinks, says and calls in a row becomes one message.
    fn take_item(&mut self, item: &'b Message<'b>, path: &str) -> Result<(), ApiError> {
        let field = |name: &str| format!("{path}.{name}");
        match or_empty(&item.kind) {
            "" | "message" => {
                let content = text(&item.content, &field("content"), &TEXTS)?;
                match role(item, path)? {
                    Role::Assistant => {
                        let said = self.assistant()?;
                        // Several messages in a row stay separate.
                        let said =
                            if said.content.is_empty() { said } else { self.push(Role::Assistant.name())? };
                        said.content = content;
                    }
                    // Many templates accept only one system message.
                    Role::System | Role::Developer => {
                        add_line(&mut self.of(Role::System.name())?.content, content)?;
                    }
                    role => self.push(role.name())?.content = content,
                }
            }
            "reasoning" => {
                let thought = text(&item.content, &field("content"), &THOUGHTS)?;
                let summary = text(&item.summary, &field("summary"), &THOUGHTS)?;
                let said = self.assistant()?;
                // Each of several thoughts belongs to its own message.
                let said = if said.reasoning.is_empty() { said } else { self.push(Role::Assistant.name())? };
                said.reasoning = if thought.is_empty() { summary } else { thought };
            }
            // Its arguments were cut off, so nothing was called.
            "function_call" if or_empty(&item.status) == "incomplete" => {}
            "function_call" => {
                let said = self.assistant()?;
                push_call(&mut said.calls, &item.tool_call_id, &item.name, &item.arguments.0, || {
                    path.into()
                })?;
            }
            "function_call_output" => {
                let content = text(&item.output, &field("output"), &TEXTS)?;
                self.push_result(or_empty(&item.tool_call_id), content)?;
            }
            kind => {
                let only = "message, reasoning, function_call and function_call_output";
                return Err(ApiError::field(
                    field("type"),
                    format!("{} is not supported, only {only}", Quoted(kind)),
                ));
            }
        }
        Ok(())
    }
}

fn role(message: &Message<'_>, path: &str) -> Result<Role, ApiError> {
    message.role.ok_or_else(|| ApiError::field(path, "missing field `role`"))
}

fn push_call<'b>(
    calls: &mut Vec<chat::ToolCall<'b>>,
    id: &'b Option<Text<'b>>,
    name: &'b Option<Text<'b>>,
    arguments: &'b str,
    path: impl FnOnce() -> String,
) -> Result<(), ApiError> {
    let name = or_empty(name);
    if name.is_empty() {
        return Err(ApiError::field(path(), "missing field `name`"));
    }
    calls.try_reserve(1).map_err(|_| ApiError::out_of_memory())?;
    calls.push(chat::ToolCall { id: or_empty(id), name, arguments });
    Ok(())
}

/// The text of a result, which is given as a text or as parts.
fn result<'b>(json: &'b str, path: impl FnOnce() -> String) -> Result<Cow<'b, str>, ApiError> {
    let path = path() + ".content";
    ensure_room(json.as_bytes())?;
    let content: Content<'b> = serde_json::from_str(json).map_err(|error| ApiError::field(&*path, error))?;
    match content {
        Content::Text(text) => Ok(text),
        Content::Parts(_) => text(&content, &path, &TEXTS[..1]).and_then(owned).map(Cow::Owned),
    }
}

/// The result of a tool that failed, with a note saying so: templates have no other place for that.
fn failed(content: Cow<'_, str>) -> Result<Cow<'_, str>, ApiError> {
    const MARK: &str = "Error";
    let says_so = content.trim_start().get(..MARK.len()).is_some_and(|word| word.eq_ignore_ascii_case(MARK));
    if says_so {
        return Ok(content);
    }
    let mut text = String::new();
    text.try_reserve_exact(MARK.len() + 2 + content.len()).map_err(|_| ApiError::out_of_memory())?;
    text.push_str(MARK);
    if !content.is_empty() {
        text.push_str(": ");
        text.push_str(&content);
    }
    Ok(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_says_that_the_tool_has_failed() {
        for (content, said) in [
            ("no file", "Error: no file"),
            ("", "Error"),
            ("Error: no file", "Error: no file"),
            (" ERROR", " ERROR"),
            ("\u{20ac}\u{20ac}", "Error: \u{20ac}\u{20ac}"),
        ] {
            assert_eq!(failed(Cow::Borrowed(content)).unwrap(), said);
        }
    }

    #[test]
    fn a_stamp_is_the_same_in_each_request() {
        let same = |text: &str| without_stamp(Cow::Borrowed(text)).unwrap().into_owned();
        let header = "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli; cch=a5145;\nYou are";
        assert_eq!(same(header), header.replace("a5145", "00000"));
        for other in [
            "Say cch=a5145;",
            "x-anthropic-billing-header: cc_version=2.1;",
            "x-anthropic-billing-header: cch=a5145",
            "x-anthropic-billing-header: cch=a51456;",
            "x-anthropic-billing-header: cch=\u{20ac}\u{20ac};",
        ] {
            assert_eq!(same(other), other);
        }
    }
}
