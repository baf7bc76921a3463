//! `llm tokenize`, `llm logits`: what a model reads and what it answers, as numbers that other programs
//! can read.

use alloc::vec::Vec;
use core::num::ParseIntError;
use core::str::FromStr;

use llm::tokenizer::EncodeOptions;

use super::models::{
    CONTEXT_OPTION, EXPECTED_CONTEXT, KV_TYPE_OPTION, MODEL_OPTION, ensure_loaded, set_kv_type,
};
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError, OptionSpec},
    terminal::Terminal,
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "llm tokenize",
        usage: "TEXT...",
        n_positional: 1..=usize::MAX,
        options: &[
            MODEL_OPTION,
            OptionSpec::flag("no-bos", "add no start or end token"),
            OptionSpec::flag("special", "names of special tokens stand for those tokens"),
        ],
        summary: "show the token ids of each TEXT, as a prompt, in a line of its own",
        details: "The vocabulary is the loaded model's, else the first one's, which need not be loaded for it.",
        run: tokenize,
    },
    Command {
        name: "llm logits",
        usage: "ID,ID...",
        n_positional: 0..=1,
        options: &[
            MODEL_OPTION,
            OptionSpec::new("tokens", "ID,ID...", "as the argument"),
            CONTEXT_OPTION,
            KV_TYPE_OPTION,
        ],
        summary: "run exactly these tokens and show the logits behind each",
        details: "One line per token, with a number for each token of the vocabulary; reading a number back as\n\
                  f32 gives exactly its bits. Of an encoder, the last layer's values are shown.",
        run: logits,
    },
];

fn tokenize(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let mut texts = Vec::new();
    for index in 0..arguments.positional().len() {
        texts.push(arguments.text(index, "TEXT")?.unwrap_or_default());
    }
    if arguments.has(MODEL_OPTION.name) {
        ensure_loaded(shell, arguments, None)?;
    }
    let options =
        EncodeOptions { add_special: !arguments.has("no-bos"), parse_special: arguments.has("special") };
    let Shell { backend, terminal, .. } = shell;
    Ok(backend.tokenize_with(&texts, options, &mut |ids| print_ids(terminal, ids))?)
}

/// Prints ids in one line, separated by spaces.
pub(super) fn print_ids(terminal: &mut Terminal<'_>, ids: &[u32]) {
    print_line(terminal, ids, |terminal, id| terminal.print(format_args!("{id}")));
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
    let n_ctx = arguments.option("ctx", EXPECTED_CONTEXT)?;
    set_kv_type(shell, arguments)?;
    ensure_loaded(shell, arguments, n_ctx)?;
    let Shell { backend, terminal, .. } = shell;
    let shown = backend.logits(&ids, &mut |row| {
        print_line(terminal, row, |terminal, logit| terminal.print(format_args!("{logit:e}")));
        terminal.check_interrupt()
    });
    Ok(shown?)
}

fn print_line<T>(terminal: &mut Terminal<'_>, items: &[T], print: impl Fn(&mut Terminal<'_>, &T)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            terminal.print(format_args!(" "));
        }
        print(terminal, item);
    }
    terminal.print(format_args!("\n"));
}

struct Ids(Vec<u32>);

impl FromStr for Ids {
    type Err = ParseIntError;

    fn from_str(list: &str) -> Result<Self, ParseIntError> {
        list.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}
