//! [`Weight`]: a matrix or vector of a checkpoint as numbers, however it is stored; [`Order`]: which of its rows or columns
//! stands where in the file.

use super::checkpoint::Floats;
use super::gptq::GptqMatrix;

/// A matrix, or a vector, which is one row.
#[derive(Debug, Clone)]
pub enum Weight<'c> {
    /// As it is.
    Floats(Floats<'c>),
    /// To be dequantised.
    Gptq(GptqMatrix<'c>),
}

impl Weight<'_> {
    /// The values of a row.
    ///
    /// # Panics
    ///
    /// If there is no such row, or not of this length.
    pub fn read_row(&self, row: usize, values: &mut [f32]) {
        match self {
            Weight::Floats(floats) => floats.read(row * floats.shape[1], values),
            Weight::Gptq(matrix) => matrix.read_row(row, values),
        }
    }
}

/// The order of a matrix's rows, or of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they are.
    Same,
    /// Of heads of this length, the halves that the checkpoint turns together brought side by side, as the
    /// rotary embedding of GGUF's `llama` wants them.
    Interleaved {
        /// Rows of one head.
        head_len: usize,
    },
}

impl Order {
    /// The row of the checkpoint that becomes row `index`.
    pub fn source(self, index: usize) -> usize {
        match self {
            Order::Same => index,
            Order::Interleaved { head_len } => {
                let (head, row) = (index / head_len, index % head_len);
                head * head_len + row % 2 * (head_len / 2) + row / 2
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_each_head_come_to_lie_side_by_side() {
        let order = Order::Interleaved { head_len: 6 };
        let rows: Vec<usize> = (0..12).map(|index| order.source(index)).collect();
        assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
