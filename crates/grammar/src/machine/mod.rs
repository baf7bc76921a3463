//! The machine that reads a text byte by byte and knows at any point what can come next.
//!
//! A state is a set of entries ([`sets`]), found from the state before by following the grammar ([`closure`]). The state that a
//! byte leads to is computed once and then looked up in a table, which has a row for each state and a column for each class of
//! bytes. Reading a byte again therefore costs one look-up. It still counts the same against the limit of steps: each transition
//! is stored with its cost, and a walk is charged with it when it first gets there.
//!
//! All memory is allocated when a machine is made. When a part of it is full, everything that is not reachable from a state to be
//! kept is dropped ([`Machine::collect`]). Only if that does not make enough room is an error returned.
//!
//! [`nesting`] enforces a limit of nesting.

mod closure;
mod cost;
mod members;
mod nesting;
mod sets;
mod sizes;

use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::kinds::{CHARACTERS, MALFORMED, Reader, kind};
use crate::program::{Grammar, Op};
use closure::Closure;
use cost::Cost;
use members::MemberSets;
pub(crate) use sets::DEAD;
use sets::{BOTTOM, Entry, Sets};
pub(crate) use sizes::Sizes;
use sizes::has_members;

/// A row from which no byte leads anywhere.
pub(crate) const DEAD_ROW: u32 = 0;
/// It is not known yet where a byte leads, or which kinds of bytes lead back.
pub(crate) const UNKNOWN: u32 = u32::MAX;
/// The bits from here up hold the number of the last walk that used a known transition.
pub(crate) const WALK_SHIFT: u32 = 24;
/// The last number of a walk. The next number marks unknown transitions.
const LAST_WALK: u32 = (1 << (u32::BITS - WALK_SHIFT)) - 2;
const ROW_BITS: u32 = (1 << WALK_SHIFT) - 1;

/// Why the machine cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A table is full.
    Full,
    /// The states that must be kept are too many or too large.
    TooManyStates,
    /// More work than allowed.
    TooManySteps,
}

/// The tables that a walk over many texts uses.
pub(crate) struct Tables<'a> {
    /// Rows: for each class of bytes, the row that it leads to; then the kinds of bytes that do not lead back. A row is
    /// identified by its first index. The upper bits hold the number of the walk that got there last.
    pub next: &'a mut [u32],
    /// The cost of each of these for a walk that gets there first.
    pub costs: &'a [Cost],
    /// How many more steps the walk may take.
    pub steps: &'a mut u64,
    /// The number of the walk, shifted to its place.
    pub mark: u32,
    pub byte_class: &'a [u8; 256],
    pub n_classes: usize,
    /// The rows after each byte of the current path, written by the walk. The first one is that of the current state.
    pub path: &'a mut [u32],
}

/// A machine at some point of a text.
#[derive(Debug)]
pub(crate) struct Machine {
    grammar: Arc<Grammar>,
    sets: Sets,
    members: MemberSets,
    closure: Closure,
    /// Rows: for each class of bytes, where it leads; then the kinds of bytes that do not always lead back to the row itself. A
    /// row is identified by its first index.
    next: Vec<u32>,
    /// The cost of finding each of them. Every walk that gets there is charged with it, whether it was known already or not.
    costs: Vec<Cost>,
    /// How many more steps may be taken before [`Stop::TooManySteps`].
    steps: u64,
    /// The number of the walk.
    walk: u32,
    /// The state of each row.
    row_sets: Vec<u32>,
    max_rows: usize,
    /// The state at the beginning of a text.
    start: u32,
    /// The states at the ends of the last tokens; the current one is last.
    kept: Vec<u32>,
    max_kept: usize,
    /// The rows on the current path of a walk over many texts.
    path: Vec<u32>,
    /// How often states were renumbered.
    n_collections: u64,
}

impl Machine {
    /// A machine at the beginning of a text.
    pub fn new(
        grammar: Arc<Grammar>,
        sizes: Sizes,
        max_steps: u64,
    ) -> Result<Self, Result<TryReserveError, Stop>> {
        let mut machine = Self::allocated(grammar, sizes).map_err(Ok)?;
        machine.closure.steps = max_steps;
        machine.closure.begin();
        let start = machine.grammar.start;
        let closed = machine
            .closure
            .add(Entry { place: start, stack: BOTTOM, number: 0 })
            .and_then(|()| machine.closure.finish(&machine.grammar, &mut machine.sets, &mut machine.members));
        machine.start = closed.map_err(Err)?;
        machine.reset();
        Ok(machine)
    }

