//! A model's tensors, borrowed from the file and checked against its hyper-parameters.
//!
//! [`Weights`] can only be made whole: every tensor that the family requires is there with its right
//! shape, and no tensor is left over. Fused tensors are taken apart here, so that the forward pass
//! knows one form only.

use alloc::vec::Vec;

use super::architecture::{AttentionKind, Biases, Block, FeedForwardKind, NormWeights, Positions, QkNorm};
use super::config::{Config, LatentConfig};
use super::error::ModelError;
use super::expert_config::ExpertConfig;
use super::layer_config::LayerConfig;
use super::tensors::Tensors;
use crate::gguf::{Gguf, Name};
use crate::quant::Matrix;

/// All tensors of a model.
#[derive(Debug)]
pub struct Weights<'a> {
    /// One row of `n_embd` per token.
    pub token_embd: Matrix<'a>,
    /// Of the token's embedding, in families that have one.
    pub token_embd_norm: Option<Norm<'a>>,
    /// `[n_embd]`: the type of a text's tokens, in encoders.
    pub token_type: Option<Matrix<'a>>,
    /// One row of `n_embd` per position, in families with learned positions.
    pub position_embd: Option<Matrix<'a>>,
    /// The layers, first to last.
    pub layers: Vec<Layer<'a>>,
    /// The normalisation before the output matrix; none in encoders.
    pub output_norm: Option<Norm<'a>>,
    /// `[n_vocab × n_embd]`: the output matrix; the embedding again where the file has none. None in
    /// encoders.
    pub output: Option<Linear<'a>>,
    /// What the rotary frequencies are divided by.
    pub rope_factors: RopeFactors<'a>,
    /// The tokens' embeddings for each layer, in models that have such.
    pub per_layer: Option<PerLayerEmbedding<'a>>,
}

/// What the rotary frequencies are divided by, `[n_rot / 2]` each.
#[derive(Debug, Clone, Copy, Default)]
pub struct RopeFactors<'a> {
    /// At any length of the context (Llama 3).
    pub always: Option<&'a [f32]>,
    /// In a context no longer than the original one (Phi 3).
    pub short: Option<&'a [f32]>,
    /// In a longer one.
    pub long: Option<&'a [f32]>,
}

/// One layer: a sequence mixer, then a channel mixer.
#[derive(Debug)]
pub struct Layer<'a> {
    /// Of what the sequence mixer reads.
    pub attn_norm: Option<Norm<'a>>,
    /// The sequence mixer.
    pub attention: Attention<'a>,
    /// Of what the sequence mixer gives.
    pub attn_post_norm: Option<Norm<'a>>,
    /// Of what the channel mixer reads.
    pub ffn_norm: Option<Norm<'a>>,
    /// The channel mixer.
    pub feed_forward: FeedForward<'a>,
    /// Of what the channel mixer gives.
    pub ffn_post_norm: Option<Norm<'a>>,
    /// What a token's embedding for this layer adds, in models that have such.
    pub per_layer_input: Option<PerLayerInput<'a>>,
    /// `[1]`: what the stream is multiplied by after the layer.
    pub output_scale: Option<&'a [f32]>,
}

/// How a token's embedding for one layer enters its stream (Gemma 3n).
#[derive(Debug)]
pub struct PerLayerInput<'a> {
    /// `[n_embd_per_layer × n_embd]`
    pub gate: Linear<'a>,
    /// `[n_embd × n_embd_per_layer]`
    pub projection: Linear<'a>,
    /// Of what is added.
    pub post_norm: Norm<'a>,
}

/// The embeddings that tokens have for each layer (Gemma 3n).
#[derive(Debug)]
pub struct PerLayerEmbedding<'a> {
    /// One row of `n_layer · n_embd_per_layer` per token.
    pub token_embd: Matrix<'a>,
    /// `[n_layer · n_embd_per_layer × n_embd]`: from the token's own embedding.
    pub model_projection: Linear<'a>,
    /// Of each layer's part of the projection, `[n_embd_per_layer]`.
    pub projection_norm: Norm<'a>,
}

