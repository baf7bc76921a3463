//! The buffers of a forward pass.
//!
//! [`Scratch`] holds the buffers that live for a whole batch. Buffers that live only for a part of it, a *phase*, are
//! taken from the [`Workspace`] when the phase begins:
//!
//! ```text
//! workspace ┬ embeddings per layer                   PerLayerEmbedScratch
//!           ├ attention             HeadScratch   ─  IndexScratch
//!           │                                        or LatentScratch
//!           ├ recurrence                             RecurrentScratch
//!           ├ feed-forward          HiddenScratch ┬  GateScratch
//!           │                                     └  DownScratch
//!           ├ feed-forward of shifted tokens         ChannelMixScratch
//!           ├ experts               ExpertScratch ┬  RouterScratch
//!           │                                     └  a feed-forward, as above
//!           ├ input per layer                        PerLayerInputScratch
//!           ├ several streams                        HyperScratch or AltUpScratch
//!           ├ embeddings of n-grams                  NgramScratch
//!           └ output                                 OutputScratch
//! ```
//!
//! Phases that follow each other use the same memory; nested phases do not. A phase borrows the workspace and passes on
//! the rest of it, so the compiler rejects a buffer that outlives its phase. [`Widths::workspace_bytes`] measures the
//! same [`Phase::carve`] that later takes the buffers.

use super::architecture::Block;
use super::config::{Config, MixerConfig};
use super::widths::Widths;
use crate::arena::{Arena, OutOfMemory};
use crate::quant::activation_bytes;
use zerocopy::{FromBytes, IntoBytes};

/// Up to this many tokens, gates are computed over the whole width of a feed-forward block at once. For more tokens
/// they are computed for a part of the width at a time, in the same memory.
const FULL_WIDTH_GATES: usize = 128;

/// Such a part is a multiple of this: whole groups of packed rows, and whole cache lines.
const GATE_ROWS: usize = 64;

/// Number of queries that choose positions at a time.
pub(super) const ROWS: usize = 16;

/// Memory for up to `n_batch` tokens at a time.
#[derive(Debug)]
pub struct Scratch<'m> {
    pub(super) widths: Widths,
    /// `[n_batch][n_embd]`: the residual stream.
    pub(super) x: &'m mut [f32],
    /// `[n_batch][n_embd]`: the input of a mixer, then its output.
    pub(super) block: &'m mut [f32],
    /// `[n_batch][n_embd]`: the same for the second mixer, if both read the same stream.
    pub(super) parallel_block: &'m mut [f32],
    /// `[n_side_streams][n_batch][n_embd]`: streams that are kept besides the residual one, in models that have them.
    /// With hyper-connections `[n_batch][n_stream][n_embd]`, instead of the residual one.
    pub(super) side_streams: &'m mut [f32],
    /// `[n_batch][n_stream]`: each stream's share of the current mixer's output, in models with several streams.
    pub(super) shares: &'m mut [f32],
    /// Cosines and sines of the batch's positions.
    pub(super) angles: BatchAngles<'m>,
    /// `[n_batch][n_layer][n_embd_per_layer]`: the embeddings per layer that each layer will read.
    pub(super) per_layer_inputs: &'m mut [f32],
    /// `[n_batch][n_embd]`: the values of the first layer, in models whose other layers use a share of them.
    pub(super) first_values: &'m mut [f32],
    /// The memory that the phases share. Between two passes it holds the logits of the last one.
    pub(super) workspace: &'m mut [u8],
}

/// Cosines and sines of a batch's positions.
#[derive(Debug)]
pub struct BatchAngles<'m> {
    /// In layers without a window.
    pub(super) full: Angles<'m>,
    /// In layers with a window.
    pub(super) windowed: Angles<'m>,
}

/// Cosines and sines, `[n_batch][n_rot / 2]` each.
#[derive(Debug)]
pub struct Angles<'m> {
    pub(super) cos: &'m mut [f32],
    pub(super) sin: &'m mut [f32],
}

