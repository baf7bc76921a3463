//! The backend that runs transformers: the engine, on the kernel's disks and memory.
//!
//! [`TransformerBackend`] reserves memory, lets the disk fill it, and drives a
//! [`Session`] over it. What borrows from what is in `loaded.rs`, how the weights get into memory in
//! `reading.rs`.

mod loaded;
mod measure;
mod reading;

use alloc::{boxed::Box, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    chat::Dialogue,
    kv_cache::KvType,
    model::Config,
    quant::Packer,
    sampling::SamplingConfig,
    session::Session,
    tokenizer::{EncodeOptions, Tokenizer},
};

use self::loaded::{LoadedModel, Prompt, Request, session_options};
use self::reading::read_weights;
use super::{
    BackendError, BenchPlan, BenchResult, Catalog, ChatFormat, DEFAULT_N_CTX, Header, InferenceBackend,
    InferenceResult, ModelMemory, ModelMetadata, Platform, Progress, Statistics, per_second,
};
use crate::{
    memory::pool::{GRANULE_BYTES, OutOfMemory, Pool, Region},
    offload::Offload,
    storage::MIN_PIECES_BYTES,
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
    kv_type: KvType,
    verbose: bool,
    n_speculated: usize,
    statistics: Statistics,
    /// The most that a session has taken.
    session_high_water_bytes: usize,
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
    /// From the first read until it was ready.
    load_us: u64,
}

/// What a model needs before it is loaded.
struct Plan {
    header: Header,
    config: Config,
    n_ctx: usize,
    weights_bytes: usize,
    session_bytes: usize,
    packer: Packer,
}

impl TransformerBackend {
    /// A backend without a model.
    pub fn new(platform: Platform) -> Self {
        Self {
            catalog: Catalog::new(platform.disks, platform.pool, platform.sha256),
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
            kv_type: KvType::F16,
            verbose: false,
            n_speculated: 0,
            statistics: Statistics::default(),
            session_high_water_bytes: 0,
        }
    }

