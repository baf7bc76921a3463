//! Hyper-parameters, weights and the forward pass.
//!
//! A [`Model`] is a file that can be run: its [`Config`] is valid and its [`Weights`](weights::Weights) are complete.
//! [`Forward`](forward::Forward) computes with it. The differences between families are in one table,
//! [`ARCHITECTURES`].
//!
//! Neighbours: [`gguf`](crate::gguf) provides keys and tensors, [`compute`](crate::compute) does the arithmetic,
//! [`session`](crate::session) drives the model.
//!
//! # Layers
//!
//! Each module uses only modules in rows below its own.
//!
//! | module | what it is |
//! |---|---|
//! | [`forward`], `adapter` | the forward pass; low-rank matrices that change a model |
//! | `loaded` | hyper-parameters and weights of one file |
//! | [`weights`] | all tensors of a model |
//! | `layer_tensors`, `side_streams` | the tensors of a layer, taken by name; streams beside the residual one |
//! | `layer` | the weights of a layer |
//! | `alt_up`, `attention`, `experts`, `latent_attention`, `ngram_embedding`, `per_layer_input`, `residual_attention` | mixers of sequences and channels, and what else changes the stream; each declares its weights |
//! | `feed_forward`, `hyper_connections`, `indexer`, [`recurrent`] | those of them that others use |
//! | `classifier` | scores of texts |
//! | `tensors` | the tensors of a file, taken by name and shape |
//! | `head_norm` | the normalisation of queries and keys |
//! | `pass` | what mixers need besides their weights |
//! | `rope` | rotary embeddings |
//! | `scratch` | the buffers of a forward pass |
//! | `widths` | their lengths |
//! | `config` | hyper-parameters, read from a file's keys |
//! | `activation`, `error` | the nonlinearities of feed-forward blocks; why a model cannot be run |
//! | `families` | the table of families |
//! | `architecture`, `span` | how families differ; the input of a pass |

mod activation;
mod adapter;
mod alt_up;
mod architecture;
mod attention;
mod classifier;
mod config;
mod error;
mod experts;
mod families;
mod feed_forward;
pub mod forward;
mod head_norm;
mod hyper_connections;
mod indexer;
mod latent_attention;
mod layer;
mod layer_tensors;
mod loaded;
mod ngram_embedding;
mod pass;
mod per_layer_input;
pub mod recurrent;
mod residual_attention;
mod rope;
mod scratch;
mod side_streams;
mod span;
mod tensors;
pub mod weights;
mod widths;

pub use adapter::{Adapter, AdapterError};
pub use architecture::*;
pub use classifier::{Classifier, ClassifierScratch};
pub use config::{
    AltUpConfig, AttentionMask, ChunkConfig, ClassifierInput, Config, DecayRange, DeltaNetConfig,
    ExpertConfig, HeadMambaConfig, HeadsConfig, HyperConfig, IndexerConfig, KimiDeltaConfig, LatentConfig,
    LayerConfig, LayerEnd, LayerState, LightningConfig, Mamba2Config, MambaConfig, MixerConfig, NgramConfig,
    NgramHead, RecurrentConfig, RopeConfig, Rwkv6Config, Rwkv7Config, RwkvHeads, Sections,
    ShortConvolutionConfig, Temperature, Yarn,
};
pub use error::ModelError;
pub use families::ARCHITECTURES;
pub use loaded::Model;
pub use rope::{Rope, Ropes};
pub use scratch::Scratch;
pub use span::{Input, Logits, Span};
