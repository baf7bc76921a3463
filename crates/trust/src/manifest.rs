//! [`Manifest`]: which files are to be trusted under which name, in a text that somebody signs.
//!
//! The first line is `ferrite-models 1`. Each other line is a word, then fields `KEY=VALUE` in any order, separated by spaces;
//! empty lines and those that begin with `#` say nothing. What is not known is an error, as it could be a restriction.
//!
//! | line | meaning |
//! |---|---|
//! | `model name=NAME version=N bytes=N root=HEX` | the file `NAME` in this version has this length and root; `salt=HEX`, `data-block=N` and `hash-block=N` tell how its tree was made, if not without salt and in blocks of 4096 bytes |
//! | `minimum-version name=NAME version=N` | no lower version of `NAME` is trusted |
//! | `revoked root=HEX` | no file with this root is trusted |
//! | `revoked key=ID` | nothing signed with this key is trusted, not even this text |

use crate::{
    Root, hex,
    minisign::KeyId,
    verity::{Superblock, SuperblockError},
};
use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

/// What the text begins with.
pub const FIRST_LINE: &str = "ferrite-models 1";

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestError {
    /// Its number, from 1.
    pub line: usize,
    /// What would be right.
    pub expected: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the manifest: expected {}", self.line, self.expected)
    }
}

impl core::error::Error for ManifestError {}

/// Why a file is not to be trusted although it is in a signed manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its root is revoked.
    Revoked(Root),
    /// There is a newer version, which is required.
    Old {
        /// The file's version.
        version: u64,
        /// The lowest that is trusted.
        minimum: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked(root) => write!(f, "its root {root} is revoked"),
            Self::Old { version, minimum } => {
                write!(f, "it is version {version}; expected version {minimum} or newer")
            }
        }
    }
}

/// The fields of a line.
#[derive(Default)]
struct Fields<'t> {
    name: Option<&'t str>,
    root: Option<Root>,
    key: Option<KeyId>,
    salt: Option<Vec<u8>>,
    /// In the order of [`NUMBERS`].
    numbers: [Option<u64>; NUMBERS.len()],
}

const NUMBERS: [&str; 4] = ["version", "bytes", "data-block", "hash-block"];

impl<'t> Fields<'t> {
    fn parse(words: core::str::SplitAsciiWhitespace<'t>) -> Result<Self, &'static str> {
        let mut fields = Self::default();
        for word in words {
            let (key, value) = word.split_once('=').ok_or("fields KEY=VALUE")?;
            let is_first = match key {
                "name" => {
                    let is_safe = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
                    let name = is_safe.then_some(value).ok_or("a name without spaces")?;
                    fields.name.replace(name).is_none()
                }
                "root" => {
                    let root = Root::parse(value).ok_or("a root of 64 hexadecimal digits")?;
                    fields.root.replace(root).is_none()
                }
                "key" => {
                    let key = KeyId::parse(value).ok_or("a key id of up to 16 hexadecimal digits")?;
                    fields.key.replace(key).is_none()
                }
                "salt" => {
                    const EXPECTED: &str = "a salt of up to 256 bytes in hexadecimal digits";
                    let mut salt = vec![0; (value.len() / 2).min(256)];
                    if !hex::parse(value, &mut salt) {
                        return Err(EXPECTED);
                    }
                    fields.salt.replace(salt).is_none()
                }
                _ => {
                    let place = NUMBERS.iter().position(|known| *known == key);
                    let place = place
                        .ok_or("name, version, bytes, root, salt, data-block, hash-block or key before =")?;
                    let number = value.parse().map_err(|_| "a number")?;
                    fields.numbers[place].replace(number).is_none()
                }
            };
            if !is_first {
                return Err("each field once");
            }
        }
        Ok(fields)
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        for (line, text) in (1..).zip(text.lines()) {
            manifest.add(line, text.trim_ascii()).map_err(|expected| ManifestError { line, expected })?;
        }
        Ok(manifest)
    }

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
        let mut words = text.split_ascii_whitespace();
        let kind = words.next();
        match (kind, Fields::parse(words)?) {
            (
                Some("model"),
                Fields {
                    name: Some(name),
                    root: Some(root),
                    key: None,
                    salt,
                    numbers: [Some(version), Some(bytes), data_block, hash_block],
                },
            ) => {
                let mut superblock = Superblock::new(0);
                for (block_bytes, field) in [data_block, hash_block]
                    .into_iter()
                    .zip([&mut superblock.data_block_bytes, &mut superblock.hash_block_bytes])
                {
                    if let Some(bytes) = block_bytes {
                        *field = u32::try_from(bytes).unwrap_or(0);
                    }
                }
                superblock.salt = salt.unwrap_or_default();
                superblock.n_data_blocks =
                    bytes.div_ceil(u64::from(superblock.data_block_bytes).max(1)).max(1);
                match Superblock::parse(&superblock.to_bytes()) {
                    Ok(_) => {}
                    Err(SuperblockError::BlockCount(_)) => return Err("fewer bytes"),
                    Err(_) => return Err("blocks of a power of two from 512 to 524288 bytes"),
                }
                self.entries.push(Entry { name: name.to_string(), version, bytes, root, superblock });
            }
            (
                Some("minimum-version"),
                Fields {
                    name: Some(name),
                    root: None,
                    key: None,
                    salt: None,
                    numbers: [Some(version), None, None, None],
                },
            ) => self.minimums.push((name.to_string(), version)),
            (
                Some("revoked"),
                Fields { name: None, root, key, salt: None, numbers: [None, None, None, None] },
            ) if root.is_some() != key.is_some() => {
                self.revoked_roots.extend(root);
                self.revoked_keys.extend(key);
            }
            _ => {
                return Err("model name= version= bytes= root=, \
                     minimum-version name= version=, revoked root= or revoked key=");
            }
        }
        Ok(())
    }

