//! The character map of Unigram vocabularies: replacements for sequences of bytes before a text is cut into tokens,
//! such as two letters for `ﬁ`, or a space for a tab.
//!
//! Source: SentencePiece's `precompiled_charsmap`: the size in bytes of a double array, the array, and the
//! replacements, each ended by a zero byte. The array is Darts' (Aoe; Kanda 2018 on its XOR form): an entry holds in
//! bits 0-7 the byte that leads to it, in bit 8 whether a sequence ends there, in bits 10-30 the offset of its
//! children, in units of 256 if bit 9 is set; an entry with bit 31 set holds the index of a replacement.

use super::error::TokenizerError;
use crate::gguf::Gguf;

pub(super) const CHARSMAP_KEY: &str = "tokenizer.ggml.precompiled_charsmap";

/// The greatest length of a sequence and of a replacement. It bounds the cost per byte of text. In published maps both
/// have at most some dozens of bytes.
const MAX_SEQUENCE_BYTES: usize = 1024;

/// A character map in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charsmap<'a> {
    array: &'a [[u8; 4]],
    replacements: &'a [u8],
}

impl<'a> Charsmap<'a> {
    /// The map of a file; `None` if the file has none.
    pub(super) fn from_gguf(gguf: &Gguf<'a>) -> Result<Option<Self>, TokenizerError> {
        let Some(array) = gguf.array_value(CHARSMAP_KEY)? else { return Ok(None) };
        let wrong_type = TokenizerError::ElementType { key: CHARSMAP_KEY, expected: "8-bit integers" };
        Self::new(array.bytes().ok_or(wrong_type)?).map(Some)
    }

    fn new(bytes: &'a [u8]) -> Result<Self, TokenizerError> {
        let too_short = TokenizerError::BrokenCharsmap { place: bytes.len() };
        let (size_bytes, rest) = bytes.split_first_chunk().ok_or(too_short)?;
        let size_bytes = u32::from_le_bytes(*size_bytes) as usize;
        let (array, replacements) = rest.split_at_checked(size_bytes).ok_or(too_short)?;
        if replacements.is_empty() {
            return Err(too_short);
        }
        Ok(Self { array: array.as_chunks().0, replacements })
    }

    /// The longest sequence of the map that the text begins with: its length and its replacement.
    ///
    /// # Errors
    /// [`TokenizerError::BrokenCharsmap`] if the map has an index outside of itself.
    pub(super) fn longest(&self, text: &[u8]) -> Result<Option<(usize, &'a [u8])>, TokenizerError> {
        if self.array.is_empty() {
            return Ok(None);
        }
        let mut longest = None;
        let mut place = children(self.entry(0)?);
        for (len, &byte) in (1..).zip(text.iter().take(MAX_SEQUENCE_BYTES)) {
            place ^= u32::from(byte);
            // A zero byte ends replacements, so it occurs in no sequence.
            if byte == 0 {
                break;
            }
            let entry = self.entry(place)?;
            if entry & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            place ^= children(entry);
            if entry & 1 << 8 != 0 {
                longest = Some((len, self.entry(place)? & !(1 << 31)));
            }
        }
        let Some((len, start)) = longest else { return Ok(None) };
        let broken = TokenizerError::BrokenCharsmap { place: start as usize };
        let replacement = self.replacements.get(start as usize..).ok_or(broken)?;
        let end = replacement.iter().take(MAX_SEQUENCE_BYTES).position(|&byte| byte == 0).ok_or(broken)?;
        Ok(Some((len, &replacement[..end])))
    }

    fn entry(&self, place: u32) -> Result<u32, TokenizerError> {
        let entry = self.array.get(place as usize);
        entry
            .map(|&entry| u32::from_le_bytes(entry))
            .ok_or(TokenizerError::BrokenCharsmap { place: place as usize })
    }
}

/// The offset of an entry's children: the index of a child is this, XOR the index of the entry, XOR the child's byte.
fn children(entry: u32) -> u32 {
    (entry >> 10) << ((entry & 1 << 9) >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn map(entries: &[u32], replacements: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from((entries.len() as u32 * 4).to_le_bytes());
        bytes.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
        bytes.extend(replacements);
        bytes
    }

    #[test]
    fn a_map_shorter_than_it_says_is_refused() {
        for bytes in [&[][..], &[0; 3], &[0; 4], &[4, 0, 0, 0, 1, 2, 3], &[4, 0, 0, 0, 1, 2, 3, 4]] {
            assert!(Charsmap::new(bytes).is_err(), "{bytes:?}");
        }
        assert!(Charsmap::new(&[0xff; 64]).is_err());
        assert_eq!(Charsmap::new(&[0; 5]).unwrap().longest(b"a"), Ok(None));
    }

    #[test]
    fn ways_that_lead_out_of_the_map_or_round_in_it_end() {
        // Every entry continues with the same byte, so no sequence ever ends.
        let bytes = map(&[u32::from(b'a'); 256], b"x\0");
        assert_eq!(Charsmap::new(&bytes).unwrap().longest(&[b'a'; 5000]), Ok(None));
        // Children far outside of the map.
        let bytes = map(&[u32::MAX >> 1], b"x\0");
        assert!(Charsmap::new(&bytes).unwrap().longest(b"a").is_err());
        // `a` ends a sequence whose replacement lies outside of the map, or never ends.
        let mut entries = [0u32; 256];
        entries[usize::from(b'a')] = 1 << 8 | u32::from(b'a') | 1 << 10;
        for (place, replacements, expected) in [
            (0, &b"xy\0"[..], Some(&b"xy"[..])),
            (1, b"xy\0", Some(b"y")),
            (2, b"xy\0", Some(b"")),
            (3, b"xy\0", None),
            (0, b"xy", None),
            (u32::MAX >> 1, b"xy\0", None),
        ] {
            entries[usize::from(b'a') ^ 1] = 1 << 31 | place;
            let bytes = map(&entries, replacements);
            let found = Charsmap::new(&bytes).unwrap().longest(b"ab");
            match expected {
                Some(replacement) => assert_eq!(found, Ok(Some((1, replacement)))),
                None => assert!(matches!(found, Err(TokenizerError::BrokenCharsmap { .. }))),
            }
        }
    }
}
