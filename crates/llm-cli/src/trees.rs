//! Trees of digests of files, and manifests that name the trusted roots: made here, and checked.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use trust::minisign::PublicKey;
use trust::sha256::PORTABLE;
use trust::verity::{Builder, SUPERBLOCK_BYTES, Superblock, Tree, VerityError};
use trust::{Manifests, Root};

/// How many bytes are read at a time: a whole number of blocks of any size.
const PIECE_BYTES: usize = 1 << 20;

/// The path with `extension` added.
pub fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(extension);
    name.into()
}

/// Fills as much of `buffer` as the file has bytes for.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// Writes the tree of a file beside it, and returns its root and how it was made.
///
/// # Errors
/// If the file cannot be read, or the tree cannot be written.
pub fn write(path: &Path, salt: &[u8]) -> Result<(Root, Superblock, u64)> {
    let shown = || path.display().to_string();
    let mut file = File::open(path).with_context(shown)?;
    let bytes = file.metadata().with_context(shown)?.len();
    let superblock = Superblock { salt: salt.to_vec(), ..Superblock::new(bytes) };
    let place = beside(path, ".verity");
    let unfinished = beside(path, ".verity.part");
    let mut tree = File::create(&unfinished).with_context(|| place.display().to_string())?;
    let mut written = Ok(());
    let mut write = |at: u64, block: &[u8]| {
        if written.is_ok() {
            written = tree.seek(SeekFrom::Start(at)).and_then(|_| tree.write_all(block));
        }
    };
    let mut builder = Builder::new(superblock.clone(), PORTABLE);
    let (mut piece, mut done) = (vec![0; PIECE_BYTES], 0);
    loop {
        let length = fill(&mut file, &mut piece).with_context(shown)?;
        if length == 0 {
            break;
        }
        done += length as u64;
        ensure!(done <= bytes, "{}: it became longer while it was read", path.display());
        builder.update(&piece[..length], &mut write);
    }
    ensure!(done == bytes, "{}: it became shorter while it was read", path.display());
    let root = builder.finish(&mut write);
    let renamed = written.and_then(|()| std::fs::rename(&unfinished, &place));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    renamed.with_context(|| place.display().to_string())?;
    Ok((root, superblock, bytes))
}

/// A tree beside a file.
pub struct TreeFile {
    path: PathBuf,
    file: BufReader<File>,
    tree: Tree,
}

impl TreeFile {
    /// Opens the tree of a file.
    ///
    /// # Errors
    /// If there is no tree, or if it is not supported.
    pub fn beside(path: &Path) -> Result<Self> {
        let path = beside(path, ".verity");
        let shown = || path.display().to_string();
        let mut file = BufReader::new(File::open(&path).with_context(shown)?);
        let mut start = [0; SUPERBLOCK_BYTES];
        fill(&mut file, &mut start).with_context(shown)?;
        let superblock = Superblock::parse(&start).with_context(shown)?;
        let mut read = |at: u64, buffer: &mut [u8]| read_at(&mut file, at, buffer).is_ok();
        let tree = Tree::open(superblock, PORTABLE, &mut read);
        let tree =
            tree.with_context(|| format!("{}: it ends too early, or is of one block only", path.display()))?;
        Ok(Self { path, file, tree })
    }

    /// The root of an unchanged tree.
    pub fn root(&self) -> Root {
        self.tree.root()
    }

    /// Checks that it has digests of as many blocks as it claims.
    ///
    /// # Errors
    /// If it does not, cannot be read, or was changed.
    pub fn check_end(&mut self) -> Result<()> {
        let mut read = |at: u64, buffer: &mut [u8]| read_at(&mut self.file, at, buffer).is_ok();
        self.tree.check_end(&mut read).map_err(|error| self.error(error))
    }

    fn error(&self, error: VerityError) -> anyhow::Error {
        let path = self.path.display();
        match error {
            VerityError::Mismatch(mismatch) => anyhow!("{path}: {mismatch}"),
            VerityError::Blocks { n_blocks } => {
                anyhow!("{path}: its root is that of a file of another length than {n_blocks} blocks")
            }
            _ => anyhow!("{path}: it ends too early"),
        }
    }

    /// Checks a file of `bytes` with this tree.
    ///
    /// # Errors
    /// If the file or the tree cannot be read, or was changed; the error says where.
    pub fn check(&mut self, path: &Path, bytes: u64) -> Result<()> {
        let shown = || path.display().to_string();
        let mut file = File::open(path).with_context(shown)?;
        let actual = file.metadata().with_context(shown)?.len();
        ensure!(
            actual == bytes && self.tree.superblock().is_for(bytes),
            "{}: it has {actual} bytes, expected {bytes}",
            path.display()
        );
        let block_bytes = u64::from(self.tree.superblock().data_block_bytes);
        let (mut piece, mut digests, mut first) = (vec![0; PIECE_BYTES], Vec::new(), 0);
        loop {
            let length = fill(&mut file, &mut piece).with_context(shown)?;
            if length == 0 {
                return Ok(());
            }
            let end = first + (length as u64).div_ceil(block_bytes);
            let mut read = |at: u64, buffer: &mut [u8]| read_at(&mut self.file, at, buffer).is_ok();
            digests.clear();
            self.tree.digests(first..end, &mut read, &mut digests).map_err(|error| self.error(error))?;
            if let Err(mismatch) = self.tree.hash().check(first, &piece[..length], &digests) {
                bail!("{}: {mismatch}", path.display());
            }
            first = end;
        }
    }

    /// The tree's own description.
    pub fn superblock(&self) -> &Superblock {
        self.tree.superblock()
    }
}

fn read_at(file: &mut BufReader<File>, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(buffer)
}

/// Reads manifests and checks the signatures beside them.
///
/// # Errors
/// If one cannot be read, or its signature is not valid.
pub fn signed_manifests(paths: &[PathBuf], keys: &[PublicKey]) -> Result<Manifests> {
    let mut manifests = Manifests::default();
    for path in paths {
        let mut bytes = Vec::new();
        for path in [path.to_owned(), beside(path, ".minisig")] {
            bytes.extend(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        manifests.add(&bytes, keys).with_context(|| path.display().to_string())?;
    }
    Ok(manifests)
}

/// Reads a file in minisign's format with a public key.
///
/// # Errors
/// If it cannot be read, or has no key.
pub fn public_key(path: &PathBuf) -> Result<PublicKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    PublicKey::parse(&text).with_context(|| format!("{}: no public key of minisign's", path.display()))
}
