//! Answers with tool calls and thoughts, with templates of all forms and weights that were not trained for them: calls that are
//! forced or that a text begins, grammars after thoughts, and limits on thoughts. An answer has the same text alone, beside
//! others, and with guesses.

use std::ops::ControlFlow;

use crate::{micro, responder};
use grammar::json_schema::Options;
use llm::chat::{Message, Part, Tool};
use llm::front::{
    AnswerGrammar, ChatFormat, Event, FrontError, Prompt, Report, Request, Responder, ToolChoice,
};
use llm::gguf::Gguf;
use llm::sampling::SamplingConfig;
use llm::session::FinishReason;
use serde_json::Value;

const N_CTX: usize = 3072;
/// The first of the tokens that become marks.
const FIRST_MARK: usize = 700;

/// The small model with another template, and with tokens that have these names and no text.
fn file(template: &str, marks: &[&str]) -> Vec<u8> {
    let micro = micro::micro(N_CTX as u32);
    let gguf = Gguf::parse(&micro, micro.len() as u64).unwrap();
    let changed = ["tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.chat_template"];
    let array = |key: &str| gguf.metadata().find(|(known, _)| *known == key).unwrap().1.as_array().unwrap();
    broken_gguf::with_metadata(&gguf, &|key| !changed.contains(&key), &mut |writer| {
        let mut tokens: Vec<&[u8]> = array(changed[0]).strings().unwrap().collect();
        for (token, mark) in tokens[FIRST_MARK..].iter_mut().zip(marks) {
            *token = mark.as_bytes();
        }
        writer.put_strings(changed[0], tokens.into_iter()).unwrap();
        let mut kinds: Vec<i32> = array(changed[1]).i32s().unwrap().collect();
        kinds[FIRST_MARK..][..marks.len()].fill(3);
        writer.put_i32s(changed[1], &kinds).unwrap();
        writer.put_str(changed[2], template).unwrap();
    })
}

fn with_responder<T>(template: &str, marks: &[&str], test: impl FnOnce(&mut Responder<'_>) -> T) -> T {
    responder::with_responder(&file(template, marks), N_CTX, 256, test)
}

const WEATHER: &str = r#"{
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["C", "F"]},
        "hourly": {"type": "boolean"}
    },
    "required": ["city", "days"]
}"#;
const TOOLS: [Tool<'_>; 2] = [
    Tool { name: "get_weather", description: "Tells the weather", parameters: WEATHER },
    Tool { name: "get_time", description: "Tells the time", parameters: "" },
];
const MESSAGES: [Message<'_>; 1] = [Message::new("user", "Hi")];

fn is_valid(name: &str, arguments: &str) -> bool {
    let value: Value = serde_json::from_str(arguments).unwrap_or_else(|error| panic!("{error}: {arguments}"));
    let object = value.as_object().unwrap();
    match name {
        "get_time" => object.is_empty(),
        "get_weather" => {
            object.keys().all(|key| ["city", "days", "unit", "hourly"].contains(&key.as_str()))
                && object["city"].as_str().unwrap().chars().count() <= 8
                && (1..=14).contains(&object["days"].as_u64().unwrap())
                && object.get("unit").is_none_or(|unit| unit == "C" || unit == "F")
                && object.get("hourly").is_none_or(Value::is_boolean)
        }
        _ => false,
    }
}

/// Makes all tokens equally likely, so that the answer depends only on which tokens are allowed.
fn request<'r>(seed: u64, max_tokens: usize) -> Request<'r> {
    let format = ChatFormat { tools: &TOOLS, ..ChatFormat::default() };
    let sampling = SamplingConfig { temperature: 1000.0, seed, ..SamplingConfig::greedy() };
    let plain = Request::new(Prompt::Messages(&MESSAGES, format), max_tokens);
    Request { sampling, tell_apart: true, ..plain }
}

/// The parts of an answer, by the kind of their events.
#[derive(Debug, Default, Clone, PartialEq)]
struct Told {
    content: String,
    reasoning: String,
    calls: Vec<(String, String)>,
    is_broken: bool,
}

impl Told {
    fn take(&mut self, part: Part<'_>) {
        match part {
            Part::Content(text) => self.content += text,
            Part::Reasoning(text) => self.reasoning += text,
            Part::ToolCallBegin { name, .. } => self.calls.push((name.into(), String::new())),
            Part::ToolCallArguments(text) => self.calls.last_mut().unwrap().1 += text,
            Part::ToolCallEnd => {}
            Part::ToolCallBroken { .. } => self.is_broken = true,
        }
    }
}

fn answer(responder: &mut Responder<'_>, request: Request<'_>) -> (Told, Report) {
    let mut told = Told::default();
    let on_event = &mut |event: Event<'_>| {
        if let Event::Part(part) = event {
            told.take(part);
        }
        ControlFlow::Continue(())
    };
    let report = responder.generate(request, || 0, on_event).unwrap();
    (told, report)
}

