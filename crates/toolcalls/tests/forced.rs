//! Calls that a grammar forces are parsed as calls.

use std::sync::Arc;

use grammar::constraint::{Constraint, Limits};
use grammar::expression::Builder;
use grammar::tokens::{Piece, Vocabulary};
use toolcalls::{
    Answer, Arguments, Call, Calls, CallsError, FORMS, Form, Format, GENERIC, MAX_DEPTH, Strictness,
};

/// The text of a call in this form.
fn call(form: &Form, name: &str) -> String {
    let arguments = match form.arguments {
        Arguments::Object(..) | Arguments::Json | Arguments::Channels => "{\"place\": \"x\"}".into(),
        Arguments::Quoted(quote) => format!("{{place:{quote}x{quote}}}"),
        Arguments::Keyed { key_open, key_close, value_open, value_close } => {
            format!("{key_open}place{key_close}{value_open}\"x\"{value_close}")
        }
        Arguments::Python => "place=\"x\"".into(),
    };
    format!("{}{name}{}{arguments}{}", form.open, form.name_end, form.close)
}

const SCHEMA: &str = r#"{"properties": {"place": {"const": "x"}}, "required": ["place"]}"#;

/// The calls that are allowed: `weather` and `clock`.
fn wish<'c>(tools: &'c [(&'c str, &'c str)], parallel: bool, marks: &'c [(&'c str, u32)]) -> Calls<'c> {
    Calls { tools, parallel, strictness: Strictness::All, is_marked: false, marks }
}

/// A text that follows the grammar of calls; if `is_triggered`, only from a trigger on.
fn constraint(form: &'static Form, calls: Calls<'_>, is_triggered: bool) -> Constraint {
    let mut builder = Builder::new();
    let calls = match is_triggered {
        true => form.triggered_calls(&mut builder, calls).unwrap(),
        false => form.calls(&mut builder, calls).unwrap(),
    };
    let root = builder.declare("root").unwrap();
    builder.define(root, calls).unwrap();
    let grammar = builder.finish(root).unwrap().nested(MAX_DEPTH - 1).unwrap();
    let piece = |id| match id {
        0 => Piece::Text(b"x"),
        1 => Piece::End,
        _ => Piece::Mark,
    };
    let vocabulary = Vocabulary::new(4, &piece).unwrap();
    Constraint::new(Arc::new(grammar), Arc::new(vocabulary), Limits::default()).unwrap()
}

const TOOLS: [(&str, &str); 2] = [("weather", SCHEMA), ("clock", SCHEMA)];

fn keeps(form: &'static Form, parallel: bool, text: &str) -> bool {
    let mut constraint = constraint(form, wish(&TOOLS, parallel, &[]), false);
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
        for (text, is_whole) in [(&one, !form.bare || form.each), (&two, has_several)] {
            let triggered = form.triggers().any(|(trigger, is_first)| {
                let Some(at) =
                    text.find(trigger).filter(|at| !is_first || *at == text.len() - text.trim_start().len())
                else {
                    return false;
                };
                let mut constraint = constraint(form, wish(&TOOLS, true, &[]), true);
                constraint.accept_bytes(&text.as_bytes()[at..]).is_ok() && constraint.can_end()
            });
            assert!(triggered || !is_whole, "{name}: {text:?}");
        }

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
fn what_is_held_to_a_schema_is_no_call() {
    let text = r#"{"name": "f", "arguments": {}}"#;
    let form = form("llama-3");
    let bare = r#"{"name": "f", "parameters": {}}"#;
    assert_eq!(Answer::of(bare, Format { form, ..Format::default() }).unwrap().calls.len(), 1);
    let held = Answer::of(bare, Format { form, is_held: true, ..Format::default() }).unwrap();
    assert_eq!((held.content.as_str(), held.calls.len()), (bare, 0));
    let held = Answer::of(text, Format { is_held: true, ..Format::default() }).unwrap();
    assert_eq!((held.content.as_str(), held.calls.len()), (text, 0));
}

#[test]
fn marks_that_are_tokens_come_as_tokens() {
    let form = form("mistral");
    let schema = r#"{"properties": {"place": {"enum": ["x", "xx"]}}, "required": ["place"]}"#;
    let tools = [("clock", schema)];
    let marks = [("[TOOL_CALLS]", 2), ("[ARGS]", 3)];
    let mut whole = constraint(form, wish(&tools, false, &marks), false);
    assert_eq!(whole.allowed().unwrap().tokens().collect::<Vec<_>>(), [2]);
    whole.accept(2).unwrap();
    whole.accept_bytes(b"clock").unwrap();
    assert_eq!(whole.allowed().unwrap().tokens().collect::<Vec<_>>(), [3]);
    whole.accept(3).unwrap();
    whole.accept_bytes(b"{\"place\": \"").unwrap();
    whole.accept(0).unwrap();
    assert!(!whole.can_end());
    whole.accept_bytes(b"\"}").unwrap();
    assert!(whole.can_end());
    // The trigger itself came as a token, of which the guide tells as text.
    let mut triggered = constraint(form, wish(&tools, false, &marks), true);
    triggered.accept_bytes(b"[TOOL_CALLS]clock").unwrap();
    triggered.accept(3).unwrap();
    triggered.accept_bytes(b"{\"place\":\"xx\"}").unwrap();
    assert!(triggered.can_end());
}

fn form(name: &str) -> &'static Form {
    FORMS.iter().find(|form| form.name == name).unwrap()
}