impl Widths {
    /// Bytes of the largest phase, together with the phases around it.
    fn workspace_bytes(&self) -> Result<usize, OutOfMemory> {
        let mut most_bytes = 0;
        let phases: [&[Measure]; 5] = [
            &[HeadScratch::measure, IndexScratch::measure],
            &[RecurrentScratch::measure],
            &[LatentScratch::measure],
            &[HiddenScratch::measure, GateScratch::measure],
            &[HiddenScratch::measure, DownScratch::measure],
        ];
        for phases in phases {
            most_bytes = most_bytes.max(self.measure(phases)?);
        }
        if self.n_expert > 0 {
            let experts: [&[Measure]; 3] = [
                &[ExpertScratch::measure, RouterScratch::measure],
                &[ExpertScratch::measure, HiddenScratch::measure, GateScratch::measure],
                &[ExpertScratch::measure, HiddenScratch::measure, DownScratch::measure],
            ];
            for phases in experts {
                most_bytes = most_bytes.max(self.measure(phases)?);
            }
        }
        if self.mixes_channels {
            most_bytes = most_bytes.max(self.measure(&[ChannelMixScratch::measure])?);
        }
        for (is_there, phase) in [
            (self.streams.n > 0, HyperScratch::measure as Measure),
            (self.streams.n_predicted > 0, AltUpScratch::measure),
            (self.ngrams.tokens > 0, NgramScratch::measure),
        ] {
            if is_there {
                most_bytes = most_bytes.max(self.measure(&[phase])?);
            }
        }
        if self.n_embd_per_layer > 0 {
            most_bytes = most_bytes.max(self.measure(&[PerLayerEmbedScratch::measure])?);
            most_bytes = most_bytes.max(self.measure(&[PerLayerInputScratch::measure])?);
        }
        Ok(most_bytes.max(self.measure(&[OutputScratch::measure])?))
    }

    /// Bytes of nested phases.
    fn measure(&self, phases: &[Measure]) -> Result<usize, OutOfMemory> {
        let mut arena = Arena::measuring();
        phases.iter().try_for_each(|measure| measure(self, &mut arena))?;
        Ok(arena.used_bytes())
    }
}

type Measure = fn(&Widths, &mut Arena<'static>) -> Result<(), OutOfMemory>;

impl<'m> Scratch<'m> {
    /// Takes the buffers from `arena`, for batches of `n_batch` tokens, with logits for `n_logits` of them, of texts of
    /// up to `n_ctx` tokens.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the arena is too small.
    pub fn carve(
        config: &Config,
        n_batch: usize,
        n_logits: usize,
        n_ctx: usize,
        arena: &mut Arena<'m>,
    ) -> Result<Self, OutOfMemory> {
        let widths = Widths::new(config, n_batch, n_logits, n_ctx);
        let has_both = config.layers.iter().any(|layer| matches!(layer.mixer, MixerConfig::Both(..)));
        let is_parallel = config.block == Block::Parallel || has_both || config.alt_up.is_some();
        let mut rows = Rows { n_rows: n_batch, arena };
        Ok(Scratch {
            widths,
            x: rows.take(widths.n_embd)?,
            block: rows.take(widths.n_embd)?,
            parallel_block: rows.take(if is_parallel { widths.n_embd } else { 0 })?,
            side_streams: rows.take(widths.n_embd.saturating_mul(config.n_side_streams()))?,
            shares: rows.take(widths.streams.n)?,
            angles: BatchAngles {
                full: rows.angles(config.rope.as_ref().map_or(0, |rope| rope.n_rot / 2))?,
                windowed: rows.angles(config.window_rope.as_ref().map_or(0, |rope| rope.n_rot / 2))?,
            },
            per_layer_inputs: rows.take(widths.n_layer.saturating_mul(widths.n_embd_per_layer))?,
            first_values: rows.take(widths.recurrent.first_values)?,
            workspace: rows.arena.take(widths.workspace_bytes()?)?,
        })
    }

    /// The first `n_rows` rows of the logits that the last pass computed, `[n_rows][n_output]`.
    pub(crate) fn logits(&self, n_rows: usize) -> &[f32] {
        <[f32]>::ref_from_bytes(&self.workspace[..n_rows * self.widths.n_output * size_of::<f32>()])
            .expect("logits come first in memory that an arena aligned")
    }

    /// One row of the logits that the last pass computed, `[n_output]`.
    pub(crate) fn logits_row(&self, row: usize) -> &[f32] {
        let row_bytes = self.widths.n_output * size_of::<f32>();
        <[f32]>::ref_from_bytes(&self.workspace[row * row_bytes..][..row_bytes])
            .expect("logits come first in memory that an arena aligned")
    }
}

/// Memory for the next phases. No two phases use the same memory at the same time.
pub struct Workspace<'w> {
    widths: &'w Widths,
    memory: &'w mut [u8],
}

impl<'w> Workspace<'w> {
    pub(super) fn new(widths: &'w Widths, memory: &'w mut [u8]) -> Self {
        Workspace { widths, memory }
    }

