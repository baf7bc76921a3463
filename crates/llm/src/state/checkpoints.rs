//! Checkpoints of recurrent layers, found by the beginning of a text that they belong to.
//!
//! The state of recurrent layers after a position depends only on the tokens before it, as keys and values do. So a checkpoint is found
//! like a page: by the number of the content of the whole pages before it, and by comparing all tokens after them.
//!
//! The [purpose](Kind) of a checkpoint determines which one is replaced by a new one: the least recently used of the least valuable ones.
//! Half of the room belongs to the ends of texts and to the places where texts diverge; other checkpoints do not replace these. Each text
//! has a share of the other half, and beyond that replaces its own checkpoints.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::prefix::{ContentId, EMPTY, NO_TOKEN};
use crate::arena::{Arena, OutOfMemory};
use crate::kv_cache::PAGE_LEN;
use crate::recurrent_state::{RecurrentShape, RecurrentState, SavedStates};

/// Checkpoints of all texts.
#[derive(Debug)]
pub(super) struct Checkpoints<'m> {
    saved: SavedStates<'m>,
    /// `[n]`
    keys: &'m mut [Key],
    /// `[n][PAGE_LEN]`: the tokens after the whole pages before.
    tokens: &'m mut [u32],
    /// Grows with each use.
    clock: u64,
    /// Most checkpoints that a text has on its way.
    most_of_text: usize,
}

/// The purpose of a checkpoint, in increasing order of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nothing: there is no checkpoint.
    None,
    /// To return to if guesses after it are wrong.
    Trial,
    /// For a later text that is equal to this one up to here.
    OnTheWay,
    /// For a text that continues where another one ended.
    End,
    /// For texts with the same beginning, which two texts have had before.
    Branch,
}

/// The beginning that a checkpoint belongs to.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Key {
    /// The content of the whole pages before it.
    before: ContentId,
    /// When it was last used.
    used: u64,
    /// Tokens after them; 0 where there is no checkpoint, or none yet.
    len: u32,
    /// A [`Kind`].
    kind: u32,
    /// The slot of the text that made it on its way; [`NOBODY`] once that text is gone, or if it was an end or a branch.
    owner: u32,
    unused: u32,
}

/// Stands for no slot.
const NOBODY: u32 = u32::MAX;

impl Key {
    const NONE: Key =
        Key { before: EMPTY, used: 0, len: 0, kind: Kind::None as u32, owner: NOBODY, unused: 0 };

    fn is_at_most(&self, kind: Kind) -> bool {
        self.kind <= kind as u32
    }
}

impl<'m> Checkpoints<'m> {
    /// Room for `n` checkpoints of the texts of `n_slots`, none if no layer is recurrent.
    pub fn carve(
        shapes: impl Iterator<Item = RecurrentShape> + Clone,
        n: usize,
        n_slots: usize,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let is_recurrent = shapes.clone().any(|shape| shape != RecurrentShape::default());
        let n = if is_recurrent { n } else { 0 };
        let saved = SavedStates::carve(shapes, n, arena)?;
        let keys = arena.take::<Key>(n)?;
        keys.fill(Key::NONE);
        let tokens = arena.take(n.saturating_mul(PAGE_LEN))?;
        // Each text leaves one at its end.
        let most_of_text = (n / n_slots.max(1)).saturating_sub(1).max(1);
        Ok(Checkpoints { saved, keys, tokens, clock: 0, most_of_text })
    }

    /// Most checkpoints that there can be.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Most checkpoints that a text has on its way.
    pub fn most_of_text(&self) -> usize {
        self.most_of_text
    }

    /// The number of checkpoints that are not being made at the moment.
    pub fn n_free(&self) -> usize {
        (0..self.len()).filter(|&index| !self.saved.is_planned(index)).count()
    }

