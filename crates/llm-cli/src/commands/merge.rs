//! `llm merge`: writes a model in several files as one file.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::model_file::map;
use crate::output::write_whole;
use crate::split::Parts;

/// Write a model that is in several files (NAME-00001-of-00003.gguf and so on) as one file.
///
/// The result is that of llama.cpp's gguf-split --merge. Models in several files are read as they are too, also from several
/// disks of the kernel.
#[derive(Args)]
pub struct Arguments {
    /// One of the files; the others lie beside it.
    #[arg(value_name = "PART")]
    part: PathBuf,

    /// GGUF file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let bytes = map(&arguments.part).with_context(|| format!("cannot read {}", arguments.part.display()))?;
    let Some(parts) = Parts::of(&arguments.part, &bytes)? else {
        bail!("{}: it is not a part of a model", arguments.part.display());
    };
    if parts.contain(&arguments.output) {
        bail!("{} cannot be read and written at once", arguments.output.display());
    }
    write_whole(&arguments.output, |output| parts.write(|bytes| output.write_all(bytes)))
}
