//! The API as OpenAI's and llama.cpp's clients use it.

use crate::common::{self, Harness, N_SLOTS, N_WAITING, TestModel, post, settings, status, statuses};
use llm::chat::Message;
use llm::front::{ChatFormat, PROMPT_ENCODING, Prompt, Request};
use llm::sampling::SamplingConfig;
use serde_json::{Value, json};
use serve::Settings;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// The text that the engine alone gives for a request of these settings.
fn alone(prompt: &str, max_tokens: usize, sampling: SamplingConfig) -> String {
    let mut harness = Harness::default();
    let request = Request { sampling, ..Request::new(Prompt::Text(prompt, PROMPT_ENCODING), max_tokens) };
    harness.alone(request).output
}

fn chat(content: &Value, rest: Value) -> String {
    let mut body = json!({ "messages": [{ "role": "user", "content": content }] });
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    body.to_string()
}

#[test]
fn a_completion_is_the_engines_text_with_counts_and_times() {
    let mut harness = Harness::default();
    let body = r#"{"model":"any","prompt":"Once upon a time","max_tokens":12,"temperature":0}"#;
    let (status, answer) = harness.post(COMPLETIONS, body);
    assert_eq!(status, 200);
    let text = alone("Once upon a time", 12, SamplingConfig::greedy());
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], text);
    assert_eq!((&choice["finish_reason"], &choice["index"]), (&json!("length"), &json!(0)));
    assert_eq!((&answer["object"], &answer["model"]), (&json!("text_completion"), &json!("micro")));
    assert_eq!(answer["created"], 1_700_000_000);
    let usage = &answer["usage"];
    assert_eq!(usage["completion_tokens"], 12);
    assert_eq!(usage["total_tokens"].as_u64(), usage["prompt_tokens"].as_u64().map(|n| n + 12));
    assert_eq!(answer["timings"]["predicted_n"], 12);

    // The second time the prompt is known, and the answer is the same.
    let (_, again) = harness.post(COMPLETIONS, body);
    assert_eq!(again["choices"], answer["choices"]);
    assert!(again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64() > Some(0));
    assert_ne!(again["id"], answer["id"]);

    // What two copies of a server answer next has two names.
    harness.server.rename(0xab);
    let (_, again) = harness.post(COMPLETIONS, body);
    assert_eq!(again["id"], "cmpl-00000000000000ab00000003");
}

