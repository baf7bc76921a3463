//! The dense channel mixer.

use super::architecture::Activation;
use super::pass::Pass;
use super::scratch::{DownScratch, GateScratch, HiddenScratch, Workspace};
use crate::compute::{Linear, Norm};
use crate::quant::Activations;

/// A feed-forward block.
#[derive(Debug, Clone, Copy)]
pub struct DenseFeedForward<'a> {
    /// `[n_ff × n_embd]`, if the block is gated.
    pub gate: Option<Linear<'a>>,
    /// `[n_ff × n_embd]`
    pub up: Linear<'a>,
    /// `[n_embd × n_ff]`
    pub down: Linear<'a>,
    /// The nonlinearity.
    pub activation: Activation,
    /// `[n_ff]`: the outputs of the nonlinearity are divided by these, in files that have them.
    pub divisors: Option<&'a [f32]>,
    /// The normalisation of the nonlinearity's output, `[n_ff]`, in families that have one.
    pub hidden_norm: Option<Norm<'a>>,
    /// In layers where only the largest gates open: the threshold of a token's gates, in standard deviations above
    /// their mean.
    pub gate_cutoff: Option<f32>,
}

impl Pass<'_> {
    /// `output = down(activation(gate(x)) · up(x))`, or without a gate `down(activation(up(x)))`; `output` replaces
    /// `x`, `[n_tokens][n_embd]`.
    pub(super) fn feed_forward(
        &self,
        weights: &DenseFeedForward<'_>,
        x: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        let DenseFeedForward { activation, divisors, .. } = *weights;
        let n_tokens = x.len() / weights.up.weight.n_cols();
        let n_ff = weights.up.weight.n_rows();
        let (HiddenScratch { up }, mut workspace) = workspace.take();
        let up = &mut up[..n_tokens * n_ff];
        {
            let (scratch, _) = workspace.lend().take::<GateScratch<'_>>();
            let rows_at_once = scratch.rows_at_once(n_ff, n_tokens);
            let GateScratch { gate, quantized } = scratch;
            let mut input =
                Activations::new(x, weights.up.weight.n_cols(), quantized, self.compute.precision);
            match &weights.gate {
                None => self.compute.linear_then(&weights.up, &mut input, up, |up, rows, _| {
                    activation.apply(self.compute.kernels, up);
                    if let Some(divisors) = divisors {
                        up.iter_mut().zip(&divisors[rows]).for_each(|(x, divisor)| *x /= divisor);
                    }
                }),
                Some(weight) if weights.gate_cutoff.is_some() => {
                    let cutoff = weights.gate_cutoff.unwrap_or(0.0);
                    // Gates come first, in the output buffer: their threshold depends on all gates of a token.
                    self.compute.linear_of(weight, &mut input, up);
                    self.compute.each_token(up.chunks_exact_mut(n_ff), |gates| {
                        self.cut_off(cutoff, gates);
                        activation.apply(self.compute.kernels, gates);
                    });
                    for start in (0..n_ff).step_by(rows_at_once) {
                        let rows = start..n_ff.min(start + rows_at_once);
                        let part = &mut gate[..n_tokens * rows.len()];
                        self.compute.linear_of(&weights.up.rows(rows.clone()), &mut input, part);
                        for (up, part) in up.chunks_exact_mut(n_ff).zip(part.chunks_exact(rows.len())) {
                            self.compute.kernels.multiply(&mut up[rows.clone()], part);
                        }
                    }
                }
                Some(weight) if rows_at_once == n_ff => {
                    let gate = &mut gate[..n_tokens * n_ff];
                    let linears = [weight, &weights.up];
                    self.compute.linear_pair(linears, &mut input, [gate, up], |[gate, up]| {
                        activation.apply_gated(self.compute.kernels, gate, up);
                    });
                }
                Some(weight) => {
                    self.compute.linear_of(&weights.up, &mut input, up);
                    for start in (0..n_ff).step_by(rows_at_once) {
                        let rows = start..n_ff.min(start + rows_at_once);
                        let gate = &mut gate[..n_tokens * rows.len()];
                        self.compute.linear_of(&weight.rows(rows.clone()), &mut input, gate);
                        let tokens = up.chunks_exact_mut(n_ff).zip(gate.chunks_exact(rows.len()));
                        self.compute.each_token(tokens, |(up, gate)| {
                            activation.apply_gated(self.compute.kernels, gate, &mut up[rows.clone()]);
                        });
                    }
                }
            }
        }
        if let Some(norm) = &weights.hidden_norm {
            self.compute.each_token(up.chunks_exact_mut(n_ff), |row| self.normalise_row(norm, row));
        }
        let (DownScratch { quantized }, _) = workspace.take();
        self.compute.linear(&weights.down, up, quantized, x);
    }

    /// Replaces each gate by its excess over the mean plus this many standard deviations, or by 0. Of normally distributed gates a known
    /// share stays above 0.
    #[inline(never)]
    fn cut_off(&self, n_deviations: f32, gates: &mut [f32]) {
        let kernels = self.compute.kernels;
        let mean = (kernels.sum(gates) / gates.len() as f64) as f32;
        kernels.shift(gates, -mean);
        let variance = kernels.sum_of_squares(gates) / (gates.len() - 1).max(1) as f64;
        kernels.shift(gates, -n_deviations * libm::sqrtf(variance as f32));
        gates.iter_mut().for_each(|gate| *gate = gate.max(0.0));
    }
}
