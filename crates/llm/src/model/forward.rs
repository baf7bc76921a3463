//! The forward pass: token ids in, logits out.
//!
//! [`Forward::run`] is one linear function in the order of the papers. Each kind of mixer has its own file (`attention`,
//! `latent_attention`, `recurrent`, `feed_forward`, `experts`), and so do the inputs that some families add to each layer
//! (`per_layer_input`). A batch is any number of [`Span`]s: prompts, parts of prompts, or one generated token of each of many texts.

use super::architecture::Block;
use super::layer::{FeedForward, Mixer};
use super::loaded::Model;
use super::pass::Pass;
use super::rope::Ropes;
use super::scratch::{HeadScratch, OutputScratch, Scratch, Workspace};
use super::span::{Batch, Input, Span};
use crate::compute::{Compute, Norm, Rows};
use crate::state::StateStore;
use core::ops::{ControlFlow, Range};

/// The context of a forward pass.
pub struct Forward<'f, 'a> {
    /// The model.
    pub model: &'f Model<'a>,
    /// Its rotary embeddings, for the length of the context.
    pub ropes: &'f Ropes,
    /// The kernels and cores that compute.
    pub compute: Compute<'f>,
    /// The slot of each row of logits, if there are adapters.
    pub row_slots: &'f [u32],
}

