//! [`Manifest`]: which files are to be trusted under which name, in a text that somebody signs.
//!
//! The first line is `ferrite-models 1`. Each other line is words separated by spaces; empty lines and those that begin with `#` say
//! nothing. What is not known is an error, as it could be a restriction.
//!
//! | line | meaning |
//! |---|---|
//! | `model NAME VERSION BYTES ROOT [SALT [DATA-BLOCK HASH-BLOCK]]` | the file `NAME` (at most 255 lower-case letters, digits, `.`, `_`, `-`) in this version, from 1, has this length and root; its tree was made with this salt, `-` if none, and blocks of these sizes, 4096 unless told |
//! | `minimum-version NAME VERSION` | no lower version of `NAME` is trusted |
//! | `revoked-root ROOT` | no file with this root is trusted |
//! | `revoked-key ID` | nothing signed with this key is trusted, not even this text |

use crate::{
    Root,
    hex::{self, Hex},
    minisign::{KeyId, SignatureError},
    verity::Superblock,
};
use alloc::{string::String, vec::Vec};
use core::fmt;

/// What the text begins with.
pub const FIRST_LINE: &str = "ferrite-models 1";

/// The longest name of a model: that of a file on most systems. What is made of it is a small block.
pub const MAX_NAME_BYTES: usize = 255;

/// Whether a model can be called so: what the kernel makes paths of as it is, so that no two names are one path.
pub fn is_name(name: &str) -> bool {
    let is_safe = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(is_safe)
        && name.trim_matches(['.', '-']) == name
}

/// The longest manifest, its signature included. What is behind these bytes is not read, and could be a restriction.
pub const MAX_BYTES: usize = 256 << 10;

/// More lines than these are not read.
const MAX_LINES: usize = 4096;

/// A file that is to be trusted.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without folder and extension.
    pub name: String,
    /// Its version: the higher, the newer.
    pub version: u64,
    /// Its length.
    pub bytes: u64,
    /// The root of its tree.
    pub root: Root,
    /// What its tree must say of itself, but for the UUID.
    pub superblock: Superblock,
}

/// What a manifest says.
#[derive(Default)]
pub struct Manifest {
    /// The files, in the order of their lines.
    pub entries: Vec<Entry>,
    minimums: Vec<(String, u64)>,
    revoked_roots: Vec<Root>,
    revoked_keys: Vec<KeyId>,
}

/// A line that cannot be what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the manifest: expected {expected}")]
pub struct ManifestError {
    /// Its number, from 1.
    pub line: usize,
    /// What would be right.
    pub expected: &'static str,
}

/// Why a manifest is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// There is none.
    #[error("there is no manifest")]
    Missing,
    /// Its disk cannot be read.
    #[error("the manifest cannot be read")]
    Unread,
    /// With its signature it is longer than [`MAX_BYTES`].
    #[error("the manifest is too long; expected at most 256 KiB with its signature")]
    TooLong,
    /// The heap has no room for it.
    #[error("the heap has no room for the manifest")]
    NoMemory,
    /// It is no text with a signature behind it.
    #[error("the manifest has no signature behind it")]
    NotSigned,
    /// Its signature is not in order.
    #[error("the manifest is not trusted: {0}")]
    Signature(SignatureError),
    /// The key that it is signed with is revoked.
    #[error("the key {0} that the manifest is signed with is revoked")]
    Revoked(KeyId),
    /// What it says is not understood.
    #[error("{0}")]
    Text(ManifestError),
}

impl ManifestFault {
    /// Whether the manifest may hold a restriction that nobody has read: no other one then makes a file trusted.
    pub fn may_hide_restriction(&self) -> bool {
        matches!(self, Self::Text(_) | Self::TooLong | Self::NoMemory)
    }
}

/// Why a file is not to be trusted although it is in a signed manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its root is revoked.
    #[error("its root {0} is revoked")]
    Revoked(Root),
    /// There is a newer version, which is required.
    #[error("it is version {version}; expected version {minimum} or newer")]
    Old {
        /// The file's version.
        version: u64,
        /// The lowest that is trusted.
        minimum: u64,
    },
}

const A_ROOT: &str = "a root of 64 hexadecimal digits";

const ROOM: &str = "room on the heap for what it says";

fn number(word: &str) -> Option<u64> {
    word.parse().ok()
}

