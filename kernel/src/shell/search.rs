//! [`Search`]: the state of a search in the lines before (Ctrl-R), as in GNU readline.

use alloc::{borrow::Cow, format, string::String, vec::Vec};

use super::line::shown;

/// Longest text to search for, in bytes: each key looks through all lines.
const MAX_TEXT_BYTES: usize = 128;

/// A search for an earlier line.
#[derive(Debug)]
pub struct Search {
    /// What is looked for.
    text: Vec<u8>,
    /// The place of the line that was found last, in the history.
    pub found: Option<usize>,
    /// Whether there is no line with all of the text.
    pub has_failed: bool,
    /// The line that was being edited, and the cursor in it.
    pub before: (Vec<u8>, usize),
    /// The place in the history at which it stood, if it came from there.
    pub place: Option<usize>,
    /// The prompt before that line.
    pub prompt: Cow<'static, str>,
}

impl Search {
    /// A search for nothing yet.
    pub fn new(before: (Vec<u8>, usize), place: Option<usize>, prompt: Cow<'static, str>) -> Self {
        Self { text: Vec::new(), found: None, has_failed: false, before, place, prompt }
    }

    /// What is looked for.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Adds to the text; false if it is too long for that.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let has_room = self.text.len() + bytes.len() <= MAX_TEXT_BYTES;
        if has_room {
            self.text.extend(bytes);
        }
        has_room
    }

    /// Removes the last character of the text; false if there is none.
    pub fn pop(&mut self) -> bool {
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
    pub fn own_prompt(&self, columns: usize) -> Cow<'static, str> {
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

#[cfg(test)]
mod tests {
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
}
