//! The vectors of a text are the same, to the bit, whatever else is computed with it and whatever batches it is divided into.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::kinds::{each_kind, options, with_runner};
use crate::micro::repository_file;
use crate::random::Random;
use llm::gguf::Gguf;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::ModelBytes;
use llm::sampling::{Sampler, SamplingConfig};
use llm::scheduler::{Counts, EmbeddingOptions, Output, Pooling, Scheduler, SequenceId, Submission};
use llm::session::{Runner, SessionError};
use llm::simd::Kernels;

/// As a program for aarch64 with musl, the test runs in an emulator, where each schedule takes many times as long.
const EMULATED: bool = cfg!(all(target_arch = "aarch64", target_env = "musl"));
const N_CTX: usize = 150;
/// Compared strictly: each token's vector as it is.
const OPTIONS: EmbeddingOptions = EmbeddingOptions { pooling: Pooling::None, normalise: false };

/// Computes everything that was submitted, with breaks, and returns the results.
fn finish(scheduler: &mut Scheduler<'_>, random: &mut Random) -> Vec<(SequenceId, Vec<f32>)> {
    let mut vectors = vec![];
    loop {
        // Seldom: without checkpoints, recurrent layers begin again.
        let mut n_asked = if random.below(100) == 0 { random.below(4) } else { usize::MAX };
        let stepped = scheduler.step(
            &mut || match n_asked.checked_sub(1) {
                Some(n_left) => {
                    n_asked = n_left;
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(()),
            },
            &mut |id, output| {
                if let Output::Embedding { values } = output {
                    vectors.push((id, values.to_vec()));
                }
                ControlFlow::Continue(())
            },
        );
        match stepped {
            Ok(0) => return vectors,
            Ok(_) | Err(SessionError::Stopped) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Runs schedules of vectors, mixed with answers in models that generate text, and returns the counts.
fn run_schedules(name: &str, model: &Arc<Model<'_>>, random: &mut Random) -> Counts {
    let (n_vocab, is_encoder) = (model.config().n_vocab, model.config().is_encoder());
    let n_ctx = N_CTX.min(model.config().n_ctx_train);
    let beginning: Vec<u32> = (0..n_ctx).map(|_| random.below(n_vocab) as u32).collect();
    let texts: Vec<Vec<u32>> = (0..6)
        .map(|_| {
            let mut text = beginning[..1 + random.below(n_ctx)].to_vec();
            let last = text.len() - 1;
            text[last] = random.below(n_vocab) as u32;
            text
        })
        .collect();
    let kernels = Kernels::detect();
    let alone: Vec<Vec<f32>> = texts
        .iter()
        .map(|text| {
            with_runner(model, kernels, &Serial, options(1, n_ctx, 3, n_ctx), |runner: Runner<'_>| {
                let mut scheduler = Scheduler::new(runner, 0).unwrap();
                scheduler.submit_embedding(text, OPTIONS).unwrap();
                let mut vectors = vec![];
                let stepped = scheduler.step(&mut || ControlFlow::Continue(()), &mut |_, output| {
                    if let Output::Embedding { values } = output {
                        vectors = values.to_vec();
                    }
                    ControlFlow::Continue(())
                });
                assert_eq!(stepped, Ok(text.len()));
                vectors
            })
        })
        .collect();
    let mut counts = Counts::default();
    for _ in 0..if EMULATED { 1 } else { 12 } {
        let n_slots = 1 + random.below(4);
        let n_batch = if is_encoder { n_ctx } else { n_slots.max(8 + random.below(n_ctx)) };
        let runner_options = options(n_slots, n_ctx, 3 + random.below(4), n_batch);
        with_runner(model, kernels, &Serial, runner_options, |runner: Runner<'_>| {
            let mut scheduler = Scheduler::new(runner, 16).unwrap();
            let mut submitted = vec![];
            for _ in 0..8 {
                let text = random.below(texts.len());
                if !is_encoder && random.below(2) == 0 {
                    let prompt = &texts[text][..1 + random.below(texts[text].len())];
                    let sampler = Sampler::new(SamplingConfig::greedy(), n_vocab).unwrap();
                    let submission =
                        Submission { prompt, max_tokens: 40, sampler, speculate: 0, adapters: None };
                    scheduler.submit(submission).unwrap();
                } else {
                    submitted.push((scheduler.submit_embedding(&texts[text], OPTIONS).unwrap(), text));
                }
            }
            let mut vectors = finish(&mut scheduler, random);
            vectors.sort_by_key(|(id, _)| *id);
            assert_eq!(vectors.len(), submitted.len(), "{name}");
            for ((id, vectors), (submitted, text)) in vectors.iter().zip(&submitted) {
                assert_eq!(id, submitted);
                assert!(*vectors == alone[*text], "{name}: text {text} of {} tokens", texts[*text].len());
            }
            assert_eq!(scheduler.n_used_pages(), 0);
            let of_this = scheduler.counts();
            counts.n_steps += of_this.n_steps;
            counts.n_preempted += of_this.n_preempted;
            counts.n_prefix_hits += of_this.n_prefix_hits;
        });
    }
    counts
}

#[test]
fn vectors_do_not_depend_on_the_schedule() {
    let mut random = Random(41);
    let (mut n_preempted, mut n_hits) = (0, 0);
    each_kind(256, |kind, model| {
        let counts = run_schedules(kind, model, &mut random);
        n_preempted += counts.n_preempted;
        n_hits += counts.n_prefix_hits;
    });
    assert!(EMULATED || n_preempted > 20 && n_hits > 50, "{n_preempted} preempted, {n_hits} hits");

    let file = std::fs::read(repository_file("tests/golden/architectures/bert.gguf")).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let counts = run_schedules("bert", &model, &mut random);
    assert_eq!((counts.n_preempted, counts.n_prefix_hits), (0, 0));
    assert!(EMULATED || counts.n_steps < 12 * 8, "texts of an encoder share batches");
}
