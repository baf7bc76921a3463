//! [`Chain`]: a running hash of the logits that tokens are drawn from.
//!
//! For each token the bits of its logits, all of the vocabulary, are folded to 64 bytes, and
//!
//! ```text
//! chain(0) = 32 zero bytes        chain(n) = SHA-256(chain(n - 1) ‖ fold(logits of the nth token))
//! ```
//!
//! The fold costs a sixth of what SHA-256 would over all logits by the CPU's instructions, and a fortieth without them. It has sixteen lanes, and logit
//! i goes into lane i mod 16 by the round of XXH32 (Collet, "xxHash fast digest algorithm", section "Stripes"):
//!
//! ```text
//! lane = rotate_left(lane + bits × 0x85ebca77, 13) × 0x9e3779b1
//! ```
//!
//! Each round is a permutation of the lane and of the bits, so any one logit that has other bits gives another fold. Who can choose
//! all logits could find others with the same fold; a verifier computes the logits itself and compares nobody's.

use crate::sha256::{self, Compress, Sha256};

const LANES: usize = 16;

/// The primes of XXH32's rounds.
const MULTIPLIERS: [u32; 2] = [0x85eb_ca77, 0x9e37_79b1];

const ROTATION: u32 = 13;

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

    /// Takes the logits of the next token; returns the first bytes of the hash so far.
    pub fn push(&mut self, compress: Compress, logits: &[f32]) -> [u8; LINK_BYTES] {
        let fold = fold(logits);
        let mut hash = Sha256::new(compress);
        hash.update(&self.value);
        for lane in fold {
            hash.update(&lane.to_le_bytes());
        }
        self.value = hash.finish();
        let [a, b, c, d, ..] = self.value;
        [a, b, c, d]
    }

    /// The hash so far.
    pub fn value(&self) -> &[u8; sha256::DIGEST_BYTES] {
        &self.value
    }
}

/// The bits of all logits in 64 bytes.
fn fold(logits: &[f32]) -> [u32; LANES] {
    let mut lanes = [0_u32; LANES];
    let (rows, rest) = logits.as_chunks::<LANES>();
    for row in rows {
        for (lane, logit) in lanes.iter_mut().zip(row) {
            *lane = round(*lane, *logit);
        }
    }
    for (lane, logit) in lanes.iter_mut().zip(rest) {
        *lane = round(*lane, *logit);
    }
    lanes
}

#[inline(always)]
fn round(lane: u32, logit: f32) -> u32 {
    let sum = lane.wrapping_add(logit.to_bits().wrapping_mul(MULTIPLIERS[0]));
    sum.rotate_left(ROTATION).wrapping_mul(MULTIPLIERS[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn logits(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.37).sin() * 9.0).collect()
    }

    #[test]
    fn any_bit_of_any_logit_counts() {
        for n in [1, 15, 16, 17, 50] {
            let right = logits(n);
            let mut seen = std::collections::HashSet::from([fold(&right)]);
            for index in 0..n {
                for bit in 0..32 {
                    let mut wrong = right.clone();
                    wrong[index] = f32::from_bits(wrong[index].to_bits() ^ 1 << bit);
                    assert!(seen.insert(fold(&wrong)), "bit {bit} of {index} of {n}");
                }
            }
        }
    }

    #[test]
    fn all_that_came_before_counts() {
        let (a, b) = (logits(40), logits(41));
        let chain = |rows: &[&[f32]]| {
            let mut chain = Chain::new();
            rows.iter().for_each(|row| _ = chain.push(sha256::PORTABLE, row));
            chain
        };
        let values =
            [chain(&[]), chain(&[&a]), chain(&[&b]), chain(&[&a, &b]), chain(&[&b, &a]), chain(&[&b, &b])];
        for (index, value) in values.iter().enumerate() {
            assert!(!values[..index].contains(value));
        }
        // Made by Python: hashlib over the definition above.
        let mut one = Chain::new();
        assert_eq!(one.push(sha256::PORTABLE, &[1.0, -2.0, 0.5]), one.value()[..LINK_BYTES]);
        let hex: std::string::String = one.value().iter().map(|byte| std::format!("{byte:02x}")).collect();
        assert_eq!(hex, "8e72b1b7230f7c48bf73104864c04cf7771f2dcb0bec700923345e5542e97564");
    }
}
