//! Records which characters are adjacent in any token. Between two characters that never are, no merge can join the
//! text on both sides, so a word can be cut there.

use alloc::vec::Vec;

use super::error::{TokenizerError, reserve};
use super::hash::hash_pair;

/// A set of pairs of neighbours. It may contain pairs that were never added; that costs only time.
#[derive(Debug)]
pub(super) struct Adjacency {
    bits: Vec<u64>,
}

/// Enough for all pairs of bytes.
const MIN_BITS: usize = 1 << 16;

impl Adjacency {
    /// An empty set with room for the pairs of a vocabulary.
    pub(super) fn new(n_vocab: usize) -> Result<Self, TokenizerError> {
        let n_bits = (n_vocab.saturating_mul(8)).next_power_of_two().max(MIN_BITS);
        let mut bits = Vec::new();
        reserve(&mut bits, n_bits / 64)?;
        bits.resize(n_bits / 64, 0);
        Ok(Self { bits })
    }

    /// Adds a pair: the last byte on the left, the character or byte on the right.
    pub(super) fn insert(&mut self, left: u8, right: &[u8]) {
        let place = self.place(left, right);
        self.bits[place / 64] |= 1 << (place % 64);
    }

    /// Whether the pair may have been added.
    #[inline]
    pub(super) fn contains(&self, left: u8, right: &[u8]) -> bool {
        let place = self.place(left, right);
        self.bits[place / 64] & 1 << (place % 64) != 0
    }

    #[inline]
    fn place(&self, left: u8, right: &[u8]) -> usize {
        if let [right] = *right {
            return usize::from(left) << 8 | usize::from(right);
        }
        let code = right.iter().fold(0, |code, &byte| code << 8 | u32::from(byte));
        // A power of two.
        let n_bits = self.bits.len() * 64;
        hash_pair(u32::from(left), code) as usize & (n_bits - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_bytes_are_exact() {
        let mut set = Adjacency::new(1).unwrap();
        set.insert(b'a', b"b");
        set.insert(255, &[254]);
        for left in 0..=255 {
            for right in 0..=255 {
                let expected = (left, right) == (b'a', b'b') || (left, right) == (255, 254);
                assert_eq!(set.contains(left, &[right]), expected);
            }
        }
    }

    #[test]
    fn pairs_of_characters_are_found_and_few_others() {
        let mut set = Adjacency::new(10_000).unwrap();
        let han = |n: u32| char::from_u32(0x4e00 + n).unwrap();
        let mut utf8 = [0; 4];
        for n in 0..5000 {
            set.insert(n as u8, han(n).encode_utf8(&mut utf8).as_bytes());
        }
        for n in 0..5000 {
            assert!(set.contains(n as u8, han(n).encode_utf8(&mut utf8).as_bytes()));
        }
        let false_ones = (0..5000)
            .filter(|&n| set.contains(n as u8 ^ 1, han(n).encode_utf8(&mut utf8).as_bytes()))
            .count();
        assert!(false_ones < 500, "{false_ones}");
    }
}
