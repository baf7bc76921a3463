//! Any answer in any format, cut anywhere: the same parts, the arguments of whole calls JSON objects.
//!
//! The input is the number of a form, one of the marks of thoughts and whether one is open, a cut, and the answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use toolcalls::{Answer, Event, FORMS, Format, GENERIC, Parser, Reasoning};

const TEMPLATES: [&str; 8] = [
    "",
    "<think>",
    "<think><response>",
    "[THINK]",
    "<|START_THINKING|>",
    "<|channel>",
    "<|channel|><|message|>",
    "[BEGIN FINAL RESPONSE]",
];

fuzz_target!(|input: &[u8]| {
    let [form, reasoning, cut, answer @ ..] = input else { return };
    let answer = String::from_utf8_lossy(answer);
    let format = Format {
        form: FORMS.get(usize::from(*form) % (FORMS.len() + 1)).unwrap_or(&GENERIC),
        reasoning: Reasoning::of(&[TEMPLATES[usize::from(reasoning & 7)]]),
        starts_open: reasoning & 8 != 0,
        is_held: reasoning & 16 != 0,
        ..Format::default()
    };
    let whole = Answer::of(&answer, format).unwrap();
    for call in &whole.calls {
        let arguments: serde_json::Value = serde_json::from_str(&call.arguments).unwrap();
        assert!(arguments.is_object() && !call.name.is_empty());
    }
    assert!(whole.content.len() + whole.reasoning.len() <= answer.len());

    let mut parser = Parser::new(format);
    let (mut parts, mut text) = (Answer::default(), String::new());
    let mut take = |event: Event<'_>, text: &str| parts.take(&event, text).unwrap();
    let n_bytes = usize::from(*cut % 16) + 1;
    let mut rest = &*answer;
    while !rest.is_empty() {
        let end = (n_bytes..rest.len()).find(|&end| rest.is_char_boundary(end)).unwrap_or(rest.len());
        text += &rest[..end];
        parser.push(&rest[..end], &mut |event| take(event, &text)).unwrap();
        rest = &rest[end..];
    }
    parser.finish(&mut |event| take(event, &text)).unwrap();
    assert_eq!(parts, whole);
});
