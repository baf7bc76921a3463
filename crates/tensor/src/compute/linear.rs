//! Affine maps.

use core::ops::Range;

use crate::quant::Matrix;

/// An affine map: `s W x + b`, or `s (W x + b)`.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// `W`, one row per output.
    pub weight: Matrix<'a>,
    /// `s`, for files whose weights need a factor in addition to the scales of their blocks.
    pub scale: Option<f32>,
    /// Whether `s` multiplies `b` as well.
    pub scales_bias: bool,
    /// `b`, one element per output.
    pub bias: Option<&'a [f32]>,
    /// The number of the tensor that holds `W`, for [adapters](super::LowRanks); `None` if adapters never change it.
    pub tensor: Option<usize>,
    /// The row of the tensor at which `W` begins.
    pub first_row: usize,
}

impl<'a> Linear<'a> {
    /// A map without a bias or a factor.
    pub fn new(weight: Matrix<'a>) -> Self {
        Linear { weight, scale: None, scales_bias: false, bias: None, tensor: None, first_row: 0 }
    }

    /// The map to the outputs `range` only.
    pub fn rows(&self, range: Range<usize>) -> Self {
        Linear {
            weight: self.weight.rows(range.clone()),
            first_row: self.first_row + range.start,
            bias: self.bias.map(|bias| &bias[range]),
            ..*self
        }
    }
}
