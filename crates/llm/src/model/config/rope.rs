//! The hyper-parameters of rotary embeddings.

use super::super::architecture::{
    Architecture, AttentionScale, Positions, RopeKeys, RopePairs, RopeSections, WindowRope,
};
use super::super::error::ModelError;
use super::keys::Keys;

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
    pub(in super::super) fn turn_in_text(&self, i: usize) -> bool {
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
    fn unscaled(&self, freq_base: f32) -> Self {
        RopeConfig { freq_base, freq_scale: 1.0, yarn: None, magnitude: 1.0, has_factors: false, ..*self }
    }

    /// The magnitude without the contribution of an extended context.
    fn unstretched_magnitude(&self) -> f32 {
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
    pub(in super::super) fn kept(&self, i: usize) -> f32 {
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

/// Which elements are rotated together, in a model with this many layers.
pub(super) fn rope_pairs(
    architecture: &Architecture,
    n_layer: usize,
    has_sections: bool,
) -> Option<RopePairs> {
    match architecture.positions {
        Positions::Rope(_) if has_sections => Some(RopePairs::Halves),
        Positions::Rope(pairs) => Some(pairs),
        Positions::ByLayers { rope, pairs, .. } if usize::from(rope) == n_layer => Some(pairs),
        Positions::ByLayers { .. }
        | Positions::None
        | Positions::Learned
        | Positions::Alibi
        | Positions::Relative
        | Positions::AlibiByKey => None,
    }
}

/// How the pairs are divided, in families of models that see images. A model without sections has zeros in the key.
pub(super) fn rope_sections(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
) -> Result<Option<Sections>, ModelError> {
    let is_interleaved = match architecture.rope_sections {
        RopeSections::None => return Ok(None),
        RopeSections::Consecutive => false,
        RopeSections::Interleaved => true,
    };
    let lens = keys.optional_numbers::<4>("rope.dimension_sections")?;
    Ok(lens
        .filter(|[time, height, ..]| *time > 0 && *height > 0)
        .map(|lens| Sections { lens, is_interleaved }))
}

/// The rotary embedding of layers with a window.
pub(super) fn window_rope(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    rope: &RopeConfig,
    head_len: usize,
) -> Result<RopeConfig, ModelError> {
    let base = match architecture.window_rope {
        WindowRope::Shared | WindowRope::Unscaled => None,
        _ => keys.optional_positive("rope.freq_base_swa")?,
    };
    let n_rot = keys.optional_width("rope.dimension_count_swa")?.unwrap_or(rope.n_rot);
    if n_rot > head_len || !n_rot.is_multiple_of(2) {
        return Err(keys.invalid(
            "rope.dimension_count_swa",
            n_rot,
            "an even number up to the length of a head",
        ));
    }
    let rope = RopeConfig { n_rot, ..rope.clone() };
    Ok(match architecture.window_rope {
        WindowRope::Shared | WindowRope::Same => {
            RopeConfig { freq_base: base.unwrap_or(rope.freq_base), ..rope }
        }
        WindowRope::Unscaled | WindowRope::UnscaledOwnBase => rope.unscaled(base.unwrap_or(rope.freq_base)),
        WindowRope::UnscaledBase(_) | WindowRope::UnscaledMagnitude => {
            let default_base = match architecture.window_rope {
                WindowRope::UnscaledBase(base) => base,
                _ => rope.freq_base,
            };
            RopeConfig {
                magnitude: rope.unstretched_magnitude(),
                ..rope.unscaled(base.unwrap_or(default_base))
            }
        }
    })
}
