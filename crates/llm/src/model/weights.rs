//! A model's tensors, borrowed from the file and checked against its hyper-parameters.
//!
//! [`Weights`] are always complete: every tensor that the family requires is there with the right shape, and no tensor
//! is left over. Fused tensors are split (`layer_tensors`), so that the forward pass handles only one form.

use alloc::vec::Vec;

use super::alt_up::{AltUp, AltUpConfig, AltUpEnds};
use super::architecture::{Activation, Block, NormWeights, Positions, Stacks};
use super::classifier::Classifier;
use super::config::{Config, token_embd_name};
use super::error::ModelError;
use super::expert_config::{ChunkConfig, ExpertConfig};
pub use super::head_norm::HeadNorm;
use super::heads_config::HeadsConfig;
use super::hyper_connections::{HyperConfig, HyperConnection};
use super::indexer::Indexer;
use super::latent_config::LatentConfig;
use super::layer_config::LayerEnd;
use super::layer_tensors::LayerTensors;
use super::ngram_embedding::NgramEmbedding;
use super::recurrent::{ChannelMix, Recurrent};
use super::tensors::Tensors;
pub use crate::compute::{Linear, Norm};
use crate::gguf::{Gguf, Name};
use crate::quant::{Matrix, ModelBytes};

/// All tensors of a model.
#[derive(Debug)]
pub struct Weights<'a> {
    /// One row of `n_embd` per token.
    pub token_embd: Matrix<'a>,
    /// The normalisation of the token's embedding, in families that have one.
    pub token_embd_norm: Option<Norm<'a>>,
    /// `[n_embd]`: the initial value of the lower stream, in models with two (`hrm.z_l_init`).
    pub lower_stream: Option<&'a [f32]>,
    /// `[n_embd]`: the type of a text's tokens, in encoders.
    pub token_type: Option<Matrix<'a>>,
    /// One row of `n_embd` per position, in families with learned positions.
    pub position_embd: Option<Matrix<'a>>,
    /// The layers, first to last.
    pub layers: Vec<Layer<'a>>,
    /// The normalisation before the output matrix, in families that have one.
    pub output_norm: Option<Norm<'a>>,
    /// `[n_embd]`: the weights for scoring earlier streams before the output matrix, in models that attend to these.
    pub output_scores: Option<&'a [f32]>,
    /// `[n_vocab × n_embd]`: the output matrix; the embedding matrix if the file has none. `None` in encoders.
    pub output: Option<Linear<'a>>,
    /// The classifier, which computes scores from hidden states, in files that have one.
    pub classifier: Option<Classifier<'a>>,
    /// Divisors of the rotary frequencies.
    pub rope_factors: RopeFactors<'a>,
    /// The tokens' embeddings for each layer, in models that have them.
    pub per_layer: Option<PerLayerEmbedding<'a>>,
    /// The mixture that the output matrix reads, in models with several streams.
    pub output_mixture: Option<HyperConnection<'a>>,
    /// The maps from one stream to several and back, in models that predict streams.
    pub alt_up: Option<AltUpEnds<'a>>,
    /// The embeddings of n-grams, in models that have them.
    pub ngrams: Option<NgramEmbedding<'a>>,
    /// Which of the file's tensors adapters can change; the embedding is handled [separately](Self::token_embd_tensor).
    pub adaptable: Vec<bool>,
    /// The number of the embedding's tensor.
    pub token_embd_tensor: usize,
}

/// Divisors of the rotary frequencies, `[n_rot / 2]` each.
#[derive(Debug, Clone, Copy, Default)]
pub struct RopeFactors<'a> {
    /// For any length of the context (Llama 3).
    pub always: Option<&'a [f32]>,
    /// For a context no longer than the original one (Phi 3).
    pub short: Option<&'a [f32]>,
    /// For a longer context.
    pub long: Option<&'a [f32]>,
}

