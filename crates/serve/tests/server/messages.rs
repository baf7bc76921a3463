//! Anthropic's Messages API, as its clients use it.

use crate::common::{Harness, post, settings, status, template};
use serde_json::{Value, json};
use serve::Settings;

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

fn tools() -> Value {
    json!([
        { "name": "get_time", "description": "Tells the time", "input_schema": { "type": "object", "properties": { "zone": { "type": "string" } } } },
        { "type": "custom", "name": "f", "input_schema": {}, "cache_control": { "type": "ephemeral" } },
    ])
}

const SAID: &str = "Say:\n<think>\nHm.\n</think>\n\nI look.\n<tool_call>\n{\"name\": \"get_time\", \"arguments\": {\"zone\": \"C\\\"ET\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";

fn request(content: Value, rest: Value) -> String {
    let mut body =
        json!({ "model": "m", "max_tokens": 200, "messages": [{ "role": "user", "content": content }] });
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    body.to_string()
}

/// The blocks of a stream, in order.
fn blocks(events: &[Value]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    let mut open = None;
    for event in events {
        let index = event["index"].as_u64().map(|index| index as usize);
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!((index, open), (Some(blocks.len()), None));
                open = index;
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert!(index.is_some() && index == open);
                let delta = &event["delta"];
                let (key, text) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", &delta["text"]),
                    "thinking_delta" => ("thinking", &delta["thinking"]),
                    "input_json_delta" => ("input", &delta["partial_json"]),
                    "signature_delta" => {
                        assert_eq!(
                            (&delta["signature"], &blocks.last().unwrap()["type"]),
                            (&json!(""), &json!("thinking"))
                        );
                        continue;
                    }
                    other => panic!("{other}"),
                };
                let text = text.as_str().unwrap();
                assert!(!text.is_empty());
                let whole = &mut blocks.last_mut().unwrap()[key];
                *whole = format!("{}{text}", whole.as_str().unwrap_or("")).into();
            }
            "content_block_stop" => {
                assert!(index.is_some() && index == open);
                open = None;
                let input = &mut blocks.last_mut().unwrap()["input"];
                if let Some(text) = input.as_str() {
                    *input = serde_json::from_str(text).unwrap();
                }
            }
            _ => assert_eq!(open, None),
        }
    }
    let without_nothing = |block: Value| {
        let block = block.as_object().unwrap().clone();
        Value::from_iter(block.into_iter().filter(|(_, value)| !value.is_null()))
    };
    blocks.into_iter().map(without_nothing).collect()
}

#[test]
fn thoughts_texts_and_calls_are_blocks_whole_and_streamed() {
    let mut harness = Harness::told(&template("hermes"));
    let (status, answer) = harness.post(MESSAGES, &request(json!(SAID), json!({ "tools": tools() })));
    assert_eq!(status, 200, "{answer}");
    assert!(answer["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&answer["type"], &answer["role"], &answer["model"]),
        (&json!("message"), &json!("assistant"), &json!("told"))
    );
    assert_eq!((&answer["stop_reason"], &answer["stop_sequence"]), (&json!("tool_use"), &Value::Null));
    let content = &answer["content"];
    let ids: Vec<_> = content.as_array().unwrap().iter().filter_map(|block| block["id"].as_str()).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1] && ids.iter().all(|id| id.len() == 9), "{answer}");
    assert_eq!(
        *content,
        json!([
            { "type": "thinking", "thinking": "Hm.", "signature": "" },
            { "type": "text", "text": "I look." },
            { "type": "tool_use", "id": ids[0], "name": "get_time", "input": { "zone": "C\"ET" } },
            { "type": "tool_use", "id": ids[1], "name": "f", "input": {} },
        ])
    );

    let events =
        harness.named_stream(MESSAGES, &request(json!(SAID), json!({ "tools": tools(), "stream": true })));
    let mut streamed = blocks(&events);
    for (block, whole) in streamed.iter_mut().zip(content.as_array().unwrap()) {
        if !block["id"].is_null() {
            assert_ne!(block["id"], whole["id"], "another answer has other calls");
            block["id"] = whole["id"].clone();
        }
    }
    assert_eq!(json!(streamed), *content);
    let [first, .., last, stop] = &events[..] else { panic!("{events:?}") };
    assert_eq!(first["type"], "message_start");
    let message = &first["message"];
    assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
    let usage = |usage: &Value| {
        ["input_tokens", "cache_read_input_tokens"]
            .map(|key| usage[key].as_u64().unwrap())
            .iter()
            .sum::<u64>()
    };
    assert_eq!(usage(&message["usage"]), usage(&answer["usage"]), "the prompt is counted at the beginning");
    assert!(
        message["usage"]["cache_read_input_tokens"].as_u64() > Some(0),
        "it is known from the first time"
    );
    assert_eq!(last["type"], "message_delta");
    assert_eq!(last["delta"], json!({ "stop_reason": "tool_use", "stop_sequence": null }));
    assert_eq!(last["usage"]["output_tokens"], answer["usage"]["output_tokens"]);
    assert_eq!(*stop, json!({ "type": "message_stop" }));

    // The count of the prompt is the one that there is before.
    let (_, count) = harness.post(COUNT, &request(json!(SAID), json!({ "tools": tools() })));
    assert_eq!(count["input_tokens"].as_u64().unwrap(), usage(&answer["usage"]));
}

