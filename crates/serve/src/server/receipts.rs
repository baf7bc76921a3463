//! [`Receipts`]: the receipts of the most recent answers, for clients that ask for them.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use trust::sha256;

/// Most receipts that are kept.
pub(super) const MAX_RECEIPTS: usize = 64;

/// Most bytes of all receipts that are kept, not counting the last one.
const MAX_BYTES: usize = 1 << 20;

/// The receipts of the most recent answers.
#[derive(Default)]
pub(super) struct Receipts {
    list: VecDeque<Entry>,
    n_bytes: usize,
}

struct Entry {
    id: String,
    /// The number of the key that the request brought, if any.
    key: Option<usize>,
    /// SHA-256 of the nonce that a client must present, if the request was encrypted.
    secret: Option<[u8; 32]>,
    text: Vec<u8>,
}

/// Digests are compared instead of nonces, so that the time of the comparison reveals nothing about the nonce.
fn digest(nonce: &str) -> [u8; 32] {
    sha256::digest(sha256::PORTABLE, nonce.as_bytes())
}

impl Receipts {
    /// Keeps the receipt of an answer to a request with this key. The receipt of an encrypted request is only for
    /// clients that know the secret. If there is no memory for it, it is not kept.
    pub fn keep(&mut self, id: String, key: Option<usize>, secret: Option<&str>, text: Vec<u8>) {
        self.n_bytes += text.len();
        while self.list.len() >= MAX_RECEIPTS || (self.n_bytes > MAX_BYTES && !self.list.is_empty()) {
            let dropped = self.list.pop_front();
            self.n_bytes -= dropped.map_or(0, |entry| entry.text.len());
        }
        match self.list.try_reserve(1) {
            Ok(()) => self.list.push_back(Entry { id, key, secret: secret.map(digest), text }),
            Err(_) => self.n_bytes -= text.len(),
        }
    }

    /// The receipt of an answer to a request with this key, if it is kept. `secret` is the nonce that the client
    /// presented in an encrypted request.
    pub fn find(&self, id: &str, key: Option<usize>, secret: Option<&str>) -> Option<&[u8]> {
        let entry = self.list.iter().find(|entry| entry.id == id && entry.key == key)?;
        (entry.secret.is_none() || entry.secret == secret.map(digest)).then_some(&*entry.text)
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
            receipts.keep(number.to_string(), Some(number % 2), None, vec![number as u8]);
        }
        assert_eq!(receipts.find("1", Some(1), None), None);
        assert_eq!(receipts.find("2", Some(0), None), Some(&[2][..]));
        assert_eq!(receipts.find("2", Some(1), None), None);
        assert_eq!(receipts.find("2", None, None), None);
        receipts.keep("half".into(), None, None, vec![0; MAX_BYTES / 2]);
        receipts.keep("whole".into(), None, None, vec![0; MAX_BYTES]);
        assert!(receipts.find("half", None, None).is_none() && receipts.find("whole", None, None).is_some());
        receipts.keep("more".into(), None, None, vec![0; 2 * MAX_BYTES]);
        assert!(receipts.find("whole", None, None).is_none() && receipts.find("more", None, None).is_some());
        assert_eq!(receipts.n_bytes, 2 * MAX_BYTES);
        receipts.keep("sealed".into(), None, Some("a nonce"), vec![7]);
        for (secret, expected) in
            [(Some("a nonce"), Some(&[7][..])), (Some("another"), None), (Some(""), None), (None, None)]
        {
            assert_eq!(receipts.find("sealed", None, secret), expected);
        }
    }
}
