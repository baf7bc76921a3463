//! The interface of inference: what the shell can ask for.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    chat::Message,
    front::{
        ChatFormat, Event, Prompt, Report, Request, RequestId, Responder,
        bench::{BenchPlan, BenchResult},
        embedding::EmbeddingWish,
    },
    gguf::Gguf,
    kv_cache::CacheType,
    quant::ModelBytes,
    scheduler::Counts,
    simd::Kernels,
    tokenizer::EncodeOptions,
};
use trust::receipt;

use super::{AdapterFile, BackendError, Catalog, Lora, ModelFile, Statistics, name_of};
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
#[derive(Clone, Default)]
pub struct EngineOptions {
    /// Positions of the context: what the model has and the memory allows, up to [`DEFAULT_N_CTX`].
    pub n_ctx: Option<usize>,
    /// Number format of cached keys: F16.
    pub type_k: Option<CacheType>,
    /// Number format of cached values: F16.
    pub type_v: Option<CacheType>,
    /// The inner loops: the machine's fastest.
    pub kernels: Option<&'static Kernels>,
    /// Cores that compute at most: all.
    pub n_cores: Option<usize>,
    /// Multiply f32 activations with dequantised weights.
    pub exact: bool,
    /// Texts that are computed together: 1.
    pub n_parallel: Option<usize>,
    /// Texts that are computed together if `n_parallel` says nothing: as many as there is room for, up to this.
    pub n_parallel_if_room: Option<usize>,
    /// Adapters that change the model, each as often as it is here: none.
    pub lora: Vec<Lora>,
}

impl EngineOptions {
    /// These, and `others` where they say nothing.
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

/// Looks at the file of a loaded model, its header and its bytes in memory, and can break off.
pub type Look<'l> = dyn FnMut(&Gguf<'_>, ModelBytes<&[u8]>) -> ControlFlow<()> + 'l;