    /// Lends the same memory to one phase; it is available again when the phase is over.
    pub(super) fn lend(&mut self) -> Workspace<'_> {
        Workspace { widths: self.widths, memory: self.memory }
    }

    /// Takes the buffers of a phase. Returns them with the workspace for nested phases.
    pub(super) fn take<P: Phase<'w>>(self) -> (P, Workspace<'w>) {
        let mut arena = Arena::new(self.memory);
        let phase = P::carve(self.widths, &mut arena)
            .unwrap_or_else(|error| unreachable!("`workspace_bytes` measured each phase: {error}"));
        (phase, Workspace { widths: self.widths, memory: arena.into_rest() })
    }
}

/// Buffers with the same lifetime. Their initial contents are left over from other phases.
pub(super) trait Phase<'p>: Sized {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory>;

    fn measure(widths: &Widths, arena: &mut Arena<'p>) -> Result<(), OutOfMemory> {
        Self::carve(widths, arena).map(drop)
    }
}

/// Attention with keys and values per head.
pub struct HeadScratch<'p> {
    /// `[n_batch][n_head][2 · head_len_k]`: each head's query and its gate, if heads are gated.
    pub(super) q_and_gate: &'p mut [f32],
    /// `[n_batch][n_head · head_len_k]`
    pub(super) q: &'p mut [f32],
    /// `[n_batch][n_head_kv · head_len_k]`
    pub(super) k: &'p mut [f32],
    /// `[n_batch][n_head_kv · head_len_v]`
    pub(super) v: &'p mut [f32],
    /// `[n_batch][n_head · head_len_v]`: the heads' outputs.
    pub(super) heads: &'p mut [f32],
    /// The gates of `heads`, as many elements or one per head, if they have a matrix of their own.
    pub(super) gate: &'p mut [f32],
    /// The quantised inputs of matrix products; the same in the structs below.
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for HeadScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        Ok(HeadScratch {
            q_and_gate: rows.take(widths.n_q_and_gate)?,
            q: rows.take(widths.n_q)?,
            k: rows.take(widths.n_k)?,
            v: rows.take(widths.n_v)?,
            heads: rows.take(widths.n_heads)?,
            gate: rows.take(widths.n_gate)?,
            quantized: arena.take(widths.quantized.in_attention)?,
        })
    }
}

/// Buffers of the indexer, which chooses the positions to which queries attend.
pub struct IndexScratch<'p> {
    /// `[n_batch][n_head · head_len]`
    pub(super) q: &'p mut [f32],
    /// `[n_batch][head_len]`
    pub(super) k: &'p mut [f32],
    /// `[ROWS][head_len]`: a block's key for each of the queries that choose together.
    pub(super) keys: &'p mut [f32],
    /// `[ROWS][n_ctx / block_len]`
    pub(super) scores: &'p mut [f32],
    /// `[ROWS][n_chosen]`
    pub(super) chosen: &'p mut [u32],
    /// `[n_rot / 2]`: for a block's key; the same for the next field.
    pub(super) cos: &'p mut [f32],
    pub(super) sin: &'p mut [f32],
    /// `[n_batch][n_words]`
    pub(super) mask: &'p mut [u64],
    /// Words of a token's mask.
    pub(super) n_words: usize,
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for IndexScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let index = widths.index;
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        let (q, k, mask) = (rows.take(index.q)?, rows.take(index.k)?, rows.take(index.mask)?);
        let mut rows = Rows { n_rows: ROWS, arena };
        Ok(IndexScratch {
            q,
            k,
            keys: rows.take(index.k)?,
            scores: rows.take(index.scores)?,
            chosen: rows.take(index.chosen)?,
            cos: arena.take(index.n_rot / 2)?,
            sin: arena.take(index.n_rot / 2)?,
            mask,
            n_words: index.mask,
            quantized: arena.take(if index.q > 0 { widths.quantized.stream } else { 0 })?,
        })
    }
}

/// The input of a mixer from several streams.
pub struct HyperScratch<'p> {
    /// `[n_batch][n_stream · n_embd]`
    pub(super) normalised: &'p mut [f32],
    /// `[n_batch][rank]`
    pub(super) low: &'p mut [f32],
    /// `[n_batch][n_stream · n_embd]`
    pub(super) gates: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for HyperScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        Ok(HyperScratch {
            normalised: rows.take(widths.streams.row)?,
            low: rows.take(widths.streams.rank)?,
            gates: rows.take(widths.streams.row)?,
            quantized: arena.take(widths.quantized.streams)?,
        })
    }
}

