//! [`Chain`]: a running hash of the logits that tokens are drawn from.
//!
//! For each token the bits of its logits, all of the vocabulary, are folded to 64 bytes, and
//!
//! ```text
//! chain(0) = 32 zero bytes        chain(n) = SHA-256(chain(n - 1) ‖ fold(logits of the nth token))
//! ```
//!
//! The fold is computed where logits are (`tensor::fold` of Ferrite): a sixth of what SHA-256 would cost over all logits by the CPU's
//! instructions, and a fortieth without them.

use crate::sha256::{self, Compress};

/// Lanes of a fold.
pub const LANES: usize = 16;

/// Bytes of the chain that are kept of each token.
pub const LINK_BYTES: usize = 4;

/// The running hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    value: [u8; sha256::DIGEST_BYTES],
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// That of no tokens.
    pub const fn new() -> Self {
        Self { value: [0; sha256::DIGEST_BYTES] }
    }

    /// Takes the fold of the next token's logits; returns the first bytes of the hash so far.
    pub fn push(&mut self, compress: Compress, fold: &[u32; LANES]) -> [u8; LINK_BYTES] {
        let mut bytes = [0; sha256::DIGEST_BYTES + LANES * 4];
        let (before, folded) = bytes.split_at_mut(sha256::DIGEST_BYTES);
        before.copy_from_slice(&self.value);
        for (bytes, lane) in folded.chunks_exact_mut(4).zip(fold) {
            bytes.copy_from_slice(&lane.to_le_bytes());
        }
        self.value = sha256::digest(compress, &bytes);
        let [a, b, c, d, ..] = self.value;
        [a, b, c, d]
    }

    /// The hash so far.
    pub fn value(&self) -> &[u8; sha256::DIGEST_BYTES] {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_came_before_counts() {
        let (a, b) = ([7; LANES], core::array::from_fn(|i| i as u32));
        let chain = |folds: &[&[u32; LANES]]| {
            let mut chain = Chain::new();
            folds.iter().for_each(|fold| _ = chain.push(sha256::PORTABLE, fold));
            chain
        };
        let values =
            [chain(&[]), chain(&[&a]), chain(&[&b]), chain(&[&a, &b]), chain(&[&b, &a]), chain(&[&b, &b])];
        for (index, value) in values.iter().enumerate() {
            assert!(!values[..index].contains(value));
        }
        // Made by Python: hashlib over the definition above, of the logits 1, -2 and 0.5.
        let mut fold = [0; LANES];
        (fold[0], fold[1], fold[2]) = (0x76cf_8390, 0xbbcd_8800, 0xba36_6f20);
        let mut one = Chain::new();
        assert_eq!(one.push(sha256::PORTABLE, &fold), one.value()[..LINK_BYTES]);
        let hex: std::string::String = one.value().iter().map(|byte| std::format!("{byte:02x}")).collect();
        assert_eq!(hex, "8e72b1b7230f7c48bf73104864c04cf7771f2dcb0bec700923345e5542e97564");
    }
}
