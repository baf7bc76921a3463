//! Answers that follow a grammar or a JSON schema: an answer has the same text alone, beside others, and with guesses.
//! Constraints that cannot be followed are refused.

use std::ops::ControlFlow;

use crate::{micro, responder};
use grammar::json_schema::Options;
use llm::front::{AnswerGrammar, Event, FrontError, PROMPT_ENCODING, Prompt, Report, Request, Responder};
use llm::sampling::SamplingConfig;
use llm::session::FinishReason;

const N_CTX: usize = 256;

fn with_responder(test: impl FnOnce(&mut Responder<'_>)) {
    responder::with_responder(&micro::micro(N_CTX as u32), N_CTX, 64, test);
}

fn request(grammar: AnswerGrammar<'_>, seed: u64) -> Request<'_> {
    let sampling = SamplingConfig { temperature: 1.0, seed, ..SamplingConfig::greedy() };
    let prompt = Prompt::Text("Once upon a time", PROMPT_ENCODING);
    Request { sampling, grammar: Some(grammar), ..Request::new(prompt, 200) }
}

fn answer(responder: &mut Responder<'_>, request: Request<'_>) -> Report {
    responder.generate(request, || 0, &mut |_| ControlFlow::Continue(())).unwrap()
}

const SCHEMA: &str = r#"{
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "é"]}, "minItems": 1, "maxItems": 3}
    },
    "required": ["name", "age", "tags"]
}"#;
const OF_SCHEMA: AnswerGrammar<'_> = AnswerGrammar::JsonSchema(SCHEMA, Options::GENERATED);

fn is_valid(output: &str) -> bool {
    let value: serde_json::Value = serde_json::from_str(output).unwrap();
    let object = value.as_object().unwrap();
    let tags = object["tags"].as_array().unwrap();
    object.keys().eq(["name", "age", "tags"])
        && object["name"].as_str().unwrap().chars().count() <= 12
        && object["age"].as_u64().unwrap() <= 150
        && (1..=3).contains(&tags.len())
        && tags.iter().all(|tag| ["red", "green", "é"].contains(&tag.as_str().unwrap()))
}

#[test]
fn finished_answers_are_valid_and_the_end_is_where_the_schema_has_it() {
    with_responder(|responder| {
        for seed in 0..10 {
            let report = answer(responder, request(OF_SCHEMA, seed));
            assert_eq!(report.finish_reason, FinishReason::EndOfText, "{}", report.output);
            assert!(is_valid(&report.output), "{}", report.output);
        }
        let either = AnswerGrammar::Gbnf("root ::= \" yes\" | \" no\"");
        let greedy = Request { sampling: SamplingConfig::greedy(), ..request(either, 0) };
        let report = answer(responder, greedy);
        assert!([" yes", " no"].contains(&&*report.output), "{:?}", report.output);
        assert_eq!(report.finish_reason, FinishReason::EndOfText);
        let object = answer(responder, Request { max_tokens: 30, ..request(AnswerGrammar::JsonObject, 3) });
        assert!(object.output.starts_with('{'), "{}", object.output);
    });
}

#[test]
fn the_text_is_the_same_alone_beside_others_and_with_guesses() {
    with_responder(|responder| {
        let words = AnswerGrammar::Gbnf("root ::= (\" \" [a-z]{1,3} \",\"){6} \".\"");
        let wishes = [(OF_SCHEMA, 1), (words, 2), (OF_SCHEMA, 3), (words, 4), (OF_SCHEMA, 1)];
        let alone = wishes.map(|(grammar, seed)| answer(responder, request(grammar, seed)));
        assert_ne!(alone[0].ids, alone[2].ids);
        for speculate in [0, 3] {
            let ids = wishes.map(|(grammar, seed)| {
                responder.submit(Request { speculate, ..request(grammar, seed) }, || 0).unwrap()
            });
            let mut reports = Vec::new();
            while !responder.is_idle() {
                let mut on_event = |id, event: Event<'_>| {
                    if let Event::Finished { report, .. } = event {
                        reports.push((id, report.clone()));
                    }
                    ControlFlow::Continue(())
                };
                responder.step(|| 0, &mut || ControlFlow::Continue(()), &mut on_event).unwrap();
            }
            for (id, alone) in ids.iter().zip(&alone) {
                let (_, report) = reports.iter().find(|(other, _)| other == id).unwrap();
                assert_eq!((&report.ids, &report.output), (&alone.ids, &alone.output), "{speculate}");
            }
            let n_drafted: usize = reports.iter().map(|(_, report)| report.speculation.n_drafted).sum();
            assert_eq!(n_drafted > 0, speculate > 0);
        }
    });
}

#[test]
fn what_is_no_grammar_or_cannot_be_kept_to_is_refused() {
    with_responder(|responder| {
        let mut refusal = |grammar| match responder.submit(request(grammar, 0), || 0) {
            Err(error @ (FrontError::Grammar(_) | FrontError::Schema(_))) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(refusal(AnswerGrammar::Gbnf("root ::= other")).contains("other"));
        assert!(refusal(AnswerGrammar::Gbnf("root ::= root \"a\"")).contains("root"));
        let unique = r#"{"properties": {"a": {"type": "array", "uniqueItems": true}}}"#;
        let message = refusal(AnswerGrammar::JsonSchema(unique, Options::GENERATED));
        assert!(message.contains("/properties/a"), "{message}");
        assert!(responder.is_idle());
    });
}
