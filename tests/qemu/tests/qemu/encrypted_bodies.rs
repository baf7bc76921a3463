//! Encrypted bodies (EHBP) in the kernel, from the boot argument to the text that only the client reads.

use crate::{
    client::{ask, ask_bytes, free_port, post, wait_until_served, with_field},
    common::text,
    ehbp::Exchange,
};
use qemu_tests::{Directory, Run, repository};
use trust::{hex::Hex, sealed::Recipient};

#[test]
fn a_kernel_that_requires_encrypted_bodies_answers_these_and_no_others() {
    let directory = Directory::new("encrypted");
    let key = directory.file("receipt.key", format!("{}\n", Hex(&[5; 32])).as_bytes());
    let port = free_port();
    let mut session = Run::new()
        .model(&repository().join("test_models/micro.gguf"))
        .args(["--serve", &port.to_string(), "--receipt-key", key.to_str().unwrap()])
        .boot_args("log=warn ferrite.encrypted=require")
        .start();
    session.wait_for("ferrite> ");
    wait_until_served(port);
    // By its seed the key is known, and the attestation says the same.
    let key = Recipient::new(&[5; 32]).public_key();
    let attestation = ask(port, "GET /v1/attestation HTTP/1.0\r\n\r\n");
    assert!(attestation.contains(&format!(r#""hpke_key":"{}""#, Hex(&key))), "{attestation}");

    let body = r#"{"prompt": "Hello", "max_tokens": 4, "temperature": 0}"#;
    let refused = ask(port, &post("/v1/completions", body));
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("encryption_required"), "{refused}");

    for (seed, body) in [(1, body.to_owned()), (2, body.replace('}', r#", "stream": true}"#))] {
        let mut exchange = Exchange::new(&key, seed);
        let request = exchange.request("/v1/completions", &body);
        let request = with_field(&request, "Connection: close\r\n");
        let answer = ask_bytes(port, &request);
        assert!(!text(&answer).contains("choices"), "it can be read");
        let (head, texts) = exchange.open(&answer);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let opened = texts.concat();
        assert!(opened.contains("\"choices\"") && opened.contains("\"text\""), "{opened}");
    }
    session.send("poweroff\r");
    session.finish().expect_status(0);
}