/// Submits all of these together, with guesses and without; each answer is the same as alone.
fn are_the_same(responder: &mut Responder<'_>, requests: &dyn Fn(u64) -> Request<'static>) {
    let alone = [0, 1, 2, 0, 3].map(|seed| (seed, answer(responder, requests(seed)).1));
    assert_ne!(alone[0].1.ids, alone[1].1.ids);
    let mut n_drafted = 0;
    for speculate in [0, 3] {
        let ids: Vec<_> = alone
            .iter()
            .map(|(seed, _)| responder.submit(Request { speculate, ..requests(*seed) }, || 0).unwrap())
            .collect();
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
        for (id, (seed, alone)) in ids.iter().zip(&alone) {
            let (_, report) = reports.iter().find(|(other, _)| other == id).unwrap();
            assert_eq!((&report.ids, &report.output), (&alone.ids, &alone.output), "{seed}, {speculate}");
        }
        n_drafted += reports.iter().map(|(_, report)| report.speculation.n_drafted).sum::<usize>();
    }
    assert!(n_drafted > 0);
}

/// Templates of all forms, with the name and the marks of each form.
fn templates() -> Vec<(String, String, Vec<&'static str>)> {
    let golden: Value = serde_json::from_str(include_str!("../golden/chat_tools.json")).unwrap();
    let marks = |name: &str| -> Vec<&'static str> {
        match name {
            "hermes" | "hermes, tools as Python writes them" => vec!["<tool_call>", "</tool_call>"],
            "qwen3-coder" => vec!["<tool_call>", "</tool_call>"],
            "llama-3" => vec!["<|python_tag|>"],
            "mistral-array" => vec!["[TOOL_CALLS]"],
            "mistral" => vec!["[TOOL_CALLS]", "[ARGS]"],
            "granite" => vec!["<|tool_call|>"],
            "command-r" => {
                vec!["<|START_ACTION|>", "<|END_ACTION|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"]
            }
            "deepseek-r1" | "deepseek-3.1" => vec![
                "<｜tool▁calls▁begin｜>",
                "<｜tool▁call▁begin｜>",
                "<｜tool▁sep｜>",
                "<｜tool▁call▁end｜>",
                "<｜tool▁calls▁end｜>",
            ],
            "kimi-k2" => vec![
                "<|tool_calls_section_begin|>",
                "<|tool_call_begin|>",
                "<|tool_call_argument_begin|>",
                "<|tool_call_end|>",
                "<|tool_calls_section_end|>",
            ],
            "glm-4.5" => {
                vec!["<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"]
            }
            "gpt-oss" => {
                vec![
                    "<|channel|>",
                    "<|message|>",
                    "<|start|>",
                    "<|end|>",
                    "<|constrain|>",
                    "<|return|>",
                    "<|call|>",
                ]
            }
            "lfm2" => vec!["<|tool_call_start|>", "<|tool_call_end|>"],
            "gemma-4" => vec!["<|tool_call>", "<tool_call|>", "<|\"|>"],
            "seed" => vec!["<seed:tool_call>", "</seed:tool_call>"],
            name => panic!("{name}"),
        }
    };
    let templates = golden["templates"].as_array().unwrap().iter();
    let text = |template: &Value, key: &str| template[key].as_str().unwrap().to_owned();
    templates
        .map(|template| {
            let name = text(template, "name");
            let marks = marks(&name);
            (name, text(template, "template"), marks)
        })
        .collect()
}

