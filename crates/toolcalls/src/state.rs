//! [`State`]: what a parser knows, and how it reports events.

use alloc::string::String;
use alloc::vec::Vec;

use crate::form::{Arguments, Form};
use crate::format::Format;
use crate::literal::{Literal, Notation, push_escaped};

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'e> {
    /// Text for the user.
    Content(&'e str),
    /// A thought.
    Reasoning(&'e str),
    /// A call of a tool begins.
    ToolCallBegin {
        /// The number of the call, from 0.
        index: usize,
        /// The tool's name.
        name: &'e str,
    },
    /// The next part of the arguments' JSON text.
    ToolCallArguments(&'e str),
    /// The call is complete.
    ToolCallEnd,
    /// The call will not be completed: the answer ends inside it, or the rest cannot be understood.
    ToolCallBroken {
        /// Where it began, in bytes of the answer.
        start: usize,
        /// Where it ends. What follows is reported as content.
        end: usize,
    },
}

/// The receiver of events.
pub(crate) type To<'t> = &'t mut dyn FnMut(Event<'_>);

/// The part of the answer that the next character belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Text for the user.
    Text,
    /// A thought.
    Thought,
    /// The head of a message in a channel.
    Header,
    /// Before a call, or between two.
    Between,
    /// A tool's name.
    Name,
    /// A call that is an object.
    Object(InObject),
    /// Arguments as one value.
    Arguments,
    /// Before a key of the arguments, or after the last value.
    Keys,
    /// A key.
    Key,
    /// Before a value.
    ValueOpen,
    /// A value.
    Value,
    /// A keyword of Python's arguments.
    Keyword,
    /// A value of Python's arguments.
    KeywordValue,
}

/// The position in an object that is a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InObject {
    BeforeKey,
    Key,
    Colon,
    BeforeValue,
    Name,
    Arguments,
    /// Arguments as JSON in a string.
    ArgumentsText,
    /// A value that is ignored.
    Other,
    Next,
}

/// The kind of text that is collected before it is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Content,
    Reasoning,
    Arguments,
}

/// Most bytes of a name, a key or a head.
pub(crate) const MAX_NAME_BYTES: usize = 256;
/// Most bytes that are kept while they cannot be interpreted yet.
pub(crate) const MAX_KEPT_BYTES: usize = 64 << 10;
/// Most bytes of white space that are held back.
pub(crate) const MAX_SPACE_BYTES: usize = 256;

#[derive(Debug, Clone)]
pub(crate) struct State {
    pub format: Format,
    pub mode: Mode,
    /// Text that may become a mark.
    pub held: String,
    /// White space that is dropped if a mark follows.
    pub space: String,
    /// Whether white space is dropped because a mark came before.
    pub drops_space: bool,
    /// Whether there has been any text since the answer or a message began.
    pub has_said: bool,
    /// The whole text of a call that has not been reported yet.
    pub raw: String,
    /// Whether the beginning of a call has been reported, but not its end.
    pub has_begun: bool,
    /// Number of calls since the last text.
    pub n_in_section: usize,
    pub name: String,
    pub key: String,
    /// A value, or arguments that came before the name.
    pub kept: String,
    /// Whether a value is reported as text piece by piece, without waiting for all of it.
    pub is_text: bool,
    pub is_first_key: bool,
    /// Whether arguments have been reported.
    pub has_arguments: bool,
    /// Number of objects around the one that contains the name.
    pub depth: u32,
    pub is_bare: bool,
    pub literal: Literal,
    pub n_calls: usize,
    /// Number of bytes of the answer before the current character.
    pub n_bytes: usize,
    /// Where the call began.
    pub start: usize,
    /// Tools and keys whose values are texts.
    pub texts: Vec<(String, String)>,
    pub scrap: String,
    out: String,
    kind: Kind,
}

