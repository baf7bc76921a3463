//! Receipts: computing an answer again confirms its receipt, whether the answer was made alone or beside others, and refutes a
//! false one.

use std::borrow::Cow;
use std::ops::ControlFlow;

use crate::{micro, responder};
use grammar::json_schema::Options;
use llm::chat::{Message, Tool};
use llm::front::receipt::{Verdict, verify};
use llm::front::{AnswerGrammar, ChatFormat, Event, Prompt, Report, Request, Responder, ToolChoice};
use llm::sampling::SamplingConfig;
use llm::tokenizer::EncodeOptions;
use trust::canonical::Writer;
use trust::fixed::Fixed;
use trust::receipt::{Maker, Model, Record, write_record};
use trust::sha256::PORTABLE;

const N_CTX: usize = 1024;
const PLAIN: EncodeOptions = EncodeOptions { add_special: true, parse_special: false };
const SCHEMA: &str = r#"{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a"]}"#;
const TOOLS: [Tool<'_>; 1] = [Tool { name: "add", description: "Adds", parameters: SCHEMA }];
const MESSAGES: [Message<'_>; 1] = [Message::new("user", "Hi")];
const CHAT: ChatFormat<'_> = ChatFormat {
    template: Some("chatml"),
    enable_thinking: None,
    reasoning_effort: None,
    tools: &[],
    now_seconds: None,
};

/// Requests of all kinds.
fn requests() -> Vec<Request<'static>> {
    let filters = SamplingConfig {
        temperature: 0.9,
        top_k: 30,
        top_p: 0.9,
        min_p: 0.01,
        repeat_penalty: 1.2,
        dry_multiplier: 0.7,
        seed: u64::MAX - 3,
        ..SamplingConfig::greedy()
    };
    let text = |text, max_tokens| Request {
        receipt: Some(PORTABLE),
        ..Request::new(Prompt::Text(text, PLAIN), max_tokens)
    };
    let chat = |format| Request {
        receipt: Some(PORTABLE),
        tell_apart: true,
        ..Request::new(Prompt::Messages(&MESSAGES, format), 60)
    };
    vec![
        text("Hello", 30),
        Request { sampling: filters, speculate: 3, ..text("Hello world, hello", 40) },
        Request {
            sampling: SamplingConfig { mirostat: 2, temperature: 1.0, ..filters },
            ..text("Hello", 20)
        },
        Request {
            logit_bias: &[(7, 30.0), (9, f32::NEG_INFINITY)],
            ignore_eos: true,
            ..text("a \"b\"\n", 25)
        },
        Request { stop: &["e", "\u{1}"], ..text("Hello", 50) },
        Request {
            grammar: Some(AnswerGrammar::JsonSchema(SCHEMA, Options::GENERATED)),
            sampling: filters,
            ..text("x", 60)
        },
        Request { grammar: Some(AnswerGrammar::Gbnf("root ::= [a-z]{3,9} \"\\n\"")), ..chat(CHAT) },
        Request { grammar: Some(AnswerGrammar::JsonObject), sampling: filters, ..text("x", 20) },
        Request {
            tool_choice: ToolChoice::Named("add"),
            sampling: filters,
            ..chat(ChatFormat { tools: &TOOLS, ..CHAT })
        },
        text("Hello", 0),
        Request { ignore_eos: true, ..text("Hello", usize::MAX) },
    ]
}

