//! Finds what can be read next: follows calls, returns, choices and counts until every reading is in front of an instruction that
//! reads something.
//!
//! An expression that is called at a point of the text is called only once, together with all its callers, as in Earley's parser.
//! A grammar with very many readings of a text therefore needs only a few entries for each point. The stack of a call made here
//! is known only when all its callers are known. Until then, a stack is the number of a [`Call`] with the bit [`PENDING`].
//!
//! Source: J. Earley, An efficient context-free parsing algorithm (1970); M. Tomita, graph-structured stacks (1987).

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::Stop;
use super::members::{MemberSets, Members};
use super::sets::{DEAD, Entry, Sets};
use crate::class::COMPLETE;
use crate::program::{Grammar, InterleaveOp, Op, Repeat};

/// Set in a stack that is a call made at this point of the text.
const PENDING: u32 = 1 << 31;
const NONE: u32 = u32::MAX;
/// Most entries in a state, or in a stack.
const MAX_ENTRIES: usize = 4096;
/// Most entries visited on the way to them at one point of a text, and most callers.
const MAX_ITEMS: usize = 8192;
const N_SLOTS: usize = 2 * MAX_ITEMS;

/// A call made at this point of the text.
#[derive(Debug, Clone, Copy)]
struct Call {
    /// The address that is called.
    target: u32,
    /// The first of its callers in `callers`.
    first: u32,
    /// Whether it has returned without reading anything.
    has_returned: bool,
    /// The set of its return addresses, once it is known.
    stack: u32,
    /// The next caller to be processed for that set.
    cursor: u32,
}

/// A return address, and the next one in the list of the same call.
#[derive(Debug, Clone, Copy)]
struct Caller {
    entry: Entry,
    next: u32,
}

/// The entries that can be reached from some entries; its memory is reused for each point of the text.
#[derive(Debug)]
pub(crate) struct Closure {
    /// All entries that were reached, in order.
    items: Vec<Entry>,
    n_done: usize,
    calls: Vec<Call>,
    callers: Vec<Caller>,
    /// By hash: a round and the number of an item.
    item_slots: Vec<(u32, u32)>,
    /// By hash: a round and the number of a call.
    call_slots: Vec<(u32, u32)>,
    /// Slots with another round are free.
    round: u32,
    /// The items that read something.
    found: Vec<Entry>,
    /// A set under construction.
    built: Vec<Entry>,
    path: Vec<u32>,
    /// How many steps may still be done. The number does not depend on the order of the work.
    pub steps: u64,
}

impl Closure {
    /// The memory that it takes.
    pub const BYTES: usize = MAX_ITEMS * (size_of::<Entry>() + size_of::<Call>() / 4 + size_of::<Caller>())
        + N_SLOTS * size_of::<(u32, u32)>() * 5 / 4
        + MAX_ENTRIES * (2 * size_of::<Entry>() + size_of::<u32>());

    pub fn new() -> Result<Self, TryReserveError> {
        let mut closure = Self {
            items: Vec::new(),
            n_done: 0,
            calls: Vec::new(),
            callers: Vec::new(),
            item_slots: Vec::new(),
            call_slots: Vec::new(),
            round: 0,
            found: Vec::new(),
            built: Vec::new(),
            path: Vec::new(),
            steps: 0,
        };
        closure.items.try_reserve_exact(MAX_ITEMS)?;
        closure.calls.try_reserve_exact(MAX_ITEMS / 4)?;
        closure.callers.try_reserve_exact(MAX_ITEMS)?;
        closure.item_slots.try_reserve_exact(N_SLOTS)?;
        closure.item_slots.resize(N_SLOTS, (0, 0));
        closure.call_slots.try_reserve_exact(N_SLOTS / 4)?;
        closure.call_slots.resize(N_SLOTS / 4, (0, 0));
        closure.found.try_reserve_exact(MAX_ENTRIES)?;
        closure.built.try_reserve_exact(MAX_ENTRIES)?;
        closure.path.try_reserve_exact(MAX_ITEMS / 4)?;
        Ok(closure)
    }

    /// Forgets all entries.
    pub fn begin(&mut self) {
        self.items.clear();
        self.n_done = 0;
        self.calls.clear();
        self.callers.clear();
        self.found.clear();
        if self.round == u32::MAX {
            self.round = 0;
            self.item_slots.fill((0, 0));
            self.call_slots.fill((0, 0));
        }
        self.round += 1;
    }

