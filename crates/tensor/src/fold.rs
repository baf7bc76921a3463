//! [`fold`]: condenses the bits of many numbers into 64 bytes, so that hashing them is cheap.
//!
//! There are sixteen lanes, and number i goes into lane i mod 16 by the round of XXH32 (Collet, "xxHash fast digest algorithm",
//! section "Stripes"):
//!
//! ```text
//! lane = rotate_left(lane + bits × 0x85ebca77, 13) × 0x9e3779b1
//! ```
//!
//! Each round is a permutation of the lane and of the bits, so that a change in any one number changes the fold. Somebody who can
//! choose all numbers could find others with the same fold: it is only for numbers that the comparing side computed itself.

/// Number of lanes.
pub const LANES: usize = 16;

/// The primes of XXH32's rounds.
const MULTIPLIERS: [u32; 2] = [0x85eb_ca77, 0x9e37_79b1];

const ROTATION: u32 = 13;

/// Condenses the bits of all numbers into 64 bytes.
pub fn fold(numbers: &[f32]) -> [u32; LANES] {
    let mut lanes = [0_u32; LANES];
    let (rows, rest) = numbers.as_chunks::<LANES>();
    for row in rows {
        lanes = core::array::from_fn(|i| round(lanes[i], row[i]));
    }
    for (lane, number) in lanes.iter_mut().zip(rest) {
        *lane = round(*lane, *number);
    }
    lanes
}

#[inline(always)]
fn round(lane: u32, number: f32) -> u32 {
    let sum = lane.wrapping_add(number.to_bits().wrapping_mul(MULTIPLIERS[0]));
    sum.rotate_left(ROTATION).wrapping_mul(MULTIPLIERS[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    #[test]
    fn any_bit_of_any_number_counts() {
        for n in [1, 15, 16, 17, 50] {
            let right: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin() * 9.0).collect();
            let mut seen = BTreeSet::from([fold(&right)]);
            for index in 0..n {
                for bit in 0..32 {
                    let mut wrong = right.clone();
                    wrong[index] = f32::from_bits(wrong[index].to_bits() ^ 1 << bit);
                    assert!(seen.insert(fold(&wrong)), "bit {bit} of {index} of {n}");
                }
            }
        }
    }

    /// The expected values were computed from the definition with Python.
    #[test]
    fn a_fold_is_as_defined() {
        let mut expected = [0; LANES];
        (expected[0], expected[1], expected[2]) = (0x76cf_8390, 0xbbcd_8800, 0xba36_6f20);
        assert_eq!(fold(&[1.0, -2.0, 0.5]), expected);
        let numbers: Vec<f32> = (0..17).map(|i| i as f32 * 0.5).collect();
        assert_eq!(fold(&numbers)[..2], [0xbd64_a0e0, 0xba36_6f20]);
    }
}
