//! The nonlinearities of feed-forward blocks.

use super::architecture::{Activation, Xielu};
use crate::simd::Kernels;

/// gpt-oss: the steepness of its sigmoid.
const CLAMPED_ALPHA: f32 = 1.702;
/// gpt-oss: the limit to which its gate and its other branch are clamped.
const CLAMPED_LIMIT: f32 = 7.0;

impl Activation {
    /// `x = f(x)` for each element.
    pub fn apply(self, kernels: &Kernels, x: &mut [f32]) {
        match self {
            Activation::Silu => kernels.silu(x),
            Activation::Gelu => kernels.gelu(x),
            Activation::ReluSquared => x.iter_mut().for_each(|x| *x = relu_squared(*x)),
            Activation::Relu => x.iter_mut().for_each(|x| *x = x.max(0.0)),
            Activation::ClampedSwiglu => x.iter_mut().for_each(|x| *x = clamped_gate(*x)),
            Activation::ClampedOutput(limit) => {
                kernels.silu(x);
                x.iter_mut().for_each(|x| *x = x.min(limit));
            }
            Activation::Situ { beta, .. } => x.iter_mut().for_each(|x| *x = situ_gate(*x, beta)),
            Activation::Xielu(xielu) => x.iter_mut().for_each(|x| *x = xielu.of(*x)),
            Activation::ClampedSilu(limit) => {
                x.iter_mut().for_each(|x| *x = x.min(limit));
                kernels.silu(x);
            }
        }
    }

    /// `up = f(gate) · up` for each element.
    pub fn apply_gated(self, kernels: &Kernels, gate: &[f32], up: &mut [f32]) {
        let elements = up.iter_mut().zip(gate);
        match self {
            Activation::Silu => kernels.silu_gated(up, gate),
            Activation::Gelu => kernels.gelu_gated(up, gate),
            Activation::ReluSquared => elements.for_each(|(up, gate)| *up *= relu_squared(*gate)),
            Activation::Relu => elements.for_each(|(up, gate)| *up *= gate.max(0.0)),
            Activation::ClampedOutput(limit) => elements.for_each(|(up, gate)| {
                *up = (gate * sigmoid(*gate)).min(limit) * up.clamp(-limit, limit);
            }),
            Activation::Situ { beta, linear_beta } => elements.for_each(|(up, gate)| {
                if linear_beta > 0.0 {
                    *up = linear_beta * libm::tanhf(*up / linear_beta);
                }
                *up *= situ_gate(*gate, beta);
            }),
            Activation::Xielu(xielu) => elements.for_each(|(up, gate)| *up *= xielu.of(*gate)),
            Activation::ClampedSilu(limit) => elements.for_each(|(up, gate)| {
                let gate = gate.min(limit);
                *up = gate * sigmoid(gate) * up.clamp(-limit, limit);
            }),
            Activation::ClampedSwiglu => elements.for_each(|(up, gate)| {
                *up = clamped_gate(*gate) * (up.clamp(-CLAMPED_LIMIT, CLAMPED_LIMIT) + 1.0);
            }),
        }
    }
}

impl Xielu {
    fn of(self, x: f32) -> f32 {
        let Xielu { alpha_n, alpha_p, beta, eps } = self;
        match x > 0.0 {
            true => alpha_p * x * x + beta * x,
            false => (libm::expm1f(x.min(eps)) - x) * alpha_n + beta * x,
        }
    }
}

/// `ln(1 + exp(x))`, for the few numbers of routers and constants.
pub(super) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) }
}

/// `1 / (1 + exp(-x))`, for the few numbers of routers and gates of heads.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

pub(super) fn relu_squared(x: f32) -> f32 {
    let x = x.max(0.0);
    x * x
}

fn situ_gate(gate: f32, beta: f32) -> f32 {
    beta * libm::tanhf(gate / beta) * sigmoid(gate)
}

fn clamped_gate(gate: f32) -> f32 {
    let gate = gate.min(CLAMPED_LIMIT);
    gate / (1.0 + libm::expf(-CLAMPED_ALPHA * gate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(function: Activation, x: f32) -> f32 {
        let mut x = [x];
        function.apply(Kernels::scalar(), &mut x);
        x[0]
    }

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
            let [silu, gelu] = [Activation::Silu, Activation::Gelu].map(|function| applied(function, x));
            assert!((silu - want_silu).abs() < 1e-6, "silu({x}) = {silu}");
            assert!((gelu - want_gelu).abs() < 1e-5, "gelu({x}) = {gelu}");
        }
        assert_eq!([relu_squared(-2.0), relu_squared(3.0)], [0.0, 9.0]);
    }

    #[test]
    fn extremes_stay_finite() {
        for function in [Activation::Silu, Activation::Gelu] {
            assert_eq!([-1e4, 1e4].map(|x| applied(function, x)), [-0.0, 1e4]);
        }
    }

    #[test]
    fn a_gate_multiplies_the_other_branch() {
        for function in [Activation::Silu, Activation::Gelu] {
            let mut up = [2.0];
            function.apply_gated(Kernels::scalar(), &[1.0], &mut up);
            assert_eq!(up, [2.0 * applied(function, 1.0)]);
        }
    }

    #[test]
    fn gpt_oss_cuts_both_branches() {
        let mut up = [100.0, -100.0, 0.0];
        Activation::ClampedSwiglu.apply_gated(Kernels::scalar(), &[100.0, 7.0, 0.0], &mut up);
        assert!((up[0] - 56.0).abs() < 1e-3 && (up[1] + 42.0).abs() < 1e-3 && up[2] == 0.0, "{up:?}");
    }
}
