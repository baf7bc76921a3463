//! What is kept of the sequences computed so far.
//!
//! A [`StateStore`] has pages of [`PAGE_LEN`] positions and a number of slots. A slot is a sequence: how many positions
//! it has, and the pages that these lie in. Slots can share pages: a [`fork`](StateStore::fork) has all pages of its
//! origin, a new text those of an earlier one that began alike ([`StateStore::reuse`]). A page that several slots hold is
//! copied before one of them writes to it. Pages that no slot holds any more are kept as long as there is no need for
//! them, and found again by the tokens in them.
//!
//! What recurrent layers keep is no list of positions: each slot has a state of its own, and an earlier one to which it can
//! go back.
//!
//! Files: `pages` (holders, and who is taken next), `prefix` (pages by content). Neighbours:
//! [`kv_cache`](crate::kv_cache) has what lies in a page.

use alloc::vec::Vec;

use crate::arena::{Arena, OutOfMemory};
use crate::kv_cache::{HeadPages, KvCache, KvShape, KvType, PAGE_LEN};
use crate::recurrent_state::{LayerMemory, RecurrentShape, RecurrentState};
use crate::simd::Kernels;

mod pages;
mod prefix;

use pages::Pages;
use prefix::{ContentId, EMPTY, NO_TOKEN, PrefixIndex};

/// How much a store can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateOptions {
    /// Sequences.
    pub n_slots: usize,
    /// Positions of each at most.
    pub n_ctx: usize,
    /// Pages that all of them share, up to [`MAX_PAGES`](Self::MAX_PAGES).
    pub n_pages: usize,
    /// The number format of keys and values.
    pub kv_type: KvType,
    /// Whether pages are found again by their tokens.
    pub finds_prefixes: bool,
}

/// Keys and values of several sequences, and what recurrent layers keep of them.
#[derive(Debug)]
pub struct StateStore<'m> {
    options: StateOptions,
    kv: KvCache<'m>,
    pages: Pages<'m>,
    prefixes: PrefixIndex<'m>,
    /// `[n_slots][n_ctx.div_ceil(PAGE_LEN)]`: the pages of each.
    tables: &'m mut [u32],
    /// `[n_slots]`: positions, and pages with those for which room was made.
    slots: &'m mut [[u32; 2]],
    /// One per slot.
    recurrent: Vec<RecurrentState<'m>>,
}

/// Positions of a slot that are to be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The slot.
    pub slot: usize,
    /// The first of them; the slot holds those before it.
    pub first: usize,
    /// How many.
    pub n: usize,
}

/// More pages are needed than are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfPages {
    /// Pages needed.
    pub n_needed: usize,
    /// Pages that no slot holds.
    pub n_free: usize,
}

impl StateOptions {
    /// Most pages that a store can have.
    pub const MAX_PAGES: usize = u32::MAX as usize;

    /// Pages of a sequence of `n_positions`.
    pub fn pages_of(n_positions: usize) -> usize {
        n_positions.div_ceil(PAGE_LEN)
    }
}