    /// The states, in which a batch makes the planned checkpoints.
    pub fn saved(&mut self) -> &mut SavedStates<'m> {
        &mut self.saved
    }

    /// Plans a checkpoint in the span of `slot` in this batch, after its first `after` tokens. Returns whether there is room.
    pub fn plan(&mut self, slot: usize, after: usize, kind: Kind) -> bool {
        let Some(index) = self.take(slot as u32, kind) else { return false };
        self.saved.plan(index, slot, after);
        let owner = if kind <= Kind::OnTheWay { slot as u32 } else { NOBODY };
        self.keys[index] = Key { kind: kind as u32, owner, ..Key::NONE };
        true
    }

    /// After how many tokens the span of `slot` in this batch makes a checkpoint, if it does.
    pub fn planned(&self, slot: usize) -> Option<usize> {
        self.saved.planned(slot)
    }

    /// Drops the checkpoints planned for the span of `slot` that lie beyond its first `n` tokens.
    pub fn drop_planned_beyond(&mut self, slot: usize, n: usize) {
        if self.planned(slot).is_some_and(|after| after > n) {
            self.drop_planned(slot);
        }
    }

    /// Removes a checkpoint that the span of `slot` made from the plan, with the number of tokens before it. It is lost
    /// unless [`keep`](Self::keep) is called.
    pub fn take_planned(&mut self, slot: usize) -> Option<(usize, usize)> {
        self.saved.take_planned(slot)
    }

    /// Drops all checkpoints planned for the span of `slot`.
    pub fn drop_planned(&mut self, slot: usize) {
        while let Some((index, _)) = self.take_planned(slot) {
            self.drop(index);
        }
    }

    /// Keeps number `index` as the checkpoint after these tokens, unless there already is one or an input is not a
    /// token.
    pub fn keep(&mut self, index: usize, before: ContentId, tokens: &[u32]) {
        let known = self.find(before, tokens);
        if known.is_some() || tokens.contains(&NO_TOKEN) {
            let kind = self.keys[index].kind;
            self.drop(index);
            known.inspect(|&known| self.use_again(known, kind));
            return;
        }
        self.tokens[index * PAGE_LEN..][..tokens.len()].copy_from_slice(tokens);
        let key = &mut self.keys[index];
        (key.before, key.len) = (before, tokens.len() as u32);
        self.touch(index);
        self.settle();
    }

    /// Forgets number `index`.
    pub fn drop(&mut self, index: usize) {
        self.keys[index] = Key::NONE;
    }

    /// Copies the state of a sequence that ends with these tokens.
    pub fn save(&mut self, state: &RecurrentState<'_>, before: ContentId, tokens: &[u32]) {
        if let Some(known) = self.find(before, tokens) {
            self.use_again(known, Kind::End as u32);
        } else if let Some(index) = self.take(NOBODY, Kind::End) {
            self.saved.save(index, state);
            self.keys[index].kind = Kind::End as u32;
            self.keep(index, before, tokens);
        }
    }

    /// Copies a checkpoint to the state of a sequence.
    pub fn restore(&mut self, index: usize, state: &mut RecurrentState<'_>) {
        self.saved.restore(index, state);
        self.touch(index);
    }

    /// Notes that a text continues from number `index`. If that is the end of another text, it loses its rank as an
    /// end, because the new text will have an end of its own.
    pub fn leave_behind(&mut self, index: usize) {
        let key = &mut self.keys[index];
        if key.kind == Kind::End as u32 {
            key.kind = Kind::OnTheWay as u32;
        }
    }

    /// Notes that the text of a slot is gone.
    pub fn disown(&mut self, slot: usize) {
        let own = self.keys.iter_mut().filter(|key| key.owner == slot as u32);
        own.for_each(|key| key.owner = NOBODY);
    }

    /// The checkpoint after the most of these tokens, and after how many.
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

    /// Takes a checkpoint for a new one of this kind; its old contents are lost. Among those less valuable than ends and branches it takes
    /// the least valuable, and among these the least recently used; only among those of `slot` itself if that has its full share. For an
    /// end or a branch it may take another end or branch if there is nothing else.
    fn take(&mut self, slot: u32, kind: Kind) -> Option<usize> {
        let is_on_the_way = |key: &Key| key.kind > Kind::None as u32 && key.is_at_most(Kind::OnTheWay);
        let is_own = |key: &Key| key.owner == slot && is_on_the_way(key);
        let has_share = self.keys.iter().filter(|key| is_own(key)).count() >= self.most_of_text;
        let is_own_replaced = has_share && kind <= Kind::OnTheWay;
        let free = (0..self.len()).filter(|&index| !self.saved.is_planned(index));
        let by_worth = |&index: &usize| (self.keys[index].kind.min(Kind::End as u32), self.keys[index].used);
        let index = free
            .filter(|&index| {
                let key = &self.keys[index];
                if is_own_replaced {
                    is_own(key)
                } else {
                    kind >= Kind::End || key.is_at_most(Kind::OnTheWay)
                }
            })
            .min_by_key(by_worth)?;
        self.drop(index);
        Some(index)
    }

    /// If ends and branches occupy more than half of the room, lowers the rank of the least recently used ones.
    fn settle(&mut self) {
        let most = self.len().div_ceil(2);
        while self.keys.iter().filter(|key| !key.is_at_most(Kind::OnTheWay)).count() > most {
            let kept = self.keys.iter_mut().filter(|key| !key.is_at_most(Kind::OnTheWay) && key.len > 0);
            let Some(key) = kept.min_by_key(|key| key.used) else { break };
            key.kind = Kind::OnTheWay as u32;
        }
    }

    /// Marks number `index` as just used, and raises it to this kind if it was less valuable.
    fn use_again(&mut self, index: usize, kind: u32) {
        let key = &mut self.keys[index];
        key.kind = key.kind.max(kind);
        if !key.is_at_most(Kind::OnTheWay) {
            key.owner = NOBODY;
        }
        self.touch(index);
        self.settle();
    }

    /// Marks number `index` as just used.
    pub fn touch(&mut self, index: usize) {
        self.clock += 1;
        self.keys[index].used = self.clock;
    }

    fn tokens_of(&self, index: usize) -> &[u32] {
        &self.tokens[index * PAGE_LEN..][..self.keys[index].len as usize]
    }
}

