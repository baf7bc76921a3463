//! `llm logits`: the raw output of the forward pass, for comparison with other engines.

use std::fs::File;
use std::io::{self, BufWriter, Write, stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, Error, Result, bail};
use clap::Args;
use llm::front::logits::{self, Row};

use crate::engine::{EngineArguments, EngineMemory};

/// Show the logits behind every given token, or write them to a file.
///
/// Exactly the given tokens are run; nothing is added in front. A line per token has a number for each token of the
/// vocabulary; reading a number back as f32 gives exactly its bits. Of an encoder, the last layer's values are shown.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    #[arg(long, value_delimiter = ',')]
    tokens: Vec<u32>,

    #[arg(
        value_name = "ID,ID,...",
        hide = true,
        value_delimiter = ',',
        conflicts_with = "tokens",
        required_unless_present = "tokens"
    )]
    tokens_argument: Vec<u32>,

    #[arg(long)]
    output: Option<PathBuf>,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let opened = arguments.engine.open(&arguments.model)?;
    let gguf = opened.file.gguf()?;
    let model = opened.model(&gguf)?;
    let tokens = [&arguments.tokens[..], &arguments.tokens_argument].concat();
    let options = arguments.engine.runner_options(model.config(), tokens.len(), tokens.len(), 1);
    if tokens.len() > options.state.n_ctx {
        bail!("{} tokens do not fit into a context of {}", tokens.len(), options.state.n_ctx);
    }
    let mut memory = EngineMemory::allocate(model.config(), &options)?;
    let mut runner = opened.runner(model, options, &mut memory)?;
    let mut write = |output: &mut dyn Write, write_row: fn(&mut dyn Write, &[f32]) -> io::Result<()>| {
        let mut written = Ok(());
        let run = logits::run(&mut runner, &tokens, &mut |row| {
            written = write_row(output, row);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        written?;
        run?;
        Ok::<_, Error>(output.flush()?)
    };
    match &arguments.output {
        None => write(&mut BufWriter::new(stdout().lock()), |output, row| writeln!(output, "{}", Row(row))),
        Some(path) => {
            let context = || format!("cannot write {}", path.display());
            let mut file = BufWriter::new(File::create(path).with_context(context)?);
            write(&mut file, |output, row| {
                row.iter().try_for_each(|logit| output.write_all(&logit.to_le_bytes()))
            })
            .map_err(|error| if error.is::<io::Error>() { error.context(context()) } else { error })
        }
    }
}
