//! `llm chat`: a conversation with a model.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use llm::{
    chat::{Dialogue, Transcript},
    front::{
        ChatFormat, Prompt, Request, Task, Wanted,
        chat_commands::{self, Action, ChatStats, GREETING, Line, NOTHING_ANSWERED},
        options::{
            self, CHAT_FLAG, CHAT_MAX_TOKENS, GRAMMAR, JSON_SCHEMA, NO_THINKING, OptionSpec, Options,
            REASONING_EFFORT, SPECIAL, SYSTEM, TEMPLATE, THINKING,
        },
    },
    sampling::SamplingConfig,
};

use super::generation;
use super::inference::generate;
use super::loading::{engine_options, ensure_loaded, select_or_load};
use super::models::{print_loaded, print_models};
use super::tools;
use crate::llm::{BackendError, EngineOptions};
use crate::shell::{
    Shell,
    arguments::{self, Arguments},
    command::{Command, CommandError, Name},
    line_editor::{Entered, LineEditor},
    suggestions,
};

const PROMPT: &str = "> ";

/// `--tools`, which the host program does not have.
const TOOLS: OptionSpec = OptionSpec::flag(
    "tools",
    "let the model run mem, cpus, disks, uptime, llm list, llm info and llm stats, and answer from what they print",
);

/// The options of the host program's chat, and [`TOOLS`].
const OPTIONS: Options = &[&[TOOLS], options::CHAT[0], options::CHAT[1], options::CHAT[2], options::CHAT[3]];

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "llm chat",
    usage: "[MESSAGE [N]]",
    n_positional: 0..=2,
    options: OPTIONS,
    summary: "answer MESSAGE by up to N tokens; without one, converse",
    details: "In a conversation each line is a message; what is pasted is one message, with all of its lines. /help lists\n\
              the commands of a conversation, /quit or Ctrl-C ends it; Ctrl-C while the model answers ends the answer.\n\
              Once the context is full, the oldest messages are forgotten, but not --system. Options are as for llm infer.\n\
              What a model runs by --tools is shown; for a message that is 4 commands at most.",
    run: chat,
}];

/// How a conversation begins, and how it is turned into a prompt.
pub(super) struct ChatOptions<'a> {
    /// The system message.
    pub system: Option<&'a str>,
    /// The format.
    pub format: ChatFormat<'a>,
}

impl<'a> ChatOptions<'a> {
    /// The options that the arguments give.
    pub fn new(shell: &Shell<'_>, arguments: &Arguments<'a>) -> Result<Self, CommandError> {
        let thinking = arguments.last_of(&[THINKING.name, NO_THINKING.name]);
        let format = ChatFormat {
            template: arguments.option_text(TEMPLATE.name)?,
            enable_thinking: thinking.map(|option| option == THINKING.name),
            reasoning_effort: arguments.option_text(REASONING_EFFORT.name)?,
            tools: &[],
            now_seconds: (shell.machine.now_seconds)(),
        };
        Ok(Self { system: arguments.option_text(SYSTEM.name)?, format })
    }

    /// The task that a command with `--chat` and `--special` performs on a text.
    pub fn task(&self, arguments: &Arguments<'_>) -> Result<Task<'a>, CommandError> {
        let (is_chat, parse_special) = (arguments.has(CHAT_FLAG.name), arguments.has(SPECIAL.name));
        let thinking_budget = generation::thinking_budget(arguments)?;
        Task::new(is_chat, parse_special, self.system, self.format, thinking_budget)
            .map_err(CommandError::Contradiction)
    }

    /// A conversation that has only the system message so far.
    pub fn dialogue(&self) -> Result<Dialogue, BackendError> {
        let mut dialogue = Dialogue::default();
        dialogue.begin(self.system)?;
        Ok(dialogue)
    }
}

fn chat(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let message = arguments.text(0, "MESSAGE")?;
    let chat = ChatOptions::new(shell, arguments)?;
    let engine = engine_options(shell, arguments)?;
    if message.is_none() && !shell.terminal.is_interactive() {
        return Err(CommandError::NotInteractive(arguments.command()));
    }
    let is_held = arguments.has(GRAMMAR.name) || arguments.has(JSON_SCHEMA.name);
    let tools = match arguments.has(TOOLS.name) {
        true if is_held => return Err(CommandError::Contradiction(TOOLS_OR_GRAMMAR)),
        true => tools::all(),
        false => Vec::new(),
    };
    let chat = ChatOptions { format: ChatFormat { tools: &tools, ..chat.format }, ..chat };
    let wanted = generation::wanted(shell, arguments, 1, CHAT_MAX_TOKENS)?;
    ensure_loaded(shell, arguments, Some(engine.clone()))?;
    let engine = EngineOptions { lora: Vec::new(), ..engine };
    shell.backend.prepare_chat(None, chat.format.template)?;

    let mut conversation = Conversation {
        wanted: &wanted,
        format: chat.format,
        engine,
        dialogue: chat.dialogue()?,
        stats: ChatStats::default(),
    };
    match message {
        Some(message) => conversation.ask(shell, message),
        None => converse(shell, conversation),
    }
}

const NO_FILES: &str = "the kernel writes no files; /save alone shows the conversation";

const TOOLS_OR_GRAMMAR: &str = "--tools cannot be given with --grammar or --json-schema: an answer that keeps to a grammar calls no tools";

/// A conversation that is going on.
struct Conversation<'c> {
    wanted: &'c Wanted<'c>,
    format: ChatFormat<'c>,
    /// How another model is to run. Adapters belong to one model.
    engine: EngineOptions,
    dialogue: Dialogue,
    stats: ChatStats,
}