impl State {
    pub fn new(format: Format) -> Self {
        Self {
            format,
            mode: Mode::Text,
            held: String::new(),
            space: String::new(),
            drops_space: false,
            has_said: false,
            raw: String::new(),
            has_begun: false,
            n_in_section: 0,
            name: String::new(),
            key: String::new(),
            kept: String::new(),
            is_text: false,
            is_first_key: false,
            has_arguments: false,
            depth: 0,
            is_bare: false,
            literal: Literal::new(Notation::Json),
            n_calls: 0,
            n_bytes: 0,
            start: 0,
            texts: Vec::new(),
            scrap: String::new(),
            out: String::new(),
            kind: Kind::Content,
        }
    }

    /// Reserves memory for everything that `n_bytes` more of an answer can lead to. If there is none, returns the number of bytes
    /// that were requested.
    pub fn reserve(&mut self, n_bytes: usize) -> Result<(), usize> {
        let Self { held, space, raw, name, key, kept, scrap, out, .. } = self;
        let n_kept = raw.len() + kept.len() + space.len() + held.len();
        // A character may become an escape of six bytes, and the name may have a mark before it.
        let n_out = n_bytes.saturating_add(n_kept).saturating_mul(6).saturating_add(4 * MAX_NAME_BYTES);
        let n_more = n_bytes.saturating_mul(6).saturating_add(2 * MAX_NAME_BYTES);
        for (buffer, needed_bytes) in [(out, n_out), (raw, n_more), (kept, n_more), (space, n_bytes)] {
            buffer.try_reserve(needed_bytes).map_err(|_| needed_bytes)?;
        }
        for buffer in [held, name, key, scrap] {
            buffer.try_reserve(2 * MAX_NAME_BYTES).map_err(|_| 2 * MAX_NAME_BYTES)?;
        }
        Ok(())
    }

    /// Where text of this kind is collected; text of another kind is reported first.
    pub fn out(&mut self, kind: Kind, to: To<'_>) -> &mut String {
        if self.kind != kind {
            self.tell(to);
            self.kind = kind;
        }
        &mut self.out
    }

    /// Reports the collected text.
    pub fn tell(&mut self, to: To<'_>) {
        if self.out.is_empty() {
            return;
        }
        to(match self.kind {
            Kind::Content => Event::Content(&self.out),
            Kind::Reasoning => Event::Reasoning(&self.out),
            Kind::Arguments => Event::ToolCallArguments(&self.out),
        });
        self.out.clear();
    }

    /// Takes a character that is not part of a mark.
    pub fn say(&mut self, character: char, to: To<'_>) {
        let kind = if self.mode == Mode::Thought { Kind::Reasoning } else { Kind::Content };
        if character.is_whitespace() && self.space.len() < MAX_SPACE_BYTES {
            if !self.drops_space {
                self.space.push(character);
            }
            return;
        }
        let space = core::mem::take(&mut self.space);
        let out = self.out(kind, to);
        out.push_str(&space);
        out.push(character);
        self.space = space;
        self.space.clear();
        self.drops_space = false;
        self.has_said = true;
    }

    /// Drops white space around a mark.
    pub fn drop_space(&mut self) {
        self.space.clear();
        self.drops_space = true;
    }

    /// Expects calls after a mark that has just been completed, or without a mark.
    pub fn open(&mut self, mode: Mode, raw: &str, start: usize) {
        self.mode = mode;
        self.raw.clear();
        self.raw.push_str(raw);
        self.start = start;
        self.held.clear();
        self.name.clear();
        self.n_in_section = 0;
        self.is_bare = false;
    }

    /// Turns the text that looked like a call before `character` into content; the character must be taken again.
    pub fn fail(&mut self, character: char, to: To<'_>) -> bool {
        if self.raw.ends_with(character) {
            self.raw.pop();
        }
        self.mode = Mode::Text;
        let is_rest =
            self.n_in_section > 0 && self.raw.trim_matches([' ', '\n', '\r', '\t', ']', ',', ';']).is_empty();
        if is_rest {
            self.drop_space();
        } else {
            self.say_raw(to);
        }
        self.raw.clear();
        self.held.clear();
        true
    }

