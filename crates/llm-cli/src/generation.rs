//! [`GenerationArguments`]: how many tokens, how they are chosen and where they end, from the command line.

pub mod sampling;

use std::fs;
use std::io::{self, IsTerminal, Write, stdout};
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use clap::Args;
use llm::front::options::{MAX_SPECULATED, MaxTokens, NLogprobs};
use llm::front::{Apart, Event, GrammarText, LogprobLine, LogprobWish, Report, Wanted, trace};
use llm::gguf::Gguf;
use llm::quant::ModelBytes;
use llm::session::FinishReason;

use crate::complain;
use sampling::SamplingArguments;

/// Options of every command that generates text.
#[derive(Args)]
#[command(next_help_heading = "Generation")]
pub struct GenerationArguments {
    #[arg(long = "max-tokens", allow_negative_numbers = true, value_parser = max_tokens)]
    n: Option<usize>,

    #[command(flatten)]
    sampling: SamplingArguments,

    #[arg(long, default_value_t = 0, hide_default_value = true)]
    speculate: usize,

    #[arg(long, allow_hyphen_values = true)]
    stop: Vec<String>,

    #[arg(long)]
    grammar: Option<String>,

    #[arg(long)]
    json_schema: Option<String>,

    #[arg(long, allow_negative_numbers = true, value_parser = max_tokens)]
    reasoning_budget: Option<usize>,

    #[arg(long)]
    verbose: bool,
}

impl GenerationArguments {
    /// The number of tokens given as an option.
    pub fn max_tokens(&self) -> Option<usize> {
        self.n
    }

    /// Most tokens that a model may think, if limited.
    pub fn thinking_budget(&self) -> Option<usize> {
        self.reasoning_budget.and_then(|n| MaxTokens(n).limit())
    }

    /// Prints the magnitudes of the weights in a file with this header, if the options ask for it.
    pub fn show_weights(&self, gguf: &Gguf<'_>, file: ModelBytes<&[u8]>) {
        if self.verbose {
            // The closure never stops early.
            let _ = trace::weight_magnitudes(gguf, file, &mut |line| {
                complain(&line.to_string());
                ControlFlow::Continue(())
            });
        }
    }

    /// The request that the options describe. A random seed is printed.
    pub fn wanted(&self, max_tokens: usize) -> Result<Wanted<'_>> {
        let request = self.sampling.request();
        Ok(Wanted {
            max_tokens,
            sampling: sampling::config(&request)?,
            breakers: request.breakers().to_vec(),
            grammar: GrammarText::asked(
                self.grammar.as_deref(),
                self.json_schema.as_deref(),
                anyhow::Error::msg,
                |file| fs::read_to_string(file).with_context(|| format!("cannot read {file}")),
            )?,
            thinking_budget: self.thinking_budget(),
            ignore_eos: request.ignores_eos(),
            logprobs: None,
            stop: self.stop.iter().map(String::as_str).collect(),
            speculate: self.speculate.min(MAX_SPECULATED),
            trace: self.verbose,
        })
    }
}

/// Options of the commands that can tell how likely tokens were.
#[derive(Args)]
pub struct LogprobArguments {
    #[arg(long, value_parser = n_logprobs)]
    logprobs: Option<usize>,

    #[arg(long)]
    post_sampling_probs: bool,
}

impl LogprobArguments {
    /// Which log-probabilities are wanted for each token.
    ///
    /// # Errors
    /// If only options about their form are given.
    pub fn wish(&self) -> Result<Option<LogprobWish>> {
        LogprobWish::asked(self.logprobs, self.post_sampling_probs).map_err(anyhow::Error::msg)
    }
}

fn n_logprobs(text: &str) -> Result<usize, String> {
    text.parse().map(|NLogprobs(n)| n).map_err(|()| format!("expected {}", NLogprobs::EXPECTED))
}

/// Prints the notes that users must not miss at the end of an answer, or all of them if the options ask for that.
pub fn tell(wanted: &Wanted<'_>, report: &Report, n_ctx: usize) {
    if wanted.speculate > 0 {
        let speculation = report.speculation;
        complain(&format!("{} of {} guessed tokens came", speculation.n_accepted, speculation.n_drafted));
    }
    if report.finish_reason == FinishReason::ContextFull {
        complain(&format!("stopped, since the context of {n_ctx} tokens is full"));
    }
    if wanted.trace {
        complain(&report.to_string());
    }
}

/// Prints events to standard output: text as it comes or, if requested, only ids, or lines with log-probabilities. Traces go to
/// standard error.
#[derive(Default)]
pub struct Output {
    as_ids: bool,
    has_ids: bool,
    /// For answers that are divided into parts.
    apart: Option<Apart>,
    /// Whether each token gets a line with its log-probability.
    has_lines: bool,
    error: Option<io::Error>,
}

impl Output {
    /// Prints the ids of tokens instead of text if `as_ids` is set.
    pub fn of_ids(as_ids: bool) -> Self {
        Self { as_ids, ..Self::default() }
    }

    /// Prints the text for the user and, at a terminal, the thoughts.
    pub fn told_apart() -> Self {
        Self { apart: Some(Apart::new(stdout().is_terminal())), ..Self::default() }
    }

    /// Prints what an event contains; stops the generation if that fails.
    pub fn show(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        match self.write(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.error.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }

    fn write(&mut self, event: &Event<'_>) -> io::Result<()> {
        let mut output = stdout().lock();
        match event {
            Event::Prompt | Event::Embedding(_) | Event::Failed { .. } => return Ok(()),
            Event::Forgotten(forgotten) => complain(&forgotten.to_string()),
            Event::Trace { step, logits } => complain(&format!("step {step}: {logits}")),
            &Event::Token { id, logprobs: Some(logprobs), tokenizer, .. } => {
                let tokenizer = Some(tokenizer).filter(|_| !self.as_ids);
                self.has_lines = true;
                writeln!(output, "{}", LogprobLine { id, logprobs, tokenizer })?;
            }
            Event::Token { id, .. } if self.as_ids => {
                let separator = if self.has_ids { " " } else { "" };
                self.has_ids = true;
                write!(output, "{separator}{id}")?;
            }
            Event::Finished { .. } if self.as_ids => {}
            _ if self.has_lines => {}
            event => match &mut self.apart {
                None => output.write_all(event.text().as_bytes())?,
                Some(apart) => {
                    let mut written = Ok(());
                    apart.show(event, &mut |text| {
                        if written.is_ok() {
                            written = output.write_all(text.as_bytes());
                        }
                    });
                    written?;
                }
            },
        }
        output.flush()
    }

    /// Ends the line.
    ///
    /// # Errors
    /// The error of the output, if it failed.
    pub fn finish(self) -> io::Result<()> {
        match self.error {
            Some(error) => Err(error),
            None if self.has_lines => Ok(()),
            None => writeln!(stdout()),
        }
    }
}

/// Parses a maximum number of tokens.
pub fn max_tokens(text: &str) -> Result<usize, String> {
    text.parse().map(|MaxTokens(n)| n).map_err(|_| format!("expected {}", MaxTokens::EXPECTED))
}
