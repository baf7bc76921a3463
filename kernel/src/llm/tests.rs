//! Tests of the service as a whole: from a disk to text, and the figures of `tiny`.

use std::{boxed::Box, format, string::String, vec, vec::Vec};

use core::ops::ControlFlow;

use super::*;
use ::llm::{
    front::{Event, PROMPT_ENCODING, Prompt, Request, bench::BenchPlan},
    gguf::{Gguf, TensorInfo, Value},
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
    load_with(file, EngineOptions::default())
}

fn load_with(file: Vec<u8>, options: EngineOptions) -> TransformerBackend {
    // Room for weights, a context of a few thousand tokens, and the header while it is read.
    let pool = host::pool(2 * file.len() + POOL_BYTES);
    let mut backend = TransformerBackend::new(host::resources(pool, vec![("model", file)]));
    let first = backend.catalog().first().unwrap();
    let path = backend.catalog().path(first);
    backend.load(&path, options, &mut |_, _| ControlFlow::Continue(())).unwrap();
    backend
}

#[test]
fn test_load_real_model() {
    let file = fixtures::tiny();
    let file_bytes = file.len() as u64;
    let mut backend = load(file.clone());
    let metadata = backend.model_metadata().unwrap().clone();
    assert_eq!(metadata.file_bytes, file_bytes);
    let gguf = Gguf::parse(&file, file_bytes).unwrap();
    assert_eq!(metadata.architecture, gguf.require_str("general.architecture").unwrap());
    let count = |key| gguf.u32_value((&*metadata.architecture, key)).unwrap().unwrap() as usize;
    assert_eq!(metadata.n_layer, count("block_count"));
    assert_eq!(metadata.n_embd, count("embedding_length"));
    assert_eq!(metadata.n_ff, count("feed_forward_length"));
    assert_eq!(metadata.n_head, count("attention.head_count"));
    assert_eq!(metadata.n_head_kv, count("attention.head_count_kv"));
    assert_eq!(metadata.n_ctx_train, count("context_length"));
    let Some(Value::Array(tokens)) = gguf.get("tokenizer.ggml.tokens") else { panic!("no tokens") };
    assert_eq!(metadata.n_vocab, tokens.len());
    let n_weights = |is_counted: &dyn Fn(&TensorInfo<'_>) -> bool| {
        let counted = gguf.tensors().iter().filter(|tensor| is_counted(tensor));
        counted.map(|tensor| tensor.shape().iter().product::<u64>()).sum::<u64>()
    };
    assert_eq!(metadata.n_params, n_weights(&|_| true));
    assert!(2 * n_weights(&|tensor| tensor.ty.name() == metadata.quantisation) > metadata.n_params);
    assert!(backend.memory_usage().weights_bytes as u64 <= file_bytes.next_multiple_of(64));
    backend.unload(None).unwrap();
    assert!(!backend.is_loaded());
}

#[test]
fn test_generate_single_token() {
    let mut backend = load(fixtures::tiny());
    let result = backend.infer("Hello", 1).unwrap();
    assert_eq!(result.tokens_emitted, 1);
    assert_eq!(result.finish_reason, FinishReason::MaxTokens);
    assert!(!result.output.is_empty());
}

#[test]
fn test_generate_multiple_tokens() {
    let mut backend = load(fixtures::tiny());
    let result = backend.infer("Hello", 10).unwrap();
    assert_eq!(result.tokens_emitted, 10);
    assert!(result.output.chars().filter(|c| c.is_alphabetic()).count() >= 10, "{:?}", result.output);
    let longer = backend.infer("Hello", 20).unwrap();
    assert!(longer.output.starts_with(&result.output), "more tokens changed the first ten");
}

