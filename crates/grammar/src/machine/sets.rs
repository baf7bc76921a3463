//! Sets of entries in memory of a fixed size; equal sets are stored once.
//!
//! An [`Entry`] is an address in the grammar, the number that belongs to it, and the stack below it. A stack is itself a set, of
//! the addresses that a return may go to. A state, which is a set too, is therefore a graph in which all equal parts are shared,
//! and two states are equal exactly if their numbers are equal.
//!
//! The stack of an entry is always an older set than the set that contains the entry. [`Sets::collect`] relies on this: it drops
//! everything that is not reachable from the given sets, and renumbers the rest.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::Stop;
use crate::expression::Span;

/// The state without entries: nothing can come any more, not even an end.
pub(crate) const DEAD: u32 = 0;
/// The set that contains only the end: the bottom of every stack, and the state in which the text must end.
pub(crate) const BOTTOM: u32 = 1;

/// An address in the grammar where reading continues, or where a call returns to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// The number of an instruction.
    pub place: u32,
    /// The set that is the stack.
    pub stack: u32,
    /// For text: how many bytes have been read. For a class: the node, 0 for the first. For a repetition: how often the body has
    /// come. For members in any order: the number of a [`Members`](super::members::Members).
    pub number: u32,
}

impl Entry {
    const END: Self = Self { place: 0, stack: 0, number: 0 };

    pub fn hash(self) -> u32 {
        let mut hash = self.place.wrapping_mul(0x9E37_79B1) ^ self.stack.wrapping_mul(0x85EB_CA77);
        hash = (hash ^ hash >> 15).wrapping_add(self.number).wrapping_mul(0xC2B2_AE3D);
        hash ^ hash >> 13
    }
}

/// Interned sets.
#[derive(Debug)]
pub(crate) struct Sets {
    entries: Vec<Entry>,
    spans: Vec<Span>,
    /// By hash: the number of a set, or 0.
    slots: Vec<u32>,
    /// The row of each set in the table of transitions, or 0.
    pub rows: Vec<u32>,
    /// How many return addresses are below the entries of each set, on the shortest stack.
    depths: Vec<u16>,
    /// During a collection: the new number of each set that stays; otherwise without meaning.
    renumbered: Vec<u32>,
    max_sets: usize,
    max_entries: usize,
}

impl Sets {
    /// Bytes that `max_sets` sets take in addition to their entries.
    pub const BYTES_PER_SET: usize = size_of::<Span>() + 6 * size_of::<u32>() + size_of::<u16>();

    /// Room for `max_sets` sets with `max_entries` entries in total.
    pub fn new(max_sets: usize, max_entries: usize) -> Result<Self, TryReserveError> {
        let mut sets = Self {
            entries: Vec::new(),
            spans: Vec::new(),
            slots: Vec::new(),
            rows: Vec::new(),
            depths: Vec::new(),
            renumbered: Vec::new(),
            max_sets,
            max_entries,
        };
        sets.entries.try_reserve_exact(max_entries)?;
        sets.spans.try_reserve_exact(max_sets)?;
        sets.rows.try_reserve_exact(max_sets)?;
        sets.depths.try_reserve_exact(max_sets)?;
        sets.renumbered.try_reserve_exact(max_sets)?;
        // At most half of the slots are used.
        let n_slots = (2 * max_sets).next_power_of_two();
        sets.slots.try_reserve_exact(n_slots)?;
        sets.slots.resize(n_slots, 0);
        sets.entries.push(Entry::END);
        sets.spans.push(Span { start: 0, len: 0 });
        sets.spans.push(Span { start: 0, len: 1 });
        sets.rows.resize(2, 0);
        sets.depths.resize(2, 0);
        sets.insert(BOTTOM);
        Ok(sets)
    }

    /// The entries of a set, sorted.
    pub fn get(&self, set: u32) -> &[Entry] {
        self.spans[set as usize].of(&self.entries)
    }

    /// How many return addresses are below the entries of a set, on the shortest stack.
    pub fn depth(&self, set: u32) -> u32 {
        self.depths[set as usize].into()
    }

