//! Hyper-parameters, read from a file's keys.
//!
//! [`Config`] holds what is the same for the whole model; [`LayerConfig`] holds what can differ from layer to layer,
//! [`ExpertConfig`] what a mixture of experts adds. Names are those of llama.cpp's hyper-parameters.
//!
//! # Layers
//!
//! | module | what it is |
//! |---|---|
//! | `ngrams`, `temperature` | embeddings of n-grams; how queries grow with the position |
//! | `layer` | what can differ from layer to layer |
//! | `mixer` | the sequence mixer of a layer, and the state that it keeps |
//! | `heads` | attention with keys and values per head |
//! | `alt_up`, `experts`, `hyper_connections`, `indexer`, `latent`, `recurrent`, `rope` | a part each: two kinds of several residual streams, a mixture of experts, the choice of positions to attend to, latent attention, recurrent mixers, rotary embeddings |
//! | `keys` | the keys of a file, read with their range checked |

mod alt_up;
mod experts;
mod heads;
mod hyper_connections;
mod indexer;
mod keys;
mod latent;
mod layer;
mod mixer;
mod ngrams;
mod recurrent;
mod rope;
mod temperature;

pub use alt_up::AltUpConfig;
pub(super) use experts::LATENT_KEYS;
pub use experts::{ChunkConfig, ExpertConfig};
pub use heads::{AttentionMask, HeadsConfig};
pub use hyper_connections::HyperConfig;
pub use indexer::IndexerConfig;
pub use latent::LatentConfig;
pub use layer::{LayerConfig, LayerEnd};
pub use mixer::{LayerState, MixerConfig};
pub use ngrams::{NgramConfig, NgramHead};
pub use recurrent::{
    DecayRange, DeltaNetConfig, HeadMambaConfig, KimiDeltaConfig, LightningConfig, Mamba2Config, MambaConfig,
    RecurrentConfig, Rwkv6Config, Rwkv7Config, RwkvHeads, ShortConvolutionConfig,
};
pub use rope::{RopeConfig, Sections, Yarn};
pub use temperature::Temperature;

use alloc::vec::Vec;

use super::architecture::{
    Activation, Architecture, AttentionKind, AttentionScale, Block, ClassifierHead, EmbeddingScale,
    ExpertInputs, LayerScale, LogitScale, NormKind, Positions, RopePairs, Stacks,
};
use super::error::ModelError;
use crate::compute::Normalisation;
use crate::gguf::{Gguf, Name, Split, Value};
use crate::recurrent_state::RecurrentShape;
use crate::simd::RelativeBuckets;
use keys::Keys;
use layer::layers;
use rope::{rope_pairs, rope_sections, window_rope};

/// The dimensions and constants of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: &'static Architecture,
    /// Tokens in the vocabulary: rows of the embedding matrix.
    pub n_vocab: usize,
    /// Positions that the model was trained for.
    pub n_ctx_train: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// The layers, first to last; at least one.
    pub layers: Vec<LayerConfig>,
    /// Layers that follow in the file and predict further tokens at once; not used.
    pub n_nextn: usize,
    /// How activations are normalised.
    pub normalisation: Normalisation,
    /// How the outputs of mixers are normalised, in families that do so.
    pub post_normalisation: Normalisation,
    /// How the mixers of a layer are joined; never one of the variants that depend on the file.
    pub block: Block,
    /// The rotary embedding of layers without a window, in families that have one.
    pub rope: Option<RopeConfig>,
    /// The rotary embedding of layers with a window, in models that have such layers.
    pub window_rope: Option<RopeConfig>,
    /// The largest penalty of ALiBi, in families that have one.
    pub max_alibi_bias: Option<f32>,
    /// The mixture of experts, in models that have one.
    pub experts: Option<ExpertConfig>,
    /// The factor of the token's embedding.
    pub embedding_scale: f32,
    /// Whether a position sees only positions up to itself.
    pub is_causal: bool,
    /// Each mixer's output is multiplied by this before it is added.
    pub residual_scale: f32,
    /// In some models a mixer's output is not added to the stream as it was, but to the mixer's input times this.
    pub read_scale: Option<f32>,
    /// The factor of the logits.
    pub logit_scale: f32,
    /// If given, logits become `c · tanh(logit / c)`.
    pub logit_softcap: Option<f32>,
    /// The factor of attention scores.
    pub attention_scale: f32,
    /// If given, attention scores become `c · tanh(score / c)`.
    pub attention_softcap: Option<f32>,
    /// If given, queries, keys and values are clamped to plus and minus this.
    pub clamp_kqv: Option<f32>,
    /// The buckets of distances by which scores get a bias, in families that have them.
    pub relative: Option<RelativeBuckets>,
    /// The nonlinearity of feed-forward blocks.
    pub activation: Activation,
    /// In models that attend to earlier streams: before every group of this many layers the stream is stored and a new
    /// one begins.
    pub residual_block: Option<usize>,
    /// How queries grow with the position.
    pub temperature: Option<Temperature>,
    /// Elements of a token's embedding for each layer, in models with such embeddings.
    pub n_embd_per_layer: Option<usize>,
    /// The input of a classifier.
    pub classifier_input: ClassifierInput,
    /// The number of labels that a classifier scores: those of `classifier.output_labels`, one if the file names none.
    pub n_labels: usize,
    /// After every group of this many layers the stream is halved, in models that do so.
    pub n_layer_halving: Option<usize>,
    /// A factor of attention's output in addition to [`residual_scale`](Self::residual_scale).
    pub attention_output_scale: Option<f32>,
    /// Several residual streams, of which mixers read a mixture, in models that have them.
    pub hyper_connections: Option<HyperConfig>,
    /// Several residual streams, of which layers compute with only one, in models that have them.
    pub alt_up: Option<AltUpConfig>,
    /// Embeddings of n-grams, in models that have them.
    pub ngrams: Option<NgramConfig>,
}

