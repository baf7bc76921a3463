//! Bodies that only the client and the holder of the server's key can read (EHBP): streams, errors, and everything that can go wrong.

use std::rc::Rc;

use crate::common::ehbp::Exchange;
use crate::common::{Harness, notary, post, settings, status, statuses};
use serde_json::{Value, json};
use serve::{Limits, Settings};
use trust::hex::{self, Hex};
use trust::notary::Notary;
use trust::receipt::Maker;
use trust::sha256::PORTABLE;

const COMPLETIONS: &str = "/v1/completions";
const ASKED: &str = r#"{"prompt": "Hello", "max_tokens": 4, "temperature": 0}"#;

/// An exchange with the server of the tests.
fn with_server() -> Exchange {
    Exchange::new(&notary().recipient().public_key(), 1)
}

/// Sends a request on a new connection.
fn ask(harness: &mut Harness, request: &[u8]) -> Vec<u8> {
    let id = harness.connect();
    let answer = harness.exchange(id, &[request]);
    harness.server.remove(id);
    answer
}

/// The body and the status of an answer that is not encrypted.
fn plain(answer: &[u8]) -> (u16, Value) {
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("Ehbp"), "{head}");
    (status(head), serde_json::from_str(body).unwrap())
}

fn choices(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value["choices"][0]["text"].is_string(), "{text}");
    value["choices"].clone()
}

#[test]
fn the_key_is_in_the_attestation_and_where_clients_look() {
    let mut harness = Harness::new(Settings { keys: serve::Keys::one("hush"), ..settings() });
    let answer = harness.connect();
    let answer = harness.exchange(answer, &[b"GET /.well-known/hpke-keys HTTP/1.1\r\nHost: a\r\n\r\n"]);
    let key = notary().recipient().public_key();
    assert!(answer.ends_with(&[&b"\r\n\r\n\0\0\x20"[..], &key, &[0, 4, 0, 1, 0, 2]].concat()));
    let head = String::from_utf8_lossy(&answer).into_owned();
    assert!(head.contains("200 OK") && head.contains("Content-Type: application/ohttp-keys\r\n"), "{head}");
    let (_, attestation) = Harness::default().get("/v1/attestation");
    assert_eq!(attestation["record"]["hpke_key"], Hex(&key).to_string());
}

#[test]
fn a_request_of_the_protocols_own_client_is_answered() {
    let golden = |name: &str| {
        let text = include_str!("../../../trust/tests/golden/ehbp.txt");
        let digits = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        let mut bytes = vec![0; digits.len() / 2];
        assert!(hex::parse(digits, &mut bytes));
        bytes
    };
    let mut exchange = with_server();
    exchange.encapsulated = golden("encapsulated").try_into().unwrap();
    let answer = ask(&mut Harness::default(), &exchange.post(COMPLETIONS, &golden("sealed-request")));
    let head = String::from_utf8_lossy(&answer).into_owned();
    assert!(status(&head) == 200 && head.contains("Ehbp-Response-Nonce: 0909"), "{head}");
    assert!(!head.contains("choices"), "{head}");
}

#[test]
fn answers_are_the_same_as_to_plain_requests() {
    let mut harness = Harness::default();
    let (_, expected) = harness.post(COMPLETIONS, ASKED);
    for chunk_bytes in [1, 7, 1000] {
        let mut exchange = with_server();
        let sealed = exchange.seal(ASKED, chunk_bytes);
        let (head, texts) = exchange.open(&ask(&mut harness, &exchange.post(COMPLETIONS, &sealed)));
        assert_eq!(status(&head), 200);
        assert_eq!(choices(&texts.concat()), choices(&expected.to_string()));
    }
    // By Content-Length, in bytes that come one by one, twice on a connection, and a plain one behind them.
    let id = harness.connect();
    for seed in [1, 2] {
        let mut exchange = Exchange::new(&notary().recipient().public_key(), seed);
        let sealed = exchange.seal(ASKED, 9);
        let head = format!(
            "POST {COMPLETIONS} HTTP/1.1\r\nHost: a\r\nEhbp-Encapsulated-Key: {}\r\nContent-Length: {}\r\n\r\n",
            Hex(&exchange.encapsulated),
            sealed.len()
        );
        let request = [head.as_bytes(), &sealed].concat();
        let (head, texts) = exchange.open(&harness.exchange(id, &request.chunks(1).collect::<Vec<_>>()));
        assert!(head.contains("Connection: keep-alive"), "{head}");
        assert_eq!(choices(&texts.concat()), choices(&expected.to_string()));
    }
    let (status, answer) = plain(&harness.exchange(id, &[post(COMPLETIONS, ASKED).as_bytes()]));
    assert_eq!((status, choices(&answer.to_string())), (200, choices(&expected.to_string())));
}

