//! Which members of a set in any order have come. Each distinct value is stored once and has a number.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::Stop;

/// Which members have come, and how many in total including others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Members {
    /// Bit `i` is set if member `i` has come.
    pub bits: u128,
    pub count: u32,
}

impl Members {
    pub const NONE: Self = Self { bits: 0, count: 0 };
}

/// Interned [`Members`]. Number 0 means that none has come.
#[derive(Debug)]
pub(crate) struct MemberSets {
    sets: Vec<Members>,
    /// By hash: a number, or 0.
    slots: Vec<u32>,
    /// During a collection: the new number of each value that stays.
    renumbered: Vec<u32>,
    max: usize,
}

impl MemberSets {
    /// Bytes for each value.
    pub const BYTES_PER_SET: usize = size_of::<Members>() + 5 * size_of::<u32>();

    /// A table with room for `max` values.
    pub fn new(max: usize) -> Result<Self, TryReserveError> {
        let mut sets = Self { sets: Vec::new(), slots: Vec::new(), renumbered: Vec::new(), max: max.max(1) };
        sets.sets.try_reserve_exact(max.max(1))?;
        sets.renumbered.try_reserve_exact(max.max(1))?;
        let n_slots = (2 * max.max(1)).next_power_of_two();
        sets.slots.try_reserve_exact(n_slots)?;
        sets.slots.resize(n_slots, 0);
        sets.sets.push(Members::NONE);
        Ok(sets)
    }

    pub fn get(&self, number: u32) -> Members {
        self.sets[number as usize]
    }

    pub fn intern(&mut self, members: Members) -> Result<u32, Stop> {
        if members == Members::NONE {
            return Ok(0);
        }
        let slot = self.slot(members);
        if self.slots[slot] == 0 {
            if self.sets.len() == self.max {
                return Err(Stop::Full);
            }
            self.slots[slot] = self.sets.len() as u32;
            self.sets.push(members);
        }
        Ok(self.slots[slot])
    }

    /// The slot of these members, used or free.
    fn slot(&self, members: Members) -> usize {
        let [a, b] = [members.bits as u64, (members.bits >> 64) as u64];
        let mixed =
            (a ^ b.rotate_left(29) ^ u64::from(members.count) << 7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut slot = (mixed >> 40) as usize & (self.slots.len() - 1);
        while self.slots[slot] != 0 && self.sets[self.slots[slot] as usize] != members {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    /// Begins a collection.
    pub fn begin_collection(&mut self) {
        self.renumbered.clear();
        self.renumbered.resize(self.sets.len(), 0);
    }

    /// Marks a value that stays.
    pub fn mark(&mut self, number: u32) {
        self.renumbered[number as usize] = 1;
    }

    /// Ends a collection: drops the values that are not marked.
    pub fn sweep(&mut self) {
        let mut n = 1;
        for number in 1..self.sets.len() {
            if self.renumbered[number] != 0 {
                self.renumbered[number] = n as u32;
                self.sets[n] = self.sets[number];
                n += 1;
            }
        }
        self.sets.truncate(n);
        self.slots.fill(0);
        for number in 1..n {
            let slot = self.slot(self.sets[number]);
            self.slots[slot] = number as u32;
        }
    }

    /// After [`MemberSets::sweep`]: the new number of a value that stayed.
    pub fn renumbered(&self, number: u32) -> u32 {
        if number == 0 { 0 } else { self.renumbered[number as usize] }
    }

    /// Whether the table is so full that room must be made.
    pub fn is_crowded(&self) -> bool {
        self.sets.len() - 1 > self.max / 4 * 3
    }
}
