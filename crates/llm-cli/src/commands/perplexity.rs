//! `llm perplexity`: how well a model predicts a text.

use std::io::{Write, stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use llm::front::PROMPT_ENCODING;
use llm::model::Input;
use llm::session::{Logits, Span};

use crate::commands::tokenize::read_text;
use crate::engine::{EngineArguments, EngineMemory};

/// Positions of a window by default, if the model has as many.
const WINDOW: usize = 512;

/// How many positions' logits are kept at a time.
const ROWS: usize = 64;

/// Print the perplexity of a text: exp of the mean negative log likelihood of its tokens.
///
/// The text's tokens, with the start token in front where the model asks for one, are cut into windows
/// of --ctx tokens [default: 512, or the model's context], each read into an empty cache. Every token of
/// a window but the first counts, given those before it in the window; a last window that is shorter
/// counts as far as it goes.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    /// File with the text, taken whole.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let opened = arguments.engine.open(&arguments.model)?;
    let prompter = opened.prompter()?;
    let model = opened.model(prompter.gguf())?;
    if model.config().is_encoder() {
        bail!("an encoder does not predict text");
    }
    let mut tokens = Vec::new();
    prompter.tokenizer()?.encode(&read_text(&arguments.file)?, PROMPT_ENCODING, &mut tokens)?;
    if tokens.len() < 2 {
        bail!("a text of {} tokens has none to predict, expected at least 2", tokens.len());
    }

    let n_vocab = model.config().n_vocab;
    let options = arguments.engine.runner_options(model.config(), WINDOW, ROWS, 1);
    let mut memory = EngineMemory::allocate(model.config(), &options)?;
    let mut runner = opened.runner(model, options, &mut memory)?;
    let (mut sum, mut n_counted) = (0.0, 0);
    for window in tokens.chunks(options.state.n_ctx) {
        // The last token predicts no token of the window.
        for (index, batch) in window[..window.len() - 1].chunks(options.n_logits).enumerate() {
            let first_position = index * options.n_logits;
            let targets = &window[first_position + 1..];
            // A span at position 0 begins a new text.
            let span = Span { slot: 0, first_position, input: Input::Tokens(batch), logits: Logits::All };
            let rows = runner.run(&[span], &mut || ControlFlow::Continue(()))?.chunks_exact(n_vocab);
            sum += rows.zip(targets).map(|(row, &target)| surprise(row, target)).sum::<f64>();
            n_counted += batch.len();
        }
    }
    let mean = sum / n_counted as f64;
    writeln!(stdout(), "perplexity {:.4} ({mean:.6} nats a token, {n_counted} tokens)", mean.exp())?;
    Ok(())
}

/// The negative log likelihood of a token, in nats.
fn surprise(logits: &[f32], target: u32) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    max + sum.ln() - f64::from(logits[target as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surprise_is_the_negative_log_of_the_softmax() {
        // The weights are 1, 2, 4 and 1; the third one has one half.
        let logits = [1000.0, 1000.0 + 2.0_f32.ln(), 1000.0 + 4.0_f32.ln(), 1000.0];
        assert!((surprise(&logits, 2) - 2.0_f64.ln()).abs() < 1e-4);
        assert!((surprise(&logits, 0) - 8.0_f64.ln()).abs() < 1e-4);
    }
}
