//! `llm tokenize`, `llm logits`: print a model's input and output as numbers that other programs can read.

use alloc::vec::Vec;
use core::num::ParseIntError;
use core::str::FromStr;

use llm::{
    front::{
        logits::Row,
        options::{self, MODEL, SPECIAL},
    },
    tokenizer::EncodeOptions,
};

use super::loading::{engine_options, ensure_loaded, wait_until_idle};
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
    terminal::Terminal,
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "llm tokenize",
        usage: "TEXT...",
        n_positional: 1..=usize::MAX,
        options: options::TOKENIZE,
        summary: "show the token ids of each TEXT, as a prompt, in a line of its own",
        details: "The vocabulary is the current model's, else the first one's, which need not be loaded for it.",
        run: tokenize,
    },
    Command {
        name: "llm logits",
        usage: "ID,ID...",
        n_positional: 0..=1,
        options: options::LOGITS,
        summary: "run exactly these tokens and show the logits behind each",
        details: "One line per token, with a number for each token of the vocabulary; reading a number back as\n\
                  f32 gives exactly its bits. Of an encoder, the last layer's values are shown.",
        run: logits,
    },
];

fn tokenize(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let texts = arguments.texts(0, "TEXT")?;
    let model = arguments.option_text(MODEL.name)?;
    let options =
        EncodeOptions { add_special: !arguments.has("no-bos"), parse_special: arguments.has(SPECIAL.name) };
    let Shell { backend, terminal, .. } = shell;
    Ok(backend.tokenize(model, &texts, options, &mut |ids| print_ids(terminal, ids))?)
}

/// Prints ids in one line, separated by spaces.
pub(super) fn print_ids(terminal: &mut Terminal<'_>, ids: &[u32]) {
    for (index, id) in ids.iter().enumerate() {
        let separator = if index == 0 { "" } else { " " };
        terminal.print(format_args!("{separator}{id}"));
    }
    terminal.print(format_args!("\n"));
}

fn logits(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    const EXPECTED: &str = "token ids separated by commas";
    let argument = arguments.value(0, "ID,ID...", EXPECTED)?;
    let Ids(ids) = match (argument, arguments.option("tokens", EXPECTED)?) {
        (Some(_), Some(_)) => {
            return Err(CommandError::GivenTwice { argument: "ID,ID...", option: "tokens" });
        }
        (argument, option) => argument.or(option).ok_or(CommandError::Usage(arguments.command()))?,
    };
    let engine = engine_options(shell, arguments)?;
    ensure_loaded(shell, arguments, Some(engine))?;
    wait_until_idle(shell)?;
    let Shell { backend, terminal, .. } = shell;
    let shown = backend.logits(None, &ids, &mut |row| {
        terminal.print(format_args!("{}\n", Row(row)));
        terminal.check_interrupt()
    });
    Ok(shown?)
}

struct Ids(Vec<u32>);

impl FromStr for Ids {
    type Err = ParseIntError;

    fn from_str(list: &str) -> Result<Self, ParseIntError> {
        list.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}
