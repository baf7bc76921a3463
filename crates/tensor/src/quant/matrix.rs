//! A weight matrix: bytes borrowed from the model file, whose type and size have been checked.

use super::{GgmlType, Packing, dequantize};
use core::{fmt, ops::Range};

/// Weights `[rows × cols]`; each row is a whole number of blocks.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    ty: GgmlType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// The rows or, if they are packed, the groups that hold them.
    data: &'a [u8],
    packing: Option<&'a Packing>,
    /// How many rows of the first group come before the matrix.
    skipped_rows: usize,
}

/// Why bytes cannot be used as a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// This crate cannot compute with this type.
    #[error("weights of type {0} are not supported")]
    UnsupportedType(GgmlType),
    /// The length of a row must be a multiple of the type's block length.
    #[error("a row of {cols} weights is no multiple of the {} in a block of {ty}", .ty.block_len())]
    RowLength {
        /// The type.
        ty: GgmlType,
        /// Weights in a row.
        cols: usize,
    },
    /// The data does not have the size that the shape requires.
    #[error(fmt = wrong_size)]
    Size {
        /// The required number of bytes; `None` if it exceeds the address space.
        expected_bytes: Option<usize>,
        /// The number of bytes given.
        actual_bytes: usize,
    },
}

fn wrong_size(
    expected_bytes: &Option<usize>,
    actual_bytes: &usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match expected_bytes {
        Some(expected) => write!(f, "the matrix has {actual_bytes} bytes instead of {expected}"),
        None => f.write_str("the matrix is larger than the address space"),
    }
}

impl<'a> Matrix<'a> {
    /// Checks that `data` holds `rows` rows of `cols` weights of type `ty`.
    ///
    /// # Errors
    ///
    /// If this crate cannot compute with the type, or if shape and size do not match.
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
        Ok(Self { ty, rows, cols, row_bytes, data, packing: None, skipped_rows: 0 })
    }

    /// The whole tensor of a file whose weights have been rearranged by `packing`. Types and shapes that `packing` does not cover
    /// are as in the file.
    pub fn packed(self, packing: Option<&'a Packing>) -> Self {
        Self { packing: packing.filter(|packing| packing.covers(self.ty, self.rows)), ..self }
    }

    /// How the rows are rearranged, if they are.
    pub(super) fn packing(&self) -> Option<&'a Packing> {
        self.packing
    }

    /// How many rows of the first group come before the matrix.
    pub(super) fn skipped_rows(&self) -> usize {
        self.skipped_rows
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

    /// The bytes of all rows, or of the groups that hold them.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Bytes of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The matrix of some of the rows.
    ///
    /// # Panics
    ///
    /// If the range runs past the last row.
    pub fn rows(&self, range: Range<usize>) -> Matrix<'a> {
        assert!(range.end <= self.rows, "{range:?} of {} rows", self.rows);
        let in_data = self.skipped_rows + range.start..self.skipped_rows + range.end;
        // An unpacked row is its own group.
        let group_rows = self.packing.map_or(1, |packing| packing.rows);
        let groups = in_data.start / group_rows..in_data.end.div_ceil(group_rows);
        let group_bytes = group_rows * self.row_bytes;
        Matrix {
            rows: range.len(),
            data: &self.data[groups.start * group_bytes..groups.end * group_bytes],
            skipped_rows: in_data.start % group_rows,
            ..*self
        }
    }

    /// Writes the weights of one row as f32.
    ///
    /// # Panics
    ///
    /// If there is no row `row`, or if `out` is not [`n_cols`](Self::n_cols) long.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols);
        let one = self.rows(row..row + 1);
        let Some(packing) = self.packing else { return dequantize::dequantize(self.ty, one.data, out) };
        let mut blocks = out.chunks_exact_mut(self.ty.block_len());
        packing.for_each_block(self.ty, one.data, one.skipped_rows, |block| {
            if let Some(out) = blocks.next() {
                dequantize::dequantize(self.ty, block, out);
            }
        });
    }

    /// Writes the weights of one row as f32, at most `piece.len()` at a time, and calls `use_piece` with each piece and the
    /// number of its first weight.
    ///
    /// # Panics
    ///
    /// If there is no row `row`, or if the piece is not a whole number of blocks.
    pub(super) fn for_each_piece(
        &self,
        row: usize,
        piece: &mut [f32],
        mut use_piece: impl FnMut(usize, &[f32]),
    ) {
        let (block_len, piece_len) = (self.ty.block_len(), piece.len());
        let one = self.rows(row..row + 1);
        let Some(packing) = self.packing else {
            let piece_bytes = piece_len / block_len * self.ty.block_bytes();
            for (index, bytes) in one.data.chunks(piece_bytes).enumerate() {
                let weights = &mut piece[..bytes.len() / self.ty.block_bytes() * block_len];
                dequantize::dequantize(self.ty, bytes, weights);
                use_piece(index * piece_len, weights);
            }
            return;
        };
        let mut first = 0;
        let mut filled = 0;
        packing.for_each_block(self.ty, one.data, one.skipped_rows, |block| {
            dequantize::dequantize(self.ty, block, &mut piece[filled..filled + block_len]);
            filled += block_len;
            if filled == piece_len || first + filled == self.cols {
                use_piece(first, &piece[..filled]);
                (first, filled) = (first + filled, 0);
            }
        });
    }
}
