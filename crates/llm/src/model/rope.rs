//! Rotary position embedding (Su et al. 2021).
//!
//! Each pair of a head's elements is turned by an angle that is the position times the pair's
//! frequency. Frequencies are computed once per model ([`Rope`]), angles once per batch, and used by
//! every head of every layer.

use alloc::vec::Vec;

use super::architecture::RopePairs;
use super::config::Keys;
use super::error::ModelError;

/// The constants of a model's rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Elements of each head that are turned, from its start; even.
    pub n_rot: usize,
    /// The base of the geometric sequence of frequencies.
    pub freq_base: f32,
    /// What every frequency is multiplied by (linear scaling: one over the factor).
    pub freq_scale: f32,
}

/// The base of a file that names none: that of the paper, and of the reference.
const DEFAULT_FREQ_BASE: f32 = 10_000.0;

impl RopeConfig {
    pub(super) fn from_keys(keys: &Keys<'_, '_>, head_len: usize) -> Result<Self, ModelError> {
        let n_rot = keys.optional_width("rope.dimension_count")?.unwrap_or(head_len);
        if n_rot > head_len || !n_rot.is_multiple_of(2) {
            return Err(keys.invalid(
                "rope.dimension_count",
                n_rot,
                "an even number up to the length of a head",
            ));
        }
        let factor = match keys.optional_str("rope.scaling.type")? {
            Some("none") => None,
            None | Some("linear") => match keys.optional_positive("rope.scaling.factor")? {
                None => keys.optional_positive("rope.scale_linear")?,
                factor => factor,
            },
            Some(other) => return Err(keys.unsupported("rope.scaling.type", other, "none, linear")),
        };
        Ok(RopeConfig {
            n_rot,
            freq_base: keys.optional_positive("rope.freq_base")?.unwrap_or(DEFAULT_FREQ_BASE),
            freq_scale: 1.0 / factor.unwrap_or(1.0),
        })
    }
}

/// A rotary embedding ready to be applied.
#[derive(Debug)]
pub struct Rope {
    pairs: RopePairs,
    /// Radians per position, `[n_rot / 2]`.
    frequencies: Vec<f32>,
}

impl Rope {
    /// Prepares the frequencies. `factors`, `[n_rot / 2]`, divide them (`rope_freqs.weight`, the
    /// scaling of Llama 3).
    pub fn new(config: &RopeConfig, pairs: RopePairs, factors: Option<&[f32]>) -> Result<Self, ModelError> {
        let n_pairs = config.n_rot / 2;
        let mut frequencies = Vec::new();
        frequencies
            .try_reserve_exact(n_pairs)
            .map_err(|_| ModelError::OutOfHeap { needed_bytes: n_pairs * size_of::<f32>() })?;
        frequencies.extend((0..n_pairs).map(|i| {
            let exponent = -2.0 * i as f32 / config.n_rot as f32;
            let frequency = libm::powf(config.freq_base, exponent) * config.freq_scale;
            frequency / factors.map_or(1.0, |factors| factors[i])
        }));
        Ok(Rope { pairs, frequencies })
    }

    /// Pairs that are turned in each head.
    pub fn n_pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// The cosines and sines of one position's angles, `[n_pairs]` each.
    pub fn angles(&self, position: usize, cos: &mut [f32], sin: &mut [f32]) {
        for ((cos, sin), &frequency) in cos.iter_mut().zip(sin).zip(&self.frequencies) {
            // Double precision, because a single's 24 bits leave few for the turn at far positions.
            let (s, c) = libm::sincos(position as f64 * f64::from(frequency));
            (*cos, *sin) = (c as f32, s as f32);
        }
    }

    /// Turns each head of `heads`, `[n_heads][head_len]`, all at the position that the angles are of.
    pub fn rotate(&self, heads: &mut [f32], head_len: usize, cos: &[f32], sin: &[f32]) {
        let n_pairs = self.n_pairs();
        for head in heads.chunks_exact_mut(head_len) {
            let (turned, _) = head.split_at_mut(2 * n_pairs);
            match self.pairs {
                RopePairs::Adjacent => {
                    for ((pair, cos), sin) in turned.chunks_exact_mut(2).zip(cos).zip(sin) {
                        (pair[0], pair[1]) = turn(pair[0], pair[1], *cos, *sin);
                    }
                }
                RopePairs::Halves => {
                    let (first, second) = turned.split_at_mut(n_pairs);
                    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                        (*a, *b) = turn(*a, *b, *cos, *sin);
                    }
                }
            }
        }
    }
}

fn turn(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, a * sin + b * cos)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    const CONFIG: RopeConfig = RopeConfig { n_rot: 4, freq_base: 100.0, freq_scale: 1.0 };

    fn rotated(pairs: RopePairs, factors: Option<&[f32]>, position: usize) -> Vec<f32> {
        let rope = Rope::new(&CONFIG, pairs, factors).unwrap();
        let (mut cos, mut sin) = ([0.0; 2], [0.0; 2]);
        rope.angles(position, &mut cos, &mut sin);
        let mut head = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        rope.rotate(&mut head, 6, &cos, &sin);
        head
    }

    fn assert_close(got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} is not {want}");
        }
    }

    #[test]
    fn position_zero_turns_nothing() {
        assert_close(&rotated(RopePairs::Adjacent, None, 0), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn each_kind_turns_its_pairs_by_position_times_frequency() {
        // Frequencies 1 and 0.1; at position 2 the angles are 2 and 0.2.
        let (s2, c2) = (2.0_f32.sin(), 2.0_f32.cos());
        let (s02, c02) = (0.2_f32.sin(), 0.2_f32.cos());
        assert_close(
            &rotated(RopePairs::Adjacent, None, 2),
            &[c2 - 2.0 * s2, s2 + 2.0 * c2, 3.0 * c02 - 4.0 * s02, 3.0 * s02 + 4.0 * c02, 5.0, 6.0],
        );
        assert_close(
            &rotated(RopePairs::Halves, None, 2),
            &[c2 - 3.0 * s2, 2.0 * c02 - 4.0 * s02, s2 + 3.0 * c2, 2.0 * s02 + 4.0 * c02, 5.0, 6.0],
        );
    }

    #[test]
    fn factors_divide_the_frequencies() {
        assert_close(&rotated(RopePairs::Halves, Some(&[2.0, 2.0]), 4), &rotated(RopePairs::Halves, None, 2));
    }
}
