//! [`Widths`]: the lengths of the buffers of a forward pass.
//!
//! Neighbours: [`scratch`](super::scratch) has the buffers; the needs of a layer follow from its [`MixerConfig`].

use super::architecture::{FeedForwardKind, HeadGate};
use super::config::{
    Config, HeadsConfig, IndexerConfig, LatentConfig, LayerConfig, MixerConfig, RecurrentConfig,
};
use crate::kv_cache::PAGE_LEN;
use crate::quant::activation_bytes;

/// Elements of buffers, per token unless stated otherwise. If a length differs from layer to layer, this is the
/// largest.
#[derive(Debug, Clone, Copy)]
pub struct Widths {
    pub(super) quantized: QuantizedBytes,
    /// Tokens of a batch.
    pub(super) n_batch: usize,
    /// Tokens whose logits are computed.
    pub(super) n_logits: usize,
    pub(super) n_output: usize,
    pub(super) n_embd: usize,
    /// Queries, keys, values and outputs of all heads.
    pub(super) n_q: usize,
    pub(super) n_k: usize,
    pub(super) n_v: usize,
    pub(super) n_heads: usize,
    pub(super) n_q_and_gate: usize,
    pub(super) n_gate: usize,
    pub(super) latent: LatentWidths,
    pub(super) recurrent: RecurrentWidths,
    pub(super) n_ff: usize,
    /// Whether feed-forward blocks read shifted tokens.
    pub(super) mixes_channels: bool,
    pub(super) n_expert: usize,
    pub(super) n_expert_used: usize,
    pub(super) n_latent: usize,
    pub(super) n_layer: usize,
    pub(super) n_embd_per_layer: usize,
    pub(super) streams: StreamWidths,
    pub(super) index: IndexWidths,
    pub(super) ngrams: NgramWidths,
}

/// Elements per token for several residual streams; 0 in models with one stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamWidths {
    /// Streams.
    pub(super) n: usize,
    /// Elements of all streams together, if mixers read a mixture.
    pub(super) row: usize,
    /// The width to which gates are compressed.
    pub(super) rank: usize,
    /// Streams that are predicted.
    pub(super) n_predicted: usize,
    /// Dimensions of the low-rank map beside the sequence mixer.
    pub(super) laurel: usize,
}

/// Elements of the indexer, per token unless stated otherwise; 0 in models without one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct IndexWidths {
    pub(super) q: usize,
    pub(super) k: usize,
    /// Words of a mask. This and the next fields are 0 if queries attend to all positions.
    pub(super) mask: usize,
    /// Blocks, per query that chooses.
    pub(super) scores: usize,
    /// Positions, per query that chooses.
    pub(super) chosen: usize,
    /// Rotated elements of one key.
    pub(super) n_rot: usize,
}

/// Elements for embeddings of n-grams; 0 in models without them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NgramWidths {
    /// 1 per token.
    pub(super) tokens: usize,
    /// Elements of all streams of a token.
    pub(super) row: usize,
    /// All elements of the convolution's weights.
    pub(super) taps: usize,
}

/// Size in bytes of the quantised inputs of matrix products, for all tokens of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuantizedBytes {
    pub(super) stream: usize,
    pub(super) in_attention: usize,
    pub(super) in_recurrence: usize,
    pub(super) hidden: usize,
    pub(super) per_layer: usize,
    pub(super) to_output: usize,
    pub(super) streams: usize,
}

/// Elements per token of latent attention; 0 in models without it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LatentWidths {
    pub(super) q_compressed: usize,
    pub(super) q: usize,
    pub(super) kv: usize,
    pub(super) queries: usize,
    pub(super) compressed_heads: usize,
    pub(super) gathered: usize,
    pub(super) scattered: usize,
    pub(super) expanded: usize,
    pub(super) keys: usize,
    pub(super) values: usize,
    pub(super) heads: usize,
    pub(super) gates: usize,
    /// The length of the longest vector that is multiplied by a matrix.
    widest_input: usize,
}

