//! Memory is exhausted at any point of a request. The answer must be the right one or an error, and the next request must be answered.

mod common;
mod failing;

use common::ehbp::Exchange;
use common::ehbp::unchunked;
use common::{Harness, TestModel, post, settings, status};
use failing::{Failing, Refused, counted};
use llm::gguf::Value as Metadata;
use llm::quoted::Quoted;
use serde_json::{Value, json};
use serve::{ApiError, Change, ConnectionId, Settings};
use std::ops::ControlFlow;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// The most bytes of the reserve that one request may take, whatever happens.
const RESERVE_BYTES: usize = 32 << 10;

/// The most bytes of an answer.
const ANSWER_BYTES: usize = 1 << 20;

/// The number of bytes of an answer that a slow client reads: the server buffers no more.
const ENOUGH_BYTES: usize = 64 << 10;

/// How many of a request's blocks are refused in turn, chosen evenly. `FERRITE_EVERY_ALLOCATION` chooses all.
const N_REFUSED: u64 = 40;
/// The same for the first request to a model, for which a new model is made each time.
const N_FIRST: u64 = 8;

/// A request, and the paths that the test fetches after it.
struct Life {
    name: &'static str,
    request: Vec<u8>,
    then: Vec<&'static str>,
    /// Whether the client reads nothing of the answer before its end.
    reads_late: bool,
    /// The client that decrypts the answer, if it is encrypted.
    opener: Option<Exchange>,
}

fn life(name: &'static str, path: &str, body: Value) -> Life {
    Life {
        name,
        request: post(path, &body.to_string()).into_bytes(),
        then: Vec::new(),
        reads_late: false,
        opener: None,
    }
}

fn get(path: &'static str) -> Life {
    Life { name: path, request: request_of(path), then: Vec::new(), reads_late: false, opener: None }
}

