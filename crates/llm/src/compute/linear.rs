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
}

impl<'a> Linear<'a> {
    /// A map without a summand.
    pub fn new(weight: Matrix<'a>) -> Self {
        Linear { weight, scale: None, scales_bias: false, bias: None }
    }

    /// The outputs `range` alone.
    pub fn rows(&self, range: Range<usize>) -> Self {
        Linear {
            weight: self.weight.rows(range.clone()),
            scale: self.scale,
            scales_bias: self.scales_bias,
            bias: self.bias.map(|bias| &bias[range]),
        }
    }
}
