//! `llm logits`: the raw output of the forward pass, for comparison with other engines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use llm::model::Model;
use llm::session::{Logits, Session};

use crate::engine::{EngineArguments, SessionMemory};
use crate::model_file::ModelFile;

/// Write the logits of every given token as little-endian f32, one row of the vocabulary per token.
///
/// Exactly the given tokens are run; nothing is added in front.
#[derive(Args)]
pub struct Arguments {
    /// The model, a GGUF file.
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,

    /// Token ids, separated by commas; may be given as an argument.
    #[arg(long, value_name = "ID,ID,...", value_delimiter = ',')]
    tokens: Vec<u32>,

    #[arg(
        value_name = "ID,ID,...",
        hide = true,
        value_delimiter = ',',
        conflicts_with = "tokens",
        required_unless_present = "tokens"
    )]
    tokens_argument: Vec<u32>,

    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let workers = arguments.engine.workers()?;
    let kernels = arguments.engine.kernels()?;
    let mut file = ModelFile::open(&arguments.model)?;
    file.pack(kernels, &workers)?;
    let gguf = file.gguf()?;
    let model = Model::load(&gguf)?;
    let tokens = [&arguments.tokens[..], &arguments.tokens_argument].concat();
    let options = arguments.engine.session_options(model.config(), tokens.len(), tokens.len());
    if tokens.len() > options.n_ctx {
        bail!("{} tokens do not fit into a context of {}", tokens.len(), options.n_ctx);
    }
    let mut memory = SessionMemory::allocate(model.config(), &options)?;
    let mut session = Session::new(model, options, kernels, &workers, memory.as_mut_slice())?;

    let context = || format!("cannot write {}", arguments.output.display());
    let mut output = BufWriter::new(File::create(&arguments.output).with_context(context)?);
    for batch in tokens.chunks(options.n_batch) {
        for logit in session.forward(batch, Logits::All)? {
            output.write_all(&logit.to_le_bytes()).with_context(context)?;
        }
    }
    output.flush().with_context(context)
}
