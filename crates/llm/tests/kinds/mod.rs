//! A small model of each kind of sequence mixer, and a runner of one.

#![allow(dead_code, reason = "no test needs all of them")]

use std::sync::Arc;

use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Workers;
use llm::quant::{ModelBytes, Precision};
use llm::session::{Runner, RunnerOptions};
use llm::simd::Kernels;
use llm::state::StateOptions;

use crate::micro::{repository_file, set_number};

/// Options of a scheduler's runner.
pub fn options(n_slots: usize, n_ctx: usize, n_pages: usize, n_batch: usize) -> RunnerOptions {
    let state = StateOptions {
        n_slots,
        n_ctx,
        n_pages,
        kv_type: KvType::F32,
        finds_prefixes: true,
        n_checkpoints: 0,
        own_checkpoints: false,
    };
    RunnerOptions { state, n_batch, n_logits: n_slots, precision: Precision::Quantized }
}

/// Calls `work` with a runner whose memory is filled with NaN at first.
pub fn with_runner<T>(
    model: &Arc<Model<'_>>,
    kernels: &'static Kernels,
    workers: &dyn Workers,
    options: RunnerOptions,
    work: impl for<'a> FnOnce(Runner<'a>) -> T,
) -> T {
    let mut memory =
        vec![0xff; Runner::required_bytes(model.config(), &options).unwrap() + llm::arena::ALIGN];
    work(Runner::new(Arc::clone(model), options, kernels, workers, &mut memory).unwrap())
}

/// A model of each kind of sequence mixer, and of each combination of kinds in one model.
const KINDS: [&str; 17] = [
    "llama",
    "gemma2",
    "deepseek2",
    "mamba",
    "mamba2",
    "qwen35",
    "lfm2",
    "jamba",
    "falcon-h1",
    "granitehybrid",
    "gemma4-shared-kv",
    "lfm2-window",
    "rwkv6",
    "rwkv7",
    "kimi-linear",
    "qwen4exp",
    "gemma3n-shared-kv",
];

/// Calls `work` with the small model of each kind of mixer, changed as if it had been trained for `n_ctx` positions.
pub fn each_kind(n_ctx: u32, mut work: impl FnMut(&str, &Arc<Model<'_>>)) {
    for kind in KINDS {
        let path = repository_file("tests/golden/architectures").join(kind).with_extension("gguf");
        let mut file = std::fs::read(path).unwrap();
        let architecture = {
            let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
            String::from(gguf.str_value("general.architecture").unwrap().unwrap())
        };
        set_number(&mut file, &format!("{architecture}.context_length"), n_ctx);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        work(kind, &Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap()));
    }
}