fn request_of(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

/// A conversation of one message, with further fields.
fn chat(text: &str, more: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": text }], "max_tokens": 6, "seed": 5 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn lives() -> Vec<Life> {
    let parameters =
        json!({ "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"] });
    let tool = json!({ "type": "function", "function": { "name": "add", "description": "adds", "parameters": parameters } });
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string", "pattern": "[a-z]{2,5}" }, "tags": { "type": "array", "items": { "enum": ["a", "b", 1] } } }, "required": ["name"] });
    let schema = json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": schema } });
    let long = "a \"quoted\" word\n".repeat(4000);
    let words = "once upon a time ".repeat(9);
    let completion = |more: Value| {
        let mut body = json!({ "prompt": "Once upon", "max_tokens": 6, "seed": 3 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let (chats, completions) = ("/v1/chat/completions", "/v1/completions");
    let name = "name".repeat(2000);
    let many: Vec<Value> = (0..80).map(|index| json!({ "role": if index % 2 == 0 { "user" } else { "assistant" }, "content": [{ "type": "text", "text": "a\n" }] })).collect();
    let documents: Vec<String> =
        (0..300).map(|index| ["b c", "z", "a b c d"][index % 3].repeat(index % 7 + 1)).collect();
    let mut lives = vec![
        life("completion", completions, completion(json!({}))),
        life(
            "several, log-probabilities",
            completions,
            completion(
                json!({ "n": 3, "logprobs": 4, "temperature": 1, "stop": ["x", "yz"], "logit_bias": { "7": 5, "8": -100 } }),
            ),
        ),
        life("echo", completions, completion(json!({ "echo": true, "prompt": [1, 5, 9] }))),
        life(
            "several prompts",
            completions,
            completion(json!({ "prompt": ["a", "b\n", "c"], "temperature": 0.7, "mirostat": 2 })),
        ),
        life(
            "ids",
            completions,
            completion(json!({ "prompt": [1, 2, 3], "ignore_eos": true, "dry_multiplier": 0.8 })),
        ),
        life(
            "stream",
            completions,
            completion(json!({ "stream": true, "stream_options": { "include_usage": true }, "logprobs": 2 })),
        ),
        life("chat", chats, chat("What is Ferrite?", json!({}))),
        life(
            "chat of a stream",
            chats,
            chat("What is Ferrite?", json!({ "stream": true, "logprobs": true, "top_logprobs": 3 })),
        ),
        life("tools", chats, chat("Hi", json!({ "tools": [tool] }))),
        life(
            "a tool that must be called",
            chats,
            chat("Hi", json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 40 })),
        ),
        life(
            "tools of a stream",
            chats,
            chat(
                "Hi",
                json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 40, "stream": true }),
            ),
        ),
        life("schema", chats, chat("Hi", json!({ "response_format": schema, "max_tokens": 20 }))),
        life(
            "grammar",
            chats,
            chat("Hi", json!({ "grammar": "root ::= [a-f]+ (\"-\" [0-9]{1,3})? \"\\n\"" })),
        ),
        life("many messages", chats, json!({ "messages": many, "max_tokens": 3 })),
        life(
            "responses",
            "/v1/responses",
            json!({ "input": "Hi", "instructions": "Be brief.", "max_output_tokens": 6, "stream": true }),
        ),
        life(
            "messages",
            "/v1/messages",
            chat("Hi", json!({ "system": "Be brief.", "stop_sequences": ["is"] })),
        ),
        life("messages of a stream", "/v1/messages", chat("Hi", json!({ "stream": true }))),
        life("count", "/v1/messages/count_tokens", chat("Hi", json!({}))),
        life(
            "a tool that there is not",
            chats,
            chat(
                "Hi",
                json!({ "tools": [tool], "tool_choice": { "type": "function", "function": { "name": name } } }),
            ),
        ),
        life(
            "a tool of a long name",
            chats,
            chat(
                "Hi",
                json!({ "tools": [{ "type": "function", "function": { "name": name, "parameters": parameters } }], "tool_choice": "required" }),
            ),
        ),
        life("a model that there is not", chats, chat("Hi", json!({ "model": name }))),
        life("a field that there is not", chats, chat("Hi", json!({ "logit_bias": { &name: "a" } }))),
        life(
            "a schema with an error",
            chats,
            chat(
                "Hi",
                json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "s", "schema": { "$ref": format!("#/{name}") } } } }),
            ),
        ),
        life("a grammar with an error", chats, chat("Hi", json!({ "grammar": format!("root ::= {name}") }))),
        life(
            "a choice among long texts",
            chats,
            chat(
                "Hi",
                json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "s", "schema": { "enum": [name, 7] } } }, "max_tokens": 5 }),
            ),
        ),
        life("long stop strings", chats, chat("Hi", json!({ "stop": [name, "b"] }))),
        life(
            "a call of a tool",
            chats,
            json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "tool_calls": [{ "id": "call_1", "type": "function", "function": { "name": "add", "arguments": format!("{{\"a\": \"{name}\"}}") } }] }, { "role": "tool", "tool_call_id": "call_1", "content": name }], "tools": [tool], "max_tokens": 2 }),
        ),
        life(
            "many log-probabilities",
            chats,
            chat("Hi", json!({ "logprobs": true, "top_logprobs": 20, "max_tokens": 60 })),
        ),
        Life {
            reads_late: true,
            ..life(
                "a stream that is read late",
                chats,
                chat("Hi", json!({ "logprobs": true, "top_logprobs": 20, "max_tokens": 60, "stream": true })),
            )
        },
        life("load what there is not", "/models/load", json!({ "model": name })),
        life(
            "infill",
            "/infill",
            json!({ "model": "coder", "input_prefix": "fn main() {", "input_suffix": "}\n", "n_predict": 4 }),
        ),
        life("embeddings", "/v1/embeddings", json!({ "input": ["Hello", "Hello world", words] })),
        life(
            "embeddings in base64",
            "/v1/embeddings",
            json!({ "model": "tiny", "input": ["Hello"], "encoding_format": "base64" }),
        ),
        life(
            "rerank",
            "/v1/rerank",
            json!({ "model": "reranker", "query": "a b", "documents": ["b c", "z", "a b c d"] }),
        ),
        life(
            "rerank many",
            "/v1/rerank",
            json!({ "model": "reranker", "query": name, "documents": documents, "top_n": 400 }),
        ),
        life(
            "rank many texts",
            "/v1/rerank",
            json!({ "model": "reranker", "query": "a", "texts": documents }),
        ),
        life(
            "rerank by a format",
            "/v1/rerank",
            json!({ "model": "formatted", "query": name, "documents": ["b {query}", name, "a b c d"] }),
        ),
        life(
            "adapters",
            completions,
            completion(json!({ "model": "adapted", "lora": [{ "id": 1, "scale": 0.5 }] })),
        ),
        life(
            "an adapter that there is not",
            completions,
            completion(json!({ "model": "adapted", "lora": vec![json!({ "id": 7, "scale": 1 }); 200] })),
        ),
        sealed("encrypted", completions, &completion(json!({ "prompt": words })), 1),
        sealed(
            "encrypted stream",
            chats,
            &chat("What is Ferrite?", json!({ "stream": true, "logprobs": true, "top_logprobs": 3 })),
            2,
        ),
        sealed("encrypted error", chats, &chat(&long, json!({ "tool_choice": &long })), 3),
        life("load", "/models/load", json!({ "model": "other" })),
        life("unload", "/models/unload", json!({ "model": "other" })),
        life("tokenize", "/tokenize", json!({ "content": words })),
        life("tokenize much", "/tokenize", json!({ "content": long })),
        life(
            "detokenize",
            "/detokenize",
            json!({ "tokens": (0..1000).map(|id| id % 200).collect::<Vec<_>>() }),
        ),
        life("apply template", "/apply-template", chat(&words, json!({}))),
        life("apply template to much", "/apply-template", chat(&long, json!({}))),
        life("too long", chats, chat(&long, json!({}))),
        life(
            "a fault far inside",
            chats,
            json!({ "messages": [{ "role": "user", "content": long }, { "role": "user", "content": 5 }] }),
        ),
        Life {
            then: vec!["/v1/receipts/ID", "/v1/audit", "/metrics"],
            ..life("receipt", completions, completion(json!({ "receipt": true, "nonce": "a nonce" })))
        },
        Life {
            name: "no JSON",
            request: post(chats, "{\"messages\":[").into_bytes(),
            then: Vec::new(),
            reads_late: false,
            opener: None,
        },
        Life {
            name: "a body in chunks",
            request: {
                let body = chat(&words, json!({})).to_string();
                let (a, b) = body.split_at(60);
                format!("POST {chats} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n", a.len(), b.len()).into_bytes()
            },
            then: Vec::new(),
            reads_late: false,
            opener: None,
        },
        Life {
            name: "a long path",
            request: request_of(&format!("/{}", "a".repeat(9000))),
            then: Vec::new(),
            reads_late: false,
            opener: None,
        },
    ];
    lives.extend(quoted());
    lives.extend(
        [
            "/",
            "/health",
            "/v1/models",
            "/models",
            "/props",
            "/slots",
            "/lora-adapters?model=adapted",
            "/metrics",
            "/v1/audit",
            "/v1/attestation?nonce=a",
            "/v1/receipts/none",
        ]
        .map(get),
    );
    lives
}

