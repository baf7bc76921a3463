//! Requests to a responder: the events, their order, and that the text is the one that a session generates.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use llm::chat::{Dialogue, Format, Message, Part};
use llm::front::batch::{self, Batch, BatchEvent, BatchReport, NumberedLines};
use llm::front::bench::{BenchPlan, Meter};
use llm::front::{
    ChatFormat, Event, FrontError, LogprobLine, LogprobWish, PROMPT_ENCODING, Prompt, Prompter, Report,
    Request, Responder, Task,
};
use llm::gguf::{Gguf, GgufWriter};
use llm::kv_cache::KvType;
use llm::model::Model;
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::sampling::{Sampler, SamplingConfig};
use llm::session::{FinishReason, Runner, RunnerOptions, Session, SessionError, SessionOptions, Step};
use llm::simd::Kernels;
use llm::state::StateOptions;
use llm::tokenizer::EncodeOptions;

/// As programs for aarch64 with musl, the tests run in an emulator, where each batch takes many times as long.
const EMULATED: bool = cfg!(all(target_arch = "aarch64", target_env = "musl"));

const N_CTX: usize = 64;
const PROMPT: &str = "Once upon a time";

/// A clock that advances by a microsecond each time it is read.
fn clock_us() -> u64 {
    static NOW: AtomicU64 = AtomicU64::new(0);
    NOW.fetch_add(1, Ordering::Relaxed)
}

