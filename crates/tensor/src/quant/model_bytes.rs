//! The bytes of a model's file in memory, and the arrangement of its weights.

use core::ops::Deref;

use super::Packing;

/// The bytes of a GGUF file, with its weights as in the file or packed for an instruction set.
///
/// Only the [`Packer`](super::Packer) that packed the bytes can mark them as packed. `B` is whatever holds the bytes.
#[derive(Debug, Clone, Copy)]
pub struct ModelBytes<B> {
    bytes: B,
    packing: Option<&'static Packing>,
}

impl<B> ModelBytes<B> {
    /// A file as it is on disk.
    pub fn as_in_file(bytes: B) -> Self {
        Self { bytes, packing: None }
    }

    /// A file whose weights are arranged by `packing`.
    pub(super) fn packed(bytes: B, packing: Option<&'static Packing>) -> Self {
        Self { bytes, packing }
    }

    /// The value that holds the bytes.
    pub fn holder(&self) -> &B {
        &self.bytes
    }

    /// How the weights are rearranged, if they are.
    pub fn packing(&self) -> Option<&'static Packing> {
        self.packing
    }
}

impl<B: Deref<Target = [u8]>> ModelBytes<B> {
    /// The same, with the bytes borrowed.
    pub fn borrow(&self) -> ModelBytes<&[u8]> {
        ModelBytes { bytes: &self.bytes, packing: self.packing }
    }
}

impl<'a> ModelBytes<&'a [u8]> {
    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}
