//! Generated text on its way out: whole up to where a stop string may begin.

use alloc::string::String;

use super::SessionError;

/// Generated text on its way out, with what may be the start of a stop string held back.
pub(super) struct StopText<'g> {
    stop: &'g [&'g str],
    text: String,
    /// Bytes of `text` that have been given out, to be removed before the next are added.
    n_taken: usize,
    /// Bytes of `text` that can be given out.
    n_certain: usize,
    is_stopped: bool,
}

impl<'g> StopText<'g> {
    /// Room for the longest stop string and the longest token is taken at once, so that none is
    /// taken per token.
    pub(super) fn new(stop: &'g [&'g str], longest_token_bytes: usize) -> Result<Self, SessionError> {
        let longest_stop_bytes = stop.iter().map(|stop| stop.len()).max().unwrap_or(0);
        // A token may complete a character that others began.
        let needed_bytes = longest_stop_bytes.saturating_add(longest_token_bytes).saturating_add(4);
        let mut text = String::new();
        text.try_reserve(needed_bytes).map_err(|_| SessionError::OutOfHeap { needed_bytes })?;
        Ok(StopText { stop, text, n_taken: 0, n_certain: 0, is_stopped: false })
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.drain(..self.n_taken);
        self.n_taken = 0;
        self.text.push_str(text);
        let found =
            self.stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| self.text.find(stop)).min();
        if let Some(at) = found {
            self.n_certain = at;
            self.is_stopped = true;
        } else {
            self.n_certain = self.text.len() - self.held_back_bytes();
        }
    }

    /// The length of the longest end of the text that a stop string begins with.
    fn held_back_bytes(&self) -> usize {
        let may_begin = |at: &usize| self.stop.iter().any(|stop| stop.starts_with(&self.text[*at..]));
        let longest = self.stop.iter().map(|stop| stop.len()).max().unwrap_or(0);
        let from = self.text.len().saturating_sub(longest);
        let starts = (from..self.text.len()).filter(|&at| self.text.is_char_boundary(at));
        starts.into_iter().find(may_begin).map_or(0, |at| self.text.len() - at)
    }

    pub(super) fn release(&mut self) {
        self.n_certain = self.text.len();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
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

    /// What comes out, in pieces separated by `|`, when `pieces` are pushed; `!` marks the stop.
    fn stream(stop: &[&str], pieces: &[&str]) -> String {
        let mut text = StopText::new(stop, 8).unwrap();
        let mut out = String::new();
        for piece in pieces {
            text.push(piece);
            out += text.take();
            if text.is_stopped() {
                return out + "!";
            }
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
    fn held_back_text_is_cut_at_characters() {
        assert_eq!(stream(&["é!"], &["caf", "é", "?"]), "caf||é?|");
    }
}