    /// Reports the text that looked like a call as content.
    pub fn say_raw(&mut self, to: To<'_>) {
        let (space, raw) = (core::mem::take(&mut self.space), core::mem::take(&mut self.raw));
        let out = self.out(Kind::Content, to);
        out.push_str(&space);
        out.push_str(&raw);
        (self.space, self.raw) = (space, raw);
        self.space.clear();
        self.raw.clear();
        self.drops_space = false;
        self.has_said = true;
    }

    /// Ends a call that has begun and cannot continue; the character must be taken again.
    pub fn break_off(&mut self, to: To<'_>) -> bool {
        self.tell(to);
        to(Event::ToolCallBroken { start: self.start, end: self.n_bytes });
        self.has_begun = false;
        self.mode = Mode::Text;
        self.space.clear();
        self.drops_space = false;
        self.has_said = true;
        self.raw.clear();
        self.held.clear();
        true
    }

    /// Reports the beginning of a call; returns whether it has a name.
    pub fn begin(&mut self, to: To<'_>) -> bool {
        let name = self.name.trim();
        // Removes Mistral's mark before an id, the prefix of gpt-oss's names, and the numbers after Kimi's names.
        let name = name.split("[CALL_ID]").next().unwrap_or(name);
        let Form { arguments, name_end, .. } = self.format.form;
        let is_recipient = *arguments == Arguments::Channels;
        let name = name.strip_prefix(if is_recipient { "functions." } else { "" }).unwrap_or(name);
        let name = match name.rsplit_once(':') {
            Some((before, number))
                if name_end.starts_with(':')
                    && !number.is_empty()
                    && number.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                before
            }
            _ => name,
        };
        let is_name = !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && name.chars().all(|character| character.is_alphanumeric() || "_-.:/$".contains(character));
        if !is_name {
            return false;
        }
        let range = {
            let start = name.as_ptr() as usize - self.name.as_ptr() as usize;
            start..start + name.len()
        };
        self.name.truncate(range.end);
        self.name.drain(..range.start);
        if self.n_in_section == 0 {
            // If the call is broken off, the white space before its mark becomes text again.
            self.start = self.start.saturating_sub(self.space.len());
        }
        self.space.clear();
        self.tell(to);
        to(Event::ToolCallBegin { index: self.n_calls, name: &self.name });
        self.n_calls += 1;
        self.has_begun = true;
        self.has_arguments = false;
        self.is_first_key = true;
        self.raw.clear();
        self.held.clear();
        true
    }

    /// Reports the end of a call.
    pub fn end(&mut self, to: To<'_>) {
        if !self.has_arguments {
            self.out(Kind::Arguments, to).push_str("{}");
        }
        self.tell(to);
        to(Event::ToolCallEnd);
        self.has_begun = false;
        self.n_in_section += 1;
        self.raw.clear();
        self.held.clear();
        self.mode = Mode::Between;
    }

    /// Writes a key of the arguments, with the punctuation before it.
    pub fn write_key(&mut self, to: To<'_>) {
        let before = if core::mem::take(&mut self.is_first_key) { "{" } else { ", " };
        let key = core::mem::take(&mut self.key);
        let out = self.out(Kind::Arguments, to);
        out.push_str(before);
        out.push('"');
        key.trim().chars().for_each(|character| push_escaped(character, out));
        out.push_str("\": ");
        self.key = key;
        self.has_arguments = true;
    }

    /// Writes the end of arguments that are keys and values.
    pub fn write_end(&mut self, to: To<'_>) {
        if self.has_arguments {
            self.out(Kind::Arguments, to).push('}');
        }
        self.end(to);
    }

    /// Whether values of the current key are texts.
    pub fn takes_text(&self) -> bool {
        let (name, key) = (self.name.as_str(), self.key.trim());
        self.texts.iter().any(|(tool, text)| tool == name && text == key)
    }
}