impl<'m> StateStore<'m> {
    /// Takes the memory from `arena`, and from the heap a few bytes per layer and per slot and layer.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if either is too small.
    ///
    /// # Panics
    ///
    /// If there are to be more pages than [`StateOptions::MAX_PAGES`].
    pub fn carve(
        shapes: impl ExactSizeIterator<Item = KvShape>,
        recurrent_shapes: impl ExactSizeIterator<Item = RecurrentShape> + Clone,
        options: StateOptions,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let StateOptions { n_slots, n_ctx, n_pages, kv_type, finds_prefixes } = options;
        assert!(n_pages <= StateOptions::MAX_PAGES, "{n_pages} pages");
        let kv = KvCache::carve(shapes, n_pages, kv_type, arena)?;
        let pages = Pages::carve(n_pages, arena)?;
        let prefixes = PrefixIndex::carve(if finds_prefixes { n_pages } else { 0 }, arena)?;
        let tables = arena.take(n_slots.saturating_mul(StateOptions::pages_of(n_ctx)))?;
        let slots = arena.take::<[u32; 2]>(n_slots)?;
        slots.fill([0; 2]);
        let mut recurrent = Vec::new();
        recurrent.try_reserve_exact(n_slots).map_err(|_| OutOfMemory {
            needed_bytes: n_slots.saturating_mul(size_of::<RecurrentState<'_>>()),
            available_bytes: 0,
        })?;
        for _ in 0..n_slots {
            recurrent.push(RecurrentState::carve(recurrent_shapes.clone(), arena)?);
        }
        Ok(StateStore { options, kv, pages, prefixes, tables, slots, recurrent })
    }

    /// What the store was made for.
    pub fn options(&self) -> &StateOptions {
        &self.options
    }

    /// Pages that no slot holds.
    pub fn n_free_pages(&self) -> usize {
        self.pages.n_free()
    }

    /// The positions of a slot.
    ///
    /// # Panics
    ///
    /// If there is no such slot; here and below.
    pub fn len(&self, slot: usize) -> usize {
        self.slots[slot][0] as usize
    }

    /// The pages of a slot, in the order of its positions.
    pub fn pages(&self, slot: usize) -> &[u32] {
        &self.table(slot)[..self.n_pages(slot)]
    }

    /// Forgets the positions of a slot from `len` on, and returns how many it has then: where recurrent layers have gone on
    /// from there, those of its checkpoint, or none.
    pub fn truncate(&mut self, slot: usize, len: usize) -> usize {
        let len = self.cut(slot, len);
        if len == 0 {
            // What comes is another text.
            self.recurrent[slot].drop_plan();
        }
        len
    }

    /// As [`truncate`](Self::truncate), with a text that goes on: a checkpoint that is planned is made.
    fn cut(&mut self, slot: usize, len: usize) -> usize {
        let len = match len < self.len(slot) {
            true => self.recurrent[slot].go_back(len),
            false => self.len(slot),
        };
        let n_kept = StateOptions::pages_of(len);
        // The last ones first, so that of pages that can be found again the beginning of a text is kept longest.
        for index in (n_kept..self.n_pages(slot)).rev() {
            let page = self.table(slot)[index];
            self.pages.release(page, self.prefixes.is_entered(page));
        }
        self.slots[slot] = [len as u32, n_kept as u32];
        len
    }

    /// Makes slot `to` the same sequence as slot `from`, and forgets what it was.
    pub fn fork(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        self.truncate(to, 0);
        self.slots[to] = [self.slots[from][0], StateOptions::pages_of(self.len(from)) as u32];
        if let Ok([from, to]) = self.recurrent.get_disjoint_mut([from, to]) {
            to.copy_from(from);
        }
        for index in 0..self.n_pages(to) {
            let page = self.table(from)[index];
            self.pages.hold(page);
            self.table_mut(to)[index] = page;
        }
    }

    /// Makes a slot the longest known beginning of `tokens`, in whole pages and without their last, and returns its
    /// length.
    pub fn reuse(&mut self, slot: usize, tokens: &[u32]) -> usize {
        self.truncate(slot, 0);
        if !self.recurrent[slot].is_empty() {
            // Pages do not hold what recurrent layers keep.
            return 0;
        }
        let mut before = EMPTY;
        let most = tokens.len().saturating_sub(1).min(self.options.n_ctx) / PAGE_LEN;
        let mut n_pages = 0;
        while n_pages < most {
            let of_page = &tokens[n_pages * PAGE_LEN..][..PAGE_LEN];
            let Some((page, content)) = self.prefixes.find(before, of_page) else { break };
            self.pages.hold(page);
            self.table_mut(slot)[n_pages] = page;
            before = content;
            n_pages += 1;
        }
        self.slots[slot] = [(n_pages * PAGE_LEN) as u32, n_pages as u32];
        n_pages * PAGE_LEN
    }

    /// Free pages that a text of these tokens would take, if [`reuse`](Self::reuse) found its beginning.
    pub fn pages_lacking(&self, tokens: &[u32]) -> usize {
        let n_shared = match self.is_recurrent() {
            true => 0,
            false => self.known_pages(tokens).filter(|&(page, _)| self.pages.n_holders(page) > 0).count(),
        };
        StateOptions::pages_of(tokens.len()) - n_shared
    }

    /// The known pages that `tokens` begin with, without their last, and the numbers of their contents.
    fn known_pages(&self, tokens: &[u32]) -> impl Iterator<Item = (u32, ContentId)> {
        let most = tokens.len().saturating_sub(1).min(self.options.n_ctx);
        tokens[..most].chunks_exact(PAGE_LEN).scan(EMPTY, |before, of_page| {
            let (page, content) = self.prefixes.find(*before, of_page)?;
            *before = content;
            Some((page, content))
        })
    }

    /// Whether layers keep a state beside keys and values.
    fn is_recurrent(&self) -> bool {
        self.recurrent.first().is_some_and(|state| !state.is_empty())
    }

    /// Forgets the positions of slots from the `first` ones on, and makes room for what a batch computes, which
    /// [`commit`](Self::commit) makes part of them. No slot is in `rooms` twice.
    ///
    /// # Errors
    ///
    /// [`OutOfPages`] if they need more pages than are free then. Each slot ends at its `first`, and has the checkpoint that
    /// it had, and the plan for one.
    ///
    /// # Panics
    ///
    /// If a slot does not reach its `first`, or where layers are recurrent cannot go back there; or if the context is too
    /// short.
    pub fn prepare(&mut self, rooms: impl Iterator<Item = Room> + Clone) -> Result<(), OutOfPages> {
        for Room { slot, first, n } in rooms.clone() {
            assert!(first <= self.len(slot) && n <= self.options.n_ctx - first, "{n} positions from {first}");
            assert_eq!(self.cut(slot, first), first, "slot {slot} has recurrent layers");
        }
        let n_needed = self.pages_needed(rooms.clone());
        let n_free = self.pages.n_free();
        if n_needed > n_free {
            return Err(OutOfPages { n_needed, n_free });
        }
        for room in rooms {
            self.make_room(room);
            self.recurrent[room.slot].begin_batch(room.first, room.n);
        }
        Ok(())
    }

    /// Pages that are to be taken for all of `rooms`, whose slots end where they begin.
    fn pages_needed(&self, rooms: impl Iterator<Item = Room> + Clone) -> usize {
        let new_pages = |room: Room| StateOptions::pages_of(room.first + room.n) - self.n_pages(room.slot);
        // The last who is left with a page needs no copy of it.
        let is_copied = |(index, room): (usize, Room)| {
            self.begun_page(room).filter(|&page| self.pages.n_holders(page) > 1).is_some_and(|page| {
                let before = rooms.clone().take(index).filter(|&other| self.begun_page(other) == Some(page));
                self.pages.n_holders(page) > 1 + before.count()
            })
        };
        rooms.clone().map(new_pages).sum::<usize>()
            + rooms.clone().enumerate().filter(|&room| is_copied(room)).count()
    }

    /// The page that is written to though there are positions in it already.
    fn begun_page(&self, Room { slot, first, n }: Room) -> Option<u32> {
        (n > 0 && !first.is_multiple_of(PAGE_LEN)).then(|| self.table(slot)[first / PAGE_LEN])
    }

    /// Takes the pages of a room, of which enough are free, for a slot that ends where it begins.
    fn make_room(&mut self, room: Room) {
        let Room { slot, first, n } = room;
        match self.begun_page(room) {
            Some(page) if self.pages.n_holders(page) > 1 => {
                let copy = self.take_page();
                self.kv.copy_page(page as usize, copy as usize);
                self.prefixes.copy_tokens(page, copy);
                self.pages.release(page, self.prefixes.is_entered(page));
                self.table_mut(slot)[first / PAGE_LEN] = copy;
            }
            Some(page) => self.prefixes.remove(page),
            None => {}
        }
        let n_all = StateOptions::pages_of(first + n);
        for index in self.n_pages(slot)..n_all {
            let page = self.take_page();
            self.table_mut(slot)[index] = page;
        }
        self.slots[slot][1] = n_all as u32;
    }

    /// Makes the next positions of a slot part of it, for which room was made and whose keys and values were stored; they
    /// were computed for these tokens, `None` for what is no token. A page that another one equals is given back, and that one
    /// shared.
    ///
    /// # Panics
    ///
    /// If no room was made for so many.
    pub fn commit(&mut self, slot: usize, tokens: impl ExactSizeIterator<Item = Option<u32>>) {
        let (first, n) = (self.len(slot), tokens.len());
        assert!(StateOptions::pages_of(first + n) <= self.n_pages(slot), "{n} positions without pages");
        if self.prefixes.is_used() {
            for (token, position) in tokens.zip(first..) {
                let page = self.table(slot)[position / PAGE_LEN];
                self.prefixes.set_token(page, position % PAGE_LEN, token.unwrap_or(NO_TOKEN));
            }
            for index in first / PAGE_LEN..(first + n) / PAGE_LEN {
                let before = match index {
                    0 => Some(EMPTY),
                    _ => self.prefixes.content(self.table(slot)[index - 1]),
                };
                let page = self.table(slot)[index];
                if let Some(known) = self.prefixes.enter(page, before).filter(|&known| known != page) {
                    self.pages.hold(known);
                    self.pages.release(page, false);
                    self.table_mut(slot)[index] = known;
                }
            }
        }
        self.slots[slot][0] = (first + n) as u32;
        self.recurrent[slot].end_batch(first);
    }

    /// Gives back the room that was made for positions which were computed in part only. The slot then has its positions
    /// before them, or where layers are recurrent those of its checkpoint, or none.
    pub fn abandon(&mut self, slot: usize) {
        let first = self.len(slot);
        let len = self.recurrent[slot].go_back(first);
        // The state is there already.
        self.slots[slot][0] = len as u32;
        self.cut(slot, len);
    }

    /// Lets the next positions of a slot make a checkpoint of what recurrent layers keep, before the last of them and in
    /// the place of an earlier one.
    pub fn plan_checkpoint(&mut self, slot: usize) {
        self.recurrent[slot].plan_checkpoint();
    }

    /// What a recurrent layer keeps of a sequence, to be replaced by that after the positions for which room was made.
    ///
    /// # Panics
    ///
    /// If there is no such layer.
    pub fn recurrent(&mut self, slot: usize, layer: usize) -> LayerMemory<'_> {
        self.recurrent[slot].layer(layer)
    }

