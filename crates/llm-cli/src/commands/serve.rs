//! `llm serve`: a model behind an OpenAI-compatible HTTP API.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;
use llm::front::embedding::Embedding;
use llm::front::options::MAX_SPECULATED;
use llm::front::{FrontError, MAX_WAITING, Prompt, Report, Request, RequestId, Responder};
use llm::session::SessionError;
use llm::tokenizer::Tokenizer;
use serve::{Engine, EngineError, EngineStatus, Limits, ModelInfo, Server, Settings};

use crate::complain;
use crate::engine::{EngineArguments, EngineMemory, clock_us, n_texts};
use crate::sockets::Sockets;
use crate::thread_pool::meanwhile;

/// Positions of a text unless told, if the model has as many.
const N_CTX: usize = 4096;

/// Texts that are computed together unless told.
const N_PARALLEL: usize = 4;

/// Most connections.
const MAX_CONNECTIONS: usize = 256;

/// How long nothing has to happen before the clock is looked at.
const IDLE: Duration = Duration::from_millis(100);

/// How long clients are not looked at while a batch is computed.
const LOOK_US: u64 = 1_000;

/// Serve a model over HTTP, as OpenAI's clients ask for it.
///
/// POST /v1/chat/completions answers a conversation, POST /v1/completions continues a text; with "stream": true the text comes as it is
/// generated. GET /v1/models, /health and /metrics tell about the server; /completion, /tokenize and /detokenize are those of
/// llama.cpp's server. Requests are answered together, each as it would be alone. One line for each is written to standard error.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    /// Address to listen at; 0.0.0.0 for all of this machine
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,

    /// Port to listen at; 0 for any that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// Texts that are computed together, 64 at most; 4 unless told
    #[arg(long, visible_alias = "np", value_parser = n_texts, value_name = "N")]
    parallel: Option<usize>,

    /// A file whose first line is the key that requests must bring as `Authorization: Bearer KEY`
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Tokens that are guessed at a time, 8 at most: same text, sooner
    #[arg(long, default_value_t = 0, value_name = "N", hide_default_value = true)]
    speculate: usize,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    if log::set_logger(&AccessLog).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
    if arguments.speculate > MAX_SPECULATED {
        bail!("--speculate is {}, but must be up to {MAX_SPECULATED}", arguments.speculate);
    }
    let api_key = arguments.api_key_file.as_ref().map(|path| {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        match Settings::key_in(&text) {
            Some(key) => Ok(key.to_owned()),
            None => bail!("{} has no key in its first line", path.display()),
        }
    });
    let api_key = api_key.transpose()?;
    let opened = arguments.engine.open(&arguments.model)?;
    let prompter = opened.prompter()?;
    let model = opened.model(prompter.gguf())?;
    let n_slots = arguments.parallel.unwrap_or(N_PARALLEL);
    let n_logits = n_slots * (arguments.speculate + 1);
    let options = arguments.engine.runner_options(model.config(), N_CTX, n_logits, n_slots);
    let config = model.config();
    let info = ModelInfo {
        name: arguments.model.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        n_ctx: options.state.n_ctx,
        n_ctx_train: config.n_ctx_train,
        n_vocab: config.n_vocab,
        n_embd: config.n_embd,
        n_params: prompter.gguf().tensors().iter().map(|tensor| tensor.n_elements()).sum(),
        size_bytes: prompter.gguf().tensors().iter().map(|tensor| tensor.size_bytes).sum(),
        n_slots,
    };
    let mut memory = EngineMemory::allocate(config, &options)?;
    let mut engine =
        HostEngine { responder: opened.responder(prompter, model, options, MAX_WAITING, &mut memory)?, info };

    let settings = Settings {
        limits: Limits::default(),
        max_connections: MAX_CONNECTIONS,
        api_key,
        start_unix_s: start_unix_s(),
        nonce: random(),
        speculate: arguments.speculate,
        random,
    };
    let server = Server::new(settings).map_err(|error| anyhow::anyhow!(error.message))?;
    let address = SocketAddr::new(arguments.host, arguments.port);
    let sockets = Sockets::listen(address).with_context(|| format!("cannot listen at {address}"))?;
    complain(&format!("{} at http://{}", engine.info.name, sockets.address()?));
    serve(&mut engine, server, sockets)
}

