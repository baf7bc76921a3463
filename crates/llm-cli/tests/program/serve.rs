//! `llm serve`, over sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{fail_saying, succeed};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test_models/tiny.gguf");

/// A server that ends with the test.
pub struct Served {
    child: Child,
    pub address: String,
}

impl Served {
    /// A server on a free port.
    pub fn start(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_llm"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .args(["serve", "--port", "0"])
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut errors = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
        let mut line = String::new();
        errors.read_line(&mut line).expect("standard error can be read");
        let address = line.trim().rsplit_once("http://").unwrap_or_else(|| panic!("no address: {line:?}")).1;
        let address = address.to_owned();
        // What is logged is read, so that the server can go on writing it.
        std::thread::spawn(move || errors.lines().for_each(drop));
        Self { child, address }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the server takes connections");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends bytes on a new connection, closes its sending side, and returns the whole answer.
    pub fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer is UTF-8");
        answer
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask(post(path, body).as_bytes());
        let body = answer.split_once("\r\n\r\n").expect("no end of a head").1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn the_text_is_that_of_infer_also_beside_others() {
    let prompts = ["Hello", "Once upon a time", "What is Ferrite?", "The lamp"];
    let expected = prompts.map(|prompt| {
        let text = succeed(&["infer", "--model", TINY, "--prompt", prompt, "-n", "24"]);
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    });
    let served = Served::start(&["--model", TINY, "--parallel", "3"]);
    std::thread::scope(|scope| {
        for round in 0..3 {
            for (prompt, expected) in prompts.iter().zip(&expected) {
                let served = &served;
                scope.spawn(move || {
                    let body = json!({ "prompt": prompt, "max_tokens": 24, "temperature": 0 });
                    let answer = served.post("/v1/completions", &body);
                    assert_eq!(answer["choices"][0]["text"], expected.as_str(), "{prompt}, round {round}");
                });
            }
        }
    });
}

#[test]
fn text_comes_as_it_is_generated_and_who_hangs_up_is_forgotten() {
    let served = Served::start(&["--model", TINY, "--parallel", "1", "--ctx", "256"]);
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 200, "stream": true, "ignore_eos": true });
    let mut stream = served.connect();
    stream.write_all(post("/v1/completions", &body).as_bytes()).unwrap();
    let mut first = [0; 400];
    stream.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200 OK"));
    // With bytes unread the system resets the connection, which the server learns of while it generates.
    drop(stream);
    let body = json!({ "prompt": "Hello", "max_tokens": 2 });
    assert!(served.post("/v1/completions", &body)["choices"][0]["text"].is_string());
}