#[test]
fn calls_that_must_come_do_in_every_form() {
    for (name, template, marks) in templates() {
        for marks in [&[][..], &marks] {
            with_responder(&template, marks, |responder| {
                let mut n_calls = [0; 2];
                for seed in 0..8 {
                    let parallel = seed % 2 == 1;
                    let choice =
                        if seed % 4 < 2 { ToolChoice::Required } else { ToolChoice::Named("get_weather") };
                    let wish = Request {
                        tool_choice: choice,
                        parallel_tool_calls: parallel,
                        thinking_budget: Some(seed as usize % 5),
                        ..request(seed, 600)
                    };
                    let (told, report) = answer(responder, wish);
                    let told_all = format!("{name} {marks:?} {seed}: {:?} {told:?}", report.output);
                    let is_finished = report.finish_reason == FinishReason::EndOfText;
                    assert!(is_finished || parallel, "{told_all}");
                    if !is_finished {
                        continue;
                    }
                    assert_eq!((told.content.as_str(), told.is_broken), ("", false), "{told_all}");
                    assert!(!told.calls.is_empty() && (parallel || told.calls.len() == 1), "{told_all}");
                    for (called, arguments) in &told.calls {
                        assert!(is_valid(called, arguments), "{told_all}");
                        assert!(choice == ToolChoice::Required || called == "get_weather", "{told_all}");
                    }
                    n_calls[usize::from(parallel)] += told.calls.len();
                }
                assert!(n_calls[0] == 4, "{name}: {n_calls:?}");
                println!("{name} {} marks: {n_calls:?} calls", marks.len());
            });
        }
    }
}

/// What is added to a logit to make its token certain, or to make it come about every eighth time.
const CERTAIN: f32 = 1e6;
const OFTEN: f32 = 4700.0;

fn bias_of(mark: usize, bias: f32) -> [(u32, f32); 1] {
    [((FIRST_MARK + mark) as u32, bias)]
}

#[test]
fn what_a_trigger_begins_keeps_to_the_schema() {
    let mut n_forms = 0;
    for (name, template, marks) in templates() {
        // Those that begin a call by one token.
        if ["gpt-oss", "llama-3"].contains(&&*name) {
            continue;
        }
        n_forms += 1;
        with_responder(&template, &marks, |responder| {
            for seed in 0..6 {
                let parallel = seed % 2 == 1;
                let bias = bias_of(0, if seed < 3 { CERTAIN } else { OFTEN });
                let wish = Request {
                    logit_bias: &bias,
                    parallel_tool_calls: parallel,
                    thinking_budget: Some(0),
                    ..request(seed, 800)
                };
                let (told, report) = answer(responder, wish);
                let told_all = format!("{name} {seed}: {:?} {told:?}", report.output);
                // With a mark that comes for certain, parallel calls have no end.
                if report.finish_reason == FinishReason::EndOfText {
                    assert!(!told.is_broken, "{told_all}");
                    let has_ended_before = report.ids.iter().all(|&id| id as usize != FIRST_MARK);
                    assert!(!told.calls.is_empty() || has_ended_before, "{told_all}");
                } else {
                    assert!(parallel || told.calls.is_empty(), "{told_all}");
                }
                let n_whole = told.calls.len()
                    - usize::from(report.finish_reason != FinishReason::EndOfText).min(told.calls.len());
                assert!(parallel || n_whole <= 1, "{told_all}");
                for (called, arguments) in &told.calls[..n_whole] {
                    assert!(is_valid(called, arguments), "{told_all}");
                }
                assert!(seed > 0 || n_whole == 1 && told.content.is_empty(), "{told_all}");
            }
        });
    }
    assert!(n_forms >= 13, "{n_forms}");
}

fn template(name: &str) -> (String, Vec<&'static str>) {
    let found = templates().into_iter().find(|(found, ..)| found == name).unwrap();
    (found.1, found.2)
}

#[test]
fn triggers_change_nothing_about_batches_and_guesses() {
    static BIAS: [(u32, f32); 1] = [(FIRST_MARK as u32, OFTEN)];
    let (template, marks) = template("hermes");
    with_responder(&template, &marks, |responder| {
        let wish = |seed| Request { logit_bias: &BIAS, thinking_budget: Some(2), ..request(seed, 120) };
        let (told, _) = answer(responder, wish(1));
        println!("{told:?}");
        are_the_same(responder, &wish);
    });
}

const SCHEMA: &str = r#"{"type": "object", "properties": {"ok": {"type": "boolean"}, "why": {"type": "string", "maxLength": 6}},
    "required": ["ok", "why"]}"#;

fn is_of_schema(content: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(content) else { return false };
    value["ok"].is_boolean() && value["why"].as_str().unwrap().chars().count() <= 6
}

