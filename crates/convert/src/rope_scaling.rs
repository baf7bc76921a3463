//! `rope_scaling`, or `rope_parameters`: how the rotary embedding is stretched for longer texts.

use anyhow::{Context, Result, bail};
use llm::gguf::GgufWriter;
use serde::Deserialize;

use super::put_optional_u32;

/// The fields of config.json, by their own names.
#[derive(Debug, Clone, Deserialize)]
pub struct RopeScaling {
    rope_type: Option<String>,
    /// The older name of `rope_type`; files that are read by both old and new programs have both.
    #[serde(rename = "type")]
    old_type: Option<String>,
    pub rope_theta: Option<f32>,
    pub partial_rotary_factor: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    pub original_max_position_embeddings: Option<u32>,
    /// The divisors of the frequencies for texts longer than the original context (`long_factor`), and for all other texts
    /// (`short_factor`).
    long_factor: Option<Vec<f32>>,
    short_factor: Option<Vec<f32>>,
    /// For each way of counting positions, how many pairs of a head it rotates.
    pub mrope_section: Option<Vec<i32>>,
    attention_factor: Option<f32>,
    attn_factor: Option<f32>,
    beta_fast: Option<f32>,
    beta_slow: Option<f32>,
    mscale: Option<f32>,
    mscale_all_dim: Option<f32>,
    extrapolation_factor: Option<f32>,
    truncate: Option<bool>,
    /// The parameters of layers without a window, if layers differ.
    full_attention: Option<Box<RopeScaling>>,
    /// The parameters of layers with a window.
    sliding_attention: Option<Box<RopeScaling>>,
}

/// LongRoPE's divisors (arXiv 2402.13753), as in Phi 3.
#[derive(Debug, Clone)]
pub struct LongRope {
    pub long: Vec<f32>,
    pub short: Vec<f32>,
    /// The factor for queries and keys.
    pub attention_factor: f32,
}

impl RopeScaling {
    /// The parameters of layers without a window.
    pub fn of_full_attention(&self) -> &Self {
        self.full_attention.as_deref().unwrap_or(self)
    }

    /// The base of layers with a window.
    pub fn window_theta(&self) -> Option<f32> {
        self.sliding_attention.as_ref().and_then(|rope| rope.rope_theta)
    }

    /// The divisors of a model for `n_ctx` positions that was first trained for `original` positions, if it has any.
    pub fn long(&self, original: u32, n_ctx: u32) -> Result<Option<LongRope>> {
        let Some(long) = self.long_factor.clone() else { return Ok(None) };
        let short = self.short_factor.clone().context("rope_scaling has long_factor and no short_factor")?;
        if original < 2 {
            bail!("original_max_position_embeddings is {original}, expected a longer context");
        }
        let scale = f64::from(n_ctx) / f64::from(original);
        let factor = match self.kind() {
            _ if scale <= 1.0 => 1.0,
            Some("su" | "longrope") => (1.0 + scale.ln() / f64::from(original).ln()).sqrt(),
            Some("yarn") => 0.1 * scale.ln() + 1.0,
            other => bail!("rope_scaling with long_factor is {other:?}, expected longrope, su or yarn"),
        };
        Ok(Some(LongRope { long, short, attention_factor: factor as f32 }))
    }

    fn kind(&self) -> Option<&str> {
        self.rope_type.as_deref().or(self.old_type.as_deref())
    }

    /// The divisors of the rotary frequencies for heads of this length, as in Llama 3.1 and later.
    ///
    /// `n_ctx` is the original context length, for parameters that do not contain it.
    pub fn factors(&self, head_dim: u32, rope_theta: f32, n_ctx: Option<u32>) -> Result<Option<Vec<f32>>> {
        if self.kind() != Some("llama3") {
            return Ok(None);
        }
        let factor = self.factor.unwrap_or(8.0);
        let (low, high) = (self.low_freq_factor.unwrap_or(1.0), self.high_freq_factor.unwrap_or(4.0));
        let n_ctx = self.original_max_position_embeddings.or(n_ctx).unwrap_or(8192);
        if low >= high {
            bail!("rope_scaling has low_freq_factor {low} and high_freq_factor {high}, expected a lower one");
        }
        let factors = (0..head_dim / 2).map(|pair| {
            let frequency = rope_theta.powf(-2.0 * pair as f32 / head_dim as f32);
            let turns = n_ctx as f32 * frequency / (2.0 * std::f32::consts::PI);
            if turns > high {
                1.0
            } else if turns < low {
                factor
            } else {
                let kept = (turns - low) / (high - low);
                1.0 / ((1.0 - kept) / factor + kept)
            }
        });
        Ok(Some(factors.collect()))
    }

    /// Adds the parameters to a GGUF header.
    pub fn describe(&self, writer: &mut GgufWriter, architecture: &str, n_ctx: Option<u32>) -> Result<()> {
        let key = |suffix: &str| format!("{architecture}.rope.scaling.{suffix}");
        let (kind, factor) = match (self.kind(), self.factor) {
            (None | Some("default" | "llama3"), _) => return Ok(()),
            (Some(kind @ ("linear" | "yarn")), Some(factor)) if factor > 0.0 => (kind, factor),
            (Some(other), _) => {
                bail!("rope_scaling is {other:?}, expected linear or yarn with a factor, or llama3")
            }
        };
        writer.put_str(&key("type"), kind)?;
        writer.put_f32(&key("factor"), factor)?;
        if kind == "linear" {
            return Ok(());
        }
        let n_ctx = self.original_max_position_embeddings.or(n_ctx);
        put_optional_u32(writer, &key("original_context_length"), n_ctx)?;
        if self.truncate == Some(false) {
            bail!("rope_scaling has truncate false, expected true");
        }
        if let Some(extrapolation) = self.extrapolation_factor.filter(|&extrapolation| extrapolation != 1.0) {
            bail!("rope_scaling has extrapolation_factor {extrapolation}, expected 1");
        }
        if let Some(attention_factor) = self.attention_factor(factor) {
            writer.put_f32(&key("yarn_attn_factor"), attention_factor)?;
            // The value in GGUF multiplies the factor that is usual.
            writer.put_f32(&key("attn_factor"), attention_factor / magnitude(factor, 1.0))?;
        }
        for (suffix, value) in [("yarn_beta_fast", self.beta_fast), ("yarn_beta_slow", self.beta_slow)] {
            if let Some(value) = value {
                writer.put_f32(&key(suffix), value)?;
            }
        }
        Ok(())
    }

    /// The factor for queries and keys, if it differs from the usual one for the scaling factor.
    fn attention_factor(&self, factor: f32) -> Option<f32> {
        let by_scales = || match (self.mscale?, self.mscale_all_dim?) {
            (mscale, all_dim) if mscale != 0.0 && all_dim != 0.0 => {
                Some(magnitude(factor, mscale) / magnitude(factor, all_dim))
            }
            _ => None,
        };
        self.attention_factor.or(self.attn_factor).or_else(by_scales)
    }
}

/// `get_mscale` of YaRN: the factor by which rotated vectors become longer (arXiv 2309.00071, section 3.4).
fn magnitude(factor: f32, mscale: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}
