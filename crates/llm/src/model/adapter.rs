//! [`Adapter`]: a GGUF file of low-rank matrices that change a model (LoRA), checked against the model.
//!
//! Keys: `general.type` is `adapter`, `adapter.type` is `lora`, `general.architecture` is the model's; the product `B · A` is multiplied by
//! `adapter.lora.alpha` divided by the rank. Tensors: for each changed tensor `NAME` of the model, `NAME.lora_a` is `A` and `NAME.lora_b`
//! is `B`. For the embedding, whose rows are looked up and not multiplied, `A` has a row for each token.
//!
//! Source: llama.cpp's reader of such files.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;
use core::ops::Range;

use super::loaded::Model;
use crate::compute::{Floats, LowRank, LowRanks};
use crate::gguf::{Gguf, GgufError, Name, TensorInfo};
use crate::quant::{GgmlType, dequantize};

/// The contents of an adapter's file.
#[derive(Debug)]
pub struct Adapter {
    /// `adapter.lora.alpha`; 0 if the file has none, so that products are not scaled.
    pub alpha: f32,
    /// The highest rank of its matrices.
    pub rank: usize,
    /// The matrices that it adds.
    pub low_ranks: LowRanks,
}

/// Why a file cannot be used as an adapter of a model.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum AdapterError {
    /// The file's format is broken.
    #[error("{0}")]
    Gguf(GgufError),
    /// A key has a value that an adapter cannot have.
    #[error(fmt = wrong_key)]
    Key {
        /// The key.
        key: &'static str,
        /// Its value; empty if it is missing.
        value: Name,
        /// What it should be.
        expected: Name,
    },
    /// A tensor whose name ends in neither `.lora_a` nor `.lora_b`.
    #[error("tensor {0} is not of an adapter, whose names end in .lora_a and .lora_b")]
    UnknownTensor(Name),
    /// One of a pair is missing.
    #[error("tensor {tensor} is alone: .lora_a and .lora_b come in pairs")]
    Half {
        /// The name of the tensor that is there.
        tensor: Name,
    },
    /// The model has no such tensor.
    #[error("the model has no tensor {0}: the adapter is of another model")]
    NotInModel(Name),
    /// The tensor is not one that vectors are multiplied by.
    #[error("tensor {0} cannot be adapted")]
    NotAdaptable(Name),
    /// The dimensions of a pair do not fit the model's tensor.
    #[error(
        "{tensor} has dimensions {dims:?} in the model, which do not fit {a:?} and {b:?} of .lora_a and .lora_b: \
                 the adapter is of another model"
    )]
    Shape {
        /// The tensor of the model.
        tensor: Name,
        /// Its dimensions.
        dims: [u64; 3],
        /// Those of `A`.
        a: [u64; 3],
        /// Those of `B`.
        b: [u64; 3],
    },
    /// A type that cannot be read.
    #[error("tensor {tensor} has type {ty}, which cannot be read")]
    Type {
        /// The tensor.
        tensor: Name,
        /// Its type.
        ty: GgmlType,
    },
    /// The file has no tensors.
    #[error("the adapter has no tensors")]
    Empty,
    /// The heap has no room for it.
    #[error("the heap has no {needed_bytes} bytes for the adapter")]
    OutOfHeap {
        /// Bytes requested.
        needed_bytes: u64,
    },
}

fn wrong_key(key: &str, value: &Name, expected: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value.as_str() {
        "" => write!(f, "`{key}` is missing, expected {expected:?}"),
        value => write!(f, "`{key}` is {value:?}, expected {:?}", expected.as_str()),
    }
}

impl Adapter {
    /// Whether a file says that it is an adapter.
    pub fn is_adapter(gguf: &Gguf<'_>) -> bool {
        matches!(gguf.str_value("general.type"), Ok(Some("adapter")))
    }

