//! `llm synth`: writes a model with random weights.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use convert::MatrixTypes;

use super::quantize;
use crate::synth::{SYNTAX, Shape, write_model};

/// Large enough that the time spent in the system is negligible.
const BUFFER_BYTES: usize = 1 << 20;

/// Write a model of a given shape with random weights, for measuring speed and memory.
///
/// The same shape and type give the same file, whatever the machine.
#[derive(Args)]
#[command(after_help = SYNTAX)]
pub struct Arguments {
    /// The shape; see below.
    #[arg(long, value_name = "SHAPE")]
    shape: String,

    /// Type of the matrices, or the name of llama.cpp's mixture of K types, such as Q4_K_M.
    #[arg(long = "type", value_name = "TYPE", default_value = "Q4_0", value_parser = quantize::matrix_types)]
    types: MatrixTypes,

    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let shape = Shape::parse(&arguments.shape)?;
    let context = || arguments.output.display().to_string();
    let file = File::create(&arguments.output).with_context(context)?;
    let output = BufWriter::with_capacity(BUFFER_BYTES, file);
    let fallbacks = write_model(&shape, arguments.types, output).with_context(context)?;
    Ok(quantize::tell(&fallbacks)?)
}
