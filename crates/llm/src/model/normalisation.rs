//! The normalisations of one token's activations.

use crate::simd::Kernels;

/// `x = x / sqrt(mean(x²) + eps)`.
///
/// Sums are in double precision here and below, as in the reference: a row of thousands of squares
/// loses too much in single.
pub fn rms_norm(kernels: &Kernels, x: &mut [f32], eps: f32) {
    let mean_square = kernels.sum_of_squares(x) / x.len() as f64;
    kernels.scale(x, 1.0 / libm::sqrtf(mean_square as f32 + eps));
}

/// `x = (x - mean(x)) / sqrt(var(x) + eps)`.
pub fn layer_norm(kernels: &Kernels, x: &mut [f32], eps: f32) {
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
