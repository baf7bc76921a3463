//! Characters as bytes: a class as a graph over the bytes of UTF-8.
//!
//! For ranges of bytes, a node of the graph says which node comes next, or that a character of the class is complete. Blocks of
//! characters that are completely in the class share their nodes, so `.` needs only eight nodes.
//!
//! Source: The Unicode Standard 15.0, section 3.9, table 3-7, well-formed UTF-8 byte sequences.

use alloc::vec::Vec;

use crate::error::GrammarError;
use crate::expression::{Span, append};

/// The node after the last byte of a character.
pub(crate) const COMPLETE: u32 = u32::MAX;
/// Most nodes in all classes of a grammar, and most ranges in them.
const MAX_NODES: u32 = 1 << 17;

/// A range of bytes and the node it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub first: u8,
    pub last: u8,
    pub target: u32,
}

/// The graphs of all classes of a grammar. Node 0 is not used, so that 0 can stand for a class before its first byte.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// The ranges of each node.
    nodes: Vec<Span>,
    ranges: Vec<ByteRange>,
    /// The nodes that are followed by 1, 2 or 3 arbitrary continuation bytes; 0 if there is none yet.
    any: [u32; 3],
}

impl Classes {
    /// The ranges of a node, sorted and disjoint.
    pub fn ranges(&self, node: u32) -> &[ByteRange] {
        self.nodes[node as usize].of(&self.ranges)
    }

    /// All ranges of all nodes.
    pub fn all_ranges(&self) -> &[ByteRange] {
        &self.ranges
    }

    /// The node that a byte leads to, if any.
    pub fn step(&self, node: u32, byte: u8) -> Option<u32> {
        let range = self.ranges(node).iter().find(|range| byte <= range.last)?;
        (range.first <= byte).then_some(range.target)
    }

    /// The first node of a class. `characters` are pairs of first and last, sorted, disjoint and without surrogates.
    pub fn add(&mut self, characters: &[u32]) -> Result<u32, GrammarError> {
        if self.nodes.is_empty() {
            append(&mut self.nodes, &[Span { start: 0, len: 0 }], MAX_NODES, "bytes of classes")?;
        }
        let mut ranges = Vec::new();
        for &[first, last] in characters.as_chunks().0 {
            if first < 0x80 {
                push(&mut ranges, first as u8, last.min(0x7F) as u8, COMPLETE)?;
            }
        }
        // The first bytes of characters of 2, 3 and 4 bytes, the number of continuation bytes, and the lowest character.
        for (first_byte, last_byte, n_more, base, lowest) in
            [(0xC2, 0xDF, 1, 0xC0, 0x80), (0xE0, 0xEF, 2, 0xE0, 0x800), (0xF0, 0xF4, 3, 0xF0, 0x1_0000)]
        {
            for byte in first_byte..=last_byte {
                let block = (u32::from(byte) - base) << (6 * n_more);
                if let Some(target) = self.block(characters, block, n_more, lowest)? {
                    push(&mut ranges, byte, byte, target)?;
                }
            }
        }
        self.node(&ranges)
    }

    /// The node for the characters of the class among the 64 to the power of `n_more` characters from `start` on that are not
    /// below `lowest`; `None` if there are none.
    fn block(
        &mut self,
        characters: &[u32],
        start: u32,
        n_more: u32,
        lowest: u32,
    ) -> Result<Option<u32>, GrammarError> {
        let end = start + (1 << (6 * n_more)) - 1;
        // Characters below the lowest one would be written with fewer bytes.
        let (from, to) = (start.max(lowest), end);
        let pairs = characters.as_chunks::<2>().0;
        let at = pairs.partition_point(|&[_, last]| last < from);
        let Some(&[first, last]) = pairs.get(at).filter(|&&[first, _]| first <= to && from <= to) else {
            return Ok(None);
        };
        if n_more == 0 {
            return Ok(Some(COMPLETE));
        }
        let is_whole = first <= start && last >= end && start >= lowest;
        let known = self.any[n_more as usize - 1];
        if is_whole && known != 0 {
            return Ok(Some(known));
        }
        let mut ranges = Vec::new();
        for byte in 0x80..=0xBF_u8 {
            let block = start + (u32::from(byte & 0x3F) << (6 * (n_more - 1)));
            if let Some(target) = self.block(characters, block, n_more - 1, lowest)? {
                push(&mut ranges, byte, byte, target)?;
            }
        }
        let node = self.node(&ranges)?;
        if is_whole {
            self.any[n_more as usize - 1] = node;
        }
        Ok(Some(node))
    }

    fn node(&mut self, ranges: &[ByteRange]) -> Result<u32, GrammarError> {
        let span = append(&mut self.ranges, ranges, MAX_NODES, "bytes of classes")?;
        Ok(append(&mut self.nodes, &[span], MAX_NODES, "bytes of classes")?.start)
    }
}

/// Appends a range, or extends the last one.
fn push(ranges: &mut Vec<ByteRange>, first: u8, last: u8, target: u32) -> Result<(), GrammarError> {
    if let Some(before) = ranges.last_mut()
        && before.target == target
        && u32::from(before.last) + 1 == u32::from(first)
    {
        before.last = last;
        return Ok(());
    }
    ranges.try_reserve(1)?;
    ranges.push(ByteRange { first, last, target });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(classes: &Classes, root: u32, bytes: &[u8]) -> bool {
        let mut node = root;
        for (i, &byte) in bytes.iter().enumerate() {
            match classes.step(node, byte) {
                Some(COMPLETE) => return i + 1 == bytes.len(),
                Some(next) => node = next,
                None => return false,
            }
        }
        false
    }

    #[test]
    fn exactly_the_characters_of_a_class_are_read() {
        let mut classes = Classes::default();
        for pairs in [
            &[0, 0xD7FF, 0xE000, 0x10_FFFF][..],
            &[0x41, 0x5A, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x1_0000],
            &[0x3041, 0x309F, 0x1_F600, 0x1_F64F],
            &[0x20, 0x21, 0x23, 0x5B, 0x5D, 0xD7FF, 0xE000, 0x10_FFFF],
        ] {
            let root = classes.add(pairs).unwrap();
            for character in (0..=0x10_FFFF).filter_map(char::from_u32) {
                let expected =
                    pairs.as_chunks().0.iter().any(|&[a, b]| (a..=b).contains(&u32::from(character)));
                let mut buffer = [0; 4];
                let bytes = character.encode_utf8(&mut buffer).as_bytes();
                assert_eq!(contains(&classes, root, bytes), expected, "{character:?} in {pairs:X?}");
            }
        }
    }

    #[test]
    fn what_is_not_utf_8_is_not_read() {
        let mut classes = Classes::default();
        let root = classes.add(&[0, 0xD7FF, 0xE000, 0x10_FFFF]).unwrap();
        let malformed: [&[u8]; 8] = [
            &[0x80],
            &[0xC0, 0x80],
            &[0xC1, 0xBF],
            &[0xE0, 0x9F, 0xBF],
            &[0xED, 0xA0, 0x80],
            &[0xF0, 0x8F, 0xBF, 0xBF],
            &[0xF4, 0x90, 0x80, 0x80],
            &[0xC3, 0x28],
        ];
        for bytes in malformed {
            assert!(!contains(&classes, root, bytes), "{bytes:X?}");
        }
        assert_eq!(classes.nodes.len(), 9);
    }
}