fn with_schema(seed: u64) -> Request<'static> {
    let grammar = Some(AnswerGrammar::JsonSchema(SCHEMA, Options::GENERATED));
    let sampling = request(seed, 300).sampling;
    let plain = Request::new(Prompt::Messages(&MESSAGES, ChatFormat::default()), 300);
    Request { sampling, tell_apart: true, grammar, ..plain }
}

const OPENS: &str = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n";
const MAY_OPEN: &str = "{% for m in messages %}{{ m.content }}{% endfor %}{# <think> #}";

#[test]
fn a_schema_holds_what_is_said_behind_a_thought() {
    // The prompt begins the thought, and the mark that ends it is a token or text.
    with_responder(OPENS, &["</think>"], |responder| {
        for seed in 0..8 {
            let bias = bias_of(0, OFTEN);
            let (told, report) = answer(responder, Request { logit_bias: &bias, ..with_schema(seed) });
            assert_eq!(report.finish_reason, FinishReason::EndOfText, "{}", report.output);
            assert!(is_of_schema(&told.content), "{told:?}");
        }
        let bias = bias_of(0, OFTEN);
        let (told, _) = answer(responder, Request { logit_bias: &bias, ..with_schema(2) });
        assert!(!told.reasoning.is_empty(), "{told:?}");
    });
    with_responder(OPENS, &[], |responder| {
        for budget in [0, 1, 9] {
            let (told, report) =
                answer(responder, Request { thinking_budget: Some(budget), ..with_schema(3) });
            assert!(is_of_schema(&told.content), "{told:?}");
            assert_eq!(told.reasoning.is_empty(), budget == 0, "{told:?}");
            assert!(report.output.contains("</think>"));
        }
        are_the_same(responder, &|seed| Request {
            thinking_budget: Some(seed as usize),
            ..with_schema(seed)
        });
    });
    // The model begins the thought, or begins with what is said.
    with_responder(MAY_OPEN, &["<think>"], |responder| {
        for seed in 0..4 {
            let bias = bias_of(0, if seed < 2 { CERTAIN } else { f32::NEG_INFINITY });
            let wish = Request { logit_bias: &bias, thinking_budget: Some(4), ..with_schema(seed) };
            let (told, report) = answer(responder, wish);
            assert!(is_of_schema(&told.content), "{told:?}");
            assert_eq!(
                !told.reasoning.is_empty(),
                seed < 2 || report.output.starts_with("<think>"),
                "{told:?}"
            );
        }
    });
    with_responder(MAY_OPEN, &[], |responder| {
        for seed in 0..8 {
            let (told, _) = answer(responder, Request { thinking_budget: Some(3), ..with_schema(seed) });
            assert!(is_of_schema(&told.content), "{told:?}");
        }
    });
    // Channels, and marks around what is said.
    for name in ["gpt-oss", "command-r", "hermes"] {
        let (template, marks) = template(name);
        for marks in [&[][..], &marks] {
            with_responder(&template, marks, |responder| {
                for seed in 0..6 {
                    let wish = Request { thinking_budget: Some(3), ..with_schema(seed) };
                    let (told, report) = answer(responder, wish);
                    assert!(is_of_schema(&told.content), "{name}: {:?} {told:?}", report.output);
                }
            });
        }
    }
}

#[test]
fn a_grammar_that_writes_the_thought_itself_holds_all() {
    with_responder(OPENS, &[], |responder| {
        let grammar = AnswerGrammar::Gbnf("root ::= [a-c]{2} \"</think>\" [x-z]{3}");
        let (told, _) = answer(responder, Request { grammar: Some(grammar), ..with_schema(1) });
        assert_eq!((told.reasoning.len(), told.content.len()), (2, 3), "{told:?}");
        let grammar = AnswerGrammar::Gbnf("root ::= [x-z]{3}");
        let wish = Request { grammar: Some(grammar), thinking_budget: Some(2), ..with_schema(1) };
        let (told, _) = answer(responder, wish);
        assert_eq!((told.reasoning.is_empty(), told.content.len()), (false, 3), "{told:?}");
    });
}

