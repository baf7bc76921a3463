//! Rows of quantised weights: to f32 and back, and matrix products over them.
//!
//! [`GgmlType`] names the formats, [`Matrix`] is a checked view of a tensor's bytes, [`Activations`] are the vectors that it is
//! multiplied with, and [`matmul`] multiplies. [`Packer`] rearranges weights for an instruction set while they are read, and
//! returns [`ModelBytes`], which record the arrangement.
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
