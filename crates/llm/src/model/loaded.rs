//! [`Model`]: hyper-parameters and weights of one file.

use super::config::Config;
use super::error::ModelError;
use super::weights::Weights;
use crate::gguf::Gguf;
use crate::quant::ModelBytes;
use crate::simd::Kernels;

/// A model whose weights are borrowed from the bytes of its file.
#[derive(Debug)]
pub struct Model<'a> {
    config: Config,
    weights: Weights<'a>,
    file: ModelBytes<&'a [u8]>,
}

impl<'a> Model<'a> {
    /// The model in `file`; `gguf` is the header of the file.
    ///
    /// Only small tables are copied.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if hyper-parameters or tensors are not those of a known family.
    pub fn load(gguf: &Gguf<'_>, file: ModelBytes<&'a [u8]>) -> Result<Self, ModelError> {
        let config = Config::from_gguf(gguf)?;
        let weights = Weights::load(gguf, file, &config)?;
        Ok(Model { config, weights, file })
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tensors.
    pub fn weights(&self) -> &Weights<'a> {
        &self.weights
    }

    /// The file.
    pub fn file(&self) -> ModelBytes<&'a [u8]> {
        self.file
    }

    /// Whether these kernels can read the weights in memory: either the weights are packed for them, or they are in the
    /// file's layout, which all kernels can read.
    pub fn can_run_on(&self, kernels: &Kernels) -> bool {
        self.file.packing().is_none_or(|packing| kernels.packing() == Some(packing))
    }
}
