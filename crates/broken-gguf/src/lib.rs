//! GGUF files that are broken in every way a test should know.
//!
//! [`all`] takes a model file that works and returns copies with one thing wrong each, together with
//! the layer that must refuse it. The engine's tests use them on the host, the kernel's tests as
//! disks. [`good`] makes a file to start from; [`with_metadata`] copies one that stays good. [`Mutator`] changes any file at random.
#![no_std]

extern crate alloc;

mod copy;
mod file;
mod good;
mod model;
mod mutation;
mod reader;
mod tokenizer;

use alloc::vec::Vec;

pub use copy::with_metadata;
pub use good::good;
pub use mutation::Mutator;

/// A file with one thing wrong.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What is wrong, in words joined by hyphens.
    pub name: &'static str,
    /// Which layer notices.
    pub refused_by: Layer,
    /// The file.
    pub bytes: Vec<u8>,
}

/// The layers that a file passes, first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// `Gguf::parse`.
    Reader,
    /// `Model::load`.
    Model,
    /// `Tokenizer::from_gguf`.
    Tokenizer,
}

/// Every kind of broken file, made from `good`: a llama model with a SentencePiece-style vocabulary
/// in the same file, such as that of [`good`].
///
/// Still broken when padded with zeroes to whole disk sectors of 512 bytes.
///
/// # Panics
/// If `good` is no such file.
pub fn all(good: &[u8]) -> Vec<Broken> {
    let file = file::File::parse(good);
    let mut all = Vec::new();
    for (layer, kinds) in [
        (Layer::Reader, reader::kinds(&file)),
        (Layer::Model, model::kinds(&file)),
        (Layer::Tokenizer, tokenizer::kinds(&file)),
    ] {
        all.extend(kinds.into_iter().map(|(name, bytes)| Broken { name, refused_by: layer, bytes }));
    }
    all
}
