//! Generated text on its way out: released up to the point where a stop string may begin.

use alloc::string::String;
use alloc::vec::Vec;

use super::SessionError;

/// Generated text on its way out. Text that may be the start of a stop string is held back.
///
/// Tokens without a text of their own, such as `<|im_end|>`, count as their name: a stop string can be such a name, or
/// contain it. A stop string also matches if such tokens lie inside it, because nobody sees them.
pub(super) struct StopText {
    stop: Vec<String>,
    text: String,
    /// Bytes of `text` that have been released, and are removed before the next ones are added.
    n_taken: usize,
    /// Bytes of `text` that can be released.
    n_certain: usize,
    is_stopped: bool,
    /// For each stop string, and for each length of its beginning from 0 to the whole: the number of bytes that this
    /// beginning takes at the end of the text, or [`NONE`] if the text does not end with it.
    beginnings: Vec<usize>,
}

const NONE: usize = usize::MAX;

impl StopText {
    /// Allocates room for the longest stop string and the longest token at once, so that nothing is allocated per
    /// token.
    pub(super) fn new(stop: &[&str], longest_token_bytes: usize) -> Result<Self, SessionError> {
        let longest_stop_bytes = stop.iter().map(|stop| stop.len()).max().unwrap_or(0);
        // A token may complete a character that earlier tokens began.
        let needed_bytes = longest_stop_bytes.saturating_add(longest_token_bytes).saturating_add(4);
        let mut text = String::new();
        text.try_reserve(needed_bytes).map_err(|_| SessionError::OutOfHeap { needed_bytes })?;
        let n_beginnings = stop.iter().map(|stop| stop.len() + 1).sum();
        let mut beginnings = Vec::new();
        let needed_bytes = n_beginnings * size_of::<usize>();
        beginnings.try_reserve_exact(n_beginnings).map_err(|_| SessionError::OutOfHeap { needed_bytes })?;
        let mut stops = Vec::new();
        let needed_bytes = size_of_val(stop);
        stops.try_reserve_exact(stop.len()).map_err(|_| SessionError::OutOfHeap { needed_bytes })?;
        for stop in stop {
            beginnings.push(0);
            beginnings.resize(beginnings.len() + stop.len(), NONE);
            let mut own = String::new();
            let needed_bytes = stop.len();
            own.try_reserve_exact(needed_bytes).map_err(|_| SessionError::OutOfHeap { needed_bytes })?;
            own.push_str(stop);
            stops.push(own);
        }
        Ok(StopText { stop: stops, text, n_taken: 0, n_certain: 0, is_stopped: false, beginnings })
    }

    /// Adds text, and removes the text that was released.
    pub(super) fn push(&mut self, text: &str) {
        self.text.drain(..self.n_taken);
        self.n_taken = 0;
        self.push_more(text);
    }

    /// Adds text to the text that was just pushed.
    pub(super) fn push_more(&mut self, text: &str) {
        if self.is_stopped {
            return;
        }
        let old_len = self.text.len();
        self.text.push_str(text);
        if self.stop.is_empty() {
            self.n_certain = self.text.len();
            return;
        }
        for (place, &byte) in text.as_bytes().iter().enumerate() {
            self.lengthen(|stop, beginnings| {
                for len in (0..stop.len()).rev() {
                    let goes_on = beginnings[len] != NONE && stop[len] == byte;
                    beginnings[len + 1] = if goes_on { beginnings[len] + 1 } else { NONE };
                }
            });
            if self.stop_at(old_len + place + 1) {
                return;
            }
        }
        self.n_certain = self.text.len() - self.held_back_bytes();
    }

    /// Adds a token that has a name but no text after the text that was just pushed.
    pub(super) fn push_name(&mut self, name: &[u8]) {
        if self.stop.is_empty() || name.is_empty() || self.is_stopped {
            return;
        }
        self.lengthen(|stop, beginnings| {
            for len in (0..stop.len()).rev() {
                let bytes = beginnings[len];
                if bytes != NONE && stop[len..].starts_with(name) {
                    let longer = &mut beginnings[len + name.len()];
                    // Of two matches, keep the one that began earlier.
                    *longer = if *longer == NONE { bytes } else { bytes.max(*longer) };
                }
            }
        });
        if !self.stop_at(self.text.len()) {
            self.n_certain = self.text.len() - self.held_back_bytes();
        }
    }