/// Serves until the program is ended.
fn serve(engine: &mut HostEngine<'_>, server: Server<RequestId>, sockets: Sockets) -> Result<()> {
    let door = Rc::new(RefCell::new(Door { server, sockets, looked_us: clock_us(), lost: None }));
    let beside = door.clone();
    meanwhile(move || {
        // Who has borrowed it is about to exchange anyway.
        if let Ok(mut door) = beside.try_borrow_mut() {
            door.look();
        }
    });
    loop {
        let is_idle = engine.responder.is_idle() && !door.borrow().server.is_embedding();
        let timeout = if is_idle { IDLE } else { Duration::ZERO };
        {
            let Door { server, sockets, .. } = &mut *door.borrow_mut();
            sockets.exchange(server, timeout)?;
            server.check_time(clock_us());
            server.serve(engine, clock_us());
        }
        let stepped = engine.responder.step(
            clock_us,
            &mut || {
                let mut door = door.borrow_mut();
                door.look();
                match door.lost.is_some() || !door.server.is_generating() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            },
            &mut |id, event| door.borrow_mut().server.event(id, &event, clock_us()),
        );
        if let Some(error) = door.borrow_mut().lost.take() {
            return Err(error.into());
        }
        match stepped {
            // All that was computed is wanted no more.
            Ok(_) | Err(FrontError::Session(SessionError::Stopped)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Where clients come and go.
struct Door {
    server: Server<RequestId>,
    sockets: Sockets,
    /// When it was looked at last.
    looked_us: u64,
    /// Why the sockets are no good any more.
    lost: Option<io::Error>,
}

impl Door {
    /// Lets clients come and go while a batch is computed.
    fn look(&mut self) {
        let now_us = clock_us();
        if now_us - self.looked_us >= LOOK_US {
            self.looked_us = now_us;
            self.lost = self.lost.take().or(self.sockets.exchange(&mut self.server, Duration::ZERO).err());
        }
    }
}

/// A model and what answers with it.
struct HostEngine<'m> {
    responder: Responder<'m>,
    info: ModelInfo,
}

impl Engine for HostEngine<'_> {
    type Ticket = RequestId;

    fn each_model(&self, tell: &mut dyn FnMut(ModelInfo)) {
        tell(self.info.clone());
    }

    fn status(&self) -> EngineStatus {
        let Some(scheduler) = self.responder.scheduler() else { return EngineStatus::default() };
        let counts = scheduler.counts();
        EngineStatus {
            n_running: scheduler.n_running(),
            n_waiting: scheduler.n_waiting(),
            n_pages: scheduler.n_pages(),
            n_used_pages: scheduler.n_used_pages(),
            n_prefix_hits: counts.n_prefix_hits,
            n_preempted: counts.n_preempted,
            ..EngineStatus::default()
        }
    }

    fn submit(&mut self, _model: Option<&str>, request: Request<'_>) -> Result<RequestId, EngineError> {
        Ok(self.responder.submit(request, clock_us)?)
    }

    fn embed(&mut self, _model: Option<&str>, prompt: &Prompt<'_>) -> Result<Embedding, EngineError> {
        Ok(self.responder.embed(prompt, &mut || ControlFlow::Continue(()))?)
    }

    fn cancel(&mut self, ticket: RequestId) -> Option<Report> {
        self.responder.cancel(ticket, clock_us)
    }

    fn tokenizer(&self, _model: Option<&str>) -> Result<&Tokenizer<'_>, EngineError> {
        Ok(self.responder.prompter().tokenizer())
    }
}

/// When this program's clock showed 0.
fn start_unix_s() -> Option<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(now.as_secs().saturating_sub(clock_us() / 1_000_000))
}

/// A number that nobody knows beforehand.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| clock_us())
}

/// Writes what is logged to standard error.
struct AccessLog;

impl log::Log for AccessLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info && metadata.target().starts_with("serve")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            complain(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}
