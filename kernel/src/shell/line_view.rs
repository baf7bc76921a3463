//! [`View`]: the part of a line that is visible on the screen, in one row.
//!
//! The last column stays free, because terminals differ in whether they wrap when it has been written. A line that is longer than
//! the row scrolls sideways, so that the row is right whatever the width of the terminal.

use alloc::borrow::Cow;
use core::fmt::Write;
use core::ops::Range;

use unicode_width::UnicodeWidthStr;

use super::line::Line;
use crate::console::{Console, Text};

/// Smaller reported widths are assumed to be wrong.
const MIN_COLUMNS: usize = 8;
/// The prompt is left out if it would leave fewer columns than this for the line.
const MIN_TEXT_COLUMNS: usize = 8;

/// A row of the screen: a prompt and, after it, as much of a line as fits.
#[derive(Debug)]
pub struct View {
    prompt: Cow<'static, str>,
    columns: usize,
    /// Whether the prompt is green.
    pub colours: bool,
    /// Index of the first glyph on the screen.
    start: usize,
}

impl View {
    /// The view of an empty line after `prompt` on a terminal with this width.
    pub fn new(prompt: &'static str, columns: usize) -> Self {
        Self { prompt: prompt.into(), columns: columns.max(MIN_COLUMNS), colours: false, start: 0 }
    }

    /// Changes the prompt; returns the one before.
    pub fn set_prompt(&mut self, prompt: Cow<'static, str>) -> Cow<'static, str> {
        core::mem::replace(&mut self.prompt, prompt)
    }

    /// The width of the terminal.
    pub fn terminal_columns(&self) -> usize {
        self.columns
    }

    /// Changes the width; true if that changes what is shown.
    pub fn set_columns(&mut self, columns: usize) -> bool {
        core::mem::replace(&mut self.columns, columns.max(MIN_COLUMNS)) != self.columns
    }

    /// Draws the line again.
    pub fn redraw(&mut self, line: &Line, terminal: &mut dyn Console) {
        self.scroll_to_cursor(line);
        terminal.write_bytes(b"\r");
        let (green, plain): (&[u8], &[u8]) = if self.colours { (b"\x1b[32m", b"\x1b[m") } else { (b"", b"") };
        terminal.write_bytes(green);
        terminal.write_bytes(self.shown_prompt().as_bytes());
        terminal.write_bytes(plain);
        let mut columns = 0;
        let mut at = self.start;
        while at < line.bytes().len() {
            let glyph = line.next_glyph(at);
            columns += line.width(glyph.clone());
            if columns > self.text_columns() {
                break;
            }
            at = glyph.end;
            line.write_glyph(glyph, terminal);
        }
        terminal.write_bytes(b"\x1b[K");
        if line.cursor() != at {
            let column = self.shown_prompt().width() + self.columns(line, self.start..line.cursor());
            terminal.write_bytes(b"\r");
            if column > 0 {
                // Writing to the console never fails.
                let _ = write!(Text(terminal), "\x1b[{column}C");
            }
        }
    }

    /// Draws the last `n_bytes` of the line, a character that was appended, where nothing else has changed.
    pub fn draw_appended(&mut self, line: &Line, n_bytes: usize, terminal: &mut dyn Console) {
        let last = line.previous_glyph(line.cursor());
        let combines = last.len() != n_bytes;
        if combines || self.columns(line, self.start..line.cursor()) > self.text_columns() {
            self.redraw(line, terminal);
        } else {
            line.write_glyph(last, terminal);
        }
    }

    /// The prompt, unless the terminal is too narrow for it.
    pub fn shown_prompt(&self) -> &str {
        if self.columns > self.prompt.width() + MIN_TEXT_COLUMNS { &self.prompt } else { "" }
    }

    /// Columns that are available for the line.
    pub fn text_columns(&self) -> usize {
        self.columns - 1 - self.shown_prompt().width()
    }

    /// The total width of these glyphs; stops counting just beyond the width of the view.
    fn columns(&self, line: &Line, range: Range<usize>) -> usize {
        let mut columns = 0;
        let mut at = range.start;
        while at < range.end && columns <= self.text_columns() {
            let glyph = line.next_glyph(at);
            at = glyph.end;
            columns += line.width(glyph);
        }
        columns
    }

    /// Moves the view so that the cursor is in it, in steps of half a view.
    fn scroll_to_cursor(&mut self, line: &Line) {
        if self.columns(line, 0..line.bytes().len()) <= self.text_columns() {
            self.start = 0;
            return;
        }
        // Counted backwards from the cursor, since edits may have moved the glyphs at the start of the view.
        let back_to = |start: usize, max_columns: usize| {
            let mut at = line.cursor();
            let mut columns = 0;
            while at > start {
                let glyph = line.previous_glyph(at);
                columns += line.width(glyph.clone());
                if columns > max_columns {
                    break;
                }
                at = glyph.start;
            }
            at
        };
        let start = back_to(self.start, self.text_columns());
        let is_in_view = start <= self.start && line.cursor() >= self.start;
        self.start = if is_in_view { start } else { back_to(0, self.text_columns() / 2) };
    }
}
