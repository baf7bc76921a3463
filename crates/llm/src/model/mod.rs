//! Hyper-parameters, weights and the forward pass.
//!
//! A [`Model`] is a file that can be run: its [`Config`] makes sense, its [`Weights`](weights::Weights)
//! are whole. [`Forward`](forward::Forward) computes with it. What sets the families apart is one
//! table, [`ARCHITECTURES`].
//!
//! Neighbours: [`gguf`](crate::gguf) gives keys and tensors, [`quant`](crate::quant) multiplies,
//! [`session`](crate::session) drives.

mod activation;
mod architecture;
mod attention;
mod config;
mod error;
pub mod forward;
mod norm;
mod rope;
pub mod weights;

pub use architecture::{ARCHITECTURES, Activation, Architecture, NormKind, Positions, RopePairs};
pub use config::Config;
pub use error::ModelError;
pub use rope::{Rope, RopeConfig};

use crate::gguf::Gguf;
use weights::Weights;

/// A model whose weights are borrowed from the bytes of its file.
#[derive(Debug)]
pub struct Model<'a> {
    config: Config,
    weights: Weights<'a>,
    /// In families with a rotary embedding.
    rope: Option<Rope>,
}

impl<'a> Model<'a> {
    /// The model in `gguf`, which must have been parsed from all bytes of the file.
    ///
    /// Nothing is copied but small tables.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if hyper-parameters or tensors are not those of a known family.
    pub fn load(gguf: &Gguf<'a>) -> Result<Self, ModelError> {
        let config = Config::from_gguf(gguf)?;
        let weights = Weights::load(gguf, &config)?;
        let rope = match (&config.rope, config.architecture.positions) {
            (Some(rope), Positions::Rope(pairs)) => Some(Rope::new(rope, pairs, weights.rope_factors)?),
            _ => None,
        };
        Ok(Model { config, weights, rope })
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tensors.
    pub fn weights(&self) -> &Weights<'a> {
        &self.weights
    }
}
