//! gpt-oss's channels: the heads of its messages.
//!
//! An answer consists of messages, `<|start|>assistant<|channel|>analysis<|message|>…<|end|>` and so on; the prompt ends with the
//! first `<|start|>assistant`. The channel says what kind of message it is. A recipient in the head (` to=functions.name`, before
//! or after the channel) makes it a call.

use crate::form::Arguments;
use crate::state::{MAX_NAME_BYTES, Mode, State, To};

/// The marks that end a message or begin a head.
pub(crate) const MARKS: [&str; 5] = ["<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"];

const MESSAGE: &str = "<|message|>";

impl State {
    /// Whether answers are messages in channels.
    pub fn has_channels(&self) -> bool {
        self.format.form.arguments == Arguments::Channels
    }

    /// Ends a message at a mark that has just been completed.
    pub fn end_message(&mut self, mark: &'static str, to: To<'_>) {
        self.tell(to);
        self.drop_space();
        let begins_head = matches!(mark, "<|start|>" | "<|channel|>");
        let start = self.n_bytes + 1 - mark.len();
        self.open(Mode::Header, if begins_head { mark } else { "" }, start);
    }

    /// Takes a character of a head; returns whether the character must be taken again.
    pub fn take_of_header(&mut self, character: char, to: To<'_>) -> bool {
        if self.raw.is_empty() {
            self.start = self.n_bytes;
        }
        self.raw.push(character);
        if self.raw.ends_with(MESSAGE) {
            self.end_header(to);
            return false;
        }
        let head = self.raw.trim_start();
        const BEGINNINGS: [&str; 3] = ["to=", "<|start|>", "<|channel|>"];
        let may_be_head = BEGINNINGS.iter().any(|begin| begin.starts_with(head) || head.starts_with(begin));
        if may_be_head && self.raw.len() <= 2 * MAX_NAME_BYTES {
            return false;
        }
        self.fail(character, to)
    }

    fn end_header(&mut self, to: To<'_>) {
        let head = core::mem::take(&mut self.raw);
        let is_end = |character: char| character.is_whitespace() || character == '<';
        let recipient = head.split_once("to=").and_then(|(_, rest)| rest.split(is_end).next());
        let recipient =
            recipient.filter(|&recipient| recipient != "assistant" && recipient.len() <= MAX_NAME_BYTES);
        let is_thought =
            head.rsplit_once("<|channel|>").is_some_and(|(_, channel)| channel.starts_with("analysis"));
        self.name.clear();
        self.name.push_str(recipient.unwrap_or(""));
        self.drop_space();
        self.has_said = false;
        self.mode = if is_thought { Mode::Thought } else { Mode::Text };
        if recipient.is_some() && self.begin(to) {
            self.expect_json();
        }
        self.raw = head;
        self.raw.clear();
    }
}
