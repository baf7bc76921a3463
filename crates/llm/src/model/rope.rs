//! Rotary position embedding (Su et al. 2021).
//!
//! Each pair of a head's elements is rotated by an angle: the position times the pair's frequency. Frequencies are
//! computed once per model ([`Rope`]), angles once per batch; every head of every layer uses them.

use alloc::vec::Vec;

use super::Model;
use super::architecture::{Architecture, AttentionScale, RopeKeys, RopePairs};
use super::error::ModelError;
use super::keys::Keys;
use crate::simd::Kernels;

/// The constants of a model's rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Elements of each head that are rotated; even, above 0.
    pub n_rot: usize,
    /// How the pairs are divided, in models that see images.
    pub sections: Option<Sections>,
    /// The base of the geometric sequence of frequencies.
    pub freq_base: f32,
    /// The factor of the frequencies (for linear scaling and YaRN, one over the scaling factor).
    pub freq_scale: f32,
    /// Which frequencies YaRN leaves as they are.
    pub yarn: Option<Yarn>,
    /// The factor of cosines and sines.
    pub magnitude: f32,
    /// Whether frequencies are divided by the factors that the file may have.
    pub has_factors: bool,
    /// Positions that the model was trained for before its context was extended.
    pub n_ctx_orig: usize,
}

/// The sections of pairs in a model that sees images: pairs rotated by the position in time, in height, in width, and
/// the rest. In a text the first three are rotated by the position, the rest not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sections {
    /// Number of pairs in each section.
    pub lens: [usize; 4],
    /// Whether the pairs of the first three sections alternate instead of following each other.
    pub is_interleaved: bool,
}

impl Sections {
    /// Whether pair `i` is rotated in a text.
    fn turn_in_text(&self, i: usize) -> bool {
        let [time, height, width, rest] = self.lens;
        let place = i % (time + height + width + rest);
        match self.is_interleaved {
            true => place / 3 < self.lens[place % 3],
            false => place < time + height + width,
        }
    }
}

/// YaRN (Peng et al. 2023): long waves are stretched, short ones are kept, those in between are blended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// Turns over the original context above which a wave is kept.
    pub beta_fast: f32,
    /// Turns over the original context below which a wave is stretched.
    pub beta_slow: f32,
    /// The share of the blend that applies, 0 to 1.
    pub share: f32,
    /// The multiplier `k` of the logarithm in `1 + 0.1 k ln(factor)`; 0 if there is no such term.
    pub log_multiplier: f32,
}

/// The key for the share of YaRN's blend, in families that state it.
const YARN_SHARE: &str = "rope.scaling.yarn_ext_factor";

/// The default base, that of the paper and of the reference.
const DEFAULT_FREQ_BASE: f32 = 10_000.0;