impl Forward<'_, '_> {
    /// Computes the tokens of all `spans`, stores their keys and values in the spans' slots of `state`, replaces the
    /// state of recurrent layers there, and returns the requested logits, `[rows][n_output]`, in the order of the
    /// spans.
    ///
    /// `go_on` is called before each mixer of each layer, and may break off: the positions then count as not computed.
    ///
    /// # Panics
    ///
    /// If there are no tokens, an id is not below `n_vocab`, `state` has no room for a span, or the batch or its logits
    /// exceed what `scratch` was carved for.
    pub fn run<'s>(
        &self,
        spans: &[Span<'_>],
        state: &mut StateStore<'_>,
        scratch: &'s mut Scratch<'_>,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> ControlFlow<(), &'s [f32]> {
        let config = self.model.config();
        let Scratch {
            widths,
            x,
            block,
            parallel_block,
            side_streams,
            shares,
            angles,
            per_layer_inputs,
            first_values,
            workspace,
        } = scratch;
        let mut workspace = Workspace::new(widths, workspace);
        let batch = Batch::new(spans, config.n_embd);
        let pass = self.pass();
        let n_stream = batch.n_tokens * config.n_embd;
        let x = &mut x[..n_stream];
        let block = &mut block[..n_stream];

        self.embed(batch, x, block);
        if let Some(embedding) = &self.model.weights().per_layer {
            pass.per_layer_embed(embedding, batch, x, per_layer_inputs, workspace.lend());
        }
        self.ropes.set_angles(batch.positions(), angles);
        let side_streams = &mut side_streams[..n_stream * config.n_side_streams()];
        let weights = self.model.weights();
        pass.begin_streams(weights.lower_stream, x, side_streams);
        if let Some(ends) = &weights.alt_up {
            pass.spread_streams(ends, x, side_streams, workspace.lend());
        }
        for (index, layer) in self.model.weights().layers.iter().enumerate() {
            if layer.changes_nothing {
                continue;
            }
            let batch = batch.in_layer(index);
            pass.begin_layer(layer, x, side_streams);
            if let Some(alt_up) = &layer.alt_up {
                pass.predict_streams(alt_up, x, side_streams, workspace.lend());
            }
            if let (Some(ngrams), Some(config)) = (&weights.ngrams, &config.ngrams)
                && config.layer == index
            {
                pass.add_ngrams(ngrams, batch, side_streams, state, workspace.lend());
            }
            let [attn_scores, ffn_scores] = layer.residual_scores;
            match &layer.hyper_connections {
                Some([of_mixer, _]) => {
                    pass.mix_streams(of_mixer, side_streams, block, shares, workspace.lend());
                }
                None => {
                    let kept = &side_streams[..n_stream * config.n_kept_streams(index)];
                    self.read(layer.attn_norm.as_ref(), attn_scores, kept, x, block);
                }
            }
            if config.residual_block.is_some_and(|n_layer| index.is_multiple_of(n_layer)) {
                // The next mixer's output begins a new stream, so it is added to zeros.
                side_streams[n_stream * config.n_kept_streams(index)..][..n_stream].copy_from_slice(x);
                x.fill(0.0);
            }
            if config.block == Block::Parallel {
                // Both mixers read the stream as it was before either adds to it.
                let parallel_block = &mut parallel_block[..n_stream];
                match &layer.ffn_norm {
                    Some(norm) => pass.normalise(Some(norm), x, parallel_block),
                    None => parallel_block.copy_from_slice(block),
                }
            }
            if let Some(alt_up) = &layer.alt_up {
                pass.laurel(&alt_up.laurel, block, &mut parallel_block[..n_stream], workspace.lend());
            }
            go_on()?;
            match &layer.mixer {
                Mixer::Heads(attention) => {
                    pass.head_attention(attention, batch, block, state, angles, workspace.lend());
                }
                Mixer::Latent(attention) => {
                    pass.latent_attention(attention, batch, block, state, &angles.full, workspace.lend());
                }
                Mixer::Linear(linear) => {
                    let (HeadScratch { heads, quantized, .. }, _) = workspace.lend().take();
                    let output = &mut heads[..n_stream];
                    self.compute.linear(linear, block, quantized, output);
                    block.copy_from_slice(output);
                }
                Mixer::Recurrent(weights) => {
                    pass.recurrent(weights, batch, block, state, first_values, workspace.lend());
                }
                Mixer::Both(attention, weights) => {
                    // This buffer is free: a family with parallel mixers has no layers with attention and a recurrence.
                    let beside = &mut parallel_block[..n_stream];
                    beside.copy_from_slice(block);
                    pass.head_attention(attention, batch, block, state, angles, workspace.lend());
                    pass.recurrent(weights, batch, beside, state, first_values, workspace.lend());
                    self.compute.kernels.add(block, beside);
                }
                Mixer::None => {}
            }
            match (&layer.mixer, &layer.hyper_connections) {
                (Mixer::None, _) => {}
                (_, Some(_)) => pass.inject(block, shares, side_streams),
                _ => self.join(block, layer.attn_post_norm.as_ref(), layer.attn_again_norm.as_ref(), x),
            }
            if layer.alt_up.is_some() {
                self.compute.kernels.add(x, &parallel_block[..n_stream]);
                self.compute.kernels.scale(x, core::f32::consts::FRAC_1_SQRT_2);
            }
            let block = match config.block {
                Block::Parallel => &mut parallel_block[..n_stream],
                _ => {
                    match &layer.hyper_connections {
                        Some([_, of_mixer]) => {
                            pass.mix_streams(of_mixer, side_streams, block, shares, workspace.lend());
                        }
                        None => {
                            let kept = &side_streams[..n_stream * config.n_kept_streams(index + 1)];
                            self.read(layer.ffn_norm.as_ref(), ffn_scores, kept, x, block);
                        }
                    }
                    &mut *block
                }
            };
            go_on()?;
            match &layer.feed_forward {
                FeedForward::Dense(dense) => pass.feed_forward(dense, block, workspace.lend()),
                FeedForward::ChannelMix(mix) => pass.channel_mix(mix, batch, block, state, workspace.lend()),
                FeedForward::Experts(experts) => {
                    pass.experts(experts, block, side_streams, workspace.lend());
                }
                FeedForward::Bare(activation) => activation.apply(self.compute.kernels, block),
                FeedForward::None => {}
            }
            match (&layer.feed_forward, &layer.hyper_connections) {
                (FeedForward::None, _) => {}
                (_, Some(_)) => pass.inject(block, shares, side_streams),
                _ => self.join(block, layer.ffn_post_norm.as_ref(), None, x),
            }
            if let Some(alt_up) = &layer.alt_up {
                pass.correct_streams(alt_up, x, side_streams, workspace.lend());
            }
            if let Some(input) = &layer.per_layer_input {
                block.copy_from_slice(x);
                if let Some(alt_up) = &layer.alt_up {
                    let rows = block.chunks_exact_mut(config.n_embd);
                    rows.for_each(|row| self.compute.kernels.multiply(row, alt_up.correct_scale));
                }
                pass.per_layer_input(input, index, block, per_layer_inputs, workspace.lend());
                match layer.alt_up {
                    Some(_) => pass.add_to_others(block, side_streams),
                    None => self.compute.kernels.add(x, block),
                }
            }
            pass.end_layer(layer, weights.output_norm.as_ref(), x, side_streams);
        }

        if let Some(mixture) = &weights.output_mixture {
            pass.mix_streams(mixture, side_streams, x, shares, workspace.lend());
        }
        if let Some(ends) = &weights.alt_up {
            pass.merge_streams(ends, x, side_streams, workspace.lend());
        }
        if let Some(scores) = self.model.weights().output_scores {
            pass.mix_residuals(scores, side_streams, x, block);
            x.copy_from_slice(block);
        }

        let n_rows = batch.n_rows();
        let (OutputScratch { logits, quantized }, _) = workspace.take();
        let logits = &mut logits[..n_rows * config.n_output()];
        let rows = &mut block[..n_rows * config.n_embd];
        for (row, token) in rows.chunks_exact_mut(config.n_embd).zip(batch.wanted()) {
            row.copy_from_slice(&x[token * config.n_embd..][..config.n_embd]);
        }
        self.output(rows, quantized, logits);
        ControlFlow::Continue(logits)
    }

    /// The last layer's output for these tokens of the last pass, `[tokens][n_embd]`. It is normalised in place, so call this only once for
    /// each token; an encoder's output is returned as it is.
    pub fn hidden_states<'s>(&self, tokens: Range<usize>, scratch: &'s mut Scratch<'_>) -> &'s [f32] {
        let n_embd = self.model.config().n_embd;
        let x = &mut scratch.x[tokens.start * n_embd..tokens.end * n_embd];
        self.normalise_output(x);
        x
    }

