//! `llm convert`: other people's checkpoints to GGUF.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use llm::quant::GgmlType;

use crate::convert::{Matrices, convert};

/// Convert a checkpoint (config.json, tokenizer.json, safetensors) of the llama or qwen2 family to GGUF.
#[derive(Args)]
pub struct Arguments {
    /// Directory of a checkpoint that AutoAWQ quantised to 4 bits; its matrices become Q4_1.
    #[arg(long, value_name = "DIR", conflicts_with = "ty", required_unless_present = "hf")]
    awq: Option<PathBuf>,

    /// Directory of a checkpoint in f32, f16 or bf16.
    #[arg(long, value_name = "DIR", conflicts_with = "awq")]
    hf: Option<PathBuf>,

    /// Type of the matrices, with --hf [default: F16].
    #[arg(long = "type", value_name = "TYPE", value_parser = super::quantize::quantizable_type)]
    ty: Option<GgmlType>,

    /// File to write.
    #[arg(value_name = "OUT.gguf")]
    output: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (directory, matrices) = match (&arguments.awq, &arguments.hf) {
        (Some(directory), _) => (directory, Matrices::Awq),
        (None, Some(directory)) => (directory, Matrices::Plain(arguments.ty.unwrap_or(GgmlType::F16))),
        (None, None) => anyhow::bail!("expected --awq DIR or --hf DIR"),
    };
    let context = || arguments.output.display().to_string();
    let file = File::create(&arguments.output).with_context(context)?;
    let result = convert(directory, matrices, BufWriter::new(file));
    if result.is_err() {
        // Half a model is of no use; that it could not be written is what is reported.
        let _ = std::fs::remove_file(&arguments.output);
    }
    result
}
