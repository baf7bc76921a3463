//! [`ModelFile`]: a GGUF file mapped into memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use llm::gguf::{Gguf, Value};
use llm::model::{Adapter, Model};
use llm::parallel::Workers;
use llm::quant::{ModelBytes, Packer};
use llm::simd::Kernels;
use memmap2::{MmapMut, MmapOptions};

use crate::split::Parts;

/// Maps a file; writes to the mapping stay in this process.
pub fn map(path: &Path) -> io::Result<MmapMut> {
    let file = File::open(path)?;
    // SAFETY: writes to the mapping stay in this process. Another process that truncates or rewrites the file could change the
    // bytes or make them inaccessible. Like every program that maps its models, this one requires of the user that nobody
    // modifies the file while it runs.
    unsafe { MmapOptions::new().map_copy(&file) }
}

/// Memory that the system is asked to map in huge pages: all weights are read for each token, and with small pages their
/// addresses would have to be looked up all the time.
pub fn in_huge_pages(n_bytes: usize) -> io::Result<MmapMut> {
    let memory = MmapMut::map_anon(n_bytes)?;
    // If the system refuses, only the speed-up is lost.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    Ok(memory)
}

/// The bytes of a model file, shared with the system's file cache unless some are rearranged.
pub struct ModelFile {
    path: PathBuf,
    bytes: ModelBytes<MmapMut>,
    /// The files of the model, usually one.
    paths: Vec<PathBuf>,
    /// Where each of them is among the bytes.
    places: Vec<Range<u64>>,
}

impl ModelFile {
    /// Maps the file. If it is one of several files of a model, all of them are read into memory.
    pub fn open(path: &Path) -> Result<Self> {
        let mut bytes = map(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut places: Vec<_> = core::iter::once(0..bytes.len() as u64).collect();
        let mut paths = vec![path.to_owned()];
        if let Some(parts) = Parts::of(path, &bytes)? {
            (bytes, places) = parts.in_memory().with_context(|| path.display().to_string())?;
            paths = parts.paths();
        }
        Ok(Self { path: path.to_owned(), bytes: ModelBytes::as_in_file(bytes), paths, places })
    }

    /// Rearranges the weights in memory for `kernels`.
    pub fn pack(&mut self, kernels: &Kernels, workers: &dyn Workers) -> Result<()> {
        let context = || self.path.display().to_string();
        let mut packer = Packer::new(kernels.packing(), &self.gguf()?).with_context(context)?;
        if packer.packs_nothing() {
            return Ok(());
        }
        let mut packed = in_huge_pages(self.bytes().bytes().len()).with_context(context)?;
        packer.write(workers, self.bytes().bytes(), &mut packed);
        self.bytes = packer.finish(packed);
        Ok(())
    }

    /// Checks the header and returns the view of the file.
    pub fn gguf(&self) -> Result<Gguf<'_>> {
        Gguf::parse_at(self.bytes().bytes(), &self.places).with_context(|| self.path.display().to_string())
    }

    /// The adapter in the file, for a model from the file `of`; its name is its path.
    pub fn adapter(&self, model: &Model<'_>, of: &Self) -> Result<Adapter> {
        let path = self.path.display().to_string();
        let mut adapter = Adapter::load(&self.gguf()?, model, &of.gguf()?).with_context(|| path.clone())?;
        adapter.low_ranks.name = path;
        Ok(adapter)
    }

    /// The bytes, with the weights arranged by [`pack`](Self::pack).
    pub fn bytes(&self) -> ModelBytes<&[u8]> {
        self.bytes.borrow()
    }

    /// The files of the model.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Size of the file.
    pub fn len_bytes(&self) -> u64 {
        self.bytes().bytes().len() as u64
    }

    /// Name for tables: `general.name`, or the file's name without its extension.
    pub fn display_name(&self, gguf: &Gguf<'_>) -> String {
        match gguf.get("general.name") {
            Some(Value::String(name)) if !name.as_bytes().is_empty() => name.to_string(),
            _ => self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }
}
