//! Guesses at what comes next, to be verified in one batch (prompt look-up decoding, Saxena 2023).
//!
//! Where the last few tokens occurred before, what followed them then is the [`Draft`]. All of it is
//! computed in one batch with the token before it; the token drawn from each position's logits is
//! compared with the draft, and as long as they agree, the next position is there already. Nothing but
//! time depends on the draft: it is a distribution with all its mass on one token, for which the general
//! rule (Leviathan et al. 2023: accept a drafted token with its probability, otherwise draw among the
//! others) comes to drawing as ever and comparing.

use alloc::vec::Vec;

use super::SessionError;

/// The longest end of the text that is looked for in it.
const LONGEST_MATCH: usize = 4;
/// The shortest: a single token's company says too little.
const SHORTEST_MATCH: usize = 2;

/// How drafts have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Speculation {
    /// Tokens that were drafted, and computed on the chance that they come.
    pub n_drafted: usize,
    /// Those that came.
    pub n_accepted: usize,
}

/// The tokens that may come next.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The token that they follow, then they themselves; empty before the first.
    batch: Vec<u32>,
    /// How many of them have come.
    n_accepted: usize,
    /// Most tokens of a draft.
    max_len: usize,
    counts: Speculation,
}

impl Draft {
    /// Drafts of up to `max_len` tokens.
    pub fn new(max_len: usize) -> Result<Self, SessionError> {
        let mut batch = Vec::new();
        let needed_bytes = max_len.saturating_add(1).saturating_mul(size_of::<u32>());
        batch.try_reserve_exact(max_len + 1).map_err(|_| SessionError::OutOfHeap { needed_bytes })?;
        Ok(Draft { batch, max_len, ..Draft::default() })
    }

    /// Drafts what follows `last`, which itself follows `text`: at most `limit` tokens.
    pub fn draw_up(&mut self, text: &[u32], last: u32, limit: usize) {
        let limit = limit.min(self.max_len);
        let tokens = if limit > 0 { continuation(text, last).unwrap_or_default() } else { &[] };
        let tokens = &tokens[..tokens.len().min(limit)];
        self.batch.clear();
        self.batch.push(last);
        self.batch.extend_from_slice(tokens);
        self.n_accepted = 0;
        self.counts.n_drafted += tokens.len();
    }

    /// The token that the draft follows, then the draft.
    pub fn batch(&self) -> &[u32] {
        &self.batch
    }

    /// The row of the batch's logits from which the next token is drawn.
    pub fn row(&self) -> usize {
        self.n_accepted
    }

    /// Compares the token that was drawn from [`row`](Self::row); true if it is the drafted one.
    pub fn accept(&mut self, id: u32) -> bool {
        let is_drafted = self.batch.get(self.n_accepted + 1) == Some(&id);
        if is_drafted {
            self.n_accepted += 1;
            self.counts.n_accepted += 1;
        }
        is_drafted
    }

    pub fn counts(&self) -> Speculation {
        self.counts
    }
}

/// What followed the last earlier occurrence of the longest end of `text` and `last`.
pub(crate) fn continuation(text: &[u32], last: u32) -> Option<&[u32]> {
    (SHORTEST_MATCH..=LONGEST_MATCH).rev().find_map(|len| {
        // The end is `before` and then `last`.
        let before = &text[text.len().checked_sub(len - 1)?..];
        // Something must follow.
        let mut ends = (len..text.len()).rev();
        let end = ends.find(|&end| text[end - 1] == last && text[end - len..end - 1] == *before)?;
        Some(&text[end..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_decides_and_of_equal_ones_the_latest() {
        assert_eq!(continuation(&[1, 2, 3, 4, 9, 2, 3, 5, 1, 2], 3), Some(&[4, 9, 2, 3, 5, 1, 2][..]));
        assert_eq!(continuation(&[2, 3, 4, 2, 3, 5, 2], 3), Some(&[5, 2][..]));
        assert_eq!(continuation(&[2, 3, 4], 3), None);
        assert_eq!(continuation(&[], 3), None);
        // A text that repeats one token: the match must leave something to follow it.
        assert_eq!(continuation(&[7, 7, 7, 7], 7), Some(&[7][..]));
    }

    #[test]
    fn a_draft_is_accepted_as_far_as_it_agrees() {
        let mut draft = Draft::new(3).unwrap();
        draft.draw_up(&[1, 2, 3, 4, 5, 6, 1], 2, 9);
        assert_eq!(draft.batch(), [2, 3, 4, 5]);
        assert!(draft.accept(3) && draft.row() == 1);
        assert!(!draft.accept(9) && draft.row() == 1);
        assert_eq!(draft.counts(), Speculation { n_drafted: 3, n_accepted: 1 });
        draft.draw_up(&[1, 2, 3, 4, 5, 6, 1], 2, 1);
        assert_eq!(draft.batch(), [2, 3]);
        draft.draw_up(&[1, 2], 5, 9);
        assert_eq!(draft.batch(), [5]);
        assert!(!draft.accept(5));
    }
}