/// One layer: a sequence mixer, then a channel mixer.
#[derive(Debug)]
pub struct Layer<'a> {
    /// The normalisation of the sequence mixer's input.
    pub attn_norm: Option<Norm<'a>>,
    /// The sequence mixer.
    pub mixer: Mixer<'a>,
    /// The normalisation of the sequence mixer's output.
    pub attn_post_norm: Option<Norm<'a>>,
    /// In encoders that add the stream twice: the normalisation of the sum of the normalised output and the stream.
    pub attn_again_norm: Option<Norm<'a>>,
    /// The normalisation of the channel mixer's input.
    pub ffn_norm: Option<Norm<'a>>,
    /// `[n_embd]` each: the weights for scoring earlier streams for each mixer's input, in models that attend to these.
    pub residual_scores: [Option<&'a [f32]>; 2],
    /// The channel mixer.
    pub feed_forward: FeedForward<'a>,
    /// The normalisation of the channel mixer's output.
    pub ffn_post_norm: Option<Norm<'a>>,
    /// How the token's embedding for this layer is added, in models that have such embeddings.
    pub per_layer_input: Option<PerLayerInput<'a>>,
    /// Whether the layer leaves the stream unchanged, whatever else it has.
    pub changes_nothing: bool,
    /// The factor of the stream after the layer, or of the token's embedding before it is added.
    pub output_scale: Option<f32>,
    /// The normalisation of the layer's input, in families whose experts read it.
    pub before_norm: Option<Norm<'a>>,
    /// What happens to the stream after the layer.
    pub end: LayerEnd,
    /// The mixtures of streams that the two mixers read, and each stream's share of their outputs, in models with
    /// several streams.
    pub hyper_connections: Option<[HyperConnection<'a>; 2]>,
    /// How streams are predicted and corrected, in models that do so.
    pub alt_up: Option<AltUp<'a>>,
}

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

/// The forms of the sequence mixer, one for each of [`MixerConfig`](super::MixerConfig).
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per layer, in a table that is made once")]
pub enum Mixer<'a> {
    /// None: the stream stays as it is.
    None,
    /// A matrix.
    Linear(Linear<'a>),
    /// Attention with keys and values per head.
    Heads(HeadAttention<'a>),
    /// Attention with keys and values compressed to one vector.
    Latent(LatentAttention<'a>),
    /// A recurrence.
    Recurrent(Recurrent<'a>),
    /// Attention and a recurrence, whose outputs are added.
    Both(HeadAttention<'a>, Recurrent<'a>),
}

/// Attention with keys and values per head.
#[derive(Debug)]
pub struct HeadAttention<'a> {
    /// Its lengths.
    pub config: HeadsConfig,
    /// `[n_head · head_len_k × n_embd]`; if heads are gated, twice as many rows: each head's query, then its gate.
    pub wq: Linear<'a>,
    /// `[n_head_kv · head_len_k × n_embd]`; `None` in layers that use another layer's keys and values.
    pub wk: Option<Linear<'a>>,
    /// `[n_head_kv · head_len_v × n_embd]`; `None` if the keys are also the values.
    pub wv: Option<Linear<'a>>,
    /// `[n_embd × n_head · head_len_v]`
    pub wo: Linear<'a>,
    /// The normalisation of the queries.
    pub q_norm: Option<HeadNorm<'a>>,
    /// The normalisation of the keys.
    pub k_norm: Option<HeadNorm<'a>>,
    /// `[n_buckets][n_head]`: the bias of scores for each bucket of distances, in families that have one.
    pub relative: Option<Vec<f32>>,
    /// `[n_head]`: a score that takes a share of the softmax but contributes no value (gpt-oss).
    pub sinks: Option<&'a [f32]>,
    /// `[n_head · head_len_v × n_embd]` or `[n_head × n_embd]`: the gates of the heads' outputs, in families in which
    /// they have a matrix of their own.
    pub gate: Option<Linear<'a>>,
    /// The normalisation of the row of all heads' outputs, in families that have one.
    pub norm: Option<Norm<'a>>,
    /// The indexer, which chooses the positions to which queries attend, in families that have one.
    pub indexer: Option<Indexer<'a>>,
}

/// Attention with keys and values compressed to one vector (DeepSeek-AI 2024).
#[derive(Debug)]
pub struct LatentAttention<'a> {
    /// Its lengths.
    pub config: LatentConfig,
    /// From the stream to the queries, or to their compressed form.
    pub wq_a: Linear<'a>,
    /// The normalisation of the compressed queries, and the matrix that expands them; `None` if queries are not
    /// compressed.
    pub q_b: Option<(Norm<'a>, Linear<'a>)>,
    /// `[kv_lora_rank + n_rot × n_embd]`
    pub wkv_a: Linear<'a>,
    /// The normalisation of the compressed keys and values, `[kv_lora_rank]`.
    pub kv_a_norm: Norm<'a>,
    /// The maps between the compressed vectors and the heads.
    pub expansion: Expansion<'a>,
    /// `[n_head · n_gate × n_embd]`: gates of the heads' outputs, through a sigmoid, if they are gated.
    pub gate: Option<Linear<'a>>,
    /// `[n_embd × n_head · head_len_v]`
    pub wo: Linear<'a>,
}

/// The ways to get from compressed keys and values to heads.
#[derive(Debug, Clone, Copy)]
pub enum Expansion<'a> {
    /// Nothing is expanded: the matrices are multiplied into queries and outputs instead.
    Absorbed {
        /// For each head, `[kv_lora_rank × head_len_k - n_rot]`: maps queries to the compressed space.
        wk_b: Matrix<'a>,
        /// For each head, `[head_len_v × kv_lora_rank]`: maps outputs out of the compressed space.
        wv_b: Matrix<'a>,
    },
    /// For each head, `[head_len_k - n_rot + head_len_v × kv_lora_rank]`: first the part of its key that is not
    /// rotated, then its value.
    Expanded(Matrix<'a>),
}

/// The forms of the channel mixer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per layer, in a table that is made once")]
pub enum FeedForward<'a> {
    /// One block for all tokens.
    Dense(DenseFeedForward<'a>),
    /// A mixture of experts.
    Experts(Experts<'a>),
    /// One block for all tokens, which reads each token mixed with the one before it.
    ChannelMix(ChannelMix<'a>),
    /// A nonlinearity without matrices.
    Bare(Activation),
    /// None.
    None,
}

/// A feed-forward block.
#[derive(Debug, Clone, Copy)]
pub struct DenseFeedForward<'a> {
    /// `[n_ff × n_embd]`, if the block is gated.
    pub gate: Option<Linear<'a>>,
    /// `[n_ff × n_embd]`
    pub up: Linear<'a>,
    /// `[n_embd × n_ff]`
    pub down: Linear<'a>,
    /// The nonlinearity.
    pub activation: Activation,
    /// `[n_ff]`: the outputs of the nonlinearity are divided by these, in files that have them.
    pub divisors: Option<&'a [f32]>,
    /// The normalisation of the nonlinearity's output, `[n_ff]`, in families that have one.
    pub hidden_norm: Option<Norm<'a>>,
    /// In layers where only the largest gates open: the threshold of a token's gates, in standard deviations above
    /// their mean.
    pub gate_cutoff: Option<f32>,
}

/// A mixture of experts (Shazeer et al. 2017).
#[derive(Debug)]
pub struct Experts<'a> {
    /// Its lengths, and how it routes.
    pub config: ExpertConfig,
    /// `[n_expert × n_embd]`
    pub router: Linear<'a>,
    /// `[n_expert]`: added to the probabilities for the choice only.
    pub selection_bias: Option<&'a [f32]>,
    /// The experts.
    pub block: ExpertBlock<'a>,
    /// The compression of tokens for experts, in models that have one.
    pub latent: Option<ExpertLatent<'a>>,
    /// Experts of a second kind, which read the output of the first ones, in models that have them.
    pub chunks: Option<(ChunkConfig, ExpertBlock<'a>)>,
    /// The expert that every token is sent to.
    pub shared: Option<DenseFeedForward<'a>>,
    /// `[1 × n_embd]`: gates the shared expert, through a sigmoid.
    pub shared_gate: Option<Matrix<'a>>,
}

/// The feed-forward blocks of all experts.
#[derive(Debug, Clone, Copy)]
pub struct ExpertBlock<'a> {
    /// For each expert, `[n_ff × n_embd]`, with a bias `[n_ff]`; present if experts are gated.
    pub gate: Option<ExpertLinear<'a>>,
    /// For each expert, `[n_ff × n_embd]`, with a bias `[n_ff]`.
    pub up: ExpertLinear<'a>,
    /// For each expert, `[n_embd × n_ff]`, with a bias `[n_embd]`.
    pub down: ExpertLinear<'a>,
    /// The nonlinearity.
    pub activation: Activation,
}

impl<'a> ExpertBlock<'a> {
    /// The weights of one expert.
    pub fn of(&self, expert: usize) -> DenseFeedForward<'a> {
        DenseFeedForward {
            gate: self.gate.map(|gate| gate.of(expert)),
            up: self.up.of(expert),
            down: self.down.of(expert),
            activation: self.activation,
            divisors: None,
            hidden_norm: None,
            gate_cutoff: None,
        }
    }
}

/// Compresses tokens for experts, and expands the sum of the experts' outputs.
#[derive(Debug)]
pub struct ExpertLatent<'a> {
    /// `[n_latent × n_embd]`
    pub down: Linear<'a>,
    /// The normalisation of the sum, in models that have one.
    pub norm: Option<Norm<'a>>,
    /// `[n_embd × n_latent]`
    pub up: Linear<'a>,
}