    fn allocated(grammar: Arc<Grammar>, sizes: Sizes) -> Result<Self, TryReserveError> {
        let n_members = if has_members(&grammar) { sizes.sets } else { 0 };
        let mut machine = Self {
            sets: Sets::new(sizes.sets, sizes.entries)?,
            members: MemberSets::new(n_members)?,
            closure: Closure::new()?,
            next: Vec::new(),
            costs: Vec::new(),
            steps: 0,
            walk: 0,
            row_sets: Vec::new(),
            max_rows: sizes.rows,
            start: DEAD,
            kept: Vec::new(),
            max_kept: sizes.kept,
            path: Vec::new(),
            n_collections: 0,
            grammar,
        };
        let width = machine.width();
        machine.next.try_reserve_exact(sizes.rows * width)?;
        machine.costs.try_reserve_exact(sizes.rows * width)?;
        machine.row_sets.try_reserve_exact(sizes.rows)?;
        machine.kept.try_reserve_exact(sizes.kept + 1)?;
        machine.path.try_reserve_exact(sizes.path)?;
        machine.path.resize(sizes.path, DEAD_ROW);
        machine.clear_rows();
        Ok(machine)
    }

    fn clear_rows(&mut self) {
        self.next.clear();
        self.next.resize(self.width(), DEAD_ROW);
        self.costs.clear();
        self.costs.resize(self.width(), Cost::new(0));
        self.row_sets.clear();
        self.row_sets.push(DEAD);
    }

    /// Returns to the beginning of a text.
    pub fn reset(&mut self) {
        self.kept.clear();
        self.kept.push(self.start);
    }

    /// The current state. Its number stays the same until the next call of a method that reads.
    pub fn state(&self) -> u32 {
        self.kept[self.kept.len() - 1]
    }

    /// Changes whenever states are renumbered.
    pub fn n_collections(&self) -> u64 {
        self.n_collections
    }

    /// How many tokens [`Machine::rollback`] can take back.
    pub fn n_kept(&self) -> usize {
        self.kept.len() - 1
    }

    /// Returns to the state `n` states before the current one, which must exist.
    pub fn rollback(&mut self, n: usize) {
        self.kept.truncate(self.kept.len() - n);
    }

    /// Whether a text may end in a state.
    pub fn can_end(&self, state: u32) -> bool {
        self.sets.get(state).first().is_some_and(|entry| entry.place == 0)
    }

    /// Whether only an end can come.
    pub fn must_end(&self, state: u32) -> bool {
        state == BOTTOM
    }

    /// The tokens that the grammar refers to in a state: their numbers, and whether all other tokens are meant.
    pub fn tokens(&self, state: u32) -> impl Iterator<Item = (u32, bool)> {
        let ops = self.sets.get(state).iter().map(|entry| self.grammar.ops[entry.place as usize]);
        ops.filter_map(|op| match op {
            Op::Token { id, negated } => Some((id, negated)),
            _ => None,
        })
    }

    /// Sets how many steps may be taken before [`Stop::TooManySteps`].
    pub fn allow_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// How many steps are left.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Keeps the current state and continues in a copy of it, so that what is read next can be taken back.
    pub fn push(&mut self) {
        if self.kept.len() == self.max_kept {
            self.kept.remove(0);
        }
        self.kept.push(self.state());
    }

    /// Goes to the end of the text: only another end can come.
    pub fn end(&mut self) {
        let last = self.kept.len() - 1;
        self.kept[last] = BOTTOM;
    }