#[test]
fn test_sampling_strategies() {
    let mut backend = load(fixtures::tiny());
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
fn test_kv_cache_speedup() {
    let n = 48;
    let counts = continue_with_and_without_cache(&fixtures::tiny(), "The kernel", n);
    assert_eq!(counts.with_ids, counts.without_ids);
    let n_prompt = counts.with_ids.len() - n;
    assert_eq!(counts.with_tokens, n_prompt + n - 1);
    assert_eq!(counts.without_tokens, (n_prompt..n_prompt + n).sum::<usize>());
}

/// The most instructions that a token of `tiny` may take, for each of its parameters: as `scripts/instructions` names the
/// figures, which `scripts/check-instructions` measures in QEMU, for a prompt (pp) and for what is generated (tg).
const INSTRUCTIONS_PER_PARAMETER: [(&str, f64); 6] = [
    ("cortex-a72 pp", 0.36),
    ("cortex-a72 tg", 0.54),
    ("cortex-a76 pp", 0.14),
    ("cortex-a76 tg", 0.25),
    ("max pp", 0.11),
    ("max tg", 0.25),
];

/// Targets that are the same on every host: instructions as counted by an emulator, batches, tokens computed, and allocations.
#[test]
fn test_performance_targets() {
    let mut backend = load(fixtures::tiny());
    let n_params = backend.model_metadata().unwrap().n_params as f64;
    let measured = include_str!("../../../scripts/instructions");
    let figures =
        measured.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap());
    let figures: Vec<(&str, f64)> = figures.map(|(what, count)| (what, count.parse().unwrap())).collect();
    assert_eq!(figures.len(), INSTRUCTIONS_PER_PARAMETER.len());
    for ((what, target), (measured, count)) in INSTRUCTIONS_PER_PARAMETER.into_iter().zip(figures) {
        assert_eq!(what, measured);
        assert!(count <= target * n_params, "{what}: {:.3} instructions per parameter", count / n_params);
    }

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
    let counts = backend.responder(None).unwrap().counts();
    assert!(result.tokens_emitted > 1 && allocations.len() >= result.tokens_emitted);
    assert_eq!(allocations.first(), allocations.last(), "something is allocated per token");
    // The prompt is one batch, whose last token gives the first new one; no token is computed again.
    assert_eq!(counts.n_steps, allocations.len(), "{counts:?}");
    assert_eq!(counts.n_computed, result.prompt_tokens + counts.n_steps - 1, "{counts:?}");

    let plan = BenchPlan { n_prompt: 64, n_generate: 32, depth: 0, n_runs: 1, n_parallel: None };
    let (bench, _) = backend.bench(None, plan, &mut || ControlFlow::Continue(())).unwrap();
    assert_eq!((bench.prefill.tokens, bench.decode.tokens), (64, 32));
}

#[test]
fn test_long_generation() {
    let mut backend = load(fixtures::tiny());
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
    assert_eq!(tokens, 100);
}

#[test]
fn test_repeated_inference() {
    let mut backend = load(fixtures::tiny());
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

/// Two texts at once, in the same batches: each as if it were alone.
#[test]
fn test_concurrent_inference() {
    const N: usize = 12;
    let go_on = &mut || ControlFlow::Continue(());
    let options = EngineOptions { n_parallel: Some(2), ..EngineOptions::default() };
    let mut backend = load_with(fixtures::tiny(), options);
    let sampling = SamplingConfig { seed: 7, temperature: 1.0, ..SamplingConfig::greedy() };
    for prompts in
        [["Hello", "Once upon a time"], ["The kernel", "What is"], ["Once upon a time", "Once upon a time"]]
    {
        let request = |prompt| Request { sampling, ..Request::new(Prompt::Text(prompt, PROMPT_ENCODING), N) };
        let alone = prompts.map(|prompt| {
            backend.generate(None, request(prompt), &mut |_| ControlFlow::Continue(())).unwrap().ids
        });
        let tickets = prompts.map(|prompt| backend.submit(None, request(prompt)).unwrap());
        let mut texts = [const { Vec::new() }; 2];
        let (mut n_shared, mut n_finished) = (0, 0);
        loop {
            let lengths = texts.each_ref().map(Vec::len);
            let n_tokens = backend.step(go_on, &mut |ticket, event| {
                let index = tickets.iter().position(|known| *known == ticket).expect("there are no others");
                match event {
                    Event::Token { id, .. } => texts[index].push(id),
                    Event::Finished { .. } => n_finished += 1,
                    _ => {}
                }
                ControlFlow::Continue(())
            });
            if n_tokens.unwrap() == 0 {
                break;
            }
            n_shared += usize::from(texts[0].len() > lengths[0] && texts[1].len() > lengths[1]);
        }
        assert_eq!(texts, alone, "{prompts:?}");
        assert_eq!(n_finished, 2, "{prompts:?}");
        // Both begin in the first batches, and go on until the shorter one ends.
        let shorter = texts.iter().map(Vec::len).min().unwrap();
        assert!(shorter > 1 && n_shared + 1 >= shorter, "{prompts:?}: {n_shared} of {shorter} in one batch");
    }
}
