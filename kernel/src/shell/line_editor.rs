//! One line of input, edited on a VT100-like terminal.
//!
//! [`LineEditor`] applies [keys](super::keys) to a `Line`, and a `View` shows it. It does not know where keys come from, nor what
//! words can be completed to, so a test can type into it. `search.rs` has the keys of a search, `tab.rs` has completion.
//!
//! Existing crates do not suffice. `embedded-cli` 0.2 has no home, end or kill keys, and accepts only text, so a prompt of
//! invalid UTF-8 would never reach the command that should refuse it. `noline` 0.5 asks the terminal for its cursor position
//! (`ESC [ 6 n`) and loses piped input while it waits for the answer.

mod search;
mod tab;

use alloc::{string::String, vec::Vec};
use core::ops::Range;

use self::search::Search;
use super::{history::History, keys::Key, line::Line, line_view::View};
use crate::console::Console;

/// Longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// For a line of up to this many bytes, every block of memory that is needed, also for everything derived from it, is small
/// enough to be always available.
pub const SHORT_LINE_BYTES: usize = 256;

/// The most memory that one byte of a line can take: in the line as it grows, the killed text, the history, the saved draft, the
/// line before a search and the entered line; and in the lists of words, commands and arguments made from it, which double as they
/// grow.
pub const BYTES_FOR_A_BYTE: usize = 170;

const BELL: &[u8] = b"\x07";

/// How the editing of a line ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Entered {
    /// Enter was pressed. The bytes need not be UTF-8.
    Line(Vec<u8>),
    /// Enter was pressed, but more than [`MAX_LINE_BYTES`] had been typed.
    TooLong,
    /// Enter was pressed, but there had not been memory for all that was typed.
    NoMemory {
        /// How many bytes there should have been.
        needed_bytes: usize,
    },
    /// Ctrl-C was pressed: the line is dropped.
    Interrupted,
    /// There is no line, and no more will come: the input has ended, or Ctrl-D was pressed in an empty line.
    EndOfInput,
}

/// The line being edited, and the history.
#[derive(Debug)]
pub struct LineEditor {
    view: View,
    line: Line,
    history: History,
    /// The text that was killed last.
    killed: Vec<u8>,
    /// What is entered instead of the line, because something that was typed is missing from it.
    refused: Option<Entered>,
    /// The search that is going on.
    search: Option<Search>,
    /// What was searched for last.
    last_search: Vec<u8>,
    /// The last key was Tab, and left a choice.
    has_choice: bool,
}

impl Default for LineEditor {
    fn default() -> Self {
        Self::new()
    }
}

impl LineEditor {
    /// An editor with an empty history.
    pub fn new() -> Self {
        Self {
            view: View::new("", 0),
            line: Line::default(),
            history: History::default(),
            killed: Vec::new(),
            refused: None,
            search: None,
            last_search: Vec::new(),
            has_choice: false,
        }
    }

    /// Shows `prompt` for a new line on a terminal with this width.
    pub fn begin(&mut self, prompt: &'static str, columns: usize, terminal: &mut dyn Console) {
        let colours = self.view.colours;
        self.view = View::new(prompt, columns);
        self.view.colours = colours;
        self.redraw(terminal);
    }

    /// Sets whether the prompt has a colour, from the next time that it is drawn.
    pub fn set_colours(&mut self, colours: bool) {
        self.view.colours = colours;
    }

    /// Changes the width of the terminal.
    pub fn set_columns(&mut self, columns: usize, terminal: &mut dyn Console) {
        if self.view.set_columns(columns) && !self.line.bytes().is_empty() {
            self.redraw(terminal);
        }
    }

    /// Handles the end of the input: what has been typed is entered, unless it is empty.
    pub fn end_of_input(&mut self, terminal: &mut dyn Console) -> Entered {
        self.end_search(terminal);
        terminal.write_bytes(b"\n");
        match self.line.bytes().is_empty() && self.refused.is_none() {
            true => Entered::EndOfInput,
            false => self.finish(),
        }
    }

    /// Adds an entered line to the history.
    pub fn remember(&mut self, line: &[u8]) {
        self.history.add(line);
    }