    /// Reads bytes. If they may not come, the state becomes [`DEAD`].
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        for &byte in bytes {
            let class = self.grammar.byte_class[usize::from(byte)];
            let last = self.kept.len() - 1;
            self.kept[last] = self.with_room(0, |machine| {
                let row = machine.row(machine.kept[last])?;
                let next = machine.advance(row, class)?;
                machine.charge(row as usize + usize::from(class))?;
                Ok(machine.row_sets[machine.row_number(next)])
            })?;
        }
        Ok(())
    }

    /// Reads a token by its bytes, if it is text, and by the grammar's references to it. If it may not come, the state becomes
    /// [`DEAD`]. With `by_others`, references to any token but another one count too.
    pub fn read_token(&mut self, id: u32, bytes: &[u8], by_others: bool) -> Result<(), Stop> {
        let last = self.kept.len() - 1;
        let is_meant = |(named, negated)| if negated { by_others && named != id } else { named == id };
        if !self.tokens(self.kept[last]).any(is_meant) {
            if bytes.is_empty() {
                self.kept[last] = DEAD;
            }
            return self.read(bytes);
        }
        // The state before it is kept until both results are known.
        self.kept.push(if bytes.is_empty() { DEAD } else { self.kept[last] });
        let state = self.read(bytes).and_then(|()| {
            self.with_room(0, |machine| {
                let Self { grammar, sets, members, closure, kept, .. } = machine;
                closure.begin();
                closure.steps = machine.steps;
                for &entry in sets.get(kept[last]) {
                    if let Op::Token { id, negated } = grammar.ops[entry.place as usize]
                        && is_meant((id, negated))
                    {
                        closure.add(Entry { place: entry.place + 1, ..entry })?;
                    }
                }
                sets.get(kept[last + 1]).iter().try_for_each(|&entry| closure.add(entry))?;
                closure.finish(grammar, sets, members)
            })
        });
        self.kept.truncate(last + 1);
        self.kept[last] = state?;
        Ok(())
    }

    /// Begins a walk from the current state.
    pub fn begin_walk(&mut self) -> Result<(), Stop> {
        let state = self.state();
        if self.walk == LAST_WALK {
            self.walk = 0;
            self.next.iter_mut().filter(|next| **next != UNKNOWN).for_each(|next| *next &= ROW_BITS);
        }
        self.walk += 1;
        self.path[0] = self.with_room(0, |machine| machine.row(machine.kept[machine.kept.len() - 1]))?;
        debug_assert!(state == DEAD || self.path[0] != DEAD_ROW);
        Ok(())
    }

    /// The tables for a walk; see [`Tables`].
    pub fn tables(&mut self) -> Tables<'_> {
        let n_classes = self.grammar.representatives.len();
        Tables {
            next: &mut self.next,
            costs: &self.costs,
            steps: &mut self.steps,
            mark: self.walk << WALK_SHIFT,
            byte_class: &self.grammar.byte_class,
            n_classes,
            path: &mut self.path,
        }
    }

    /// Whether this walk has already paid for a transition.
    fn is_charged(&self, at: usize) -> bool {
        self.next[at] >> WALK_SHIFT == self.walk
    }

    /// Charges this walk for a known transition, unless it has already paid.
    fn charge_once(&mut self, at: usize) -> Result<(), Stop> {
        if !self.is_charged(at) {
            self.charge(at)?;
            self.next[at] = self.next[at] & ROW_BITS | self.walk << WALK_SHIFT;
        }
        Ok(())
    }

    fn charge(&mut self, at: usize) -> Result<(), Stop> {
        self.steps = self.steps.checked_sub(self.costs[at].steps()).ok_or(Stop::TooManySteps)?;
        Ok(())
    }

    /// Finds out what a walk did not know or could not pay for: where a byte leads after the first `depth` bytes of the path, or
    /// which kinds of bytes lead from there back to the same state.
    pub fn learn(&mut self, depth: usize, byte: u8) -> Result<(), Stop> {
        let class = self.grammar.byte_class[usize::from(byte)];
        self.with_room(depth + 1, |machine| {
            let row = machine.path[depth];
            let at = row as usize + usize::from(class);
            if machine.is_charged(at) {
                machine.find_loops(row)
            } else {
                machine.advance(row, class)?;
                machine.charge_once(at)
            }
        })
    }

    /// Finds out which kinds of bytes do not lead from a row back to itself.
    fn find_loops(&mut self, row: u32) -> Result<(), Stop> {
        let mut breaking = MALFORMED;
        for byte in 0..0x80 {
            if breaking & kind(byte) == 0 && self.after(row, byte)? != row {
                breaking |= kind(byte);
            }
        }
        if !self.reads_characters(row, row, Reader::Between)? {
            breaking |= CHARACTERS;
        }
        let at = row as usize + self.grammar.representatives.len();
        self.next[at] = u32::from(breaking) | self.walk << WALK_SHIFT;
        Ok(())
    }

    /// Whether all characters beyond ASCII lead back to `start`. `reader` has read their first bytes, which lead from `start` to
    /// `row`. Recurses at most three levels.
    fn reads_characters(&mut self, start: u32, row: u32, reader: Reader) -> Result<bool, Stop> {
        let mut before = None;
        for byte in 0x80..=0xFF {
            let Some(next_reader) = reader.after(byte) else {
                before = None;
                continue;
            };
            // Bytes that neither the grammar nor UTF-8 distinguishes need not be tried twice.
            let class = self.grammar.byte_class[usize::from(byte)];
            if before == Some((class, next_reader)) {
                continue;
            }
            before = Some((class, next_reader));
            let next = self.advance(row, class)?;
            self.charge_once(row as usize + usize::from(class))?;
            let is_right = match next_reader {
                Reader::Between => next == start,
                _ => next != DEAD_ROW && self.reads_characters(start, next, next_reader)?,
            };
            if !is_right {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn after(&mut self, row: u32, byte: u8) -> Result<u32, Stop> {
        let class = self.grammar.byte_class[usize::from(byte)];
        let next = self.advance(row, class)?;
        self.charge_once(row as usize + usize::from(class))?;
        Ok(next)
    }

    fn row_number(&self, row: u32) -> usize {
        row as usize / self.width()
    }

    /// The length of a row.
    fn width(&self) -> usize {
        self.grammar.representatives.len() + 1
    }

    /// The row of a state.
    fn row(&mut self, state: u32) -> Result<u32, Stop> {
        if state == DEAD {
            return Ok(DEAD_ROW);
        }
        if self.sets.rows[state as usize] == 0 {
            if self.row_sets.len() == self.max_rows {
                return Err(Stop::Full);
            }
            self.sets.rows[state as usize] = self.next.len() as u32;
            self.next.resize(self.next.len() + self.width(), UNKNOWN);
            self.costs.resize(self.next.len(), Cost::new(0));
            self.row_sets.push(state);
        }
        Ok(self.sets.rows[state as usize])
    }

    /// Where bytes of a class lead from a row. The caller must charge for it.
    fn advance(&mut self, row: u32, class: u8) -> Result<u32, Stop> {
        let at = row as usize + usize::from(class);
        if self.next[at] == UNKNOWN {
            let state = self.row_sets[self.row_number(row)];
            let byte = self.grammar.representatives[usize::from(class)];
            self.closure.begin();
            let most = Cost::LIMIT.min(self.steps);
            self.closure.steps = most;
            let n = self.sets.get(state).len();
            self.closure.steps = self.closure.steps.checked_sub(n as u64).ok_or(Stop::TooManySteps)?;
            for i in 0..n {
                let entry = self.sets.get(state)[i];
                self.closure.read(&self.grammar, entry, byte)?;
            }
            let next = self.closure.finish(&self.grammar, &mut self.sets, &mut self.members)?;
            self.next[at] = self.row(next)?;
            self.costs[at] = Cost::new(most - self.closure.steps);
        }
        Ok(self.next[at] & ROW_BITS)
    }

    /// Does `work`; if there is no room, makes room and tries once more. The first `n_path` rows of the path are kept.
    fn with_room<T>(
        &mut self,
        n_path: usize,
        mut work: impl FnMut(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        match work(self) {
            Err(Stop::Full) => {
                self.collect(n_path)?;
                work(self).map_err(|stop| if stop == Stop::Full { Stop::TooManyStates } else { stop })
            }
            done => done,
        }
    }

    /// Drops all states but those to be kept, and renumbers them. All rows are dropped too, except the first `n_path` rows of the
    /// path.
    fn collect(&mut self, n_path: usize) -> Result<(), Stop> {
        for i in 0..n_path {
            self.path[i] = self.row_sets[self.row_number(self.path[i])];
        }
        let (grammar, members) = (&self.grammar, &mut self.members);
        let has_members =
            |entry: &Entry| matches!(grammar.ops[entry.place as usize], Op::Interleave(_) | Op::Member(_));
        members.begin_collection();
        self.sets.begin_marks();
        self.sets.mark(&[self.start]);
        self.sets.mark(&self.kept);
        self.sets.mark(&self.path[..n_path]);
        self.sets.spread_marks(|entry| {
            if has_members(entry) {
                members.mark(entry.number);
            }
        });
        members.sweep();
        self.sets.sweep(|entry| {
            if has_members(entry) {
                entry.number = members.renumbered(entry.number);
            }
        });
        for state in self.kept.iter_mut().chain(&mut self.path[..n_path]).chain([&mut self.start]) {
            *state = self.sets.renumbered(*state);
        }
        self.n_collections += 1;
        self.clear_rows();
        for i in 0..n_path {
            self.path[i] = self.row(self.path[i])?;
        }
        if self.sets.is_crowded() || self.members.is_crowded() {
            return Err(Stop::TooManyStates);
        }
        Ok(())
    }
}
