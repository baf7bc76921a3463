//! Renders templates, to compare them with another Jinja: reads lines of JSON
//! `{"template": …, "context": {…}, "now": seconds}` and answers each with a line
//! `{"text": …}` or `{"error": …}`.

use std::io::{BufRead, Write};

use jinja::{Limits, Map, Template, Value};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match render(&line?) {
            Ok(text) => serde_json::json!({ "text": text }),
            Err(error) => serde_json::json!({ "error": error }),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

fn render(request: &str) -> Result<String, String> {
    let request: serde_json::Value = serde_json::from_str(request).map_err(|error| error.to_string())?;
    let source = request["template"].as_str().ok_or("no template")?;
    let limits = Limits { now_seconds: request["now"].as_u64(), ..Limits::default() };
    let Value::Map(context) = value(&request["context"]) else { return Err("no context".into()) };
    let template = Template::parse(source).map_err(|error| error.to_string())?;
    template.render(&context, limits).map_err(|error| error.to_string())
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(elements) => {
            Value::list(elements.iter().map(value).collect()).expect("JSON nests little")
        }
        serde_json::Value::Object(entries) => {
            let mut map = Map::new();
            for (key, entry) in entries {
                map.insert(key.as_str(), value(entry)).expect("JSON nests little");
            }
            map.into()
        }
    }
}
