//! How queries grow with the position.

use super::super::architecture::{Architecture, AttentionKind, QueryTemperature};
use super::super::error::ModelError;
use super::heads::has_no_window;
use super::keys::Keys;
use super::rope::RopeConfig;

/// How queries grow with the position: `1 + scale · ln(1 + floor((position + offset) / length))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// The factor of the logarithm, `scale`.
    pub scale: f32,
    /// The number of positions with the same factor, `length`.
    pub length: f32,
    /// Added to the position.
    pub offset: f32,
    /// Whether this applies only to layers without a rotary embedding.
    pub only_without_rope: bool,
}

impl Temperature {
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
        rope: Option<&RopeConfig>,
    ) -> Result<Option<Self>, ModelError> {
        match architecture.temperature {
            QueryTemperature::WithoutRope if has_no_window(keys, architecture)? => Ok(None),
            QueryTemperature::WithoutRope => {
                Ok(Some(Temperature { scale: 0.1, length: 8192.0, offset: 1.0, only_without_rope: true }))
            }
            QueryTemperature::ByKey => match keys.scale(architecture, "attention.temperature_scale")? {
                None => Ok(None),
                Some(scale) => {
                    let length = match (architecture.attention, rope) {
                        (AttentionKind::Latent, _) | (_, None) => {
                            keys.width("attention.temperature_length")?
                        }
                        (_, Some(rope)) => rope.n_ctx_orig,
                    };
                    Ok(Some(Temperature {
                        scale,
                        length: length as f32,
                        offset: 0.0,
                        only_without_rope: false,
                    }))
                }
            },
        }
    }

    /// The factor of a query at this position.
    pub fn factor(&self, position: usize) -> f32 {
        1.0 + self.scale * libm::logf(1.0 + libm::floorf((position as f32 + self.offset) / self.length))
    }
}
