//! The tensors of a file, taken by name after checking their shape and type.
//!
//! [`Tensors`] remembers which tensors have been taken, in order to find any that the family does not know: ignoring
//! one could change the result.

use alloc::vec::Vec;
use core::ops::Range;

use zerocopy::FromBytes;

use super::architecture::NormWeights;
use super::error::ModelError;
use super::head_norm::HeadNorm;
use crate::compute::Norm;
use crate::gguf::{Gguf, Name, TensorInfo};
use crate::quant::{GgmlType, Matrix, ModelBytes};

/// Tensors of older files that only repeat hyper-parameters.
const REDUNDANT: [&str; 1] = [".attn_rot_embd"];

pub(super) struct Tensors<'g, 'a> {
    gguf: &'g Gguf<'g>,
    file: ModelBytes<&'a [u8]>,
    taken: Vec<bool>,
    /// Beginnings of the names, without a layer's prefix, of tensors that are treated as absent.
    unused: &'static [&'static str],
    /// Which tensors adapters can change.
    adaptable: Vec<bool>,
}

// These functions are called for every tensor of every family. Inlining them would make the kernel larger by a tenth.
impl<'g, 'a> Tensors<'g, 'a> {
    pub fn new(
        gguf: &'g Gguf<'_>,
        file: ModelBytes<&'a [u8]>,
        unused: &'static [&'static str],
    ) -> Result<Self, ModelError> {
        let n_tensors = gguf.tensors().len();
        let mut taken = Vec::new();
        taken.try_reserve_exact(n_tensors).map_err(|_| ModelError::OutOfHeap { needed_bytes: n_tensors })?;
        taken.resize(n_tensors, false);
        let mut adaptable = Vec::new();
        adaptable
            .try_reserve_exact(n_tensors)
            .map_err(|_| ModelError::OutOfHeap { needed_bytes: n_tensors })?;
        adaptable.resize(n_tensors, false);
        Ok(Tensors { gguf, file, taken, unused, adaptable })
    }

    /// Marks a tensor as one that adapters can change, and returns its number, if it is there.
    pub fn adaptable(&mut self, name: &Name) -> Option<usize> {
        let index = self.gguf.tensor_index(name.as_str())?;
        self.adaptable[index] = true;
        Some(index)
    }

    /// Which tensors adapters can change.
    pub fn into_adaptable(self) -> Vec<bool> {
        self.adaptable
    }

    /// Whether there is a tensor of this name.
    #[inline(never)]
    pub fn has(&self, name: &str) -> bool {
        self.index(name).is_some()
    }

    /// The index of the tensor with this name, if it is there and is used.
    fn index(&self, name: &str) -> Option<usize> {
        self.gguf.tensor_index(name).filter(|_| !self.is_unused(name))
    }

    fn is_unused(&self, name: &str) -> bool {
        let part = layer_of(name).map_or(name, |(_, part)| part);
        self.unused.iter().any(|beginning| part.starts_with(beginning))
    }

    /// Fails if there is no tensor of this name.
    #[inline(never)]
    pub fn require(&self, name: &Name) -> Result<(), ModelError> {
        required(self.gguf.tensor(name.as_str()), name).map(|_| ())
    }

    /// Ignores all tensors whose names begin with `beginning`.
    pub fn leave(&mut self, beginning: &str) {
        for (tensor, taken) in self.gguf.tensors().iter().zip(&mut self.taken) {
            *taken |= tensor.name.starts_with(beginning);
        }
    }

    /// `[rows × cols]`.
    #[inline(never)]
    pub fn matrix(&mut self, name: &Name, rows: usize, cols: usize) -> Result<Matrix<'a>, ModelError> {
        required(self.optional_matrix(name, rows, cols)?, name)
    }

    /// `[rows × cols]`, if it is there.
    #[inline(never)]
    pub fn optional_matrix(
        &mut self,
        name: &Name,
        rows: usize,
        cols: usize,
    ) -> Result<Option<Matrix<'a>>, ModelError> {
        self.rows_of_shape(name, rows, cols, [cols as u64, rows as u64, 1, 1])
    }

    /// As many rows of `cols` as there are, if it is there.
    #[inline(never)]
    pub fn optional_rows(&mut self, name: &Name, cols: usize) -> Result<Option<Matrix<'a>>, ModelError> {
        if !self.has(name.as_str()) {
            return Ok(None);
        }
        let rows = self.rows_of(name)?;
        self.optional_matrix(name, rows, cols)
    }

    /// A vector as the only row of a matrix, if it is there.
    #[inline(never)]
    pub fn optional_row(&mut self, name: &Name, cols: usize) -> Result<Option<Matrix<'a>>, ModelError> {
        self.rows_of_shape(name, 1, cols, [cols as u64, 1, 1, 1])
    }

    /// `count` consecutive matrices `[rows × cols]`.
    #[inline(never)]
    pub fn stack(
        &mut self,
        name: &Name,
        count: usize,
        rows: usize,
        cols: usize,
    ) -> Result<Matrix<'a>, ModelError> {
        let dims = [cols as u64, rows as u64, count as u64, 1];
        required(self.rows_of_shape(name, count * rows, cols, dims)?, name)
    }

    /// The number of rows of a matrix, or of each of a stack.
    #[inline(never)]
    pub fn rows_of(&self, name: &Name) -> Result<usize, ModelError> {
        let tensor = required(self.gguf.tensor(name.as_str()), name)?;
        match usize::try_from(tensor.dims[1]) {
            Ok(rows @ 1..=0x100_0000) => Ok(rows),
            _ => Err(ModelError::InvalidKey {
                key: *name,
                value: tensor.dims[1] as f64,
                expected: "1 to 16777216 rows",
            }),
        }
    }

    /// The fourth dimension of a tensor.
    #[inline(never)]
    pub fn planes_of(&self, name: &Name) -> Result<u64, ModelError> {
        Ok(required(self.gguf.tensor(name.as_str()), name)?.dims[3])
    }

    /// F32 `[len]`.
    #[inline(never)]
    pub fn vector(&mut self, name: &Name, len: usize) -> Result<&'a [f32], ModelError> {
        required(self.optional_vector(name, len)?, name)
    }

    /// F32 `[len]`, if it is there.
    #[inline(never)]
    pub fn optional_vector(&mut self, name: &Name, len: usize) -> Result<Option<&'a [f32]>, ModelError> {
        self.floats(name, [len as u64, 1, 1, 1])
    }

    /// `<name>.scale`, a factor of a matrix in addition to those in its blocks, if it is there. The scale of inputs
    /// (`<name>.input_scale`) is ignored: it is for devices that round inputs to few bits.
    #[inline(never)]
    pub fn scale(&mut self, name: &str) -> Result<Option<f32>, ModelError> {
        Ok(self.scales(name, 1)?.map(|scale| scale[0]))
    }

    /// The same for `count` matrices.
    #[inline(never)]
    pub fn scales(&mut self, name: &str, count: usize) -> Result<Option<&'a [f32]>, ModelError> {
        self.optional_vector(&Name::format(format_args!("{name}.input_scale")), count)?;
        self.optional_vector(&Name::format(format_args!("{name}.scale")), count)
    }

    /// `count` consecutive vectors of F32 `[len]`, if they are there.
    #[inline(never)]
    pub fn optional_vectors(
        &mut self,
        name: &Name,
        count: usize,
        len: usize,
    ) -> Result<Option<&'a [f32]>, ModelError> {
        self.floats(name, [len as u64, count as u64, 1, 1])
    }

    /// F32 `[n_stream][len]`, of one dimension or two.
    #[inline(never)]
    pub fn streams_norm(
        &mut self,
        name: &Name,
        n_stream: usize,
        len: usize,
    ) -> Result<&'a [f32], ModelError> {
        match required(self.gguf.tensor(name.as_str()), name)?.dims[0] == len as u64 {
            true => required(self.optional_vectors(name, n_stream, len)?, name),
            false => self.vector(name, n_stream * len),
        }
    }

    /// F32 of these dimensions, the innermost first, if it is there.
    #[inline(never)]
    pub fn optional_floats(
        &mut self,
        name: &Name,
        dims: [usize; 4],
    ) -> Result<Option<&'a [f32]>, ModelError> {
        self.floats(name, dims.map(|dim| dim as u64))
    }

    /// `<name>.weight` and `<name>.bias`, whichever the family has.
    #[inline(never)]
    pub fn norm(&mut self, name: &str, weights: NormWeights, len: usize) -> Result<Norm<'a>, ModelError> {
        let mut weight = Name::format(format_args!("{name}.weight"));
        if !self.has(weight.as_str()) && self.has(name) {
            // Falcon-H1's files omit the suffix.
            weight = Name::from(name);
        }
        let bias = Name::format(format_args!("{name}.bias"));
        Ok(match weights {
            NormWeights::None => Norm { weight: None, bias: None },
            NormWeights::Weight => Norm { weight: Some(self.vector(&weight, len)?), bias: None },
            NormWeights::WeightAndBias => {
                Norm { weight: Some(self.vector(&weight, len)?), bias: Some(self.vector(&bias, len)?) }
            }
            NormWeights::WeightMaybeBias => {
                Norm { weight: Some(self.vector(&weight, len)?), bias: self.optional_vector(&bias, len)? }
            }
        })
    }

    /// The weights of a normalisation of queries or keys; their shape determines what it spans. The normalisation of a row can have a
    /// summand, the tensor `bias`.
    #[inline(never)]
    pub fn head_norm(
        &mut self,
        [name, bias]: [&Name; 2],
        n_head: usize,
        head_len: usize,
    ) -> Result<HeadNorm<'a>, ModelError> {
        let tensor = required(self.gguf.tensor(name.as_str()), name)?;
        let is_row = tensor.dims[0] == (n_head * head_len) as u64;
        if tensor.dims[1] > 1 {
            Ok(HeadNorm::OwnHead(required(self.optional_vectors(name, n_head, head_len)?, name)?))
        } else if is_row && (n_head > 1 || self.has(bias.as_str())) {
            let len = n_head * head_len;
            let (weight, bias) = (self.vector(name, len)?, self.optional_vector(bias, len)?);
            Ok(HeadNorm::Row(Norm { weight: Some(weight), bias }))
        } else {
            Ok(HeadNorm::Head(Some(self.vector(name, head_len)?)))
        }
    }

    /// Fails if a tensor is left over that neither belongs to the layers `unused` nor is ignored by the family.
    pub fn all_taken(&self, unused: Range<usize>) -> Result<(), ModelError> {
        let is_known = |name: &str| {
            layer_of(name).is_some_and(|(layer, _)| unused.contains(&layer))
                || self.is_unused(name)
                || REDUNDANT.iter().any(|part| name.contains(part))
        };
        let mut left_over = self.gguf.tensors().iter().zip(&self.taken).filter(|(_, taken)| !**taken);
        match left_over.find(|(tensor, _)| !is_known(tensor.name)) {
            Some((tensor, _)) => Err(ModelError::UnknownTensor(Name::from(tensor.name))),
            None => Ok(()),
        }
    }

    #[inline(never)]
    fn rows_of_shape(
        &mut self,
        name: &Name,
        rows: usize,
        cols: usize,
        dims: [u64; 4],
    ) -> Result<Option<Matrix<'a>>, ModelError> {
        let Some(tensor) = self.take(name, dims)? else { return Ok(None) };
        let data = self.gguf.tensor_data_in(tensor, self.file.bytes())?;
        match Matrix::new(tensor.ty, rows, cols, data) {
            Ok(matrix) => Ok(Some(matrix.packed(self.file.packing()))),
            Err(_) => Err(ModelError::UnsupportedType {
                tensor: *name,
                ty: tensor.ty,
                supported: "a type that this engine multiplies with",
            }),
        }
    }

    #[inline(never)]
    fn floats(&mut self, name: &Name, dims: [u64; 4]) -> Result<Option<&'a [f32]>, ModelError> {
        let Some(tensor) = self.take(name, dims)? else { return Ok(None) };
        let data = self.gguf.tensor_data_in(tensor, self.file.bytes())?;
        match <[f32]>::ref_from_bytes(data) {
            Ok(vector) if tensor.ty == GgmlType::F32 => Ok(Some(vector)),
            _ => Err(ModelError::UnsupportedType {
                tensor: *name,
                ty: tensor.ty,
                supported: "F32 at an offset that is a multiple of 4",
            }),
        }
    }

    /// Marks a tensor as taken, if it is there and has these dimensions.
    #[inline(never)]
    fn take(&mut self, name: &Name, expected: [u64; 4]) -> Result<Option<&'g TensorInfo<'g>>, ModelError> {
        let Some(index) = self.index(name.as_str()) else { return Ok(None) };
        let tensor = &self.gguf.tensors()[index];
        if tensor.dims != expected {
            return Err(ModelError::WrongShape { tensor: *name, dims: tensor.dims, expected });
        }
        self.taken[index] = true;
        Ok(Some(tensor))
    }
}

/// The layer of a tensor, and its name within the layer.
fn layer_of(name: &str) -> Option<(usize, &str)> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

fn required<T>(found: Option<T>, name: &Name) -> Result<T, ModelError> {
    found.ok_or(ModelError::MissingTensor(*name))
}
