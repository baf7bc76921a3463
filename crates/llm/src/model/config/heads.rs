//! The hyper-parameters of attention with keys and values per head.

use super::super::architecture::{Architecture, HeadGate, RecurrentLayers, RopeLayers, Window, WindowOrder};
use super::super::error::ModelError;
use super::experts::n_dense;
use super::indexer::IndexerConfig;
use super::keys::Keys;
use crate::gguf::Value;
use crate::kv_cache::KvShape;

/// Attention with keys and values per head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadsConfig {
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; each serves `n_head / n_head_kv` query heads.
    pub n_head_kv: usize,
    /// Elements of a query or key head.
    pub head_len_k: usize,
    /// Elements of a value head.
    pub head_len_v: usize,
    /// The positions that a query sees.
    pub mask: AttentionMask,
    /// Whether queries and keys are rotated.
    pub has_rope: bool,
    /// Whether queries come with a gate for each element of the output.
    pub is_gated: bool,
    /// The layer whose keys and values it attends to: itself, or an earlier one.
    pub kv_layer: usize,
    /// The indexer that chooses the positions to which a query attends, in families that have one.
    pub indexer: Option<IndexerConfig>,
}

/// The positions that a query sees, among those that causality allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionMask {
    /// All.
    All,
    /// A sliding window: the last N positions, including its own.
    Window(usize),
    /// Only positions in the same chunk of N.
    Chunk(usize),
    /// Its own position, N before it and N after it; in encoders.
    Around(usize),
}

impl HeadsConfig {
    /// The shape of the keys and values that the cache keeps for a position.
    pub fn kv_shape(&self) -> KvShape {
        let HeadsConfig { n_head_kv, head_len_k, head_len_v, .. } = *self;
        let index_len = self.indexer.filter(IndexerConfig::is_used).map_or(0, |indexer| indexer.head_len);
        KvShape { n_head_kv, head_len_k, head_len_v, values_in_keys: false, index_len }
    }
}

/// The keys that state, for each layer, the number of heads, their lengths, and which positions they see.
pub(super) struct HeadKeys<'k, 'g, 'a> {
    pub keys: &'k Keys<'g, 'a>,
    pub architecture: &'k Architecture,
    pub n_embd: usize,
    /// Layers in the file, including those that are not used.
    pub n_block: usize,
    /// Layers that are used.
    pub n_layer: usize,
    /// Number of layers at the beginning that have keys and values of their own.
    pub n_own_kv: usize,
}

/// The key with the number of layers at the end without keys and values of their own.
const SHARED_KV: &str = "attention.shared_kv_layers";
/// The key with the number of heads with keys and values.
const N_HEAD_KV: &str = "attention.head_count_kv";

impl<'k, 'g, 'a> HeadKeys<'k, 'g, 'a> {
    pub fn new(
        keys: &'k Keys<'g, 'a>,
        architecture: &'k Architecture,
        n_embd: usize,
        n_block: usize,
        n_layer: usize,
    ) -> Result<Self, ModelError> {
        let n_shared_kv = match architecture.n_own_kv {
            Some(n_own_kv) => n_layer.saturating_sub(n_own_kv.into()),
            None if architecture.reads(SHARED_KV) => keys.optional_number(SHARED_KV)?.unwrap_or(0),
            None => 0,
        };
        // The last two layers with keys and values, one with a window and one without, provide them for the remaining
        // layers.
        let n_own_kv = match n_layer.checked_sub(n_shared_kv) {
            Some(n_own_kv) if n_shared_kv == 0 || n_own_kv >= 2 => n_own_kv,
            _ => return Err(keys.invalid(SHARED_KV, n_shared_kv, "at most block_count - 2")),
        };
        Ok(HeadKeys { keys, architecture, n_embd, n_block, n_layer, n_own_kv })
    }

    /// Whether layer `index` has a recurrent mixer, and whether it has attention.
    pub fn mixers(&self, layers: RecurrentLayers, index: usize) -> Result<(bool, bool), ModelError> {
        const LIST: &str = "attention.recurrent_layers";
        const INTERVAL: &str = "full_attention_interval";
        let is_recurrent = match layers {
            RecurrentLayers::BesideAttention => return Ok((true, true)),
            RecurrentLayers::All => true,
            RecurrentLayers::WithoutHeads => {
                self.keys.optional_layer_number(N_HEAD_KV, index, self.n_block)? == Some(0)
            }
            RecurrentLayers::AllButEach(default_interval) => {
                match self.keys.gguf.get((self.keys.prefix, LIST)) {
                    Some(Value::Array(_)) => self.keys.layer_flag(LIST, index)?,
                    _ => {
                        let interval = self.keys.optional_width(INTERVAL)?.unwrap_or(default_interval.into());
                        !(index + 1).is_multiple_of(interval)
                    }
                }
            }
        };
        Ok((is_recurrent, !is_recurrent))
    }

