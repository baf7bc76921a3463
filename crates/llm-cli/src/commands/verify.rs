//! `llm verify`: compares a model file with the checksum that came with it.

use std::io::{ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use trust::Root;

use crate::receipts::record;
use crate::trees::{TreeFile, public_key, signed_manifests};

/// Compare the SHA-256 of a model file with the checksum that came with it: FILE.sha256 beside it, in the format of
/// sha256sum. With a public key or a root, check it block by block by its tree of digests instead, FILE.verity, as the kernel does.
#[derive(Args)]
pub struct Arguments {
    #[arg(long, required_unless_present = "file")]
    model: Option<PathBuf>,

    /// The same as --model.
    #[arg(value_name = "FILE", conflicts_with = "model")]
    file: Option<PathBuf>,

    #[arg(long)]
    public_key: Vec<PathBuf>,

    #[arg(long, default_value = "models.manifest", hide_default_value = true)]
    manifest: Vec<PathBuf>,

    #[arg(long, value_parser = root, conflicts_with = "public_key")]
    root: Option<Root>,
}

fn root(digits: &str) -> Result<Root, &'static str> {
    Root::parse(digits).ok_or("expected 64 hexadecimal digits")
}

/// Checks a file with its tree; the root must be trusted because of a signature or the command line.
fn verify_by_tree(path: &Path, arguments: &Arguments) -> Result<()> {
    let shown = path.display();
    let mut tree = TreeFile::beside(path)?;
    let root = tree.root();
    let vouched = match arguments.root {
        Some(expected) => {
            ensure!(root == expected, "{shown}: its root is {root}, expected {expected}");
            tree.check_end()?;
            tree.check(path, path.metadata()?.len())?;
            String::from("as told")
        }
        None => {
            let keys = arguments.public_key.iter().map(public_key).collect::<Result<Vec<_>>>()?;
            let manifests = signed_manifests(&arguments.manifest, &keys)?;
            let (entry, key) = match (manifests.find(root, tree.superblock()), manifests.fault()) {
                (Ok(found), _) => found,
                (Err(Some(refusal)), _) => bail!("{shown}: {refusal}"),
                (Err(None), Some(fault)) => bail!("{shown}: nobody vouches for its root {root}; {fault}"),
                (Err(None), None) => bail!("{shown}: nobody vouches for its root {root}"),
            };
            tree.check(path, entry.bytes)?;
            format!("{}, version {}, signed with key {key}", entry.name, entry.version)
        }
    };
    Ok(writeln!(stdout(), "{shown}: root {root}, {vouched}")?)
}

/// Number of hexadecimal digits in a checksum.
const DIGITS: usize = 64;

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Some(path) = arguments.model.as_ref().or(arguments.file.as_ref()) else {
        bail!("give --model FILE");
    };
    if arguments.root.is_some() || !arguments.public_key.is_empty() {
        return verify_by_tree(path, arguments);
    }
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
