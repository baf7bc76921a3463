//! Encrypted bodies (EHBP) in the kernel, from the boot argument to the text that only the client reads.

#[allow(dead_code, reason = "the server's own tests need more of it")]
#[path = "../../../crates/serve/tests/common/ehbp.rs"]
mod ehbp;

use ehbp::Exchange;
use qemu_tests::{Directory, Run, repository};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};
use trust::{hex::Hex, sealed::Recipient};

const LIMIT: Duration = Duration::from_secs(120);

/// The answer; empty if there is none.
fn ask(port: u16, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let _ = stream.write_all(request);
        let _ = stream.read_to_end(&mut answer);
    }
    answer
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_kernel_that_requires_encrypted_bodies_answers_these_and_no_others() {
    let directory = Directory::new("encrypted");
    let key = directory.file("receipt.key", format!("{}\n", Hex(&[5; 32])).as_bytes());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut session = Run::new()
        .model(&repository().join("test_models/micro.gguf"))
        .args(["--serve", &port.to_string(), "--receipt-key", key.to_str().unwrap()])
        .boot_args("log=warn ferrite.encrypted=require")
        .start();
    session.wait_for("ferrite> ");
    let start = Instant::now();
    while !text(&ask(port, b"GET /health HTTP/1.0\r\n\r\n")).contains("\"ok\"") {
        assert!(start.elapsed() < LIMIT, "no answer");
        thread::sleep(Duration::from_millis(20));
    }
    // By its seed the key is known, and the attestation says the same.
    let key = Recipient::new(&[5; 32]).public_key();
    let attestation = text(&ask(port, b"GET /v1/attestation HTTP/1.0\r\n\r\n"));
    assert!(attestation.contains(&format!(r#""hpke_key":"{}""#, Hex(&key))), "{attestation}");

    let body = r#"{"prompt": "Hello", "max_tokens": 4, "temperature": 0}"#;
    let head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length";
    let refused = text(&ask(port, format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()));
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("encryption_required"), "{refused}");

    for (seed, body) in [(1, body.to_owned()), (2, body.replace('}', r#", "stream": true}"#))] {
        let mut exchange = Exchange::new(&key, seed);
        let request = exchange.request("/v1/completions", &body);
        let request = with_field(&request, "Connection: close\r\n");
        let answer = ask(port, &request);
        assert!(!text(&answer).contains("choices"), "it can be read");
        let (head, texts) = exchange.open(&answer);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let opened = texts.concat();
        assert!(opened.contains("\"choices\"") && opened.contains("\"text\""), "{opened}");
    }
    session.send("poweroff\r");
    session.finish().expect_status(0);
}

/// The request with one more header field.
fn with_field(request: &[u8], field: &str) -> Vec<u8> {
    let end = request.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    [&request[..end], field.as_bytes(), &request[end..]].concat()
}
