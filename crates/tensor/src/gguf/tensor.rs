//! Entries of the tensor table.

use super::reader::{Cursor, Place};
use super::{GgufError, Name};
use crate::blocks::GgmlType;

/// ggml's limit (`GGML_MAX_DIMS`).
pub const MAX_DIMS: usize = 4;

/// The longest tensor name of the format.
pub(super) const MAX_NAME_BYTES: u64 = 64;

/// An entry of the tensor table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: &'a str,
    /// Its dimensions in ggml's order: the first dimension has elements that are adjacent in memory. Unused dimensions are 1.
    pub dims: [u64; MAX_DIMS],
    /// Number of dimensions, 0 to 4.
    pub n_dims: usize,
    /// Type of its elements.
    pub ty: GgmlType,
    /// Where its data begins, in bytes from the beginning of the tensor data.
    pub offset: u64,
    /// Size of its data.
    pub size_bytes: u64,
}

impl<'a> TensorInfo<'a> {
    /// Its dimensions, without unused ones.
    pub fn shape(&self) -> &[u64] {
        &self.dims[..self.n_dims]
    }

    /// Number of elements.
    pub fn n_elements(&self) -> u64 {
        // This cannot overflow: it was checked when the entry was read.
        self.dims.iter().product()
    }

    /// Where its data ends, in bytes from the beginning of the tensor data; `u64::MAX` on overflow.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.size_bytes)
    }

    /// Reads entry number `index`.
    pub(super) fn read(cursor: &mut Cursor<'a>, index: u64) -> Result<Self, GgufError> {
        cursor.place = Place::TensorName(index);
        let name = cursor.name(MAX_NAME_BYTES)?;
        cursor.place = Place::TensorEntry(name);
        let tensor = Name::from(name);

        let offset = cursor.offset();
        let n_dims_stored = cursor.u32()?;
        let n_dims = n_dims_stored as usize;
        if n_dims > MAX_DIMS {
            return Err(GgufError::TooManyDimensions { tensor, offset, n_dims: n_dims_stored });
        }
        let mut dims = [1; MAX_DIMS];
        for dim in &mut dims[..n_dims] {
            *dim = cursor.u64()?;
        }

        let offset = cursor.offset();
        let id = cursor.u32()?;
        let ty = GgmlType::from_id(id).ok_or(GgufError::UnknownTensorType { tensor, offset, id })?;
        Ok(Self { name, dims, n_dims, ty, offset: cursor.u64()?, size_bytes: size_bytes(name, ty, dims)? })
    }
}

/// Size of the data of a tensor.
pub(super) fn size_bytes(name: &str, ty: GgmlType, dims: [u64; MAX_DIMS]) -> Result<u64, GgufError> {
    let tensor = Name::from(name);
    let n_elements = dims
        .iter()
        .try_fold(1u64, |product, &dim| product.checked_mul(dim))
        .filter(|&n| n != 0)
        .ok_or(GgufError::BadDimensions { tensor, dims })?;
    let block_len = ty.block_len() as u64;
    if !dims[0].is_multiple_of(block_len) {
        return Err(GgufError::PartialBlock { tensor, ty, row_len: dims[0] });
    }
    (n_elements / block_len)
        .checked_mul(ty.block_bytes() as u64)
        .filter(|&size| size <= i64::MAX as u64)
        .ok_or(GgufError::BadDimensions { tensor, dims })
}
