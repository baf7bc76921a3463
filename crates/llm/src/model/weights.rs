//! A model's tensors, borrowed from the file and checked against its hyper-parameters.
//!
//! [`Weights`] are always complete: every tensor that the family requires is there with the right shape, and no tensor
//! is left over. Fused tensors are split (`layer_tensors`), so that the forward pass handles only one form.

use alloc::vec::Vec;

use super::alt_up::AltUpEnds;
use super::architecture::{Block, NormWeights, Positions, Stacks};
pub use super::attention::HeadAttention;
use super::classifier::Classifier;
use super::config::{AltUpConfig, Config, HyperConfig, token_embd_name};
use super::error::ModelError;
pub use super::experts::{ExpertBlock, ExpertLatent, ExpertLinear, Experts};
pub use super::feed_forward::DenseFeedForward;
pub use super::head_norm::HeadNorm;
use super::hyper_connections::HyperConnection;
pub use super::latent_attention::{Expansion, LatentAttention};
pub use super::layer::{FeedForward, Layer, Mixer};
use super::layer_tensors::LayerTensors;
use super::ngram_embedding::NgramEmbedding;
pub use super::per_layer_input::{PerLayerEmbedding, PerLayerInput};
pub use super::rope::RopeFactors;
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
