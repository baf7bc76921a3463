//! Hyper-parameters that can differ from layer to layer.

use alloc::vec::Vec;

use super::architecture::{Architecture, AttentionKind, ExpertLayers, FeedForwardKind, Recurrence};
use super::error::ModelError;
use super::heads_config::{HeadKeys, HeadsConfig};
use super::keys::Keys;
use super::latent_config::LatentConfig;
use super::mixer_config::{LayerState, MixerConfig};
use super::recurrent_config::RecurrentConfig;
use crate::gguf::Name;

/// What can differ from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerConfig {
    /// The sequence mixer.
    pub mixer: MixerConfig,
    /// What the sequence mixer keeps of a text.
    pub state: LayerState,
    /// Width of the dense feed-forward block.
    pub n_ff: usize,
    /// Whether the channel mixer is a mixture of experts.
    pub has_experts: bool,
}

/// Reads all layers.
pub(super) fn layers(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    n_embd: usize,
    has_experts: bool,
) -> Result<Vec<LayerConfig>, ModelError> {
    let n_block = keys.width("block_count")?;
    if n_block > keys.gguf.tensors().len() {
        return Err(keys.invalid("block_count", n_block, "at most the number of tensors"));
    }
    let n_nextn = keys.optional_number("nextn_predict_layers")?.unwrap_or(0);
    let n_layer = match n_block.checked_sub(n_nextn) {
        Some(n_layer) if n_layer > 0 => n_layer,
        _ => return Err(keys.invalid("nextn_predict_layers", n_nextn, "less than block_count")),
    };
    let n_dense = keys.optional_number("leading_dense_block_count")?.unwrap_or(0);
    let expert_layers = architecture.routing.map_or(ExpertLayers::All, |routing| routing.layers);
    let expert_step = match expert_layers {
        ExpertLayers::Interleaved => keys.optional_number("interleave_moe_layer_step")?.unwrap_or(1),
        _ => 1,
    };
    let head_keys = HeadKeys::new(keys, architecture, n_embd, n_block, n_layer)?;

    let mut layers: Vec<LayerConfig> = Vec::new();
    layers
        .try_reserve_exact(n_layer)
        .map_err(|_| ModelError::OutOfHeap { needed_bytes: n_layer * size_of::<LayerConfig>() })?;
    // All layers with one have the same.
    let mut recurrent = None;
    for index in 0..n_layer {
        let has_one_mixer = architecture.has_one_mixer;
        let n_ff_number = || keys.optional_layer_number("feed_forward_length", index, n_block);
        let has_channel_mixer = !has_one_mixer || n_ff_number()?.unwrap_or(0) > 0;
        let owner = |layer: usize| layers.get(layer)?.mixer.heads().copied();
        let attention = || attention(keys, architecture, &head_keys, n_embd, index, owner);
        let mixer = match architecture.recurrence {
            _ if has_one_mixer && has_channel_mixer => MixerConfig::None,
            None => attention()?,
            Some(Recurrence { kind, layers }) => match head_keys.mixers(layers, index)? {
                (false, _) => attention()?,
                (true, has_attention) => {
                    let recurrent = match recurrent {
                        Some(recurrent) => recurrent,
                        None => {
                            *recurrent.insert(RecurrentConfig::from_keys(keys, architecture, kind, n_embd)?)
                        }
                    };
                    match has_attention.then(attention).transpose()? {
                        Some(MixerConfig::Heads(heads)) => MixerConfig::Both(heads, recurrent),
                        _ => MixerConfig::Recurrent(recurrent),
                    }
                }
            },
        };
        let has_experts = has_experts
            && has_channel_mixer
            && match expert_layers {
                ExpertLayers::All => true,
                ExpertLayers::AfterLeading => index >= n_dense,
                ExpertLayers::WithRouter => {
                    let router = Name::format(format_args!("blk.{index}.ffn_gate_inp.weight"));
                    keys.gguf.tensor(router.as_str()).is_some()
                }
                // A step of 0 is none.
                ExpertLayers::Interleaved => {
                    index >= n_dense && expert_step > 0 && (index + 1).is_multiple_of(expert_step)
                }
            };
        // Experts are as wide as their tensors.
        let n_ff = match has_experts || has_one_mixer || architecture.has_empty_layers {
            _ if architecture.feed_forward == FeedForwardKind::None => 0,
            true => n_ff_number()?.unwrap_or(0),
            false => keys.layer_width("feed_forward_length", index, n_block)?,
        };
        let n_ff = match architecture.feed_forward {
            FeedForwardKind::HalfGated => n_ff / 2,
            _ => n_ff,
        };
        layers.push(LayerConfig { mixer, state: mixer.state(index), n_ff, has_experts });
    }
    Ok(layers)
}

/// The attention of layer `index`.
fn attention(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    head_keys: &HeadKeys<'_, '_, '_>,
    n_embd: usize,
    index: usize,
    owner: impl Fn(usize) -> Option<HeadsConfig>,
) -> Result<MixerConfig, ModelError> {
    let n_head = head_keys.n_head(index)?;
    if architecture.attention == AttentionKind::Latent {
        return Ok(MixerConfig::Latent(LatentConfig::from_keys(keys, architecture, index, n_embd, n_head)?));
    }
    Ok(match (n_head, head_keys.n_head_kv(n_head, index)?) {
        (0, _) => MixerConfig::None,
        (_, 0) => MixerConfig::Linear,
        (_, n_head_kv) => MixerConfig::Heads(head_keys.heads(n_head, n_head_kv, index, owner)?),
    })
}