/// Predictions and corrections of streams.
pub struct AltUpScratch<'p> {
    /// `[n_batch][n_embd]`
    pub(super) normalised: &'p mut [f32],
    /// `[n_batch][n_stream]`
    pub(super) routed: &'p mut [f32],
    /// `[n_batch][n_stream][n_stream]`, or one number per stream.
    pub(super) shares: &'p mut [f32],
    /// `[n_batch][laurel_rank]`
    pub(super) low: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for AltUpScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let (n_stream, laurel) = (widths.streams.n_predicted, widths.streams.laurel);
        let widest = widths.n_embd.max(n_stream).max(laurel);
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        Ok(AltUpScratch {
            normalised: rows.take(widths.n_embd)?,
            routed: rows.take(n_stream)?,
            shares: rows.take(n_stream * n_stream)?,
            low: rows.take(laurel)?,
            quantized: arena.take(activation_bytes(widest, widths.n_batch))?,
        })
    }
}

/// Embeddings of n-grams.
pub struct NgramScratch<'p> {
    /// `[n_batch]`: each token's id plus one.
    pub(super) tokens: &'p mut [f32],
    /// `[n_batch][n_embd]`
    pub(super) embedding: &'p mut [f32],
    /// `[n_batch][n_stream][n_embd]`: keys, then the numbers that are added.
    pub(super) key: &'p mut [f32],
    /// `[n_batch][n_embd]`
    pub(super) value: &'p mut [f32],
    /// `[n_batch][n_stream][n_embd]`: the inputs of the convolution.
    pub(super) inputs: &'p mut [f32],
    /// `[n_batch][n_stream][n_embd]`: its outputs.
    pub(super) convolved: &'p mut [f32],
    /// `[n_stream · n_embd][n_conv]`: its weights.
    pub(super) taps: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for NgramScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let ngrams = widths.ngrams;
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        Ok(NgramScratch {
            tokens: rows.take(ngrams.tokens)?,
            embedding: rows.take(widths.n_embd)?,
            key: rows.take(ngrams.row)?,
            value: rows.take(widths.n_embd)?,
            inputs: rows.take(ngrams.row)?,
            convolved: rows.take(ngrams.row)?,
            taps: arena.take(ngrams.taps)?,
            quantized: arena.take(widths.quantized.stream)?,
        })
    }
}

/// Latent attention. Some of the buffers after `kv` are empty, depending on
/// [`is_expanded`](super::LatentConfig::is_expanded).
pub struct LatentScratch<'p> {
    /// `[n_batch][q_lora_rank]`
    pub(super) q_compressed: &'p mut [f32],
    /// `[n_batch][n_head][head_len_k]`, before a part of each is brought to the compressed space.
    pub(super) q: &'p mut [f32],
    /// `[n_batch][kv_lora_rank + n_rot]`
    pub(super) kv: &'p mut [f32],
    /// `[n_batch][n_head][kv_lora_rank + n_rot]`: queries in the compressed space.
    pub(super) queries: &'p mut [f32],
    /// `[n_batch][n_head][kv_lora_rank]`: the heads' outputs in the compressed space.
    pub(super) compressed_heads: &'p mut [f32],
    /// Gathered: one head of each token, or the compressed vectors.
    pub(super) gathered: &'p mut [f32],
    /// One head of each token, to be scattered.
    pub(super) scattered: &'p mut [f32],
    /// `[n_batch][n_head][head_len_k - n_rot + head_len_v]`: the expanded keys and values.
    pub(super) expanded: &'p mut [f32],
    /// `[n_head][head_len_k]`: one token's keys, including the rotated part.
    pub(super) keys: &'p mut [f32],
    /// `[n_head][head_len_v]`: one token's values.
    pub(super) values: &'p mut [f32],
    /// `[n_batch][n_head][head_len_v]`: the heads' outputs.
    pub(super) heads: &'p mut [f32],
    /// `[n_batch][n_head][n_gate]`: the gates of the heads, if they are gated.
    pub(super) gates: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for LatentScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let latent = widths.latent;
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        Ok(LatentScratch {
            q_compressed: rows.take(latent.q_compressed)?,
            q: rows.take(latent.q)?,
            kv: rows.take(latent.kv)?,
            queries: rows.take(latent.queries)?,
            compressed_heads: rows.take(latent.compressed_heads)?,
            gathered: rows.take(latent.gathered)?,
            scattered: rows.take(latent.scattered)?,
            expanded: rows.take(latent.expanded)?,
            keys: rows.arena.take(latent.keys)?,
            values: rows.arena.take(latent.values)?,
            heads: rows.take(latent.heads)?,
            gates: rows.take(latent.gates)?,
            quantized: arena.take(widths.quantized.in_attention)?,
        })
    }
}