/// An affine map for each expert.
#[derive(Debug, Clone, Copy)]
pub struct ExpertLinear<'a> {
    /// The rows of all experts, one expert after the other.
    all: Linear<'a>,
    /// A factor for each expert, like [`Linear::scale`].
    scales: Option<&'a [f32]>,
    /// The number of rows from one expert's first row to the next expert's first row.
    stride: usize,
    /// The first row of the map among the rows of an expert.
    first: usize,
    /// The rows of an expert's map.
    n_rows: usize,
}

impl<'a> ExpertLinear<'a> {
    /// The map that uses all rows of an expert.
    pub(super) fn new(all: Linear<'a>, scales: Option<&'a [f32]>, n_rows: usize) -> Self {
        ExpertLinear { all, scales, stride: n_rows, first: 0, n_rows }
    }

    /// The map that uses, of each expert, `n_rows` rows from row `first` on.
    pub(super) fn part(&self, first: usize, n_rows: usize) -> Self {
        ExpertLinear { first, n_rows, ..*self }
    }

    /// The rows of an expert's map.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The length of the input of an expert's map.
    pub fn n_cols(&self) -> usize {
        self.all.weight.n_cols()
    }

    /// The weights of one expert.
    pub fn of(&self, expert: usize) -> Linear<'a> {
        let first = expert * self.stride + self.first;
        let scale = self.scales.map(|scales| scales[expert]);
        Linear { scale, ..self.all.rows(first..first + self.n_rows) }
    }
}