impl Widths {
    /// The widths for batches of `n_batch` tokens, with logits for `n_logits` of them, of texts of up to `n_ctx`
    /// tokens.
    pub(super) fn new(config: &Config, n_batch: usize, n_logits: usize, n_ctx: usize) -> Self {
        let widest =
            |width: &dyn Fn(&LayerConfig) -> usize| config.layers.iter().map(width).max().unwrap_or(0);
        let of_heads = |width: &dyn Fn(&HeadsConfig) -> usize| {
            config.layers.iter().filter_map(|layer| layer.mixer.heads()).map(width).max().unwrap_or(0)
        };
        let latents = config.layers.iter().filter_map(|layer| layer.mixer.latent());
        let latent = latents.map(LatentWidths::new).fold(LatentWidths::default(), LatentWidths::max);
        let n_embd = config.n_embd;
        let recurrents = config.layers.iter().filter_map(|layer| layer.mixer.recurrent());
        let recurrent = recurrents.map(|recurrent| RecurrentWidths::new(recurrent, n_embd));
        let recurrent = recurrent.fold(RecurrentWidths::default(), RecurrentWidths::max);
        // Some layers have a matrix as wide as the stream instead of heads.
        let n_linear = widest(&|layer| if layer.mixer == MixerConfig::Linear { n_embd } else { 0 });
        let n_heads = of_heads(&|heads| heads.n_head * heads.head_len_v).max(n_linear);
        let n_ff = widest(&|layer| layer.n_ff).max(config.experts.map_or(0, |experts| experts.n_ff));
        let n_latent = config.experts.map_or(0, |experts| experts.n_latent);
        let n_embd_per_layer = config.n_embd_per_layer.unwrap_or(0);
        let streams = StreamWidths {
            n: config.hyper_connections.map_or(0, |hyper| hyper.n_stream),
            row: config.hyper_connections.map_or(0, |hyper| hyper.n_stream.saturating_mul(n_embd)),
            rank: config.hyper_connections.map_or(0, |hyper| hyper.rank),
            n_predicted: config.alt_up.map_or(0, |alt_up| alt_up.n_stream),
            laurel: config.alt_up.map_or(0, |alt_up| alt_up.laurel_rank),
        };
        let attention_input = n_embd.max(n_heads).max(latent.widest_input);
        Widths {
            quantized: QuantizedBytes {
                stream: activation_bytes(n_embd.max(n_latent), n_batch),
                in_attention: activation_bytes(attention_input, n_batch),
                in_recurrence: activation_bytes(recurrent.widest_input, n_batch),
                hidden: activation_bytes(n_ff, n_batch),
                per_layer: activation_bytes(n_embd.max(n_embd_per_layer), n_batch),
                to_output: activation_bytes(n_embd, n_logits),
                streams: activation_bytes(streams.row.max(streams.rank), n_batch),
            },
            n_batch,
            n_logits,
            n_output: config.n_output(),
            n_embd,
            n_q: of_heads(&|heads| heads.n_head * heads.head_len_k),
            n_k: of_heads(&|heads| heads.n_head_kv * heads.head_len_k),
            n_v: of_heads(&|heads| heads.n_head_kv * heads.head_len_v),
            n_heads,
            n_gate: match config.architecture.head_gate {
                HeadGate::Sigmoid | HeadGate::Softplus => n_heads,
                HeadGate::None | HeadGate::WithQuery => 0,
            },
            n_q_and_gate: of_heads(&|heads| {
                if heads.is_gated { 2 * heads.n_head * heads.head_len_k } else { 0 }
            }),
            latent,
            recurrent,
            n_ff,
            mixes_channels: config.architecture.feed_forward == FeedForwardKind::ChannelMix,
            n_expert: config.experts.map_or(0, |experts| experts.n_expert),
            n_expert_used: config.experts.map_or(0, |experts| experts.n_expert_used),
            n_latent,
            n_layer: config.layers.len(),
            n_embd_per_layer,
            streams,
            index: of_indexers(config, n_ctx),
            ngrams: match &config.ngrams {
                Some(ngrams) => {
                    let row = streams.row.max(n_embd);
                    NgramWidths { tokens: 1, row, taps: row.saturating_mul(ngrams.n_conv) }
                }
                None => NgramWidths::default(),
            },
        }
    }
}

