//! Reverse search: Ctrl-R finds an earlier line with a given text, as in GNU readline.
//!
//! [`Search`] is the state of a search; the methods of [`LineEditor`] here apply keys to it.

use alloc::{borrow::Cow, format, string::String, vec::Vec};

use super::{BELL, LineEditor, lacking_bytes};
use crate::{
    console::Console,
    shell::{keys::Key, line::shown},
};

/// Longest text to search for, in bytes: each key looks through all lines.
const MAX_TEXT_BYTES: usize = 128;

/// A search for an earlier line.
#[derive(Debug)]
pub(super) struct Search {
    /// What is looked for.
    text: Vec<u8>,
    /// The place of the line that was found last, in the history.
    found: Option<usize>,
    /// Whether there is no line with all of the text.
    has_failed: bool,
    /// The line that was being edited, and the cursor in it.
    before: (Vec<u8>, usize),
    /// The place in the history at which it stood, if it came from there.
    place: Option<usize>,
    /// The prompt before that line.
    prompt: Cow<'static, str>,
}

impl Search {
    /// A search for nothing yet.
    fn new(before: (Vec<u8>, usize), place: Option<usize>, prompt: Cow<'static, str>) -> Self {
        Self { text: Vec::new(), found: None, has_failed: false, before, place, prompt }
    }

    /// What is looked for.
    fn text(&self) -> &[u8] {
        &self.text
    }

    /// Adds to the text; false if it is too long for that.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let has_room = self.text.len() + bytes.len() <= MAX_TEXT_BYTES;
        if has_room {
            self.text.extend(bytes);
        }
        has_room
    }

    /// Removes the last character of the text; false if there is none.
    fn pop(&mut self) -> bool {
        let last = String::from_utf8_lossy(&self.text).chars().last();
        let n_bytes = match last {
            // It stands for itself or for bytes that are no character, and these go one by one.
            Some(char::REPLACEMENT_CHARACTER) if !self.text.ends_with("\u{fffd}".as_bytes()) => 1,
            last => last.map_or(0, char::len_utf8),
        };
        self.text.truncate(self.text.len() - n_bytes);
        n_bytes > 0
    }

    /// The prompt while it is searched, on a terminal of this width that must keep room for some of the line.
    fn own_prompt(&self, columns: usize) -> Cow<'static, str> {
        const MIN_LINE_COLUMNS: usize = 20;
        let text: String = String::from_utf8_lossy(&self.text).chars().map(|c| shown(Some(c))).collect();
        let failed = if self.has_failed { "failed " } else { "" };
        let prompt = format!("({failed}reverse-i-search)`{text}': ");
        let fits = unicode_width::UnicodeWidthStr::width(&*prompt) + MIN_LINE_COLUMNS <= columns;
        Cow::Owned(if fits {
            prompt
        } else {
            format!("{}`{text}': ", if self.has_failed { "?" } else { "" })
        })
    }
}

impl LineEditor {
    /// Begins a search; its text is still empty.
    pub(super) fn begin_search(&mut self, terminal: &mut dyn Console) {
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
    pub(super) fn is_of_search(&mut self, key: Key, terminal: &mut dyn Console) -> bool {
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
    pub(super) fn end_search(&mut self, terminal: &mut dyn Console) {
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
}

#[cfg(test)]
mod tests {
    use super::super::{Entered, typist::Typist};
    use super::*;

    #[test]
    fn characters_are_added_and_taken_away_whole() {
        let mut search = Search::new((Vec::new(), 0), None, Cow::Borrowed("> "));
        for piece in ["a", "é", "\u{fffd}"] {
            assert!(search.push(piece.as_bytes()));
        }
        assert!(search.push(b"\xff") && search.push(b"\xe2\x82"));
        for left in
            [&b"a\xc3\xa9\xef\xbf\xbd\xff\xe2"[..], b"a\xc3\xa9\xef\xbf\xbd\xff", b"a\xc3\xa9\xef\xbf\xbd"]
        {
            assert!(search.pop());
            assert_eq!(search.text(), left);
        }
        assert!(search.pop() && search.pop() && search.pop() && !search.pop());
        assert!(search.push(&[b'x'; MAX_TEXT_BYTES]) && !search.push(b"x"));
    }

    #[test]
    fn the_prompt_is_readlines_if_there_is_room() {
        let mut search = Search::new((Vec::new(), 0), None, Cow::Borrowed("> "));
        search.push("a\nb\x1b".as_bytes());
        assert_eq!(search.own_prompt(80), "(reverse-i-search)`a↵b\u{fffd}': ");
        search.has_failed = true;
        assert_eq!(search.own_prompt(80), "(failed reverse-i-search)`a↵b\u{fffd}': ");
        assert_eq!(search.own_prompt(40), "?`a↵b\u{fffd}': ");
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
}