    /// Whether the memory is so full that room must be made.
    pub fn is_crowded(&self) -> bool {
        self.spans.len() > self.max_sets / 4 * 3 || self.entries.len() > self.max_entries / 4 * 3
    }

    /// The set of these entries, which must be sorted and distinct.
    pub fn intern(&mut self, sorted: &[Entry]) -> Result<u32, Stop> {
        if sorted.is_empty() {
            return Ok(DEAD);
        }
        let mut slot = self.first_slot(sorted);
        loop {
            match self.slots[slot] {
                0 => break,
                set if self.get(set) == sorted => return Ok(set),
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
        if self.spans.len() == self.max_sets || self.entries.len() + sorted.len() > self.max_entries {
            return Err(Stop::Full);
        }
        let set = self.spans.len() as u32;
        // Nothing is below the end.
        let depth = |entry: &Entry| match *entry {
            Entry::END => 0,
            _ => self.depths[entry.stack as usize].saturating_add(1),
        };
        self.depths.push(sorted.iter().map(depth).min().unwrap_or(0));
        self.spans.push(Span { start: self.entries.len() as u32, len: sorted.len() as u32 });
        self.entries.extend_from_slice(sorted);
        self.rows.push(0);
        self.slots[slot] = set;
        Ok(set)
    }

    fn first_slot(&self, sorted: &[Entry]) -> usize {
        let hash =
            sorted.iter().fold(0_u32, |hash, entry| hash.rotate_left(5).wrapping_mul(5) ^ entry.hash());
        (hash ^ hash >> 16) as usize & (self.slots.len() - 1)
    }

    fn insert(&mut self, set: u32) {
        let mut slot = self.first_slot(self.get(set));
        while self.slots[slot] != 0 {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = set;
    }

    /// Begins a collection: only the two sets that always exist are marked.
    pub fn begin_marks(&mut self) {
        self.renumbered.clear();
        self.renumbered.resize(self.spans.len(), 0);
        self.mark(&[DEAD, BOTTOM]);
    }

    /// Marks sets that stay.
    pub fn mark(&mut self, sets: &[u32]) {
        for &set in sets {
            self.renumbered[set as usize] = 1;
        }
    }

    /// Marks all sets that are reachable from the marked sets, and calls `visit` with each of their entries.
    pub fn spread_marks(&mut self, mut visit: impl FnMut(&Entry)) {
        // Stacks are older than the entries above them.
        for set in (0..self.spans.len()).rev() {
            if self.renumbered[set] != 0 {
                for entry in self.spans[set].of(&self.entries) {
                    self.renumbered[entry.stack as usize] = 1;
                    visit(entry);
                }
            }
        }
    }

    /// Ends a collection: drops the sets that are not marked. `change` is called with each entry that stays. Afterwards no set
    /// has a row.
    pub fn sweep(&mut self, mut change: impl FnMut(&mut Entry)) {
        let (mut n_sets, mut n_entries) = (0, 0);
        for set in 0..self.spans.len() {
            if self.renumbered[set] == 0 {
                continue;
            }
            let span = self.spans[set];
            self.renumbered[set] = n_sets as u32;
            for i in 0..span.len as usize {
                let mut entry = self.entries[span.start as usize + i];
                entry.stack = self.renumbered[entry.stack as usize];
                change(&mut entry);
                self.entries[n_entries + i] = entry;
            }
            self.spans[n_sets] = Span { start: n_entries as u32, len: span.len };
            self.depths[n_sets] = self.depths[set];
            n_entries += span.len as usize;
            n_sets += 1;
        }
        self.spans.truncate(n_sets);
        self.depths.truncate(n_sets);
        self.entries.truncate(n_entries);
        self.rows.clear();
        self.rows.resize(n_sets, 0);
        self.slots.fill(0);
        for set in BOTTOM..n_sets as u32 {
            // Renumbering keeps the order of sets, so entries sorted by stack stay sorted.
            self.insert(set);
        }
    }

    /// After [`Sets::sweep`]: the new number of `set`, or [`DEAD`] if it was dropped.
    pub fn renumbered(&self, set: u32) -> u32 {
        self.renumbered[set as usize]
    }
}
