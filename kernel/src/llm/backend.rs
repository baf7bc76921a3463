//! The interface to inference: everything that the shell can request.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    chat::Message,
    front::{
        ChatFormat, Event, Prompt, Report, Request, RequestId, Responder,
        bench::{BenchPlan, BenchResult},
        embedding::EmbeddingWish,
    },
    kv_cache::CacheType,
    simd::Kernels,
    tokenizer::EncodeOptions,
};
use trust::receipt;

use super::{AdapterFile, BackendError, Catalog, Lora, ModelFile, Statistics, name_of};
use crate::{offload::Offload, storage::Disks, system::Machine};

/// The default context length of a model, unless the model's own is shorter.
pub const DEFAULT_N_CTX: usize = 2048;

/// Everything that a backend is built on.
pub struct Resources {
    /// The machine.
    pub machine: Machine,
    /// The disks that models are read from.
    pub disks: Disks,
    /// A device that may compute instead of the CPU.
    pub offload: Option<Box<dyn Offload>>,
}

/// How to run a model. `None` stands for the default, which is given for each field.
#[derive(Clone, Default)]
pub struct EngineOptions {
    /// Positions of the context. Default: as many as the model has and the memory allows, up to [`DEFAULT_N_CTX`].
    pub n_ctx: Option<usize>,
    /// Number format of cached keys. Default: F16.
    pub type_k: Option<CacheType>,
    /// Number format of cached values. Default: F16.
    pub type_v: Option<CacheType>,
    /// The inner loops. Default: the machine's fastest.
    pub kernels: Option<&'static Kernels>,
    /// The most cores that compute. Default: all.
    pub n_cores: Option<usize>,
    /// Multiply f32 activations with dequantised weights.
    pub exact: bool,
    /// Texts that are computed together. Default: 1.
    pub n_parallel: Option<usize>,
    /// If `n_parallel` is `None`: compute as many texts together as there is room for, up to this number.
    pub n_parallel_if_room: Option<usize>,
    /// Adapters that change the model; an adapter may be listed several times. Default: none.
    pub lora: Vec<Lora>,
}

impl EngineOptions {
    /// These options, completed by `others` where they are `None`.
    pub fn or(self, others: Self) -> Self {
        Self {
            n_ctx: self.n_ctx.or(others.n_ctx),
            type_k: self.type_k.or(others.type_k),
            type_v: self.type_v.or(others.type_v),
            kernels: self.kernels.or(others.kernels),
            n_cores: self.n_cores.or(others.n_cores),
            exact: self.exact || others.exact,
            n_parallel: self.n_parallel.or(others.n_parallel),
            n_parallel_if_room: self.n_parallel_if_room.or(others.n_parallel_if_room),
            lora: if self.lora.is_empty() { others.lora } else { self.lora },
        }
    }
}

