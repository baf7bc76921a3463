//! The hyper-parameters of a mixture of experts.

use super::super::architecture::{Architecture, AttentionKind, Gating, Normalise};
use super::super::error::ModelError;
use super::keys::Keys;
use crate::gguf::Gguf;

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertConfig {
    /// Experts per layer.
    pub n_expert: usize,
    /// Most experts that a token is sent to; the number can differ by layer.
    pub n_expert_used: usize,
    /// The function that turns the router's logits into probabilities.
    pub gating: Gating,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub normalise: bool,
    /// The factor of the weights.
    pub weights_scale: f32,
    /// Number of groups of experts, 1 if there are no groups.
    pub n_group: usize,
    /// Number of groups from which a token's experts are chosen.
    pub n_group_used: usize,
    /// Width of the widest expert, including the shared one.
    pub n_ff: usize,
    /// Width to which tokens are compressed for experts other than the shared one; 0 in models without compression.
    pub n_latent: usize,
    /// Experts of a second kind, which read the output of the first ones, in models that have them.
    pub chunks: Option<ChunkConfig>,
}

/// Experts that each belong to a group of others: a token that is sent to one of the group is sent to this expert as
/// well (Wu et al. 2025).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChunkConfig {
    /// Number of experts of the first kind for each one of the second kind.
    pub n_expert: usize,
    /// The factor of their sum.
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

/// The key for the number of experts that a token is sent to: one number, or one for each layer, with 0 for a layer
/// without experts.
pub(super) const EXPERTS_USED: &str = "expert_used_count";

/// Number of experts of the first kind for each one of the second kind.
const CHUNK_LEN: &str = "experts_per_group";

/// Whether this is the one model of DeepSeek's form that has a different default function.
fn is_glm_lite(keys: &Keys<'_, '_>, architecture: &Architecture, n_vocab: u64) -> Result<bool, ModelError> {
    let n_block = keys.optional_number("block_count")?.unwrap_or(0);
    let n_layer = n_block.saturating_sub(keys.optional_number("nextn_predict_layers")?.unwrap_or(0));
    Ok(architecture.attention == AttentionKind::Latent && matches!(n_layer, 47 | 48) && n_vocab == 154_880)
}

/// The keys for the width to which tokens are compressed for experts.
pub(in super::super) const LATENT_KEYS: [&str; 2] = ["moe_latent_size", "expert_latent_length"];

/// The width to which tokens are compressed for experts, in families that do so.
fn latent_width(keys: &Keys<'_, '_>, architecture: &Architecture) -> Result<usize, ModelError> {
    match LATENT_KEYS.iter().find(|key| architecture.reads(key)) {
        Some(key) => Ok(keys.optional_number(key)?.unwrap_or(0)),
        None => Ok(0),
    }
}

/// Families have different keys for the width, so it is taken from the tensors.
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

/// The number of layers at the beginning without experts.
pub(super) fn n_dense(keys: &Keys<'_, '_>) -> Result<usize, ModelError> {
    Ok(keys.optional_number("leading_dense_block_count")?.unwrap_or(0))
}
