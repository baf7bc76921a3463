//! The console as the shell uses it: reads lines, prints text, and watches for Ctrl-C.
//!
//! A serial line does not say how wide the terminal is, so the shell asks: it sends the cursor beyond the right edge, where it
//! stops, and the terminal reports its position (`CPR`, ECMA-48 8.3.14). The shell does not wait for the answer, which arrives
//! between two keys, or never. After two unanswered queries, the other side is assumed to be a file or a program and is not asked
//! again. While the width is a guess, the terminal is told not to wrap, so that a wrong guess leaves no copies of the line.
//!
//! Code that checks for Ctrl-C can be interrupted at that point, so that is where background work, such as the network, gets its turn.

use alloc::{collections::VecDeque, rc::Rc, string::String};
use core::{
    fmt::{self, Write},
    ops::ControlFlow,
};

use llm::front::FrontError;
use unicode_width::UnicodeWidthChar;

use super::completion::Completions;
use super::escape_sequences::INTERRUPT_BYTE;
use super::keys::{Key, KeyDecoder, MAX_KEYS};
use super::line_editor::{Entered, LineEditor};
use crate::{
    console::{Console, Text},
    logging::{self, Row},
    machine::KeyAction,
    serving::Serving,
};

/// How much may be typed, or piped in, while a command runs. A pipe's further input waits in the console. If a person types more,
/// all of it is dropped up to the next Enter, so that Ctrl-C is noticed whatever was typed before it, and parts of different
/// lines are not joined.
const MAX_TYPE_AHEAD_BYTES: usize = 64 * 1024;

/// Width of a terminal that has not reported its own.
const DEFAULT_COLUMNS: usize = 80;
/// A report of a smaller width is really the sequence of a function key.
const MIN_COLUMNS: usize = 17;
const MAX_UNANSWERED: usize = 2;

/// Sends the cursor to the right edge and asks for its position.
const ASK_COLUMNS: &[u8] = b"\x1b[999C\x1b[6n";
/// Room for the remark after a copy that was cut.
const MAX_REMARK_BYTES: usize = 64;

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
struct Beginning {
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