/// Errors that quote a text: the quotation has six characters for each invisible one.
fn quoted() -> Vec<Life> {
    let text = "\u{7f}".repeat(9000);
    let of = |name, path: &str, more| life(name, path, chat("Hi", more));
    let (chats, responses) = ("/v1/chat/completions", "/v1/responses");
    vec![
        of("a number", chats, json!({ "max_tokens": text })),
        of("a role", chats, json!({ "messages": [{ "role": text, "content": "a" }] })),
        of("a part", chats, json!({ "messages": [{ "role": "user", "content": [{ "type": text }] }] })),
        of("an item", responses, json!({ "input": [{ "type": text }] })),
        of("a tool", chats, json!({ "tools": [{ "type": text, "function": { "name": "a" } }] })),
        of("samplers", chats, json!({ "samplers": text })),
        of("a sampler", chats, json!({ "samplers": ["top_k", text] })),
        of("a bias", chats, json!({ "logit_bias": { &*text: 1 } })),
        of("a form", chats, json!({ "response_format": { "type": text } })),
        of("a model", chats, json!({ "model": text })),
        of(
            "a result",
            "/v1/messages",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": [text] }] }] }),
        ),
        life("a file", "/models/load", json!({ "model": text })),
        life("a document", "/v1/rerank", json!({ "query": "a", "documents": text, "top_n": text })),
    ]
}

