//! Tests of the service as a whole: from a disk to text, and the figures of the default model.
//!
//! The ignored tests use the default model, or the file that `FERRITE_MODEL` names.

use std::{boxed::Box, format, println, string::String, sync::Arc, vec, vec::Vec};

use core::ops::ControlFlow;

use spin::Mutex;

use super::*;
use ::llm::{
    front::{Event, PROMPT_ENCODING, Prompt, Request, bench::BenchPlan},
    gguf::Gguf,
    model::Model,
    parallel::Serial,
    quant::ModelBytes,
    sampling::SamplingConfig,
    session::{FinishReason, Logits, Session, SessionOptions},
    tokenizer::{EncodeOptions, Tokenizer},
};

const POOL_BYTES: usize = 256 << 20;

/// The stub examines real files, but neither loads them nor makes up text.
#[test]
fn test_complete_inference_pipeline_stub() {
    let pool = host::pool(16 << 20);
    let disks = vec![("good", broken_gguf::good()), ("noise", vec![7; 4096])];
    let mut backend: Box<dyn InferenceBackend> = Box::new(StubBackend::new(host::resources(pool, disks)));
    let load = |backend: &mut Box<dyn InferenceBackend>, path| {
        backend.load(path, EngineOptions::default(), &mut |_, _| ControlFlow::Continue(()))
    };
    assert_eq!(backend.catalog().files().len(), 2);
    assert_eq!(backend.catalog().find("good").unwrap(), 0);
    assert!(matches!(load(&mut backend, "missing"), Err(BackendError::UnknownPath { .. })));
    let refused = format!("{}", load(&mut backend, "/models/good.gguf").unwrap_err());
    assert!(refused.contains("built without inference"), "{refused}");
    let broken = format!("{}", load(&mut backend, "noise").unwrap_err());
    assert!(broken.contains("/models/noise.gguf") && !broken.contains("built without"), "{broken}");
    assert!(backend.models().is_empty() && backend.model(None).is_err());
    let hello = Request::new(Prompt::Text("Hello", PROMPT_ENCODING), 10);
    let answer = backend.generate(None, hello, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(answer, Err(BackendError::NoInference)));
    assert!(matches!(backend.unload(None), Err(BackendError::NotLoaded)));
    assert_eq!(*backend.statistics(), Statistics::default());
    assert_eq!(pool.free_bytes(), pool.total_bytes());
}

/// The transformer backend behind the same interface: from the disk to text, and unloaded again.
#[test]
fn test_complete_inference_pipeline() {
    let pool = host::pool(POOL_BYTES);
    let mut backend = TransformerBackend::new(host::resources(pool, vec![("s", broken_gguf::good())]));
    backend.load_model("/models/good.gguf").unwrap();
    let metadata = backend.model_metadata().unwrap();
    assert_eq!((metadata.n_layer, metadata.n_embd, metadata.n_head, metadata.n_head_kv), (2, 32, 4, 2));
    assert_eq!((metadata.architecture.as_str(), metadata.n_ctx), ("llama", 64));
    let result = backend.infer("hello", 8).unwrap();
    assert!((1..=8).contains(&result.tokens_emitted));
    assert!(result.latency_us >= result.first_token_us);
    assert_eq!(backend.statistics().inferences, 1);
    backend.unload(None).unwrap();
    assert_eq!(pool.free_bytes(), pool.total_bytes());
}

#[test]
fn test_tokenizer_roundtrip() {
    for (name, file) in [("micro", fixtures::micro()), ("tiny", fixtures::tiny())] {
        let pool = host::pool(POOL_BYTES);
        let mut backend = TransformerBackend::new(host::resources(pool, vec![(name, file)]));
        let first = backend.catalog().first().unwrap();
        let path = backend.catalog().path(first);
        backend.load_model(&path).unwrap();
        for text in ["Hello", "What is Ferrite? A kernel.", " two  spaces\n", "caf\u{e9} \u{1f980}"] {
            let mut ids = Vec::new();
            backend.tokenize(None, &[text], PROMPT_ENCODING, &mut |encoded| ids = encoded.to_vec()).unwrap();
            assert_eq!(backend.detokenize(&ids).unwrap(), text, "{name}: {ids:?}");
        }
    }
}

/// The cache agrees with the tokens: continuing a text with the cache gives the same result as without.
#[test]
fn test_kv_cache() {
    let counts = continue_with_and_without_cache(&fixtures::micro(), "Once upon a time", 12);
    assert_eq!(counts.with_ids, counts.without_ids);
    assert!(counts.with_tokens < counts.without_tokens);
}

