//! The backend that runs transformers: the engine, on the kernel's disks and memory.
//!
//! [`TransformerBackend`] reserves memory, lets the disk fill it, and has a [`Responder`](llm::front::Responder) answer
//! over it. What borrows from what is in `loaded.rs`, how the weights get into memory in `reading.rs`.

mod loaded;
mod reading;

use alloc::{boxed::Box, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    front::{
        Event, PROMPT_ENCODING, Prompt, Report, Request,
        bench::{BenchPlan, BenchResult, Meter},
        trace,
    },
    gguf::Gguf,
    kv_cache::KvType,
    model::Config,
    parallel::{Limited, Workers},
    quant::{Packer, Precision},
    sampling::SamplingConfig,
    session::Session,
    tokenizer::{EncodeOptions, Tokenizer},
};

use self::loaded::{Engine, LoadedModel, session_options};
use self::reading::read_weights;
use super::{
    BackendError, Catalog, DEFAULT_N_CTX, EngineOptions, Header, InferenceBackend, ModelMemory,
    ModelMetadata, Progress, Resources, RunsOn, Statistics,
};
use crate::{
    memory::pool::{GRANULE_BYTES, OutOfMemory, Region},
    offload::Offload,
    storage::MIN_PIECES_BYTES,
    system::Machine,
};

/// A context is not made shorter than this to fit the memory.
const MIN_DEFAULT_N_CTX: usize = 64;

/// Runs models of the families that the engine knows.
///
/// What the shell asks for goes through [`InferenceBackend`]. For who wants no more than a text there are the calls
/// beside it: [`load_model`](Self::load_model), [`infer`](Self::infer) and what these go by.
pub struct TransformerBackend {
    catalog: Catalog,
    machine: Machine,
    offload: Option<Box<dyn Offload>>,
    offload_mentioned: bool,
    model: Option<Loaded>,
    statistics: Statistics,
    /// The most that a session has taken.
    session_high_water_bytes: usize,
    /// How [`infer`](Self::infer) chooses tokens.
    sampling: SamplingConfig,
    /// Whether [`load_model`](Self::load_model) and [`infer`](Self::infer) log what they compute with.
    verbose: bool,
}

struct Loaded {
    metadata: ModelMetadata,
    model: LoadedModel,
    /// The context length that was asked for.
    asked_n_ctx: Option<usize>,
    /// From the first read until it was ready.
    load_us: u64,
}

/// What a model needs before it is loaded.
struct Plan {
    header: Header,
    config: Config,
    engine: Engine,
    n_ctx: usize,
    weights_bytes: usize,
    session_bytes: usize,
    packer: Packer,
}

impl TransformerBackend {
    /// A backend without a model.
    pub fn new(resources: Resources) -> Self {
        let Resources { machine, disks, offload } = resources;
        Self {
            catalog: Catalog::new(disks, machine.pool, machine.sha256),
            machine,
            offload,
            offload_mentioned: false,
            model: None,
            statistics: Statistics::default(),
            session_high_water_bytes: 0,
            sampling: SamplingConfig::greedy(),
            verbose: false,
        }
    }

    /// Loads the model with this path.
    ///
    /// # Errors
    /// As [`load`](InferenceBackend::load).
    pub fn load_model(&mut self, path: &str) -> Result<(), BackendError> {
        self.load(path, EngineOptions::default(), &mut |_| ControlFlow::Continue(()))?;
        if self.verbose {
            self.with_gguf(&mut |gguf| {
                trace::weight_magnitudes(gguf, &mut |line| {
                    log::info!("{line}");
                    ControlFlow::Continue(())
                })
            })?;
        }
        Ok(())
    }

    /// True while a model is loaded.
    pub fn is_loaded(&self) -> bool {
        self.model.is_some()
    }

    /// Facts about the loaded model.
    pub fn model_metadata(&self) -> Option<&ModelMetadata> {
        self.model()
    }

    /// Sets how [`infer`](Self::infer) chooses tokens from now on; greedy until set.
    ///
    /// # Errors
    /// [`FrontError::Sampling`](llm::front::FrontError) if a parameter is out of its range.
    pub fn set_sampling_config(&mut self, config: SamplingConfig) -> Result<(), BackendError> {
        config.validate()?;
        self.sampling = config;
        Ok(())
    }

    /// Turns on, or off, a report to the log: [`load_model`](Self::load_model) tells the magnitudes of weights,
    /// [`infer`](Self::infer) the logits' range at each step.
    pub fn set_verbose(&mut self, verbose: bool) {
        self.verbose = verbose;
    }

