//! OpenAI's Responses API, as its clients use it.

use crate::common::{Harness, template};
use serde_json::{Value, json};

const RESPONSES: &str = "/v1/responses";

fn tools() -> Value {
    json!([
        { "type": "function", "name": "get_time", "description": "Tells the time", "parameters": { "type": "object", "properties": { "zone": { "type": "string" } } }, "strict": true },
        { "type": "function", "name": "f", "parameters": null },
    ])
}

const SAID: &str = "Say:\n<think>\nHm.\n</think>\n\nI look.\n<tool_call>\n{\"name\": \"get_time\", \"arguments\": {\"zone\": \"CET\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";

fn request(input: impl Into<Value>, rest: Value) -> String {
    let mut body = json!({ "model": "m", "input": input.into(), "store": true });
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    body.to_string()
}

/// The same without what differs from one response to the next.
fn without_names(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::from_iter(object.iter().filter_map(|(key, value)| {
            let is_name = ["id", "call_id", "created_at", "item_id"].contains(&&**key);
            (!is_name).then(|| (key.clone(), without_names(value)))
        })),
        Value::Array(list) => list.iter().map(without_names).collect(),
        other => other.clone(),
    }
}

#[test]
fn thoughts_texts_and_calls_are_items_whole_and_streamed() {
    let mut harness = Harness::told(&template("hermes"));
    let (status, answer) = harness.post(RESPONSES, &request(SAID, json!({ "tools": tools() })));
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["object"], &answer["status"]), (&json!("response"), &json!("completed")));
    assert_eq!((&answer["incomplete_details"], &answer["store"]), (&Value::Null, &json!(false)));
    let id = answer["id"].as_str().unwrap().strip_prefix("resp_").unwrap();
    let output = answer["output"].as_array().unwrap();
    for (index, (item, prefix)) in output.iter().zip(["rs", "msg", "fc", "fc"]).enumerate() {
        assert_eq!(item["id"], format!("{prefix}_{id}_{index}"));
    }
    assert!(output[2]["call_id"] != output[3]["call_id"] && output[2]["call_id"].is_string(), "{answer}");
    assert_eq!(
        without_names(&answer["output"]),
        json!([
            { "type": "reasoning", "status": "completed", "summary": [], "content": [{ "type": "reasoning_text", "text": "Hm." }] },
            { "type": "message", "status": "completed", "role": "assistant",
              "content": [{ "type": "output_text", "text": "I look.", "annotations": [], "logprobs": [] }] },
            { "type": "function_call", "status": "completed", "name": "get_time", "arguments": "{\"zone\": \"CET\"}" },
            { "type": "function_call", "status": "completed", "name": "f", "arguments": "{}" },
        ])
    );
    let usage = &answer["usage"];
    let n = |value: &Value| value.as_u64().unwrap();
    assert_eq!(n(&usage["total_tokens"]), n(&usage["input_tokens"]) + n(&usage["output_tokens"]));
    let n_thought = n(&usage["output_tokens_details"]["reasoning_tokens"]);
    assert!((1..=3).contains(&n_thought), "{usage}");

    let events = harness.named_stream(RESPONSES, &request(SAID, json!({ "tools": tools(), "stream": true })));
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    // Each text comes in pieces, then whole, and then in its item.
    let mut names: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    names.dedup();
    let of_part = |deltas: &'static str, done: &'static str| {
        vec![
            "response.output_item.added",
            "response.content_part.added",
            deltas,
            done,
            "response.content_part.done",
            "response.output_item.done",
        ]
    };
    let of_call = vec![
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ];
    let expected = [
        vec!["response.created", "response.in_progress"],
        of_part("response.reasoning_text.delta", "response.reasoning_text.done"),
        of_part("response.output_text.delta", "response.output_text.done"),
        of_call.clone(),
        of_call,
        vec!["response.completed"],
    ];
    assert_eq!(names, expected.concat());
    let (mut text, mut ids) = (String::new(), Vec::new());
    for event in &events {
        let kind = event["type"].as_str().unwrap();
        let (stream, action) = kind.rsplit_once('.').unwrap();
        match action {
            "delta" => text += event["delta"].as_str().unwrap(),
            "done" if event["text"].is_string() || event["arguments"].is_string() => {
                let whole = event.get("text").unwrap_or(&event["arguments"]);
                assert_eq!(*whole, std::mem::take(&mut text), "{stream}");
            }
            "added" if stream == "response.output_item" => {
                assert_eq!(
                    (n(&event["output_index"]), &event["item"]["status"]),
                    (ids.len() as u64, &json!("in_progress"))
                );
                ids.push(event["item"]["id"].clone());
            }
            "done" if stream == "response.output_item" => {
                let index = n(&event["output_index"]) as usize;
                assert_eq!(without_names(&event["item"]), without_names(&answer["output"][index]));
            }
            _ => {}
        }
        if let Some(id) = event.get("item_id") {
            assert_eq!(Some(id), ids.last());
        }
    }
    let last = &events.last().unwrap()["response"];
    let mut last = without_names(last);
    last["usage"]["input_tokens_details"] = usage["input_tokens_details"].clone();
    assert_eq!(last, without_names(&answer));
    let begun = without_names(&events[0]["response"]);
    assert_eq!(
        (&begun["status"], &begun["output"], &begun["usage"]),
        (&json!("in_progress"), &json!([]), &Value::Null)
    );
}

