//! Replaces messages that a template cannot show: [`fallback`].
//!
//! Some templates do not support system messages, many do not support tools. Such content moves into messages that the
//! template supports: a system message into the user's next message, tools into the system message, calls into the
//! assistant's text, results into messages of the user. This way even models that were never trained on tools can call
//! them.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::capabilities::Capabilities;
use super::{ChatError, Conversation, Message, Tool};
use toolcalls::Form;

/// A message, and a replacement for its content.
#[derive(Debug, Clone)]
pub(super) struct Said<'m> {
    /// The message. Its own content is ignored.
    pub message: Message<'m>,
    /// Its content.
    pub content: Cow<'m, str>,
}

/// The messages of a conversation, changed so that a template with these capabilities can show all of them. The model
/// is asked to write calls in `form`, and earlier calls are shown in it.
///
/// # Errors
/// [`ChatError::OutOfMemory`].
pub(super) fn fallback<'m>(
    conversation: &Conversation<'m>,
    capabilities: &Capabilities,
    form: &Form,
) -> Result<Vec<Said<'m>>, ChatError> {
    let mut said: Vec<Said<'_>> = Vec::new();
    // One more message for tools, and one for a system message at the end.
    let n_most = conversation.messages.len().saturating_add(2);
    let needed_bytes = n_most.saturating_mul(size_of::<Said<'_>>());
    said.try_reserve(n_most).map_err(|_| ChatError::OutOfMemory { needed_bytes })?;
    for &message in conversation.messages {
        let role = match message.role {
            "developer" if !capabilities.developer => "system",
            role => role,
        };
        said.push(Said { message: Message { role, ..message }, content: Cow::Borrowed(message.content) });
    }
    if !conversation.tools.is_empty() && !capabilities.tools {
        describe_tools(&mut said, conversation.tools, form)?;
    }
    if capabilities.tool_calls.is_none() {
        write_out_calls(&mut said, form)?;
    }
    if capabilities.system.is_none() {
        without_system(&mut said)?;
    }
    Ok(said)
}

/// Adds a description of the tools to the first system message, or as a new one.
fn describe_tools(said: &mut Vec<Said<'_>>, tools: &[Tool<'_>], form: &Form) -> Result<(), ChatError> {
    if said.first().is_none_or(|first| first.message.role != "system") {
        said.insert(0, Said { message: Message::new("system", ""), content: Cow::Borrowed("") });
    }
    let mut text = Bounded::of(core::mem::take(&mut said[0].content))?;
    let described = (|| {
        text.write_str(if text.text.is_empty() { "" } else { "\n\n" })?;
        text.write_str("You can call these tools, each described by a line of JSON:\n")?;
        for tool in tools {
            writeln!(text, "{}", ToolJson(tool))?;
        }
        text.write_str("To call one, answer with its name and arguments in this form:\n")?;
        form.write_example(&mut text)?;
        text.write_str(
            "\nCall a tool only if it helps; then you are told its result. Otherwise answer in words.",
        )
    })();
    text.finish(described).map(|text| said[0].content = Cow::Owned(text))
}

/// Writes calls into the content of their messages, and turns results into messages of the user. Consecutive results
/// become one message.
fn write_out_calls(said: &mut Vec<Said<'_>>, form: &Form) -> Result<(), ChatError> {
    let mut last_was_result = false;
    let mut kept = 0;
    for index in 0..said.len() {
        let message = said[index].message;
        let content = core::mem::take(&mut said[index].content);
        let is_result = message.role == "tool";
        let goes_on = is_result && last_was_result;
        let content = if is_result {
            let before =
                if goes_on { core::mem::take(&mut said[kept - 1].content) } else { Cow::Borrowed("") };
            let separator = if goes_on { "\n" } else { "" };
            let mut text = Bounded::of(before)?;
            let written = write!(text, "{separator}<tool_response>\n{content}\n</tool_response>");
            Cow::Owned(text.finish(written)?)
        } else if message.tool_calls.is_empty() {
            content
        } else {
            let mut text = Bounded::of(content)?;
            let written = (|| {
                for call in message.tool_calls {
                    let separator = if text.text.is_empty() { "" } else { "\n" };
                    let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments };
                    text.write_str(separator)?;
                    form.write_call(call.name, arguments, &mut text)?;
                }
                Ok(())
            })();
            Cow::Owned(text.finish(written)?)
        };
        last_was_result = is_result;
        if goes_on {
            said[kept - 1].content = content;
            continue;
        }
        let role = if is_result { "user" } else { message.role };
        said[kept] =
            Said { message: Message { role, tool_calls: &[], tool_call_id: "", ..message }, content };
        kept += 1;
    }
    said.truncate(kept);
    Ok(())
}

