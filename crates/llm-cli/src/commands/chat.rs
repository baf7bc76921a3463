//! `llm chat`: a conversation with a model.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use llm::chat::{Dialogue, Transcript};
use llm::front::chat_commands::{self, Action, ChatStats, GREETING, Line, NOTHING_ANSWERED};
use llm::front::options::CHAT_MAX_TOKENS;
use llm::front::{ChatFormat, MAX_WAITING, Prompt, Report, Request, Responder, Wanted};
use llm::sampling::SamplingConfig;

use crate::chat_format::ChatArguments;
use crate::complain;
use crate::engine::{EngineArguments, EngineMemory, clock_us};
use crate::generation::{GenerationArguments, LogprobArguments, Output, max_tokens, tell};
use crate::interrupt;
use crate::output::write_whole;

/// Talk with a model: each line is a message, to which it answers.
///
/// At a terminal, /help lists the commands of the conversation, /quit or the end of input ends the program, and
/// Ctrl-C ends an answer. From a pipe, each line is a message or a command, only answers and what commands show
/// are printed, and the first error ends the program. The answers are
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

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let n = arguments.generation.max_tokens().or(arguments.n_argument);
    let logprobs = arguments.logprobs.wish()?;
    let wanted = Wanted { logprobs, ..arguments.generation.wanted(n.unwrap_or(CHAT_MAX_TOKENS))? };
    let mut conversation = Conversation {
        dialogue: arguments.format.dialogue()?,
        stats: ChatStats::default(),
        is_terminal: stdin().is_terminal(),
        has_begun: false,
        has_model: false,
    };
    let mut model = arguments.model.clone();
    let mut before = None;
    loop {
        conversation.has_model = false;
        match talk(arguments, &wanted, &model, &mut conversation) {
            Ok(None) => return Ok(()),
            Ok(Some(next)) => before = Some(std::mem::replace(&mut model, next)),
            // A model that cannot be used leaves the conversation with the one before.
            Err(error) if conversation.is_terminal && !conversation.has_model => {
                model = before.take().ok_or_else(|| anyhow!("{error:#}"))?;
                complain(&format!("{error:#}"));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens a model, and converses with it until the end, or until another model is asked for.
fn talk(
    arguments: &Arguments,
    wanted: &Wanted<'_>,
    file: &Path,
    conversation: &mut Conversation,
) -> Result<Option<PathBuf>> {
    let opened = arguments.engine.open(file)?;
    let mut prompter = opened.prompter()?;
    prompter.prepare_chat(arguments.format.format().template)?;
    let model = opened.model(prompter.gguf())?;
    arguments.generation.show_weights(prompter.gguf(), opened.file.bytes());
    let options = arguments.engine.runner_options(model.config(), DEFAULT_N_CTX, wanted.speculate + 1, 1);
    let mut memory = EngineMemory::allocate(model.config(), &options)?;
    let mut responder = opened.responder(prompter, model, options, MAX_WAITING, &mut memory)?;
    let mut speaker = Speaker { responder: &mut responder, wanted, format: &arguments.format };
    conversation.has_model = true;

    if let Some(message) = &arguments.message {
        conversation.dialogue.ask(message)?;
        speaker.answer(&mut conversation.dialogue, wanted.sampling)?;
        return Ok(None);
    }
    conversation.converse(&mut speaker, file)
}

/// A conversation that is going on.
struct Conversation {
    dialogue: Dialogue,
    stats: ChatStats,
    is_terminal: bool,
    /// Whether the greeting has been shown.
    has_begun: bool,
    /// Whether the model could be used.
    has_model: bool,
}

impl Conversation {
    /// Takes lines until the end, or until another model is asked for.
    fn converse(&mut self, speaker: &mut Speaker<'_, '_>, file: &Path) -> Result<Option<PathBuf>> {
        if self.is_terminal && !std::mem::replace(&mut self.has_begun, true) {
            interrupt::listen()?;
            println!("{GREETING}");
        }
        let mut line = String::new();
        loop {
            if self.is_terminal {
                print!("> ");
                stdout().flush()?;
            }
            line.clear();
            if stdin().lock().read_line(&mut line).context("cannot read standard input")? == 0 {
                if self.is_terminal {
                    println!();
                }
                return Ok(None);
            }
            let done = match chat_commands::read(&line) {
                Ok(Line::Blank) => Ok(()),
                Ok(Line::Message(message)) => self.ask(speaker, message),
                Ok(Line::Command(Action::Quit, _)) => return Ok(None),
                Ok(Line::Command(Action::Model, model)) if !model.is_empty() => {
                    return Ok(Some(crate::options::model_path(model.into())?));
                }
                Ok(Line::Command(action, argument)) => self.obey(speaker, file, action, argument),
                Err(error) => Err(anyhow!("{error}")),
            };
            match done {
                Ok(()) => {}
                // At a terminal, a user can react to the error.
                Err(error) if self.is_terminal => complain(&format!("{error:#}")),
                Err(error) => return Err(error),
            }
        }
    }

    fn obey(
        &mut self,
        speaker: &mut Speaker<'_, '_>,
        file: &Path,
        action: Action,
        argument: &str,
    ) -> Result<()> {
        match action {
            Action::Help => chat_commands::COMMANDS.iter().for_each(|command| println!("{command}")),
            Action::Clear => self.dialogue.clear(),
            Action::System if argument.is_empty() => {
                println!("{}", self.dialogue.system().unwrap_or("there is no system message"));
            }
            Action::System => self.dialogue.set_system(argument)?,
            Action::Regenerate => self.answer_again(speaker)?,
            Action::Stats => println!("{}", self.stats),
            Action::Save if argument.is_empty() => println!("{}", Transcript(&self.dialogue)),
            Action::Save => {
                let transcript = Transcript(&self.dialogue);
                write_whole(Path::new(argument), |file| Ok(writeln!(file, "{transcript}")?))?;
            }
            Action::Model | Action::Quit => println!("{}", file.display()),
        }
        Ok(())
    }

    /// Adds a message to the conversation, and the answer to it; if there is no answer, adds neither.
    fn ask(&mut self, speaker: &mut Speaker<'_, '_>, message: &str) -> Result<()> {
        self.dialogue.ask(message)?;
        let answered = self.answer(speaker, speaker.wanted.sampling);
        if answered.is_err() {
            self.dialogue.take_back();
        }
        answered
    }

    /// Has the last message answered again; if there is no answer, the one that there was stays.
    fn answer_again(&mut self, speaker: &mut Speaker<'_, '_>) -> Result<()> {
        let retracted = self.dialogue.retract()?.context(NOTHING_ANSWERED)?;
        let seed = getrandom::u32().context("cannot make a random seed")?;
        let sampling = chat_commands::again(speaker.wanted.sampling, seed.into());
        complain(&format!("temperature {}, seed {seed}", sampling.temperature));
        let answered = self.answer(speaker, sampling);
        if answered.is_err() {
            self.dialogue.put_back(retracted);
        }
        answered
    }

    fn answer(&mut self, speaker: &mut Speaker<'_, '_>, sampling: SamplingConfig) -> Result<()> {
        let report = speaker.answer(&mut self.dialogue, sampling)?;
        self.stats.add(&report, speaker.responder.runner().options().state.n_ctx);
        Ok(self.dialogue.answer(&report.output, report.format.unwrap_or_default())?)
    }
}

/// The model's side of the conversation.
struct Speaker<'s, 'm> {
    responder: &'s mut Responder<'m>,
    wanted: &'s Wanted<'s>,
    format: &'s ChatArguments,
}

impl Speaker<'_, '_> {
    /// Prints the model's answer, whose tokens are chosen in this way, and returns it.
    fn answer(&mut self, dialogue: &mut Dialogue, sampling: SamplingConfig) -> Result<Report> {
        let format: ChatFormat<'_> = self.format.format();
        let request =
            Request { tell_apart: true, sampling, ..self.wanted.request(Prompt::Chat(dialogue, format)) };
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
        tell(self.wanted, &report, self.responder.runner().options().state.n_ctx);
        Ok(report)
    }
}
