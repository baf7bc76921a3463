//! How the engine is run on the host: instruction set, threads, precision, cache, memory.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use llm::front::options::{NParallel, scaled};
use llm::front::{Prompter, Responder, kernels_called};
use llm::gguf::Gguf;
use llm::kv_cache::{CacheType, KvType};
use llm::model::{Config, Model};
use llm::quant::Precision;
use llm::session::{Runner, RunnerOptions};
use llm::simd::Kernels;
use llm::state::StateOptions;
use trust::receipt;

use crate::model_file::ModelFile;
use crate::receipts::records;
use crate::thread_pool::ThreadPool;

/// Options of every command that runs the model.
#[derive(Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArguments {
    #[arg(long, value_parser = positive)]
    threads: Option<usize>,

    #[arg(long)]
    kernels: Option<String>,

    #[arg(long)]
    exact: bool,

    #[arg(long, default_value = "f16", hide_default_value = true, value_parser = cache_type)]
    kv_type: CacheType,

    #[arg(long, value_parser = cache_type)]
    type_k: Option<CacheType>,

    #[arg(long, value_parser = cache_type)]
    type_v: Option<CacheType>,

    #[arg(long, value_parser = positive)]
    ctx: Option<usize>,

    #[arg(long)]
    lora: Vec<LoraFile>,
}

impl EngineArguments {
    /// The requested instruction set, or the fastest one that this CPU supports.
    fn kernels(&self) -> Result<&'static Kernels> {
        let Some(name) = &self.kernels else {
            return Ok(Kernels::detect());
        };
        Ok(kernels_called(name, Kernels::all())?)
    }

    /// Starts the threads and opens a model, with its weights packed for the instruction set.
    pub fn open(&self, path: &Path) -> Result<Opened> {
        let workers = Arc::new(ThreadPool::of(self.threads)?);
        let kernels = self.kernels()?;
        let mut file = ModelFile::open(path)?;
        file.pack(kernels, &*workers)?;
        let adapters = self.lora.iter().map(|LoraFile { path, scale }| Ok((ModelFile::open(path)?, *scale)));
        Ok(Opened { file, adapters: adapters.collect::<Result<_>>()?, kernels, workers })
    }

    /// Options for a runner of `n_slots` texts with up to `needed` positions each, which computes the logits of up to `n_logits`
    /// positions of a batch.
    pub fn runner_options(
        &self,
        config: &Config,
        needed: usize,
        n_logits: usize,
        n_slots: usize,
    ) -> RunnerOptions {
        let n_ctx = self.ctx.unwrap_or(needed.min(config.n_ctx_train).max(1));
        let options = runner_options(config, n_ctx, n_logits, n_slots);
        let kv_type =
            KvType { keys: self.type_k.unwrap_or(self.kv_type), values: self.type_v.unwrap_or(self.kv_type) };
        RunnerOptions {
            state: StateOptions { kv_type, ..options.state },
            precision: if self.exact { Precision::Exact } else { Precision::Quantized },
            ..options
        }
    }
}

/// Options for a runner of `n_slots` texts with up to `n_ctx` positions, with keys and values in f16.
pub fn runner_options(config: &Config, n_ctx: usize, n_logits: usize, n_slots: usize) -> RunnerOptions {
    let options = RunnerOptions::new(config, n_ctx, n_slots);
    RunnerOptions { n_logits: n_logits.max(n_slots).min(options.n_batch), ..options }
}

/// An adapter's file, and its factor.
#[derive(Debug, Clone)]
pub struct LoraFile {
    /// The file.
    pub path: PathBuf,
    /// The factor.
    pub scale: f32,
}

impl FromStr for LoraFile {
    type Err = Infallible;

    /// `FILE` or `FILE:SCALE`.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (path, scale) = scaled(text);
        Ok(Self { path: path.into(), scale })
    }
}

/// A model's file, and what is needed to compute with it.
pub struct Opened {
    /// The file.
    pub file: ModelFile,
    /// The adapters and their factors.
    adapters: Vec<(ModelFile, f32)>,
    /// The instruction set.
    pub kernels: &'static Kernels,
    /// The threads, which several models can share.
    pub workers: Arc<ThreadPool>,
}

