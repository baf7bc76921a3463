//! Hyper-parameters that can differ from layer to layer.

use alloc::vec::Vec;

use super::architecture::{Architecture, ExpertLayers, FeedForwardKind, RopeLayers, Window};
use super::error::ModelError;
use super::keys::Keys;
use super::latent_config::LatentConfig;
use crate::gguf::Value;
use crate::kv_cache::KvShape;

/// What can differ from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerConfig {
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; each serves `n_head / n_head_kv` query heads.
    pub n_head_kv: usize,
    /// Elements of a query or key head.
    pub head_len_k: usize,
    /// Elements of a value head.
    pub head_len_v: usize,
    /// Width of the dense feed-forward block.
    pub n_ff: usize,
    /// Which positions are seen.
    pub sight: Sight,
    /// Whether queries and keys are turned.
    pub has_rope: bool,
    /// Whether the channel mixer is a mixture of experts.
    pub has_experts: bool,
    /// The layer whose keys and values are attended to: itself, or an earlier one.
    pub kv_layer: usize,
}

/// The positions that a query sees, of those that causality allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// All.
    All,
    /// Its own and those before it, so many in all.
    Window(usize),
    /// Those of its own chunk of so many.
    Chunk(usize),
}

impl LayerConfig {
    /// What the cache keeps of a position where it keeps the keys and values of heads.
    pub(super) fn heads_shape(&self) -> KvShape {
        KvShape { n_head_kv: self.n_head_kv, head_len_k: self.head_len_k, head_len_v: self.head_len_v }
    }

    /// What the cache keeps of a position.
    pub fn kv_shape(&self, latent: Option<&LatentConfig>) -> KvShape {
        match latent {
            None => self.heads_shape(),
            Some(latent) => latent.kv_shape(self),
        }
    }
}

/// Reads all layers.
pub(super) fn layers(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    n_embd: usize,
    latent: Option<&LatentConfig>,
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
    const SHARED_KV: &str = "attention.shared_kv_layers";
    let n_shared_kv = match architecture.reads(SHARED_KV) {
        true => keys.optional_number(SHARED_KV)?.unwrap_or(0),
        false => 0,
    };
    // The last two layers that have keys and values, one with a window and one without, serve the rest.
    let n_own_kv = match n_layer.checked_sub(n_shared_kv) {
        Some(n_own_kv) if n_shared_kv == 0 || n_own_kv >= 2 => n_own_kv,
        _ => return Err(keys.invalid(SHARED_KV, n_shared_kv, "at most block_count - 2")),
    };
    let expert_layers = architecture.routing.map_or(ExpertLayers::All, |routing| routing.layers);
    let expert_step = match expert_layers {
        ExpertLayers::Interleaved => keys.optional_number("interleave_moe_layer_step")?.unwrap_or(1),
        ExpertLayers::All | ExpertLayers::AfterLeading => 1,
    };
    let default_head_len = n_embd / keys.layer_width("attention.head_count", 0, n_block)?;

    let mut layers = Vec::new();
    layers
        .try_reserve_exact(n_layer)
        .map_err(|_| ModelError::OutOfHeap { needed_bytes: n_layer * size_of::<LayerConfig>() })?;
    for index in 0..n_layer {
        let n_head = match architecture.has_empty_layers {
            true => keys.optional_layer_number("attention.head_count", index, n_block)?.unwrap_or(0),
            false => keys.layer_width("attention.head_count", index, n_block)?,
        };
        let sight = sight(keys, architecture, index, n_layer)?;
        let heads = match latent {
            Some(latent) => latent.heads(keys, n_head)?,
            None => HeadKeys { keys, architecture, default_head_len, n_block }.heads(n_head, sight, index)?,
        };
        let has_experts = has_experts
            && match expert_layers {
                ExpertLayers::All => true,
                ExpertLayers::AfterLeading => index >= n_dense,
                // A step of 0 is none.
                ExpertLayers::Interleaved => {
                    index >= n_dense && expert_step > 0 && (index + 1).is_multiple_of(expert_step)
                }
            };
        // Experts are as wide as their tensors.
        let n_ff = match has_experts || architecture.has_empty_layers {
            true => keys.optional_layer_number("feed_forward_length", index, n_block)?.unwrap_or(0),
            false => keys.layer_width("feed_forward_length", index, n_block)?,
        };
        let n_ff = match architecture.feed_forward {
            FeedForwardKind::HalfGated => n_ff / 2,
            _ => n_ff,
        };
        let kv_layer = match sight {
            _ if index < n_own_kv => index,
            Sight::All => n_own_kv - 1,
            Sight::Window(_) | Sight::Chunk(_) => n_own_kv - 2,
        };
        if layers.get(kv_layer).is_some_and(|owner: &LayerConfig| owner.sight != sight) {
            return Err(keys.invalid(
                PATTERN,
                index,
                "two layers before the shared ones: a window, then none",
            ));
        }
        layers.push(LayerConfig {
            kv_layer,
            n_head,
            n_head_kv: heads.n_head_kv,
            head_len_k: heads.head_len_k,
            head_len_v: heads.head_len_v,
            n_ff,
            sight,
            has_rope: match architecture.rope_layers {
                RopeLayers::All => true,
                RopeLayers::AllButEach(n) => {
                    let n = if has_no_window(keys, architecture)? { n_layer } else { n };
                    !(index + 1).is_multiple_of(n)
                }
                RopeLayers::Windowed => sight != Sight::All || !architecture.window.is_in(n_layer),
                RopeLayers::UnlessNotFinetuned => {
                    keys.optional_bool("rope.scaling.finetuned")?.unwrap_or(true)
                }
            },
            has_experts,
        });
    }
    Ok(layers)
}

