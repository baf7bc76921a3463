//! The tensors of one layer, taken by name and shape. Fused tensors are split here.

mod attention;
mod feed_forward;
mod recurrent;
mod rwkv;
mod streams;

use super::architecture::{Biases, Block, ExpertInputs, FeedForwardKind, NormWeights, Routing};
use super::config::{Config, LayerConfig, MixerConfig};
use super::error::ModelError;
use super::layer::{FeedForward, Layer, Mixer};
use super::per_layer_input::PerLayerInput;
use super::tensors::Tensors;
use crate::compute::{Linear, Norm};
use crate::gguf::Name;

/// The projections of a dense feed-forward block, whose factors multiply their biases too.
const FFN_PARTS: [&str; 3] = ["ffn_gate", "ffn_up", "ffn_down"];

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
