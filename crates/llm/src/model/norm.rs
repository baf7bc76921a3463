//! Normalisation of one token's activations.
//!
//! Sums are in double precision, as in the reference: a row of thousands of squares loses too much
//! in single.

/// `output = x / sqrt(mean(x²) + eps) · weight`; all of one length.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, output: &mut [f32]) {
    let mean_square = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / libm::sqrtf(mean_square as f32 + eps);
    for ((output, x), weight) in output.iter_mut().zip(x).zip(weight) {
        *output = x * scale * weight;
    }
}

/// `output = (x - mean(x)) / sqrt(var(x) + eps) · weight`; all of one length.
pub fn layer_norm(x: &[f32], weight: &[f32], eps: f32, output: &mut [f32]) {
    let n = x.len() as f64;
    let mean = (x.iter().copied().map(f64::from).sum::<f64>() / n) as f32;
    let variance = x.iter().map(|&x| f64::from(x - mean) * f64::from(x - mean)).sum::<f64>() / n;
    let scale = 1.0 / libm::sqrtf(variance as f32 + eps);
    for ((output, x), weight) in output.iter_mut().zip(x).zip(weight) {
        *output = (x - mean) * scale * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(got: [f32; 4], want: [f32; 4]) {
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6), "{got:?} is not {want:?}");
    }

    #[test]
    fn rms_norm_divides_by_the_root_of_the_mean_square() {
        let mut output = [0.0; 4];
        // Mean square (1 + 4 + 9 + 36) / 4 = 12.5, with eps 16; scale a quarter.
        rms_norm(&[1.0, -2.0, 3.0, 6.0], &[1.0, 1.0, 2.0, -1.0], 3.5, &mut output);
        assert_close(output, [0.25, -0.5, 1.5, -1.5]);
    }

    #[test]
    fn layer_norm_takes_the_mean_away_first() {
        let mut output = [0.0; 4];
        // Mean 5, variance (16 + 4 + 4 + 16) / 4 = 10, with eps 16; scale a quarter.
        layer_norm(&[1.0, 3.0, 7.0, 9.0], &[1.0, 2.0, 1.0, -1.0], 6.0, &mut output);
        assert_close(output, [-1.0, -1.0, 0.5, -1.0]);
    }
}
