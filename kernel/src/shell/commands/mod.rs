//! The table of commands, and the lookup of a line's command.

mod adapters;
mod batch;
mod chat;
mod embedding;
mod general;
mod generation;
mod inference;
mod loading;
mod machine;
mod models;
mod network;
mod numbers;
#[cfg(feature = "selftest")]
mod refusals;
mod roofline;
mod serving;
pub(super) mod tools;

use alloc::vec::Vec;

use super::{
    arguments::lossy,
    command::{Command, CommandError},
};

/// All commands, in the order in which `help` lists them, one group after the other.
static GROUPS: &[&[Command]] = &[
    inference::COMMANDS,
    batch::COMMANDS,
    chat::COMMANDS,
    embedding::COMMANDS,
    numbers::COMMANDS,
    models::COMMANDS,
    adapters::COMMANDS,
    machine::COMMANDS,
    network::COMMANDS,
    serving::COMMANDS,
    roofline::COMMANDS,
    general::COMMANDS,
    #[cfg(feature = "selftest")]
    refusals::COMMANDS,
];

/// The first word of every command with two words.
const GROUP: &str = "llm";

/// All commands.
pub fn all() -> impl Iterator<Item = &'static Command> {
    GROUPS.iter().copied().flatten()
}

/// The command that `words` begin with, and the words after it.
///
/// # Errors
/// If there is no such command. If the first word names a group, the error lists the group's commands.
///
/// # Panics
/// If `words` is empty.
pub fn find(words: &[Vec<u8>]) -> Result<(&'static Command, &[Vec<u8>]), CommandError> {
    if let Some(found) = find_named(words) {
        return Ok(found);
    }
    if words[0] == GROUP.as_bytes() {
        return Err(CommandError::UnknownInGroup {
            group: GROUP,
            word: words.get(1).map(|word| lossy(word)),
        });
    }
    Err(CommandError::UnknownCommand(lossy(&words[0])))
}

/// The command that `words` begin with, if there is one, and the words after it.
pub fn find_named(words: &[Vec<u8>]) -> Option<(&'static Command, &[Vec<u8>])> {
    let is = |command: &Command, words: &[Vec<u8>]| {
        command.name.split(' ').map(str::as_bytes).eq(words.iter().map(Vec::as_slice))
    };
    (1..=words.len().min(2)).rev().find_map(|len| {
        let command = all().find(|command| is(command, &words[..len]))?;
        Some((command, &words[len..]))
    })
}

/// What to explain, if the words ask for help other than by a command's own option: `llm --help`, `llm help infer`, `--help`.
pub fn help_topic(words: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let asks = |word: &[u8]| matches!(word, b"--help" | b"-h");
    match words {
        [asked, ..] if asks(asked) => Some(Vec::new()),
        [group, asked, topic @ ..] if group == GROUP.as_bytes() && (asks(asked) || asked == b"help") => {
            Some([&words[..1], topic].concat())
        }
        _ => None,
    }
}

pub use general::explain;
pub(super) use serving::begin as begin_serving;

/// The second words of the commands whose first word is `group`.
pub fn in_group(group: &str) -> impl Iterator<Item = &'static str> {
    all().filter_map(move |command| {
        let (first, second) = command.name.split_once(' ')?;
        (first == group).then_some(second)
    })
}
