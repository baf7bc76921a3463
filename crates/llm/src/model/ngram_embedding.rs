//! Embeddings of n-grams (Cheng et al. 2026, "Engram"): rows of a large table, found by hashes of the last tokens. One
//! layer adds them to its residual streams.
//!
//! ```text
//! h(t, n) = xor over j < n of token(t - j) · m_j          2 ≤ n ≤ N, for each head modulo the rows that it has
//! e       = the rows of all heads, in a row
//! k, v    = W_key · e, W_value · e
//! gate_s  = sigmoid(± √|norm(k_s) · norm(x_s) / √n_embd|)   of each stream s, with the sign of the product
//! c_s     = silu(convolution(norm(gate_s · v)))             each N-th of the positions before
//! x_s     = x_s + gate_s · v + c_s
//! ```
//!
//! A token that ends a text hides the tokens before it; a position before the first token counts as such a token. The last tokens, as their
//! ids plus one, and the last inputs of the convolution are stored after the state of the layer's recurrent mixer.

use super::config::{NgramConfig, NgramHead};
use super::pass::Pass;
use super::recurrent::advance_history;
use super::scratch::{NgramScratch, Workspace};
use super::span::{Batch, Input};
use crate::compute::Linear;
use crate::quant::Matrix;
use crate::simd::Columns;
use crate::state::StateStore;

/// The weights of embeddings of n-grams.
#[derive(Debug)]
pub struct NgramEmbedding<'a> {
    /// `[n_rows × row_len]`
    pub table: Matrix<'a>,
    /// `[n_stream · n_embd × n_embd]`
    pub key: Linear<'a>,
    /// `[n_embd × n_embd]`
    pub value: Linear<'a>,
    /// `[n_stream][n_embd]` each: the normalisations of keys, of the streams, and of the convolution's input.
    pub norms: [&'a [f32]; 3],
    /// `[n_stream · n_embd × n_conv]`
    pub convolution: Matrix<'a>,
    /// The length of the mixer's own history in the layer, which comes before the part used here.
    pub first_history: usize,
}

impl NgramConfig {
    /// The row of head `head` for these tokens, the last one first.
    fn row(&self, head: usize, tokens: &[u32; Self::MAX_SIZE]) -> usize {
        let n = 2 + head / (self.heads.len() / (self.n_gram - 1));
        let products = tokens.iter().zip(&self.multipliers).take(n);
        let hash = products.fold(0, |hash, (token, m)| hash ^ u64::from(*token).wrapping_mul(*m));
        let NgramHead { first, n } = self.heads[head];
        (hash % n + first) as usize
    }
}