impl RopeConfig {
    /// `None` in files without rotated elements.
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
        head_len: usize,
        sections: Option<Sections>,
    ) -> Result<Option<Self>, ModelError> {
        let n_rot = match architecture.rope_keys {
            RopeKeys::All => keys.optional_number("rope.dimension_count")?.unwrap_or(head_len),
            RopeKeys::None => head_len,
        };
        if n_rot > head_len || !n_rot.is_multiple_of(2) {
            return Err(keys.invalid(
                "rope.dimension_count",
                n_rot,
                "an even number up to the length of a head",
            ));
        }
        if n_rot == 0 {
            return Ok(None);
        }
        if architecture.rope_keys == RopeKeys::None {
            return Ok(Some(RopeConfig::plain(n_rot, keys.length("context_length")?)));
        }
        // The older name counts only if the newer one is missing; 0 means no scaling.
        let factor = match keys.optional_not_negative("rope.scaling.factor")? {
            None => keys.optional_not_negative("rope.scale_linear")?,
            factor => factor,
        };
        let factor = factor.filter(|&factor| factor > 0.0).unwrap_or(1.0);
        let n_ctx_orig =
            keys.optional_length("rope.scaling.original_context_length")?.filter(|&length| length > 0);
        let mut rope = RopeConfig {
            n_rot,
            sections,
            freq_base: keys.optional_positive("rope.freq_base")?.unwrap_or(DEFAULT_FREQ_BASE),
            freq_scale: 1.0,
            yarn: None,
            has_factors: true,
            magnitude: keys.optional_not_negative("rope.scaling.attn_factor")?.unwrap_or(1.0),
            n_ctx_orig: match n_ctx_orig {
                Some(length) => length,
                None => keys.length("context_length")?,
            },
        };
        let mut share = 0.0;
        match keys.optional_str("rope.scaling.type")? {
            Some("none") => {}
            None | Some("linear" | "longrope") => rope.freq_scale = 1.0 / factor,
            Some("yarn") => (rope.freq_scale, share) = (1.0 / factor, 1.0),
            Some(other) => {
                return Err(keys.unsupported("rope.scaling.type", other, "none, linear, yarn, longrope"));
            }
        }
        if architecture.reads(YARN_SHARE) {
            share = keys.float(YARN_SHARE)?.filter(|&share| share >= 0.0).unwrap_or(share);
        }
        if share > 0.0 {
            rope.set_yarn(keys, architecture, share)?;
        } else if architecture.reads(YARN_SHARE) {
            rope.magnitude *= keys.optional_not_negative("rope.scaling.yarn_attn_factor")?.unwrap_or(1.0);
        }
        if let Some(alpha) = keys.scale(architecture, "rope.scaling.alpha")? {
            let exponent = head_len as f32 / head_len.saturating_sub(2).max(1) as f32;
            rope.freq_base *= libm::powf(alpha, exponent);
        }
        Ok(Some(rope))
    }

    /// The embedding of the paper, without scaling.
    fn plain(n_rot: usize, n_ctx_orig: usize) -> Self {
        RopeConfig {
            n_rot,
            sections: None,
            freq_base: DEFAULT_FREQ_BASE,
            freq_scale: 1.0,
            yarn: None,
            has_factors: false,
            magnitude: 1.0,
            n_ctx_orig,
        }
    }

    fn set_yarn(
        &mut self,
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
        share: f32,
    ) -> Result<(), ModelError> {
        let log_multiplier = keys.scale(architecture, "rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
        // In DeepSeek's files the value already includes the 0.1 of the formula.
        let is_latent = architecture.attention_scale == AttentionScale::HeadLengthAndStretch;
        let log_multiplier = if is_latent { log_multiplier / 0.1 } else { log_multiplier };
        self.magnitude *= match log_multiplier {
            0.0 => self.log_factor(1.0),
            // The magnitudes cancel.
            _ if architecture.name == "deepseek2" => 1.0,
            k => self.log_factor(1.0) / self.log_factor(k),
        };
        self.yarn = Some(Yarn {
            beta_fast: keys.scale(architecture, "rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: keys.scale(architecture, "rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            log_multiplier,
            share,
        });
        Ok(())
    }

    /// `1 + 0.1 k ln(factor)`, by which YaRN sharpens attention.
    fn log_factor(&self, k: f32) -> f32 {
        if self.freq_scale < 1.0 { 1.0 - 0.1 * k * libm::logf(self.freq_scale) } else { 1.0 }
    }

    /// The same embedding for a context that is not extended.
    pub(super) fn unscaled(&self, freq_base: f32) -> Self {
        RopeConfig { freq_base, freq_scale: 1.0, yarn: None, magnitude: 1.0, has_factors: false, ..*self }
    }

    /// The magnitude without the contribution of an extended context.
    pub(super) fn unstretched_magnitude(&self) -> f32 {
        self.magnitude / self.yarn.map_or(1.0, |_| self.log_factor(1.0))
    }

    /// The factor of the scores of latent attention in an extended context. Only a part of each head is rotated, so the
    /// factor cannot be applied to the rotated elements alone.
    pub(super) fn latent_attention_factor(&self) -> f32 {
        let growth = self.log_factor(self.yarn.map_or(1.0, |yarn| yarn.log_multiplier));
        let factor = self.magnitude * growth;
        factor * factor
    }

    /// The share of pair `i`'s frequency that is kept unscaled, 0 to 1.
    fn kept(&self, i: usize) -> f32 {
        let Some(yarn) = self.yarn else { return 0.0 };
        // The unrounded index of the pair whose wave makes this many turns over the original context.
        let pair_of = |turns: f32| {
            let wave = self.n_ctx_orig as f32 / (turns * 2.0 * core::f32::consts::PI);
            self.n_rot as f32 * libm::logf(wave) / (2.0 * libm::logf(self.freq_base))
        };
        let low = libm::floorf(pair_of(yarn.beta_fast)).max(0.0);
        let high = libm::ceilf(pair_of(yarn.beta_slow)).min(self.n_rot as f32 - 1.0);
        let ramp = (i as f32 - low) / (high - low).max(0.001);
        (1.0 - ramp.clamp(0.0, 1.0)) * yarn.share
    }
}

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
    pub fn new(model: &Model<'_>, n_ctx: usize) -> Result<Self, ModelError> {
        let config = model.config();
        let factors = model.weights().rope_factors;
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
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

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
