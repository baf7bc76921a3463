//! `help`, `log`, `reboot`, `poweroff`.

use alloc::vec::Vec;

use log::LevelFilter;

use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
};
use crate::system::Shutdown;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "help",
        usage: "[COMMAND]",
        n_positional: 0..=2,
        options: &[],
        summary: "list the commands, or explain one",
        details: "Words are separated by blanks. Quotes and backslashes work as in bash, $'...\\n...' included; a\n\
                  line that ends in an open quote goes on in the next. Every command explains itself with --help.\n\
                  Keys: arrows, Home, End, Backspace, Delete, Ctrl-A/E/B/F/H/D/U/K/W/Y/L, Alt-B/F/D/U/L/C and\n\
                  Alt-Backspace as in bash; Up, Down and Ctrl-P/N for the lines before, Ctrl-R to search them, Ctrl-G or\n\
                  Esc to end the search. Tab completes a word, and lists the choice when pressed again. Pasted lines run\n\
                  when Enter is pressed. Ctrl-C drops the line or stops what runs; Ctrl-D in an empty line turns the\n\
                  machine off.",
        run: help,
    },
    Command {
        name: "log",
        usage: "[LEVEL]",
        n_positional: 0..=1,
        options: &[],
        summary: "show or set how much is logged: off, error, warn, info, debug, trace",
        details: "",
        run: log_level,
    },
    Command {
        name: "reboot",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "start the machine again",
        details: "",
        run: |shell, _| {
            shell.shutdown = Some(Shutdown::Reboot);
            Ok(())
        },
    },
    POWER_OFF,
    Command { name: "exit", ..POWER_OFF },
    Command { name: "quit", ..POWER_OFF },
];

const POWER_OFF: Command = Command {
    name: "poweroff",
    usage: "",
    n_positional: 0..=0,
    options: &[],
    summary: "turn the machine off",
    details: "",
    run: |shell, _| {
        shell.shutdown = Some(Shutdown::PowerOff { success: true });
        Ok(())
    },
};

fn help(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let words: Vec<_> = arguments.positional().iter().map(|word| word.to_vec()).collect();
    explain(shell, &words)
}

/// Lists the commands, or those of a group, or explains one.
pub fn explain(shell: &mut Shell<'_>, topic: &[Vec<u8>]) -> Result<(), CommandError> {
    let is_group = topic.len() == 1 && topic[0] == super::GROUP.as_bytes();
    if topic.is_empty() || is_group {
        let listed = super::all().filter(|command| !is_group || command.name.starts_with("llm "));
        for command in listed {
            shell.terminal.print(format_args!("{:<14} {}\n", command.name, command.summary));
        }
        return Ok(());
    }
    let (command, rest) = super::find(topic)?;
    if !rest.is_empty() {
        return Err(CommandError::Usage(super::find(&["help".into()])?.0));
    }
    shell.terminal.print(format_args!("{}\n{}\n", command.usage_line(), command.summary));
    for option in command.own_options() {
        let mut names = alloc::format!("{option}");
        for alias in option.aliases.iter().filter(|alias| alias.len() == 1) {
            names = alloc::format!("-{alias}, {names}");
        }
        shell.terminal.print(format_args!("  {names:<24} {}\n", option.help));
    }
    if !command.details.is_empty() {
        shell.terminal.print(format_args!("{}\n", command.details));
    }
    Ok(())
}

fn log_level(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    match arguments.value::<LevelFilter>(0, "LEVEL", "off, error, warn, info, debug or trace")? {
        Some(level) => log::set_max_level(level),
        None => {
            let level = log::max_level().as_str().to_ascii_lowercase();
            shell.terminal.print(format_args!("{level}\n"));
        }
    }
    Ok(())
}
