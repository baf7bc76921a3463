//! A beginning that several new texts share is computed once, and each text has the same answer as alone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::kinds::{each_kind, options, with_runner};
use crate::micro::{micro, repository_file};
use crate::random::Random;
use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::ModelBytes;
use llm::sampling::{Sampler, SamplingConfig};
use llm::scheduler::{Finish, Output, Scheduler, SequenceId, Submission};
use llm::session::RunnerOptions;
use llm::simd::Kernels;

/// The result of a text.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    /// Each token with the logits that it was drawn from.
    tokens: Vec<(u32, Vec<f32>)>,
    n_reused: Option<usize>,
    finish: Option<Finish>,
}

/// Texts in a scheduler, and their results.
struct Texts<'m> {
    scheduler: Scheduler<'m>,
    answers: BTreeMap<SequenceId, Answer>,
}

impl<'m> Texts<'m> {
    fn with<T>(
        model: &Arc<Model<'_>>,
        options: RunnerOptions,
        work: impl for<'a> FnOnce(&mut Texts<'a>) -> T,
    ) -> T {
        with_runner(model, Kernels::detect(), &Serial, options, |runner| {
            let scheduler = Scheduler::new(runner, 16).unwrap();
            work(&mut Texts { scheduler, answers: BTreeMap::new() })
        })
    }

    fn submit(&mut self, prompt: &[u32], max_tokens: usize, seed: u64) -> SequenceId {
        let sampling = SamplingConfig { temperature: 0.9, seed, ..SamplingConfig::default() };
        let n_vocab = self.scheduler.runner().model().config().n_vocab;
        let sampler = Sampler::new(sampling, n_vocab).unwrap();
        let submission = Submission { prompt, max_tokens, sampler, speculate: 0, adapters: None };
        let id = self.scheduler.submit(submission).unwrap();
        self.answers.insert(id, Answer::default());
        id
    }

    /// Computes a batch; returns its number of tokens.
    fn step(&mut self) -> usize {
        let answers = &mut self.answers;
        let mut on_output = |id, output: Output<'_>| {
            let answer = answers.get_mut(&id).unwrap();
            match output {
                Output::Started { n_reused } => assert_eq!(answer.n_reused.replace(n_reused), None),
                Output::Token { token, logits, .. } => answer.tokens.push((token, logits.to_vec())),
                Output::Finished { finish, .. } => answer.finish = Some(finish),
                Output::Embedding { .. } | Output::Wanting => panic!("what nobody asked for"),
            }
            ControlFlow::Continue(())
        };
        self.scheduler.step(&mut || ControlFlow::Continue(()), &mut on_output).unwrap()
    }

    fn finish(&mut self) {
        while self.step() > 0 {}
        assert_eq!(self.scheduler.n_used_pages(), 0);
    }

    fn n_computed(&self) -> usize {
        self.scheduler.counts().n_computed
    }
}

/// The answer of a text that is computed alone.
fn alone(
    model: &Arc<Model<'_>>,
    options: RunnerOptions,
    (prompt, max_tokens, seed): (&[u32], usize, u64),
) -> Vec<(u32, Vec<f32>)> {
    Texts::with(model, options, |texts| {
        let id = texts.submit(prompt, max_tokens, seed);
        texts.finish();
        texts.answers.remove(&id).unwrap().tokens
    })
}

/// Submits a prompt eight times at once. The prompt must be computed once, and each answer must be the same as alone.
fn check_equal(model: &Arc<Model<'_>>, options: RunnerOptions, prompt: &[u32], name: &str) {
    let answers = Texts::with(model, options, |texts| {
        let ids: Vec<_> = (0..8).map(|seed| texts.submit(prompt, 6, seed)).collect();
        texts.finish();
        // The last token of an answer is not computed.
        assert_eq!(texts.n_computed(), prompt.len() + 8 * 5, "{name}");
        let reused = ids.iter().map(|id| texts.answers[id].n_reused.unwrap());
        let want = [&[0][..], &[prompt.len(); 7]].concat();
        assert_eq!(reused.collect::<Vec<_>>(), want, "{name}");
        ids.into_iter().map(|id| texts.answers.remove(&id).unwrap().tokens).collect::<Vec<_>>()
    });
    for (seed, answer) in answers.into_iter().enumerate() {
        assert!(answer == alone(model, options, (prompt, 6, seed as u64)), "{name}, {seed}");
    }
}