/// All kinds of values, in the order of the arguments.
const MANY: &str = r#"{"properties": {
    "text": {"type": "string"}, "unit": {"enum": ["C", "F"]}, "n": {"type": "integer", "minimum": 3, "maximum": 5},
    "is": {"type": "boolean"}, "list": {"type": "array", "items": {"type": ["number", "null"]}, "maxItems": 2},
    "more": {"type": "object", "properties": {"a-b": {"type": "string"}, "c": {"type": "boolean"}}, "required": ["a-b"]}
}, "required": ["text", "n"]}"#;

#[test]
fn arguments_in_other_notations_are_valid_too() {
    let keeps = |name: &str, arguments: &str| {
        let form = form(name);
        let text =
            format!("{}{}f{}{arguments}{}{}", form.before, form.open, form.name_end, form.close, form.after);
        let mut constraint = constraint(form, wish(&[("f", MANY)], false, &[]), false);
        constraint.accept_bytes(text.as_bytes()).is_ok() && constraint.can_end()
    };
    let python = r#"text="a\"<b", unit="C", n=4, is=True, list=[1.5, None], more={"a-b": "", "c": False}"#;
    assert!(keeps("lfm2", python));
    for wrong in
        ["text=\"a\"", "text=3, n=4", "text=\"\", n=6", "text=\"\", n=4, is=true", "n=4, text=\"\"", ""]
    {
        assert!(!keeps("lfm2", wrong), "{wrong}");
    }
    let gemma = r#"{text:<|"|>a "< b<|"|>,unit:<|"|>C<|"|>,n:4,is:true,list:[1,null],more:{<|"|>a-b<|"|>:<|"|><|"|>,c:false}}"#;
    assert!(keeps("gemma-4", gemma));
    for wrong in [r#"{text:"a",n:4}"#, r#"{text:<|"|>a<|"|>}"#, r#"{text:<|"|>a<|"|>,unit:<|"|>K<|"|>,n:4}"#]
    {
        assert!(!keeps("gemma-4", wrong), "{wrong}");
    }
    let keyed = |pairs: &[(&str, &str)]| -> String {
        let pair = |(key, value): &(&str, &str)| {
            format!("<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n")
        };
        pairs.iter().map(pair).collect()
    };
    let all = [
        ("text", "if x < 3\n\"4\""),
        ("unit", "\"F\""),
        ("n", "5"),
        ("is", "false"),
        ("list", "[]"),
        ("more", "{\"a-b\": \"\"}"),
    ];
    assert!(keeps("glm-4.5", &keyed(&all)));
    for wrong in
        [&[("text", "a"), ("n", "6")][..], &[("text", "a")], &[("text", "a"), ("n", "3"), ("o", "1")]]
    {
        assert!(!keeps("glm-4.5", &keyed(wrong)), "{wrong:?}");
    }
}

/// The form's text of a call of `f` with these texts as arguments.
fn call_with(form: &Form, arguments: &[(&str, &str)]) -> String {
    let mut text = format!("{}{}f{}", form.before, form.open, form.name_end);
    match form.arguments {
        Arguments::Quoted(quote) => {
            let pairs: Vec<_> =
                arguments.iter().map(|(key, value)| format!("{key}:{quote}{value}{quote}")).collect();
            text += &format!("{{{}}}", pairs.join(","));
        }
        Arguments::Keyed { key_open, key_close, value_open, value_close } => {
            for (key, value) in arguments {
                text += &format!("{key_open}{key}{key_close}{value_open}{value}{value_close}");
            }
        }
        _ => unreachable!("a form without texts as they are"),
    }
    text + form.close + form.after
}

fn keeps_to(form: &'static Form, schema: &str, text: &str) -> bool {
    let mut constraint = constraint(form, wish(&[("f", schema)], false, &[]), false);
    constraint.accept_bytes(text.as_bytes()).is_ok() && constraint.can_end()
}

/// The end of a text, and the form.
fn forms_with_texts() -> Vec<(&'static Form, &'static str)> {
    let end = |form: &'static Form| match form.arguments {
        Arguments::Quoted(quote) => Some((form, quote)),
        Arguments::Keyed { value_close, .. } => Some((form, value_close.trim())),
        _ => None,
    };
    let forms: Vec<_> = FORMS.iter().filter_map(end).collect();
    assert_eq!(forms.len(), 7);
    forms
}

