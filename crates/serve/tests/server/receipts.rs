//! Receipts: only the client that requested one can fetch it, by the id of the answer; it is signed and correct.

use crate::common::{Harness, N_SLOTS, N_WAITING, TestModel, clock_us, notary, post, settings, status};
use llm::front::receipt::{Verdict, verify};
use serde_json::{Value, json};
use serve::{Keys, Settings};
use trust::fixed::Fixed;
use trust::receipt::{MAX_NONCE_BYTES, Receipt};
use trust::sha256::PORTABLE;

/// The result of fetching a receipt at `path`.
fn verdict(harness: &mut Harness, path: &str, nonce: Option<&str>) -> Verdict {
    let (status, receipt) = harness.get(path);
    assert_eq!(status, 200, "{receipt}");
    let text = receipt.to_string();
    let receipt: Receipt<'_> = serde_json::from_str(&text).unwrap();
    assert!(receipt.is_signed().unwrap());
    assert_eq!(receipt.key, Fixed(notary().public_key()));
    assert_eq!(receipt.record.nonce.as_deref(), nonce);
    assert_eq!(receipt.record.time, Some(1_700_000_000));
    let prompt = receipt.prompt_tokens.as_deref().unwrap();
    let model = harness.engine.get_mut(None).unwrap();
    serve::Model::with_responder(model, |responder| {
        verify(responder, &receipt.record.work, prompt, PORTABLE, clock_us, &mut |_| {}).unwrap()
    })
}

