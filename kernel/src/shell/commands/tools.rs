//! The commands that a model may run in a chat, and a chat turn that uses them.
//!
//! Each tool has no arguments, except `llm info`, which may be given a model. All of them are read-only: none loads, selects or
//! changes anything. The commands that are run and their output are shown to the user.

use alloc::{format, string::String, vec::Vec};

use llm::{
    chat::{Call, Dialogue, Tool},
    front::Report,
    session::FinishReason,
};

use super::models::print_info;
use crate::llm::BackendError;
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
};

/// The most commands that are run for one message.
pub const MAX_CALLS: usize = 4;

/// The most bytes of a command's output that are passed to the model.
const MAX_RESULT_BYTES: usize = 4096;

/// The tools: the names of the commands, with underscores instead of spaces.
pub const NAMES: [&str; 7] = ["mem", "cpus", "disks", "uptime", "llm_list", LLM_INFO, "llm_stats"];

const LLM_INFO: &str = "llm_info";

/// The arguments that [`LLM_INFO`] takes.
const LLM_INFO_PARAMETERS: &str = r#"{"type": "object", "properties": {"model": {"type": "string", "description": "the name of a loaded model"}}}"#;

/// The command of a tool, if there is such a tool.
fn command(name: &str) -> Option<&'static Command> {
    let name = NAMES.iter().find(|known| **known == name)?;
    super::all().find(|command| command.name.split(' ').eq(name.split('_')))
}

/// The descriptions of the tools, for the model.
pub fn all() -> Vec<Tool<'static>> {
    let tool = |name: &&'static str| {
        let parameters = if *name == LLM_INFO { LLM_INFO_PARAMETERS } else { "" };
        command(name).map(|command| Tool { name, description: command.summary, parameters })
    };
    NAMES.iter().filter_map(tool).collect()
}

/// A function that has the model answer a dialogue, and offers it these tools.
pub type Generate<'g> =
    dyn FnMut(&mut Shell<'_>, &mut Dialogue, &[Tool<'_>]) -> Result<Report, BackendError> + 'g;

/// Has the model answer the last message of a dialogue, runs the commands that it calls, and repeats this until it calls none.
///
/// The results of one turn are cut to half as many bytes as the context has tokens. Since a token has at least one byte, they
/// take at most half of the context. After [`MAX_CALLS`] calls the model is offered no tools, and has to answer.
///
/// # Errors
/// If there is no answer, or if a command was stopped. The messages that the turn has added then stay in the dialogue.
pub fn answer(
    shell: &mut Shell<'_>,
    dialogue: &mut Dialogue,
    tools: &[Tool<'_>],
    generate: &mut Generate<'_>,
) -> Result<(), CommandError> {
    let mut n_calls = 0;
    let mut room_bytes = shell.backend.model(None).map_or(0, |model| model.n_ctx) / 2;
    loop {
        let offered = if n_calls < MAX_CALLS { tools } else { &[] };
        let report = generate(shell, dialogue, offered)?;
        let format = report.format.unwrap_or_default();
        if offered.is_empty() || report.finish_reason == FinishReason::Cancelled {
            return Ok(dialogue.answer(&report.output, format).map_err(BackendError::from)?);
        }
        dialogue.called(&report.output, format, offered).map_err(BackendError::from)?;
        let mut has_called = false;
        while let Some(call) = dialogue.next_call() {
            let result = match n_calls < MAX_CALLS {
                true => run(shell, call, room_bytes.min(MAX_RESULT_BYTES))?,
                false => refuse(shell, call, "so many commands are not run for one message"),
            };
            has_called = true;
            n_calls += 1;
            room_bytes = room_bytes.saturating_sub(result.len());
            dialogue.result(&result).map_err(BackendError::from)?;
        }
        if !has_called {
            return Ok(());
        }
    }
}

/// Runs a call. Returns the command's output, cut to `max_bytes`, or the reason why it was not run.
///
/// # Errors
/// [`BackendError::Cancelled`] if it was stopped; an error if the heap has no room for the copy.
fn run(shell: &mut Shell<'_>, call: &Call, max_bytes: usize) -> Result<String, CommandError> {
    let Some(command) = command(&call.name) else {
        return Ok(refuse(shell, call, "there is no such tool"));
    };
    let is_info = call.name == LLM_INFO;
    // Arguments of other tools are ignored.
    let told = jinja::Value::from_json(&call.arguments).ok().filter(|_| is_info);
    let model = told.as_ref().and_then(|told| told.as_map()?.get("model")?.as_str());
    match model {
        Some(model) => shell.terminal.print(format_args!("[runs: {} --model {model:?}]\n", command.name)),
        None => shell.terminal.print(format_args!("[runs: {}]\n", command.name)),
    }
    shell.terminal.begin_copy(max_bytes).map_err(BackendError::from)?;
    let ran = match is_info {
        // The command itself would load the model, or make it the current one.
        true => print_info(shell, model),
        false => Arguments::parse(command, &[])
            .and_then(|arguments| arguments.map_or(Ok(()), |arguments| (command.run)(shell, &arguments))),
    };
    if let Err(error) = &ran {
        shell.terminal.print(format_args!("error: {error}\n"));
    }
    let copy = shell.terminal.end_copy();
    // Some commands return success although they were stopped.
    match shell.terminal.was_stopped() {
        true => Err(BackendError::Cancelled.into()),
        false => Ok(copy),
    }
}

/// Tells the user why a call is not run, and returns the same for the model.
fn refuse(shell: &mut Shell<'_>, call: &Call, why: &str) -> String {
    shell.terminal.print(format_args!("[does not run {}: {why}]\n", call.name));
    format!("error: {why}")
}
