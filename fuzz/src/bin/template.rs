//! Any template with any context: an error, or a text within the limits, and the same one each time.
//!
//! The input is the template, a byte 0, and the context as JSON.
#![no_main]

use jinja::{Limits, Map, Template, Value};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;

const LIMITS: Limits = Limits { steps: 20_000, bytes: 1 << 18, now_seconds: Some(1_700_000_000) };

fuzz_target!(|input: &[u8]| {
    let (source, context) = match input.iter().position(|&byte| byte == 0) {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[][..]),
    };
    let Ok(source) = core::str::from_utf8(source) else { return };
    let template = match Template::parse(source) {
        Ok(template) => template,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let context = match serde_json::from_slice(context).ok().and_then(|json| value(&json)) {
        Some(Value::Map(context)) => (*context).clone(),
        _ => Map::new(),
    };
    let text = template.render(&context, LIMITS);
    match &text {
        Ok(text) => assert!(text.len() <= LIMITS.bytes),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert_eq!(text.ok(), template.render(&context, LIMITS).ok());
});

fn value(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::None,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64()?.into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(elements) => Value::list(elements.iter().map(value).collect::<Option<_>>()?).ok()?,
        Json::Object(entries) => {
            let mut map = Map::new();
            for (key, entry) in entries {
                map.insert(key.as_str(), value(entry)?).ok()?;
            }
            map.into()
        }
    })
}