    /// Adds the entries that `entry` leads to when it reads `byte`.
    pub fn read(&mut self, grammar: &Grammar, entry: Entry, byte: u8) -> Result<(), Stop> {
        match grammar.ops[entry.place as usize] {
            Op::Text(span) => {
                let text = span.of(&grammar.text);
                if text[entry.number as usize] != byte {
                    Ok(())
                } else if entry.number + 1 == span.len {
                    self.add(Entry { place: entry.place + 1, number: 0, ..entry })
                } else {
                    self.add(Entry { number: entry.number + 1, ..entry })
                }
            }
            Op::Class(first) => {
                let node = if entry.number == 0 { first } else { entry.number };
                match grammar.classes.step(node, byte) {
                    None => Ok(()),
                    Some(COMPLETE) => self.add(Entry { place: entry.place + 1, number: 0, ..entry }),
                    Some(node) => self.add(Entry { number: node, ..entry }),
                }
            }
            _ => Ok(()),
        }
    }

    /// Adds an entry unless it is there already.
    pub fn add(&mut self, entry: Entry) -> Result<(), Stop> {
        self.steps = self.steps.checked_sub(1).ok_or(Stop::TooManySteps)?;
        let mut slot = entry.hash() as usize & (N_SLOTS - 1);
        while self.item_slots[slot].0 == self.round {
            if self.items[self.item_slots[slot].1 as usize] == entry {
                return Ok(());
            }
            slot = (slot + 1) & (N_SLOTS - 1);
        }
        self.item_slots[slot] = (self.round, self.items.len() as u32);
        push(&mut self.items, entry)
    }

    /// Follows all entries that were added, and interns the resulting state.
    pub fn finish(
        &mut self,
        grammar: &Grammar,
        sets: &mut Sets,
        members: &mut MemberSets,
    ) -> Result<u32, Stop> {
        while self.n_done < self.items.len() {
            let item = self.items[self.n_done];
            self.n_done += 1;
            self.follow(grammar, sets, members, item)?;
        }
        for i in 0..self.found.len() {
            let stack = self.found[i].stack;
            self.found[i].stack = self.resolve(grammar, sets, members, stack)?;
        }
        self.found.retain(|entry| stays(grammar, sets, members, entry));
        self.found.sort_unstable();
        self.found.dedup();
        sets.intern(&self.found)
    }

    fn follow(
        &mut self,
        grammar: &Grammar,
        sets: &Sets,
        members: &mut MemberSets,
        item: Entry,
    ) -> Result<(), Stop> {
        let Entry { place, stack, number } = item;
        let next = Entry { place: place + 1, stack, number: 0 };
        match grammar.ops[place as usize] {
            Op::End | Op::Text(_) | Op::Class(_) | Op::Token { .. } => push(&mut self.found, item),
            Op::Jump(place) => self.add(Entry { place, ..next }),
            Op::Choice(span) => {
                span.of(&grammar.targets).iter().try_for_each(|&place| self.add(Entry { place, ..next }))
            }
            Op::Call(target) => self.call(target, next),
            Op::Return => self.pop(sets, stack),
            Op::Repeat(i) => self.repeat(grammar.repeats[i as usize], item),
            Op::Interleave(i) => {
                let interleave = &grammar.interleaves[i as usize];
                let came = members.get(number);
                if interleave.required & !came.bits == 0 && came.count >= interleave.min {
                    self.add(Entry { place: place + 2, ..next })?;
                }
                let (required, any) = open(interleave, came);
                if !required && !any {
                    Ok(())
                } else if came.count == 0 {
                    self.add(Entry { number, ..next })
                } else {
                    self.call(interleave.separator, Entry { number, ..next })
                }
            }
            Op::Member(i) => self.member(grammar, &grammar.interleaves[i as usize], members, item),
        }
    }

