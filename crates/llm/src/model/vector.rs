//! Elementwise operations and normalisations of one token's activations.

/// `x[i] += y[i]`.
pub fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// `x[i] *= y[i]`.
pub fn multiply(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x *= y);
}

/// `x[i] *= factor`.
pub fn scale(x: &mut [f32], factor: f32) {
    if factor != 1.0 {
        x.iter_mut().for_each(|x| *x *= factor);
    }
}

/// `x = x / sqrt(mean(x²) + eps)`.
///
/// Sums are in double precision here and below, as in the reference: a row of thousands of squares
/// loses too much in single.
pub fn rms_norm(x: &mut [f32], eps: f32) {
    let mean_square = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / x.len() as f64;
    scale(x, 1.0 / libm::sqrtf(mean_square as f32 + eps));
}

/// `x = (x - mean(x)) / sqrt(var(x) + eps)`.
pub fn layer_norm(x: &mut [f32], eps: f32) {
    let n = x.len() as f64;
    let mean = (x.iter().copied().map(f64::from).sum::<f64>() / n) as f32;
    let variance = x.iter().map(|&x| f64::from(x - mean) * f64::from(x - mean)).sum::<f64>() / n;
    let factor = 1.0 / libm::sqrtf(variance as f32 + eps);
    x.iter_mut().for_each(|x| *x = (*x - mean) * factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rms_norm_divides_by_the_root_of_the_mean_square() {
        // Mean square (1 + 4 + 9 + 36) / 4 = 12.5, with eps 16; factor a quarter.
        let mut x = [1.0, -2.0, 3.0, 6.0];
        rms_norm(&mut x, 3.5);
        assert_eq!(x, [0.25, -0.5, 0.75, 1.5]);
    }

    #[test]
    fn layer_norm_takes_the_mean_away_first() {
        // Mean 5, variance (16 + 4 + 4 + 16) / 4 = 10, with eps 16; factor a quarter.
        let mut x = [1.0, 3.0, 7.0, 9.0];
        layer_norm(&mut x, 6.0);
        assert_eq!(x, [-1.0, -0.5, 0.5, 1.0]);
    }
}