    /// Continues `prompt` by up to `max_tokens` tokens.
    ///
    /// # Errors
    /// As [`generate`](InferenceBackend::generate).
    pub fn infer(&mut self, prompt: &str, max_tokens: usize) -> Result<Report, BackendError> {
        let (sampling, trace) = (self.sampling, self.verbose);
        let prompt = Prompt::Text(prompt, PROMPT_ENCODING);
        self.generate(Request { sampling, trace, ..Request::new(prompt, max_tokens) }, &mut |event| {
            if let Event::Trace { step, logits } = event {
                log::info!("step {step}: {logits}");
            }
            ControlFlow::Continue(())
        })
    }

    /// The text of these ids; broken characters become U+FFFD.
    ///
    /// # Errors
    /// If no model is loaded.
    pub fn detokenize(&self, ids: &[u32]) -> Result<String, BackendError> {
        let bytes = self.loaded()?.model.responder().prompter().tokenizer().decode(ids)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What computes, if `options` are asked for.
    fn engine(&self, options: EngineOptions) -> Engine {
        let machine = &self.machine;
        Engine {
            kernels: options.kernels.unwrap_or(machine.kernels),
            workers: Limited::new(machine.workers, options.n_cores.unwrap_or(usize::MAX)),
            kv_type: options.kv_type.unwrap_or(KvType::F16),
            precision: if options.exact { Precision::Exact } else { Precision::Quantized },
        }
    }

    /// Reads the header and works out what the model takes; nothing is reserved or unloaded yet.
    fn plan(&mut self, file: usize, options: EngineOptions) -> Result<Plan, BackendError> {
        // A loaded model makes room.
        let ModelMemory { weights_bytes, session_bytes, .. } = self.memory_usage();
        let available_bytes = self.machine.pool.free_bytes() + weights_bytes + session_bytes;
        let file_bytes = self.catalog.files()[file].length_bytes;
        let engine = self.engine(options);
        self.catalog.with_header(file, |gguf| {
            let header = Header::new(gguf)?;
            let config = Config::from_gguf(gguf)?;
            // A file beyond the address space is more than any memory.
            let weights_bytes = usize::try_from(header.end_bytes.min(file_bytes)).unwrap_or(usize::MAX);
            let packer = Packer::new(engine.kernels.packing(), gguf)?;
            let (n_ctx, session_bytes) =
                plan_context(&config, options.n_ctx, &engine, weights_bytes, available_bytes)?;
            Ok(Plan { header, config, engine, n_ctx, weights_bytes, session_bytes, packer })
        })
    }

    fn load_file(
        &mut self,
        file: usize,
        path: &str,
        options: EngineOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let plan = self.plan(file, options)?;
        self.model = None;
        let (mut weights, mut memory) = self.reserve(&plan)?;
        let Plan { header, config, engine, n_ctx, packer, .. } = plan;
        let clock_us = self.machine.clock_us;
        let start_us = clock_us();
        let disk = self.catalog.disk(file);
        let disk_identity = disk.identity();
        read_weights(disk, packer, &mut weights, &mut memory, &engine.workers, clock_us, progress)?;
        let file_bytes = self.catalog.files()[file].length_bytes;
        let model =
            LoadedModel::load(weights, memory, file_bytes, session_options(&config, n_ctx, &engine), engine)?;
        let load_us = clock_us().saturating_sub(start_us);
        self.statistics.loads += 1;
        self.statistics.load_bytes += model.weights_bytes() as u64;
        self.statistics.load_us += load_us;
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
            asked_n_ctx: options.n_ctx,
            load_us,
        });
        self.mark_high_water();
        self.mention_offload();
        Ok(())
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
        let pool = self.machine.pool;
        let weights = pool.reserve(plan.weights_bytes, GRANULE_BYTES).map_err(refused(0))?;
        let memory = pool.reserve(plan.session_bytes, GRANULE_BYTES).map_err(refused(plan.weights_bytes))?;
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

    fn loaded_mut(&mut self) -> Result<&mut Loaded, BackendError> {
        self.model.as_mut().ok_or(BackendError::NotLoaded)
    }
}

