//! The commands that a model may run in a chat, and how a turn goes with them.
//!
//! Each is a tool without arguments, but for `llm info`, which may be told a model. All of them only look: none
//! loads, selects or changes anything. What is run is shown, as is what it prints.

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

/// Commands that are run for one message at most.
pub const MAX_CALLS: usize = 4;

/// Bytes that the model is told of what one command prints at most.
const MAX_RESULT_BYTES: usize = 4096;

/// The tools: the names of their commands, with underscores for blanks.
pub const NAMES: [&str; 7] = ["mem", "cpus", "disks", "uptime", "llm_list", LLM_INFO, "llm_stats"];

const LLM_INFO: &str = "llm_info";

/// What [`LLM_INFO`] may be told.
const LLM_INFO_PARAMETERS: &str = r#"{"type": "object", "properties": {"model": {"type": "string", "description": "the name of a loaded model"}}}"#;

/// The command of a tool, if there is such a tool.
fn command(name: &str) -> Option<&'static Command> {
    let name = NAMES.iter().find(|known| **known == name)?;
    super::all().find(|command| command.name.split(' ').eq(name.split('_')))
}

/// What the model is told of the tools.
pub fn all() -> Vec<Tool<'static>> {
    let tool = |name: &&'static str| {
        let parameters = if *name == LLM_INFO { LLM_INFO_PARAMETERS } else { "" };
        command(name).map(|command| Tool { name, description: command.summary, parameters })
    };
    NAMES.iter().filter_map(tool).collect()
}

/// Has the model answer a dialogue, and offers it these tools.
pub type Generate<'g> =
    dyn FnMut(&mut Shell<'_>, &mut Dialogue, &[Tool<'_>]) -> Result<Report, BackendError> + 'g;

/// Has the model answer the last message of a dialogue, runs what it calls, and goes on so until it calls nothing.
///
/// The results of one turn are cut to half as many bytes as the context has tokens, since each token has a byte or more: so
/// they take half of the context at most. Behind [`MAX_CALLS`] the model is offered no tools, and has to answer.
///
/// # Errors
/// If there is no answer, or a command was stopped. What the turn has added to the dialogue is then still there.
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

/// Runs what was called. Returns what it has printed, cut to so many bytes; or why it was not run.
///
/// # Errors
/// [`BackendError::Cancelled`] if it was stopped; or if the heap has no room for the copy.
fn run(shell: &mut Shell<'_>, call: &Call, max_bytes: usize) -> Result<String, CommandError> {
    let Some(command) = command(&call.name) else {
        return Ok(refuse(shell, call, "there is no such tool"));
    };
    let is_info = call.name == LLM_INFO;
    // What other tools are told means nothing.
    let told = jinja::Value::from_json(&call.arguments).ok().filter(|_| is_info);
    let model = told.as_ref().and_then(|told| told.as_map()?.get("model")?.as_str());
    match model {
        Some(model) => shell.terminal.print(format_args!("[runs: {} --model {model:?}]\n", command.name)),
        None => shell.terminal.print(format_args!("[runs: {}]\n", command.name)),
    }
    shell.terminal.begin_copy(max_bytes).map_err(BackendError::from)?;
    let ran = match is_info {
        // The command itself would load the model or make it the current one.
        true => print_info(shell, model),
        false => Arguments::parse(command, &[])
            .and_then(|arguments| arguments.map_or(Ok(()), |arguments| (command.run)(shell, &arguments))),
    };
    if let Err(error) = &ran {
        shell.terminal.print(format_args!("error: {error}\n"));
    }
    let copy = shell.terminal.end_copy();
    // Some commands end as if nothing had been typed.
    match shell.terminal.was_stopped() {
        true => Err(BackendError::Cancelled.into()),
        false => Ok(copy),
    }
}

/// Tells the user, and returns for the model, why a call is not run.
fn refuse(shell: &mut Shell<'_>, call: &Call, why: &str) -> String {
    shell.terminal.print(format_args!("[does not run {}: {why}]\n", call.name));
    format!("error: {why}")
}