/// A request whose body is encrypted.
fn sealed(name: &'static str, path: &str, body: &Value, seed: u64) -> Life {
    let mut exchange = Exchange::new(&common::notary().recipient().public_key(), seed);
    let request = exchange.request(path, &body.to_string());
    Life { name, request, then: Vec::new(), reads_late: false, opener: Some(exchange) }
}

/// A server of one model.
fn tiny() -> Harness {
    let mut harness = Harness::new(Settings { admin: true, ..settings() });
    harness.engine.remove(None).unwrap();
    harness.with(TestModel::new("tiny"))
}

/// A server with everything that the requests need.
fn harness() -> Harness {
    let gap = [("pre", 300), ("suf", 301), ("mid", 302)];
    let gap = gap.map(|(key, id)| (format!("tokenizer.ggml.fim_{key}_token_id"), Metadata::U32(id)));
    let gap = gap.each_ref().map(|(key, id)| (key.as_str(), *id));
    let reranker = "../llm/tests/golden/classifiers/bert.gguf";
    let format = ("tokenizer.chat_template.rerank", Metadata::String("{query} b {document}".into()));
    let mut harness = tiny()
        .with(TestModel::with_metadata("coder", &gap))
        .with(TestModel::at("reranker", reranker))
        .with(TestModel::changed("formatted", reranker, &[format], common::N_CTX))
        .with(TestModel::adapted("micro", 3).called("adapted"));
    // More than a list of a few kibibytes.
    harness.engine.files = (0..200).map(|n| (format!("m{n}"), format!("/models/m{n}.gguf"))).collect();
    harness
}

/// Sends a request and appends the answer to `answer`, with or without refusals.
fn exchange(harness: &mut Harness, request: &[u8], reads_late: bool, answer: &mut Vec<u8>) {
    answer.clear();
    let now_us = harness.now_us;
    let Harness { server, engine, .. } = harness;
    let take = |server: &mut serve::Server<_>, id: ConnectionId, answer: &mut Vec<u8>| {
        while !server.unsent(id).is_empty() {
            answer.extend_from_slice(server.unsent(id));
            let n_sent = server.unsent(id).len();
            server.sent(id, n_sent, now_us);
        }
    };
    assert!(answer.capacity() >= ANSWER_BYTES);
    counted(|| {
        let Some(id) = server.accept(now_us) else { panic!("no room for a connection") };
        for piece in request.chunks(1500) {
            let mut piece = piece;
            while !piece.is_empty() {
                let n_taken = server.receive(id, piece, now_us);
                piece = &piece[n_taken..];
                take(server, id, answer);
                if n_taken == 0 {
                    break;
                }
            }
        }
        let mut n_rounds = 0;
        loop {
            server.serve(engine, now_us);
            while let Some((id, change)) = server.next_change() {
                let made = match &change {
                    Change::Load(name) if name.len() > 1000 => Err(ApiError::field("model", Quoted(name))),
                    _ => Ok(()),
                };
                server.changed(id, made, now_us);
            }
            let stepped = engine.models.step(&mut || ControlFlow::Continue(()), &mut |ticket, event| {
                server.event(ticket, &event, now_us)
            });
            if !reads_late || !server.is_generating() || server.unsent(id).len() >= ENOUGH_BYTES {
                take(server, id, answer);
            }
            n_rounds += 1;
            assert!(n_rounds < 2000, "it does not end: {stepped:?}");
            // The engine may have failed for want of memory, with the request still there.
            if stepped == Ok(0) && engine.models.is_idle() && !server.is_generating() {
                break;
            }
        }
        server.remove(id);
        server.serve(engine, now_us);
    });
}

