//! The normalisations of one token's activations.
//!
//! A [`Normalisation`] is the rule; a [`Norm`] holds what a model has learned for one place.

use core::ops::Range;

use crate::simd::Kernels;

/// The kinds of normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x²) + eps)` (Zhang and Sennrich 2019).
    Rms,
    /// `(x - mean) / sqrt(var + eps)` (Ba et al. 2016).
    Layer,
}

/// How rows are normalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Whether the mean is subtracted first.
    pub kind: NormKind,
    /// Added to the mean square, or to the variance.
    pub eps: f32,
}

/// The learned part of a normalisation; each slice is as long as the row.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Factors.
    pub weight: Option<&'a [f32]>,
    /// Summands.
    pub bias: Option<&'a [f32]>,
}

impl Norm<'_> {
    /// The part for a range of the row's elements.
    pub fn part(&self, range: Range<usize>) -> Self {
        let part = |x| &(x as &[f32])[range.clone()];
        Norm { weight: self.weight.map(part), bias: self.bias.map(part) }
    }
}

impl Normalisation {
    /// Normalises one row, then multiplies it by the weights and adds the bias, if there are any.
    ///
    /// # Panics
    ///
    /// If weight or bias are not as long as the row.
    pub fn apply(&self, kernels: &Kernels, norm: &Norm<'_>, row: &mut [f32]) {
        match self.kind {
            NormKind::Rms => rms_norm(kernels, row, self.eps),
            NormKind::Layer => layer_norm(kernels, row, self.eps),
        }
        if let Some(weight) = norm.weight {
            kernels.multiply(row, weight);
        }
        if let Some(bias) = norm.bias {
            kernels.add(row, bias);
        }
    }
}

/// `x = x / sqrt(mean(x²) + eps)`.
///
/// Sums are in double precision, here and below, as in the reference: single precision would lose too much in a sum of thousands
/// of squares.
fn rms_norm(kernels: &Kernels, x: &mut [f32], eps: f32) {
    let mean_square = kernels.sum_of_squares(x) / x.len() as f64;
    kernels.scale(x, 1.0 / libm::sqrtf(mean_square as f32 + eps));
}

/// `x = (x - mean(x)) / sqrt(var(x) + eps)`.
fn layer_norm(kernels: &Kernels, x: &mut [f32], eps: f32) {
    let mean = (kernels.sum(x) / x.len() as f64) as f32;
    kernels.shift(x, -mean);
    rms_norm(kernels, x, eps);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rms_norm_divides_by_the_root_of_the_mean_square() {
        // Mean square (1 + 4 + 9 + 36) / 4 = 12.5, with eps 16; factor a quarter.
        let mut x = [1.0, -2.0, 3.0, 6.0];
        rms_norm(Kernels::scalar(), &mut x, 3.5);
        assert_eq!(x, [0.25, -0.5, 0.75, 1.5]);
    }

    #[test]
    fn layer_norm_takes_the_mean_away_first() {
        // Mean 5, variance (16 + 4 + 4 + 16) / 4 = 10, with eps 16; factor a quarter.
        let mut x = [1.0, 3.0, 7.0, 9.0];
        layer_norm(Kernels::scalar(), &mut x, 6.0);
        assert_eq!(x, [-1.0, -0.5, 0.5, 1.0]);
    }
}