/// A backend with only this model, loaded by its path.
fn load(file: Vec<u8>) -> TransformerBackend {
    // Room for weights, a context of a few thousand tokens, and the header while it is read.
    let pool = host::pool(2 * file.len() + POOL_BYTES);
    let mut backend = TransformerBackend::new(host::resources(pool, vec![("model", file)]));
    let first = backend.catalog().first().unwrap();
    let path = backend.catalog().path(first);
    backend.load_model(&path).unwrap();
    backend
}

#[test]
#[ignore = "needs the default model or FERRITE_MODEL; takes long with a large one"]
fn test_load_real_model() {
    let file = fixtures::chosen_model();
    let file_bytes = file.len() as u64;
    let mut backend = load(file);
    let metadata = backend.model_metadata().unwrap().clone();
    println!("{metadata:?}");
    assert_eq!(metadata.file_bytes, file_bytes);
    assert!(metadata.n_params > 100_000 && metadata.n_vocab > 256 && metadata.n_layer > 0);
    assert!(metadata.n_head.is_multiple_of(metadata.n_head_kv));
    assert!(!metadata.quantisation.is_empty() && !metadata.architecture.is_empty());
    assert!(backend.memory_usage().weights_bytes as u64 <= file_bytes.next_multiple_of(64));
    backend.unload(None).unwrap();
    assert!(!backend.is_loaded());
}

#[test]
#[ignore = "needs the default model or FERRITE_MODEL; takes long with a large one"]
fn test_generate_single_token() {
    let mut backend = load(fixtures::chosen_model());
    let result = backend.infer("Hello", 1).unwrap();
    assert_eq!(result.tokens_emitted, 1);
    assert_eq!(result.finish_reason, FinishReason::MaxTokens);
    assert!(!result.output.is_empty());
}

#[test]
#[ignore = "needs the default model or FERRITE_MODEL; takes long with a large one"]
fn test_generate_multiple_tokens() {
    let mut backend = load(fixtures::chosen_model());
    let result = backend.infer("Hello", 10).unwrap();
    println!("Hello{}", result.output);
    assert_eq!(result.tokens_emitted, 10);
    assert!(result.output.chars().filter(|c| c.is_alphabetic()).count() >= 10, "{:?}", result.output);
    let longer = backend.infer("Hello", 20).unwrap();
    assert!(longer.output.starts_with(&result.output), "more tokens changed the first ten");
}

#[test]
#[ignore = "needs the default model or FERRITE_MODEL; takes long with a large one"]
fn test_sampling_strategies() {
    let mut backend = load(fixtures::chosen_model());
    let mut text = |config| {
        backend.set_sampling_config(config).unwrap();
        backend.infer("Once upon a time", 40).unwrap().output
    };
    let greedy = SamplingConfig::greedy();
    let hot = SamplingConfig { temperature: 1.5, ..greedy };
    let likely = text(greedy);
    assert_eq!(text(greedy), likely);
    assert_eq!(text(SamplingConfig { top_k: 1, ..hot }), likely);
    let creative = |seed| SamplingConfig { seed, ..SamplingConfig::creative() };
    assert_eq!(text(creative(1)), text(creative(1)));
    let varied: Vec<String> = (1..=5).map(|seed| text(SamplingConfig { seed, ..hot })).collect();
    assert!(varied.iter().any(|text| *text != varied[0]), "five seeds gave one text: {:?}", varied[0]);
    let penalised = text(SamplingConfig { repeat_penalty: 2.0, ..greedy });
    assert_ne!(penalised, likely);
    assert!(backend.set_sampling_config(SamplingConfig { top_p: 2.0, ..greedy }).is_err());
}

struct Continuations {
    with_ids: Vec<u32>,
    without_ids: Vec<u32>,
    /// Number of tokens evaluated.
    with_tokens: usize,
    without_tokens: usize,
}

