//! [`Transcript`]: a conversation as messages in JSON, in the form of OpenAI's API.

use core::fmt::{self, Write};

use super::Role;
use super::dialogue::{Dialogue, KeptCall, Turn};

/// Shows a conversation as a JSON array of messages, each in a line. It allocates nothing.
#[derive(Debug)]
pub struct Transcript<'d>(pub &'d Dialogue);

impl fmt::Display for Transcript<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('[')?;
        // The calls whose results come next.
        let mut unanswered: &[KeptCall] = &[];
        for (place, turn) in self.0.turns.iter().enumerate() {
            f.write_str(if place == 0 { "\n" } else { ",\n" })?;
            write_turn(f, turn, &mut unanswered)?;
        }
        f.write_str("\n]")
    }
}

fn write_turn<'d>(
    f: &mut fmt::Formatter<'_>,
    turn: &'d Turn,
    unanswered: &mut &'d [KeptCall],
) -> fmt::Result {
    write!(f, "{{\"role\": \"{}\", \"content\": {}", turn.role.name(), Quoted(&turn.content))?;
    if !turn.reasoning.is_empty() {
        write!(f, ", \"reasoning_content\": {}", Quoted(&turn.reasoning))?;
    }
    if turn.role != Role::Tool {
        *unanswered = &turn.calls;
    } else if let Some((call, others)) = unanswered.split_first() {
        *unanswered = others;
        write!(f, ", \"tool_call_id\": {}", Quoted(&call.id))?;
    }
    let mut separator = ", \"tool_calls\": [";
    for KeptCall { id, call } in &turn.calls {
        write!(
            f,
            "{separator}{{\"id\": {}, \"type\": \"function\", \"function\": {{\"name\": {}, \"arguments\": {}}}}}",
            Quoted(id),
            Quoted(&call.name),
            Quoted(&call.arguments)
        )?;
        separator = ", ";
    }
    f.write_str(if turn.calls.is_empty() { "}" } else { "]}" })
}

/// A string of JSON (RFC 8259, 7).
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                // Those beyond ASCII are allowed, but a terminal would obey them.
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Format;
    use alloc::string::ToString;

    #[test]
    fn a_conversation_becomes_json_that_says_the_same() {
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&Transcript(&Dialogue::default()).to_string()).unwrap(),
            serde_json::json!([])
        );
        let mut dialogue = Dialogue::default();
        dialogue.begin(Some("Be \"brief\" \\ é\u{9b}\u{1}\n\t")).unwrap();
        dialogue.ask("How long?").unwrap();
        let call = "<tool_call>{\"name\": \"uptime\", \"arguments\": {\"a\": \"b\"}}</tool_call>";
        dialogue.called(&alloc::format!("So.{call}{call}"), Format::default(), &[]).unwrap();
        dialogue.result("1 s\n").unwrap();
        dialogue.result("2 s\n").unwrap();
        dialogue.answer("<think>\nHm.\n</think>\n\nTwo.", Format::of(&["<think>"])).unwrap();
        let shown = Transcript(&dialogue).to_string();
        assert_eq!(shown.lines().count(), 8, "{shown}");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        let call = |id: &str| serde_json::json!({"id": id, "type": "function", "function": {"name": "uptime", "arguments": "{\"a\": \"b\"}"}});
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            serde_json::json!([
                {"role": "system", "content": "Be \"brief\" \\ é\u{9b}\u{1}\n\t"},
                {"role": "user", "content": "How long?"},
                {"role": "assistant", "content": "So.", "tool_calls": [call("call00001"), call("call00002")]},
                {"role": "tool", "content": "1 s\n", "tool_call_id": "call00001"},
                {"role": "tool", "content": "2 s\n", "tool_call_id": "call00002"},
                {"role": "assistant", "content": "Two.", "reasoning_content": "Hm."},
            ])
        );
    }
}
