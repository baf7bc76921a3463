//! Answers that follow a grammar or a schema, and conversations with tools, as requests specify them.

use crate::common::{self, Harness};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const NATIVE: &str = "/completion";

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "ok": { "type": "boolean" }, "n": { "type": "integer", "minimum": 1, "maximum": 9 } },
        "required": ["ok", "n"],
        "additionalProperties": false
    })
}

fn is_valid(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    value["ok"].is_boolean()
        && (1..=9).contains(&value["n"].as_u64().unwrap())
        && value.as_object().unwrap().len() == 2
}

#[test]
fn each_route_takes_a_schema_or_a_grammar() {
    let mut harness = Harness::with_chat();
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema() } });
    let messages = json!([{ "role": "user", "content": "Is it?" }]);
    for seed in 0..3 {
        let body = json!({ "messages": messages, "response_format": format, "seed": seed, "temperature": 1 });
        let (status, answer) = harness.post(CHAT, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        let choice = &answer["choices"][0];
        assert!(is_valid(choice["message"]["content"].as_str().unwrap()), "{answer}");
        assert_eq!(choice["finish_reason"], "stop");

        let body = json!({ "prompt": "a", "json_schema": schema(), "seed": seed });
        let (_, answer) = harness.post(NATIVE, &body.to_string());
        assert!(is_valid(answer["content"].as_str().unwrap()), "{answer}");
        assert_eq!(answer["stop_type"], "eos");
    }
    let body = json!({ "prompt": "a", "grammar": "root ::= \"x\" [0-9]{3}", "n": 2 });
    let (_, answer) = harness.post(COMPLETIONS, &body.to_string());
    for choice in answer["choices"].as_array().unwrap() {
        let text = choice["text"].as_str().unwrap();
        assert!(text.len() == 4 && text.starts_with('x') && text[1..].parse::<u32>().is_ok(), "{text}");
    }
    let body = json!({ "messages": messages, "response_format": { "type": "json_object" }, "max_tokens": 40, "stream": true });
    let stream = harness.ask(common::post(CHAT, &body.to_string()).as_bytes());
    let deltas = stream.lines().filter_map(|line| line.strip_prefix("data: {"));
    let deltas = deltas.map(|rest| serde_json::from_str::<Value>(&format!("{{{rest}")).unwrap());
    let text: String = deltas
        .filter_map(|delta| Some(delta["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert!(text.starts_with('{'), "{stream}");
}

#[test]
fn what_cannot_be_kept_to_is_named() {
    let mut harness = Harness::with_chat();
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": {} } });
    let unique = json!({ "type": "function", "function": {
        "name": "set", "parameters": { "properties": { "a": { "type": "array", "uniqueItems": true } } },
    } });
    let long = "f".repeat(100_000);
    let nameless = json!({ "type": "function", "function": { "name": "two words" } });
    let message = json!([{ "role": "user", "content": "a" }]);
    for (path, body, param, says) in [
        (COMPLETIONS, json!({ "prompt": "a", "grammar": "root ::= other" }), "grammar", "other"),
        (
            COMPLETIONS,
            json!({ "prompt": "a", "grammar": "root ::= \"a\"", "json_schema": {} }),
            "grammar",
            "only one",
        ),
        (
            NATIVE,
            json!({ "prompt": "a", "json_schema": { "items": { "pattern": "(" } } }),
            "json_schema",
            "/items/pattern",
        ),
        (
            COMPLETIONS,
            json!({ "prompt": "a", "response_format": { "type": "xml" } }),
            "response_format.type",
            "xml",
        ),
        (
            COMPLETIONS,
            json!({ "prompt": "a", "response_format": { "type": "json_schema" } }),
            "response_format.json_schema",
            "schema",
        ),
        (COMPLETIONS, json!({ "prompt": "a", "tools": [tool] }), "tools", "chat"),
        (CHAT, json!({ "messages": message, "tool_choice": "required" }), "tool_choice", "tools"),
        (
            CHAT,
            json!({ "messages": message, "tools": [tool], "tool_choice": { "type": "function", "function": { "name": "g" } } }),
            "tool_choice",
            "\"g\"",
        ),
        (
            CHAT,
            json!({ "messages": message, "tools": [tool, unique], "tool_choice": "required" }),
            "tools[1].function.parameters",
            "/properties/a",
        ),
        (
            CHAT,
            json!({ "messages": message, "tools": [nameless], "tool_choice": "required" }),
            "tools[0].function.name",
            "letters",
        ),
        (CHAT, json!({ "messages": message, "thinking_budget_tokens": -2 }), "thinking_budget_tokens", "-1"),
        (
            CHAT,
            json!({ "messages": message, "response_format": { "type": "json_schema", "json_schema": { "schema": { "type": 3 } } } }),
            "response_format.json_schema.schema",
            "/type",
        ),
        (
            CHAT,
            json!({ "messages": message, "response_format": { "type": "json_object", "schema": { "type": 3 } } }),
            "response_format.schema",
            "/type",
        ),
        (
            CHAT,
            json!({ "messages": message, "tools": [tool], "tool_choice": "maybe" }),
            "tool_choice",
            "expected",
        ),
        (
            CHAT,
            json!({ "messages": message, "tools": [{ "type": "mcp", "function": { "name": "f" } }] }),
            "tools[0].type",
            "mcp",
        ),
        (
            CHAT,
            json!({ "messages": message, "tools": [tool], "grammar": "root ::= \"a\"" }),
            "tools",
            "grammar",
        ),
        (CHAT, json!({ "messages": message, "reasoning_format": "x" }), "reasoning_format", "none"),
        // A long name is not told back.
        (
            CHAT,
            json!({ "messages": message, "tools": [tool, { "type": "function", "function": { "name": long } }] }),
            "tools[1].function.name",
            "at most 240 bytes, not 100000",
        ),
        (
            CHAT,
            json!({ "messages": message, "tools": [tool], "tool_choice": { "type": "function", "function": { "name": long } } }),
            "tool_choice",
            "at most 240 bytes, not 100000",
        ),
    ] {
        let (status, answer) = harness.post(path, &body.to_string());
        assert_eq!(status, 400, "{body}: {answer}");
        let error = &answer["error"];
        assert_eq!(error["param"], param, "{body}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(says), "{body}: {answer}");
    }
}

#[test]
fn conversations_have_tools_calls_and_results() {
    let mut harness = Harness::with_chat();
    let tools = json!([{ "type": "function", "function": {
        "name": "get_time", "description": "Tells the time", "parameters": { "type": "object", "properties": { "zone": { "type": "string" } } },
    } }]);
    let messages = json!([
        { "role": "user", "content": "What time is it?" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "abc123def", "type": "function", "function": { "name": "get_time", "arguments": "{\"zone\": \"CET\"}" } },
        ] },
        { "role": "tool", "tool_call_id": "abc123def", "content": "12:34" },
    ]);
    let render = |harness: &mut Harness, body: Value| {
        let (status, answer) = harness.post("/apply-template", &body.to_string());
        assert_eq!(status, 200, "{answer}");
        answer["prompt"].as_str().unwrap().to_owned()
    };
    let prompt = render(&mut harness, json!({ "messages": messages, "tools": tools }));
    for part in ["Tells the time", "get_time", "zone", "12:34"] {
        assert!(prompt.contains(part), "{part}: {prompt}");
    }
    let without =
        render(&mut harness, json!({ "messages": messages, "tools": tools, "tool_choice": "none" }));
    assert!(!without.contains("Tells the time"), "{without}");

    let body = json!({ "messages": [messages[0]], "tools": tools, "max_tokens": 8, "temperature": 0 });
    let (status, answer) = harness.post(CHAT, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
}

/// The complete calls of an answer: names and arguments, in order.
fn calls(answer: &Value) -> Vec<(String, Value)> {
    let calls =
        answer["choices"][0]["message"]["tool_calls"].as_array().unwrap_or_else(|| panic!("{answer}"));
    calls
        .iter()
        .filter_map(|call| {
            assert_eq!(call["type"], "function");
            let function = &call["function"];
            let arguments = function["arguments"].as_str().unwrap();
            let value = serde_json::from_str(arguments);
            let is_cut = answer["choices"][0]["finish_reason"] == "length" && Some(call) == calls.last();
            assert!(value.is_ok() || is_cut, "{answer}");
            Some((function["name"].as_str().unwrap().to_owned(), value.ok()?))
        })
        .collect()
}

#[test]
fn a_call_comes_where_one_must() {
    let mut harness = Harness::with_long_chat();
    let place = json!({
        "type": "object",
        "properties": { "place": { "type": "string", "maxLength": 5 }, "n": { "enum": [1, 2] } },
        "required": ["place", "n"],
    });
    let tools = json!([
        { "type": "function", "function": { "name": "get_time" } },
        { "type": "function", "function": { "name": "get_weather", "parameters": place } },
    ]);
    let named = json!({ "type": "function", "function": { "name": "get_weather" } });
    let is_valid = |arguments: &Value| {
        arguments["place"].as_str().unwrap().chars().count() <= 5
            && [1, 2].map(Value::from).contains(&arguments["n"])
    };
    for seed in 0..4 {
        let body = json!({
            "messages": [{ "role": "user", "content": "Is it warm?" }], "tools": tools, "seed": seed, "temperature": 1.5,
            "parallel_tool_calls": false, "tool_choice": "required",
        });
        let (status, answer) = harness.post(CHAT, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
        let called = calls(&answer);
        assert_eq!(called.len(), 1, "{answer}");
        for (name, arguments) in called {
            assert!(
                if name == "get_time" { arguments == json!({}) } else { is_valid(&arguments) },
                "{answer}"
            );
        }
        let mut body = body;
        body["tool_choice"] = named.clone();
        let (_, answer) = harness.post(CHAT, &body.to_string());
        let called = calls(&answer);
        assert!(called.len() == 1 && called[0].0 == "get_weather" && is_valid(&called[0].1), "{answer}");
        // A stream has the same call in pieces.
        body["stream"] = json!(true);
        let stream = harness.ask(common::post(CHAT, &body.to_string()).as_bytes());
        let deltas = stream.lines().filter_map(|line| line.strip_prefix("data: {"));
        let deltas = deltas.map(|rest| serde_json::from_str::<Value>(&format!("{{{rest}")).unwrap());
        let text: String = deltas
            .filter_map(|delta| {
                let call = &delta["choices"][0]["delta"]["tool_calls"][0];
                assert!(call.is_null() || call["index"] == 0, "{delta}");
                Some(call["function"]["arguments"].as_str()?.to_owned())
            })
            .collect();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), called[0].1, "{stream}");
    }
    let mut body = json!({
        "messages": [{ "role": "user", "content": "Is it warm?" }], "tools": [tools[0]], "tool_choice": "required",
        "logit_bias": {}, "max_tokens": 200, "temperature": 2, "seed": 1,
    });
    let (_, answer) = harness.post(CHAT, &body.to_string());
    let n_parallel = calls(&answer).len();
    body["parallel_tool_calls"] = json!(false);
    let (_, answer) = harness.post(CHAT, &body.to_string());
    assert!(n_parallel >= calls(&answer).len() && calls(&answer).len() == 1, "{answer}");
}

#[test]
fn an_answer_beside_tools_may_keep_to_a_schema() {
    let mut harness = Harness::with_long_chat();
    let tools = json!([{ "type": "function", "function": { "name": "get_time" } }]);
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema() } });
    let mut body = json!({
        "messages": [{ "role": "user", "content": "Is it late?" }], "tools": tools, "response_format": format,
        "parallel_tool_calls": false, "temperature": 3,
    });
    let mut n_of_each = [0; 2];
    for seed in 0..12 {
        body["seed"] = json!(seed);
        let (status, answer) = harness.post(CHAT, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        let choice = &answer["choices"][0];
        let is_call = choice["finish_reason"] == "tool_calls";
        n_of_each[usize::from(is_call)] += 1;
        match is_call {
            true => assert_eq!(calls(&answer), [("get_time".into(), json!({}))]),
            false => assert!(is_valid(choice["message"]["content"].as_str().unwrap()), "{answer}"),
        }
    }
    assert!(n_of_each.iter().all(|n| *n > 0), "{n_of_each:?}");
    body["tool_choice"] = json!("required");
    assert_eq!(calls(&harness.post(CHAT, &body.to_string()).1).len(), 1);
    body["tool_choice"] = json!("none");
    let (_, answer) = harness.post(CHAT, &body.to_string());
    assert!(is_valid(answer["choices"][0]["message"]["content"].as_str().unwrap()), "{answer}");
    let item = json!({ "type": "json_schema", "name": "x", "strict": true, "schema": schema() });
    let response = json!({ "input": "Is it late?", "text": { "format": item }, "tools": [{ "type": "function", "name": "get_time" }] });
    assert_eq!(harness.post("/v1/responses", &response.to_string()).0, 200);
}