/// Computes the pending requests of models.
pub trait Steps {
    /// Computes one batch of one of the models that have requests (they take turns), and reports the results. Returns the number
    /// of tokens in the batch; 0 if no model has a request. See [`Responder::step`].
    ///
    /// # Errors
    /// Those of [`Responder::step`].
    fn step(
        &mut self,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(Ticket, Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, BackendError>;
}

/// A callback that is told the progress of a load and can break it off. It can also have a batch of the loaded models computed.
pub type LoadProgress<'p> = dyn FnMut(Progress, &mut dyn Steps) -> ControlFlow<()> + 'p;

/// Loads models and runs them. As many models can be loaded at once as there is memory for.
///
/// A method that acts on a loaded model takes its name, with or without folder and extension, or `None` for the current model:
/// the one that was loaded or [selected](Self::select) last.
///
/// No method leaves any state behind for the next one except the loaded models and their contexts. Methods that take long report
/// to a callback that can end them.
pub trait InferenceBackend: Steps + Send {
    /// The models on the disks.
    fn catalog(&mut self) -> &mut Catalog;

    /// The models in memory, in the order in which they were loaded. Models that only finish their last requests come at the end.
    fn models(&self) -> Vec<ModelStatus<'_>>;

    /// The model of this name: the one on a disk or, if it is on no disk any more, the one in memory.
    ///
    /// # Errors
    /// [`BackendError::UnknownPath`] with the existing names.
    fn find(&mut self, name: &str) -> Result<Found, BackendError> {
        let catalog = self.catalog();
        let on_disk = match catalog.find(name) {
            Ok(file) => {
                let file = &catalog.files()[file];
                Ok((file.path.clone(), file.disk_identity, file.root))
            }
            Err(error) => Err(error),
        };
        let loaded = self.models().into_iter().filter(|status| !status.is_retiring);
        let mut models = loaded.map(|status| status.metadata);
        match on_disk {
            Ok((path, disk_identity, root)) => {
                let is_it = |model: &ModelMetadata| model.is_from(&path, disk_identity, root);
                Ok(if models.any(is_it) { Found::Loaded(path) } else { Found::OnDisk(path) })
            }
            Err(error) => {
                let model = models.find(|model| name_of(&model.path) == name_of(name));
                model.map(|model| Found::Loaded(model.path.clone())).ok_or(error)
            }
        }
    }

    /// Loads the model with this path in addition to those that are loaded, and makes it the current one. A loaded model with the
    /// same path, even if it came from another disk, is replaced. It is normally unloaded when the new one is ready. If there is
    /// no room for both and the old one has no requests, it is unloaded before the new one is read, but only after the new one's
    /// header has been found valid and the memory sufficient without the old one.
    ///
    /// # Errors
    /// If there is no such model, it is broken, it does not fit into the memory beside the others, it cannot have this context
    /// length, a requested adapter does not belong to it, a disk fails, or `progress` breaks off.
    fn load(
        &mut self,
        path: &str,
        options: EngineOptions,
        progress: &mut LoadProgress<'_>,
    ) -> Result<(), BackendError>;

    /// How the current model runs for commands that give no options: as it was loaded, or as [set](Self::set_standing_options) last.
    fn standing_options(&self) -> EngineOptions;

    /// Sets how the current model runs for commands that give no options.
    fn set_standing_options(&mut self, options: EngineOptions);

    /// Makes a loaded model the current one.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn select(&mut self, name: &str) -> Result<(), BackendError>;

    /// Makes a model run with these options from now on; if that changes anything, the context starts empty. Returns `false` if
    /// the model must be loaded again instead: its weights are packed for another set of inner loops, or a requested adapter was
    /// not on a disk yet when it was loaded.
    ///
    /// # Errors
    /// If the model is not loaded, cannot have such a context, there is too little memory for it, or an adapter does not belong
    /// to it. The model then keeps running as before. The exception: it is unloaded if the heap has not even enough room to
    /// recreate the old runner.
    fn adapt(&mut self, model: Option<&str>, options: EngineOptions) -> Result<bool, BackendError>;

    /// Unloads a model and frees its memory: at once or, if it has requests, when the last of them has ended. It takes no new requests.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn unload(&mut self, model: Option<&str>) -> Result<Unloaded, BackendError>;

    /// Facts about a loaded model.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn model(&self, model: Option<&str>) -> Result<&ModelMetadata, BackendError>;

    /// The adapters that were on disks when a model was loaded, including those that change nothing unless requested and those
    /// that do not belong to the model.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn adapters(&self, model: Option<&str>) -> Result<&[AdapterFile], BackendError>;

    /// The entry of a loaded model and its adapters in receipts. Their disks are read for it, but only the first time.
    ///
    /// # Errors
    /// If the model is not loaded, a disk fails or has been replaced, or `progress` breaks off.
    fn record(
        &mut self,
        model: Option<&str>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<receipt::Model<'static>, BackendError>;

    /// Sets the scales of a model's adapters that requests use if they give none. With `None`, those requests use the scales of
    /// the model's [standing options](Self::standing_options). Returns the previous scales. Does nothing if the model is not
    /// loaded or has no adapters.
    fn set_scales(&mut self, _model: Option<&str>, _scales: Option<Vec<f32>>) -> Option<Vec<f32>> {
        None
    }

    /// Prepares the chat format of this name or, without a name, the one in the model's file, so that an unusable format is
    /// refused before anything is said.
    ///
    /// # Errors
    /// If the model is not loaded, the file has no format, there is no format of this name, or it is broken.
    fn prepare_chat(&mut self, model: Option<&str>, template: Option<&str>) -> Result<(), BackendError>;

    /// Answers a request, see [`Responder::generate`](Responder::generate).
    ///
    /// # Errors
    /// If the model is not loaded, and those of [`Responder::generate`](Responder::generate).
    fn generate(
        &mut self,
        model: Option<&str>,
        request: Request<'_>,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, BackendError>;

    /// Submits a request, to be answered by [`step`](Steps::step), see [`Responder::submit`](Responder::submit). The model
    /// answers it even if it is unloaded, or replaced by a new one of the same path, before the request has ended.
    ///
    /// # Errors
    /// If the model is not loaded, and those of [`Responder::submit`](Responder::submit).
    fn submit(&mut self, model: Option<&str>, request: Request<'_>) -> Result<Ticket, BackendError>;

    /// The output so far of a request whose end has not been reported yet.
    fn output(&self, ticket: Ticket) -> Option<&str>;

    /// Ends a request whose end has not been reported yet, and returns its report. Nothing more is reported of it.
    fn cancel(&mut self, ticket: Ticket) -> Option<Report>;

    /// Runs exactly these tokens, see [`Responder::logits`](Responder::logits).
    ///
    /// # Errors
    /// If the model is not loaded, and those of [`Responder::logits`](Responder::logits).
    fn logits(
        &mut self,
        model: Option<&str>,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError>;

    /// Passes the ids of each of `texts` to `on_ids`, in order. The vocabulary is that of the model of this name; without a name,
    /// the current model's or, if none is loaded, the first model's. Weights are not needed: if the model is not loaded, only its
    /// header is read.
    ///
    /// # Errors
    /// If there is no model, its vocabulary cannot be used or cannot represent a text, or there is too little memory.
    fn tokenize(
        &mut self,
        model: Option<&str>,
        texts: &[&str],
        options: EncodeOptions,
        on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError>;

    /// Submits a text that is to be turned into a vector, see [`Responder::submit_embedding`].
    ///
    /// # Errors
    /// If the model is not loaded, and those of [`Responder::submit_embedding`].
    fn submit_embedding(
        &mut self,
        model: Option<&str>,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<Ticket, BackendError>;

    /// The number of a loaded model. Numbers are never reused until the machine restarts.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn id(&self, model: Option<&str>) -> Result<u64, BackendError>;

    /// The responder of a loaded model: what it has computed, whether its queue has room, its file's header and its weights in
    /// memory.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn responder(&self, model: Option<&str>) -> Result<&Responder<'_>, BackendError>;

    /// Renders a conversation as the prompt of a loaded model, see [`Responder::render`].
    ///
    /// # Errors
    /// If the model is not loaded, and those of [`Responder::render`].
    fn render(
        &mut self,
        model: Option<&str>,
        messages: &[Message<'_>],
        format: &ChatFormat<'_>,
    ) -> Result<String, BackendError>;

    /// Measures a loaded model, see [`bench::run`](llm::front::bench::run), and says what it runs on.
    ///
    /// # Errors
    /// If the model is not loaded, and those of [`bench::run`](llm::front::bench::run).
    fn bench(
        &mut self,
        model: Option<&str>,
        plan: BenchPlan,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(BenchResult, RunsOn), BackendError>;

    /// Statistics since the start.
    fn statistics(&self) -> &Statistics;

    /// The memory of the pool that all loaded models use together.
    fn memory_usage(&self) -> ModelMemory {
        self.models().iter().fold(ModelMemory::default(), |sum, status| sum + status.memory)
    }

    /// The most memory that scratch and caches of all models together have used since the start.
    fn session_high_water_bytes(&self) -> usize;

    /// The device that was offered for offloading, if any.
    fn offload(&mut self) -> Option<&mut (dyn Offload + 'static)>;
}

/// What a loaded model runs on, and how long loading it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunsOn {
    /// The inner loops, by name.
    pub kernel_set: &'static str,
    /// Cores that compute.
    pub n_cores: usize,
    /// Bytes that were read.
    pub load_bytes: u64,
    /// Time from the first read until the model was ready.
    pub load_us: u64,
}

/// How far a read has progressed.
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
    /// The root hash of all bytes of the model, if there is a trusted one and the bytes were checked against it as they were read.
    pub root: Option<trust::Root>,
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
    /// Positions of the context in use.
    pub n_ctx: usize,
    /// Texts that are computed together.
    pub n_parallel: usize,
    /// Pages of positions that the texts share. There may be fewer than all contexts together would need.
    pub n_pages: usize,
    /// Positions of the context that the model was trained with.
    pub n_ctx_train: usize,
}

impl ModelMetadata {
    /// True if the model was loaded from this file, as opposed to a file of the same path on an earlier disk, or a file with
    /// another root hash.
    pub fn is_of(&self, file: &ModelFile) -> bool {
        self.is_from(&file.path, file.disk_identity, file.root)
    }

    /// A file without a root hash may still be the one that was checked when it was loaded.
    fn is_from(&self, path: &str, disk_identity: u64, root: Option<trust::Root>) -> bool {
        self.path == path && self.disk_identity == disk_identity && (root.is_none() || root == self.root)
    }
}

/// The result of a search for a model by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is loaded; this is its path.
    Loaded(String),
    /// It is on a disk; this is its path. It is not loaded, or its disk has been replaced since.
    OnDisk(String),
}

/// A loaded model and its state.
#[derive(Debug, Clone, Copy)]
pub struct ModelStatus<'a> {
    /// Facts about it.
    pub metadata: &'a ModelMetadata,
    /// The memory that it uses.
    pub memory: ModelMemory,
    /// Whether it is the current one.
    pub is_current: bool,
    /// Requests that it has.
    pub n_requests: usize,
    /// How much of the room for texts is in use.
    pub occupancy: Occupancy,
    /// Whether it has been unloaded or replaced, and only finishes its last requests.
    pub is_retiring: bool,
}

/// How much of a model's room for texts is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Texts that are being computed.
    pub n_running: usize,
    /// Texts that wait to be computed.
    pub n_waiting: usize,
    /// Pages of positions that texts hold.
    pub n_used_pages: usize,
    /// Pages in all.
    pub n_pages: usize,
}

/// Identifies a request from its submission to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The model's number, unique among all models loaded since the start.
    pub(super) model: u64,
    /// The model's identifier for the request.
    pub(super) request: RequestId,
}

/// The result of an unload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unloaded {
    /// Memory of the pool that the model uses.
    pub size_bytes: usize,
    /// Requests that the model still has: the memory is freed when they have ended, or at once if there is none.
    pub n_requests: usize,
}

/// Memory of the pool that one model uses, or several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelMemory {
    /// The weights, including the rest of the file.
    pub weights_bytes: usize,
    /// Keys and values, and the state of recurrent layers, of the texts computed so far.
    pub state_bytes: usize,
    /// Memory that is needed only while a batch is computed.
    pub scratch_bytes: usize,
}

impl ModelMemory {
    /// State and scratch.
    pub fn session_bytes(&self) -> usize {
        self.state_bytes + self.scratch_bytes
    }

    /// All of it.
    pub fn total_bytes(&self) -> usize {
        self.weights_bytes + self.session_bytes()
    }
}

impl core::ops::Add for ModelMemory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            weights_bytes: self.weights_bytes + other.weights_bytes,
            state_bytes: self.state_bytes + other.state_bytes,
            scratch_bytes: self.scratch_bytes + other.scratch_bytes,
        }
    }
}
