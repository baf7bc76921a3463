//! A text has the same answer and the same logits as alone, whatever else is computed with it, and in any order.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::kinds::{each_kind, options, with_runner};
use crate::micro::{micro, repository_file};
use crate::random::Random;
use crate::threads::Threads;
use llm::gguf::Gguf;
use llm::kv_cache::KvType;
use llm::model::{Input, Model};
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::sampling::{Sampler, SamplingConfig};
use llm::scheduler::{Counts, Finish, Output, Scheduler, SchedulerError, Submission, SubmitError};
use llm::session::{Logits, RunnerOptions, Session, SessionError, SessionOptions, Span, Speculation};
use llm::simd::Kernels;
use llm::state::StateOptions;

/// As programs for aarch64 with musl, the tests run in an emulator, where each schedule takes many times as long.
const EMULATED: bool = cfg!(all(target_arch = "aarch64", target_env = "musl"));

/// The tokens of an answer, and the logits that each was drawn from.
type Answer = Vec<(u32, Vec<f32>)>;

/// A text that schedules submit.
struct Text {
    prompt: Vec<u32>,
    sampling: SamplingConfig,
    /// The answer that was computed alone, for each kernel set that was used.
    alone: BTreeMap<&'static str, Answer>,
}

/// Texts of a model that begin with the same tokens, with up to `n_ctx` positions.
struct Texts<'m> {
    model: Arc<Model<'m>>,
    n_ctx: usize,
    max_tokens: usize,
    texts: Vec<Text>,
}

/// A submitted text, and the most tokens of its answer.
struct Submitted {
    text: usize,
    max_tokens: usize,
    /// The number of tokens after which it must end.
    most: usize,
    /// The number of tokens of the prompt that were found already computed; known once the text has had a slot.
    n_reused: Option<usize>,
    n_answer: usize,
    finish: Option<Finish>,
    is_cancelled: bool,
}

impl<'m> Texts<'m> {
    fn new(model: Arc<Model<'m>>, n_ctx: usize, max_tokens: usize, random: &mut Random) -> Self {
        let n_vocab = model.config().n_vocab;
        let beginning: Vec<u32> = (0..n_ctx).map(|_| random.below(n_vocab) as u32).collect();
        let mut text = || {
            // Answers to short prompts, or to such as nearly fill a page, grow beyond the pages there are.
            let n_alike = match random.below(4) {
                0 => random.below(n_ctx),
                1 => random.below(n_ctx / 2),
                _ => n_ctx.min(60) - random.below(n_ctx.min(20)),
            };
            let n_prompt = (n_alike + random.below(4)).clamp(1, n_ctx);
            let mut prompt = beginning[..n_alike.min(n_prompt)].to_vec();
            prompt.resize_with(n_prompt, || random.below(n_vocab) as u32);
            let sampling = SamplingConfig {
                temperature: [0.0, 0.9][random.below(2)],
                seed: random.u64(),
                ..SamplingConfig::default()
            };
            Text { prompt, sampling, alone: BTreeMap::new() }
        };
        let texts = (0..8).map(|_| text()).collect();
        Texts { model, n_ctx, max_tokens, texts }
    }

    fn sampler(&self, text: usize) -> Sampler {
        Sampler::new(self.texts[text].sampling, self.model.config().n_vocab).unwrap()
    }

    /// Computes a text's answer alone, unless it is already known.
    fn compute_alone(&mut self, text: usize, kernels: &'static Kernels) {
        if self.texts[text].alone.contains_key(kernels.name()) {
            return;
        }
        let options = SessionOptions {
            n_ctx: self.n_ctx,
            n_batch: self.n_ctx,
            n_logits: 1,
            kv_type: KvType::F32,
            precision: Precision::Quantized,
        };
        let required_bytes = Session::required_bytes(self.model.config(), &options).unwrap();
        let mut memory = vec![0xff; required_bytes + llm::arena::ALIGN];
        let mut session =
            Session::new(Arc::clone(&self.model), options, kernels, &Serial, &mut memory).unwrap();
        let mut sampler = self.sampler(text);
        let Text { prompt, alone, .. } = &mut self.texts[text];
        prompt.iter().for_each(|&token| sampler.accept(token));
        let mut answer: Answer = vec![];
        let n_answer = self.max_tokens.min(self.n_ctx + 1 - prompt.len());
        let mut next = prompt.clone();
        while answer.len() < n_answer {
            let logits = session.forward(&next, Logits::Last).unwrap();
            let token = sampler.sample(logits).unwrap();
            sampler.accept(token);
            answer.push((token, logits.to_vec()));
            next = vec![token];
        }
        alone.insert(kernels.name(), answer);
    }
}

