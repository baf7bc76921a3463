//! The forward pass: token ids in, logits out.
//!
//! [`Forward::run`] is one straight function in the order of the papers; the mixers of a layer have
//! files of their own (`attention`, `feed_forward`, `experts`). A
//! batch is any number of consecutive positions of one text: a whole prompt, or one generated token.

use super::Model;
use super::architecture::{Block, NormKind};
use super::normalisation::{layer_norm, rms_norm};
use super::rope::Ropes;
use super::scratch::{HeadScratch, OutputScratch, Scratch, Workspace};
use super::weights::{FeedForward, Linear, Mixer, Norm};
use crate::kv_cache::KvCache;
use crate::parallel::{self, Workers};
use crate::quant::{Activations, Precision, matmul_then};
use crate::simd::Kernels;
use core::ops::{ControlFlow, Range};

/// The positions of a batch whose logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// None: the batch only fills the cache.
    None,
    /// Those after the last token.
    Last,
    /// Those after every token.
    All,
}

impl Logits {
    /// How many rows of logits a batch of `n_tokens` gives.
    pub fn rows(self, n_tokens: usize) -> usize {
        match self {
            Logits::None => 0,
            Logits::Last => n_tokens.min(1),
            Logits::All => n_tokens,
        }
    }
}

/// What a forward pass runs with.
pub struct Forward<'f, 'a> {
    /// The model.
    pub model: &'f Model<'a>,
    /// Its rotary embeddings, for the length of the context.
    pub ropes: &'f Ropes,
    /// The instruction set.
    pub kernels: &'static Kernels,
    /// The cores.
    pub workers: &'f dyn Workers,
    /// How activations enter matrix products.
    pub precision: Precision,
}

/// Which positions of which layer are computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    /// The layer's number.
    pub layer: usize,
    /// Positions before the batch.
    pub n_past: usize,
    /// Positions of the batch.
    pub n_tokens: usize,
}

impl Forward<'_, '_> {
    /// Computes `tokens` at positions `n_past..`, stores their keys and values, and returns the
    /// logits asked for, `[rows][n_output]`.
    ///
    /// `go_on` is asked before each mixer of each layer, and may break off: the positions then are as good
    /// as not computed.
    ///
    /// # Panics
    ///
    /// If `tokens` is empty, an id is not below `n_vocab`, or the batch, its logits or its positions
    /// exceed what `scratch` and `cache` were carved for.
    pub fn run<'s>(
        &self,
        tokens: &[u32],
        n_past: usize,
        wanted: Logits,
        cache: &mut KvCache<'_>,
        scratch: &'s mut Scratch<'_>,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> ControlFlow<(), &'s [f32]> {
        let config = self.model.config();
        let Scratch { widths, x, block, parallel_block, angles, per_layer_inputs, workspace } = scratch;
        let mut workspace = Workspace::new(widths, workspace);
        let n_stream = tokens.len() * config.n_embd;
        let x = &mut x[..n_stream];
        let block = &mut block[..n_stream];

