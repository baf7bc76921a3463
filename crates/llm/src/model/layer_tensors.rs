//! The tensors of one layer, taken by name and shape. Fused tensors are split here.

use alloc::vec::Vec;

use super::alt_up::{AltUp, AltUpConfig, Laurel};
use super::architecture::{
    Activation, Biases, Block, ExpertInputs, ExpertLayers, FeedForwardKind, HeadGate, JointRows, NormWeights,
    QkNorm, Routing, SharedExpert,
};
use super::config::Config;
use super::error::ModelError;
use super::expert_config::{ExpertConfig, LATENT_KEYS};
use super::head_norm::HeadNorm;
use super::heads_config::HeadsConfig;
use super::hyper_connections::{HyperConfig, HyperConnection};
use super::indexer::{Indexer, IndexerConfig};
use super::latent_config::LatentConfig;
use super::layer_config::LayerConfig;
use super::mixer_config::MixerConfig;
use super::ngram_embedding::{NgramConfig, NgramEmbedding};
use super::tensors::Tensors;
use super::weights::{
    DenseFeedForward, Expansion, ExpertBlock, ExpertLatent, ExpertLinear, Experts, FeedForward,
    HeadAttention, LatentAttention, Layer, Mixer, PerLayerInput,
};
use crate::compute::{Linear, Norm};
use crate::gguf::Name;

/// The projections of a dense feed-forward block, whose factors multiply their biases too.
const FFN_PARTS: [&str; 3] = ["ffn_gate", "ffn_up", "ffn_down"];

/// The parts of a mixture of experts: gate, up, down, and gate and up in one tensor.
const EXPERT_PARTS: [&str; 4] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_up_exps"];
/// The parts of the experts of the second kind, which read the output of others.
const CHUNK_PARTS: [&str; 4] = ["ffn_gate_chexps", "ffn_up_chexps", "ffn_down_chexps", "ffn_gate_up_chexps"];

/// Alternative names of normalisations in some files.
const OTHER_NAMES: [(&str, &str); 1] = [("layer_output_norm", "post_ffw_norm")];

/// Takes the tensors of one layer.
pub(super) struct LayerTensors<'t, 'g, 'a> {
    pub tensors: &'t mut Tensors<'g, 'a>,
    pub config: &'t Config,
    pub layer: &'t LayerConfig,
    pub index: usize,
}

