//! One line of input, edited on a VT100-like terminal.
//!
//! [`LineEditor`] turns [keys](super::keys) into a line and keeps the terminal showing it. It knows
//! nothing of where bytes come from, so a test can type at it.
//!
//! The crates for this job fall short here: `embedded-cli` 0.2 has no home, end or kill keys and takes text
//! only, so that a prompt of invalid UTF-8 never reaches the command that should refuse it; `noline`
//! 0.5 asks the terminal for its cursor (`ESC [ 6 n`) and loses piped input while it waits for the answer.
//!
//! The terminal is never asked anything. It is taken to be 80 columns wide, and a longer line
//! scrolls sideways.

use alloc::vec::Vec;
use core::ops::Range;

use unicode_width::UnicodeWidthChar;

use super::history::History;
use super::keys::{Key, KeyDecoder};
use crate::console::Console;

/// Longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

const TERMINAL_COLUMNS: usize = 80;
const BELL: &[u8] = b"\x07";

/// What ends the editing of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Entered {
    /// Enter was pressed. The bytes need not be UTF-8.
    Line(Vec<u8>),
    /// Enter was pressed, but more than [`MAX_LINE_BYTES`] had been typed.
    TooLong,
    /// Ctrl-C was pressed: the line is dropped.
    Interrupted,
    /// There is no line, and none will come.
    EndOfInput,
}

/// The state of the line being edited and of what the terminal shows.
#[derive(Debug)]
pub struct LineEditor {
    prompt: &'static str,
    decoder: KeyDecoder,
    history: History,
    line: Vec<u8>,
    /// Byte index in `line`, between two glyphs.
    cursor: usize,
    /// Byte index of the first glyph on the screen.
    view_start: usize,
    too_long: bool,
}