/// The widths of the indexers of all layers, for texts of up to `n_ctx` tokens.
fn of_indexers(config: &Config, n_ctx: usize) -> IndexWidths {
    let mut widths = IndexWidths::default();
    let indexers =
        config.layers.iter().filter_map(|layer| layer.mixer.heads()?.indexer.filter(IndexerConfig::is_used));
    for indexer in indexers {
        widths.q = widths.q.max(indexer.n_head.saturating_mul(indexer.head_len));
        widths.k = widths.k.max(indexer.head_len);
        widths.n_rot = config.rope.as_ref().map_or(0, |rope| rope.n_rot);
        if indexer.n_chosen() < n_ctx {
            widths.mask = n_ctx.div_ceil(PAGE_LEN);
            widths.scores = widths.scores.max(n_ctx / indexer.block_len);
            widths.chosen = widths.chosen.max(indexer.n_chosen());
        }
    }
    widths
}

impl LatentWidths {
    fn new(latent: &LatentConfig) -> Self {
        let LatentConfig { n_head, q_lora_rank, kv_lora_rank: rank, n_rot, head_len_k, head_len_v, .. } =
            *latent;
        let q_compressed = q_lora_rank.unwrap_or(0);
        let heads = n_head * head_len_v;
        let widths = LatentWidths {
            q_compressed,
            q: n_head * head_len_k,
            kv: rank + n_rot,
            heads,
            gates: n_head * latent.n_gate,
            widest_input: q_compressed.max(rank).max(head_len_k).max(heads),
            ..LatentWidths::default()
        };
        // Either the vector is expanded to each head's value and the part of its key that is not rotated; or queries
        // are brought to the compressed space and the heads' outputs back from it, one head at a time.
        match latent.is_expanded {
            true => LatentWidths {
                gathered: rank,
                expanded: n_head * (head_len_k + head_len_v),
                keys: n_head * head_len_k,
                values: heads,
                ..widths
            },
            false => LatentWidths {
                queries: n_head * (rank + head_len_k),
                compressed_heads: n_head * rank,
                gathered: rank.max(head_len_k),
                scattered: rank.max(head_len_v),
                ..widths
            },
        }
    }

    fn max(self, other: Self) -> Self {
        LatentWidths {
            q_compressed: self.q_compressed.max(other.q_compressed),
            q: self.q.max(other.q),
            kv: self.kv.max(other.kv),
            queries: self.queries.max(other.queries),
            compressed_heads: self.compressed_heads.max(other.compressed_heads),
            gathered: self.gathered.max(other.gathered),
            scattered: self.scattered.max(other.scattered),
            expanded: self.expanded.max(other.expanded),
            keys: self.keys.max(other.keys),
            values: self.values.max(other.values),
            heads: self.heads.max(other.heads),
            gates: self.gates.max(other.gates),
            widest_input: self.widest_input.max(other.widest_input),
        }
    }
}

/// Elements per token of recurrent mixers; 0 in models without them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RecurrentWidths {
    pub(super) projected: usize,
    pub(super) gate: usize,
    pub(super) convolved: usize,
    pub(super) parameters: usize,
    pub(super) gathered: usize,
    pub(super) steps: usize,
    pub(super) inner: usize,
    pub(super) first_values: usize,
    /// The length of the longest vector that is multiplied by a matrix.
    widest_input: usize,
}

