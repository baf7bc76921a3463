//! [`Layer`]: the weights of one layer.

use super::alt_up::AltUp;
use super::architecture::Activation;
use super::attention::HeadAttention;
use super::config::LayerEnd;
use super::experts::Experts;
use super::feed_forward::DenseFeedForward;
use super::hyper_connections::HyperConnection;
use super::latent_attention::LatentAttention;
use super::per_layer_input::PerLayerInput;
use super::recurrent::{ChannelMix, Recurrent};
use crate::compute::{Linear, Norm};

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