impl<'a> LayerTensors<'_, '_, 'a> {
    pub fn load(mut self) -> Result<Layer<'a>, ModelError> {
        let mut norms = *self.config.architecture.norms;
        if self.layer.mixer == MixerConfig::None {
            (norms.attn, norms.attn_post) = (None, None);
        }
        let before_norm = match self.config.architecture.routing {
            Some(Routing { inputs: ExpertInputs::Before, .. }) if self.layer.has_experts => {
                Some(self.norm("ffn_norm_exps")?)
            }
            _ => None,
        };
        if self.config.architecture.reads_embedding && self.index == 0 && !self.has("attn_norm.weight") {
            norms.attn = None;
        }
        if !self.has_channel_mixer() {
            (norms.ffn, norms.ffn_post) = (None, None);
        }
        let (attn_norm, ffn_norm) = match self.config.block {
            Block::Parallel if self.has("attn_norm_2.weight") => {
                // If Falcon has a second normalisation, that one belongs to attention.
                (Some(self.extra_norm("attn_norm_2")?), Some(self.norm("attn_norm")?))
            }
            Block::Sequential
                if self.config.architecture.block == Block::ParallelWithoutFfnNorm && norms.ffn.is_some() =>
            {
                (self.optional_norm(norms.attn)?, Some(self.extra_norm("ffn_norm")?))
            }
            Block::Parallel if !self.has("ffn_norm.weight") => (self.optional_norm(norms.attn)?, None),
            _ => (self.optional_norm(norms.attn)?, self.optional_norm(norms.ffn)?),
        };
        Ok(Layer {
            attn_norm,
            mixer: match self.layer.mixer {
                MixerConfig::None => Mixer::None,
                MixerConfig::Linear => {
                    let n_embd = self.config.n_embd;
                    Mixer::Linear(self.linear("attn_output", n_embd, n_embd, false)?)
                }
                MixerConfig::Heads(heads) => Mixer::Heads(self.head_attention(heads)?),
                MixerConfig::Latent(latent) => Mixer::Latent(self.latent_attention(latent)?),
                MixerConfig::Recurrent(recurrent) => Mixer::Recurrent(self.recurrent(recurrent)?),
                MixerConfig::Both(heads, recurrent) => {
                    Mixer::Both(self.head_attention(heads)?, self.recurrent(recurrent)?)
                }
            },
            attn_post_norm: self.optional_norm(norms.attn_post)?,
            attn_again_norm: match self.config.block {
                Block::PostNorm if self.has("attn_norm_2.weight") => Some(self.extra_norm("attn_norm_2")?),
                _ => None,
            },
            ffn_norm,
            residual_scores: match self.config.residual_block {
                Some(_) => [self.scores("attn_res_score")?, self.scores("ffn_res_score")?],
                None => [None; 2],
            },
            feed_forward: match (self.layer.has_experts, self.config.experts) {
                (true, Some(experts)) => FeedForward::Experts(self.experts(&experts)?),
                _ if self.layer.n_ff == 0 => FeedForward::None,
                _ if self.config.architecture.feed_forward == FeedForwardKind::ChannelMix => {
                    FeedForward::ChannelMix(self.channel_mix()?)
                }
                (_, experts) if self.layer.is_bare => {
                    // They must nevertheless be there and be valid.
                    if let Some(experts) = experts {
                        self.experts(&experts)?;
                    }
                    FeedForward::Bare(self.config.architecture.activation)
                }
                _ => FeedForward::Dense(self.feed_forward()?),
            },
            ffn_post_norm: self.optional_norm(norms.ffn_post)?,
            per_layer_input: match self.config.n_embd_per_layer {
                Some(len) => Some(PerLayerInput {
                    gate: self.linear("inp_gate", len, self.config.n_embd, false)?,
                    projection: self.linear("proj", self.config.n_embd, len, false)?,
                    post_norm: self.norm("post_norm")?,
                }),
                None => None,
            },
            changes_nothing: self.config.architecture.has_empty_layers && !self.has_channel_mixer(),
            output_scale: self.output_scale()?,
            before_norm,
            end: self.layer.end,
            hyper_connections: match self.config.hyper_connections {
                Some(hyper) => {
                    Some([self.hyper_connection("hc_attn", hyper)?, self.hyper_connection("hc_ffn", hyper)?])
                }
                None => None,
            },
            alt_up: match self.config.alt_up {
                Some(alt_up) => Some(self.alt_up(alt_up)?),
                None => None,
            },
        })
    }

    #[inline(never)]
    fn hyper_connection(
        &mut self,
        part: &str,
        HyperConfig { n_stream, rank }: HyperConfig,
    ) -> Result<HyperConnection<'a>, ModelError> {
        let n_embd = self.config.n_embd;
        let width = n_stream * n_embd;
        let name = |what: &str| Name::format(format_args!("{part}_{what}"));
        let norm = self.name(name("norm.weight").as_str());
        Ok(HyperConnection {
            norm: self.tensors.streams_norm(&norm, n_stream, n_embd)?,
            down: self.linear(name("down").as_str(), rank, width, false)?,
            up: self.linear(name("up").as_str(), width, rank, false)?,
            inject: Some(self.linear(name("inject").as_str(), n_stream, width, false)?),
        })
    }

    #[inline(never)]
    fn alt_up(
        &mut self,
        AltUpConfig { n_stream, laurel_rank, .. }: AltUpConfig,
    ) -> Result<AltUp<'a>, ModelError> {
        let n_embd = self.config.n_embd;
        Ok(AltUp {
            router: self.linear("altup_router", n_stream, n_embd, false)?,
            router_norm: self.norm_of("altup_router_norm", n_embd)?,
            predict: self.linear("altup_predict_coef", n_stream * n_stream, n_stream, false)?,
            correct: self.linear("altup_correct_coef", n_stream, n_stream, false)?,
            correct_scale: self.vectors("altup_correct_scale.weight", 1, n_embd)?,
            laurel: Laurel {
                left: self.linear("laurel_l", laurel_rank, n_embd, false)?,
                right: self.linear("laurel_r", n_embd, laurel_rank, false)?,
                post_norm: self.norm_of("laurel_post_norm", n_embd)?,
            },
        })
    }

    /// The embeddings of n-grams that this layer adds.
    #[inline(never)]
    pub fn ngram_embedding(&mut self, config: &NgramConfig) -> Result<NgramEmbedding<'a>, ModelError> {
        let n_embd = self.config.n_embd;
        let n_stream = self.config.hyper_connections.map_or(1, |hyper| hyper.n_stream);
        let table = Name::from("per_layer_token_embd.weight");
        let n_rows = self.tensors.rows_of(&table)?;
        if n_rows < config.n_rows() || config.heads.len() * config.row_len != n_embd {
            let expected = "a row for each head's last one, and rows that together are as wide as the stream";
            return Err(ModelError::InvalidKey { key: table, value: n_rows as f64, expected });
        }
        let mut norm = |part: &str| {
            let name = self.name(part);
            self.tensors.streams_norm(&name, n_stream, n_embd)
        };
        let norms =
            [norm("ple_norm_key.weight")?, norm("ple_norm_query.weight")?, norm("ple_norm_conv.weight")?];
        let convolution = self.name("ple_conv1d.weight");
        Ok(NgramEmbedding {
            table: self.tensors.matrix(&table, n_rows, config.row_len)?,
            key: self.linear("ple_key", n_stream * n_embd, n_embd, false)?,
            value: self.linear("ple_value", n_embd, n_embd, false)?,
            norms,
            convolution: self.tensors.matrix(&convolution, n_stream * n_embd, config.n_conv)?,
            first_history: self.layer.mixer.state(self.index).recurrent_shape().n_history,
        })
    }

    /// The indexer. Layers that attend to all positions have its tensors too.
    #[inline(never)]
    fn indexer(&mut self, config: Option<IndexerConfig>) -> Result<Option<Indexer<'a>>, ModelError> {
        let Some(config) = config else { return Ok(None) };
        let IndexerConfig { n_head, head_len, .. } = config;
        let n_embd = self.config.n_embd;
        Ok(Some(Indexer {
            config,
            wq: self.linear("indexer.q_proj", n_head * head_len, n_embd, false)?,
            wk: self.linear("indexer.k_proj", head_len, n_embd, false)?,
            q_norm: self.vectors("indexer.q_norm.weight", 1, head_len)?,
            k_norm: self.vectors("indexer.k_norm.weight", 1, head_len)?,
        }))
    }

    #[inline(never)]
    fn scores(&mut self, part: &str) -> Result<Option<&'a [f32]>, ModelError> {
        let name = self.name(Name::format(format_args!("{part}.weight")).as_str());
        self.tensors.vector(&name, self.config.n_embd).map(Some)
    }

    /// The factor in the file; or 1/2 after certain layers, in models that halve the stream there.
    fn output_scale(&mut self) -> Result<Option<f32>, ModelError> {
        let scale = self.tensors.optional_vector(&self.name("layer_output_scale.weight"), 1)?;
        let halves = self.config.n_layer_halving.is_some_and(|n| (self.index + 1).is_multiple_of(n));
        Ok(scale.map(|scale| scale[0]).or(halves.then_some(0.5)))
    }

    fn has_channel_mixer(&self) -> bool {
        self.layer.has_experts || self.layer.n_ff > 0
    }

    #[inline(never)]
    fn head_attention(&mut self, heads: HeadsConfig) -> Result<HeadAttention<'a>, ModelError> {
        let HeadsConfig { n_head, n_head_kv, head_len_k, head_len_v, has_rope, .. } = heads;
        let (wq, wk, wv) = self.qkv(heads)?;
        let q_norm = self.qk_norm("attn_q_norm", n_head, head_len_k, has_rope)?;
        let mut wo = self.linear(
            self.config.architecture.heads_output,
            self.config.n_embd,
            n_head * head_len_v,
            self.biased(),
        )?;
        if let Some(scale) = self.config.attention_output_scale {
            (wo.scale, wo.scales_bias) = (Some(scale * wo.scale.unwrap_or(1.0)), true);
        }
        let gate = match self.config.architecture.head_gate {
            HeadGate::Sigmoid | HeadGate::Softplus => {
                let rows = match self.tensors.rows_of(&self.name("attn_gate.weight"))? {
                    rows if rows == n_head => n_head,
                    _ => n_head * head_len_v,
                };
                Some(self.linear("attn_gate", rows, self.config.n_embd, false)?)
            }
            HeadGate::None | HeadGate::WithQuery => None,
        };
        Ok(HeadAttention {
            config: heads,
            wq,
            wk,
            wv,
            wo,
            gate,
            norm: match self.config.architecture.norms.heads {
                Some(part) => Some(self.norm_of(part, n_head * head_len_v)?),
                None => None,
            },
            q_norm,
            k_norm: match wk {
                None if !self.has("attn_k_norm.weight") => None,
                _ => self.qk_norm("attn_k_norm", n_head_kv, head_len_k, has_rope)?,
            },
            relative: self.relative_bias(n_head)?,
            sinks: self.tensors.optional_vector(&self.name("attn_sinks.weight"), n_head)?,
            indexer: self.indexer(heads.indexer)?,
        })
    }

    /// The bias of scores for each bucket of distances. Layers without one share that of the first layer.
    #[inline(never)]
    fn relative_bias(&mut self, n_head: usize) -> Result<Option<Vec<f32>>, ModelError> {
        const PART: &str = "attn_rel_b.weight";
        let Some(buckets) = &self.config.relative else { return Ok(None) };
        let n_buckets = buckets.n_buckets();
        let mut name = self.name(PART);
        if !self.tensors.has(name.as_str()) {
            name = Name::format(format_args!("{}.0.{PART}", self.config.architecture.layer_prefix));
        }
        let matrix = self.tensors.matrix(&name, n_buckets, n_head)?;
        let (mut bias, n) = (Vec::new(), n_buckets * n_head);
        bias.try_reserve_exact(n)
            .map_err(|_| ModelError::OutOfHeap { needed_bytes: n * size_of::<f32>() })?;
        bias.resize(n, 0.0);
        for (row, values) in bias.chunks_exact_mut(n_head.max(1)).enumerate() {
            matrix.dequantize_row(row, values);
        }
        Ok(Some(bias))
    }

    /// The projections to queries, keys and values: three tensors, or one that contains the rows of all three. Keys and
    /// values only if the layer has its own.
    #[inline(never)]
    fn qkv(
        &mut self,
        heads: HeadsConfig,
    ) -> Result<(Linear<'a>, Option<Linear<'a>>, Option<Linear<'a>>), ModelError> {
        let HeadsConfig { n_head, n_head_kv, head_len_k, head_len_v, is_gated, .. } = heads;
        let n_gates = if is_gated { n_head * head_len_k } else { 0 };
        let (n_q, n_k, n_v) = (n_head * head_len_k + n_gates, n_head_kv * head_len_k, n_head_kv * head_len_v);
        let n_embd = self.config.n_embd;
        let biased = self.config.architecture.biases == Biases::All;
        if self.has("attn_qkv.weight") {
            let third = n_q.max(n_k).max(n_v);
            let (k, v, n_rows) = match self.config.architecture.joint_rows {
                JointRows::All => (n_q, n_q + n_k, n_q + n_k + n_v),
                JointRows::First => (n_q, n_q + n_k, 3 * third),
                JointRows::EachWidth if 2 * n_embd + n_v > 3 * third => {
                    let key =
                        Name::format(format_args!("{}.attention.key_length", self.config.architecture.name));
                    let expected = "heads that are together as long as the model is wide";
                    return Err(ModelError::InvalidKey { key, value: head_len_k as f64, expected });
                }
                JointRows::EachWidth => (n_embd, 2 * n_embd, 3 * third),
            };
            let qkv = self.linear("attn_qkv", n_rows, n_embd, biased)?;
            let mut parts = [qkv.rows(0..n_q), qkv.rows(k..k + n_k), qkv.rows(v..v + n_v)];
            if qkv.bias.is_none() {
                // Biases can be separate even if the weights are in one tensor.
                for (part, name) in parts.iter_mut().zip(["attn_q.bias", "attn_k.bias", "attn_v.bias"]) {
                    part.bias = self.tensors.optional_vector(&self.name(name), part.weight.n_rows())?;
                }
            }
            let [q, k, v] = parts;
            let is_owner = heads.kv_layer == self.index;
            return Ok((q, is_owner.then_some(k), is_owner.then_some(v)));
        }
        let q = self.linear("attn_q", n_q, n_embd, biased)?;
        if heads.kv_layer != self.index {
            // Some files have tensors for keys and values that the layer does not use.
            for (part, rows) in [("attn_k", n_k), ("attn_v", n_v)] {
                if self.has(Name::format(format_args!("{part}.weight")).as_str()) {
                    self.linear(part, rows, n_embd, biased)?;
                }
            }
            return Ok((q, None, None));
        }
        let k = self.linear("attn_k", n_k, n_embd, biased)?;
        if self.config.architecture.normalises_values && n_k == n_v && !self.has("attn_v.weight") {
            return Ok((q, Some(k), None));
        }
        Ok((q, Some(k), Some(self.linear("attn_v", n_v, n_embd, biased)?)))
    }

    #[inline(never)]
    fn qk_norm(
        &mut self,
        part: &str,
        n_head: usize,
        head_len: usize,
        has_rope: bool,
    ) -> Result<Option<HeadNorm<'a>>, ModelError> {
        let name = self.name(Name::format(format_args!("{part}.weight")).as_str());
        match self.config.architecture.qk_norm {
            QkNorm::None => Ok(None),
            QkNorm::MaybeBeforeRope if !self.tensors.has(name.as_str()) => Ok(None),
            QkNorm::BeforeRopeFromLayers(n_layer) if self.config.layers.len() < n_layer.into() => Ok(None),
            QkNorm::AfterRopeWeightless => {
                let is_small = self.config.experts.is_none_or(|experts| experts.n_expert < 128);
                Ok((has_rope && is_small).then_some(HeadNorm::Head(None)))
            }
            QkNorm::AfterRopeByHead if part == "attn_q_norm" => {
                let factors = self.tensors.optional_vectors(&name, n_head, 1)?;
                Ok(Some(HeadNorm::Factor(factors.ok_or(ModelError::MissingTensor(name))?)))
            }
            QkNorm::AfterRopeByHead => Ok(Some(HeadNorm::Head(None))),
            QkNorm::BeforeRope
            | QkNorm::MaybeBeforeRope
            | QkNorm::BeforeRopeFromLayers(_)
            | QkNorm::AfterRope => {
                let bias = self.name(Name::format(format_args!("{part}.bias")).as_str());
                self.tensors.head_norm([&name, &bias], n_head, head_len).map(Some)
            }
        }
    }

    #[inline(never)]
    fn latent_attention(&mut self, latent: LatentConfig) -> Result<LatentAttention<'a>, ModelError> {
        let LatentConfig { n_head, q_lora_rank, kv_lora_rank, n_rot, head_len_k, head_len_v, .. } = latent;
        let n_embd = self.config.n_embd;
        let (wq_a, q_b) = match q_lora_rank {
            Some(rank) => {
                let norm = self.norm_of("attn_q_a_norm", rank)?;
                let wq_b = self.linear("attn_q_b", n_head * head_len_k, rank, false)?;
                (self.linear("attn_q_a", rank, n_embd, false)?, Some((norm, wq_b)))
            }
            None => (self.linear("attn_q", n_head * head_len_k, n_embd, false)?, None),
        };
        let n_nope = head_len_k - n_rot;
        let expansion = match latent.is_expanded {
            true => Expansion::Expanded(self.tensors.matrix(
                &self.name("attn_kv_b.weight"),
                n_head * (n_nope + head_len_v),
                kv_lora_rank,
            )?),
            false => Expansion::Absorbed {
                wk_b: self.tensors.stack(&self.name("attn_k_b.weight"), n_head, kv_lora_rank, n_nope)?,
                wv_b: self.tensors.stack(&self.name("attn_v_b.weight"), n_head, head_len_v, kv_lora_rank)?,
            },
        };
        Ok(LatentAttention {
            config: latent,
            wq_a,
            q_b,
            wkv_a: self.linear("attn_kv_a_mqa", kv_lora_rank + n_rot, n_embd, false)?,
            kv_a_norm: self.norm_of("attn_kv_a_norm", kv_lora_rank)?,
            expansion,
            gate: match latent.n_gate {
                0 => None,
                n_gate => Some(self.linear("attn_gate", n_head * n_gate, n_embd, false)?),
            },
            wo: self.linear("attn_output", n_embd, n_head * head_len_v, false)?,
        })
    }

    #[inline(never)]
    fn feed_forward(&mut self) -> Result<DenseFeedForward<'a>, ModelError> {
        let (n_embd, n_ff) = (self.config.n_embd, self.layer.n_ff);
        let biased = self.biased();
        let mut activation = self.dense_activation();
        let (gate, up) = match self.config.architecture.feed_forward {
            FeedForwardKind::None | FeedForwardKind::ChannelMix | FeedForwardKind::Plain => {
                (None, self.linear("ffn_up", n_ff, n_embd, biased)?)
            }
            FeedForwardKind::Gated | FeedForwardKind::HalfGated | FeedForwardKind::GatedOrBare => (
                Some(self.linear("ffn_gate", n_ff, n_embd, biased)?),
                self.linear("ffn_up", n_ff, n_embd, biased)?,
            ),
            FeedForwardKind::ByTensors { .. } if self.has("ffn_gate.weight") => (
                Some(self.linear("ffn_gate", n_ff, n_embd, false)?),
                self.linear("ffn_up", n_ff, n_embd, biased)?,
            ),
            FeedForwardKind::ByTensors { plain }
                if self.tensors.rows_of(&self.name("ffn_up.weight"))? != 2 * n_ff =>
            {
                activation = plain;
                (None, self.linear("ffn_up", n_ff, n_embd, biased)?)
            }
            FeedForwardKind::FusedGated | FeedForwardKind::ByTensors { .. } => {
                let fused = self.linear("ffn_up", 2 * n_ff, n_embd, biased)?;
                (Some(fused.rows(0..n_ff)), fused.rows(n_ff..2 * n_ff))
            }
        };
        Ok(DenseFeedForward {
            gate,
            up,
            down: self.linear("ffn_down", n_embd, n_ff, biased)?,
            activation,
            divisors: self.tensors.optional_vector(&self.name("ffn.act.scales"), n_ff)?,
            hidden_norm: match self.config.architecture.norms.hidden {
                Some(part) => Some(self.norm_of(part, n_ff)?),
                None => None,
            },
            gate_cutoff: self.layer.gate_cutoff,
        })
    }

    /// The nonlinearity of blocks that all tokens are sent to.
    fn dense_activation(&self) -> Activation {
        match (self.layer.xielu, self.layer.dense_limit) {
            (Some(xielu), _) => Activation::Xielu(xielu),
            (None, Some(limit)) => Activation::ClampedOutput(limit),
            (None, None) => self.config.activation,
        }
    }

    /// The block beside the experts, if the file has one.
    #[inline(never)]
    fn shared_expert(&mut self, shared: SharedExpert) -> Result<Option<DenseFeedForward<'a>>, ModelError> {
        let SharedExpert { parts, is_fused, .. } = shared;
        let n_embd = self.config.n_embd;
        let weight = |part: &str| Name::format(format_args!("{part}.weight"));
        if !parts.iter().any(|part| self.has(weight(part).as_str())) {
            return Ok(None);
        }
        let [gate, up, down] = parts;
        let (gate, up) = match is_fused {
            true => {
                let n_ff = self.tensors.rows_of(&self.name(weight(up).as_str()))? / 2;
                let fused = self.linear(up, 2 * n_ff, n_embd, false)?;
                (Some(fused.rows(0..n_ff)), fused.rows(n_ff..2 * n_ff))
            }
            false => {
                let n_ff = self.tensors.rows_of(&self.name(weight(up).as_str()))?;
                // It is gated if the experts are.
                let is_gated = self.has(weight(gate).as_str())
                    || self.has("ffn_gate_exps.weight")
                    || self.config.architecture.routing.is_none_or(|routing| !routing.gate_is_optional);
                let gate = match is_gated {
                    true => Some(self.linear(gate, n_ff, n_embd, false)?),
                    false => None,
                };
                (gate, self.linear(up, n_ff, n_embd, false)?)
            }
        };
        Ok(Some(DenseFeedForward {
            gate,
            up,
            down: self.linear(down, n_embd, up.weight.n_rows(), false)?,
            activation: self.dense_activation(),
            divisors: None,
            hidden_norm: None,
            gate_cutoff: None,
        }))
    }

    #[inline(never)]
    fn experts(&mut self, config: &ExpertConfig) -> Result<Experts<'a>, ModelError> {
        let (n_embd, n_expert) = (self.config.n_embd, config.n_expert);
        let routing = self.config.architecture.routing;
        let latent = self.expert_latent(config.n_latent)?;
        let shared = match routing {
            Some(routing) => self.shared_expert(routing.shared)?,
            None => None,
        };
        if routing.is_some_and(|routing| routing.layers == ExpertLayers::WithRouter) {
            for part in FFN_PARTS {
                self.leave(part);
            }
        }
        Ok(Experts {
            config: ExpertConfig { n_expert_used: self.layer.n_expert_used, ..*config },
            router: self.linear("ffn_gate_inp", n_expert, n_embd, false)?,
            selection_bias: match self.tensors.optional_vector(&self.name("exp_probs_b.bias"), n_expert)? {
                None => self.tensors.optional_vector(&self.name("exp_probs_b"), n_expert)?,
                bias => bias,
            },
            block: self.expert_block(
                n_expert,
                EXPERT_PARTS,
                if latent.is_some() { config.n_latent } else { n_embd },
            )?,
            latent,
            chunks: match config.chunks {
                Some(chunks) => {
                    Some((chunks, self.expert_block(n_expert / chunks.n_expert, CHUNK_PARTS, n_embd)?))
                }
                None => None,
            },
            shared_gate: match shared {
                Some(_) => self.tensors.optional_row(&self.name("ffn_gate_inp_shexp.weight"), n_embd)?,
                None => None,
            },
            shared,
        })
    }

    /// The compression of tokens to this width for experts, in models that have one. Its tensors have two possible
    /// names.
    #[inline(never)]
    fn expert_latent(&mut self, n_latent: usize) -> Result<Option<ExpertLatent<'a>>, ModelError> {
        let n_embd = self.config.n_embd;
        let [down, norm, up] = match self.config.architecture.reads(LATENT_KEYS[0]) {
            _ if n_latent == 0 => return Ok(None),
            true => ["ffn_latent_down", "ffn_latent_norm", "ffn_latent_up"],
            false => ["ffn_routed_down", "ffn_routed_norm", "ffn_routed_up"],
        };
        Ok(Some(ExpertLatent {
            down: self.linear(down, n_latent, n_embd, false)?,
            norm: match self.has(Name::format(format_args!("{norm}.weight")).as_str()) {
                true => Some(self.norm_of(norm, n_latent)?),
                false => None,
            },
            up: self.linear(up, n_embd, n_latent, false)?,
        }))
    }

    /// The feed-forward blocks of `n_expert` experts. Families have different keys for their width, so it is taken from
    /// the tensors, which must agree.
    #[inline(never)]
    fn expert_block(
        &mut self,
        n_expert: usize,
        [gate, up, down, fused]: [&str; 4],
        n_embd: usize,
    ) -> Result<ExpertBlock<'a>, ModelError> {
        let weight = |part: &str| Name::format(format_args!("{part}.weight"));
        let (gate, up) = match self.has(weight(fused).as_str()) {
            true => {
                let n_ff = self.tensors.rows_of(&self.name(weight(fused).as_str()))? / 2;
                let both = self.expert_linear(fused, n_expert, 2 * n_ff, n_embd)?;
                (Some(both.part(0, n_ff)), both.part(n_ff, n_ff))
            }
            false => {
                let n_ff = self.tensors.rows_of(&self.name(weight(up).as_str()))?;
                let is_gated = self.has(weight(gate).as_str())
                    || self.config.architecture.routing.is_none_or(|routing| !routing.gate_is_optional);
                let gate = match is_gated {
                    true => Some(self.expert_linear(gate, n_expert, n_ff, n_embd)?),
                    false => None,
                };
                (gate, self.expert_linear(up, n_expert, n_ff, n_embd)?)
            }
        };
        Ok(ExpertBlock {
            gate,
            up,
            down: self.expert_linear(down, n_expert, n_embd, up.n_rows())?,
            activation: match self.layer.gate_limit {
                Some(limit) if self.config.architecture.clamps_after => Activation::ClampedOutput(limit),
                Some(limit) => Activation::ClampedSilu(limit),
                None => self.config.activation,
            },
        })
    }

    #[inline(never)]
    pub(super) fn name(&self, part: &str) -> Name {
        Name::format(format_args!("{}.{}.{part}", self.config.architecture.layer_prefix, self.layer.block))
    }

    /// A part under the name of its factors: each layer has its own, even if several layers share a block.
    #[inline(never)]
    fn scaled_name(&self, part: &str) -> Name {
        Name::format(format_args!("blk.{}.{part}", self.index))
    }

    /// Ignores the tensors of a part.
    #[inline(never)]
    fn leave(&mut self, part: &str) {
        let beginning = self.name(Name::format(format_args!("{part}.")).as_str());
        self.tensors.leave(beginning.as_str());
    }

    #[inline(never)]
    pub(super) fn has(&self, part: &str) -> bool {
        self.tensors.has(self.name(part).as_str())
    }

    /// Whether projections other than those to queries, keys and values must have biases.
    fn biased(&self) -> bool {
        self.config.architecture.biases != Biases::Optional
    }

    #[inline(never)]
    pub(super) fn linear(
        &mut self,
        part: &str,
        rows: usize,
        cols: usize,
        bias_is_required: bool,
    ) -> Result<Linear<'a>, ModelError> {
        let of_part = |what: &str| self.name(Name::format(format_args!("{part}.{what}")).as_str());
        let (weight, bias) = (of_part("weight"), of_part("bias"));
        let scale = self.tensors.scale(self.scaled_name(part).as_str())?;
        Ok(Linear {
            weight: self.tensors.matrix(&weight, rows, cols)?,
            scale: scale.filter(|_| self.config.architecture.scales(part)),
            scales_bias: FFN_PARTS.contains(&part),
            bias: match bias_is_required {
                true => Some(self.tensors.vector(&bias, rows)?),
                false => self.tensors.optional_vector(&bias, rows)?,
            },
            tensor: self.tensors.adaptable(&weight),
            first_row: 0,
        })
    }

    /// One matrix per expert, each with a factor and a bias if the file has them.
    #[inline(never)]
    fn expert_linear(
        &mut self,
        part: &str,
        n_expert: usize,
        rows: usize,
        cols: usize,
    ) -> Result<ExpertLinear<'a>, ModelError> {
        let of_part = |what: &str| self.name(Name::format(format_args!("{part}.{what}")).as_str());
        let (weight, bias) = (of_part("weight"), of_part("bias"));
        let scales = self.tensors.scales(self.scaled_name(part).as_str(), n_expert)?;
        let scales = scales.filter(|_| self.config.architecture.scales(part));
        let all = Linear {
            weight: self.tensors.stack(&weight, n_expert, rows, cols)?,
            scale: None,
            scales_bias: false,
            bias: self.tensors.optional_vectors(&bias, n_expert, rows)?,
            tensor: self.tensors.adaptable(&weight),
            first_row: 0,
        };
        Ok(ExpertLinear::new(all, scales, rows))
    }

    #[inline(never)]
    fn optional_norm(&mut self, part: Option<&str>) -> Result<Option<Norm<'a>>, ModelError> {
        part.map(|part| self.norm(part)).transpose()
    }

    #[inline(never)]
    fn norm(&mut self, part: &str) -> Result<Norm<'a>, ModelError> {
        let weights = self.config.architecture.norm_weights;
        let other = OTHER_NAMES.iter().find(|(name, _)| *name == part).map(|(_, other)| *other);
        let has = |part: &str| self.has(Name::format(format_args!("{part}.weight")).as_str());
        let part = other.filter(|other| !has(part) && has(other)).unwrap_or(part);
        self.tensors.norm(self.name(part).as_str(), weights, self.config.n_embd)
    }

    /// A normalisation that some files of the family lack, together with its summand.
    #[inline(never)]
    fn extra_norm(&mut self, part: &str) -> Result<Norm<'a>, ModelError> {
        self.tensors.norm(self.name(part).as_str(), NormWeights::WeightMaybeBias, self.config.n_embd)
    }

    /// A normalisation of a row of this length, without a summand.
    #[inline(never)]
    pub(super) fn norm_of(&mut self, part: &str, len: usize) -> Result<Norm<'a>, ModelError> {
        self.tensors.norm(self.name(part).as_str(), NormWeights::Weight, len)
    }
}