/// Runs a random schedule of texts, each of which must have the same answer and the same logits as alone.
fn check_schedule(texts: &mut Texts<'_>, random: &mut Random, sum: &mut Sum) {
    let mut kernels = Kernels::all().nth(random.below(Kernels::all().count())).unwrap();
    if kernels.name() == Kernels::scalar().name() && random.below(3) > 0 {
        // The scalar set would take most of the time.
        kernels = Kernels::detect();
    }
    let n_slots = 1 + random.below(5);
    let pages_of_one = StateOptions::pages_of(texts.n_ctx);
    let n_pages = pages_of_one + random.below(n_slots);
    let most_beyond = [4, 60, 400][random.below(3)];
    let n_batch = n_slots + random.below(most_beyond);
    let n_logits = (n_slots + random.below(8)).min(n_batch);
    // Threads begin and end with each product, which takes most of the time.
    let has_threads = random.below(12) == 0;
    let workers = Threads(if has_threads { 2 + random.below(3) } else { 1 });
    let mut options = RunnerOptions { n_logits, ..options(n_slots, texts.n_ctx, n_pages, n_batch) };
    options.state.n_checkpoints = [0, 1, 5, 20][random.below(4)];
    let model = Arc::clone(&texts.model);
    let name = (model.config().architecture.name, kernels.name());
    with_runner(&model, kernels, &workers, options, |runner| {
        let mut scheduler = Scheduler::new(runner, 3).unwrap();
        let n_positions = scheduler.n_positions();
        let mut all = BTreeMap::new();
        let mut n_to_come = 2 + random.below(5);
        loop {
            while n_to_come > 0 && random.below(3) > 0 {
                let text = random.below(texts.texts.len());
                texts.compute_alone(text, kernels);
                let max_tokens = random.below(texts.max_tokens + 1);
                let submission = Submission {
                    prompt: &texts.texts[text].prompt,
                    max_tokens,
                    sampler: texts.sampler(text),
                    speculate: [0, 0, 2, 9][random.below(4)],
                    adapters: None,
                };
                match scheduler.submit(submission) {
                    Ok(id) => {
                        let most = random.below(2 * max_tokens + 2);
                        let submitted = Submitted {
                            text,
                            max_tokens,
                            most,
                            n_reused: None,
                            n_answer: 0,
                            finish: None,
                            is_cancelled: false,
                        };
                        assert!(all.insert(id, submitted).is_none());
                        n_to_come -= 1;
                    }
                    Err(error) => {
                        assert_eq!(error, SubmitError::QueueFull { n_waiting: scheduler.n_waiting() });
                        break;
                    }
                }
            }
            if random.below(30) == 0
                && let Some(&id) = all.keys().nth(random.below(all.len().max(1)))
            {
                let submitted: &mut Submitted = all.get_mut(&id).unwrap();
                let was_there = submitted.finish.is_none() && !submitted.is_cancelled;
                assert_eq!(scheduler.cancel(id), was_there);
                submitted.is_cancelled |= was_there;
            }
            let mut n_left = if random.below(8) == 0 { 1 + random.below(5) } else { usize::MAX };
            let step = scheduler.step(
                &mut || {
                    n_left -= 1;
                    if n_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
                &mut |id, output| {
                    let submitted = all.get_mut(&id).unwrap();
                    assert!(submitted.finish.is_none() && !submitted.is_cancelled);
                    match output {
                        Output::Started { n_reused } => {
                            assert_eq!((submitted.n_reused, submitted.n_answer), (None, 0));
                            assert!(n_reused <= texts.texts[submitted.text].prompt.len());
                            submitted.n_reused = Some(n_reused);
                            return ControlFlow::Continue(());
                        }
                        Output::Token { token, logits, .. } => {
                            assert!(submitted.n_reused.is_some());
                            let answer = &texts.texts[submitted.text].alone[kernels.name()];
                            let (want, of_want) = &answer[submitted.n_answer];
                            assert!(logits == of_want, "{name:?}: logits of {}", submitted.n_answer);
                            assert_eq!(token, *want, "{name:?}: token {}", submitted.n_answer);
                            submitted.n_answer += 1;
                        }
                        Output::Finished { finish, speculation } => {
                            submitted.finish = Some(finish);
                            sum.speculation.n_drafted += speculation.n_drafted;
                            sum.speculation.n_accepted += speculation.n_accepted;
                        }
                        Output::Embedding { .. } | Output::Wanting => panic!("what nobody asked for"),
                    }
                    match submitted.n_answer == submitted.most {
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
        assert_eq!(scheduler.n_used_pages(), 0);
        let runner = scheduler.runner();
        assert!([0, options.state.n_checkpoints].contains(&runner.n_free_checkpoints()));
        for submitted in all.values().filter(|submitted| !submitted.is_cancelled) {
            let want = match submitted.n_answer {
                n if n == submitted.most && n > 0 => Finish::Stopped,
                n if n == submitted.max_tokens => Finish::MaxTokens,
                n => {
                    let n_prompt = texts.texts[submitted.text].prompt.len();
                    assert_eq!(n_prompt + n, n_positions + 1, "{name:?}");
                    Finish::ContextFull
                }
            };
            assert_eq!(submitted.finish, Some(want), "{name:?}");
        }
        let counts = scheduler.counts();
        let n_reused: usize = all.values().filter_map(|submitted| submitted.n_reused).sum();
        assert!(n_reused == counts.n_reused || counts.n_preempted > 0 && n_reused < counts.n_reused);
        sum.n_reused += counts.n_reused;
        sum.n_preempted += counts.n_preempted;
    });
}

/// Totals over schedules.
#[derive(Debug, Default)]
struct Sum {
    n_reused: usize,
    n_preempted: usize,
    speculation: Speculation,
}

#[test]
fn answers_do_not_depend_on_the_schedule_in_any_family() {
    let mut random = Random(21);
    let (mut n_files, mut sum) = (0, Sum::default());
    let n_schedules = if EMULATED { 2 } else { 9 };
    let entries = std::fs::read_dir(repository_file("tests/golden/architectures")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.extension().is_none_or(|extension| extension != "gguf") {
            continue;
        }
        let file = std::fs::read(&path).unwrap();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
        if model.config().is_encoder() {
            continue;
        }
        let n_ctx = model.config().n_ctx_train.min(12);
        let mut texts = Texts::new(model, n_ctx, 12, &mut random);
        (0..n_schedules).for_each(|_| check_schedule(&mut texts, &mut random, &mut sum));
        n_files += 1;
    }
    assert!(n_files > 50 && (EMULATED || sum.speculation.n_accepted > 0), "{n_files} files, {sum:?}");
}

#[test]
fn nor_do_those_of_texts_of_several_pages_with_any_mixer() {
    let n_schedules = if EMULATED { 5 } else { 140 };
    // Guesses with recurrent layers, of which few fail.
    let (mut n_right, mut n_wrong) = (0, 0);
    each_kind(256, |kind, model| {
        // Each kind has the same schedules, whatever others there are.
        let mut random = Random(22);
        let is_recurrent = model.config().is_recurrent();
        let mut sum = Sum::default();
        let mut texts = Texts::new(Arc::clone(model), 150, 60, &mut random);
        (0..n_schedules).for_each(|_| check_schedule(&mut texts, &mut random, &mut sum));
        println!("{kind}: {sum:?}");
        if !EMULATED {
            assert!(sum.n_preempted > 0, "{kind}: {sum:?}");
            assert!(sum.n_reused > 1000, "{kind}: {sum:?}");
            assert!(is_recurrent || sum.speculation.n_accepted > 50, "{kind}: {sum:?}");
            if is_recurrent {
                n_right += sum.speculation.n_accepted;
                n_wrong += sum.speculation.n_drafted - sum.speculation.n_accepted;
            }
        }
    });
    assert!(EMULATED || n_right > 500 && n_wrong > 50, "{n_right} right, {n_wrong} wrong");
}

/// Answers a prompt greedily; returns the answer and the number of tokens that were computed for it.
fn answer(scheduler: &mut Scheduler<'_>, prompt: &[u32], max_tokens: usize) -> (Vec<u32>, usize) {
    guessed_answer(scheduler, prompt, max_tokens, 0)
}

/// The same with up to `speculate` guesses at a time.
fn guessed_answer(
    scheduler: &mut Scheduler<'_>,
    prompt: &[u32],
    max_tokens: usize,
    speculate: usize,
) -> (Vec<u32>, usize) {
    let n_before = scheduler.counts().n_computed;
    let sampler =
        Sampler::new(SamplingConfig::greedy(), scheduler.runner().model().config().n_vocab).unwrap();
    scheduler.submit(Submission { prompt, max_tokens, sampler, speculate, adapters: None }).unwrap();
    let mut answer = vec![];
    let mut on_output = |_, output: Output<'_>| {
        if let Output::Token { token, .. } = output {
            answer.push(token);
        }
        ControlFlow::Continue(())
    };
    while scheduler.step(&mut || ControlFlow::Continue(()), &mut on_output).unwrap() > 0 {}
    (answer, scheduler.counts().n_computed - n_before)
}

fn random_tokens(random: &mut Random, model: &Model<'_>, n: usize) -> Vec<u32> {
    (0..n).map(|_| random.below(model.config().n_vocab) as u32).collect()
}

#[test]
#[cfg_attr(
    all(target_arch = "aarch64", target_env = "musl"),
    ignore = "long under an emulator, and no instruction set changes it"
)]
fn a_text_that_begins_as_an_earlier_one_costs_little_more_than_its_own_end_with_any_mixer() {
    let mut random = Random(23);
    each_kind(1200, |kind, model| {
        let beginning = random_tokens(&mut random, model, 1000);
        let mut options = options(2, 1200, 40, 512);
        options.state.n_checkpoints = 16;
        with_runner(model, Kernels::detect(), &Serial, options, |runner| {
            let mut scheduler = Scheduler::new(runner, 1).unwrap();
            let mut whole = |n_own| {
                let prompt = [&beginning[..], &random_tokens(&mut random, model, n_own)].concat();
                answer(&mut scheduler, &prompt, 1).1
            };
            assert_eq!(whole(50), 1050, "{kind}");
            for n_own in [20, 70] {
                let n_beyond = whole(n_own).saturating_sub(n_own);
                println!("{kind}: {n_beyond} of 1000 tokens computed again");
                assert!(n_beyond <= 30, "{kind}: {n_beyond}");
            }
            assert!(scheduler.counts().n_prefix_hits == 2, "{kind}");
        });
    });
}

#[test]
#[cfg_attr(
    all(target_arch = "aarch64", target_env = "musl"),
    ignore = "long under an emulator, and no instruction set changes it"
)]
fn where_two_texts_part_a_third_goes_on_though_there_are_few_checkpoints() {
    let mut random = Random(25);
    each_kind(1024, |kind, model| {
        let beginning = random_tokens(&mut random, model, 300);
        let mut options = options(1, 1024, 60, 128);
        options.state.n_checkpoints = 4;
        with_runner(model, Kernels::detect(), &Serial, options, |runner| {
            let mut scheduler = Scheduler::new(runner, 1).unwrap();
            let mut whole = |n_own| {
                let prompt = [&beginning[..], &random_tokens(&mut random, model, n_own)].concat();
                answer(&mut scheduler, &prompt, 1).1
            };
            // So much follows that of the common beginning no checkpoint is left.
            assert_eq!(whole(400), 700, "{kind}");
            // With recurrent layers, where the second parts from the first there is a checkpoint from now on.
            whole(400);
            for n_own in [500, 20] {
                let n_beyond = whole(n_own).saturating_sub(n_own);
                assert!(n_beyond < 32, "{kind}: {n_beyond}");
            }
        });
    });
}