impl Opened {
    /// A file without adapters, because adapters belong to one model.
    pub fn without_adapters(file: ModelFile, kernels: &'static Kernels, workers: Arc<ThreadPool>) -> Self {
        Self { file, adapters: Vec::new(), kernels, workers }
    }

    /// The files of the adapters.
    pub fn adapter_paths(&self) -> Vec<PathBuf> {
        self.adapters.iter().flat_map(|(file, _)| file.paths().to_vec()).collect()
    }

    /// The description of the model in receipts, under this name. With `with_adapters`, it includes the adapters.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn record(&self, name: &str, with_adapters: bool) -> Result<receipt::Model<'static>> {
        Ok(receipt::Model {
            adapters: if with_adapters { records(&self.adapter_paths())? } else { Vec::new() },
            files: records(self.file.paths())?,
            name: name.to_owned().into(),
        })
    }

    /// The model in the file with the header `gguf`.
    pub fn model(&self, gguf: &Gguf<'_>) -> Result<Model<'_>> {
        Ok(Model::load(gguf, self.file.bytes())?)
    }

    /// The model's vocabulary and chat format.
    pub fn prompter(&self) -> Result<Prompter<'_>> {
        Ok(Prompter::new(self.file.gguf()?)?)
    }

    /// A runner of the model in `memory`, which [`EngineMemory::allocate`] must have made for the same options.
    pub fn runner<'m>(
        &'m self,
        model: Model<'m>,
        options: RunnerOptions,
        memory: &'m mut EngineMemory,
    ) -> Result<Runner<'m>> {
        let adapters = self.adapters.iter().map(|(file, _)| Ok(file.adapter(&model, &self.file)?.low_ranks));
        let adapters = adapters.collect::<Result<Vec<_>>>()?;
        let scales = self.adapters.iter().map(|(_, scale)| *scale).collect();
        let mut runner = Runner::new(model, options, self.kernels, &*self.workers, memory.as_mut_slice())?;
        runner.set_adapters(adapters, scales)?;
        Ok(runner)
    }

    /// A responder with such a runner. Up to `max_waiting` requests may wait for their turn.
    pub fn responder<'m>(
        &'m self,
        prompter: Prompter<'m>,
        model: Model<'m>,
        options: RunnerOptions,
        max_waiting: usize,
        memory: &'m mut EngineMemory,
    ) -> Result<Responder<'m>> {
        Ok(Responder::new(prompter, self.runner(model, options, memory)?, max_waiting)?)
    }
}

/// Microseconds since the first call of this function.
pub fn clock_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Memory for a runner's cache and scratch, aligned to 64 bytes.
pub struct EngineMemory {
    bytes: Vec<u8>,
    len_bytes: usize,
}

impl EngineMemory {
    const ALIGN_BYTES: usize = 64;

    /// Memory for a runner of `config` with `options`.
    pub fn allocate(config: &Config, options: &RunnerOptions) -> Result<Self> {
        let len_bytes = Runner::required_bytes(config, options)?;
        let with_slack = len_bytes.saturating_add(Self::ALIGN_BYTES);
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(with_slack).is_err() {
            bail!(
                "no {len_bytes} bytes of memory for {} texts of {} tokens",
                options.state.n_slots,
                options.state.n_ctx
            );
        }
        bytes.resize(with_slack, 0);
        Ok(Self { bytes, len_bytes })
    }

    /// The aligned bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let start = self.bytes.as_ptr().align_offset(Self::ALIGN_BYTES);
        &mut self.bytes[start..start + self.len_bytes]
    }
}

/// Parses the name of a number format.
fn cache_type(name: &str) -> Result<CacheType, String> {
    CacheType::from_name(name).ok_or_else(|| format!("expected {}", CacheType::EXPECTED))
}

/// Parses a count that must not be 0.
pub fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(String::from("expected a whole number of at least 1")),
        Ok(n) => Ok(n),
    }
}

/// Parses the number of texts that are computed together.
pub fn n_texts(text: &str) -> Result<usize, String> {
    text.parse().map(|NParallel(n)| n).map_err(|()| format!("expected {}", NParallel::EXPECTED))
}
