//! Requests to a responder: what comes back, in which order, and that it is what a session gives.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use llm::chat::Dialogue;
use llm::front::{
    ChatFormat, Event, FrontError, PROMPT_ENCODING, Prompt, Prompter, Report, Request, Responder,
};
use llm::gguf::Gguf;
use llm::model::Model;
use llm::parallel::Serial;
use llm::sampling::{Sampler, SamplingConfig};
use llm::session::{FinishReason, Session, SessionError, SessionOptions, Step};
use llm::simd::Kernels;
use llm::tokenizer::EncodeOptions;

const N_CTX: usize = 64;
const PROMPT: &str = "Once upon a time";

/// A microsecond passes with each look at it.
fn clock_us() -> u64 {
    static NOW: AtomicU64 = AtomicU64::new(0);
    NOW.fetch_add(1, Ordering::Relaxed)
}

/// Runs `test` with a responder of the small model.
fn with_responder(test: impl FnOnce(&mut Responder<'_>)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_models/micro.gguf");
    let file = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    let model = Model::load(&gguf).unwrap();
    let options = SessionOptions { n_logits: 5, ..SessionOptions::generate(N_CTX) };
    let mut memory = vec![0; Session::required_bytes(model.config(), &options).unwrap() + 64];
    let session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    test(&mut Responder::new(Prompter::new(gguf).unwrap(), session));
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
    let model = Model::load(&gguf).unwrap();
    let options = SessionOptions::generate(N_CTX);
    let mut memory = vec![0; Session::required_bytes(model.config(), &options).unwrap() + 64];
    let mut session = Session::new(model, options, Kernels::detect(), &Serial, &mut memory).unwrap();
    let mut prompt = Vec::new();
    prompter.tokenizer().encode(PROMPT, PROMPT_ENCODING, &mut prompt).unwrap();
    let mut sampler = Sampler::new(SamplingConfig::greedy(), prompter.tokenizer().n_vocab()).unwrap();
    let mut generation =
        session.generate(prompter.tokenizer(), &mut sampler, &prompt, n_tokens, &[]).unwrap();
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
                Event::Prompt => assert!(ids.is_empty()),
                Event::Token { id, .. } => ids.push(id),
                Event::Trace { step, logits } => {
                    traced.push(step);
                    assert!(logits.min < logits.max);
                }
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

#[test]
fn ids_texts_and_dialogues_are_prompts() {
    with_responder(|responder| {
        let of_text = answer(responder, text(8));
        let mut ids = Vec::new();
        responder.prompter().tokenizer().encode(PROMPT, PROMPT_ENCODING, &mut ids).unwrap();
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
fn what_is_forgotten_is_told_before_the_answer() {
    with_responder(|responder| {
        let format = ChatFormat { template: Some("chatml"), ..ChatFormat::default() };
        let mut dialogue = Dialogue::default();
        for _ in 0..6 {
            dialogue.ask("Where did the little robot go?").unwrap();
            dialogue.answer("It went down to the river.").unwrap();
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
            dialogue.answer("It went home.").unwrap();
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