#[test]
fn results_follow_calls_and_come_before_what_the_user_says() {
    let mut harness = Harness::told(&template("hermes"));
    let asked = json!([{ "type": "text", "text": "One" }, { "type": "text", "text": "two", "cache_control": { "type": "ephemeral" } }]);
    let messages = json!([
        { "role": "user", "content": asked },
        { "role": "user", "content": "three" },
        { "role": "assistant", "content": "I" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "Hm.", "signature": "x" },
            { "type": "redacted_thinking", "data": "x" },
            { "type": "text", "text": "look." },
            { "type": "tool_use", "id": "toolu_1", "name": "get_time", "input": { "zone": "CET" } },
            { "type": "tool_use", "id": "toolu_2", "name": "f", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "toolu_1", "content": "12:34" },
            { "type": "tool_result", "tool_use_id": "toolu_2", "is_error": true, "content": [{ "type": "text", "text": "no" }, { "type": "text", "text": "f" }] },
            { "type": "text", "text": "And?" },
        ] },
    ]);
    let body = json!({ "messages": messages, "tools": tools(), "system": [{ "type": "text", "text": "Be brief." }] });
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let functions: Vec<_> = tools()
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            json!({ "type": "function", "function": {
        "name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"],
    } })
        })
        .collect();
    let as_chat = json!({ "tools": functions, "messages": [
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "One\ntwo\nthree" },
        { "role": "assistant", "content": "I\nlook.", "reasoning_content": "Hm.",
          "tool_calls": [call("toolu_1", "get_time", "{\"zone\":\"CET\"}"), call("toolu_2", "f", "{}")] },
        { "role": "tool", "tool_call_id": "toolu_1", "name": "get_time", "content": "12:34" },
        { "role": "tool", "tool_call_id": "toolu_2", "name": "f", "content": "Error: no\nf" },
        { "role": "user", "content": "And?" },
    ] });
    let (status, count) = harness.post(COUNT, &body.to_string());
    assert_eq!(status, 200, "{count}");
    let (status, chat) =
        harness.post("/v1/chat/completions", &json_with(&as_chat, "max_tokens", 1).to_string());
    assert_eq!(status, 200, "{chat}");
    assert_eq!(count["input_tokens"], chat["usage"]["prompt_tokens"]);
    // The same prompt, of which all but the last token is known by now.
    let (_, answer) = harness.post(MESSAGES, &json_with(&body, "max_tokens", 1).to_string());
    assert_eq!(answer["stop_reason"], "max_tokens", "{answer}");
    let known = answer["usage"]["cache_read_input_tokens"].as_u64().unwrap();
    assert!(answer["usage"]["input_tokens"].as_u64().unwrap() <= 64 && known > 64, "{answer}");

    // Results alone are all that the user says, and the last word.
    let results = json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "content": "12:34" }] });
    let body = json!({ "messages": [messages[0], messages[3], results], "max_tokens": 20 });
    let (_, answer) = harness.post(MESSAGES, &body.to_string());
    assert_eq!(
        (&answer["content"][0]["text"], &answer["stop_reason"]),
        (&json!("12:34"), &json!("end_turn"))
    );
}

