//! Finds the tokens with which a text begins.
//!
//! The tokens' ids are sorted by text, so tokens that begin with the same bytes form a range, which shrinks with each
//! further byte of the text. This takes four bytes per token; a tree would take several for each byte of each token.

use alloc::vec::Vec;

use super::error::{TokenizerError, out_of_memory, reserve};
use crate::sort;

/// The longest supported token. It bounds the cost of encoding per byte of text. The longest token in a published
/// vocabulary of these kinds has 128 bytes.
const MAX_TOKEN_BYTES: usize = 1024;

/// The texts of tokens, by id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pieces<'p> {
    pub(super) bytes: &'p [u8],
    /// Where each text begins in `bytes`, and one more entry for the end.
    pub(super) starts: &'p [u32],
    /// The bytes between the end of one and the beginning of the next.
    pub(super) gap: usize,
}

impl<'p> Pieces<'p> {
    /// The text of a token, which must exist.
    #[inline]
    pub(super) fn get(&self, id: u32) -> &'p [u8] {
        let place = id as usize;
        &self.bytes[self.starts[place] as usize..self.starts[place + 1] as usize - self.gap]
    }
}

/// Tokens in the order of their texts, without duplicates.
#[derive(Debug)]
pub(super) struct Prefixes {
    ids: Vec<u32>,
    /// Where the texts with each first byte begin in `ids`, and the end of the last.
    by_first_byte: [u32; 257],
}

impl Prefixes {
    /// The index of these tokens. Tokens without text are left out; if two have the same text, the later id counts.
    ///
    /// # Errors
    /// [`TokenizerError::TokenTooLong`].
    pub(super) fn new(pieces: Pieces<'_>, mut ids: Vec<u32>) -> Result<Self, TokenizerError> {
        ids.retain(|&id| !pieces.get(id).is_empty());
        if let Some(&id) = ids.iter().find(|&&id| pieces.get(id).len() > MAX_TOKEN_BYTES) {
            let len_bytes = pieces.get(id).len();
            return Err(TokenizerError::TokenTooLong { id, len_bytes, most_bytes: MAX_TOKEN_BYTES });
        }
        let compare =
            |a: usize, b: usize| pieces.get(ids[a]).cmp(pieces.get(ids[b])).then(ids[b].cmp(&ids[a]));
        let mut places = sort::places(ids.len(), &compare).map_err(out_of_memory)?;
        places.iter_mut().for_each(|place| *place = ids[*place as usize]);
        ids = places;
        ids.dedup_by(|&mut later, &mut first| pieces.get(later) == pieces.get(first));
        let by_first_byte = core::array::from_fn(|byte| {
            ids.partition_point(|&id| usize::from(pieces.get(id)[0]) < byte) as u32
        });
        Ok(Self { ids, by_first_byte })
    }

    /// The index of all tokens for which `belongs` returns true.
    pub(super) fn of_those(
        pieces: Pieces<'_>,
        belongs: &dyn Fn(u32) -> bool,
    ) -> Result<Self, TokenizerError> {
        let mut ids = Vec::new();
        let n_vocab = pieces.starts.len() as u32 - 1;
        reserve(&mut ids, n_vocab as usize)?;
        ids.extend((0..n_vocab).filter(|&id| belongs(id)));
        Self::new(pieces, ids)
    }

    /// Passes the length and the id of each token that the text begins with to `found`, the shortest first. Returns the
    /// length of the longest beginning of the text that is also the beginning of some token.
    pub(super) fn of(&self, pieces: Pieces<'_>, text: &[u8], found: &mut dyn FnMut(usize, u32)) -> usize {
        let Some(&first) = text.first() else { return 0 };
        let place = usize::from(first);
        let range = self.by_first_byte[place] as usize..self.by_first_byte[place + 1] as usize;
        // The tokens that share the first `depth` bytes with the text.
        let mut ids = &self.ids[range];
        let mut depth = 0;
        while let Some(&id) = ids.first() {
            depth += 1;
            if pieces.get(id).len() == depth {
                found(depth, id);
                ids = &ids[1..];
            }
            let Some(&next) = text.get(depth) else { break };
            let from = ids.partition_point(|&id| pieces.get(id)[depth] < next);
            ids = &ids[from..];
            let to = ids.partition_point(|&id| pieces.get(id)[depth] == next);
            ids = &ids[..to];
        }
        depth
    }

    /// The length and the id of the longest token that the text begins with.
    pub(super) fn longest(&self, pieces: Pieces<'_>, text: &[u8]) -> Option<(usize, u32)> {
        let mut longest = None;
        self.of(pieces, text, &mut |len, id| longest = Some((len, id)));
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn all_tokens_that_a_text_begins_with_are_found_and_no_others() {
        let mut state = 1u32;
        let mut below = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % n
        };
        for _ in 0..200 {
            let (mut bytes, mut starts) = (Vec::new(), alloc::vec![0]);
            for _ in 0..below(40) {
                bytes.extend((0..below(6)).map(|_| b'a' + below(3) as u8));
                starts.push(bytes.len() as u32);
            }
            let pieces = Pieces { bytes: &bytes, starts: &starts, gap: 0 };
            let prefixes = Prefixes::of_those(pieces, &|_| true).unwrap();
            let text: String = (0..below(8)).map(|_| (b'a' + below(3) as u8) as char).collect();
            let text = text.as_bytes();
            let all = || (0..starts.len() as u32 - 1).map(|id| (id, pieces.get(id)));
            let expected: Vec<(usize, u32)> = (1..=text.len())
                .filter_map(|len| Some((len, all().rfind(|&(_, piece)| piece == &text[..len])?.0)))
                .collect();
            let common =
                |piece: &[u8]| piece.iter().zip(text).take_while(|(piece, text)| piece == text).count();
            let mut found = Vec::new();
            let depth = prefixes.of(pieces, text, &mut |len, id| found.push((len, id)));
            assert_eq!(found, expected);
            assert_eq!(depth, all().map(|(_, piece)| common(piece)).max().unwrap_or(0));
            assert_eq!(prefixes.longest(pieces, text), expected.last().copied());
        }
    }

    #[test]
    fn a_token_that_would_make_encoding_slow_is_refused() {
        let bytes = alloc::vec![b'a'; MAX_TOKEN_BYTES + 2];
        let starts = [0, 1, bytes.len() as u32];
        let pieces = Pieces { bytes: &bytes, starts: &starts, gap: 0 };
        let error = Prefixes::of_those(pieces, &|_| true).unwrap_err();
        assert_eq!(error, TokenizerError::TokenTooLong { id: 1, len_bytes: 1025, most_bytes: 1024 });
        assert!(Prefixes::of_those(pieces, &|id| id == 0).is_ok());
    }
}
