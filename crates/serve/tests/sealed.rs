//! Bodies that only a client and the holder of the server's key can read (EHBP): streams, errors, and all that can be wrong with them.

mod common;

use std::convert::Infallible;
use std::rc::Rc;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use common::{Harness, notary, post, settings, status, statuses, unchunked};
use hkdf::Hkdf;
use hpke::aead::{AeadCtxS, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use serde_json::{Value, json};
use serve::{Limits, Settings};
use sha2::Sha256;
use trust::fixed::Fixed;
use trust::hex::{self, Hex};
use trust::notary::Notary;
use trust::receipt::Maker;
use trust::sha256::PORTABLE;

const COMPLETIONS: &str = "/v1/completions";
const ASKED: &str = r#"{"prompt": "Hello", "max_tokens": 4, "temperature": 0}"#;

/// Numbers that are random enough for a test.
struct Numbers(u64);

impl TryRng for Numbers {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.try_next_u64()? as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        // Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Ok(self.0.rotate_left(32))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.iter_mut().for_each(|byte| *byte = self.try_next_u64().unwrap() as u8);
        Ok(())
    }
}

impl TryCryptoRng for Numbers {}

/// A client's side of an exchange.
struct Exchange {
    encapsulated: [u8; 32],
    context: AeadCtxS<AesGcm256, HkdfSha256, X25519HkdfSha256>,
}

impl Exchange {
    fn new(public_key: &[u8; 32], seed: u64) -> Self {
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public_key).unwrap();
        let mode = OpModeS::<X25519HkdfSha256>::Base;
        let set_up = hpke::setup_sender_with_rng(&mode, &key, b"ehbp request", &mut Numbers(seed));
        let (encapsulated, context) = set_up.unwrap();
        Self { encapsulated: encapsulated.to_bytes().into(), context }
    }

    /// One with the server of the tests.
    fn with_server() -> Self {
        Self::new(&notary().recipient().public_key(), 1)
    }

    /// A chunk of a body.
    fn chunk(&mut self, text: &[u8]) -> Vec<u8> {
        let mut sealed = text.to_vec();
        let tag = self.context.seal_inout_detached(sealed.as_mut_slice().into(), &[]).unwrap();
        let len = sealed.len() as u32 + 16;
        [&len.to_be_bytes()[..], &sealed, &tag.to_bytes()].concat()
    }

    /// The body, in chunks of so many bytes of it.
    fn seal(&mut self, body: &str, chunk_bytes: usize) -> Vec<u8> {
        body.as_bytes().chunks(chunk_bytes).flat_map(|chunk| self.chunk(chunk)).collect()
    }

    /// A request with this sealed body, in chunks of HTTP, as clients of the protocol send it.
    fn post(&self, path: &str, sealed: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
             Ehbp-Encapsulated-Key: {}\r\n\r\n",
            Hex(&self.encapsulated)
        );
        let mut request = head.into_bytes();
        for piece in sealed.chunks(999) {
            request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            request.extend_from_slice(piece);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        request
    }

    /// A whole request.
    fn request(&mut self, path: &str, body: &str) -> Vec<u8> {
        let sealed = self.seal(body, body.len());
        self.post(path, &sealed)
    }

    /// What an answer to it says: its head, and the texts of its chunks.
    fn open(&self, answer: &[u8]) -> (String, Vec<String>) {
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("no end of a head") + 4;
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let nonce =
            head.split("Ehbp-Response-Nonce: ").nth(1).unwrap_or_else(|| panic!("not sealed: {head}"));
        let Fixed::<32>(nonce) = Fixed::parse(&nonce[..64]).unwrap();
        assert!(!head.contains("Content-Length"), "{head}");
        assert!(head.contains("Access-Control-Expose-Headers: Ehbp-Response-Nonce\r\n"), "{head}");
        let mut secret = [0; 32];
        self.context.export(b"ehbp response", &mut secret).unwrap();
        let keys = Hkdf::<Sha256>::new(Some(&[self.encapsulated, nonce].concat()), &secret);
        let (mut key, mut base) = ([0; 32], [0; 12]);
        keys.expand(b"key", &mut key).unwrap();
        keys.expand(b"nonce", &mut base).unwrap();
        let aead = Aes256Gcm::new(&key.into());
        let body = match head.contains("Transfer-Encoding: chunked") {
            true => unchunked(&answer[end..]),
            false => answer[end..].to_vec(),
        };
        let (mut rest, mut texts) = (&body[..], Vec::new());
        while let Some((len, after)) = rest.split_first_chunk() {
            let (chunk, after) = after.split_at(u32::from_be_bytes(*len) as usize);
            let (text, tag) = chunk.split_last_chunk::<16>().unwrap();
            let (mut nonce, mut text) = (base, text.to_vec());
            nonce[11] ^= u8::try_from(texts.len()).unwrap();
            let opened =
                aead.decrypt_inout_detached(&nonce.into(), &[], text.as_mut_slice().into(), &(*tag).into());
            opened.expect("the answer is sealed otherwise");
            texts.push(String::from_utf8(text).unwrap());
            rest = after;
        }
        assert!(rest.is_empty(), "the answer ends within a chunk");
        (head, texts)
    }
}