#[test]
fn items_become_the_conversation_that_they_are() {
    let mut harness = Harness::told(&template("hermes"));
    let input = json!([
        { "role": "developer", "content": "Be kind." },
        { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "One" }, { "type": "input_text", "text": "two" }] },
        { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "Hm." }], "encrypted_content": null },
        { "type": "message", "id": "msg_1", "role": "assistant", "content": [{ "type": "output_text", "text": "I look.", "annotations": [] }] },
        { "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "get_time", "arguments": "{\"zone\": \"CET\"}" },
        { "type": "function_call", "call_id": "call_2", "name": "f", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "call_1", "output": "12:34" },
        { "type": "function_call_output", "call_id": "call_2", "output": [{ "type": "input_text", "text": "no f" }] },
        { "type": "function_call", "call_id": "call_3", "name": "f", "arguments": "" },
        { "type": "function_call_output", "call_id": "call_3", "output": "no f" },
        { "role": "assistant", "content": "It is 12:34." },
        { "role": "assistant", "content": "And late." },
        { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "Is that all?" }] },
        { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "Yes." }] },
        { "role": "assistant", "content": "That is all." },
        { "type": "function_call", "status": "incomplete", "call_id": "call_4", "name": "f", "arguments": "{\"zo" },
        { "role": "user", "content": "And?" },
    ]);
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let result = |id: &str, name: &str, content: &str| json!({ "role": "tool", "tool_call_id": id, "name": name, "content": content });
    let functions: Vec<_> = tools()
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| json!({ "type": "function", "function": tool }))
        .collect();
    let chat = json!({ "tools": functions, "max_tokens": 1, "messages": [
        { "role": "system", "content": "Be brief.\nBe kind." },
        { "role": "user", "content": "One\ntwo" },
        { "role": "assistant", "content": "I look.", "reasoning_content": "Hm.",
          "tool_calls": [call("call_1", "get_time", "{\"zone\": \"CET\"}"), call("call_2", "f", "{}")] },
        result("call_1", "get_time", "12:34"),
        result("call_2", "f", "no f"),
        { "role": "assistant", "tool_calls": [call("call_3", "f", "{}")] },
        result("call_3", "f", "no f"),
        { "role": "assistant", "content": "It is 12:34." },
        { "role": "assistant", "content": "And late.", "reasoning_content": "Is that all?" },
        { "role": "assistant", "content": "That is all.", "reasoning_content": "Yes." },
        { "role": "user", "content": "And?" },
    ] });
    let (status, chat) = harness.post("/v1/chat/completions", &chat.to_string());
    assert_eq!(status, 200, "{chat}");
    let n_prompt = &chat["usage"]["prompt_tokens"];
    let rest = json!({ "tools": tools(), "instructions": "Be brief.", "max_output_tokens": 1 });
    let (status, answer) = harness.post(RESPONSES, &request(input, rest));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["usage"]["input_tokens"], *n_prompt);
    let n_known = answer["usage"]["input_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(n_known + 64 >= n_prompt.as_u64().unwrap(), "the prompt is the same: {answer}");
    assert_eq!(answer["status"], "incomplete");
    assert_eq!(answer["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    let last = answer["output"].as_array().unwrap().last().unwrap();
    assert_eq!(last["status"], "incomplete", "{answer}");
}

#[test]
fn a_response_keeps_to_a_schema() {
    let mut harness = Harness::with_chat();
    let schema = json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "name": "answer", "strict": true, "schema": schema });
    let (status, answer) =
        harness.post(RESPONSES, &request("Is it?", json!({ "text": { "format": format } })));
    assert_eq!(status, 200, "{answer}");
    let text = answer["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["ok"].is_boolean(), "{text}");
}

#[test]
fn a_call_comes_where_one_must() {
    let mut harness = Harness::with_long_chat();
    let mut tools = tools();
    // A text of any length would be one.
    tools[0]["parameters"] =
        json!({ "type": "object", "properties": { "zone": { "enum": ["CET", "UTC"] } } });
    for choice in [json!("required"), json!({ "type": "function", "name": "f" })] {
        let rest = json!({ "tools": tools, "tool_choice": choice, "parallel_tool_calls": false });
        let (status, answer) = harness.post(RESPONSES, &request("Is it late?", rest));
        assert_eq!(status, 200, "{answer}");
        let output = answer["output"].as_array().unwrap();
        assert!(output.len() == 1 && output[0]["type"] == "function_call", "{answer}");
        assert!(choice == "required" || output[0]["name"] == "f", "{answer}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let mut harness = Harness::with_chat();
    let mcp = json!([{ "type": "mcp", "server_label": "x" }]);
    let image = json!([{ "role": "user", "content": [{ "type": "input_image", "image_url": "x" }] }]);
    for (input, rest, param, says) in [
        (Value::Null, json!({}), "input", "at least one"),
        (json!([]), json!({}), "input", "at least one"),
        (json!(3), json!({}), "input", "a string or an array"),
        (json!([{ "content": "a" }]), json!({}), "input[0]", "role"),
        (json!([{ "type": "item_reference", "id": "x" }]), json!({}), "input[0].type", "item_reference"),
        (json!([{ "type": "function_call", "call_id": "x" }]), json!({}), "input[0]", "name"),
        (image, json!({}), "input[0].content[0].type", "input_image"),
        (json!("a"), json!({ "tools": [{ "type": "custom", "name": "f" }] }), "tools[0].type", "custom"),
        (json!("a"), json!({ "tools": mcp }), "tools[0].type", "mcp"),
        (
            json!("a"),
            json!({ "previous_response_id": "resp_1" }),
            "previous_response_id",
            "nothing is stored",
        ),
        (json!("a"), json!({ "conversation": { "id": "x" } }), "conversation", "nothing is stored"),
        (json!("a"), json!({ "background": true }), "background", "not supported"),
        (json!("a"), json!({ "top_logprobs": 2 }), "top_logprobs", "chat"),
        (json!("a"), json!({ "max_output_tokens": -3 }), "max_output_tokens", "0 or more"),
        (json!("a"), json!({ "text": { "format": { "type": "xml" } } }), "text.format.type", "xml"),
    ] {
        let body = request(input, rest);
        let (status, answer) = harness.post(RESPONSES, &body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert_eq!(answer["error"]["param"], param, "{body}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(says), "{body}: {answer}");
    }
}
