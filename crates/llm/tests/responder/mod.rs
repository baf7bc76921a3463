//! A responder with several requests at a time, over a small model.

use llm::front::{Prompter, Responder};
use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::session::{Runner, RunnerOptions};
use llm::simd::Kernels;
use llm::state::StateOptions;

pub const N_SLOTS: usize = 4;

/// Runs `test` with a responder for this file, whose texts have up to `n_ctx` positions.
pub fn with_responder<T>(
    file: &[u8],
    n_ctx: usize,
    n_batch: usize,
    test: impl FnOnce(&mut Responder<'_>) -> T,
) -> T {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let state = StateOptions {
        n_slots: N_SLOTS,
        n_ctx,
        n_pages: N_SLOTS * StateOptions::pages_of(n_ctx),
        kv_type: KvType::F16,
        finds_prefixes: true,
        n_checkpoints: 4,
        own_checkpoints: false,
    };
    let options = RunnerOptions { state, n_batch, n_logits: 4 * N_SLOTS, precision: Precision::Quantized };
    let mut memory = vec![0; Runner::required_bytes(model.config(), &options).unwrap() + 64];
    let runner = Runner::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    test(&mut Responder::new(Prompter::new(gguf).unwrap(), runner, 8).unwrap())
}