fn owned(name: &str) -> Result<String, &'static str> {
    let mut owned = String::new();
    owned.try_reserve_exact(name.len()).map_err(|_| ROOM)?;
    owned.push_str(name);
    Ok(owned)
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), &'static str> {
    list.try_reserve(1).map_err(|_| ROOM)?;
    list.push(item);
    Ok(())
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first line that is wrong, or that the heap has no room for.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        for (line, text) in (1..).zip(text.lines()) {
            manifest.add(line, text.trim_ascii()).map_err(|expected| ManifestError { line, expected })?;
        }
        Ok(manifest)
    }

    #[inline(never)]
    fn add(&mut self, line: usize, text: &str) -> Result<(), &'static str> {
        if line == 1 {
            return if text == FIRST_LINE { Ok(()) } else { Err(FIRST_LINE) };
        }
        if line > MAX_LINES {
            return Err("at most 4096 lines");
        }
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let mut words = [""; 8];
        let mut rest = text.split_ascii_whitespace();
        for word in &mut words {
            *word = rest.next().unwrap_or("");
        }
        if rest.next().is_some() {
            return Err("at most 8 words");
        }
        if matches!(words[0], "model" | "minimum-version") && !is_name(words[1]) {
            return Err(
                "a name of at most 255 lower-case letters, digits, '.', '_' and '-', '.' and '-' not at its ends",
            );
        }
        match words {
            ["model", name, version, bytes, root, salt, data_block, hash_block] => {
                let mut superblock = Superblock::new(0);
                for (number, word) in [data_block, hash_block].into_iter().enumerate() {
                    if !word.is_empty() {
                        let size = word.parse().map_err(|_| "a size of blocks")?;
                        *[&mut superblock.data_block_bytes, &mut superblock.hash_block_bytes][number] = size;
                    }
                }
                if !matches!(salt, "" | "-") {
                    superblock.salt.try_reserve_exact(salt.len() / 2).map_err(|_| ROOM)?;
                    superblock.salt.resize(salt.len() / 2, 0);
                    if !hex::parse(salt, &mut superblock.salt) {
                        return Err("a salt in hexadecimal digits, or -");
                    }
                }
                let version = number(version).filter(|&version| version > 0).ok_or("a version, from 1")?;
                let bytes: u64 = number(bytes).ok_or("a length in bytes")?;
                let root = Root::parse(root).ok_or(A_ROOT)?;
                superblock.n_data_blocks =
                    bytes.div_ceil(u64::from(superblock.data_block_bytes).max(1)).max(1);
                superblock.check().map_err(|_| "blocks, salt and length of a tree")?;
                push(&mut self.entries, Entry { name: owned(name)?, version, bytes, root, superblock })?;
            }
            ["minimum-version", name, version, "", ..] => {
                let minimum = number(version).ok_or("a version, from 1")?;
                push(&mut self.minimums, (owned(name)?, minimum))?;
            }
            ["revoked-root", root, "", ..] => {
                push(&mut self.revoked_roots, Root::parse(root).ok_or(A_ROOT)?)?;
            }
            ["revoked-key", key, "", ..] => {
                let key = KeyId::parse(key).ok_or("a key id of up to 16 hexadecimal digits")?;
                push(&mut self.revoked_keys, key)?;
            }
            _ => return Err("model, minimum-version, revoked-root or revoked-key with its words"),
        }
        Ok(())
    }

    /// Whether the manifest says that nothing signed with this key is to be trusted.
    pub fn revokes_key(&self, key: KeyId) -> bool {
        self.revoked_keys.contains(&key)
    }

    /// Whether the manifest says that no file with this root is to be trusted.
    pub fn revokes_root(&self, root: Root) -> bool {
        self.revoked_roots.contains(&root)
    }

    /// The lowest version of this name that is trusted, if the manifest says so.
    pub fn minimum_version(&self, name: &str) -> Option<u64> {
        self.minimums.iter().filter(|(of, _)| of == name).map(|&(_, minimum)| minimum).max()
    }
}

