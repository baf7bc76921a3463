//! A file that is there when it is whole: until then it has another name, and goes if it does not become so.

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

/// What is written at a time, and left out where it is zero.
pub const CLUSTER_BYTES: usize = qcow2::CLUSTER_BYTES;

/// The file that is not whole yet, if there is one.
fn is_unfinished() -> MutexGuard<'static, Option<PathBuf>> {
    static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a signal end the program, as it does anyway, without the file that is not whole. Who waits for the program is told of
/// the signal: a shell ends its loop, too.
fn remove_if_interrupted() -> Result<()> {
    static IS_SET: Once = Once::new();
    let mut set = Ok(());
    IS_SET.call_once(|| {
        set = Signals::new([SIGINT, SIGTERM]).map(|mut signals| {
            thread::spawn(move || {
                for signal in signals.forever() {
                    // Nobody goes on with it meanwhile.
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

/// How the disk's bytes lie in the file.
enum Format {
    Raw,
    Qcow2(Qcow2),
}

/// A disk that is being written.
pub struct Output {
    path: PathBuf,
    unfinished: PathBuf,
    file: File,
    format: Format,
}

impl Output {
    /// Begins to write `path`. A disk that is there stays until the new one is whole.
    ///
    /// # Errors
    /// If its folder cannot be written to, or something other than a file has its name.
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

    /// Writes bytes at an offset that is a multiple of [`CLUSTER_BYTES`]. What lies behind them in their last cluster is zero.
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

    /// Gives the file its length, that of a disk of `disk_bytes`, and its name.
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
        // There is none any more if it is finished.
        let _ = fs::remove_file(&self.unfinished);
    }
}
