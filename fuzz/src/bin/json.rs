//! Any bytes as the body of a request: an answer in JSON, and a connection that goes on.
//!
//! The input's first byte chooses the path.
#![no_main]

use libfuzzer_sys::fuzz_target;

use fuzz::nobody;

const PATHS: [&str; 12] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/completion",
    "/tokenize",
    "/detokenize",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/apply-template",
    "/infill",
];

fuzz_target!(|input: &[u8]| {
    let Some((&path, body)) = input.split_first() else { return };
    let path = PATHS[usize::from(path) % PATHS.len()];
    if body.len() > 1024 {
        return;
    }
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    let (mut server, id) = nobody::server();
    let mut answer = Vec::new();
    nobody::exchange(&mut server, id, &request, &mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Connection: keep-alive") && answer.ends_with("}}"), "{answer}");
    assert!(!server.is_over(id));
});