/// The line of the manifest.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, bytes, root, superblock } = self;
        write!(f, "model {name} {version} {bytes} {root}")?;
        let usual = Superblock::new(0);
        let blocks = [superblock.data_block_bytes, superblock.hash_block_bytes];
        let is_usual = blocks == [usual.data_block_bytes, usual.hash_block_bytes];
        if is_usual && superblock.salt.is_empty() {
            return Ok(());
        }
        match superblock.salt.is_empty() {
            true => f.write_str(" -")?,
            false => write!(f, " {}", Hex(&superblock.salt))?,
        }
        if !is_usual {
            write!(f, " {} {}", blocks[0], blocks[1])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn parse(lines: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(&std::format!("{FIRST_LINE}\n{lines}"))
    }

    #[test]
    fn a_line_says_what_an_entry_is() {
        let lines = std::format!(
            "# mine\n\nmodel  a 2 10000 {ROOT}\nmodel b 1 1 {ROOT} 00ff 1024 512\nmodel c 1 1 {ROOT} - 512 4096\n\
             model d 1 1 {ROOT} 11\n"
        );
        let manifest = parse(&lines).ok().unwrap();
        let [a, b, c, d] = &manifest.entries[..] else { panic!() };
        assert_eq!((&*a.name, a.version, a.bytes, a.superblock.n_data_blocks), ("a", 2, 10_000, 3));
        assert_eq!(a.root.to_string(), ROOT);
        let Superblock { data_block_bytes: 1024, hash_block_bytes: 512, n_data_blocks: 1, .. } = b.superblock
        else {
            panic!()
        };
        assert_eq!(
            (&b.superblock.salt[..], &c.superblock.salt[..], &d.superblock.salt[..]),
            (&[0, 255][..], &[][..], &[17][..])
        );
        for entry in [a, b, c, d] {
            assert!(parse(&entry.to_string()).ok().unwrap().entries == [entry.clone()], "{entry}");
        }
    }

    #[test]
    fn minimums_and_revocations_are_read() {
        let manifest = parse(&std::format!(
            "minimum-version a 3\nminimum-version a 1\nrevoked-root {ROOT}\nrevoked-key 0123456789ABCDEF"
        ));
        let manifest = manifest.ok().unwrap();
        assert_eq!(["a", "b"].map(|name| manifest.minimum_version(name)), [Some(3), None]);
        let root = Root::parse(ROOT).unwrap();
        assert!(manifest.revokes_root(root) && !manifest.revokes_root(Root([0; 32])));
        let key = KeyId([0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01]);
        assert!(manifest.revokes_key(key) && !manifest.revokes_key(KeyId([0; 8])));
        assert_eq!(key.to_string(), "123456789ABCDEF");
    }

    #[test]
    fn what_is_not_known_is_an_error_with_its_line() {
        for wrong in [
            "model",
            "model a 1 1",
            "model a 1 1 00",
            &std::format!("model a 1 1 {ROOT} - 4096 4096 until-2030"),
            &std::format!("model a 1 1 {ROOT} - 1000 4096"),
            &std::format!("model a 1 1 {ROOT} - 4096 0"),
            &std::format!("model a 1 1 {ROOT} 0"),
            &std::format!("model a 1 1 {ROOT} {}", "00".repeat(257)),
            &std::format!("model a 0 1 {ROOT}"),
            &std::format!("model a -1 1 {ROOT}"),
            &std::format!("model a 1 18446744073709551615 {ROOT}"),
            &std::format!("model A 1 1 {ROOT}"),
            &std::format!("model a/b 1 1 {ROOT}"),
            &std::format!("model a- 1 1 {ROOT}"),
            &std::format!("model {} 1 1 {ROOT}", "a".repeat(MAX_NAME_BYTES + 1)),
            &std::format!("minimum-version {} 1", "a".repeat(5000)),
            "minimum-version A 1",
            "minimum-version a",
            "minimum-version a 1 2",
            "revoked-root",
            "revoked-root 00",
            "revoked-key 10112233445566778",
            "forbidden a",
        ] {
            let error = parse(&std::format!("# one\n{wrong}")).err().unwrap();
            assert_eq!(error.line, 3, "{wrong}");
            assert!(error.to_string().contains("expected"));
        }
        assert!(parse(&std::format!("model {} 1 1 {ROOT}", "a".repeat(MAX_NAME_BYTES))).is_ok());
        assert_eq!(Manifest::parse("ferrite-models 2\n").err().unwrap().line, 1);
        assert!(Manifest::parse("").is_ok_and(|manifest| manifest.entries.is_empty()));
    }
}
