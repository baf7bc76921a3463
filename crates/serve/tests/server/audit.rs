//! The audit says who requested what; it contains no prompts and no answers.

use crate::common::{Harness, post, settings, status};
use serde_json::{Value, json};
use serve::audit::Chain;
use serve::{Keys, Settings};

const COMPLETIONS: &str = "/v1/completions";

fn keyed(request: &str, key: &str) -> Vec<u8> {
    request.replacen("\r\n", &format!("\r\nAuthorization: Bearer {key}\r\n"), 1).into_bytes()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn audited() -> Harness {
    let keys = Keys::parse("k1 name=ci\nk2\nreader name=reader audit").unwrap();
    Harness::new(Settings { keys, ..settings() })
}

/// The audit's lines as a client gets them, and as JSON values.
fn lines(harness: &mut Harness, path: &str) -> (String, Vec<Value>) {
    let answer = harness.ask(&keyed(&get(path), "reader"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(status(head), 200, "{answer}");
    assert!(head.contains("Content-Type: application/jsonl\r\n"), "{head}");
    let values = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (body.to_owned(), values)
}

#[test]
fn each_request_has_a_line_that_says_who_what_when_and_how_it_ended() {
    let mut harness = audited();
    harness.now_us = 5_000_000;
    let body =
        json!({ "prompt": "Hello", "max_tokens": 4, "temperature": 0, "ignore_eos": true, "stream": true });
    harness.ask(&keyed(&post(COMPLETIONS, &body.to_string()), "k1"));
    harness.ask(&keyed(&post("/v1/embeddings", r#"{"input":"Hello"}"#), "k2"));
    let (text, lines) = lines(&mut harness, "/v1/audit");
    assert_eq!(lines.len(), 3, "{text}");
    let mut chain = Chain::default();
    text.lines().for_each(|line| chain.take(line).unwrap());
    assert_eq!((chain.last.unwrap().0 + 1, chain.last.unwrap().1), harness.server.audit().head());
    let n_prompt = lines[1]["prompt_tokens"].as_u64().unwrap();
    let expected = json!({
        "cached_tokens": 0, "completion_tokens": 4, "created": 1_700_000_005_u64, "duration_ms": 0, "event": "request",
        "finish": "length", "key": "ci", "model": "micro", "prev": lines[1]["prev"], "prompt_tokens": n_prompt,
        "receipt": false, "route": "/v1/completions", "seq": 1, "status": 200, "stream": true, "uptime_ms": 5000
    });
    assert!(n_prompt > 0 && lines[1] == expected, "{}", lines[1]);
    let vectors = &lines[2];
    assert_eq!((&vectors["route"], &vectors["finish"]), (&json!("/v1/embeddings"), &Value::Null));
    assert!(vectors["key"].as_str().unwrap().starts_with("sha256:") && vectors["prompt_tokens"] == n_prompt);
}

#[test]
fn who_hangs_up_who_is_late_and_what_fails_is_told() {
    let mut harness = audited();
    let send = |harness: &mut Harness, body: &Value| {
        let id = harness.connect();
        let request = keyed(&post(COMPLETIONS, &body.to_string()), "k1");
        harness.server.receive(id, &request, harness.now_us);
        (0..6).for_each(|_| _ = harness.step());
        id
    };
    let body = json!({ "prompt": "Hello", "max_tokens": 60, "ignore_eos": true, "timeout_ms": 1000 });
    let gone = send(&mut harness, &body);
    let late = send(&mut harness, &body);
    harness.now_us += 500_000;
    harness.server.check_time(harness.now_us);
    harness.server.remove(gone);
    harness.now_us += 700_000;
    harness.server.check_time(harness.now_us);
    harness.server.remove(late);
    while harness.step() {}
    let (text, lines) = lines(&mut harness, "/v1/audit?after=0");
    let told: Vec<_> =
        lines.iter().map(|line| (&line["status"], &line["finish"], &line["duration_ms"])).collect();
    let expected =
        [(json!(499), json!("cancelled"), json!(500)), (json!(200), json!("deadline"), json!(1200))];
    assert_eq!(told, expected.each_ref().map(|(status, finish, ms)| (status, finish, ms)), "{text}");
    assert!(lines.iter().all(|line| line["completion_tokens"].as_u64().unwrap() > 2), "{text}");
}

#[test]
fn what_was_said_is_in_no_line() {
    let mut harness = Harness::with_chat();
    let (prompt, name) = ("What is Ferrite?", "a-tool-with-a-name");
    let tools = json!([{ "type": "function", "function": { "name": name, "description": "A secret." } }]);
    let mut said = Vec::new();
    for stream in [false, true] {
        let chat = json!({ "messages": [{ "role": "user", "content": prompt }], "temperature": 0, "stream": stream, "tools": tools, "tool_choice": "none", "user": "somebody" });
        let answer = harness.ask(post("/v1/chat/completions", &chat.to_string()).as_bytes());
        said.push(answer);
    }
    harness.post("/v1/embeddings", &json!({ "input": prompt }).to_string());
    harness.post("/v1/nothing", &json!({ "input": prompt }).to_string());
    harness.post(COMPLETIONS, &json!({ "prompt": prompt, "max_tokens": prompt }).to_string());
    harness.now_us += 120_000_000;
    harness.server.check_time(harness.now_us);
    let lines: Vec<&str> = harness.server.audit().lines(0).collect();
    assert_eq!(lines.len(), 1 + 2 + 1 + 1, "{lines:#?}");
    assert!(said[0].contains("a small kernel"), "{}", said[0]);
    for line in lines {
        for text in ["Ferrite", "kernel", "secret", "somebody", name] {
            assert!(!line.contains(text), "{text}: {line}");
        }
    }
}

#[test]
fn only_who_may_reads_it() {
    for (key, expected) in [("k1", 403), ("k2", 403), ("reader", 200), ("", 401)] {
        assert_eq!(status(&audited().ask(&keyed(&get("/v1/audit"), key))), expected, "{key}");
    }
    assert_eq!(status(&Harness::default().ask(get("/v1/audit").as_bytes())), 403);
    let mut open = Harness::new(Settings { admin: true, ..settings() });
    assert_eq!(status(&open.ask(get("/v1/audit").as_bytes())), 200);
    let of_page = get("/v1/audit").replacen("\r\n", "\r\nOrigin: http://b\r\n", 1);
    assert_eq!(status(&open.ask(of_page.as_bytes())), 403);
    assert_eq!(status(&open.ask(get("/v1/audit?after=x").as_bytes())), 400);
}

#[test]
fn a_flood_of_refusals_pushes_nothing_out_and_is_counted() {
    let mut harness = audited();
    harness.ask(&keyed(&post(COMPLETIONS, r#"{"prompt":"Hello","max_tokens":1}"#), "k1"));
    let requests = [
        get("/v1/models"),
        get("/nothing"),
        "NONSENSE\r\n\r\n".to_owned(),
        post(COMPLETIONS, "{}"),
        String::from_utf8(keyed(&post(COMPLETIONS, "{}"), "k1")).unwrap(),
    ];
    for _ in 0..600 {
        harness.now_us += 100_000;
        harness.server.check_time(harness.now_us);
        for request in &requests {
            harness.ask(request.as_bytes());
        }
    }
    harness.now_us += 120_000_000;
    harness.server.check_time(harness.now_us);
    let (text, lines) = lines(&mut harness, "/v1/audit");
    assert!(lines.len() <= 2 + 2 * 2, "{text}");
    assert_eq!(lines[1]["key"], "ci");
    let sum = |key: Value, code: &str| -> u64 {
        let of_key = lines.iter().filter(|line| line["event"] == "refused" && line["key"] == key);
        of_key.map(|line| line["counts"][code].as_u64().unwrap_or(0)).sum()
    };
    assert_eq!(
        [sum(Value::Null, "401"), sum(Value::Null, "404"), sum(Value::Null, "400")],
        [1200, 600, 600],
        "{text}"
    );
    assert_eq!(sum(json!("ci"), "400"), 600, "{text}");
}

#[test]
fn changes_of_the_models_are_told_and_pages_follow_each_other() {
    let mut harness = Harness::new(Settings { admin: true, ..settings() });
    let id = harness.connect();
    harness.server.receive(id, post("/models/load", r#"{"model":"/x/y.gguf"}"#).as_bytes(), 1);
    harness.step();
    let (change, _) = harness.server.next_change().unwrap();
    harness.server.changed(change, Ok(()), 1);
    let line = harness.server.audit().lines(1).next().unwrap().to_owned();
    assert!(line.contains(r#""model":"/x/y.gguf""#) && line.contains(r#""route":"/models/load""#), "{line}");
    for _ in 0..200 {
        harness.post(COMPLETIONS, r#"{"prompt":"a","max_tokens":0}"#);
    }
    let mut chain = Chain::default();
    let mut path = "/v1/audit".to_owned();
    loop {
        let answer = harness.ask(get(&path).as_bytes());
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(body.lines().count() <= 128);
        if body.is_empty() {
            break;
        }
        body.lines().for_each(|line| chain.take(line).unwrap());
        path = format!("/v1/audit?after={}", chain.last.unwrap().0);
    }
    assert_eq!(chain.n, 202);
}
