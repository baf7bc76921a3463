//! The backend that runs transformers: the engine, on the kernel's disks and memory.
//!
//! [`TransformerBackend`] reserves memory, lets the disk fill it, and drives a
//! [`Session`] over it. What borrows from what is in `loaded.rs`.

mod loaded;
mod measure;

use alloc::{boxed::Box, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    model::Config,
    sampling::SamplingConfig,
    session::{Session, SessionOptions},
};

use self::loaded::LoadedModel;
use super::{
    BackendError, BenchResult, Catalog, DEFAULT_N_CTX, Header, InferenceBackend, InferenceResult,
    ModelMemory, ModelMetadata, Platform, Progress, Statistics,
};
use crate::{
    memory::pool::{GRANULE_BYTES, OutOfMemory, Pool, Region},
    offload::Offload,
};

/// A context is not made shorter than this to fit the memory.
const MIN_DEFAULT_N_CTX: usize = 64;

/// Runs models of the families that the engine knows.
pub struct TransformerBackend {
    catalog: Catalog,
    pool: &'static Pool,
    engine: Engine,
    offload: Option<Box<dyn Offload>>,
    offload_mentioned: bool,
    model: Option<Loaded>,
    sampling: SamplingConfig,
    stop: Vec<String>,
    verbose: bool,
    statistics: Statistics,
}

/// What computes, and what measures it.
#[derive(Clone, Copy)]
struct Engine {
    kernels: &'static llm::simd::Kernels,
    workers: &'static dyn llm::parallel::Workers,
    clock_us: fn() -> u64,
    instructions_retired: fn() -> Option<u64>,
}

struct Loaded {
    metadata: ModelMetadata,
    model: LoadedModel,
}

/// What a model needs before it is loaded.
struct Plan {
    header: Header,
    config: Config,
    n_ctx: usize,
    weights_bytes: usize,
    session_bytes: usize,
}

impl TransformerBackend {
    /// A backend without a model.
    pub fn new(platform: Platform) -> Self {
        Self {
            catalog: Catalog::new(platform.disks, platform.pool),
            pool: platform.pool,
            engine: Engine {
                kernels: platform.kernels,
                workers: platform.workers,
                clock_us: platform.clock_us,
                instructions_retired: platform.instructions_retired,
            },
            offload: platform.offload,
            offload_mentioned: false,
            model: None,
            sampling: SamplingConfig::greedy(),
            stop: Vec::new(),
            verbose: false,
            statistics: Statistics::default(),
        }
    }

    /// Reads the header and works out what the model takes; nothing is reserved or unloaded yet.
    fn plan(&mut self, file: usize, n_ctx: Option<usize>) -> Result<Plan, BackendError> {
        // A loaded model makes room.
        let loaded = self.memory_usage();
        let available_bytes = self.pool.free_bytes() + loaded.weights_bytes + loaded.session_bytes;
        let file_bytes = self.catalog.files()[file].length_bytes;
        self.catalog.with_header(file, |gguf| {
            let header = Header::new(gguf)?;
            let config = Config::from_gguf(gguf)?;
            // A file beyond the address space is more than any memory.
            let weights_bytes = usize::try_from(header.end_bytes.min(file_bytes)).unwrap_or(usize::MAX);
            let wanted = n_ctx.unwrap_or(config.n_ctx_train.min(DEFAULT_N_CTX));
            let mut plan = Plan { header, config, n_ctx: wanted, weights_bytes, session_bytes: 0 };
            loop {
                plan.session_bytes =
                    Session::required_bytes(&plan.config, &SessionOptions::generate(plan.n_ctx))?;
                let needed_bytes = plan.weights_bytes.saturating_add(plan.session_bytes);
                if needed_bytes <= available_bytes {
                    break;
                }
                if n_ctx.is_some() || plan.n_ctx <= MIN_DEFAULT_N_CTX {
                    return Err(BackendError::OutOfMemory {
                        needed_bytes,
                        available_bytes,
                        n_ctx: plan.n_ctx,
                    });
                }
                plan.n_ctx = (plan.n_ctx / 2).max(MIN_DEFAULT_N_CTX);
            }
            if plan.n_ctx < wanted {
                log::warn!("memory suffices for a context of {} tokens, not {wanted}", plan.n_ctx);
            }
            Ok(plan)
        })
    }

    fn load(
        &mut self,
        file: usize,
        path: &str,
        n_ctx: Option<usize>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let plan = self.plan(file, n_ctx)?;
        self.model = None;
        let (mut weights, memory) = self.reserve(&plan)?;
        let start_us = (self.engine.clock_us)();
        self.catalog.read(file, &mut weights, self.engine.clock_us, progress)?;
        self.statistics.loads += 1;
        self.statistics.load_bytes += weights.len() as u64;
        self.statistics.load_us += (self.engine.clock_us)().saturating_sub(start_us);

        let file_bytes = self.catalog.files()[file].length_bytes;
        let options = SessionOptions::generate(plan.n_ctx);
        let model = LoadedModel::load(weights, memory, file_bytes, options, &self.engine)?;
        if self.verbose {
            model.log_weight_magnitudes();
        }
        let Plan { header, config, n_ctx, .. } = plan;
        // Layers differ in a few families; the first stands for them.
        let layer = &config.layers[0];
        self.model = Some(Loaded {
            metadata: ModelMetadata {
                path: path.into(),
                architecture: header.architecture,
                quantisation: header.quantisation.into(),
                n_params: header.n_params,
                file_bytes,
                n_layer: config.layers.len(),
                n_embd: config.n_embd,
                n_head: layer.n_head,
                n_head_kv: layer.n_head_kv,
                n_ff: layer.n_ff,
                n_vocab: config.n_vocab,
                n_ctx,
                n_ctx_train: config.n_ctx_train,
            },
            model,
        });
        self.mention_offload();
        Ok(())
    }

