//! `timeout_ms`: the time limit of an answer.

use crate::common::{self, Harness, post, status, unchunked};
use serde_json::{Value, json};
use serve::ConnectionId;

const COMPLETIONS: &str = "/v1/completions";

fn send(harness: &mut Harness, path: &str, body: &Value) -> ConnectionId {
    let id = harness.connect();
    let request = post(path, &body.to_string());
    assert_eq!(harness.server.receive(id, request.as_bytes(), harness.now_us), request.len());
    id
}

/// The status and the body of the answer so far; the body is empty if nothing was sent.
fn taken(harness: &mut Harness, id: ConnectionId) -> (u16, String) {
    let answer = String::from_utf8(harness.take(id)).unwrap();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return (0, answer) };
    (status(head), body.to_owned())
}

fn steps(harness: &mut Harness, n: usize) {
    for _ in 0..n {
        harness.step();
    }
}

/// Lets time pass and has the server notice it.
fn pass(harness: &mut Harness, us: u64) {
    harness.now_us += us;
    harness.server.check_time(harness.now_us);
}

fn body(max_tokens: usize, timeout_ms: u64) -> Value {
    json!({ "prompt": "Hello", "max_tokens": max_tokens, "temperature": 0, "ignore_eos": true, "timeout_ms": timeout_ms })
}

#[test]
fn what_has_been_said_is_answered_when_the_time_is_over() {
    let mut harness = Harness::default();
    let whole = harness.post(COMPLETIONS, &body(60, 1000).to_string()).1;
    let whole = whole["choices"][0]["text"].as_str().unwrap().to_owned();
    let id = send(&mut harness, COMPLETIONS, &body(60, 1000));
    steps(&mut harness, 10);
    pass(&mut harness, 999_999);
    assert_eq!(taken(&mut harness, id), (0, String::new()));
    pass(&mut harness, 1);
    let (code, answer) = taken(&mut harness, id);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((code, &answer["choices"][0]["finish_reason"]), (200, &json!("length")));
    let (text, n) =
        (answer["choices"][0]["text"].as_str().unwrap(), answer["usage"]["completion_tokens"].as_u64());
    assert!(!text.is_empty() && whole.starts_with(text) && whole.len() > text.len(), "{text:?} of {whole:?}");
    assert!(n.is_some_and(|n| (5..=10).contains(&n)), "{answer}");
    assert_eq!(answer["timings"]["predicted_n"].as_u64(), n);
    assert_eq!(answer["timings"]["predicted_ms"], 1000.0);
    // It is computed for no longer, and the connection goes on.
    harness.step();
    assert!(harness.engine.is_idle());
    harness.server.receive(id, post(COMPLETIONS, &body(1, 1).to_string()).as_bytes(), harness.now_us);
    while harness.step() {}
    assert_eq!(taken(&mut harness, id).0, 200);
    let overdue = harness.server.overdue();
    assert_eq!((overdue.n, overdue.last().collect::<Vec<_>>()), (1, vec![(2, 0)]));
}

#[test]
fn the_token_behind_the_deadline_is_the_last() {
    for (path, body, reason) in [
        (COMPLETIONS, body(60, 1000), json!("length")),
        ("/completion", json!({ "prompt": "Hello", "ignore_eos": true, "timeout_ms": 1000 }), json!("limit")),
    ] {
        let mut harness = Harness::default();
        let id = send(&mut harness, path, &body);
        steps(&mut harness, 5);
        harness.now_us += 1_007_000;
        harness.step();
        let answer: Value = serde_json::from_str(&taken(&mut harness, id).1).unwrap();
        let told = answer["choices"][0]["finish_reason"].as_str().or(answer["stop_type"].as_str());
        assert_eq!(told, reason.as_str(), "{answer}");
        assert_eq!(harness.server.overdue().last().collect::<Vec<_>>(), [(1, 7000)]);
    }
}

#[test]
fn a_stream_ends_as_usual() {
    let mut harness = Harness::with_chat();
    for (path, field, last) in [
        ("/v1/chat/completions", "messages", "data: [DONE]\n\n"),
        ("/v1/messages", "messages", "\"message_stop\"}\n\n"),
        ("/v1/responses", "input", "\n\n"),
    ] {
        let body = json!({
            field: [{ "role": "user", "content": "Hello" }],
            "stream": true, "timeout_ms": 1000, "ignore_eos": true, "temperature": 0
        });
        let id = send(&mut harness, path, &body);
        steps(&mut harness, 10);
        pass(&mut harness, 1_000_000);
        let (code, events) = taken(&mut harness, id);
        let events = String::from_utf8(unchunked(events.as_bytes())).unwrap();
        assert!(code == 200 && events.ends_with(last), "{events}");
        assert!(
            ["\"length\"", "\"max_tokens\"", "response.incomplete"]
                .iter()
                .any(|reason| events.contains(reason)),
            "{events}"
        );
        harness.step();
        assert!(harness.engine.is_idle());
    }
}