#[test]
fn thoughts_end_where_their_budget_does() {
    with_responder(OPENS, &[], |responder| {
        let wish = |budget, max_tokens| Request {
            thinking_budget: budget,
            tell_apart: true,
            ..Request::new(Prompt::Messages(&MESSAGES, ChatFormat::default()), max_tokens)
        };
        let (_, free) = answer(responder, wish(None, 40));
        let mut closing = vec![];
        let options = llm::tokenizer::EncodeOptions { add_special: false, parse_special: true };
        responder.prompter().tokenizer().unwrap().encode("\n</think>\n\n", options, &mut closing).unwrap();
        for budget in [0, 1, 7, 30] {
            let (told, report) = answer(responder, wish(Some(budget), 60));
            assert_eq!(report.ids[..budget], free.ids[..budget]);
            assert_eq!(report.ids[budget..][..closing.len()], closing);
            assert_eq!(told.reasoning.is_empty(), budget == 0);
            assert!(!told.content.is_empty(), "{told:?}");
            // The last token that is wanted may be within the mark.
            let (_, short) = answer(responder, wish(Some(budget), budget + 2));
            assert_eq!(short.ids, report.ids[..budget + 2]);
        }
        assert_eq!(answer(responder, wish(Some(41), 40)).1.ids, free.ids);
        are_the_same(responder, &|seed| Request {
            thinking_budget: Some(3 + seed as usize),
            sampling: SamplingConfig { temperature: 1.0, seed, ..SamplingConfig::greedy() },
            ..Request::new(Prompt::Messages(&MESSAGES, ChatFormat::default()), 80)
        });
    });
}