/// Answers all of them in the same batches.
fn answered(responder: &mut Responder<'_>, requests: Vec<Request<'_>>) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut waiting = requests.into_iter();
    let mut ids = Vec::new();
    loop {
        while responder.n_requests() < responder::N_SLOTS {
            let Some(request) = waiting.next() else { break };
            ids.push(responder.submit(request, || 0).unwrap());
            reports.push(None);
        }
        if responder.is_idle() {
            return reports.into_iter().map(Option::unwrap).collect();
        }
        let stepped = responder.step(|| 0, &mut || ControlFlow::Continue(()), &mut |id, event| {
            let index = ids.iter().position(|known| *known == id).unwrap();
            match event {
                Event::Finished { report, .. } => reports[index] = Some(report.clone()),
                Event::Failed { error, .. } => panic!("{error}"),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        stepped.unwrap();
    }
}

fn written(report: &Report) -> Vec<u8> {
    let maker = Maker { image_sha256: Some(Fixed([7; 32])), program: "test".into() };
    let model = Model { adapters: Vec::new(), files: Vec::new(), name: "micro".into() };
    let mut writer = Writer::new();
    write_record(&mut writer, &maker, &model, (Some("nonce"), None), |w| {
        report.work.as_ref().unwrap().write(w, report);
    });
    writer.finish().unwrap()
}

fn read(record: &[u8]) -> Record<'_> {
    serde_json::from_slice(record).unwrap()
}

fn verdict(responder: &mut Responder<'_>, record: &Record<'_>, prompt: &[u32]) -> Result<Verdict, String> {
    verify(responder, &record.work, prompt, PORTABLE, || 0, &mut |_| {}).map_err(|error| error.to_string())
}

#[test]
fn what_is_written_of_an_answer_is_found_again() {
    let file = micro::micro(N_CTX as u32);
    let reports = responder::with_responder(&file, N_CTX, 64, |responder| answered(responder, requests()));
    responder::with_responder(&file, N_CTX, 512, |responder| {
        for (index, report) in reports.iter().enumerate() {
            let text = written(report);
            let record = read(&text);
            assert_eq!(record.write().unwrap(), text, "one spelling");
            let prompt = report.work.as_ref().unwrap().prompt();
            assert_eq!(
                verdict(responder, &record, prompt),
                Ok(Verdict::Accept),
                "request {index}: {record:?}"
            );
        }
    });
}

#[test]
fn what_is_changed_is_refused() {
    let file = micro::micro(N_CTX as u32);
    responder::with_responder(&file, N_CTX, 64, |responder| {
        let reports = answered(responder, requests());
        let texts: Vec<Vec<u8>> = reports.iter().map(written).collect();
        let [greedy, sampled, .., limit, full] = &texts[..] else { panic!() };
        let prompt = |index: usize| reports[index].work.as_ref().unwrap().prompt();
        let n_tokens = read(sampled).work.answer.tokens.len();

        // Each token, and each link of the running hash.
        for place in 0..n_tokens {
            let mut record = read(sampled);
            record.work.answer.tokens.to_mut()[place] += 1;
            let expected = Verdict::Reject { token: Some(place + 1), reason: "another token is drawn" };
            assert_eq!(verdict(responder, &record, prompt(1)), Ok(expected));
            let mut record = read(sampled);
            let links = record.work.answer.links.to_mut();
            let other = if links.as_bytes()[8 * place + 3] == b'0' { "1" } else { "0" };
            links.replace_range(8 * place + 3..8 * place + 4, other);
            let expected = Verdict::Reject { token: Some(place + 1), reason: "its logits have other bits" };
            assert_eq!(verdict(responder, &record, prompt(1)), Ok(expected));
        }
        // Every other field that the answer depends on.
        type Change = fn(&mut Record<'_>);
        let changes: &[(usize, Change)] = &[
            (1, |record| record.work.answer.logits_sha256.0[31] ^= 1),
            (1, |record| record.work.answer.finish = "end_of_text".into()),
            (1, |record| record.work.answer.finish = "context_full".into()),
            (1, |record| record.work.answer.finish = "nothing".into()),
            (1, |record| _ = record.work.answer.tokens.to_mut().pop()),
            (1, |record| record.work.answer.tokens.to_mut().push(3)),
            (1, |record| record.work.answer.links.to_mut().push_str("00000000")),
            (1, |record| record.work.answer.links = "x".into()),
            (1, |record| record.work.engine += 1),
            (1, |record| record.work.prompt.n_tokens += 1),
            (1, |record| record.work.prompt.sha256.0[0] ^= 1),
            (1, |record| record.work.request.sampling.seed = "1".into()),
            (1, |record| record.work.request.sampling.seed = "-1".into()),
            (1, |record| record.work.request.sampling.temperature.0 = 1.4),
            (1, |record| record.work.request.sampling.top_k = 1),
            (1, |record| record.work.request.sampling.repeat_penalty.0 = 1.0),
            (1, |record| record.work.request.sampling.samplers = "top_k;other".into()),
            (1, |record| record.work.request.max_tokens += 1),
            (1, |record| record.work.request.max_tokens -= 1),
            (1, |record| record.work.request.logit_bias.push((3, trust::receipt::Float(90.0)))),
            (1, |record| record.work.request.adapters.push(trust::receipt::Float(1.0))),
            (1, |record| record.work.request.tool_choice = "required".into()),
            (1, |record| record.work.request.stop.push(Cow::Borrowed("e"))),
            (1, |record| record.work.state.k_type = "f32".into()),
            (1, |record| record.work.state.n_ctx += 1),
            (1, |record| record.work.state.n_positions = 3),
            (1, |record| record.work.state.precision = "exact".into()),
            (1, |record| record.work.state.kernels = Some("neon+fp16".into())),
            (1, |record| record.work.usage.completion_tokens += 1),
            (1, |record| record.work.usage.prompt_tokens += 1),
            (1, |record| record.work.usage.cached_tokens = 1000),
            (3, |record| record.work.request.logit_bias.clear()),
            (4, |record| record.work.request.stop.clear()),
            (5, |record| record.work.request.constraint = None),
            (6, |record| record.work.request.constraint.as_mut().unwrap().text = "root ::= [A-Z]+".into()),
            (6, |record| record.work.request.constraint.as_mut().unwrap().kind = "abnf".into()),
            (8, |record| record.work.request.tools[0].name = "sub".into()),
            (8, |record| record.work.request.format.as_mut().unwrap().form = "morse".into()),
        ];
        for (number, (index, change)) in changes.iter().enumerate() {
            let mut record = read(&texts[*index]);
            change(&mut record);
            let verdict = verdict(responder, &record, prompt(*index));
            assert_ne!(verdict, Ok(Verdict::Accept), "change {number}");
        }
        // The ends that limits make.
        assert_eq!(&*read(limit).work.answer.finish, "token_limit");
        assert_eq!(&*read(full).work.answer.finish, "context_full");
        let mut record = read(full);
        record.work.state.n_positions += 1;
        assert_ne!(verdict(responder, &record, prompt(10)), Ok(Verdict::Accept));
        assert_ne!(verdict(responder, &read(greedy), &[1, 2, 3]), Ok(Verdict::Accept));
    });
}