impl RecurrentWidths {
    /// Gates, differences to the token before, outputs.
    fn of_rwkv(n_inner: usize) -> Self {
        RecurrentWidths { gate: n_inner, steps: n_inner, inner: n_inner, ..RecurrentWidths::default() }
    }

    fn new(recurrent: &RecurrentConfig, n_embd: usize) -> Self {
        let convolved = recurrent.n_channels();
        let widths = match recurrent {
            RecurrentConfig::Mamba(mamba) => RecurrentWidths {
                projected: 2 * mamba.n_inner,
                parameters: mamba.dt_rank + 2 * mamba.n_state,
                gathered: mamba.dt_rank,
                steps: mamba.n_inner,
                inner: mamba.n_inner,
                ..RecurrentWidths::default()
            },
            RecurrentConfig::Mamba2(mamba2) => RecurrentWidths {
                projected: mamba2.n_inner + convolved + mamba2.n_head,
                inner: mamba2.n_inner,
                ..RecurrentWidths::default()
            },
            RecurrentConfig::DeltaNet(net) => RecurrentWidths {
                projected: convolved,
                gate: net.n_value(),
                parameters: 2 * net.n_head_v,
                inner: net.n_value(),
                ..RecurrentWidths::default()
            },
            RecurrentConfig::ShortConvolution(convolution) => {
                RecurrentWidths { projected: 3 * convolution.n_inner, ..RecurrentWidths::default() }
            }
            RecurrentConfig::HeadMamba(mamba) => RecurrentWidths {
                projected: 2 * mamba.n_inner,
                gate: mamba.n_inner,
                parameters: 2 * mamba.n_state + mamba.dt_rank,
                gathered: mamba.dt_rank,
                steps: mamba.n_head,
                inner: mamba.n_inner,
                ..RecurrentWidths::default()
            },
            RecurrentConfig::KimiDelta(delta) => RecurrentWidths {
                projected: convolved,
                gate: delta.n_inner(),
                parameters: delta.n_head,
                gathered: delta.head_len,
                steps: delta.n_inner(),
                inner: delta.n_inner(),
                ..RecurrentWidths::default()
            },
            RecurrentConfig::Lightning(lightning) => {
                let n_inner = lightning.n_head.saturating_mul(lightning.head_len);
                RecurrentWidths {
                    projected: 3 * n_inner,
                    gate: n_inner,
                    inner: n_inner,
                    ..RecurrentWidths::default()
                }
            }
            RecurrentConfig::Rwkv6(rwkv) => RecurrentWidths {
                // Decays, keys, values, receptance.
                projected: 4 * convolved,
                parameters: 5 * rwkv.mix_rank,
                gathered: rwkv.mix_rank.max(rwkv.decay_rank),
                ..RecurrentWidths::of_rwkv(convolved)
            },
            RecurrentConfig::Rwkv7(rwkv) => RecurrentWidths {
                // The same, and two inputs for the correction of the state.
                projected: 6 * convolved,
                gathered: rwkv.decay_rank.max(rwkv.rate_rank).max(rwkv.value_rank).max(rwkv.gate_rank),
                first_values: convolved,
                ..RecurrentWidths::of_rwkv(convolved)
            },
        };
        let widest_input = n_embd.max(widths.inner).max(widths.gathered);
        RecurrentWidths { convolved, widest_input, ..widths }
    }

    fn max(self, other: Self) -> Self {
        RecurrentWidths {
            projected: self.projected.max(other.projected),
            gate: self.gate.max(other.gate),
            convolved: self.convolved.max(other.convolved),
            parameters: self.parameters.max(other.parameters),
            gathered: self.gathered.max(other.gathered),
            steps: self.steps.max(other.steps),
            inner: self.inner.max(other.inner),
            first_values: self.first_values.max(other.first_values),
            widest_input: self.widest_input.max(other.widest_input),
        }
    }
}
