//! The hyper-parameters of hyper-connections.

use super::super::architecture::Architecture;
use super::super::error::ModelError;
use super::keys::Keys;

/// Several residual streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HyperConfig {
    /// Streams, at least two.
    pub n_stream: usize,
    /// Dimensions to which gates are compressed.
    pub rank: usize,
}

const STREAMS: &str = "hyper_connection.count";
/// More streams are refused: no model comes close, and widths cannot overflow.
const MAX_STREAMS: usize = 64;

impl HyperConfig {
    /// `None` in families without such streams.
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
    ) -> Result<Option<Self>, ModelError> {
        if !architecture.reads(STREAMS) {
            return Ok(None);
        }
        match keys.width(STREAMS)? {
            n_stream @ 2..=MAX_STREAMS => {
                Ok(Some(HyperConfig { n_stream, rank: keys.width("hyper_connection.low_rank")? }))
            }
            n_stream => Err(keys.invalid(STREAMS, n_stream, "2 to 64")),
        }
    }
}