/// Runs `test` with a responder of the small model, for one text at a time.
fn with_responder(test: impl FnOnce(&mut Responder<'_>)) {
    with_slots(1, StateOptions::pages_of(N_CTX), test);
}

/// Runs `test` with a responder of the small model for `n_slots` texts that share `n_pages`.
fn with_slots(n_slots: usize, n_pages: usize, test: impl FnOnce(&mut Responder<'_>)) {
    with_contexts(N_CTX, n_slots, n_pages, test);
}

/// Runs `test` with a responder of the small model for `n_slots` texts of up to `n_ctx` positions that share `n_pages`.
fn with_contexts(n_ctx: usize, n_slots: usize, n_pages: usize, test: impl FnOnce(&mut Responder<'_>)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models/micro.gguf");
    with_file(&std::fs::read(path).unwrap(), n_ctx, n_slots, n_pages, test);
}

/// Runs `test` with a responder of the model in `file`; otherwise as [`with_contexts`].
fn with_file(
    file: &[u8],
    n_ctx: usize,
    n_slots: usize,
    n_pages: usize,
    test: impl FnOnce(&mut Responder<'_>),
) {
    let gguf = Gguf::parse(file, file.len() as u64).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let state = StateOptions {
        n_slots,
        n_ctx,
        n_pages,
        kv_type: KvType::F16,
        finds_prefixes: true,
        n_checkpoints: 4,
        own_checkpoints: false,
    };
    let options =
        RunnerOptions { state, n_batch: n_ctx, n_logits: n_slots + 4, precision: Precision::Quantized };
    let mut memory = vec![0; Runner::required_bytes(model.config(), &options).unwrap() + 64];
    let runner = Runner::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    test(&mut Responder::new(Prompter::new(gguf).unwrap(), runner, 2).unwrap());
}

fn text(max_tokens: usize) -> Request<'static> {
    Request::new(Prompt::Text(PROMPT, PROMPT_ENCODING), max_tokens)
}

fn answer(responder: &mut Responder<'_>, request: Request<'_>) -> Report {
    responder.generate(request, clock_us, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// The tokens that a session generates.
fn generated(n_tokens: usize) -> Vec<u32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models/micro.gguf");
    let file = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let prompter = Prompter::new(Gguf::parse(&file, file.len() as u64).unwrap()).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let options = SessionOptions::generate(N_CTX);
    let mut memory = vec![0; Session::required_bytes(model.config(), &options).unwrap() + 64];
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    let mut prompt = Vec::new();
    prompter.tokenizer().unwrap().encode(PROMPT, PROMPT_ENCODING, &mut prompt).unwrap();
    let mut sampler =
        Sampler::new(SamplingConfig::greedy(), prompter.tokenizer().unwrap().n_vocab()).unwrap();
    let mut generation =
        session.generate(prompter.tokenizer().unwrap(), &mut sampler, &prompt, n_tokens, &[]).unwrap();
    let mut ids = Vec::new();
    while let Step::Token { id, .. } = generation.step().unwrap() {
        ids.push(id);
    }
    ids
}

#[test]
fn a_report_is_the_sum_of_its_events() {
    with_responder(|responder| {
        let (mut ids, mut shown, mut traced, mut n_finished) = (Vec::new(), String::new(), Vec::new(), 0);
        let request = Request { trace: true, ..text(12) };
        let report = responder.generate(request, clock_us, &mut |event| {
            assert_eq!(n_finished, 0, "{event:?} after the end");
            shown += event.text();
            match event {
                Event::Forgotten(_) => panic!("no dialogue"),
                Event::Started { prompt_tokens, cached_tokens } => {
                    assert!(ids.is_empty() && prompt_tokens > cached_tokens);
                }
                Event::Prompt => assert!(ids.is_empty()),
                Event::Token { id, .. } => ids.push(id),
                Event::Trace { step, logits } => {
                    traced.push(step);
                    assert!(logits.min < logits.max);
                }
                Event::Part(_) | Event::Embedding(_) | Event::Failed { .. } => panic!("{event:?}"),
                Event::Finished { report, .. } => {
                    n_finished += 1;
                    assert_eq!(report.ids, ids);
                }
            }
            ControlFlow::Continue(())
        });
        let report = report.unwrap();
        assert_eq!((report.ids.as_slice(), report.output.as_str(), n_finished), (&ids[..], &*shown, 1));
        assert_eq!(ids, generated(12));
        assert_eq!(traced, (1..=12).collect::<Vec<_>>());
        assert_eq!((report.tokens_emitted, report.finish_reason), (12, FinishReason::MaxTokens));
        assert!(report.prompt_tokens > 1);
        assert!(report.first_token_us > 0 && report.latency_us > report.first_token_us, "{report:?}");
        let line = report.to_string();
        assert!(
            line.starts_with(&format!("{} prompt tokens, 12 generated, ", report.prompt_tokens)),
            "{line}"
        );
    });
}

#[test]
fn nothing_of_a_request_holds_for_the_next() {
    with_responder(|responder| {
        let plain = answer(responder, text(12)).ids;
        let sampling = SamplingConfig { temperature: 5.0, seed: 3, ..SamplingConfig::greedy() };
        let other = Request { sampling, stop: &["e"], speculate: 4, trace: true, ..text(40) };
        assert_ne!(answer(responder, other).ids, plain);
        assert_eq!(answer(responder, text(12)).ids, plain);
        assert_eq!(answer(responder, Request { speculate: 4, ..text(12) }).ids, plain);
    });
}

#[test]
fn biases_and_penalties_of_a_request_reach_its_sampler() {
    with_responder(|responder| {
        let plain = answer(responder, text(24)).ids;
        let first = plain[0];
        let banned = [(first, f32::NEG_INFINITY)];
        let without = answer(responder, Request { logit_bias: &banned, ..text(24) }).ids;
        assert!(!without.contains(&first), "{without:?}");
        let wanted = [(first, 1000.0)];
        assert_eq!(answer(responder, Request { logit_bias: &wanted, ..text(24) }).ids, [first; 24]);
        let presence = SamplingConfig { presence_penalty: 1000.0, ..SamplingConfig::greedy() };
        let mut different = answer(responder, Request { sampling: presence, ..text(24) }).ids;
        assert_eq!(different.len(), 24);
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 24);
        let frequency = SamplingConfig { frequency_penalty: 1000.0, ..SamplingConfig::greedy() };
        let even = answer(responder, Request { sampling: frequency, logit_bias: &wanted, ..text(24) }).ids;
        assert!(even[0] == first && even[1] != first, "{even:?}");
        assert_eq!(answer(responder, Request { logit_bias: &[(first, 0.0)], ..text(24) }).ids, plain);

        let n_vocab = responder.prompter().tokenizer().unwrap().n_vocab();
        let outside = [(n_vocab as u32, 1.0)];
        let refused = responder.submit(Request { logit_bias: &outside, ..text(1) }, clock_us).unwrap_err();
        assert!(refused.to_string().contains(&format!("logit_bias is for token {n_vocab}, ")), "{refused}");
    });
}

fn wish(n_top: usize) -> LogprobWish {
    LogprobWish { n_top, after_sampling: false }
}

#[test]
fn log_probabilities_after_sampling_are_those_of_what_was_left() {
    with_responder(|responder| {
        let sampling = SamplingConfig { temperature: 1.5, top_k: 4, seed: 5, ..SamplingConfig::greedy() };
        let logprobs = Some(LogprobWish { n_top: 20, after_sampling: true });
        let mut n_lines = 0;
        let report = responder.generate(Request { sampling, logprobs, ..text(10) }, clock_us, &mut |event| {
            let Event::Token { id, logprobs: Some(logprobs), tokenizer, .. } = event else {
                return ControlFlow::Continue(());
            };
            let sum: f64 = logprobs.top.iter().map(|token| f64::from(token.logprob).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-5 && logprobs.top.len() == 4, "{logprobs:?}");
            let chosen = logprobs.top.iter().find(|token| token.id == id).unwrap();
            assert_eq!(chosen.logprob, logprobs.chosen);
            // A line has five texts, or as many ids.
            let line = LogprobLine { id, logprobs, tokenizer: Some(tokenizer) }.to_string();
            assert!(line.matches('"').count() >= 10 && line.contains(&format!(" {:.4} | ", logprobs.chosen)));
            let of_ids = LogprobLine { id, logprobs, tokenizer: None }.to_string();
            assert!(of_ids.starts_with(&format!("{id} {:.4} | {} ", logprobs.chosen, logprobs.top[0].id)));
            n_lines += 1;
            ControlFlow::Continue(())
        });
        assert!(n_lines > 0 && report.unwrap().tokens_emitted == n_lines);
    });
}

#[test]
fn a_text_that_must_not_end_goes_on_and_repetitions_break_off() {
    with_responder(|responder| {
        let tokenizer = responder.prompter().tokenizer().unwrap();
        let ends = (0..tokenizer.n_vocab() as u32).filter(|&id| tokenizer.is_end_of_generation(id));
        // Ends are all but certain.
        let likely: Vec<(u32, f32)> = ends.map(|id| (id, 1000.0)).collect();
        assert!(!likely.is_empty());
        let mut output = |ignore_eos, sampling, breakers: &[&str]| {
            let request = Request { logit_bias: &likely, ignore_eos, sampling, breakers, ..text(30) };
            responder.generate(request, clock_us, &mut |_| ControlFlow::Continue(())).unwrap()
        };
        let greedy = SamplingConfig::greedy();
        assert_eq!(output(false, greedy, &[]).finish_reason, FinishReason::EndOfText);
        let plain = output(true, greedy, &[]);
        assert_eq!(plain.ids.len(), 30);
        // All of the vocabulary's tokens break: nothing is repeated then.
        let all_letters: Vec<String> = (0..128u8).map(|byte| char::from(byte).to_string()).collect();
        let all_letters: Vec<&str> = all_letters.iter().map(String::as_str).collect();
        let dry = SamplingConfig { dry_multiplier: 50.0, dry_allowed_length: 1, ..greedy };
        let without = output(true, dry, &[]);
        assert_eq!(output(true, dry, &all_letters).ids, plain.ids);
        let repeats = |ids: &[u32]| {
            (2..ids.len()).any(|at| ids[..at - 1].windows(2).any(|two| *two == ids[at - 1..=at]))
        };
        assert!(repeats(&plain.ids) && !repeats(&without.ids), "{:?} {:?}", plain.ids, without.ids);
    });
}

#[test]
fn log_probabilities_are_those_of_the_logits_before_sampling() {
    with_responder(|responder| {
        let mut prompt = Vec::new();
        let options = PROMPT_ENCODING;
        let tokenizer = responder.prompter().tokenizer().unwrap();
        tokenizer.encode("one two one two one two one", options, &mut prompt).unwrap();
        // The same token again and again is guessed.
        let guessing =
            Request { speculate: 4, logit_bias: &[(7, 1000.0)], ..Request::new(Prompt::Ids(&prompt), 25) };
        let hot = SamplingConfig {
            temperature: 3.0,
            top_k: 30,
            presence_penalty: 0.5,
            seed: 2,
            ..SamplingConfig::greedy()
        };
        let sampled =
            Request { sampling: hot, logit_bias: &[(5, -2.0)], ..Request::new(Prompt::Ids(&prompt), 12) };
        for (request, n_top) in [(guessing, 3), (sampled, 20)] {
            let mut told = Vec::new();
            let request = Request { logprobs: Some(wish(n_top)), ..request };
            let report = responder.generate(request, clock_us, &mut |event| {
                if let Event::Token { id, logprobs, .. } = event {
                    let logprobs = logprobs.unwrap();
                    told.push((id, logprobs.chosen, logprobs.top.to_vec()));
                }
                ControlFlow::Continue(())
            });
            let report = report.unwrap();
            assert!(report.tokens_emitted > 2 && told.len() == report.tokens_emitted, "{report:?}");
            assert!(n_top != 3 || report.speculation.n_accepted > 0, "nothing was guessed");
            let all = [&prompt[..], &report.ids].concat();
            let mut rows = Vec::new();
            let on_row = &mut |row: &[f32]| {
                rows.push(row.to_vec());
                ControlFlow::Continue(())
            };
            responder.logits(&all[..all.len() - 1], on_row).unwrap();
            for (row, (id, chosen, top)) in rows[prompt.len() - 1..].iter().zip(told) {
                let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
                let is_right = |id: u32, logprob: f32| {
                    (f64::from(row[id as usize]) - sum.ln() - f64::from(logprob)).abs() < 1e-5
                };
                let mut order: Vec<u32> = (0..row.len() as u32).collect();
                order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
                assert!(is_right(id, chosen));
                assert!(top.iter().map(|token| token.id).eq(order[..n_top].iter().copied()), "{top:?}");
                assert!(top.iter().all(|token| is_right(token.id, token.logprob)), "{top:?}");
            }
        }
        let none = Request { logprobs: Some(wish(0)), ..text(2) };
        let report = responder.generate(none, clock_us, &mut |event| {
            if let Event::Token { logprobs, .. } = event {
                assert!(logprobs.is_some_and(|logprobs| logprobs.chosen < 0.0 && logprobs.top.is_empty()));
            }
            ControlFlow::Continue(())
        });
        assert_eq!(report.unwrap().tokens_emitted, 2);
        let refused =
            responder.submit(Request { logprobs: Some(wish(21)), ..text(1) }, clock_us).unwrap_err();
        assert_eq!(refused, FrontError::TooManyLogprobs { n_logprobs: 21 });
        assert!(responder.is_idle());
    });
}

#[test]
fn each_event_but_the_last_can_end_it() {
    with_responder(|responder| {
        let mut stop_at = |n_events: usize| {
            let mut n_left = n_events;
            let request = Request { trace: true, ..text(12) };
            let report = responder.generate(request, clock_us, &mut |event| {
                n_left = n_left.saturating_sub(1);
                match event {
                    Event::Finished { text, .. } => {
                        assert_eq!(text, "");
                        ControlFlow::Continue(())
                    }
                    _ if n_left == 0 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            });
            report.unwrap()
        };
        let mut most_tokens = 0;
        for n_events in 1..30 {
            let report = stop_at(n_events);
            if report.finish_reason == FinishReason::MaxTokens {
                break;
            }
            assert_eq!(report.finish_reason, FinishReason::Cancelled);
            assert!(report.to_string().ends_with(", stopped"));
            assert!((most_tokens..=most_tokens + 1).contains(&report.tokens_emitted), "{report:?}");
            most_tokens = report.tokens_emitted;
        }
        assert!(most_tokens > 5);
    });
}

/// The small model with an unknown kind of vocabulary.
fn without_vocabulary() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models/micro.gguf");
    let mut file = std::fs::read(path).unwrap();
    let key = b"tokenizer.ggml.model";
    let place = file.windows(key.len()).position(|bytes| bytes == key).unwrap();
    // Behind the key are the type and the length of the text.
    file[place + key.len() + 4 + 8] = b'x';
    file
}

#[test]
fn without_a_vocabulary_only_what_needs_text_is_refused() {
    let ids = [1, 5, 9];
    let vectors = |responder: &mut Responder<'_>| {
        let go_on = &mut || ControlFlow::Continue(());
        let wish = llm::front::embedding::EmbeddingWish::default();
        responder.embed(&Prompt::Ids(&ids), wish, go_on).unwrap().values
    };
    let logits = |responder: &mut Responder<'_>| {
        let mut logits = Vec::new();
        let mut take = |row: &[f32]| {
            logits.extend_from_slice(row);
            ControlFlow::Continue(())
        };
        responder.logits(&ids, &mut take).unwrap();
        logits
    };
    let mut expected = None;
    with_responder(|responder| expected = Some((vectors(responder), logits(responder))));
    let (expected_vectors, expected_logits) = expected.unwrap();
    with_file(&without_vocabulary(), N_CTX, 1, StateOptions::pages_of(N_CTX), |responder| {
        assert_eq!(vectors(responder), expected_vectors);
        assert_eq!(logits(responder), expected_logits);
        let mut dialogue = Dialogue::default();
        dialogue.ask(PROMPT).unwrap();
        let format = ChatFormat { template: Some("chatml"), ..ChatFormat::default() };
        let messages = [Message::new("user", PROMPT)];
        let prompts = [
            Prompt::Text(PROMPT, PROMPT_ENCODING),
            // The answer would be text.
            Prompt::Ids(&ids),
            Prompt::Chat(&mut dialogue, format),
            Prompt::Messages(&messages, format),
        ];
        for prompt in prompts {
            let refused = responder.submit(Request::new(prompt, 4), clock_us).unwrap_err();
            assert!(refused.to_string().starts_with("tokenizer.ggml.model is x"), "{refused}");
        }
        let refused = [
            responder.prompter().encode_pair("a", "b", &mut Vec::new()).unwrap_err(),
            responder.prepare_chat(Some("chatml")).unwrap_err(),
            responder.render(&messages, &format).unwrap_err(),
        ];
        for refused in refused {
            assert!(refused.to_string().starts_with("tokenizer.ggml.model is x"), "{refused}");
        }
        assert!(responder.is_idle());
    });
}

#[test]
fn ids_texts_and_dialogues_are_prompts() {
    with_responder(|responder| {
        let of_text = answer(responder, text(8));
        let mut ids = Vec::new();
        responder.prompter().tokenizer().unwrap().encode(PROMPT, PROMPT_ENCODING, &mut ids).unwrap();
        assert_eq!(answer(responder, Request::new(Prompt::Ids(&ids), 8)).ids, of_text.ids);

        let mut dialogue = Dialogue::default();
        dialogue.ask(PROMPT).unwrap();
        let format = ChatFormat { template: Some("chatml"), ..ChatFormat::default() };
        let of_chat = answer(responder, Request::new(Prompt::Chat(&mut dialogue, format), 8));
        let written = format!("<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n");
        let special = EncodeOptions { parse_special: true, ..PROMPT_ENCODING };
        let of_written = answer(responder, Request::new(Prompt::Text(&written, special), 8));
        assert_eq!((of_chat.ids, of_chat.prompt_tokens), (of_written.ids, of_written.prompt_tokens));

        // What the context holds already is not computed again.
        let mut n_computed = |dialogue: &mut Dialogue| {
            let mut n = 0;
            let request = Request::new(Prompt::Chat(dialogue, format), 1);
            let report = responder.generate(request, clock_us, &mut |event| {
                n += usize::from(matches!(event, Event::Prompt));
                ControlFlow::Continue(())
            });
            (n, report.unwrap().ids)
        };
        let (first, ids) = n_computed(&mut dialogue);
        assert_eq!(n_computed(&mut dialogue), (first, ids));
    });
}

#[test]
fn a_conversation_given_whole_is_a_prompt_and_forgets_nothing() {
    with_contexts(256, 1, 4, |responder| {
        let format = ChatFormat { template: Some("chatml"), ..ChatFormat::default() };
        let message = |role, content| Message::new(role, content);
        let messages = [
            message("system", "Be brief."),
            message("user", PROMPT),
            message("assistant", "there was a robot"),
            message("user", "And then?"),
        ];
        let written: String = messages
            .iter()
            .map(|Message { role, content, .. }| format!("<|im_start|>{role}\n{content}<|im_end|>\n"))
            .chain(["<|im_start|>assistant\n".into()])
            .collect();
        assert_eq!(responder.render(&messages, &format).unwrap(), written);
        let special = EncodeOptions { parse_special: true, ..PROMPT_ENCODING };
        let of_written = answer(responder, Request::new(Prompt::Text(&written, special), 8));
        let of_messages = answer(responder, Request::new(Prompt::Messages(&messages, format), 8));
        assert_eq!(words(&of_messages), words(&of_written));

        let long = messages.repeat(6);
        let refused = responder.submit(Request::new(Prompt::Messages(&long, format), 8), clock_us);
        let Err(FrontError::Session(SessionError::PromptTooLong { n_tokens, n_ctx: 256 })) = refused else {
            panic!("{refused:?}");
        };
        assert!(n_tokens > 256);
        let no_format = responder
            .submit(Request::new(Prompt::Messages(&messages, ChatFormat::default()), 8), clock_us)
            .unwrap_err();
        assert!(matches!(no_format, FrontError::FileTemplate(_)), "{no_format}");
    });
}

#[test]
fn a_report_says_what_was_known_and_how_long_it_waited() {
    with_slots(1, 1, |responder| {
        let mut first = answer(responder, text(8));
        assert_eq!((first.cached_tokens, first.prompt_tokens > 1), (0, true));
        assert!(first.queued_us < first.first_token_us);
        let again = answer(responder, text(8));
        assert_eq!(again.cached_tokens, first.prompt_tokens - 1);
        first.cached_tokens = again.cached_tokens;
        assert_eq!(words(&again), words(&first));

        // The second waits for the first one's slot, the third is ended before it has one.
        let names = [(); 3].map(|()| responder.submit(text(8), clock_us).unwrap());
        let mut reports = BTreeMap::new();
        while reports.len() < 2 {
            let go_on = &mut || ControlFlow::Continue(());
            let stepped = responder.step(clock_us, go_on, &mut |id, event| {
                if let Event::Finished { report, .. } = event {
                    reports.insert(id, report.clone());
                }
                ControlFlow::Continue(())
            });
            assert!(stepped.unwrap() > 0);
        }
        let [first, second] = [0, 1].map(|index| &reports[&names[index]]);
        assert!(first.queued_us < first.first_token_us && first.first_token_us < second.queued_us);
        assert!(second.queued_us < second.first_token_us);
        let third = responder.cancel(names[2], clock_us).unwrap();
        assert_eq!((third.queued_us, third.cached_tokens), (0, 0));
    });
    // Two texts grow beyond the page that they share: the younger one is computed again, which does not count. It has its prompt
    // from the older one.
    with_contexts(128, 2, 2, |responder| {
        let names = [1, 2].map(|seed| {
            let sampling = SamplingConfig { temperature: 1.5, seed, ..SamplingConfig::greedy() };
            responder.submit(Request { sampling, ..text(80) }, clock_us).unwrap()
        });
        let mut computed = BTreeMap::new();
        while !responder.is_idle() {
            let go_on = &mut || ControlFlow::Continue(());
            let stepped = responder.step(clock_us, go_on, &mut |id, event| {
                if let Event::Finished { report, .. } = event {
                    computed.insert(id, report.prompt_tokens - report.cached_tokens);
                }
                ControlFlow::Continue(())
            });
            stepped.unwrap();
        }
        let counts = responder.counts();
        assert!(counts.n_preempted > 0 && counts.n_reused > 0, "{counts:?}");
        let [first, second] = names.map(|name| computed[&name]);
        assert!(first > 1 && second == 0, "{first} {second}");
    });
}

#[test]
fn what_is_forgotten_is_told_before_the_answer() {
    with_responder(|responder| {
        let format = ChatFormat { template: Some("chatml"), ..ChatFormat::default() };
        let mut dialogue = Dialogue::default();
        for _ in 0..6 {
            dialogue.ask("Where did the little robot go?").unwrap();
            dialogue.answer("It went down to the river.", Format::default()).unwrap();
        }
        dialogue.ask("And then?").unwrap();
        let mut first = None;
        let request = Request::new(Prompt::Chat(&mut dialogue, format), 4);
        let report = responder.generate(request, clock_us, &mut |event| {
            if let Event::Forgotten(forgotten) = event {
                assert_eq!(first, None, "not the first event");
                first = Some(Some(forgotten));
            }
            first.get_or_insert(None);
            ControlFlow::Continue(())
        });
        let report = report.unwrap();
        assert!(report.forgotten.is_some() && first == Some(report.forgotten), "{first:?}");
        // It can be broken off there as everywhere.
        for _ in 0..6 {
            dialogue.answer("It went home.", Format::default()).unwrap();
            dialogue.ask("Where did the little robot go?").unwrap();
        }
        let request = Request::new(Prompt::Chat(&mut dialogue, format), 4);
        let stopped = responder.generate(request, clock_us, &mut |event| match event {
            Event::Forgotten(_) => ControlFlow::Break(()),
            Event::Finished { .. } => ControlFlow::Continue(()),
            _ => panic!("{event:?} after the end"),
        });
        assert_eq!(stopped.unwrap().finish_reason, FinishReason::Cancelled);
    });
}

#[test]
fn a_dialogue_that_is_refused_forgets_nothing() {
    with_responder(|responder| {
        let format = ChatFormat { template: Some("chatml"), ..ChatFormat::default() };
        let mut dialogue = Dialogue::default();
        for _ in 0..6 {
            dialogue.ask("Where did the little robot go?").unwrap();
            dialogue.answer("It went down to the river.", Format::default()).unwrap();
        }
        dialogue.ask("And then?").unwrap();
        let whole = dialogue.clone();
        let sampling = SamplingConfig { temperature: -1.0, ..SamplingConfig::greedy() };
        let request = Request { sampling, ..Request::new(Prompt::Chat(&mut dialogue, format), 4) };
        assert!(matches!(responder.submit(request, clock_us), Err(FrontError::Sampling(_))));
        assert_eq!(dialogue, whole);
        while responder.has_room() {
            responder.submit(text(4), clock_us).unwrap();
        }
        let request = Request::new(Prompt::Chat(&mut dialogue, format), 4);
        assert!(matches!(responder.submit(request, clock_us), Err(FrontError::QueueFull { .. })));
        assert_eq!(dialogue, whole);
        while !responder.is_idle() {
            let go_on = &mut || ControlFlow::Continue(());
            responder.step(clock_us, go_on, &mut |_, _| ControlFlow::Continue(())).unwrap();
        }
        responder.submit(Request::new(Prompt::Chat(&mut dialogue, format), 4), clock_us).unwrap();
        assert_ne!(dialogue, whole, "it has room for all");
    });
}

#[test]
fn what_cannot_be_is_refused_and_the_next_request_answered() {
    with_responder(|responder| {
        let mut refused = |request: Request<'_>| {
            responder.generate(request, clock_us, &mut |_| ControlFlow::Continue(())).unwrap_err()
        };
        assert_eq!(refused(Request::new(Prompt::Ids(&[]), 1)), FrontError::Session(SessionError::NoTokens));
        let long = "time ".repeat(100);
        let too_long = refused(Request::new(Prompt::Text(&long, PROMPT_ENCODING), 1));
        assert!(matches!(too_long, FrontError::Session(SessionError::PromptTooLong { n_ctx: N_CTX, .. })));
        let sampling = SamplingConfig { top_p: 2.0, ..SamplingConfig::greedy() };
        assert!(matches!(refused(Request { sampling, ..text(1) }), FrontError::Sampling(_)));
        let mut dialogue = Dialogue::default();
        dialogue.ask("Hello").unwrap();
        let chat = refused(Request::new(Prompt::Chat(&mut dialogue, ChatFormat::default()), 1)).to_string();
        assert!(chat.contains("--template NAME uses another: ") && chat.contains("chatml"), "{chat}");
        let format = ChatFormat { template: Some("chatgml"), ..ChatFormat::default() };
        assert!(matches!(refused(Request::new(Prompt::Chat(&mut dialogue, format), 1)), FrontError::Chat(_)));
        assert_eq!(answer(responder, text(3)).tokens_emitted, 3);
    });
}

