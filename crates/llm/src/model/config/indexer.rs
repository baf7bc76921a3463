//! The hyper-parameters of the indexer of sparse attention.

use super::super::architecture::Architecture;
use super::super::error::ModelError;
use super::keys::Keys;

/// The indexer of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexerConfig {
    /// Heads of a query, which share the key.
    pub n_head: usize,
    /// Elements of each head, and of a key.
    pub head_len: usize,
    /// The least number of positions in whole blocks to which a query attends.
    pub top_k: usize,
    /// Positions of a block; 0 in layers that attend to all positions.
    pub block_len: usize,
}

const TOP_K: &str = "attention.indexer.top_k";

impl IndexerConfig {
    /// The indexer of layer `index`, whose keys have `head_len_k` elements; `None` in families without indexers.
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
        index: usize,
        n_block: usize,
        head_len_k: usize,
    ) -> Result<Option<Self>, ModelError> {
        if !architecture.reads(TOP_K) {
            return Ok(None);
        }
        let config = IndexerConfig {
            n_head: keys.width("attention.indexer.head_count")?,
            head_len: keys.width("attention.indexer.key_length")?,
            top_k: keys.width(TOP_K)?,
            block_len: keys.optional_layer_number("attention.compress_ratios", index, n_block)?.unwrap_or(0),
        };
        let n_rot = keys.optional_number("rope.dimension_count")?.unwrap_or(head_len_k);
        if config.head_len < n_rot {
            return Err(keys.invalid(
                "attention.indexer.key_length",
                config.head_len,
                "at least rope.dimension_count",
            ));
        }
        Ok(Some(config))
    }

    /// Whether queries attend only to the positions that it chooses.
    pub fn is_used(&self) -> bool {
        self.block_len > 0
    }

    /// The number of positions to which a query attends: whole blocks, the positions after the last block, and as many
    /// of one more block as are missing.
    pub fn n_chosen(&self) -> usize {
        self.top_k + self.block_len - 1
    }
}