    fn repeat(&mut self, repeat: Repeat, item: Entry) -> Result<(), Stop> {
        if item.number >= repeat.min {
            self.add(Entry { place: item.place + 1, number: 0, ..item })?;
        }
        if item.number >= repeat.max {
            return Ok(());
        }
        let mut number = item.number + 1;
        if repeat.max == u32::MAX {
            // Beyond the minimum, the exact number does not matter.
            number = number.min(repeat.min);
        }
        let back = Entry { number, ..item };
        if repeat.is_nullable {
            // A reading that has come this far with fewer repetitions can do everything that this one can. This also ends
            // repetitions of the empty text.
            let call = self.find(repeat.body)?;
            let mut at = self.calls[call].first;
            while let Some(&Caller { entry, next }) = self.callers.get(at as usize) {
                self.steps = self.steps.checked_sub(1).ok_or(Stop::TooManySteps)?;
                if (entry.place, entry.stack) == (back.place, back.stack) && entry.number <= number {
                    return Ok(());
                }
                at = next;
            }
        }
        self.call(repeat.body, back)
    }

    fn member(
        &mut self,
        grammar: &Grammar,
        interleave: &InterleaveOp,
        members: &mut MemberSets,
        item: Entry,
    ) -> Result<(), Stop> {
        let came = members.get(item.number);
        let (required, any) = open(interleave, came);
        let mut count = came.count + 1;
        if interleave.max == u32::MAX {
            // Beyond the minimum, the exact number does not matter, except that it is not zero.
            count = count.min(interleave.min.max(1));
        }
        let back = |number| Entry { place: item.place - 1, stack: item.stack, number };
        for (i, &target) in interleave.members.of(&grammar.targets).iter().enumerate() {
            let bit = 1 << i;
            let is_required = interleave.required & bit != 0;
            if came.bits & bit == 0 && (any || (required && is_required)) {
                let number = members.intern(Members { bits: came.bits | bit, count })?;
                self.call(target, back(number))?;
            }
        }
        if let Some(others) = interleave.others
            && any
        {
            let number = members.intern(Members { bits: came.bits, count })?;
            self.call(others, back(number))?;
        }
        Ok(())
    }

    /// Calls the code at `target`; it returns to `back`.
    fn call(&mut self, target: u32, back: Entry) -> Result<(), Stop> {
        let call = self.find(target)?;
        let caller = self.callers.len() as u32;
        push(&mut self.callers, Caller { entry: back, next: self.calls[call].first })?;
        self.calls[call].first = caller;
        match self.calls[call].has_returned {
            true => self.add(back),
            false => Ok(()),
        }
    }

    /// The index of the call of `target` at this point.
    fn find(&mut self, target: u32) -> Result<usize, Stop> {
        let mut slot = target.wrapping_mul(0x9E37_79B1) as usize >> 8 & (N_SLOTS / 4 - 1);
        while self.call_slots[slot].0 == self.round {
            let call = self.call_slots[slot].1 as usize;
            if self.calls[call].target == target {
                return Ok(call);
            }
            slot = (slot + 1) & (N_SLOTS / 4 - 1);
        }
        let call = self.calls.len();
        push(&mut self.calls, Call { target, first: NONE, has_returned: false, stack: NONE, cursor: NONE })?;
        self.call_slots[slot] = (self.round, call as u32);
        self.add(Entry { place: target, stack: PENDING | call as u32, number: 0 })?;
        Ok(call)
    }

    /// Returns to all addresses on top of a stack.
    fn pop(&mut self, sets: &Sets, stack: u32) -> Result<(), Stop> {
        if stack & PENDING == 0 {
            return sets.get(stack).iter().try_for_each(|&entry| self.add(entry));
        }
        let call = &mut self.calls[(stack & !PENDING) as usize];
        // If the call has already returned, callers that come later continue at once; earlier callers have continued by now.
        if core::mem::replace(&mut call.has_returned, true) {
            return Ok(());
        }
        let mut at = call.first;
        while let Some(&Caller { entry, next }) = self.callers.get(at as usize) {
            self.add(entry)?;
            at = next;
        }
        Ok(())
    }

