//! Errors in a model whose file is well-formed GGUF.

use crate::gguf::{GgufError, Name};
use crate::quant::GgmlType;

/// Why a model cannot be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The file's format is broken, or a key is of the wrong type.
    #[error("{0}")]
    Gguf(GgufError),
    /// `general.architecture` names a family that is not implemented.
    #[error(
        "architecture {0:?} is not implemented; of the {count} that docs/models.md lists, {nearest} is nearest by name",
        count = super::families::ARCHITECTURES.len(),
        nearest = super::architecture::Architecture::nearest(.0.as_str())
    )]
    UnknownArchitecture(Name),
    /// A hyper-parameter without which the model is not defined.
    #[error("required key {0} is missing")]
    MissingKey(Name),
    /// A hyper-parameter with an invalid value.
    #[error("{key} is {value}, expected {expected}")]
    InvalidKey {
        /// The key, or the tensor that has the wrong dimension.
        key: Name,
        /// Its value.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// A hyper-parameter that selects something not implemented.
    #[error("{key} is {value:?}, which is not implemented; implemented: {supported}")]
    UnsupportedKey {
        /// The key.
        key: Name,
        /// Its value.
        value: Name,
        /// What is implemented.
        supported: &'static str,
    },
    /// A tensor that the family requires.
    #[error("required tensor {0} is missing")]
    MissingTensor(Name),
    /// A tensor that the family does not have: ignoring it could change the result.
    #[error("tensor {0} has no place in this architecture")]
    UnknownTensor(Name),
    /// A tensor whose dimensions contradict the hyper-parameters.
    #[error("tensor {tensor} has dimensions {dims:?}, expected {expected:?}")]
    WrongShape {
        /// The tensor.
        tensor: Name,
        /// Its dimensions, the contiguous one first.
        dims: [u64; 4],
        /// What they should be.
        expected: [u64; 4],
    },
    /// A tensor with a type that cannot be used, or not in this role.
    #[error("tensor {tensor} has type {ty}, expected {supported}")]
    UnsupportedType {
        /// The tensor.
        tensor: Name,
        /// Its type.
        ty: GgmlType,
        /// The types that can be used.
        supported: &'static str,
    },
    /// The file contains only a part of a model's tensors (`split.count`).
    #[error("the file is part {number} of {count} of a model, which needs them all")]
    Part {
        /// Which part, from 1.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// The small tables needed besides the weights do not fit the heap.
    #[error("the heap has no {needed_bytes} bytes for the model's tables")]
    OutOfHeap {
        /// Bytes requested.
        needed_bytes: usize,
    },
}

impl ModelError {
    pub(super) fn missing_key(key: &str) -> Self {
        ModelError::MissingKey(Name::from(key))
    }

    pub(super) fn missing_tensor(tensor: &str) -> Self {
        ModelError::MissingTensor(Name::from(tensor))
    }
}

impl From<GgufError> for ModelError {
    fn from(error: GgufError) -> Self {
        ModelError::Gguf(error)
    }
}
