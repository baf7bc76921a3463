//! [`Receipts`]: those of the last answers, for who asks for them.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

/// Most receipts that are kept.
pub(super) const MAX_RECEIPTS: usize = 64;

/// Most bytes of all that are kept, but for the last one.
const MAX_BYTES: usize = 1 << 20;

/// The receipts of the last answers.
#[derive(Default)]
pub(super) struct Receipts {
    list: VecDeque<Entry>,
    n_bytes: usize,
}

struct Entry {
    id: String,
    /// The number of the key that the request brought, if it brought one.
    key: Option<usize>,
    text: Vec<u8>,
}

impl Receipts {
    /// Keeps the receipt of an answer to a request with this key. Without memory it is not kept.
    pub fn keep(&mut self, id: String, key: Option<usize>, text: Vec<u8>) {
        self.n_bytes += text.len();
        while self.list.len() >= MAX_RECEIPTS || (self.n_bytes > MAX_BYTES && !self.list.is_empty()) {
            let dropped = self.list.pop_front();
            self.n_bytes -= dropped.map_or(0, |entry| entry.text.len());
        }
        match self.list.try_reserve(1) {
            Ok(()) => self.list.push_back(Entry { id, key, text }),
            Err(_) => self.n_bytes -= text.len(),
        }
    }

    /// The receipt of an answer to a request with this key, if it is kept.
    pub fn find(&self, id: &str, key: Option<usize>) -> Option<&[u8]> {
        let entry = self.list.iter().find(|entry| entry.id == id && entry.key == key)?;
        Some(&entry.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    #[test]
    fn the_last_ones_are_kept_for_their_own_key() {
        let mut receipts = Receipts::default();
        for number in 0..MAX_RECEIPTS + 2 {
            receipts.keep(number.to_string(), Some(number % 2), vec![number as u8]);
        }
        assert_eq!(receipts.find("1", Some(1)), None);
        assert_eq!(receipts.find("2", Some(0)), Some(&[2][..]));
        assert_eq!(receipts.find("2", Some(1)), None);
        assert_eq!(receipts.find("2", None), None);
        receipts.keep("half".into(), None, vec![0; MAX_BYTES / 2]);
        receipts.keep("whole".into(), None, vec![0; MAX_BYTES]);
        assert!(receipts.find("half", None).is_none() && receipts.find("whole", None).is_some());
        receipts.keep("more".into(), None, vec![0; 2 * MAX_BYTES]);
        assert!(receipts.find("whole", None).is_none() && receipts.find("more", None).is_some());
        assert_eq!(receipts.n_bytes, 2 * MAX_BYTES);
    }
}
