//! A server over a small model, without sockets and without a clock.
#![allow(dead_code, reason = "no test needs all of it")]

use std::ops::{ControlFlow, Deref, DerefMut};
use std::sync::Mutex;

use llm::chat::{ChatTemplate, Conversation, Message, Parser, Part};
use llm::compute::{LowRank, LowRanks};
use llm::front::embedding::EmbeddingWish;
use llm::front::{
    AnswerGrammar, ChatFormat, Event, FrontError, Prompt, Prompter, Report, Request, Responder,
};
use llm::gguf::{Gguf, Value};
use llm::kv_cache::KvType;
use llm::parallel::Serial;
use llm::quant::{ModelBytes, Precision};
use llm::session::{Runner, RunnerOptions};
use llm::simd::Kernels;
use llm::state::StateOptions;
use serve::models::Ticket;
use serve::{
    ConnectionId, Engine, EngineError, EngineStatus, Limits, Model, ModelInfo, Models, Server, Settings,
};
use trust::notary::Notary;
use trust::receipt::{self, Maker};
use trust::sha256::PORTABLE;

pub mod ehbp;

pub use ehbp::unchunked;

/// Number of positions per text.
pub const N_CTX: usize = 256;
/// Number of texts that are computed together.
pub const N_SLOTS: usize = 4;
/// The most requests that may wait.
pub const N_WAITING: usize = 16;

/// A model in memory that is never freed.
pub struct TestModel {
    responder: Responder<'static>,
    info: ModelInfo,
}

pub fn clock_us() -> u64 {
    0
}

