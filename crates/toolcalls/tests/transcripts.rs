//! Answers in the formats of the model families, parsed whole and cut at any place. Several are cases of llama.cpp's tests of its own
//! parsers (`tests/test-chat.cpp`).

use proptest::prelude::*;
use toolcalls::{Answer, Call, Event, FORMS, Format, GENERIC, Parser, Reasoning};

/// An answer and its contents.
struct Case {
    /// The form, and what else the template contains.
    format: (&'static str, &'static str),
    /// The end of the prompt.
    prompt: &'static str,
    answer: &'static str,
    content: &'static str,
    reasoning: &'static str,
    /// Names and arguments.
    calls: &'static [(&'static str, &'static str)],
}

const fn case(format: (&'static str, &'static str), answer: &'static str) -> Case {
    Case { format, prompt: "", answer, content: "", reasoning: "", calls: &[] }
}

impl Case {
    const fn after(self, prompt: &'static str) -> Self {
        Self { prompt, ..self }
    }
    const fn says(self, content: &'static str) -> Self {
        Self { content, ..self }
    }
    const fn thinks(self, reasoning: &'static str) -> Self {
        Self { reasoning, ..self }
    }
    const fn calls(self, calls: &'static [(&'static str, &'static str)]) -> Self {
        Self { calls, ..self }
    }

    fn format(&self) -> Format {
        let (name, template) = self.format;
        let form = FORMS.iter().find(|form| form.name == name).unwrap_or(&GENERIC);
        assert_eq!(form.name, name);
        Format { form, reasoning: Reasoning::of(&[template]), ..Format::default() }.behind(self.prompt)
    }

    fn expected(&self) -> Answer {
        let calls = self.calls.iter();
        Answer {
            content: self.content.into(),
            reasoning: self.reasoning.into(),
            calls: calls
                .map(|&(name, arguments)| Call { name: name.into(), arguments: arguments.into() })
                .collect(),
        }
    }
}

const HERMES: (&str, &str) = ("hermes", "<think>");
const CODER: (&str, &str) = ("qwen3-coder", "<think>");
const OSS: (&str, &str) = ("gpt-oss", "<|channel|><|message|>");
const COMMAND: (&str, &str) = ("command-r", "<|START_THINKING|>");
const LLAMA: (&str, &str) = ("llama-3", "");