    /// Whether the manifest says that nothing signed with this key is to be trusted.
    pub fn revokes_key(&self, key: KeyId) -> bool {
        self.revoked_keys.contains(&key)
    }

    /// Whether a file of this manifest is to be trusted.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, entry: &Entry) -> Result<(), Refusal> {
        if self.revoked_roots.contains(&entry.root) {
            return Err(Refusal::Revoked(entry.root));
        }
        let of_name = self.minimums.iter().filter(|(name, _)| *name == entry.name);
        match of_name.map(|&(_, minimum)| minimum).max() {
            Some(minimum) if entry.version < minimum => Err(Refusal::Old { version: entry.version, minimum }),
            _ => Ok(()),
        }
    }
}

/// The line of the manifest.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, bytes, root, superblock } = self;
        write!(f, "model name={name} version={version} bytes={bytes} root={root}")?;
        let usual = Superblock::new(0);
        if !superblock.salt.is_empty() {
            write!(f, " salt={}", hex::Hex(&superblock.salt))?;
        }
        if superblock.data_block_bytes != usual.data_block_bytes {
            write!(f, " data-block={}", superblock.data_block_bytes)?;
        }
        if superblock.hash_block_bytes != usual.hash_block_bytes {
            write!(f, " hash-block={}", superblock.hash_block_bytes)?;
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
            "# mine\n\nmodel  bytes=10000 name=a version=2 root={ROOT}\n\
             model name=b version=1 bytes=1 root={ROOT} salt=00ff data-block=1024 hash-block=512\n"
        );
        let manifest = parse(&lines).ok().unwrap();
        let [a, b] = &manifest.entries[..] else { panic!() };
        assert_eq!((&*a.name, a.version, a.bytes, a.superblock.n_data_blocks), ("a", 2, 10_000, 3));
        assert_eq!(a.root.to_string(), ROOT);
        let Superblock { data_block_bytes: 1024, hash_block_bytes: 512, n_data_blocks: 1, .. } = b.superblock
        else {
            panic!()
        };
        assert_eq!(b.superblock.salt, [0, 255]);
        for entry in [a, b] {
            assert!(parse(&entry.to_string()).ok().unwrap().entries == [entry.clone()], "{entry}");
        }
    }

    #[test]
    fn versions_below_the_minimum_and_revoked_roots_are_refused() {
        let revoked = ROOT.replace("00", "01");
        let manifest = parse(&std::format!(
            "model name=a version=2 bytes=1 root={ROOT}\nmodel name=a version=3 bytes=1 root={ROOT}\n\
             model name=b version=1 bytes=1 root={revoked}\nmodel name=c version=0 bytes=1 root={ROOT}\n\
             minimum-version name=a version=3\nminimum-version name=a version=1\n\
             revoked root={revoked}\nrevoked key=0123456789ABCDEF"
        ));
        let manifest = manifest.ok().unwrap();
        let checks: Vec<_> = manifest.entries.iter().map(|entry| manifest.check(entry)).collect();
        let old = Err(Refusal::Old { version: 2, minimum: 3 });
        assert_eq!(checks, [old, Ok(()), Err(Refusal::Revoked(Root::parse(&revoked).unwrap())), Ok(())]);
        let key = KeyId([0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01]);
        assert!(manifest.revokes_key(key) && !manifest.revokes_key(KeyId([0; 8])));
        assert_eq!(key.to_string(), "123456789ABCDEF");
    }

    #[test]
    fn what_is_not_known_is_an_error_with_its_line() {
        for wrong in [
            "model",
            "model name=a version=1 bytes=1",
            "model name=a version=1 bytes=1 root=00",
            &std::format!("model name=a version=1 bytes=1 root={ROOT} name=b"),
            &std::format!("model name=a version=1 bytes=1 root={ROOT} until=2030"),
            &std::format!("model name=a version=1 bytes=1 root={ROOT} data-block=1000"),
            &std::format!("model name=a version=1 bytes=1 root={ROOT} hash-block=0"),
            &std::format!("model name=a version=1 bytes=1 root={ROOT} salt=0"),
            &std::format!("model name=a version=-1 bytes=1 root={ROOT}"),
            &std::format!("model name=a version=1 bytes=18446744073709551615 root={ROOT}"),
            "minimum-version name=a",
            "revoked",
            "revoked key=10112233445566778",
            &std::format!("revoked key=0123456789ABCDEF root={ROOT}"),
            "forbidden name=a",
            "model name",
        ] {
            let error = parse(&std::format!("# one\n{wrong}")).err().unwrap();
            assert_eq!(error.line, 3, "{wrong}");
            assert!(error.to_string().contains("expected"));
        }
        assert_eq!(Manifest::parse("ferrite-models 2\n").err().unwrap().line, 1);
        assert!(Manifest::parse("").is_ok_and(|manifest| manifest.entries.is_empty()));
    }
}