    /// How text of this style begins and ends. What is copied has none.
    fn style(&self, style: &'static str) -> (&'static str, &'static str) {
        let is_coloured = self.may_colour && self.is_screen() && self.copy.is_none();
        if is_coloured { (style, PLAIN) } else { ("", "") }
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

    /// Drops the typed-ahead input, and the rest of the line that it ends in.
    fn forget_type_ahead(&mut self) {
        self.type_ahead.clear();
        self.has_forgotten = true;
        self.forgets_line = true;
    }

    /// Whether this next byte belongs to input that is being dropped.
    fn forgets(&mut self, byte: u8) -> bool {
        let forgets = self.forgets_line && byte != INTERRUPT_BYTE;
        self.forgets_line &= !matches!(byte, b'\r' | b'\n' | INTERRUPT_BYTE);
        forgets
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
}

#[cfg(test)]
mod tests {
    use super::super::screen::Screen;
    use super::*;
    use crate::console::Background;
    use std::vec::Vec;

    /// A simulated person at a screen.
    struct Person {
        screen: Screen,
        input: VecDeque<u8>,
        /// How many keys are read before the screen's answer arrives.
        n_keys_before_answer: usize,
        written: Vec<u8>,
        /// The console has dropped input.
        loses: bool,
        /// A log record arrives when this many bytes are still to be typed.
        record: Option<(usize, &'static Row)>,
    }

    impl Person {
        fn before(screen: Screen) -> Self {
            Person {
                screen,
                input: VecDeque::new(),
                n_keys_before_answer: 0,
                written: Vec::new(),
                loses: false,
                record: None,
            }
        }
    }

    impl Console for Person {
        fn read_byte(&mut self) -> Option<u8> {
            if self.n_keys_before_answer > 0 && !self.input.is_empty() {
                self.n_keys_before_answer -= 1;
                return self.input.pop_front();
            }
            self.screen.read_byte().or_else(|| self.input.pop_front())
        }

        fn wait_for_byte(&mut self, background: &mut Background<'_>) -> Option<u8> {
            if let Some((n_bytes, row)) = self.record
                && self.input.len() == n_bytes
            {
                self.record = None;
                self.write_bytes(row.take());
                self.write_bytes(b"[    1.000000] INFO  serve: GET / 200\n");
            }
            background(self);
            self.read_byte()
        }

        fn is_interrupted(&mut self) -> bool {
            self.input.contains(&INTERRUPT_BYTE)
        }

        fn take_loss(&mut self) -> bool {
            core::mem::take(&mut self.loses)
        }

        fn write_bytes(&mut self, bytes: &[u8]) {
            self.written.extend(bytes);
            self.screen.write_bytes(bytes);
        }
    }

    fn now_us() -> u64 {
        0
    }

    /// Types lines on a terminal whose width is given by `columns`.
    fn type_lines(person: &mut Person, columns: Option<usize>, lines: &[&str]) {
        person.input.extend(lines.join("\r").bytes());
        person.input.push_back(b'\r');
        let mut terminal = Terminal::new(person, now_us, true, columns, None);
        let mut editor = LineEditor::new();
        for line in lines {
            let entered = terminal.read_line(&mut editor, "ferrite> ", &mut || u64::MAX);
            assert_eq!(entered, Entered::Line(line.as_bytes().to_vec()));
        }
    }

    const LONG: &str = "llm infer \"Once upon a time there was a little robot named Rusty who had a small lamp on its head\"";

    #[test]
    fn a_line_stays_in_one_row_of_a_terminal_of_any_width() {
        for columns in [20, 33, 40, 60, 80, 132, 300] {
            for n_keys_before_answer in [0, 1, 9] {
                let mut person = Person { n_keys_before_answer, ..Person::before(Screen::new(columns, 10)) };
                type_lines(&mut person, None, &[LONG, "", LONG]);
                let text = person.screen.text();
                assert_eq!(text.lines().count(), 4, "{columns}: {text}");
                let width = text.lines().map(|row| row.chars().count()).max().unwrap();
                assert!(
                    width < columns && width + columns / 2 > LONG.len().min(columns),
                    "{columns}: {text}"
                );
                assert_eq!(person.screen.n_asked, 3);
                assert!(!person.screen.marks_pastes, "pastes are marked while no line is edited");
            }
        }
    }

    #[test]
    fn a_record_of_the_log_leaves_the_line_whole() {
        static ROW: Row = Row::new();
        for n_bytes in [0, 1, 3, 9] {
            let mut person = Person::before(Screen::new(60, 10));
            person.input.extend(b"llm info\r");
            person.record = Some((n_bytes, &ROW));
            let mut terminal = Terminal::new(&mut person, now_us, true, Some(60), None);
            terminal.row = &ROW;
            let mut editor = LineEditor::new();
            for _ in 0..1 + usize::from(n_bytes == 0) {
                terminal.read_line(&mut editor, "ferrite> ", &mut || 0);
            }
            let text = person.screen.text();
            let rows: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
            let record = "[    1.000000] INFO  serve: GET / 200";
            let expected = match n_bytes {
                0 => vec!["ferrite> llm info", record, "ferrite>"],
                _ => vec![record, "ferrite> llm info"],
            };
            assert_eq!(rows, expected, "{n_bytes}");
        }
    }

    #[test]
    fn a_terminal_that_grows_or_shrinks_is_followed() {
        let mut person = Person::before(Screen::new(100, 10));
        let mut editor = LineEditor::new();
        let mut columns = None;
        for width in [100, 30, 70] {
            person.screen = Screen::new(width, 10);
            person.input.extend(LONG.bytes());
            person.input.extend(b"\r");
            let mut terminal = Terminal::new(&mut person, now_us, true, columns, None);
            terminal.read_line(&mut editor, "ferrite> ", &mut || u64::MAX);
            columns = Some(terminal.columns);
            assert_eq!(columns, Some(width));
            assert_eq!(person.screen.text().lines().count(), 2, "{}", person.screen.text());
        }
    }

    #[test]
    fn what_does_not_answer_is_asked_twice_and_keeps_the_usual_width() {
        let mut person = Person::before(Screen::silent(80));
        type_lines(&mut person, None, &["a", "b", "c", LONG]);
        assert_eq!(person.screen.n_asked, MAX_UNANSWERED);
        assert_eq!(person.screen.text().lines().count(), 5, "{}", person.screen.text());
        let mut narrow = Person::before(Screen::silent(40));
        type_lines(&mut narrow, None, &[LONG, LONG]);
        assert_eq!(narrow.screen.text().lines().count(), 3, "{}", narrow.screen.text());
        assert!(narrow.screen.wraps(), "the terminal is left so that it does not wrap");
        assert!(!person.written.ends_with(DO_NOT_MARK_PASTES));
    }

    #[test]
    fn a_file_gets_no_questions_and_a_terminal_that_was_told_has_its_width_at_once() {
        let mut person = Person::before(Screen::silent(80));
        type_lines(&mut person, Some(0), &["a", "b"]);
        assert_eq!(person.written, b"\rferrite> \x1b[Ka\n\rferrite> \x1b[Kb\n");
        let mut person = Person::before(Screen::silent(25));
        type_lines(&mut person, Some(25), &[LONG]);
        assert_eq!(person.screen.text().lines().count(), 2, "{}", person.screen.text());
    }

    #[test]
    fn answers_that_nobody_asked_for_and_function_keys_change_nothing() {
        let mut person = Person::before(Screen::silent(80));
        person.input.extend(b"\x1b[1;5R\x1b[1;16Rx\r");
        let mut terminal = Terminal::new(&mut person, now_us, true, None, None);
        assert_eq!(
            terminal.read_line(&mut LineEditor::new(), "> ", &mut || u64::MAX),
            Entered::Line(b"x".to_vec())
        );
        assert_eq!(terminal.columns, 80);
        let mut person = Person::before(Screen::new(80, 10));
        person.input.extend(b"\x1b[1;30Rx\r");
        let mut terminal = Terminal::new(&mut person, now_us, true, Some(0), None);
        assert_eq!(
            terminal.read_line(&mut LineEditor::new(), "> ", &mut || u64::MAX),
            Entered::Line(b"x".to_vec())
        );
        assert_eq!(terminal.columns, 80);
    }

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
        let mut person = Person::before(Screen::silent(80));
        person.input.extend(b"x\r");
        let mut terminal = Terminal::new(&mut person, now_us, true, Some(80), None);
        terminal.read_line(&mut LineEditor::new(), "> ", &mut || u64::MAX);
        let written = String::from_utf8(person.written).unwrap();
        assert!(written.contains("\r\x1b[32m> \x1b[m\x1b[Kx"), "{written:?}");
    }
}
