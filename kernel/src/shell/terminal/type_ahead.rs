//! Input that is typed while a command runs: kept for the next line, unless it is Ctrl-C or there is too much of it.

use core::ops::ControlFlow;

use super::Terminal;
use crate::shell::escape_sequences::INTERRUPT_BYTE;

/// How much may be typed, or piped in, while a command runs. A pipe's further input waits in the console. If a person types more,
/// all of it is dropped up to the next Enter, so that Ctrl-C is noticed whatever was typed before it, and parts of different
/// lines are not joined.
const MAX_TYPE_AHEAD_BYTES: usize = 64 * 1024;

impl Terminal<'_> {
    /// Checks whether Ctrl-C was typed. Input before a Ctrl-C is dropped; otherwise input is kept for the next line. A shutdown
    /// request counts as Ctrl-C.
    pub fn check_interrupt(&mut self) -> ControlFlow<()> {
        if let Some(serving) = &self.serving {
            serving.exchange();
        }
        if self.shutdown_request().is_some() {
            self.was_stopped = true;
            return ControlFlow::Break(());
        }
        if self.console.take_loss() {
            self.forget_type_ahead();
        }
        loop {
            let has_room = self.type_ahead.len() < MAX_TYPE_AHEAD_BYTES;
            if !has_room && !self.is_screen && !self.console.is_interrupted() {
                return ControlFlow::Continue(());
            }
            match self.console.read_byte() {
                None => return ControlFlow::Continue(()),
                Some(INTERRUPT_BYTE) => {
                    self.type_ahead.clear();
                    (self.has_forgotten, self.forgets_line) = (false, false);
                    self.was_stopped = true;
                    return ControlFlow::Break(());
                }
                Some(byte) => {
                    if !has_room {
                        self.forget_type_ahead();
                    }
                    if !self.forgets(byte) {
                        self.type_ahead.push_back(byte);
                    }
                }
            }
        }
    }

    /// Drops the typed-ahead input, and the rest of the line that it ends in.
    pub(super) fn forget_type_ahead(&mut self) {
        self.type_ahead.clear();
        self.has_forgotten = true;
        self.forgets_line = true;
    }

    /// Whether this next byte belongs to input that is being dropped.
    pub(super) fn forgets(&mut self, byte: u8) -> bool {
        let forgets = self.forgets_line && byte != INTERRUPT_BYTE;
        self.forgets_line &= !matches!(byte, b'\r' | b'\n' | INTERRUPT_BYTE);
        forgets
    }
}

#[cfg(test)]
mod tests {
    use super::super::person::{Person, now_us};
    use super::*;
    use crate::shell::{
        line_editor::{Entered, LineEditor},
        screen::Screen,
    };
    use std::vec::Vec;

    /// The typed-ahead input that was not dropped, and whether Ctrl-C was noticed.
    fn type_ahead(input: &[u8], columns: Option<usize>) -> (Vec<u8>, bool) {
        let mut person = Person::before(Screen::silent(80));
        person.input.extend(input);
        let mut terminal = Terminal::new(&mut person, now_us, true, columns, None);
        let is_heard = terminal.check_interrupt().is_break();
        let mut kept: Vec<u8> = terminal.type_ahead.drain(..).collect();
        kept.extend(&person.input);
        (kept, is_heard)
    }

    #[test]
    fn ctrl_c_is_heard_whatever_was_typed_before_it_and_no_file_loses_a_byte() {
        let mut input = [b'x'; 3 * MAX_TYPE_AHEAD_BYTES].to_vec();
        assert!(type_ahead(&input, Some(0)) == (input.clone(), false));
        assert!(type_ahead(&input, Some(80)) == (Vec::new(), false));
        input.extend(b"\x03later");
        for columns in [Some(0), Some(80)] {
            assert!(type_ahead(&input, columns) == (b"later".to_vec(), true), "{columns:?}");
        }
    }

    #[test]
    fn of_too_much_typed_ahead_no_rest_is_taken_for_a_line() {
        let too_much = [&[b'x'; MAX_TYPE_AHEAD_BYTES][..], b"llm unload\rhelp\r"].concat();
        let cases = [
            (&b"help\r"[..], false, true),
            (&too_much, false, true),
            // It makes no difference who learns first that the console has dropped input.
            (b"llm unload\rhelp\r", true, true),
            (b"llm unload\rhelp\r", true, false),
        ];
        for (input, loses, looks) in cases {
            let mut person = Person { loses, ..Person::before(Screen::silent(80)) };
            person.input.extend(input);
            let mut terminal = Terminal::new(&mut person, now_us, true, Some(80), None);
            if looks {
                assert!(terminal.check_interrupt().is_continue());
            }
            let entered = terminal.read_line(&mut LineEditor::new(), "> ", &mut || u64::MAX);
            assert_eq!(entered, Entered::Line(b"help".to_vec()));
            let is_told = person.screen.text().contains("too much was typed ahead");
            assert_eq!(is_told, input != b"help\r");
        }
    }
}
