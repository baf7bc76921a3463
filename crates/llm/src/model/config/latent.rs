//! The hyper-parameters of latent attention.

use super::super::architecture::{Architecture, LatentGate};
use super::super::error::ModelError;
use super::keys::Keys;
use crate::gguf::Name;
use crate::kv_cache::KvShape;

/// Keys and values compressed to one vector per position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentConfig {
    /// Query heads.
    pub n_head: usize,
    /// Width to which queries are compressed, in models that do so.
    pub q_lora_rank: Option<usize>,
    /// Width to which keys and values are compressed.
    pub kv_lora_rank: usize,
    /// Rotated elements of a query head and of the key that all heads share.
    pub n_rot: usize,
    /// Elements of a query head, including the rotated ones.
    pub head_len_k: usize,
    /// Elements of a value head.
    pub head_len_v: usize,
    /// Whether the keys and values of the heads are cached instead of the compressed vector.
    pub is_expanded: bool,
    /// Number of gates of each head's output: 1, one for each element, or 0 if it is not gated.
    pub n_gate: usize,
}

impl LatentConfig {
    /// The configuration of layer `index`, which has `n_head` query heads.
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
        index: usize,
        n_embd: usize,
        n_head: usize,
    ) -> Result<Self, ModelError> {
        let not_zero =
            |suffix| Ok::<_, ModelError>(keys.optional_number(suffix)?.filter(|&number| number > 0));
        let expanded = (not_zero("attention.key_length_mla")?, not_zero("attention.value_length_mla")?);
        let (head_len_k, head_len_v, is_expanded) = match expanded {
            (Some(head_len_k), Some(head_len_v)) => (head_len_k, head_len_v, false),
            // Files from before April 2025.
            _ => {
                let default_head_len = n_embd / keys.width("attention.head_count")?;
                let length = |suffix| Ok::<_, ModelError>(not_zero(suffix)?.unwrap_or(default_head_len));
                (length("attention.key_length")?, length("attention.value_length")?, true)
            }
        };
        let n_rot = keys.width("rope.dimension_count")?;
        if n_rot > head_len_k || (n_rot == head_len_k && !is_expanded) {
            return Err(keys.invalid("rope.dimension_count", n_rot, "at most the length of a key"));
        }
        if head_len_v == 0 {
            return Err(keys.invalid("attention.value_length", head_len_v, "at least 1"));
        }
        let gate = Name::format(format_args!("blk.{index}.attn_gate.weight"));
        let n_gate = match (architecture.latent_gate, keys.gguf.tensor(gate.as_str())) {
            (LatentGate::Heads, Some(_)) => 1,
            (LatentGate::Heads, None) => return Err(ModelError::MissingTensor(gate)),
            (LatentGate::MaybeElements, Some(_)) => head_len_v,
            (LatentGate::None | LatentGate::MaybeElements, _) => 0,
        };
        let kv_lora_rank = keys.width("attention.kv_lora_rank")?;
        Ok(LatentConfig {
            n_head,
            q_lora_rank: not_zero("attention.q_lora_rank")?,
            kv_lora_rank,
            n_rot,
            head_len_k,
            head_len_v,
            is_expanded,
            n_gate,
        })
    }

    /// Number of heads whose keys and values are cached: all, or 1 for the compressed vector.
    pub fn n_head_kv(&self) -> usize {
        if self.is_expanded { self.n_head } else { 1 }
    }

    /// The shape of the keys and values that the cache keeps for a position.
    pub fn kv_shape(&self) -> KvShape {
        let n_head_kv = self.n_head_kv();
        match self.is_expanded {
            true => KvShape {
                n_head_kv,
                head_len_k: self.head_len_k,
                head_len_v: self.head_len_v,
                values_in_keys: false,
                index_len: 0,
            },
            false => KvShape {
                n_head_kv,
                head_len_k: self.kv_lora_rank + self.n_rot,
                head_len_v: self.kv_lora_rank,
                values_in_keys: true,
                index_len: 0,
            },
        }
    }
}