#[test]
fn tools_that_cannot_be_called_are_refused() {
    let (template, _) = template("hermes");
    with_responder(&template, &[], |responder| {
        let mut refusal = |wish: Request<'_>| responder.submit(wish, || 0).unwrap_err();
        let named = |name| Request { tool_choice: ToolChoice::Named(name), ..request(0, 9) };
        assert!(matches!(refusal(named("nothing")), FrontError::NoTool { name } if name == "nothing"));
        let format = ChatFormat::default();
        let no_tools = Request {
            tool_choice: ToolChoice::Required,
            ..Request::new(Prompt::Messages(&MESSAGES, format), 9)
        };
        assert!(matches!(refusal(no_tools), FrontError::NoTool { name } if name.is_empty()));
        let parameters = r#"{"properties": {"a": {"type": "array", "uniqueItems": true}}}"#;
        let tools = [TOOLS[0], Tool { name: "set", description: "", parameters }];
        let format = ChatFormat { tools: &tools, ..ChatFormat::default() };
        let wish =
            |tool_choice| Request { tool_choice, ..Request::new(Prompt::Messages(&MESSAGES, format), 9) };
        for choice in [ToolChoice::Required, ToolChoice::Named("set")] {
            let error = refusal(wish(choice));
            assert!(matches!(&error, FrontError::Tool { tool: 1, .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.contains("\"set\"") && message.contains("/properties/a"), "{message}");
        }
        assert!(responder.submit(wish(ToolChoice::Auto), || 0).is_ok());
        assert!(responder.submit(wish(ToolChoice::Named("get_weather")), || 0).is_ok());
    });
}

#[test]
fn a_thought_in_a_channel_that_is_held_has_no_other_marks() {
    let (template, marks) = template("gpt-oss");
    for marks in [&[][..], &marks] {
        with_responder(&template, marks, |responder| {
            // All its marks, so that they would come in thoughts.
            let often: Vec<(u32, f32)> = (0..marks.len()).map(|mark| bias_of(mark, OFTEN)[0]).collect();
            let mut n_thoughts = 0;
            for seed in 0..12 {
                let wish = Request { logit_bias: &often, thinking_budget: Some(20), ..with_schema(seed) };
                let (told, report) = answer(responder, wish);
                assert!(is_of_schema(&told.content), "{:?} {told:?}", report.output);
                n_thoughts += usize::from(!told.reasoning.is_empty());
            }
            assert!(n_thoughts > 0 || marks.is_empty());
        });
    }
}

#[test]
fn an_answer_of_a_schema_may_be_calls() {
    for (name, template, marks) in templates() {
        for marks in [&[][..], &marks] {
            with_responder(&template, marks, |responder| {
                let mut n_of_each = [0; 2];
                for seed in 0..10 {
                    // The mark of a call comes often, or never.
                    let mark = if name == "gpt-oss" { 3 } else { 0 };
                    let bias = bias_of(mark, if seed % 2 == 0 { OFTEN } else { f32::NEG_INFINITY });
                    let wish = Request {
                        grammar: Some(AnswerGrammar::JsonSchema(SCHEMA, Options::GENERATED)),
                        logit_bias: if marks.is_empty() || name == "gpt-oss" { &[] } else { &bias },
                        parallel_tool_calls: false,
                        thinking_budget: Some(3),
                        ..request(seed, 700)
                    };
                    let (told, report) = answer(responder, wish);
                    let told_all = format!("{name} {marks:?} {seed}: {:?} {told:?}", report.output);
                    assert_eq!(report.finish_reason, FinishReason::EndOfText, "{told_all}");
                    assert!(!told.is_broken && told.calls.len() <= 1, "{told_all}");
                    match &told.calls[..] {
                        [(called, arguments)] => assert!(is_valid(called, arguments), "{told_all}"),
                        _ => assert!(is_of_schema(&told.content), "{told_all}"),
                    }
                    assert!(told.calls.is_empty() || told.content.is_empty(), "{told_all}");
                    n_of_each[told.calls.len()] += 1;
                }
                println!("{name}, {} marks: {n_of_each:?}", marks.len());
                assert!(marks.is_empty() || n_of_each.iter().all(|n| *n > 0), "{name}: {n_of_each:?}");
            });
        }
    }
    // Who must call does so; a grammar of one's own has no calls.
    let (template, _) = template("hermes");
    with_responder(&template, &[], |responder| {
        let of = |grammar, tool_choice| Request { grammar: Some(grammar), tool_choice, ..request(1, 400) };
        let schema = AnswerGrammar::JsonSchema(SCHEMA, Options::GENERATED);
        let parallel_tool_calls = false;
        let wish = Request { parallel_tool_calls, ..of(schema, ToolChoice::Named("get_time")) };
        let (told, _) = answer(responder, wish);
        assert_eq!(told.calls, [("get_time".into(), "{}".into())]);
        let gbnf = AnswerGrammar::Gbnf("root ::= [x-z]{3}");
        let (told, _) = answer(responder, of(gbnf, ToolChoice::Auto));
        assert!(told.calls.is_empty() && told.content.len() == 3, "{told:?}");
    });
}

#[test]
fn who_need_not_call_loses_no_answer_for_schemas_that_are_too_large() {
    // Each of them is expressed, all together are more than a grammar can have.
    let property =
        |i: usize| format!(r#""p{i}": {{"type": "string", "pattern": "^([a-f]{{40}}|[0-9]{{30}}x{i})$"}}"#);
    let properties: Vec<String> = (0..30).map(property).collect();
    let schema = format!(
        r#"{{"properties": {{{}}}, "required": ["p0"], "additionalProperties": false}}"#,
        properties.join(", ")
    );
    let names: Vec<String> = (0..60).map(|i| format!("tool_{i}")).collect();
    let tools: Vec<Tool<'_>> =
        names.iter().map(|name| Tool { name, description: "", parameters: &schema }).collect();
    // The template has no room for them, so that the model is not told.
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}{% for t in tools %}{{ t.function.name }}{% endfor %}{# <tool_call> #}";
    with_responder(template, &["<tool_call>"], |responder| {
        let wish = |n_tools: usize, tool_choice| {
            let format = ChatFormat { tools: &tools[..n_tools], ..ChatFormat::default() };
            let sampling = request(1, 300).sampling;
            let plain = Request::new(Prompt::Messages(&MESSAGES, format), 300);
            Request { sampling, tell_apart: true, tool_choice, parallel_tool_calls: false, ..plain }
        };
        let bias = bias_of(0, CERTAIN);
        let auto = |n_tools| Request { logit_bias: &bias, ..wish(n_tools, ToolChoice::Auto) };
        let (told, report) = answer(responder, auto(1));
        let has_p0 = |told: &Told| told.calls.len() == 1 && told.calls[0].1.contains("\"p0\"");
        assert!(has_p0(&told), "{:?} {told:?}", report.output);
        let error = responder.submit(wish(60, ToolChoice::Required), || 0).unwrap_err();
        assert!(matches!(error, FrontError::Tool { .. } | FrontError::Grammar(_)), "{error:?}");
        let (told, report) = answer(responder, auto(60));
        let called = told.calls.iter().all(|(name, arguments)| {
            name.starts_with("tool_") && serde_json::from_str::<Value>(arguments).unwrap().is_object()
        });
        assert!(called && !told.calls.is_empty(), "{:?} {told:?}", report.output);
    });
}
