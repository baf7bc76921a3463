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

/// Maps a file; what is written to the map stays in this process.
pub fn map(path: &Path) -> io::Result<MmapMut> {
    let file = File::open(path)?;
    // SAFETY: what is written to the map stays in this process. Another process that truncates
    // or rewrites the file meanwhile could pull the bytes away; like every program that maps
    // its models, this one requires that the file is left alone while it runs.
    unsafe { MmapOptions::new().map_copy(&file) }
}

/// Memory that the system is asked to map in huge pages: reading weights once a token, small ones would be looked
/// up all the time.
pub fn in_huge_pages(n_bytes: usize) -> io::Result<MmapMut> {
    let memory = MmapMut::map_anon(n_bytes)?;
    // Where the system refuses, it is as fast as it was.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    Ok(memory)
}

/// The bytes of a model file, shared with the system's file cache unless some are rearranged.
pub struct ModelFile {
    path: PathBuf,
    bytes: ModelBytes<MmapMut>,
    /// The files of the model, mostly one.
    paths: Vec<PathBuf>,
    /// Where they lie among the bytes.
    places: Vec<Range<u64>>,
}

impl ModelFile {
    /// Maps the file. Of a model in several files, of which this is one, all are read into memory.
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

    /// Rearranges the weights in memory as `kernels` want them.
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

    /// The adapter of a model in the file, called by its path; `of` is the model's.
    pub fn adapter(&self, model: &Model<'_>, of: &Self) -> Result<Adapter> {
        let path = self.path.display().to_string();
        let mut adapter = Adapter::load(&self.gguf()?, model, &of.gguf()?).with_context(|| path.clone())?;
        adapter.low_ranks.name = path;
        Ok(adapter)
    }

    /// The bytes, with what [`pack`](Self::pack) has made of the weights.
    pub fn bytes(&self) -> ModelBytes<&[u8]> {
        self.bytes.borrow()
    }

    /// The files that it is in.
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
