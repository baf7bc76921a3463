//! [`Weight`]: a matrix or vector of a checkpoint as numbers, however it is stored; [`Order`] and [`Change`]: how these are
//! rearranged and changed for GGUF.

use super::checkpoint::Floats;
use super::gptq::GptqMatrix;

/// A matrix, or a vector, which has one row.
#[derive(Debug, Clone)]
pub enum Weight<'c> {
    /// Unchanged.
    Floats(Floats<'c>),
    /// With rows and columns exchanged.
    Transposed(Floats<'c>),
    /// Quantised by GPTQ, to be dequantised.
    Gptq(GptqMatrix<'c>),
}

impl Weight<'_> {
    /// The values of a row.
    ///
    /// # Panics
    ///
    /// If there is no such row, or if the row has another length.
    pub fn read_row(&self, row: usize, values: &mut [f32]) {
        match self {
            Weight::Floats(floats) => floats.read(row * floats.shape[1], values),
            Weight::Transposed(floats) => {
                values.iter_mut().enumerate().for_each(|(col, value)| *value = floats.at(col, row));
            }
            Weight::Gptq(matrix) => matrix.read_row(row, values),
        }
    }
}

/// The order of a matrix's rows, or of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Unchanged.
    Same,
    /// Rows of heads of this length. The checkpoint rotates elements of the two halves of a head together; they become
    /// neighbours, as the rotary embedding of GGUF's `llama` requires.
    Interleaved {
        /// Rows of one head.
        head_len: usize,
    },
    /// Rows of value heads. In the checkpoint, all value heads of one key head are adjacent; in GGUF, the first value head of
    /// every key head comes first, then the second of each, and so on.
    Tiled {
        /// Number of rows before them, which keep their places.
        n_before: usize,
        n_key_heads: usize,
        /// Number of value heads for each key head.
        n_values: usize,
        /// Rows of one head.
        head_len: usize,
    },
    /// The rows that follow `n_before` others, which are left out.
    Behind { n_before: usize },
}

/// How the numbers are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    /// Adds 1, for checkpoints that store weights minus 1.
    PlusOne,
    /// `-exp(x)`.
    MinusExp,
}

impl Change {
    pub fn apply(self, values: &mut [f32]) {
        match self {
            Change::None => {}
            Change::PlusOne => values.iter_mut().for_each(|value| *value += 1.0),
            Change::MinusExp => values.iter_mut().for_each(|value| *value = -f64::from(*value).exp() as f32),
        }
    }
}

impl Order {
    /// The row of the checkpoint that becomes row `index`.
    pub fn source(self, index: usize) -> usize {
        match self {
            Order::Same => index,
            Order::Behind { n_before } => n_before + index,
            Order::Interleaved { head_len } => {
                let (head, row) = (index / head_len, index % head_len);
                head * head_len + row % 2 * (head_len / 2) + row / 2
            }
            Order::Tiled { n_before, n_key_heads, n_values, head_len } => match index.checked_sub(n_before) {
                None => index,
                Some(index) => {
                    let (head, row) = (index / head_len, index % head_len);
                    let (value, key_head) = (head / n_key_heads, head % n_key_heads);
                    n_before + (key_head * n_values + value) * head_len + row
                }
            },
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

    #[test]
    fn the_first_values_of_all_heads_of_keys_come_first() {
        let order = Order::Tiled { n_before: 3, n_key_heads: 2, n_values: 3, head_len: 2 };
        let rows: Vec<usize> = (0..15).map(|index| order.source(index)).collect();
        assert_eq!(rows, [0, 1, 2, 3, 4, 9, 10, 5, 6, 11, 12, 7, 8, 13, 14]);
    }
}