const CASES: &[Case] = &[
    // Hermes, Qwen
    case(HERMES, "Hello, world!\nWhat's up?").says("Hello, world!\nWhat's up?"),
    case(HERMES, "  Two  spaces \n").says("  Two  spaces \n"),
    case(HERMES, "<think>\nI'm\nthinking\n</think>\n\nHello").says("Hello").thinks("I'm\nthinking"),
    case(HERMES, "I'm\nthinking</think>Hello").after("<|im_start|>assistant\n<think>\n").says("Hello").thinks("I'm\nthinking"),
    case(HERMES, "Cut o").after("<think>").thinks("Cut o"),
    case(HERMES, "<think>\n\n</think>\n\nHello").says("Hello"),
    case(HERMES, "<tool_call>\n{\"name\": \"special_function\", \"arguments\": {\"arg1\": 1}}\n</tool_call>")
        .calls(&[("special_function", "{\"arg1\": 1}")]),
    case(HERMES, "<think>Hm.</think>Well.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {\"a\": [1, {\"b\": \"}\"}]}}\n</tool_call>\n")
        .says("Well.")
        .thinks("Hm.")
        .calls(&[("f", "{}"), ("g", "{\"a\": [1, {\"b\": \"}\"}]}")]),
    case(HERMES, "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"late\", \"id\": \"x\"}</tool_call>").calls(&[("late", "{\"a\": 1}")]),
    case(HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": \\\"x\\\\ny\\\"}\"}</tool_call>")
        .calls(&[("f", "{\"a\": \"x\\ny\"}")]),
    case(HERMES, "<tool_call>{\"name\": \"f\"}</tool_call> and more").says("and more").calls(&[("f", "{}")]),
    case(HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>").calls(&[("f", "{}")]),
    case(HERMES, "<tool_call>[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {\"x\": \"line\nend\"}}]</tool_call>")
        .calls(&[("f", "{}"), ("g", "{\"x\": \"line\\nend\"}")]),
    case(HERMES, "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1}}}</tool_call>")
        .calls(&[("f", "{\"a\": 1}")]),
    case(HERMES, "The mark <tool_call> begins a call, </tool_call> ends it.").says("The mark <tool_call> begins a call, </tool_call> ends it."),
    case(HERMES, "<tool_call></tool_call>").says("<tool_call></tool_call>"),
    case(HERMES, "<tool_call>{\"name\": 3}</tool_call>").says("<tool_call>{\"name\": 3}</tool_call>"),
    case(HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ").says("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": "),
    case(HERMES, "A <tool_call>{\"name\": \"f\", \"arguments\": {\"a\" 1}} B").says("A <tool_call>{\"name\": \"f\", \"arguments\": {\"a\" 1}} B"),
    case(HERMES, "{\"name\": \"f\", \"arguments\": {}}").says("{\"name\": \"f\", \"arguments\": {}}"),
    // Qwen 3 Coder, Qwen 3.5, Nemotron 3
    case(CODER, "<tool_call>\n<function=get>\n<parameter=place>\nParis\nFrance\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=at>\n[1, \"x\"]\n</parameter>\n</function>\n</tool_call>")
        .calls(&[("get", "{\"place\": \"Paris\\nFrance\", \"days\": 3, \"at\": [1, \"x\"]}")]),
    case(CODER, "I look.\n</think>\n<tool_call>\n<function=f>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n<parameter=code>\nif a < b:\n    return \"</x>\"\n\n</parameter>\n</function>\n</tool_call>")
        .after("<think>\n")
        .thinks("I look.")
        .calls(&[("f", "{}"), ("g", "{\"code\": \"if a < b:\\n    return \\\"</x>\\\"\\n\"}")]),
    // Llama 3
    case(LLAMA, "{\"name\": \"special_function\", \"parameters\": {\"arg1\": 1}}").calls(&[("special_function", "{\"arg1\": 1}")]),
    case(LLAMA, "<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"a\": \"b\"}}").calls(&[("f", "{\"a\": \"b\"}")]),
    case(LLAMA, "{\"type\": \"function\", \"function\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}")
        .calls(&[("f", "{}"), ("g", "{}")]),
    case(LLAMA, "{\"answer\": 42}").says("{\"answer\": 42}"),
    case(LLAMA, "It is {\"name\": \"f\", \"parameters\": {}}").says("It is {\"name\": \"f\", \"parameters\": {}}"),
    // Mistral
    case(("mistral-array", "[TOOL_CALLS]"), "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"arg1\": 1}, \"id\": \"123456789\"}, {\"name\": \"g\", \"arguments\": {}}]")
        .calls(&[("f", "{\"arg1\": 1}"), ("g", "{}")]),
    case(("mistral", "[THINK]"), "[THINK]I'm thinking[/THINK]Hello[TOOL_CALLS]f[ARGS]{\"arg1\": 1}[TOOL_CALLS]g[CALL_ID]000000001[ARGS]{\"b\":[]}")
        .says("Hello")
        .thinks("I'm thinking")
        .calls(&[("f", "{\"arg1\": 1}"), ("g", "{\"b\":[]}")]),
    // Granite
    case(("granite", "<think><response>"), "<think>Hm.</think>\n<response>Hello</response>").says("Hello").thinks("Hm."),
    case(("granite", ""), "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]").calls(&[("f", "{\"a\": 1}")]),
    // Command-R
    case(COMMAND, "<|START_THINKING|>I'm\nthinking<|END_THINKING|><|START_RESPONSE|>Hello<|END_RESPONSE|>").says("Hello").thinks("I'm\nthinking"),
    case(COMMAND, "<|START_THINKING|>Plan<|END_THINKING|><|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"a\": 1}},\n    {\"tool_call_id\": \"1\", \"tool_name\": \"g\", \"parameters\": {}}\n]<|END_ACTION|>")
        .thinks("Plan")
        .calls(&[("f", "{\"a\": 1}"), ("g", "{}")]),
    // DeepSeek
    case(("deepseek-r1", "<think>"), "Hm.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>")
        .after("<think>\n")
        .thinks("Hm.")
        .calls(&[("f", "{\"a\": 1}"), ("g", "{}")]),
    case(("deepseek-3.1", "<think>"), "Hello<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": \"ü\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>")
        .after("<think></think>")
        .says("Hello")
        .calls(&[("f", "{\"a\": \"ü\"}"), ("g", "{}")]),
    // Kimi
    case(("kimi-k2", "<think>"), "<think>Hm.</think>I look.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_time:0<|tool_call_argument_begin|>{\"city\": \"Tokyo\"}<|tool_call_end|><|tool_call_begin|>functions.f:12<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>")
        .says("I look.")
        .thinks("Hm.")
        .calls(&[("get_time", "{\"city\": \"Tokyo\"}"), ("f", "{}")]),
    // GLM
    case(("glm-4.5", "<think>"), "\n<think>Hm.</think>\nWell.\n<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>text</arg_key>\n<arg_value>Some \"quoted\"</arg_value>\n</tool_call>\n<tool_call>g</tool_call>")
        .says("Well.")
        .thinks("Hm.")
        .calls(&[("f", "{\"a\": 1, \"text\": \"Some \\\"quoted\\\"\"}"), ("g", "{}")]),
    case(("glm-4.5", ""), "<tool_call>f<arg_key>a</arg_key><arg_value>{\"b\": [true]}</arg_value></tool_call>").calls(&[("f", "{\"a\": {\"b\": [true]}}")]),
    // gpt-oss
    case(OSS, "<|channel|>analysis<|message|>I'm\nthinking<|end|><|start|>assistant<|channel|>final<|message|>Hello").says("Hello").thinks("I'm\nthinking"),
    case(OSS, "<|channel|>final<|message|>Hello<|return|>").says("Hello"),
    case(OSS, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"arg1\": 1}<|call|>")
        .thinks("Hm.")
        .calls(&[("f", "{\"arg1\": 1}")]),
    case(OSS, " to=functions.f<|channel|>analysis<|message|>{\"arg1\": 1}").calls(&[("f", "{\"arg1\": 1}")]),
    case(OSS, "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}<|call|>")
        .says("I look.")
        .calls(&[("f", "{}")]),
    case(OSS, "<|channel|>analysis<|message|>Cut o").thinks("Cut o"),
    case(OSS, "No channels here").says("No channels here"),
    // LFM2
    case(("lfm2", "<think>"), "<think>Hm.</think>Let me.<|tool_call_start|>[get_time(city=\"Paris\", n=2), f(a=['x', True], b={'k': None}), g()]<|tool_call_end|>")
        .says("Let me.")
        .thinks("Hm.")
        .calls(&[("get_time", "{\"city\": \"Paris\", \"n\": 2}"), ("f", "{\"a\": [\"x\", true], \"b\": {\"k\": null}}"), ("g", "{}")]),
    // Gemma 4 and FunctionGemma
    case(("gemma-4", "<|channel>"), "<|channel>thought\nHm.<channel|>Well.<|tool_call>call:f{city:<|\"|>Paris <|\"b\"<|\"|>,n:3,o:{x:[true]}}<tool_call|><|tool_call>call:g{}<tool_call|>")
        .says("Well.")
        .thinks("Hm.")
        .calls(&[("f", "{\"city\":\"Paris <|\\\"b\\\"\",\"n\":3,\"o\":{\"x\":[true]}}"), ("g", "{}")]),
    case(("function-gemma", ""), "<start_function_call>call:f{city:<escape>Paris<escape>}<end_function_call>").calls(&[("f", "{\"city\":\"Paris\"}")]),
    // Seed, MiniMax, MiniCPM, functionary, Apertus, Nemotron, Apriel, GigaChat, Phi
    case(("seed", "<seed:think>"), "<seed:think>Hm.</seed:think>Well.\n<seed:tool_call>\n<function=f>\n<parameter=a>Paris</parameter>\n<parameter=b>3</parameter>\n</function>\n</seed:tool_call>")
        .says("Well.")
        .thinks("Hm.")
        .calls(&[("f", "{\"a\": \"Paris\", \"b\": 3}")]),
    case(("minimax-m2", "<think>"), "Hm.</think>\n\n<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"a\">Paris</parameter>\n</invoke>\n<invoke name=\"g\">\n</invoke>\n</minimax:tool_call>")
        .after("<think>\n")
        .thinks("Hm.")
        .calls(&[("f", "{\"a\": \"Paris\"}"), ("g", "{}")]),
    case(("minicpm5", ""), "<function name=\"f\"><param name=\"a\">1</param></function>").calls(&[("f", "{\"a\": 1}")]),
    case(("functionary-3.1", ""), "<function=f>{\"a\": 1}</function><function=g>{}</function>").calls(&[("f", "{\"a\": 1}"), ("g", "{}")]),
    case(("apertus", ""), "<|tools_prefix|>[{\"f\": {\"a\": 1}}, {\"g\": {}}]<|tools_suffix|>").calls(&[("f", "{\"a\": 1}"), ("g", "{}")]),
    case(("nemotron", "<think>"), "<think>Hm.\n</think><TOOLCALL>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]</TOOLCALL>")
        .thinks("Hm.")
        .calls(&[("f", "{\"a\": 1}")]),
    case(("apriel", "[BEGIN FINAL RESPONSE]"), "Hm.\n[BEGIN FINAL RESPONSE]\nWell.<tool_calls>[{\"name\": \"f\", \"arguments\": {}}]</tool_calls>")
        .after("Here are my reasoning steps:\n")
        .thinks("Hm.")
        .says("Well.")
        .calls(&[("f", "{}")]),
    case(("apriel", ""), "<tool_calls>\n{\"name\": \"f\", \"arguments\": {}}\n{\"name\": \"g\", \"arguments\": {}}\n</tool_calls>").calls(&[("f", "{}"), ("g", "{}")]),
    case(("gigachat-3", ""), "<|function_call|>{\"name\": \"f\", \"arguments\": {\"a\": 1}}").calls(&[("f", "{\"a\": 1}")]),
    case(("phi-4-mini", ""), "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]<|/tool_call|>").calls(&[("f", "{\"a\": 1}")]),
    // A model that knows no tools
    case(("generic", ""), "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>").calls(&[("f", "{\"a\": 1}")]),
    case(("generic", ""), "<tool_call>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]</tool_call>").calls(&[("f", "{\"a\": 1}")]),
    case(("generic", ""), "{\"name\": \"f\", \"arguments\": {\"a\": 1}}").calls(&[("f", "{\"a\": 1}")]),
    case(("generic", ""), "{\"names\": []}").says("{\"names\": []}"),
];

/// The events of an answer; consecutive events of the same kind are joined.
fn add(told: &mut Vec<(String, String)>, event: &Event<'_>) {
    let (kind, text) = match *event {
        Event::Content(text) => ("content", text.to_string()),
        Event::Reasoning(text) => ("reasoning", text.to_string()),
        Event::ToolCallArguments(text) => ("arguments", text.to_string()),
        Event::ToolCallBegin { index, name } => ("begin", format!("{index} {name}")),
        Event::ToolCallEnd => ("end", String::new()),
        Event::ToolCallBroken { start, end } => ("broken", format!("{start}..{end}")),
    };
    match told.last_mut() {
        Some((last, before)) if last == kind && !text.is_empty() => before.push_str(&text),
        _ => told.push((kind.into(), text)),
    }
}

/// The result for an answer that is cut at these places.
fn told(answer: &str, format: Format, cuts: &[usize]) -> Vec<(String, String)> {
    let mut parser = Parser::new(format);
    let mut told = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&answer.len()]) {
        if cut >= start && answer.is_char_boundary(cut) {
            parser.push(&answer[start..cut], &mut |event| add(&mut told, &event)).unwrap();
            start = cut;
        }
    }
    parser.finish(&mut |event| add(&mut told, &event)).unwrap();
    told
}

