//! `llm serve`: a model behind an OpenAI-compatible HTTP API.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{ArgAction, Args};
use llm::front::options::MAX_SPECULATED;
use llm::front::{FrontError, MAX_WAITING};
use llm::model::Config;
use llm::parallel::Serial;
use llm::session::SessionError;
use llm::simd::Kernels;
use serve::error::Status;
use serve::models::Ticket;
use serve::{ApiError, Change, ChangeId, Keys, Limits, Models, Server, Settings};

use crate::complain;
use crate::engine::{EngineArguments, Opened, clock_us, n_texts};
use crate::model_file::ModelFile;
use crate::receipts::notary;
use crate::served_model::ServedModel;
use crate::sockets::Sockets;
use crate::thread_pool::{ThreadPool, meanwhile};

/// Positions of a text by default, if the model has as many.
const N_CTX: usize = 4096;

/// How many texts are computed together by default.
const N_PARALLEL: usize = 4;

/// Most connections.
const MAX_CONNECTIONS: usize = 256;

/// How long to wait for events before the time limits are checked.
const IDLE: Duration = Duration::from_millis(100);

/// How long clients are left alone while a batch is computed.
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

    /// Texts computed together, 64 at most (default: 4)
    #[arg(long, visible_alias = "np", value_parser = n_texts, value_name = "N")]
    parallel: Option<usize>,

    /// A file of keys, of which requests must bring one as `Authorization: Bearer KEY`: one in each line, and behind it what it may use
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Let requests load models, by the paths of their files, and unload them
    #[arg(long)]
    admin: bool,

    /// A file with the key that receipts are signed by, and from which that of encrypted bodies follows, 64 hexadecimal digits; unless
    /// given, one is made at each start
    #[arg(long, value_name = "FILE")]
    receipt_key: Option<PathBuf>,

    /// Whether clients' texts are taken only in encrypted bodies (EHBP), or in plain ones too
    #[arg(long, action = ArgAction::Set, default_value = "allow", value_name = "allow|require", value_parser = sealed_only)]
    encrypted: bool,

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
    let keys = match &arguments.api_key_file {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Keys::parse(&text).with_context(|| path.display().to_string())?
        }
        None => Keys::default(),
    };
    let opened = arguments.engine.open(&arguments.model)?;
    let (sender, loaded) = channel();
    let mut host = Host {
        arguments,
        kernels: opened.kernels,
        workers: opened.workers.clone(),
        models: Models::new(clock_us),
        sender,
        loaded,
    };
    host.add(&arguments.model, opened)?;

    let settings = Settings {
        limits: Limits::default(),
        max_connections: MAX_CONNECTIONS,
        keys,
        admin: arguments.admin,
        start_unix_s: start_unix_s(),
        nonce: random(),
        notary: Some(Rc::new(notary(arguments.receipt_key.as_deref())?)),
        secret,
        sealed_only: arguments.encrypted,
        speculate: arguments.speculate,
        random,
        is_memory_low: || false,
    };
    let server = Server::new(settings, clock_us()).map_err(|error| anyhow::anyhow!(error.message))?;
    let address = SocketAddr::new(arguments.host, arguments.port);
    let sockets = Sockets::listen(address).with_context(|| format!("cannot listen at {address}"))?;
    let name = arguments.model.file_stem().unwrap_or_default().display();
    complain(&format!("{name} at http://{}", sockets.address()?));
    host.serve(server, sockets)
}

/// The sockets, and when they were last handled.
struct Door {
    server: Server<Ticket>,
    sockets: Sockets,
    /// When the sockets were last handled.
    looked_us: u64,
    /// The error that made the sockets unusable.
    lost: Option<io::Error>,
}

impl Door {
    /// Exchanges bytes with clients while a batch is computed.
    fn look(&mut self) {
        let now_us = clock_us();
        if now_us - self.looked_us >= LOOK_US {
            self.looked_us = now_us;
            self.lost = self.lost.take().or(self.sockets.exchange(&mut self.server, Duration::ZERO).err());
            self.server.check_time(now_us);
        }
    }
}

/// The change that asked for a model file, its path, and the file in memory or the error.
type Loaded = (ChangeId, PathBuf, Result<ModelFile>);