    /// Calls `step` with each stop string and its beginnings.
    fn lengthen(&mut self, step: impl Fn(&[u8], &mut [usize])) {
        let mut beginnings = &mut self.beginnings[..];
        for stop in &self.stop {
            let (own, others) = beginnings.split_at_mut(stop.len() + 1);
            step(stop.as_bytes(), own);
            beginnings = others;
        }
    }

    /// The beginnings of each stop string that is not empty, without the empty beginning.
    fn stops(&self) -> impl Iterator<Item = &[usize]> {
        let mut rest = &self.beginnings[..];
        let own = self.stop.iter().map(move |stop| {
            let (own, others) = rest.split_at(stop.len() + 1);
            rest = others;
            &own[1..]
        });
        own.filter(|own| !own.is_empty())
    }

    /// Stops if a stop string is complete at the end of the first `end` bytes. The text then ends before the longest
    /// such stop string.
    fn stop_at(&mut self, end: usize) -> bool {
        let complete =
            self.stops().filter_map(|own| own.last().copied()).filter(|&bytes| bytes != NONE).max();
        if let Some(stop_bytes) = complete {
            self.n_certain = end - stop_bytes;
            self.is_stopped = true;
        }
        self.is_stopped
    }

    /// The length of the longest suffix of the text that is the beginning of a stop string.
    fn held_back_bytes(&self) -> usize {
        self.stops().flatten().copied().filter(|&bytes| bytes != NONE).max().unwrap_or(0)
    }

