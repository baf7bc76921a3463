//! `llm lora`: shows what adapters change in a model.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use llm::model::Model;

use crate::model_file::ModelFile;

/// Show what adapters (LoRA) are and whether they fit a model.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    model: PathBuf,

    /// GGUF files of adapters.
    #[arg(value_name = "ADAPTER", required = true)]
    adapters: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let file = ModelFile::open(&arguments.model)?;
    let model = Model::load(&file.gguf()?, file.bytes())?;
    for (id, path) in arguments.adapters.iter().enumerate() {
        let adapter_file = ModelFile::open(path)?;
        let adapter = adapter_file.adapter(&model, &file)?;
        let name = adapter_file.display_name(&adapter_file.gguf()?);
        let (rank, n_tensors) = (adapter.rank, adapter.low_ranks.list.len());
        let path = path.display();
        writeln!(
            stdout(),
            "{id}  {path}  {name}, rank {rank}, alpha {}, changes {n_tensors} tensors",
            adapter.alpha
        )?;
    }
    Ok(())
}