/// The forms of attention.
#[derive(Debug)]
pub enum Attention<'a> {
    /// With keys and values per head.
    Heads(HeadAttention<'a>),
    /// With keys and values compressed to one vector.
    Latent(LatentAttention<'a>),
}

/// Attention with keys and values per head.
#[derive(Debug)]
pub struct HeadAttention<'a> {
    /// `[n_head · head_len_k × n_embd]`
    pub wq: Linear<'a>,
    /// `[n_head_kv · head_len_k × n_embd]`; none in layers that use another layer's keys and values.
    pub wk: Option<Linear<'a>>,
    /// `[n_head_kv · head_len_v × n_embd]`; none where the keys are the values.
    pub wv: Option<Linear<'a>>,
    /// `[n_embd × n_head · head_len_v]`
    pub wo: Linear<'a>,
    /// Of the queries.
    pub q_norm: Option<HeadNorm<'a>>,
    /// Of the keys.
    pub k_norm: Option<HeadNorm<'a>>,
    /// `[n_head]`: a score that takes its share of the softmax and gives nothing (gpt-oss).
    pub sinks: Option<&'a [f32]>,
}

/// Attention with keys and values compressed to one vector (DeepSeek-AI 2024), the matrices that
/// would expand them multiplied into queries and outputs instead.
#[derive(Debug)]
pub struct LatentAttention<'a> {
    /// From the stream to the queries, or to their compressed form.
    pub wq_a: Linear<'a>,
    /// Of the compressed queries, and the matrix that expands them; none where queries are not
    /// compressed.
    pub q_b: Option<(Norm<'a>, Linear<'a>)>,
    /// `[kv_lora_rank + n_rot × n_embd]`
    pub wkv_a: Linear<'a>,
    /// Of the compressed keys and values, `[kv_lora_rank]`.
    pub kv_a_norm: Norm<'a>,
    /// Of each head, `[kv_lora_rank × head_len_k - n_rot]`: queries to the compressed space.
    pub wk_b: Matrix<'a>,
    /// Of each head, `[head_len_v × kv_lora_rank]`: out of the compressed space.
    pub wv_b: Matrix<'a>,
    /// `[n_embd × n_head · head_len_v]`
    pub wo: Linear<'a>,
}

/// The forms of the channel mixer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per layer, in a table that is made once")]
pub enum FeedForward<'a> {
    /// One block for all tokens.
    Dense(DenseFeedForward<'a>),
    /// A mixture of experts.
    Experts(Experts<'a>),
}

/// A feed-forward block.
#[derive(Debug, Clone, Copy)]
pub struct DenseFeedForward<'a> {
    /// `[n_ff × n_embd]`, where the block is gated.
    pub gate: Option<Linear<'a>>,
    /// `[n_ff × n_embd]`
    pub up: Linear<'a>,
    /// `[n_embd × n_ff]`
    pub down: Linear<'a>,
}

/// A mixture of experts (Shazeer et al. 2017).
#[derive(Debug)]
pub struct Experts<'a> {
    /// `[n_expert × n_embd]`
    pub router: Linear<'a>,
    /// `[n_expert]`: added to the probabilities for the choice only.
    pub selection_bias: Option<&'a [f32]>,
    /// Of each expert, `[n_ff × n_embd]`, its bias `[n_ff]`.
    pub gate: Linear<'a>,
    /// Of each expert, `[n_ff × n_embd]`, its bias `[n_ff]`.
    pub up: Linear<'a>,
    /// Of each expert, `[n_embd × n_ff]`, its bias `[n_embd]`.
    pub down: Linear<'a>,
    /// The expert that every token is sent to.
    pub shared: Option<DenseFeedForward<'a>>,
    /// `[1 × n_embd]`: gates the shared expert, through a sigmoid.
    pub shared_gate: Option<Matrix<'a>>,
}

/// An affine map: `W x + b`.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// `W`, one row per output.
    pub weight: Matrix<'a>,
    /// `b`, one element per output.
    pub bias: Option<&'a [f32]>,
}