#[test]
fn a_conversation_goes_on_where_it_ended_with_any_mixer() {
    let mut random = Random(24);
    each_kind(256, |kind, model| {
        let mut options = options(2, 256, 8, 32);
        options.state.n_checkpoints = 4;
        let mut first = random_tokens(&mut random, model, 20);
        let mut second = vec![first[0] ^ 1];
        let own = [7, 9, 3, 8].map(|n| random_tokens(&mut random, model, n));
        with_runner(model, Kernels::detect(), &Serial, options, |runner| {
            let mut scheduler = Scheduler::new(runner, 1).unwrap();
            for (turn, own) in own.iter().enumerate() {
                // Two conversations in turns.
                for text in [&mut first, &mut second] {
                    text.extend(own);
                    let n_before = text.len();
                    let (answer, n_computed) = answer(&mut scheduler, text, 12);
                    // The last token of an answer is not computed until there is more.
                    let n_new = own.len() + 1 + 11;
                    let n_new = if turn == 0 { n_before + 11 } else { n_new };
                    assert_eq!(n_computed, n_new, "{kind}, turn {turn}");
                    text.extend(answer);
                }
            }
        });
    });
}

#[test]
fn a_conversation_whose_answers_change_goes_on_near_to_that() {
    let mut random = Random(26);
    each_kind(512, |kind, model| {
        let mut options = options(1, 512, 16, 64);
        options.state.n_checkpoints = 4;
        let question = random_tokens(&mut random, model, 70);
        let own = random_tokens(&mut random, model, 10);
        with_runner(model, Kernels::detect(), &Serial, options, |runner| {
            let mut scheduler = Scheduler::new(runner, 1).unwrap();
            for speculate in [0, 4] {
                // Other texts fill the room.
                for n in [200, 90, 150] {
                    answer(&mut scheduler, &random_tokens(&mut random, model, n), 20);
                }
                let (said, _) = guessed_answer(&mut scheduler, &question, 200, speculate);
                // The end of the answer is not what was generated.
                let trimmed = [&question[..], &said[..197], &own].concat();
                let n_again = answer(&mut scheduler, &trimmed, 1).1.saturating_sub(own.len());
                println!("{kind}, {speculate}: {n_again} of 197 tokens computed again");
                assert!(n_again <= 3 + 64, "{kind}: {n_again}");
                // Nothing of the answer is left.
                let (said, _) = guessed_answer(&mut scheduler, &question, 200, speculate);
                let without = [&question[..], &[said[0] ^ 1], &own].concat();
                let n_again = answer(&mut scheduler, &without, 1).1.saturating_sub(own.len() + 1);
                assert!(n_again < 32, "{kind}: {n_again}");
            }
        });
    });
}