    /// The number of floats in the matrices of an adapter for a model of this family.
    ///
    /// # Errors
    ///
    /// [`AdapterError::Key`] if the file is not an adapter, or is for another family.
    pub fn n_floats(gguf: &Gguf<'_>, architecture: &str) -> Result<usize, AdapterError> {
        for (key, expected) in
            [("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", architecture)]
        {
            let value = gguf.str_value(key)?.unwrap_or_default();
            if value != expected {
                let (value, expected) = (Name::from(value), Name::from(expected));
                return Err(AdapterError::Key { key, value, expected });
            }
        }
        let n_elements = gguf.tensors().iter().map(TensorInfo::n_elements).fold(0, u64::saturating_add);
        Ok(usize::try_from(n_elements).unwrap_or(usize::MAX))
    }

    /// Reads an adapter for `model` onto the heap; `model_gguf` is the header of the model's file.
    ///
    /// # Errors
    ///
    /// [`AdapterError`] if the file is not an adapter, or not one for this model.
    pub fn load(gguf: &Gguf<'_>, model: &Model<'_>, model_gguf: &Gguf<'_>) -> Result<Self, AdapterError> {
        let n_floats = Self::n_floats(gguf, model.config().architecture.name)?;
        Self::load_into(gguf, model, model_gguf, Box::new(zeros(n_floats)?))
    }

    /// Like [`load`](Self::load), but into this memory, which must have room for [all floats](Self::n_floats).
    ///
    /// # Errors
    ///
    /// Those of that function.
    ///
    /// # Panics
    ///
    /// If the memory is too short.
    pub fn load_into(
        gguf: &Gguf<'_>,
        model: &Model<'_>,
        model_gguf: &Gguf<'_>,
        mut floats: Box<dyn Floats>,
    ) -> Result<Self, AdapterError> {
        Self::n_floats(gguf, model.config().architecture.name)?;
        let alpha = gguf.f32_value("adapter.lora.alpha")?.unwrap_or(0.0);
        let mut matrices = Matrices { gguf, floats: floats.floats_mut(), n_taken: 0 };
        let mut low_ranks = Vec::new();
        let needed_bytes = gguf.tensors().len() as u64 * size_of::<LowRank>() as u64;
        let out_of_heap = |_| AdapterError::OutOfHeap { needed_bytes };
        low_ranks.try_reserve_exact(gguf.tensors().len() / 2).map_err(out_of_heap)?;
        for tensor in gguf.tensors() {
            let pair = |of: &str, other: &str| {
                let of = tensor.name.strip_suffix(of)?;
                Some((of, gguf.tensor(Name::format(format_args!("{of}{other}")).as_str())))
            };
            if let Some((_, None)) = pair(".lora_b", ".lora_a") {
                return Err(AdapterError::Half { tensor: Name::from(tensor.name) });
            }
            let Some((of, b)) = pair(".lora_a", ".lora_b") else {
                // llama.cpp ignores changes of normalisations; an error is better than silently running a different
                // model.
                match tensor.name.ends_with(".lora_b") {
                    true => continue,
                    false => return Err(AdapterError::UnknownTensor(Name::from(tensor.name))),
                }
            };
            let Some(b) = b else { return Err(AdapterError::Half { tensor: Name::from(tensor.name) }) };
            low_ranks.push(low_rank(&mut matrices, [tensor, b], of, alpha, model, model_gguf)?);
        }
        if low_ranks.is_empty() {
            return Err(AdapterError::Empty);
        }
        sort::by_key(&mut low_ranks, |low_rank| low_rank.tensor);
        let rank = low_ranks.iter().map(|low_rank| low_rank.rank).max().unwrap_or(0);
        Ok(Adapter { alpha, rank, low_ranks: LowRanks { name: String::new(), list: low_ranks, floats } })
    }
}

