//! Rows of quantised weights: to f32 and back, and matrix products over them.
//!
//! [`GgmlType`] names the formats, [`Matrix`] is a checked view of a tensor's bytes,
//! [`Activations`] are what it is multiplied with, [`matmul`] does it. [`Packer`] rearranges weights for a set of
//! instructions while they are read and gives the [`ModelBytes`] that know it.
//!
//! Neighbours: [`crate::blocks`] defines the formats, [`crate::simd`] has the inner loops.

mod activations;
mod dequantize;
mod fit;
mod matmul;
mod matrix;
mod model_bytes;
mod packer;
#[cfg(test)]
mod packing_tests;
mod quantize;
mod quantize_k;
mod quantize_table;

pub use crate::blocks::{GgmlType, Packing};
pub use activations::{Activations, Precision, activation_bytes};
pub use dequantize::{dequantize, is_supported};
pub use matmul::{matmul, matmul_each, matmul_pair, matmul_then};
pub use matrix::{Matrix, MatrixError};
pub use model_bytes::ModelBytes;
pub use packer::{PackError, Packer, Span};
pub(crate) use quantize::quantize_plain;
pub use quantize::{can_quantize, quantize, quantize_row};
