//! `llm tokenize`, `llm logits`: what a model reads and what it answers, as numbers that other programs
//! can read.

use alloc::vec::Vec;
use core::num::ParseIntError;
use core::str::FromStr;

use llm::tokenizer::EncodeOptions;

use super::models::{CONTEXT_OPTION, EXPECTED_CONTEXT, KV_TYPE_OPTION, ensure_loaded, set_kv_type};
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
            OptionSpec { name: "no-bos", value: None, help: "add no start or end token" },
            OptionSpec {
                name: "special",
                value: None,
                help: "names of special tokens stand for those tokens",
            },
        ],
        summary: "show the token ids of each TEXT, as a prompt, in a line of its own",
        details: "The vocabulary is the loaded model's, else the first one's, which need not be loaded for it.",
        run: tokenize,
    },
    Command {
        name: "llm logits",
        usage: "ID,ID...",
        n_positional: 1..=1,
        options: &[CONTEXT_OPTION, KV_TYPE_OPTION],
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
    let ids = arguments.value(0, "ID,ID...", "token ids separated by commas")?;
    let Ids(ids) = ids.unwrap_or_default();
    let n_ctx = arguments.option("ctx", EXPECTED_CONTEXT)?;
    set_kv_type(shell, arguments)?;
    ensure_loaded(shell, n_ctx)?;
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

#[derive(Default)]
struct Ids(Vec<u32>);

impl FromStr for Ids {
    type Err = ParseIntError;

    fn from_str(list: &str) -> Result<Self, ParseIntError> {
        list.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}