#[test]
fn a_call_that_is_cut_is_told_as_a_stream_tells_it() {
    let mut harness = Harness::with_long_chat();
    let long = json!({ "type": "object", "properties": { "n": { "enum": [1] }, "text": { "type": "string", "minLength": 900 } }, "required": ["n", "text"] });
    let tool = json!({ "name": "write", "parameters": long });
    let question = json!([{ "role": "user", "content": "Write!" }]);
    let mut body = json!({
        "messages": question, "tools": [{ "type": "function", "function": tool }], "tool_choice": "required", "max_tokens": 70,
        "seed": 5,
    });
    let (status, answer) = harness.post(CHAT, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("length"), &Value::Null));
    let function = &choice["message"]["tool_calls"][0]["function"];
    let arguments = function["arguments"].as_str().unwrap();
    assert_eq!(function["name"], "write");
    assert!(arguments.starts_with("{\"n\": ") || arguments.starts_with("{\"n\":"), "{arguments}");
    assert!(serde_json::from_str::<Value>(arguments).is_err(), "{arguments}");
    body["stream"] = json!(true);
    let (mut told, mut content) = (String::new(), String::new());
    for event in harness.stream(CHAT, &body.to_string()) {
        let event: Value = serde_json::from_str(&event).unwrap_or_default();
        let delta = &event["choices"][0]["delta"];
        told += delta["tool_calls"][0]["function"]["arguments"].as_str().unwrap_or("");
        content += delta["content"].as_str().unwrap_or("");
    }
    assert_eq!((told.as_str(), content.as_str()), (arguments, ""));

    // Where arguments are JSON and no text, those that are whole.
    let own = json!({ "name": "write", "input_schema": long });
    let body = json!({ "messages": question, "tools": [own], "tool_choice": { "type": "any" }, "max_tokens": 70, "seed": 5 });
    let (_, answer) = harness.post("/v1/messages", &body.to_string());
    assert_eq!(answer["stop_reason"], "max_tokens", "{answer}");
    let content = answer["content"].as_array().unwrap();
    assert!(content.len() == 1 && content[0]["type"] == "tool_use", "{answer}");
    assert_eq!(content[0]["input"], json!({ "n": 1 }));

    let own = json!({ "type": "function", "name": "write", "parameters": long });
    let body = json!({ "input": "Write!", "tools": [own], "tool_choice": "required", "max_output_tokens": 70, "seed": 5 });
    let (_, answer) = harness.post("/v1/responses", &body.to_string());
    let output = answer["output"].as_array().unwrap();
    assert!(output.len() == 1 && output[0]["type"] == "function_call", "{answer}");
    assert_eq!((&output[0]["status"], &answer["status"]), (&json!("incomplete"), &json!("incomplete")));
}

#[test]
fn there_may_be_many_tools() {
    let mut harness = Harness::with_chat();
    let tool = |index: usize| {
        let place = json!({ "type": "object", "properties": { "path": { "type": "string", "description": "Where" } } });
        json!({ "type": "function", "function": { "name": format!("tool_{index}"), "description": "Does", "parameters": place } })
    };
    let mut ask = |n: usize| {
        let tools: Vec<Value> = (0..n).map(tool).collect();
        let body = json!({ "messages": [{ "role": "user", "content": "a" }], "tools": tools });
        harness.post("/apply-template", &body.to_string())
    };
    let (status, answer) = ask(512);
    assert!(status == 200 && answer["prompt"].as_str().unwrap().contains("tool_511"), "{answer}");
    let (status, answer) = ask(513);
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("512"), "{answer}");
}
