//! Open-addressing tables of 32-bit values: the index from texts to tokens.
//!
//! One allocation each, made once and never grown. A vocabulary has some hundred thousand entries and
//! a kernel's heap is small, so the tables store indices and let the caller compare the keys.

use alloc::vec::Vec;

use super::error::{TokenizerError, reserve};

/// An odd constant with well-mixed bits (the fraction of the golden ratio).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Folds the 128-bit product of its arguments into 64 bits.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// A hash of a text, good in its high and in its low bits.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut state = bytes.len() as u64 ^ MULTIPLIER;
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), MULTIPLIER);
    }
    let last = match *tail {
        [] => 0,
        [a] => u64::from(a),
        [a, b] => u64::from(a) | u64::from(b) << 8,
        [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
        [a, b, c, d, ref rest @ ..] => {
            let mut upper = 0;
            for &byte in rest {
                upper = upper << 8 | u64::from(byte);
            }
            u64::from(u32::from_le_bytes([a, b, c, d])) | upper << 32
        }
    };
    fold(state ^ last, MULTIPLIER.rotate_left(32))
}

/// A hash of a pair of token ids.
pub(super) fn hash_pair(left: u32, right: u32) -> u64 {
    fold(u64::from(left) << 32 | u64::from(right), MULTIPLIER)
}

/// The place among `len` to which a hash belongs.
pub(super) fn home(hash: u64, len: usize) -> usize {
    // The high half of the product is below `len`, without a division.
    ((u128::from(hash) * len as u128) >> 64) as usize
}

/// The number of slots for `n` entries: two thirds full.
pub(super) fn slots_for(n: usize) -> usize {
    n + n / 2 + 1
}

/// A table of token ids, found by a hash and a comparison.
#[derive(Debug)]
pub(super) struct IdTable {
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The low half of the hash: a comparison that needs no look at the key.
    tag: u32,
    id: u32,
}

/// An unused slot; no token has this id.
const EMPTY: u32 = u32::MAX;

impl IdTable {
    /// A table for at most `n` entries.
    pub(super) fn new(n: usize) -> Result<Self, TokenizerError> {
        let mut slots = Vec::new();
        reserve(&mut slots, slots_for(n))?;
        slots.resize(slots_for(n), Slot { tag: 0, id: EMPTY });
        Ok(Self { slots })
    }

    /// The entry with this hash for which `is_key` holds.
    pub(super) fn find(&self, hash: u64, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = hash as u32;
        let mut place = home(hash, self.slots.len());
        loop {
            let slot = self.slots[place];
            if slot.id == EMPTY {
                return None;
            }
            if slot.tag == tag && is_key(slot.id) {
                return Some(slot.id);
            }
            place += 1;
            if place == self.slots.len() {
                place = 0;
            }
        }
    }

    /// Adds an entry.
    ///
    /// The caller adds no more entries than it announced, so that a free slot always remains.
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        let mut place = home(hash, self.slots.len());
        while self.slots[place].id != EMPTY {
            place += 1;
            if place == self.slots.len() {
                place = 0;
            }
        }
        self.slots[place] = Slot { tag: hash as u32, id };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_the_length_count() {
        let text = b"abcdefghijklmnopqrstuvwxyz";
        for len in 0..=text.len() {
            let hash = hash_bytes(&text[..len]);
            for other in 0..len {
                assert_ne!(hash, hash_bytes(&text[..other]));
                let mut changed = *text;
                changed[other] ^= 1;
                assert_ne!(hash, hash_bytes(&changed[..len]), "{len} {other}");
            }
        }
        assert_ne!(hash_bytes(b"\0"), hash_bytes(b"\0\0"));
    }

    #[test]
    fn a_full_table_finds_all_and_nothing_else() {
        let key = |id: u32| hash_pair(id, id / 7);
        let mut table = IdTable::new(1000).unwrap();
        for id in 0..1000 {
            assert_eq!(table.find(key(id), |other| other == id), None);
            table.insert(key(id), id);
        }
        for id in 0..1000 {
            assert_eq!(table.find(key(id), |other| other == id), Some(id));
        }
        assert_eq!(table.find(key(1000), |other| other == 1000), None);
    }
}