#[test]
fn texts_are_any_without_the_mark_that_ends_them() {
    let any = r#"{"properties": {"text": {"type": "string"}}, "required": ["text"]}"#;
    let limited = r#"{"properties": {"text": {"type": "string", "minLength": 1, "maxLength": 12}}, "required": ["text"]}"#;
    let long = r#"{"properties": {"text": {"type": "string", "maxLength": 10000}}, "required": ["text"]}"#;
    for (form, end) in forms_with_texts() {
        let name = form.name;
        let reads = |schema: &str, text: &str| {
            let written = call_with(form, &[("text", text)]);
            assert!(keeps_to(form, schema, &written), "{name}: {written:?}");
            let mut parser = toolcalls::Parser::new(Format { form, ..Format::default() });
            parser.add_text_argument("f", "text").unwrap();
            let mut told = String::new();
            parser
                .push(&written, &mut |event| match event {
                    toolcalls::Event::ToolCallArguments(text) => told += text,
                    toolcalls::Event::ToolCallBroken { .. } => panic!("{name}: {written:?}"),
                    _ => {}
                })
                .unwrap();
            let value: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert_eq!(value["text"], text, "{name}");
        };
        let almost = &end[..end.len() - 1];
        for text in [
            "</div>",
            "cout << x",
            "1 << 3",
            "cat <<EOF",
            "<em>",
            "Vec<enum>",
            "<|im|>",
            "</",
            "<",
            "a<<b\n<",
            "é<é",
            almost,
            &format!("{almost}{almost}x"),
        ] {
            reads(any, text);
            reads(long, text);
            if text.chars().count() <= 12 {
                reads(limited, text);
            }
        }
        let keeps = |schema: &str, text: &str| keeps_to(form, schema, &call_with(form, &[("text", text)]));
        for wrong in [end, &format!("a<{end}b")] {
            assert!(!keeps(any, wrong) && !keeps(limited, wrong) && !keeps(long, wrong), "{name}: {wrong}");
        }
        assert!(!keeps(any, "\u{1}"), "{name}");
        for (text, is_valid) in [("", false), ("<", true), ("é</é</é</é</", true), ("é</é</é</é</e", false)]
        {
            assert_eq!(keeps(limited, text), is_valid, "{name}: {text}");
        }
        // Patterns and lists of values do not write the mark either.
        let pattern = r#"{"properties": {"text": {"type": "string", "pattern": "<"}}, "required": ["text"]}"#;
        assert!(keeps(pattern, "a<b") && !keeps(pattern, "ab") && !keeps(pattern, end), "{name}");
        let values = [&format!("a{end}b"), "c"];
        let list = serde_json::json!({"properties": {"text": {"type": "string", "enum": values}}, "required": ["text"]});
        assert!(keeps(&list.to_string(), "c") && !keeps(&list.to_string(), values[0]), "{name}");
        let one = serde_json::json!({"properties": {"text": {"type": "string", "const": values[0]}}, "required": ["text"]});
        let mut builder = Builder::new();
        // Nothing is left to call with.
        if let Ok(calls) = form.calls(&mut builder, wish(&[("f", &one.to_string())], false, &[])) {
            let root = builder.declare("root").unwrap();
            builder.define(root, calls).unwrap();
            assert!(builder.finish(root).is_err(), "{name}");
        }
    }
}