#[test]
fn before_the_first_token_there_is_an_error() {
    let mut harness = Harness::with_chat();
    let id = send(&mut harness, COMPLETIONS, &body(60, 250));
    harness.server.serve(&mut harness.engine, harness.now_us);
    pass(&mut harness, 250_000);
    let (code, answer) = taken(&mut harness, id);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((code, &answer["error"]["code"]), (504, &json!("deadline_exceeded")));
    assert_eq!(answer["error"]["type"], "timeout_error");
    assert_eq!(answer["error"]["message"], "nothing was computed before timeout_ms was over");
    // A request that has waited too long in front of the engine is no better off.
    let id = send(&mut harness, COMPLETIONS, &body(60, 250));
    harness.now_us += 300_000;
    harness.server.serve(&mut harness.engine, harness.now_us);
    pass(&mut harness, 0);
    assert_eq!(taken(&mut harness, id).0, 504);
    let conversation =
        json!({ "max_tokens": 9, "messages": [{ "role": "user", "content": "a" }], "timeout_ms": 1 });
    let id = send(&mut harness, "/v1/messages", &conversation);
    harness.server.serve(&mut harness.engine, harness.now_us);
    pass(&mut harness, 1000);
    let (code, answer) = taken(&mut harness, id);
    assert!(
        code == 504 && answer.starts_with(r#"{"type":"error","error":{"type":"timeout_error""#),
        "{answer}"
    );
    for (path, body) in [
        ("/v1/embeddings", json!({ "input": ["a", "b"], "timeout_ms": 5 })),
        (
            "/v1/chat/completions",
            json!({ "messages": [{ "role": "user", "content": "a" }], "timeout_ms": 5, "n": 3 }),
        ),
    ] {
        let id = send(&mut harness, path, &body);
        harness.server.serve(&mut harness.engine, harness.now_us);
        pass(&mut harness, 6000);
        assert_eq!(taken(&mut harness, id).0, 504, "{path}");
    }
    harness.step();
    assert!(harness.engine.is_idle());
    let late: Vec<u64> = harness.server.overdue().last().map(|(_, by_us)| by_us).collect();
    assert_eq!(late, [0, 50_000, 0, 1000, 1000]);
}

#[test]
fn who_waits_for_a_slot_is_told_and_the_others_go_on() {
    let mut harness = Harness::default();
    let expected = harness.post(COMPLETIONS, &body(40, 60_000).to_string()).1["choices"].clone();
    let running: Vec<_> =
        (0..common::N_SLOTS).map(|_| send(&mut harness, COMPLETIONS, &body(40, 60_000))).collect();
    steps(&mut harness, 3);
    let waiting = send(&mut harness, COMPLETIONS, &body(40, 100));
    steps(&mut harness, 3);
    pass(&mut harness, 100_000);
    assert_eq!(taken(&mut harness, waiting).0, 504);
    while harness.step() {}
    for id in running {
        let answer: Value = serde_json::from_str(&taken(&mut harness, id).1).unwrap();
        assert_eq!(answer["choices"], expected);
    }
}

#[test]
fn several_answers_end_together_and_tokens_are_told() {
    let mut harness = Harness::default();
    let mut body = body(40, 100);
    (body["n"], body["logprobs"], body["stream"]) = (json!(3), json!(2), json!(true));
    let id = send(&mut harness, COMPLETIONS, &body);
    steps(&mut harness, 8);
    pass(&mut harness, 100_000);
    // The vocabulary is the engine's.
    harness.step();
    let (_, events) = taken(&mut harness, id);
    let events = String::from_utf8(unchunked(events.as_bytes())).unwrap();
    assert_eq!(events.matches(r#""finish_reason":"length""#).count(), 3, "{events}");
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
}

#[test]
fn a_deadline_is_at_least_a_millisecond_away() {
    let mut harness = Harness::default();
    for (timeout, expected) in [("0", 400), ("-1", 400), ("\"1\"", 400), ("null", 200), ("1e3", 400)] {
        for path in [COMPLETIONS, "/completion", "/v1/embeddings"] {
            let body = format!(r#"{{"prompt":"a","input":"a","max_tokens":1,"timeout_ms":{timeout}}}"#);
            let (code, answer) = harness.post(path, &body);
            assert_eq!(code, expected, "{path} {timeout}: {answer}");
            if code == 400 {
                assert_eq!(answer["error"]["param"], "timeout_ms", "{answer}");
            }
        }
    }
}
