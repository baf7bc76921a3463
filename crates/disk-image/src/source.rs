//! The files of models and adapters, and the names of their partitions.

use crate::table::{MANIFEST_TYPE, MODEL_TYPE, TREE_TYPE};
use anyhow::{Context, Result, bail, ensure};
use gpt_disk_types::GptPartitionType;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// Most characters of a name. A partition's entry has room for 36 characters including a final zero (UEFI specification 2.10,
/// section 5.3.3).
const MAX_NAME: usize = 35;

/// How many bytes of a file are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// A file that becomes a partition.
#[derive(Debug)]
pub struct Source {
    /// The path of the file.
    pub path: PathBuf,
    /// The partition's name, which is unique.
    pub name: String,
    /// The file's length, including the file in `behind`.
    pub length_bytes: u64,
    /// The partition's type.
    pub ty: GptPartitionType,
    /// A second file whose bytes follow.
    behind: Option<PathBuf>,
    /// The checksum in the file beside it.
    sha256: Option<String>,
}

/// The files that `FILE` or `FILE:NAME` mean: first the models, then the adapters, each with all its parts.
///
/// # Errors
/// If one does not exist, is not a GGUF file, or cannot have its name.
pub fn find(models: &[String], adapters: &[String]) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for spec in models.iter().chain(adapters) {
        ensure!(
            !spec.starts_with("hf:"),
            "{spec}: expected a file; `llm pull` fetches one of the Hugging Face hub and prints where it is"
        );
        let (path, name) = match spec.rsplit_once(':') {
            Some((path, name)) if !Path::new(spec).exists() && !name.contains('/') => (path, Some(name)),
            _ => (spec.as_str(), None),
        };
        let name = name.map(|name| checked(spec, name)).transpose()?;
        let stem = file_stem(Path::new(path))?;
        match Parts::of(stem) {
            None => add(&mut sources, Path::new(path), name, stem, "")?,
            Some(parts) => {
                let name = name
                    .map(|name| {
                        ensure!(
                            name.len() + Parts::SUFFIX_BYTES <= MAX_NAME,
                            "{spec}: expected a name of up to {} characters for a model in several files",
                            MAX_NAME - Parts::SUFFIX_BYTES
                        );
                        Ok(name)
                    })
                    .transpose()?;
                for number in 1..=parts.count {
                    let (suffix, extension) = (parts.suffix(number), &path[path.len() - EXTENSION_BYTES..]);
                    let part = Path::new(path).with_file_name(format!("{}{suffix}{extension}", parts.stem));
                    // The first part stands for the whole model, and therefore has its name.
                    add(&mut sources, &part, name, parts.stem, if number == 1 { "" } else { &suffix })?;
                }
            }
        }
    }
    Ok(sources)
}

const EXTENSION_BYTES: usize = ".gguf".len();

/// The file's name without `.gguf`.
fn file_stem(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{}: expected a file", path.display()))?;
    Ok(match name.split_at_checked(name.len().saturating_sub(EXTENSION_BYTES)) {
        Some((stem, extension)) if extension.eq_ignore_ascii_case(".gguf") => stem,
        _ => name,
    })
}

/// A model in several files, `STEM-00001-of-00003.gguf` and so on.
struct Parts<'s> {
    stem: &'s str,
    count: u32,
}

impl<'s> Parts<'s> {
    const SUFFIX_BYTES: usize = "-00001-of-00003".len();

    /// Finds the part that the name of a file, without its extension, belongs to.
    fn of(stem: &'s str) -> Option<Self> {
        let (stem, suffix) = stem.split_at_checked(stem.len().checked_sub(Self::SUFFIX_BYTES)?)?;
        let (number, count) = suffix.strip_prefix('-')?.split_once("-of-")?;
        let is_number = |digits: &str| digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        (is_number(number) && is_number(count)).then_some(())?;
        Some(Self { stem, count: count.parse().ok()? })
    }

    fn suffix(&self, number: u32) -> String {
        format!("-{number:05}-of-{:05}", self.count)
    }
}

/// Adds a file. It is called `name` if given, otherwise `stem`; `suffix` is added to either.
fn add(sources: &mut Vec<Source>, path: &Path, name: Option<&str>, stem: &str, suffix: &str) -> Result<()> {
    let shown = path.display();
    let same = |source: &Source| source.path == path;
    ensure!(!sources.iter().any(same), "{shown}: given twice");
    let mut file = File::open(path).with_context(|| shown.to_string())?;
    let metadata = file.metadata().with_context(|| shown.to_string())?;
    ensure!(metadata.is_file(), "{shown}: not a regular file");
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic).with_context(|| shown.to_string())?;
    ensure!(
        magic == b"GGUF",
        "{shown}: not a GGUF file: it begins with {magic:02x?}, expected {:02x?}",
        b"GGUF"
    );
    let taken = |name: &str| sources.iter().find(|source| source.name == name);
    let name = match name {
        Some(name) => {
            let name = format!("{name}{suffix}");
            if let Some(other) = taken(&name) {
                bail!("{shown}: {} is called {name} already", other.path.display());
            }
            name
        }
        None => {
            let named = |end: &str| {
                let room = MAX_NAME - suffix.len() - end.len();
                let stem: String = path_safe(stem).chars().take(room).collect();
                format!("{}{end}{suffix}", stem.trim_end_matches(['.', '-']))
            };
            let mut names =
                std::iter::once(named("")).chain((2..).map(|number: usize| named(&format!("-{number}"))));
            names.find(|name| taken(name).is_none()).expect("there are more numbers than files")
        }
    };
    ensure!(!name.is_empty(), "{shown}: expected a name behind it, as in {shown}:NAME");
    sources.push(Source {
        path: path.into(),
        name,
        length_bytes: metadata.len(),
        ty: MODEL_TYPE,
        behind: None,
        sha256: checksum_beside(path)?,
    });
    add_tree(sources)
}

