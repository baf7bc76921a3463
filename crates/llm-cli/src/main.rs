//! `llm`: the Ferrite inference engine as a host program.
//!
//! Each subcommand is a module of [`commands`]; their shared code is in [`model_file`], [`engine`], [`generation`],
//! [`chat_format`], [`interrupt`], [`output`] and [`thread_pool`]. Options that the kernel's shell also has get their names and
//! help from the engine's table ([`options`]). [`sockets`] connects the server to clients, `hub` downloads models, [`split`]
//! joins models in several files, and [`trees`] checks models.

mod chat_format;
mod commands;
mod engine;
mod generation;
#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
mod hub;
mod interrupt;
mod model_file;
mod options;
mod output;
mod receipts;
mod served_model;
mod sockets;
mod split;
mod synth;
mod thread_pool;
mod trees;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// LLM inference from GGUF files, with the engine that runs inside the Ferrite kernel.
#[derive(Parser)]
#[command(name = "llm", version, max_term_width = 100, after_help = EXAMPLES)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  llm infer --model test_models/tiny.gguf --prompt Hello -n 20
  llm infer --model model.gguf --prompt 'Once upon a time' -n 200 --temp 0.8 --top-p 0.95 --seed 7
  llm batch --model model.gguf --prompts prompts.txt --parallel 8
  llm chat --model model.gguf --system 'Answer briefly.'
  llm embed --model model.gguf 'A text' 'Another one'
  llm serve --model model.gguf --port 8080
  llm tokenize --model model.gguf 'How many tokens is this?'
  llm info --model model.gguf --metadata
  llm synth --shape tinyllama-1.1b --type Q4_0 -o random.gguf
  llm bench --model random.gguf -p 128 -n 32 -t 2 -r 3

Generated text, ids and tables go to standard output, errors in one line to standard error; the exit
status is 0, 1 after an error, or 130 after Ctrl-C.";

#[derive(Subcommand)]
enum Command {
    Infer(commands::infer::Arguments),
    Batch(commands::batch::Arguments),
    Chat(commands::chat::Arguments),
    Embed(commands::embed::Arguments),
    Rerank(commands::rerank::Arguments),
    Serve(commands::serve::Arguments),
    Logits(commands::logits::Arguments),
    Tokenize(commands::tokenize::Arguments),
    Info(commands::info::Arguments),
    Bench(commands::bench::Arguments),
    Verify(commands::verify::Arguments),
    VerifyAudit(commands::verify_audit::Arguments),
    VerifyReceipt(commands::verify_receipt::Arguments),
    MemBench(commands::mem_bench::Arguments),
    Perplexity(commands::perplexity::Arguments),
    Synth(commands::synth::Arguments),
    Quantize(commands::quantize::Arguments),
    Convert(commands::convert::Arguments),
    Lora(commands::lora::Arguments),
    Merge(commands::merge::Arguments),
    Sign(commands::sign::Arguments),
    Split(commands::split::Arguments),
    Pull(commands::pull::Arguments),
}

fn main() -> ExitCode {
    let matches = options::with_table(Program::command()).try_get_matches();
    let program = match matches.and_then(|matches| Program::from_arg_matches(&matches)) {
        Ok(program) => program,
        Err(error) => return report_usage(&error),
    };
    let result = match program.command {
        Command::Infer(arguments) => commands::infer::run(&arguments),
        Command::Batch(arguments) => commands::batch::run(&arguments),
        Command::Chat(arguments) => commands::chat::run(&arguments),
        Command::Embed(arguments) => commands::embed::run(&arguments),
        Command::Rerank(arguments) => commands::rerank::run(&arguments),
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Logits(arguments) => commands::logits::run(&arguments),
        Command::Tokenize(arguments) => commands::tokenize::run(&arguments),
        Command::Info(arguments) => commands::info::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Verify(arguments) => commands::verify::run(&arguments),
        Command::VerifyAudit(arguments) => commands::verify_audit::run(&arguments),
        Command::VerifyReceipt(arguments) => commands::verify_receipt::run(&arguments),
        Command::MemBench(arguments) => commands::mem_bench::run(&arguments),
        Command::Perplexity(arguments) => commands::perplexity::run(&arguments),
        Command::Synth(arguments) => commands::synth::run(&arguments),
        Command::Quantize(arguments) => commands::quantize::run(&arguments),
        Command::Convert(arguments) => commands::convert::run(&arguments),
        Command::Lora(arguments) => commands::lora::run(&arguments),
        Command::Merge(arguments) => commands::merge::run(&arguments),
        Command::Sign(arguments) => commands::sign::run(&arguments),
        Command::Split(arguments) => commands::split::run(&arguments),
        Command::Pull(arguments) => commands::pull::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// The messages of an error and its causes, in order. A message that repeats the one before it is left out, because many errors
/// include their source's message.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

/// Prints one line on standard error. If that fails, the exit status must suffice.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "llm: {}", Harmless(message));
}

/// A text that is safe to print on a terminal: control characters, which may occur in names from files, are escaped, except line
/// ends.
struct Harmless<'t>(&'t str);

impl fmt::Display for Harmless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c.is_control() && c != '\n' {
            true => write!(f, "{}", c.escape_default()),
            false => fmt::Write::write_char(f, c),
        })
    }
}

/// Whether the reader of standard output has closed it: it has what it wanted, so this is not an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints help if it was asked for; otherwise prints the first paragraph of clap's message as one line.
fn report_usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let status = ExitCode::from(u8::from(error.use_stderr()));
            // If printing fails, there is nobody to tell.
            let _ = error.print();
            status
        }
        _ => {
            let message = error.to_string();
            let lines: Vec<&str> =
                message.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            let message = lines.join(" ");
            let message = message.strip_prefix("error: ").unwrap_or(&message);
            complain(&format!("{message} (see `llm help`)"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_names_are_shown_escaped() {
        assert_eq!(Harmless("a\nb\x1b[2J é").to_string(), "a\nb\\u{1b}[2J é");
    }

    #[test]
    fn a_cause_that_its_effect_has_told_is_told_once() {
        let io = || io::Error::other("the disk is gone");
        assert_eq!(causes(&anyhow::Error::new(io()).context("a.gguf")), "a.gguf: the disk is gone");
        // Includes `transparent` errors, and errors whose message ends with their source's.
        let telling = anyhow::Error::new(io()).context("io: the disk is gone").context("a.gguf");
        assert_eq!(causes(&telling), "a.gguf: io: the disk is gone");
        assert_eq!(causes(&anyhow::anyhow!("no").context("no")), "no");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        options::with_table(Program::command()).debug_assert();
    }
}
