//! Nothing is allocated per token: not by a session, not by a step of many texts, not for the events about them.

use std::alloc::System;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use grammar::{Grammar, Limits, Piece, Vocabulary};
use llm::front::{Event, LogprobWish, MAX_LOGPROBS, PROMPT_ENCODING, Prompt, Prompter, Request, Responder};
use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::sampling::{Guide, Rules, Sampler, SamplingConfig, Thinking, Trigger};
use llm::scheduler::{Scheduler, Submission};
use llm::session::{Logits, Runner, RunnerOptions, Session, SessionOptions};
use llm::simd::Kernels;
use llm::state::StateOptions;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Calls `work`, which must not allocate.
fn without_allocation(work: impl FnOnce()) {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
}

// No test of a harness: the allocator counts for the whole process.
fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models/micro.gguf");
    let file = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let kernels = Kernels::detect();

    let options = SessionOptions::generate(32);
    let mut memory = vec![0; Session::required_bytes(model.config(), &options).unwrap() + llm::arena::ALIGN];
    let mut session = Session::new(Arc::clone(&model), options, kernels, &Serial, &mut memory).unwrap();
    without_allocation(|| {
        session.forward(&[1, 2, 3], Logits::None).unwrap();
        for token in 0..20 {
            session.forward(&[token], Logits::Last).unwrap();
        }
    });

    answers(&file);
    guides();

    // Beginnings are found again, with recurrent layers at checkpoints.
    steps(model, 128, 0, &[7; 70]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/architectures/jamba.gguf");
    let file = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    steps(Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap()), 64, 3, &[7; 40]);
}

/// Answers with a thought up to a limit, followed by a tool call that a text begins.
fn guides() {
    let texts = ["a", "<", "c", ">", "{", "}", ">}"];
    let piece = |id: u32| Piece::Text(texts[id as usize].as_bytes());
    let vocabulary = Arc::new(Vocabulary::new(texts.len() as u32, &piece).unwrap());
    let grammar = Grammar::parse("root ::= \"<c>\" (\"{\" [ac]* \"}\")+", &|_| None).unwrap();
    let grammar = (Arc::new(grammar), Limits::default());
    let thinking =
        Thinking { open: "<a", close: "a>", also_close: &[], starts_open: true, closing: vec![0, 3] };
    let triggers = [Trigger { text: "<c>", is_first: false }];
    let rules = Rules::new(vocabulary, Some(grammar), Some(thinking), &triggers, vec![]).unwrap();
    let guide = Guide::new(Arc::new(rules), Some(9)).unwrap();
    let sampling = SamplingConfig { temperature: 1.0, ..SamplingConfig::greedy() };
    let mut sampler = Sampler::new(sampling, texts.len()).unwrap().with_guide(guide);
    let logits = vec![0.0; texts.len()];
    sampler.prepare().unwrap();
    without_allocation(|| {
        for _ in 0..300 {
            let token = sampler.sample(&logits).unwrap();
            sampler.accept(token);
        }
    });
}

/// Two requests to a responder that use everything that a request can ask for with each token.
fn answers(file: &[u8]) {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let options = RunnerOptions {
        state: state(2, 64, 2, 0),
        n_batch: 50,
        n_logits: 6,
        precision: Precision::Quantized,
    };
    let mut memory = vec![0; Runner::required_bytes(model.config(), &options).unwrap() + llm::arena::ALIGN];
    let runner = Runner::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    let mut responder = Responder::new(Prompter::new(gguf).unwrap(), runner, 1).unwrap();
    let all_stages = SamplingConfig {
        temperature: 0.9,
        dynatemp_range: 0.3,
        top_k: 200,
        top_p: 0.95,
        min_p: 0.001,
        typical_p: 0.95,
        top_n_sigma: 3.0,
        xtc_probability: 0.5,
        xtc_threshold: 0.05,
        repeat_penalty: 1.1,
        presence_penalty: 0.1,
        dry_multiplier: 0.5,
        dry_penalty_last_n: SamplingConfig::WHOLE_CONTEXT,
        ..SamplingConfig::greedy()
    };
    let mirostat = SamplingConfig { temperature: 0.9, mirostat: 1, ..SamplingConfig::greedy() };
    let greedy = SamplingConfig { presence_penalty: 0.1, ..SamplingConfig::greedy() };
    let wish = |n_top, after_sampling| Some(LogprobWish { n_top, after_sampling });
    for (sampling, logprobs) in [
        (greedy, wish(0, false)),
        (all_stages, wish(MAX_LOGPROBS, true)),
        (mirostat, wish(MAX_LOGPROBS, false)),
    ] {
        let prompt = Prompt::Text("one two one two one", PROMPT_ENCODING);
        let request = Request {
            sampling,
            ignore_eos: true,
            logit_bias: &[(3, -1.0)],
            stop: &["zebra"],
            speculate: 4,
            logprobs,
            trace: true,
            ..Request::new(prompt, 20)
        };
        responder.submit(request, || 0).unwrap();
    }
    let mut n_tokens = 0;
    without_allocation(|| {
        while !responder.is_idle() {
            let go_on = &mut || ControlFlow::Continue(());
            let on_event = &mut |_, event: Event<'_>| {
                n_tokens += usize::from(matches!(event, Event::Token { logprobs: Some(_), .. }));
                ControlFlow::Continue(())
            };
            responder.step(|| 0, go_on, on_event).unwrap();
        }
    });
    assert_eq!(n_tokens, 60);
}

fn state(n_slots: usize, n_ctx: usize, n_pages: usize, n_checkpoints: usize) -> StateOptions {
    let (kv_type, finds_prefixes, own_checkpoints) = (KvType::F16, true, false);
    StateOptions { n_slots, n_ctx, n_pages, kv_type, finds_prefixes, n_checkpoints, own_checkpoints }
}

/// Three texts with two slots, and pages for two: one text has to wait.
fn steps(model: Arc<Model<'_>>, n_ctx: usize, n_checkpoints: usize, prompt: &[u32]) {
    let n_vocab = model.config().n_vocab;
    let state = state(2, n_ctx, 3, n_checkpoints);
    let options = RunnerOptions { state, n_batch: 50, n_logits: 6, precision: Precision::Quantized };
    let mut memory = vec![0; Runner::required_bytes(model.config(), &options).unwrap() + llm::arena::ALIGN];
    let runner = Runner::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    let mut scheduler = Scheduler::new(runner, 3).unwrap();
    for seed in 0..3 {
        let sampling = SamplingConfig {
            temperature: 0.7,
            seed,
            frequency_penalty: 0.5,
            presence_penalty: 0.5,
            ..SamplingConfig::default()
        };
        let sampler = Sampler::with_biases(sampling, n_vocab, &[(3, -1.0)]).unwrap();
        scheduler
            .submit(Submission { prompt, max_tokens: 20, sampler, speculate: 4, adapters: None })
            .unwrap();
    }
    without_allocation(|| {
        let go_on = &mut || ControlFlow::Continue(());
        while scheduler.step(go_on, &mut |_, _| ControlFlow::Continue(())).unwrap() > 0 {}
    });
    let counts = scheduler.counts();
    assert!(counts.n_reused > 0, "{counts:?}");
}