/// The path of a file whose name is this one's with `extension` added.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(extension);
    name.into()
}

/// Adds the tree of digests beside the last file, if there is one.
fn add_tree(sources: &mut Vec<Source>) -> Result<()> {
    const SUFFIX: &str = ".verity";
    let Some(Source { path, name, .. }) = sources.last() else { return Ok(()) };
    let path = beside(path, SUFFIX);
    let Ok(metadata) = fs::metadata(&path) else { return Ok(()) };
    let stems = (0..).map(|number: usize| match number {
        0 => name.clone(),
        _ => format!("{}{number}", &name[..name.len().min(MAX_NAME - SUFFIX.len() - 3)]),
    });
    let name = |stem: String| format!("{}{SUFFIX}", &stem[..stem.len().min(MAX_NAME - SUFFIX.len())]);
    let is_free = |name: &String| sources.iter().all(|source| source.name != *name);
    let name = stems.map(name).find(is_free).context("there are more numbers than files")?;
    let length_bytes = metadata.len();
    sources.push(Source { path, name, length_bytes, ty: TREE_TYPE, behind: None, sha256: None });
    Ok(())
}

/// A manifest followed by its signature.
///
/// # Errors
/// If one of them does not exist.
pub fn manifest(path: &Path) -> Result<Source> {
    let signature = beside(path, ".minisig");
    let length = |path: &Path| -> Result<u64> {
        Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len())
    };
    Ok(Source {
        path: path.into(),
        name: "manifest".into(),
        length_bytes: length(path)? + length(&signature)?,
        ty: MANIFEST_TYPE,
        behind: Some(signature),
        sha256: None,
    })
}

/// A requested name, if the kernel would use it unchanged.
fn checked<'n>(spec: &str, name: &'n str) -> Result<&'n str> {
    let safe: String = path_safe(name).chars().take(MAX_NAME).collect();
    ensure!(
        safe == name && !name.is_empty(),
        "{spec}: expected a name of up to {MAX_NAME} lower-case letters, digits, '.', '_' and '-' behind the colon{}{safe}",
        if safe.is_empty() { "" } else { ", such as " }
    );
    Ok(name)
}

/// A name in the form in which the kernel uses it in paths: letters in lower case, digits, `.`, `_` and `-`; anything else
/// becomes a single hyphen. There are no dots or hyphens at the ends.
fn path_safe(name: &str) -> String {
    let mut safe = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => safe.push(c),
            _ if safe.ends_with('-') => {}
            _ => safe.push('-'),
        }
    }
    safe.trim_matches(['.', '-']).to_owned()
}

/// The expected SHA-256 of a file, in hexadecimal, if `FILE.sha256` is beside it.
fn checksum_beside(path: &Path) -> Result<Option<String>> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".sha256");
    let beside = PathBuf::from(beside);
    let Ok(text) = fs::read_to_string(&beside) else { return Ok(None) };
    let digits = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(is_digest, "{}: expected 64 hexadecimal digits", beside.display());
    Ok(Some(digits))
}

impl Source {
    /// Passes the file on to `write` in pieces, each with its offset, which is a multiple of [`PIECE_BYTES`]. Returns the file's
    /// SHA-256 in hexadecimal.
    ///
    /// # Errors
    /// If the file cannot be read, has changed its length, or does not match the checksum beside it; errors of `write`.
    pub fn read(&self, write: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<String> {
        let shown = self.path.display();
        let open = |path: &PathBuf| File::open(path).with_context(|| path.display().to_string());
        let behind = self.behind.iter().map(open).collect::<Result<Vec<_>>>()?;
        let mut file: Box<dyn Read> = Box::new(open(&self.path)?);
        for behind in behind {
            file = Box::new(file.chain(behind));
        }
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut done_bytes = 0;
        loop {
            let mut length = 0;
            // A read may return fewer bytes than there are.
            while length < piece.len() {
                match file.read(&mut piece[length..]).with_context(|| shown.to_string())? {
                    0 => break,
                    more => length += more,
                }
            }
            if length == 0 {
                break;
            }
            ensure!(
                done_bytes + length as u64 <= self.length_bytes,
                "{shown}: it became longer while it was read"
            );
            hash.update(&piece[..length]);
            write(done_bytes, &piece[..length])?;
            done_bytes += length as u64;
        }
        ensure!(done_bytes == self.length_bytes, "{shown}: it became shorter while it was read");
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(expected) = &self.sha256 {
            ensure!(
                digest == *expected,
                "{shown}: SHA-256 {digest}, expected {expected} as in {shown}.sha256"
            );
        }
        Ok(digest)
    }

    /// The boot argument that tells the kernel the file's checksum and exact length, which is needed because partitions are whole
    /// blocks.
    pub fn boot_arg(&self, sha256: &str) -> String {
        format!("ferrite.model={}:{}:{sha256}\n", self.name, self.length_bytes)
    }
}
