//! [`WeightPool`]: random weights at the speed of copying.
//!
//! A model of a billion weights is put together from a few thousand random pieces, each of which is quantised once. Rows still
//! differ from each other, because each is its own sequence of pieces.

use llm::quant::{GgmlType, quantize};
use oorandom::Rand32;

/// Number of pieces in a pool.
const PIECES: usize = 4096;

/// Random pieces of rows, normally distributed around 0, in the block format of one type.
pub struct WeightPool {
    piece_bytes: usize,
    bytes: Vec<u8>,
}

impl WeightPool {
    /// A pool of weights with the given standard deviation.
    ///
    /// # Panics
    ///
    /// If the engine cannot quantise to this type.
    pub fn new(ty: GgmlType, standard_deviation: f32, random: &mut Rand32) -> Self {
        let piece_len = ty.block_len().max(32);
        let piece_bytes = ty.row_bytes(piece_len).expect("a piece is whole blocks");
        let mut bytes = vec![0; PIECES * piece_bytes];
        let mut weights = vec![0.0; piece_len];
        for piece in bytes.chunks_exact_mut(piece_bytes) {
            for weight in &mut weights {
                *weight = standard_deviation * normal(random);
            }
            quantize(ty, &weights, piece);
        }
        Self { piece_bytes, bytes }
    }

    /// Fills `row` with a random sequence of pieces; its length must be a whole number of blocks.
    pub fn fill_row(&self, row: &mut [u8], random: &mut Rand32) {
        for target in row.chunks_mut(self.piece_bytes) {
            let piece = random.rand_u32() as usize % PIECES;
            let start = piece * self.piece_bytes;
            target.copy_from_slice(&self.bytes[start..start + target.len()]);
        }
    }
}

/// A normally distributed number with mean 0 and variance 1, by the method of Box and Muller.
pub fn normal(random: &mut Rand32) -> f32 {
    // In (0, 1], so that the logarithm is finite.
    let mut uniform = || (f64::from(random.rand_u32()) + 1.0) / (f64::from(u32::MAX) + 1.0);
    let (radius, angle) = (uniform(), uniform());
    ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
}