impl Pass<'_> {
    /// Adds the embeddings of the batch's n-grams to the streams, `[n_tokens][n_stream][n_embd]`.
    #[inline(never)]
    pub(super) fn add_ngrams(
        &self,
        weights: &NgramEmbedding<'_>,
        batch: Batch<'_>,
        streams: &mut [f32],
        store: &mut StateStore<'_>,
        workspace: Workspace<'_>,
    ) {
        let Some(config) = &self.config.ngrams else { return };
        let (n_embd, kernels) = (self.config.n_embd, self.compute.kernels);
        let (width, n_tokens) = (streams.len() / batch.n_tokens, batch.n_tokens);
        let (scratch, _): (NgramScratch<'_>, _) = workspace.take();
        let NgramScratch { tokens, embedding, key, value, inputs, convolved, taps, quantized } = scratch;
        let tokens = &mut tokens[..n_tokens];
        let embedding = &mut embedding[..n_tokens * n_embd];
        let (key, value) = (&mut key[..streams.len()], &mut value[..n_tokens * n_embd]);
        let (inputs, convolved) = (&mut inputs[..streams.len()], &mut convolved[..streams.len()]);
        let histories = {
            let first_inputs = weights.first_history + config.n_gram - 1;
            let n_inputs = config.n_positions_before() * width;
            [weights.first_history..first_inputs, first_inputs..first_inputs + n_inputs]
        };
        let [of_tokens, of_inputs] = &histories;

        self.keep_tokens(batch, config.placeholder, tokens);
        let mut rows = embedding.chunks_exact_mut(n_embd);
        for span in batch.spans() {
            let history = &store.recurrent(span.slot, batch.layer).history[of_tokens.clone()];
            let tokens = &tokens[span.first_token..][..span.n_tokens];
            for (at, row) in (0..span.n_tokens).zip(&mut rows) {
                let mut before = [config.eos; NgramConfig::MAX_SIZE];
                before[0] = tokens[at] as u32 - 1;
                for distance in 1..config.n_gram {
                    let token = match at.checked_sub(distance) {
                        Some(at) => tokens[at],
                        None => history[at + history.len() - distance],
                    } as u32;
                    if token == 0 || token - 1 == config.eos {
                        break;
                    }
                    before[distance] = token - 1;
                }
                for (head, part) in row.chunks_exact_mut(config.row_len).enumerate() {
                    weights.table.dequantize_row(config.row(head, &before), part);
                }
            }
        }
        self.compute.linear(&weights.key, embedding, quantized, key);
        self.compute.linear(&weights.value, embedding, quantized, value);

        let [key_norm, query_norm, input_norm] = weights.norms;
        inputs.copy_from_slice(streams);
        let rows = key.chunks_exact_mut(width).zip(inputs.chunks_exact_mut(width));
        self.compute.each_token(rows.zip(value.chunks_exact(n_embd)), |((key, input), value)| {
            self.normalise_streams(key_norm, key);
            self.normalise_streams(query_norm, input);
            for (key, input) in key.chunks_exact_mut(n_embd).zip(input.chunks_exact_mut(n_embd)) {
                let product = kernels.dot_f32(key, input) / libm::sqrtf(n_embd as f32);
                let root = libm::sqrtf(product.abs().max(1e-6));
                let mut gate = [if product == 0.0 { 0.0 } else { root.copysign(product) }];
                kernels.sigmoid(&mut gate);
                // The numbers to add.
                key.copy_from_slice(value);
                kernels.scale(key, gate[0]);
            }
            input.copy_from_slice(key);
            self.normalise_streams(input_norm, input);
        });

        let n_conv = config.n_conv;
        let taps = &mut taps[..width * n_conv];
        for (channel, taps) in taps.chunks_exact_mut(n_conv).enumerate() {
            weights.convolution.dequantize_row(channel, taps);
        }
        let taps = &*taps;
        for span in batch.spans() {
            let history = &store.recurrent(span.slot, batch.layer).history[of_inputs.clone()];
            let inputs = &inputs[span.rows(width)];
            let rows = convolved[span.rows(width)].chunks_exact_mut(width).enumerate();
            self.compute.each_token(rows, |(at, row)| {
                row.fill(0.0);
                for tap in 0..n_conv {
                    // Counted from the first position of the history.
                    let from = (at + tap * config.n_gram) * width;
                    let x = match from.checked_sub(history.len()) {
                        Some(from) => &inputs[from..][..width],
                        None => &history[from..][..width],
                    };
                    let weights = taps[tap..].iter().step_by(n_conv);
                    row.iter_mut().zip(x).zip(weights).for_each(|((sum, x), weight)| *sum += x * weight);
                }
                kernels.silu(row);
            });
        }
        for ((stream, added), convolved) in streams
            .chunks_exact_mut(width)
            .zip(key.chunks_exact_mut(width))
            .zip(convolved.chunks_exact(width))
        {
            kernels.add(added, convolved);
            kernels.add(stream, added);
        }
        let [of_tokens, of_inputs] = histories;
        let tokens = Columns { matrix: tokens, width: 1, first: 0, len: 1 };
        advance_history(batch, store, of_tokens, tokens);
        advance_history(batch, store, of_inputs, Columns { matrix: inputs, width, first: 0, len: width });
    }

    /// The batch's tokens in the form in which they are stored: their ids plus one.
    fn keep_tokens(&self, batch: Batch<'_>, placeholder: u32, tokens: &mut [f32]) {
        let mut kept = tokens.iter_mut();
        for input in batch.inputs() {
            let n_tokens = input.n_tokens(self.config.n_embd);
            let ids = match input {
                Input::Tokens(ids) => ids,
                Input::Embeddings(_) => &[],
            };
            for (at, kept) in (0..n_tokens).zip(&mut kept) {
                *kept = (ids.get(at).copied().unwrap_or(placeholder) + 1) as f32;
            }
        }
    }
}
