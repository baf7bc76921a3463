//! The LLM service: models on disks, and a backend that runs some of them.
//!
//! | part | what it is |
//! |---|---|
//! | [`Catalog`] | the disks as `/models/<name>.gguf`, and their checksums |
//! | [`InferenceBackend`] | the interface: load, answer, measure |
//! | [`TransformerBackend`] | the engine (crate `llm`) behind it, with feature `llm-transformer` |
//! | `StubBackend` | reports that there is no inference, for builds without that feature |
//!
//! The service reads no clock of its own and touches no device: disks, memory, time and cores are passed in as [`Resources`], so
//! all of it can run and be tested on the host. Requests and answers are types of the engine's [`front`](::llm::front). The shell
//! is built on this module, and this module on the engine and [`storage`](crate::storage).

mod adapters;
mod backend;
mod catalog;
mod error;
mod statistics;
#[cfg(any(test, not(feature = "llm-transformer")))]
mod stub;
#[cfg(feature = "llm-transformer")]
mod transformer;

pub use adapters::{AdapterFacts, AdapterFile, Lora};
pub use backend::{
    DEFAULT_N_CTX, EngineOptions, Found, InferenceBackend, LoadProgress, ModelMemory, ModelMetadata,
    ModelStatus, Occupancy, Progress, Resources, RunsOn, Steps, Ticket, Unloaded,
};
pub use catalog::{Catalog, EXTENSION, FOLDER, Header, ModelFile, PartError, name_of};
pub use error::{BackendError, Sha256Digest, Taken};
pub use statistics::Statistics;
#[cfg(any(test, not(feature = "llm-transformer")))]
pub use stub::StubBackend;
#[cfg(feature = "llm-transformer")]
pub use transformer::TransformerBackend;

use alloc::boxed::Box;

/// The backend that this kernel was built with.
pub fn backend(resources: Resources) -> Box<dyn InferenceBackend> {
    #[cfg(feature = "llm-transformer")]
    return Box::new(TransformerBackend::new(resources));
    #[cfg(not(feature = "llm-transformer"))]
    return Box::new(StubBackend::new(resources));
}

#[cfg(all(test, feature = "llm-transformer"))]
mod chat;
#[cfg(all(test, feature = "llm-transformer"))]
#[allow(unsafe_code, reason = "an allocator that counts")]
pub(crate) mod fixtures;
#[cfg(not(target_os = "none"))]
pub mod host;
#[cfg(all(test, feature = "llm-transformer"))]
mod kv_cache;
#[cfg(all(test, feature = "llm-transformer"))]
mod quantize;
#[cfg(all(test, feature = "llm-transformer"))]
mod sampling;
#[cfg(all(test, feature = "llm-transformer"))]
mod tests;
#[cfg(all(test, feature = "llm-transformer"))]
mod tokenizer;