/// Moves each system message to the front of the user's next message.
fn without_system(said: &mut Vec<Said<'_>>) -> Result<(), ChatError> {
    let mut system: Option<Cow<'_, str>> = None;
    let mut kept = 0;
    for index in 0..said.len() {
        let message = said[index].message;
        let content = core::mem::take(&mut said[index].content);
        let in_front = match message.role {
            "system" | "user" => system.take(),
            _ => None,
        };
        let content = match in_front {
            Some(before) => {
                let mut text = Bounded::of(before)?;
                let written = write!(text, "\n{content}");
                Cow::Owned(text.finish(written)?)
            }
            None => content,
        };
        if message.role == "system" {
            system = Some(content);
        } else {
            said[kept] = Said { message, content };
            kept += 1;
        }
    }
    said.truncate(kept);
    // A system message at the end must not be lost.
    if let Some(content) = system {
        said.push(Said { message: Message::new("user", ""), content });
    }
    Ok(())
}

/// A text under construction that reports a lack of memory.
#[derive(Default)]
struct Bounded {
    text: String,
    needed_bytes: usize,
}

impl Bounded {
    /// Continues `text`. An owned text is not copied.
    fn of(text: Cow<'_, str>) -> Result<Self, ChatError> {
        let mut new = Self::default();
        match text {
            Cow::Owned(text) => new.text = text,
            Cow::Borrowed(text) => {
                let written = new.write_str(text);
                new.text = core::mem::take(&mut new).finish(written)?;
            }
        }
        Ok(new)
    }

    /// The finished text. `written` is the result of writing it.
    fn finish(self, written: fmt::Result) -> Result<String, ChatError> {
        let needed_bytes = self.needed_bytes;
        written.map(|()| self.text).map_err(|_| ChatError::OutOfMemory { needed_bytes })
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.needed_bytes = self.text.len().saturating_add(text.len());
        self.text.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.text.push_str(text);
        Ok(())
    }
}

/// A tool in the form of OpenAI's API, as one line of JSON in Python's style.
struct ToolJson<'t>(&'t Tool<'t>);

impl fmt::Display for ToolJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tool { name, description, parameters } = self.0;
        let parameters = if parameters.trim().is_empty() { NO_PARAMETERS } else { parameters };
        let (name, description) = (JsonText(name), JsonText(description));
        write!(f, "{{\"name\": {name}, \"description\": {description}, \"parameters\": ")?;
        // Joins the lines: outside of strings, line ends in JSON are only white space.
        parameters.split(['\n', '\r']).try_for_each(|line| f.write_str(line.trim_ascii_start()))?;
        f.write_str("}")
    }
}

/// The schema of a tool without parameters.
pub(super) const NO_PARAMETERS: &str = r#"{"type": "object", "properties": {}}"#;

/// A text as JSON.
struct JsonText<'t>(&'t str);

