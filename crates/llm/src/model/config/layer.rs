//! Hyper-parameters that can differ from layer to layer.

use alloc::vec::Vec;

use super::super::activation::softplus;
use super::super::architecture::{
    Activation, Architecture, AttentionKind, ExpertLayers, FeedForwardKind, Recurrence, Stacks, Xielu,
};
use super::super::error::ModelError;
use super::experts::{EXPERTS_USED, n_dense};
use super::heads::{HeadKeys, HeadsConfig};
use super::keys::Keys;
use super::latent::LatentConfig;
use super::mixer::{LayerState, MixerConfig};
use super::recurrent::RecurrentConfig;
use crate::gguf::Name;

/// Hyper-parameters that can differ from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerConfig {
    /// The block of the file that contains its tensors; several layers can share one.
    pub block: usize,
    /// The sequence mixer.
    pub mixer: MixerConfig,
    /// The state that the sequence mixer keeps for a text.
    pub state: LayerState,
    /// Width of the dense feed-forward block.
    pub n_ff: usize,
    /// Whether the channel mixer is a mixture of experts.
    pub has_experts: bool,
    /// Experts that a token is sent to; 0 in layers without experts.
    pub n_expert_used: usize,
    /// Whether the channel mixer is a nonlinearity without matrices.
    pub is_bare: bool,
    /// The limit to which the gates of experts are clamped.
    pub gate_limit: Option<f32>,
    /// The limit to which the gates of other blocks are clamped.
    pub dense_limit: Option<f32>,
    /// The constants of its nonlinearity, in families in which they differ by layer.
    pub xielu: Option<Xielu>,
    /// What happens to the stream after the layer.
    pub end: LayerEnd,
    /// In layers where only the largest gates open: the threshold of a token's gates, in standard deviations above
    /// their mean.
    pub gate_cutoff: Option<f32>,
}

/// What happens to the stream after a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerEnd {
    /// Nothing.
    None,
    /// It is normalised in the same way as before the output matrix.
    Normalised,
    /// It is normalised and replaces the lower or the upper side stream. The next layer reads the sum of both.
    Kept {
        /// 0 for the upper, 1 for the lower.
        side: usize,
        /// Whether this is the last layer, so that the stream is the stored one and not the sum.
        is_last: bool,
    },
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
    let expert_layers = architecture.routing.map_or(ExpertLayers::All, |routing| routing.layers);
    let n_dense = match expert_layers {
        ExpertLayers::AfterLeading | ExpertLayers::Interleaved | ExpertLayers::InterleavedOrBare => {
            n_dense(keys)?
        }
        ExpertLayers::All | ExpertLayers::SecondOfEach | ExpertLayers::WithRouter => 0,
    };
    let expert_step = match expert_layers {
        ExpertLayers::Interleaved | ExpertLayers::InterleavedOrBare => {
            keys.optional_number("interleave_moe_layer_step")?.unwrap_or(1)
        }
        ExpertLayers::SecondOfEach => keys.optional_number("moe_every_n_layers")?.unwrap_or(0),
        _ => 1,
    };
    let head_keys = HeadKeys::new(keys, architecture, n_embd, n_block, n_layer)?;

    let mut layers: Vec<LayerConfig> = Vec::new();
    layers
        .try_reserve_exact(n_layer)
        .map_err(|_| ModelError::OutOfHeap { needed_bytes: n_layer * size_of::<LayerConfig>() })?;
    // All layers with a recurrent mixer have the same.
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
        let has_tensor = |part: &str| {
            keys.gguf.tensor(Name::format(format_args!("blk.{index}.{part}.weight")).as_str()).is_some()
        };
        let may_have_experts = has_experts && index >= n_dense;
        let has_experts = has_experts
            && has_channel_mixer
            && match expert_layers {
                ExpertLayers::All => true,
                ExpertLayers::AfterLeading => index >= n_dense,
                ExpertLayers::SecondOfEach => index.checked_rem(expert_step) == Some(1),
                ExpertLayers::WithRouter => has_tensor("ffn_gate_inp"),
                // A step of 0 means no experts.
                ExpertLayers::Interleaved | ExpertLayers::InterleavedOrBare => {
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
        let limit = |key: &str| match architecture.reads(key) {
            true => Ok::<_, ModelError>(
                keys.optional_layer_float(key, index, n_block)?.filter(|&limit| limit > 1e-6),
            ),
            false => Ok(None),
        };
        layers.push(LayerConfig {
            block: index,
            mixer,
            state: mixer.state(index),
            n_ff,
            has_experts,
            n_expert_used: match has_experts {
                true => keys.layer_width(EXPERTS_USED, index, n_block)?,
                false => 0,
            },
            is_bare: match architecture.feed_forward {
                FeedForwardKind::GatedOrBare => keys.optional_number("expert_count")?.unwrap_or(0) > 0,
                _ => {
                    expert_layers == ExpertLayers::InterleavedOrBare
                        && may_have_experts
                        && !has_experts
                        && !has_tensor("ffn_down")
                }
            },
            gate_limit: limit(GATE_LIMIT)?,
            dense_limit: limit(DENSE_LIMIT)?,
            xielu: xielu(keys, architecture, index, n_block)?,
            end: LayerEnd::None,
            gate_cutoff: architecture.default_of(SPARSITY).filter(|_| index < N_SPARSE),
        });
    }
    stack(keys, architecture, &mut layers)?;
    Ok(layers)
}

