//! Whatever else is computed with a text and in which order, its answer and its logits are those that it has alone.

mod micro;
mod random;
mod threads;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::{Input, Model};
use llm::parallel::{Serial, Workers};
use llm::quant::Precision;
use llm::sampling::{Sampler, SamplingConfig};
use llm::scheduler::{Counts, Finish, Output, Scheduler, SchedulerError, Submission, SubmitError};
use llm::session::{Logits, Runner, RunnerOptions, Session, SessionError, SessionOptions, Span};
use llm::simd::Kernels;
use llm::state::StateOptions;
use micro::{micro, repository_file};
use random::Random;
use threads::Threads;

/// As a program for aarch64 the tests run under an emulator, where each schedule takes many times as long.
const EMULATED: bool = cfg!(target_arch = "aarch64");

fn options(n_slots: usize, n_ctx: usize, n_pages: usize, n_batch: usize) -> RunnerOptions {
    let state = StateOptions { n_slots, n_ctx, n_pages, kv_type: KvType::F32, finds_prefixes: true };
    RunnerOptions { state, n_batch, n_logits: n_slots, precision: Precision::Quantized }
}

fn with_runner<T>(
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

/// A text that was submitted.
struct Text {
    prompt: Vec<u32>,
    max_tokens: usize,
    sampling: SamplingConfig,
    /// Tokens that came, and what they were drawn from.
    answer: Vec<(u32, Vec<f32>)>,
    /// After how many of them it is to end.
    most: usize,
    finish: Option<Finish>,
    is_cancelled: bool,
}

impl Text {
    /// Compares the answer with what the text has alone.
    fn check(&self, model: &Arc<Model<'_>>, kernels: &'static Kernels, n_ctx: usize, n_positions: usize) {
        let name = (model.config().architecture.name, kernels.name());
        let n_answer = self.answer.len();
        if !self.is_cancelled {
            let want = match n_answer {
                n if n == self.most && n > 0 => Finish::Stopped,
                n if n == self.max_tokens => Finish::MaxTokens,
                n => {
                    assert_eq!(self.prompt.len() + n, n_positions + 1, "{name:?}");
                    Finish::ContextFull
                }
            };
            assert_eq!(self.finish, Some(want), "{name:?}");
        }
        let Some(before_last) = n_answer.checked_sub(1) else { return };
        let mut tokens = self.prompt.clone();
        tokens.extend(self.answer[..before_last].iter().map(|(token, _)| token));
        let options = SessionOptions {
            n_ctx,
            n_batch: n_ctx,
            n_logits: n_ctx,
            kv_type: KvType::F32,
            precision: Precision::Quantized,
        };
        let mut memory =
            vec![0xff; Session::required_bytes(model.config(), &options).unwrap() + llm::arena::ALIGN];
        let mut session = Session::new(Arc::clone(model), options, kernels, &Serial, &mut memory).unwrap();
        let logits = session.forward(&tokens, Logits::All).unwrap();
        let rows = logits.chunks_exact(model.config().n_vocab).skip(self.prompt.len() - 1);
        let mut sampler = Sampler::new(self.sampling, model.config().n_vocab).unwrap();
        self.prompt.iter().for_each(|&token| sampler.accept(token));
        for (index, (row, (token, got))) in rows.zip(&self.answer).enumerate() {
            assert!(got == row, "{name:?}: logits of token {index} of {n_answer}");
            assert_eq!(sampler.sample(row), Ok(*token), "{name:?}: token {index}");
            sampler.accept(*token);
        }
    }
}

/// Runs a random schedule of texts of up to `n_ctx` positions, and compares each with what it has alone.
fn check_schedule(model: &Arc<Model<'_>>, n_ctx: usize, random: &mut Random) -> Counts {
    let n_vocab = model.config().n_vocab;
    let kernels = Kernels::all().nth(random.below(Kernels::all().count())).unwrap();
    let n_slots = 1 + random.below(5);
    let pages_of_one = StateOptions::pages_of(n_ctx);
    let n_pages = pages_of_one + random.below((n_slots - 1) * pages_of_one / 2 + 1);
    let most_beyond = [4, 60, 400][random.below(3)];
    let n_batch = n_slots + random.below(most_beyond);
    // Threads that begin and end with each product take most of an emulator's time.
    let n_workers = 1 + random.below(4);
    let workers = Threads(if EMULATED && random.below(6) > 0 { 1 } else { n_workers });
    with_runner(model, kernels, &workers, options(n_slots, n_ctx, n_pages, n_batch), |runner| {
        let mut scheduler = Scheduler::new(runner, 3).unwrap();
        let n_positions = scheduler.n_positions();
        let mut texts = BTreeMap::new();
        let beginning: Vec<u32> = (0..n_ctx).map(|_| random.below(n_vocab) as u32).collect();
        let mut n_to_come = 2 + random.below(5);
        loop {
            while n_to_come > 0 && random.below(3) > 0 {
                // Short prompts leave room for answers that grow beyond the pages there are.
                let most_alike = [n_ctx, n_ctx / 4][random.below(2)];
                let n_alike = random.below(most_alike);
                let n_prompt = (n_alike + random.below(4)).clamp(1, n_ctx);
                let mut prompt = beginning[..n_alike.min(n_prompt)].to_vec();
                prompt.resize_with(n_prompt, || random.below(n_vocab) as u32);
                let sampling = SamplingConfig {
                    temperature: [0.0, 0.9][random.below(2)],
                    seed: random.u64(),
                    ..SamplingConfig::default()
                };
                let max_tokens = random.below(n_ctx * 2 / 3 + 4);
                let submission = Submission {
                    prompt: &prompt,
                    max_tokens,
                    sampler: Sampler::new(sampling, n_vocab).unwrap(),
                    speculate: 0,
                };
                match scheduler.submit(submission) {
                    Ok(id) => {
                        let most = random.below(2 * max_tokens + 2);
                        let text = Text {
                            prompt,
                            max_tokens,
                            sampling,
                            answer: vec![],
                            most,
                            finish: None,
                            is_cancelled: false,
                        };
                        assert!(texts.insert(id, text).is_none());
                        n_to_come -= 1;
                    }
                    Err(error) => {
                        assert_eq!(error, SubmitError::QueueFull { n_waiting: scheduler.n_waiting() });
                        break;
                    }
                }
            }
            if random.below(30) == 0
                && let Some(&id) = texts.keys().nth(random.below(texts.len().max(1)))
            {
                let text: &mut Text = texts.get_mut(&id).unwrap();
                let was_there = text.finish.is_none() && !text.is_cancelled;
                assert_eq!(scheduler.cancel(id), was_there);
                text.is_cancelled |= was_there;
            }
            let mut n_left = if random.below(8) == 0 { 1 + random.below(5) } else { usize::MAX };
            let step = scheduler.step(
                &mut || {
                    n_left -= 1;
                    if n_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
                &mut |id, output| {
                    let text = texts.get_mut(&id).unwrap();
                    assert!(text.finish.is_none() && !text.is_cancelled);
                    match output {
                        Output::Token { token, logits } => text.answer.push((token, logits.to_vec())),
                        Output::Finished { finish, .. } => text.finish = Some(finish),
                    }
                    match text.answer.len() == text.most {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                },
            );
            match step {
                Ok(0) => {
                    assert_eq!((scheduler.n_running(), scheduler.n_waiting()), (0, 0));
                    if n_to_come == 0 {
                        break;
                    }
                }
                Ok(n_tokens) => assert!(n_tokens <= n_batch),
                Err(error) => assert_eq!(error, SessionError::Stopped),
            }
        }
        assert_eq!(scheduler.runner().n_free_pages(), n_pages);
        texts.values().for_each(|text| text.check(model, kernels, n_ctx, n_positions));
        scheduler.counts()
    })
}

fn add(sum: &mut Counts, counts: Counts) {
    sum.n_steps += counts.n_steps;
    sum.n_reused += counts.n_reused;
    sum.n_preempted += counts.n_preempted;
}

#[test]
fn answers_do_not_depend_on_the_schedule_in_any_family() {
    let mut random = Random(21);
    let (mut n_files, mut sum) = (0, Counts::default());
    let n_schedules = if EMULATED { 3 } else { 15 };
    let entries = std::fs::read_dir(repository_file("tests/golden/architectures")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.extension().is_none_or(|extension| extension != "gguf") {
            continue;
        }
        let file = std::fs::read(&path).unwrap();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let model = Arc::new(Model::load(&gguf).unwrap());
        if model.config().is_encoder() {
            continue;
        }
        for _ in 0..n_schedules {
            add(&mut sum, check_schedule(&model, model.config().n_ctx_train.min(12), &mut random));
        }
        n_files += 1;
    }
    assert!(n_files > 50 && (EMULATED || sum.n_preempted > 100), "{n_files} files, {sum:?}");
}

#[test]
fn nor_do_those_of_texts_of_several_pages() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf).unwrap());
    let (mut random, mut sum) = (Random(22), Counts::default());
    let n_schedules = if EMULATED { 14 } else { 70 };
    for _ in 0..n_schedules {
        add(&mut sum, check_schedule(&model, 200, &mut random));
    }
    assert!(EMULATED || sum.n_preempted > 5 && sum.n_reused > 1000, "{sum:?}");
}