fn random_tokens(random: &mut Random, model: &Model<'_>, n: usize) -> Vec<u32> {
    (0..n).map(|_| random.below(model.config().n_vocab) as u32).collect()
}

#[test]
fn equal_prompts_are_computed_once_with_any_mixer() {
    let mut random = Random(31);
    each_kind(256, |kind, model| {
        // In several batches; with an end in the middle of a page, at its end, and after a token of the next.
        for n_prompt in [150, 128, 65, 1] {
            let mut options = options(8, 256, 32, 40);
            options.state.n_checkpoints = 8;
            check_equal(model, options, &random_tokens(&mut random, model, n_prompt), kind);
        }
    });
}

#[test]
fn so_they_are_with_every_cache() {
    let file = std::fs::read(repository_file("../../test_models/tiny.gguf")).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    for kv_type in [KvType::F16, KvType::Q8_0] {
        let mut options = options(8, 128, 16, 64);
        options.state.kv_type = kv_type;
        let prompt: Vec<u32> = (0..90).map(|i| i * 37 % 1000).collect();
        check_equal(&model, options, &prompt, &format!("{kv_type:?}"));
        // What is in common with a text that is running is copied, and the rest of the page is its own.
        let (first, second) = (&[&prompt[..], &[7; 9]].concat(), &[&prompt[..], &[8; 9]].concat());
        let answer = Texts::with(&model, options, |texts| {
            texts.submit(first, 20, 1);
            (0..5).for_each(|_| _ = texts.step());
            let (n_before, id) = (texts.n_computed(), texts.submit(second, 6, 2));
            texts.step();
            assert_eq!((texts.n_computed() - n_before, texts.answers[&id].n_reused), (1 + 9, Some(90)));
            texts.finish();
            texts.answers.remove(&id).unwrap().tokens
        });
        assert!(answer == alone(&model, options, (second, 6, 2)), "{kv_type:?}");
    }
}

#[test]
fn who_comes_later_computes_what_is_not_in_common_with_any_mixer() {
    let mut random = Random(32);
    each_kind(256, |kind, model| {
        let mut options = options(2, 256, 8, 64);
        options.state.n_checkpoints = 8;
        let prompt = random_tokens(&mut random, model, 150);
        let answer = Texts::with(model, options, |texts| {
            texts.submit(&prompt, 30, 1);
            (0..10).for_each(|_| _ = texts.step());
            let (n_before, id) = (texts.n_computed(), texts.submit(&prompt, 6, 2));
            texts.step();
            let n_again = texts.n_computed() - n_before - 1;
            // Recurrent layers go on from a checkpoint.
            assert!(n_again == 1 || model.config().is_recurrent() && n_again < 32, "{kind}: {n_again}");
            assert_eq!(texts.answers[&id].n_reused, Some(150 - n_again), "{kind}");
            texts.finish();
            texts.answers.remove(&id).unwrap().tokens
        });
        assert!(answer == alone(model, options, (&prompt, 6, 2)), "{kind}");
    });
}

