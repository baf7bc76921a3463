//! Hyper-parameters that can differ from layer to layer.

use alloc::vec::Vec;

use super::architecture::{Architecture, ExpertLayers, FeedForwardKind, RopeLayers, Window};
use super::config::LatentConfig;
use super::error::ModelError;
use super::keys::Keys;
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
    /// What the cache keeps of a position.
    pub fn kv_shape(&self, latent: Option<&LatentConfig>) -> KvShape {
        match latent {
            None => KvShape {
                n_head_kv: self.n_head_kv,
                head_len_k: self.head_len_k,
                head_len_v: self.head_len_v,
            },
            Some(_) => KvShape { n_head_kv: 1, head_len_k: self.head_len_k, head_len_v: 0 },
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
    let expert_step = keys.optional_width("interleave_moe_layer_step")?.unwrap_or(1);
    let n_shared_kv = keys.optional_number("attention.shared_kv_layers")?.unwrap_or(0);
    // The last two layers that have keys and values, one with a window and one without, serve the rest.
    let n_own_kv = match n_layer.checked_sub(n_shared_kv) {
        Some(n_own_kv) if n_shared_kv == 0 || n_own_kv >= 2 => n_own_kv,
        _ => return Err(keys.invalid("attention.shared_kv_layers", n_shared_kv, "at most block_count - 2")),
    };
    let expert_layers = architecture.routing.map_or(ExpertLayers::All, |routing| routing.layers);

    let mut layers = Vec::new();
    layers
        .try_reserve_exact(n_layer)
        .map_err(|_| ModelError::OutOfHeap { needed_bytes: n_layer * size_of::<LayerConfig>() })?;
    for index in 0..n_layer {
        let n_head = keys.layer_width("attention.head_count", index, n_block)?;
        let sight = sight(keys, architecture, index, n_layer)?;
        let heads = match latent {
            Some(latent) => latent.heads(keys)?,
            None => Heads::from_keys(keys, n_embd, n_head, sight, index, n_block)?,
        };
        let n_ff = match architecture.feed_forward {
            FeedForwardKind::HalfGated => keys.layer_width("feed_forward_length", index, n_block)? / 2,
            _ => keys.layer_width("feed_forward_length", index, n_block)?,
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
                RopeLayers::AllButEach(n) => !(index + 1).is_multiple_of(n),
                RopeLayers::Windowed => sight != Sight::All || !has_windows(keys, architecture, n_layer)?,
            },
            has_experts: has_experts
                && match expert_layers {
                    ExpertLayers::All => true,
                    ExpertLayers::AfterLeading => index >= n_dense,
                    ExpertLayers::Interleaved => index >= n_dense && (index + 1).is_multiple_of(expert_step),
                },
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

impl Heads {
    fn from_keys(
        keys: &Keys<'_, '_>,
        n_embd: usize,
        n_head: usize,
        sight: Sight,
        index: usize,
        n_block: usize,
    ) -> Result<Self, ModelError> {
        let n_head_kv =
            keys.optional_layer_width("attention.head_count_kv", index, n_block)?.unwrap_or(n_head);
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(keys.invalid(
                "attention.head_count_kv",
                n_head_kv,
                "a divisor of attention.head_count",
            ));
        }
        // Layers with a window can have heads of their own length.
        let length = |suffix, window_suffix| match sight {
            Sight::All => keys.optional_width(suffix),
            _ => Ok(keys.optional_width(window_suffix)?.or(keys.optional_width(suffix)?)),
        };
        let head_len_k = match length("attention.key_length", "attention.key_length_swa")? {
            Some(head_len) => head_len,
            None if n_embd.is_multiple_of(n_head) => n_embd / n_head,
            None => {
                return Err(keys.invalid("attention.head_count", n_head, "a divisor of embedding_length"));
            }
        };
        let head_len_v =
            length("attention.value_length", "attention.value_length_swa")?.unwrap_or(head_len_k);
        Ok(Heads { n_head_kv, head_len_k, head_len_v })
    }
}

/// Whether some layers of the model see a window only.
fn has_windows(keys: &Keys<'_, '_>, architecture: &Architecture, n_layer: usize) -> Result<bool, ModelError> {
    for index in 0..n_layer {
        if sight(keys, architecture, index, n_layer)? != Sight::All {
            return Ok(true);
        }
    }
    Ok(false)
}

fn sight(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    index: usize,
    n_layer: usize,
) -> Result<Sight, ModelError> {
    const KEY: &str = "attention.sliding_window";
    let window = |length: Option<usize>| length.map_or(Sight::All, Sight::Window);
    let is_windowed = |period: usize| is_windowed(keys, period, index);
    Ok(match architecture.window {
        Window::Required { period } if is_windowed(period)? => Sight::Window(keys.width(KEY)?),
        Window::Optional { period } if is_windowed(period)? => window(keys.optional_width(KEY)?),
        Window::AtLayers { period, n_layer: at } if at == n_layer && is_windowed(period)? => {
            Sight::Window(keys.width(KEY)?)
        }
        Window::Pattern => match keys.layer_flag(PATTERN, index)? {
            true => Sight::Window(keys.width(KEY)?),
            false => Sight::All,
        },
        Window::Chunked { period } if is_windowed(period)? => {
            Sight::Chunk(keys.optional_width("attention.chunk_size")?.unwrap_or(8192))
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