    /// Query heads of layer `index`. May be 0 in families that allow layers without heads.
    pub fn n_head(&self, index: usize) -> Result<usize, ModelError> {
        match self.architecture.has_empty_layers {
            true => {
                Ok(self.keys.optional_layer_number("attention.head_count", index, self.n_block)?.unwrap_or(0))
            }
            false => self.keys.layer_width("attention.head_count", index, self.n_block),
        }
    }

    /// Key and value heads of layer `index`, which has `n_head` query heads. May be 0 in families that allow layers
    /// without heads.
    pub fn n_head_kv(&self, n_head: usize, index: usize) -> Result<usize, ModelError> {
        let n_head_kv = match self.architecture.has_empty_layers {
            true => self.keys.optional_layer_number(N_HEAD_KV, index, self.n_block)?,
            false => self.keys.optional_layer_width(N_HEAD_KV, index, self.n_block)?,
        };
        let n_head_kv = n_head_kv.unwrap_or(n_head);
        match n_head.is_multiple_of(n_head_kv.max(1)) {
            true => Ok(n_head_kv),
            false => Err(self.keys.invalid(N_HEAD_KV, n_head_kv, "a divisor of attention.head_count")),
        }
    }

    /// The heads of layer `index`; `owner` returns those of an earlier layer, if it has any.
    pub fn heads(
        &self,
        n_head: usize,
        n_head_kv: usize,
        index: usize,
        owner: impl Fn(usize) -> Option<HeadsConfig>,
    ) -> Result<HeadsConfig, ModelError> {
        let HeadKeys { keys, architecture, n_embd, n_block, n_layer, n_own_kv } = *self;
        // Computed from the number of heads of the first layer.
        let first_count = keys.optional_layer_number("attention.head_count", 0, n_block)?;
        let default_head_len = n_embd.checked_div(first_count.unwrap_or(0)).unwrap_or(0);
        let mask = mask(keys, architecture, index, n_layer)?;
        // Layers with a window can have heads of a different length.
        let length = |suffix, window_suffix| -> Result<usize, ModelError> {
            let own = match mask {
                AttentionMask::All => None,
                _ => keys.optional_width(window_suffix)?,
            };
            Ok(own.or(keys.optional_width(suffix)?).unwrap_or(default_head_len))
        };
        let head_len_k = length("attention.key_length", "attention.key_length_swa")?;
        let head_len_v = length("attention.value_length", "attention.value_length_swa")?;
        if head_len_k.min(head_len_v) == 0 {
            return Err(keys.invalid("attention.head_count", n_head, "at most embedding_length"));
        }
        let kv_layer = match mask {
            _ if index < n_own_kv => index,
            AttentionMask::All => n_own_kv - 1,
            AttentionMask::Window(_) | AttentionMask::Chunk(_) | AttentionMask::Around(_) => {
                n_own_kv.saturating_sub(2)
            }
        };
        if kv_layer != index {
            let owner = owner(kv_layer).filter(|owner| owner.mask == mask).ok_or_else(|| {
                keys.invalid(PATTERN, index, "two layers before the shared ones: a window, then none")
            })?;
            if owner.n_head_kv != n_head_kv {
                return Err(keys.invalid(
                    "attention.head_count_kv",
                    n_head_kv,
                    "as many as the layer has whose keys and values are shared",
                ));
            }
        }
        let has_rope = match architecture.rope_layers {
            RopeLayers::All => true,
            RopeLayers::AllButEach(n) => {
                let n = if has_no_window(keys, architecture)? { n_layer } else { n.into() };
                !(index + 1).is_multiple_of(n)
            }
            RopeLayers::Windowed => mask != AttentionMask::All || !architecture.window.is_in(n_layer),
            RopeLayers::WindowedOrLeading => mask != AttentionMask::All || index < n_dense(keys)?,
            RopeLayers::AllButFirstOfEach(n) => {
                let n = usize::from(n);
                keys.optional_length(WINDOW)?.unwrap_or(0) == 0 || n_layer == n || !index.is_multiple_of(n)
            }
            RopeLayers::Listed => match keys.gguf.get((keys.prefix, ROPE_PATTERN)) {
                Some(Value::Array(_)) => keys.layer_flag(ROPE_PATTERN, index)?,
                _ => true,
            },
            RopeLayers::UnlessNotFinetuned => keys.optional_bool("rope.scaling.finetuned")?.unwrap_or(true),
        };
        let is_gated = architecture.head_gate == HeadGate::WithQuery;
        if is_gated && head_len_v != head_len_k {
            return Err(keys.invalid(
                "attention.value_length",
                head_len_v,
                "the same as attention.key_length",
            ));
        }
        Ok(HeadsConfig {
            n_head,
            n_head_kv,
            head_len_k,
            head_len_v,
            mask,
            has_rope,
            is_gated,
            kv_layer,
            indexer: IndexerConfig::from_keys(keys, architecture, index, n_block, head_len_k)?,
        })
    }
}

