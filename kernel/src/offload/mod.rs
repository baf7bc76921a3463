//! Computing on a device other than the CPU: the interface, and the only device that implements it.
//!
//! [`Offload`] is the interface for a GPU that is passed through over PCIe and multiplies matrices. No device does so yet:
//! [`PassthroughDevice`] finds a display or 3D controller, maps its memory and reports that it computes nothing, so the backend
//! stays on the CPU.

mod passthrough;

pub use passthrough::PassthroughDevice;

use alloc::vec::Vec;

/// What a device can do for inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// True if [`Offload::matmul`] computes.
    pub matmul: bool,
    /// Memory of the device that the CPU can reach: one entry per mapped BAR.
    pub memory_bytes: Vec<u64>,
}

/// Why a device did not compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OffloadError {
    /// The device, or this driver for it, cannot do this at all.
    #[error("the device does not compute")]
    Unsupported,
}

/// A device that may compute matrix products.
pub trait Offload: Send {
    /// A name of the device for people.
    fn name(&self) -> &str;

    /// What the device can do.
    fn capabilities(&self) -> Capabilities;

    /// Computes `out = weights × x`. `weights` is `rows × x.len()` in row-major order; `out` has one element per row.
    ///
    /// # Errors
    /// [`OffloadError::Unsupported`] if the device computes nothing; `out` is untouched then.
    fn matmul(&mut self, weights: &[f32], x: &[f32], out: &mut [f32]) -> Result<(), OffloadError>;
}