#[test]
fn answers_are_told_apart() {
    for case in CASES {
        let answer = Answer::of(case.answer, case.format()).unwrap();
        assert_eq!(answer, case.expected(), "{:?} {:?}", case.format, case.answer);
        for call in &answer.calls {
            let arguments: serde_json::Value = serde_json::from_str(&call.arguments).unwrap();
            assert!(arguments.is_object());
        }
    }
}

#[test]
fn it_does_not_matter_where_an_answer_is_cut() {
    for case in CASES {
        let format = case.format();
        let whole = told(case.answer, format, &[]);
        let places: Vec<_> = (0..case.answer.len()).collect();
        assert_eq!(told(case.answer, format, &places), whole, "{:?}", case.answer);
        for &place in &places {
            assert_eq!(told(case.answer, format, &[place]), whole, "{:?} at {place}", case.answer);
        }
    }
}

#[test]
fn arguments_come_as_they_are_written() {
    let mut parser = Parser::new(Format {
        form: FORMS.iter().find(|form| form.name == "hermes").unwrap(),
        ..Format::default()
    });
    let mut told = Vec::new();
    for piece in ["<tool", "_call>{\"name\": \"f", "\", \"arguments\": {\"a", "\": 1", "}", "}</tool_call>"] {
        parser.push(piece, &mut |event| add(&mut told, &event)).unwrap();
        told.push(("|".into(), String::new()));
    }
    let told: Vec<_> = told.iter().map(|(kind, text)| format!("{kind}{text}")).collect();
    assert_eq!(
        told,
        ["|", "|", "begin0 f", "arguments{\"a", "|", "arguments\": 1", "|", "arguments}", "|", "end", "|"]
    );
}

