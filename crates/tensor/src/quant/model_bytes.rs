//! The bytes of a model's file in memory, and how the weights among them lie.

use core::ops::Deref;

use super::Packing;

/// The bytes of a GGUF file, its weights as they are in the file or packed for a set of instructions.
///
/// That they are packed only the [`Packer`](super::Packer) says that has packed them, and with the bytes. `B` is what
/// holds the bytes.
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

    /// A file that lies in memory as `packing` wants it.
    pub(super) fn packed(bytes: B, packing: Option<&'static Packing>) -> Self {
        Self { bytes, packing }
    }

    /// What holds the bytes.
    pub fn holder(&self) -> &B {
        &self.bytes
    }

    /// How the weights have been rearranged, if they have been.
    pub fn packing(&self) -> Option<&'static Packing> {
        self.packing
    }
}

impl<B: Deref<Target = [u8]>> ModelBytes<B> {
    /// The same, borrowed.
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
