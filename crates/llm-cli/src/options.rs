//! Names and help of the options that the kernel's shell also has, taken from the engine's table.

use std::path::PathBuf;

use anyhow::Result;
use clap::Command;
use clap::builder::{PathBufValueParser, TypedValueParser};
use llm::front::options::{COMMANDS, INFER, OptionSpec};

/// The program's command line with the names and the help of the table.
pub fn with_table(program: Command) -> Command {
    let names: Vec<String> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(program, |program, name| {
        // Commands that the kernel does not have share the engine's options with `infer`.
        let options = COMMANDS.iter().find(|(command, _)| *command == name);
        let options = options.map_or(INFER, |(_, options)| options);
        program.mut_subcommand(name, |command| options.iter().copied().flatten().fold(command, described))
    })
}

/// The command, with the table's name and help for an option, if it has that option.
fn described(command: Command, option: &OptionSpec) -> Command {
    let found = command.get_arguments().find(|argument| argument.get_long() == Some(option.name));
    let Some(id) = found.map(|argument| argument.get_id().clone()) else {
        return command;
    };
    command.mut_arg(id, |mut argument| {
        if argument.get_help().is_none() {
            argument = argument.help(option.host_help.unwrap_or(option.help));
        }
        if let Some(value) = option.value {
            argument = argument.value_name(option.host_value.unwrap_or(value));
        }
        // A model can be named as `llm pull` names it.
        if option.name == llm::front::options::MODEL.name {
            argument = argument.value_parser(PathBufValueParser::new().try_map(model_path));
        }
        for alias in option.aliases {
            let mut letters = alias.chars();
            argument = match (letters.next(), letters.next()) {
                (Some(letter), None) => argument.short(letter),
                _ => argument.alias(*alias),
            };
        }
        argument
    })
}

/// The file that a model is named by: a path, or a short name as `llm pull` takes it.
#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
pub fn model_path(path: PathBuf) -> Result<PathBuf> {
    crate::hub::model_path(path)
}

/// The file that a model is named by. A program for the engine's tests, which has no client of a hub, knows no short names.
#[cfg(all(target_arch = "aarch64", target_env = "musl"))]
pub fn model_path(path: PathBuf) -> Result<PathBuf> {
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn commands_of_the_kernel_have_the_options_of_the_table_and_no_others() {
        let program = with_table(Program::command());
        for (name, options) in COMMANDS {
            let command = program.find_subcommand(name).unwrap_or_else(|| panic!("there is no {name}"));
            let names = |name: &str, aliases: Vec<String>| -> BTreeSet<String> {
                aliases.into_iter().chain([name.to_owned()]).collect()
            };
            let expected: BTreeSet<BTreeSet<String>> = options
                .iter()
                .copied()
                .flatten()
                .map(|option| {
                    names(option.name, option.aliases.iter().map(|alias| alias.to_string()).collect())
                })
                .collect();
            let found = command.get_arguments().filter_map(|argument| {
                let long = argument.get_all_aliases().unwrap_or_default();
                let short = argument.get_short().map(String::from);
                let aliases = long.into_iter().map(str::to_owned).chain(short).collect();
                Some(names(argument.get_long()?, aliases))
            });
            assert_eq!(found.collect::<BTreeSet<_>>(), expected, "{name}");
            for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
                assert!(argument.get_help().is_some(), "{name}: {argument}");
            }
        }
    }
}