/// The vector that represents a text in the input of a classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassifierInput {
    /// The mean of its tokens' vectors.
    Mean,
    /// The vector of its first token.
    First,
    /// The vector of its last token.
    Last,
}

impl Config {
    /// Reads the hyper-parameters; needs the file's header only.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if the family is unknown, a required key is missing or of another type, a value is invalid, or
    /// the embedding matrix is missing.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, ModelError> {
        if let Some(Split { index, count, .. }) = gguf.split()? {
            return Err(ModelError::Part { number: index + 1, count });
        }
        let name = gguf
            .str_value("general.architecture")?
            .ok_or_else(|| ModelError::missing_key("general.architecture"))?;
        let architecture =
            Architecture::from_name(name).ok_or_else(|| ModelError::UnknownArchitecture(Name::from(name)))?;
        let keys = Keys { gguf, prefix: architecture.name };
        for key in architecture.required.keys {
            keys.require(key)?;
        }
        let embedding = gguf
            .tensor(token_embd_name(gguf, architecture))
            .ok_or_else(|| ModelError::missing_tensor("token_embd.weight"))?;

        let n_embd = keys.width("embedding_length")?;
        let n_ctx_train = keys.length("context_length")?;
        if n_ctx_train == 0 {
            return Err(keys.invalid("context_length", 0, "at least 1"));
        }
        let experts = ExpertConfig::from_keys(&keys, architecture, embedding.dims[1])?;
        let mut layers = layers(&keys, architecture, n_embd, experts.is_some())?;
        let hyper_connections = HyperConfig::from_keys(&keys, architecture)?;
        let alt_up = AltUpConfig::from_keys(&keys, architecture)?;
        let n_streams_embd = n_embd * hyper_connections.map_or(1, |hyper| hyper.n_stream);
        let ngrams = NgramConfig::from_keys(&keys, architecture, &mut layers, n_streams_embd)?;
        let n_layer = layers.len();
        let sections = rope_sections(&keys, architecture)?;
        let pairs = rope_pairs(architecture, n_layer, sections.is_some());
        let heads = || layers.iter().filter_map(|layer| layer.mixer.heads());
        let shortest_head = |is_windowed: bool| {
            let heads = heads().filter(|heads| (heads.mask != AttentionMask::All) == is_windowed);
            heads.map(|heads| heads.head_len_k).min()
        };
        let latent = layers.iter().find_map(|layer| layer.mixer.latent());
        let window_head_len = shortest_head(true);
        let head_len = latent.map(|latent| latent.head_len_k).or(shortest_head(false)).or(window_head_len);
        let head_len = head_len.unwrap_or(0);
        let rope = pairs
            .map(|_| RopeConfig::from_keys(&keys, architecture, head_len, sections))
            .transpose()?
            .flatten();
        let window_rope = match (&rope, window_head_len) {
            (Some(rope), Some(head_len)) => Some(window_rope(&keys, architecture, rope, head_len)?),
            _ => None,
        };
        let (default_embedding_scale, default_residual_scale, default_logit_scale) = match architecture
            .embedding_scale
        {
            EmbeddingScale::One => (1.0, 1.0, None),
            EmbeddingScale::SqrtWidth => (libm::sqrtf(n_embd as f32), 1.0, None),
            EmbeddingScale::MiniCpm => (12.0, 1.4 / libm::sqrtf(n_layer as f32), Some(256.0 / n_embd as f32)),
        };
        let logit_scale = keys.scale(architecture, "logit_scale")?.or(default_logit_scale);
        let residual_scale = keys.scale(architecture, "residual_scale")?.unwrap_or(default_residual_scale);
        let adds_to_read = architecture.block == Block::AddToRead;
        let normalisation = normalisation(&keys, architecture)?;
        let attention_scale_by_key = match keys.scale(architecture, "attention.scale")? {
            None => keys.scale(architecture, "attention.output_scale")?,
            scale => scale,
        };
        Ok(Config {
            n_vocab: n_vocab(gguf, embedding.dims[1])?,
            n_ctx_train,
            n_embd,
            post_normalisation: Normalisation {
                eps: architecture.post_norm_eps.unwrap_or(normalisation.eps),
                ..normalisation
            },
            normalisation,
            is_causal: is_causal(&keys, architecture)?,
            block: block(&keys, architecture)?,
            max_alibi_bias: max_alibi_bias(&keys, architecture, n_layer, pairs)?,
            embedding_scale: keys.scale(architecture, "embedding_scale")?.unwrap_or(default_embedding_scale),
            residual_scale: if adds_to_read { 1.0 } else { residual_scale },
            read_scale: adds_to_read.then_some(residual_scale),
            logit_scale: match (architecture.logit_scale, logit_scale) {
                (_, None) => 1.0,
                (LogitScale::Multiplies, Some(scale)) => scale,
                (LogitScale::Divides, Some(scale)) => 1.0 / scale,
            },
            logit_softcap: keys.scale(architecture, "final_logit_softcapping")?,
            attention_scale: match attention_scale_by_key {
                Some(scale) => scale,
                None => attention_scale(architecture, heads().next(), n_embd, n_layer, latent, rope.as_ref()),
            },
            attention_softcap: keys.scale(architecture, "attn_logit_softcapping")?,
            clamp_kqv: keys.scale(architecture, "attention.clamp_kqv")?,
            relative: relative_buckets(&keys, architecture)?,
            activation: activation(&keys, architecture)?,
            residual_block: match architecture.reads(RESIDUAL_BLOCK) {
                true => keys.optional_number(RESIDUAL_BLOCK)?.filter(|&n_layer| n_layer > 0),
                false => None,
            },
            temperature: Temperature::from_keys(&keys, architecture, rope.as_ref())?,
            n_embd_per_layer: match alt_up {
                Some(alt_up) => Some(alt_up.n_embd_per_layer),
                None if architecture.reads(PER_LAYER) => {
                    keys.optional_number(PER_LAYER)?.filter(|&len| len > 0)
                }
                None => None,
            },
            n_layer_halving: match architecture.reads(HALVING) {
                true => keys.optional_number(HALVING)?.filter(|&n_layer| n_layer > 0),
                false => None,
            },
            classifier_input: match (architecture.attention, keys.optional_number("classifier.pooling_type")?)
            {
                (AttentionKind::Causal, _) => ClassifierInput::Last,
                (_, Some(1)) => ClassifierInput::Mean,
                (_, None) if architecture.classifier == Some(ClassifierHead::Gelu) => ClassifierInput::Mean,
                _ => ClassifierInput::First,
            },
            n_labels: match gguf.get((architecture.name, "classifier.output_labels")) {
                Some(value) => value.as_array().map_or(1, |labels| labels.len().max(1)),
                None => 1,
            },
            attention_output_scale: keys.scale(architecture, "attention.value_scale")?,
            n_nextn: keys.optional_number("nextn_predict_layers")?.unwrap_or(0),
            hyper_connections,
            alt_up,
            ngrams,
            architecture,
            layers,
            rope,
            window_rope,
            experts,
        })
    }

    /// How many numbers the forward pass gives per position: a logit for each token or, for an encoder, the elements of
    /// its last hidden state.
    pub fn n_output(&self) -> usize {
        if self.is_encoder() { self.n_embd } else { self.n_vocab }
    }

    /// Whether the model gives hidden states of a whole text instead of continuing it.
    pub fn is_encoder(&self) -> bool {
        matches!(self.architecture.attention, AttentionKind::Bidirectional | AttentionKind::EncoderByKey)
    }

    /// Number of streams stored before layer number `n_layer`, in models that attend to earlier streams.
    pub fn n_kept_streams(&self, n_layer: usize) -> usize {
        self.residual_block.map_or(0, |block| n_layer.div_ceil(block))
    }

    /// Number of streams that a pass keeps for each token besides the residual stream.
    pub fn n_side_streams(&self) -> usize {
        if let Some(hyper) = self.hyper_connections {
            return hyper.n_stream;
        }
        if let Some(alt_up) = self.alt_up {
            return alt_up.n_stream;
        }
        if self.residual_block.is_some() {
            return self.n_kept_streams(self.layers.len());
        }
        let reads_before =
            self.architecture.routing.is_some_and(|routing| routing.inputs != ExpertInputs::Same);
        match (self.architecture.stacks, self.architecture.layer_scale) {
            (Stacks::Hierarchical, _) => 2,
            (_, LayerScale::Embedding) => 1,
            _ => usize::from(reads_before && self.experts.is_some()),
        }
    }

    /// Heads with queries, and heads with keys and values, of the first layer that has attention; 0 in models
    /// without.
    pub fn head_counts(&self) -> (usize, usize) {
        let mut counts = self.layers.iter().map(|layer| layer.mixer.head_counts());
        counts.find(|counts| *counts != (0, 0)).unwrap_or((0, 0))
    }

    /// Whether any layer has a state that is replaced at each position, so that a text cannot be truncated to an
    /// arbitrary length.
    pub fn is_recurrent(&self) -> bool {
        self.layers.iter().any(|layer| layer.state.recurrent_shape() != RecurrentShape::default())
    }

    /// Which elements are rotated together, in families with a rotary embedding.
    pub fn rope_pairs(&self) -> Option<RopePairs> {
        let has_sections = self.rope.as_ref().is_some_and(|rope| rope.sections.is_some());
        rope_pairs(self.architecture, self.layers.len(), has_sections)
    }
}

