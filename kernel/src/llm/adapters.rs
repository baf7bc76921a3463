//! Adapters (LoRA) on disks, [`AdapterFile`], and how they are asked for, [`Lora`].

use alloc::string::String;

use crate::memory::pool::Footprint;

/// An adapter that a model is to be changed by.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Its name, with or without folder and extension.
    pub name: String,
    /// What it adds is multiplied by this.
    pub scale: f32,
}

/// An adapter that was on a disk when a model was loaded.
#[derive(Debug)]
pub struct AdapterFile {
    /// `/models/<name>.gguf`.
    pub path: String,
    /// [Identity](crate::storage::Disk::identity) of the disk that it was read from.
    pub disk_identity: u64,
    /// What stands for the file, if somebody vouches for it and it was checked as it was read.
    pub root: Option<trust::Root>,
    /// What it is, if it is in memory; or why it is none of the model, in a line.
    pub facts: Result<AdapterFacts, String>,
}

/// An adapter in memory.
#[derive(Debug)]
pub struct AdapterFacts {
    /// Its number among the model's.
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