/// The key for the sparsity of gates, in families whose first layers have sparse gates. The reference uses the same
/// value for every model.
const SPARSITY: &str = "activation_sparsity_scale";
/// The number of layers with sparse gates.
const N_SPARSE: usize = 10;
/// The limit to which the gates of experts are clamped.
const GATE_LIMIT: &str = "swiglu_clamp_exp";
/// The limit to which the gates of other blocks are clamped.
const DENSE_LIMIT: &str = "swiglu_clamp_shexp";

/// The constants of the nonlinearity of layer `index`, of `n_block`.
fn xielu(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    index: usize,
    n_block: usize,
) -> Result<Option<Xielu>, ModelError> {
    let Activation::Xielu(_) = architecture.activation else { return Ok(None) };
    let constant = |name: &str| keys.unprefixed_layer_float(name, index, n_block);
    let beta = constant("xielu.beta")?;
    Ok(Some(Xielu {
        alpha_n: beta + softplus(constant("xielu.alpha_n")?),
        alpha_p: softplus(constant("xielu.alpha_p")?),
        beta,
        eps: constant("xielu.eps")?,
    }))
}

/// Repeats the layers through which a token passes several times.
fn stack(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    layers: &mut Vec<LayerConfig>,
) -> Result<(), ModelError> {
    match architecture.stacks {
        Stacks::Once => {}
        Stacks::Loops => {
            const LOOPS: &str = "num_loops";
            let n_loops = keys.optional_width(LOOPS)?.unwrap_or(1);
            let n_block = layers.len();
            if n_loops.saturating_mul(n_block) > MAX_LAYERS {
                return Err(keys.invalid(LOOPS, n_loops, "at most 512 layers in all"));
            }
            let is_normalised = !keys.optional_bool("skip_loop_final_norm")?.unwrap_or(false);
            let n_layer = n_loops * n_block;
            layers
                .try_reserve_exact(n_layer - n_block)
                .map_err(|_| ModelError::OutOfHeap { needed_bytes: n_layer * size_of::<LayerConfig>() })?;
            for index in n_block..n_layer {
                if index.is_multiple_of(n_block) && is_normalised {
                    layers[index - 1].end = LayerEnd::Normalised;
                }
                let again = layers[index % n_block];
                layers.push(LayerConfig { mixer: again.mixer.in_layer(index), end: LayerEnd::None, ..again });
            }
        }
        Stacks::Hierarchical => {
            let [n_stack, n_upper, n_lower] = [
                keys.width("hrm.layers_per_stack")?,
                keys.width("hrm.h_cycles")?,
                keys.width("hrm.l_cycles")?,
            ];
            let n_layer = n_upper.saturating_mul(n_lower + 1).saturating_mul(n_stack);
            if n_layer != layers.len() {
                return Err(keys.invalid("block_count", layers.len(), "the layers of all cycles"));
            }
            for (index, layer) in layers.iter_mut().enumerate() {
                let is_upper = (index / n_stack + 1).is_multiple_of(n_lower + 1);
                layer.block = index % n_stack + if is_upper { n_stack } else { 0 };
                if (index + 1).is_multiple_of(n_stack) {
                    layer.end =
                        LayerEnd::Kept { side: usize::from(!is_upper), is_last: index + 1 == n_layer };
                }
            }
        }
    }
    Ok(())
}

/// Most layers that a token passes through if layers are repeated, as in the reference.
const MAX_LAYERS: usize = 512;

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