/// Continues a prompt greedily, once with the cache and once with an empty cache at each step.
fn continue_with_and_without_cache(file: &[u8], prompt: &str, n: usize) -> Continuations {
    let file = fixtures::aligned(file);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let options = SessionOptions::generate(model.config().n_ctx_train.min(256));
    let mut memory = fixtures::aligned(&vec![0; Session::required_bytes(model.config(), &options).unwrap()]);
    let mut session =
        Session::new(model, options, ::llm::simd::Kernels::detect(), &Serial, &mut memory).unwrap();
    let mut prompt_ids = Vec::new();
    let encode = EncodeOptions { add_special: true, parse_special: false };
    tokenizer.encode(prompt, encode, &mut prompt_ids).unwrap();
    let most_likely = |logits: &[f32]| {
        (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
    };

    let mut with_ids = prompt_ids.clone();
    let mut new_ids = prompt_ids.clone();
    let mut with_tokens = 0;
    for _ in 0..n {
        with_tokens += new_ids.len();
        let id = most_likely(session.forward(&new_ids, Logits::Last).unwrap());
        with_ids.push(id);
        new_ids = vec![id];
    }
    let mut without_ids = prompt_ids;
    let mut without_tokens = 0;
    for _ in 0..n {
        session.reset();
        without_tokens += without_ids.len();
        let id = most_likely(session.forward(&without_ids, Logits::Last).unwrap());
        without_ids.push(id);
    }
    Continuations { with_ids, without_ids, with_tokens, without_tokens }
}

#[test]
#[ignore = "needs the default model or FERRITE_MODEL; takes long with a large one"]
fn test_kv_cache_speedup() {
    let n = 48;
    let counts = continue_with_and_without_cache(&fixtures::chosen_model(), "The kernel", n);
    assert_eq!(counts.with_ids, counts.without_ids);
    let n_prompt = counts.with_ids.len() - n;
    println!("tokens evaluated: {} with the cache, {} without", counts.with_tokens, counts.without_tokens);
    assert_eq!(counts.with_tokens, n_prompt + n - 1);
    assert_eq!(counts.without_tokens, (n_prompt..n_prompt + n).sum::<usize>());
}

#[test]
#[ignore = "needs the default model or FERRITE_MODEL; takes long with a large one"]
fn test_performance_targets() {
    let mut backend = load(fixtures::chosen_model());
    let mut allocations = Vec::with_capacity(1000);
    let prompt = Prompt::Text("Once upon a time", PROMPT_ENCODING);
    let result = backend
        .generate(None, Request::new(prompt, 64), &mut |event| {
            if let Event::Token { .. } = event {
                allocations.push(fixtures::allocations());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    println!(
        "{} prompt tokens, first token after {} us, then {:.1} tokens/s",
        result.prompt_tokens,
        result.first_token_us,
        result.tokens_per_second().unwrap_or(0.0)
    );
    let plan = BenchPlan { n_prompt: 64, n_generate: 32, depth: 0, n_runs: 1, n_parallel: None };
    let (bench, _) = backend.bench(None, plan, &mut || ControlFlow::Continue(())).unwrap();
    println!("{bench:?}");
    assert!(result.tokens_emitted > 1 && bench.decode.tokens == 32);
    assert_eq!(allocations.first(), allocations.last(), "something is allocated per token");
}

#[test]
#[ignore = "needs the default model or FERRITE_MODEL; takes long with a large one"]
fn test_long_generation() {
    let mut backend = load(fixtures::chosen_model());
    // The test must not end when the story does.
    let mut text = String::from("Once upon a time");
    let mut tokens = 0;
    while tokens < 100 {
        let result = backend.infer(&text, 100 - tokens).unwrap();
        if result.tokens_emitted == 0 {
            text.push_str("\nOnce upon a time");
            continue;
        }
        tokens += result.tokens_emitted;
        text.push_str(&result.output);
        assert!(!result.output.contains(char::REPLACEMENT_CHARACTER));
    }
    println!("{text}");
    assert_eq!(tokens, 100);
}

#[test]
#[ignore = "needs the default model or FERRITE_MODEL; takes long with a large one"]
fn test_repeated_inference() {
    let mut backend = load(fixtures::chosen_model());
    let first = backend.infer("Hello", 2).unwrap();
    let pool_bytes = backend.catalog().pool().free_bytes();
    // When the next measurement is taken, only the results of one run may still be allocated.
    let heap_bytes = fixtures::live_bytes();
    for run in 0..1000 {
        let result = backend.infer("Hello", 2).unwrap();
        assert_eq!(result.output, first.output, "run {run}");
        drop(result);
        assert_eq!(fixtures::live_bytes(), heap_bytes, "run {run} left something on the heap");
        assert_eq!(backend.catalog().pool().free_bytes(), pool_bytes, "run {run} left something in the pool");
    }
}

#[test]
#[ignore = "needs the default model or FERRITE_MODEL; takes long with a large one"]
fn test_concurrent_inference() {
    let prompts = ["Hello", "Once upon a time", "The kernel", "What is"];
    let mut backend = load(fixtures::chosen_model());
    let expected = prompts.map(|prompt| backend.infer(prompt, 12).unwrap().output);
    let backend = Arc::new(Mutex::new(backend));
    let threads = prompts.into_iter().zip(expected).map(|(prompt, expected)| {
        let backend = backend.clone();
        std::thread::spawn(move || {
            for _ in 0..5 {
                let result = backend.lock().infer(prompt, 12).unwrap();
                assert_eq!(result.output, expected, "{prompt}");
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(backend.lock().statistics().inferences, 4 + 4 * 5);
}