fn json_with(body: &Value, key: &str, value: impl Into<Value>) -> Value {
    let mut body = body.clone();
    body[key] = value.into();
    body
}

#[test]
fn stop_sequences_and_thinking_are_told() {
    let mut harness = Harness::told(&template("hermes"));
    let rest = json!({ "stop_sequences": ["x", "brown"] });
    let (_, answer) = harness.post(MESSAGES, &request(json!("Say:\nThe quick brown fox"), rest));
    assert_eq!(answer["content"], json!([{ "type": "text", "text": "The quick " }]));
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("stop_sequence"), &json!("brown"))
    );

    let mut harness = Harness::told(&template("deepseek-3.1"));
    let body =
        |kind: &str| request(json!("Hi"), json!({ "thinking": { "type": kind, "budget_tokens": 1024 } }));
    let mut count = |body: String| harness.post(COUNT, &body).1["input_tokens"].as_u64().unwrap();
    assert_eq!(count(body("between_tools")), count(body("adaptive")));
    assert_ne!(count(body("enabled")), count(body("disabled")), "the template is told");
    let (status, answer) = harness.post(MESSAGES, &body("perhaps"));
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("thinking.type"), "{answer}");
}

#[test]
fn a_call_comes_where_one_must() {
    let mut harness = Harness::with_long_chat();
    let mut tools = tools();
    // A text of any length would be one, and any object.
    tools[1]["input_schema"] = Value::Null;
    tools[0]["input_schema"] =
        json!({ "type": "object", "properties": { "zone": { "enum": ["CET", "UTC"] } } });
    let body = |choice: Value| {
        let rest = json!({ "tools": tools, "tool_choice": choice, "temperature": 1.5 });
        request(json!("Is it late?"), rest)
    };
    for choice in [json!({ "type": "any" }), json!({ "type": "tool", "name": "f" })] {
        let mut choice = choice;
        choice["disable_parallel_tool_use"] = json!(true);
        let (status, answer) = harness.post(MESSAGES, &body(choice.clone()));
        assert_eq!(status, 200, "{answer}");
        let content = answer["content"].as_array().unwrap();
        assert!(content.len() == 1 && content[0]["input"].is_object(), "{answer}");
        assert_eq!((&content[0]["type"], &answer["stop_reason"]), (&json!("tool_use"), &json!("tool_use")));
        assert!(choice["name"].is_null() || choice["name"] == content[0]["name"], "{answer}");
    }
    tools[0]["input_schema"] =
        json!({ "type": "object", "properties": { "zone": { "pattern": "(?<=a)b", "type": "string" } } });
    let rest = json!({ "tools": tools, "tool_choice": { "type": "any" } });
    let (status, answer) = harness.post(MESSAGES, &request(json!("Is it late?"), rest));
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("tools[0].input_schema: "), "{answer}");
    let body = |choice: Value| request(json!("Is it?"), json!({ "tools": tools, "tool_choice": choice }));
    let (_, answer) = harness.post(MESSAGES, &body(json!({ "type": "tool", "name": "g" })));
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("tool_choice: "), "{answer}");
}

#[test]
fn claude_codes_prompts_are_known_from_one_request_to_the_next() {
    let mut harness = Harness::told(&template("hermes"));
    let mut n_known = |stamp: &str| {
        let header =
            format!("x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch={stamp};");
        let system =
            [header, "You are brief. ".repeat(40)].map(|text| json!({ "type": "text", "text": text }));
        let (status, answer) = harness.post(MESSAGES, &request(json!("Hi"), json!({ "system": system })));
        assert_eq!(status, 200, "{answer}");
        answer["usage"]["cache_read_input_tokens"].as_u64().unwrap()
    };
    n_known("a5145");
    assert!(n_known("0bef1") > 256);
}