/// Whether a conversation goes on.
type GoesOn = ControlFlow<()>;

fn converse(shell: &mut Shell<'_>, mut conversation: Conversation<'_>) -> Result<(), CommandError> {
    shell.terminal.print(format_args!("{GREETING}\n"));
    let mut editor = LineEditor::new();
    loop {
        let line = match shell.read_line(&mut editor, PROMPT, suggestions::for_chat) {
            Entered::Line(line) => line,
            Entered::TooLong => {
                shell.terminal.error(&CommandError::LineTooLong);
                continue;
            }
            Entered::NoMemory { needed_bytes } => {
                shell.terminal.error(&CommandError::NoMemoryForLine { needed_bytes });
                continue;
            }
            Entered::Interrupted | Entered::EndOfInput => return Ok(()),
        };
        editor.remember(&line);
        let read = arguments::text(Name::Argument("the message"), &line);
        match read.and_then(|line| conversation.take(shell, line)) {
            Ok(GoesOn::Continue(())) => {}
            Ok(GoesOn::Break(())) => return Ok(()),
            Err(error) => shell.terminal.error(&error),
        }
    }
}

impl Conversation<'_> {
    /// Does what a line says.
    fn take(&mut self, shell: &mut Shell<'_>, line: &str) -> Result<GoesOn, CommandError> {
        let (action, argument) = match chat_commands::read(line) {
            Ok(Line::Blank) => return Ok(GoesOn::Continue(())),
            Ok(Line::Message(message)) => {
                self.ask(shell, message)?;
                return Ok(GoesOn::Continue(()));
            }
            Ok(Line::Command(action, argument)) => (action, argument),
            Err(mistake) => {
                shell.terminal.error(&mistake);
                return Ok(GoesOn::Continue(()));
            }
        };
        let terminal = &mut shell.terminal;
        match action {
            Action::Help => {
                for command in chat_commands::COMMANDS {
                    terminal.print(format_args!("{command}\n"));
                }
            }
            Action::Clear => self.dialogue.clear(),
            Action::System if argument.is_empty() => match self.dialogue.system() {
                Some(system) => terminal.print(format_args!("{system}\n")),
                None => terminal.print(format_args!("there is no system message\n")),
            },
            Action::System => self.dialogue.set_system(argument).map_err(BackendError::from)?,
            Action::Regenerate => self.answer_again(shell)?,
            Action::Stats => terminal.print(format_args!("{}\n", self.stats)),
            Action::Model if argument.is_empty() => print_models(shell),
            Action::Model => self.switch(shell, argument)?,
            Action::Save if argument.is_empty() => {
                terminal.print(format_args!("{}\n", Transcript(&self.dialogue)));
            }
            Action::Save => return Err(CommandError::Contradiction(NO_FILES)),
            Action::Quit => return Ok(GoesOn::Break(())),
        }
        Ok(GoesOn::Continue(()))
    }

    /// Adds a message to the conversation, and the answer to it; if there is no answer, adds neither.
    fn ask(&mut self, shell: &mut Shell<'_>, message: &str) -> Result<(), CommandError> {
        self.dialogue.ask(message).map_err(BackendError::from)?;
        let answered = self.answer(shell, self.wanted.sampling);
        if answered.is_err() {
            self.dialogue.take_back();
        }
        answered
    }

    /// Has the last message answered again; if there is no answer, the one that there was stays.
    fn answer_again(&mut self, shell: &mut Shell<'_>) -> Result<(), CommandError> {
        let Some(retracted) = self.dialogue.retract().map_err(BackendError::from)? else {
            return Err(CommandError::Contradiction(NOTHING_ANSWERED));
        };
        let sampling = chat_commands::again(self.wanted.sampling, (shell.machine.random_seed)());
        shell.terminal.note(format_args!("[temperature {}, seed {}]", sampling.temperature, sampling.seed));
        let answered = self.answer(shell, sampling);
        if answered.is_err() {
            self.dialogue.put_back(retracted);
        }
        answered
    }

    /// Adds the answer to the last message.
    fn answer(&mut self, shell: &mut Shell<'_>, sampling: SamplingConfig) -> Result<(), CommandError> {
        let Self { wanted, format, dialogue, stats, .. } = self;
        tools::answer(shell, dialogue, format.tools, &mut |shell, dialogue, tools| {
            let format = ChatFormat { tools, ..*format };
            let prompt = Prompt::Chat(dialogue, format);
            let request = Request { tell_apart: true, sampling, ..wanted.request(prompt) };
            let report = generate(shell, request, false)?;
            stats.add(&report, shell.backend.model(None).map_or(0, |model| model.n_ctx));
            Ok(report)
        })
    }

    /// Goes on with another model, if it can take part.
    fn switch(&mut self, shell: &mut Shell<'_>, name: &str) -> Result<(), CommandError> {
        let before = shell.backend.model(None).map(|model| model.path.clone());
        select_or_load(shell, name, self.engine.clone())?;
        if let Err(error) = shell.backend.prepare_chat(None, self.format.template) {
            if let Ok(before) = before {
                let _ = shell.backend.select(&before);
            }
            return Err(error.into());
        }
        print_loaded(shell);
        Ok(())
    }
}