/// The learned part of a normalisation, of the row's length each.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Multiplied with.
    pub weight: Option<&'a [f32]>,
    /// Added.
    pub bias: Option<&'a [f32]>,
}

/// A normalisation of queries or keys.
#[derive(Debug, Clone, Copy)]
pub enum HeadNorm<'a> {
    /// Of each head, `[head_len]`, or without weights.
    Head(Option<&'a [f32]>),
    /// Of each head with weights of its own, `[n_head][head_len]`.
    OwnHead(&'a [f32]),
    /// Of the row of all heads, `[n_head · head_len]`.
    Row(&'a [f32]),
}

impl<'a> Linear<'a> {
    /// The outputs `range` alone.
    pub fn rows(&self, range: core::ops::Range<usize>) -> Self {
        Linear { weight: self.weight.rows(range.clone()), bias: self.bias.map(|bias| &bias[range]) }
    }
}

impl<'a> Weights<'a> {
    pub(super) fn load(gguf: &Gguf<'a>, config: &Config) -> Result<Self, ModelError> {
        let mut tensors = Tensors::new(gguf)?;
        let (n_vocab, n_embd) = (config.n_vocab, config.n_embd);
        require(&tensors, config)?;
        let token_embd = tensors.matrix(&Name::from("token_embd.weight"), n_vocab, n_embd)?;
        let mut layers = Vec::new();
        let needed_bytes = config.layers.len() * size_of::<Layer<'_>>();
        layers.try_reserve_exact(config.layers.len()).map_err(|_| ModelError::OutOfHeap { needed_bytes })?;
        for (index, layer) in config.layers.iter().enumerate() {
            layers.push(LayerTensors { tensors: &mut tensors, config, layer, index }.load()?);
        }
        let output = match config.is_encoder() {
            true => None,
            false => Some(Linear {
                weight: tensors
                    .optional_matrix(&Name::from("output.weight"), n_vocab, n_embd)?
                    .unwrap_or(token_embd),
                bias: tensors.optional_vector(&Name::from("output.bias"), n_vocab)?,
            }),
        };
        let n_pairs = config.rope.as_ref().map_or(0, |rope| rope.n_rot / 2);
        let mut factors = |name| tensors.optional_vector(&Name::from(name), n_pairs);
        let rope_factors = RopeFactors {
            always: factors("rope_freqs.weight")?,
            short: factors("rope_factors_short.weight")?,
            long: factors("rope_factors_long.weight")?,
        };
        let norm_weights = config.architecture.norm_weights;
        let weights = Weights {
            token_embd,
            token_embd_norm: match tensors.has("token_embd_norm.weight") {
                true => Some(tensors.norm("token_embd_norm", norm_weights, n_embd)?),
                false => None,
            },
            token_type: tensors.optional_rows(&Name::from("token_types.weight"), n_embd)?,
            position_embd: match config.architecture.positions {
                Positions::Learned => {
                    Some(tensors.matrix(&Name::from("position_embd.weight"), config.n_ctx_train, n_embd)?)
                }
                _ => None,
            },
            layers,
            output_norm: match config.is_encoder() {
                true => None,
                false => Some(tensors.norm("output_norm", norm_weights, n_embd)?),
            },
            output,
            rope_factors,
            per_layer: match config.n_embd_per_layer {
                Some(len) => Some(per_layer_embedding(&mut tensors, config, len)?),
                None => None,
            },
        };
        tensors.all_taken(config.layers.len()..config.layers.len() + config.n_nextn)?;
        Ok(weights)
    }
}

/// Fails if a tensor is missing that other families do without.
fn require(tensors: &Tensors<'_, '_>, config: &Config) -> Result<(), ModelError> {
    let required = config.architecture.required;
    for name in required.model {
        tensors.require(&Name::from(*name))?;
    }
    for (index, layer) in config.layers.iter().enumerate() {
        let of_experts = if layer.has_experts { required.expert_layer } else { &[] };
        for part in required.layer.iter().chain(of_experts) {
            tensors.require(&Name::format(format_args!("blk.{index}.{part}")))?;
        }
    }
    Ok(())
}

fn per_layer_embedding<'a>(
    tensors: &mut Tensors<'_, 'a>,
    config: &Config,
    len: usize,
) -> Result<PerLayerEmbedding<'a>, ModelError> {
    let n_all = config.layers.len() * len;
    Ok(PerLayerEmbedding {
        token_embd: tensors.matrix(&Name::from("per_layer_token_embd.weight"), config.n_vocab, n_all)?,
        model_projection: Linear {
            weight: tensors.matrix(&Name::from("per_layer_model_proj.weight"), n_all, config.n_embd)?,
            bias: None,
        },
        projection_norm: tensors.norm("per_layer_proj_norm", NormWeights::Weight, len)?,
    })
}

