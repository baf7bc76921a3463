//! Block formats of weights: layout, dequantisation, matrix products over them.
//!
//! [`GgmlType`] names the formats.

mod ggml_type;

pub use ggml_type::GgmlType;