impl fmt::Display for JsonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\n' => f.write_str("\\n")?,
                _ if character < ' ' => write!(f, "\\u{:04x}", character as u32)?,
                _ => f.write_char(character)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::super::capabilities::ArgumentsForm;
    use super::*;
    use crate::chat::ToolCall;

    /// The roles and contents of the messages that replace `messages`.
    fn replaced(
        messages: &[Message<'_>],
        tools: &[Tool<'_>],
        capabilities: Capabilities,
    ) -> Vec<(String, String)> {
        let conversation = Conversation { tools, ..Conversation::new(messages) };
        let said = fallback(&conversation, &capabilities, &toolcalls::GENERIC).unwrap();
        said.into_iter().map(|said| (said.message.role.into(), said.content.into_owned())).collect()
    }

    fn said(role: &str, text: &str) -> (String, String) {
        (role.into(), text.into())
    }

    #[test]
    fn system_messages_go_before_what_the_user_says_next() {
        let merged = |messages: &[(&str, &str)]| {
            let messages: Vec<_> =
                messages.iter().map(|(role, content)| Message::new(role, content)).collect();
            replaced(&messages, &[], Capabilities { system: None, ..Capabilities::TEXT })
        };
        assert_eq!(merged(&[("system", "s"), ("user", "u")]), [said("user", "s\nu")]);
        assert_eq!(merged(&[("developer", "s"), ("user", "u")]), [said("user", "s\nu")]);
        assert_eq!(
            merged(&[("system", "a"), ("system", "b"), ("assistant", "c"), ("user", "d"), ("user", "e")]),
            [said("assistant", "c"), said("user", "a\nb\nd"), said("user", "e")]
        );
        assert_eq!(merged(&[("user", "u"), ("system", "s")]), [said("user", "u"), said("user", "s")]);
        assert_eq!(merged(&[]), []);
    }

    #[test]
    fn tools_calls_and_results_are_said_in_words() {
        let calls = [
            ToolCall { id: "1", name: "a", arguments: r#"{"x": 1}"# },
            ToolCall { id: "2", name: "b", arguments: " " },
        ];
        let messages = [
            Message::new("user", "u"),
            Message { tool_calls: &calls, ..Message::new("assistant", "Well.") },
            Message { tool_call_id: "1", ..Message::new("tool", "one") },
            Message { tool_call_id: "2", ..Message::new("tool", "two") },
            Message { tool_calls: &calls[..1], ..Message::new("assistant", "") },
            Message::new("tool", "three"),
            Message::new("user", "v"),
        ];
        let tools = [
            Tool { name: "a", description: "A\n\"a\"", parameters: "{\n  \"type\": \"object\"\n}" },
            Tool { name: "b", ..Tool::default() },
        ];
        let found = replaced(&messages, &tools, Capabilities::TEXT);
        let described = concat!(
            "You can call these tools, each described by a line of JSON:\n",
            r#"{"name": "a", "description": "A\n\"a\"", "parameters": {"type": "object"}}"#,
            "\n",
            r#"{"name": "b", "description": "", "parameters": {"type": "object", "properties": {}}}"#,
            "\nTo call one,"
        );
        assert_eq!(found[0].0, "system");
        assert!(found[0].1.starts_with(described), "{}", found[0].1);
        let first_call = "<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": 1}}\n</tool_call>";
        let second_call = "<tool_call>\n{\"name\": \"b\", \"arguments\": {}}\n</tool_call>";
        assert_eq!(
            found[1..],
            [
                said("user", "u"),
                said("assistant", &alloc::format!("Well.\n{first_call}\n{second_call}")),
                said(
                    "user",
                    "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>"
                ),
                said("assistant", first_call),
                said("user", "<tool_response>\nthree\n</tool_response>"),
                said("user", "v"),
            ]
        );
        // The description follows the text of the system message; nothing is added if the template supports everything.
        let system = [Message::new("system", "Be brief."), Message::new("user", "u")];
        let found = replaced(&system, &tools, Capabilities::TEXT);
        assert!(found[0].1.starts_with("Be brief.\n\nYou can call"));
        let able =
            Capabilities { tools: true, tool_calls: Some(ArgumentsForm::Object), ..Capabilities::TEXT };
        assert_eq!(replaced(&system, &tools, able), [said("system", "Be brief."), said("user", "u")]);
        assert_eq!(replaced(&messages, &tools, able).len(), messages.len());
    }
}
