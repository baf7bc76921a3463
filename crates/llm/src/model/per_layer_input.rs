//! Embeddings of a token for each layer (Gemma 3n).
//!
//! Each layer gates its part of them by the stream, projects the result, and adds it to the stream.

use super::pass::Pass;
use super::scratch::{PerLayerEmbedScratch, PerLayerInputScratch, Workspace};
use super::span::Batch;
use crate::compute::{Linear, Norm};
use crate::quant::Matrix;

/// How a token's embedding for one layer enters its stream (Gemma 3n).
#[derive(Debug)]
pub struct PerLayerInput<'a> {
    /// `[n_embd_per_layer × n_embd]`
    pub gate: Linear<'a>,
    /// `[n_embd × n_embd_per_layer]`
    pub projection: Linear<'a>,
    /// The normalisation of the numbers that are added.
    pub post_norm: Norm<'a>,
}

/// The embeddings that tokens have for each layer (Gemma 3n).
#[derive(Debug)]
pub struct PerLayerEmbedding<'a> {
    /// One row of `n_layer · n_embd_per_layer` per token.
    pub token_embd: Matrix<'a>,
    /// `[n_layer · n_embd_per_layer × n_embd]`: from the token's own embedding.
    pub model_projection: Linear<'a>,
    /// The normalisation of each layer's part of the projection, `[n_embd_per_layer]`.
    pub projection_norm: Norm<'a>,
}

impl Pass<'_> {
    /// Computes the inputs of all layers for each token, `[n_tokens][n_layer][n_embd_per_layer]`, into `inputs`, from
    /// the token's id and its embedding `x`, `[n_tokens][n_embd]`.
    pub(super) fn per_layer_embed(
        &self,
        weights: &PerLayerEmbedding<'_>,
        batch: Batch<'_>,
        x: &[f32],
        inputs: &mut [f32],
        workspace: Workspace<'_>,
    ) {
        let (PerLayerEmbedScratch { embedding, quantized }, _) = workspace.take();
        let n_all = weights.token_embd.n_cols();
        let len = n_all / self.config.layers.len();
        let inputs = &mut inputs[..batch.n_tokens * n_all];
        self.compute.linear(&weights.model_projection, x, quantized, inputs);
        self.compute.kernels.scale(inputs, 1.0 / libm::sqrtf(self.config.n_embd as f32));
        let embedding = &mut embedding[..n_all];
        for (row, token) in inputs.chunks_exact_mut(n_all).zip(batch.token_ids()) {
            row.chunks_exact_mut(len).for_each(|part| self.normalise_row(&weights.projection_norm, part));
            weights.token_embd.dequantize_row(token as usize, embedding);
            self.compute.kernels.scale(embedding, libm::sqrtf(len as f32));
            self.compute.kernels.add(row, embedding);
            self.compute.kernels.scale(row, core::f32::consts::FRAC_1_SQRT_2);
        }
    }

    /// Computes what one layer adds to the stream from its part of `inputs`. The result replaces the stream `x`, `[n_tokens][n_embd]`.
    pub(super) fn per_layer_input(
        &self,
        weights: &PerLayerInput<'_>,
        layer: usize,
        x: &mut [f32],
        inputs: &[f32],
        workspace: Workspace<'_>,
    ) {
        let (PerLayerInputScratch { gate, quantized }, _) = workspace.take();
        let config = self.config;
        let len = weights.gate.weight.n_rows();
        let gate = &mut gate[..x.len() / config.n_embd * len];
        self.compute.linear(&weights.gate, x, quantized, gate);
        config.architecture.activation.apply(self.compute.kernels, gate);
        let inputs = inputs.chunks_exact(config.layers.len() * len);
        for (gate, inputs) in gate.chunks_exact_mut(len).zip(inputs) {
            self.compute.kernels.multiply(gate, &inputs[layer * len..][..len]);
        }
        self.compute.linear(&weights.projection, gate, quantized, x);
        x.chunks_exact_mut(config.n_embd).for_each(|row| self.normalise_row(&weights.post_norm, row));
    }
}