#[test]
fn arguments_that_are_known_to_be_texts_are() {
    let case = case(
        CODER,
        "<tool_call><function=f><parameter=a>\n3\n</parameter><parameter=b>\n3\n</parameter></function></tool_call>",
    );
    let mut parser = Parser::new(case.format());
    parser.add_text_argument("f", "a").unwrap();
    parser.add_text_argument("g", "b").unwrap();
    let answer = Answer::parsed(case.answer, parser).unwrap();
    assert_eq!(answer.calls[0].arguments, "{\"a\": \"3\", \"b\": 3}");
}

#[test]
fn a_long_text_is_told_before_its_end() {
    let long = "0123456789\n".repeat(20_000);
    let answer = format!("<tool_call><function=f><parameter=a>\n{long}\n</parameter></function></tool_call>");
    let format = case(CODER, "").format();
    let mut parser = Parser::new(format);
    let mut n_events = 0;
    for piece in answer.as_bytes().chunks(100) {
        parser.push(std::str::from_utf8(piece).unwrap(), &mut |_| n_events += 1).unwrap();
    }
    assert!(n_events > 1000, "{n_events}");
    let arguments: serde_json::Value =
        serde_json::from_str(&Answer::of(&answer, format).unwrap().calls[0].arguments).unwrap();
    assert_eq!(arguments["a"].as_str().unwrap(), long);
}

