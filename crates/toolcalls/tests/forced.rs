//! Calls that a grammar forces are read as calls.

use std::sync::Arc;

use grammar::constraint::{Constraint, Limits};
use grammar::expression::Builder;
use grammar::tokens::{Piece, Vocabulary};
use toolcalls::{Answer, Arguments, Call, FORMS, Form, Format, GENERIC};

/// The text of a call as the form has it.
fn call(form: &Form, name: &str) -> String {
    let arguments = match form.arguments {
        Arguments::Object(..) | Arguments::Json | Arguments::Channels => "{\"place\": \"x\"}".into(),
        Arguments::Quoted(quote) => format!("{{place:{quote}x{quote}}}"),
        Arguments::Keyed { key_open, key_close, value_open, value_close } => {
            format!("{key_open}place{key_close}{value_open}x{value_close}")
        }
        Arguments::Python => "place=\"x\"".into(),
    };
    format!("{}{name}{}{arguments}{}", form.open, form.name_end, form.close)
}

/// A text that keeps to the calls of `weather` and `clock`.
fn constraint(form: &Form, parallel: bool, marks: &[(&str, u32)]) -> Constraint {
    let mut builder = Builder::new();
    let arguments = builder.literal("{\"place\": \"x\"}").unwrap();
    let tools = [("weather", arguments), ("clock", arguments)];
    let calls = form.calls(&mut builder, &tools, parallel, marks).unwrap();
    let root = builder.declare("root").unwrap();
    builder.define(root, calls).unwrap();
    let grammar = builder.finish(root).unwrap();
    let piece = |id| match id {
        0 => Piece::Text(b"x"),
        1 => Piece::End,
        _ => Piece::Mark,
    };
    let vocabulary = Vocabulary::new(4, &piece).unwrap();
    Constraint::new(Arc::new(grammar), Arc::new(vocabulary), Limits::default()).unwrap()
}

fn keeps(form: &Form, parallel: bool, text: &str) -> bool {
    let mut constraint = constraint(form, parallel, &[]);
    constraint.accept_bytes(text.as_bytes()).is_ok() && constraint.can_end()
}

#[test]
fn what_a_grammar_forces_is_read_as_it_was_meant() {
    for form in FORMS.iter().chain([&GENERIC]) {
        let Form { before, after, separator, name, .. } = form;
        let one = format!("{before}{}{after}", call(form, "weather"));
        let between = if form.each { format!("{after}{separator}{before}") } else { (*separator).into() };
        let two = format!("{before}{}{between}{}{after}", call(form, "weather"), call(form, "clock"));
        assert!(keeps(form, false, &one), "{name}: {one:?}");
        assert!(keeps(form, true, &one), "{name}");
        assert!(!keeps(form, false, &two), "{name}");
        let has_several = form.arguments != Arguments::Channels;
        assert_eq!(keeps(form, true, &two), has_several, "{name}: {two:?}");
        assert!(!keeps(form, true, &one.replace("weather", "whether")), "{name}");
        assert!(!keeps(form, true, ""), "{name}");
        assert!(one.trim_start().starts_with(form.trigger().trim_start()), "{name}: {}", form.trigger());

        let format = Format { form, ..Format::default() };
        let json = |name: &str, text: &str| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(value, serde_json::json!({ "place": "x" }), "{name}: {text}");
        };
        let read = |text: &str| {
            let Answer { content, reasoning, calls } = Answer::of(text, format).unwrap();
            assert_eq!((content.as_str(), reasoning.as_str()), ("", ""), "{name}: {text:?}");
            calls.iter().for_each(|Call { name, arguments }| json(name, arguments));
            calls.into_iter().map(|call| call.name).collect::<Vec<_>>()
        };
        assert_eq!(read(&one), ["weather"], "{name}: {one:?}");
        if has_several {
            assert_eq!(read(&two), ["weather", "clock"], "{name}: {two:?}");
        }
        let mut example = String::new();
        form.write_example(&mut example).unwrap();
        assert_eq!(Answer::of(&example, format).unwrap().calls[0].name, "NAME", "{name}: {example:?}");
    }
}

#[test]
fn marks_that_are_tokens_come_as_tokens() {
    let form = FORMS.iter().find(|form| form.name == "mistral").unwrap();
    let mut constraint = constraint(form, false, &[("[TOOL_CALLS]", 2), ("[ARGS]", 3)]);
    assert_eq!(constraint.allowed().unwrap().tokens().collect::<Vec<_>>(), [2]);
    constraint.accept(2).unwrap();
    constraint.accept_bytes(b"clock").unwrap();
    assert_eq!(constraint.allowed().unwrap().tokens().collect::<Vec<_>>(), [3]);
    constraint.accept(3).unwrap();
    constraint.accept_bytes(b"{\"place\": \"").unwrap();
    constraint.accept(0).unwrap();
    assert!(!constraint.can_end());
    constraint.accept_bytes(b"\"}").unwrap();
    assert!(constraint.can_end());
}

#[test]
fn arguments_in_other_notations_are_any() {
    let form = |name| FORMS.iter().find(|form| form.name == name).unwrap();
    let python = "<|tool_call_start|>[clock(a=[1, \"x\\\"\"], b={\"k\": None}, c=-0.5)]<|tool_call_end|>";
    assert!(keeps(form("lfm2"), false, python));
    assert!(!keeps(form("lfm2"), false, "<|tool_call_start|>[clock(a)]<|tool_call_end|>"));
    let gemma = "<|tool_call>call:clock{a:<|\"|>x < y<|\"|>,b:[1,{c:true}]}<tool_call|>";
    assert!(keeps(form("gemma-4"), false, gemma));
    let glm = "<tool_call>clock\n<arg_key>a</arg_key>\n<arg_value>if x < 3\n</arg_value>\n</tool_call>";
    assert!(keeps(form("glm-4.5"), false, glm));
}
