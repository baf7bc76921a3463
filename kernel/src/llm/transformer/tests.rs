//! Tests of the backend on a host, with disks in memory.

use super::*;
use crate::{
    llm::{Steps, fixtures, host},
    memory::pool::GRANULE_BYTES,
    offload::{Capabilities, OffloadError},
    storage::{BlockDevice, Disk, FaultyDisk, MemoryDisk},
};
use ::llm::session::FinishReason;
use llm::simd::Kernels;
use std::{format, string::ToString, vec};

mod adapters;
mod faults;
mod parts;
mod several;

/// Loads a model with this context length, or with the default one.
fn load(backend: &mut TransformerBackend, path: &str, n_ctx: Option<usize>) -> Result<(), BackendError> {
    let options = EngineOptions { n_ctx, ..EngineOptions::default() };
    backend.load(path, options, &mut |_, _| ControlFlow::Continue(()))
}

/// Changes the loaded model's context length.
fn set_context_length(backend: &mut TransformerBackend, n_ctx: usize) -> Result<bool, BackendError> {
    backend.adapt(None, EngineOptions { n_ctx: Some(n_ctx), ..EngineOptions::default() })
}

/// Continues a prompt; `on_event` can end it.
fn infer_while(
    backend: &mut TransformerBackend,
    prompt: &str,
    max_tokens: usize,
    on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Report, BackendError> {
    backend.generate(None, Request::new(Prompt::Text(prompt, PROMPT_ENCODING), max_tokens), on_event)
}

fn n_tokens(backend: &mut TransformerBackend, prompt: &str) -> usize {
    let mut n = 0;
    backend.tokenize(None, &[prompt], PROMPT_ENCODING, &mut |ids| n = ids.len()).unwrap();
    n
}

fn backend(pool_bytes: usize, files: Vec<(&str, Vec<u8>)>) -> TransformerBackend {
    TransformerBackend::new(host::resources(host::pool(pool_bytes), files))
}

fn good() -> TransformerBackend {
    let mut backend = backend(8 << 20, vec![("s", broken_gguf::good())]);
    backend.load_model("good").unwrap();
    backend
}

#[test]
fn memory_is_refused_before_the_weights_are_read() {
    let file = fixtures::tiny();
    let weights = MemoryDisk::new("s", file.clone());
    // The weights are unreadable, so an attempt to read them would be noticed.
    let device: Box<dyn BlockDevice> = Box::new(FaultyDisk::new(weights, 1 << 20..file.len() as u64));
    let mut resources = host::resources(host::pool(2 << 20), vec![]);
    resources.disks.push(Disk::new(0, device, None));
    let mut backend = TransformerBackend::new(resources);
    match backend.load_model("ferrite-tiny") {
        Err(BackendError::InFile { cause, .. }) => match *cause {
            BackendError::OutOfMemory { needed_bytes, available_bytes, .. } => {
                assert!(needed_bytes > file.len() && available_bytes == 2 << 20);
            }
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn there_are_fewer_texts_before_the_context_is_shorter() {
    let file = fixtures::micro();
    let asked = EngineOptions { n_parallel_if_room: Some(8), ..EngineOptions::default() };
    let mut seen = Vec::new();
    for pool_bytes in (file.len()..3 << 20).step_by(8192) {
        let mut backend = backend(pool_bytes / 64 * 64, vec![("s", file.clone())]);
        if backend.load("ferrite-micro", asked.clone(), &mut |_, _| ControlFlow::Continue(())).is_err() {
            continue;
        }
        let &ModelMetadata { n_ctx, n_parallel, .. } = backend.model(None).unwrap();
        assert!(n_ctx == 256 || n_parallel == 1, "{n_parallel} texts of {n_ctx} in {pool_bytes} bytes");
        if seen.last() != Some(&(n_ctx, n_parallel)) {
            seen.push((n_ctx, n_parallel));
        }
        // Either as many as were requested, or an error.
        let firm = EngineOptions { n_parallel: Some(8), n_ctx: Some(n_ctx), ..asked.clone() };
        let adapted = backend.adapt(None, firm);
        assert_eq!(adapted.is_ok(), n_parallel == 8, "{adapted:?}");
    }
    assert_eq!(seen, [(64, 1), (128, 1), (256, 1), (256, 8)]);
}

#[test]
fn a_context_that_is_not_asked_for_shrinks_to_the_memory() {
    let file = fixtures::micro();
    let file_bytes = file.len();
    let mut backend = backend(64 << 20, vec![("s", file.clone())]);
    backend.load_model("ferrite-micro").unwrap();
    let whole = backend.memory_usage();
    let n_ctx = backend.model_metadata().unwrap().n_ctx;
    assert!(whole.weights_bytes <= file_bytes.next_multiple_of(GRANULE_BYTES));

    let less_bytes = whole.weights_bytes + whole.session_bytes() - 64;
    let mut backend = self::backend(less_bytes, vec![("s", file)]);
    backend.load_model("ferrite-micro").unwrap();
    assert_eq!(backend.model_metadata().unwrap().n_ctx, n_ctx / 2);
    let too_long = load(&mut backend, "ferrite-micro", Some(n_ctx));
    assert!(too_long.unwrap_err().to_string().contains("bytes needed"));
    assert!(backend.is_loaded(), "a refused model displaced the loaded one");
}

#[test]
fn a_load_that_fails_gives_its_memory_back() {
    let file = broken_gguf::good();
    let n = file.len() as u64;
    let device: Box<dyn BlockDevice> = Box::new(FaultyDisk::new(MemoryDisk::new("s", file), n - 600..n));
    let pool = host::pool(8 << 20);
    let mut resources = host::resources(pool, vec![("s", broken_gguf::good())]);
    resources.disks.push(Disk::new(1, device, None));
    let mut backend = TransformerBackend::new(resources);
    let unreadable = backend.load_model("good-2").map(|()| panic!("a bad disk was read"));
    assert!(unreadable.unwrap_err().to_string().contains("/models/good-2.gguf"));
    let stopped = backend.load("good", EngineOptions::default(), &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(BackendError::Cancelled)));
    assert!(!backend.is_loaded());
    assert_eq!(pool.free_bytes(), pool.total_bytes());
    backend.load_model("good").unwrap();
    assert!(pool.free_bytes() < pool.total_bytes());
    backend.unload(None).unwrap();
    assert_eq!(pool.free_bytes(), pool.total_bytes());
}

#[test]
fn a_context_is_resized_or_stays_as_it_was() {
    let mut backend = good();
    let text = backend.infer("hello", 10).unwrap().output;
    set_context_length(&mut backend, 20).unwrap();
    assert_eq!(backend.model_metadata().unwrap().n_ctx, 20);
    assert_eq!(backend.infer("hello", 10).unwrap().output, text);
    let smaller = backend.memory_usage().session_bytes();
    for impossible in [0, 65] {
        assert!(set_context_length(&mut backend, impossible).is_err());
        assert_eq!(backend.model_metadata().unwrap().n_ctx, 20);
    }
    let hog = backend.machine.pool.reserve(backend.machine.pool.largest_free_bytes() - 64, 64).unwrap();
    let refused = set_context_length(&mut backend, 64).unwrap_err().to_string();
    assert!(refused.contains("bytes needed") && refused.contains("64 tokens"), "{refused}");
    drop(hog);
    assert_eq!(backend.infer("hello", 10).unwrap().output, text);
    assert_eq!(backend.memory_usage().session_bytes(), smaller);
    set_context_length(&mut backend, 64).unwrap();
    assert!(backend.memory_usage().session_bytes() > smaller);
    backend.unload(None).unwrap();
    assert_eq!(backend.machine.pool.free_bytes(), backend.machine.pool.total_bytes());
    assert!(matches!(set_context_length(&mut backend, 20), Err(BackendError::NotLoaded)));
}

#[test]
fn an_inference_ends_for_a_stated_reason() {
    let mut backend = good();
    let result = backend.infer("hello", 4).unwrap();
    assert_eq!((result.finish_reason, result.tokens_emitted), (FinishReason::MaxTokens, 4));
    assert_eq!(result.prompt_tokens, n_tokens(&mut backend, "hello"));
    let full = backend.infer("hello", 1000).unwrap();
    let ended = matches!(full.finish_reason, FinishReason::ContextFull | FinishReason::EndOfText);
    assert!(ended && full.tokens_emitted <= 64, "{full:?}");
    let mut n_with_text = 0;
    let cancelled = infer_while(&mut backend, "hello", 1000, &mut |event| {
        n_with_text += usize::from(!event.text().is_empty());
        if n_with_text == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let cancelled = cancelled.unwrap();
    assert_eq!(cancelled.finish_reason, FinishReason::Cancelled);
    assert!((3..full.tokens_emitted).contains(&cancelled.tokens_emitted), "{cancelled:?}");
    assert!(full.output.starts_with(&cancelled.output), "{cancelled:?}");
    let stop = full.output.chars().nth(2).unwrap().to_string();
    let request = Request::new(Prompt::Text("hello", PROMPT_ENCODING), 1000);
    let stopped = Request { stop: &[&stop], ..request };
    let stopped = backend.generate(None, stopped, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(stopped.finish_reason, FinishReason::StopString);
    assert!(!stopped.output.contains(&stop) && full.output.starts_with(&stopped.output));
}

#[test]
fn a_prompt_longer_than_the_context_is_refused_with_both_lengths() {
    let mut backend = good();
    let prompt = "hello ".repeat(50);
    let n_tokens = n_tokens(&mut backend, &prompt);
    let refused = backend.infer(&prompt, 1).unwrap_err().to_string();
    assert!(refused.contains(&n_tokens.to_string()) && refused.contains("64"), "{refused}");
    backend.infer("hello", 1).unwrap();
}

#[test]
fn a_prompt_can_be_stopped_in_the_middle_of_a_batch() {
    let mut backend = backend(64 << 20, vec![("s", fixtures::micro())]);
    backend.load_model("ferrite-micro").unwrap();
    let n_layer = backend.model_metadata().unwrap().n_layer;
    let prompt = "The little robot went to the river. ".repeat(18);
    let n_tokens = n_tokens(&mut backend, &prompt);
    let loaded = &backend.models.get(None).unwrap().model;
    assert!(n_tokens <= loaded.runner_options().n_batch, "{n_tokens} tokens are more than a batch");
    let mut calls_before_text = 0;
    let result = infer_while(&mut backend, &prompt, 5, &mut |event| {
        calls_before_text += usize::from(matches!(event, Event::Prompt));
        ControlFlow::Continue(())
    });
    let result = result.unwrap();
    assert_eq!((result.prompt_tokens, result.tokens_emitted), (n_tokens, 5));
    assert!(calls_before_text >= 2 * n_layer, "{calls_before_text} calls in {n_layer} layers");
    for n_calls in [1, n_layer, 2 * n_layer] {
        let mut calls_left = n_calls;
        let mut is_finished = false;
        let stopped = infer_while(&mut backend, &prompt, 5, &mut |event| match event {
            Event::Prompt => {
                calls_left -= 1;
                if calls_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
            Event::Finished { text, .. } => {
                assert_eq!(text, "");
                is_finished = true;
                ControlFlow::Continue(())
            }
            Event::Started { .. } => ControlFlow::Continue(()),
            event => panic!("{event:?} after the end"),
        });
        assert!(is_finished);
        let stopped = stopped.unwrap();
        assert_eq!((stopped.tokens_emitted, stopped.finish_reason), (0, FinishReason::Cancelled));
        assert_eq!((calls_left, stopped.output.as_str()), (0, ""));
        assert_eq!(backend.infer(&prompt, 5).unwrap().output, result.output);
    }
    let plan = BenchPlan { n_prompt: n_tokens, n_generate: 0, depth: 0, n_runs: 1, n_parallel: None };
    let mut calls_left = n_layer;
    let stopped = backend.bench(None, plan, &mut || {
        calls_left -= 1;
        if calls_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(BackendError::Cancelled)), "{stopped:?}");
    assert_eq!(backend.infer(&prompt, 5).unwrap().output, result.output);
}

#[test]
fn a_model_runs_as_asked_and_gives_the_same_text() {
    let mut backend = backend(64 << 20, vec![("s", fixtures::micro())]);
    backend.load_model("ferrite-micro").unwrap();
    let text = backend.infer("Once upon a time", 12).unwrap().output;
    let asked = EngineOptions::default();
    let packing = |kernels: &Kernels| kernels.packing().map(|packing| format!("{packing:?}"));
    for &kernels in backend.machine.all_kernels.iter().filter(|kernels| !kernels.name().contains("fp16")) {
        let options = EngineOptions { kernels: Some(kernels), n_cores: Some(1), ..asked.clone() };
        if !backend.adapt(None, options.clone()).unwrap() {
            assert_ne!(packing(kernels), packing(backend.models.get(None).unwrap().model.engine().kernels));
            backend.load("ferrite-micro", options, &mut |_, _| ControlFlow::Continue(())).unwrap();
        }
        assert_eq!(backend.models.get(None).unwrap().model.engine().kernels.name(), kernels.name());
        assert_eq!(backend.infer("Once upon a time", 12).unwrap().output, text, "{}", kernels.name());
    }
    backend.load_model("ferrite-micro").unwrap();
    let n_ctx = backend.model_metadata().unwrap().n_ctx;
    let rows = |backend: &mut TransformerBackend| {
        let mut logits = Vec::new();
        backend
            .logits(None, &[1, 100, 120], &mut |row| {
                logits.extend_from_slice(row);
                ControlFlow::Continue(())
            })
            .unwrap();
        logits
    };
    let plain = rows(&mut backend);
    assert!(backend.adapt(None, EngineOptions { exact: true, ..asked.clone() }).unwrap());
    assert_ne!(rows(&mut backend), plain);
    assert!(backend.adapt(None, EngineOptions { n_ctx: Some(n_ctx / 2), ..asked.clone() }).unwrap());
    assert_eq!(rows(&mut backend), plain);
    assert_eq!(backend.model_metadata().unwrap().n_ctx, n_ctx / 2);
    assert!(backend.adapt(None, asked).unwrap());
    assert_eq!(backend.model_metadata().unwrap().n_ctx, n_ctx);
}

#[test]
fn verbose_reports_weights_and_logits() {
    let mut backend = backend(8 << 20, vec![("s", broken_gguf::good())]);
    backend.set_verbose(true);
    let loading = fixtures::logged(|| backend.load_model("good").unwrap());
    let embedding = loading.iter().find(|line| line.starts_with("token_embd.weight: F32"));
    let embedding = embedding.unwrap_or_else(|| panic!("{loading:?}"));
    assert!(embedding.contains("mean magnitude") && !embedding.contains("magnitude 0.000000"), "{embedding}");
    let inferring = fixtures::logged(|| assert_eq!(backend.infer("hello", 3).unwrap().tokens_emitted, 3));
    assert_eq!(inferring.iter().filter(|line| line.contains("logits from")).count(), 3, "{inferring:?}");
    backend.set_verbose(false);
    assert!(fixtures::logged(|| drop(backend.infer("hello", 3))).is_empty());
}

#[test]
fn a_device_that_does_not_compute_is_mentioned_once() {
    struct Idle;
    impl Offload for Idle {
        fn name(&self) -> &str {
            "idle device"
        }
        fn capabilities(&self) -> Capabilities {
            Capabilities { matmul: false, memory_bytes: vec![] }
        }
        fn matmul(&mut self, _: &[f32], _: &[f32], _: &mut [f32]) -> Result<(), OffloadError> {
            Err(OffloadError::Unsupported)
        }
    }
    let mut resources = host::resources(host::pool(8 << 20), vec![("s", broken_gguf::good())]);
    resources.offload = Some(Box::new(Idle));
    let mut backend = TransformerBackend::new(resources);
    let lines = fixtures::logged(|| {
        for _ in 0..2 {
            backend.load_model("good").unwrap();
            backend.infer("hello", 2).unwrap();
        }
    });
    assert_eq!(lines.iter().filter(|line| line.contains("idle device")).count(), 1, "{lines:?}");
}
