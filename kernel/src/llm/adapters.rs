//! LoRA adapters on disks, [`AdapterFile`], and requests for them, [`Lora`].

use alloc::string::String;

use crate::memory::pool::Footprint;

/// A request to apply an adapter to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Its name, with or without folder and extension.
    pub name: String,
    /// The factor that the adapter's contribution is multiplied by.
    pub scale: f32,
}

/// An adapter that was on a disk when a model was loaded.
#[derive(Debug)]
pub struct AdapterFile {
    /// `/models/<name>.gguf`.
    pub path: String,
    /// [Identity](crate::storage::Disk::identity) of the disk that it was read from.
    pub disk_identity: u64,
    /// The root hash of the file, if there is a trusted one and the file was checked against it as it was read.
    pub root: Option<trust::Root>,
    /// Facts about the adapter if it is in memory; otherwise, in one line, why it cannot be used with the model.
    pub facts: Result<AdapterFacts, String>,
}

/// An adapter in memory.
#[derive(Debug)]
pub struct AdapterFacts {
    /// Its index among the model's adapters.
    pub id: usize,
    /// `general.name`; empty if the file has none.
    pub name: String,
    /// The highest rank of its matrices.
    pub rank: usize,
    /// `adapter.lora.alpha`; 0 where the file has none.
    pub alpha: f32,
    /// How many tensors of the model it changes.
    pub n_tensors: usize,
    /// Where its matrices lie in the pool.
    pub footprint: Footprint,
}