/// Recurrent mixers. No kind of mixer uses all of the buffers.
pub struct RecurrentScratch<'p> {
    /// The outputs of the first matrix for each token. For gated delta nets these are queries, keys and values; for
    /// RWKV, these and the factors by which the state is forgotten and corrected, each stored contiguously for all
    /// tokens.
    pub(super) projected: &'p mut [f32],
    /// `[n_batch][n_value]`: gates of the output, if they have a matrix of their own.
    pub(super) gate: &'p mut [f32],
    /// `[n_batch][n_channels]`: the outputs of the convolution, or tokens mixed with the ones before.
    pub(super) convolved: &'p mut [f32],
    /// The parameters by which each token writes, reads or forgets the state.
    pub(super) parameters: &'p mut [f32],
    /// `[n_batch][dt_rank]`: the compressed step lengths, or other vectors of few dimensions.
    pub(super) gathered: &'p mut [f32],
    /// `[n_batch][n_inner]`: the step lengths, or the differences to the token before.
    pub(super) steps: &'p mut [f32],
    /// `[n_inner / length of a block][n_batch][length of a block]`: the outputs of the state; each core writes to its
    /// own contiguous part.
    pub(super) y: &'p mut [f32],
    /// `[n_batch][n_inner]`: the same, token by token.
    pub(super) inner: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for RecurrentScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let recurrent = widths.recurrent;
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        Ok(RecurrentScratch {
            projected: rows.take(recurrent.projected)?,
            gate: rows.take(recurrent.gate)?,
            convolved: rows.take(recurrent.convolved)?,
            parameters: rows.take(recurrent.parameters)?,
            gathered: rows.take(recurrent.gathered)?,
            steps: rows.take(recurrent.steps)?,
            y: rows.take(recurrent.inner)?,
            inner: rows.take(recurrent.inner)?,
            quantized: arena.take(widths.quantized.in_recurrence)?,
        })
    }
}

/// A feed-forward block.
pub struct HiddenScratch<'p> {
    /// `[n_batch][n_ff]`
    pub(super) up: &'p mut [f32],
}

impl<'p> Phase<'p> for HiddenScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        Ok(HiddenScratch { up: Rows { n_rows: widths.n_batch, arena }.take(widths.n_ff)? })
    }
}

/// Inside a feed-forward block: the buffers for reading its input.
pub struct GateScratch<'p> {
    /// `[n_batch][n_ff]`, or, for many tokens, a part of the width.
    pub(super) gate: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for GateScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let full_width = widths.n_ff.saturating_mul(widths.n_batch.min(FULL_WIDTH_GATES));
        let least = widths.n_batch.saturating_mul(widths.n_ff.min(GATE_ROWS));
        Ok(GateScratch {
            gate: arena.take(full_width.max(least))?,
            quantized: arena.take(widths.quantized.stream)?,
        })
    }
}

impl GateScratch<'_> {
    /// The number of gates, out of `n_ff`, for which there is room at a time for each of `n_tokens` tokens.
    pub(super) fn rows_at_once(&self, n_ff: usize, n_tokens: usize) -> usize {
        match self.gate.len() / n_tokens {
            n_rows if n_rows >= n_ff => n_ff,
            n_rows => n_rows / GATE_ROWS * GATE_ROWS,
        }
    }
}

/// Inside a feed-forward block: the buffers for making its output.
pub struct DownScratch<'p> {
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for DownScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        Ok(DownScratch { quantized: arena.take(widths.quantized.hidden)? })
    }
}

/// A feed-forward block that reads shifted tokens.
pub struct ChannelMixScratch<'p> {
    /// `[n_batch][n_embd]`: the difference from each token to the one before it.
    pub(super) differences: &'p mut [f32],
    /// `[n_batch][n_embd]`: a token mixed with the one before it.
    pub(super) mixed: &'p mut [f32],
    /// `[n_batch][n_embd]`: the gates of the outputs.
    pub(super) receptance: &'p mut [f32],
    /// `[n_batch][n_ff]`
    pub(super) keys: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for ChannelMixScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        Ok(ChannelMixScratch {
            differences: rows.take(widths.n_embd)?,
            mixed: rows.take(widths.n_embd)?,
            receptance: rows.take(widths.n_embd)?,
            keys: rows.take(widths.n_ff)?,
            quantized: arena.take(widths.quantized.stream.max(widths.quantized.hidden))?,
        })
    }
}

