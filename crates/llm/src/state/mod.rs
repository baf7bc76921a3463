//! The state of the sequences computed so far.
//!
//! A [`StateStore`] has pages of [`PAGE_LEN`] positions and a number of slots. A slot is a sequence: its number of positions, and the pages
//! in which they lie. Slots can share pages: a [`fork`](StateStore::fork) has all pages of its origin; a new text has those of an earlier
//! text with the same beginning ([`StateStore::reuse`]), and a copy of the last page if only a part of it is shared. A page that several
//! slots hold is copied before one of them writes to it. Pages that no slot holds are kept until they are needed for something else, and
//! can be found again by their tokens.
//!
//! The state of recurrent layers is not a list of positions: each slot has one state, and an earlier one to which it can return. In
//! addition there are checkpoints, which are found again like pages. They are made after multiples of [`CHECKPOINT_EVERY`] positions: where
//! a text diverges from a known one; at the end of the part that is known beforehand, and at places before that end, each twice as far from
//! it as the previous one, as many as their cost allows; in generated text, at a distance that depends on their cost; before guesses that
//! may be wrong; and at the end of a text. `checkpoints` decides which of them are kept.
//!
//! Files: `pages` (holders of pages, and which page is taken next), `prefix` (pages by content), `checkpoints` (recurrent state by
//! content), `reuse` (known beginnings). Neighbours: [`kv_cache`](crate::kv_cache) has the contents of pages.

use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arena::{Arena, OutOfMemory};
use crate::kv_cache::{HeadPages, KvCache, KvShape, KvType, PAGE_LEN};
use crate::recurrent_state::{LayerMemory, RecurrentShape, RecurrentState};
use crate::simd::Kernels;

mod checkpoints;
mod pages;
mod prefix;
mod reuse;

use checkpoints::{Checkpoints, Kind};
use pages::Pages;
use prefix::{ContentId, EMPTY, NO_TOKEN, PrefixIndex};

/// Fewest positions from one checkpoint of recurrent layers to the next.
pub const CHECKPOINT_EVERY: usize = 32;

const _: () = assert!(PAGE_LEN.is_multiple_of(CHECKPOINT_EVERY));

/// Copying one element of a state takes about as long as multiplying a token of a prompt by this many weights.
const WEIGHTS_PER_COPY: usize = 150;

/// Updating one element of a state takes about as long as multiplying a token of a prompt by this many weights.
const WEIGHTS_PER_STEP: usize = 25;

/// The computation of the positions of a prompt between two checkpoints takes at least this many times as long as a
/// checkpoint.
const TIMES_AS_LONG: usize = 50;

/// A generated token takes at least this many times as long as a token of a prompt.
const GENERATED_TIMES: usize = 6;

/// The sizes of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateOptions {
    /// Sequences.
    pub n_slots: usize,
    /// Most positions of each.
    pub n_ctx: usize,
    /// Pages that all of them share, up to [`MAX_PAGES`](Self::MAX_PAGES).
    pub n_pages: usize,
    /// The number format of keys and values.
    pub kv_type: KvType,
    /// Whether pages can be found again by their tokens.
    pub finds_prefixes: bool,
    /// Checkpoints of recurrent layers for all slots, which are found again like pages. None are kept if pages cannot
    /// be found again, or if no layer is recurrent. Each has the size of a slot's recurrent state.
    pub n_checkpoints: usize,
    /// Whether each slot also has room for a checkpoint of its own, which [`StateStore::plan_checkpoint`] makes.
    pub own_checkpoints: bool,
}

/// Keys and values of several sequences, and the state of recurrent layers.
#[derive(Debug)]
pub struct StateStore<'m> {
    options: StateOptions,
    kv: KvCache<'m>,
    pages: Pages<'m>,
    prefixes: PrefixIndex<'m>,
    /// The content that the first page of each slot's text follows.
    roots: Vec<ContentId>,
    /// `[n_slots][n_ctx.div_ceil(PAGE_LEN)]`: the pages of each.
    tables: &'m mut [u32],
    /// `[n_slots]`: the number of positions, and the number of pages including those reserved for the next positions.
    slots: &'m mut [[u32; 2]],
    /// `[n_slots]`
    texts: &'m mut [Text],
    /// Number of positions of a prompt for each checkpoint.
    positions_per_checkpoint: usize,
    /// One per slot.
    recurrent: Vec<RecurrentState<'m>>,
    checkpoints: Checkpoints<'m>,
}