    pub(super) fn release(&mut self) {
        self.n_certain = self.text.len();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// The stop string that the text ended before, if it did.
    pub(super) fn stopped_by(&self) -> Option<&str> {
        let stops = self.stop.iter().filter(|stop| !stop.is_empty()).zip(self.stops());
        let complete = stops.filter_map(|(stop, own)| {
            let bytes = own.last().copied().filter(|&bytes| self.is_stopped && bytes != NONE)?;
            Some((bytes, stop))
        });
        complete.max_by_key(|(bytes, _)| *bytes).map(|(_, stop)| stop.as_str())
    }

    pub(super) fn take(&mut self) -> &str {
        self.n_taken = self.n_certain;
        &self.text[..self.n_certain]
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;

    use super::*;

    /// The text released after each of `pieces` is pushed, separated by `|`; `!` marks the stop. Pieces in angle
    /// brackets are names of tokens without text.
    fn stream(stop: &[&str], pieces: &[&str]) -> String {
        let mut text = StopText::new(stop, 8).unwrap();
        let capacity = text.text.capacity();
        let mut out = String::new();
        for piece in pieces {
            if piece.starts_with('<') {
                text.push("");
                text.push_name(piece.as_bytes());
            } else {
                text.push(piece);
            }
            assert_eq!(text.text.capacity(), capacity);
            out += text.take();
            if text.is_stopped() {
                assert!(text.stopped_by().is_some_and(|by| stop.contains(&by)));
                return out + "!";
            }
            assert_eq!(text.stopped_by(), None);
            out += "|";
        }
        text.push("");
        text.release();
        out += text.take();
        out
    }

    #[test]
    fn text_without_stop_strings_passes_at_once() {
        assert_eq!(stream(&[], &["He", "llo"]), "He|llo|");
        assert_eq!(stream(&[""], &["He", "llo"]), "He|llo|");
    }

    #[test]
    fn a_stop_string_over_several_tokens_ends_the_text_before_it() {
        assert_eq!(stream(&["END"], &["a E", "N", "D b"]), "a ||!");
        assert_eq!(stream(&["xyz", "\n\n"], &["a\n", "\nb"]), "a|!");
        assert_eq!(stream(&["b", "ab"], &["cab"]), "c!");
    }

    #[test]
    fn what_only_looked_like_a_stop_string_is_given_out_later() {
        assert_eq!(stream(&["END"], &["EN", "E", "ND"]), "|EN|!");
        assert_eq!(stream(&["END"], &["EN", "C"]), "|ENC|");
        assert_eq!(stream(&["END"], &["aE"]), "a|E");
    }

    #[test]
    fn the_name_of_a_token_without_text_can_end_the_text() {
        assert_eq!(stream(&["<a>"], &["x", "<b>", "y", "<a>", "z"]), "x||y|!");
        assert_eq!(stream(&["<a>"], &["x", "<b>", "y"]), "x||y|");
        assert_eq!(stream(&["q", "", "<b><a>"], &["<b>", "<b>", "<a>"]), "||!");
        // The name spelled out as text counts as well.
        assert_eq!(stream(&["<a>"], &["x ", "y<", "a>"]), "x |y|!");
    }

    #[test]
    fn a_stop_string_may_go_on_beyond_a_name() {
        assert_eq!(stream(&["<a>\nuser"], &["x", "<a>", "\n", "user"]), "x|||!");
        assert_eq!(stream(&["y<a>\n"], &["xy", "<a>", "\n"]), "x||!");
        assert_eq!(stream(&["y<a>\n"], &["xy", "<a>", "z"]), "x||yz|");
        assert_eq!(stream(&["y<a>\n"], &["xy", "<a>"]), "x||y");
    }

    #[test]
    fn a_name_is_no_text() {
        for stop in ["a", ">", "<", "a>", "x<"] {
            assert_eq!(stream(&[stop], &["-", "<a>", "-"]), "-||-|");
        }
        // The visible text ends where it would without the token.
        assert_eq!(stream(&["END"], &["xE", "<a>", "ND"]), "x||!");
        assert_eq!(stream(&["<a>b", "b"], &["x", "<a>", "b"]), "x||!");
        assert_eq!(stream(&["x<a>y", "xy"], &["-x", "<a>", "y"]), "-||!");
    }

    /// The number of visible bytes that `stop` takes at the end of `pieces`, if they end with it. Each piece counts as
    /// it is, or is skipped if it has no text. The last piece is part of the match.
    fn ends_with(stop: &str, pieces: &[&str]) -> Option<usize> {
        if stop.is_empty() {
            return Some(0);
        }
        let (last, before) = pieces.split_last()?;
        let seen_bytes = if last.starts_with('<') { 0 } else { last.len() };
        let rest = stop.strip_suffix(last)?;
        Some(ends_with_any(rest, before)? + seen_bytes)
    }

    /// The same if the last pieces may be skipped too.
    fn ends_with_any(stop: &str, pieces: &[&str]) -> Option<usize> {
        let taken = ends_with(stop, pieces);
        let passed_over = match pieces.split_last() {
            Some((last, before)) if last.starts_with('<') => ends_with_any(stop, before),
            _ => None,
        };
        taken.max(passed_over)
    }

    #[test]
    fn streams_are_those_of_a_search_from_each_place() {
        const PIECES: [&str; 3] = ["a", "b", "<a>"];
        let sequences = |max_len: u32| {
            (1..=max_len).flat_map(|len| {
                (0..3usize.pow(len)).map(move |number| {
                    let digit = |place| number / 3usize.pow(place) % 3;
                    (0..len).map(|place| PIECES[digit(place)]).collect::<std::vec::Vec<_>>()
                })
            })
        };
        for stop in sequences(3).map(|pieces| pieces.concat()) {
            for pieces in sequences(6) {
                let mut expected = String::new();
                for end in 1..=pieces.len() {
                    let shown: String =
                        pieces[..end].iter().filter(|piece| !piece.starts_with('<')).copied().collect();
                    if let Some(bytes) = ends_with(&stop, &pieces[..end]) {
                        expected = String::from(&shown[..shown.len() - bytes]) + "!";
                        break;
                    }
                    expected = shown;
                }
                let found = stream(&[&stop], &pieces).replace('|', "");
                assert_eq!(found, expected, "{stop:?} in {pieces:?}");
            }
        }
    }

    #[test]
    fn the_stop_string_that_ended_the_text_is_known() {
        let mut text = StopText::new(&["", "x", "b", "ab"], 8).unwrap();
        text.push("cab");
        assert_eq!(text.stopped_by(), Some("ab"));
    }

    #[test]
    fn the_stop_string_that_is_complete_first_counts() {
        assert_eq!(stream(&["bcd", "c"], &["abcd"]), "ab!");
        assert_eq!(stream(&["bcd", "c"], &["ab", "cd"]), "a|b!");
    }

    #[test]
    fn held_back_text_is_cut_at_characters() {
        assert_eq!(stream(&["é!"], &["caf", "é", "?"]), "caf||é?|");
    }
}
