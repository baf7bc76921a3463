//! Downloads one file into the cache: interrupted transfers are continued, and a file gets its name only if it is correct.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use indicatif::{DecimalBytes, ProgressBar};

use super::checksum::{Checksum, Sum};
use super::client::{Client, first_byte};

const BUFFER_BYTES: usize = 1 << 16;
/// How long to wait after each failure in a row without new bytes.
const PAUSES: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];

/// A file to be downloaded.
pub struct Transfer<'t> {
    pub client: &'t Client,
    pub url: &'t str,
    pub size_bytes: u64,
    pub checksum: &'t Checksum,
    pub progress: &'t ProgressBar,
}

/// The part of a file that has arrived.
struct Part {
    file: File,
    n_bytes: u64,
    sum: Sum,
}

enum Failure {
    /// Another request would fail in the same way.
    Lasting(anyhow::Error),
    /// Another request may continue from here.
    Passing(anyhow::Error),
}

impl Transfer<'_> {
    /// Downloads the file to `blob`, or what an earlier run left missing.
    pub fn run(&self, blob: &Path) -> Result<()> {
        let path = blob.with_extension("part");
        let context = || path.display().to_string();
        fs::create_dir_all(blob.parent().context("a blob lies in a folder")?).with_context(context)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process is fetching it to {}", path.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        let mut part = Part { file, n_bytes: 0, sum: self.checksum.begin(self.size_bytes) };
        part.n_bytes = part.sum.read(&mut part.file).with_context(context)?;
        if part.n_bytes > self.size_bytes {
            self.restart(&mut part).with_context(context)?;
        }
        self.progress.set_position(part.n_bytes);
        self.progress.reset_eta();
        self.complete(&mut part)?;
        self.progress.finish_and_clear();
        part.file.sync_all().map_err(|error| not_written(error, part.n_bytes, self.size_bytes))?;
        if let Some(mismatch) = self.checksum.mismatch(part.sum) {
            fs::remove_file(&path).with_context(context)?;
            bail!(
                "the checksum of what came is {}, the hub's is {}; it is deleted",
                mismatch.found,
                mismatch.expected
            );
        }
        fs::rename(&path, blob).with_context(context)
    }

    /// Sends requests until the file is complete, or several requests in a row have brought nothing.
    fn complete(&self, part: &mut Part) -> Result<()> {
        let mut pauses = PAUSES.iter();
        while part.n_bytes < self.size_bytes {
            let before = part.n_bytes;
            let error = match self.request(part) {
                Ok(()) => anyhow!("the connection ended"),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error)) => error,
            };
            if part.n_bytes == self.size_bytes {
                break;
            }
            if part.n_bytes > before {
                pauses = PAUSES.iter();
            }
            match pauses.next() {
                Some(&pause) => sleep(pause),
                None => bail!(
                    "{error}; {} of {} bytes are kept, the same command goes on from there",
                    part.n_bytes,
                    self.size_bytes
                ),
            }
        }
        Ok(())
    }

    /// One request for everything that is missing.
    fn request(&self, part: &mut Part) -> Result<(), Failure> {
        let mut response = self.client.get_from(self.url, part.n_bytes).map_err(|error| match error {
            ureq::Error::StatusCode(408 | 429 | 500..) => Failure::Passing(error.into()),
            ureq::Error::StatusCode(_) => Failure::Lasting(error.into()),
            _ => Failure::Passing(error.into()),
        })?;
        let first_byte = first_byte(&response);
        if first_byte == Some(0) && part.n_bytes > 0 {
            // The server does not support ranges.
            self.restart(part).map_err(|error| Failure::Lasting(error.into()))?;
            self.progress.set_position(0);
        } else if first_byte != Some(part.n_bytes) {
            return Err(Failure::Lasting(anyhow!("the server sends another range than {}-", part.n_bytes)));
        }

        let mut body = response.body_mut().as_reader().take(self.size_bytes - part.n_bytes);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    let written = part.file.write_all(&buffer[..n]);
                    written.map_err(|error| {
                        Failure::Lasting(not_written(error, part.n_bytes, self.size_bytes))
                    })?;
                    part.sum.update(&buffer[..n]);
                    part.n_bytes += n as u64;
                    self.progress.set_position(part.n_bytes);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Passing(error.into())),
            }
        }
    }

    fn restart(&self, part: &mut Part) -> io::Result<()> {
        part.file.set_len(0)?;
        part.file.rewind()?;
        (part.n_bytes, part.sum) = (0, self.checksum.begin(self.size_bytes));
        Ok(())
    }
}

/// Says why bytes could not be written, and what a full disk lacks.
fn not_written(error: io::Error, n_bytes: u64, size_bytes: u64) -> anyhow::Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => anyhow!(
            "the disk is full: {} more are needed; {n_bytes} of {size_bytes} bytes are kept, the same command goes on from there",
            DecimalBytes(size_bytes - n_bytes)
        ),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_what_it_lacks() {
        let message = not_written(ErrorKind::StorageFull.into(), 1000, 2_501_000).to_string();
        assert!(
            message.starts_with("the disk is full: 2.50 MB more are needed; 1000 of 2501000 bytes"),
            "{message}"
        );
        let message = not_written(io::Error::other("gone"), 1000, 2000).to_string();
        assert_eq!(message, "gone");
    }
}