/// Takes the tensors of one layer.
struct LayerTensors<'t, 'g, 'a> {
    tensors: &'t mut Tensors<'g, 'a>,
    config: &'t Config,
    layer: &'t LayerConfig,
    index: usize,
}

impl<'a> LayerTensors<'_, '_, 'a> {
    fn load(mut self) -> Result<Layer<'a>, ModelError> {
        let norms = self.config.architecture.norms;
        let (attn_norm, ffn_norm) = match self.config.block {
            Block::Parallel if self.has("attn_norm_2.weight") => {
                // Falcon's second normalisation is the one of attention.
                (Some(self.norm("attn_norm_2")?), Some(self.norm("attn_norm")?))
            }
            Block::Parallel if !self.has("ffn_norm.weight") => (self.optional_norm(norms.attn)?, None),
            _ => (self.optional_norm(norms.attn)?, self.optional_norm(norms.ffn)?),
        };
        Ok(Layer {
            attn_norm,
            attention: match (self.config.architecture.attention, self.config.latent) {
                (AttentionKind::Latent, Some(latent)) => Attention::Latent(self.latent_attention(latent)?),
                _ => Attention::Heads(self.head_attention()?),
            },
            attn_post_norm: self.optional_norm(norms.attn_post)?,
            ffn_norm,
            feed_forward: match (self.layer.has_experts, self.config.experts) {
                (true, Some(experts)) => FeedForward::Experts(self.experts(&experts)?),
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
            output_scale: self.tensors.optional_vector(&self.name("layer_output_scale.weight"), 1)?,
        })
    }

