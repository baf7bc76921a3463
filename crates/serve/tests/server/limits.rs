//! Limits of keys: tokens per minute, requests at a time, tokens of prompt and answer together.

use crate::common::{Harness, post, settings, status};
use serde_json::{Value, json};
use serve::{Keys, Settings};

const COMPLETIONS: &str = "/v1/completions";

fn with_keys(file: &str) -> Harness {
    Harness::new(Settings { keys: Keys::parse(file).unwrap(), ..settings() })
}

/// A request with this key.
fn keyed(path: &str, key: &str, body: &Value) -> Vec<u8> {
    let field = format!("\r\nAuthorization: Bearer {key}\r\n");
    post(path, &body.to_string()).replacen("\r\n", &field, 1).into_bytes()
}

fn ask(harness: &mut Harness, key: &str, body: &Value) -> (u16, String, Value) {
    ask_at(harness, COMPLETIONS, key, body)
}

fn ask_at(harness: &mut Harness, path: &str, key: &str, body: &Value) -> (u16, String, Value) {
    let answer = harness.ask(&keyed(path, key, body));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (status(head), head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

/// The value of a header field; empty if the field is missing.
fn field<'h>(head: &'h str, name: &str) -> &'h str {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

/// The number of tokens left of a key's minute.
fn remaining(head: &str) -> u64 {
    field(head, "x-ratelimit-remaining-tokens").parse().unwrap()
}

fn answer_of(n_tokens: usize) -> Value {
    json!({ "prompt": "Hello", "max_tokens": n_tokens, "temperature": 0, "ignore_eos": true })
}

#[test]
fn a_minute_has_so_many_tokens_and_what_is_known_costs_nothing() {
    let mut harness = with_keys("k name=ci tokens_per_minute=60\nother");
    let (code, head, answer) = ask(&mut harness, "k", &answer_of(10));
    let used = answer["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!((code, remaining(&head)), (200, 60 - used), "{head}");
    assert_eq!(field(&head, "x-ratelimit-limit-tokens"), "60");
    assert_eq!(field(&head, "x-ratelimit-reset-tokens"), format!("{used}s"));
    // The prompt is known now, but for its last token, and is overdrawn by nobody else.
    let (_, head, answer) = ask(&mut harness, "k", &answer_of(60));
    let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let computed = answer["usage"]["total_tokens"].as_u64().unwrap() - cached;
    assert!(used + computed > 60 && remaining(&head) == 0, "{head}");
    let debt = used + computed - 60;
    let (code, head, answer) = ask(&mut harness, "k", &answer_of(1));
    assert_eq!((code, &answer["error"]["code"]), (429, &json!("rate_limit_exceeded")), "{answer}");
    assert_eq!(answer["error"]["type"], "rate_limit_error");
    assert_eq!(field(&head, "Retry-After"), (debt + 1).to_string());
    assert_eq!(field(&head, "x-ratelimit-remaining-tokens"), "0");
    // Others, and what computes nothing, are answered.
    assert_eq!(ask(&mut harness, "other", &answer_of(1)).0, 200);
    assert_eq!(ask_at(&mut harness, "/tokenize", "k", &json!({ "content": "Hello" })).0, 200);
    harness.now_us += 1_000_000 * debt;
    assert_eq!(ask(&mut harness, "k", &answer_of(1)).0, 429);
    harness.now_us += 1_000_000;
    assert_eq!(ask(&mut harness, "k", &answer_of(1)).0, 200);
    assert!(!ask(&mut harness, "other", &answer_of(1)).1.contains("ratelimit"));
}

#[test]
fn a_stream_tells_what_is_left_and_one_that_is_left_is_paid_for() {
    let mut harness = with_keys("k tokens_per_minute=600");
    let mut body = answer_of(100);
    body["stream"] = true.into();
    let id = harness.connect();
    harness.server.receive(id, &keyed(COMPLETIONS, "k", &body), 1);
    for _ in 0..20 {
        harness.step();
    }
    let begun = String::from_utf8(harness.take(id)).unwrap();
    let n_told = begun.matches("\ndata: ").count() as u64;
    assert!(n_told > 10, "{begun}");
    let at_begin = remaining(&begun);
    assert!((590..600).contains(&at_begin), "{begun}");
    harness.server.remove(id);
    while harness.step() {}
    let (_, head, answer) = ask(&mut harness, "k", &answer_of(1));
    let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let of_this = answer["usage"]["total_tokens"].as_u64().unwrap() - cached;
    assert!(remaining(&head) <= at_begin - n_told + 1 - of_this, "{head}");
}

#[test]
fn vectors_are_paid_for_when_they_are_begun() {
    let mut harness = with_keys("k tokens_per_minute=10");
    let body = json!({ "input": "Hello world. ".repeat(10) });
    let id = harness.connect();
    harness.server.receive(id, &keyed("/v1/embeddings", "k", &body), 1);
    harness.step();
    harness.server.remove(id);
    while harness.step() {}
    assert_eq!(ask_at(&mut harness, "/v1/embeddings", "k", &json!({ "input": "a" })).0, 429);
}

#[test]
fn so_many_requests_at_a_time() {
    let mut harness = with_keys("k name=ci running=2\nother running=1");
    let send = |harness: &mut Harness, key: &str, path: &str, body: &Value| {
        let id = harness.connect();
        harness.server.receive(id, &keyed(path, key, body), 1);
        id
    };
    let first = send(&mut harness, "k", COMPLETIONS, &answer_of(50));
    let second = send(&mut harness, "k", "/v1/embeddings", &json!({ "input": "Hello" }));
    // Those that wait count too.
    let refused = send(&mut harness, "k", COMPLETIONS, &answer_of(1));
    let answer = String::from_utf8(harness.take(refused)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("rate_limit_exceeded"), "{answer}");
    assert!(answer.contains("key ci may have 2 requests at a time") && answer.contains("Retry-After: 1"));
    // The connection is good for another one.
    assert!(answer.contains("Connection: keep-alive"));
    let other = send(&mut harness, "other", COMPLETIONS, &answer_of(1));
    assert!(harness.take(other).is_empty());
    harness.step();
    harness.server.remove(first);
    harness.server.receive(refused, &keyed(COMPLETIONS, "k", &answer_of(1)), 1);
    while harness.step() {}
    for id in [second, other, refused] {
        assert!(harness.take(id).starts_with(b"HTTP/1.1 200 "));
    }
}

#[test]
fn prompt_and_answer_have_so_many_tokens() {
    let mut harness = with_keys("k context=12\nother");
    let n_prompt = ask(&mut harness, "other", &answer_of(1)).2["usage"]["prompt_tokens"].as_u64().unwrap();
    let n_left = 12 - n_prompt;
    assert_eq!(ask(&mut harness, "k", &answer_of(n_left as usize)).0, 200);
    let (code, _, answer) = ask(&mut harness, "k", &answer_of(n_left as usize + 1));
    assert_eq!((code, &answer["error"]["code"]), (400, &json!("context_length_exceeded")));
    let expected = format!(
        "a prompt of {n_prompt} tokens and an answer of {} are more than the 12 that this request may have",
        n_left + 1
    );
    assert_eq!(answer["error"]["message"], expected);
    // Who names no number gets what is left, also where the usual number is larger.
    for max_tokens in [Value::Null, json!(-1)] {
        let body =
            json!({ "prompt": "Hello", "max_tokens": max_tokens, "temperature": 0, "ignore_eos": true });
        for path in [COMPLETIONS, "/completion"] {
            let (code, _, answer) = ask_at(&mut harness, path, "k", &body);
            let n = answer["usage"]["completion_tokens"].as_u64().or(answer["tokens_predicted"].as_u64());
            assert_eq!((code, n), (200, Some(n_left)), "{answer}");
        }
    }
    let long = "Hello world. ".repeat(20);
    for (path, body) in
        [(COMPLETIONS, json!({ "prompt": long })), ("/v1/embeddings", json!({ "input": long }))]
    {
        let (code, _, answer) = ask_at(&mut harness, path, "k", &body);
        assert_eq!((code, &answer["error"]["code"]), (400, &json!("context_length_exceeded")), "{path}");
        assert_eq!(ask_at(&mut harness, path, "other", &body).0, 200, "{path}");
    }
}
