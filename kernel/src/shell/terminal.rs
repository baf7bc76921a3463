//! The console as the shell uses it: reads lines, prints text, and watches for Ctrl-C.
//!
//! A serial line does not say how wide the terminal is, so the shell asks: it sends the cursor beyond the right edge, where it
//! stops, and the terminal reports its position (`CPR`, ECMA-48 8.3.14). The shell does not wait for the answer, which arrives
//! between two keys, or never. After two unanswered queries, the other side is assumed to be a file or a program and is not asked
//! again. While the width is a guess, the terminal is told not to wrap, so that a wrong guess leaves no copies of the line.
//!
//! Code that checks for Ctrl-C can be interrupted at that point, so that is where background work, such as the network, gets its turn.
//!
//! This file reads lines. `output.rs` prints, and `type_ahead.rs` has what is typed while a command runs.

mod output;
mod type_ahead;

use alloc::{collections::VecDeque, rc::Rc};

use self::output::Beginning;
use super::completion::Completions;
use super::keys::{Key, KeyDecoder, MAX_KEYS};
use super::line_editor::{Entered, LineEditor};
use crate::{
    console::Console,
    logging::{self, Row},
    machine::KeyAction,
    serving::Serving,
};

/// Width of a terminal that has not reported its own.
const DEFAULT_COLUMNS: usize = 80;
/// A report of a smaller width is really the sequence of a function key.
const MIN_COLUMNS: usize = 17;
const MAX_UNANSWERED: usize = 2;

/// Sends the cursor to the right edge and asks for its position.
const ASK_COLUMNS: &[u8] = b"\x1b[999C\x1b[6n";

const MARK_PASTES: &[u8] = b"\x1b[?2004h";
const DO_NOT_MARK_PASTES: &[u8] = b"\x1b[?2004l";
const WRAP: &[u8] = b"\x1b[?7h";
const DO_NOT_WRAP: &[u8] = b"\x1b[?7l";

/// What goes on while a line is edited.
pub trait Attendant {
    /// Works in the background. Returns the time when it must be called again, see [`Console::wait_for_byte`].
    fn work(&mut self) -> u64;

    /// What the word can become that the line ends in, up to the cursor.
    fn complete(&mut self, _before_cursor: &[u8]) -> Completions {
        Completions::of_text(b"")
    }
}

/// One who only works.
impl<F: FnMut() -> u64> Attendant for F {
    fn work(&mut self) -> u64 {
        self()
    }
}

/// A console, and the input that was typed ahead.
pub struct Terminal<'a> {
    console: &'a mut dyn Console,
    /// The row in which a line is edited and log records may appear.
    row: &'static Row,
    clock_us: fn() -> u64,
    serving: Option<Rc<Serving<'a>>>,
    type_ahead: VecDeque<u8>,
    /// More was typed ahead than there is room for; the user has yet to be told.
    has_forgotten: bool,
    /// The typed-ahead input was dropped, and further input is too, up to the next Enter.
    forgets_line: bool,
    /// A command since the last line was stopped, by Ctrl-C or a key on the machine.
    was_stopped: bool,
    decoder: KeyDecoder,
    interactive: bool,
    columns: usize,
    /// Whether a person reads the output, as opposed to a file or a program.
    is_screen: bool,
    /// The number of queries since the last answer; `None` if the terminal must not be asked.
    n_unanswered: Option<usize>,
    /// A copy of the output, if one is needed.
    copy: Option<Beginning>,
    /// A status line is shown, below the output.
    has_status: bool,
    /// Whether a screen may be shown colours.
    may_colour: bool,
}

impl<'a> Terminal<'a> {
    /// A terminal on `console`. In command mode (`interactive` false) it shows only what a command prints. `columns` is its
    /// width: 0 if it is a file or a program, `None` if the width is not known.
    pub fn new(
        console: &'a mut dyn Console,
        clock_us: fn() -> u64,
        interactive: bool,
        columns: Option<usize>,
        serving: Option<Rc<Serving<'a>>>,
    ) -> Self {
        let is_screen = columns.is_some_and(|columns| columns > 0);
        if is_screen {
            console.expect_person();
        }
        Self {
            console,
            row: &logging::ROW,
            clock_us,
            serving,
            type_ahead: VecDeque::new(),
            has_forgotten: false,
            forgets_line: false,
            was_stopped: false,
            decoder: KeyDecoder::new(),
            interactive,
            columns: columns.filter(|&columns| columns > 0).unwrap_or(DEFAULT_COLUMNS),
            is_screen,
            n_unanswered: (columns != Some(0)).then_some(0),
            copy: None,
            has_status: false,
            may_colour: true,
        }
    }

    /// The same without colours, whatever the other side is.
    pub fn without_colours(self) -> Self {
        Self { may_colour: false, ..self }
    }

    /// Whether a person reads the output at a terminal that has told its width.
    pub fn is_screen(&self) -> bool {
        self.interactive && self.is_screen
    }