/// Requests that differ in every field.
fn requests() -> Vec<Request<'static>> {
    let sampled = SamplingConfig { temperature: 0.9, seed: 5, ..SamplingConfig::greedy() };
    let prompt = |text| Prompt::Text(text, PROMPT_ENCODING);
    vec![
        text(12),
        Request { stop: &["e"], ..Request::new(prompt("The little robot"), 30) },
        Request { sampling: sampled, ..text(20) },
        Request { sampling: SamplingConfig { seed: 6, ..sampled }, speculate: 3, ..text(9) },
        // Until the context is full.
        Request::new(prompt("It had a small lamp on its head."), usize::MAX),
        Request { speculate: 4, ..Request::new(prompt("one two one two one two one"), 25) },
        text(0),
        text(1),
    ]
}

/// The part of a report that depends neither on time nor on what else was computed.
fn words(report: &Report) -> (&str, &[u32], usize, FinishReason) {
    (&report.output, &report.ids, report.prompt_tokens, report.finish_reason)
}

#[test]
fn answers_of_many_are_those_of_each_alone() {
    let mut alone = Vec::new();
    with_responder(|responder| {
        alone.extend(requests().into_iter().map(|request| answer(responder, request)))
    });
    for (n_slots, n_pages) in [(1, 1), (3, 2), (8, 8)] {
        with_slots(n_slots, n_pages, |responder| {
            let (mut to_come, mut names) = (requests().into_iter().peekable(), Vec::new());
            let (mut reports, mut shown) = (BTreeMap::new(), BTreeMap::<_, String>::new());
            loop {
                while responder.has_room()
                    && let Some(request) = to_come.next()
                {
                    names.push(responder.submit(request, clock_us).unwrap());
                }
                if to_come.peek().is_some() {
                    let refused = responder.submit(text(1), clock_us).unwrap_err();
                    assert!(matches!(refused, FrontError::QueueFull { .. }), "{refused}");
                }
                let n_tokens =
                    responder.step(clock_us, &mut || ControlFlow::Continue(()), &mut |id, event| {
                        *shown.entry(id).or_default() += event.text();
                        if let Event::Finished { report, .. } = event {
                            assert!(reports.insert(id, report.clone()).is_none());
                        }
                        ControlFlow::Continue(())
                    });
                if n_tokens.unwrap() == 0 {
                    break;
                }
            }
            assert!(responder.is_idle() && to_come.next().is_none());
            for (name, alone) in names.iter().zip(&alone) {
                assert_eq!(words(&reports[name]), words(alone), "{n_slots} slots");
                assert_eq!(shown[name], alone.output);
            }
        });
    }
}

