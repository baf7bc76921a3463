//! `llm merge`: a model in several files as one.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::model_file::map;
use crate::split::Parts;

/// Write a model that is in several files (NAME-00001-of-00003.gguf and so on) as one file.
///
/// The programs of this host read such models as they are; disks of the kernel need one file.
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
    let context = || arguments.output.display().to_string();
    // Under another name until it is whole, so that an interrupted run leaves nothing that looks like a model.
    let unfinished = arguments.output.with_extension("part");
    let write = || -> Result<()> {
        let mut output = BufWriter::new(File::create(&unfinished)?);
        parts.write(|bytes| output.write_all(bytes))?;
        output.into_inner()?.sync_all()?;
        Ok(std::fs::rename(&unfinished, &arguments.output)?)
    };
    let result = write().with_context(context);
    if result.is_err() {
        // Half a model is of no use; that it could not be written is what is reported.
        let _ = std::fs::remove_file(&unfinished);
    }
    result
}
