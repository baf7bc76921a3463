//! Which checkpoint of recurrent layers belongs to which beginning of a text.
//!
//! What recurrent layers keep after a position follows from the tokens before it, as keys and values do. So a checkpoint is
//! found like a page: by the number of the content of the whole pages before it, and by the tokens after them, all of which
//! are compared.
//!
//! What a checkpoint is [kept for](Kind) says which one makes room for a new one: of those that are worth least, the one that
//! was not used for longest. The ends of texts, and the places where texts part, have half of the room and lose none of it to
//! what texts leave on their way; of the other half each text has its share, and replaces its own beyond that.

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
    /// Most that a text has on its way.
    most_of_text: usize,
}

/// What a checkpoint is kept for, by its worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nothing: there is no checkpoint.
    None,
    /// To go back to if guesses after it are wrong.
    Trial,
    /// For a text that goes on like another one, as far as here.
    OnTheWay,
    /// For a text that goes on where another one ended.
    End,
    /// For texts that begin alike, as two have before.
    Branch,
}

/// Which beginning a checkpoint is of.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Key {
    /// The content of the whole pages before.
    before: ContentId,
    /// When it was last of use.
    used: u64,
    /// Tokens after them; 0 where there is no checkpoint, or none yet.
    len: u32,
    /// A [`Kind`].
    kind: u32,
    /// The slot of the text that made it on its way, or [`NOBODY`] once that is gone, or for what was an end or a branch.
    owner: u32,
    unused: u32,
}

