//! Memory is refused at any point of a request or a command, inside the kernel. The answer must be the right one or an error, and the
//! machine must answer the next request as before.

use crate::{
    adapter,
    client::{self, ask_bytes, free_port, wait_until_served, with_field},
    common::{PROMPT, text},
    ehbp::{Exchange, unchunked},
};
use qemu_tests::{Directory, Run, Session, repository};
use std::time::Instant;
use trust::{hex::Hex, sealed::Recipient};

/// The seed of the machine's key.
const KEY: [u8; 32] = [5; 32];

/// What the test asks the machine for while a block or region is refused.
enum Asked {
    /// A request.
    Request(Vec<u8>),
    /// A request whose body and answer are encrypted: its path and body.
    Sealed(&'static str, String),
    /// A request with a receipt, which the test then fetches.
    Receipt(Vec<u8>),
    /// A line of the shell.
    Line(&'static str),
}

/// The most memory that refusals may leave in use: less than one larger block.
const KEPT_BYTES: i64 = 4096;

struct Life {
    name: &'static str,
    asked: Asked,
    /// What runs first, without refusals.
    before: Option<Asked>,
}

fn get(path: &str) -> Asked {
    Asked::Request(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes())
}

fn post(path: &str, body: &str) -> Asked {
    Asked::Request(posted(path, body))
}

fn posted(path: &str, body: &str) -> Vec<u8> {
    client::post(path, body).into_bytes()
}

fn lives() -> Vec<Life> {
    let life = |name, asked| Life { name, asked, before: None };
    let after = |before, name, asked| Life { name, asked, before: Some(before) };
    let (chats, completions) = ("/v1/chat/completions", "/v1/completions");
    // Bodies are larger than small blocks, and so is what they say of tokens.
    let bias: Vec<String> = (100..500).map(|id| format!("\"{id}\":-1.5")).collect();
    let bias = format!(",\"logit_bias\":{{{}}}", bias.join(","));
    let chat = |more: &str| {
        let body = r#"{"model":"ferrite-tiny","messages":[{"role":"user","content":"What is Ferrite?"}],"max_tokens":4"#;
        post(chats, &format!("{body},\"temperature\":0{more}{bias}}}"))
    };
    let completion = |more: &str| {
        let body = r#"{"model":"ferrite-micro","prompt":"Once upon","max_tokens":4,"temperature":0"#;
        posted(completions, &format!("{body}{more}{bias}}}"))
    };
    let tool = r#","tools":[{"type":"function","function":{"name":"add","description":"adds","parameters":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}}}],"tool_choice":"required""#;
    let schema = r#","response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object","properties":{"name":{"type":"string","pattern":"[a-z]{2,5}"}},"required":["name"]}}}"#;
    let words = "once upon a time ".repeat(300);
    let padding = " ".repeat(5000);
    let change = |path: &str| post(path, r#"{"model":"ferrite-micro"}"#);
    vec![
        life("chat", chat("")),
        life("chat of a stream", chat(r#","stream":true,"logprobs":true,"top_logprobs":20"#)),
        life("grammar", chat(r#","grammar":"root ::= [a-f]+ (\"-\" [0-9]{1,3})?""#)),
        life("schema", chat(schema)),
        life("tools", chat(tool)),
        life("several answers", Asked::Request(completion(r#","n":2,"logprobs":5,"stop":["x"]"#))),
        life("adapter", Asked::Request(completion(r#","lora":[{"id":0,"scale":0.5}]"#))),
        life("receipt", Asked::Receipt(completion(r#","receipt":true,"nonce":"a""#))),
        life(
            "encrypted",
            Asked::Sealed(
                completions,
                format!(
                    r#"{{"model":"ferrite-micro","prompt":"Once upon","max_tokens":4,"temperature":0{padding}}}"#
                ),
            ),
        ),
        life(
            "messages",
            post(
                "/v1/messages",
                &format!(
                    r#"{{"model":"ferrite-tiny","system":"Be brief.","messages":[{{"role":"user","content":"Hi"}}],"max_tokens":4,"temperature":0,"stream":true{padding}}}"#
                ),
            ),
        ),
        life(
            "responses",
            post(
                "/v1/responses",
                &format!(
                    r#"{{"model":"ferrite-tiny","input":"Hi","max_output_tokens":4,"temperature":0{padding}}}"#
                ),
            ),
        ),
        life(
            "embeddings",
            post("/v1/embeddings", r#"{"model":"ferrite-micro","input":["Hello","Hello world"]}"#),
        ),
        life("tokenize", post("/tokenize", &format!(r#"{{"content":"{words}"}}"#))),
        life("detokenize", post("/detokenize", &format!("{{\"tokens\":[{}]}}", "300,".repeat(1999) + "300"))),
        life(
            "template",
            post("/apply-template", &format!(r#"{{"messages":[{{"role":"user","content":"{words}"}}]}}"#)),
        ),
        life("models", get("/v1/models")),
        life("audit", get("/v1/audit")),
        life("attestation", get("/v1/attestation?nonce=a")),
        after(change("/models/unload"), "load by a request", change("/models/load")),
        after(change("/models/load"), "unload by a request", change("/models/unload")),
        life("infer", Asked::Line("llm infer --model ferrite-micro \"Once upon a time\" 4")),
        life(
            "infer with a grammar",
            Asked::Line("llm infer --model ferrite-micro Hi 4 --grammar 'root ::= [a-z]+'"),
        ),
        life("infer with a receipt", Asked::Line("llm infer --model ferrite-micro Hi 4 --receipt --nonce a")),
        life("chat by a line", Asked::Line("llm chat --model ferrite-tiny Hi 4")),
        life("batch", Asked::Line("llm batch --model ferrite-micro 'Once upon' 'The dog' -n 3")),
        life("embed", Asked::Line("llm embed --model ferrite-micro Hello")),
        life("tokens", Asked::Line("llm tokenize --model ferrite-micro 'Once upon a time'")),
        life("list", Asked::Line("llm list")),
        life("verify", Asked::Line("llm verify --model ferrite-micro")),
        after(
            Asked::Line("llm unload ferrite-micro"),
            "load by a line",
            Asked::Line("llm load --model ferrite-micro"),
        ),
        life("load again with an adapter", Asked::Line("llm load --model ferrite-micro --lora loud:0.5")),
    ]
}

/// What was counted, and what is in use.
struct Counted {
    n_requested: u64,
    n_refused: u64,
    heap_bytes: u64,
    pool_bytes: u64,
}

/// Which blocks and regions are refused, by their numbers from 0.
#[derive(Debug, Clone, Copy)]
enum Refused {
    Nothing,
    Only(u64),
    /// This one and all later ones.
    From(u64),
}

struct Machine {
    session: Session,
    port: u16,
}

impl Machine {
    fn start(directory: &Directory) -> Self {
        let port = free_port();
        let key = directory.file("receipt.key", format!("{}\n", Hex(&KEY)).as_bytes());
        let model = |name: &str| repository().join("test_models").join(name);
        let run = Run::new().with_self_tests().model(&model("tiny.gguf")).model(&model("micro.gguf"));
        let adapter = adapter::loud(&std::fs::read(model("micro.gguf")).unwrap());
        let adapter = directory.file("loud.gguf", &adapter);
        let mut session = run
            .args(["--lora".as_ref(), adapter.as_os_str()])
            .args(["--serve", &port.to_string(), "--receipt-key", key.to_str().unwrap()])
            .boot_args("log=off ferrite.admin=on")
            .start();
        session.wait_for(PROMPT);
        wait_until_served(port);
        Self { session, port }
    }

    /// The answer; empty if there is none.
    fn ask(&self, request: &[u8]) -> Vec<u8> {
        ask_bytes(self.port, request)
    }

    /// The shell's answer to a line.
    fn say(&mut self, line: &str) -> String {
        self.session.send(format!("{line}\r"));
        self.session.wait_for("\r\n");
        let said = text(&self.session.wait_for(PROMPT));
        said.trim_end_matches(PROMPT).to_owned()
    }

    /// Starts counting, with the blocks and regions of these numbers refused; returns what was counted before.
    fn refuse(&mut self, refused: Refused) -> Counted {
        let said = self.say(&match refused {
            Refused::Nothing => "selftest refuse".into(),
            Refused::Only(number) => format!("selftest refuse {number}"),
            Refused::From(number) => format!("selftest refuse {number} {}", u64::MAX),
        });
        let numbers: Vec<u64> = said.split([' ', '\r', '\n']).filter_map(|word| word.parse().ok()).collect();
        let [n_requested, n_refused, heap_bytes, pool_bytes] = numbers[..] else { panic!("{said}") };
        Counted { n_requested, n_refused, heap_bytes, pool_bytes }
    }

    /// The machine's answer, without what differs from one run to the next.
    fn live(&mut self, asked: &Asked) -> String {
        match asked {
            Asked::Request(request) => said(&self.ask(request)),
            Asked::Sealed(path, body) => {
                let mut exchange = Exchange::new(&Recipient::new(&KEY).public_key(), 1);
                let answer = self.ask(&with_field(&exchange.request(path, body), "Connection: close\r\n"));
                if !text(&answer).contains("Ehbp-Response-Nonce: ") {
                    return said(&answer);
                }
                let (head, texts) = exchange.open(&answer);
                let (status, _) = head.split_once("\r\n").unwrap();
                said(format!("{status}\r\n\r\n{}", texts.concat()).as_bytes())
            }
            Asked::Receipt(request) => {
                let answer = self.ask(request);
                let shown = text(&answer);
                let Some((_, id)) = shown.split_once("\"id\":\"") else { return said(&answer) };
                let (id, _) = id.split_once('"').unwrap();
                let Asked::Request(request) = get(&format!("/v1/receipts/{id}")) else { unreachable!() };
                let receipt = text(&self.ask(&request));
                let is_receipt = receipt.contains("200 OK") && receipt.contains("\"signature\"");
                if is_receipt { said(&answer) } else { said(receipt.as_bytes()) }
            }
            Asked::Line(line) => {
                let shown = self.say(line);
                let is_receipt = |line: &str| line.starts_with("{\"key\"");
                let tells_times =
                    |line: &str| line.starts_with('[') && line.contains("token") || line.contains("ing: ");
                let lines = shown.lines().filter(|line| !tells_times(line));
                let lines = lines.map(|line| if is_receipt(line) { "a receipt" } else { line });
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// The status and the body of an answer. Chunks are joined, and values that differ from one run to the next are left out.
fn said(answer: &[u8]) -> String {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return text(answer);
    };
    let (head, body) = (text(&answer[..end]), &answer[end + 4..]);
    let is_whole = body.ends_with(b"0\r\n\r\n");
    let body = match head.contains("Transfer-Encoding: chunked") {
        true if !is_whole => return format!("{}\r\n\r\n{CLOSED}", head.lines().next().unwrap()),
        true => text(&unchunked(body)),
        false => text(body),
    };
    let mut shown = format!("{}\r\n\r\n{body}", head.lines().next().unwrap());
    if let Some(at) = shown.find(",\"timings\":{") {
        let end = shown[at..].find('}').map_or(shown.len(), |len| at + len + 1);
        shown.replace_range(at..end, "");
    }
    for mark in [
        "id\":\"",
        "created\":",
        "_at\":",
        "cached_tokens\":",
        "input_tokens\":",
        "signature\":\"",
        "time\":",
    ] {
        let mut from = 0;
        while let Some(at) = shown[from..].find(mark) {
            from += at + mark.len();
            let len = shown[from..].find(['"', ',', '}']).unwrap_or(0);
            shown.replace_range(from..from + len, "");
        }
    }
    shown
}

/// Stands for the rest of an answer that ends too early.
const CLOSED: &str = "closed";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Right,
    Refused,
    /// A stream that ends with an error.
    BrokenOff,
    /// The connection ended without an answer, or in the middle of one.
    Closed,
}

/// An answer, compared with the right one.
fn outcome(answer: &str, right: &str, is_line: bool, what: &str) -> Outcome {
    let is_about_memory = ["memory", "heap"].iter().any(|word| answer.contains(word));
    match answer {
        _ if answer == right => Outcome::Right,
        // A list shows the error of each file.
        _ if is_line => {
            assert!(is_about_memory, "{what}: {answer}");
            Outcome::Refused
        }
        _ if answer.is_empty() || answer.ends_with(CLOSED) => Outcome::Closed,
        _ if answer.starts_with("HTTP/1.1 503 ") || answer.starts_with("HTTP/1.1 500 ") => {
            assert!(answer.contains("\"error\"") && is_about_memory, "{what}: {answer}");
            Outcome::Refused
        }
        _ => {
            let is_stream = answer.starts_with("HTTP/1.1 200 ") && right.contains("data: ");
            assert!(
                is_stream && answer.contains("\"error\"") && is_about_memory,
                "{what}: {answer}\ninstead of {right}"
            );
            Outcome::BrokenOff
        }
    }
}

/// Refuses one block or region after another, alone and with all later ones, and adds up the results.
fn refuse_in_turn(machine: &mut Machine, Life { name, asked, before }: &Life, counts: &mut [usize; 4]) {
    machine.session.allow_more_time();
    let is_line = matches!(asked, Asked::Line(_));
    let live = |machine: &mut Machine, refused| {
        if let Some(before) = before {
            machine.live(before);
        }
        machine.refuse(refused);
        let answer = machine.live(asked);
        (answer, machine.refuse(Refused::Nothing))
    };
    // What is made once is there then.
    for _ in 0..2 {
        live(machine, Refused::Nothing);
    }
    let (right, mark) = live(machine, Refused::Nothing);
    let is_right = if is_line { !right.contains("error: ") } else { right.starts_with("HTTP/1.1 200 ") };
    assert!(is_right, "{name}: {right}");
    let changes = *name == "audit";
    let mut became = [0; 4];
    for refuse in [Refused::Only, Refused::From] {
        for number in 0.. {
            let what = format!("{name}, {:?}", refuse(number));
            let (answer, seen) = live(machine, refuse(number));
            let same = changes && answer.starts_with("HTTP/1.1 200 ");
            let outcome = if same { Outcome::Right } else { outcome(&answer, &right, is_line, &what) };
            if seen.n_refused == 0 {
                assert_eq!(outcome, Outcome::Right, "{what}: {answer}");
                break;
            }
            became[outcome as usize] += 1;
            let (again, _) = live(machine, Refused::Nothing);
            assert!(again == right || changes, "after {what}: {again}\ninstead of {right}");
        }
    }
    let (_, end) = live(machine, Refused::Nothing);
    let more_bytes = end.heap_bytes as i64 - mark.heap_bytes as i64;
    println!("{name}: {} counted, {became:?}, {more_bytes} bytes more", end.n_requested);
    assert_eq!(end.pool_bytes, mark.pool_bytes, "{name}");
    // The shell remembers lines, and the server receipts.
    let is_receipt = matches!(asked, Asked::Receipt(_));
    assert!(more_bytes < KEPT_BYTES || is_receipt, "{name}: {more_bytes} bytes of the heap were kept");
    became.iter().zip(counts).for_each(|(n, count)| *count += n);
}

#[test]
fn each_block_and_region_may_be_refused() {
    let directory = Directory::new("little-memory");
    let mut machine = Machine::start(&directory);
    let (mut counts, start) = ([0; 4], Instant::now());
    for life in lives() {
        refuse_in_turn(&mut machine, &life, &mut counts);
    }
    println!("right, refused, broken off, closed: {counts:?}, {:?}", start.elapsed());
    machine.session.send("poweroff\r");
    machine.session.finish().expect_status(0);
    let [_, refused, broken_off, closed] = counts;
    assert!(
        refused > 0 && closed < refused,
        "{refused} were refused, {broken_off} broken off, {closed} closed"
    );
}
