//! The last tokens, in a ring buffer.

use alloc::vec::Vec;

use super::{SamplingError, reserve};

/// The last tokens; the number of a token counts from the newest.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ids: Vec<u32>,
    capacity: usize,
    /// Index of the oldest token once the ring is full.
    oldest: usize,
}

impl Recent {
    pub fn new(capacity: usize) -> Result<Self, SamplingError> {
        let mut ids = Vec::new();
        reserve(&mut ids, capacity)?;
        Ok(Self { ids, capacity, oldest: 0 })
    }

    pub fn push(&mut self, id: u32) {
        if self.ids.len() < self.capacity {
            self.ids.push(id);
        } else if let Some(slot) = self.ids.get_mut(self.oldest) {
            *slot = id;
            self.oldest = (self.oldest + 1) % self.capacity;
        }
    }

    /// The tokens, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = u32> {
        let (newer, older) = self.ids.split_at(self.oldest);
        newer.iter().rev().chain(older.iter().rev()).copied()
    }

    pub fn clear(&mut self) {
        self.ids.clear();
        self.oldest = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_the_oldest_token() {
        let mut recent = Recent::new(3).unwrap();
        for id in 0..5 {
            recent.push(id);
        }
        assert_eq!(recent.newest_first().collect::<Vec<_>>(), [4, 3, 2]);
        recent.clear();
        recent.push(9);
        recent.push(8);
        assert_eq!(recent.newest_first().collect::<Vec<_>>(), [8, 9]);
        let mut none = Recent::new(0).unwrap();
        none.push(1);
        assert_eq!(none.newest_first().next(), None);
    }
}
