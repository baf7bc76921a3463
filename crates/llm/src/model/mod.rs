//! Hyper-parameters, weights and the forward pass.
//!
//! A [`Model`] is a file that can be run: its [`Config`] is valid and its [`Weights`] are complete.
//! [`Forward`](forward::Forward) computes with it. The differences between families are in one table,
//! [`ARCHITECTURES`].
//!
//! Neighbours: [`gguf`](crate::gguf) provides keys and tensors, [`compute`](crate::compute) does the arithmetic,
//! [`session`](crate::session) drives the model.

mod activation;
mod adapter;
mod alt_up;
mod architecture;
mod attention;
mod classifier;
mod config;
mod error;
mod expert_config;
mod experts;
mod families;
mod feed_forward;
pub mod forward;
mod head_norm;
mod heads_config;
mod hyper_connections;
mod indexer;
mod keys;
mod latent_attention;
mod latent_config;
mod layer_config;
mod layer_tensors;
mod mixer_config;
mod ngram_embedding;
mod per_layer_input;
pub mod recurrent;
mod recurrent_config;
mod recurrent_tensors;
mod residual_attention;
mod rope;
mod rwkv_tensors;
mod scratch;
mod side_streams;
mod span;
mod tensors;
pub mod weights;
mod widths;

pub use adapter::{Adapter, AdapterError};
pub use alt_up::AltUpConfig;
pub use architecture::*;
pub use classifier::{Classifier, ClassifierInput, ClassifierScratch};
pub use config::{Config, Temperature};
pub use error::ModelError;
pub use expert_config::{ChunkConfig, ExpertConfig};
pub use families::ARCHITECTURES;
pub use heads_config::{AttentionMask, HeadsConfig};
pub use hyper_connections::HyperConfig;
pub use indexer::IndexerConfig;
pub use latent_config::LatentConfig;
pub use layer_config::{LayerConfig, LayerEnd};
pub use mixer_config::{LayerState, MixerConfig};
pub use ngram_embedding::{NgramConfig, NgramHead};
pub use recurrent_config::{
    DecayRange, DeltaNetConfig, HeadMambaConfig, KimiDeltaConfig, LightningConfig, Mamba2Config, MambaConfig,
    RecurrentConfig, Rwkv6Config, Rwkv7Config, RwkvHeads, ShortConvolutionConfig,
};
pub use rope::{Rope, RopeConfig, Ropes, Sections, Yarn};
pub use scratch::Scratch;
pub use span::{Input, Logits, Span};

use crate::gguf::Gguf;
use crate::quant::ModelBytes;
use crate::simd::Kernels;
use weights::Weights;

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