/// Computes what models are asked.
pub trait Steps {
    /// Computes one batch of one of the models that have requests, each in turn, and tells what came of it; returns how
    /// many tokens it had, 0 if no model has a request. See [`Responder::step`].
    ///
    /// # Errors
    /// As there.
    fn step(
        &mut self,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(Ticket, Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, BackendError>;
}

/// Learns how far a load has come, and can break it off. The models that are loaded can be lent a step meanwhile.
pub type LoadProgress<'p> = dyn FnMut(Progress, &mut dyn Steps) -> ControlFlow<()> + 'p;

/// Loads models and runs them. As many are loaded at once as the memory has room for.
///
/// A call that acts on a loaded model is told which: by its name, with or without folder and extension, or `None` for
/// the current one, which is the one that was loaded or [selected](Self::select) last.
///
/// No call leaves anything behind for the next one but the loaded models and their contexts. What takes long reports
/// to a callback that can end it.
pub trait InferenceBackend: Steps + Send {
    /// The models that there are.
    fn catalog(&mut self) -> &mut Catalog;

    /// The models in memory, in the order in which they were loaded; last those that are so only until their requests are
    /// over.
    fn models(&self) -> Vec<ModelStatus<'_>>;

    /// The model of this name: the one on a disk or, if no disk has it any more, the one in memory.
    ///
    /// # Errors
    /// [`BackendError::UnknownPath`] with the names that there are.
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

    /// Loads the model with this path beside those that are loaded, and makes it the current one. If it is loaded
    /// already, or one that had the same path on another disk, it takes that one's place. The old one is
    /// unloaded when the new one is ready or, if they have no room beside each other and the old one has no requests,
    /// after the new one's header has been found sound and the memory sufficient with what the old one gives back.
    ///
    /// # Errors
    /// If there is no such model, it is broken, it does not fit the memory beside the others or have this context
    /// length, an adapter that is asked for is none of it, a disk fails, or `progress` breaks off.
    fn load(
        &mut self,
        path: &str,
        options: EngineOptions,
        progress: &mut LoadProgress<'_>,
    ) -> Result<(), BackendError>;

    /// How the current model is run by who does not say otherwise: as it was loaded, or [set](Self::set_standing_options) last.
    fn standing_options(&self) -> EngineOptions;

    /// Sets how the current model is run by who does not say otherwise.
    fn set_standing_options(&mut self, options: EngineOptions);

    /// Makes a loaded model the current one.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn select(&mut self, name: &str) -> Result<(), BackendError>;

    /// Has a model run like this from now on; the context starts empty if that changes anything. `false` if
    /// its weights lie in memory as another set of inner loops wants them, or an adapter that is asked for has come since
    /// it was loaded: it must be loaded anew.
    ///
    /// # Errors
    /// If it is not loaded, cannot have such a context, the memory does not suffice for it, or an adapter is none of it; the model runs on as
    /// before. Only if the heap has no room for a runner, not even for the one that it had, it is unloaded.
    fn adapt(&mut self, model: Option<&str>, options: EngineOptions) -> Result<bool, BackendError>;

    /// Gives the memory of a model back: at once or, if it has requests, when the last of them is over. It takes no
    /// new ones.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn unload(&mut self, model: Option<&str>) -> Result<Unloaded, BackendError>;

    /// Facts about a loaded model.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn model(&self, model: Option<&str>) -> Result<&ModelMetadata, BackendError>;

    /// The adapters that were on disks when a model was loaded, those that change nothing unless they are asked for and those
    /// that are none of it.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn adapters(&self, model: Option<&str>) -> Result<&[AdapterFile], BackendError>;

    /// What receipts say of a loaded model and its adapters. Their disks are read for that once.
    ///
    /// # Errors
    /// If it is not loaded, a disk fails or has been replaced, or `progress` breaks off.
    fn record(
        &mut self,
        model: Option<&str>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<receipt::Model<'static>, BackendError>;

    /// Has requests to a loaded model that do not say what adapters are multiplied by use these scales from now on, or else those
    /// that the model's [standing options](Self::standing_options) ask for; gives back what they used before. There is nothing to
    /// change in a model that is not loaded, or has no adapters.
    fn set_scales(&mut self, _model: Option<&str>, _scales: Option<Vec<f32>>) -> Option<Vec<f32>> {
        None
    }

    /// Shows `look` the file of a loaded model: its header, and its weights as they lie in memory.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`]; [`BackendError::Cancelled`] if `look` breaks
    /// off.
    fn with_gguf(&self, model: Option<&str>, look: &mut Look<'_>) -> Result<(), BackendError>;

    /// Makes the chat format of this name, or else the one that the model's file brings, ready, so that one that
    /// cannot be used is refused before anything is said.
    ///
    /// # Errors
    /// If the model is not loaded, the file brings no format, there is none of this name, or it is broken.
    fn prepare_chat(&mut self, model: Option<&str>, template: Option<&str>) -> Result<(), BackendError>;

    /// Answers a request, see [`Responder::generate`](Responder::generate).
    ///
    /// # Errors
    /// If the model is not loaded, and as there.
    fn generate(
        &mut self,
        model: Option<&str>,
        request: Request<'_>,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, BackendError>;

    /// Takes a request, to be answered by [`step`](Steps::step), see [`Responder::submit`](Responder::submit).
    /// The model answers it also if it is unloaded, or replaced by a new one of the same path, before it is over.
    ///
    /// # Errors
    /// If the model is not loaded, and as there.
    fn submit(&mut self, model: Option<&str>, request: Request<'_>) -> Result<Ticket, BackendError>;

    /// What a request whose end was not told yet has said so far.
    fn output(&self, ticket: Ticket) -> Option<&str>;

    /// Whether a loaded model would take another request now, as far as its queue goes.
    fn has_room(&self, model: Option<&str>) -> bool;

    /// What a loaded model has computed so far.
    fn counts(&self, model: Option<&str>) -> Counts;

    /// Ends a request whose end was not told yet; what came of it. Nothing more is told of it.
    fn cancel(&mut self, ticket: Ticket) -> Option<Report>;

    /// Runs exactly these tokens, see [`Responder::logits`](Responder::logits).
    ///
    /// # Errors
    /// If the model is not loaded, and as there.
    fn logits(
        &mut self,
        model: Option<&str>,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError>;

    /// Gives `on_ids` the ids of each of `texts`, in order, by the vocabulary of the model of this name, or else the
    /// current one's, or the first one's if none is loaded. The weights are not needed for it: of a model that is not
    /// loaded, the header is read.
    ///
    /// # Errors
    /// If there is no model, its vocabulary cannot be used or cannot spell a text, or there is no memory.
    fn tokenize(
        &mut self,
        model: Option<&str>,
        texts: &[&str],
        options: EncodeOptions,
        on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError>;

    /// Takes a text that is to become a vector, see [`Responder::submit_embedding`].
    ///
    /// # Errors
    /// If the model is not loaded, and as there.
    fn submit_embedding(
        &mut self,
        model: Option<&str>,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<Ticket, BackendError>;

    /// The number of a loaded model since the start: no other one has it, or gets it.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn id(&self, model: Option<&str>) -> Result<u64, BackendError>;

    /// What answers for a loaded model.
    ///
    /// # Errors
    /// [`BackendError::NotLoaded`] and [`BackendError::NotAmongLoaded`].
    fn responder(&self, model: Option<&str>) -> Result<&Responder<'_>, BackendError>;

    /// A conversation as the text that a loaded model is prompted with, see [`Responder::render`].
    ///
    /// # Errors
    /// If the model is not loaded, and as there.
    fn render(
        &mut self,
        model: Option<&str>,
        messages: &[Message<'_>],
        format: &ChatFormat<'_>,
    ) -> Result<String, BackendError>;

    /// Measures a loaded model, see [`bench::run`](llm::front::bench::run), and says what it runs on.
    ///
    /// # Errors
    /// If the model is not loaded, and as there.
    fn bench(
        &mut self,
        model: Option<&str>,
        plan: BenchPlan,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(BenchResult, RunsOn), BackendError>;

    /// What was done since the start.
    fn statistics(&self) -> &Statistics;

    /// What all loaded models together take of the pool.
    fn memory_usage(&self) -> ModelMemory {
        self.models().iter().fold(ModelMemory::default(), |sum, status| sum + status.memory)
    }

    /// The most that scratch and cache of all models together have taken since the start.
    fn session_high_water_bytes(&self) -> usize;

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
    /// What stands for all bytes of the model, if somebody vouches for it and they were checked as they were read.
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
    /// Positions that the context in use has.
    pub n_ctx: usize,
    /// Texts that are computed together.
    pub n_parallel: usize,
    /// Pages of positions that they share, which may be fewer than all their contexts have.
    pub n_pages: usize,
    /// Positions that the model was trained for.
    pub n_ctx_train: usize,
}

impl ModelMetadata {
    /// True if the model was loaded from this file, and not from one of the same path on a disk that was there before, or from
    /// one that had another root.
    pub fn is_of(&self, file: &ModelFile) -> bool {
        self.is_from(&file.path, file.disk_identity, file.root)
    }

    /// A file that nobody vouches for any more may be the one that was checked when it was loaded.
    fn is_from(&self, path: &str, disk_identity: u64, root: Option<trust::Root>) -> bool {
        self.path == path && self.disk_identity == disk_identity && (root.is_none() || root == self.root)
    }
}

/// A model that was asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is loaded; this is its path.
    Loaded(String),
    /// It is on a disk; this is its path. It is not loaded, or the disk is another one since.
    OnDisk(String),
}

/// A loaded model and how it does.
#[derive(Debug, Clone, Copy)]
pub struct ModelStatus<'a> {
    /// Facts about it.
    pub metadata: &'a ModelMetadata,
    /// What it takes.
    pub memory: ModelMemory,
    /// Whether it is the current one.
    pub is_current: bool,
    /// Requests that it has.
    pub n_requests: usize,
    /// What its texts take of the room for them.
    pub occupancy: Occupancy,
    /// Whether it has been unloaded, or replaced, and only answers these.
    pub is_retiring: bool,
}

/// What a model's texts take of the room for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Texts that are being computed.
    pub n_running: usize,
    /// Texts that wait for a place among those.
    pub n_waiting: usize,
    /// Pages of positions that texts hold.
    pub n_used_pages: usize,
    /// Pages in all.
    pub n_pages: usize,
}

/// Names a request from its submission to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The number of the model, of all that were loaded since the start.
    pub(super) model: u64,
    /// The model's name for it.
    pub(super) request: RequestId,
}

/// What comes of an unload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unloaded {
    /// What the model takes of the pool.
    pub size_bytes: usize,
    /// Requests that it has: the memory comes back when they are over, or at once if there is none.
    pub n_requests: usize,
}

/// What a model takes of the pool, or several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelMemory {
    /// The weights, with the rest of the file.
    pub weights_bytes: usize,
    /// Keys and values, and what recurrent layers keep, of the texts computed so far.
    pub state_bytes: usize,
    /// What is needed only while a batch is computed.
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