/// A file, by its path relative to this crate, which is read only once.
fn file(name: &'static str, path: &str) -> &'static [u8] {
    static FILES: Mutex<Vec<(&str, &[u8])>> = Mutex::new(Vec::new());
    let mut files = FILES.lock().unwrap();
    if let Some((_, bytes)) = files.iter().find(|(known, _)| *known == name) {
        return bytes;
    }
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let bytes: &'static [u8] = std::fs::read(path).unwrap().leak();
    files.push((name, bytes));
    bytes
}

impl TestModel {
    /// A model of `test_models`.
    pub fn new(name: &'static str) -> Self {
        Self::at(name, &format!("../../test_models/{name}.gguf"))
    }

    /// The model in this file, by its path relative to this crate.
    pub fn at(name: &'static str, path: &str) -> Self {
        Self::made(name, path, 0)
    }

    /// A model of `test_models` with an unknown kind of vocabulary.
    pub fn without_vocabulary(name: &'static str) -> Self {
        let mut bytes = file(name, &format!("../../test_models/{name}.gguf")).to_vec();
        let key = b"tokenizer.ggml.model";
        let place = bytes.windows(key.len()).position(|bytes| bytes == key).unwrap();
        // Behind the key are the type and the length of the text.
        bytes[place + key.len() + 4 + 8] = b'x';
        Self::of(name, bytes.leak(), 0, N_CTX)
    }

    /// The smallest model of `test_models`, with some metadata replaced or added, and room for 4096 positions.
    pub fn with_metadata(name: &'static str, changes: &[(&str, Value<'_>)]) -> Self {
        let room = [("llama.context_length", Value::U32(4096))];
        Self::changed(name, "../../test_models/micro.gguf", &[&room, changes].concat(), 4096)
    }

    /// The model in this file, by its path relative to this crate, with some metadata replaced or added.
    pub fn changed(
        name: &'static str,
        path: &'static str,
        changes: &[(&str, Value<'_>)],
        n_ctx: usize,
    ) -> Self {
        let bytes = file(path, path);
        let gguf = Gguf::parse(bytes, bytes.len() as u64).unwrap();
        let changes = || changes.iter();
        let keeps = |key: &str| changes().all(|(changed, _)| *changed != key);
        let changed = broken_gguf::with_metadata(&gguf, &keeps, &mut |writer| {
            changes().for_each(|(key, value)| writer.put(key, *value).unwrap());
        });
        Self::of(name, changed.leak(), 0, n_ctx)
    }

    /// A model of `test_models` of family llama, changed as if it had been trained for more positions.
    pub fn longer(name: &'static str, n_ctx: u32) -> Self {
        let mut bytes = file(name, &format!("../../test_models/{name}.gguf")).to_vec();
        let key = b"llama.context_length";
        let place = bytes.windows(key.len()).position(|bytes| bytes == key).unwrap();
        // Behind the key is the type.
        bytes[place + key.len() + 4..][..4].copy_from_slice(&n_ctx.to_le_bytes());
        Self::of(name, bytes.leak(), 0, n_ctx as usize)
    }

    /// A model of `test_models` with adapters, which change nothing unless a request selects them.
    pub fn adapted(name: &'static str, n_adapters: usize) -> Self {
        Self::made(name, &format!("../../test_models/{name}.gguf"), n_adapters)
    }

    fn made(name: &'static str, path: &str, n_adapters: usize) -> Self {
        Self::of(name, file(name, path), n_adapters, N_CTX)
    }

    fn of(name: &'static str, bytes: &'static [u8], n_adapters: usize, n_ctx: usize) -> Self {
        let gguf = Gguf::parse(bytes, bytes.len() as u64).unwrap();
        let model = llm::model::Model::load(&gguf, ModelBytes::as_in_file(bytes)).unwrap();
        let n_ctx = n_ctx.min(model.config().n_ctx_train);
        let options = RunnerOptions {
            state: StateOptions {
                n_slots: N_SLOTS,
                n_ctx,
                n_pages: StateOptions::pages_of(n_ctx) * N_SLOTS,
                kv_type: KvType::F16,
                finds_prefixes: true,
                n_checkpoints: 0,
                own_checkpoints: false,
            },
            n_batch: 64,
            n_logits: N_SLOTS,
            precision: Precision::Quantized,
        };
        let len = Runner::required_bytes(model.config(), &options).unwrap();
        let memory: &'static mut [u8] = vec![0; len + 64].leak();
        let start = memory.as_ptr().align_offset(64);
        let memory = &mut memory[start..start + len];
        let mut runner = Runner::new(model, options, Kernels::detect(), &Serial, memory).unwrap();
        let tensor = gguf.tensor_index("blk.0.attn_output.weight").unwrap();
        let [n_cols, n_rows, ..] = gguf.tensors()[tensor].dims.map(|dim| dim as usize);
        let adapters = (0..n_adapters).map(|index| {
            // As large as the stream, in a direction of its own.
            let a = (0..n_cols).map(|i| (i % (index + 3)) as f32 - 1.0);
            let b = (0..n_rows).map(|i| (i % (index + 5)) as f32 - 2.0);
            let floats: Vec<f32> = a.chain(b).collect();
            let (a, b) = (0..n_cols, n_cols..n_cols + n_rows);
            let low_rank = LowRank { tensor, a, b, rank: 1, n_cols, n_rows, scale: 1.0 };
            let name = format!("adapter-{index}.gguf");
            LowRanks { name, list: vec![low_rank], floats: Box::new(floats) }
        });
        runner.set_adapters(adapters.collect(), vec![0.0; n_adapters]).unwrap();
        let prompter = Prompter::new(gguf).unwrap();
        let responder = Responder::new(prompter, runner, N_WAITING).unwrap();
        let info = ModelInfo::of(name, &format!("/models/{name}.gguf"), &responder);
        Self { responder, info }
    }

    /// The same with another name.
    pub fn called(mut self, name: &str) -> Self {
        self.info.name = name.to_owned();
        self
    }
}

impl Model for TestModel {
    fn record(&mut self) -> Result<receipt::Model<'static>, String> {
        let name = self.info.name.clone().into();
        Ok(receipt::Model { adapters: Vec::new(), files: Vec::new(), name })
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn responder(&self) -> &Responder<'_> {
        &self.responder
    }

    fn with_responder<R>(&mut self, work: impl FnOnce(&mut Responder<'_>) -> R) -> R {
        work(&mut self.responder)
    }
}

/// The models, and the number of texts that they were given for vectors.
pub struct TestEngine {
    pub models: Models<TestModel>,
    pub n_embeddings: usize,
    /// Names and paths of models that can be loaded.
    pub files: Vec<(String, String)>,
    /// Whether models say what a request [dictates](TestEngine::told).
    pub is_told: bool,
    /// The parser of these answers.
    parsers: Vec<(Ticket, Parser)>,
}

impl TestEngine {
    /// The text that a request dictates: what follows the line `Say:` in the last message of the user, or the result of the tool if that
    /// was the last message.
    fn told(prompt: &Prompt<'_>) -> Option<String> {
        let Prompt::Messages(messages, _) = prompt else { return None };
        let last = messages.iter().rfind(|message| matches!(message.role, "user" | "tool"))?;
        let content = last.content.strip_suffix('\n').unwrap_or(last.content);
        match last.role {
            "tool" => Some(content.to_owned()),
            _ => content.split_once("Say:\n").map(|(_, told)| told.to_owned()),
        }
    }

    /// Makes a model say this. A grammar leaves it no choice. The text is parsed here, because a grammar for the whole answer, with its
    /// marks, is not something that a conversation can have.
    fn submit_told(
        &mut self,
        model: Option<&str>,
        request: Request<'_>,
        told: &str,
    ) -> Result<Ticket, EngineError> {
        let Prompt::Messages(messages, chat) = request.prompt else { panic!("no conversation") };
        let prompter = self.models.responder(model)?.prompter();
        let tokenizer = prompter.tokenizer().unwrap();
        let template = ChatTemplate::from_gguf(prompter.gguf(), tokenizer).unwrap();
        let ChatFormat { enable_thinking, reasoning_effort, tools, .. } = chat;
        let conversation =
            Conversation { tools, enable_thinking, reasoning_effort, ..Conversation::new(messages) };
        let mut ids = Vec::new();
        let mut format = template.encode(tokenizer, &conversation, &mut ids).map_err(FrontError::Chat)?;
        format.starts_open &= format.reasoning.is_some_and(|marks| told.contains(marks.close));
        let parser = llm::chat::parser(format, tools).map_err(FrontError::Chat)?;
        let grammar = format!("root ::= {}", serde_json::to_string(told).unwrap());
        let grammar = Some(AnswerGrammar::Gbnf(&grammar));
        let request = Request { prompt: Prompt::Ids(&ids), grammar, tell_apart: false, ..request };
        let ticket = self.models.submit(model, request)?;
        self.parsers.push((ticket, parser));
        Ok(ticket)
    }

    /// Passes on an event; a dictated text is passed on in its parsed parts.
    fn tell(
        parsers: &mut [(Ticket, Parser)],
        ticket: Ticket,
        event: &Event<'_>,
        on_event: &mut dyn FnMut(&Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some((_, parser)) = parsers.iter_mut().find(|(known, _)| *known == ticket) else {
            return on_event(event);
        };
        let is_end = matches!(event, Event::Finished { .. });
        let mut told = if is_end { ControlFlow::Continue(()) } else { on_event(event) };
        let mut on_part = |part: Part<'_>| told = on_event(&Event::Part(part));
        parser.push(event.text(), &mut on_part).unwrap();
        if is_end {
            parser.finish(&mut on_part).unwrap();
            told = on_event(event);
        }
        told
    }
}

impl Deref for TestEngine {
    type Target = Models<TestModel>;

    fn deref(&self) -> &Self::Target {
        &self.models
    }
}

impl DerefMut for TestEngine {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.models
    }
}

impl Engine for TestEngine {
    type Ticket = Ticket;

    fn each_model(&self, tell: &mut dyn FnMut(ModelInfo)) {
        self.models.each_model(tell);
    }

    fn each_file(&mut self, tell: &mut dyn FnMut(&str, &str)) {
        self.files.iter().for_each(|(name, path)| tell(name, path));
    }

    fn status(&self) -> EngineStatus {
        self.models.status()
    }

    fn id(&self, model: Option<&str>) -> Result<u64, EngineError> {
        self.models.id(model)
    }

    fn submit(&mut self, model: Option<&str>, request: Request<'_>) -> Result<Ticket, EngineError> {
        match Self::told(&request.prompt).filter(|_| self.is_told) {
            Some(told) => self.submit_told(model, request, &told),
            None => self.models.submit(model, request),
        }
    }

    fn submit_embedding(
        &mut self,
        model: Option<&str>,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<Ticket, EngineError> {
        let ticket = self.models.submit_embedding(model, prompt, wish)?;
        self.n_embeddings += 1;
        Ok(ticket)
    }

    fn record(&mut self, model: Option<&str>) -> Result<receipt::Model<'static>, EngineError> {
        self.models.record(model)
    }

    fn cancel(&mut self, ticket: Ticket) -> Option<Report> {
        self.models.cancel(ticket)
    }

    fn responder(&self, model: Option<&str>) -> Result<&Responder<'_>, EngineError> {
        self.models.responder(model)
    }

    fn render(
        &mut self,
        model: Option<&str>,
        messages: &[Message<'_>],
        format: &ChatFormat<'_>,
    ) -> Result<String, EngineError> {
        self.models.render(model, messages, format)
    }
}

/// A server, the engine that computes for it, and the time.
pub struct Harness {
    pub server: Server<Ticket>,
    pub engine: TestEngine,
    pub now_us: u64,
}

/// The key that signs receipts.
pub fn notary() -> Notary {
    let maker = Maker { image_sha256: None, program: "test".into() };
    Notary::new([3; 32], false, maker, PORTABLE)
}

pub fn settings() -> Settings {
    Settings {
        limits: Limits::default(),
        max_connections: 24,
        keys: serve::Keys::default(),
        admin: false,
        start_unix_s: Some(1_700_000_000),
        nonce: 0xfe,
        notary: Some(std::rc::Rc::new(notary())),
        secret: || Some([9; 32]),
        sealed_only: false,
        speculate: 0,
        random: || 7,
        is_memory_low: || false,
    }
}

impl Default for Harness {
    fn default() -> Self {
        Self::new(settings())
    }
}

impl Harness {
    /// A server of the smallest model, which has no chat format.
    pub fn new(settings: Settings) -> Self {
        Self {
            server: Server::new(settings, 1).unwrap(),
            engine: TestEngine {
                models: Models::new(clock_us),
                n_embeddings: 0,
                files: Vec::new(),
                is_told: false,
                parsers: Vec::new(),
            },
            now_us: 1,
        }
        .with(TestModel::new("micro"))
    }

    /// A server of a model that has a chat format.
    pub fn with_chat() -> Self {
        let mut harness = Self::default();
        harness.engine.remove(None).unwrap();
        harness.with(TestModel::new("tiny"))
    }

    /// The same with room for long conversations.
    pub fn with_long_chat() -> Self {
        let mut harness = Self::default();
        harness.engine.remove(None).unwrap();
        harness.with(TestModel::longer("tiny", 1024))
    }

    /// A server of a model with this template, which says what a request dictates.
    pub fn told(template: &str) -> Self {
        Self::all_told(vec![("told".to_owned(), template.to_owned())])
    }

    /// A server of models with these names and templates, which say what a request dictates.
    pub fn all_told(templates: Vec<(String, String)>) -> Self {
        let mut harness = Self::default();
        harness.engine.remove(None).unwrap();
        harness.engine.is_told = true;
        templates.into_iter().fold(harness, |harness, (name, template)| {
            let template = [("tokenizer.chat_template", Value::String(template.as_str().into()))];
            harness.with(TestModel::with_metadata(name.leak(), &template))
        })
    }

    /// The same with another model.
    pub fn with(mut self, model: TestModel) -> Self {
        self.engine.add(model);
        self
    }

    /// The text that the engine generates without a server.
    pub fn alone(&mut self, request: Request<'_>) -> Report {
        let model = self.engine.get_mut(None).unwrap();
        let go_on = &mut |_: Event<'_>| ControlFlow::Continue(());
        model.with_responder(|responder| responder.generate(request, clock_us, go_on)).unwrap()
    }

    /// The responder of the first model.
    pub fn responder(&self) -> &Responder<'_> {
        self.engine.responder(None).unwrap()
    }

    pub fn connect(&mut self) -> ConnectionId {
        self.server.accept(self.now_us).expect("no room for a connection")
    }

    /// Has the engine compute one batch; returns whether there was something to compute.
    pub fn step(&mut self) -> bool {
        self.server.serve(&mut self.engine, self.now_us);
        let Self { server, engine, now_us } = self;
        let TestEngine { models, parsers, .. } = engine;
        let step = models.step(&mut || ControlFlow::Continue(()), &mut |ticket, event| {
            TestEngine::tell(parsers, ticket, &event, &mut |event| server.event(ticket, event, *now_us))
        });
        step.unwrap() > 0 || !engine.models.is_idle()
    }

    /// Takes the bytes to be sent on a connection.
    pub fn take(&mut self, id: ConnectionId) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !self.server.unsent(id).is_empty() {
            let unsent = self.server.unsent(id).to_vec();
            bytes.extend_from_slice(&unsent);
            self.server.sent(id, unsent.len(), self.now_us);
        }
        bytes
    }

    /// Sends bytes on a connection, in these pieces, and returns the whole answer.
    pub fn exchange(&mut self, id: ConnectionId, pieces: &[&[u8]]) -> Vec<u8> {
        let mut answer = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let n_taken = self.server.receive(id, rest, self.now_us);
                rest = &rest[n_taken..];
                answer.extend(self.take(id));
                if n_taken == 0 {
                    self.step();
                    answer.extend(self.take(id));
                }
            }
        }
        while self.step() || !self.server.unsent(id).is_empty() {
            answer.extend(self.take(id));
        }
        answer.extend(self.take(id));
        answer
    }

    /// Sends a request that does not need the engine; returns the immediate answer.
    pub fn exchange_now(&mut self, id: ConnectionId, request: &[u8]) -> String {
        assert_eq!(self.server.receive(id, request, self.now_us), request.len());
        String::from_utf8(self.take(id)).unwrap()
    }

    /// The same on a new connection.
    pub fn exchange_all(mut self, pieces: &[&[u8]]) -> Vec<u8> {
        let id = self.connect();
        self.exchange(id, pieces)
    }

    /// Sends a request on a new connection and returns the answer.
    pub fn ask(&mut self, request: &[u8]) -> String {
        let id = self.connect();
        let answer = self.exchange(id, &[request]);
        self.server.remove(id);
        String::from_utf8(answer).unwrap()
    }

    /// Gets a path; returns the status and the body of the answer.
    pub fn get(&mut self, path: &str) -> (u16, serde_json::Value) {
        let answer = self.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").expect("no end of a head");
        (status(head), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// Posts JSON; returns the status and the body of the answer.
    pub fn post(&mut self, path: &str, body: &str) -> (u16, serde_json::Value) {
        let answer = self.ask(post(path, body).as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").expect("no end of a head");
        (status(head), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// The same for named events, whose data repeats the name.
    pub fn named_stream(&mut self, path: &str, body: &str) -> Vec<serde_json::Value> {
        let answer = self.ask(post(path, body).as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(status(head), 200, "{answer}");
        let text = String::from_utf8(unchunked(body.as_bytes())).unwrap();
        let events = text.split("\n\n").filter(|event| !event.is_empty());
        events
            .map(|event| {
                let (name, data) = event.split_once('\n').expect(event);
                let data: serde_json::Value =
                    serde_json::from_str(data.strip_prefix("data: ").expect(event)).expect(event);
                assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{event}");
                data
            })
            .collect()
    }

    /// Posts JSON that requests a stream; returns the data of its events.
    pub fn stream(&mut self, path: &str, body: &str) -> Vec<String> {
        let answer = self.ask(post(path, body).as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(status(head), 200, "{answer}");
        assert!(head.contains("Content-Type: text/event-stream"), "{head}");
        let text = String::from_utf8(unchunked(body.as_bytes())).unwrap();
        let events = text.split("\n\n").filter(|event| !event.is_empty());
        events.map(|event| event.strip_prefix("data: ").expect(event).to_owned()).collect()
    }
}

/// The golden templates, with their names.
pub fn templates() -> Vec<(String, String)> {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../llm/tests/golden/chat_tools.json")).unwrap();
    let templates = golden["templates"].as_array().unwrap().iter();
    templates
        .map(|template| ["name", "template"].map(|key| template[key].as_str().unwrap().to_owned()).into())
        .collect()
}

/// The template with this name.
pub fn template(name: &str) -> String {
    templates().into_iter().find(|(known, _)| known == name).expect(name).1
}

/// A request with a JSON body.
pub fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: ferrite\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The status in a head.
pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {head:?}"))
}

/// The statuses of consecutive answers.
pub fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    text.match_indices("HTTP/1.1 ").map(|(at, _)| status(&text[at..])).collect()
}