    /// Stores the keys and values of one position of one layer, for which room was made.
    ///
    /// `keys` is `[n_head_kv][head_len_k]`, `values` `[n_head_kv][head_len_v]`.
    ///
    /// # Panics
    ///
    /// If `layer` or a length is outside of the shape, or the position has no page.
    pub fn store(
        &mut self,
        kernels: &Kernels,
        layer: usize,
        (slot, position): (usize, usize),
        keys: &[f32],
        values: &[f32],
    ) {
        let page = self.pages(slot)[position / PAGE_LEN] as usize;
        self.kv.store(kernels, layer, (page, position % PAGE_LEN), keys, values);
    }

    /// The keys of one head, of all sequences.
    pub fn keys(&self, layer: usize, head: usize) -> HeadPages<'_> {
        self.kv.keys(layer, head)
    }

    /// The values of one head, of all sequences.
    pub fn values(&self, layer: usize, head: usize) -> HeadPages<'_> {
        self.kv.values(layer, head)
    }

    /// The pages of a slot, those for which room was made among them.
    fn n_pages(&self, slot: usize) -> usize {
        self.slots[slot][1] as usize
    }

    fn table(&self, slot: usize) -> &[u32] {
        let len = StateOptions::pages_of(self.options.n_ctx);
        &self.tables[slot * len..][..len]
    }

    fn table_mut(&mut self, slot: usize) -> &mut [u32] {
        let len = StateOptions::pages_of(self.options.n_ctx);
        &mut self.tables[slot * len..][..len]
    }

    /// A page that no slot holds, of which there is one.
    fn take_page(&mut self) -> u32 {
        let Some(page) = self.pages.take() else { unreachable!("free pages were counted") };
        self.prefixes.remove(page);
        page
    }
}

impl core::fmt::Display for OutOfPages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let OutOfPages { n_needed, n_free } = self;
        write!(f, "{n_needed} pages of {PAGE_LEN} positions are needed, {n_free} are free")
    }
}

impl core::error::Error for OutOfPages {}

#[cfg(test)]
mod tests;
