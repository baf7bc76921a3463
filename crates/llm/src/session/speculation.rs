//! Guesses the next tokens and verifies them in one batch (prompt look-up decoding, Saxena 2023).
//!
//! If the last few tokens occurred earlier in the text, the tokens that followed them there are the [`Draft`]. The
//! whole draft is computed in one batch with the token before it. The token drawn from each position's logits is
//! compared with the draft; as long as they agree, the next position is already computed. The draft affects only the
//! time, not the result: it is a distribution with all its mass on one token, and for such a distribution the general
//! rule (Leviathan et al. 2023: accept a drafted token with its probability, otherwise draw among the others) is
//! equivalent to drawing as usual and comparing.
//!
//! The state of recurrent layers cannot be truncated to the guesses that were right: it returns to a checkpoint before all guesses, and the
//! right ones are computed again. With such layers guesses are therefore made only where the previous ones were right ([`Trust`]).

use alloc::vec::Vec;

use super::SessionError;

/// The longest suffix of the text that is searched for earlier in it.
const LONGEST_MATCH: usize = 4;
/// The shortest such suffix: a single token predicts too little.
const SHORTEST_MATCH: usize = 2;

/// How successful drafts were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Speculation {
    /// Tokens that were drafted and computed.
    pub n_drafted: usize,
    /// Drafted tokens that were right.
    pub n_accepted: usize,
}

/// How many guesses are trusted where a wrong one is costly: as many as were right before. Guesses that were considered but not made count
/// as well.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Tokens in a row that were, or would have been, guessed right.
    n_held: usize,
    /// How many right ones in a row are needed before any guess is made; more after each wrong guess.
    n_needed: usize,
    /// The next token that would have been guessed.
    expected: Option<u32>,
}

/// Tokens that must be guessed right before others are trusted: at least, and at most after many wrong guesses.
const NEEDED: [usize; 2] = [2, 32];

impl Default for Trust {
    fn default() -> Self {
        Trust { n_held: 0, n_needed: NEEDED[0], expected: None }
    }
}

impl Trust {
    /// Most tokens that may be guessed.
    pub fn limit(&self) -> usize {
        if self.n_held < self.n_needed { 0 } else { self.n_held }
    }

    /// Notes a guess for the next token that is considered but not made.
    pub fn expect(&mut self, token: Option<u32>) {
        self.expected = token;
        if token.is_none() {
            self.n_held = 0;
        }
    }

    /// Compares the next token with the noted guess, where no guess was made for it.
    pub fn see(&mut self, token: u32) {
        match self.expected.take() {
            Some(expected) if expected == token => self.n_held += 1,
            Some(_) => self.n_held = 0,
            None => {}
        }
    }

    /// Notes that a guess was right, and whether it was the last one of its batch.
    pub fn hold(&mut self, is_last: bool) {
        self.n_held += 1;
        if is_last {
            self.n_needed = (self.n_needed / 2).max(NEEDED[0]);
        }
    }

    /// Notes that a guess was wrong.
    pub fn fail(&mut self) {
        self.n_held = 0;
        self.n_needed = (self.n_needed * 2).min(NEEDED[1]);
    }
}

/// The tokens that may come next.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The token before the draft, then the draft; empty before the first draft.
    batch: Vec<u32>,
    /// How many drafted tokens have proved right.
    n_accepted: usize,
    /// Most tokens of a draft.
    max_len: usize,
    counts: Speculation,
    /// Present if wrong guesses are costly, so that not all guesses are made.
    trust: Option<Trust>,
}

impl Draft {
    /// Drafts of up to `max_len` tokens; only trusted ones if wrong guesses are costly (`is_costly`).
    pub fn new(max_len: usize, is_costly: bool) -> Result<Self, SessionError> {
        let mut batch = Vec::new();
        let needed_bytes = max_len.saturating_add(1).saturating_mul(size_of::<u32>());
        batch.try_reserve_exact(max_len + 1).map_err(|_| SessionError::OutOfHeap { needed_bytes })?;
        Ok(Draft { batch, max_len, trust: is_costly.then(Trust::default), ..Draft::default() })
    }

    /// Drafts what follows `last`, which itself follows `text`: at most `limit` tokens.
    pub fn draw_up(&mut self, text: &[u32], last: u32, limit: usize) {
        let limit = limit.min(self.max_len);
        let tokens = if limit > 0 { continuation(text, last).unwrap_or_default() } else { &[] };
        let n_trusted = self.trust.as_ref().map_or(limit, |trust| trust.limit().min(limit));
        if let Some(trust) = self.trust.as_mut().filter(|_| n_trusted == 0) {
            trust.expect(tokens.first().copied());
        }
        let tokens = &tokens[..tokens.len().min(n_trusted)];
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
        let drafted = self.batch.get(self.n_accepted + 1).copied();
        let is_drafted = drafted == Some(id);
        if is_drafted {
            self.n_accepted += 1;
            self.counts.n_accepted += 1;
        }
        if let Some(trust) = &mut self.trust {
            match drafted {
                Some(_) if is_drafted => trust.hold(self.n_accepted + 1 == self.batch.len()),
                Some(_) => trust.fail(),
                None => trust.see(id),
            }
        }
        is_drafted
    }

    pub fn counts(&self) -> Speculation {
        self.counts
    }
}

/// The tokens after the last earlier occurrence of the longest matching suffix of `text` followed by `last`.
pub(crate) fn continuation(text: &[u32], last: u32) -> Option<&[u32]> {
    (SHORTEST_MATCH..=LONGEST_MATCH).rev().find_map(|len| {
        // The suffix is `before` followed by `last`.
        let before = &text[text.len().checked_sub(len - 1)?..];
        // At least one token must follow the occurrence.
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
        let mut draft = Draft::new(3, false).unwrap();
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
    #[test]
    fn what_costs_much_is_guessed_when_guesses_before_held() {
        let text = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        let mut draft = Draft::new(8, true).unwrap();
        // The eighth and ninth token repeat an earlier beginning; two more must repeat it before a guess is made.
        let mut n_drafted = [0; 6];
        let mut place = 9;
        for n_drafted in &mut n_drafted {
            draft.draw_up(&text[..place], text[place], 9);
            *n_drafted = draft.batch().len() - 1;
            place += 1;
            while text.get(place).is_some_and(|&token| draft.accept(token)) {
                place += 1;
            }
            if place >= text.len() - 1 {
                break;
            }
        }
        assert_eq!(n_drafted, [0, 0, 2, 4, 0, 0]);
        // The last guess was wrong: four must be right now.
        let mut trust = draft.trust.unwrap();
        assert_eq!((trust.n_held, trust.n_needed), (0, 4));
        for n_held in 1..5 {
            assert_eq!(trust.limit(), 0);
            trust.expect(Some(3));
            trust.see(3);
            assert_eq!(trust.n_held, n_held);
        }
        assert_eq!(trust.limit(), 4);
        trust.hold(false);
        trust.hold(true);
        assert_eq!((trust.limit(), trust.n_needed), (6, 2));
        trust.expect(None);
        assert_eq!(trust.limit(), 0);
        for _ in 0..9 {
            trust.fail();
        }
        assert_eq!(trust.n_needed, 32);
    }
}