impl Window {
    /// Whether models with this number of layers have windows.
    fn is_in(self, n_layer: usize) -> bool {
        match self {
            Window::None => false,
            Window::AtLayers { n_layer: at, .. } => usize::from(at) == n_layer,
            _ => true,
        }
    }
}

const WINDOW: &str = "attention.sliding_window";

/// Whether a file turns off the chunks that its family usually has.
pub(super) fn has_no_window(keys: &Keys<'_, '_>, architecture: &Architecture) -> Result<bool, ModelError> {
    Ok(matches!(architecture.window, Window::Chunked { .. }) && keys.optional_length(WINDOW)? == Some(0))
}

fn mask(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    index: usize,
    n_layer: usize,
) -> Result<AttentionMask, ModelError> {
    // A length of 0 means an unlimited window; otherwise the layer remains one with a window.
    let window = |length: usize| AttentionMask::Window(if length == 0 { usize::MAX } else { length });
    let is_windowed = |period| is_windowed(keys, architecture.window_order, period, index);
    Ok(match architecture.window {
        Window::Required { period } if is_windowed(period)? => window(keys.length(WINDOW)?),
        Window::OrLength { period, length } if is_windowed(period)? => {
            window(keys.optional_length(WINDOW)?.unwrap_or(length.into()))
        }
        Window::AtLayers { period, length, n_layer: at }
            if usize::from(at) == n_layer && is_windowed(period)? =>
        {
            window(keys.optional_length(WINDOW)?.unwrap_or(length.into()))
        }
        Window::Optional { period } => match keys.optional_length(WINDOW)? {
            Some(length @ 1..) if is_windowed(period)? => AttentionMask::Window(length),
            _ => AttentionMask::All,
        },
        Window::Fixed { period, length } => match keys.optional_length(WINDOW)? {
            Some(1..) if is_windowed(period)? => AttentionMask::Window(length.into()),
            _ => AttentionMask::All,
        },
        Window::Symmetric { period } if is_windowed(period)? => {
            AttentionMask::Around(keys.length(WINDOW)? / 2)
        }
        Window::MaybeSymmetric { period } => match keys.optional_length(WINDOW)? {
            Some(length @ 1..) if is_windowed(period)? => AttentionMask::Around(length / 2),
            _ => AttentionMask::All,
        },
        Window::Everywhere => match keys.optional_length(WINDOW)? {
            Some(length @ 1..) => AttentionMask::Window(length),
            _ => AttentionMask::All,
        },
        Window::Pattern => match has_window(keys, index)? {
            true => window(keys.length(WINDOW)?),
            false => AttentionMask::All,
        },
        Window::Chunked { period } if !has_no_window(keys, architecture)? && is_windowed(period)? => {
            AttentionMask::Chunk(
                keys.optional_length("attention.chunk_size")?.filter(|&len| len > 0).unwrap_or(8192),
            )
        }
        _ => AttentionMask::All,
    })
}

/// The key that says which layers have a window: a truth value for each layer, or the length of a period whose last
/// layer has none.
const PATTERN: &str = "attention.sliding_window_pattern";

/// The key that says which layers have a rotary embedding: a truth value for each layer.
const ROPE_PATTERN: &str = "attention.rope_pattern";

/// Whether an array says that a layer has a window; layers beyond its end have none.
fn has_window(keys: &Keys<'_, '_>, index: usize) -> Result<bool, ModelError> {
    Ok(keys.first_flags(PATTERN, index)?.unwrap_or(false))
}

/// Whether a layer has a window, in families where by default one of every `period` layers has none.
fn is_windowed(
    keys: &Keys<'_, '_>,
    order: WindowOrder,
    period: u8,
    index: usize,
) -> Result<bool, ModelError> {
    if let Some(Value::Array(_)) = keys.gguf.get((keys.prefix, PATTERN)) {
        return has_window(keys, index);
    }
    let period = keys.optional_number(PATTERN)?.unwrap_or(period.into());
    let place = match order {
        WindowOrder::LastSeesAll => index + 1,
        WindowOrder::FirstSeesAll => index,
    };
    Ok(period == 0 || !place.is_multiple_of(period))
}
