//! Rotary position embedding (Su et al. 2021).
//!
//! Each pair of a head's elements is rotated by an angle: the position times the pair's frequency. Frequencies are
//! computed once per model ([`Rope`]), angles once per batch; every head of every layer uses them.

use alloc::vec::Vec;

use super::architecture::RopePairs;
use super::config::{Config, RopeConfig};
use super::error::ModelError;
use super::scratch::BatchAngles;
use crate::simd::Kernels;

/// A rotary embedding ready to be applied.
#[derive(Debug)]
pub struct Rope {
    pairs: RopePairs,
    magnitude: f32,
    /// Radians per position, `[n_rot / 2]`.
    frequencies: Vec<f32>,
}

impl Rope {
    /// Prepares the frequencies. `factors`, `[n_rot / 2]`, divide them (`rope_freqs.weight`, the
    /// scaling of Llama 3; `rope_factors_long.weight`, that of Phi 3).
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfHeap`] if there is no memory for them.
    pub fn new(config: &RopeConfig, pairs: RopePairs, factors: Option<&[f32]>) -> Result<Self, ModelError> {
        let n_pairs = config.n_rot / 2;
        let mut frequencies = Vec::new();
        frequencies
            .try_reserve_exact(n_pairs)
            .map_err(|_| ModelError::OutOfHeap { needed_bytes: n_pairs * size_of::<f32>() })?;
        frequencies.extend((0..n_pairs).map(|i| {
            let exponent = -2.0 * i as f32 / config.n_rot as f32;
            let frequency =
                libm::powf(config.freq_base, exponent) / factors.map_or(1.0, |factors| factors[i]);
            let kept = config.kept(i);
            if config.sections.is_some_and(|sections| !sections.turn_in_text(i)) {
                return 0.0;
            }
            frequency * (config.freq_scale * (1.0 - kept) + kept)
        }));
        Ok(Rope { pairs, magnitude: config.magnitude, frequencies })
    }

    /// Number of pairs that are rotated in each head.
    pub fn n_pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// The cosines and sines of one position's angles, `[n_pairs]` each.
    pub fn angles(&self, position: usize, cos: &mut [f32], sin: &mut [f32]) {
        for ((cos, sin), &frequency) in cos.iter_mut().zip(sin).zip(&self.frequencies) {
            // In double precision: at far positions the 24 bits of single precision would leave too few for the angle
            // within a turn.
            let (s, c) = libm::sincos(position as f64 * f64::from(frequency));
            (*cos, *sin) = (c as f32 * self.magnitude, s as f32 * self.magnitude);
        }
    }

    /// Rotates the first elements of `head` by the angles of its position.
    #[inline(always)]
    pub fn rotate(&self, kernels: &Kernels, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        let n_pairs = self.n_pairs();
        let turned = &mut head[..2 * n_pairs];
        match self.pairs {
            RopePairs::Adjacent => kernels.rope_norm(turned, cos, sin),
            RopePairs::Halves => {
                let (first, second) = turned.split_at_mut(n_pairs);
                kernels.rope_neox(first, second, cos, sin);
            }
        }
    }
}

/// Divisors of the rotary frequencies, `[n_rot / 2]` each.
#[derive(Debug, Clone, Copy, Default)]
pub struct RopeFactors<'a> {
    /// For any length of the context (Llama 3).
    pub always: Option<&'a [f32]>,
    /// For a context no longer than the original one (Phi 3).
    pub short: Option<&'a [f32]>,
    /// For a longer context.
    pub long: Option<&'a [f32]>,
}

/// The rotary embeddings of a model at one length of its context.
#[derive(Debug)]
pub struct Ropes {
    /// For layers that see all positions.
    pub full: Option<Rope>,
    /// For layers with a window, if theirs is different.
    pub windowed: Option<Rope>,
    /// For the keys that indexers make for blocks of positions, in models with indexers. Unlike in a text, all sections are rotated.
    pub blocks: Option<Rope>,
}

impl Ropes {
    /// Prepares the frequencies for a context of `n_ctx` positions.
    ///
    /// # Errors
    ///
    /// [`ModelError::OutOfHeap`] if there is no memory for them.
    pub fn new(config: &Config, factors: RopeFactors<'_>, n_ctx: usize) -> Result<Self, ModelError> {
        let rope = |rope: Option<&RopeConfig>| match (rope, config.rope_pairs()) {
            (Some(rope), Some(pairs)) => {
                let factors = match factors.always {
                    Some(factors) => Some(factors),
                    None if n_ctx > rope.n_ctx_orig => factors.long,
                    None => factors.short,
                };
                Rope::new(rope, pairs, factors.filter(|_| rope.has_factors)).map(Some)
            }
            _ => Ok(None),
        };
        let has_indexer = config.layers.iter().any(|layer| layer.state.kv_shape().index_len > 0);
        let blocks = config.rope.clone().filter(|_| has_indexer);
        Ok(Ropes {
            full: rope(config.rope.as_ref())?,
            windowed: rope(config.window_rope.as_ref())?,
            blocks: rope(blocks.map(|rope| RopeConfig { sections: None, ..rope }).as_ref())?,
        })
    }

    /// The angles of a batch's positions.
    pub(super) fn set_angles(
        &self,
        positions: impl Iterator<Item = usize> + Clone,
        angles: &mut BatchAngles<'_>,
    ) {
        for (rope, angles) in [(&self.full, &mut angles.full), (&self.windowed, &mut angles.windowed)] {
            let Some(rope) = rope else { continue };
            let rows =
                angles.cos.chunks_exact_mut(rope.n_pairs()).zip(angles.sin.chunks_exact_mut(rope.n_pairs()));
            for ((cos, sin), position) in rows.zip(positions.clone()) {
                rope.angles(position, cos, sin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::super::config::Sections;
    use super::*;

    const CONFIG: RopeConfig = RopeConfig {
        n_rot: 4,
        sections: None,
        freq_base: 100.0,
        freq_scale: 1.0,
        yarn: None,
        magnitude: 1.0,
        has_factors: true,
        n_ctx_orig: 16,
    };

    fn rotated(pairs: RopePairs, factors: Option<&[f32]>, position: usize) -> Vec<f32> {
        let rope = Rope::new(&CONFIG, pairs, factors).unwrap();
        let (mut cos, mut sin) = ([0.0; 2], [0.0; 2]);
        rope.angles(position, &mut cos, &mut sin);
        let mut head = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        rope.rotate(Kernels::scalar(), &mut head, &cos, &sin);
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
    fn a_text_turns_all_sections_but_the_last() {
        let turned = |lens: [usize; 4], is_interleaved| {
            let sections = Sections { lens, is_interleaved };
            (0..8).map(|i| sections.turn_in_text(i)).collect::<Vec<_>>()
        };
        assert_eq!(turned([2, 1, 1, 2], false), [true, true, true, true, false, false, true, true]);
        assert_eq!(turned([3, 2, 2, 1], true), [true, true, true, true, true, true, true, false]);
        assert_eq!(turned([3, 1, 2, 2], true), [true, true, true, true, false, true, true, false]);

        let sections = Some(Sections { lens: [1, 0, 0, 1], is_interleaved: false });
        let rope = Rope::new(&RopeConfig { sections, ..CONFIG }, RopePairs::Halves, None).unwrap();
        let (mut cos, mut sin) = ([0.0; 2], [0.0; 2]);
        rope.angles(2, &mut cos, &mut sin);
        assert_close(&[cos[0], sin[0], cos[1], sin[1]], &[2.0_f32.cos(), 2.0_f32.sin(), 1.0, 0.0]);
    }

    #[test]
    fn factors_divide_the_frequencies() {
        assert_close(&rotated(RopePairs::Halves, Some(&[2.0, 2.0]), 4), &rotated(RopePairs::Halves, None, 2));
    }
}