/// Key and value heads of a layer.
pub(super) struct Heads {
    pub n_head_kv: usize,
    pub head_len_k: usize,
    pub head_len_v: usize,
}

/// The keys that say of layers how many heads they have, and how long ones.
struct HeadKeys<'k, 'g, 'a> {
    keys: &'k Keys<'g, 'a>,
    architecture: &'k Architecture,
    /// That of keys and values for which no key says it, by the heads of the first layer.
    default_head_len: usize,
    n_block: usize,
}

impl HeadKeys<'_, '_, '_> {
    /// The heads of layer `index`, which has `n_head` of them.
    fn heads(&self, n_head: usize, sight: Sight, index: usize) -> Result<Heads, ModelError> {
        const N_HEAD_KV: &str = "attention.head_count_kv";
        let HeadKeys { keys, default_head_len, n_block, .. } = *self;
        let n_head_kv = match self.architecture.has_empty_layers {
            true => keys.optional_layer_number(N_HEAD_KV, index, n_block)?,
            false => keys.optional_layer_width(N_HEAD_KV, index, n_block)?,
        };
        let n_head_kv = n_head_kv.unwrap_or(n_head);
        if !n_head.is_multiple_of(n_head_kv.max(1)) {
            return Err(keys.invalid(N_HEAD_KV, n_head_kv, "a divisor of attention.head_count"));
        }
        // Layers with a window can have heads of their own length.
        let length = |suffix, window_suffix| -> Result<usize, ModelError> {
            let own = match sight {
                Sight::All => None,
                _ => keys.optional_width(window_suffix)?,
            };
            Ok(own.or(keys.optional_width(suffix)?).unwrap_or(default_head_len))
        };
        let heads = Heads {
            n_head_kv,
            head_len_k: length("attention.key_length", "attention.key_length_swa")?,
            head_len_v: length("attention.value_length", "attention.value_length_swa")?,
        };
        match heads.head_len_k.min(heads.head_len_v) {
            0 => Err(keys.invalid("attention.head_count", n_head, "at most embedding_length")),
            _ => Ok(heads),
        }
    }
}

impl Window {
    /// Whether models of so many layers know windows.
    fn is_in(self, n_layer: usize) -> bool {
        match self {
            Window::None => false,
            Window::AtLayers { n_layer: at, .. } => at == n_layer,
            _ => true,
        }
    }
}

const WINDOW: &str = "attention.sliding_window";

/// Whether a file turns off the chunks that its family has otherwise.
pub(super) fn has_no_window(keys: &Keys<'_, '_>, architecture: &Architecture) -> Result<bool, ModelError> {
    Ok(matches!(architecture.window, Window::Chunked { .. }) && keys.optional_length(WINDOW)? == Some(0))
}

fn sight(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    index: usize,
    n_layer: usize,
) -> Result<Sight, ModelError> {
    // Here 0 positions are a window without an end: the layer stays what it is but for that.
    let window = |length: usize| Sight::Window(if length == 0 { usize::MAX } else { length });
    let is_windowed = |period: usize| is_windowed(keys, period, index);
    Ok(match architecture.window {
        Window::Required { period } if is_windowed(period)? => window(keys.length(WINDOW)?),
        Window::OrLength { period, length } if is_windowed(period)? => {
            window(keys.optional_length(WINDOW)?.unwrap_or(length))
        }
        Window::AtLayers { period, length, n_layer: at } if at == n_layer && is_windowed(period)? => {
            window(keys.optional_length(WINDOW)?.unwrap_or(length))
        }
        Window::Optional { period } => match keys.optional_length(WINDOW)? {
            Some(length @ 1..) if is_windowed(period)? => Sight::Window(length),
            _ => Sight::All,
        },
        Window::Pattern => match keys.layer_flag(PATTERN, index)? {
            true => window(keys.length(WINDOW)?),
            false => Sight::All,
        },
        Window::Chunked { period } if !has_no_window(keys, architecture)? && is_windowed(period)? => {
            Sight::Chunk(keys.optional_length("attention.chunk_size")?.filter(|&len| len > 0).unwrap_or(8192))
        }
        _ => Sight::All,
    })
}

/// Which layers have a window: a truth value for each, or of how many the last has none.
const PATTERN: &str = "attention.sliding_window_pattern";

/// Whether a layer has a window, in families where of each `period` layers the last has none if the
/// file does not say.
fn is_windowed(keys: &Keys<'_, '_>, period: usize, index: usize) -> Result<bool, ModelError> {
    if let Some(Value::Array(_)) = keys.gguf.get((keys.prefix, PATTERN)) {
        return keys.layer_flag(PATTERN, index);
    }
    let period = keys.optional_number(PATTERN)?.unwrap_or(period);
    Ok(period == 0 || !(index + 1).is_multiple_of(period))
}