/// The contents of an encrypted answer, as if it were not encrypted.
fn opened(exchange: &Exchange, answer: &mut Vec<u8>) {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let head = String::from_utf8_lossy(&answer[..end.unwrap_or(0)]).into_owned();
    let is_whole = !head.contains("event-stream") || answer.ends_with(b"\r\n0\r\n\r\n");
    if !head.contains("Ehbp-Response-Nonce") || !is_whole {
        return;
    }
    let (head, texts) = exchange.open(answer);
    let head = head.replace("Transfer-Encoding: chunked\r\n", "");
    let nonce = head.find("Ehbp-Response-Nonce: ").map_or(0, |at| at + 21);
    let head = head.replace(&head[nonce..nonce + 64], "");
    let is_stream = head.contains("event-stream");
    answer.clear();
    answer.extend_from_slice(head.as_bytes());
    for text in &texts {
        let chunk = if is_stream { format!("{:x}\r\n{text}\r\n", text.len()) } else { text.clone() };
        answer.extend_from_slice(chunk.as_bytes());
    }
    answer.extend_from_slice(if is_stream { b"0\r\n\r\n" } else { b"" });
}

/// The result of a life: its answers in order.
fn live(harness: &mut Harness, life: &Life, answers: &mut [Vec<u8>]) {
    exchange(harness, &life.request, life.reads_late, &mut answers[0]);
    if let Some(exchange) = &life.opener {
        opened(exchange, &mut answers[0]);
    }
    for (index, path) in life.then.iter().enumerate() {
        let id = id_in(&answers[0]);
        if id.is_empty() && path.contains("ID") {
            // It was refused.
            answers[index + 1].clear();
            continue;
        }
        let request = request_of(&path.replace("ID", &id));
        exchange(harness, &request, false, &mut answers[index + 1]);
    }
}