#[test]
fn streams_are_sealed_piece_by_piece_as_they_are_generated() {
    let body = r#"{"prompt": "Hello", "max_tokens": 6, "temperature": 0, "stream": true}"#;
    let mut harness = Harness::default();
    let expected = harness.stream(COMPLETIONS, body);
    let mut exchange = with_server();
    let request = exchange.request(COMPLETIONS, body);
    let (head, texts) = exchange.open(&ask(&mut harness, &request));
    assert!(head.contains("Content-Type: text/event-stream"), "{head}");
    assert!(texts.len() >= 6, "{texts:?}");
    let text = texts.concat();
    let events: Vec<&str> = text.split_terminator("\n\n").map(|event| &event["data: ".len()..]).collect();
    assert_eq!(events.len(), expected.len());
    assert_eq!(events.last(), Some(&"[DONE]"));
    let said = |event: &str| serde_json::from_str::<Value>(event).unwrap()["choices"].clone();
    for (event, expected) in events.iter().zip(&expected).take(expected.len() - 1) {
        assert_eq!(said(event), said(expected));
    }
}

#[test]
fn what_is_wrong_with_what_was_sealed_is_told_sealed() {
    for (path, body, expected, said) in [
        (COMPLETIONS, r#"{"prompt": 1}"#, 400, "prompt"),
        (COMPLETIONS, "{", 400, "no JSON"),
        ("/v1/messages", r#"{"max_tokens": 1, "messages": []}"#, 400, "messages"),
    ] {
        let mut exchange = with_server();
        let request = exchange.request(path, body);
        let (head, texts) = exchange.open(&ask(&mut Harness::default(), &request));
        assert_eq!(status(&head), expected);
        assert!(
            head.contains("Content-Type: application/json") && texts.concat().contains(said),
            "{texts:?}"
        );
    }
    // A stream that has begun and fails.
    let mut exchange = with_server();
    let mut harness = Harness::default();
    let body = r#"{"prompt": "Hello", "max_tokens": 200, "stream": true, "timeout_ms": 1}"#;
    let id = harness.connect();
    harness.server.receive(id, &exchange.request(COMPLETIONS, body), 1);
    harness.now_us = 2_000;
    harness.server.check_time(2_000);
    let (head, texts) = exchange.open(&harness.exchange(id, &[]));
    assert_eq!(status(&head), 504, "{texts:?}");
}

#[test]
fn a_large_answer_comes_in_chunks() {
    let text = "word ".repeat(40_000);
    let body = json!({ "content": text }).to_string();
    let mut exchange = with_server();
    let sealed = exchange.seal(&body, 50_000);
    let mut harness = Harness::default();
    let answer = ask(&mut harness, &exchange.post("/tokenize", &sealed));
    let (head, texts) = exchange.open(&answer);
    assert_eq!(status(&head), 200);
    assert!(texts.len() > 1 && texts.iter().all(|text| text.len() <= 64 << 10));
    assert_eq!(harness.post("/tokenize", &body).1.to_string(), texts.concat());
}

/// The answer to an encrypted body that `change` has changed, in chunks that hold eight bytes of it.
fn changed(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut exchange = with_server();
    let mut sealed = exchange.seal(ASKED, 8);
    change(&mut sealed);
    let request = exchange.post(COMPLETIONS, &sealed);
    let answer = ask(&mut Harness::default(), &request);
    // Wherever it is cut.
    for len in [1, 13, 300] {
        let pieces: Vec<&[u8]> = request.chunks(len).collect();
        assert_eq!(Harness::default().exchange_all(&pieces), answer, "in pieces of {len} bytes");
    }
    answer
}

#[test]
fn a_body_for_another_key_is_refused_as_the_protocol_says() {
    let (status, problem) = plain(&changed(|sealed| sealed[4] ^= 1));
    let expected = "urn:ietf:params:ehbp:error:key-config";
    assert_eq!((status, problem["type"].as_str()), (422, Some(expected)), "{problem}");
    let mut harness = Harness::default();
    let maker = Maker { image_sha256: None, program: "test".into() };
    harness.server.set_notary(Some(Rc::new(Notary::new([4; 32], true, maker, PORTABLE))));
    let answer = ask(&mut harness, &with_server().request(COMPLETIONS, ASKED));
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.contains("Content-Type: application/problem+json\r\n"), "{text}");
    assert!(text.contains("Connection: close"), "{text}");
    assert_eq!(plain(&answer), (422, problem));
}

#[test]
fn a_restored_snapshot_ends_sealed_exchanges() {
    let mut harness = Harness::default();
    let mut exchange = with_server();
    let body = r#"{"prompt": "Hello", "max_tokens": 100, "stream": true}"#;
    let sealed = harness.connect();
    harness.server.receive(sealed, &exchange.request(COMPLETIONS, body), 1);
    let open = harness.connect();
    harness.server.receive(open, post(COMPLETIONS, body).as_bytes(), 1);
    for _ in 0..3 {
        harness.step();
    }
    assert!(!harness.server.unsent(sealed).is_empty());
    harness.server.set_notary(None);
    assert!(harness.server.is_over(sealed) && harness.server.unsent(sealed).is_empty());
    assert!(!harness.server.is_over(open));
    let (status, refusal) = plain(&ask(&mut harness, &with_server().request(COMPLETIONS, ASKED)));
    assert_eq!(status, 501, "{refusal}");
}

#[test]
fn each_broken_body_has_an_error_of_a_line() {
    let first = 4 + 8 + 16;
    // What is wrong behind the first chunk is told to who has sealed that.
    let late = |change: &dyn Fn(&mut Vec<u8>)| {
        let exchange = with_server();
        let (head, texts) = exchange.open(&changed(change));
        (status(&head), texts.concat())
    };
    for (change, expected, said) in [
        (&(|sealed: &mut Vec<u8>| sealed[first + 4] ^= 1) as &dyn Fn(&mut Vec<u8>), 400, "has been changed"),
        (&|sealed| drop(sealed.drain(first..2 * first)), 400, "has been changed"),
        (&|sealed| sealed[first + 3] = 3, 400, "has been changed"),
        (&|sealed| sealed.truncate(first + 20), 400, "ends within a chunk"),
        (&|sealed| sealed.truncate(first + 2), 400, "ends within a chunk"),
        (&|sealed| sealed[first] = 0xff, 413, "more than 4194304 bytes"),
        // A whole body that is not all of it: the JSON is not.
        (&|sealed| sealed.truncate(first), 400, "no JSON"),
    ] {
        let (status, text) = late(change);
        assert_eq!(status, expected, "{text}");
        assert!(text.contains(said), "{text}");
    }
    for (change, expected, said) in [
        (
            &(|sealed: &mut Vec<u8>| sealed.truncate(first - 1)) as &dyn Fn(&mut Vec<u8>),
            400,
            "within a chunk",
        ),
        (&|sealed| sealed.truncate(3), 400, "within a chunk"),
        (&|sealed| sealed[0] = 0x80, 413, "more than 4194304 bytes"),
        // Nothing in it: as plain as a request without a body.
        (&|sealed| *sealed = vec![0; 8], 400, "no JSON"),
        (&Vec::clear, 400, "no JSON"),
    ] {
        let (status, text) = plain(&changed(change));
        assert_eq!(status, expected, "{text}");
        assert!(text["error"]["message"].as_str().unwrap().contains(said), "{text}");
    }
    for key in ["", "00", &"0".repeat(63), &"0".repeat(65), &"x".repeat(64), &"0".repeat(64)] {
        let request = format!(
            "POST {COMPLETIONS} HTTP/1.1\r\nHost: a\r\nEhbp-Encapsulated-Key: {key}\r\nContent-Length: 40\r\n\r\n\0\0\0\x24{}",
            "x".repeat(36)
        );
        let (status, text) = plain(&ask(&mut Harness::default(), request.as_bytes()));
        assert_eq!(status, 400, "{text}");
        let said = text["error"]["message"].as_str().unwrap();
        assert!(said.starts_with("Ehbp-Encapsulated-Key: "), "{text}");
    }
}

#[test]
fn any_bit_that_is_changed_is_noticed() {
    let mut exchange = with_server();
    let sealed = exchange.seal(ASKED, 8);
    let mut harness = Harness::default();
    for bit in 0..8 * sealed.len() {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let answer = ask(&mut harness, &exchange.post(COMPLETIONS, &changed));
        assert!(matches!(statuses(&answer)[..], [400 | 413 | 422]), "bit {bit}");
    }
    assert_eq!(statuses(&ask(&mut harness, &exchange.post(COMPLETIONS, &sealed))), [200]);
}

#[test]
fn chunks_that_say_nothing_count_as_bytes_of_the_body() {
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let mut harness = Harness::new(Settings { limits, ..settings() });
    let mut exchange = with_server();
    let mut sealed: Vec<u8> = (0..60).flat_map(|_| exchange.chunk(b"")).collect();
    sealed.extend(exchange.seal(ASKED, 1000));
    let answer = ask(&mut harness, &exchange.post(COMPLETIONS, &sealed));
    let (head, texts) = exchange.open(&answer);
    assert_eq!(status(&head), 413, "{texts:?}");
}

#[test]
fn requests_without_a_body_are_answered_in_the_open_and_those_with_one_are_not() {
    let mut harness = Harness::default();
    let mut exchange = with_server();
    let key = Hex(&exchange.encapsulated).to_string();
    let request = format!("GET /health HTTP/1.1\r\nHost: a\r\nEhbp-Encapsulated-Key: {key}\r\n\r\n");
    assert_eq!(plain(&ask(&mut harness, request.as_bytes())), (200, json!({"status": "ok"})));
    let get =
        |method: &str, request: Vec<u8>| [method.as_bytes(), request.strip_prefix(b"POST").unwrap()].concat();
    let request = get("GET", exchange.request("/health", "{}"));
    let (head, texts) = exchange.open(&ask(&mut harness, &request));
    assert_eq!((status(&head), &*texts.concat()), (200, r#"{"status":"ok"}"#));
    let mut exchange = with_server();
    let head = ask(&mut harness, &get("HEAD", exchange.request("/health", "{}")));
    assert!(head.ends_with(b"\r\n\r\n") && statuses(&head) == [200]);
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("Ehbp-Response-Nonce: ") && !head.contains("Content-Length"), "{head}");
}

/// An attacker who delays answers can make a connection end between a request and its answer.
#[test]
fn a_connection_that_was_cut_off_is_answered_no_more() {
    for is_restored in [false, true] {
        for path in ["/tokenize", COMPLETIONS] {
            let mut harness = Harness::default();
            let id = harness.connect();
            let body = if path == COMPLETIONS { ASKED } else { r#"{"content": "a secret"}"# };
            if !is_restored {
                harness.server.receive(id, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
                assert!(!harness.server.unsent(id).is_empty());
            }
            let request = with_server().request(path, body);
            assert_eq!(harness.server.receive(id, &request, 1), request.len());
            match is_restored {
                true => harness.server.set_notary(None),
                false => harness.server.check_time(2 + Limits::default().stalled_us),
            }
            harness.step();
            harness.step();
            assert!(harness.server.is_over(id), "{path}");
            assert!(harness.server.unsent(id).is_empty(), "{path}");
        }
    }
}

/// An answer that is encrypted as a whole but not sent yet would be encrypted by the copy of the machine too.
#[test]
fn a_restored_snapshot_ends_what_is_sealed_and_not_sent() {
    let mut harness = Harness::default();
    let id = harness.connect();
    harness.server.receive(id, &with_server().request("/tokenize", r#"{"content": "a"}"#), 1);
    harness.step();
    assert!(!harness.server.unsent(id).is_empty() && !harness.server.is_over(id));
    harness.server.set_notary(None);
    assert!(harness.server.is_over(id) && harness.server.unsent(id).is_empty());
    // One that has been sent is no reason to end a connection.
    let mut harness = Harness::default();
    let id = harness.connect();
    harness.exchange(id, &[&with_server().request("/tokenize", r#"{"content": "a"}"#)]);
    harness.server.set_notary(None);
    assert!(!harness.server.is_over(id));
}

#[test]
fn the_receipt_of_a_sealed_request_is_for_who_knows_its_nonce() {
    let mut harness = Harness::default();
    let with_nonce = |nonce: &str| ASKED.replace('}', &format!(r#", "receipt": true{nonce}}}"#));
    let mut exchange = with_server();
    let request = exchange.request(COMPLETIONS, &with_nonce(""));
    let (head, texts) = exchange.open(&ask(&mut harness, &request));
    assert!(status(&head) == 400 && texts.concat().contains("nonce"), "{texts:?}");
    let body = with_nonce(r#", "nonce": "a secret""#);
    let mut exchange = with_server();
    let answer = {
        let request = exchange.request(COMPLETIONS, &body);
        ask(&mut harness, &request)
    };
    let answer: Value = serde_json::from_str(&exchange.open(&answer).1.concat()).unwrap();
    let path = format!("/v1/receipts/{}", answer["id"].as_str().unwrap());
    assert_eq!(harness.get(&path).0, 404);
    for (body, expected) in
        [("{}", 404), (r#"{"nonce": "another"}"#, 404), ("no JSON", 404), (r#"{"nonce": "a secret"}"#, 200)]
    {
        let mut exchange = with_server();
        let request = [&b"GET"[..], exchange.request(&path, body).strip_prefix(b"POST").unwrap()].concat();
        let (head, texts) = exchange.open(&ask(&mut harness, &request));
        assert_eq!(status(&head), expected, "{body}: {texts:?}");
        assert_eq!(texts.concat().contains("signature"), expected == 200);
    }
}

#[test]
fn a_server_can_refuse_plain_texts() {
    let mut harness = Harness::new(Settings { sealed_only: true, ..settings() });
    let receipt = "GET /v1/receipts/cmpl-1 HTTP/1.1\r\nHost: a\r\n\r\n";
    for request in [
        post(COMPLETIONS, ASKED),
        post("/v1/chat/completions", "{}"),
        post("/v1/embeddings", "{}"),
        post("/tokenize", "{}"),
        receipt.to_owned(),
    ] {
        let (status, refusal) = plain(&ask(&mut harness, request.as_bytes()));
        let code = refusal["error"]["code"].as_str();
        assert_eq!((status, code), (403, Some("encryption_required")), "{request}: {refusal}");
    }
    // A head alone makes no sealed body.
    for body in [&[][..], &[0; 4]] {
        let request = with_server().post(COMPLETIONS, body);
        assert_eq!(plain(&ask(&mut harness, &request)).0, 403);
    }
    // The page would send a text before it knew.
    assert_eq!(status(&harness.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")), 403);
    for path in ["/health", "/v1/models", "/v1/attestation"] {
        let answer = harness.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(status(&answer), 200, "{path}");
    }
    let mut exchange = with_server();
    let request = exchange.request(COMPLETIONS, ASKED);
    assert_eq!(status(&exchange.open(&ask(&mut harness, &request)).0), 200);
}

#[test]
fn http_1_0_gets_its_answer_until_the_end() {
    let mut exchange = with_server();
    let sealed = exchange.seal(ASKED, 100);
    let head = format!(
        "POST {COMPLETIONS} HTTP/1.0\r\nEhbp-Encapsulated-Key: {}\r\nContent-Length: {}\r\n\r\n",
        Hex(&exchange.encapsulated),
        sealed.len()
    );
    let (head, texts) = exchange.open(&ask(&mut Harness::default(), &[head.as_bytes(), &sealed].concat()));
    assert!(head.contains("Connection: close") && texts.concat().contains("choices"), "{head}");
}
