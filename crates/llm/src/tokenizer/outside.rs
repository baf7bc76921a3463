//! Texts in merges that are not tokens.
//!
//! The reference joins texts of any kind and looks up their tokens at the end: a text that is not a token may be joined further into one
//! that is. Here such a text gets a number beyond the ids of the tokens.

use alloc::vec::Vec;

use super::bpe::MERGES_KEY;
use super::error::{TokenizerError, push, reserve};
use super::hash::{Table, hash_bytes};

/// Texts by number, and back.
#[derive(Debug)]
pub(super) struct Outside {
    /// The number of the first text.
    first_id: u32,
    texts: Vec<u8>,
    /// Where each text ends in `texts`.
    ends: Vec<u32>,
    index: Table<u32>,
    /// How many texts the index has room for.
    room: usize,
}

impl Outside {
    /// An empty list for a vocabulary of `n_vocab` tokens.
    pub(super) fn new(n_vocab: usize) -> Result<Self, TokenizerError> {
        const ROOM: usize = 64;
        let index = Table::new(ROOM, 0)?;
        Ok(Self { first_id: n_vocab as u32, texts: Vec::new(), ends: Vec::new(), index, room: ROOM })
    }

    /// The number of a text, if it has one.
    pub(super) fn id_of(&self, text: &[u8]) -> Option<u32> {
        self.index.find(hash_bytes(text), |place| self.text(place) == text).map(|place| self.first_id + place)
    }

    /// The number of a text; it gets a new one if it has none.
    pub(super) fn id_or_new(&mut self, text: &[u8]) -> Result<u32, TokenizerError> {
        if let Some(id) = self.id_of(text) {
            return Ok(id);
        }
        if self.ends.len() == self.room {
            self.make_room()?;
        }
        let place = self.ends.len() as u32;
        reserve(&mut self.texts, text.len())?;
        self.texts.extend_from_slice(text);
        let end = u32::try_from(self.texts.len());
        push(
            &mut self.ends,
            end.map_err(|_| TokenizerError::TooLarge { key: MERGES_KEY, size_bytes: self.texts.len() })?,
        )?;
        self.index.insert(hash_bytes(text), place);
        Ok(self.first_id + place)
    }

    /// Makes an index of twice the size.
    fn make_room(&mut self) -> Result<(), TokenizerError> {
        let room = self.room.saturating_mul(2);
        let mut index = Table::new(room, 0)?;
        for place in 0..self.ends.len() as u32 {
            index.insert(hash_bytes(self.text(place)), place);
        }
        (self.index, self.room) = (index, room);
        Ok(())
    }

    fn text(&self, place: u32) -> &[u8] {
        let place = place as usize;
        let start = if place == 0 { 0 } else { self.ends[place - 1] as usize };
        &self.texts[start..self.ends[place] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn texts_have_numbers_beyond_the_tokens_however_many_there_are() {
        let mut outside = Outside::new(1000).unwrap();
        for round in 0..2 {
            for number in 0..5000 {
                let text = format!("text {number}");
                let known = outside.id_of(text.as_bytes());
                assert_eq!(known, (round == 1).then_some(1000 + number));
                assert_eq!(outside.id_or_new(text.as_bytes()).unwrap(), 1000 + number);
            }
        }
        assert_eq!(outside.id_of(b"text"), None);
        // A single text costs little memory.
        let mut outside = Outside::new(1000).unwrap();
        outside.id_or_new(b"stray").unwrap();
        assert!(outside.room < 100);
    }
}