#[test]
fn prompts_for_which_there_are_no_pages_wait() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let n_vocab = model.config().n_vocab;
    // Four slots, and pages for two of six prompts at a time, which take several batches each.
    with_runner(&model, Kernels::detect(), &Serial, options(4, 256, 8, 50), |runner| {
        let mut scheduler = Scheduler::new(runner, 6).unwrap();
        for first in 0..6 {
            let mut prompt = [7; 200];
            prompt[0] = first;
            let sampler = Sampler::new(SamplingConfig::greedy(), n_vocab).unwrap();
            let submission =
                Submission { prompt: &prompt, max_tokens: 3, sampler, speculate: 0, adapters: None };
            scheduler.submit(submission).unwrap();
        }
        let mut most_running = 0;
        while scheduler
            .step(&mut || ControlFlow::Continue(()), &mut |_, _| ControlFlow::Continue(()))
            .unwrap()
            > 0
        {
            most_running = most_running.max(scheduler.n_running());
        }
        assert_eq!((most_running, scheduler.counts().n_preempted), (2, 0));
        assert_eq!(scheduler.counts().n_computed, 6 * 202);
    });
}

#[test]
fn guesses_take_fewer_steps_and_change_no_token() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let n_vocab = model.config().n_vocab;
    let answers = |speculate: usize, n_logits: usize| {
        let options = RunnerOptions { n_logits, ..options(3, 256, 12, 64) };
        with_runner(&model, Kernels::detect(), &Serial, options, |runner| {
            let mut scheduler = Scheduler::new(runner, 3).unwrap();
            for seed in 0..3 {
                let temperature = [0.0, 0.5][seed as usize % 2];
                let sampling = SamplingConfig { temperature, seed, ..SamplingConfig::default() };
                let sampler = Sampler::new(sampling, n_vocab).unwrap();
                let prompt = [5, 6, 7, 8, 5, 6, 7, 8, 5, 6 + seed as u32];
                let max_tokens = [80, 30][seed as usize % 2];
                scheduler
                    .submit(Submission { prompt: &prompt, max_tokens, sampler, speculate, adapters: None })
                    .unwrap();
            }
            let (mut answers, mut sum) = (BTreeMap::<_, Vec<_>>::new(), Speculation::default());
            let mut on_output = |id, output: Output<'_>| {
                match output {
                    Output::Started { .. } => {}
                    Output::Token { token, logits, .. } => {
                        answers.entry(id).or_default().push((token, logits.to_vec()));
                    }
                    Output::Finished { speculation, .. } => {
                        sum.n_drafted += speculation.n_drafted;
                        sum.n_accepted += speculation.n_accepted;
                    }
                    Output::Embedding { .. } | Output::Wanting => panic!("what nobody asked for"),
                }
                ControlFlow::Continue(())
            };
            while scheduler.step(&mut || ControlFlow::Continue(()), &mut on_output).unwrap() > 0 {}
            (answers, sum, scheduler.counts())
        })
    };
    let (want, none, plain) = answers(0, 12);
    assert_eq!(none, Speculation::default());
    let (got, sum, guessed) = answers(8, 12);
    assert!(got == want);
    assert!(sum.n_accepted > 10 && sum.n_drafted >= sum.n_accepted, "{sum:?}");
    assert_eq!(guessed.n_computed, plain.n_computed + sum.n_drafted - sum.n_accepted);
    assert!(guessed.n_steps < plain.n_steps, "{guessed:?}, {plain:?}");
    // With fewer logits to spare there are fewer guesses.
    let (got, fewer, _) = answers(8, 3);
    assert!(got == want);
    assert!(fewer.n_drafted < sum.n_drafted, "{fewer:?}");
}