/// A pair of matrices, checked against the tensor that they change.
fn low_rank(
    matrices: &mut Matrices<'_>,
    [a, b]: [&TensorInfo<'_>; 2],
    of: &str,
    alpha: f32,
    model: &Model<'_>,
    model_gguf: &Gguf<'_>,
) -> Result<LowRank, AdapterError> {
    let name = Name::from(of);
    let tensor = model_gguf.tensor_index(of).ok_or(AdapterError::NotInModel(name))?;
    let weights = model.weights();
    let is_embedding = tensor == weights.token_embd_tensor;
    if !is_embedding && !weights.adaptable.get(tensor).is_some_and(|is| *is) {
        return Err(AdapterError::NotAdaptable(name));
    }
    let dims = |tensor: &TensorInfo<'_>| [tensor.dims[0], tensor.dims[1], tensor.dims[2]];
    let [n_in, n_out, n_matrices] = dims(&model_gguf.tensors()[tensor]);
    let rank = b.dims[0];
    let expected_a = if is_embedding { [rank, n_out, 1] } else { [n_in, rank, n_matrices] };
    let expected_b = if is_embedding { [rank, n_in, 1] } else { [rank, n_out, n_matrices] };
    if rank == 0 || dims(a) != expected_a || dims(b) != expected_b || a.dims[3] * b.dims[3] != 1 {
        let dims = [n_in, n_out, n_matrices];
        return Err(AdapterError::Shape { tensor: name, dims, a: self::dims(a), b: self::dims(b) });
    }
    // The conversion is lossless: the dimensions equal those of the model's tensors, which are in memory.
    let [n_in, n_out, rank] = [n_in, n_out, rank].map(|n| n as usize);
    let (n_cols, n_rows) = if is_embedding { (n_out, n_in) } else { (n_in, n_out) };
    // The embedding's `A` has a row for each token; the computation needs these as columns.
    let (a, b) = (matrices.take(a, is_embedding)?, matrices.take(b, true)?);
    let scale = if alpha == 0.0 { 1.0 } else { alpha / rank as f32 };
    Ok(LowRank { tensor, a, b, rank, n_cols, n_rows, scale })
}

fn dims(tensor: &TensorInfo<'_>) -> [u64; 3] {
    [tensor.dims[0], tensor.dims[1], tensor.dims[2]]
}

/// The memory for an adapter's matrices.
struct Matrices<'m> {
    gguf: &'m Gguf<'m>,
    floats: &'m mut [f32],
    n_taken: usize,
}

impl Matrices<'_> {
    /// Reads a tensor's matrices, or their transposes, into the next free part of the memory. Returns where they are.
    fn take(&mut self, tensor: &TensorInfo<'_>, transposed: bool) -> Result<Range<usize>, AdapterError> {
        if !crate::quant::is_supported(tensor.ty) {
            return Err(AdapterError::Type { tensor: Name::from(tensor.name), ty: tensor.ty });
        }
        // The conversion is lossless: the caller has memory for all elements.
        let [n_cols, n_rows, n_matrices] = dims(tensor).map(|dim| dim as usize);
        let place = self.n_taken..self.n_taken + n_cols * n_rows * n_matrices;
        self.n_taken = place.end;
        let (floats, data) = (&mut self.floats[place.clone()], self.gguf.tensor_data(tensor)?);
        if !transposed {
            dequantize(tensor.ty, data, floats);
            return Ok(place);
        }
        let mut row = zeros(n_cols)?;
        let rows = data.chunks_exact(data.len() / (n_rows * n_matrices));
        for (index, bytes) in rows.enumerate() {
            dequantize(tensor.ty, bytes, &mut row);
            let first = index / n_rows * n_rows * n_cols + index % n_rows;
            for (col, value) in row.iter().enumerate() {
                floats[first + col * n_rows] = *value;
            }
        }
        Ok(place)
    }
}

fn zeros(len: usize) -> Result<Vec<f32>, AdapterError> {
    let mut zeros = Vec::new();
    let needed_bytes = len as u64 * size_of::<f32>() as u64;
    zeros.try_reserve_exact(len).map_err(|_| AdapterError::OutOfHeap { needed_bytes })?;
    zeros.resize(len, 0.0);
    Ok(zeros)
}

impl From<GgufError> for AdapterError {
    fn from(error: GgufError) -> Self {
        AdapterError::Gguf(error)
    }
}
