//! Which checkpoint of recurrent layers belongs to which beginning of a text.
//!
//! What recurrent layers keep after a position follows from the tokens before it, as keys and values do. So a checkpoint is
//! found like a page: by the number of the content of the whole pages before it, and by the tokens after them, all of which
//! are compared. The one that was not used for longest makes room for a new one.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::prefix::{ContentId, EMPTY, NO_TOKEN};
use crate::arena::{Arena, OutOfMemory};
use crate::kv_cache::PAGE_LEN;
use crate::recurrent_state::{RecurrentShape, RecurrentState, SavedStates};

/// Checkpoints of any texts.
#[derive(Debug)]
pub(super) struct Checkpoints<'m> {
    saved: SavedStates<'m>,
    /// `[n]`
    keys: &'m mut [Key],
    /// `[n][PAGE_LEN]`: the tokens after the whole pages before.
    tokens: &'m mut [u32],
    /// Grows with each use.
    clock: u64,
}

/// Which beginning a checkpoint is of.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Key {
    /// The content of the whole pages before.
    before: ContentId,
    /// When it was last of use.
    used: u64,
    /// Tokens after them; 0 where there is no checkpoint.
    len: u64,
}

impl Key {
    const NONE: Key = Key { before: EMPTY, used: 0, len: 0 };
}

impl<'m> Checkpoints<'m> {
    /// Room for `n` checkpoints, none if no layer is recurrent.
    pub fn carve(
        shapes: impl Iterator<Item = RecurrentShape> + Clone,
        n: usize,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let is_recurrent = shapes.clone().any(|shape| shape != RecurrentShape::default());
        let n = if is_recurrent { n } else { 0 };
        let saved = SavedStates::carve(shapes, n, arena)?;
        let keys = arena.take::<Key>(n)?;
        keys.fill(Key::NONE);
        Ok(Checkpoints { saved, keys, tokens: arena.take(n.saturating_mul(PAGE_LEN))?, clock: 0 })
    }

    /// How many there can be.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Those that are not being made.
    pub fn n_free(&self) -> usize {
        (0..self.len()).filter(|&index| !self.saved.is_planned(index)).count()
    }

    /// The states, for a batch to make those that are planned.
    pub fn saved(&mut self) -> &mut SavedStates<'m> {
        &mut self.saved
    }

    /// Lets the span of `slot` in this batch make one after its first `after` tokens, if there is room.
    pub fn plan(&mut self, slot: usize, after: usize) {
        if let Some(index) = self.take() {
            self.saved.plan(index, slot, after);
        }
    }

    /// One that the span of `slot` made, and after how many tokens. It is kept if [`keep`](Self::keep) says so.
    pub fn take_planned(&mut self, slot: usize) -> Option<(usize, usize)> {
        self.saved.take_planned(slot)
    }

    /// Keeps number `index` as the checkpoint after these tokens, unless there is one or something is no token.
    pub fn keep(&mut self, index: usize, before: ContentId, tokens: &[u32]) {
        if tokens.contains(&NO_TOKEN) {
            return;
        }
        if let Some(known) = self.find(before, tokens) {
            self.touch(known);
            return;
        }
        self.tokens[index * PAGE_LEN..][..tokens.len()].copy_from_slice(tokens);
        self.keys[index] = Key { before, used: 0, len: tokens.len() as u64 };
        self.touch(index);
    }

    /// Copies the state of a sequence that ends with these tokens.
    pub fn save(&mut self, state: &RecurrentState<'_>, before: ContentId, tokens: &[u32]) {
        if let Some(known) = self.find(before, tokens) {
            self.touch(known);
        } else if let Some(index) = self.take() {
            self.saved.save(index, state);
            self.keep(index, before, tokens);
        }
    }

    /// Makes a checkpoint the state of a sequence.
    pub fn restore(&mut self, index: usize, state: &mut RecurrentState<'_>) {
        self.saved.restore(index, state);
        self.touch(index);
    }

    /// The checkpoint after most of these tokens, and after how many.
    pub fn longest(&self, before: ContentId, tokens: &[u32]) -> Option<(usize, usize)> {
        let matching = (0..self.len()).filter(|&index| {
            self.keys[index].len > 0
                && self.keys[index].before == before
                && tokens.starts_with(self.tokens_of(index))
        });
        let longest = matching.max_by_key(|&index| self.keys[index].len)?;
        Some((longest, self.keys[longest].len as usize))
    }

    /// The checkpoint after exactly these tokens.
    fn find(&self, before: ContentId, tokens: &[u32]) -> Option<usize> {
        self.longest(before, tokens).filter(|&(_, len)| len == tokens.len()).map(|(index, _)| index)
    }

    /// One that is not being made and was not used for longest, which is none from now on.
    fn take(&mut self) -> Option<usize> {
        let free = (0..self.len()).filter(|&index| !self.saved.is_planned(index));
        let index = free.min_by_key(|&index| self.keys[index].used)?;
        self.keys[index] = Key::NONE;
        Some(index)
    }

    /// Lets number `index` count as just used.
    pub fn touch(&mut self, index: usize) {
        self.clock += 1;
        self.keys[index].used = self.clock;
    }

    fn tokens_of(&self, index: usize) -> &[u32] {
        &self.tokens[index * PAGE_LEN..][..self.keys[index].len as usize]
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_lost_first() {
        let shapes = [RecurrentShape { n_history: 0, n_state: 1 }];
        let mut memory = vec![0xff; 4096];
        let mut arena = Arena::new(&mut memory);
        let mut state = RecurrentState::carve(shapes.into_iter(), false, &mut arena).unwrap();
        let mut checkpoints = Checkpoints::carve(shapes.into_iter(), 3, &mut arena).unwrap();
        assert_eq!((checkpoints.len(), checkpoints.longest(EMPTY, &[1, 2, 3])), (3, None));
        for len in [1, 2, 3] {
            checkpoints.save(&state, EMPTY, &[1, 2, 3][..len]);
        }
        assert_eq!(checkpoints.longest(EMPTY, &[1, 2, 9]).map(|(_, len)| len), Some(2));
        assert_eq!(checkpoints.longest(EMPTY + 1, &[1, 2, 9]), None);
        // The first is used again, by being found or by being made.
        let (first, _) = checkpoints.longest(EMPTY, &[1]).unwrap();
        checkpoints.restore(first, &mut state);
        checkpoints.save(&state, 7, &[5]);
        assert_eq!(checkpoints.longest(EMPTY, &[1, 2]).map(|(_, len)| len), Some(1));
        checkpoints.save(&state, EMPTY, &[1]);
        checkpoints.save(&state, 7, &[6]);
        checkpoints.save(&state, 7, &[7]);
        assert_eq!(checkpoints.longest(EMPTY, &[1]).map(|(_, len)| len), Some(1));
        // Those that are being made are not to be had.
        checkpoints.plan(0, 1);
        checkpoints.plan(1, 1);
        checkpoints.plan(0, 2);
        checkpoints.plan(0, 3);
        assert_eq!((checkpoints.n_free(), checkpoints.longest(EMPTY, &[1])), (0, None));
        checkpoints.save(&state, 7, &[8]);
        let (index, after) = checkpoints.take_planned(1).unwrap();
        assert_eq!((after, checkpoints.n_free()), (1, 1));
        checkpoints.keep(index, 7, &[NO_TOKEN]);
        assert_eq!(checkpoints.longest(7, &[NO_TOKEN]), None);
    }
}
