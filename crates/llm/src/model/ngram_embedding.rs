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

use alloc::vec::Vec;

use super::architecture::Architecture;
use super::error::ModelError;
use super::forward::Forward;
use super::keys::Keys;
use super::layer_config::LayerConfig;
use super::mixer_config::LayerState;
use super::recurrent::advance_history;
use super::scratch::{NgramScratch, Workspace};
use super::span::{Batch, Input};
use crate::compute::Linear;
use crate::gguf::{Array, Value};
use crate::quant::Matrix;
use crate::simd::Columns;
use crate::state::StateStore;

/// The embeddings of n-grams of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct NgramConfig {
    /// The layer that adds them.
    pub layer: usize,
    /// Tokens of the longest n-grams.
    pub n_gram: usize,
    /// Positions that the convolution sees.
    pub n_conv: usize,
    /// Elements of a row.
    pub row_len: usize,
    /// The token that ends a text.
    pub eos: u32,
    /// The token that stands for inputs given as embeddings.
    pub placeholder: u32,
    /// `[n_gram]`: the multipliers of the tokens, the last token first.
    pub multipliers: Vec<u64>,
    /// The heads: the same number for each length from two tokens on.
    pub heads: Vec<NgramHead>,
}

/// The rows of one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NgramHead {
    /// The number of the first row.
    pub first: u64,
    /// How many.
    pub n: u64,
}

const LAYERS: &str = "ple.layers";
const SIZE: &str = "ple.ngram_size";
const CONV: &str = "ple.conv_kernel";
const PER_SIZE: &str = "ple.heads_per_ngram";
const MULTIPLIERS: &str = "ple.layer_multipliers";
const FIRST_ROWS: &str = "ple.head_offsets";
const ROWS: &str = "ple.head_vocab_sizes";
/// Most tokens of an n-gram, and most heads, as in the reference.
const MAX_SIZE: usize = 8;
const MAX_HEADS: usize = 64;
/// Most rows of the table.
const MAX_ROWS: u64 = 1 << 24;

impl NgramConfig {
    /// `None` in models without them. Enlarges the state of its layer, which must be recurrent, by the room that it
    /// needs.
    pub(super) fn from_keys(
        keys: &Keys<'_, '_>,
        architecture: &Architecture,
        layers: &mut [LayerConfig],
        n_streams_embd: usize,
    ) -> Result<Option<Self>, ModelError> {
        let Some(Value::Array(list)) = keys.gguf.get((keys.prefix, LAYERS)) else { return Ok(None) };
        if !architecture.reads(LAYERS) || list.is_empty() {
            return Ok(None);
        }
        let layer = list.values().next().and_then(|layer| layer.as_integer());
        let layer = layer.and_then(|layer| usize::try_from(layer).ok()).filter(|_| list.len() == 1);
        let Some(state) = layer.and_then(|layer| layers.get_mut(layer)).map(|layer| &mut layer.state) else {
            return Err(keys.invalid(LAYERS, list.len(), "the number of one layer"));
        };
        let (n_gram, n_conv) = (keys.width(SIZE)?, keys.width(CONV)?);
        if !(2..=MAX_SIZE).contains(&n_gram) {
            return Err(keys.invalid(SIZE, n_gram, "2 to 8"));
        }
        let n_heads = (n_gram - 1).saturating_mul(keys.width(PER_SIZE)?);
        if n_heads > MAX_HEADS {
            return Err(keys.invalid(PER_SIZE, n_heads, "at most 64 heads in all"));
        }
        let eos = keys.optional_number("ple.eos_token_id")?;
        let eos = eos.ok_or_else(|| keys.missing("ple.eos_token_id"))? as u32;
        let placeholder = keys.optional_number("ple.image_token_id")?.filter(|&id| id > 0);
        let config = NgramConfig {
            layer: layer.unwrap_or(0),
            n_gram,
            n_conv,
            row_len: keys.width("embedding_length_per_layer_input")?,
            eos,
            placeholder: placeholder.map_or(eos, |id| id as u32),
            multipliers: numbers(keys, MULTIPLIERS, n_gram, u64::MAX)?,
            heads: numbers(keys, FIRST_ROWS, n_heads, MAX_ROWS)?
                .into_iter()
                .zip(numbers(keys, ROWS, n_heads, MAX_ROWS)?)
                .map(|(first, n)| NgramHead { first, n })
                .collect(),
        };
        if config.heads.iter().any(|head| head.n == 0) {
            return Err(keys.invalid(ROWS, 0, "at least one row for each head"));
        }
        let (LayerState::Recurrent(shape) | LayerState::KvAndRecurrent(_, shape)) = state else {
            return Err(keys.invalid(LAYERS, config.layer, "a layer with a recurrent mixer"));
        };
        let n_inputs = config.n_positions_before().saturating_mul(n_streams_embd);
        shape.n_history = shape.n_history.saturating_add(config.n_gram - 1).saturating_add(n_inputs);
        Ok(Some(config))
    }

    /// Rows of the table that the heads use.
    pub fn n_rows(&self) -> usize {
        self.heads.iter().map(|head| head.first + head.n).max().unwrap_or(0) as usize
    }

    /// Number of positions before its own that the convolution reaches.
    fn n_positions_before(&self) -> usize {
        (self.n_conv - 1) * self.n_gram
    }

    /// The row of head `head` for these tokens, the last one first.
    fn row(&self, head: usize, tokens: &[u32; MAX_SIZE]) -> usize {
        let n = 2 + head / (self.heads.len() / (self.n_gram - 1));
        let products = tokens.iter().zip(&self.multipliers).take(n);
        let hash = products.fold(0, |hash, (token, m)| hash ^ u64::from(*token).wrapping_mul(*m));
        let NgramHead { first, n } = self.heads[head];
        (hash % n + first) as usize
    }
}

/// The first `n` numbers of an array.
#[inline(never)]
fn numbers(keys: &Keys<'_, '_>, suffix: &str, n: usize, most: u64) -> Result<Vec<u64>, ModelError> {
    let array: Array<'_> =
        keys.gguf.array_value((keys.prefix, suffix))?.ok_or_else(|| keys.missing(suffix))?;
    let too_few = || keys.invalid(suffix, array.len(), "a number for each n-gram's length or head");
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(n).map_err(|_| ModelError::OutOfHeap { needed_bytes: 8 * n })?;
    for value in array.values().take(n) {
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|&number| number <= most).ok_or_else(too_few)?;
        numbers.push(number);
    }
    if numbers.len() < n { Err(too_few()) } else { Ok(numbers) }
}

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

impl Forward<'_, '_> {
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
        let Some(config) = &self.model.config().ngrams else { return };
        let (n_embd, kernels) = (self.model.config().n_embd, self.compute.kernels);
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
                let mut before = [config.eos; MAX_SIZE];
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
            let n_tokens = input.n_tokens(self.model.config().n_embd);
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