/// A mixture of experts.
pub struct ExpertScratch<'p> {
    /// `[n_batch][n_expert]`: the router's logits, then probabilities.
    pub(super) probabilities: &'p mut [f32],
    /// `[n_expert]`: the numbers by which experts are chosen.
    pub(super) selection: &'p mut [f32],
    /// `[n_batch][n_expert_used]`: the chosen experts.
    pub(super) chosen: &'p mut [u32],
    /// `[n_batch][n_expert_used]`: their weights.
    pub(super) weights: &'p mut [f32],
    /// `[n_batch][n_embd]`: the tokens of one expert, then its outputs.
    pub(super) gathered: &'p mut [f32],
    /// `[n_batch][n_embd]`: the sum of the experts' outputs.
    pub(super) sum: &'p mut [f32],
    /// `[n_batch][n_latent]`: the tokens, compressed for the experts.
    pub(super) compressed: &'p mut [f32],
    /// `[n_batch][n_latent]`: the sum of the experts' outputs for these.
    pub(super) compressed_sum: &'p mut [f32],
}

impl<'p> Phase<'p> for ExpertScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        Ok(ExpertScratch {
            probabilities: rows.take(widths.n_expert)?,
            selection: rows.arena.take(widths.n_expert)?,
            chosen: rows.take(widths.n_expert_used)?,
            weights: rows.take(widths.n_expert_used)?,
            gathered: rows.take(widths.n_embd.max(widths.n_latent))?,
            sum: rows.take(widths.n_embd)?,
            compressed: rows.take(widths.n_latent)?,
            compressed_sum: rows.take(widths.n_latent)?,
        })
    }
}

/// Inside a mixture of experts: the buffers of the router.
pub struct RouterScratch<'p> {
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for RouterScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        Ok(RouterScratch { quantized: arena.take(widths.quantized.stream)? })
    }
}

/// Makes the inputs of all layers from embeddings per layer.
pub struct PerLayerEmbedScratch<'p> {
    /// `[n_layer][n_embd_per_layer]`: the embedding of one token.
    pub(super) embedding: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for PerLayerEmbedScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        Ok(PerLayerEmbedScratch {
            embedding: arena.take(widths.n_layer.saturating_mul(widths.n_embd_per_layer))?,
            quantized: arena.take(widths.quantized.stream)?,
        })
    }
}

/// Adds a layer's part of the embeddings per layer to the stream.
pub struct PerLayerInputScratch<'p> {
    /// `[n_batch][n_embd_per_layer]`
    pub(super) gate: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for PerLayerInputScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        let mut rows = Rows { n_rows: widths.n_batch, arena };
        Ok(PerLayerInputScratch {
            gate: rows.take(widths.n_embd_per_layer)?,
            quantized: arena.take(widths.quantized.per_layer)?,
        })
    }
}

/// The output projection.
pub struct OutputScratch<'p> {
    /// `[n_logits][n_output]`, valid until the next pass, because they come first in the workspace.
    pub(super) logits: &'p mut [f32],
    pub(super) quantized: &'p mut [u8],
}

impl<'p> Phase<'p> for OutputScratch<'p> {
    fn carve(widths: &Widths, arena: &mut Arena<'p>) -> Result<Self, OutOfMemory> {
        Ok(OutputScratch {
            logits: Rows { n_rows: widths.n_logits, arena }.take(widths.n_output)?,
            quantized: arena.take(widths.quantized.to_output)?,
        })
    }
}

/// Takes buffers with a row for each of a number of tokens.
struct Rows<'r, 'm> {
    n_rows: usize,
    arena: &'r mut Arena<'m>,
}

impl<'m> Rows<'_, 'm> {
    #[inline(always)]
    fn take<T: FromBytes + IntoBytes>(&mut self, width: usize) -> Result<&'m mut [T], OutOfMemory> {
        self.arena.take(self.n_rows.saturating_mul(width))
    }

    fn angles(&mut self, n_pairs: usize) -> Result<Angles<'m>, OutOfMemory> {
        Ok(Angles { cos: self.take(n_pairs)?, sin: self.take(n_pairs)? })
    }
}
