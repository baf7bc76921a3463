//! Files that are written completely or not at all.

use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes a file under another name until it is complete, so that an interrupted run leaves nothing that looks like a model.
///
/// # Errors
///
/// If the file cannot be written or `write` fails; nothing is left then.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let context = || path.display().to_string();
    let (file, unfinished) = create_beside(path).with_context(context)?;
    let write = || -> Result<()> {
        let mut output = BufWriter::new(file);
        write(&mut output)?;
        output.into_inner()?.sync_all()?;
        Ok(std::fs::rename(&unfinished, path)?)
    };
    let result = write().with_context(context);
    if result.is_err() {
        // Half a model is useless. Only the error of writing it is reported.
        let _ = std::fs::remove_file(&unfinished);
    }
    result
}

/// Creates a file that did not exist, named after `path`: PATH.part, or PATH.1.part and so on.
fn create_beside(path: &Path) -> std::io::Result<(File, PathBuf)> {
    let mut number = 0;
    loop {
        let mut beside = path.as_os_str().to_owned();
        beside.push(if number == 0 { String::from(".part") } else { format!(".{number}.part") });
        match File::create_new(&beside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            result => return result.map(|file| (file, beside.into())),
        }
    }
}