#[test]
fn what_cannot_be_computed_is_refused() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf).unwrap());
    let n_vocab = model.config().n_vocab;
    let new = |options| {
        with_runner(&model, Kernels::detect(), &Serial, options, |runner| {
            Scheduler::new(runner, 1).map(|_| ())
        })
    };
    assert_eq!(new(options(2, 64, 1, 2)), Ok(()));
    assert_eq!(new(options(2, 64, 1, 1)), Err(SchedulerError::Runner));
    assert_eq!(new(options(2, 64, 0, 2)), Err(SchedulerError::Runner));
    with_runner(&model, Kernels::detect(), &Serial, options(1, 200, 2, 8), |runner| {
        let mut scheduler = Scheduler::new(runner, 1).unwrap();
        let mut submit = |prompt: &[u32]| {
            let sampler = Sampler::new(SamplingConfig::default(), n_vocab).unwrap();
            scheduler.submit(Submission { prompt, max_tokens: 1, sampler, speculate: 0 }).map(drop)
        };
        let id = n_vocab as u32;
        assert_eq!(submit(&[]), Err(SubmitError::NoTokens));
        assert_eq!(submit(&[id]), Err(SubmitError::TokenId { id, n_vocab }));
        assert_eq!(submit(&[1; 129]), Err(SubmitError::PromptTooLong { n_tokens: 129, n_positions: 128 }));
        assert_eq!(submit(&[1; 128]), Ok(()));
        // The first of two gets the slot at the next step.
        assert_eq!(submit(&[1]), Ok(()));
        assert_eq!(submit(&[1]), Err(SubmitError::QueueFull { n_waiting: 2 }));
    });
    with_runner(&model, Kernels::detect(), &Serial, options(1, 64, 1, 8), |runner| {
        let mut scheduler = Scheduler::new(runner, 0).unwrap();
        let submission = || Submission {
            prompt: &[1],
            max_tokens: 2,
            sampler: Sampler::new(SamplingConfig::default(), n_vocab).unwrap(),
            speculate: 0,
        };
        let step = |scheduler: &mut Scheduler<'_>| {
            scheduler.step(&mut || ControlFlow::Continue(()), &mut |_, _| ControlFlow::Continue(()))
        };
        // Nobody waits, but who finds a free slot is taken.
        assert!(scheduler.submit(submission()).is_ok());
        assert_eq!(step(&mut scheduler), Ok(1));
        assert_eq!(scheduler.submit(submission()), Err(SubmitError::QueueFull { n_waiting: 0 }));
        assert_eq!(step(&mut scheduler), Ok(1));
        assert!(scheduler.submit(submission()).is_ok());
    });
}