/// Asks on a connection of its own.
fn ask(harness: &mut Harness, request: &[u8]) -> Vec<u8> {
    let id = harness.connect();
    let answer = harness.exchange(id, &[request]);
    harness.server.remove(id);
    answer
}

/// The body of an answer that is not sealed, and its status.
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
        let text = include_str!("../../trust/tests/golden/ehbp.txt");
        let digits = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        let mut bytes = vec![0; digits.len() / 2];
        assert!(hex::parse(digits, &mut bytes));
        bytes
    };
    let mut exchange = Exchange::with_server();
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
        let mut exchange = Exchange::with_server();
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
    let mut exchange = Exchange::with_server();
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
        let mut exchange = Exchange::with_server();
        let request = exchange.request(path, body);
        let (head, texts) = exchange.open(&ask(&mut Harness::default(), &request));
        assert_eq!(status(&head), expected);
        assert!(
            head.contains("Content-Type: application/json") && texts.concat().contains(said),
            "{texts:?}"
        );
    }
    // A stream that has begun and fails.
    let mut exchange = Exchange::with_server();
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
    let mut exchange = Exchange::with_server();
    let sealed = exchange.seal(&body, 50_000);
    let mut harness = Harness::default();
    let answer = ask(&mut harness, &exchange.post("/tokenize", &sealed));
    let (head, texts) = exchange.open(&answer);
    assert_eq!(status(&head), 200);
    assert!(texts.len() > 1 && texts.iter().all(|text| text.len() <= 64 << 10));
    assert_eq!(harness.post("/tokenize", &body).1.to_string(), texts.concat());
}

/// What is answered to a sealed body that was changed by `change`, in chunks of eight bytes of it.
fn changed(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut exchange = Exchange::with_server();
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
    let answer = ask(&mut harness, &Exchange::with_server().request(COMPLETIONS, ASKED));
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.contains("Content-Type: application/problem+json\r\n"), "{text}");
    assert!(text.contains("Connection: close"), "{text}");
    assert_eq!(plain(&answer), (422, problem));
}

#[test]
fn a_restored_snapshot_ends_sealed_exchanges() {
    let mut harness = Harness::default();
    let mut exchange = Exchange::with_server();
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
    let (status, refusal) = plain(&ask(&mut harness, &Exchange::with_server().request(COMPLETIONS, ASKED)));
    assert_eq!(status, 501, "{refusal}");
}

