//! One line of input, edited on a VT100-like terminal.
//!
//! [`LineEditor`] applies [keys](super::keys) to a `Line`, and a `View` shows it. It does not know where keys come from, so a
//! test can type into it.
//!
//! Existing crates do not suffice. `embedded-cli` 0.2 has no home, end or kill keys, and accepts only text, so a prompt of
//! invalid UTF-8 would never reach the command that should refuse it. `noline` 0.5 asks the terminal for its cursor position
//! (`ESC [ 6 n`) and loses piped input while it waits for the answer.

use alloc::{string::String, vec::Vec};
use core::ops::Range;

use super::{history::History, keys::Key, line::Line, line_view::View};
use crate::console::Console;

/// Longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// For a line of up to this many bytes, every block of memory that is needed, also for everything derived from it, is small
/// enough to be always available.
pub const SHORT_LINE_BYTES: usize = 256;

/// The most memory that one byte of a line can take: in the line as it grows, the killed text, the history, the saved draft and
/// the entered line; and in the lists of words, commands and arguments made from it, which double as they grow.
pub const BYTES_FOR_A_BYTE: usize = 168;

const BELL: &[u8] = b"\x07";

/// How the editing of a line ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Entered {
    /// Enter was pressed. The bytes need not be UTF-8.
    Line(Vec<u8>),
    /// Enter was pressed, but more than [`MAX_LINE_BYTES`] had been typed.
    TooLong,
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
    too_long: bool,
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
            too_long: false,
        }
    }

    /// Shows `prompt` (ASCII) for a new line on a terminal with this width.
    pub fn begin(&mut self, prompt: &'static str, columns: usize, terminal: &mut dyn Console) {
        self.view = View::new(prompt, columns);
        self.redraw(terminal);
    }

    /// Changes the width of the terminal.
    pub fn set_columns(&mut self, columns: usize, terminal: &mut dyn Console) {
        if self.view.set_columns(columns) && !self.line.bytes().is_empty() {
            self.redraw(terminal);
        }
    }

    /// Handles the end of the input: what has been typed is entered, unless it is empty.
    pub fn end_of_input(&mut self, terminal: &mut dyn Console) -> Entered {
        terminal.write_bytes(b"\n");
        match self.line.bytes().is_empty() && !self.too_long {
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
            Key::CursorReport { .. } => {}
        }
        None
    }

    /// Empties the line and returns its contents.
    fn finish(&mut self) -> Entered {
        self.history.leave();
        let line = core::mem::take(&mut self.line);
        match core::mem::take(&mut self.too_long) {
            true => Entered::TooLong,
            false => Entered::Line(line.bytes().to_vec()),
        }
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
        if len > MAX_LINE_BYTES || !has_room(len) {
            self.too_long = true;
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
        self.too_long &= !self.line.bytes().is_empty();
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

/// Whether there is memory for a line of this many bytes.
fn has_room(line_bytes: usize) -> bool {
    line_bytes <= SHORT_LINE_BYTES
        || Vec::<u8>::new().try_reserve_exact(BYTES_FOR_A_BYTE * line_bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::{keys::KeyDecoder, screen::Screen};
    use super::*;
    use std::{string::String, vec::Vec};

    const PROMPT: &str = "> ";

    struct Typist {
        editor: LineEditor,
        decoder: KeyDecoder,
        screen: Screen,
        columns: usize,
        has_begun: bool,
    }

    impl Typist {
        fn new() -> Self {
            Self::on(80)
        }

        fn on(columns: usize) -> Self {
            let (editor, decoder) = (LineEditor::new(), KeyDecoder::new());
            Typist { editor, decoder, screen: Screen::new(columns, 24), columns, has_begun: false }
        }

        fn enter(&mut self, bytes: &[u8]) -> Option<Entered> {
            if !core::mem::replace(&mut self.has_begun, true) {
                self.editor.begin(PROMPT, self.columns, &mut self.screen);
            }
            let mut entered = None;
            for &byte in bytes {
                let mut keys = Vec::new();
                self.decoder.feed(byte, 0, |key| keys.push(key));
                for key in keys {
                    assert_eq!(entered, None, "keys after the end of the line");
                    let row = self.screen.cursor().1;
                    entered = self.editor.press(key, &mut self.screen);
                    if entered.is_none() {
                        if key != Key::ClearScreen {
                            assert_eq!(self.screen.cursor().1, row, "the line left its row");
                        }
                        self.check_screen();
                    }
                }
            }
            if let Some(Entered::Line(line)) = &entered {
                self.editor.remember(line);
            }
            self.has_begun = entered.is_none();
            entered
        }

        /// Checks that the row shows a part of the line that contains the cursor, and nothing else.
        fn check_screen(&self) {
            let Self { editor: LineEditor { line, view, .. }, screen, .. } = self;
            // Draw the whole line on a separate, wide enough screen, to get its visible form.
            let mut wide = Screen::new(2 * line.bytes().len() + 2, 1);
            let mut at = 0;
            let mut cursor = 0;
            while at < line.bytes().len() {
                let glyph = line.next_glyph(at);
                at = glyph.end;
                line.write_glyph(glyph, &mut wide);
                if at <= line.cursor() {
                    cursor = wide.cursor().0;
                }
            }
            let whole = wide.row(0);
            let shown = screen.row(screen.cursor().1);
            let (prompt, shown) = shown.split_at(view.shown_prompt().len());
            assert!(prompt.iter().collect::<String>().contains(view.shown_prompt().trim_end()));
            let offset = screen.cursor().0 - prompt.len();
            let start = cursor.checked_sub(offset).expect("the cursor is before the line");
            let text_columns = view.text_columns();
            for column in 0..text_columns {
                let expected = whole.get(start + column).copied().unwrap_or(' ');
                let is_cut = expected == '\0' || whole.get(start + column + 1) == Some(&'\0');
                let is_edge = column + 1 == text_columns && is_cut;
                assert!(
                    shown[column] == expected || is_edge && shown[column] == ' ',
                    "{shown:?} of {whole:?}"
                );
            }
            assert!(shown[text_columns..].iter().all(|&c| c == ' '), "something is in the last column");
        }

        fn line(&mut self, bytes: &[u8]) -> String {
            match self.enter(bytes) {
                Some(Entered::Line(line)) => String::from_utf8(line).unwrap(),
                other => panic!("no line, but {other:?}"),
            }
        }
    }

    #[test]
    fn keys_edit_the_line_where_the_cursor_is() {
        let mut typist = Typist::new();
        assert_eq!(typist.line(b"hllo\x1b[D\x1b[D\x1b[De\r"), "hello");
        assert_eq!(typist.line(b"world\x01hello \x05!\r"), "hello world!");
        assert_eq!(typist.line(b"abc\x7f\x7fx\r"), "ax");
        assert_eq!(typist.line(b"abc\x1b[H\x1b[3~\r"), "bc");
        assert_eq!(typist.line(b"abc\x1b[H\x04\r"), "bc");
        assert_eq!(typist.line(b"one two\x15three\r"), "three");
        assert_eq!(typist.line(b"one two\x01\x0bthree\r"), "three");
        assert_eq!(typist.line(b"one two  \x17three\r"), "one three");
        assert_eq!(typist.line(b"abc\x0c\r"), "abc");
    }

    #[test]
    fn keys_edit_words() {
        let mut typist = Typist::new();
        assert_eq!(typist.line(b"foo bar\x1b\x7fuptime\r"), "foo uptime");
        assert_eq!(typist.line(b"one two-three\x1bb\x1bb>\r"), "one >two-three");
        assert_eq!(typist.line(b"one two-three\x01\x1bf\x1bf<\r"), "one two<-three");
        assert_eq!(typist.line(b"one two-three\x1b[1;5D\x1b[1;3D\x1b[1;5C<\r"), "one two<-three");
        assert_eq!(typist.line(b"one two-three\x01\x1bd\x1bd\r"), "-three");
        assert_eq!(typist.line(b"one two-three\x17x\r"), "one x");
        assert_eq!(typist.line("été \u{1b}bx\r".as_bytes()), "xété ");
        assert_eq!(typist.line(b"one two\x17\x01\x19 \x19\r"), "two twoone ");
        assert_eq!(typist.line(b"one two three\x01\x1bu\x1bc\x1bl\r"), "ONE Two three");
        assert_eq!(typist.line(b"x\x1bq\x1b.\x1b5y\r"), "xy");
    }

    #[test]
    fn keys_at_the_edges_do_nothing() {
        let mut typist = Typist::new();
        assert_eq!(
            typist.line(
                b"\x7f\x1b[D\x1b[C\x15\x0b\x17\x19\x1bb\x1bf\x1bd\x1bu\x1b[3~\x1b[A\x1b[Bx\x1b[C\x04\r"
            ),
            "x"
        );
    }

    #[test]
    fn ctrl_d_in_an_empty_line_is_the_end() {
        let mut typist = Typist::new();
        assert_eq!(typist.enter(b"\x04"), Some(Entered::EndOfInput));
        assert_eq!(typist.enter(b"ab\x04\x7f\x04\x7f\x04"), Some(Entered::EndOfInput));
    }

    #[test]
    fn characters_of_several_bytes_and_columns_are_edited_whole() {
        let mut typist = Typist::new();
        assert_eq!(typist.line("aé漢😀\x1b[D\x7fb\r".as_bytes()), "aéb😀");
        assert_eq!(typist.line("漢字\x01\x1b[3~x\r".as_bytes()), "x字");
        assert_eq!(typist.line("ae\u{301}\u{323}b\x1b[D\x7f\r".as_bytes()), "ab");
        assert_eq!(typist.line("\u{301}a\x1b[D\x1b[Dx\r".as_bytes()), "x\u{301}a");
    }

    #[test]
    fn history_is_walked_with_the_arrows() {
        let mut typist = Typist::new();
        assert_eq!(typist.line(b"first\r"), "first");
        assert_eq!(typist.line(b"second\r"), "second");
        assert_eq!(typist.line(b"\x1b[A\x1b[A\r"), "first");
        assert_eq!(typist.line(b"dra\x1b[A\x1b[Bft\r"), "draft");
        assert_eq!(typist.line(b"\x1b[A\x7f!\r"), "draf!");
    }

    #[test]
    fn a_line_longer_than_the_screen_scrolls() {
        for columns in [5, 12, 20, 40, 80, 200, 1000] {
            let mut typist = Typist::on(columns.max(8));
            typist.columns = columns;
            let long = "abcdefghij".repeat(30);
            let mut bytes = long.clone().into_bytes();
            bytes.extend(b"\x01>\x05<");
            bytes.extend(b"\x1b[D".repeat(120));
            bytes.extend(b"|\r");
            let mut expected = std::format!(">{long}<");
            expected.insert(expected.len() - 120, '|');
            assert_eq!(typist.line(&bytes), expected);
        }
    }

    #[test]
    fn the_width_can_change_while_a_line_is_edited() {
        let mut typist = Typist::on(60);
        assert_eq!(typist.enter(&b"0123456789".repeat(5)), None);
        for columns in [80, 30, 20, 44] {
            // Terminals differ in what they do with the old row; the editor draws in a new one.
            typist.screen = Screen::new(columns, 5);
            typist.editor.set_columns(columns, &mut typist.screen);
            typist.check_screen();
            assert_eq!(typist.enter(b"ab\x1b[Dc"), None);
        }
    }

    #[test]
    fn lines_that_were_pasted_stay_one_line_on_the_screen() {
        let mut typist = Typist::on(30);
        assert_eq!(
            typist.line(b"say 'one\x1b[200~\rtwo\tx\r\nthree\x1b[201~'\r"),
            "say 'one\ntwo\tx\nthree'"
        );
        assert_eq!(typist.enter(b"\x1b[A"), None);
        assert!(typist.screen.text().contains("> say 'one↵two x↵three'"), "{}", typist.screen.text());
    }

    #[test]
    fn interrupt_drops_the_line() {
        let mut typist = Typist::new();
        assert_eq!(typist.enter(b"llm in\x03"), Some(Entered::Interrupted));
        assert_eq!(typist.line(b"help\r"), "help");
    }

    #[test]
    fn invalid_bytes_reach_the_line() {
        let mut typist = Typist::new();
        assert_eq!(typist.enter(b"a\xff\xe2\x82b\x1b[D\x7f\r"), Some(Entered::Line(b"a\xff\xe2b".to_vec())));
        assert_eq!(typist.enter(b"a\xff\x01\x1bf\x1bu\x1bl\r"), Some(Entered::Line(b"a\xff".to_vec())));
    }

    #[test]
    fn controls_beyond_ascii_are_not_sent_to_the_terminal() {
        let mut typist = Typist::new();
        assert_eq!(typist.line("a\u{9b}K\r".as_bytes()), "a\u{9b}K");
    }

    #[test]
    fn a_line_over_the_limit_is_refused_whole_and_the_next_one_works() {
        let mut typist = Typist::new();
        let mut editor = LineEditor::new();
        for _ in 0..=MAX_LINE_BYTES {
            assert_eq!(editor.press(Key::Char('x'), &mut typist.screen), None);
        }
        assert_eq!(editor.press(Key::Enter, &mut typist.screen), Some(Entered::TooLong));
        typist.editor = editor;
        assert_eq!(typist.line(b"help\r"), "help");
    }

    #[test]
    fn random_keys_keep_screen_and_line_together() {
        let pieces: [&[u8]; 26] = [
            b"a",
            b"b c",
            "漢".as_bytes(),
            "é".as_bytes(),
            "\u{301}".as_bytes(),
            b"\xff",
            b"\x1b[D",
            b"\x1b[C",
            b"\x1bb",
            b"\x1bf",
            b"\x1bd",
            b"\x1bu",
            b"\x1bc",
            b"\x1b\x7f",
            b"\x01",
            b"\x05",
            b"\x7f",
            b"\x17",
            b"\x19",
            b"\x0b",
            b"\x1b[A",
            b"\x1b[B",
            b"word word word word word ",
            b"\x1b[3~",
            b"\x1b[200~\n\t\x1b[201~",
            b"\x0c",
        ];
        let mut state = 1u64;
        for columns in [9, 20, 39, 80] {
            let mut typist = Typist::on(columns);
            for _ in 0..3000 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let piece = pieces[(state >> 40) as usize % pieces.len()];
                assert_eq!(typist.enter(piece), None);
                if (state >> 33).is_multiple_of(97) {
                    assert!(typist.enter(b"\r").is_some());
                }
            }
        }
    }
}
