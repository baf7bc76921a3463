//! The sequence mixer of a layer: its kind, its hyper-parameters, and the state that it keeps for a text.
//!
//! This is the only place that says which mixer a layer has; weights, buffers and state follow from it.

use super::heads::HeadsConfig;
use super::latent::LatentConfig;
use super::recurrent::RecurrentConfig;
use crate::kv_cache::KvShape;
use crate::recurrent_state::RecurrentShape;

/// The sequence mixer of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MixerConfig {
    /// None: the stream stays as it is.
    None,
    /// A matrix, which sees only its own position.
    Linear,
    /// Attention with keys and values per head.
    Heads(HeadsConfig),
    /// Attention with keys and values compressed to one vector.
    Latent(LatentConfig),
    /// A recurrence.
    Recurrent(RecurrentConfig),
    /// Attention and a recurrence that read the same input, and whose outputs are added.
    Both(HeadsConfig, RecurrentConfig),
}

/// The state that a layer keeps for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// Nothing.
    None,
    /// Keys and values of each position.
    Kv(KvShape),
    /// Nothing of its own: it attends to the keys and values of an earlier layer.
    SharedWith(usize),
    /// A state that is replaced at each position.
    Recurrent(RecurrentShape),
    /// Both.
    KvAndRecurrent(KvShape, RecurrentShape),
}

impl MixerConfig {
    /// The same mixer in layer `index`, with keys and values of its own.
    pub(super) fn in_layer(self, index: usize) -> Self {
        match self {
            MixerConfig::Heads(heads) => MixerConfig::Heads(HeadsConfig { kv_layer: index, ..heads }),
            other => other,
        }
    }

    /// The state that layer `index` with this mixer keeps for a text.
    pub fn state(&self, index: usize) -> LayerState {
        match self {
            MixerConfig::None | MixerConfig::Linear => LayerState::None,
            MixerConfig::Heads(heads) if heads.kv_layer != index => LayerState::SharedWith(heads.kv_layer),
            MixerConfig::Heads(heads) => LayerState::Kv(heads.kv_shape()),
            MixerConfig::Latent(latent) => LayerState::Kv(latent.kv_shape()),
            MixerConfig::Recurrent(recurrent) => LayerState::Recurrent(recurrent.shape()),
            MixerConfig::Both(heads, recurrent) => {
                LayerState::KvAndRecurrent(heads.kv_shape(), recurrent.shape())
            }
        }
    }

    /// Its heads, if it is attention with keys and values per head.
    pub fn heads(&self) -> Option<&HeadsConfig> {
        match self {
            MixerConfig::Heads(heads) | MixerConfig::Both(heads, _) => Some(heads),
            _ => None,
        }
    }

    /// Its compression, if it is latent attention.
    pub fn latent(&self) -> Option<&LatentConfig> {
        match self {
            MixerConfig::Latent(latent) => Some(latent),
            _ => None,
        }
    }

    /// Its recurrence, if it has one.
    pub fn recurrent(&self) -> Option<&RecurrentConfig> {
        match self {
            MixerConfig::Recurrent(recurrent) | MixerConfig::Both(_, recurrent) => Some(recurrent),
            _ => None,
        }
    }

    /// Number of heads with queries, and of heads with keys and values; 0 if it has none.
    pub fn head_counts(&self) -> (usize, usize) {
        match self {
            MixerConfig::None | MixerConfig::Linear | MixerConfig::Recurrent(_) => (0, 0),
            MixerConfig::Heads(heads) | MixerConfig::Both(heads, _) => (heads.n_head, heads.n_head_kv),
            MixerConfig::Latent(latent) => (latent.n_head, latent.n_head_kv()),
        }
    }
}

impl LayerState {
    /// The shape of the keys and values that the layer adds to the cache at each position; empty if it adds none.
    pub fn kv_shape(&self) -> KvShape {
        match self {
            LayerState::Kv(shape) | LayerState::KvAndRecurrent(shape, _) => *shape,
            LayerState::None | LayerState::SharedWith(_) | LayerState::Recurrent(_) => KvShape::default(),
        }
    }

    /// The shape of the state that is replaced at each position; empty if there is none.
    pub fn recurrent_shape(&self) -> RecurrentShape {
        match self {
            LayerState::Recurrent(shape) | LayerState::KvAndRecurrent(_, shape) => *shape,
            LayerState::None | LayerState::Kv(_) | LayerState::SharedWith(_) => RecurrentShape::default(),
        }
    }
}
