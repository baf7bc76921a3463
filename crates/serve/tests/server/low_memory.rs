//! A machine reports that its memory is low: no new request starts, and running ones are given up, the last one first. Later everything
//! works again.

use crate::common::{Harness, TestModel, post, settings, status};
use serde_json::json;
use serve::Settings;
use std::cell::Cell;

std::thread_local! {
    static IS_LOW: Cell<bool> = const { Cell::new(false) };
}

fn completion(stream: bool) -> String {
    post("/v1/completions", &json!({ "prompt": "Once", "max_tokens": 200, "stream": stream }).to_string())
}

#[test]
fn what_came_last_is_given_up_first_and_nothing_is_begun() {
    let mut harness = Harness::new(Settings { is_memory_low: || IS_LOW.get(), ..settings() });
    harness.engine.remove(None).unwrap();
    let mut harness = harness.with(TestModel::new("tiny"));
    let [first, second] = [false, true].map(|stream| {
        let id = harness.connect();
        let request = completion(stream);
        assert_eq!(harness.server.receive(id, request.as_bytes(), 1), request.len());
        harness.step();
        id
    });
    (0..5).for_each(|_| assert!(harness.step()));
    let begun = String::from_utf8(harness.take(second)).unwrap();
    assert!(begun.contains("event-stream") && begun.matches("data: ").count() > 1, "{begun}");
    assert_eq!(harness.take(first), b"");

    IS_LOW.set(true);
    harness.server.check_time(2);
    let end = String::from_utf8(harness.take(second)).unwrap();
    assert!(end.contains("\"unavailable_error\"") && end.ends_with("0\r\n\r\n"), "{end}");
    // Nothing comes free before the engine knows.
    harness.server.check_time(2);
    assert_eq!(harness.take(first), b"", "the first goes on");
    harness.server.serve(&mut harness.engine, 3);
    harness.server.check_time(3);
    let refused = String::from_utf8(harness.take(first)).unwrap();
    assert_eq!(status(&refused), 503, "{refused}");
    assert!(!harness.step() && !harness.server.is_generating());

    let (_, health) = harness.get("/health");
    assert_eq!(health["status"], "ok");
    for (path, body) in [
        ("/v1/completions", json!({ "prompt": "Once" })),
        ("/v1/embeddings", json!({ "input": "Once" })),
        ("/tokenize", json!({ "content": "Once" })),
    ] {
        let answer = harness.ask(post(path, &body.to_string()).as_bytes());
        assert_eq!(status(&answer), 503, "{answer}");
        assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");
    }

    // Vectors are given up too.
    IS_LOW.set(false);
    let id = harness.connect();
    let request = post("/v1/embeddings", &json!({ "input": ["a", "b", "c", "d", "e", "f"] }).to_string());
    harness.server.receive(id, request.as_bytes(), 4);
    harness.server.serve(&mut harness.engine, 4);
    assert!(harness.server.is_generating());
    IS_LOW.set(true);
    harness.server.check_time(5);
    assert_eq!(status(&String::from_utf8(harness.take(id)).unwrap()), 503);
    IS_LOW.set(false);
    assert_eq!(status(&harness.ask(completion(false).as_bytes())), 200);
}
