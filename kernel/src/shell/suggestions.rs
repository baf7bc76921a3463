//! What the word before the cursor can become: from the table of commands, which help and the reading of arguments use too, and from
//! what the disks hold.

use alloc::vec::Vec;

use llm::front::{
    chat_commands,
    options::{OptionSpec, Values},
};
use log::LevelFilter;

use super::{
    command::Command,
    commands,
    completion::Completions,
    words::{self, Words},
};
use crate::{
    llm::{InferenceBackend, ModelFile, name_of},
    system::Machine,
};

/// What is known of the machine.
pub struct Known<'k> {
    /// Knows the disks and what they hold.
    pub backend: &'k mut dyn InferenceBackend,
    /// Knows what its CPU can do.
    pub machine: &'k Machine,
}

/// What the word can become that a line of the shell ends in.
pub fn for_shell(line: &[u8], known: &mut Known<'_>) -> Completions {
    let Some(mut unfinished) = words::unfinished(line) else { return for_text(line, known) };
    let mut before = core::mem::take(&mut unfinished.before);
    let mut completions = Completions::of(unfinished);
    let is_help = before.first().is_some_and(|word| word == "help".as_bytes());
    if is_help {
        before.remove(0);
    }
    offer_names(&before, &mut completions);
    if let Some((command, rest)) = commands::find_named(&before)
        && !is_help
    {
        offer_arguments(command, rest, known, &mut completions);
    }
    completions
}

/// Words of a text are not completed.
pub fn for_text(_: &[u8], _: &mut Known<'_>) -> Completions {
    Completions::of_text(b"")
}

/// What the word can become that a line of a conversation ends in.
pub fn for_chat(line: &[u8], known: &mut Known<'_>) -> Completions {
    let place = line.iter().position(u8::is_ascii_whitespace);
    let Some(place) = place else {
        let mut completions = Completions::of_text(line);
        // A message is not completed.
        if line.starts_with(b"/") {
            chat_commands::COMMANDS.iter().for_each(|command| completions.offer(command.name));
        }
        return completions;
    };
    let (name, rest) = line.split_at(place);
    let mut completions = Completions::of_text(rest.trim_ascii_start());
    if name == chat_commands::MODEL.as_bytes() {
        offer_files(known, &mut completions, false);
    }
    completions
}

/// The words that come after these in names of commands.
fn offer_names(before: &Words, completions: &mut Completions) {
    for command in commands::all() {
        let mut name = command.name.split(' ');
        let is_begun = before.iter().all(|word| name.next().is_some_and(|part| part.as_bytes() == word));
        if is_begun && let Some(next) = name.next() {
            completions.offer(next);
        }
    }
}

/// Options, their values, and what the usage line says of the other arguments.
fn offer_arguments(
    command: &'static Command,
    words: &[Vec<u8>],
    known: &mut Known<'_>,
    completions: &mut Completions,
) {
    let mut n_positional = 0;
    let mut awaits: Option<&OptionSpec> = None;
    let mut options_end = false;
    for word in words {
        if awaits.take().is_some() {
            continue;
        }
        match word.strip_prefix(b"-") {
            Some(b"-") if !options_end => options_end = true,
            Some(name) if !options_end && !name.is_empty() => awaits = option(command, name),
            _ => n_positional += 1,
        }
    }
    if let Some(option) = awaits {
        return offer_values(option, "", known, completions);
    }
    let word = completions.word();
    if word.starts_with(b"-") && !options_end {
        if let Some(end) = word.iter().position(|&byte| byte == b'=') {
            let name = alloc::string::String::from_utf8_lossy(&word[..=end]).into_owned();
            let named = word[1..end].strip_prefix(b"-").unwrap_or_default();
            if let Some(option) = command.own_options().find(|option| option.is_called(named)) {
                offer_values(option, &name, known, completions);
            }
            return;
        }
        return offer_options(command, completions);
    }
    let is_empty = word.is_empty();
    if let Some(usage) = nth_argument(command.usage, n_positional) {
        offer_argument(usage, known, completions);
    }
    if completions.candidates().is_empty() && is_empty && !options_end {
        offer_options(command, completions);
    }
}

/// The option of a word, without its first hyphen, whose value is the next word; `None` if it needs none.
fn option(command: &'static Command, name: &[u8]) -> Option<&'static OptionSpec> {
    let long = name.strip_prefix(b"-");
    let mut options = command.own_options();
    let option = options.find(|option| match long {
        Some(long) => long.len() > 1 && option.is_called(long),
        None => name.len() == 1 && option.is_called(name),
    });
    option.filter(|option| option.value.is_some())
}

fn offer_options(command: &'static Command, completions: &mut Completions) {
    let help = core::iter::once("help");
    for name in command.own_options().map(|option| option.name).chain(help) {
        completions.offer(&alloc::format!("--{name}"));
    }
}

/// What can stand as argument number `n`, in the words of the usage line, without brackets.
fn nth_argument(usage: &'static str, n: usize) -> Option<&'static str> {
    let mut arguments = usage.split(' ').map(|word| word.trim_matches(['[', ']']));
    let last = arguments.clone().next_back()?;
    arguments.nth(n).or(last.ends_with("...").then_some(last)).filter(|argument| !argument.is_empty())
}

fn offer_argument(usage: &'static str, known: &mut Known<'_>, completions: &mut Completions) {
    match usage {
        "PATH" => offer_files(known, completions, false),
        "LEVEL" => {
            for level in LevelFilter::iter() {
                completions.offer(&level.as_str().to_ascii_lowercase());
            }
        }
        "DISK" => {
            let n_disks = known.backend.catalog().disks().iter().count();
            (0..n_disks).for_each(|number| completions.offer(&alloc::format!("{number}")));
        }
        choice if choice.contains('|') => choice.split('|').for_each(|word| completions.offer(word)),
        _ => {}
    }
}

/// The values of an option, after `prefix`.
fn offer_values(option: &OptionSpec, prefix: &str, known: &mut Known<'_>, completions: &mut Completions) {
    let mut offer = |name: &str| completions.offer(&alloc::format!("{prefix}{name}"));
    match option.values {
        Values::Any => {}
        Values::Names(list) => list(&mut |name| offer(name)),
        Values::Kernels => known.machine.all_kernels.iter().for_each(|kernels| offer(kernels.name())),
        Values::Text => {
            let catalog = known.backend.catalog();
            let is_text: Vec<bool> = catalog.files().iter().map(|file| file.header.is_err()).collect();
            for (disk, _) in catalog.disks().iter().zip(is_text).filter(|(_, is_text)| *is_text) {
                offer(disk.serial());
            }
        }
        Values::Model if prefix.is_empty() => offer_files(known, completions, false),
        Values::Adapter if prefix.is_empty() => offer_files(known, completions, true),
        Values::Model | Values::Adapter => {
            let is_adapter = matches!(option.values, Values::Adapter);
            let files = known.backend.catalog().files().iter();
            files.filter(|file| is_wanted(file, is_adapter)).for_each(|file| offer(name_of(&file.path)));
        }
    }
}

/// Names of models or adapters, or paths if the word begins like one.
fn offer_files(known: &mut Known<'_>, completions: &mut Completions, adapters: bool) {
    let as_paths = completions.word().starts_with(b"/");
    for file in known.backend.catalog().files().iter().filter(|file| is_wanted(file, adapters)) {
        completions.offer(if as_paths { &file.path } else { name_of(&file.path) });
    }
}

fn is_wanted(file: &ModelFile, adapters: bool) -> bool {
    if adapters { file.is_adapter() } else { file.is_model() }
}