/// The models, and what is needed to load others.
struct Host<'a> {
    arguments: &'a Arguments,
    kernels: &'static Kernels,
    workers: Arc<ThreadPool>,
    models: Models<ServedModel>,
    sender: Sender<Loaded>,
    loaded: Receiver<Loaded>,
}

impl Host<'_> {
    /// Serves until the program is ended.
    fn serve(&mut self, server: Server<Ticket>, sockets: Sockets) -> Result<()> {
        let door = Rc::new(RefCell::new(Door { server, sockets, looked_us: clock_us(), lost: None }));
        let beside = door.clone();
        meanwhile(move || {
            // If it is already borrowed, the borrower is about to exchange bytes anyway.
            if let Ok(mut door) = beside.try_borrow_mut() {
                door.look();
            }
        });
        loop {
            let is_idle = self.models.is_idle();
            let timeout = if is_idle { IDLE } else { Duration::ZERO };
            {
                let Door { server, sockets, .. } = &mut *door.borrow_mut();
                sockets.exchange(server, timeout)?;
                server.check_time(clock_us());
                server.serve(&mut self.models, clock_us());
                self.make_changes(server);
            }
            let stepped = self.models.step(
                &mut || {
                    let mut door = door.borrow_mut();
                    door.look();
                    match door.lost.is_some() || !door.server.is_generating() {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                },
                &mut |ticket, event| door.borrow_mut().server.event(ticket, &event, clock_us()),
            );
            if let Some(error) = door.borrow_mut().lost.take() {
                return Err(error.into());
            }
            match stepped {
                // Nobody wants the results any more.
                Ok(_) | Err(FrontError::Session(SessionError::Stopped)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Begins the changes of models that clients ask for, and finishes those that have been made.
    fn make_changes(&mut self, server: &mut Server<Ticket>) {
        while let Some((id, change)) = server.next_change() {
            match change {
                Change::Unload(name) => {
                    let removed = self.models.remove(Some(&name)).map_err(ApiError::from);
                    server.changed(id, removed, clock_us());
                }
                Change::Load(path) => {
                    if let Err(error) = self.load(id, path.into()) {
                        let refused = ApiError::new(
                            Status::ServiceUnavailable,
                            format!("cannot start a thread: {error}"),
                        );
                        server.changed(id, Err(refused), clock_us());
                    }
                }
            }
        }
        for (id, path, file) in self.loaded.try_iter().collect::<Vec<_>>() {
            if !server.is_wanted(id) {
                continue;
            }
            let added = file.and_then(|file| {
                let (kernels, workers) = (self.kernels, self.workers.clone());
                self.add(&path, Opened::without_adapters(file, kernels, workers))
            });
            let refused = |error| ApiError::field("model", format!("{error:#}"));
            server.changed(id, added.map_err(refused), clock_us());
        }
    }

    /// Reads a model on a separate thread, so that the other models can answer meanwhile.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    fn load(&self, id: ChangeId, path: PathBuf) -> io::Result<()> {
        let (kernels, sender) = (self.kernels, self.sender.clone());
        let read = move || {
            let file = ModelFile::open(&path).and_then(|mut file| {
                file.pack(kernels, &Serial)?;
                Ok(file)
            });
            // If the program ends, nobody receives this any more.
            let _ = sender.send((id, path, file));
        };
        thread::Builder::new().name("load".into()).spawn(read).map(drop)
    }

    /// Adds a model.
    fn add(&mut self, path: &Path, opened: Opened) -> Result<()> {
        let Arguments { engine, parallel, speculate, .. } = self.arguments;
        let n_slots = parallel.unwrap_or(N_PARALLEL);
        let n_logits = n_slots * (speculate + 1);
        let options = |config: &Config| engine.runner_options(config, N_CTX, n_logits, n_slots);
        self.models.add(ServedModel::new(path, opened, options, MAX_WAITING)?);
        Ok(())
    }
}

/// The time at which this program's clock showed 0.
fn start_unix_s() -> Option<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(now.as_secs().saturating_sub(clock_us() / 1_000_000))
}

/// An unpredictable number.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| clock_us())
}

/// Unpredictable random numbers.
fn secret() -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).ok()?;
    Some(secret)
}

/// Parses the value of `--encrypted`.
fn sealed_only(word: &str) -> Result<bool, &'static str> {
    match word {
        "allow" => Ok(false),
        "require" => Ok(true),
        _ => Err("expected allow or require"),
    }
}

/// Writes log messages to standard error.
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