/// Facts about the text of a slot.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Text {
    /// The end of the part found in known pages, rounded down to a place for a checkpoint.
    branch: u32,
    /// The first position that is computed.
    first: u32,
    /// The end of the part that is known beforehand; 0 if nothing is known.
    end: u32,
}

impl Text {
    const UNKNOWN: Text = Text { branch: 0, first: 0, end: 0 };
}

/// Positions of a slot to be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The slot.
    pub slot: usize,
    /// The first position; the slot holds those before it.
    pub first: usize,
    /// How many.
    pub n: usize,
}

/// More pages are needed than are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{n_needed} pages of {PAGE_LEN} positions are needed, {n_free} are free", PAGE_LEN = PAGE_LEN)]
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
    /// Takes the memory from `arena`, and from the heap a few bytes per layer and per slot and layer. `n_weights` is the approximate number
    /// of weights that a token is multiplied by; it determines how often a checkpoint is cheap enough.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if either is too small.
    ///
    /// # Panics
    ///
    /// If there are more pages than [`StateOptions::MAX_PAGES`].
    pub fn carve(
        shapes: impl ExactSizeIterator<Item = KvShape>,
        recurrent_shapes: impl ExactSizeIterator<Item = RecurrentShape> + Clone,
        n_weights: usize,
        options: StateOptions,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let StateOptions { n_slots, n_ctx, n_pages, kv_type, finds_prefixes, n_checkpoints, own_checkpoints } =
            options;
        assert!(n_pages <= StateOptions::MAX_PAGES, "{n_pages} pages");
        let kv = KvCache::carve(shapes, n_pages, kv_type, arena)?;
        let pages = Pages::carve(n_pages, arena)?;
        let prefixes = PrefixIndex::carve(if finds_prefixes { n_pages } else { 0 }, arena)?;
        let tables = arena.take(n_slots.saturating_mul(StateOptions::pages_of(n_ctx)))?;
        let slots = arena.take::<[u32; 2]>(n_slots)?;
        slots.fill([0; 2]);
        let texts = arena.take::<Text>(n_slots)?;
        texts.fill(Text::UNKNOWN);
        let mut recurrent = Vec::new();
        recurrent.try_reserve_exact(n_slots).map_err(|_| OutOfMemory {
            needed_bytes: n_slots.saturating_mul(size_of::<RecurrentState<'_>>()),
            available_bytes: 0,
        })?;
        for _ in 0..n_slots {
            recurrent.push(RecurrentState::carve(recurrent_shapes.clone(), own_checkpoints, arena)?);
        }
        let mut roots = Vec::new();
        let needed_bytes = n_slots.saturating_mul(size_of::<ContentId>());
        let out_of_heap = |_| OutOfMemory { needed_bytes, available_bytes: 0 };
        roots.try_reserve_exact(n_slots).map_err(out_of_heap)?;
        roots.resize(n_slots, EMPTY);
        let n_checkpoints = if finds_prefixes { n_checkpoints } else { 0 };
        let n_elements = recurrent_shapes.clone().map(|shape| shape.n_history.saturating_add(shape.n_state));
        let n_elements = n_elements.fold(0, usize::saturating_add);
        let of_checkpoints = n_elements.saturating_mul(WEIGHTS_PER_COPY * TIMES_AS_LONG);
        let of_position = n_elements.saturating_mul(WEIGHTS_PER_STEP).saturating_add(n_weights);
        let positions_per_checkpoint = (of_checkpoints / of_position.max(1)).max(CHECKPOINT_EVERY);
        let checkpoints = Checkpoints::carve(recurrent_shapes, n_checkpoints, n_slots, arena)?;
        Ok(StateStore {
            options,
            kv,
            pages,
            prefixes,
            roots,
            tables,
            slots,
            texts,
            positions_per_checkpoint,
            recurrent,
            checkpoints,
        })
    }

    /// The options that the store was made with.
    pub fn options(&self) -> &StateOptions {
        &self.options
    }

    /// Pages that no slot holds.
    pub fn n_free_pages(&self) -> usize {
        self.pages.n_free()
    }

    /// Checkpoints, apart from the slots' own, that are not being made at the moment. Outside of the computation of a
    /// batch these are all.
    pub fn n_free_checkpoints(&self) -> usize {
        self.checkpoints.n_free()
    }

    /// The positions of a slot.
    ///
    /// # Panics
    ///
    /// If there is no such slot. The same holds for the functions below.
    pub fn len(&self, slot: usize) -> usize {
        self.slots[slot][0] as usize
    }

    /// The pages of a slot, in the order of its positions.
    pub fn pages(&self, slot: usize) -> &[u32] {
        &self.table(slot)[..self.n_pages(slot)]
    }

    /// Forgets the positions of a slot from `len` on, and returns how many are left. If recurrent layers have moved past `len`, only the
    /// positions before the last checkpoint are left, or none. The contents of an emptied slot can be found again until its pages, or the
    /// checkpoint at its end, are needed.
    pub fn truncate(&mut self, slot: usize, len: usize) -> usize {
        if len == 0 {
            self.leave(slot);
        }
        let len = self.cut(slot, len);
        if len == 0 {
            // Another text comes next.
            self.recurrent[slot].drop_plan();
            self.checkpoints.drop_planned(slot);
            self.checkpoints.disown(slot);
            self.texts[slot] = Text::UNKNOWN;
        }
        len
    }

    /// Like [`truncate`](Self::truncate), but the text continues: a planned checkpoint stays planned.
    fn cut(&mut self, slot: usize, len: usize) -> usize {
        let len = match len < self.len(slot) {
            true => self.go_back(slot, len),
            false => self.len(slot),
        };
        let n_kept = StateOptions::pages_of(len);
        // Releases the last pages first, so that the beginning of a text can be found again for the longest time.
        for index in (n_kept..self.n_pages(slot)).rev() {
            let page = self.table(slot)[index];
            self.pages.release(page, self.prefixes.is_entered(page));
        }
        self.slots[slot] = [len as u32, n_kept as u32];
        len
    }

    /// Returns the recurrent layers of a slot to the last checkpoint, its own or another, after at most `len` positions, or to the
    /// beginning. Returns after how many positions they are; without recurrent layers that is `len`.
    fn go_back(&mut self, slot: usize, len: usize) -> usize {
        if !self.is_recurrent() {
            return len;
        }
        let own = self.recurrent[slot].checkpoint_position().filter(|&own| own <= len);
        match self.checkpoint_within(slot, len) {
            Some((checkpoint, position)) if own.is_none_or(|own| own < position) => {
                self.checkpoints.restore(checkpoint, &mut self.recurrent[slot]);
                // From here on the text may be different.
                self.recurrent[slot].drop_checkpoint_after(position);
                position
            }
            _ => {
                own.inspect(|_| self.recurrent[slot].go_back());
                own.unwrap_or(0)
            }
        }
    }

    /// Whether any layer keeps a state besides keys and values.
    fn is_recurrent(&self) -> bool {
        self.recurrent.first().is_some_and(|state| !state.is_empty())
    }

    /// Makes slot `to` hold the same sequence as slot `from`; its previous contents are forgotten.
    pub fn fork(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        self.truncate(to, 0);
        self.slots[to] = [self.slots[from][0], StateOptions::pages_of(self.len(from)) as u32];
        if let Ok([from, to]) = self.recurrent.get_disjoint_mut([from, to]) {
            to.copy_from(from);
        }
        self.texts[to] = self.texts[from];
        self.roots[to] = self.roots[from];
        for index in 0..self.n_pages(to) {
            let page = self.table(from)[index];
            self.pages.hold(page);
            self.table_mut(to)[index] = page;
        }
    }

    /// Forgets the positions of slots from each `first` on, and reserves room for the positions that a batch computes;
    /// [`commit`](Self::commit) then adds them to the slots. No slot may be in `rooms` twice.
    ///
    /// # Errors
    ///
    /// [`OutOfPages`] if they need more pages than are then free. Each slot then ends at its `first`, and keeps its checkpoint and the plan
    /// for one of its own; checkpoints planned by [`plan_return`](Self::plan_return) are dropped.
    ///
    /// # Panics
    ///
    /// If a slot does not reach its `first` or, with recurrent layers, cannot return there; or if the context is too short.
    pub fn prepare(&mut self, rooms: impl Iterator<Item = Room> + Clone) -> Result<(), OutOfPages> {
        for Room { slot, first, n } in rooms.clone() {
            assert!(first <= self.len(slot) && n <= self.options.n_ctx - first, "{n} positions from {first}");
            assert_eq!(self.cut(slot, first), first, "slot {slot} has recurrent layers");
        }
        let n_needed = self.pages_needed(rooms.clone());
        let n_free = self.pages.n_free();
        if n_needed > n_free {
            rooms.for_each(|room| self.checkpoints.drop_planned(room.slot));
            return Err(OutOfPages { n_needed, n_free });
        }
        for room in rooms.clone() {
            self.make_room(room);
            self.recurrent[room.slot].begin_batch(room.first, room.n);
            self.checkpoints.drop_planned_beyond(room.slot, room.n);
        }
        self.plan_checkpoints(rooms);
        Ok(())
    }

    /// Plans checkpoints from which later texts may continue.
    fn plan_checkpoints(&mut self, rooms: impl Iterator<Item = Room>) {
        if self.checkpoints.len() == 0 {
            return;
        }
        for room in rooms {
            let Text { end, .. } = self.texts[room.slot];
            if end > 0 && room.first >= end as usize {
                self.plan_in_answer(room);
            } else if room.n > 1 {
                self.plan_in_prompt(room);
            }
        }
    }

    /// Plans checkpoints of a text whose end is known: where it diverges from another text, at its end, and at places before that. If the
    /// end of a text is not known, the tokens to be computed count as its end; a single token then counts as a step of an answer.
    fn plan_in_prompt(&mut self, Room { slot, first, n }: Room) {
        self.touch_branch(slot);
        let (branch, from, end) = match self.texts[slot] {
            Text { end: 0, .. } => (0, first, first + n),
            Text { branch, first, end } => (branch as usize, first as usize, end as usize),
        };
        let is_here = |position: usize| (first + 1..=first + n).contains(&position);
        if is_here(branch) {
            self.checkpoints.plan(slot, branch - first, Kind::Branch);
        }
        let most = ((end - from) / self.positions_per_checkpoint).clamp(1, self.checkpoints.most_of_text());
        let last = end / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
        let distances = core::iter::once(0)
            .chain(core::iter::successors(Some(CHECKPOINT_EVERY), |distance| distance.checked_mul(2)));
        let positions = distances.map_while(|distance| last.checked_sub(distance)).take(most);
        for position in positions.filter(|&position| is_here(position) && position != branch) {
            self.checkpoints.plan(slot, position - first, Kind::OnTheWay);
        }
    }

    /// Plans a checkpoint of an answer if this step reaches a place for one.
    fn plan_in_answer(&mut self, Room { slot, first, n }: Room) {
        let every = (self.positions_per_checkpoint / GENERATED_TIMES).next_multiple_of(CHECKPOINT_EVERY);
        // Tokens after a planned return may be wrong guesses.
        let end = first + self.checkpoints.planned(slot).unwrap_or(n);
        let place = end / every * every;
        if place > first {
            self.touch_prompt(slot);
            self.checkpoints.plan(slot, place - first, Kind::OnTheWay);
        }
    }

    /// Plans a checkpoint after the first `after` of the slot's next positions, to return to if the positions after it belong to wrong
    /// guesses. A later call replaces an earlier one. False, without a plan, if all existing checkpoints are more valuable.
    pub fn plan_return(&mut self, slot: usize, after: usize) -> bool {
        self.checkpoints.drop_planned(slot);
        self.touch_prompt(slot);
        self.checkpoints.plan(slot, after, Kind::Trial)
    }

    /// The number of pages to take for all of `rooms`. Each slot must end where its room begins.
    fn pages_needed(&self, rooms: impl Iterator<Item = Room> + Clone) -> usize {
        let new_pages = |room: Room| StateOptions::pages_of(room.first + room.n) - self.n_pages(room.slot);
        // The last slot that holds a page needs no copy of it.
        let is_copied = |(index, room): (usize, Room)| {
            self.begun_page(room).filter(|&page| self.pages.n_holders(page) > 1).is_some_and(|page| {
                let before = rooms.clone().take(index).filter(|&other| self.begun_page(other) == Some(page));
                self.pages.n_holders(page) > 1 + before.count()
            })
        };
        rooms.clone().map(new_pages).sum::<usize>()
            + rooms.clone().enumerate().filter(|&room| is_copied(room)).count()
    }

    /// The page that is written to although it already contains positions.
    fn begun_page(&self, Room { slot, first, n }: Room) -> Option<u32> {
        (n > 0 && !first.is_multiple_of(PAGE_LEN)).then(|| self.table(slot)[first / PAGE_LEN])
    }

    /// Whether the next position of a slot is in a page that other slots hold too, so that the page must be copied.
    pub fn is_last_page_shared(&self, slot: usize) -> bool {
        let next = Room { slot, first: self.len(slot), n: 1 };
        self.begun_page(next).is_some_and(|page| self.pages.n_holders(page) > 1)
    }

    /// Takes the pages for a room. Enough pages must be free, and the slot must end where the room begins.
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

    /// Adds the next positions to a slot. Room must have been made for them and their keys and values stored. `tokens` are the tokens that
    /// they were computed for, `None` for an input that is not a token. A page that equals another one is released, and the other one is
    /// shared.
    ///
    /// # Panics
    ///
    /// If room was not made for that many.
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
                    0 => Some(self.roots[slot]),
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
        while let Some((checkpoint, after)) = self.checkpoints.take_planned(slot) {
            match self.end_of_beginning(slot, first + after) {
                Some((before, page, in_page)) => {
                    self.checkpoints.keep(checkpoint, before, self.prefixes.noted(page, in_page));
                }
                None => self.checkpoints.drop(checkpoint),
            }
        }
    }

    /// Releases room that was made for positions which were only partly computed. The slot then has the positions
    /// before them; with recurrent layers only those before the last checkpoint, or none.
    pub fn abandon(&mut self, slot: usize) {
        self.checkpoints.drop_planned(slot);
        let first = self.len(slot);
        let len = self.go_back(slot, first);
        // The state is already there.
        self.slots[slot][0] = len as u32;
        self.cut(slot, len);
    }

    /// Plans the slot's own checkpoint of the recurrent layers, before the last `n_after` of its next positions, if there is
    /// [room](StateOptions::own_checkpoints) for one. It replaces an earlier one.
    pub fn plan_checkpoint(&mut self, slot: usize, n_after: usize) {
        self.recurrent[slot].plan_checkpoint(n_after);
    }

    /// The memory of a recurrent layer for a sequence. The caller replaces it by the state after the positions for
    /// which room was made.
    ///
    /// # Panics
    ///
    /// If there is no such layer.
    pub fn recurrent(&mut self, slot: usize, layer: usize) -> LayerMemory<'_> {
        self.recurrent[slot].layer(layer, slot, self.checkpoints.saved())
    }

    /// The last inputs of a recurrent layer's convolution and its state, like [`recurrent`](Self::recurrent), for the first `N` of these
    /// slots, in order. No slot may occur twice.
    pub fn recurrent_of<const N: usize>(
        &mut self,
        slots: impl Iterator<Item = usize> + Clone,
        layer: usize,
    ) -> [Option<[&mut [f32]; 2]>; N] {
        let mut parts = [const { None }; N];
        for (slot, state) in self.recurrent.iter_mut().enumerate() {
            if let Some(index) = slots.clone().take(N).position(|wanted| wanted == slot) {
                parts[index] = Some(state.parts(layer));
            }
        }
        parts
    }

    /// Stores the keys and values of one position in one layer. Room must have been made for the position.
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

    /// Stores the key of an indexer at one position of one layer, replacing another key. Room must have been made for
    /// the position.
    ///
    /// # Panics
    ///
    /// Under the same conditions as [`store`](Self::store).
    pub fn store_index(
        &mut self,
        kernels: &Kernels,
        layer: usize,
        (slot, position): (usize, usize),
        key: &[f32],
    ) {
        let page = self.pages(slot)[position / PAGE_LEN] as usize;
        self.kv.store_index(kernels, layer, (page, position % PAGE_LEN), key);
    }

    /// Unpacks the key of an indexer at one position of one layer.
    ///
    /// # Panics
    ///
    /// If `layer` or the length is outside of the shape, or the position has no page.
    pub fn index_key(&self, layer: usize, (slot, position): (usize, usize), key: &mut [f32]) {
        let page = self.pages(slot)[position / PAGE_LEN] as usize;
        self.kv.index_key(layer, (page, position % PAGE_LEN), key);
    }

    /// The keys of one head, of all sequences.
    pub fn keys(&self, layer: usize, head: usize) -> HeadPages<'_> {
        self.kv.keys(layer, head)
    }

    /// The values of one head, of all sequences.
    pub fn values(&self, layer: usize, head: usize) -> HeadPages<'_> {
        self.kv.values(layer, head)
    }

    /// The number of pages of a slot, including those reserved for the next positions.
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

    /// Takes a page that no slot holds. There must be one.
    fn take_page(&mut self) -> u32 {
        let Some(page) = self.pages.take() else { unreachable!("free pages were counted") };
        self.prefixes.remove(page);
        page
    }
}

#[cfg(test)]
mod tests;
