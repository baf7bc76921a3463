//! The hyper-parameters of a mixture of experts.

use super::architecture::{Architecture, AttentionKind, Gating, Normalise};
use super::error::ModelError;
use super::keys::Keys;
use crate::gguf::Gguf;

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertConfig {
    /// Experts per layer.
    pub n_expert: usize,
    /// Experts that a token is sent to, at most: layers can differ in it.
    pub n_expert_used: usize,
    /// The function that makes probabilities of the router's logits.
    pub gating: Gating,
    /// Whether the weights of the chosen are divided by their sum.
    pub normalise: bool,
    /// What the weights are multiplied by.
    pub weights_scale: f32,
    /// Groups that experts are divided into, 1 for none.
    pub n_group: usize,
    /// Groups that a token's experts are chosen from.
    pub n_group_used: usize,
    /// Width of the widest expert, the shared one included.
    pub n_ff: usize,
    /// Width that the tokens are compressed to for experts, but the shared one; 0 in models that do not.
    pub n_latent: usize,
    /// Experts of a second kind, which read what the first ones give, in models that have them.
    pub chunks: Option<ChunkConfig>,
}

/// Experts that each stand beside several others: who is sent to one of these is sent to it as well (Wu et al. 2025).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChunkConfig {
    /// Experts of the first kind for each of the second.
    pub n_expert: usize,
    /// What their sum is multiplied by.
    pub scale: f32,
}

impl ExpertConfig {
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
        n_vocab: u64,
    ) -> Result<Option<Self>, ModelError> {
        let (Some(n_expert @ 1..), Some(routing)) =
            (keys.optional_number("expert_count")?, architecture.routing)
        else {
            return Ok(None);
        };
        let up_to = |suffix, value: usize, most: usize, expected| {
            if (1..=most).contains(&value) { Ok(value) } else { Err(keys.invalid(suffix, value, expected)) }
        };
        let n_group = keys.optional_number("expert_group_count")?.unwrap_or(1).max(1);
        if !n_expert.is_multiple_of(n_group) {
            return Err(keys.invalid("expert_group_count", n_group, "a divisor of expert_count"));
        }
        let n_group_used = match n_group {
            1 => 1,
            _ => keys.optional_number("expert_group_used_count")?.unwrap_or(n_group).max(1),
        };
        let default_gating = match is_glm_lite(keys, architecture, n_vocab)? {
            true => Gating::Sigmoid,
            false => routing.gating,
        };
        Ok(Some(ExpertConfig {
            n_expert,
            n_expert_used: up_to(
                EXPERTS_USED,
                keys.largest_width(EXPERTS_USED)?,
                n_expert,
                "1 to expert_count",
            )?,
            gating: match keys.optional_number("expert_gating_func")?.unwrap_or(0) {
                _ if !routing.gating_by_key => routing.gating,
                0 => default_gating,
                1 => Gating::Softmax,
                2 => Gating::Sigmoid,
                3 => Gating::SoftmaxOfChosen,
                4 => Gating::RootOfSoftplus,
                other => return Err(keys.invalid("expert_gating_func", other, "0 to 4")),
            },
            normalise: match routing.normalise {
                Normalise::Yes => true,
                Normalise::No => false,
                Normalise::ByKey => keys.optional_bool("expert_weights_norm")?.unwrap_or(false),
            },
            weights_scale: keys.scale(architecture, "expert_weights_scale")?.unwrap_or(1.0),
            n_group,
            n_ff: widest_expert(keys.gguf),
            n_latent: latent_width(keys, architecture)?,
            chunks: match architecture.reads(CHUNK_LEN) {
                true => Some(ChunkConfig {
                    n_expert: up_to(CHUNK_LEN, keys.width(CHUNK_LEN)?, n_expert, "1 to expert_count")?,
                    scale: keys.not_negative("expert_group_scale")?,
                }),
                false => None,
            },
            n_group_used: up_to("expert_group_used_count", n_group_used, n_group, "1 to expert_group_count")?,
        }))
    }
}

/// Experts that a token is sent to: one number, or one of each layer, 0 where a layer has no experts.
pub(super) const EXPERTS_USED: &str = "expert_used_count";

/// Experts of the first kind for each of the second.
const CHUNK_LEN: &str = "experts_per_group";

/// Whether this is the one model of DeepSeek's form that means another function if it does not say.
fn is_glm_lite(keys: &Keys<'_, '_>, architecture: &Architecture, n_vocab: u64) -> Result<bool, ModelError> {
    let n_block = keys.optional_number("block_count")?.unwrap_or(0);
    let n_layer = n_block.saturating_sub(keys.optional_number("nextn_predict_layers")?.unwrap_or(0));
    Ok(architecture.attention == AttentionKind::Latent && matches!(n_layer, 47 | 48) && n_vocab == 154_880)
}

/// The keys that say what width tokens are compressed to for experts.
pub(super) const LATENT_KEYS: [&str; 2] = ["moe_latent_size", "expert_latent_length"];

/// The width that tokens are compressed to for experts, in families that do so.
fn latent_width(keys: &Keys<'_, '_>, architecture: &Architecture) -> Result<usize, ModelError> {
    match LATENT_KEYS.iter().find(|key| architecture.reads(key)) {
        Some(key) => Ok(keys.optional_number(key)?.unwrap_or(0)),
        None => Ok(0),
    }
}

/// The width is not the same key in every family; the tensors say it.
fn widest_expert(gguf: &Gguf<'_>) -> usize {
    let width = |name: &str, rows: u64| match name {
        _ if [".ffn_up.weight", ".ffn_up_exps.weight", ".ffn_up_shexp.weight", ".ffn_up_chexps.weight"]
            .iter()
            .any(|end| name.ends_with(end)) =>
        {
            rows
        }
        _ if name.ends_with(".ffn_gate_up_exps.weight") => rows / 2,
        _ => 0,
    };
    let widths = gguf.tensors().iter().map(|tensor| width(tensor.name, tensor.dims[1]));
    widths.max().map_or(0, |width| width.min(1 << 24) as usize)
}
