//! The interface of inference: what the shell can ask for.

use alloc::{boxed::Box, string::String};
use core::ops::ControlFlow;

use llm::{
    front::{
        Event, Report, Request,
        bench::{BenchPlan, BenchResult},
    },
    gguf::Gguf,
    kv_cache::KvType,
    simd::Kernels,
    tokenizer::EncodeOptions,
};

use super::{BackendError, Catalog, ModelFile, Statistics};
use crate::{offload::Offload, storage::Disks, system::Machine};

/// Context length that a model gets unless told, if it has as much.
pub const DEFAULT_N_CTX: usize = 2048;

/// What a backend is built on.
pub struct Resources {
    /// The machine.
    pub machine: Machine,
    /// Where models are.
    pub disks: Disks,
    /// A device that may compute instead of the CPU.
    pub offload: Option<Box<dyn Offload>>,
}

/// How a model is run. What is `None` is the default.
#[derive(Clone, Copy, Default)]
pub struct EngineOptions {
    /// Positions of the context: what the model has and the memory allows, up to [`DEFAULT_N_CTX`].
    pub n_ctx: Option<usize>,
    /// Number format of cached keys and values: F16.
    pub kv_type: Option<KvType>,
    /// The inner loops: the machine's fastest.
    pub kernels: Option<&'static Kernels>,
    /// Cores that compute at most: all.
    pub n_cores: Option<usize>,
    /// Multiply f32 activations with dequantised weights.
    pub exact: bool,
}

impl EngineOptions {
    /// These, and `others` where they say nothing.
    pub fn or(self, others: Self) -> Self {
        Self {
            n_ctx: self.n_ctx.or(others.n_ctx),
            kv_type: self.kv_type.or(others.kv_type),
            kernels: self.kernels.or(others.kernels),
            n_cores: self.n_cores.or(others.n_cores),
            exact: self.exact || others.exact,
        }
    }
}

/// Loads models and runs them. One model is loaded at a time.
///
/// No call leaves anything behind for the next one but the loaded model and its context. What takes long reports to
/// a callback that can end it.
pub trait InferenceBackend: Send {
    /// The models that there are.
    fn catalog(&mut self) -> &mut Catalog;

    /// Loads the model with this path; a model that is loaded is unloaded first, though only after
    /// the new one's header has been found sound and its memory sufficient.
    ///
    /// # Errors
    /// If there is no such model, it is broken, it does not fit the memory or have this context
    /// length, its disk fails, or `progress` breaks off.
    fn load(
        &mut self,
        path: &str,
        options: EngineOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), BackendError>;

    /// Has the loaded model run like this from now on; the context starts empty if that changes anything. `false` if
    /// its weights lie in memory as another set of inner loops wants them: it must be loaded anew.
    ///
    /// # Errors
    /// If no model is loaded, it cannot have such a context or the memory does not suffice for it; the model runs on
    /// as before.
    fn adapt(&mut self, options: EngineOptions) -> Result<bool, BackendError>;

    /// Gives the memory of the loaded model back.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`].
    fn unload(&mut self) -> Result<(), BackendError>;

    /// Facts about the loaded model, if there is one.
    fn model(&self) -> Option<&ModelMetadata>;

    /// Shows `look` the file of the loaded model: its header, and its weights as they lie in memory.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`].
    fn with_gguf(&self, look: &mut dyn FnMut(&Gguf<'_>) -> ControlFlow<()>) -> Result<(), BackendError>;

    /// Makes the chat format of this name, or else the one that the model's file brings, ready, so that one that
    /// cannot be used is refused before anything is said.
    ///
    /// # Errors
    /// If no model is loaded, the file brings no format, there is none of this name, or it is broken.
    fn prepare_chat(&mut self, template: Option<&str>) -> Result<(), BackendError>;

    /// Answers a request, see [`Responder::generate`](llm::front::Responder::generate).
    ///
    /// # Errors
    /// If no model is loaded, and as there.
    fn generate(
        &mut self,
        request: Request<'_>,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, BackendError>;

    /// Runs exactly these tokens, see [`Responder::logits`](llm::front::Responder::logits).
    ///
    /// # Errors
    /// If no model is loaded, and as there.
    fn logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError>;

    /// Gives `on_ids` the ids of each of `texts`, in order, by the loaded model's vocabulary, or the first
    /// model's if none is loaded, whose weights are not needed for it.
    ///
    /// # Errors
    /// If there is no model, its vocabulary cannot be used or cannot spell a text, or there is no memory.
    fn tokenize(
        &mut self,
        texts: &[&str],
        options: EncodeOptions,
        on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError>;

    /// Measures the loaded model, see [`bench::run`](llm::front::bench::run), and what it runs on.
    ///
    /// # Errors
    /// If no model is loaded, and as there.
    fn bench(
        &mut self,
        plan: BenchPlan,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(BenchResult, RunsOn), BackendError>;

    /// What was done since the start.
    fn statistics(&self) -> &Statistics;

    /// What models take of the pool.
    fn memory_usage(&self) -> ModelMemory;

    /// The device that was offered for offloading, if any.
    fn offload(&mut self) -> Option<&mut (dyn Offload + 'static)>;
}

/// What a loaded model runs on, and how long its load took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunsOn {
    /// The inner loops, by name.
    pub kernel_set: &'static str,
    /// Cores that compute.
    pub n_cores: usize,
    /// Bytes that were read.
    pub load_bytes: u64,
    /// From the first read until it was ready.
    pub load_us: u64,
}

/// How far a read has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done_bytes: u64,
    /// Bytes to read in all.
    pub total_bytes: u64,
    /// Time since the first read began.
    pub elapsed_us: u64,
}

/// Facts about a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelMetadata {
    /// `/models/<name>.gguf`.
    pub path: String,
    /// [Identity](crate::storage::Disk::identity) of the disk that it was read from.
    pub disk_identity: u64,
    /// The family, such as `llama`.
    pub architecture: String,
    /// The type of most weights, as ggml calls it.
    pub quantisation: String,
    /// Weights in all tensors.
    pub n_params: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Layers.
    pub n_layer: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Query heads per layer.
    pub n_head: usize,
    /// Key and value heads per layer.
    pub n_head_kv: usize,
    /// Width of the feed-forward block.
    pub n_ff: usize,
    /// Tokens in the vocabulary.
    pub n_vocab: usize,
    /// Positions that the context in use has.
    pub n_ctx: usize,
    /// Positions that the model was trained for.
    pub n_ctx_train: usize,
}

impl ModelMetadata {
    /// True if the model was loaded from this file, and not from one of the same path on a disk that was there before.
    pub fn is_of(&self, file: &ModelFile) -> bool {
        self.path == file.path && self.disk_identity == file.disk_identity
    }
}

/// What models take of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelMemory {
    /// The loaded model's file as the disk delivered it; 0 when none is loaded.
    pub weights_bytes: usize,
    /// The loaded model's scratch and key-value cache; 0 when none is loaded.
    pub session_bytes: usize,
    /// The most that scratch and key-value cache have taken since the start.
    pub session_high_water_bytes: usize,
}
