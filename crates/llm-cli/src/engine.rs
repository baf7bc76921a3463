//! How the engine is run on the host: instruction set, threads, precision, cache, memory.

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use llm::kv_cache::KvType;
use llm::model::Config;
use llm::quant::Precision;
use llm::session::{Session, SessionOptions};
use llm::simd::Kernels;

use crate::thread_pool::{MAX_THREADS, ThreadPool};

/// Positions that the forward pass takes at once; a longer prompt is cut into such batches.
const N_BATCH: usize = 512;

/// Options of every command that runs the model.
#[derive(Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArguments {
    /// Threads that compute [default: one per core].
    #[arg(short = 't', long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,

    /// Instruction set: `scalar` or another one that this CPU has [default: the fastest].
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,

    /// Multiply f32 activations with dequantised weights instead of 8-bit activations with the
    /// quantised ones: slow, for telling a model's error from the arithmetic's.
    #[arg(long)]
    exact: bool,

    /// Type of the cached keys and values.
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    kv_type: KvTypeName,

    /// Context length, at most the model's [default: what the request needs].
    #[arg(short = 'c', long, alias = "ctx-size", value_name = "N", value_parser = positive)]
    ctx: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum KvTypeName {
    F16,
    F32,
    #[value(name = "q8_0")]
    Q8_0,
}

impl EngineArguments {
    /// Starts the threads.
    pub fn workers(&self) -> Result<ThreadPool> {
        let count = match self.threads {
            Some(count) => count,
            None => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
        };
        ThreadPool::new(count).with_context(|| format!("cannot start {count} threads"))
    }

    /// The instruction set asked for, or the fastest that this CPU has.
    pub fn kernels(&self) -> Result<&'static Kernels> {
        let Some(name) = &self.kernels else {
            return Ok(Kernels::detect());
        };
        Kernels::by_name(name).ok_or_else(|| {
            let available: Vec<&str> = Kernels::all().map(|set| set.name()).collect();
            anyhow!("this CPU has no instruction set `{name}`; it has {}", available.join(", "))
        })
    }

    /// Options of a session that must hold `needed` positions and gives the logits of up to
    /// `n_logits` of a batch.
    pub fn session_options(&self, config: &Config, needed: usize, n_logits: usize) -> SessionOptions {
        let n_ctx = self.ctx.unwrap_or(needed.min(config.n_ctx_train).max(1));
        // In an encoder every token sees every other, so that they cannot be cut into batches.
        let n_batch = if config.is_encoder() { n_ctx } else { N_BATCH.min(n_ctx) };
        SessionOptions {
            n_ctx,
            n_batch,
            n_logits: n_logits.clamp(1, n_batch),
            kv_type: match self.kv_type {
                KvTypeName::F16 => KvType::F16,
                KvTypeName::F32 => KvType::F32,
                KvTypeName::Q8_0 => KvType::Q8_0,
            },
            precision: if self.exact { Precision::Exact } else { Precision::Quantized },
        }
    }
}

/// What a session keeps its cache and scratch in, 64-byte aligned.
pub struct SessionMemory {
    bytes: Vec<u8>,
    len_bytes: usize,
}

impl SessionMemory {
    const ALIGN_BYTES: usize = 64;

    /// Memory for a session of `config` with `options`.
    pub fn allocate(config: &Config, options: &SessionOptions) -> Result<Self> {
        let len_bytes = Session::required_bytes(config, options)?;
        let with_slack = len_bytes.saturating_add(Self::ALIGN_BYTES);
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(with_slack).is_err() {
            bail!("no {len_bytes} bytes of memory for a context of {} tokens", options.n_ctx);
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

/// A count that must not be 0.
pub fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(String::from("expected a whole number of at least 1")),
        Ok(n) => Ok(n),
    }
}
