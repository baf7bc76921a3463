//! Open-addressing tables: from a text to its token, from two tokens to their merge.
//!
//! The tables are made once and never grow. A vocabulary has some hundred thousand entries and a kernel's heap is
//! small, so the tables store little and leave it to the caller to compare keys.

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

/// A table of entries that contain their own keys, or refer to them.
///
/// One byte of each hash is stored apart from the entries. Most unsuccessful searches end in that small array.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// Zero for a free place.
    tags: Vec<u8>,
    entries: Vec<T>,
}

impl<T: Copy> Table<T> {
    /// A table for at most `n` entries. `free` fills the free places; its value has no meaning.
    pub(super) fn new(n: usize, free: T) -> Result<Self, TokenizerError> {
        // The table is at most two thirds full, and always has a free place.
        let n_places = n + n / 2 + 1;
        let mut table = Self { tags: Vec::new(), entries: Vec::new() };
        reserve(&mut table.tags, n_places)?;
        table.tags.resize(n_places, 0);
        reserve(&mut table.entries, n_places)?;
        table.entries.resize(n_places, free);
        Ok(table)
    }

    /// The entry with this hash for which `is_key` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_key: impl Fn(T) -> bool) -> Option<T> {
        self.place_of(hash, is_key).map(|place| self.entries[place])
    }

    /// The place of the entry with this hash for which `is_key` holds.
    #[inline]
    pub(super) fn place_of(&self, hash: u64, is_key: impl Fn(T) -> bool) -> Option<usize> {
        let mut place = self.home(hash);
        loop {
            match self.tags[place] {
                0 => return None,
                found if found == tag(hash) && is_key(self.entries[place]) => return Some(place),
                _ => place = self.next(place),
            }
        }
    }

    /// Replaces an entry by another one with the same key.
    pub(super) fn replace(&mut self, place: usize, entry: T) {
        self.entries[place] = entry;
    }

    /// Adds an entry. There must be no more entries than stated when the table was made.
    pub(super) fn insert(&mut self, hash: u64, entry: T) {
        let mut place = self.home(hash);
        while self.tags[place] != 0 {
            place = self.next(place);
        }
        self.tags[place] = tag(hash);
        self.entries[place] = entry;
    }

    /// Where the search for a hash begins.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        // The high half of the product is below the length; this avoids a division.
        ((u128::from(hash) * self.tags.len() as u128) >> 64) as usize
    }

    #[inline]
    fn next(&self, place: usize) -> usize {
        if place + 1 == self.tags.len() { 0 } else { place + 1 }
    }
}

/// The low bits of a hash; the high ones determine the place.
#[inline]
fn tag(hash: u64) -> u8 {
    hash as u8 | 0x80
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
        let mut table = Table::new(1000, 0).unwrap();
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