proptest! {
    /// Random sequences of marks and other text: nothing panics, cuts change nothing, the arguments of complete calls are JSON, and the
    /// events contain no more than the answer.
    #[test]
    fn anything_can_be_told_apart(
        format in 0..FORMS.len() + 1,
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..24),
        cuts in proptest::collection::btree_set(0..400usize, 0..6),
        starts_open in any::<bool>(),
    ) {
        let form = FORMS.get(format).unwrap_or(&GENERIC);
        let format = Format { form, reasoning: Reasoning::of(&["<think>"]), starts_open, ..Format::default() };
        let pieces = [
            "<think>", "</think>", form.before, form.open, form.name_end, form.close, form.after, "name", "{", "}", "[", "]", "\"",
            "\"name\"", ":", ",", "\"arguments\"", "1", " ", "\n", "é", "<", "a=", "'", ")", "<|\"|>", "<arg_key>", "</arg_key>", "<arg_value>",
            "</arg_value>", "<parameter=", "</parameter>", "<|channel|>", "<|message|>", "<|end|>", "\\", "{\"a\": 1}", "\"f\"", "to=functions.",
        ];
        let answer: String = picks.iter().map(|pick| pieces[pick.index(pieces.len())]).collect();
        let whole = told(&answer, format, &[]);
        let cuts: Vec<_> = cuts.into_iter().filter(|&cut| cut <= answer.len()).collect();
        prop_assert_eq!(&told(&answer, format, &cuts), &whole);
        let parts = Answer::of(&answer, format).unwrap();
        for call in &parts.calls {
            let arguments: Result<serde_json::Value, _> = serde_json::from_str(&call.arguments);
            prop_assert!(arguments.is_ok_and(|arguments| arguments.is_object()), "{:?}: {:?}", answer, call);
        }
        prop_assert!(parts.content.len() + parts.reasoning.len() <= answer.len());
    }
}
