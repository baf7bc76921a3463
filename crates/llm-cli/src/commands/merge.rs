//! `llm merge`: a model in several files as one.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

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
    let (file, unfinished) = create_beside(&arguments.output).with_context(context)?;
    let write = || -> Result<()> {
        let mut output = BufWriter::new(file);
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

/// Creates a file that was not there, named after `output`: OUT.part, or OUT.1.part and so on.
fn create_beside(output: &Path) -> std::io::Result<(File, PathBuf)> {
    let mut number = 0;
    loop {
        let mut path = output.as_os_str().to_owned();
        path.push(if number == 0 { String::from(".part") } else { format!(".{number}.part") });
        match File::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            result => return result.map(|file| (file, path.into())),
        }
    }
}
