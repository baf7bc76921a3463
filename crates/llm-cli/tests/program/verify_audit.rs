use std::io::Write;

use serde_json::json;

use crate::serve::Served;
use crate::{fail_saying, scratch_file, succeed};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test_models/tiny.gguf");

#[test]
fn an_audit_that_a_server_gave_is_checked_and_any_change_is_found() {
    let keys = scratch_file("audit-keys.txt");
    std::fs::write(&keys, "k1 name=ci\nk2 name=auditor audit\n").unwrap();
    let served = Served::start(&["--model", TINY, "--api-key-file", &keys]);
    let body = json!({ "prompt": "What is Ferrite?", "max_tokens": 5, "temperature": 0 }).to_string();
    let ask = |head: &str, key: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        served.ask(request.as_bytes())
    };
    for _ in 0..3 {
        assert!(ask("POST /v1/completions", "k1", &body).starts_with("HTTP/1.1 200 "));
    }
    assert!(ask("GET /v1/audit", "k1", "").starts_with("HTTP/1.1 403 "));
    let answer = ask("GET /v1/audit?after=0", "k2", "");
    let (head, lines) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: application/jsonl"), "{head}");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(lines.lines().all(|line| line.contains(r#""key":"ci""#) && !line.contains("Ferrite")), "{lines}");
    let path = scratch_file("audit.jsonl");
    let write = |text: &str| std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    write(lines);
    let said = succeed(&["verify-audit", &path]);
    assert!(said.contains("3 lines follow each other, seq 1 to 3; SHA-256 of the last "), "{said}");
    write(&lines.replacen(r#""completion_tokens":5"#, r#""completion_tokens":4"#, 1));
    fail_saying(
        &["verify-audit", &path],
        &["audit.jsonl, line 2", "prev of seq 2 is not the SHA-256 of the line before"],
    );
    let without: String =
        lines.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| format!("{line}\n")).collect();
    write(&without);
    fail_saying(&["verify-audit", &path], &["line 2", "seq is 3, expected 2"]);
    write("");
    fail_saying(&["verify-audit", &path], &["found none"]);
    write("{}\n");
    fail_saying(&["verify-audit", &path], &["line 1", "seq and prev"]);
    fail_saying(&["verify-audit", "/nowhere"], &["/nowhere"]);
}