#[test]
fn every_answer_that_is_to_have_one_has_a_receipt() {
    let mut harness = Harness::new(Settings { admin: true, ..settings() });
    harness.engine.remove(None).unwrap();
    let mut harness = harness.with(TestModel::new("tiny"));
    let chat = |more: Value| {
        let mut body =
            json!({ "messages": [{"role": "user", "content": "What is Ferrite?"}], "receipt": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let schema = json!({"type": "json_schema", "json_schema": {"schema": {"enum": ["yes", "no"]}}});
    let tool = json!({"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}});
    for (path, body) in [
        ("/v1/chat/completions", chat(json!({ "nonce": "a \"nonce\"\n", "max_tokens": 20 }))),
        ("/v1/chat/completions", chat(json!({ "nonce": "", "response_format": schema, "seed": 5 }))),
        ("/v1/chat/completions", chat(json!({ "n": 3, "seed": 9, "max_tokens": 9, "temperature": 1.5 }))),
        (
            "/v1/chat/completions",
            chat(json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 60 })),
        ),
        ("/v1/chat/completions", chat(json!({ "tools": [tool], "max_tokens": 30 }))),
        ("/v1/messages", chat(json!({ "max_tokens": 12, "stop_sequences": ["is"] }))),
        ("/v1/responses", json!({ "input": "Hi", "max_output_tokens": 12, "receipt": true }).to_string()),
        (
            "/v1/completions",
            json!({ "prompt": ["a", "b"], "max_tokens": 5, "receipt": true, "logit_bias": {"7": 5} })
                .to_string(),
        ),
    ] {
        let asked: Value = serde_json::from_str(&body).unwrap();
        let (status, answer) = harness.post(path, &body);
        assert_eq!(status, 200, "{answer}");
        let id = answer["id"].as_str().unwrap();
        let n = asked["n"].as_u64().unwrap_or(1)
            * asked["prompt"].as_array().map_or(1, |prompts| prompts.len() as u64);
        for index in 0..n {
            let suffix = if index == 0 { String::new() } else { format!(".{index}") };
            let path = format!("/v1/receipts/{id}{suffix}");
            assert_eq!(verdict(&mut harness, &path, asked["nonce"].as_str()), Verdict::Accept, "{body}");
        }
        assert_eq!(harness.get(&format!("/v1/receipts/{id}.{n}")).0, 404);
    }
    // Streamed.
    let body = json!({ "prompt": "Hello", "max_tokens": 7, "receipt": true, "stream": true }).to_string();
    let events = harness.stream("/v1/completions", &body);
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    let path = format!("/v1/receipts/{}", first["id"].as_str().unwrap());
    assert_eq!(verdict(&mut harness, &path, None), Verdict::Accept);
    // The audit says so.
    let audit = harness.ask(b"GET /v1/audit HTTP/1.1\r\nHost: a\r\n\r\n");
    let lines: Vec<&str> = audit.lines().filter(|line| line.contains("\"event\":\"request\"")).collect();
    assert!(lines.len() > 5 && lines.iter().all(|line| line.contains("\"receipt\":true")), "{audit}");
    // Who does not ask has none.
    let (_, answer) = harness.post("/v1/completions", r#"{"prompt": "Hello", "max_tokens": 3}"#);
    let (status, refusal) = harness.get(&format!("/v1/receipts/{}", answer["id"].as_str().unwrap()));
    assert_eq!(status, 404);
    assert!(refusal["error"]["message"].as_str().unwrap().contains("the last 64 are kept"), "{refusal}");
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let mut mute = Harness::new(Settings { notary: None, ..settings() });
    let (status, refusal) = mute.post("/v1/completions", r#"{"prompt": "a", "receipt": true}"#);
    assert_eq!((status, refusal["error"]["param"].as_str()), (400, Some("receipt")), "{refusal}");
    assert_eq!(mute.get("/v1/attestation").0, 400);
    let long = "x".repeat(MAX_NONCE_BYTES + 1);
    let mut harness = Harness::default();
    let body = json!({ "prompt": "a", "receipt": true, "nonce": long }).to_string();
    let (status, refusal) = harness.post("/v1/completions", &body);
    assert_eq!((status, refusal["error"]["param"].as_str()), (400, Some("nonce")), "{refusal}");
    assert_eq!(harness.get(&format!("/v1/attestation?nonce={long}")).0, 400);
}

#[test]
fn a_receipt_is_for_the_key_that_asked() {
    let keys = Keys::parse("one name=one\ntwo name=two\n").unwrap();
    let mut harness = Harness::new(Settings { keys, ..settings() });
    let with = |request: &str, key: &str| {
        request.replacen("\r\n", &format!("\r\nAuthorization: Bearer {key}\r\n"), 1)
    };
    let body = r#"{"prompt": "a", "max_tokens": 3, "receipt": true}"#;
    let answer = harness.ask(with(&post("/v1/completions", body), "one").as_bytes());
    let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let get = format!("GET /v1/receipts/{} HTTP/1.1\r\nHost: a\r\n\r\n", answer["id"].as_str().unwrap());
    for (key, expected) in [("two", 404), ("one", 200)] {
        assert_eq!(status(&harness.ask(with(&get, key).as_bytes())), expected, "{key}");
    }
    assert_eq!(status(&harness.ask(get.as_bytes())), 401);
}

#[test]
fn an_attestation_says_by_which_key_receipts_are_signed() {
    let (status, attestation) = Harness::default().get("/v1/attestation?nonce=a%20b");
    assert_eq!(status, 200, "{attestation}");
    let record = &attestation["record"];
    assert_eq!(record["nonce"], "a b");
    assert_eq!(record["key"], Fixed(notary().public_key()).to_string());
    assert_eq!(record["type"], "ferrite/attestation/1");
    // The members are in their order: the text is the canonical one.
    let signed = format!("ferrite/attestation/1\n{record}");
    let Fixed(signature) = Fixed::parse(attestation["signature"].as_str().unwrap()).unwrap();
    assert!(trust::signature::verify(&notary().public_key(), signed.as_bytes(), &signature));
}

/// The second answer has to wait for a slot; meanwhile another model gets the name of the model that gave the first answer.
#[test]
fn answers_under_one_name_are_of_one_model() {
    for more in [json!({ "receipt": true }), json!({ "logprobs": 1 }), json!({})] {
        let mut harness = Harness::default();
        let other = post("/v1/completions", r#"{"prompt": "a", "max_tokens": 4}"#);
        let others: Vec<_> = (1..N_SLOTS + N_WAITING).map(|_| harness.connect()).collect();
        for &id in &others {
            assert_eq!(harness.server.receive(id, other.as_bytes(), 1), other.len());
        }
        let mut body = json!({ "prompt": "b", "max_tokens": 4, "n": 2 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let asked = post("/v1/completions", &body.to_string());
        let id = harness.connect();
        assert_eq!(harness.server.receive(id, asked.as_bytes(), 1), asked.len());
        harness.step();
        harness.engine.add(TestModel::new("micro"));
        while harness.step() {}
        let answer = String::from_utf8(harness.take(id)).unwrap();
        assert_eq!(status(&answer), 503, "{answer}");
        assert!(answer.contains("unloaded or replaced"), "{answer}");
        // What was asked before is answered.
        for id in others {
            assert_eq!(status(std::str::from_utf8(&harness.take(id)).unwrap()), 200);
        }
    }
}
