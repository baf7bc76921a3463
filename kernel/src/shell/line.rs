//! [`Line`]: the text being edited, and the cursor in it.
//!
//! A line is bytes, since it need not be UTF-8. The cursor moves by glyphs: a glyph is a character with the combining characters
//! that follow it, or one byte that is not part of a character.

use alloc::vec::Vec;
use core::ops::Range;

use unicode_width::UnicodeWidthChar;

use crate::console::Console;

/// A line and its cursor.
#[derive(Debug, Default)]
pub struct Line {
    bytes: Vec<u8>,
    /// Index into `bytes`, between two glyphs.
    cursor: usize,
}

impl Line {
    /// The whole line.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The cursor's position, as an index into the bytes.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// Replaces the line; the cursor goes to its end.
    pub fn set(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
        self.cursor = self.bytes.len();
    }

    /// Moves the cursor to an index between two glyphs.
    pub fn move_to(&mut self, cursor: usize) {
        self.cursor = cursor;
    }

    /// Inserts bytes before the cursor.
    pub fn insert(&mut self, bytes: &[u8]) {
        self.bytes.splice(self.cursor..self.cursor, bytes.iter().copied());
        self.cursor += bytes.len();
        self.leave_glyph();
    }

    /// Removes bytes; the cursor moves to where they were.
    pub fn remove(&mut self, range: Range<usize>) {
        self.cursor = range.start;
        self.bytes.drain(range);
        self.leave_glyph();
    }

    /// After an edit, the cursor may be inside a glyph that was two before: moves it behind that glyph.
    fn leave_glyph(&mut self) {
        for start in self.cursor.saturating_sub(3)..self.cursor {
            self.cursor = self.cursor.max(self.next_char(start).end);
        }
        if self.cursor > 0 {
            let start = self.previous_char(self.cursor).start;
            self.cursor = self.next_glyph(start).end;
        }
    }

    /// The bytes of the glyph that begins at `start`; empty at the end of the line.
    pub fn next_glyph(&self, start: usize) -> Range<usize> {
        let mut end = self.next_char(start).end;
        while end < self.bytes.len() && is_combining(self.char_at(self.next_char(end))) {
            end = self.next_char(end).end;
        }
        start..end
    }

    /// The bytes of the glyph that ends at `end`; empty at the start of the line.
    pub fn previous_glyph(&self, end: usize) -> Range<usize> {
        let mut last = self.previous_char(end);
        while last.start > 0 && is_combining(self.char_at(last.clone())) {
            last = self.previous_char(last.start);
        }
        last.start..end
    }

    /// The beginning of the glyph that this byte belongs to.
    pub fn glyph_at(&self, place: usize) -> usize {
        let mut start = 0;
        while let glyph = self.next_glyph(start)
            && glyph.end <= place
            && !glyph.is_empty()
        {
            start = glyph.end;
        }
        start
    }

    /// The beginning of the word that the cursor is in or after; a word consists of letters and digits.
    pub fn word_left(&self) -> usize {
        let mut at = self.cursor;
        for in_word in [false, true] {
            while at > 0 && self.is_of_word(self.previous_glyph(at)) == in_word {
                at = self.previous_glyph(at).start;
            }
        }
        at
    }

    /// The end of the word that the cursor is in or before.
    pub fn word_right(&self) -> usize {
        let mut at = self.cursor;
        for in_word in [false, true] {
            while at < self.bytes.len() && self.is_of_word(self.next_glyph(at)) == in_word {
                at = self.next_glyph(at).end;
            }
        }
        at
    }

    /// The beginning of the space-delimited text before the cursor.
    pub fn blank_left(&self) -> usize {
        let before = self.bytes[..self.cursor].trim_ascii_end();
        before.iter().rposition(u8::is_ascii_whitespace).map_or(0, |blank| blank + 1)
    }

    /// Columns that a glyph takes on the screen.
    pub fn width(&self, glyph: Range<usize>) -> usize {
        let base = self.next_char(glyph.start);
        shown(self.char_at(base)).width().unwrap_or(0)
    }

    /// Writes a glyph, or a replacement if the terminal could misinterpret it.
    pub fn write_glyph(&self, glyph: Range<usize>, terminal: &mut dyn Console) {
        let base = self.next_char(glyph.start);
        let combining = base.end..glyph.end;
        terminal.write_bytes(shown(self.char_at(base)).encode_utf8(&mut [0; 4]).as_bytes());
        terminal.write_bytes(&self.bytes[combining]);
    }

    /// The character that begins at `start`, or one byte that is not part of a character.
    fn next_char(&self, start: usize) -> Range<usize> {
        let rest = &self.bytes[start..];
        let len = (1..=rest.len().min(4))
            .find(|&len| core::str::from_utf8(&rest[..len]).is_ok())
            .unwrap_or(rest.len().min(1));
        start..start + len
    }

    /// The character that ends at `end`, or one byte that is not part of a character.
    fn previous_char(&self, end: usize) -> Range<usize> {
        let before = &self.bytes[..end];
        let len = (1..=end.min(4))
            .find(|&len| core::str::from_utf8(&before[end - len..]).is_ok())
            .unwrap_or(end.min(1));
        end - len..end
    }

    fn char_at(&self, range: Range<usize>) -> Option<char> {
        core::str::from_utf8(&self.bytes[range]).ok()?.chars().next()
    }

    fn is_of_word(&self, glyph: Range<usize>) -> bool {
        self.char_at(self.next_char(glyph.start)).is_some_and(char::is_alphanumeric)
    }
}

fn is_combining(c: Option<char>) -> bool {
    c.and_then(UnicodeWidthChar::width) == Some(0)
}

/// What is shown on the screen for a character, or for a byte that is not part of one.
pub(super) fn shown(c: Option<char>) -> char {
    match c {
        Some('\n') => '↵',
        Some('\t') => ' ',
        // A combining character would have nothing to combine with here.
        Some(c) if c.width().is_some_and(|width| width > 0) => c,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, cursor: usize) -> Line {
        let mut line = Line::default();
        line.set(text.into());
        line.move_to(cursor);
        line
    }

    #[test]
    fn a_glyph_is_a_character_with_what_combines_with_it() {
        let line = line("ae\u{301}\u{323}漢\u{200d}x", 0);
        let mut ends = std::vec![0];
        while *ends.last().unwrap() < line.bytes().len() {
            ends.push(line.next_glyph(*ends.last().unwrap()).end);
        }
        assert_eq!(ends, [0, 1, 6, 12, 13]);
        for pair in ends.windows(2) {
            assert_eq!(line.previous_glyph(pair[1]), pair[0]..pair[1]);
        }
        assert_eq!([0, 1, 6].map(|at| line.width(line.next_glyph(at))), [1, 1, 2]);
    }

    #[test]
    fn words_are_letters_and_digits() {
        let text = "--file=/été 12/x  ";
        for (cursor, left, right) in [(0, 0, 6), (4, 2, 6), (7, 2, 13), (13, 8, 16), (20, 17, 20)] {
            let line = line(text, cursor);
            assert_eq!((line.word_left(), line.word_right()), (left, right), "{cursor}");
        }
        assert_eq!(line(text, text.len()).blank_left(), 14);
    }
}