    /// The tokens' embeddings, `[n_tokens][n_embd]`, into `x`. `row` is a buffer for one row.
    fn embed(&self, batch: Batch<'_>, x: &mut [f32], row: &mut [f32]) {
        let (config, weights) = (self.model.config(), self.model.weights());
        let (kernels, row) = (self.compute.kernels, &mut row[..config.n_embd]);
        let mut rows = x.chunks_exact_mut(config.n_embd);
        let mut index = 0;
        for input in batch.inputs() {
            match input {
                Input::Tokens(tokens) => {
                    for (&token, x) in tokens.iter().zip(&mut rows) {
                        weights.token_embd.dequantize_row(token as usize, x);
                        self.compute.adapt_embedding(weights.token_embd_tensor, token, index, x);
                        index += 1;
                        kernels.scale(x, config.embedding_scale);
                    }
                }
                Input::Embeddings(embeddings) => {
                    let embeddings = embeddings.chunks_exact(config.n_embd);
                    index += embeddings.len();
                    embeddings.zip(&mut rows).for_each(|(embedding, x)| x.copy_from_slice(embedding));
                }
            }
        }
        if let Some(token_type) = &weights.token_type {
            token_type.dequantize_row(0, row);
            x.chunks_exact_mut(config.n_embd).for_each(|x| kernels.add(x, row));
        }
        if let Some(position_embd) = &weights.position_embd {
            for (x, position) in x.chunks_exact_mut(config.n_embd).zip(batch.positions()) {
                position_embd.dequantize_row(position, row);
                kernels.add(x, row);
            }
        }
        if let Some(norm) = &weights.token_embd_norm {
            self.pass().normalise_rows(Some(norm), x);
        }
    }

    /// Computes the input of a mixer from the stream `x` into `block`. The stream becomes what the mixer's output will
    /// be added to. If there are `scores` of earlier streams, the mixer reads a mixture of `x` and the streams in
    /// `kept`.
    fn read(
        &self,
        norm: Option<&Norm<'_>>,
        scores: Option<&[f32]>,
        kept: &[f32],
        x: &mut [f32],
        block: &mut [f32],
    ) {
        let pass = self.pass();
        match scores {
            None => pass.normalise(norm, x, block),
            Some(scores) => {
                pass.mix_residuals(scores, kept, x, block);
                let rows = block.chunks_exact_mut(scores.len());
                self.compute.each_token(rows, |row| pass.normalise_if_any(norm, row));
            }
        }
        if let Some(scale) = self.model.config().read_scale {
            x.copy_from_slice(block);
            self.compute.kernels.scale(x, scale);
        }
    }

    /// Adds a mixer's output to the stream.
    fn join(
        &self,
        addend: &mut [f32],
        post_norm: Option<&Norm<'_>>,
        again_norm: Option<&Norm<'_>>,
        x: &mut [f32],
    ) {
        let config = self.model.config();
        let rows = x.chunks_exact_mut(config.n_embd).zip(addend.chunks_exact_mut(config.n_embd));
        let normalise = |row: &mut [f32]| {
            if let Some(norm) = post_norm {
                config.post_normalisation.apply(self.compute.kernels, norm, row);
            }
        };
        self.compute.each_token(rows, |(x, addend)| {
            if config.block == Block::PostNorm && again_norm.is_some() {
                self.compute.kernels.add(addend, x);
                normalise(addend);
                self.compute.kernels.add(x, addend);
                self.pass().normalise_if_any(again_norm, x);
            } else if config.block == Block::PostNorm {
                self.compute.kernels.add(x, addend);
                normalise(x);
            } else {
                normalise(addend);
                self.compute.kernels.scale(addend, config.residual_scale);
                self.compute.kernels.add(x, addend);
            }
        });
    }

    /// The logits of the tokens with the stream `x`, which is normalised in place; for an encoder, the stream itself.
    fn output(&self, x: &mut [f32], quantized: &mut [u8], logits: &mut [f32]) {
        let (config, weights) = (self.model.config(), self.model.weights());
        if logits.is_empty() {
            return;
        }
        self.normalise_output(x);
        let Some(output) = &weights.output else {
            logits.copy_from_slice(x);
            return;
        };
        self.compute.of_rows(Rows::OfSlots(self.row_slots)).linear(output, x, quantized, logits);
        self.compute.kernels.scale(logits, config.logit_scale);
        if let Some(cap) = config.logit_softcap {
            self.compute.kernels.scale(logits, 1.0 / cap);
            self.compute.kernels.tanh(logits);
            self.compute.kernels.scale(logits, cap);
        }
    }

    /// Normalises the tokens of `x` for the output matrix.
    fn normalise_output(&self, x: &mut [f32]) {
        self.pass().normalise_rows(self.model.weights().output_norm.as_ref(), x);
    }

    /// What mixers need of it.
    fn pass(&self) -> Pass<'_> {
        Pass { config: self.model.config(), ropes: self.ropes, compute: self.compute }
    }
}
