//! What a line of a conversation means: a message, or a command that begins with a slash. One table for the kernel's shell and the
//! host program.

use core::fmt;

use thiserror::Error;

use crate::sampling::SamplingConfig;
use crate::session::FinishReason;

use super::Report;
use super::units::{Duration, Rate, per_second};

/// A command of a conversation.
#[derive(Debug)]
pub struct ChatCommand {
    /// Its name, which begins with a slash.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// The placeholder for what may follow the name; `None` if nothing may.
    pub argument: Option<&'static str>,
    /// Its help, one line.
    pub help: &'static str,
    /// What it does.
    pub action: Action,
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Lists the commands.
    Help,
    /// Forgets the messages.
    Clear,
    /// Changes or shows the system message.
    System,
    /// Has the last message answered again.
    Regenerate,
    /// Shows how the answers went.
    Stats,
    /// Changes or shows the model.
    Model,
    /// Writes the conversation.
    Save,
    /// Ends the conversation.
    Quit,
}

/// The name of the command that takes a model.
pub const MODEL: &str = "/model";

/// All commands, in the order in which they are listed.
pub const COMMANDS: &[ChatCommand] = &[
    ChatCommand::new("/help", Action::Help, "list these commands"),
    ChatCommand::new("/clear", Action::Clear, "begin anew; the system message stays").or(&["/reset"]),
    ChatCommand::new(
        "/system",
        Action::System,
        "what the model is told beforehand from now on; alone, show it",
    )
    .with("TEXT"),
    ChatCommand::new("/regen", Action::Regenerate, "answer the last message again, by chance"),
    ChatCommand::new("/stats", Action::Stats, "show how the answers went, and how full the context is"),
    ChatCommand::new(MODEL, Action::Model, "go on with another model; alone, show which").with("NAME"),
    ChatCommand::new("/save", Action::Save, "write the conversation as messages in JSON; alone, show it")
        .with("FILE"),
    ChatCommand::new("/quit", Action::Quit, "end the conversation").or(&["/exit", "/bye"]),
];

/// What a conversation says at its beginning.
pub const GREETING: &str = "/help lists the commands, /quit ends the conversation.";

/// The error of [`Action::Regenerate`] if there is no answer yet.
pub const NOTHING_ANSWERED: &str = "no message has been answered yet: there is nothing to answer again";

impl ChatCommand {
    const fn new(name: &'static str, action: Action, help: &'static str) -> Self {
        Self { name, aliases: &[], argument: None, help, action }
    }

