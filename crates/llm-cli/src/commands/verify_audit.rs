//! `llm verify-audit`: checks that the lines of a server's audit follow each other.

use std::fs::File;
use std::io::{BufRead, BufReader, Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serve::audit::Chain;
use trust::hex::Hex;

/// Check that no line of an audit was changed, left out or moved: each has the hash of the one before.
///
/// FILE has lines as GET /v1/audit gives them, one after the other. Whether the last one was changed, or the first ones left out, only
/// those can tell who know its hash, or look for seq 0.
#[derive(Args)]
pub struct Arguments {
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let name = arguments.file.display();
    let file = File::open(&arguments.file).with_context(|| format!("cannot read {name}"))?;
    let mut chain = Chain::default();
    for (line, number) in BufReader::new(file).lines().zip(1..) {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        chain.take(&line).with_context(|| format!("{name}, line {number}"))?;
    }
    let Some((last, hash)) = chain.last else { bail!("{name}: expected lines of an audit, found none") };
    let (n, first) = (chain.n, chain.first_seq);
    let hash = Hex(&hash);
    Ok(writeln!(
        stdout(),
        "{name}: {n} lines follow each other, seq {first} to {last}; SHA-256 of the last {hash}"
    )?)
}