#[test]
fn the_runner_is_lent_while_there_is_no_text_and_leaves_no_trace() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf).unwrap());
    let n_vocab = model.config().n_vocab;
    let greedy = || Sampler::new(SamplingConfig::greedy(), n_vocab).unwrap();
    with_runner(&model, Kernels::detect(), &Serial, options(2, 128, 2, 16), |runner| {
        let mut scheduler = Scheduler::new(runner, 1).unwrap();
        let prompt = [7; 70];
        let answer = |scheduler: &mut Scheduler<'_>| {
            let submission = Submission { prompt: &prompt, max_tokens: 5, sampler: greedy(), speculate: 0 };
            scheduler.submit(submission).unwrap();
            assert!(scheduler.idle_runner().is_none());
            let mut answer = vec![];
            let mut on_output = |_, output: Output<'_>| {
                if let Output::Token { token, logits } = output {
                    answer.push((token, logits.to_vec()));
                }
                ControlFlow::Continue(())
            };
            while scheduler.step(&mut || ControlFlow::Continue(()), &mut on_output).unwrap() > 0 {}
            answer
        };
        let want = answer(&mut scheduler);
        let runner = scheduler.idle_runner().unwrap();
        for slot in 0..2 {
            let span = Span { slot, first_position: 0, input: Input::Tokens(&[3; 16]), logits: Logits::None };
            runner.run(&[span], &mut || ControlFlow::Continue(())).unwrap();
        }
        // Both pages are taken until the next text needs them.
        assert_eq!((scheduler.n_used_pages(), scheduler.n_pages()), (2, 2));
        assert!(answer(&mut scheduler) == want);
        assert_eq!(scheduler.n_used_pages(), 0);
    });
}

#[test]
fn a_text_of_which_no_token_is_wanted_ends_without_a_slot() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf).unwrap());
    let n_vocab = model.config().n_vocab;
    with_runner(&model, Kernels::detect(), &Serial, options(1, 64, 1, 8), |runner| {
        let mut scheduler = Scheduler::new(runner, 2).unwrap();
        let [long, none] = [20, 0].map(|max_tokens| {
            let sampler = Sampler::new(SamplingConfig::greedy(), n_vocab).unwrap();
            scheduler.submit(Submission { prompt: &[1], max_tokens, sampler, speculate: 0 }).unwrap()
        });
        let mut ended = vec![];
        let mut on_output = |id, output: Output<'_>| {
            if let Output::Finished { finish, .. } = output {
                ended.push((id, finish));
            }
            ControlFlow::Continue(())
        };
        assert_eq!(scheduler.step(&mut || ControlFlow::Continue(()), &mut on_output), Ok(1));
        assert_eq!(ended, [(none, Finish::MaxTokens)]);
        assert_eq!((scheduler.n_running(), scheduler.n_waiting()), (1, 0));
        assert!(scheduler.cancel(long));
    });
}