    const fn or(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn with(self, argument: &'static str) -> Self {
        Self { argument: Some(argument), ..self }
    }
}

/// Its line in the list of commands.
impl fmt::Display for ChatCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, aliases, argument, help, .. } = self;
        let width = 16_usize.saturating_sub(name.len() + 1);
        match argument {
            Some(argument) => write!(f, "{name} {:<width$} {help}", alloc::format!("[{argument}]"))?,
            None => write!(f, "{name} {:<width$} {help}", "")?,
        }
        let mut separator = "; also ";
        for alias in *aliases {
            write!(f, "{separator}{alias}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'l> {
    /// Nothing but blanks.
    Blank,
    /// A message, without the blanks around it.
    Message(&'l str),
    /// A command, and what follows its name.
    Command(Action, &'l str),
}

/// A line that looks like a command and is none.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ChatCommandError<'l> {
    /// There is no command of this name.
    #[error("unknown command {0}; /help lists the commands")]
    Unknown(&'l str),
    /// Something follows the name of a command that takes nothing.
    #[error("{0} takes nothing behind it; expected {0} alone")]
    Argument(&'static str),
}

/// Reads a line. It is a command if it begins with a slash and letters up to its end or a blank: a path is a message.
///
/// # Errors
/// [`ChatCommandError`], for an unknown command or one with something behind it that takes nothing.
pub fn read(line: &str) -> Result<Line<'_>, ChatCommandError<'_>> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Line::Blank);
    }
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let letters = name.strip_prefix('/').unwrap_or_default();
    if letters.is_empty() || !letters.chars().all(char::is_alphabetic) {
        return Ok(Line::Message(line));
    }
    let is_it = |command: &&ChatCommand| command.name == name || command.aliases.contains(&name);
    let command = COMMANDS.iter().find(is_it).ok_or(ChatCommandError::Unknown(name))?;
    match command.argument {
        None if !argument.is_empty() => Err(ChatCommandError::Argument(command.name)),
        _ => Ok(Line::Command(command.action, argument.trim())),
    }
}

/// How to choose the tokens of another answer to the same message: with this seed, and where the likeliest token was taken each time,
/// at the usual temperature, since the answer would be the same.
pub fn again(sampling: SamplingConfig, seed: u64) -> SamplingConfig {
    match sampling.is_greedy() {
        true => SamplingConfig { temperature: SamplingConfig::creative().temperature, seed, ..sampling },
        false => SamplingConfig { seed, ..sampling },
    }
}

/// How the answers of a conversation went. Its `Display` has a line for each of its facts, without an end of the last line.
#[derive(Debug, Default)]
pub struct ChatStats {
    n_answers: usize,
    n_tokens: usize,
    latency_us: u64,
    /// Tokens of the prompt of the last answer and of the answer, and of the context.
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    prompt_tokens: usize,
    cached_tokens: usize,
    n_tokens: usize,
    first_token_us: u64,
    tokens_per_second: Option<f64>,
    reason: FinishReason,
    n_ctx: usize,
}

impl ChatStats {
    /// Adds an answer of a model with a context of `n_ctx` tokens.
    pub fn add(&mut self, report: &Report, n_ctx: usize) {
        self.n_answers += 1;
        self.n_tokens += report.tokens_emitted;
        self.latency_us = self.latency_us.saturating_add(report.latency_us);
        self.last = Some(Last {
            prompt_tokens: report.prompt_tokens,
            cached_tokens: report.cached_tokens,
            n_tokens: report.tokens_emitted,
            first_token_us: report.first_token_us,
            tokens_per_second: report.tokens_per_second(),
            reason: report.finish_reason,
            n_ctx,
        });
    }
}

impl fmt::Display for ChatStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = &self.last else { return f.write_str("nothing was answered yet") };
        let Last { prompt_tokens, cached_tokens, n_tokens, n_ctx, .. } = last;
        let rate = Rate(per_second(self.n_tokens as u64, self.latency_us));
        writeln!(f, "context  {} of {n_ctx} tokens", prompt_tokens + n_tokens)?;
        writeln!(f, "answers  {}: {} tokens, {rate} tokens/s", self.n_answers, self.n_tokens)?;
        write!(
            f,
            "last     {prompt_tokens} prompt tokens, {cached_tokens} of them known, {n_tokens} generated, first after {}, {} tokens/s, {}",
            Duration(last.first_token_us),
            Rate(last.tokens_per_second),
            last.reason,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn lines_are_messages_or_commands() {
        for (line, expected) in [
            ("  \n", Ok(Line::Blank)),
            (" Hello /help\n", Ok(Line::Message("Hello /help"))),
            ("one\n/two", Ok(Line::Message("one\n/two"))),
            ("/help", Ok(Line::Command(Action::Help, ""))),
            (" /reset ", Ok(Line::Command(Action::Clear, ""))),
            ("/system  Be brief.\nAnd kind. ", Ok(Line::Command(Action::System, "Be brief.\nAnd kind."))),
            ("/bye", Ok(Line::Command(Action::Quit, ""))),
            ("/etc/passwd is what?", Ok(Line::Message("/etc/passwd is what?"))),
            ("/", Ok(Line::Message("/"))),
            ("/2 of it", Ok(Line::Message("/2 of it"))),
            ("/frob x", Err(ChatCommandError::Unknown("/frob"))),
            ("/clear all", Err(ChatCommandError::Argument("/clear"))),
        ] {
            assert_eq!(read(line), expected, "{line:?}");
        }
    }

    #[test]
    fn every_command_is_named_once_and_explained_in_a_line() {
        let mut names = alloc::collections::BTreeSet::new();
        for command in COMMANDS {
            for name in command.aliases.iter().chain([&command.name]) {
                assert!(names.insert(*name), "{name}");
                assert!(matches!(read(name), Ok(Line::Command(action, "")) if action == command.action));
            }
            let line = command.to_string();
            assert!(line.starts_with(command.name) && !line.contains('\n') && line.len() < 100, "{line}");
        }
        assert!(names.contains(MODEL));
    }

    #[test]
    fn another_answer_is_drawn() {
        let greedy = SamplingConfig::greedy();
        let drawn = again(greedy, 7);
        assert_eq!((drawn.is_greedy(), drawn.seed), (false, 7));
        let warm = again(SamplingConfig { temperature: 1.5, ..greedy }, 8);
        assert_eq!((warm.temperature, warm.seed), (1.5, 8));
    }
}
