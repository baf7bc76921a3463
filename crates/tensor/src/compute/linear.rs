//! Affine maps.

use core::ops::Range;

use crate::quant::Matrix;

/// An affine map: `s W x + b`, or `s (W x + b)`.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// `W`, one row per output.
    pub weight: Matrix<'a>,
    /// `s`, in files whose weights need a factor beyond their blocks' own.
    pub scale: Option<f32>,
    /// Whether `s` multiplies `b` as well.
    pub scales_bias: bool,
    /// `b`, one element per output.
    pub bias: Option<&'a [f32]>,
    /// The number, among the model's tensors, of the one that `W` is rows of, for [adapters](super::LowRanks): none where they
    /// change nothing.
    pub tensor: Option<usize>,
    /// The row of the tensor that is the first of `W`.
    pub first_row: usize,
}

impl<'a> Linear<'a> {
    /// A map without a summand.
    pub fn new(weight: Matrix<'a>) -> Self {
        Linear { weight, scale: None, scales_bias: false, bias: None, tensor: None, first_row: 0 }
    }

    /// The outputs `range` alone.
    pub fn rows(&self, range: Range<usize>) -> Self {
        Linear {
            weight: self.weight.rows(range.clone()),
            first_row: self.first_row + range.start,
            bias: self.bias.map(|bias| &bias[range]),
            ..*self
        }
    }
}