    /// Applies a key and shows the effect.
    pub fn press(&mut self, key: Key, terminal: &mut dyn Console) -> Option<Entered> {
        self.has_choice = false;
        if self.is_of_search(key, terminal) {
            return None;
        }
        let cursor = self.line.cursor();
        let end = self.line.bytes().len();
        match key {
            Key::Enter => {
                terminal.write_bytes(b"\n");
                return Some(self.finish());
            }
            Key::Interrupt => {
                terminal.write_bytes(b"^C\n");
                self.finish();
                return Some(Entered::Interrupted);
            }
            Key::DeleteOrEnd if end == 0 => {
                terminal.write_bytes(b"\n");
                self.finish();
                return Some(Entered::EndOfInput);
            }
            Key::Char(c) => self.insert(c.encode_utf8(&mut [0; 4]).as_bytes(), terminal),
            Key::InvalidByte(byte) => self.insert(&[byte], terminal),
            Key::Left => self.move_to(self.line.previous_glyph(cursor).start, terminal),
            Key::Right => self.move_to(self.line.next_glyph(cursor).end, terminal),
            Key::WordLeft => self.move_to(self.line.word_left(), terminal),
            Key::WordRight => self.move_to(self.line.word_right(), terminal),
            Key::Home => self.move_to(0, terminal),
            Key::End => self.move_to(end, terminal),
            Key::Backspace => self.remove(self.line.previous_glyph(cursor), terminal),
            Key::Delete | Key::DeleteOrEnd => self.remove(self.line.next_glyph(cursor), terminal),
            Key::KillToStart => self.kill(0..cursor, terminal),
            Key::KillToEnd => self.kill(cursor..end, terminal),
            Key::KillWord => self.kill(self.line.blank_left()..cursor, terminal),
            Key::KillWordLeft => self.kill(self.line.word_left()..cursor, terminal),
            Key::KillWordRight => self.kill(cursor..self.line.word_right(), terminal),
            Key::Yank => {
                let killed = core::mem::take(&mut self.killed);
                self.insert(&killed, terminal);
                self.killed = killed;
            }
            Key::UpperCaseWord => self.change_word(str::to_uppercase, terminal),
            Key::LowerCaseWord => self.change_word(str::to_lowercase, terminal),
            Key::CapitalizeWord => self.change_word(capitalized, terminal),
            Key::Up => {
                let older = self.history.older(self.line.bytes()).map(<[u8]>::to_vec);
                self.replace(older, terminal);
            }
            Key::Down => {
                let newer = self.history.newer().map(<[u8]>::to_vec);
                self.replace(newer, terminal);
            }
            Key::ClearScreen => {
                terminal.write_bytes(b"\x1b[H\x1b[2J");
                self.redraw(terminal);
            }
            Key::SearchBack => self.begin_search(terminal),
            Key::Complete | Key::Abort | Key::CursorReport { .. } => {}
        }
        None
    }

    /// Empties the line and returns its contents.
    fn finish(&mut self) -> Entered {
        self.history.leave();
        let line = core::mem::take(&mut self.line);
        self.refused.take().unwrap_or_else(|| Entered::Line(line.bytes().to_vec()))
    }

    /// Shows the line again, in an empty row.
    pub fn redraw(&mut self, terminal: &mut dyn Console) {
        self.view.redraw(&self.line, terminal);
    }

    fn insert(&mut self, bytes: &[u8], terminal: &mut dyn Console) {
        if bytes.is_empty() {
            return;
        }
        let len = self.line.bytes().len() + bytes.len();
        let refused = match len > MAX_LINE_BYTES {
            true => Some(Entered::TooLong),
            false => lacking_bytes(len).map(|needed_bytes| Entered::NoMemory { needed_bytes }),
        };
        if refused.is_some() {
            self.refused = refused;
            terminal.write_bytes(BELL);
            return;
        }
        let at_end = self.line.cursor() == self.line.bytes().len();
        self.line.insert(bytes);
        match at_end {
            true => self.view.draw_appended(&self.line, bytes.len(), terminal),
            false => self.redraw(terminal),
        }
    }

    fn move_to(&mut self, cursor: usize, terminal: &mut dyn Console) {
        if cursor != self.line.cursor() {
            self.line.move_to(cursor);
            self.redraw(terminal);
        }
    }

    fn remove(&mut self, range: Range<usize>, terminal: &mut dyn Console) {
        if range.is_empty() {
            return;
        }
        self.line.remove(range);
        if self.line.bytes().is_empty() {
            self.refused = None;
        }
        self.redraw(terminal);
    }

    fn kill(&mut self, range: Range<usize>, terminal: &mut dyn Console) {
        if !range.is_empty() {
            self.killed = self.line.bytes()[range.clone()].to_vec();
            self.remove(range, terminal);
        }
    }

    /// Replaces the word that the cursor is in or before; the cursor moves behind it.
    fn change_word(&mut self, change: impl Fn(&str) -> String, terminal: &mut dyn Console) {
        let word = self.line.cursor()..self.line.word_right();
        let Ok(text) = core::str::from_utf8(&self.line.bytes()[word.clone()]) else {
            terminal.write_bytes(BELL);
            return;
        };
        let changed = change(text);
        if self.line.bytes().len() - text.len() + changed.len() <= MAX_LINE_BYTES {
            self.line.remove(word);
            self.line.insert(changed.as_bytes());
            self.redraw(terminal);
        }
    }

    fn replace(&mut self, line: Option<Vec<u8>>, terminal: &mut dyn Console) {
        let Some(line) = line else {
            terminal.write_bytes(BELL);
            return;
        };
        self.line.set(line);
        self.redraw(terminal);
    }
}

/// Text with its first letter or digit in upper case and the rest in lower case.
fn capitalized(text: &str) -> String {
    let first = text.find(char::is_alphanumeric).unwrap_or(text.len());
    let rest = text[first..].char_indices().nth(1).map_or(text.len(), |(len, _)| first + len);
    let (first, rest) = text.split_at(rest);
    first.to_uppercase() + &rest.to_lowercase()
}

/// How much memory a line of this many bytes needs, if there is not that much.
fn lacking_bytes(line_bytes: usize) -> Option<usize> {
    let needed_bytes = BYTES_FOR_A_BYTE * line_bytes;
    let is_short = line_bytes <= SHORT_LINE_BYTES;
    let has_room = is_short || Vec::<u8>::new().try_reserve_exact(needed_bytes).is_ok();
    (!has_room).then_some(needed_bytes)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod typist;