/// The key with the number of layers between two stored streams.
const RESIDUAL_BLOCK: &str = "attn_res.block_size";
/// The key with the number of layers after which the stream is halved.
const HALVING: &str = "rescale_every_n_layers";
/// The key with the number of elements of a token's embedding for each layer.
const PER_LAYER: &str = "embedding_length_per_layer_input";

/// The name of the tensor of token embeddings.
pub(super) fn token_embd_name(gguf: &Gguf<'_>, architecture: &Architecture) -> &'static str {
    match architecture.output_embeds && gguf.tensor("token_embd.weight").is_none() {
        true => "output.weight",
        false => "token_embd.weight",
    }
}

/// Whether a position sees only positions up to itself. Fails if the file asks for another direction than the family's.
fn is_causal(keys: &Keys<'_, '_>, architecture: &Architecture) -> Result<bool, ModelError> {
    const KEY: &str = "attention.causal";
    let by_key = keys.optional_bool(KEY)?;
    match (architecture.attention, by_key) {
        (AttentionKind::EncoderByKey, _) => Ok(by_key.unwrap_or(true)),
        (AttentionKind::Bidirectional, Some(true)) => {
            Err(keys.unsupported(KEY, "true", "false in this architecture"))
        }
        (AttentionKind::Bidirectional, _) => Ok(false),
        (_, Some(false)) => Err(keys.unsupported(KEY, "false", "true in this architecture")),
        _ => Ok(true),
    }
}

fn normalisation(keys: &Keys<'_, '_>, architecture: &Architecture) -> Result<Normalisation, ModelError> {
    const RMS_EPS: &str = "attention.layer_norm_rms_epsilon";
    let kind = match architecture.rms_by_key {
        true if keys.optional_not_negative(RMS_EPS)?.is_some_and(|eps| eps > 0.0) => NormKind::Rms,
        _ => architecture.norm,
    };
    let eps = keys.not_negative(match kind {
        NormKind::Rms => RMS_EPS,
        NormKind::Layer => "attention.layer_norm_epsilon",
    })?;
    Ok(Normalisation { kind, eps })
}

/// The number of embedding rows, which a vocabulary in the same file must agree with.
fn n_vocab(gguf: &Gguf<'_>, embedding_rows: u64) -> Result<usize, ModelError> {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    if let Some(Value::Array(tokens)) = gguf.get(TOKENS)
        && tokens.len() as u64 != embedding_rows
    {
        return Err(ModelError::InvalidKey {
            key: Name::from(TOKENS),
            value: tokens.len() as f64,
            expected: "as many tokens as token_embd.weight has rows",
        });
    }
    match u32::try_from(embedding_rows) {
        Ok(n_vocab) if n_vocab > 0 => Ok(n_vocab as usize),
        _ => Err(ModelError::InvalidKey {
            key: Name::from("token_embd.weight"),
            value: embedding_rows as f64,
            expected: "1 to 4294967295 rows",
        }),
    }
}

fn block(keys: &Keys<'_, '_>, architecture: &Architecture) -> Result<Block, ModelError> {
    let parallel_if = |is_parallel| if is_parallel { Block::Parallel } else { Block::Sequential };
    Ok(match architecture.block {
        Block::AddToRead => Block::Sequential,
        Block::ParallelByKey => parallel_if(keys.bool("use_parallel_residual")?),
        Block::ParallelWithoutFfnNorm => parallel_if(keys.gguf.tensor("blk.0.ffn_norm.weight").is_none()),
        block => block,
    })
}

fn relative_buckets(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
) -> Result<Option<RelativeBuckets>, ModelError> {
    const COUNT: &str = "attention.relative_buckets_count";
    if architecture.positions != Positions::Relative {
        return Ok(None);
    }
    match keys.width(COUNT)? {
        count @ 4..=0x1_0000 if count.is_multiple_of(2) => Ok(Some(RelativeBuckets::new(count))),
        count => Err(keys.invalid(COUNT, count, "an even number from 4 to 65536")),
    }
}

/// The activation of the family or, in families that can have several, the one that the file states.
fn activation(keys: &Keys<'_, '_>, architecture: &Architecture) -> Result<Activation, ModelError> {
    const KEY: &str = "hidden_activation";
    if let Activation::Situ { .. } = architecture.activation {
        let beta = "activation.situ_beta";
        return Ok(Activation::Situ {
            beta: keys.optional_positive(beta)?.ok_or_else(|| keys.missing(beta))?,
            linear_beta: keys.not_negative("activation.situ_linear_beta")?,
        });
    }
    if !architecture.reads(KEY) {
        return Ok(architecture.activation);
    }
    Ok(match keys.optional_str(KEY)? {
        None => architecture.activation,
        Some("gelu" | "geglu") => Activation::Gelu,
        Some("silu" | "swish" | "swiglu") => Activation::Silu,
        Some(other) => return Err(keys.unsupported(KEY, other, "gelu or silu")),
    })
}

fn max_alibi_bias(
    keys: &Keys<'_, '_>,
    architecture: &Architecture,
    n_layer: usize,
    pairs: Option<RopePairs>,
) -> Result<Option<f32>, ModelError> {
    /// The value of the paper, which the reference also uses for families without the key.
    const DEFAULT: f32 = 8.0;
    match (architecture.positions, pairs) {
        (Positions::AlibiByKey, _) => keys.scale(architecture, "attention.max_alibi_bias"),
        (Positions::ByLayers { alibi, .. }, _) if usize::from(alibi) == n_layer => Ok(Some(DEFAULT)),
        (Positions::Alibi, None) => Ok(Some(DEFAULT)),
        _ => Ok(None),
    }
}

fn attention_scale(
    architecture: &Architecture,
    heads: Option<&HeadsConfig>,
    n_embd: usize,
    n_layer: usize,
    latent: Option<&LatentConfig>,
    rope: Option<&RopeConfig>,
) -> f32 {
    if let Some(latent) = latent {
        let factor = match (architecture.attention_scale, rope) {
            (AttentionScale::HeadLengthAndStretch, Some(rope)) => rope.latent_attention_factor(),
            _ => 1.0,
        };
        return factor / libm::sqrtf(latent.head_len_k as f32);
    }
    let head_len = match (architecture.attention_scale, heads) {
        (AttentionScale::One, _) | (_, None) => return 1.0,
        (AttentionScale::InverseHeadLength, Some(heads)) => return 1.0 / heads.head_len_k as f32,
        (AttentionScale::WidthAtLayers(at), Some(heads)) if usize::from(at) == n_layer => {
            n_embd / heads.n_head
        }
        (_, Some(heads)) => heads.head_len_k,
    };
    1.0 / libm::sqrtf(head_len as f32)
}
