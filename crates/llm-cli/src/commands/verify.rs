//! `llm verify`: compares a model file with the checksum that came with it.

use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::receipts::record;

/// Compare the SHA-256 of a model file with the checksum that came with it: FILE.sha256 beside it, in the format of
/// sha256sum.
#[derive(Args)]
pub struct Arguments {
    #[arg(long, required_unless_present = "file")]
    model: Option<PathBuf>,

    /// The same as --model.
    #[arg(value_name = "FILE", conflicts_with = "model")]
    file: Option<PathBuf>,
}

/// Hexadecimal digits of a checksum.
const DIGITS: usize = 64;

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Some(path) = arguments.model.as_ref().or(arguments.file.as_ref()) else {
        bail!("give --model FILE");
    };
    let actual = record(path).with_context(|| format!("cannot read {}", path.display()))?.sha256.to_string();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".sha256");
    let beside = PathBuf::from(beside);
    let checksum = match std::fs::read_to_string(&beside) {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "{}: SHA-256 is {actual}, but no checksum came with the file; expected a .sha256 file beside it",
            path.display()
        ),
        checksum => checksum.with_context(|| format!("cannot read {}", beside.display()))?,
    };
    let expected = checksum.trim_start().get(..DIGITS).map(str::to_ascii_lowercase);
    let expected = expected.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let Some(expected) = expected else {
        bail!("{}: no SHA-256, expected {DIGITS} hexadecimal digits first", beside.display());
    };
    if actual != expected {
        bail!(
            "{}: SHA-256 is {actual}, expected {expected}: the file is damaged or another one",
            path.display()
        );
    }
    Ok(writeln!(stdout(), "{}: SHA-256 {actual} as expected", path.display())?)
}