#[test]
fn a_message_keeps_to_a_schema() {
    let mut harness = Harness::with_chat();
    let schema = json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"], "additionalProperties": false });
    let config = json!({ "effort": "low", "format": { "type": "json_schema", "schema": schema } });
    let (status, answer) =
        harness.post(MESSAGES, &request(json!("Is it?"), json!({ "output_config": config })));
    assert_eq!(status, 200, "{answer}");
    let text = answer["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["ok"].is_boolean(), "{text}");
    let config = json!({ "format": { "type": "xml" } });
    let (status, answer) =
        harness.post(MESSAGES, &request(json!("Is it?"), json!({ "output_config": config })));
    assert_eq!(status, 400);
    assert!(
        answer["error"]["message"].as_str().unwrap().starts_with("output_config.format.type: "),
        "{answer}"
    );
}

#[test]
fn errors_have_anthropics_form() {
    let image = json!([{ "type": "image", "source": { "type": "base64", "data": "" } }]);
    let result = json!([{ "type": "tool_result", "tool_use_id": "x", "content": image }]);
    let search = json!([{ "type": "web_search_20250305", "name": "web_search" }]);
    let mut harness = Harness::with_chat();
    for (path, body, says) in [
        (MESSAGES, "{}".to_owned(), "messages: "),
        (MESSAGES, request(json!(1), json!({})), "messages[0].content: "),
        (MESSAGES, request(image.clone(), json!({})), "messages[0].content[0].type: parts of type \"image\""),
        (
            MESSAGES,
            request(result, json!({})),
            "messages[0].content[0].content[0].type: parts of type \"image\"",
        ),
        (MESSAGES, request(json!("a"), json!({ "tools": search })), "tools[0].type: \"web_search_20250305\""),
        (MESSAGES, request(json!("a"), json!({ "tools": [{}] })), "tools[0]: "),
        (MESSAGES, request(json!("a"), json!({ "tool_choice": { "type": "maybe" } })), "tool_choice: "),
        (MESSAGES, request(json!("a"), json!({ "temperature": -1 })), "temperature: "),
        (
            MESSAGES,
            json!({ "messages": [{ "role": "assistant", "content": "I" }] }).to_string(),
            "messages: the last",
        ),
        (COUNT, "[".to_owned(), "the body is no JSON"),
    ] {
        let (status, answer) = harness.post(path, &body);
        assert_eq!((status, &answer["type"]), (400, &json!("error")), "{body}: {answer}");
        assert_eq!(answer["error"]["type"], "invalid_request_error");
        assert!(answer["error"]["message"].as_str().unwrap().starts_with(says), "{says}: {answer}");
    }
    let (status, answer) = harness.post("/v1/messages/batches", "{}");
    assert_eq!((status, &answer["error"]["type"]), (404, &json!("not_found_error")));
    let head = post(MESSAGES, "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let answer = harness.ask(format!("{head}500000\r\n{}", "x".repeat(5 << 20)).as_bytes());
    assert!(answer.contains(" 413 ") && answer.contains("request_too_large"), "{answer}");
    // The next one on the connection may be another's.
    let (_, answer) = harness.post("/v1/chat/completions", "{}");
    assert_eq!(answer["error"]["param"], "messages");
}

#[test]
fn the_key_may_come_as_anthropics_clients_send_it() {
    let mut harness = Harness::new(Settings { keys: serve::Keys::one("secret"), ..settings() });
    for (field, expected) in [
        ("x-api-key: secret", 200),
        ("Authorization: Bearer secret", 200),
        ("x-api-key: other", 401),
        ("Authorization: Bearer other\r\nx-api-key: secret", 401),
    ] {
        let request =
            post("/tokenize", "{\"content\": \"a\"}").replacen("Host:", &format!("{field}\r\nHost:"), 1);
        let answer = harness.ask(request.as_bytes());
        assert_eq!(status(answer.split("\r\n\r\n").next().unwrap()), expected, "{field}");
    }
    let (_, answer) = harness.post(MESSAGES, "{}");
    assert_eq!(answer["error"]["type"], "authentication_error");
}