impl LineEditor {
    /// An editor with an empty line behind `prompt` (ASCII).
    pub fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            decoder: KeyDecoder::new(),
            history: History::default(),
            line: Vec::new(),
            cursor: 0,
            view_start: 0,
            too_long: false,
        }
    }

    /// Shows the prompt for a new line.
    pub fn begin(&mut self, terminal: &mut dyn Console) {
        self.redraw(terminal);
    }

    /// Takes one byte from the terminal and shows its effect.
    pub fn feed(&mut self, byte: u8, terminal: &mut dyn Console) -> Option<Entered> {
        // At most four keys come out of one byte, and only the last of them can end the line.
        let mut keys = [None; 4];
        let mut len = 0;
        self.decoder.feed(byte, |key| {
            keys[len] = Some(key);
            len += 1;
        });
        keys.into_iter().flatten().find_map(|key| self.press(key, terminal))
    }

    /// Nothing more will be typed: what has been is entered, if it is anything.
    pub fn end_of_input(&mut self, terminal: &mut dyn Console) -> Entered {
        terminal.write_bytes(b"\n");
        match self.line.is_empty() {
            true => Entered::EndOfInput,
            false => self.finish(),
        }
    }

    fn press(&mut self, key: Key, terminal: &mut dyn Console) -> Option<Entered> {
        match key {
            Key::Enter => {
                terminal.write_bytes(b"\n");
                return Some(self.finish());
            }
            Key::Interrupt => {
                terminal.write_bytes(b"^C\n");
                self.history.leave();
                self.clear();
                return Some(Entered::Interrupted);
            }
            Key::Char(c) => self.insert(c.encode_utf8(&mut [0; 4]).as_bytes(), terminal),
            Key::InvalidByte(byte) => self.insert(&[byte], terminal),
            Key::Left => self.move_to(self.previous_glyph(self.cursor).start, terminal),
            Key::Right => self.move_to(self.next_glyph(self.cursor).end, terminal),
            Key::Home => self.move_to(0, terminal),
            Key::End => self.move_to(self.line.len(), terminal),
            Key::Backspace => self.remove(self.previous_glyph(self.cursor), terminal),
            Key::Delete => self.remove(self.next_glyph(self.cursor), terminal),
            Key::KillToStart => self.remove(0..self.cursor, terminal),
            Key::KillToEnd => self.remove(self.cursor..self.line.len(), terminal),
            Key::KillWord => self.remove(self.word_before_cursor(), terminal),
            Key::Up => {
                let older = self.history.older(&self.line).map(<[u8]>::to_vec);
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
        }
        None
    }

    fn finish(&mut self) -> Entered {
        let entered = if self.too_long {
            self.history.leave();
            Entered::TooLong
        } else {
            self.history.add(&self.line);
            Entered::Line(self.line.clone())
        };
        self.clear();
        entered
    }

    fn clear(&mut self) {
        self.line.clear();
        self.cursor = 0;
        self.view_start = 0;
        self.too_long = false;
    }

    fn insert(&mut self, bytes: &[u8], terminal: &mut dyn Console) {
        if self.line.len() + bytes.len() > MAX_LINE_BYTES {
            self.too_long = true;
            terminal.write_bytes(BELL);
            return;
        }
        let at_end = self.cursor == self.line.len();
        self.line.splice(self.cursor..self.cursor, bytes.iter().copied());
        self.cursor += bytes.len();
        if at_end && self.fits_the_view() {
            let glyph = self.previous_glyph(self.cursor);
            self.draw(glyph, terminal);
        } else {
            self.redraw(terminal);
        }
    }

    fn move_to(&mut self, cursor: usize, terminal: &mut dyn Console) {
        if cursor != self.cursor {
            self.cursor = cursor;
            self.redraw(terminal);
        }
    }

    fn remove(&mut self, range: Range<usize>, terminal: &mut dyn Console) {
        if range.is_empty() {
            return;
        }
        self.cursor = range.start;
        self.line.drain(range);
        self.too_long &= !self.line.is_empty();
        self.redraw(terminal);
    }

    fn replace(&mut self, line: Option<Vec<u8>>, terminal: &mut dyn Console) {
        let Some(line) = line else {
            terminal.write_bytes(BELL);
            return;
        };
        self.line = line;
        self.cursor = self.line.len();
        self.redraw(terminal);
    }

    /// The bytes of the glyph that begins at `start`: a character, or one byte that is part of none;
    /// empty at the end of the line.
    fn next_glyph(&self, start: usize) -> Range<usize> {
        let rest = &self.line[start..];
        let len = (1..=rest.len().min(4))
            .find(|&len| core::str::from_utf8(&rest[..len]).is_ok())
            .unwrap_or(rest.len().min(1));
        start..start + len
    }

    /// The bytes of the glyph that ends at `end`; empty at the start of the line.
    fn previous_glyph(&self, end: usize) -> Range<usize> {
        let before = &self.line[..end];
        let len = (1..=end.min(4))
            .find(|&len| core::str::from_utf8(&before[end - len..]).is_ok())
            .unwrap_or(end.min(1));
        end - len..end
    }

    fn word_before_cursor(&self) -> Range<usize> {
        let before = self.line[..self.cursor].trim_ascii_end();
        let start = before.iter().rposition(u8::is_ascii_whitespace).map_or(0, |blank| blank + 1);
        start..self.cursor
    }

    /// Columns between the prompt and the right edge; the last one stays free for the cursor.
    fn view_columns(&self) -> usize {
        TERMINAL_COLUMNS - 1 - self.prompt.len()
    }

    fn fits_the_view(&self) -> bool {
        self.columns(self.view_start..self.cursor) <= self.view_columns()
    }

    /// Columns that these glyphs take, counted no further than just beyond the view.
    fn columns(&self, range: Range<usize>) -> usize {
        let mut columns = 0;
        let mut at = range.start;
        while at < range.end && columns <= self.view_columns() {
            let glyph = self.next_glyph(at);
            at = glyph.end;
            columns += width(self.shown(glyph));
        }
        columns
    }

    /// The character that stands for a glyph on the screen: controls and stray bytes are not sent.
    fn shown(&self, glyph: Range<usize>) -> char {
        core::str::from_utf8(&self.line[glyph])
            .ok()
            .and_then(|text| text.chars().next())
            .filter(|c| !c.is_control())
            .unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn draw(&self, glyph: Range<usize>, terminal: &mut dyn Console) {
        terminal.write_bytes(self.shown(glyph).encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn redraw(&mut self, terminal: &mut dyn Console) {
        self.scroll_to_cursor();
        terminal.write_bytes(b"\r");
        terminal.write_bytes(self.prompt.as_bytes());
        let mut columns = 0;
        let mut at = self.view_start;
        while at < self.line.len() {
            let glyph = self.next_glyph(at);
            columns += width(self.shown(glyph.clone()));
            if columns > self.view_columns() {
                break;
            }
            at = glyph.end;
            self.draw(glyph, terminal);
        }
        terminal.write_bytes(b"\x1b[K");
        if self.cursor != at {
            let column = self.prompt.len() + self.columns(self.view_start..self.cursor);
            move_to_column(column, terminal);
        }
    }

    /// Moves the view so that the cursor is in it, in steps of half a view.
    fn scroll_to_cursor(&mut self) {
        if self.columns(0..self.line.len()) <= self.view_columns() {
            self.view_start = 0;
        } else if self.cursor < self.view_start || !self.fits_the_view() {
            let mut columns = 0;
            self.view_start = self.cursor;
            while self.view_start > 0 && columns < self.view_columns() / 2 {
                let glyph = self.previous_glyph(self.view_start);
                columns += width(self.shown(glyph.clone()));
                self.view_start = glyph.start;
            }
        }
    }
}

fn width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// `column` counts from 0.
fn move_to_column(column: usize, terminal: &mut dyn Console) {
    use core::fmt::Write;
    terminal.write_bytes(b"\r");
    if column > 0 {
        // The console never fails to take bytes.
        let _ = write!(crate::console::Text(terminal), "\x1b[{column}C");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::String, vec::Vec};

    /// One row of a terminal that obeys what the editor sends.
    #[derive(Default)]
    struct Screen {
        row: Vec<char>,
        column: usize,
        escape: Option<String>,
    }

    impl Screen {
        fn visible(&self) -> String {
            let text: String = self.row.iter().filter(|&&c| c != '\0').collect();
            text.trim_end().into()
        }

        fn put(&mut self, c: char) {
            if let Some(escape) = &mut self.escape {
                escape.push(c);
                if c.is_ascii_alphabetic() {
                    let escape = self.escape.take().unwrap();
                    self.obey(&escape);
                }
                return;
            }
            match c {
                '\x1b' => self.escape = Some(String::new()),
                '\r' => self.column = 0,
                '\n' => *self = Screen::default(),
                '\x07' => {}
                _ => {
                    for cell in 0..width(c) {
                        if self.row.len() <= self.column {
                            self.row.resize(self.column + 1, ' ');
                        }
                        self.row[self.column] = if cell == 0 { c } else { '\0' };
                        self.column += 1;
                    }
                    assert!(self.column < TERMINAL_COLUMNS, "the row wrapped");
                }
            }
        }

        fn obey(&mut self, escape: &str) {
            match escape {
                "[K" => self.row.truncate(self.column),
                "[H" => self.column = 0,
                "[2J" => self.row.clear(),
                _ => {
                    let columns = escape.strip_prefix('[').and_then(|e| e.strip_suffix('C'));
                    self.column += columns.unwrap().parse::<usize>().unwrap();
                }
            }
        }
    }

    impl Console for Screen {
        fn read_byte(&mut self) -> Option<u8> {
            None
        }

        fn wait_for_byte(&mut self) -> Option<u8> {
            unreachable!("the editor never reads")
        }

        fn write_bytes(&mut self, bytes: &[u8]) {
            std::str::from_utf8(bytes).unwrap().chars().for_each(|c| self.put(c));
        }
    }

    struct Typist {
        editor: LineEditor,
        screen: Screen,
    }

    impl Typist {
        fn new() -> Self {
            Typist { editor: LineEditor::new("> "), screen: Screen::default() }
        }

        fn enter(&mut self, bytes: &[u8]) -> Option<Entered> {
            if self.screen.row.is_empty() {
                self.editor.begin(&mut self.screen);
            }
            let mut entered = None;
            for &byte in bytes {
                assert_eq!(entered, None, "bytes after the end of the line");
                entered = self.editor.feed(byte, &mut self.screen);
                if entered.is_none() {
                    self.check_screen();
                }
            }
            entered
        }

        /// The screen shows the view of the line, whatever path led there.
        fn check_screen(&self) {
            let editor = &self.editor;
            let mut expected = String::from(editor.prompt);
            let mut at = editor.view_start;
            let mut columns = 0;
            let mut cursor_column = None;
            while at < editor.line.len() {
                if at == editor.cursor {
                    cursor_column = Some(columns);
                }
                let glyph = editor.next_glyph(at);
                let shown = editor.shown(glyph.clone());
                if columns + width(shown) > editor.view_columns() {
                    break;
                }
                columns += width(shown);
                at = glyph.end;
                expected.push(shown);
            }
            assert_eq!(self.screen.visible(), expected.trim_end());
            let cursor_column = cursor_column.unwrap_or(columns);
            assert_eq!(self.screen.column, editor.prompt.len() + cursor_column);
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
        assert_eq!(typist.line(b"one two\x15three\r"), "three");
        assert_eq!(typist.line(b"one two\x01\x0bthree\r"), "three");
        assert_eq!(typist.line(b"one two  \x17three\r"), "one three");
        assert_eq!(typist.line(b"abc\x0c\r"), "abc");
    }

    #[test]
    fn keys_at_the_edges_do_nothing() {
        let mut typist = Typist::new();
        assert_eq!(typist.line(b"\x7f\x04\x1b[D\x1b[C\x15\x0b\x17\x1b[A\x1b[Bx\x1b[C\x04\r"), "x");
    }

    #[test]
    fn characters_of_several_bytes_and_columns_are_edited_whole() {
        let mut typist = Typist::new();
        assert_eq!(typist.line("aé漢😀\x1b[D\x7fb\r".as_bytes()), "aéb😀");
        assert_eq!(typist.line("漢字\x01\x1b[3~x\r".as_bytes()), "x字");
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
        let mut typist = Typist::new();
        let long = "abcdefghij".repeat(30);
        let mut bytes = long.clone().into_bytes();
        bytes.extend(b"\x01>\x05<");
        bytes.extend(b"\x1b[D".repeat(120));
        bytes.extend(b"|\r");
        let mut expected = std::format!(">{long}<");
        expected.insert(expected.len() - 120, '|');
        assert_eq!(typist.line(&bytes), expected);
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
    }

    #[test]
    fn controls_beyond_ascii_are_not_sent_to_the_terminal() {
        let mut typist = Typist::new();
        assert_eq!(typist.line("a\u{9b}K\r".as_bytes()), "a\u{9b}K");
    }

    #[test]
    fn a_line_over_the_limit_is_refused_whole_and_the_next_one_works() {
        let mut typist = Typist::new();
        let mut bytes = std::vec![b'x'; MAX_LINE_BYTES + 1];
        bytes.push(b'\r');
        assert_eq!(typist.enter(&bytes), Some(Entered::TooLong));
        assert_eq!(typist.line(b"help\r"), "help");
    }

    #[test]
    fn random_keys_keep_screen_and_line_together() {
        let pieces: [&[u8]; 16] = [
            b"a",
            b"b c",
            "漢".as_bytes(),
            "é".as_bytes(),
            b"\xff",
            b"\x1b[D",
            b"\x1b[C",
            b"\x01",
            b"\x05",
            b"\x7f",
            b"\x04",
            b"\x17",
            b"\x1b[A",
            b"\x1b[B",
            b"word word word word word ",
            b"\x1b[3~",
        ];
        let mut state = 1u64;
        let mut typist = Typist::new();
        for _ in 0..20_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let piece = pieces[(state >> 40) as usize % pieces.len()];
            assert_eq!(typist.enter(piece), None);
            if (state >> 33).is_multiple_of(97) {
                assert!(typist.enter(b"\r").is_some());
            }
        }
    }
}