        self.embed(tokens, n_past, x, block);
        if let Some(embedding) = &self.model.weights().per_layer {
            self.per_layer_embed(embedding, tokens, x, per_layer_inputs, workspace.lend());
        }
        self.ropes.set_angles(n_past..n_past + tokens.len(), angles);
        for (index, layer) in self.model.weights().layers.iter().enumerate() {
            if layer.changes_nothing {
                continue;
            }
            let batch = Batch { layer: index, n_past, n_tokens: tokens.len() };
            self.normalise(layer.attn_norm.as_ref(), x, block);
            if config.block == Block::Parallel {
                // Both mixers read the stream as it was before either adds to it.
                let parallel_block = &mut parallel_block[..n_stream];
                match &layer.ffn_norm {
                    Some(norm) => self.normalise(Some(norm), x, parallel_block),
                    None => parallel_block.copy_from_slice(block),
                }
            }
            go_on()?;
            match &layer.mixer {
                Mixer::Heads(attention) => {
                    self.head_attention(attention, batch, block, cache, angles, workspace.lend());
                }
                Mixer::Latent(attention) => {
                    self.latent_attention(attention, batch, block, cache, &angles.full, workspace.lend());
                }
                Mixer::Linear(linear) => {
                    let (HeadScratch { heads, quantized, .. }, _) = workspace.lend().take();
                    let output = &mut heads[..n_stream];
                    self.linear(linear, block, quantized, output);
                    block.copy_from_slice(output);
                }
                Mixer::None => {}
            }
            if !matches!(layer.mixer, Mixer::None) {
                self.join(block, layer.attn_post_norm.as_ref(), x);
            }
            let block = match config.block {
                Block::Parallel => &mut parallel_block[..n_stream],
                _ => {
                    self.normalise(layer.ffn_norm.as_ref(), x, block);
                    &mut *block
                }
            };
            go_on()?;
            match &layer.feed_forward {
                FeedForward::Dense(dense) => self.feed_forward(dense, block, workspace.lend()),
                FeedForward::Experts(experts) => self.experts(experts, block, workspace.lend()),
                FeedForward::None => {}
            }
            if !matches!(layer.feed_forward, FeedForward::None) {
                self.join(block, layer.ffn_post_norm.as_ref(), x);
            }
            if let Some(input) = &layer.per_layer_input {
                self.per_layer_input(input, index, x, block, per_layer_inputs, workspace.lend());
                self.kernels.add(x, block);
            }
            if let Some(output_scale) = layer.output_scale {
                self.kernels.scale(x, output_scale[0]);
            }
        }