    /// Waits for the next byte of a line; `None` at the end of the input.
    fn wait_for_byte(&mut self, editor: &mut LineEditor, attendant: &mut dyn Attendant) -> Option<u8> {
        loop {
            let Self { console, decoder, row, clock_us, .. } = self;
            let mut background = |console: &mut dyn Console| {
                let until_us = attendant.work();
                if row.was_taken() {
                    editor.redraw(console);
                }
                // Esc alone ends no line.
                decoder.idle(clock_us(), |key| drop(editor.press(key, console)));
                decoder.idle_us().map_or(until_us, |idle_us| until_us.min(idle_us.saturating_add(1)))
            };
            let byte = self.type_ahead.pop_front();
            let byte = byte.or_else(|| console.wait_for_byte(&mut background))?;
            if !self.forgets(byte) {
                return Some(byte);
            }
        }
    }

    /// Whether there is a user who can type.
    pub fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// What a key on the machine itself has requested.
    pub fn shutdown_request(&self) -> Option<KeyAction> {
        self.console.shutdown_request()
    }

    /// Whether a command since the last line was stopped.
    pub fn was_stopped(&self) -> bool {
        self.was_stopped
    }

    /// Lets the user edit a line after `prompt`. At the end of the input, an unfinished line is entered as if by Enter. A
    /// [shutdown request](Self::shutdown_request) also ends the input, but drops the line.
    ///
    /// Tab is a blank unless the other side is known to be a screen: files have Tabs between words. If log records appear in the
    /// meantime, the line is shown again below them.
    pub fn read_line(
        &mut self,
        editor: &mut LineEditor,
        prompt: &'static str,
        attendant: &mut dyn Attendant,
    ) -> Entered {
        // A shutdown request by a key still stops everything.
        self.was_stopped &= self.shutdown_request().is_some();
        if self.console.take_loss() {
            self.forget_type_ahead();
        }
        if core::mem::take(&mut self.has_forgotten) {
            self.warn(format_args!(
                "too much was typed ahead: it is forgotten, up to the Enter that came next"
            ));
        }
        self.clear_status();
        self.begin_line();
        editor.set_colours(self.may_colour && self.is_screen);
        editor.begin(prompt, self.columns, self.console);
        loop {
            let byte = self.wait_for_byte(editor, attendant);
            if self.shutdown_request().is_some() {
                self.end_line();
                self.print(format_args!("\n"));
                return Entered::EndOfInput;
            }
            let Some(byte) = byte else {
                self.end_line();
                return editor.end_of_input(self.console);
            };
            let now_us = (self.clock_us)();
            let mut keys = [None; MAX_KEYS];
            let mut n_keys = 0;
            self.decoder.feed(byte, now_us, |key| {
                keys[n_keys] = Some(key);
                n_keys += 1;
            });
            // Only the last key can end the line: those before it are the bytes of a broken character.
            for key in keys.into_iter().flatten() {
                let entered = match key {
                    Key::CursorReport { column } => {
                        self.learn_columns(column.into(), editor);
                        None
                    }
                    Key::Complete if self.is_screen => {
                        editor.complete(&mut |before| attendant.complete(before), self.console);
                        None
                    }
                    Key::Complete => editor.press(Key::Char(' '), self.console),
                    Key::SearchBack if !self.is_screen => None,
                    key => editor.press(key, self.console),
                };
                if let Some(entered) = entered {
                    self.end_line();
                    return entered;
                }
            }
        }
    }

    fn begin_line(&mut self) {
        self.row.edit(true);
        if let Some(n_unanswered @ 0..MAX_UNANSWERED) = &mut self.n_unanswered {
            *n_unanswered += 1;
            self.console.write_bytes(ASK_COLUMNS);
        }
        if self.is_screen {
            self.console.write_bytes(MARK_PASTES);
        } else if self.n_unanswered.is_some() {
            self.console.write_bytes(DO_NOT_WRAP);
        }
    }

    fn end_line(&mut self) {
        self.row.edit(false);
        if self.is_screen {
            self.console.write_bytes(DO_NOT_MARK_PASTES);
        } else if self.n_unanswered.is_some() {
            self.console.write_bytes(WRAP);
        }
    }

    fn learn_columns(&mut self, columns: usize, editor: &mut LineEditor) {
        if self.n_unanswered.is_none_or(|n_unanswered| n_unanswered == 0) || columns < MIN_COLUMNS {
            return;
        }
        self.n_unanswered = Some(0);
        self.columns = columns;
        editor.set_columns(columns, self.console);
        if !core::mem::replace(&mut self.is_screen, true) {
            self.console.expect_person();
            self.console.write_bytes(WRAP);
            self.console.write_bytes(MARK_PASTES);
            if self.may_colour {
                editor.set_colours(true);
                editor.redraw(self.console);
            }
        }
    }
}

#[cfg(test)]
mod person;
#[cfg(test)]
mod tests;
