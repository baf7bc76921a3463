//! The lines that were entered before.

use alloc::{collections::VecDeque, vec::Vec};

/// How many lines are remembered.
const MAX_LINES: usize = 64;

/// Past lines, oldest first, and the position while the user browses them.
#[derive(Debug, Default)]
pub struct History {
    lines: VecDeque<Vec<u8>>,
    /// Index of the line being shown; `None` while the user's own line is shown.
    shown: Option<usize>,
    /// The user's own line, saved while a past one is shown.
    draft: Vec<u8>,
}

impl History {
    /// Remembers `line` unless it is blank or equal to the last one.
    pub fn add(&mut self, line: &[u8]) {
        self.shown = None;
        self.draft.clear();
        if line.trim_ascii().is_empty() || self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_vec());
    }

    /// The line before the one shown; saves `current` if it is the user's own line.
    pub fn older(&mut self, current: &[u8]) -> Option<&[u8]> {
        let older = match self.shown {
            Some(shown) => shown.checked_sub(1)?,
            None => {
                let last = self.lines.len().checked_sub(1)?;
                self.draft = current.to_vec();
                last
            }
        };
        self.shown = Some(older);
        Some(&self.lines[older])
    }

    /// The line after the one shown; after the newest, the user's own.
    pub fn newer(&mut self) -> Option<&[u8]> {
        let newer = self.shown? + 1;
        if newer == self.lines.len() {
            self.shown = None;
            return Some(&self.draft);
        }
        self.shown = Some(newer);
        Some(&self.lines[newer])
    }

    /// The place of the line being shown; `None` for the user's own.
    pub fn place(&self) -> Option<usize> {
        self.shown
    }

    /// The place of the newest line with this text in it, of those before `end` if it is given.
    pub fn find(&self, text: &[u8], end: Option<usize>) -> Option<usize> {
        let lines = self.lines.iter().enumerate().take(end.unwrap_or(self.lines.len())).rev();
        // Every line has an empty text in it.
        let has = |line: &[u8]| text.is_empty() || line.windows(text.len()).any(|part| part == text);
        lines.into_iter().find(|(_, line)| has(line)).map(|(place, _)| place)
    }

    /// Shows the line at this place, from which older and newer ones can be walked to; saves `current` if it is the user's own line.
    pub fn show(&mut self, place: usize, current: &[u8]) -> Option<&[u8]> {
        let line = self.lines.get(place)?;
        if self.shown.is_none() {
            self.draft = current.to_vec();
        }
        self.shown = Some(place);
        Some(line)
    }

    /// Goes back to where a search has begun.
    pub fn go_back(&mut self, place: Option<usize>) {
        self.shown = place;
    }

    /// Stops browsing: the next [`older`](Self::older) returns the newest line again.
    pub fn leave(&mut self) {
        self.shown = None;
        self.draft.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_up_and_down_ends_at_the_draft() {
        let mut history = History::default();
        history.add(b"one");
        history.add(b"two");
        assert_eq!(history.older(b"dra"), Some(&b"two"[..]));
        assert_eq!(history.older(b"two"), Some(&b"one"[..]));
        assert_eq!(history.older(b"one"), None);
        assert_eq!(history.newer(), Some(&b"two"[..]));
        assert_eq!(history.newer(), Some(&b"dra"[..]));
        assert_eq!(history.newer(), None);
    }

    #[test]
    fn a_text_is_found_in_the_newest_line_that_has_it() {
        let mut history = History::default();
        for line in [&b"mem"[..], b"llm list", b"help mem", b"uptime"] {
            history.add(line);
        }
        assert_eq!(history.find(b"mem", None), Some(2));
        assert_eq!(history.find(b"mem", Some(2)), Some(0));
        assert_eq!(history.find(b"mem", Some(0)), None);
        assert_eq!(history.find(b"frob", None), None);
        assert_eq!(history.find(b"", None), Some(3));
        assert_eq!(history.find(&[b'x'; 100], None), None);
        assert_eq!(history.show(2, b"dra"), Some(&b"help mem"[..]));
        assert_eq!(history.older(b"help mem"), Some(&b"llm list"[..]));
        history.newer();
        history.newer();
        assert_eq!(history.newer(), Some(&b"dra"[..]));
    }

    #[test]
    fn blank_and_repeated_lines_are_not_kept() {
        let mut history = History::default();
        for line in [&b"one"[..], b"one", b"  ", b""] {
            history.add(line);
        }
        assert_eq!(history.older(b""), Some(&b"one"[..]));
        assert_eq!(history.older(b""), None);
    }

    #[test]
    fn the_oldest_line_makes_room() {
        let mut history = History::default();
        for i in 0..=MAX_LINES {
            history.add(&[b'a' + (i % 26) as u8, b'0' + (i / 26) as u8]);
        }
        let mut oldest = Vec::new();
        while let Some(line) = history.older(b"") {
            oldest = line.to_vec();
        }
        assert_eq!(oldest, b"b0");
    }
}