impl<'a> Weights<'a> {
    pub(super) fn load(
        gguf: &Gguf<'_>,
        file: ModelBytes<&'a [u8]>,
        config: &Config,
    ) -> Result<Self, ModelError> {
        let mut tensors = Tensors::new(gguf, file, config.architecture.unused)?;
        let (n_vocab, n_embd) = (config.n_vocab, config.n_embd);
        require(&tensors, config)?;
        let token_embd_name = token_embd_name(gguf, config.architecture);
        let token_embd = tensors.matrix(&Name::from(token_embd_name), n_vocab, n_embd)?;
        let mut layers = Vec::new();
        let needed_bytes = config.layers.len() * size_of::<Layer<'_>>();
        layers.try_reserve_exact(config.layers.len()).map_err(|_| ModelError::OutOfHeap { needed_bytes })?;
        for (index, layer) in config.layers.iter().enumerate() {
            layers.push(LayerTensors { tensors: &mut tensors, config, layer, index }.load()?);
        }
        let ngrams = match &config.ngrams {
            Some(ngrams) => {
                let (layer, index) = (&config.layers[ngrams.layer], ngrams.layer);
                Some(LayerTensors { tensors: &mut tensors, config, layer, index }.ngram_embedding(ngrams)?)
            }
            None => None,
        };
        let output = match config.is_encoder() {
            true => None,
            false => Some(Linear {
                weight: tensors
                    .optional_matrix(&Name::from("output.weight"), n_vocab, n_embd)?
                    .unwrap_or(token_embd),
                scale: tensors.scale("output")?.filter(|_| config.architecture.scales("output")),
                scales_bias: false,
                bias: tensors.optional_vector(&Name::from("output.bias"), n_vocab)?,
                tensor: tensors.adaptable(&Name::from("output.weight")),
                first_row: 0,
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
        let classifier = Classifier::load(&mut tensors, config)?;
        let weights = Weights {
            token_embd,
            token_embd_tensor: gguf.tensor_index(token_embd_name).unwrap_or(usize::MAX),
            adaptable: Vec::new(),
            classifier,
            token_embd_norm: match tensors.has("token_embd_norm.weight") {
                _ if config.architecture.normalises_embedding => Some(Norm { weight: None, bias: None }),
                _ if config.architecture.output_norm == Some("token_embd_norm") => None,
                true => Some(tensors.norm("token_embd_norm", norm_weights, n_embd)?),
                false => None,
            },
            token_type: tensors.optional_rows(&Name::from("token_types.weight"), n_embd)?,
            position_embd: match config.architecture.positions {
                Positions::Learned => {
                    Some(tensors.matrix(&Name::from("position_embd.weight"), config.n_ctx_train, n_embd)?)
                }
                Positions::AlibiByKey => tensors.optional_matrix(
                    &Name::from("position_embd.weight"),
                    config.n_ctx_train,
                    n_embd,
                )?,
                _ => None,
            },
            layers,
            output_norm: match config.architecture.output_norm {
                // Encoders that normalise after each addition need no normalisation at the end.
                Some(name) if config.block != Block::PostNorm => {
                    Some(tensors.norm(name, norm_weights, n_embd)?)
                }
                _ => None,
            },
            output_scores: match config.residual_block {
                Some(_) => Some(tensors.vector(&Name::from("output_res_score.weight"), n_embd)?),
                None => None,
            },
            lower_stream: match config.architecture.stacks {
                Stacks::Hierarchical => Some(tensors.vector(&Name::from("hrm.z_l_init"), n_embd)?),
                Stacks::Once | Stacks::Loops => None,
            },
            output,
            rope_factors,
            per_layer: match config.n_embd_per_layer {
                Some(len) => Some(per_layer_embedding(&mut tensors, config, len)?),
                None => None,
            },
            output_mixture: match config.hyper_connections {
                Some(hyper) => Some(output_mixture(&mut tensors, n_embd, hyper)?),
                None => None,
            },
            alt_up: match config.alt_up {
                Some(AltUpConfig { n_stream, .. }) => Some(alt_up_ends(&mut tensors, n_embd, n_stream)?),
                None => None,
            },
            ngrams,
        };
        let n_block = config.layers.iter().map(|layer| layer.block + 1).max().unwrap_or(0);
        tensors.all_taken(n_block..n_block + config.n_nextn)?;
        Ok(Weights { adaptable: tensors.into_adaptable(), ..weights })
    }
}

/// Fails if a tensor is missing that is required here but optional in other families.
fn require(tensors: &Tensors<'_, '_>, config: &Config) -> Result<(), ModelError> {
    let required = config.architecture.required;
    for name in required.model {
        tensors.require(&Name::from(*name))?;
    }
    for layer in &config.layers {
        let index = layer.block;
        let of_experts = if layer.has_experts { required.expert_layer } else { &[] };
        let of_recurrence = match layer.mixer.recurrent() {
            Some(_) => required.recurrent_layer,
            None => &[],
        };
        for part in required.layer.iter().chain(of_experts).chain(of_recurrence) {
            tensors.require(&Name::format(format_args!(
                "{}.{index}.{part}",
                config.architecture.layer_prefix
            )))?;
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
        model_projection: Linear::new(tensors.matrix(
            &Name::from("per_layer_model_proj.weight"),
            n_all,
            config.n_embd,
        )?),
        projection_norm: tensors.norm("per_layer_proj_norm", NormWeights::Weight, len)?,
    })
}

/// The mixture of streams that the output matrix reads.
#[inline(never)]
fn output_mixture<'a>(
    tensors: &mut Tensors<'_, 'a>,
    n_embd: usize,
    HyperConfig { n_stream, rank }: HyperConfig,
) -> Result<HyperConnection<'a>, ModelError> {
    let width = n_stream * n_embd;
    let mut linear = |name: &str, rows, cols| {
        let name = Name::from(name);
        let tensor = tensors.adaptable(&name);
        Ok::<_, ModelError>(Linear { tensor, ..Linear::new(tensors.matrix(&name, rows, cols)?) })
    };
    Ok(HyperConnection {
        down: linear("output_hc_down.weight", rank, width)?,
        up: linear("output_hc_up.weight", width, rank)?,
        norm: tensors.streams_norm(&Name::from("output_hc_norm.weight"), n_stream, n_embd)?,
        inject: None,
    })
}

/// The maps from one stream to several and back.
#[inline(never)]
fn alt_up_ends<'a>(
    tensors: &mut Tensors<'_, 'a>,
    n_embd: usize,
    n_stream: usize,
) -> Result<AltUpEnds<'a>, ModelError> {
    let mut stack = |name: &str| tensors.stack(&Name::from(name), n_stream - 1, n_embd, n_embd);
    Ok(AltUpEnds {
        spread: Linear::new(stack("altup_proj.weight")?),
        merge: Linear::new(stack("altup_unembd_proj.weight")?),
    })
}