#[test]
fn a_seed_gives_the_same_text_and_sixteen_tokens_are_what_a_completion_has() {
    let sampling = SamplingConfig {
        temperature: 0.8,
        top_k: 40,
        top_p: 0.95,
        min_p: 0.05,
        seed: 42,
        ..SamplingConfig::greedy()
    };
    let (_, answer) = Harness::default().post(COMPLETIONS, r#"{"prompt":"Hello","seed":42}"#);
    assert_eq!(answer["choices"][0]["text"], alone("Hello", 16, sampling));
}

#[test]
fn a_stream_says_the_same_in_pieces() {
    let mut harness = Harness::with_chat();
    let rest = json!({ "max_tokens": 9, "seed": 3 });
    let (_, whole) = harness.post(CHAT, &chat(&json!("Hello"), rest));
    let rest = json!({
        "max_tokens": 9, "seed": 3, "stream": true, "stream_options": { "include_usage": true },
    });
    let events = harness.stream(CHAT, &chat(&json!("Hello"), rest));
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        for key in ["id", "created", "model"] {
            assert_eq!(chunk[key], chunks[0][key]);
        }
    }
    let delta = |chunk: &Value| chunk["choices"][0]["delta"].clone();
    assert_eq!(delta(&chunks[0]), json!({ "role": "assistant", "content": "" }));
    let text: String =
        chunks.iter().filter_map(|chunk| delta(chunk)["content"].as_str().map(str::to_owned)).collect();
    assert_eq!(whole["choices"][0]["message"]["content"], text);
    let [.., last, counts] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(delta(last), json!({}));
    assert_eq!(last["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    assert_eq!(last["usage"], Value::Null);
    assert_eq!(counts["choices"], json!([]));
    assert_eq!(counts["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    for chunk in &chunks[1..chunks.len() - 2] {
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
        assert_ne!(delta(chunk)["content"], "");
    }

    // Who does not ask for the counts does not get them.
    let rest = json!({ "max_tokens": 2, "stream": true });
    let events = harness.stream(CHAT, &chat(&json!("Hello"), rest));
    assert!(!events.iter().any(|event| event.contains("usage")), "{events:?}");
}

#[test]
fn a_conversation_is_what_the_template_makes_of_it() {
    let said = [("system", "Be brief."), ("user", "Hello\nthere"), ("assistant", "Hi"), ("user", "Bye")];
    let messages = said.map(|(role, content)| Message::new(role, content));
    let mut harness = Harness::with_chat();
    let request = Request::new(Prompt::Messages(&messages, ChatFormat::default()), 8);
    let expected = harness.alone(request).output;
    let body = json!({
        "temperature": 0, "max_completion_tokens": 8, "stop": null, "user": "u", "unknown": { "x": [1] },
        "messages": [
            { "role": "developer", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "Hello" }, { "type": "text", "text": "there" }] },
            { "role": "assistant", "content": "Hi", "refusal": null },
            { "role": "user", "content": "Bye", "name": "n" },
        ],
    });
    let (status, answer) = harness.post(CHAT, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"], json!({ "role": "assistant", "content": expected }));
}

#[test]
fn several_answers_share_the_prompt() {
    let mut harness = Harness::default();
    let prompt = &"Once upon a time there was a king. ".repeat(12);
    let body = json!({ "prompt": prompt, "n": 5, "max_tokens": 6, "seed": 10 });
    let (status, answer) = harness.post(COMPLETIONS, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 5);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        let seed = 10 + index;
        let one = json!({ "prompt": prompt, "max_tokens": 6, "seed": seed });
        let (_, one) = Harness::default().post(COMPLETIONS, &one.to_string());
        assert_eq!(choice["text"], one["choices"][0]["text"], "seed {seed}");
    }
    assert_eq!(answer["usage"]["completion_tokens"], 30);
    let counts = harness.responder().counts();
    let n_prompt = answer["usage"]["prompt_tokens"].as_u64().unwrap() as usize;
    assert_eq!(counts.n_prefix_hits, 4);
    // The last token of an answer is not computed. The fifth has no slot when the prompt is, and computes the last token of it.
    assert_eq!((N_SLOTS, counts.n_computed), (4, n_prompt + 5 * 5 + 1));
    assert!(n_prompt % llm::kv_cache::PAGE_LEN > 20, "{n_prompt}");
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    // In a stream each piece says to which it belongs.
    let body = json!({ "prompt": prompt, "n": 5, "max_tokens": 6, "seed": 10, "stream": true });
    let mut texts = vec![String::new(); 5];
    for event in harness.stream(COMPLETIONS, &body.to_string()) {
        if let Ok(chunk) = serde_json::from_str::<Value>(&event) {
            let choice = &chunk["choices"][0];
            texts[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
        }
    }
    assert_eq!(texts, choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect::<Vec<_>>());
}

#[test]
fn wrong_fields_are_named() {
    let cases = [
        (CHAT, r#"{}"#, "messages"),
        (CHAT, r#"{"messages":[]}"#, "messages"),
        (CHAT, r#"{"messages":"hello"}"#, "messages"),
        (CHAT, r#"{"messages":[{"role":"king","content":"a"}]}"#, "messages[0].role"),
        (CHAT, r#"{"messages":[{"content":"a"}]}"#, "messages[0]"),
        (CHAT, r#"{"messages":[{"role":"user","content":1}]}"#, "messages[0].content"),
        (
            CHAT,
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#,
            "messages[0].content[0].type",
        ),
        (CHAT, r#"{"messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "messages[0].content[0]"),
        (COMPLETIONS, r#"{}"#, "prompt"),
        (COMPLETIONS, r#"{"prompt":[]}"#, "prompt"),
        (COMPLETIONS, r#"{"prompt":[1,"b"]}"#, "prompt"),
        (COMPLETIONS, r#"{"prompt":["a",1]}"#, "prompt"),
        (COMPLETIONS, r#"{"prompt":["a",["b"]]}"#, "prompt[1]"),
        (COMPLETIONS, r#"{"prompt":["a","b","c"],"n":3}"#, "prompt"),
        (COMPLETIONS, r#"{"prompt":[-1]}"#, "prompt[0]"),
        (COMPLETIONS, r#"{"prompt":"a","max_tokens":-2}"#, "max_tokens"),
        (COMPLETIONS, r#"{"prompt":"a","max_tokens":"many"}"#, "max_tokens"),
        (COMPLETIONS, r#"{"prompt":"a","max_tokens":1.5}"#, "max_tokens"),
        (COMPLETIONS, r#"{"prompt":"a","n":0}"#, "n"),
        (COMPLETIONS, r#"{"prompt":"a","n":9}"#, "n"),
        (COMPLETIONS, r#"{"prompt":"a","temperature":-1}"#, "temperature"),
        (COMPLETIONS, r#"{"prompt":"a","temperature":"hot"}"#, "temperature"),
        (COMPLETIONS, r#"{"prompt":"a","top_p":2}"#, "top_p"),
        (COMPLETIONS, r#"{"prompt":"a","seed":99999999999999999999}"#, "seed"),
        (COMPLETIONS, r#"{"prompt":"a","stop":[1]}"#, "stop[0]"),
        (COMPLETIONS, r#"{"prompt":"a","stream":"yes"}"#, "stream"),
        (
            COMPLETIONS,
            r#"{"prompt":"a","stream_options":{"include_usage":1}}"#,
            "stream_options.include_usage",
        ),
        (COMPLETIONS, r#"{"prompt":"a","response_format":{"type":"xml"}}"#, "response_format.type"),
        (COMPLETIONS, r#"{"prompt":"a","logit_bias":{"x":1}}"#, "logit_bias"),
        (CHAT, r#"{"messages":[{"role":"user","content":"a"}],"logprobs":3}"#, "logprobs"),
        (CHAT, r#"{"messages":[{"role":"user","content":"a"}],"top_logprobs":3}"#, "top_logprobs"),
        (COMPLETIONS, r#"{"prompt":"a","logprobs":21}"#, "logprobs"),
        (COMPLETIONS, r#"{"prompt":"a","echo":true,"logprobs":1}"#, "echo"),
        (CHAT, r#"{"messages":[{"role":"user","content":"a"}],"echo":true}"#, "echo"),
        (COMPLETIONS, r#"{"prompt":"a","cache_prompt":1}"#, "cache_prompt"),
        (COMPLETIONS, r#"{"prompt":"a","user":1}"#, "user"),
        ("/apply-template", r#"{"messages":[]}"#, "messages"),
        (COMPLETIONS, r#"{"prompt":"a","best_of":3}"#, "best_of"),
        ("/tokenize", r#"{"content":1}"#, "content"),
        ("/detokenize", r#"{"tokens":[1,"a"]}"#, "tokens[1]"),
        ("/detokenize", r#"{"tokens":[4000000000]}"#, "tokens"),
    ];
    let mut harness = Harness::default();
    for (path, body, param) in cases {
        let (status, answer) = harness.post(path, body);
        assert_eq!(status, 400, "{body}: {answer}");
        let error = &answer["error"];
        let named = error["param"].as_str().unwrap_or_else(|| panic!("{body}: {answer}"));
        assert!(named.starts_with(param), "{body}: {named} is not {param}");
        assert!(error["message"].as_str().unwrap().starts_with(named), "{body}: {answer}");
    }
    assert!(harness.engine.is_idle());
}

#[test]
fn a_prompt_that_is_too_long_says_how_long_it_may_be() {
    let mut harness = Harness::default();
    let (status, answer) = harness.post(COMPLETIONS, &json!({ "prompt": "word ".repeat(2000) }).to_string());
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("context_length_exceeded")));
    assert!(answer["error"]["message"].as_str().unwrap().contains("256"), "{answer}");
    let (status, _) = harness.post(COMPLETIONS, r#"{"prompt":[1,99999999]}"#);
    assert_eq!(status, 400);
}

#[test]
fn texts_that_end_an_answer_are_no_part_of_it() {
    let full = alone("Hello", 16, SamplingConfig::greedy());
    let (at, _) = full.char_indices().nth(4).unwrap();
    let (kept, stop) = (&full[..at], &full[at..at + 2]);
    let kept = full.find(stop).map_or(kept, |first| &full[..first]);
    for stop in [json!(stop), json!([stop]), json!(["", "never said", stop])] {
        let body = json!({ "prompt": "Hello", "temperature": 0, "stop": stop });
        let (_, answer) = Harness::default().post(COMPLETIONS, &body.to_string());
        assert_eq!(answer["choices"][0]["text"], kept, "{stop}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn many_requests_at_once_are_each_answered_as_alone() {
    let prompts: Vec<String> =
        (0..16).map(|n| format!("{} and then number {n}", "word ".repeat(n % 5))).collect();
    let body = |n: usize| json!({ "prompt": prompts[n], "max_tokens": 10 + n, "seed": n }).to_string();
    let expected: Vec<Value> =
        (0..16).map(|n| Harness::default().post(COMPLETIONS, &body(n)).1["choices"].clone()).collect();

    let mut harness = Harness::default();
    let ids: Vec<_> = (0..16).map(|_| harness.connect()).collect();
    for (n, &id) in ids.iter().enumerate() {
        let request = post(COMPLETIONS, &body(n));
        assert_eq!(harness.server.receive(id, request.as_bytes(), 1), request.len());
    }
    while harness.step() {}
    for (n, &id) in ids.iter().enumerate() {
        let answer = String::from_utf8(harness.take(id)).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["choices"], expected[n], "request {n}");
        harness.server.remove(id);
    }
    assert_eq!(harness.responder().scheduler().n_used_pages(), 0);
}

#[test]
fn more_requests_than_can_wait_are_told_to_come_back() {
    let mut harness = Harness::default();
    let request = post(COMPLETIONS, r#"{"prompt":"Hello","max_tokens":2}"#);
    let n = N_SLOTS + N_WAITING + 1;
    let ids: Vec<_> = (0..n).map(|_| harness.connect()).collect();
    for &id in &ids {
        harness.server.receive(id, request.as_bytes(), 1);
    }
    while harness.step() {}
    let answers: Vec<Vec<u8>> = ids.iter().map(|&id| harness.take(id)).collect();
    let codes: Vec<u16> = answers.iter().map(|answer| statuses(answer)[0]).collect();
    assert_eq!(codes.iter().filter(|&&code| code == 200).count(), n - 1);
    assert_eq!(codes[n - 1], 429);
    assert!(String::from_utf8_lossy(&answers[n - 1]).contains("Retry-After: 1"));
}

#[test]
fn a_key_is_asked_for_where_there_is_one() {
    let mut harness = Harness::new(Settings { keys: serve::Keys::one("sesame"), ..settings() });
    let with = |field: &str| format!("GET /v1/models HTTP/1.1\r\nHost: a\r\n{field}\r\n");
    let cases = [
        ("", 401),
        ("Authorization: Bearer sesam\r\n", 401),
        ("Authorization: Bearer sesamee\r\n", 401),
        ("Authorization: Basic sesame\r\n", 401),
        ("Authorization: sesame\r\n", 401),
        ("Authorization: Bearer sesame\r\n", 200),
        ("authorization: bearer  sesame \r\n", 200),
    ];
    for (field, expected) in cases {
        let answer = harness.ask(with(field).as_bytes());
        assert_eq!(status(&answer), expected, "{field}");
        assert!(!answer.contains("sesame"), "{answer}");
    }
    assert_eq!(status(&harness.ask(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")), 200);
}

#[test]
fn one_model_answers_to_any_name_and_several_to_their_own() {
    let mut harness = Harness::default();
    let ask = |harness: &mut Harness, model: &str| {
        harness.post(COMPLETIONS, &json!({ "model": model, "prompt": "a", "max_tokens": 1 }).to_string())
    };
    assert_eq!(ask(&mut harness, "gpt-4o").1["model"], "micro");
    harness.engine.remove(None).unwrap();
    let mut harness =
        harness.with(TestModel::new("micro").called("first")).with(TestModel::new("micro").called("second"));
    assert_eq!(ask(&mut harness, "second").1["model"], "second");
    assert_eq!(ask(&mut harness, "").1["model"], "first");
    let (status, answer) = ask(&mut harness, "gpt-4o");
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("model_not_found")));
    let (_, list) = harness.get("/v1/models");
    assert_eq!(list["data"][1]["id"], "second");
    harness.engine.remove(None).unwrap();
    harness.engine.remove(None).unwrap();
    assert_eq!(ask(&mut harness, "first").0, 503);
}

#[test]
fn llama_cpps_own_routes_answer_as_its_server() {
    let mut harness = Harness::default();
    let (_, tokens) = harness.post("/tokenize", r#"{"content":"Hello world"}"#);
    let (_, text) = harness.post("/detokenize", &tokens.to_string());
    assert_eq!(text["content"], "Hello world");
    let body = r#"{"prompt":"Hello","n_predict":5,"temperature":0}"#;
    let (_, answer) = harness.post("/completion", body);
    assert_eq!(answer["content"], alone("Hello", 5, SamplingConfig::greedy()));
    assert_eq!((&answer["stop"], &answer["stop_type"]), (&json!(true), &json!("limit")));
    assert_eq!((&answer["tokens_predicted"], &answer["index"]), (&json!(5), &json!(0)));
    let events =
        harness.stream("/completion", r#"{"prompt":"Hello","n_predict":5,"temperature":0,"stream":true}"#);
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let text: String = events.iter().map(|event| event["content"].as_str().unwrap()).collect();
    assert_eq!(answer["content"], text);
    let (last, pieces) = events.split_last().unwrap();
    assert!(last["stop"] == true && pieces.iter().all(|piece| piece["stop"] == false));
}

#[test]
fn figures_count_what_was_done() {
    let mut harness = Harness::default();
    harness.post(COMPLETIONS, r#"{"prompt":"Hello","max_tokens":5}"#);
    harness.post(COMPLETIONS, r#"{"prompt":1}"#);
    let figures = harness.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    for line in [
        "ferrite_tokens_predicted_total 5",
        // From each of them to the next.
        "ferrite_token_seconds_count 4",
        "ferrite_token_seconds{quantile=\"0.99\"} 0",
        "ferrite_requests_total 3",
        "ferrite_requests_refused_total 1",
        "# TYPE ferrite_requests_processing gauge",
    ] {
        assert!(figures.lines().any(|found| found == line), "{line}: {figures}");
    }
}

#[test]
fn who_reads_slowly_gets_larger_pieces_and_the_same_text() {
    let mut limits = settings().limits;
    limits.outbox_bytes = 700;
    let mut harness = Harness::new(Settings { limits, ..settings() });
    let body = r#"{"prompt":"Hello","max_tokens":30,"temperature":0,"stream":true}"#;
    let id = harness.connect();
    harness.server.receive(id, post(COMPLETIONS, body).as_bytes(), 1);
    while harness.step() {}
    // Everything has been generated, and little of it written.
    assert!(harness.server.unsent(id).len() < 1500);
    let answer = harness.take(id);
    let (_, body) = std::str::from_utf8(&answer).unwrap().split_once("\r\n\r\n").unwrap();
    let events = String::from_utf8(common::unchunked(body.as_bytes())).unwrap();
    let texts = events.split("\n\n").filter_map(|event| {
        serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok()?["choices"][0]["text"]
            .as_str()
            .map(str::to_owned)
    });
    let texts: Vec<String> = texts.collect();
    assert!(texts.len() < 10, "{texts:?}");
    assert_eq!(texts.concat(), alone("Hello", 30, SamplingConfig::greedy()));
}

#[test]
fn a_stream_on_which_nothing_is_said_for_long_shows_that_it_lives() {
    let mut harness = Harness::default();
    let id = harness.connect();
    let body = r#"{"prompt":"Hello","max_tokens":3,"stream":true}"#;
    harness.server.receive(id, post(COMPLETIONS, body).as_bytes(), 1);
    harness.server.serve(&mut harness.engine, 1);
    harness.server.check_time(4_000_000);
    assert!(harness.server.unsent(id).is_empty());
    harness.server.check_time(6_000_000);
    let said = String::from_utf8(harness.take(id)).unwrap();
    assert!(status(&said) == 200 && said.ends_with("3\r\n:\n\n\r\n"), "{said:?}");
}

#[test]
fn tokens_and_their_probabilities_are_told_in_each_shape() {
    let mut harness = Harness::with_chat();
    let rest = json!({ "max_tokens": 6, "temperature": 0, "logprobs": true, "top_logprobs": 3 });
    let (_, answer) = harness.post(CHAT, &chat(&json!("Hello"), rest.clone()));
    let choice = &answer["choices"][0];
    let content = choice["logprobs"]["content"].as_array().unwrap();
    assert!(!content.is_empty());
    let mut bytes = Vec::new();
    for record in content {
        let (top, logprob) =
            (record["top_logprobs"].as_array().unwrap(), record["logprob"].as_f64().unwrap());
        // Greedily the likeliest is the one that is chosen.
        assert_eq!(
            (top.len(), &top[0]["token"], &top[0]["logprob"]),
            (3, &record["token"], &record["logprob"])
        );
        assert!(logprob <= 0.0 && top.is_sorted_by(|a, b| a["logprob"].as_f64() >= b["logprob"].as_f64()));
        let sum: f64 = top.iter().map(|entry| entry["logprob"].as_f64().unwrap().exp()).sum();
        assert!(sum <= 1.0001, "{sum}");
        bytes.extend(record["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8));
    }
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text, choice["message"]["content"].as_str().unwrap());

    // A stream brings the same tokens, some with each piece of text.
    let mut rest = rest;
    rest["stream"] = json!(true);
    let events = harness.stream(CHAT, &chat(&json!("Hello"), rest));
    let mut streamed = Vec::new();
    for event in &events[..events.len() - 1] {
        let chunk: Value = serde_json::from_str(event).unwrap();
        streamed.extend(chunk["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap_or_default());
    }
    assert_eq!(&streamed, content);

    let body = json!({ "prompt": "Hello", "max_tokens": 4, "temperature": 0, "logprobs": 2 });
    let (_, answer) = harness.post(COMPLETIONS, &body.to_string());
    let logprobs = &answer["choices"][0]["logprobs"];
    let tokens: Vec<&str> =
        logprobs["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(tokens.concat(), answer["choices"][0]["text"].as_str().unwrap());
    let mut offset = 0;
    for (index, token) in tokens.iter().enumerate() {
        assert_eq!(logprobs["text_offset"][index], offset);
        assert_eq!(logprobs["top_logprobs"][index][token], logprobs["token_logprobs"][index]);
        offset += token.chars().count();
    }

    let body = json!({ "prompt": "Hello", "n_predict": 4, "temperature": 0, "n_probs": 2 });
    let (_, answer) = harness.post("/completion", &body.to_string());
    let records = answer["completion_probabilities"].as_array().unwrap();
    assert!(records.len() == 4 && records.iter().all(|record| record["id"].is_u64()));
    // Who does not ask for them is told none.
    let (_, answer) = harness.post(COMPLETIONS, r#"{"prompt":"Hello","max_tokens":1}"#);
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn fields_of_sampling_are_those_of_the_engine() {
    let usual =
        SamplingConfig { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, ..SamplingConfig::greedy() };
    let stages = |names: &str| names.parse().unwrap();
    for (fields, sampling) in [
        (json!({ "typical_p": 0.5, "top_k": 0 }), SamplingConfig { typical_p: 0.5, top_k: 0, ..usual }),
        (json!({ "top_n_sigma": 0.4 }), SamplingConfig { top_n_sigma: 0.4, ..usual }),
        (
            json!({ "xtc_probability": 1, "xtc_threshold": 0.01 }),
            SamplingConfig { xtc_probability: 1.0, xtc_threshold: 0.01, ..usual },
        ),
        (
            json!({ "dynatemp_range": 0.7, "dynatemp_exponent": 0.5 }),
            SamplingConfig { dynatemp_range: 0.7, dynatemp_exponent: 0.5, ..usual },
        ),
        (
            json!({ "mirostat": 1, "mirostat_tau": 3 }),
            SamplingConfig { mirostat: 1, mirostat_tau: 3.0, ..usual },
        ),
        (
            json!({ "mirostat": 2, "mirostat_eta": 0.7 }),
            SamplingConfig { mirostat: 2, mirostat_eta: 0.7, ..usual },
        ),
        (
            json!({ "dry_multiplier": 5, "dry_base": 2, "dry_allowed_length": 1, "dry_penalty_last_n": -1 }),
            SamplingConfig {
                dry_multiplier: 5.0,
                dry_base: 2.0,
                dry_allowed_length: 1,
                dry_penalty_last_n: SamplingConfig::WHOLE_CONTEXT,
                ..usual
            },
        ),
        (json!({ "min_keep": 30, "top_p": 0.01 }), SamplingConfig { min_keep: 30, top_p: 0.01, ..usual }),
        (
            json!({ "samplers": ["top_k", "temp"] }),
            SamplingConfig { stages: stages("top_k;temperature"), ..usual },
        ),
        (json!({ "samplers": "kt" }), SamplingConfig { stages: stages("top_k;temperature"), ..usual }),
        (json!({ "samplers": "top_k;xtc" }), SamplingConfig { stages: stages("top_k;xtc"), ..usual }),
        (json!({ "samplers": [] }), SamplingConfig { stages: stages(""), ..usual }),
    ] {
        let mut body = json!({ "prompt": "Hello", "max_tokens": 24, "seed": 11 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (status, answer) = Harness::default().post(COMPLETIONS, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        let expected = alone("Hello", 24, SamplingConfig { seed: 11, ..sampling }.within_context(64));
        assert_eq!(answer["choices"][0]["text"], expected, "{fields}");
    }
    for (fields, field) in [
        (r#""typical_p":2"#, "typical_p"),
        (r#""dry_base":0.5"#, "dry_base"),
        (r#""dry_penalty_last_n":-2"#, "dry_penalty_last_n"),
        (r#""dry_allowed_length":-1"#, "dry_allowed_length"),
        (r#""dry_sequence_breakers":"x""#, "dry_sequence_breakers"),
        (r#""mirostat":3"#, "mirostat"),
        (r#""min_keep":-1"#, "min_keep"),
        (r#""samplers":["top_k","infill"]"#, "samplers"),
        (r#""samplers":"kq""#, "samplers"),
    ] {
        let (status, answer) = Harness::default().post(COMPLETIONS, &format!(r#"{{"prompt":"a",{fields}}}"#));
        assert_eq!((status, &answer["error"]["param"]), (400, &json!(field)), "{answer}");
    }
}

#[test]
fn after_sampling_probabilities_are_those_of_what_was_kept() {
    let mut harness = Harness::with_chat();
    let rest = json!({ "top_k": 3, "top_p": 1, "min_p": 0, "temperature": 1.5, "seed": 1, "post_sampling_probs": true });
    let with = |more: Value| {
        let mut all = rest.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let body = with(json!({ "prompt": "Hello", "n_predict": 5, "n_probs": 20 }));
    let (_, native) = harness.post("/completion", &body.to_string());
    let asked = with(json!({ "logprobs": true, "top_logprobs": 20, "max_tokens": 5 }));
    let (_, chat) = harness.post(CHAT, &chat(&json!("Hello"), asked));
    for records in [&native["completion_probabilities"], &chat["choices"][0]["logprobs"]["content"]] {
        let records = records.as_array().unwrap();
        assert!(!records.is_empty());
        for record in records {
            let top = record["top_probs"].as_array().unwrap();
            let sum: f64 = top.iter().map(|entry| entry["prob"].as_f64().unwrap()).sum();
            assert!(top.len() == 3 && (sum - 1.0).abs() < 1e-5, "{record}");
            assert!(
                top.iter().any(|entry| entry["token"] == record["token"] && entry["prob"] == record["prob"])
            );
            assert_eq!((&record["logprob"], &record["top_logprobs"]), (&Value::Null, &Value::Null));
        }
    }
    let body = with(json!({ "prompt": "Hello", "max_tokens": 5, "logprobs": 20 }));
    let (_, answer) = harness.post(COMPLETIONS, &body.to_string());
    let logprobs = &answer["choices"][0]["logprobs"];
    let sum: f64 =
        logprobs["top_logprobs"][0].as_object().unwrap().values().map(|x| x.as_f64().unwrap().exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{logprobs}");
}

#[test]
fn a_text_whose_end_is_ignored_goes_on() {
    let mut harness = Harness::default();
    // What ends a text is all but certain.
    let (_, props) = harness.get("/props");
    let eos = props["eos_token"].as_str().unwrap().to_owned();
    let body = json!({ "content": eos }).to_string();
    let (_, tokens) = harness.post("/tokenize", &body);
    let [id] = &tokens["tokens"].as_array().unwrap()[..] else { panic!("{tokens}") };
    let ask = |harness: &mut Harness, ignore_eos: bool| {
        let bias = json!([[id, 1000]]);
        let body = json!({ "prompt": "Hello", "n_predict": 9, "logit_bias": bias, "ignore_eos": ignore_eos });
        harness.post("/completion", &body.to_string()).1
    };
    let ended = ask(&mut harness, false);
    assert_eq!((&ended["stop_type"], &ended["content"]), (&json!("eos"), &json!("")));
    let went_on = ask(&mut harness, true);
    assert_eq!((&went_on["stop_type"], &went_on["tokens_predicted"]), (&json!("limit"), &json!(9)));
}

#[test]
fn a_bias_bans_a_token_and_penalties_change_the_text() {
    let ask = |rest: Value| {
        let mut body = json!({ "prompt": "Hello", "max_tokens": 24, "temperature": 0 });
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let (status, answer) = Harness::default().post(COMPLETIONS, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        answer["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let plain = ask(json!({}));
    let ids = |rest: Value| {
        let mut body = json!({ "prompt": "Hello", "n_predict": 24, "temperature": 0, "n_probs": 1 });
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let (_, answer) = Harness::default().post("/completion", &body.to_string());
        let records = answer["completion_probabilities"].as_array().unwrap().iter();
        records.map(|record| record["id"].as_u64().unwrap()).collect::<Vec<u64>>()
    };
    let first = ids(json!({}))[0];
    for bias in [json!({ first.to_string(): -100 }), json!([[first, -100]])] {
        let banned = ids(json!({ "logit_bias": bias }));
        assert!(!banned.is_empty() && !banned.contains(&first), "{first} in {banned:?}");
    }
    assert_ne!(ask(json!({ "frequency_penalty": 50 })), plain);
    assert_ne!(ask(json!({ "presence_penalty": 50 })), plain);
    assert_eq!(ask(json!({ "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {} })), plain);
    let (status, answer) =
        Harness::default().post(COMPLETIONS, r#"{"prompt":"a","logit_bias":{"99999999":1}}"#);
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("logit_bias")));
}
