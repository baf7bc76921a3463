//! The backend that runs transformers: it connects the engine to the kernel's disks and memory.
//!
//! [`TransformerBackend`] reserves memory, has the disk fill it, and answers requests with a [`Responder`] that works in it. The
//! parts are: `loading.rs`, loading a model; `plan.rs`, how much memory that takes; `reading.rs`, reading the weights; `loaded.rs`,
//! a model in memory and the values that borrow from it; `adapters.rs`, the adapters that change a model; `models.rs`, the list of
//! loaded models; `stepping.rs`, their turns; `record.rs`, a model's entry in receipts.

mod adapters;
mod loaded;
mod loading;
mod models;
mod plan;
mod reading;
mod record;
mod stepping;

use alloc::{boxed::Box, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    chat::Message,
    front::{
        ChatFormat, Event, FrontError, PROMPT_ENCODING, Prompt, Report, Request, Responder,
        bench::{BenchPlan, BenchResult, Meter},
        embedding::EmbeddingWish,
        trace,
    },
    parallel::Workers,
    sampling::SamplingConfig,
    tokenizer::{EncodeOptions, Tokenizer},
};
use trust::receipt;

use self::loaded::runner_options;
use self::models::{Loaded, Models};
use self::plan::plan_runner;
use super::{
    AdapterFile, BackendError, Catalog, EngineOptions, Found, InferenceBackend, LoadProgress, ModelMetadata,
    ModelStatus, Progress, Resources, RunsOn, Statistics, Ticket, Unloaded,
};
use crate::{memory::pool::Shortage, offload::Offload, system::Machine};