#[test]
fn one_of_many_can_be_ended_and_a_batch_broken_off() {
    let mut alone = Vec::new();
    with_responder(|responder| alone.extend([text(12), text(12)].map(|request| answer(responder, request))));
    with_slots(3, 3, |responder| {
        let names = [(); 3].map(|()| responder.submit(text(12), clock_us).unwrap());
        let mut reports = BTreeMap::new();
        let mut n_steps = 0;
        while !responder.is_idle() {
            n_steps += 1;
            // Every other batch is broken off in the middle.
            let mut n_left = if n_steps % 2 == 0 { 2 } else { usize::MAX };
            let go_on = &mut || {
                n_left -= 1;
                if n_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let stepped = responder.step(clock_us, go_on, &mut |id, event| match event {
                Event::Token { .. } if id == names[1] => ControlFlow::Break(()),
                Event::Finished { report, .. } => {
                    reports.insert(id, report.clone());
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Continue(()),
            });
            match stepped {
                Ok(_) => {}
                Err(error) => assert_eq!(error, FrontError::Session(SessionError::Stopped)),
            }
            if n_steps == 8 {
                let report = responder.cancel(names[2], clock_us).unwrap();
                assert_eq!(report.finish_reason, FinishReason::Cancelled);
                assert!(report.tokens_emitted > 0 && alone[0].ids.starts_with(&report.ids));
                assert_eq!(responder.cancel(names[2], clock_us), None);
            }
        }
        assert_eq!(words(&reports[&names[0]]), words(&alone[0]));
        let ended = &reports[&names[1]];
        assert_eq!((&ended.ids[..], ended.finish_reason), (&alone[1].ids[..1], FinishReason::Cancelled));
        assert!(!reports.contains_key(&names[2]));
    });
}

#[test]
fn while_requests_are_under_way_there_is_nothing_else() {
    with_slots(2, 2, |responder| {
        let id = responder.submit(text(2), clock_us).unwrap();
        let nothing = &mut |_: Event<'_>| ControlFlow::Continue(());
        assert_eq!(responder.generate(text(2), clock_us, nothing), Err(FrontError::Busy));
        assert_eq!(responder.logits(&[1], &mut |_| ControlFlow::Continue(())), Err(FrontError::Busy));
        assert!(responder.cancel(id, clock_us).is_some());
        assert_eq!(responder.logits(&[1], &mut |_| ControlFlow::Continue(())), Ok(()));
        assert_eq!(responder.generate(text(2), clock_us, nothing).unwrap().tokens_emitted, 2);
    });
}

/// Has prompts answered; returns the numbered lines that are shown, and the report.
fn answer_batch(
    responder: &mut Responder<'_>,
    batch: &Batch<'_>,
    mut go_on: impl FnMut(&BatchEvent<'_>) -> ControlFlow<()>,
) -> (String, BatchReport) {
    let (mut shown, mut lines) = (String::new(), NumberedLines::default());
    let report = batch::run(responder, batch, clock_us, &mut |event| {
        let show = &mut |text: std::fmt::Arguments<'_>| shown += &text.to_string();
        match &event {
            BatchEvent::Computing => {}
            BatchEvent::Text { index, text } => lines.text(*index, text, show),
            BatchEvent::End { index, result: Ok(_) } => lines.end(*index, show),
            BatchEvent::End { index, result: Err(error) } => show(format_args!("({index}: {error})\n")),
        }
        go_on(&event)
    });
    (shown, report.unwrap())
}

#[test]
fn a_batch_shows_the_same_lines_whatever_the_schedule() {
    let prompts = ["Once upon a time", "The little robot", "It had a small lamp", "x", "Once upon a time"];
    let long = "time ".repeat(100);
    let all = [&prompts[..], &[&*long, "Hello"]].concat();
    let chatml = ChatFormat { template: Some("chatml"), ..ChatFormat::default() };
    for task in [Task::Continue(PROMPT_ENCODING), Task::Answer { system: None, format: chatml }] {
        let sampling = SamplingConfig { temperature: 1.5, seed: 4, ..SamplingConfig::greedy() };
        let of_each = || Request { sampling, stop: &["q"], ..Request::new(Prompt::Ids(&[]), 14) };
        let batch = Batch { prompts: &all, task, request: of_each() };
        let mut expected = String::new();
        let mut lines = NumberedLines::default();
        with_responder(|responder| {
            for (index, prompt) in all.iter().enumerate() {
                let mut dialogue = Dialogue::default();
                let prompt = match task {
                    Task::Continue(options) => Prompt::Text(prompt, options),
                    Task::Answer { format, .. } => {
                        dialogue.ask(prompt).unwrap();
                        Prompt::Chat(&mut dialogue, format)
                    }
                };
                let request = Request { prompt, ..of_each() };
                let nothing = &mut |_: Event<'_>| ControlFlow::Continue(());
                match responder.generate(request, clock_us, nothing) {
                    Err(error) => expected += &format!("({index}: {error})\n"),
                    Ok(report) => {
                        let show = &mut |text: std::fmt::Arguments<'_>| expected += &text.to_string();
                        lines.text(index, &report.output, show);
                        lines.end(index, show);
                    }
                }
            }
        });
        assert!(expected.starts_with("[1] ") && expected.contains("\n[7] ") && expected.contains("(5: "));
        let rooms = [(3, 1), (1, 1), (2, 2), (5, 5)];
        for &(n_slots, n_pages) in &rooms[..if EMULATED { 1 } else { rooms.len() }] {
            with_slots(n_slots, n_pages, |responder| {
                let (shown, report) = answer_batch(responder, &batch, |_| ControlFlow::Continue(()));
                assert_eq!(shown, expected, "{n_slots} slots");
                assert_eq!((report.n_prompts, report.n_failed, report.is_cancelled), (7, 1, false));
                let line = report.to_string();
                assert!(line.starts_with("7 prompts of ") && line.ends_with(" tokens/s, 1 failed"), "{line}");
            });
        }
    }
}

/// The small model, changed so that the logits after the token `id` are not numbers.
fn micro_that_fails_after(id: u32) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models/micro.gguf");
    let file = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let embeddings = gguf.tensor("token_embd.weight").unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        writer.put(key, value).unwrap();
    }
    for tensor in gguf.tensors() {
        writer.declare_tensor(tensor.name, tensor.ty, tensor.shape()).unwrap();
    }
    // The embeddings as they were: else the token's own logit were no number at any place.
    writer.declare_tensor("output.weight", embeddings.ty, embeddings.shape()).unwrap();
    let mut changed = Vec::new();
    let mut data = writer
        .write_header(|bytes: &[u8]| {
            changed.extend_from_slice(bytes);
            Ok::<_, Infallible>(())
        })
        .unwrap();
    for tensor in gguf.tensors() {
        let mut bytes = gguf.tensor_data(tensor).unwrap().to_vec();
        if tensor.name == embeddings.name {
            let row_bytes = bytes.len() / tensor.dims[1] as usize;
            bytes[id as usize * row_bytes..][..row_bytes].fill(0xff);
        }
        data.write(&bytes).unwrap();
    }
    data.write(gguf.tensor_data(embeddings).unwrap()).unwrap();
    data.finish().unwrap();
    changed
}

#[test]
fn the_text_before_an_error_is_shown_whatever_the_schedule() {
    let file = micro_that_fails_after(generated(5)[4]);
    let prompts = ["It had a small lamp", PROMPT, "The little robot", "x"];
    let request = Request::new(Prompt::Ids(&[]), 14);
    let batch = Batch { prompts: &prompts, task: Task::Continue(PROMPT_ENCODING), request };
    let mut shown_by_one = String::new();
    for (n_slots, n_pages) in [(1, 1), (3, 3)] {
        with_file(&file, N_CTX, n_slots, n_pages, |responder| {
            let (shown, report) = answer_batch(responder, &batch, |_| ControlFlow::Continue(()));
            assert!(report.n_failed >= 1, "{shown}");
            if n_slots == 1 {
                let begun = shown.split("[2] ").nth(1).unwrap_or_default();
                assert!(begun.find("(1: ").is_some_and(|len| len > 1), "no text before the error: {shown}");
                shown_by_one = shown;
            } else {
                assert_eq!(shown, shown_by_one);
            }
        });
    }
}

#[test]
fn a_batch_can_be_broken_off_at_any_event() {
    with_slots(2, 2, |responder| {
        let request = Request::new(Prompt::Ids(&[]), 6);
        let prompts = ["Once", "upon", "a", "time"];
        let batch = Batch { prompts: &prompts, task: Task::Continue(PROMPT_ENCODING), request };
        let (whole, _) = answer_batch(responder, &batch, |_| ControlFlow::Continue(()));
        for most in (1..).step_by(if EMULATED { 13 } else { 1 }) {
            let mut n_events = 0;
            let (shown, report) = answer_batch(responder, &batch, |_| {
                n_events += 1;
                if n_events == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert!(whole.starts_with(&shown) && responder.is_idle(), "{shown}");
            assert_eq!(report.is_cancelled, n_events == most);
            if !report.is_cancelled {
                assert_eq!(shown, whole);
                break;
            }
        }
    });
}

#[test]
fn each_line_of_an_answer_has_its_number() {
    let lines = |texts: &[&str]| {
        let (mut shown, mut lines) = (String::new(), NumberedLines::default());
        let show = &mut |text: std::fmt::Arguments<'_>| shown += &text.to_string();
        texts.iter().for_each(|text| lines.text(2, text, show));
        lines.end(2, show);
        lines.end(3, show);
        shown
    };
    assert_eq!(lines(&[]), "[3] \n[4] \n");
    assert_eq!(lines(&["a", "b\nc", "\n", "\nd"]), "[3] ab\n[3] c\n[3] \n[3] d\n[4] \n");
    assert_eq!(lines(&["a\n"]), "[3] a\n[4] \n");
    let (mut shown, mut lines) = (String::new(), NumberedLines::default());
    for (index, ids) in [(0, &[7, 0, 12][..]), (1, &[])] {
        let show = &mut |text: std::fmt::Arguments<'_>| shown += &text.to_string();
        lines.ids(index, ids, show);
        lines.end(index, show);
    }
    assert_eq!(shown, "[1] 7 0 12\n[2] \n");
    assert_eq!(batch::prompts("a b\r\n\n  \nc").collect::<Vec<_>>(), ["a b", "c"]);
}

#[test]
fn an_encoder_has_logits_and_no_text() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/architectures/bert.gguf");
    let file = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Model::load(&gguf, ModelBytes::as_in_file(gguf.bytes())).unwrap();
    let n_output = model.config().n_output();
    let state = StateOptions {
        n_slots: 1,
        n_ctx: 8,
        n_pages: 1,
        kv_type: KvType::F16,
        finds_prefixes: true,
        n_checkpoints: 4,
        own_checkpoints: false,
    };
    let options = RunnerOptions { state, n_batch: 8, n_logits: 8, precision: Precision::Quantized };
    let mut memory = vec![0; Runner::required_bytes(model.config(), &options).unwrap() + 64];
    let runner = Runner::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    // The file has no vocabulary, and none is needed.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models/micro.gguf");
    let vocabulary = std::fs::read(path).unwrap();
    let prompter = Prompter::new(Gguf::parse(&vocabulary, vocabulary.len() as u64).unwrap()).unwrap();
    let mut responder = Responder::new(prompter, runner, 0).unwrap();
    let refused = responder.generate(text(1), clock_us, &mut |_| ControlFlow::Continue(()));
    assert_eq!(refused, Err(FrontError::Encoder));
    let mut n_rows = 0;
    let on_row = &mut |row: &[f32]| {
        assert_eq!(row.len(), n_output);
        n_rows += 1;
        ControlFlow::Continue(())
    };
    responder.logits(&[1, 2, 3], on_row).unwrap();
    assert_eq!(n_rows, 3);
    let plan = BenchPlan { n_prompt: 5, n_generate: 3, n_runs: 2, ..BenchPlan::DEFAULT };
    let meter = Meter { clock_us, instructions_retired: || None };
    let mut bench = |plan| responder.bench(plan, meter, &mut || ControlFlow::Continue(()));
    let result = bench(plan).unwrap();
    assert_eq!((result.prefill.tokens, result.decode.tokens), (5, 3));
    let refused = |option| Err(FrontError::EncoderOption { option });
    assert_eq!(bench(BenchPlan { depth: 1, ..plan }), refused("--depth"));
    assert_eq!(bench(BenchPlan { n_parallel: Some(1), ..plan }), refused("--parallel"));
}

#[test]
fn the_next_turn_of_a_conversation_computes_what_is_new() {
    with_contexts(256, 1, 4, |responder| {
        let format = ChatFormat { template: Some("chatml"), ..ChatFormat::default() };
        let mut dialogue = Dialogue::default();
        dialogue.ask("Hi").unwrap();
        let first = answer(responder, Request::new(Prompt::Chat(&mut dialogue, format), 5));
        dialogue.answer(&first.output, Format::default()).unwrap();
        dialogue.ask("And").unwrap();
        let before = responder.counts();
        let second = answer(responder, Request::new(Prompt::Chat(&mut dialogue, format), 1));
        let counts = responder.counts().since(before);
        assert_eq!(second.forgotten, None);
        assert!(counts.n_reused >= first.prompt_tokens, "{counts:?}");
        assert_eq!(counts.n_computed + counts.n_reused, second.prompt_tokens);
    });
}

#[test]
fn an_answer_is_told_apart_where_that_is_wanted() {
    with_contexts(256, 1, 4, |responder| {
        let messages = [Message::new("user", PROMPT)];
        let mut of = |prompt, tell_apart| {
            let (mut parts, mut shown, mut is_over) = (String::new(), String::new(), false);
            let request = Request { tell_apart, ..Request::new(prompt, 12) };
            let report = responder.generate(request, clock_us, &mut |event| {
                assert!(!is_over);
                shown += event.text();
                match event {
                    Event::Part(Part::Content(text)) => parts += text,
                    Event::Part(part) => panic!("{part:?}"),
                    Event::Finished { .. } => is_over = true,
                    _ => {}
                }
                ControlFlow::Continue(())
            });
            let report = report.unwrap();
            assert_eq!(report.output, shown);
            (parts, report)
        };
        let chatml = ChatFormat { template: Some("chatml"), ..ChatFormat::default() };
        let (parts, report) = of(Prompt::Messages(&messages, chatml), true);
        assert!(!parts.is_empty());
        assert_eq!(parts, report.output);
        assert_eq!(report.format.map(|format| (format.form.name, format.starts_open)), Some(("none", false)));
        let (parts, report) = of(Prompt::Messages(&messages, chatml), false);
        assert_eq!((parts.as_str(), report.format.is_some()), ("", true));
        let (parts, report) = of(Prompt::Text(PROMPT, PROMPT_ENCODING), true);
        assert_eq!((parts.as_str(), report.format), ("", None));
    });
}
