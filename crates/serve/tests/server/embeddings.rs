//! Texts as vectors.

use crate::common::{Harness, TestModel, post};
use std::ops::ControlFlow;

use llm::front::embedding::EmbeddingWish;
use llm::front::{PROMPT_ENCODING, Prompt};
use serde_json::{Value, json};
use serve::Model;

#[test]
fn texts_become_vectors_as_numbers_or_in_base64() {
    let mut harness = Harness::default();
    let n_embd = harness.responder().runner().model().config().n_embd;
    let prompt = Prompt::Text("Hello world", PROMPT_ENCODING);
    let model = harness.engine.get_mut(None).unwrap();
    let go_on = &mut || ControlFlow::Continue(());
    let embedded =
        model.with_responder(|responder| responder.embed(&prompt, EmbeddingWish::default(), go_on));
    let expected = embedded.unwrap();
    let (status, answer) = harness.post("/v1/embeddings", r#"{"input":"Hello world","model":"m"}"#);
    assert_eq!(status, 200, "{answer}");
    let numbers = |item: &Value| -> Vec<f32> {
        let values = item["embedding"].as_array().unwrap().iter();
        values.map(|value| value.as_f64().unwrap() as f32).collect()
    };
    assert_eq!(numbers(&answer["data"][0]), expected.values);
    assert_eq!((&answer["object"], &answer["data"][0]["index"]), (&json!("list"), &json!(0)));
    assert_eq!(answer["usage"]["prompt_tokens"], expected.n_tokens);

    // Several texts, or the ids of some, and the form that openai-python asks for.
    let body = json!({ "input": ["Hello", "Hello world", "Bye"], "encoding_format": "base64", "dimensions": n_embd });
    let (_, several) = harness.post("/v1/embeddings", &body.to_string());
    assert_eq!(several["data"].as_array().unwrap().len(), 3);
    use base64::Engine as _;
    let bytes =
        base64::prelude::BASE64_STANDARD.decode(several["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<f32> =
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(decoded, expected.values);
    let (_, tokens) = harness.post("/tokenize", r#"{"content":"Hello","add_special":true}"#);
    let body = json!({ "input": [tokens["tokens"], tokens["tokens"]] });
    let (_, of_ids) = harness.post("/v1/embeddings", &body.to_string());
    assert_eq!(numbers(&of_ids["data"][0]), numbers(&of_ids["data"][1]));
    let (_, of_one) = harness.post("/v1/embeddings", &json!({ "input": tokens["tokens"] }).to_string());
    assert_eq!(of_one["data"][0], of_ids["data"][0]);

    for (body, param) in [
        (r#"{}"#, None),
        (r#"{"input":[]}"#, Some("input")),
        (r#"{"input":[1,"a"]}"#, Some("input")),
        (r#"{"input":"a","encoding_format":"int8"}"#, Some("encoding_format")),
        (r#"{"input":"a","dimensions":3}"#, Some("dimensions")),
    ] {
        let (status, answer) = harness.post("/v1/embeddings", body);
        assert_eq!((status, answer["error"]["param"].as_str()), (400, param), "{body}: {answer}");
    }
    let long = json!({ "input": "word ".repeat(2000) });
    assert_eq!(
        harness.post("/v1/embeddings", &long.to_string()).1["error"]["code"],
        "context_length_exceeded"
    );
}

#[test]
fn vectors_are_pooled_and_scaled_as_is_asked() {
    let mut harness = Harness::default();
    let mut vector = |fields: &str| -> Vec<f64> {
        let (status, answer) =
            harness.post("/v1/embeddings", &format!(r#"{{"input":"Hello world"{fields}}}"#));
        assert_eq!(status, 200, "{answer}");
        answer["data"][0]["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap())
            .collect()
    };
    let length = |vector: &[f64]| vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    let (mean, last) = (vector(r#","pooling":"mean","embd_normalize":2"#), vector(r#","pooling":"last""#));
    assert_eq!(mean, vector(""));
    assert!(mean != last && (length(&mean) - 1.0).abs() < 1e-5 && (length(&last) - 1.0).abs() < 1e-5);
    let as_it_is = vector(r#","embd_normalize":-1"#);
    let factor = length(&as_it_is);
    assert!(factor > 1.1, "{factor}");
    assert!(as_it_is.iter().zip(&mean).all(|(value, of_mean)| (value / factor - of_mean).abs() < 1e-5));

    for (body, param) in [
        (r#"{"input":"a","pooling":"none"}"#, Some("pooling")),
        (r#"{"input":"a","pooling":"median"}"#, Some("pooling")),
        (r#"{"input":"a","embd_normalize":1}"#, Some("embd_normalize")),
        (r#"{"input":"a","pooling":"rank"}"#, None),
    ] {
        let (status, answer) = harness.post("/v1/embeddings", body);
        assert_eq!((status, answer["error"]["param"].as_str()), (400, param), "{body}: {answer}");
    }
}

#[test]
fn documents_are_ranked_by_a_model_with_a_classifier() {
    let mut harness = Harness::default();
    let body = r#"{"query":"a b","documents":["b c","z"]}"#;
    let (status, answer) = harness.post("/v1/rerank", body);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(status == 400 && message.contains("no classifier"), "{answer}");

    harness.engine.remove(None).unwrap();
    let model = TestModel::at("reranker", "../llm/tests/golden/classifiers/bert.gguf");
    let mut harness = harness.with(model);
    let (status, answer) =
        harness.post("/v1/rerank", r#"{"query":"a b","documents":["b c","z","a b c d","?"]}"#);
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("reranker")));
    // [CLS] a b [SEP] and a document.
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 4 * 4 + 2 + 1 + 4 + 1, "total_tokens": 24 }));
    let results = answer["results"].as_array().unwrap();
    let scores: Vec<f64> = results.iter().map(|result| result["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 4 && scores.is_sorted_by(|a, b| a > b), "{scores:?}");
    let (_, best) =
        harness.post("/rerank", r#"{"query":"a b","documents":["b c","z","a b c d","?"],"top_n":1}"#);
    assert_eq!(best["results"], json!([results[0]]));
    // In the form of Text Embeddings Inference.
    let (_, bare) = harness.post("/rerank", r#"{"query":"a b","texts":["b c","z","a b c d","?"]}"#);
    let of_bare = |index: usize| (bare[index]["index"].clone(), bare[index]["score"].as_f64().unwrap());
    assert_eq!(bare.as_array().unwrap().len(), 4);
    for (index, result) in results.iter().enumerate() {
        assert_eq!(of_bare(index), (result["index"].clone(), scores[index]));
    }
    for (body, param) in [
        (r#"{"query":"a"}"#, "documents"),
        (r#"{"query":"a","documents":[]}"#, "documents"),
        (r#"{"query":"a","documents":[[1]]}"#, "documents"),
        (r#"{"query":1,"documents":["a"]}"#, "query"),
    ] {
        let (status, answer) = harness.post("/v1/rerank", body);
        assert_eq!((status, answer["error"]["param"].as_str()), (400, Some(param)), "{body}: {answer}");
    }
}

#[test]
fn vectors_and_texts_are_computed_together_and_who_hangs_up_ends_a_list() {
    let mut harness = Harness::default();
    let inputs: Vec<String> = (0..30).map(|n| format!("Once upon a time {n}")).collect();
    let asked = post("/v1/embeddings", &json!({ "input": inputs }).to_string());
    let short = post("/v1/embeddings", &json!({ "input": [inputs[3], inputs[4]] }).to_string());
    let (long_id, short_id, other) = (harness.connect(), harness.connect(), harness.connect());
    harness.server.receive(long_id, asked.as_bytes(), 1);
    harness.server.receive(short_id, short.as_bytes(), 1);
    let text = post("/v1/completions", r#"{"prompt":"Hello","max_tokens":5}"#);
    harness.server.receive(other, text.as_bytes(), 1);
    let mut bodies = [(); 3].map(|()| Vec::new());
    let mut done_after = [0; 3];
    let mut most_at_once = 0;
    let mut n_steps = 0;
    while harness.server.is_generating() || n_steps == 0 {
        n_steps += 1;
        assert!(n_steps < 100);
        let n_before = harness.engine.n_embeddings;
        harness.step();
        most_at_once = most_at_once.max(harness.engine.n_embeddings - n_before);
        let health = harness.connect();
        let healthy = harness.exchange_now(health, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(healthy.ends_with(r#"{"status":"ok"}"#), "{healthy}");
        harness.server.remove(health);
        for (index, id) in [long_id, short_id, other].into_iter().enumerate() {
            let bytes = harness.take(id);
            if !bytes.is_empty() {
                done_after[index] = n_steps;
            }
            bodies[index].extend(bytes);
        }
    }
    // A list gives the engine no more than a few of its texts, so that others are done before it.
    assert!(most_at_once <= 8 + 2, "{most_at_once}");
    assert!(done_after[1] < done_after[0] && done_after[2] < done_after[0], "{done_after:?}");
    let [of_long, of_short, of_text] = bodies.map(|bytes| {
        let answer = String::from_utf8(bytes).unwrap();
        serde_json::from_str::<Value>(answer.split_once("\r\n\r\n").expect("no answer").1).unwrap()
    });
    assert_eq!(of_text["usage"]["completion_tokens"], 5);
    assert_eq!(of_short["data"].as_array().unwrap().len(), 2);
    assert_eq!(of_long["data"].as_array().unwrap().len(), 30);
    assert_eq!(harness.engine.n_embeddings, 32);
    for (place, index) in [(0, 3), (1, 4)] {
        assert_eq!(of_short["data"][place]["embedding"], of_long["data"][index]["embedding"]);
    }

    harness.server.receive(long_id, asked.as_bytes(), 1);
    harness.step();
    assert!(harness.server.is_generating());
    harness.server.remove(long_id);
    (0..3).for_each(|_| _ = harness.step());
    assert!(!harness.server.is_generating() && harness.engine.n_embeddings < 32 + 30);
    assert!(harness.responder().is_idle());
}

#[test]
fn without_a_vocabulary_only_what_needs_text_is_refused() {
    let mut harness = Harness::default().with(TestModel::without_vocabulary("micro").called("silent"));
    let of_ids = |model: &str| json!({ "model": model, "input": [1, 5, 9] }).to_string();
    let (status, vector) = harness.post("/v1/embeddings", &of_ids("silent"));
    assert_eq!(status, 200, "{vector}");
    assert_eq!(vector["data"], harness.post("/v1/embeddings", &of_ids("micro")).1["data"]);
    for (path, body) in [
        ("/v1/embeddings", json!({ "input": "Hello" })),
        ("/v1/rerank", json!({ "query": "Hello", "documents": ["a"] })),
        ("/v1/completions", json!({ "prompt": "Hello" })),
        ("/v1/completions", json!({ "prompt": [1, 5, 9] })),
        ("/completion", json!({ "prompt": [1, 5, 9] })),
        ("/v1/chat/completions", json!({ "messages": [{ "role": "user", "content": "Hello" }] })),
        ("/tokenize", json!({ "content": "Hello" })),
        ("/detokenize", json!({ "tokens": [1] })),
        ("/apply-template", json!({ "messages": [{ "role": "user", "content": "Hello" }] })),
    ] {
        let mut body = body;
        body["model"] = json!("silent");
        let (status, answer) = harness.post(path, &body.to_string());
        assert_eq!(status, 400, "{path}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("tokenizer.ggml.model is x"), "{path}: {message}");
    }
    let (status, props) = harness.get("/props?model=silent");
    assert_eq!((status, &props["bos_token"]), (200, &json!("")), "{props}");
}

#[test]
fn vectors_of_a_list_are_of_one_model() {
    let mut harness = Harness::default();
    let texts: Vec<String> = (0..40).map(|n| format!("text {n}")).collect();
    let request = post("/v1/embeddings", &json!({ "input": texts }).to_string());
    let id = harness.connect();
    assert_eq!(harness.server.receive(id, request.as_bytes(), 1), request.len());
    harness.step();
    harness.engine.add(TestModel::new("micro"));
    while harness.step() {}
    let answer = String::from_utf8(harness.take(id)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("unloaded or replaced"), "{answer}");
}