#[test]
fn with_recurrent_layers_guesses_take_fewer_steps_and_few_of_them_fail() {
    let mut sum = [Counts::default(); 2];
    each_kind(512, |kind, model| {
        if !model.config().is_recurrent() {
            return;
        }
        let mut options = RunnerOptions { n_logits: 9, ..options(1, 512, 8, 64) };
        options.state.n_checkpoints = 4;
        let [plain, guessed] = [0, 8].map(|speculate| {
            with_runner(model, Kernels::detect(), &Serial, options, |runner| {
                let mut scheduler = Scheduler::new(runner, 1).unwrap();
                let prompt = [1, 2, 3, 4].repeat(10);
                let (answer, _) = guessed_answer(&mut scheduler, &prompt, 200, speculate);
                (answer, scheduler.counts())
            })
        });
        assert!(guessed.0 == plain.0, "{kind}");
        println!("{kind}: {} steps, with guesses {}", plain.1.n_steps, guessed.1.n_steps);
        // One that repeats a token guesses one at a time, and has one more each time.
        let most = if kind == "mamba" { plain.1.n_steps * 11 / 20 } else { plain.1.n_steps };
        assert!(guessed.1.n_steps <= most, "{kind}");
        for (sum, (_, counts)) in sum.iter_mut().zip([plain, guessed]) {
            sum.n_steps += counts.n_steps;
            sum.n_computed += counts.n_computed;
        }
    });
    let [plain, guessed] = sum;
    assert!(guessed.n_steps < plain.n_steps * 4 / 5, "{sum:?}");
    assert!(guessed.n_computed < plain.n_computed * 21 / 20, "{sum:?}");
}

