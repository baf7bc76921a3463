//! Small templates, compared with the results of Jinja for Python (`scripts/golden/jinja.py`).

use jinja::{Limits, Map, Template, Value};

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap().into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(elements) => Value::list(elements.iter().map(value).collect()).unwrap(),
        serde_json::Value::Object(entries) => {
            let mut map = Map::new();
            for (key, entry) in entries {
                map.insert(key.as_str(), value(entry)).unwrap();
            }
            map.into()
        }
    }
}

#[test]
fn templates_render_as_in_python() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let Value::Map(context) = value(&golden["context"]) else { panic!("the context is a dict") };
    let limits = Limits { now_seconds: golden["now"].as_u64(), ..Limits::default() };
    let mut failures = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let source = case["template"].as_str().unwrap();
        let found = Template::parse(source).and_then(|template| template.render(&context, limits));
        let agrees = match (&found, case["text"].as_str()) {
            (Ok(text), Some(expected)) => text == expected,
            (Err(_), None) => true,
            _ => false,
        };
        if !agrees {
            failures.push(format!("{source:?}\n  found    {found:?}\n  expected {case}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