    /// Resolves a stack to a set, after the stacks of its callers. There is no circle, because no rule begins with itself.
    fn resolve(
        &mut self,
        grammar: &Grammar,
        sets: &mut Sets,
        members: &MemberSets,
        stack: u32,
    ) -> Result<u32, Stop> {
        if stack & PENDING == 0 {
            return Ok(stack);
        }
        let top = stack & !PENDING;
        self.path.clear();
        push(&mut self.path, top)?;
        while let Some(&number) = self.path.last() {
            let call = self.calls[number as usize];
            if call.stack != NONE {
                self.path.pop();
                continue;
            }
            let mut at = if call.cursor == NONE { call.first } else { call.cursor };
            // When all callers are done, the cursor is the number of callers.
            while let Some(&Caller { entry, next }) = self.callers.get(at as usize) {
                if entry.stack & PENDING != 0 {
                    let below = (entry.stack & !PENDING) as usize;
                    if self.calls[below].stack == NONE {
                        push(&mut self.path, below as u32)?;
                        break;
                    }
                }
                at = if next == NONE { self.callers.len() as u32 } else { next };
            }
            self.calls[number as usize].cursor = at;
            if at as usize == self.callers.len() {
                self.calls[number as usize].stack = self.build(grammar, sets, members, call.first)?;
            }
        }
        Ok(self.calls[top as usize].stack)
    }

    /// The set of the callers in a list, whose stacks are known.
    fn build(
        &mut self,
        grammar: &Grammar,
        sets: &mut Sets,
        members: &MemberSets,
        first: u32,
    ) -> Result<u32, Stop> {
        self.built.clear();
        let mut at = first;
        while let Some(&Caller { mut entry, next }) = self.callers.get(at as usize) {
            if entry.stack & PENDING != 0 {
                entry.stack = self.calls[(entry.stack & !PENDING) as usize].stack;
            }
            match grammar.ops[entry.place as usize] {
                // A call at the end of a rule returns directly to where the rule returns. Lists that are rules which end with
                // themselves therefore do not pile up return addresses.
                Op::Return => {
                    sets.get(entry.stack).iter().try_for_each(|&entry| push(&mut self.built, entry))?
                }
                _ if !stays(grammar, sets, members, &entry) => {}
                _ => push(&mut self.built, entry)?,
            }
            at = next;
        }
        self.steps = self.steps.checked_sub(self.built.len() as u64).ok_or(Stop::TooManySteps)?;
        self.built.sort_unstable();
        self.built.dedup();
        prune(grammar, &mut self.built);
        sets.intern(&self.built)
    }
}

/// Whether an entry with a known stack can be completed within the nesting limit of the grammar. A return never has an empty
/// stack.
fn stays(grammar: &Grammar, sets: &Sets, members: &MemberSets, entry: &Entry) -> bool {
    grammar.needs.is_empty()
        || entry.place == 0
        || (entry.stack != DEAD && grammar.can_return(members, entry, sets.depth(entry.stack)))
}

/// Whether required members are still missing, and whether any member may come next.
fn open(interleave: &InterleaveOp, came: Members) -> (bool, bool) {
    let n_missing = (interleave.required & !came.bits).count_ones();
    let room = interleave.max.saturating_sub(came.count);
    // The members that have come are among the first bits.
    let has_more = interleave.others.is_some() || came.bits.count_ones() < interleave.members.len;
    (n_missing > 0 && room > 0, has_more && room > n_missing)
}

/// Among repetitions that differ only in their count, drops those that can do nothing that another cannot. Entries with the same
/// address and stack are adjacent, sorted by the count.
fn prune(grammar: &Grammar, sorted: &mut Vec<Entry>) {
    let mut n_kept = 0;
    for i in 0..sorted.len() {
        let entry = sorted[i];
        if n_kept > 0
            && let Op::Repeat(repeat) = grammar.ops[entry.place as usize]
            && let before = sorted[n_kept - 1]
            && (before.place, before.stack) == (entry.place, entry.stack)
        {
            let repeat = grammar.repeats[repeat as usize];
            if repeat.max == u32::MAX {
                // An entry with a higher count may end sooner.
                n_kept -= 1;
            } else if before.number >= repeat.min {
                // An entry with a lower count may repeat more often.
                continue;
            }
        }
        sorted[n_kept] = entry;
        n_kept += 1;
    }
    sorted.truncate(n_kept);
}

/// Appends to an array whose memory is reserved.
fn push<T>(array: &mut Vec<T>, element: T) -> Result<(), Stop> {
    if array.len() == array.capacity() {
        return Err(Stop::TooManyStates);
    }
    array.push(element);
    Ok(())
}