#[test]
fn guesses_of_batches_that_are_broken_off_do_not_count() {
    let mut n_drafted = [0; 2];
    each_kind(256, |kind, model| {
        let speculation = |breaks: bool| {
            let mut options = RunnerOptions { n_logits: 8, ..options(1, 256, 8, 128) };
            options.state.n_checkpoints = 3;
            with_runner(model, Kernels::detect(), &Serial, options, |runner| {
                let mut scheduler = Scheduler::new(runner, 1).unwrap();
                let prompt = [1, 2, 3, 4].repeat(10);
                let sampler = Sampler::new(SamplingConfig::greedy(), model.config().n_vocab).unwrap();
                let submission =
                    Submission { prompt: &prompt, max_tokens: 60, sampler, speculate: 5, adapters: None };
                scheduler.submit(submission).unwrap();
                let mut found = None;
                let mut is_broken_off = false;
                while found.is_none() {
                    is_broken_off = breaks && !is_broken_off;
                    let mut go_on = || match is_broken_off {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    };
                    let _ = scheduler.step(&mut go_on, &mut |_, output| {
                        if let Output::Finished { speculation, .. } = output {
                            found = Some(speculation);
                        }
                        ControlFlow::Continue(())
                    });
                }
                found
            })
        };
        let want = speculation(false).unwrap();
        assert_eq!(speculation(true), Some(want), "{kind}");
        n_drafted[usize::from(model.config().is_recurrent())] += want.n_drafted;
    });
    assert!(n_drafted.iter().all(|&n| n > 50), "{n_drafted:?}");
}

