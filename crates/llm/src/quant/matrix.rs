//! A weight matrix: bytes borrowed from the model file, checked to be what they are said to be.

use super::{GgmlType, dequantize};
use core::{fmt, ops::Range};

/// Weights `[rows × cols]`, each row a whole number of blocks.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    ty: GgmlType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    data: &'a [u8],
}

/// Why bytes are no matrix that can be multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixError {
    /// The type is not one that this crate computes with.
    UnsupportedType(GgmlType),
    /// Rows of this type must be a multiple of its block length.
    RowLength {
        /// The type.
        ty: GgmlType,
        /// Weights in a row.
        cols: usize,
    },
    /// The data is not of the size that the shape asks for.
    Size {
        /// Bytes that the shape asks for, `None` if they exceed the address space.
        expected_bytes: Option<usize>,
        /// Bytes given.
        actual_bytes: usize,
    },
}

impl fmt::Display for MatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnsupportedType(ty) => write!(f, "weights of type {ty} are not supported"),
            Self::RowLength { ty, cols } => write!(
                f,
                "a row of {cols} weights is no multiple of the {} in a block of {ty}",
                ty.block_len()
            ),
            Self::Size { expected_bytes: Some(expected), actual_bytes } => {
                write!(f, "the matrix has {actual_bytes} bytes instead of {expected}")
            }
            Self::Size { expected_bytes: None, .. } => {
                f.write_str("the matrix is larger than the address space")
            }
        }
    }
}

impl core::error::Error for MatrixError {}

impl<'a> Matrix<'a> {
    /// Checks that `data` holds `rows` rows of `cols` weights of type `ty`.
    ///
    /// # Errors
    ///
    /// If the type is not computed with, or shape and size do not agree.
    pub fn new(ty: GgmlType, rows: usize, cols: usize, data: &'a [u8]) -> Result<Self, MatrixError> {
        if !dequantize::is_supported(ty) {
            return Err(MatrixError::UnsupportedType(ty));
        }
        if cols == 0 || !cols.is_multiple_of(ty.block_len()) {
            return Err(MatrixError::RowLength { ty, cols });
        }
        let expected_bytes = ty.row_bytes(cols).and_then(|bytes| bytes.checked_mul(rows));
        if expected_bytes != Some(data.len()) {
            return Err(MatrixError::Size { expected_bytes, actual_bytes: data.len() });
        }
        let row_bytes = cols / ty.block_len() * ty.block_bytes();
        Ok(Self { ty, rows, cols, row_bytes, data })
    }

    /// Type of the weights.
    pub fn ty(&self) -> GgmlType {
        self.ty
    }

    /// Number of rows: outputs of a product.
    pub fn n_rows(&self) -> usize {
        self.rows
    }

    /// Weights in a row: inputs of a product.
    pub fn n_cols(&self) -> usize {
        self.cols
    }

    /// The bytes of all rows.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The bytes of one row.
    ///
    /// # Panics
    ///
    /// If there is no row `row`.
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.data[row * self.row_bytes..(row + 1) * self.row_bytes]
    }

    /// The matrix of some of the rows.
    ///
    /// # Panics
    ///
    /// If the range runs past the last row.
    pub fn rows(&self, range: Range<usize>) -> Matrix<'a> {
        Matrix {
            rows: range.len(),
            data: &self.data[range.start * self.row_bytes..range.end * self.row_bytes],
            ..*self
        }
    }

    /// Writes the weights of one row as f32.
    ///
    /// # Panics
    ///
    /// If there is no row `row` or `out` is not [`n_cols`](Self::n_cols) long.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols);
        dequantize::dequantize(self.ty, self.row(row), out);
    }
}
