//! [`GenerationArguments`]: how many tokens, how they are chosen and where they end, from the command line.

use std::io::{self, IsTerminal, Write, stdout};
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use clap::Args;
use llm::front::options::{MAX_SPECULATED, MaxTokens};
use llm::front::{Apart, Event, Report, Wanted, trace};
use llm::gguf::Gguf;
use llm::quant::ModelBytes;
use llm::sampling::{SamplingConfig, SamplingRequest, Seed};
use llm::session::FinishReason;

use crate::complain;

/// Options of every command that generates text.
#[derive(Args)]
#[command(next_help_heading = "Generation")]
pub struct GenerationArguments {
    #[arg(long = "max-tokens", allow_negative_numbers = true, value_parser = max_tokens)]
    n: Option<usize>,

    #[arg(long, allow_negative_numbers = true)]
    temp: Option<f32>,

    #[arg(long, allow_negative_numbers = true)]
    top_k: Option<i64>,

    #[arg(long, allow_negative_numbers = true)]
    top_p: Option<f32>,

    #[arg(long, allow_negative_numbers = true)]
    min_p: Option<f32>,

    #[arg(long, allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,

    #[arg(long, allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,

    #[arg(long, allow_negative_numbers = true)]
    presence_penalty: Option<f32>,

    #[arg(long, allow_negative_numbers = true)]
    repeat_last_n: Option<i64>,

    #[arg(long, allow_negative_numbers = true)]
    seed: Option<Seed>,

    #[arg(long, default_value_t = 0, hide_default_value = true)]
    speculate: usize,

    #[arg(long, allow_hyphen_values = true)]
    stop: Vec<String>,

    #[arg(long)]
    verbose: bool,
}

impl GenerationArguments {
    /// The number of tokens that was given as an option.
    pub fn max_tokens(&self) -> Option<usize> {
        self.n
    }

    /// Shows the magnitudes of the weights in a file with this header, if the options ask for it.
    pub fn show_weights(&self, gguf: &Gguf<'_>, file: ModelBytes<&[u8]>) {
        if self.verbose {
            // Nothing breaks off here.
            let _ = trace::weight_magnitudes(gguf, file, &mut |line| {
                complain(&line.to_string());
                ControlFlow::Continue(())
            });
        }
    }

    /// What the options ask for. A random seed is shown.
    pub fn wanted(&self, max_tokens: usize) -> Result<Wanted<'_>> {
        Ok(Wanted {
            max_tokens,
            sampling: self.sampling()?,
            stop: self.stop.iter().map(String::as_str).collect(),
            speculate: self.speculate.min(MAX_SPECULATED),
            trace: self.verbose,
        })
    }

    fn sampling(&self) -> Result<SamplingConfig> {
        let request = SamplingRequest {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            repeat_last_n: self.repeat_last_n,
            seed: self.seed,
        };
        let is_random = self.seed == Some(Seed::Random);
        let random_seed = if is_random { getrandom::u32().context("cannot make a random seed")? } else { 0 };
        let config = request.config(|| random_seed.into())?;
        if is_random {
            complain(&format!("seed {}", config.seed));
        }
        Ok(config)
    }
}

/// Says at the end what is not to be missed, and all of it if the options ask for it.
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

/// Standard output, to which events are shown: text as it comes or, if only these are wanted, ids. Traces go to
/// standard error.
#[derive(Default)]
pub struct Output {
    as_ids: bool,
    has_ids: bool,
    /// For answers that are told apart.
    apart: Option<Apart>,
    error: Option<io::Error>,
}

impl Output {
    /// Shows the ids of tokens instead of text.
    pub fn of_ids(as_ids: bool) -> Self {
        Self { as_ids, ..Self::default() }
    }

    /// Shows what is said and, at a terminal, what is thought.
    pub fn told_apart() -> Self {
        Self { apart: Some(Apart::new(stdout().is_terminal())), ..Self::default() }
    }

    /// Shows what an event brings; breaks off if that fails.
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
            Event::Token { id, .. } if self.as_ids => {
                let separator = if self.has_ids { " " } else { "" };
                self.has_ids = true;
                write!(output, "{separator}{id}")?;
            }
            Event::Finished { .. } if self.as_ids => {}
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
    /// What went wrong with the output.
    pub fn finish(self) -> io::Result<()> {
        match self.error {
            Some(error) => Err(error),
            None => writeln!(stdout()),
        }
    }
}

/// Parses how many tokens may be generated.
pub fn max_tokens(text: &str) -> Result<usize, String> {
    text.parse().map(|MaxTokens(n)| n).map_err(|_| format!("expected {}", MaxTokens::EXPECTED))
}
