//! `llm chat`: a conversation.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::Args;
use llm::chat::{Dialogue, Room};
use llm::model::Model;
use llm::sampling::Sampler;
use llm::session::{FinishReason, Session, SessionError, Step};
use llm::tokenizer::Tokenizer;

use crate::chat_format::{ChatArguments, ChatFormat};
use crate::complain;
use crate::engine::{EngineArguments, SessionMemory};
use crate::model_file::ModelFile;
use crate::sampling::{SamplingArguments, max_tokens};

/// Talk with a model: each line is a message, to which it answers.
///
/// At a terminal, /clear begins a new conversation, /quit or the end of input ends the program, and
/// Ctrl-C ends an answer. From a pipe, each line is a message and only answers are printed. The answers are
/// the likeliest ones unless --temp or its like says otherwise. Once the context is full, the oldest messages are
/// forgotten, but not --system.
#[derive(Args)]
pub struct Arguments {
    /// The model, a GGUF file.
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,

    /// Ask only this, and print the answer.
    #[arg(value_name = "MESSAGE")]
    message: Option<String>,

    /// Tokens of an answer at most; may be given as an argument behind MESSAGE [default: -1, what the context has room
    /// for].
    #[arg(short, long = "max-tokens", aliases = ["predict", "n-predict"], value_name = "N", allow_negative_numbers = true, value_parser = max_tokens)]
    n: Option<usize>,

    #[arg(value_name = "N", hide = true, conflicts_with = "n", allow_negative_numbers = true, value_parser = max_tokens)]
    n_argument: Option<usize>,

    /// End an answer at this text, which is not printed, or at the token of this name; may be given several
    /// times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,

    #[command(flatten)]
    format: ChatArguments,

    #[command(flatten)]
    sampling: SamplingArguments,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Context length unless told, if the model has as much.
const DEFAULT_N_CTX: usize = 4096;

const HELP: &str = "/clear begins a new conversation, /quit ends the program, Ctrl-C ends an answer.";

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let workers = arguments.engine.workers()?;
    let kernels = arguments.engine.kernels()?;
    let mut file = ModelFile::open(&arguments.model)?;
    file.pack(kernels, &workers)?;
    let gguf = file.gguf()?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let format = arguments.format.format(&gguf, &tokenizer)?;
    let model = Model::load(&gguf)?;
    let options = arguments.engine.session_options(model.config(), DEFAULT_N_CTX, 1);
    let mut memory = SessionMemory::allocate(model.config(), &options)?;
    let sampler = Sampler::new(arguments.sampling.config(options.n_ctx)?, model.config().n_vocab)?;
    let session = Session::new(model, options, kernels, &workers, memory.as_mut_slice())?;
    let max_tokens = arguments.n.or(arguments.n_argument).unwrap_or(usize::MAX);
    let stop: Vec<&str> = arguments.stop.iter().map(String::as_str).collect();
    let mut speaker = Speaker { session, tokenizer: &tokenizer, sampler, format, max_tokens, stop: &stop };

    if let Some(message) = &arguments.message {
        let mut dialogue = arguments.format.dialogue()?;
        dialogue.ask(message)?;
        speaker.answer(&mut dialogue)?;
        return Ok(());
    }
    let is_terminal = stdin().is_terminal();
    if is_terminal {
        interrupt::listen()?;
        println!("{HELP}");
    }
    let mut dialogue = arguments.format.dialogue()?;
    let mut line = String::new();
    loop {
        if is_terminal {
            print!("> ");
            stdout().flush()?;
        }
        line.clear();
        if stdin().lock().read_line(&mut line).context("cannot read standard input")? == 0 {
            break;
        }
        match line.trim() {
            "" => continue,
            "/quit" | "/exit" | "/bye" => break,
            "/clear" => {
                dialogue = arguments.format.dialogue()?;
                continue;
            }
            "/help" if is_terminal => {
                println!("{HELP}");
                continue;
            }
            message => dialogue.ask(message)?,
        }
        match speaker.answer(&mut dialogue) {
            Ok(answer) => dialogue.answer(&answer)?,
            // At a terminal, there is somebody who can do something about it.
            Err(error) if is_terminal => {
                complain(&format!("{error:#} (/clear begins a new conversation)"));
                dialogue.take_back();
            }
            Err(error) => return Err(error),
        }
    }
    if is_terminal {
        println!();
    }
    Ok(())
}

/// What answers.
struct Speaker<'m> {
    session: Session<'m>,
    tokenizer: &'m Tokenizer<'m>,
    sampler: Sampler,
    format: ChatFormat,
    max_tokens: usize,
    stop: &'m [&'m str],
}

impl Speaker<'_> {
    /// Prints the model's answer, and returns it.
    fn answer(&mut self, dialogue: &mut Dialogue) -> Result<String> {
        let mut prompt = Vec::new();
        let n_ctx = self.session.options().n_ctx;
        let room = Room { n_ctx, max_tokens: self.max_tokens };
        if let Some(forgotten) = self.format.encode(self.tokenizer, dialogue, room, &mut prompt)? {
            complain(&forgotten.to_string());
        }
        self.session.keep_beginning_of(&prompt);
        let listening = interrupt::while_answering();
        let go_on = &mut || match listening.is_interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let generation = self.session.resume(
            self.tokenizer,
            &mut self.sampler,
            &prompt,
            self.max_tokens,
            self.stop,
            go_on,
        );
        if let Err(SessionError::Stopped) = generation {
            println!();
            return Ok(String::new());
        }
        let mut generation = generation?;
        let mut output = stdout().lock();
        let mut answer = String::new();
        let reason = loop {
            let (text, reason) = match generation.step()? {
                Step::Token { text, .. } => (text, None),
                Step::Finished { reason, text } => (text, Some(reason)),
            };
            output.write_all(text.as_bytes())?;
            output.flush()?;
            answer.push_str(text);
            if reason.is_some() || listening.is_interrupted() {
                break reason;
            }
        };
        writeln!(output)?;
        if reason == Some(FinishReason::ContextFull) {
            complain(&format!("stopped, since the context of {n_ctx} tokens is full"));
        }
        Ok(answer)
    }
}

/// Ctrl-C, which ends an answer while there is one and the program otherwise.
mod interrupt {
    use super::{AtomicBool, Context, Ordering, Result};

    static ANSWERING: AtomicBool = AtomicBool::new(false);
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);

    /// Exit status of a program that Ctrl-C ended, as shells give it.
    const STATUS: i32 = 130;

    pub fn listen() -> Result<()> {
        let handler = || {
            // A second one means that the first took too long.
            if !ANSWERING.load(Ordering::Relaxed) || INTERRUPTED.swap(true, Ordering::Relaxed) {
                std::process::exit(STATUS);
            }
        };
        ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")
    }

    pub struct Answering;

    pub fn while_answering() -> Answering {
        INTERRUPTED.store(false, Ordering::Relaxed);
        ANSWERING.store(true, Ordering::Relaxed);
        Answering
    }

    impl Answering {
        pub fn is_interrupted(&self) -> bool {
            INTERRUPTED.load(Ordering::Relaxed)
        }
    }

    impl Drop for Answering {
        fn drop(&mut self) {
            ANSWERING.store(false, Ordering::Relaxed);
        }
    }
}