/// The contents of an answer, without what differs from one run to the next.
fn said(answer: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(answer).into_owned();
    let names = ["\"id\":\"", "_id\":\"", "Content-Length: "];
    let numbers = [
        "cached_tokens\":",
        "cache_n\":",
        "prompt_n\":",
        "input_tokens\":",
        "tokens_cached\":",
        "tokens_evaluated\":",
    ];
    for mark in names.into_iter().chain(numbers) {
        let mut from = 0;
        while let Some(at) = text[from..].find(mark) {
            from += at + mark.len();
            let is_end = |letter: char| !letter.is_ascii_alphanumeric() && !"-_.".contains(letter);
            let end = text[from..].find(is_end).map_or(text.len(), |len| from + len);
            text.replace_range(from..end, "");
        }
    }
    // Chunks have the length of what they hold.
    let lines = text.lines().filter(|line| {
        line.is_empty() || line.len() > 4 || !line.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The id of an answer, if it has one.
fn id_in(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let begin = text.find("cmpl-").unwrap_or(text.len());
    text[begin..].chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect()
}

/// Whether the answer at this path differs from one run to the next.
fn changes(request: &str) -> bool {
    ["/metrics", "/v1/audit", "/v1/receipts/ID"].iter().any(|path| request.contains(path))
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Outcome {
    Right,
    Refused,
    /// A stream that ends with an error.
    BrokenOff,
    /// The connection ended without an answer, or in the middle of one.
    Closed,
}

/// An answer, compared with the right one.
fn outcome(answer: &[u8], right: &str, what: &str) -> Outcome {
    if said(answer) == right || (right.is_empty() && answer.starts_with(b"HTTP/1.1 200")) {
        return Outcome::Right;
    }
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        assert!(answer.is_empty(), "{what}: {:?}", String::from_utf8_lossy(answer));
        return Outcome::Closed;
    };
    let (head, body) = (std::str::from_utf8(&answer[..end]).unwrap(), &answer[end + 4..]);
    match status(head) {
        503 | 500 => {
            let error: Value = serde_json::from_slice(body).unwrap();
            let message = error["error"]["message"].as_str().unwrap_or_default();
            assert!(message.contains("memory") || message.contains("heap"), "{what}: {message}");
            Outcome::Refused
        }
        200 if head.contains("event-stream") => {
            if !body.ends_with(b"0\r\n\r\n") {
                return Outcome::Closed;
            }
            let text = String::from_utf8(unchunked(body)).unwrap();
            assert!(text.contains("\"error\"") && text.contains("memory"), "{what}: {text}");
            Outcome::BrokenOff
        }
        _ => panic!("{what}: {:?} instead of {right:?}", String::from_utf8_lossy(answer)),
    }
}

/// The numbers of the blocks that are refused in turn, out of this many.
fn refused_in_turn(n_blocks: u64, most: u64) -> impl Iterator<Item = u64> {
    let step = match std::env::var_os("FERRITE_EVERY_ALLOCATION") {
        Some(_) => 1,
        None => n_blocks.div_ceil(most).max(1),
    };
    (0..n_blocks.max(1)).step_by(step as usize)
}

/// A life in which blocks are refused, compared with the same life without refusals.
fn try_life(
    harness: &mut Harness,
    life: &Life,
    refused: Refused,
    right: &[String],
    answers: &mut [Vec<u8>],
) -> (Vec<Outcome>, usize) {
    failing::begin(refused);
    live(harness, life, answers);
    let seen = failing::end();
    assert!(harness.engine.models.is_idle());
    let outcomes = right
        .iter()
        .zip(&*answers)
        .map(|(right, answer)| outcome(answer, right, &format!("{}, {refused:?}", life.name)));
    (outcomes.collect(), seen.reserve_bytes)
}

/// The answers of a life without refusals, and the number of blocks that can be refused.
fn right_answers(harness: &mut Harness, life: &Life, answers: &mut [Vec<u8>]) -> (Vec<String>, u64) {
    failing::begin(Refused::Nothing);
    live(harness, life, answers);
    let n_blocks = failing::end().n_large;
    let asked = std::iter::once(life.name).chain(life.then.iter().copied());
    let right =
        asked.zip(&*answers).map(|(asked, answer)| if changes(asked) { String::new() } else { said(answer) });
    (right.collect(), n_blocks)
}

fn buffers() -> Vec<Vec<u8>> {
    (0..4).map(|_| Vec::with_capacity(ANSWER_BYTES)).collect()
}

#[test]
fn each_block_of_a_request_may_be_refused() {
    let _turn = failing::turn();
    let (mut harness, mut answers, mut control) = (harness(), buffers(), buffers());
    let asked = life("control", "/v1/chat/completions", chat("Who are you?", json!({ "max_tokens": 3 })));
    let (control_right, _) = right_answers(&mut harness, &asked, &mut control);
    let mut counts = [0; 4];
    for life in lives() {
        // What is made once is there then.
        live(&mut harness, &life, &mut answers);
        let (right, n_blocks) = right_answers(&mut harness, &life, &mut answers);
        let mut most_bytes = 0;
        for n in refused_in_turn(n_blocks, N_REFUSED) {
            for refused in [Refused::Only(n), Refused::From(n)] {
                let (outcomes, bytes) = try_life(&mut harness, &life, refused, &right, &mut answers);
                outcomes.iter().for_each(|outcome| counts[*outcome as usize] += 1);
                most_bytes = most_bytes.max(bytes);
            }
            let (again, _) = right_answers(&mut harness, &asked, &mut control);
            assert_eq!(again, control_right, "{} after {n}", life.name);
        }
        println!("{}: {n_blocks} blocks, {most_bytes} bytes of the reserve", life.name);
        assert!(most_bytes <= RESERVE_BYTES, "{}: {most_bytes} bytes", life.name);
    }
    println!("right, refused, broken off, closed: {counts:?}");
    assert!(counts[Outcome::Refused as usize] > 100);
}

/// The tables of a grammar, when there is too little memory for two answers at a time. The second answer starts when the first has ended,
/// and one that needs no tables goes before it.
#[test]
fn an_answer_that_is_being_streamed_waits_for_the_memory_of_others() {
    let _turn = failing::turn();
    let (mut harness, mut answers) = (tiny(), buffers());
    let find = |name| lives().into_iter().find(|life| life.name == name).unwrap();
    let (first, second) = (find("schema"), find("tools of a stream"));
    let third = life("third", "/v1/completions", json!({ "prompt": "Once", "max_tokens": 2, "seed": 1 }));
    let [first_right, second_right, third_right] = [&first, &second, &third].map(|life| {
        live(&mut harness, life, &mut answers);
        right_answers(&mut harness, life, &mut answers).0[0].clone()
    });
    let (mut n_waited, mut n_overtaken) = (0, 0);
    for n in 0.. {
        let mut begin = |life: &Life, n_steps| {
            let id = harness.connect();
            assert_eq!(harness.server.receive(id, &life.request, 1), life.request.len());
            (0..n_steps).for_each(|_| assert!(counted(|| harness.step())));
            id
        };
        let first_id = begin(&first, 2);
        failing::begin(Refused::From(n));
        // The first one is not over by then.
        let second_id = begin(&second, 2);
        let seen = failing::end();
        let third_id = begin(&third, 4);
        let got_third = harness.take(third_id);
        while harness.step() {}
        let [got_first, got] = [first_id, second_id].map(|id| harness.take(id));
        assert_eq!(said(&got_first), first_right);
        let outcome = outcome(&got, &second_right, &format!("{n}"));
        assert!(matches!(outcome, Outcome::Right | Outcome::Refused), "{n}: {outcome:?}");
        harness.server.remove(first_id);
        harness.server.remove(second_id);
        harness.server.remove(third_id);
        if seen.n_refused == 0 {
            assert_eq!(outcome, Outcome::Right);
            break;
        }
        if outcome == Outcome::Right {
            n_waited += 1;
            n_overtaken += usize::from(said(&got_third) == third_right);
        }
    }
    assert!(n_waited > 0 && n_overtaken == n_waited, "{n_overtaken} of {n_waited}");
}

/// Data that a model needs once, such as its vocabulary in the form that a grammar needs, is made for the first request that uses it.
#[test]
fn each_block_of_a_first_request_may_be_refused() {
    let _turn = failing::turn();
    let mut answers = buffers();
    for name in ["chat", "tools", "schema", "receipt"] {
        let life = lives().into_iter().find(|life| life.name == name).unwrap();
        let (right, n_blocks) = right_answers(&mut tiny(), &life, &mut answers);
        println!("{name}: {n_blocks} blocks");
        for n in refused_in_turn(n_blocks, N_FIRST) {
            let mut harness = tiny();
            try_life(&mut harness, &life, Refused::Only(n), &right, &mut answers);
            // What was not made is made now.
            let (again, _) = right_answers(&mut harness, &life, &mut answers);
            assert_eq!(again, right, "{name} after {n}");
        }
    }
}