#[test]
fn names_are_read_as_they_are_or_refused() {
    for form in FORMS.iter().chain([&GENERIC]) {
        let refusal = |name: &str, schema: &str| {
            let mut builder = Builder::new();
            form.calls(&mut builder, wish(&[(name, schema)], false, &[])).err()
        };
        let long = "n".repeat(240);
        for name in ["search:2", "functions.get", "functions.a:0", "_x", &long] {
            assert_eq!(refusal(name, SCHEMA), None, "{}: {name}", form.name);
            let text = format!("{}{}{}", form.before, call(form, name), form.after);
            let answer = Answer::of(&text, Format { form, ..Format::default() }).unwrap();
            assert_eq!(answer.calls.len(), 1, "{}: {text}", form.name);
            assert_eq!(answer.calls[0].name, name, "{}: {text}", form.name);
        }
        let error = Some(CallsError::Name { tool: 0 });
        assert_eq!(refusal(&"n".repeat(257), SCHEMA), error, "{}", form.name);
        for name in ["3d_render", "-x"] {
            assert_eq!(refusal(name, SCHEMA).is_some(), form.arguments == Arguments::Python, "{}", form.name);
        }
        let has_members = matches!(form.arguments, Arguments::Python | Arguments::Keyed { .. });
        let key = SCHEMA.replace("place", &"k".repeat(257));
        assert_eq!(refusal("f", &key).is_some(), has_members, "{}", form.name);
        assert_eq!(refusal("f", &SCHEMA.replace("place", &"k".repeat(240))), None, "{}", form.name);
    }
}

#[test]
fn what_no_grammar_expresses_keeps_its_names() {
    let schema = r#"{"properties": {"city": {"type": "string"}, "tags": {"type": "array", "uniqueItems": true}, "max-results": {}}}"#;
    let keeps = |form: &'static Form, text: &str| {
        let tools = [("f", schema)];
        let mut any = constraint(
            form,
            Calls { strictness: Strictness::Expressible, ..wish(&tools, false, &[]) },
            false,
        );
        any.accept_bytes(text.as_bytes()).is_ok() && any.can_end()
    };
    for (form, _) in forms_with_texts() {
        if !matches!(form.arguments, Arguments::Keyed { .. }) {
            continue;
        }
        let written = call_with(form, &[("city", "New <York>"), ("tags", "[1, 1]"), ("max-results", "3")]);
        assert!(keeps(form, &written), "{}: {written:?}", form.name);
        let mut parser = toolcalls::Parser::new(Format { form, ..Format::default() });
        parser.add_text_argument("f", "city").unwrap();
        let mut told = String::new();
        let mut take = |event: toolcalls::Event<'_>| {
            if let toolcalls::Event::ToolCallArguments(text) = event {
                told += text;
            }
        };
        parser.push(&written, &mut take).unwrap();
        let value: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(value, serde_json::json!({"city": "New <York>", "tags": [1, 1], "max-results": 3}));
        assert!(!keeps(form, &call_with(form, &[("town", "x")])), "{}", form.name);
        assert!(!keeps(form, &call_with(form, &[("tags", "x")])), "{}", form.name);
    }
    // A name that Python's notation has none for is left out.
    let python = |arguments: &str| {
        let form = form("lfm2");
        let Form { before, open, name_end, close, after, .. } = form;
        keeps(form, &format!("{before}{open}f{name_end}{arguments}{close}{after}"))
    };
    assert!(python("city=\"x\", tags=[1, 1]") && python("") && !python("max-results=3"));
}