    /// Reads the header and works out what the model takes; nothing is reserved or unloaded yet.
    fn plan(&mut self, file: usize, n_ctx: Option<usize>) -> Result<Plan, BackendError> {
        // A loaded model makes room.
        let ModelMemory { weights_bytes, session_bytes, .. } = self.memory_usage();
        let available_bytes = self.pool.free_bytes() + weights_bytes + session_bytes;
        let file_bytes = self.catalog.files()[file].length_bytes;
        let kv_type = self.kv_type;
        let packing = self.engine.kernels.packing();
        self.catalog.with_header(file, |gguf| {
            let header = Header::new(gguf)?;
            let config = Config::from_gguf(gguf)?;
            // A file beyond the address space is more than any memory.
            let weights_bytes = usize::try_from(header.end_bytes.min(file_bytes)).unwrap_or(usize::MAX);
            let wanted = n_ctx.unwrap_or(config.n_ctx_train.min(DEFAULT_N_CTX));
            let packer = Packer::new(packing, gguf)?;
            let mut plan = Plan { header, config, n_ctx: wanted, weights_bytes, session_bytes: 0, packer };
            loop {
                let options = session_options(&plan.config, plan.n_ctx, kv_type);
                // Before it is the session's memory, the weights come through it.
                plan.session_bytes = Session::required_bytes(&plan.config, &options)?.max(MIN_PIECES_BYTES);
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
        let (mut weights, mut memory) = self.reserve(&plan)?;
        let Plan { header, config, n_ctx, packer, .. } = plan;
        let start_us = (self.engine.clock_us)();
        let disk = self.catalog.disk(file);
        let disk_identity = disk.identity();
        read_weights(disk, packer, &mut weights, &mut memory, &self.engine, progress)?;
        let file_bytes = self.catalog.files()[file].length_bytes;
        let options = session_options(&config, n_ctx, self.kv_type);
        let model = LoadedModel::load(weights, memory, file_bytes, options, &self.engine)?;
        let load_us = (self.engine.clock_us)().saturating_sub(start_us);
        self.statistics.loads += 1;
        self.statistics.load_bytes += model.weights_bytes() as u64;
        self.statistics.load_us += load_us;
        if self.verbose {
            model.log_weight_magnitudes(self.engine.kernels);
        }
        // Layers differ in a few families; the first stands for them.
        let layer = &config.layers[0];
        let (n_head, n_head_kv) = config.head_counts();
        self.model = Some(Loaded {
            metadata: ModelMetadata {
                path: path.into(),
                disk_identity,
                architecture: header.architecture,
                quantisation: header.quantisation.into(),
                n_params: header.n_params,
                file_bytes,
                n_layer: config.layers.len(),
                n_embd: config.n_embd,
                n_head,
                n_head_kv,
                n_ff: layer.n_ff,
                n_vocab: config.n_vocab,
                n_ctx,
                n_ctx_train: config.n_ctx_train,
            },
            model,
            load_us,
        });
        self.mark_high_water();
        self.mention_offload();
        Ok(())
    }

    fn infer_prompt(
        &mut self,
        prompt: Prompt<'_>,
        max_tokens: usize,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<InferenceResult, BackendError> {
        let loaded = self.model.as_mut().ok_or(BackendError::NotLoaded)?;
        let Self { sampling, stop, verbose, n_speculated, .. } = self;
        let request =
            Request { max_tokens, sampling: *sampling, stop, verbose: *verbose, n_speculated: *n_speculated };
        let result = loaded.model.infer(prompt, &request, &self.engine, on_text)?;
        self.statistics.add(&result);
        Ok(result)
    }

    /// Gives the loaded model another cache, or leaves it the one it has and says why.
    fn make_session_anew(&mut self, n_ctx: usize, kv_type: KvType) -> Result<(), BackendError> {
        let Loaded { mut metadata, model, load_us } = self.model.take().ok_or(BackendError::NotLoaded)?;
        let options = session_options(model.config(), n_ctx, kv_type);
        if options == *model.session_options() {
            self.model = Some(Loaded { metadata, model, load_us });
            return Ok(());
        }
        let (model, changed) = model.with_session(options, self.pool, &self.engine)?;
        if changed.is_ok() {
            metadata.n_ctx = n_ctx;
        }
        self.model = Some(Loaded { metadata, model, load_us });
        self.mark_high_water();
        changed
    }

    fn mark_high_water(&mut self) {
        let session_bytes = self.model.as_ref().map_or(0, |loaded| loaded.model.session_bytes());
        self.session_high_water_bytes = self.session_high_water_bytes.max(session_bytes);
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

fn tokenize(
    tokenizer: &Tokenizer<'_>,
    texts: &[&str],
    options: EncodeOptions,
    on_ids: &mut dyn FnMut(&[u32]),
) -> Result<(), BackendError> {
    let mut ids = Vec::new();
    for text in texts {
        ids.clear();
        tokenizer.encode(text, options, &mut ids)?;
        on_ids(&ids);
    }
    Ok(())
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
        self.loaded()?;
        self.make_session_anew(n_ctx, self.kv_type)
    }

    fn set_kv_type(&mut self, kv_type: KvType) -> Result<(), BackendError> {
        if let Some(loaded) = &self.model {
            self.make_session_anew(loaded.metadata.n_ctx, kv_type)?;
        }
        self.kv_type = kv_type;
        Ok(())
    }

    fn set_speculation(&mut self, n_speculated: usize) {
        self.n_speculated = n_speculated;
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
        self.infer_prompt(Prompt::Text(prompt), max_tokens, on_text)
    }

    fn prepare_chat(&mut self, template: Option<&str>) -> Result<(), BackendError> {
        self.model.as_mut().ok_or(BackendError::NotLoaded)?.model.prepare_chat(template)
    }

    fn chat_streaming(
        &mut self,
        dialogue: &mut Dialogue,
        format: &ChatFormat<'_>,
        max_tokens: usize,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<InferenceResult, BackendError> {
        self.infer_prompt(Prompt::Chat { dialogue, format }, max_tokens, on_text)
    }

    fn logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let loaded = self.model.as_mut().ok_or(BackendError::NotLoaded)?;
        loaded.model.logits(tokens, on_row)
    }

    fn tokenize_with(
        &mut self,
        texts: &[&str],
        options: EncodeOptions,
        on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError> {
        if let Some(loaded) = &self.model {
            return tokenize(loaded.model.tokenizer(), texts, options, on_ids);
        }
        let file = self.catalog.first()?;
        let path = self.catalog.path(file);
        let tokenized = self
            .catalog
            .with_header(file, |gguf| tokenize(&Tokenizer::from_gguf(gguf)?, texts, options, on_ids));
        tokenized.map_err(|error| error.in_file(&path))
    }

    fn detokenize(&self, ids: &[u32]) -> Result<String, BackendError> {
        self.loaded()?.model.detokenize(ids)
    }

    fn bench(
        &mut self,
        plan: BenchPlan,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<BenchResult, BackendError> {
        let loaded = self.model.as_mut().ok_or(BackendError::NotLoaded)?;
        let Loaded { model, load_us, .. } = loaded;
        let load_bytes = model.weights_bytes() as u64;
        let measured = model.bench(plan, &self.engine, go_on)?;
        Ok(BenchResult {
            load_bytes_per_s: per_second(load_bytes, *load_us),
            first_token_us: *load_us + measured.first_token_us,
            ..measured
        })
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn memory_usage(&self) -> ModelMemory {
        let model = self.model.as_ref().map(|loaded| &loaded.model);
        ModelMemory {
            weights_bytes: model.map_or(0, LoadedModel::weights_bytes),
            session_bytes: model.map_or(0, LoadedModel::session_bytes),
            session_high_water_bytes: self.session_high_water_bytes,
        }
    }

    fn offload(&mut self) -> Option<&mut (dyn Offload + 'static)> {
        self.offload.as_deref_mut()
    }
}

#[cfg(test)]
mod tests;
