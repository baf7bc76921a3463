//! The definition of a command, and the errors of commands.

use alloc::string::String;
use core::{fmt, ops::RangeInclusive};

use llm::front::{
    UnknownKernels,
    options::{OptionSpec, Options},
};

use super::{Shell, arguments::Arguments, line_editor::MAX_LINE_BYTES};
use crate::llm::BackendError;

/// One command: its name, its arguments, and the function that runs it.
#[derive(Debug)]
pub struct Command {
    /// One word, or two if the first names a group: `llm infer`.
    pub name: &'static str,
    /// The positional arguments, as the usage line shows them.
    pub usage: &'static str,
    /// How many positional arguments there may be.
    pub n_positional: RangeInclusive<usize>,
    /// The options.
    pub options: Options,
    /// One line for the list of commands.
    pub summary: &'static str,
    /// What `help COMMAND` adds to the summary; may be empty.
    pub details: &'static str,
    /// Runs the command.
    pub run: fn(&mut Shell<'_>, &Arguments<'_>) -> Result<(), CommandError>,
}

impl Command {
    /// The options, without those that only the host program has.
    pub fn own_options(&self) -> impl Iterator<Item = &'static OptionSpec> {
        self.all_options().filter(|option| option.host_only.is_none())
    }

    /// All options.
    pub fn all_options(&self) -> impl Iterator<Item = &'static OptionSpec> {
        self.options.iter().copied().flatten()
    }

    /// `llm unload`, `llm load [PATH] [--model NAME] [--ctx N]`, `llm infer PROMPT [N] [OPTION...]`.
    pub fn usage_line(&self) -> UsageLine<'_> {
        UsageLine(self)
    }
}

/// A usage line lists at most this many options; `--help` lists all.
const MAX_OPTIONS_SHOWN: usize = 8;

/// Shows how to call a command.
pub struct UsageLine<'a>(&'a Command);

impl fmt::Display for UsageLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Command { name, usage, .. } = self.0;
        f.write_str(name)?;
        if !usage.is_empty() {
            write!(f, " {usage}")?;
        }
        if self.0.own_options().count() > MAX_OPTIONS_SHOWN {
            return f.write_str(" [OPTION...]");
        }
        self.0.own_options().try_for_each(|option| write!(f, " [{option}]"))
    }
}

/// The argument or option that a value was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A positional argument, by its name in the usage line.
    Argument(&'static str),
    /// An option, without hyphens.
    Option(&'static str),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(name) => f.write_str(name),
            Self::Option(name) => write!(f, "--{name}"),
        }
    }
}

/// Why a line was not carried out. Each error is shown as one line that says what is wrong and what is expected.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A quotation or an escape that does not end.
    #[error("the line ends within a quotation or after a backslash; expected a closing quote")]
    Unclosed,
    /// A line longer than the line editor allows.
    #[error("the line is too long; expected at most {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    /// A line that there was no memory for.
    #[error("the heap has no {needed_bytes} bytes for this line; expected a shorter one")]
    NoMemoryForLine {
        /// How much it needs.
        needed_bytes: usize,
    },
    /// There is no command of this name.
    #[error("unknown command {0:?}; `help` lists the commands")]
    UnknownCommand(String),
    /// A group's name, such as `llm`, that is not followed by a command of the group.
    #[error(fmt = unknown_in_group)]
    UnknownInGroup {
        /// The group.
        group: &'static str,
        /// The word that follows it.
        word: Option<String>,
    },
    /// The wrong number of positional arguments.
    #[error("wrong number of arguments; usage: {}", .0.usage_line())]
    Usage(&'static Command),
    /// A value that was given both as an argument and as an option.
    #[error("{argument} is given twice; expected it as an argument or as --{option}")]
    GivenTwice {
        /// The positional argument.
        argument: &'static str,
        /// The option, without hyphens.
        option: &'static str,
    },
    /// An option that the command does not have.
    #[error(
        "unknown option {option}; usage: {} (put -- before a word that begins with a hyphen)",
        .command.usage_line()
    )]
    UnknownOption {
        /// The command.
        command: &'static Command,
        /// The option, with its hyphens.
        option: String,
    },
    /// An option that only the host program has.
    #[error("--{option} is an option of the host program; {reason}")]
    HostOnly {
        /// The option, without hyphens.
        option: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// Options that cannot be combined.
    #[error("{0}")]
    Contradiction(&'static str),
    /// A set of inner loops that this CPU cannot run.
    #[error("{0}")]
    UnknownKernels(UnknownKernels),
    /// An option without its value.
    #[error("--{option} has no value; expected --{option} {value}")]
    MissingValue {
        /// The option, without hyphens.
        option: &'static str,
        /// The name of its value.
        value: &'static str,
    },
    /// A value for an option that takes none.
    #[error("--{option} takes no value; expected --{option} alone")]
    UnexpectedValue {
        /// The option, without hyphens.
        option: &'static str,
    },
    /// Bytes that are not valid UTF-8 where text is required.
    #[error("{name} is not valid UTF-8: byte {byte:#04x} at offset {offset_bytes}; expected UTF-8 text")]
    InvalidUtf8 {
        /// The argument or option.
        name: Name,
        /// Where the first invalid byte is.
        offset_bytes: usize,
        /// That byte.
        byte: u8,
    },
    /// An invalid value of an argument or option.
    #[error("{name} is {value:?}, expected {expected}")]
    InvalidValue {
        /// The argument or option.
        name: Name,
        /// The value that was given.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// An interactive command where there is no user at a terminal.
    #[error("nobody is there to talk with; expected a message: {}", .0.usage_line())]
    NotInteractive(&'static Command),
    /// An error of the backend.
    #[error("{0}")]
    Backend(BackendError),
}

impl From<BackendError> for CommandError {
    fn from(error: BackendError) -> Self {
        CommandError::Backend(error)
    }
}

fn unknown_in_group(group: &str, word: &Option<String>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match word {
        Some(word) => write!(f, "unknown command \"{group} {word}\"")?,
        None => write!(f, "{group} needs a command behind it")?,
    }
    let mut separator = "; expected ";
    for name in super::commands::in_group(group) {
        write!(f, "{separator}{name}")?;
        separator = ", ";
    }
    Ok(())
}