#[test]
fn arguments_are_not_forced_deeper_than_they_are_read() {
    let recursive = r##"{"properties": {"a": {"$ref": "#/$defs/list"}}, "required": ["a"],
        "$defs": {"list": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/list"}},
            {"type": "object", "properties": {"k": {"$ref": "#/$defs/list"}}}]}}}"##;
    let mut n_levels = Vec::new();
    for form in FORMS.iter().chain([&GENERIC]) {
        let Form { before, open, name_end, close, after, arguments, .. } = form;
        let (begin, end) = match arguments {
            Arguments::Quoted(_) => ("{a:".into(), "}"),
            Arguments::Keyed { key_open, key_close, value_open, value_close } => {
                (format!("{key_open}a{key_close}{value_open}"), *value_close)
            }
            Arguments::Python => ("a=".into(), ""),
            _ => ("{\"a\": ".into(), "}"),
        };
        for (schema, is_named) in [(r#"{"properties": {"a": {}}}"#, false), (recursive, true)] {
            let member = match arguments {
                Arguments::Quoted(_) if is_named => "{k:".into(),
                Arguments::Quoted(quote) => format!("{{{quote}k{quote}:"),
                _ => "{\"k\": ".into(),
            };
            for (opens, closes) in [("[", "]"), (member.as_str(), "}")] {
                let tools = [("f", schema)];
                let mut constraint = constraint(form, wish(&tools, false, &[]), false);
                let mut text = format!("{before}{open}f{name_end}{begin}");
                constraint.accept_bytes(text.as_bytes()).unwrap();
                let mut n = 0;
                while constraint.accept_bytes(opens.as_bytes()).is_ok() {
                    n += 1;
                    text += opens;
                    assert!(n <= 2 * MAX_DEPTH, "{}: {text}", form.name);
                }
                let rest = format!("1{}{end}{close}{after}", closes.repeat(n as usize));
                constraint.accept_bytes(rest.as_bytes()).unwrap();
                let answer = Answer::of(&(text + &rest), Format { form, ..Format::default() }).unwrap();
                assert!(
                    answer.calls.len() == 1 && answer.content.is_empty(),
                    "{}: {n} {answer:?}",
                    form.name
                );
                n_levels.push(n);
            }
        }
    }
    assert!(n_levels.iter().all(|n| (MAX_DEPTH - 4..MAX_DEPTH).contains(n)), "{n_levels:?}");
    // What a model does without being held to it is said.
    let deep = |n: usize| {
        format!(
            "<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": {}1{}}}}}</tool_call>",
            "[".repeat(n),
            "]".repeat(n)
        )
    };
    let format = Format { form: form("hermes"), ..Format::default() };
    let n_most = MAX_DEPTH as usize - 1;
    assert_eq!(Answer::of(&deep(n_most), format).unwrap().calls.len(), 1);
    let too_deep = Answer::of(&deep(n_most + 1), format).unwrap();
    assert!(too_deep.calls.is_empty());
    assert_eq!(too_deep.content, deep(n_most + 1));
}

#[test]
fn calls_that_need_a_mark_have_one() {
    for form in FORMS.iter().chain([&GENERIC]) {
        let calls = Calls { is_marked: true, ..wish(&TOOLS, false, &[]) };
        let mut constraint = constraint(form, calls, false);
        assert!(constraint.accept_bytes(b"{").is_err(), "{}", form.name);
        let before = if form.before.is_empty() { form.also_before } else { form.before };
        let text = format!("{before}{}{}", call(form, "weather"), form.after);
        constraint.accept_bytes(text.as_bytes()).unwrap();
        let format = Format { form, is_held: true, ..Format::default() };
        let answer = Answer::of(&text, format).unwrap();
        assert!(answer.calls.len() == 1 && answer.content.is_empty(), "{}: {answer:?}", form.name);
    }
}

#[test]
fn what_cannot_be_called_is_named() {
    let form = form("hermes");
    let unique = r#"{"properties": {"a": {"type": "array", "uniqueItems": true}}}"#;
    let mut builder = Builder::new();
    let mut refused = |tools: &[(&str, &str)]| form.calls(&mut builder, wish(tools, false, &[])).unwrap_err();
    let error = refused(&[("f", ""), ("g", unique)]);
    assert!(
        matches!(&error, CallsError::Schema { tool: 1, error } if error.to_string().contains("/properties/a")),
        "{error}"
    );
    assert_eq!(refused(&[("f", ""), ("two words", "")]), CallsError::Name { tool: 1 });
    assert!(matches!(refused(&[("f", "{\"type\": \"array\"}")]), CallsError::Schema { tool: 0, .. }));
    // Who may say something else calls such a tool with anything.
    let tools = [("g", unique)];
    let mut any =
        constraint(form, Calls { strictness: Strictness::Expressible, ..wish(&tools, false, &[]) }, true);
    any.accept_bytes(br#"<tool_call>{"name": "g", "arguments": {"a": [1, 1]}}"#).unwrap();
    any.accept_bytes(b"\n</tool_call>").unwrap();
    assert!(any.must_end());
    // A name without arguments.
    let mut none = constraint(form, wish(&[("f", "")], false, &[]), false);
    none.accept_bytes(b"<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>").unwrap();
}