#[test]
fn many_slow_clients_keep_nobody_out() {
    let served = Served::start(&["--model", TINY]);
    let slow: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(b"POST /v1/comp").unwrap();
            stream
        })
        .collect();
    let since = Instant::now();
    assert!(served.ask(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").ends_with(r#"{"status":"ok"}"#));
    // The slow ones are closed after ten seconds; nobody is to wait for that.
    assert!(since.elapsed() < Duration::from_secs(9));
    drop(slow);
}

#[test]
fn a_large_body_arrives_whole() {
    let served = Served::start(&["--model", TINY]);
    let text = "Hello world. ".repeat(160_000);
    let answer = served.post("/tokenize", &json!({ "content": text }));
    let n = answer["tokens"].as_array().expect("there are tokens").len();
    assert!(text.len() > 2_000_000 && n > 300_000, "{n} tokens");
}

#[test]
fn mistakes_are_told_in_a_line() {
    let missing = ["serve", "--model", "missing.gguf"];
    fail_saying(&missing, &["missing.gguf"]);
    fail_saying(&["serve", "--model", TINY, "--host", "nowhere"], &["--host", "nowhere"]);
    fail_saying(&["serve", "--model", TINY, "--parallel", "0"], &["--parallel"]);
    fail_saying(&["serve", "--model", TINY, "--speculate", "99"], &["--speculate is 99", "8"]);
    let empty = super::scratch_file("no-key.txt");
    for (text, expected) in
        [("\n", "expected a key in a line"), ("hush\nhush2 max=1\n", "line 2: expected name=NAME")]
    {
        std::fs::write(&empty, text).unwrap();
        fail_saying(&["serve", "--model", TINY, "--api-key-file", &empty], &["no-key.txt", expected]);
    }
    let served = Served::start(&["--model", TINY]);
    let port = served.address.rsplit_once(':').unwrap().1;
    fail_saying(&["serve", "--model", TINY, "--port", port], &["cannot listen at", port]);
}

#[test]
fn a_key_from_a_file_is_asked_for() {
    let file = super::scratch_file("key.txt");
    std::fs::write(&file, "# ours\nsesame\nsalt name=other\n").unwrap();
    let served = Served::start(&["--model", TINY, "--api-key-file", &file]);
    let request = |field: &str| format!("GET /v1/models HTTP/1.1\r\nHost: a\r\n{field}\r\n");
    assert!(served.ask(request("").as_bytes()).starts_with("HTTP/1.1 401 "));
    for key in ["sesame", "salt"] {
        let answer = served.ask(request(&format!("Authorization: Bearer {key}\r\n")).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""id":"tiny""#), "{answer}");
    }
}

#[test]
fn models_are_loaded_and_unloaded_by_requests_while_others_are_answered() {
    let served = Served::start(&["--model", TINY, "--admin"]);
    let ask = |model: &str| {
        let body =
            json!({ "model": model, "prompt": "Once upon a time", "max_tokens": 60, "temperature": 0 });
        served.post("/v1/completions", &body)
    };
    let expected = ask("tiny")["choices"].clone();
    let micro = "test_models/micro.gguf";
    std::thread::scope(|scope| {
        let streams: Vec<_> = (0..3).map(|_| scope.spawn(|| ask("tiny")["choices"].clone())).collect();
        for _ in 0..3 {
            let loaded = served.post("/models/load", &json!({ "model": micro }));
            assert_eq!(loaded, json!({ "success": true }));
            assert_eq!(ask("micro")["model"], "micro");
        }
        streams.into_iter().for_each(|stream| assert_eq!(stream.join().unwrap(), expected));
    });
    let refused = served.post("/models/load", &json!({ "model": "README.md" }));
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("model: ") && message.contains("README.md"), "{message}");
    assert_eq!(served.post("/models/unload", &json!({ "model": "tiny" })), json!({ "success": true }));
    // Where only one is left, it answers to any name.
    assert_eq!(ask("tiny")["model"], "micro");
    let refused = served.post("/models/unload", &json!({ "model": "tiny" }));
    assert_eq!(refused["error"]["code"], "model_not_found");
}

/// The commands in a document, and the output that it shows for them.
pub fn examples(document: &str) -> Vec<(&str, &str)> {
    let mut examples = Vec::new();
    let mut rest = document;
    while let Some((_, from)) = rest.split_once("```console\n") {
        let (block, after) = from.split_once("\n```").expect("a block ends");
        let (command, output) = block.split_once('\n').unwrap_or((block, ""));
        examples.push((command, output));
        rest = after;
    }
    examples
}

/// Sends the request of a command with curl, and returns the body of the answer.
pub fn curl(served: &Served, command: &str) -> String {
    let command = command.strip_prefix("$ curl ").unwrap_or_else(|| panic!("no curl: {command}"));
    let words = shlex::split(command).expect("quotes are closed");
    let mut words = words.iter();
    let (mut url, mut data, mut method) = (None, None, "GET");
    let mut fields = String::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-N" | "-s" => {}
            "-I" => method = "HEAD",
            "-d" => (data, method) = (words.next(), "POST"),
            "-H" => fields += &format!("{}\r\n", words.next().expect("-H has a value")),
            word => url = Some(word),
        }
    }
    let path = url.expect("there is a URL").strip_prefix("http://127.0.0.1:8080").expect("of this server");
    let data = data.map_or("", String::as_str);
    let length = data.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {length}\r\n\r\n");
    let answer = served.ask((head + data).as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").expect("no end of a head");
    match (method, head.contains("chunked")) {
        ("HEAD", _) => head.to_owned(),
        (_, true) => unchunked(body),
        (_, false) => body.to_owned(),
    }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        text += &rest[..size];
        body = &rest[size + 2..];
    }
    text
}

/// Prefixes of the ids of answers.
const NAMES: [&str; 3] = ["cmpl-", "msg_", "resp_"];

/// Replaces what differs from run to run.
pub fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_call = fields.contains_key("function");
            for (name, value) in fields {
                let differs =
                    name.ends_with("_ms") || name.ends_with("_per_second") || name.starts_with("created");
                match name.as_str() {
                    _ if differs => *value = json!(0),
                    "id" if is_call
                        || value.as_str().is_some_and(|id| NAMES.iter().any(|name| id.contains(name))) =>
                    {
                        *value = json!("id");
                    }
                    _ => without_times(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(without_times),
        _ => {}
    }
}

#[test]
fn the_document_shows_what_the_server_answers() {
    let document = include_str!("../../../../docs/server.md");
    let examples = examples(document);
    assert!(examples.len() >= 10, "{} examples", examples.len());
    for (command, expected) in examples {
        // Each on a server of its own, so that no prompt is known from the one before.
        let served = Served::start(&["--model", "test_models/tiny.gguf", "--admin"]);
        let answer = curl(&served, command);
        match expected.is_empty() {
            true => assert!(!answer.is_empty(), "{command}"),
            false => {
                let parse = |text: &str| {
                    let mut value: Value = serde_json::from_str(text)
                        .unwrap_or_else(|error| panic!("{error}: {command}\n{text}"));
                    without_times(&mut value);
                    value
                };
                assert_eq!(parse(&answer), parse(expected), "{command}\n{answer}");
            }
        }
    }
}