/// Calls `work` with a model without recurrent layers, and with one that has some.
fn each_of_two(work: impl Fn(&str, &Arc<Model<'_>>)) {
    each_kind(512, |kind, model| {
        if ["llama", "jamba"].contains(&kind) {
            work(kind, model);
        }
    });
}

#[test]
fn prompts_with_a_long_common_beginning_compute_it_once_and_others_do_not_wait() {
    let file = micro(512);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let options = options(4, 512, 32, 64);
    let with_own = |n_common: usize, n_own: usize, own: u32| {
        let mut prompt: Vec<u32> = (0..n_common as u32).map(|i| i * 7 % 700).collect();
        prompt.resize(n_common + n_own, own);
        prompt
    };
    Texts::with(&model, options, |texts| {
        let prompts = [1, 2, 3].map(|own| with_own(100, 30, own));
        let ids = prompts.each_ref().map(|prompt| texts.submit(prompt, 3, 5));
        texts.finish();
        assert_eq!(texts.n_computed(), 100 + 3 * 30 + 3 * 2);
        for (id, prompt) in ids.iter().zip(&prompts) {
            let tokens = alone(&model, options, (prompt, 3, 5));
            assert!(texts.answers[id].tokens == tokens);
        }
    });
    // Where little is in common, both are in the first batch, with their shares.
    Texts::with(&model, options, |texts| {
        let prompts = [1, 2].map(|own| with_own(10, 50, own));
        let ids = prompts.each_ref().map(|prompt| texts.submit(prompt, 1, 5));
        assert_eq!(texts.step(), 64);
        assert_eq!(ids.map(|id| texts.answers[&id].n_reused), [Some(0); 2]);
        texts.finish();
        assert_eq!(texts.n_computed(), 2 * 60);
    });
}

#[test]
fn those_that_wait_go_on_without_the_text_that_they_waited_for() {
    each_of_two(|kind, model| {
        let mut options = options(3, 512, 24, 50);
        options.state.n_checkpoints = 9;
        let prompt: Vec<u32> = (0..230).map(|i| i * 11 % 30).collect();
        Texts::with(model, options, |texts| {
            let [first, second, third] = [0, 1, 2].map(|seed| texts.submit(&prompt, 4, seed));
            (0..2).for_each(|_| assert_eq!(texts.step(), 50));
            assert!(texts.scheduler.cancel(first));
            texts.finish();
            // What was computed is found, with recurrent layers where the text ended.
            assert_eq!(texts.n_computed(), 230 + 2 * 3, "{kind}");
            assert_eq!(texts.answers[&first].n_reused, Some(0));
            assert_eq!(texts.answers[&second].n_reused, Some(100), "{kind}");
            assert_eq!(texts.answers[&third].n_reused, Some(230), "{kind}");
            for (seed, id) in [(1, second), (2, third)] {
                let want = alone(model, options, (&prompt, 4, seed));
                assert!(texts.answers[&id].tokens == want, "{kind}");
            }
        });
    });
}

#[test]
fn one_that_waits_can_be_cancelled_or_end_where_it_begins() {
    each_of_two(|kind, model| {
        let mut options = options(3, 512, 24, 50);
        options.state.n_checkpoints = 9;
        let prompt = [9; 120];
        Texts::with(model, options, |texts| {
            let ids = [0, 1, 2].map(|seed| texts.submit(&prompt, 4, seed));
            texts.step();
            assert!(texts.scheduler.cancel(ids[1]));
            let mut told = vec![];
            let mut on_output = |id, output: Output<'_>| {
                let is_start = matches!(output, Output::Started { .. });
                told.push((id, is_start, matches!(output, Output::Finished { .. })));
                if is_start { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            while texts.scheduler.step(&mut || ControlFlow::Continue(()), &mut on_output).unwrap() > 0 {}
            let of_third = told.iter().filter(|(id, ..)| *id == ids[2]);
            assert!(of_third.eq(&[(ids[2], true, false), (ids[2], false, true)]), "{kind}: {told:?}");
            assert!(told.iter().all(|(id, ..)| *id != ids[1]), "{kind}");
            assert_eq!((texts.n_computed(), texts.scheduler.n_used_pages()), (120 + 3, 0), "{kind}");
        });
    });
}

#[test]
fn equal_prompts_run_together_though_there_are_pages_for_few_copies() {
    let file = micro(512);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    // Seven pages for the prompt, and one for the end of each.
    let options = options(8, 512, 14, 64);
    let prompt: Vec<u32> = (0..400).map(|i| i * 7 % 700).collect();
    Texts::with(&model, options, |texts| {
        (0..8).for_each(|seed| _ = texts.submit(&prompt, 4, seed));
        let mut most_running = 0;
        while texts.step() > 0 {
            most_running = most_running.max(texts.scheduler.n_running());
        }
        assert_eq!((most_running, texts.scheduler.counts().n_preempted), (8, 0));
        assert_eq!(texts.n_computed(), 400 + 8 * 3);
    });
}
