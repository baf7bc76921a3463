//! `llm convert`: converts other programs' checkpoints to GGUF.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use convert::{Bytes, Files, Matrices, MatrixTypes, convert};
use llm::quant::GgmlType;

use super::quantize;
use crate::model_file::map;

/// Convert a checkpoint (config.json, tokenizer.json or tokenizer.model, safetensors) of a family such as llama or
/// qwen3 to GGUF.
///
/// Lines tell what the file has otherwise than was asked for.
#[derive(Args)]
pub struct Arguments {
    /// Directory of a checkpoint that AutoAWQ quantised to 4 bits; its matrices become Q4_1.
    #[arg(long, value_name = "DIR", conflicts_with = "types", required_unless_present = "hf")]
    awq: Option<PathBuf>,

    /// Directory of a checkpoint in f32, f16 or bf16, or quantised by GPTQ, whose weights are taken as they are.
    #[arg(long, value_name = "DIR", conflicts_with = "awq")]
    hf: Option<PathBuf>,

    /// Type of the matrices, with --hf, or the name of a mixture, such as Q4_K_M [default: F16].
    #[arg(long = "type", value_name = "TYPE", value_parser = quantize::matrix_types)]
    types: Option<MatrixTypes>,

    /// File to write.
    #[arg(value_name = "OUT.gguf")]
    output: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (directory, matrices) = match (&arguments.awq, &arguments.hf) {
        (Some(directory), _) => (directory, Matrices::Awq),
        (None, Some(directory)) => {
            (directory, Matrices::Plain(arguments.types.unwrap_or(MatrixTypes::All(GgmlType::F16))))
        }
        (None, None) => anyhow::bail!("expected --awq DIR or --hf DIR"),
    };
    let context = || arguments.output.display().to_string();
    let file = File::create(&arguments.output).with_context(context)?;
    let result = convert(&Directory(directory), matrices, BufWriter::new(file));
    if result.is_err() {
        // Half a model is useless. Only the error of writing it is reported.
        let _ = std::fs::remove_file(&arguments.output);
    }
    for note in result.with_context(|| directory.display().to_string())? {
        writeln!(io::stdout(), "{note}")?;
    }
    Ok(())
}

/// The files of a directory, mapped.
struct Directory<'p>(&'p Path);

impl Files for Directory<'_> {
    fn open(&self, name: &str) -> io::Result<Option<Bytes<'_>>> {
        match map(&self.0.join(name)) {
            Ok(bytes) => Ok(Some(Box::new(bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        match std::fs::read_dir(self.0.join(folder)) {
            Ok(entries) => {
                entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}
