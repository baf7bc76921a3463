//! The hyper-parameters of embeddings of n-grams.

use alloc::vec::Vec;

use super::super::architecture::Architecture;
use super::super::error::ModelError;
use super::keys::Keys;
use super::layer::LayerConfig;
use super::mixer::LayerState;
use crate::gguf::{Array, Value};

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
/// Most heads, as in the reference.
const MAX_HEADS: usize = 64;
/// Most rows of the table.
const MAX_ROWS: u64 = 1 << 24;

impl NgramConfig {
    /// Most tokens of an n-gram, as in the reference.
    pub(in super::super) const MAX_SIZE: usize = 8;

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
        if !(2..=Self::MAX_SIZE).contains(&n_gram) {
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
    pub(in super::super) fn n_positions_before(&self) -> usize {
        (self.n_conv - 1) * self.n_gram
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
