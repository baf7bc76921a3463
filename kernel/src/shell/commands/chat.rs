//! `llm chat`: a conversation with the loaded model.

use llm::chat::Dialogue;

use super::inference::{STOP_OPTION, note_result, stop_strings};
use super::models::{
    CONTEXT_OPTION, EXPECTED_CONTEXT, KV_TYPE_OPTION, MODEL_OPTION, ensure_loaded, set_kv_type,
};
use super::sampling::{
    MAX_TOKENS_OPTION, MIN_P_OPTION, REPEAT_LAST_N_OPTION, REPEAT_PENALTY_OPTION, SEED_OPTION,
    TEMPERATURE_OPTION, TOP_K_OPTION, TOP_P_OPTION, max_tokens, sampling,
};
use crate::llm::{BackendError, ChatFormat};
use crate::shell::{
    Shell,
    arguments::{self, Arguments},
    command::{Command, CommandError, Name, OptionSpec},
    line_editor::{Entered, LineEditor},
};

const PROMPT: &str = "> ";
const DEFAULT_MAX_TOKENS: usize = 512;

pub(super) static COMMANDS: &[Command] = &[Command {
    name: "llm chat",
    usage: "[MESSAGE [N]]",
    n_positional: 0..=2,
    options: &[
        MODEL_OPTION,
        MAX_TOKENS_OPTION,
        OptionSpec::new("system", "TEXT", "what the model is told beforehand"),
        OptionSpec::new(
            "template",
            "NAME",
            "chat format, such as chatml, instead of the one in the model's file",
        ),
        OptionSpec::flag(
            "thinking",
            "ask a model that can think first to, where its format would rather have it not",
        ),
        OptionSpec::flag("no-thinking", "ask a model that can think first not to"),
        TEMPERATURE_OPTION,
        TOP_K_OPTION,
        TOP_P_OPTION,
        MIN_P_OPTION,
        REPEAT_PENALTY_OPTION,
        REPEAT_LAST_N_OPTION,
        SEED_OPTION,
        STOP_OPTION,
        CONTEXT_OPTION,
        KV_TYPE_OPTION,
    ],
    summary: "answer MESSAGE by up to N tokens, 512 unless told; without one, converse",
    details: "In a conversation each line is a message. /clear begins anew, /quit or Ctrl-C ends it; Ctrl-C\n\
              while the model answers ends the answer. Once the context is full, the oldest messages are\n\
              forgotten, but not --system. Options are as for llm infer.",
    run: chat,
}];

fn chat(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let message = arguments.text(0, "MESSAGE")?;
    let max_tokens = max_tokens(arguments, 1, DEFAULT_MAX_TOKENS)?;
    let sampling = sampling(shell, arguments)?;
    let n_ctx = arguments.option("ctx", EXPECTED_CONTEXT)?;
    let system = arguments.option_text("system")?;
    let enable_thinking = arguments.last_of(&["thinking", "no-thinking"]).map(|option| option == "thinking");
    let stop = stop_strings(arguments)?;
    let now_seconds = (shell.machine.now_seconds)();
    let format = ChatFormat { template: arguments.option_text("template")?, enable_thinking, now_seconds };
    if message.is_none() && !shell.terminal.is_interactive() {
        return Err(CommandError::NotInteractive(arguments.command()));
    }
    shell.backend.set_speculation(0);
    shell.backend.set_sampling_config(sampling)?;
    shell.backend.set_stop_strings(stop);
    shell.backend.set_verbose(false);
    set_kv_type(shell, arguments)?;
    ensure_loaded(shell, arguments, n_ctx)?;
    shell.backend.prepare_chat(format.template)?;

    let mut dialogue = Dialogue::default();
    dialogue.begin(system).map_err(BackendError::from)?;
    match message {
        Some(message) => answer(shell, &format, max_tokens, &mut dialogue, message),
        None => converse(shell, &format, max_tokens, &mut dialogue, system),
    }
}

const HELP: &str = "/clear begins a new conversation, /quit ends it.";

fn converse(
    shell: &mut Shell<'_>,
    format: &ChatFormat<'_>,
    max_tokens: usize,
    dialogue: &mut Dialogue,
    system: Option<&str>,
) -> Result<(), CommandError> {
    shell.terminal.print(format_args!("{HELP}\n"));
    let mut editor = LineEditor::new();
    loop {
        let line = match shell.terminal.read_line(&mut editor, PROMPT) {
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
            b"/clear" => dialogue.begin(system).map_err(BackendError::from)?,
            b"/help" => shell.terminal.print(format_args!("{HELP}\n")),
            message => {
                let answered = arguments::text(Name::Argument("the message"), message)
                    .and_then(|message| answer(shell, format, max_tokens, dialogue, message));
                if let Err(error) = answered {
                    shell.terminal.error(&error);
                }
            }
        }
    }
}

/// Adds a message to the conversation, and the answer to it; neither if there is none.
fn answer(
    shell: &mut Shell<'_>,
    format: &ChatFormat<'_>,
    max_tokens: usize,
    dialogue: &mut Dialogue,
    message: &str,
) -> Result<(), CommandError> {
    dialogue.ask(message).map_err(BackendError::from)?;
    let result = generate(shell, format, max_tokens, dialogue);
    match result {
        Ok(text) => Ok(dialogue.answer(&text).map_err(BackendError::from)?),
        Err(error) => {
            dialogue.take_back();
            Err(error.into())
        }
    }
}

fn generate(
    shell: &mut Shell<'_>,
    format: &ChatFormat<'_>,
    max_tokens: usize,
    dialogue: &mut Dialogue,
) -> Result<alloc::string::String, BackendError> {
    let Shell { backend, terminal, .. } = shell;
    let mut printed = false;
    let result = backend.chat_streaming(dialogue, format, max_tokens, &mut |text| {
        printed |= !text.is_empty();
        terminal.print(format_args!("{text}"));
        terminal.check_interrupt()
    });
    let ends_line = matches!(&result, Ok(result) if result.output.ends_with('\n'));
    if !ends_line && (printed || result.is_ok()) {
        terminal.print(format_args!("\n"));
    }
    let result = result?;
    note_result(terminal, &result);
    Ok(result.output)
}