#[test]
fn a_text_can_be_ended_when_it_gets_its_slot() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    with_runner(&model, Kernels::detect(), &Serial, options(1, 128, 2, 64), |runner| {
        let mut scheduler = Scheduler::new(runner, 2).unwrap();
        let ids = [9, 5, 5].map(|token| {
            let sampler = Sampler::new(SamplingConfig::greedy(), model.config().n_vocab).unwrap();
            let prompt = [token; 40];
            scheduler
                .submit(Submission { prompt: &prompt, max_tokens: 2, sampler, speculate: 0, adapters: None })
                .unwrap()
        });
        let mut told = vec![];
        let mut on_output = |id, output: Output<'_>| {
            let is_start_of_first = id == ids[0] && matches!(output, Output::Started { .. });
            told.push((
                id,
                match output {
                    Output::Started { n_reused } => format!("started, {n_reused} reused"),
                    Output::Token { .. } => "token".into(),
                    Output::Finished { finish, .. } => finish.to_string(),
                    Output::Embedding { .. } | Output::Wanting => panic!("what nobody asked for"),
                },
            ));
            if is_start_of_first { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        while scheduler.step(&mut || ControlFlow::Continue(()), &mut on_output).unwrap() > 0 {}
        let told_of = |id| told.iter().filter(move |(of, _)| *of == id).map(|(_, output)| &**output);
        assert!(told_of(ids[0]).eq(["started, 0 reused", "stopped"]), "{told:?}");
        assert!(told_of(ids[1]).eq(["started, 0 reused", "token", "token", "token limit"]), "{told:?}");
        assert!(told_of(ids[2]).eq(["started, 39 reused", "token", "token", "token limit"]), "{told:?}");
        // Nothing was computed of the first.
        assert_eq!((scheduler.counts().n_computed, scheduler.n_used_pages()), (41 + 2, 0));
    });
}

#[test]
fn what_cannot_be_computed_is_refused() {
    let file = micro(1024);
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
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
            scheduler
                .submit(Submission { prompt, max_tokens: 1, sampler, speculate: 0, adapters: None })
                .map(drop)
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
            adapters: None,
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
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let n_vocab = model.config().n_vocab;
    let greedy = || Sampler::new(SamplingConfig::greedy(), n_vocab).unwrap();
    with_runner(&model, Kernels::detect(), &Serial, options(2, 128, 2, 16), |runner| {
        let mut scheduler = Scheduler::new(runner, 1).unwrap();
        let prompt = [7; 70];
        let answer = |scheduler: &mut Scheduler<'_>| {
            let submission = Submission {
                prompt: &prompt,
                max_tokens: 5,
                sampler: greedy(),
                speculate: 0,
                adapters: None,
            };
            scheduler.submit(submission).unwrap();
            assert!(scheduler.idle_runner().is_none());
            let mut answer = vec![];
            let mut on_output = |_, output: Output<'_>| {
                if let Output::Token { token, logits, .. } = output {
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
    let model = Arc::new(Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap());
    let n_vocab = model.config().n_vocab;
    with_runner(&model, Kernels::detect(), &Serial, options(1, 64, 1, 8), |runner| {
        let mut scheduler = Scheduler::new(runner, 2).unwrap();
        let [long, none] = [20, 0].map(|max_tokens| {
            let sampler = Sampler::new(SamplingConfig::greedy(), n_vocab).unwrap();
            scheduler
                .submit(Submission { prompt: &[1], max_tokens, sampler, speculate: 0, adapters: None })
                .unwrap()
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
