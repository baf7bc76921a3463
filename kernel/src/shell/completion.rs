//! [`Completions`]: what the word before the cursor can become; what is typed for that, and how the choice is listed.
//!
//! Neighbours: `suggestions` finds the candidates, [`line_editor`](super::line_editor) types what is certain and has the choice listed.

use alloc::{string::String, vec::Vec};

use unicode_width::UnicodeWidthStr;

use super::words::{Unfinished, quoted};
use crate::console::Console;

/// No more candidates than this are listed.
const MAX_LISTED: usize = 200;

/// Columns between two candidates of a list.
const GAP: usize = 2;

/// What a word can become.
#[derive(Debug)]
pub struct Completions {
    /// The word so far.
    word: Vec<u8>,
    /// What the quotation that it ends in begins with.
    opening: &'static [u8],
    candidates: Vec<String>,
}

impl Completions {
    /// No candidates yet for this word.
    pub fn of(unfinished: Unfinished) -> Self {
        Self { word: unfinished.word, opening: unfinished.opening, candidates: Vec::new() }
    }

    /// No candidates yet for a word of a line without quotes.
    pub fn of_text(word: &[u8]) -> Self {
        Self { word: word.to_vec(), opening: b"", candidates: Vec::new() }
    }

    /// The word so far.
    pub fn word(&self) -> &[u8] {
        &self.word
    }

    /// Adds a candidate, if the word can become it. Where there is no memory for more, the others must do.
    pub fn offer(&mut self, candidate: &str) {
        let fits = candidate.as_bytes().starts_with(&self.word);
        let is_new = fits && !self.candidates.iter().any(|known| known == candidate);
        let mut copy = String::new();
        if is_new && self.candidates.try_reserve(1).is_ok() && copy.try_reserve_exact(candidate.len()).is_ok()
        {
            copy.push_str(candidate);
            self.candidates.push(copy);
        }
    }

    /// The candidates, in the order in which they were offered.
    pub fn candidates(&self) -> &[String] {
        &self.candidates
    }

    /// What is to be typed after the word: the beginning that all candidates share, or all of a single one, its closing quote and a
    /// blank.
    pub fn addition(&self) -> String {
        let Some((first, others)) = self.candidates.split_first() else { return String::new() };
        let shared = others.iter().fold(first.len(), |shared, other| {
            let equal = first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
            shared.min(equal)
        });
        // The word may end within a character of the candidate, and some characters cannot be typed within these quotes.
        let rest = first.get(self.word.len()..first.floor_char_boundary(shared));
        let Some(mut addition) = rest.and_then(|rest| quoted(rest, self.opening)) else {
            return String::new();
        };
        if others.is_empty() {
            addition.push_str(str::from_utf8(self.opening).unwrap_or_default().trim_start_matches('$'));
            addition.push(' ');
        }
        addition
    }

    /// Lists the candidates in columns, down and then across, in rows of their own below the cursor's.
    pub fn list(&self, columns: usize, terminal: &mut dyn Console) {
        let listed = &self.candidates[..self.candidates.len().min(MAX_LISTED)];
        let widest = listed.iter().map(|candidate| candidate.width()).max().unwrap_or(0);
        let n_across = (columns / (widest + GAP)).max(1);
        let n_rows = listed.len().div_ceil(n_across);
        terminal.write_bytes(b"\n");
        for row in 0..n_rows {
            for (place, candidate) in listed.iter().enumerate().skip(row).step_by(n_rows) {
                terminal.write_bytes(candidate.as_bytes());
                if place + n_rows < listed.len() {
                    (0..widest + GAP - candidate.width()).for_each(|_| terminal.write_bytes(b" "));
                }
            }
            terminal.write_bytes(b"\n");
        }
        if listed.len() < self.candidates.len() {
            terminal.write_bytes(b"and more\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{screen::Screen, words::unfinished};
    use super::*;

    fn completions(text: &str, candidates: &[&str]) -> Completions {
        let mut completions = Completions::of(unfinished(text.as_bytes()).unwrap());
        candidates.iter().for_each(|candidate| completions.offer(candidate));
        completions
    }

    #[test]
    fn what_all_share_is_typed_and_one_is_typed_whole() {
        let models = ["ferrite-tiny", "ferrite-micro", "other"];
        for (text, addition) in [
            ("", ""),
            ("f", "errite-"),
            ("ferrite-", ""),
            ("ferrite-t", "iny "),
            ("'ferrite-t", "iny' "),
            ("x \"o", "ther\" "),
            ("$'o", "ther' "),
            ("other", " "),
            ("z", ""),
        ] {
            assert_eq!(completions(text, &models).addition(), addition, "{text:?}");
        }
        assert_eq!(completions("", &["a b", "a c"]).addition(), "a\\ ");
        assert_eq!(completions("", &["é1", "è2"]).addition(), "", "half a character is none");
        assert_eq!(completions("a", &["a", "a"]).addition(), " ", "twice the same is one");
        // A broken character, and a word that ends within one.
        let mut broken = Completions::of_text(b"\xc3");
        broken.offer("é");
        assert_eq!(broken.addition(), "");
    }

    #[test]
    fn the_list_goes_down_and_then_across() {
        let mut screen = Screen::new(12, 10);
        completions("", &["a", "bb", "ccc", "d", "e"]).list(12, &mut screen);
        assert_eq!(screen.text().trim_end(), "\na    d\nbb   e\nccc");
        let mut narrow = Screen::new(12, 10);
        completions("", &["0123456789abcd", "1"]).list(12, &mut narrow);
        assert_eq!(narrow.text().trim_end(), "\n0123456789ab\ncd\n1");
    }
}
