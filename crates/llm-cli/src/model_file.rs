//! [`ModelFile`]: a GGUF file mapped into memory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use llm::gguf::{Gguf, TensorInfo};
use llm::parallel::{Workers, for_each_chunk};
use llm::quant::{Packing, pack};
use llm::simd::Kernels;
use memmap2::{MmapMut, MmapOptions};

/// Maps a file; what is written to the map stays in this process.
pub fn map(path: &Path) -> io::Result<MmapMut> {
    let file = File::open(path)?;
    // SAFETY: what is written to the map stays in this process. Another process that truncates
    // or rewrites the file meanwhile could pull the bytes away; like every program that maps
    // its models, this one requires that the file is left alone while it runs.
    unsafe { MmapOptions::new().map_copy(&file) }
}

/// What one thread copies at once.
const CHUNK_BYTES: usize = 4 << 20;

/// Copies bytes into memory that the system is asked to map in huge pages: reading weights once a token, small ones
/// would be looked up all the time.
fn in_huge_pages(bytes: &[u8], workers: &dyn Workers) -> io::Result<MmapMut> {
    let mut copy = MmapMut::map_anon(bytes.len())?;
    // Where the system refuses, it is as fast as it was.
    #[cfg(target_os = "linux")]
    let _ = copy.advise(memmap2::Advice::HugePage);
    for_each_chunk(workers, &mut copy, CHUNK_BYTES, |index, chunk| {
        chunk.copy_from_slice(&bytes[index * CHUNK_BYTES..][..chunk.len()]);
    });
    Ok(copy)
}

/// The bytes of a model file, shared with the system's file cache where they are not rearranged.
pub struct ModelFile {
    path: PathBuf,
    bytes: MmapMut,
    packing: Option<&'static Packing>,
}

impl ModelFile {
    /// Maps the file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = map(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path: path.to_owned(), bytes, packing: None })
    }

    /// Rearranges the weights in memory as `kernels` want them.
    pub fn pack(&mut self, kernels: &Kernels, workers: &dyn Workers) -> Result<()> {
        if let Some(packing) = kernels.packing() {
            let context = || self.path.display().to_string();
            let file_bytes = self.len_bytes();
            if self.is_mostly_packed(packing)? {
                self.bytes = in_huge_pages(&self.bytes, workers).with_context(context)?;
            }
            pack(packing, workers, &mut self.bytes, file_bytes).with_context(context)?;
            self.packing = Some(packing);
        }
        Ok(())
    }

    /// Whether rearranging changes most pages, so that they cannot be shared with the file cache.
    fn is_mostly_packed(&self, packing: &Packing) -> Result<bool> {
        let gguf = self.gguf()?;
        let n_rows = |tensor: &TensorInfo<'_>| tensor.n_elements().checked_div(tensor.dims[0]);
        let is_packed = |tensor: &&TensorInfo<'_>| {
            let n_rows = n_rows(tensor).and_then(|n_rows| usize::try_from(n_rows).ok());
            n_rows.is_some_and(|n_rows| packing.covers(tensor.ty, n_rows))
        };
        let packed_bytes: u64 = gguf.tensors().iter().filter(is_packed).map(|tensor| tensor.size_bytes).sum();
        Ok(packed_bytes > self.len_bytes() / 2)
    }

    /// Checks the header and returns the view of the file.
    pub fn gguf(&self) -> Result<Gguf<'_>> {
        let gguf =
            Gguf::parse(&self.bytes, self.len_bytes()).with_context(|| self.path.display().to_string())?;
        Ok(gguf.packed(self.packing))
    }

    /// Size of the file.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Name for tables: `general.name`, or the file's name without its extension.
    pub fn display_name(&self, gguf: &Gguf<'_>) -> String {
        match gguf.str_value("general.name") {
            Ok(Some(name)) if !name.is_empty() => name.to_owned(),
            _ => self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }
}