/// The number of no slot.
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
        // Each text leaves one where it ends.
        let most_of_text = (n / n_slots.max(1)).saturating_sub(1).max(1);
        Ok(Checkpoints { saved, keys, tokens, clock: 0, most_of_text })
    }

    /// How many there can be.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Most that a text has on its way.
    pub fn most_of_text(&self) -> usize {
        self.most_of_text
    }

    /// Those that are not being made.
    pub fn n_free(&self) -> usize {
        (0..self.len()).filter(|&index| !self.saved.is_planned(index)).count()
    }

    /// The states, for a batch to make those that are planned.
    pub fn saved(&mut self) -> &mut SavedStates<'m> {
        &mut self.saved
    }

    /// Lets the span of `slot` in this batch make one after its first `after` tokens, if there is room; whether there is.
    pub fn plan(&mut self, slot: usize, after: usize, kind: Kind) -> bool {
        let Some(index) = self.take(slot as u32, kind) else { return false };
        self.saved.plan(index, slot, after);
        let owner = if kind <= Kind::OnTheWay { slot as u32 } else { NOBODY };
        self.keys[index] = Key { kind: kind as u32, owner, ..Key::NONE };
        true
    }

    /// After how many tokens the span of `slot` makes one in this batch.
    pub fn planned(&self, slot: usize) -> Option<usize> {
        self.saved.planned(slot)
    }

    /// Of those that the span of `slot` makes in this batch, makes only such as are made within its `n` tokens.
    pub fn drop_planned_beyond(&mut self, slot: usize, n: usize) {
        if self.planned(slot).is_some_and(|after| after > n) {
            self.drop_planned(slot);
        }
    }

    /// One that the span of `slot` made, and after how many tokens. It is kept if [`keep`](Self::keep) says so.
    pub fn take_planned(&mut self, slot: usize) -> Option<(usize, usize)> {
        self.saved.take_planned(slot)
    }

    /// Makes none of those that the span of `slot` was to make.
    pub fn drop_planned(&mut self, slot: usize) {
        while let Some((index, _)) = self.take_planned(slot) {
            self.drop(index);
        }
    }

    /// Keeps number `index` as the checkpoint after these tokens, unless there is one or something is no token.
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

    /// Makes a checkpoint the state of a sequence.
    pub fn restore(&mut self, index: usize, state: &mut RecurrentState<'_>) {
        self.saved.restore(index, state);
        self.touch(index);
    }

    /// States that a text goes on from number `index`: where that is the end of another one, this one will have its own.
    pub fn leave_behind(&mut self, index: usize) {
        let key = &mut self.keys[index];
        if key.kind == Kind::End as u32 {
            key.kind = Kind::OnTheWay as u32;
        }
    }

    /// States that the text of a slot is gone.
    pub fn disown(&mut self, slot: usize) {
        let own = self.keys.iter_mut().filter(|key| key.owner == slot as u32);
        own.for_each(|key| key.owner = NOBODY);
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

    /// One for a use of this kind, which is none from now on: of those that are worth less than ends and branches the one
    /// that was not used for longest, of `slot` itself if it has its share. For an end or a branch, one of these if there is
    /// no other.
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

    /// Lets ends and branches beyond half of the room be worth no more than others: those that were not used for longest.
    fn settle(&mut self) {
        let most = self.len().div_ceil(2);
        while self.keys.iter().filter(|key| !key.is_at_most(Kind::OnTheWay)).count() > most {
            let kept = self.keys.iter_mut().filter(|key| !key.is_at_most(Kind::OnTheWay) && key.len > 0);
            let Some(key) = kept.min_by_key(|key| key.used) else { break };
            key.kind = Kind::OnTheWay as u32;
        }
    }

    /// Lets number `index` count as just used, and be of this kind if it was worth less.
    fn use_again(&mut self, index: usize, kind: u32) {
        let key = &mut self.keys[index];
        key.kind = key.kind.max(kind);
        if !key.is_at_most(Kind::OnTheWay) {
            key.owner = NOBODY;
        }
        self.touch(index);
        self.settle();
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

    /// Calls `work` with a state and room for four checkpoints of two texts: one for each on its way, and two ends.
    fn with_checkpoints(work: impl FnOnce(RecurrentState<'_>, Checkpoints<'_>)) {
        let mut memory = vec![0xff; 4096];
        let mut arena = Arena::new(&mut memory);
        let state = RecurrentState::carve(SHAPES.into_iter(), false, &mut arena).unwrap();
        let checkpoints = Checkpoints::carve(SHAPES.into_iter(), 4, 2, &mut arena).unwrap();
        assert_eq!((checkpoints.len(), checkpoints.most_of_text()), (4, 1));
        work(state, checkpoints);
    }

    /// Makes one after a token.
    fn make(checkpoints: &mut Checkpoints<'_>, slot: usize, kind: Kind, token: u32) {
        assert!(checkpoints.plan(slot, 1, kind));
        let (index, _) = checkpoints.take_planned(slot).unwrap();
        checkpoints.keep(index, EMPTY, &[token]);
    }

    /// Which tokens there is one after.
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
            // Of ends, two are worth more than others.
            (1..5).for_each(|token| checkpoints.save(&state, EMPTY, &[token]));
            let (first, _) = checkpoints.longest(EMPTY, &[1]).unwrap();
            checkpoints.restore(first, &mut state);
            checkpoints.save(&state, EMPTY, &[5]);
            assert_eq!(found(&checkpoints), [1, 3, 4, 5]);
            make(&mut checkpoints, 0, Kind::OnTheWay, 6);
            assert_eq!(found(&checkpoints), [1, 4, 5, 6]);
            // A text with its share replaces its own.
            make(&mut checkpoints, 0, Kind::OnTheWay, 7);
            assert_eq!(found(&checkpoints), [1, 4, 5, 7]);
            // Another one's trial is used last, and gone first.
            make(&mut checkpoints, 1, Kind::Trial, 8);
            assert_eq!(found(&checkpoints), [4, 5, 7, 8]);
            checkpoints.save(&state, EMPTY, &[9]);
            assert_eq!(found(&checkpoints), [4, 5, 7, 9]);
            // What a text goes on from is no end any more, and what is made again counts as used.
            let (nine, _) = checkpoints.longest(EMPTY, &[9]).unwrap();
            checkpoints.leave_behind(nine);
            checkpoints.save(&state, EMPTY, &[4]);
            make(&mut checkpoints, 1, Kind::OnTheWay, 10);
            assert_eq!(found(&checkpoints), [4, 5, 9, 10]);
            // Those of a text that is gone are nobody's.
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
            // Of its own there is none to be replaced, and ends are worth more.
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
