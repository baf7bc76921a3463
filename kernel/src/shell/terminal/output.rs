//! What a terminal shows: the output of commands and a copy of it, messages, progress, and a status line below them.

use alloc::string::String;
use core::fmt::{self, Write};

use llm::front::FrontError;
use unicode_width::UnicodeWidthChar;

use super::Terminal;
use crate::console::{Console, Text};

/// Room for the remark after a copy that was cut.
const MAX_REMARK_BYTES: usize = 64;

/// How some text is shown on a screen, and the end of that (ECMA-48, 8.3.117).
const FAINT: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[m";

/// Writes text up to a width: a full row may wrap, and the next update would then not overwrite it.
struct Cut<'c> {
    console: &'c mut dyn Console,
    columns: usize,
}

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.columns = self.columns.saturating_sub(c.width().unwrap_or(0));
            if self.columns == 0 {
                break;
            }
            self.console.write_bytes(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }
}

/// The beginning of a text.
pub(super) struct Beginning {
    text: String,
    max_bytes: usize,
    /// Length of the whole text in bytes.
    n_bytes: usize,
}

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() == self.n_bytes {
            let n_left = self.max_bytes - self.text.len();
            // The room was reserved in advance.
            self.text.push_str(&text[..text.floor_char_boundary(n_left)]);
        }
        self.n_bytes = self.n_bytes.saturating_add(text.len());
        Ok(())
    }
}

impl Terminal<'_> {
    /// Prints the output of a command.
    pub fn print(&mut self, text: fmt::Arguments<'_>) {
        self.clear_status();
        // Neither writing to the console nor copying can fail.
        let _ = Text(self.console).write_fmt(text);
        if let Some(copy) = &mut self.copy {
            let _ = copy.write_fmt(text);
        }
    }

    /// Starts a copy of the first `max_bytes` of the output from now on.
    ///
    /// # Errors
    /// [`FrontError::OutOfHeap`] if there is not enough memory.
    pub fn begin_copy(&mut self, max_bytes: usize) -> Result<(), FrontError> {
        let mut text = String::new();
        let reserved = text.try_reserve_exact(max_bytes.saturating_add(MAX_REMARK_BYTES));
        reserved.map_err(|_| FrontError::OutOfHeap { needed_bytes: max_bytes })?;
        self.copy = Some(Beginning { text, max_bytes, n_bytes: 0 });
        Ok(())
    }

    /// What was printed since [`begin_copy`](Self::begin_copy), followed by a remark if it was cut.
    pub fn end_copy(&mut self) -> String {
        let Some(Beginning { mut text, n_bytes, .. }) = self.copy.take() else { return String::new() };
        if text.len() < n_bytes {
            let n_kept = text.len();
            let _ = write!(text, "\n[cut: {n_kept} of {n_bytes} bytes]");
        }
        text
    }

    /// Prints a status line: to the user if there is one, else to the log.
    pub fn note(&mut self, text: fmt::Arguments<'_>) {
        if self.interactive {
            let (begin, end) = self.style(FAINT);
            self.print(format_args!("{begin}{text}{end}\n"));
        } else {
            log::info!("{text}");
        }
    }

    /// Prints an important message: to the user if there is one, else as a warning to the log.
    pub fn warn(&mut self, text: fmt::Arguments<'_>) {
        if self.interactive {
            self.print(format_args!("{text}\n"));
        } else {
            log::warn!("{text}");
        }
    }

    /// Shows progress, in one line that is overwritten each time. On a screen it is a [status](Self::status), elsewhere it stays.
    pub fn progress(&mut self, text: fmt::Arguments<'_>) {
        if self.is_screen() {
            self.status(text);
        } else if self.interactive {
            self.write_row(("", ""), text);
        }
    }

    /// Ends the line of [`progress`](Self::progress).
    pub fn end_progress(&mut self) {
        if self.is_screen() {
            self.clear_status();
        } else if self.interactive {
            self.print(format_args!("\n"));
        }
    }

    /// Shows a status below the output if there is a screen, which takes the place of the one before and goes before anything else is
    /// shown. Allocates nothing.
    pub fn status(&mut self, text: fmt::Arguments<'_>) {
        if self.is_screen() {
            if !core::mem::replace(&mut self.has_status, true) {
                self.row.edit(true);
            }
            self.write_row(self.style(FAINT), text);
        }
    }

    /// Removes the status, if there is one.
    pub fn clear_status(&mut self) {
        if core::mem::take(&mut self.has_status) {
            self.row.edit(false);
            self.console.write_bytes(b"\r\x1b[K");
        }
    }

    fn write_row(&mut self, (begin, end): (&str, &str), text: fmt::Arguments<'_>) {
        self.console.write_bytes(b"\r");
        self.console.write_bytes(begin.as_bytes());
        // Writing to the console never fails.
        let _ = Cut { console: self.console, columns: self.columns }.write_fmt(text);
        self.console.write_bytes(end.as_bytes());
        self.console.write_bytes(b"\x1b[K");
    }

    /// Reports why a command failed: to the user if there is one, else to the log.
    pub fn error(&mut self, error: &dyn fmt::Display) {
        if self.interactive {
            let (begin, end) = self.style(RED);
            self.print(format_args!("{begin}error:{end} {error}\n"));
        } else {
            log::error!("{error}");
        }
    }

    /// How text of this style begins and ends. What is copied has none.
    fn style(&self, style: &'static str) -> (&'static str, &'static str) {
        let is_coloured = self.may_colour && self.is_screen() && self.copy.is_none();
        if is_coloured { (style, PLAIN) } else { ("", "") }
    }
}

#[cfg(test)]
mod tests {
    use super::super::person::{Person, now_us};
    use super::*;
    use crate::shell::screen::Screen;

    #[test]
    fn progress_stays_in_its_row_and_on_a_screen_only_until_its_end() {
        for (columns, shown, end) in [
            (Some(20), "loading: 2.0 MiB of\n", "\n"),
            (None, "loading: 2.0 MiB of 2.9 MiB, 402.2 MB/s\n", ""),
        ] {
            let mut screen = Screen::new(columns.unwrap_or(80), 10);
            let mut terminal = Terminal::new(&mut screen, now_us, true, columns, None);
            for done in ["1.0 MiB", "2.0 MiB"] {
                terminal.progress(format_args!("loading: {done} of 2.9 MiB, 402.2 MB/s"));
            }
            drop(terminal);
            assert_eq!(screen.text(), shown);
            let mut terminal = Terminal::new(&mut screen, now_us, true, columns, None);
            terminal.has_status = columns.is_some();
            terminal.end_progress();
            drop(terminal);
            match columns {
                Some(_) => assert_eq!(screen.text(), end),
                None => assert_eq!(screen.text(), std::format!("{shown}\n")),
            }
        }
    }

    #[test]
    fn colours_are_for_screens_that_may_have_them() {
        for (columns, may_colour, expected) in [
            (Some(80), true, "\x1b[31merror:\x1b[m no\n\x1b[2m[note]\x1b[m\n"),
            (Some(80), false, "error: no\n[note]\n"),
            (Some(0), true, "error: no\n[note]\n"),
            (None, true, "error: no\n[note]\n"),
        ] {
            let mut person = Person::before(Screen::silent(80));
            let terminal = Terminal::new(&mut person, now_us, true, columns, None);
            let mut terminal = if may_colour { terminal } else { terminal.without_colours() };
            terminal.error(&"no");
            terminal.note(format_args!("[note]"));
            drop(terminal);
            assert_eq!(String::from_utf8(person.written).unwrap(), expected);
        }
    }
}
