//! The hyper-parameters of alternating updates.

use super::super::architecture::Architecture;
use super::super::error::ModelError;
use super::keys::Keys;

/// Several residual streams, of which layers compute with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AltUpConfig {
    /// Streams, at least two.
    pub n_stream: usize,
    /// Dimensions of the low-rank map beside the sequence mixer.
    pub laurel_rank: usize,
    /// Elements of a token's embedding for each layer.
    pub n_embd_per_layer: usize,
}

/// A key that only families with such streams read.
const STREAMS: &str = "altup.num_inputs";
/// Dimensions of the low-rank map beside the sequence mixer. There is no key for this, nor for the next constant.
const LAUREL_RANK: usize = 64;
/// Elements of a token's embedding for each layer.
const N_EMBD_PER_LAYER: usize = 256;

impl AltUpConfig {
    /// Most streams.
    pub(in super::super) const MAX_STREAMS: usize = 16;

    /// `None` in families without such streams.
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
    ) -> Result<Option<Self>, ModelError> {
        if !architecture.reads(STREAMS) {
            return Ok(None);
        }
        match keys.optional_number(STREAMS)?.unwrap_or(4) {
            n_stream @ 2..=Self::MAX_STREAMS => Ok(Some(AltUpConfig {
                n_stream,
                laurel_rank: LAUREL_RANK,
                n_embd_per_layer: N_EMBD_PER_LAYER,
            })),
            n_stream => Err(keys.invalid(STREAMS, n_stream, "2 to 16")),
        }
    }
}
