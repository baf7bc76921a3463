//! The building blocks of networks: linear maps, normalisations, attention over a batch. It knows no network.
//!
//! [`Compute`] holds the instruction set, the cores and the precision. Its methods take activations `[n_tokens][width]`. The bits
//! of the result do not depend on the cores, nor, for each token, on the rest of the batch.
//!
//! Neighbours: [`quant`](crate::quant) and [`simd`](crate::simd) multiply, [`parallel`] divides work among cores; the model above
//! this module decides what is computed.

use core::ops::Range;

use crate::parallel::{self, Workers};
use crate::quant::{Activations, Precision, matmul, matmul_each, matmul_pair, matmul_then};
use crate::simd::{Kernels, tiles::Tile};

mod attention;
mod linear;
mod low_rank;
mod normalisation;

pub use attention::{BatchAttention, BatchSpan, Context, QueryMask};
pub use linear::Linear;
pub use low_rank::{Adaptation, Floats, LowRank, LowRanks, Rows};
pub use normalisation::{Norm, NormKind, Normalisation};

/// The means by which a network is computed.
#[derive(Clone, Copy)]
pub struct Compute<'c> {
    /// The instruction set.
    pub kernels: &'static Kernels,
    /// The cores.
    pub workers: &'c dyn Workers,
    /// The precision of activations in matrix products.
    pub precision: Precision,
    /// Adapters, which add something to products with some matrices.
    pub adaptation: Adaptation<'c>,
}

impl Compute<'_> {
    /// `output = W x + b` for each token of `x`, if no other product uses `x`. `quantized` is scratch of
    /// [`activation_bytes`](crate::quant::activation_bytes).
    pub fn linear(&self, linear: &Linear<'_>, x: &[f32], quantized: &mut [u8], output: &mut [f32]) {
        let mut input = Activations::new(x, linear.weight.n_cols(), quantized, self.precision);
        self.linear_of(linear, &mut input, output);
    }

    /// `output = W input + b` for each token of `input`.
    pub fn linear_of(&self, linear: &Linear<'_>, input: &mut Activations<'_>, output: &mut [f32]) {
        match linear {
            // Nothing remains to be done for each token.
            Linear { weight, scale: None, bias: None, .. } if !self.adaptation.changes(linear.tensor) => {
                matmul(self.kernels, self.workers, weight, input, output);
            }
            _ => self.linear_then(linear, input, output, |_, _, _| {}),
        }
    }

    /// Like [`linear_of`](Self::linear_of), but also calls `finish` with some outputs of a token, their rows, and the token's
    /// number. It runs on the core that computed the outputs, while they are still in its cache.
    pub fn linear_then(
        &self,
        linear: &Linear<'_>,
        input: &mut Activations<'_>,
        output: &mut [f32],
        finish: impl Fn(&mut [f32], Range<usize>, usize) + Sync,
    ) {
        if self.adaptation.changes(linear.tensor) {
            matmul_then(self.kernels, self.workers, &linear.weight, input, output, &|tile| {
                self.finish_linear(linear, tile);
            });
            self.add_low_ranks(linear, input.x(), output);
            let n_rows = linear.weight.n_rows();
            let tokens = output.chunks_exact_mut(n_rows).enumerate();
            return self.each_token(tokens, |(token, output)| finish(output, 0..n_rows, token));
        }
        matmul_then(self.kernels, self.workers, &linear.weight, input, output, &|tile| {
            self.finish_linear(linear, tile);
            for (index, token) in tile.tokens().enumerate() {
                let rows = tile.rows();
                finish(tile.token(index), rows, token);
            }
        });
    }

    /// Like [`linear_of`](Self::linear_of) for several maps; the cores synchronise only once for all of them.
    pub fn linear_each<const N: usize>(
        &self,
        linears: [&Linear<'_>; N],
        input: &mut Activations<'_>,
        mut outputs: [&mut [f32]; N],
    ) {
        let weights = linears.map(|linear| &linear.weight);
        let lent = outputs.each_mut().map(|output| &mut **output);
        matmul_each(self.kernels, self.workers, weights, input, lent, &|number, tile| {
            self.finish_linear(linears[number], tile);
        });
        if !self.adaptation.adapters.is_empty() {
            for (linear, output) in linears.into_iter().zip(outputs) {
                self.add_low_ranks(linear, input.x(), output);
            }
        }
    }

    /// Like [`linear_of`](Self::linear_of) for two maps of the same shape, but also calls `finish` with some outputs of a token
    /// of both maps, on the core that computed them.
    pub fn linear_pair(
        &self,
        linears: [&Linear<'_>; 2],
        input: &mut Activations<'_>,
        outputs: [&mut [f32]; 2],
        finish: impl Fn([&mut [f32]; 2]) + Sync,
    ) {
        if linears.iter().any(|linear| self.adaptation.changes(linear.tensor)) {
            let [first, second] = outputs;
            self.linear_each(linears, input, [&mut *first, &mut *second]);
            let n_rows = linears[0].weight.n_rows();
            let tokens = first.chunks_exact_mut(n_rows).zip(second.chunks_exact_mut(n_rows));
            return self.each_token(tokens, |(first, second)| finish([first, second]));
        }
        let weights = linears.map(|linear| &linear.weight);
        matmul_pair(self.kernels, self.workers, weights, input, outputs, &|tiles| {
            let [first, second] = tiles;
            self.finish_linear(linears[0], first);
            self.finish_linear(linears[1], second);
            for token in 0..first.tokens().len() {
                finish([first.token(token), second.token(token)]);
            }
        });
    }

    /// Turns the product with the matrix into the output.
    fn finish_linear(&self, linear: &Linear<'_>, tile: &mut Tile<'_>) {
        if linear.scale.is_none() && linear.bias.is_none() {
            return;
        }
        for token in 0..tile.tokens().len() {
            let rows = tile.rows();
            let outputs = tile.token(token);
            let scale = |outputs: &mut [f32], at_last| match linear.scale {
                Some(scale) if linear.scales_bias == at_last => self.kernels.scale(outputs, scale),
                _ => {}
            };
            scale(outputs, false);
            if let Some(bias) = linear.bias {
                self.kernels.add(outputs, &bias[rows]);
            }
            scale(outputs, true);
        }
    }

    /// Normalises each row of `width` elements of `x` into `output`; without a normalisation, copies.
    pub fn normalise(
        &self,
        rule: Normalisation,
        norm: Option<&Norm<'_>>,
        width: usize,
        x: &[f32],
        output: &mut [f32],
    ) {
        self.each_token(output.chunks_exact_mut(width).zip(x.chunks_exact(width)), |(output, x)| {
            output.copy_from_slice(x);
            if let Some(norm) = norm {
                rule.apply(self.kernels, norm, output);
            }
        });
    }

    /// Calls `work` with the data of each token, on all cores if there are enough tokens.
    pub fn each_token<I: ExactSizeIterator + Send>(&self, tokens: I, work: impl Fn(I::Item) + Sync) {
        parallel::for_each_token(self.workers, tokens, work);
    }
}