/// The context length of a model and the bytes of its session: what was asked for, or what the memory allows.
fn plan_context(
    config: &Config,
    asked: Option<usize>,
    engine: &Engine,
    weights_bytes: usize,
    available_bytes: usize,
) -> Result<(usize, usize), BackendError> {
    let wanted = asked.unwrap_or(config.n_ctx_train.min(DEFAULT_N_CTX));
    let mut n_ctx = wanted;
    loop {
        let options = session_options(config, n_ctx, engine);
        // Before it is the session's memory, the weights come through it.
        let session_bytes = Session::required_bytes(config, &options)?.max(MIN_PIECES_BYTES);
        let needed_bytes = weights_bytes.saturating_add(session_bytes);
        if needed_bytes <= available_bytes {
            if n_ctx < wanted {
                log::warn!("memory suffices for a context of {n_ctx} tokens, not {wanted}");
            }
            return Ok((n_ctx, session_bytes));
        }
        if asked.is_some() || n_ctx <= MIN_DEFAULT_N_CTX {
            return Err(BackendError::OutOfMemory { needed_bytes, available_bytes, n_ctx });
        }
        n_ctx = (n_ctx / 2).max(MIN_DEFAULT_N_CTX);
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
    fn catalog(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    fn load(
        &mut self,
        path: &str,
        options: EngineOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let file = self.catalog.find(path)?;
        let path = self.catalog.path(file);
        self.load_file(file, &path, options, progress).map_err(|error| error.in_file(&path))
    }

    fn adapt(&mut self, options: EngineOptions) -> Result<bool, BackendError> {
        let engine = self.engine(options);
        let ModelMemory { weights_bytes, session_bytes, .. } = self.memory_usage();
        let available_bytes = self.machine.pool.free_bytes() + weights_bytes + session_bytes;
        let loaded = self.loaded()?;
        if !loaded.model.is_packed_for(engine.kernels) {
            return Ok(false);
        }
        let config = loaded.model.config();
        let takes_as_much =
            options.n_ctx == loaded.asked_n_ctx && engine.kv_type == loaded.model.engine().kv_type;
        let n_ctx = match takes_as_much {
            true => loaded.metadata.n_ctx,
            false => plan_context(config, options.n_ctx, &engine, weights_bytes, available_bytes)?.0,
        };
        let session_options = session_options(config, n_ctx, &engine);
        if loaded.model.runs_like(&session_options, &engine) {
            return Ok(true);
        }
        let Loaded { mut metadata, model, asked_n_ctx, load_us } =
            self.model.take().ok_or(BackendError::NotLoaded)?;
        let (model, changed) = model.with_session(session_options, engine, self.machine.pool)?;
        let asked_n_ctx = if changed.is_ok() { options.n_ctx } else { asked_n_ctx };
        metadata.n_ctx = model.session_options().n_ctx;
        self.model = Some(Loaded { metadata, model, asked_n_ctx, load_us });
        self.mark_high_water();
        changed.map(|()| true)
    }

    fn unload(&mut self) -> Result<(), BackendError> {
        self.model.take().map(drop).ok_or(BackendError::NotLoaded)
    }

    fn model(&self) -> Option<&ModelMetadata> {
        self.model.as_ref().map(|loaded| &loaded.metadata)
    }

    fn with_gguf(&self, look: &mut dyn FnMut(&Gguf<'_>) -> ControlFlow<()>) -> Result<(), BackendError> {
        match look(self.loaded()?.model.responder().prompter().gguf()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BackendError::Cancelled),
        }
    }

    fn prepare_chat(&mut self, template: Option<&str>) -> Result<(), BackendError> {
        self.loaded_mut()?.model.with_responder(|responder| responder.prepare_chat(template))
    }

    fn generate(
        &mut self,
        request: Request<'_>,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, BackendError> {
        let clock_us = self.machine.clock_us;
        let loaded = self.loaded_mut()?;
        let report =
            loaded.model.with_responder(|responder| responder.generate(request, clock_us, on_event))?;
        self.statistics.add(&report);
        Ok(report)
    }

    fn logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        self.loaded_mut()?.model.with_responder(|responder| responder.logits(tokens, on_row))
    }

    fn tokenize(
        &mut self,
        texts: &[&str],
        options: EncodeOptions,
        on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError> {
        if let Some(loaded) = &self.model {
            return tokenize(loaded.model.responder().prompter().tokenizer(), texts, options, on_ids);
        }
        let file = self.catalog.first()?;
        let path = self.catalog.path(file);
        let tokenized = self
            .catalog
            .with_header(file, |gguf| tokenize(&Tokenizer::from_gguf(gguf)?, texts, options, on_ids));
        tokenized.map_err(|error| error.in_file(&path))
    }

    fn bench(
        &mut self,
        plan: BenchPlan,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(BenchResult, RunsOn), BackendError> {
        let Machine { clock_us, instructions_retired, .. } = self.machine;
        let meter = Meter { clock_us, instructions_retired };
        let Loaded { model, load_us, .. } = self.loaded_mut()?;
        let runs_on = RunsOn {
            kernel_set: model.engine().kernels.name(),
            n_cores: model.engine().workers.count(),
            load_bytes: model.weights_bytes() as u64,
            load_us: *load_us,
        };
        Ok((model.with_responder(|responder| responder.bench(plan, meter, go_on))?, runs_on))
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