#[test]
fn each_broken_body_has_an_error_of_a_line() {
    let first = 4 + 8 + 16;
    // What is wrong behind the first chunk is told to who has sealed that.
    let late = |change: &dyn Fn(&mut Vec<u8>)| {
        let exchange = Exchange::with_server();
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
    let mut exchange = Exchange::with_server();
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
    let mut exchange = Exchange::with_server();
    let mut sealed: Vec<u8> = (0..60).flat_map(|_| exchange.chunk(b"")).collect();
    sealed.extend(exchange.seal(ASKED, 1000));
    let answer = ask(&mut harness, &exchange.post(COMPLETIONS, &sealed));
    let (head, texts) = exchange.open(&answer);
    assert_eq!(status(&head), 413, "{texts:?}");
}

#[test]
fn requests_without_a_body_are_answered_in_the_open_and_those_with_one_are_not() {
    let mut harness = Harness::default();
    let mut exchange = Exchange::with_server();
    let key = Hex(&exchange.encapsulated).to_string();
    let request = format!("GET /health HTTP/1.1\r\nHost: a\r\nEhbp-Encapsulated-Key: {key}\r\n\r\n");
    assert_eq!(plain(&ask(&mut harness, request.as_bytes())), (200, json!({"status": "ok"})));
    let get =
        |method: &str, request: Vec<u8>| [method.as_bytes(), request.strip_prefix(b"POST").unwrap()].concat();
    let request = get("GET", exchange.request("/health", "{}"));
    let (head, texts) = exchange.open(&ask(&mut harness, &request));
    assert_eq!((status(&head), &*texts.concat()), (200, r#"{"status":"ok"}"#));
    let mut exchange = Exchange::with_server();
    let head = ask(&mut harness, &get("HEAD", exchange.request("/health", "{}")));
    assert!(head.ends_with(b"\r\n\r\n") && statuses(&head) == [200]);
    let head = String::from_utf8(head).unwrap();
    assert!(head.contains("Ehbp-Response-Nonce: ") && !head.contains("Content-Length"), "{head}");
}

/// Who lets answers wait can have a connection end between a request and its answer.
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
            let request = Exchange::with_server().request(path, body);
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

/// An answer that has been sealed whole, but not been sent, would be sealed by the copy too.
#[test]
fn a_restored_snapshot_ends_what_is_sealed_and_not_sent() {
    let mut harness = Harness::default();
    let id = harness.connect();
    harness.server.receive(id, &Exchange::with_server().request("/tokenize", r#"{"content": "a"}"#), 1);
    harness.step();
    assert!(!harness.server.unsent(id).is_empty() && !harness.server.is_over(id));
    harness.server.set_notary(None);
    assert!(harness.server.is_over(id) && harness.server.unsent(id).is_empty());
    // One that has been sent is no reason to end a connection.
    let mut harness = Harness::default();
    let id = harness.connect();
    harness.exchange(id, &[&Exchange::with_server().request("/tokenize", r#"{"content": "a"}"#)]);
    harness.server.set_notary(None);
    assert!(!harness.server.is_over(id));
}

#[test]
fn the_receipt_of_a_sealed_request_is_for_who_knows_its_nonce() {
    let mut harness = Harness::default();
    let with_nonce = |nonce: &str| ASKED.replace('}', &format!(r#", "receipt": true{nonce}}}"#));
    let mut exchange = Exchange::with_server();
    let request = exchange.request(COMPLETIONS, &with_nonce(""));
    let (head, texts) = exchange.open(&ask(&mut harness, &request));
    assert!(status(&head) == 400 && texts.concat().contains("nonce"), "{texts:?}");
    let body = with_nonce(r#", "nonce": "a secret""#);
    let mut exchange = Exchange::with_server();
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
        let mut exchange = Exchange::with_server();
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
        let request = Exchange::with_server().post(COMPLETIONS, body);
        assert_eq!(plain(&ask(&mut harness, &request)).0, 403);
    }
    // The page would send a text before it knew.
    assert_eq!(status(&harness.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")), 403);
    for path in ["/health", "/v1/models", "/v1/attestation"] {
        let answer = harness.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(status(&answer), 200, "{path}");
    }
    let mut exchange = Exchange::with_server();
    let request = exchange.request(COMPLETIONS, ASKED);
    assert_eq!(status(&exchange.open(&ask(&mut harness, &request)).0), 200);
}

#[test]
fn http_1_0_gets_its_answer_until_the_end() {
    let mut exchange = Exchange::with_server();
    let sealed = exchange.seal(ASKED, 100);
    let head = format!(
        "POST {COMPLETIONS} HTTP/1.0\r\nEhbp-Encapsulated-Key: {}\r\nContent-Length: {}\r\n\r\n",
        Hex(&exchange.encapsulated),
        sealed.len()
    );
    let (head, texts) = exchange.open(&ask(&mut Harness::default(), &[head.as_bytes(), &sealed].concat()));
    assert!(head.contains("Connection: close") && texts.concat().contains("choices"), "{head}");
}
