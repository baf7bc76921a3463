//! The nonlinearities of feed-forward blocks.

use super::architecture::Activation;

impl Activation {
    /// Applies the function to each element.
    pub fn apply(self, x: &mut [f32]) {
        match self {
            Activation::Silu => x.iter_mut().for_each(|x| *x = silu(*x)),
            Activation::Gelu => x.iter_mut().for_each(|x| *x = gelu(*x)),
        }
    }
}

fn silu(x: f32) -> f32 {
    x / (1.0 + libm::expf(-x))
}

fn gelu(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + libm::tanhf(SQRT_2_OVER_PI * x * (1.0 + 0.044715 * x * x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values computed in double precision from the definitions.
    #[test]
    fn functions_agree_with_their_definitions() {
        for (x, want_silu, want_gelu) in [
            (-3.0, -0.142_277_62, -0.003_637_392),
            (-0.5, -0.188_770_33, -0.154_286),
            (0.0, 0.0, 0.0),
            (1.0, 0.731_058_6, 0.841_192),
            (4.0, 3.928_055_2, 3.999_93),
        ] {
            assert!((silu(x) - want_silu).abs() < 1e-6, "silu({x}) = {}", silu(x));
            assert!((gelu(x) - want_gelu).abs() < 1e-5, "gelu({x}) = {}", gelu(x));
        }
    }

    #[test]
    fn extremes_stay_finite() {
        for function in [Activation::Silu, Activation::Gelu] {
            let mut x = [-1e4, 1e4];
            function.apply(&mut x);
            assert_eq!(x, [-0.0, 1e4]);
        }
    }
}
