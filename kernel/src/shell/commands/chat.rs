//! `llm chat`: a conversation with a model.

use alloc::vec::Vec;

use llm::{
    chat::Dialogue,
    front::{
        ChatFormat, Prompt, Request, Task, Wanted,
        options::{
            self, CHAT_FLAG, CHAT_MAX_TOKENS, GRAMMAR, JSON_SCHEMA, NO_THINKING, OptionSpec, Options,
            REASONING_EFFORT, SPECIAL, SYSTEM, TEMPLATE, THINKING,
        },
    },
};

use super::generation;
use super::inference::generate;
use super::models::{engine_options, ensure_loaded};
use super::tools;
use crate::llm::BackendError;
use crate::shell::{
    Shell,
    arguments::{self, Arguments},
    command::{Command, CommandError, Name},
    line_editor::{Entered, LineEditor},
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
    details: "In a conversation each line is a message. /clear begins anew, /quit or Ctrl-C ends it; Ctrl-C\n\
              while the model answers ends the answer. Once the context is full, the oldest messages are\n\
              forgotten, but not --system. Options are as for llm infer. What a model runs by --tools is shown; for a message\n\
              that is 4 commands at most.",
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
    ensure_loaded(shell, arguments, Some(engine))?;
    shell.backend.prepare_chat(None, chat.format.template)?;

    let mut dialogue = chat.dialogue()?;
    match message {
        Some(message) => answer(shell, &wanted, &chat, &mut dialogue, message),
        None => converse(shell, &wanted, &chat, &mut dialogue),
    }
}

const TOOLS_OR_GRAMMAR: &str = "--tools cannot be given with --grammar or --json-schema: an answer that keeps to a grammar calls no tools";

const HELP: &str = "/clear begins a new conversation, /quit ends it.";

fn converse(
    shell: &mut Shell<'_>,
    wanted: &Wanted<'_>,
    chat: &ChatOptions<'_>,
    dialogue: &mut Dialogue,
) -> Result<(), CommandError> {
    shell.terminal.print(format_args!("{HELP}\n"));
    let mut editor = LineEditor::new();
    loop {
        let line = match shell.read_line(&mut editor, PROMPT) {
            Entered::Line(line) => line,
            Entered::TooLong => {
                shell.terminal.error(&CommandError::LineTooLong);
                continue;
            }
            Entered::Interrupted | Entered::EndOfInput => return Ok(()),
        };
        editor.remember(&line);
        match line.trim_ascii() {
            b"" => {}
            b"/quit" | b"/exit" | b"/bye" => return Ok(()),
            b"/clear" => *dialogue = chat.dialogue()?,
            b"/help" => shell.terminal.print(format_args!("{HELP}\n")),
            message => {
                let answered = arguments::text(Name::Argument("the message"), message)
                    .and_then(|message| answer(shell, wanted, chat, dialogue, message));
                if let Err(error) = answered {
                    shell.terminal.error(&error);
                }
            }
        }
    }
}

/// Adds a message to the conversation, and the answer to it; if there is no answer, adds neither.
fn answer(
    shell: &mut Shell<'_>,
    wanted: &Wanted<'_>,
    chat: &ChatOptions<'_>,
    dialogue: &mut Dialogue,
    message: &str,
) -> Result<(), CommandError> {
    dialogue.ask(message).map_err(BackendError::from)?;
    let answered = tools::answer(shell, dialogue, chat.format.tools, &mut |shell, dialogue, tools| {
        let format = ChatFormat { tools, ..chat.format };
        let request = Request { tell_apart: true, ..wanted.request(Prompt::Chat(dialogue, format)) };
        generate(shell, request, false)
    });
    if answered.is_err() {
        dialogue.take_back();
    }
    answered
}
