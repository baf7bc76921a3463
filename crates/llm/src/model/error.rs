//! What can be wrong with a model that is a well-formed GGUF file.

use core::fmt;

use crate::gguf::{GgufError, Name};
use crate::quant::GgmlType;

/// Why a model cannot be run.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelError {
    /// The file's format is broken, or a key is of the wrong type.
    Gguf(GgufError),
    /// `general.architecture` names a family that is not implemented.
    UnknownArchitecture(Name),
    /// A hyper-parameter without which the model is not defined.
    MissingKey(Name),
    /// A hyper-parameter that makes no sense.
    InvalidKey {
        /// The key, or the tensor whose dimension is meant.
        key: Name,
        /// Its value.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// A hyper-parameter that selects something not implemented.
    UnsupportedKey {
        /// The key.
        key: Name,
        /// Its value.
        value: Name,
        /// What is implemented.
        supported: &'static str,
    },
    /// A tensor that the family requires.
    MissingTensor(Name),
    /// A tensor that the family does not have: ignoring it could change the result.
    UnknownTensor(Name),
    /// A tensor of other dimensions than the hyper-parameters say.
    WrongShape {
        /// The tensor.
        tensor: Name,
        /// Its dimensions, the contiguous one first.
        dims: [u64; 4],
        /// What they should be.
        expected: [u64; 4],
    },
    /// A tensor of a type that cannot be computed with, or not in its role.
    UnsupportedType {
        /// The tensor.
        tensor: Name,
        /// Its type.
        ty: GgmlType,
        /// Which types can be.
        supported: &'static str,
    },
    /// The file holds a part of a model's tensors only (`split.count`).
    Part {
        /// Which part, from 1.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// The small tables beside the weights do not fit the heap.
    OutOfHeap {
        /// Bytes that were asked for.
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

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelError::Gguf(error) => error.fmt(f),
            ModelError::UnknownArchitecture(name) => write!(
                f,
                "architecture {name:?} is not implemented; of the {} that docs/models.md lists, {} is nearest by name",
                super::ARCHITECTURES.len(),
                super::Architecture::nearest(name.as_str())
            ),
            ModelError::MissingKey(key) => write!(f, "required key {key} is missing"),
            ModelError::InvalidKey { key, value, expected } => {
                write!(f, "{key} is {value}, expected {expected}")
            }
            ModelError::UnsupportedKey { key, value, supported } => {
                write!(f, "{key} is {value:?}, which is not implemented; implemented: {supported}")
            }
            ModelError::MissingTensor(tensor) => write!(f, "required tensor {tensor} is missing"),
            ModelError::UnknownTensor(tensor) => {
                write!(f, "tensor {tensor} has no place in this architecture")
            }
            ModelError::WrongShape { tensor, dims, expected } => {
                write!(f, "tensor {tensor} has dimensions {dims:?}, expected {expected:?}")
            }
            ModelError::UnsupportedType { tensor, ty, supported } => {
                write!(f, "tensor {tensor} has type {ty}, expected {supported}")
            }
            ModelError::Part { number, count } => {
                write!(f, "the file is part {number} of {count} of a model, which needs them all")
            }
            ModelError::OutOfHeap { needed_bytes } => {
                write!(f, "the heap has no {needed_bytes} bytes for the model's tables")
            }
        }
    }
}

impl core::error::Error for ModelError {}
