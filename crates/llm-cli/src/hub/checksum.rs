//! The checksums that the hub has of its files.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result};
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Digest, Sha256};
use trust::hex::Hex;

const BUFFER_BYTES: usize = 1 << 16;

/// The expected checksum of a file: the entity tag that the hub gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256 of the bytes, for files in large file storage.
    Sha256(String),
    /// SHA-1 of git's blob header and the bytes, for all other files.
    GitBlob(String),
    /// A mirror's own kind of tag, which does not depend on the bytes.
    Unknown,
}

/// A checksum under computation.
pub struct Sum(Option<Box<dyn DynDigest>>);

impl Checksum {
    /// The checksum that an entity tag, without its quotes, stands for.
    pub fn of_etag(etag: &str) -> Self {
        let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match etag.len() {
            64 if is_hex => Checksum::Sha256(etag.to_ascii_lowercase()),
            40 if is_hex => Checksum::GitBlob(etag.to_ascii_lowercase()),
            _ => Checksum::Unknown,
        }
    }

    /// Begins to compute the checksum of a file of this size.
    pub fn begin(&self, size_bytes: u64) -> Sum {
        Sum(match self {
            Checksum::Sha256(_) => Some(Box::new(Sha256::new())),
            Checksum::GitBlob(_) => {
                Some(Box::new(Sha1::new_with_prefix(format!("blob {size_bytes}\0").as_bytes())))
            }
            Checksum::Unknown => None,
        })
    }

    /// The two checksums, if that of the file is not this one.
    pub fn mismatch(&self, sum: Sum) -> Option<Mismatch> {
        let (Checksum::Sha256(expected) | Checksum::GitBlob(expected)) = self else { return None };
        let found = Hex(&sum.0?.finalize()).to_string();
        (found != *expected).then(|| Mismatch { found, expected: expected.clone() })
    }

    /// Whether there is a file of this size with this checksum.
    pub fn is_of(&self, path: &Path, size_bytes: u64) -> Result<bool> {
        let context = || path.display().to_string();
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(context),
        };
        if file.metadata().with_context(context)?.len() != size_bytes {
            return Ok(false);
        }
        let mut sum = self.begin(size_bytes);
        sum.read(&mut file).with_context(context)?;
        Ok(self.mismatch(sum).is_none())
    }
}

/// Two checksums that should be equal.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The checksum of the bytes received.
    pub found: String,
    /// The checksum of the hub's file.
    pub expected: String,
}

impl Sum {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(digest) = &mut self.0 {
            digest.update(bytes);
        }
    }

    /// Adds everything that can be read, and returns the number of bytes.
    pub fn read(&mut self, source: &mut impl Read) -> io::Result<u64> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut n_bytes = 0;
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(n_bytes),
                Ok(n) => {
                    self.update(&buffer[..n]);
                    n_bytes += n as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_sha256sum_and_of_git_hash_object() {
        for tag in [
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "ce013625030ba8dba906f756967f9e9ca394464a",
        ] {
            let checksum = Checksum::of_etag(tag);
            let mut sum = checksum.begin(6);
            assert_eq!(sum.read(&mut &b"hello\n"[..]).unwrap(), 6);
            assert_eq!(checksum.mismatch(sum), None, "{tag}");
            let mut sum = checksum.begin(6);
            sum.update(b"hallo\n");
            assert_eq!(checksum.mismatch(sum).unwrap().expected, tag);
        }
    }

    #[test]
    fn other_tags_say_nothing() {
        for tag in ["", "5891b5b5", "zz013625030ba8dba906f756967f9e9ca394464a"] {
            assert_eq!(Checksum::of_etag(tag), Checksum::Unknown);
        }
    }
}
