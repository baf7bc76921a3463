//! [`Entropy`]: what is known of numbers that nobody could have told beforehand, and secrets made of it.

use trust::sha256::{DIGEST_BYTES, PORTABLE, Sha256};

/// Bytes that must have come before there are secrets: 128 bits.
const MIN_BYTES: usize = 16;

/// The digest of all random numbers that have come.
pub struct Entropy {
    digest: [u8; DIGEST_BYTES],
    n_bytes: usize,
}

impl Default for Entropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy {
    /// None yet.
    pub const fn new() -> Self {
        Self { digest: [0; DIGEST_BYTES], n_bytes: 0 }
    }

    /// Takes bytes of a source of random numbers.
    pub fn stir(&mut self, bytes: &[u8]) {
        self.digest = self.step(b"stir", bytes);
        self.n_bytes = self.n_bytes.saturating_add(bytes.len());
    }

    /// Says that the machine was restored from a snapshot, as others may have been that have got the same numbers: there are no secrets
    /// until enough new ones have come.
    pub fn begin_anew(&mut self) {
        self.n_bytes = 0;
    }

    /// Takes bytes that make secrets differ, but that others may know.
    pub fn mix(&mut self, bytes: &[u8]) {
        self.digest = self.step(b"mix", bytes);
    }

    /// Bytes that nobody can guess, others each time; `None` if too few random numbers have come. `now` may make them differ where
    /// the same numbers have come twice, as after a snapshot.
    pub fn secret(&mut self, now: &[u8]) -> Option<[u8; DIGEST_BYTES]> {
        if self.n_bytes < MIN_BYTES {
            return None;
        }
        let secret = self.step(b"secret", now);
        // What was given out does not follow from what is kept.
        self.digest = self.step(b"next", now);
        Some(secret)
    }

    fn step(&self, purpose: &[u8], bytes: &[u8]) -> [u8; DIGEST_BYTES] {
        let mut hash = Sha256::new(PORTABLE);
        hash.update(&self.digest);
        hash.update(&(purpose.len() as u64).to_le_bytes());
        hash.update(purpose);
        hash.update(bytes);
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn there_are_no_secrets_without_random_numbers() {
        let mut entropy = Entropy::new();
        assert_eq!(entropy.secret(b"now"), None);
        entropy.stir(&[1; MIN_BYTES - 1]);
        entropy.mix(&[1; 100]);
        assert_eq!(entropy.secret(b"now"), None);
        entropy.stir(&[1]);
        assert!(entropy.secret(b"now").is_some());
    }

    #[test]
    fn after_a_snapshot_there_are_no_secrets_without_new_random_numbers() {
        let mut entropy = Entropy::new();
        entropy.stir(&[1; 100]);
        assert!(entropy.secret(b"now").is_some());
        entropy.begin_anew();
        entropy.mix(b"the generation");
        assert_eq!(entropy.secret(b"now"), None);
        entropy.stir(&[2; MIN_BYTES - 1]);
        assert_eq!(entropy.secret(b"now"), None);
        entropy.stir(&[2]);
        assert!(entropy.secret(b"now").is_some());
    }

    #[test]
    fn secrets_differ_each_time_and_with_all_that_has_come() {
        let mut seen = HashSet::new();
        for seed in 0..10 {
            let mut entropy = Entropy::new();
            entropy.stir(&[seed; 32]);
            for _ in 0..10 {
                assert!(seen.insert(entropy.secret(b"now").unwrap()));
            }
            entropy.stir(&[7]);
            assert!(seen.insert(entropy.secret(b"now").unwrap()));
            entropy.mix(&[7]);
            assert!(seen.insert(entropy.secret(b"now").unwrap()));
            assert!(seen.insert(entropy.secret(b"later").unwrap()));
        }
    }
}