        let n_rows = wanted.rows(tokens.len());
        let first_wanted = (tokens.len() - n_rows) * config.n_embd;
        let (OutputScratch { logits, quantized }, _) = workspace.take();
        let logits = &mut logits[..n_rows * config.n_output()];
        self.output(&x[first_wanted..], &mut block[first_wanted..], quantized, logits);
        ControlFlow::Continue(logits)
    }

    /// The tokens' embeddings, `[n_tokens][n_embd]`, into `x`. `row` is room for one.
    fn embed(&self, tokens: &[u32], n_past: usize, x: &mut [f32], row: &mut [f32]) {
        let (config, weights) = (self.model.config(), self.model.weights());
        let row = &mut row[..config.n_embd];
        for ((x, &token), position) in x.chunks_exact_mut(config.n_embd).zip(tokens).zip(n_past..) {
            weights.token_embd.dequantize_row(token as usize, x);
            self.kernels.scale(x, config.embedding_scale);
            if let Some(token_type) = &weights.token_type {
                token_type.dequantize_row(0, row);
                self.kernels.add(x, row);
            }
            if let Some(position_embd) = &weights.position_embd {
                position_embd.dequantize_row(position, row);
                self.kernels.add(x, row);
            }
        }
        if let Some(norm) = &weights.token_embd_norm {
            self.normalise_in_place(Some(norm), x);
        }
    }

    /// Adds what a mixer gives to the stream.
    fn join(&self, addend: &mut [f32], post_norm: Option<&Norm<'_>>, x: &mut [f32]) {
        let config = self.model.config();
        let rows = x.chunks_exact_mut(config.n_embd).zip(addend.chunks_exact_mut(config.n_embd));
        self.each_token(rows, |(x, addend)| {
            if config.block == Block::PostNorm {
                self.kernels.add(x, addend);
                self.normalise_if_any(post_norm, x);
            } else {
                self.normalise_if_any(post_norm, addend);
                self.kernels.scale(addend, config.residual_scale);
                self.kernels.add(x, addend);
            }
        });
    }

    /// The logits of the tokens whose stream is `x`; of an encoder, the stream itself.
    fn output(&self, x: &[f32], block: &mut [f32], quantized: &mut [u8], logits: &mut [f32]) {
        let (config, weights) = (self.model.config(), self.model.weights());
        if logits.is_empty() {
            return;
        }
        let Some(output) = &weights.output else {
            logits.copy_from_slice(x);
            return;
        };
        self.normalise(weights.output_norm.as_ref(), x, block);
        self.linear(output, block, quantized, logits);
        self.kernels.scale(logits, config.logit_scale);
        if let Some(cap) = config.logit_softcap {
            self.kernels.scale(logits, 1.0 / cap);
            self.kernels.tanh(logits);
            self.kernels.scale(logits, cap);
        }
    }

    /// `output = W x + b` for each token of `x`, which no other product reads.
    pub(super) fn linear(&self, linear: &Linear<'_>, x: &[f32], quantized: &mut [u8], output: &mut [f32]) {
        let mut input = Activations::new(x, linear.weight.n_cols(), quantized, self.precision);
        self.linear_of(linear, &mut input, output);
    }

    /// `output = W input + b` for each token of `input`.
    pub(super) fn linear_of(&self, linear: &Linear<'_>, input: &mut Activations<'_>, output: &mut [f32]) {
        self.linear_then(linear, input, output, |_, _, _| {});
    }

    /// As [`linear_of`](Self::linear_of), and calls `finish` with some outputs of a token, their rows, and
    /// the token's number: each core with what it has computed, while that is in its cache.
    pub(super) fn linear_then(
        &self,
        linear: &Linear<'_>,
        input: &mut Activations<'_>,
        output: &mut [f32],
        finish: impl Fn(&mut [f32], Range<usize>, usize) + Sync,
    ) {
        matmul_then(self.kernels, self.workers, &linear.weight, input, output, &|tile| {
            for (index, token) in tile.tokens().enumerate() {
                let (rows, outputs) = (tile.rows(), tile.token(index));
                if let Some(scale) = linear.scale {
                    self.kernels.scale(outputs, scale);
                }
                if let Some(bias) = linear.bias {
                    self.kernels.add(outputs, &bias[rows.clone()]);
                }
                finish(outputs, rows, token);
            }
        });
    }

    /// Normalises each token of `x` into `output`; without a normalisation, copies.
    fn normalise(&self, norm: Option<&Norm<'_>>, x: &[f32], output: &mut [f32]) {
        let n_embd = self.model.config().n_embd;
        self.each_token(output.chunks_exact_mut(n_embd).zip(x.chunks_exact(n_embd)), |(output, x)| {
            output.copy_from_slice(x);
            self.normalise_if_any(norm, output);
        });
    }

    /// Normalises each token of `x`.
    fn normalise_in_place(&self, norm: Option<&Norm<'_>>, x: &mut [f32]) {
        let rows = x.chunks_exact_mut(self.model.config().n_embd);
        self.each_token(rows, |row| self.normalise_if_any(norm, row));
    }

    /// Normalises one row, if there is a normalisation.
    fn normalise_if_any(&self, norm: Option<&Norm<'_>>, row: &mut [f32]) {
        if let Some(norm) = norm {
            self.normalise_row(norm, row);
        }
    }

    /// Calls `work` with what belongs to each token, on all cores if there are enough tokens.
    pub(super) fn each_token<I: ExactSizeIterator + Send>(&self, tokens: I, work: impl Fn(I::Item) + Sync) {
        parallel::for_each_token(self.workers, tokens, work);
    }

    /// Normalises one row.
    pub(super) fn normalise_row(&self, norm: &Norm<'_>, row: &mut [f32]) {
        let config = self.model.config();
        match config.architecture.norm {
            NormKind::Rms => rms_norm(self.kernels, row, config.norm_eps),
            NormKind::Layer => layer_norm(self.kernels, row, config.norm_eps),
        }
        if let Some(weight) = norm.weight {
            self.kernels.multiply(row, weight);
        }
        if let Some(bias) = norm.bias {
            self.kernels.add(row, bias);
        }
    }
}