    fn head_attention(&mut self) -> Result<HeadAttention<'a>, ModelError> {
        let LayerConfig { n_head, n_head_kv, head_len_k, head_len_v, .. } = *self.layer;
        let (wq, wk, wv) = self.qkv()?;
        let all_biases = self.config.architecture.biases == Biases::All;
        let q_norm = self.qk_norm("attn_q_norm.weight", n_head, head_len_k)?;
        Ok(HeadAttention {
            wq,
            wk,
            wv,
            wo: self.linear("attn_output", self.config.n_embd, n_head * head_len_v, all_biases)?,
            q_norm,
            k_norm: match wk {
                Some(_) => self.qk_norm("attn_k_norm.weight", n_head_kv, head_len_k)?,
                None => None,
            },
            sinks: self.tensors.optional_vector(&self.name("attn_sinks.weight"), n_head)?,
        })
    }

    /// The projections to queries, keys and values: three tensors, or one with their rows in turn; keys
    /// and values only where the layer has its own.
    fn qkv(&mut self) -> Result<(Linear<'a>, Option<Linear<'a>>, Option<Linear<'a>>), ModelError> {
        let LayerConfig { n_head, n_head_kv, head_len_k, head_len_v, .. } = *self.layer;
        let (n_q, n_k, n_v) = (n_head * head_len_k, n_head_kv * head_len_k, n_head_kv * head_len_v);
        let n_embd = self.config.n_embd;
        let biased = self.config.architecture.biases != Biases::Optional;
        if self.has("attn_qkv.weight") {
            let qkv = self.linear("attn_qkv", n_q + n_k + n_v, n_embd, biased)?;
            let (k, v) = (qkv.rows(n_q..n_q + n_k), qkv.rows(n_q + n_k..n_q + n_k + n_v));
            return Ok((qkv.rows(0..n_q), Some(k), Some(v)));
        }
        let q = self.linear("attn_q", n_q, n_embd, biased)?;
        if self.layer.kv_layer != self.index {
            return Ok((q, None, None));
        }
        let k = self.linear("attn_k", n_k, n_embd, biased)?;
        if self.config.architecture.normalises_values && n_k == n_v && !self.has("attn_v.weight") {
            return Ok((q, Some(k), None));
        }
        Ok((q, Some(k), Some(self.linear("attn_v", n_v, n_embd, biased)?)))
    }

    fn qk_norm(
        &mut self,
        part: &str,
        n_head: usize,
        head_len: usize,
    ) -> Result<Option<HeadNorm<'a>>, ModelError> {
        let name = self.name(part);
        match self.config.architecture.qk_norm {
            QkNorm::None => Ok(None),
            QkNorm::MaybeBeforeRope if !self.tensors.has(name.as_str()) => Ok(None),
            QkNorm::BeforeRopeFromLayers(n_layer) if self.config.layers.len() < n_layer => Ok(None),
            QkNorm::AfterRopeWeightless => {
                let has_norm =
                    self.layer.has_rope && self.config.experts.is_none_or(|experts| experts.n_expert < 128);
                Ok(has_norm.then_some(HeadNorm::Head(None)))
            }
            QkNorm::BeforeRope
            | QkNorm::MaybeBeforeRope
            | QkNorm::BeforeRopeFromLayers(_)
            | QkNorm::AfterRope => self.tensors.head_norm(&name, n_head, head_len).map(Some),
        }
    }

    fn latent_attention(&mut self, latent: LatentConfig) -> Result<LatentAttention<'a>, ModelError> {
        let LatentConfig { q_lora_rank, kv_lora_rank, head_len_k, head_len_v } = latent;
        let (n_embd, n_head) = (self.config.n_embd, self.layer.n_head);
        let n_rot = self.config.rope.as_ref().map_or(0, |rope| rope.n_rot);
        let (wq_a, q_b) = match q_lora_rank {
            Some(rank) => {
                let norm = self.norm_of("attn_q_a_norm", rank)?;
                let wq_b = self.linear("attn_q_b", n_head * head_len_k, rank, false)?;
                (self.linear("attn_q_a", rank, n_embd, false)?, Some((norm, wq_b)))
            }
            None => (self.linear("attn_q", n_head * head_len_k, n_embd, false)?, None),
        };
        let (wk_b, wv_b) = (self.name("attn_k_b.weight"), self.name("attn_v_b.weight"));
        Ok(LatentAttention {
            wq_a,
            q_b,
            wkv_a: self.linear("attn_kv_a_mqa", kv_lora_rank + n_rot, n_embd, false)?,
            kv_a_norm: self.norm_of("attn_kv_a_norm", kv_lora_rank)?,
            wk_b: self.tensors.stack(&wk_b, n_head, kv_lora_rank, head_len_k - n_rot)?,
            wv_b: self.tensors.stack(&wv_b, n_head, head_len_v, kv_lora_rank)?,
            wo: self.linear("attn_output", n_embd, n_head * head_len_v, false)?,
        })
    }

    fn feed_forward(&mut self) -> Result<DenseFeedForward<'a>, ModelError> {
        let (n_embd, n_ff) = (self.config.n_embd, self.layer.n_ff);
        let biased = self.config.architecture.biases == Biases::All;
        let (gate, up) = match self.config.architecture.feed_forward {
            FeedForwardKind::Plain => (None, self.linear("ffn_up", n_ff, n_embd, biased)?),
            FeedForwardKind::Gated | FeedForwardKind::HalfGated => (
                Some(self.linear("ffn_gate", n_ff, n_embd, biased)?),
                self.linear("ffn_up", n_ff, n_embd, biased)?,
            ),
            FeedForwardKind::FusedGated => {
                let fused = self.linear("ffn_up", 2 * n_ff, n_embd, biased)?;
                (Some(fused.rows(0..n_ff)), fused.rows(n_ff..2 * n_ff))
            }
        };
        Ok(DenseFeedForward { gate, up, down: self.linear("ffn_down", n_embd, n_ff, biased)? })
    }

    fn experts(&mut self, config: &ExpertConfig) -> Result<Experts<'a>, ModelError> {
        let (n_embd, n_expert) = (self.config.n_embd, config.n_expert);
        // The width is not the same key in every family; the tensors agree on it among themselves.
        let n_ff = self.tensors.rows_of(&self.name("ffn_up_exps.weight"))?;
        let shared_parts = ["ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight"];
        let shared = match shared_parts.iter().any(|part| self.has(part)) {
            true => {
                let n_ff = self.tensors.rows_of(&self.name("ffn_up_shexp.weight"))?;
                Some(DenseFeedForward {
                    gate: Some(self.linear("ffn_gate_shexp", n_ff, n_embd, false)?),
                    up: self.linear("ffn_up_shexp", n_ff, n_embd, false)?,
                    down: self.linear("ffn_down_shexp", n_embd, n_ff, false)?,
                })
            }
            false => None,
        };
        Ok(Experts {
            router: self.linear("ffn_gate_inp", n_expert, n_embd, false)?,
            selection_bias: self.tensors.optional_vector(&self.name("exp_probs_b.bias"), n_expert)?,
            gate: self.stacked_linear("ffn_gate_exps", n_expert, n_ff, n_embd)?,
            up: self.stacked_linear("ffn_up_exps", n_expert, n_ff, n_embd)?,
            down: self.stacked_linear("ffn_down_exps", n_expert, n_embd, n_ff)?,
            shared_gate: match shared {
                Some(_) => self.tensors.optional_row(&self.name("ffn_gate_inp_shexp.weight"), n_embd)?,
                None => None,
            },
            shared,
        })
    }

    fn name(&self, part: &str) -> Name {
        Name::format(format_args!("blk.{}.{part}", self.index))
    }

    fn has(&self, part: &str) -> bool {
        self.tensors.has(self.name(part).as_str())
    }

    fn linear(
        &mut self,
        part: &str,
        rows: usize,
        cols: usize,
        bias_is_required: bool,
    ) -> Result<Linear<'a>, ModelError> {
        let bias = self.name(Name::format(format_args!("{part}.bias")).as_str());
        Ok(Linear {
            weight: self.tensors.matrix(
                &self.name(Name::format(format_args!("{part}.weight")).as_str()),
                rows,
                cols,
            )?,
            bias: match bias_is_required {
                true => Some(self.tensors.vector(&bias, rows)?),
                false => self.tensors.optional_vector(&bias, rows)?,
            },
        })
    }

    /// A matrix per expert, with a bias each where the file has them.
    fn stacked_linear(
        &mut self,
        part: &str,
        n_expert: usize,
        rows: usize,
        cols: usize,
    ) -> Result<Linear<'a>, ModelError> {
        let (weight, bias) = (
            self.name(Name::format(format_args!("{part}.weight")).as_str()),
            self.name(Name::format(format_args!("{part}.bias")).as_str()),
        );
        Ok(Linear {
            weight: self.tensors.stack(&weight, n_expert, rows, cols)?,
            bias: self.tensors.optional_vectors(&bias, n_expert, rows)?,
        })
    }

    fn optional_norm(&mut self, part: Option<&str>) -> Result<Option<Norm<'a>>, ModelError> {
        part.map(|part| self.norm(part)).transpose()
    }

    fn norm(&mut self, part: &str) -> Result<Norm<'a>, ModelError> {
        let weights = self.config.architecture.norm_weights;
        self.tensors.norm(self.name(part).as_str(), weights, self.config.n_embd)
    }

    /// A normalisation of a row of this length, without a summand.
    fn norm_of(&mut self, part: &str, len: usize) -> Result<Norm<'a>, ModelError> {
        self.tensors.norm(self.name(part).as_str(), NormWeights::Weight, len)
    }
}