/// Runs models of the architectures that the engine knows.
///
/// The shell uses the methods of [`InferenceBackend`]. Callers that need no more than a text can use the simpler methods
/// [`load_model`](Self::load_model), [`infer`](Self::infer) and the settings of these.
pub struct TransformerBackend {
    catalog: Catalog,
    machine: Machine,
    offload: Option<Box<dyn Offload>>,
    offload_mentioned: bool,
    models: Models,
    statistics: Statistics,
    /// The most memory that sessions have used.
    session_high_water_bytes: usize,
    /// How [`infer`](Self::infer) chooses tokens.
    sampling: SamplingConfig,
    /// Whether [`load_model`](Self::load_model) and [`infer`](Self::infer) log details of weights and logits.
    verbose: bool,
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
            models: Models::default(),
            statistics: Statistics::default(),
            session_high_water_bytes: 0,
            sampling: SamplingConfig::greedy(),
            verbose: false,
        }
    }

    /// Loads the model with this path.
    ///
    /// # Errors
    /// Those of [`load`](InferenceBackend::load).
    pub fn load_model(&mut self, path: &str) -> Result<(), BackendError> {
        self.load(path, EngineOptions::default(), &mut |_, _| ControlFlow::Continue(()))?;
        if self.verbose {
            let responder = self.responder(None)?;
            let (gguf, file) = (responder.prompter().gguf(), responder.runner().model().file());
            // Nothing ends it early.
            let _ = trace::weight_magnitudes(gguf, file, &mut |line| {
                log::info!("{line}");
                ControlFlow::Continue(())
            });
        }
        Ok(())
    }

    /// True while a model is loaded.
    pub fn is_loaded(&self) -> bool {
        self.models.get(None).is_ok()
    }

    /// Facts about the current model.
    pub fn model_metadata(&self) -> Option<&ModelMetadata> {
        self.model(None).ok()
    }

    /// Sets how [`infer`](Self::infer) chooses tokens from now on; the default is greedy.
    ///
    /// # Errors
    /// [`FrontError::Sampling`](llm::front::FrontError) if a parameter is out of its range.
    pub fn set_sampling_config(&mut self, config: SamplingConfig) -> Result<(), BackendError> {
        config.validate()?;
        self.sampling = config;
        Ok(())
    }

    /// Turns detailed logging on or off: [`load_model`](Self::load_model) logs the magnitudes of weights, [`infer`](Self::infer)
    /// the range of the logits at each step.
    pub fn set_verbose(&mut self, verbose: bool) {
        self.verbose = verbose;
    }

    /// Continues `prompt` by up to `max_tokens` tokens of the current model.
    ///
    /// # Errors
    /// Those of [`generate`](InferenceBackend::generate).
    pub fn infer(&mut self, prompt: &str, max_tokens: usize) -> Result<Report, BackendError> {
        let (sampling, trace) = (self.sampling, self.verbose);
        let prompt = Prompt::Text(prompt, PROMPT_ENCODING);
        self.generate(None, Request { sampling, trace, ..Request::new(prompt, max_tokens) }, &mut |event| {
            if let Event::Trace { step, logits } = event {
                log::info!("step {step}: {logits}");
            }
            ControlFlow::Continue(())
        })
    }

    /// The text of these ids according to the current model's vocabulary; incomplete characters become U+FFFD.
    ///
    /// # Errors
    /// If no model is loaded, or its vocabulary cannot be used.
    pub fn detokenize(&self, ids: &[u32]) -> Result<String, BackendError> {
        Ok(self.models.get(None)?.model.responder().prompter().tokenizer()?.decode_text(ids)?)
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
        progress: &mut LoadProgress<'_>,
    ) -> Result<(), BackendError> {
        let file = self.catalog.find(path)?;
        let path = self.catalog.path(file);
        self.load_file(file, &path, options, progress).map_err(|error| error.in_file(&path))
    }

    fn models(&self) -> Vec<ModelStatus<'_>> {
        self.models.statuses()
    }

    fn standing_options(&self) -> EngineOptions {
        self.models.get(None).map(|loaded| loaded.standing_options.clone()).unwrap_or_default()
    }

    fn set_standing_options(&mut self, options: EngineOptions) {
        if let Ok(loaded) = self.models.get_mut(None) {
            loaded.standing_options = options;
        }
    }

    fn select(&mut self, name: &str) -> Result<(), BackendError> {
        self.models.select(name)
    }

    fn adapt(&mut self, model: Option<&str>, options: EngineOptions) -> Result<bool, BackendError> {
        let engine = self.engine(&options);
        let pool = self.machine.pool;
        let Loaded { metadata, model: loaded, adapters, asked_n_ctx, .. } = self.models.get(model)?;
        let scales = adapters::scales(&mut self.catalog, adapters, &options.lora)?;
        let Some(scales) = scales.filter(|_| loaded.is_packed_for(engine.kernels)) else {
            return Ok(false);
        };
        let config = loaded.config();
        let takes_as_much = options.n_ctx == *asked_n_ctx
            && engine.kv_type == loaded.engine().kv_type
            && engine.n_slots == loaded.engine().n_slots
            && (engine.may_have_fewer_slots || engine.n_slots == metadata.n_parallel);
        let runner_options = match takes_as_much {
            true => runner_options(config, loaded.runner_options().state, &engine),
            false => {
                // The weights stay where they are; they count both as needed and as available.
                let weights_bytes = loaded.weights_footprint().size_bytes();
                let room = |session_bytes| {
                    let room = pool.room_for(&[session_bytes], &[loaded.session_footprint()]);
                    room.map_err(|shortage| Shortage {
                        needed_bytes: shortage.needed_bytes.saturating_add(weights_bytes),
                        free_bytes: shortage.free_bytes + weights_bytes,
                        ..shortage
                    })
                };
                plan_runner(config, options.n_ctx, &engine, room)
                    .map_err(|error| error.beside(self.models.taken_by_others(&metadata.path)))?
                    .0
            }
        };
        if loaded.runs_like(&runner_options, &engine) {
            self.models.get_mut(model)?.model.set_usual_scales(&scales);
            return Ok(true);
        }
        if loaded.n_requests() > 0 {
            return Err(FrontError::Busy.into());
        }
        let changed = self.models.replace(model, |loaded| {
            let Loaded { mut metadata, model, adapters, record, asked_n_ctx, standing_options, load_us } =
                loaded;
            let (mut model, changed) = model.with_runner(runner_options, engine, pool)?;
            if changed.is_ok() {
                model.set_usual_scales(&scales);
            }
            let asked_n_ctx = if changed.is_ok() { options.n_ctx } else { asked_n_ctx };
            let state = model.runner_options().state;
            metadata.n_ctx = state.n_ctx;
            metadata.n_parallel = state.n_slots;
            metadata.n_pages = state.n_pages;
            Ok((
                Loaded { metadata, model, adapters, record, asked_n_ctx, standing_options, load_us },
                changed,
            ))
        })?;
        self.mark_high_water(0);
        changed.map(|()| true)
    }

    fn unload(&mut self, model: Option<&str>) -> Result<Unloaded, BackendError> {
        let (size_bytes, n_requests) = self.models.retire(model)?;
        Ok(Unloaded { size_bytes, n_requests })
    }

    fn model(&self, model: Option<&str>) -> Result<&ModelMetadata, BackendError> {
        Ok(&self.models.get(model)?.metadata)
    }

    fn adapters(&self, model: Option<&str>) -> Result<&[AdapterFile], BackendError> {
        Ok(&self.models.get(model)?.adapters)
    }

    fn record(
        &mut self,
        model: Option<&str>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<receipt::Model<'static>, BackendError> {
        self.record_of(model, progress)
    }

    fn set_scales(&mut self, model: Option<&str>, scales: Option<Vec<f32>>) -> Option<Vec<f32>> {
        let Loaded { model, adapters, standing_options, .. } = self.models.get_mut(model).ok()?;
        let before = model.responder().runner().usual_scales();
        let before = (!before.is_empty()).then(|| before.to_vec())?;
        model.set_usual_scales(
            &scales.unwrap_or_else(|| adapters::scales_of(adapters, &standing_options.lora)),
        );
        Some(before)
    }

    fn prepare_chat(&mut self, model: Option<&str>, template: Option<&str>) -> Result<(), BackendError> {
        let model = &mut self.models.get_mut(model)?.model;
        model.with_responder(|responder| responder.prepare_chat(template))
    }

    fn generate(
        &mut self,
        model: Option<&str>,
        request: Request<'_>,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, BackendError> {
        let clock_us = self.machine.clock_us;
        let Self { models, statistics, .. } = self;
        let model = &mut models.get_mut(model)?.model;
        let before = model.responder().counts();
        let report = model.with_responder(|responder| {
            responder.generate(request, clock_us, &mut |event| {
                statistics.note(&event);
                on_event(event)
            })
        })?;
        self.statistics.add(&report);
        self.statistics.add_counts(model.responder().counts().since(before));
        Ok(report)
    }

    fn submit(&mut self, model: Option<&str>, request: Request<'_>) -> Result<Ticket, BackendError> {
        let clock_us = self.machine.clock_us;
        let (loaded, id) = self.models.get_with_id(model)?;
        let request = loaded.model.with_responder(|responder| responder.submit(request, clock_us))?;
        Ok(Ticket { model: id, request })
    }

    fn output(&self, ticket: Ticket) -> Option<&str> {
        self.models.with_id(ticket.model)?.model.responder().output(ticket.request)
    }

    fn cancel(&mut self, ticket: Ticket) -> Option<Report> {
        let clock_us = self.machine.clock_us;
        let model = &mut self.models.with_id_mut(ticket.model)?.model;
        let cancelled = model.with_responder(|responder| Ok(responder.cancel(ticket.request, clock_us)));
        self.models.sweep();
        let report = cancelled.ok()??;
        self.statistics.add(&report);
        Some(report)
    }

    fn logits(
        &mut self,
        model: Option<&str>,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let model = &mut self.models.get_mut(model)?.model;
        model.with_responder(|responder| responder.logits(tokens, on_row))
    }

    fn tokenize(
        &mut self,
        model: Option<&str>,
        texts: &[&str],
        options: EncodeOptions,
        on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError> {
        let found = model.map(|name| self.find(name)).transpose()?;
        let file = match found {
            Some(Found::OnDisk(path)) => self.catalog.find(&path)?,
            None if self.models.get(None).is_err() => self.catalog.first()?,
            None | Some(Found::Loaded(_)) => {
                let prompter = self.models.get(model)?.model.responder().prompter();
                return tokenize(prompter.tokenizer()?, texts, options, on_ids);
            }
        };
        let path = self.catalog.path(file);
        let tokenized = self
            .catalog
            .with_header(file, |gguf, _| tokenize(&Tokenizer::from_gguf(gguf)?, texts, options, on_ids));
        tokenized.map_err(|error| error.in_file(&path))
    }

    fn submit_embedding(
        &mut self,
        model: Option<&str>,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<Ticket, BackendError> {
        let (loaded, id) = self.models.get_with_id(model)?;
        let request = loaded.model.with_responder(|responder| responder.submit_embedding(prompt, wish))?;
        Ok(Ticket { model: id, request })
    }

    fn id(&self, model: Option<&str>) -> Result<u64, BackendError> {
        self.models.id(model)
    }

    fn responder(&self, model: Option<&str>) -> Result<&Responder<'_>, BackendError> {
        Ok(self.models.get(model)?.model.responder())
    }

    fn render(
        &mut self,
        model: Option<&str>,
        messages: &[Message<'_>],
        format: &ChatFormat<'_>,
    ) -> Result<String, BackendError> {
        let model = &mut self.models.get_mut(model)?.model;
        model.with_responder(|responder| responder.render(messages, format))
    }

    fn bench(
        &mut self,
        model: Option<&str>,
        plan: BenchPlan,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(BenchResult, RunsOn), BackendError> {
        let Machine { clock_us, instructions_retired, .. } = self.machine;
        let meter = Meter { clock_us, instructions_retired };
        let Loaded { model, load_us, .. } = self.models.get_mut(model)?;
        let runs_on = RunsOn {
            kernel_set: model.engine().kernels.name(),
            n_cores: model.engine().workers.count(),
            load_bytes: model.file_bytes() as u64,
            load_us: *load_us,
        };
        Ok((model.with_responder(|responder| responder.bench(plan, meter, go_on))?, runs_on))
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn session_high_water_bytes(&self) -> usize {
        self.session_high_water_bytes
    }

    fn offload(&mut self) -> Option<&mut (dyn Offload + 'static)> {
        self.offload.as_deref_mut()
    }
}

#[cfg(test)]
mod tests;
