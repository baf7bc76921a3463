//! One line of input, edited on a VT100-like terminal.
//!
//! [`LineEditor`] applies [keys](super::keys) to a `Line`, and a `View` shows it. It does not know where keys come from, nor what
//! words can be completed to, so a test can type into it.
//!
//! Existing crates do not suffice. `embedded-cli` 0.2 has no home, end or kill keys, and accepts only text, so a prompt of
//! invalid UTF-8 would never reach the command that should refuse it. `noline` 0.5 asks the terminal for its cursor position
//! (`ESC [ 6 n`) and loses piped input while it waits for the answer.

use alloc::{string::String, vec::Vec};
use core::ops::Range;

use super::{
    completion::Completions, history::History, keys::Key, line::Line, line_view::View, search::Search,
};
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

    /// Completes the word before the cursor, or types as much of it as is certain. `complete` is given the line up to the cursor.
    /// If it leaves a choice twice in a row, the candidates are listed.
    pub fn complete(&mut self, complete: &mut dyn FnMut(&[u8]) -> Completions, terminal: &mut dyn Console) {
        self.end_search(terminal);
        if lacking_bytes(self.line.bytes().len()).is_some() {
            terminal.write_bytes(BELL);
            return;
        }
        let completions = complete(&self.line.bytes()[..self.line.cursor()]);
        let had_choice = core::mem::replace(&mut self.has_choice, completions.candidates().len() > 1);
        let mut addition = &*completions.addition();
        let follows_blank = self.line.bytes().get(self.line.cursor()) == Some(&b' ');
        let is_certain = completions.candidates().len() == 1;
        if is_certain
            && follows_blank
            && let Some(rest) = addition.strip_suffix(' ')
        {
            addition = rest;
            self.insert(addition.as_bytes(), terminal);
            self.move_to(self.line.cursor() + 1, terminal);
        } else if !addition.is_empty() {
            self.insert(addition.as_bytes(), terminal);
        } else if self.has_choice && had_choice {
            completions.list(self.view.terminal_columns(), terminal);
            self.redraw(terminal);
        } else {
            terminal.write_bytes(BELL);
        }
    }

    fn begin_search(&mut self, terminal: &mut dyn Console) {
        if lacking_bytes(self.line.bytes().len()).is_some() {
            terminal.write_bytes(BELL);
            return;
        }
        let before = (self.line.bytes().to_vec(), self.line.cursor());
        let prompt = self.view.set_prompt("".into());
        self.search = Some(Search::new(before, self.history.place(), prompt));
        self.show_search(terminal);
    }

    /// Applies a key to the search that is going on. If there is none, or the key ends it and is then a key like any other, returns
    /// false.
    fn is_of_search(&mut self, key: Key, terminal: &mut dyn Console) -> bool {
        let Some(search) = &mut self.search else { return false };
        let found = search.found;
        // Where the lines end that are looked through: with a longer text the line that was found may still have it.
        let end = match key {
            Key::Char(c) if search.push(c.encode_utf8(&mut [0; 4]).as_bytes()) => {
                found.map(|found| found + 1)
            }
            Key::InvalidByte(byte) if search.push(&[byte]) => found.map(|found| found + 1),
            Key::Backspace if search.pop() => None,
            Key::SearchBack if search.text().is_empty() && !self.last_search.is_empty() => {
                search.push(&self.last_search);
                None
            }
            Key::SearchBack if !search.text().is_empty() => found,
            Key::Char(_) | Key::InvalidByte(_) | Key::Backspace | Key::SearchBack => {
                terminal.write_bytes(BELL);
                return true;
            }
            Key::Abort => {
                self.take_back_search(terminal);
                return true;
            }
            Key::CursorReport { .. } => return true,
            _ => {
                self.end_search(terminal);
                return false;
            }
        };
        let is_empty = search.text().is_empty();
        if is_empty {
            search.found = None;
        }
        let next = self.history.find(search.text(), end).filter(|_| !is_empty);
        search.has_failed = next.is_none() && !is_empty;
        if search.has_failed {
            terminal.write_bytes(BELL);
        }
        if let Some(place) = next
            && let Some(line) = self.history.show(place, &search.before.0)
            && lacking_bytes(line.len()).is_none()
        {
            search.found = Some(place);
            let text = search.text();
            let start = line.windows(text.len()).position(|part| part == text).unwrap_or(0);
            self.line.set(line.to_vec());
            self.line.move_to(self.line.glyph_at(start));
        }
        self.show_search(terminal);
        true
    }

    fn show_search(&mut self, terminal: &mut dyn Console) {
        if let Some(search) = &self.search {
            self.view.set_prompt(search.own_prompt(self.view.terminal_columns()));
            self.redraw(terminal);
        }
    }

    /// Ends a search; the line that was found is then edited.
    fn end_search(&mut self, terminal: &mut dyn Console) {
        if let Some(search) = self.search.take() {
            self.last_search = search.text().to_vec();
            self.view.set_prompt(search.prompt);
            self.redraw(terminal);
        }
    }

    /// Ends a search; the line is then what it was before.
    fn take_back_search(&mut self, terminal: &mut dyn Console) {
        if let Some(search) = &mut self.search {
            let (line, cursor) = core::mem::take(&mut search.before);
            self.history.go_back(search.place);
            self.line.set(line);
            self.line.move_to(cursor);
            self.end_search(terminal);
        }
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
mod tests {
    use super::super::{keys::KeyDecoder, screen::Screen, words::unfinished};
    use super::*;
    use std::{string::String, vec::Vec};
    use unicode_width::UnicodeWidthStr;

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
                    match key {
                        Key::Complete => self.editor.complete(&mut complete, &mut self.screen),
                        _ => entered = self.editor.press(key, &mut self.screen),
                    }
                    if entered.is_none() {
                        if !matches!(key, Key::ClearScreen | Key::Complete) {
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
            let (prompt, shown) = shown.split_at(view.shown_prompt().width());
            let prompt_text: String = prompt.iter().filter(|&&c| c != '\0').collect();
            assert!(prompt_text.contains(view.shown_prompt().trim_end()), "{prompt_text:?}");
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

    /// Completes as a shell with a handful of words does.
    fn complete(before: &[u8]) -> Completions {
        let Some(unfinished) = unfinished(before) else { return Completions::of_text(b"\0") };
        let mut completions = Completions::of(unfinished);
        for word in ["llm", "log", "mem", "a very long word with blanks"] {
            completions.offer(word);
        }
        completions
    }

    #[test]
    fn tab_completes_what_is_certain_and_lists_the_rest() {
        let mut typist = Typist::new();
        assert_eq!(typist.line(b"m\tx\r"), "mem x");
        assert_eq!(typist.line(b"x 'm\t\r"), "x 'mem' ");
        assert_eq!(typist.line(b"a\t\r"), "a\\ very\\ long\\ word\\ with\\ blanks ");
        assert_eq!(
            typist.line(b"m x\x1b[D\x1b[D\ty\r"),
            "mem yx",
            "a blank that is there is not typed again"
        );
        assert_eq!(typist.line(b"frob\t\tx\r"), "frobx");
        assert_eq!(typist.line(b"l\to\t\r"), "log ");
        let shown = |typist: &Typist| typist.screen.text();
        typist.enter(b"l\t");
        assert!(!shown(&typist).contains("\nllm  log\n"), "{}", shown(&typist));
        typist.enter(b"\t");
        assert!(shown(&typist).ends_with("> l\nllm  log\n> l\n"), "{}", shown(&typist));
        // Another key between the two is not the second Tab.
        typist.enter(b"\x05\t");
        assert!(shown(&typist).ends_with("> l\nllm  log\n> l\n"), "{}", shown(&typist));
        assert_eq!(typist.line(b"l\t\r"), "llm ");
    }

    fn searcher() -> Typist {
        let mut typist = Typist::new();
        for line in [&b"llm list"[..], b"mem", "llm infer 'né' 3".as_bytes(), b"uptime"] {
            typist.editor.remember(line);
        }
        typist
    }

    #[test]
    fn a_search_finds_older_lines_and_enter_runs_them() {
        assert_eq!(searcher().line(b"\x12llm\r"), "llm infer 'né' 3");
        assert_eq!(searcher().line(b"\x12llm\x12\r"), "llm list");
        assert_eq!(searcher().line("\x12é'\r".as_bytes()), "llm infer 'né' 3");
        assert_eq!(searcher().line(b"\x12llmx\x7f\x12\r"), "llm list", "Backspace begins anew");
        let mut typist = searcher();
        typist.enter(b"x\x12li");
        let shown = |typist: &Typist| typist.screen.text();
        assert!(shown(&typist).ends_with("(reverse-i-search)`li': llm list\n"), "{}", shown(&typist));
        typist.enter(b"q");
        assert!(shown(&typist).ends_with("(failed reverse-i-search)`liq': llm list\n"), "{}", shown(&typist));
        typist.enter(b"\x7f\x12");
        assert!(shown(&typist).ends_with("(failed reverse-i-search)`li': llm list\n"), "{}", shown(&typist));
        assert_eq!(typist.line(b"\r"), "llm list");
        // Without a text, Ctrl-R takes the last one.
        assert_eq!(typist.line(b"\x12\x12\r"), "llm list");
        assert!(shown(&typist).contains("> llm list\n"), "the prompt is back: {}", shown(&typist));
    }

    #[test]
    fn a_search_is_ended_by_other_keys_and_taken_back() {
        assert_eq!(searcher().line(b"\x12infer\x1b[C\x1b[C!\r"), "llm in!fer 'né' 3");
        assert_eq!(searcher().line(b"\x12list\x05s\r"), "llm lists");
        assert_eq!(searcher().line(b"\x12mem\x1b[A\r"), "llm list", "the arrows go on from there");
        assert_eq!(searcher().line(b"dra\x02\x12mem\x07f\r"), "drfa");
        assert_eq!(searcher().line(b"\x12mem\x07\x1b[A\r"), "uptime", "the history is where it was");
        assert_eq!(searcher().line(b"\x1b[A\x1b[A\x12list\x07\x1b[A\r"), "mem");
        assert_eq!(searcher().line(b"\x12m\t\r"), "uptime", "Tab completes what was found");
        assert_eq!(searcher().enter(b"\x12mem\x03"), Some(Entered::Interrupted));
        assert_eq!(searcher().line(b"\x12zzz\r"), "");
        let mut empty = Typist::new();
        assert_eq!(empty.line(b"\x12\x12x\x12\x07ab\r"), "ab");
        let mut narrow = Typist::on(20);
        narrow.editor.remember(b"llm infer something");
        assert_eq!(narrow.line(b"\x12thing\r"), "llm infer something");
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
        let pieces: [&[u8]; 31] = [
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
            b"\x12",
            b"\x12w",
            b"\x07",
            b"\t",
            b"\t\t",
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
