//! `llm verify`: compares a model file with the checksum that came with it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sha2::{Digest, Sha256};

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

/// What is read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Hexadecimal digits of a checksum.
const DIGITS: usize = 64;

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Some(path) = arguments.model.as_ref().or(arguments.file.as_ref()) else {
        bail!("give --model FILE");
    };
    let actual = sha256(path).with_context(|| format!("cannot read {}", path.display()))?;
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

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hash = Sha256::new();
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n_bytes => hash.update(&buffer[..n_bytes]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
