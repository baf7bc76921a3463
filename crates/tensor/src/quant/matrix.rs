//! A weight matrix: bytes borrowed from the model file, checked to be what they are said to be.

use super::{GgmlType, Packing, dequantize};
use core::{fmt, ops::Range};

/// Weights `[rows × cols]`, each row a whole number of blocks.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    ty: GgmlType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// The rows, or where they are packed the groups that hold them.
    data: &'a [u8],
    packing: Option<&'a Packing>,
    /// Rows of the first group before the matrix begins.
    skipped_rows: usize,
}

/// Why bytes are no matrix that can be multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// The type is not one that this crate computes with.
    #[error("weights of type {0} are not supported")]
    UnsupportedType(GgmlType),
    /// Rows of this type must be a multiple of its block length.
    #[error("a row of {cols} weights is no multiple of the {} in a block of {ty}", .ty.block_len())]
    RowLength {
        /// The type.
        ty: GgmlType,
        /// Weights in a row.
        cols: usize,
    },
    /// The data is not of the size that the shape asks for.
    #[error(fmt = wrong_size)]
    Size {
        /// Bytes that the shape asks for, `None` if they exceed the address space.
        expected_bytes: Option<usize>,
        /// Bytes given.
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
        Ok(Self { ty, rows, cols, row_bytes, data, packing: None, skipped_rows: 0 })
    }

    /// The whole tensor of a file whose weights have been rearranged so, if at all; types and shapes
    /// that `packing` does not cover are as they were.
    pub fn packed(self, packing: Option<&'a Packing>) -> Self {
        Self { packing: packing.filter(|packing| packing.covers(self.ty, self.rows)), ..self }
    }

    /// How the rows are rearranged, if they are.
    pub(super) fn packing(&self) -> Option<&'a Packing> {
        self.packing
    }

    /// Rows of the first group before the matrix begins.
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
        // A plain row is a group of its own.
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
    /// If there is no row `row` or `out` is not [`n_cols`](Self::n_cols) long.
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

    /// Writes the weights of one row as f32, at most `piece.len()` at a time, and hands each piece
    /// to `use_piece` with the number of its first weight.
    ///
    /// # Panics
    ///
    /// If there is no row `row` or the piece is no whole number of blocks.
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
