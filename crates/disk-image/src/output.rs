//! A file that appears only when it is complete. Until then it has another name, and it is removed if it is never completed.

use crate::qcow2::{self, Qcow2};
use anyhow::{Context, Result, ensure};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};
use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process,
    sync::{Mutex, MutexGuard, Once, PoisonError},
    thread,
};

/// How many bytes are written at a time; pieces that are all zero are left out.
pub const CLUSTER_BYTES: usize = qcow2::CLUSTER_BYTES;

/// The unfinished file, if there is one.
fn is_unfinished() -> MutexGuard<'static, Option<PathBuf>> {
    static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a signal remove the unfinished file before it ends the program. The program still ends by the signal, so that a parent
/// process sees it: a shell ends its loop, too.
fn remove_if_interrupted() -> Result<()> {
    static IS_SET: Once = Once::new();
    let mut set = Ok(());
    IS_SET.call_once(|| {
        set = Signals::new([SIGINT, SIGTERM]).map(|mut signals| {
            thread::spawn(move || {
                for signal in signals.forever() {
                    // The lock is held, so that nobody continues to write the file.
                    let unfinished = is_unfinished();
                    if let Some(path) = &*unfinished {
                        let _ = fs::remove_file(path);
                    }
                    let _ = emulate_default_handler(signal);
                }
            });
        });
    });
    set.context("signals")
}

/// How the bytes of the disk are stored in the file.
enum Format {
    Raw,
    Qcow2(Qcow2),
}

/// A disk image that is being written.
pub struct Output {
    path: PathBuf,
    unfinished: PathBuf,
    file: File,
    format: Format,
}

impl Output {
    /// Begins to write `path`. An existing file stays until the new one is complete.
    ///
    /// # Errors
    /// If the folder cannot be written to, or if something other than a file has this name.
    pub fn new(path: &Path, is_qcow2: bool) -> Result<Self> {
        let shown = path.display();
        let is_file = fs::metadata(path).map_or(true, |metadata| metadata.is_file());
        ensure!(
            is_file,
            "{shown}: not a regular file; write the disk to one, and that to the device, as `dd` does"
        );
        let name = path.file_name().with_context(|| format!("{shown}: expected a file"))?;
        remove_if_interrupted()?;
        let unfinished = path.with_file_name(format!(".{}.{}", name.display(), process::id()));
        *is_unfinished() = Some(unfinished.clone());
        let file = File::create(&unfinished).with_context(|| shown.to_string())?;
        let format = if is_qcow2 { Format::Qcow2(Qcow2::new()) } else { Format::Raw };
        Ok(Self { path: path.into(), unfinished, file, format })
    }

    /// Writes bytes at an offset that is a multiple of [`CLUSTER_BYTES`]. The rest of the last cluster is zero.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let (file, format) = (&mut self.file, &mut self.format);
        let mut write = |offset_bytes: u64, cluster: &[u8]| {
            let offset_bytes = match format {
                Format::Raw => offset_bytes,
                Format::Qcow2(qcow2) => qcow2.allocate(offset_bytes),
            };
            file.seek(SeekFrom::Start(offset_bytes))?;
            file.write_all(cluster)
        };
        for (index, cluster) in bytes.chunks(CLUSTER_BYTES).enumerate() {
            if cluster.iter().any(|&byte| byte != 0) {
                let offset_bytes = offset_bytes + (index * CLUSTER_BYTES) as u64;
                write(offset_bytes, cluster).with_context(|| self.path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// Gives the file the length of a disk of `disk_bytes`, and its final name.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self, disk_bytes: u64) -> Result<()> {
        let end = |output: &mut Self| {
            match &output.format {
                Format::Raw => output.file.set_len(disk_bytes)?,
                Format::Qcow2(qcow2) => qcow2.finish(&mut output.file, disk_bytes)?,
            }
            output.file.sync_all()?;
            fs::rename(&output.unfinished, &output.path)
        };
        end(&mut self).with_context(|| self.path.display().to_string())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        *is_unfinished() = None;
        // If the output was finished, there is no such file.
        let _ = fs::remove_file(&self.unfinished);
    }
}
