//! The notary that signs receipts, and the descriptions of files in receipts.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use trust::fixed::Fixed;
use trust::notary::{Notary, seed_in};
use trust::receipt::{self, Maker};
use trust::sha256::{PORTABLE, Sha256};

/// How many bytes are read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// A notary with the key in a file, which has 64 hexadecimal digits in its first line, or with a new random key.
///
/// # Errors
/// If the file has no key, or the system has no random numbers.
pub fn notary(key_file: Option<&Path>) -> Result<Notary> {
    let seed = match key_file {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            match seed_in(&text) {
                Some(seed) => seed,
                None => {
                    bail!("{}: expected a key of 64 hexadecimal digits in its first line", path.display())
                }
            }
        }
        None => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)
                .map_err(|error| anyhow::anyhow!("no random numbers for a key: {error}"))?;
            seed
        }
    };
    let program = concat!("llm ", env!("CARGO_PKG_VERSION"));
    let maker = Maker { image_sha256: None, program: program.into() };
    Ok(Notary::new(seed, key_file.is_none(), maker, PORTABLE))
}

/// The descriptions of files in receipts.
///
/// # Errors
/// If one cannot be read.
pub fn records(paths: &[PathBuf]) -> Result<Vec<receipt::File>> {
    let record = |path: &PathBuf| record(path).with_context(|| format!("cannot read {}", path.display()));
    paths.iter().map(record).collect()
}

/// The length and the digest of a file.
pub fn record(path: &Path) -> io::Result<receipt::File> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut hash, mut bytes) = (Sha256::new(PORTABLE), 0);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n_bytes => {
                hash.update(&buffer[..n_bytes]);
                bytes += n_bytes as u64;
            }
        }
    }
    Ok(receipt::File { bytes, sha256: Fixed(hash.finish()) })
}

/// The time in seconds since 1970, if the system knows it.
pub fn now_unix_s() -> Option<u64> {
    Some(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}