    /// Takes both regions before anything is read into either.
    fn reserve(&self, plan: &Plan) -> Result<(Region, Region), BackendError> {
        let needed_bytes = plan.weights_bytes.saturating_add(plan.session_bytes);
        let refused = |taken_bytes: usize| {
            move |error: OutOfMemory| BackendError::OutOfMemory {
                needed_bytes,
                available_bytes: taken_bytes + error.available_bytes,
                n_ctx: plan.n_ctx,
            }
        };
        let weights = self.pool.reserve(plan.weights_bytes, GRANULE_BYTES).map_err(refused(0))?;
        let memory =
            self.pool.reserve(plan.session_bytes, GRANULE_BYTES).map_err(refused(plan.weights_bytes))?;
        Ok((weights, memory))
    }

    /// Says once what becomes of a device that could be offloaded to.
    fn mention_offload(&mut self) {
        if let Some(device) = &self.offload
            && !self.offload_mentioned
        {
            self.offload_mentioned = true;
            let name = device.name();
            if device.capabilities().matmul {
                log::info!("{name} could compute, but no model is offloaded: the CPU computes");
            } else {
                log::info!("{name} computes no matrix products: the CPU does");
            }
        }
    }

    fn loaded(&self) -> Result<&Loaded, BackendError> {
        self.model.as_ref().ok_or(BackendError::NotLoaded)
    }
}

impl InferenceBackend for TransformerBackend {
    fn name(&self) -> &'static str {
        "transformer"
    }

    fn catalog(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    fn load_model_with(
        &mut self,
        path: &str,
        n_ctx: Option<usize>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let file = self.catalog.find(path)?;
        let path = self.catalog.path(file);
        self.load(file, &path, n_ctx, progress).map_err(|error| error.in_file(&path))
    }

    fn unload(&mut self) -> Result<(), BackendError> {
        self.model.take().map(drop).ok_or(BackendError::NotLoaded)
    }

    fn is_loaded(&self) -> bool {
        self.model.is_some()
    }

    fn model_metadata(&self) -> Option<&ModelMetadata> {
        self.model.as_ref().map(|loaded| &loaded.metadata)
    }

    fn set_sampling_config(&mut self, config: SamplingConfig) -> Result<(), BackendError> {
        config.validate()?;
        self.sampling = config;
        Ok(())
    }

    fn set_stop_strings(&mut self, stop: Vec<String>) {
        self.stop = stop;
    }

    fn set_context_length(&mut self, n_ctx: usize) -> Result<(), BackendError> {
        let Loaded { mut metadata, model } = self.model.take().ok_or(BackendError::NotLoaded)?;
        if n_ctx == metadata.n_ctx {
            self.model = Some(Loaded { metadata, model });
            return Ok(());
        }
        let (model, resized) = model.with_context(n_ctx, self.pool, &self.engine)?;
        if resized.is_ok() {
            metadata.n_ctx = n_ctx;
        }
        self.model = Some(Loaded { metadata, model });
        resized
    }

    fn set_verbose(&mut self, verbose: bool) {
        self.verbose = verbose;
    }

    fn infer_streaming(
        &mut self,
        prompt: &str,
        max_tokens: usize,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<InferenceResult, BackendError> {
        let loaded = self.model.as_mut().ok_or(BackendError::NotLoaded)?;
        let request = loaded::Request {
            prompt,
            max_tokens,
            sampling: self.sampling,
            stop: &self.stop,
            verbose: self.verbose,
        };
        let result = loaded.model.infer(&request, &self.engine, on_text)?;
        self.statistics.add(&result);
        Ok(result)
    }

    fn tokenize(&self, text: &str) -> Result<Vec<u32>, BackendError> {
        self.loaded()?.model.tokenize(text)
    }

    fn detokenize(&self, ids: &[u32]) -> Result<String, BackendError> {
        self.loaded()?.model.detokenize(ids)
    }

    fn bench(
        &mut self,
        n_prompt: usize,
        n_generate: usize,
        between_tokens: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<BenchResult, BackendError> {
        let loaded = self.model.as_mut().ok_or(BackendError::NotLoaded)?;
        loaded.model.bench(n_prompt, n_generate, &self.engine, between_tokens)
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn memory_usage(&self) -> ModelMemory {
        self.model.as_ref().map(|loaded| loaded.model.memory_usage()).unwrap_or_default()
    }

    fn offload(&mut self) -> Option<&mut (dyn Offload + 'static)> {
        self.offload.as_deref_mut()
    }
}