#[cfg(test)]
impl Checkpoints<'_> {
    /// Panics if ends and branches, or a text, have more than their share.
    pub fn check_shares(&self, n_slots: usize) {
        let count = |is_one: &dyn Fn(&Key) -> bool| self.keys.iter().filter(|key| is_one(key)).count();
        assert!(count(&|key| !key.is_at_most(Kind::OnTheWay)) <= self.len().div_ceil(2));
        for slot in 0..n_slots {
            let is_own = |key: &Key| key.owner == slot as u32 && key.kind != Kind::None as u32;
            assert!(count(&|key| is_own(key) && key.is_at_most(Kind::OnTheWay)) <= self.most_of_text);
        }
        assert!(self.keys.iter().all(|key| (key.len > 0) == (key.kind != Kind::None as u32)));
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use super::*;

    const SHAPES: [RecurrentShape; 1] = [RecurrentShape { n_history: 0, n_state: 1 }];

    /// Calls `work` with a state and room for four checkpoints of two texts: one on its way for each text, and two
    /// ends.
    fn with_checkpoints(work: impl FnOnce(RecurrentState<'_>, Checkpoints<'_>)) {
        let mut memory = vec![0xff; 4096];
        let mut arena = Arena::new(&mut memory);
        let state = RecurrentState::carve(SHAPES.into_iter(), false, &mut arena).unwrap();
        let checkpoints = Checkpoints::carve(SHAPES.into_iter(), 4, 2, &mut arena).unwrap();
        assert_eq!((checkpoints.len(), checkpoints.most_of_text()), (4, 1));
        work(state, checkpoints);
    }

    /// Makes a checkpoint after a token.
    fn make(checkpoints: &mut Checkpoints<'_>, slot: usize, kind: Kind, token: u32) {
        assert!(checkpoints.plan(slot, 1, kind));
        let (index, _) = checkpoints.take_planned(slot).unwrap();
        checkpoints.keep(index, EMPTY, &[token]);
    }

    /// The tokens after which there is a checkpoint.
    fn found(checkpoints: &Checkpoints<'_>) -> Vec<u32> {
        (0..20).filter(|&token| checkpoints.longest(EMPTY, &[token]).is_some()).collect()
    }

    #[test]
    fn the_longest_that_a_text_begins_with_is_found() {
        with_checkpoints(|state, mut checkpoints| {
            assert_eq!(checkpoints.longest(EMPTY, &[1, 2, 3]), None);
            for len in [1, 2, 3] {
                checkpoints.save(&state, EMPTY, &[1, 2, 3][..len]);
            }
            assert_eq!(checkpoints.longest(EMPTY, &[1, 2, 9]).map(|(_, len)| len), Some(2));
            assert_eq!(checkpoints.longest(EMPTY + 1, &[1, 2, 9]), None);
        });
    }

    #[test]
    fn what_is_worth_least_and_was_not_used_for_longest_is_lost_first() {
        with_checkpoints(|mut state, mut checkpoints| {
            // Only two ends keep their rank.
            (1..5).for_each(|token| checkpoints.save(&state, EMPTY, &[token]));
            let (first, _) = checkpoints.longest(EMPTY, &[1]).unwrap();
            checkpoints.restore(first, &mut state);
            checkpoints.save(&state, EMPTY, &[5]);
            assert_eq!(found(&checkpoints), [1, 3, 4, 5]);
            make(&mut checkpoints, 0, Kind::OnTheWay, 6);
            assert_eq!(found(&checkpoints), [1, 4, 5, 6]);
            // A text with its full share replaces its own checkpoint.
            make(&mut checkpoints, 0, Kind::OnTheWay, 7);
            assert_eq!(found(&checkpoints), [1, 4, 5, 7]);
            // The other text's trial was used last, but is replaced first.
            make(&mut checkpoints, 1, Kind::Trial, 8);
            assert_eq!(found(&checkpoints), [4, 5, 7, 8]);
            checkpoints.save(&state, EMPTY, &[9]);
            assert_eq!(found(&checkpoints), [4, 5, 7, 9]);
            // A checkpoint from which a text continues is no longer an end, and one that is made again counts as used.
            let (nine, _) = checkpoints.longest(EMPTY, &[9]).unwrap();
            checkpoints.leave_behind(nine);
            checkpoints.save(&state, EMPTY, &[4]);
            make(&mut checkpoints, 1, Kind::OnTheWay, 10);
            assert_eq!(found(&checkpoints), [4, 5, 9, 10]);
            // Checkpoints of a text that is gone have no owner.
            checkpoints.disown(1);
            make(&mut checkpoints, 1, Kind::OnTheWay, 11);
            make(&mut checkpoints, 0, Kind::OnTheWay, 12);
            assert_eq!(found(&checkpoints), [4, 5, 11, 12]);
            // A trial that turns out to be an end stays.
            make(&mut checkpoints, 0, Kind::Trial, 13);
            checkpoints.save(&state, EMPTY, &[13]);
            make(&mut checkpoints, 0, Kind::Trial, 14);
            assert_eq!(found(&checkpoints), [4, 11, 13, 14]);
        });
    }

    #[test]
    fn those_that_are_being_made_are_not_to_be_had() {
        with_checkpoints(|state, mut checkpoints| {
            (1..5).for_each(|token| checkpoints.save(&state, EMPTY, &[token]));
            assert!(checkpoints.plan(0, 3, Kind::OnTheWay) && checkpoints.plan(1, 2, Kind::Trial));
            // The text has no checkpoint of its own to replace, and ends are more valuable.
            assert!(!checkpoints.plan(0, 2, Kind::OnTheWay) && !checkpoints.plan(2, 2, Kind::Trial));
            assert_eq!((checkpoints.n_free(), checkpoints.planned(0)), (2, Some(3)));
            assert_eq!(found(&checkpoints), [3, 4]);
            checkpoints.save(&state, EMPTY, &[5]);
            assert_eq!(found(&checkpoints), [4, 5]);
            checkpoints.drop_planned(1);
            assert_eq!((checkpoints.n_free(), checkpoints.planned(1)), (3, None));
            let (index, after) = checkpoints.take_planned(0).unwrap();
            assert_eq!((after, checkpoints.n_free()), (3, 4));
            checkpoints.keep(index, 7, &[NO_TOKEN]);
            assert_eq!(checkpoints.longest(7, &[NO_TOKEN]), None);
            assert_eq!(found(&checkpoints), [4, 5]);
            // Both are free again.
            assert!(checkpoints.plan(0, 3, Kind::OnTheWay) && checkpoints.plan(1, 2, Kind::OnTheWay));
        });
    }
}
