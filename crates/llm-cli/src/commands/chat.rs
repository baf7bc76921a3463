//! `llm chat`: a conversation with a model.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use llm::chat::Dialogue;
use llm::front::options::CHAT_MAX_TOKENS;
use llm::front::{ChatFormat, MAX_WAITING, Prompt, Report, Request, Responder, Wanted};

use crate::chat_format::ChatArguments;
use crate::complain;
use crate::engine::{EngineArguments, EngineMemory, clock_us};
use crate::generation::{GenerationArguments, LogprobArguments, Output, max_tokens, tell};
use crate::interrupt;

/// Talk with a model: each line is a message, to which it answers.
///
/// At a terminal, /clear begins a new conversation, /quit or the end of input ends the program, and
/// Ctrl-C ends an answer. From a pipe, each line is a message and only answers are printed. The answers are
/// the likeliest ones unless --temp or its like says otherwise. Once the context is full, the oldest messages are
/// forgotten, but not --system.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    /// Ask only this, and print the answer.
    #[arg(value_name = "MESSAGE")]
    message: Option<String>,

    #[arg(value_name = "N", hide = true, conflicts_with = "n", allow_negative_numbers = true, value_parser = max_tokens)]
    n_argument: Option<usize>,

    #[command(flatten)]
    format: ChatArguments,

    #[command(flatten)]
    generation: GenerationArguments,

    #[command(flatten)]
    logprobs: LogprobArguments,

    #[command(flatten)]
    engine: EngineArguments,
}

/// The default context length, if the model supports as much.
const DEFAULT_N_CTX: usize = 4096;

const HELP: &str = "/clear begins a new conversation, /quit ends the program, Ctrl-C ends an answer.";

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let n = arguments.generation.max_tokens().or(arguments.n_argument);
    let logprobs = arguments.logprobs.wish()?;
    let wanted = Wanted { logprobs, ..arguments.generation.wanted(n.unwrap_or(CHAT_MAX_TOKENS))? };
    let opened = arguments.engine.open(&arguments.model)?;
    let mut prompter = opened.prompter()?;
    prompter.prepare_chat(arguments.format.format().template)?;
    let model = opened.model(prompter.gguf())?;
    arguments.generation.show_weights(prompter.gguf(), opened.file.bytes());
    let options = arguments.engine.runner_options(model.config(), DEFAULT_N_CTX, wanted.speculate + 1, 1);
    let mut memory = EngineMemory::allocate(model.config(), &options)?;
    let mut responder = opened.responder(prompter, model, options, MAX_WAITING, &mut memory)?;
    let mut speaker = Speaker { responder: &mut responder, wanted, format: &arguments.format };

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
            Ok(report) => dialogue.answer(&report.output, report.format.unwrap_or_default())?,
            // At a terminal, a user can react to the error.
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

/// The model's side of the conversation.
struct Speaker<'s, 'm> {
    responder: &'s mut Responder<'m>,
    wanted: Wanted<'s>,
    format: &'s ChatArguments,
}

impl Speaker<'_, '_> {
    /// Prints the model's answer, and returns it.
    fn answer(&mut self, dialogue: &mut Dialogue) -> Result<Report> {
        let format: ChatFormat<'_> = self.format.format();
        let request = Request { tell_apart: true, ..self.wanted.request(Prompt::Chat(dialogue, format)) };
        let listening = interrupt::while_answering();
        let mut output = Output::told_apart();
        let report = self.responder.generate(request, clock_us, &mut |event| {
            output.show(&event)?;
            match listening.is_interrupted() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        output.finish()?;
        tell(&self.wanted, &report, self.responder.runner().options().state.n_ctx);
        Ok(report)
    }
}
