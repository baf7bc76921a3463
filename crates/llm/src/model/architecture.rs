//! The differences between the families of models.
//!
//! An [`Architecture`], an entry of the table [`ARCHITECTURES`], states what a GGUF file does not contain: the order of
//! the operations, and the meaning of a missing key. Dimensions and constants come from the file's keys
//! ([`Config`](super::Config)); optional parts follow from the tensors that are there
//! ([`Weights`](super::weights::Weights)).
//!
//! A layer is a sequence mixer followed by a channel mixer, each of which adds to the residual
//! stream. Families mix the sequence by attention, by a recurrence, or by both.

pub use crate::compute::NormKind;

/// What the forward pass must know of a family beyond its hyper-parameters and tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// `general.architecture`, also the prefix of the family's keys.
    pub name: &'static str,
    /// How activations are normalised.
    pub norm: NormKind,
    /// Whether files with `attention.layer_norm_rms_epsilon` above 0 normalise by the root of the mean square.
    pub rms_by_key: bool,
    /// The learned part of a normalisation.
    pub norm_weights: NormWeights,
    /// Added to the mean square in normalisations of a mixer's output, in families in which it is a constant.
    pub post_norm_eps: Option<f32>,
    /// Whether the token's embedding is normalised, without weights.
    pub normalises_embedding: bool,
    /// Where a layer normalises.
    pub norms: &'static Norms,
    /// How the two mixers of a layer are joined.
    pub block: Block,
    /// How the position of a token affects the computation.
    pub positions: Positions,
    /// Which keys the rotary embedding follows.
    pub rope_keys: RopeKeys,
    /// How the pairs of a rotary embedding are divided.
    pub rope_sections: RopeSections,
    /// The layers whose queries and keys are rotated, in families with a rotary embedding.
    pub rope_layers: RopeLayers,
    /// The rotary embedding of layers with a sliding window.
    pub window_rope: WindowRope,
    /// The layers that see only the last positions.
    pub window: Window,
    /// Which layer of a period sees all positions.
    pub window_order: WindowOrder,
    /// Normalisation of queries and keys.
    pub qk_norm: QkNorm,
    /// The form of attention.
    pub attention: AttentionKind,
    /// The recurrent sequence mixer, in families that have one.
    pub recurrence: Option<Recurrence>,
    /// The biases that a file must have; those that it has are always used.
    pub biases: Biases,
    /// The nonlinearity of the feed-forward block.
    pub activation: Activation,
    /// The structure of a dense feed-forward block.
    pub feed_forward: FeedForwardKind,
    /// How a mixture of experts is routed, in families that can have one.
    pub routing: Option<&'static Routing>,
    /// The factor of the token's embedding.
    pub embedding_scale: EmbeddingScale,
    /// The effect of `logit_scale`.
    pub logit_scale: LogitScale,
    /// The default of `attention.scale`.
    pub attention_scale: AttentionScale,
    /// How queries at far positions are sharpened.
    pub temperature: QueryTemperature,
    /// What else a file must contain.
    pub required: &'static Required,
    /// The scales, caps and limits that the family reads, and other keys that only some families read, with the default
    /// of a missing scale. Such keys of other families are ignored.
    pub reads: &'static [(&'static str, Option<f32>)],
    /// Beginnings of the names of tensors (of layers, without `blk.N.`) that a file can have but that are not used:
    /// tensors that make embeddings or scores from hidden states, tensors for images, and tensors that the family
    /// ignores.
    pub unused: &'static [&'static str],
    /// Beginnings of the names of projections whose factors (`.scale`) the family ignores; all other factors multiply
    /// the output of their projection.
    pub unscaled: &'static [&'static str],
    /// The classifier that computes scores from hidden states, in families whose files can have one.
    pub classifier: Option<ClassifierHead>,
    /// Whether a file without `token_embd` embeds tokens by its output matrix.
    pub output_embeds: bool,
    /// Whether layers can lack parts: a layer without heads leaves the stream to the channel mixer unchanged, a layer
    /// with only query heads is linear, and a layer without a feed-forward block changes nothing.
    pub has_empty_layers: bool,
    /// Whether each layer has only one mixer: a feed-forward block if `feed_forward_length` is above 0, otherwise a sequence mixer
    /// (Nemotron-H).
    pub has_one_mixer: bool,
    /// The gate of the outputs of latent attention, through a sigmoid (`attn_gate`).
    pub latent_gate: LatentGate,
    /// Whether clamped gates of experts and blocks (`swiglu_clamp_exp`, `swiglu_clamp_shexp`) are clamped after the
    /// nonlinearity.
    pub clamps_after: bool,
    /// The gate of the heads' outputs.
    pub head_gate: HeadGate,
    /// What the factor after each layer multiplies, in files that have it.
    pub layer_scale: LayerScale,
    /// How often a token passes through the layers.
    pub stacks: Stacks,
    /// The name of the matrix that joins the heads.
    pub heads_output: &'static str,
    /// The prefix of the names of layers' tensors.
    pub layer_prefix: &'static str,
    /// Whether the first layer may lack the normalisation of attention's input, because the embedding is normalised.
    pub reads_embedding: bool,
    /// The name of the normalisation before the output matrix, in families that have one.
    pub output_norm: Option<&'static str>,
    /// The rows of a joint projection to queries, keys and values.
    pub joint_rows: JointRows,
    /// Whether values are normalised, without weights. A layer without a projection to values uses the keys before
    /// their own normalisation.
    pub normalises_values: bool,
    /// The number of layers at the beginning that have keys and values of their own, which the remaining layers use; in
    /// families without a key for this number.
    pub n_own_kv: Option<u8>,
}

/// The rows of a joint projection to queries, keys and values (`attn_qkv`). There can be fewer heads of keys than the
/// rows would suffice for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JointRows {
    /// The rows of queries, keys and values follow each other; there are no others.
    All,
    /// The same, but there are three times as many rows as for queries; the remaining rows are not used.
    First,
    /// Queries begin at row 0, keys at row `n_embd`, values at row `2 · n_embd`; the remaining rows are not used.
    EachWidth,
}

/// The nonlinearity of a classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassifierHead {
    /// The hyperbolic tangent after the first matrix.
    Tanh,
    /// GELU after the first matrix.
    Gelu,
    /// Softmax, so that scores become probabilities.
    Softmax,
}

/// The learned part of a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormWeights {
    /// A factor.
    Weight,
    /// A factor and a summand.
    WeightAndBias,
    /// A factor, and a summand if the file has one.
    WeightMaybeBias,
    /// Nothing is learned.
    None,
}

/// Where a layer normalises: the names of the tensors, `None` if there is no normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Norms {
    /// The input of attention.
    pub attn: Option<&'static str>,
    /// The output of attention, before it is added.
    pub attn_post: Option<&'static str>,
    /// The input of the feed-forward block.
    pub ffn: Option<&'static str>,
    /// The output of the feed-forward block, before it is added.
    pub ffn_post: Option<&'static str>,
    /// The outputs of the attention heads, before the matrix that joins them.
    pub heads: Option<&'static str>,
    /// The output of the nonlinearity in the feed-forward block.
    pub hidden: Option<&'static str>,
}

/// How the two mixers of a layer are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The feed-forward block reads the stream after attention was added to it.
    Sequential,
    /// Both read the same stream; the second normalisation is used if the file has one.
    Parallel,
    /// Depends on `use_parallel_residual`, which is required.
    ParallelByKey,
    /// Parallel, with one normalisation for both, in files without `ffn_norm`; otherwise sequential.
    ParallelWithoutFfnNorm,
    /// The stream itself is normalised after each addition (encoders).
    PostNorm,
    /// Sequential, but a mixer's output is added to its input times `residual_scale` (MiniMax-01).
    AddToRead,
}

/// The ways in which a position affects the computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Not at all.
    None,
    /// Rotary embedding of queries and keys (Su et al. 2021).
    Rope(RopePairs),
    /// A learned vector per position, added to the token's embedding (`position_embd`).
    Learned,
    /// A penalty on attention that grows with the distance (Press et al. 2022).
    Alibi,
    /// A bias of scores for each bucket of distances; `attention.relative_buckets_count` states the number of buckets (Raffel et al. 2020).
    Relative,
    /// ALiBi if `attention.max_alibi_bias` is above 0, and learned vectors if the file has them.
    AlibiByKey,
    /// Depends on the number of layers.
    ByLayers {
        /// Models with this number of layers have a rotary embedding.
        rope: u8,
        /// Its pairs.
        pairs: RopePairs,
        /// Models with this number of layers have ALiBi; all others have nothing.
        alibi: u8,
    },
}

/// Which keys a rotary embedding follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeKeys {
    /// All keys in the file.
    All,
    /// None: the whole head is rotated, with the base 10000.
    None,
}

/// The gate of each head's output, before the matrix that joins the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadGate {
    /// Nothing.
    None,
    /// The sigmoid of a gate for each element, which is computed together with the query (Qwen3-Next).
    WithQuery,
    /// The sigmoid of the output of `attn_gate`, for each element or for each head, depending on the rows of the
    /// matrix.
    Sigmoid,
    /// The same with softplus, `ln(1 + exp(x))`.
    Softplus,
}

/// The gate of the outputs of latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatentGate {
    /// Nothing.
    None,
    /// A gate for each head.
    Heads,
    /// A gate for each element, in files that have it.
    MaybeElements,
}

/// What `layer_output_scale` multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerScale {
    /// The stream after the layer.
    Stream,
    /// The token's embedding, which is then added to the stream.
    Embedding,
}

/// How often a token passes through the layers. Each pass has keys and values of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stacks {
    /// Once.
    Once,
    /// `num_loops` times. Between two passes the stream is normalised as before the output matrix, unless
    /// `skip_loop_final_norm` is present and true.
    Loops,
    /// Two alternating stacks of `hrm.layers_per_stack` layers, each with a stream of its own; both read the sum of the
    /// two streams (Wang et al. 2025). `hrm.h_cycles` times, a token passes `hrm.l_cycles` times through the lower
    /// stack, then once through the upper one.
    Hierarchical,
}

/// Which two elements of a head a rotary embedding rotates together, among the `n_rot` that it rotates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// `(2i, 2i + 1)`; ggml's `NORMAL`.
    Adjacent,
    /// `(i, i + n_rot / 2)`; ggml's `NEOX`.
    Halves,
}

/// Models that see images divide the pairs into sections, `rope.dimension_sections`: three that are rotated by the
/// position in time, height and width, which are the same in a text, and a last one, which is not rotated in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeSections {
    /// None, whatever the key says.
    None,
    /// The sections follow each other, in files that have the key; their pairs are then [`RopePairs::Halves`].
    Consecutive,
    /// The pairs of the first three sections alternate.
    Interleaved,
}

/// Layers with a rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayers {
    /// Every layer.
    All,
    /// All except every n-th.
    AllButEach(u8),
    /// Layers with a window; every layer in models without a window.
    Windowed,
    /// Every layer, or none if `rope.scaling.finetuned` says no.
    UnlessNotFinetuned,
    /// Layers with a window, and the first ones, which have no experts.
    WindowedOrLeading,
    /// In models with windows, all except the first of every N layers; every layer in models without windows, and in
    /// models with exactly N layers.
    AllButFirstOfEach(u8),
    /// The layers that `attention.rope_pattern` lists; without a list, every layer.
    Listed,
}

/// The rotary embedding of layers with a sliding window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WindowRope {
    /// The same as in the other layers.
    Shared,
    /// The same as in the other layers, except for a base of its own if the file has `rope.freq_base_swa`.
    Same,
    /// Neither scaled to longer contexts nor by factors; the base is that of the other layers.
    Unscaled,
    /// The same, with a base of its own if the file has one.
    UnscaledOwnBase,
    /// The same, with `rope.scaling.attn_factor`, and without `rope.freq_base_swa` this base.
    UnscaledBase(f32),
    /// The same, but without the key it has the base of the other layers.
    UnscaledMagnitude,
}

/// Which layer of a period sees all positions, if the file does not list the layers with a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowOrder {
    /// The last.
    LastSeesAll,
    /// The first.
    FirstSeesAll,
}

/// Layers that see only the last positions: of every `period` layers, all except the one that [`WindowOrder`] names,
/// unless the file's `attention.sliding_window_pattern` says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// None, whatever `attention.sliding_window` says.
    None,
    /// A window of `attention.sliding_window` positions. The key is required; 0 means an unlimited window.
    Required {
        /// The length of the period, of which the last layer sees all positions.
        period: u8,
    },
    /// The same, but with a default length if the key is missing.
    OrLength {
        /// The length of the period, of which the last layer sees all positions.
        period: u8,
        /// The default length in positions.
        length: u16,
    },
    /// A window of `attention.sliding_window` positions; no layer has a window if the key is missing or 0.
    Optional {
        /// The length of the period, of which the last layer sees all positions.
        period: u8,
    },
    /// A window of fixed length; no layer has a window if `attention.sliding_window` is missing or 0.
    Fixed {
        /// The length of the period, of which the last layer sees all positions.
        period: u8,
        /// Positions.
        length: u16,
    },
    /// The same as [`Symmetric`](Self::Symmetric), but no layer has a window if the key is missing or 0.
    MaybeSymmetric {
        /// The length of the period, of which one layer sees all positions.
        period: u8,
    },
    /// Half of `attention.sliding_window` positions before and half after the query. The key is required.
    Symmetric {
        /// The length of the period, of which the last layer sees all positions.
        period: u8,
    },
    /// A window of `attention.sliding_window` positions in every layer; none if the key is missing or 0.
    Everywhere,
    /// Like [`OrLength`](Self::OrLength), but only in models with a certain number of layers.
    AtLayers {
        /// The length of the period, of which the last layer sees all positions.
        period: u8,
        /// The default length in positions.
        length: u16,
        /// The number of layers.
        n_layer: u8,
    },
    /// A window of `attention.sliding_window` positions in the layers that `attention.sliding_window_pattern` lists.
    Pattern,
    /// Only positions in the same chunk of `attention.chunk_size` positions (8192 without the key). If
    /// `attention.sliding_window` is 0, there are no chunks, and all layers except the last of each period have a
    /// rotary embedding.
    Chunked {
        /// The length of the period, of which the last layer sees all positions.
        period: u8,
    },
}

/// Normalisation of queries and keys. The shape of the tensors determines what it spans: a head with weights shared by
/// all heads, a head with its own weights, or the row of all heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Before the rotary embedding.
    BeforeRope,
    /// Before the rotary embedding, in files that have the tensors.
    MaybeBeforeRope,
    /// Before the rotary embedding, in models with at least this many layers.
    BeforeRopeFromLayers(u8),
    /// After the rotary embedding.
    AfterRope,
    /// After the rotary embedding, without weights, in layers that have one, in models of fewer than
    /// 128 experts.
    AfterRopeWeightless,
    /// After the rotary embedding; queries with a factor for each head, keys without weights.
    AfterRopeByHead,
}

impl QkNorm {
    /// Whether queries and keys are rotated first.
    pub(super) fn is_after_rope(self) -> bool {
        matches!(self, QkNorm::AfterRope | QkNorm::AfterRopeWeightless | QkNorm::AfterRopeByHead)
    }
}

/// The forms of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKind {
    /// Over the positions up to the query's own (Vaswani et al. 2017).
    Causal,
    /// Over all positions of the batch.
    Bidirectional,
    /// Causal or over all positions, depending on `attention.causal`; causal without the key. The outputs are hidden
    /// states.
    EncoderByKey,
    /// Causal, with keys and values compressed to one vector (DeepSeek-AI 2024), which is cached; or expanded and then
    /// cached, in files that do not give the lengths of expanded heads (`attention.key_length_mla`).
    Latent,
}

/// The recurrent sequence mixers of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recurrence {
    /// Which one it is.
    pub kind: RecurrenceKind,
    /// The layers that have this mixer.
    pub layers: RecurrentLayers,
}

/// The recurrent sequence mixers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecurrenceKind {
    /// A selective state space with a decay for each element of its state (Gu and Dao 2023).
    Mamba,
    /// A selective state space with a decay for each head (Dao and Gu 2024).
    Mamba2,
    /// Linear attention with the gated delta rule (Yang et al. 2024).
    DeltaNet(KeyHeads, OutputGate),
    /// A convolution over a few positions between two gates (LFM2).
    ShortConvolution,
    /// A selective state space with the structure of Mamba, but with a decay for each head (PLaMo 2).
    HeadMamba,
    /// The gated delta rule with a decay for each channel (Kimi Team 2025).
    KimiDelta(KimiDecay),
    /// Linear attention with a constant decay for each head (Qin et al. 2024).
    Lightning,
    /// A decay for each channel, which depends on the token, and a bonus for the current token (Peng et al. 2024); or
    /// gated linear attention, in files without a bonus.
    Rwkv6,
    /// The generalised delta rule with a decay for each channel (Peng et al. 2025).
    Rwkv7,
}

/// The logarithms of decays in Kimi delta attention; `a` is a constant of the head (`ssm_a`), `f` depends on the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KimiDecay {
    /// `a · softplus(f)`.
    Softplus,
    /// `kda.gate_lower_bound · sigmoid(a · f)`; the key is required.
    Bounded,
    /// `kda.gate_lower_bound · sigmoid(-a · f)`; like [`Softplus`](Self::Softplus) if the key is missing or negative
    /// infinity.
    MaybeBounded,
}

/// The nonlinearity of the output gates of a gated delta net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputGate {
    /// `x · sigmoid(x)`.
    Silu,
    /// The sigmoid.
    Sigmoid,
}

/// Which queries and keys belong to which values, if several values share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHeads {
    /// Neighbouring values share a key.
    Neighbours,
    /// Keys are assigned to values cyclically.
    Cyclic,
}

/// The layers with a recurrent mixer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecurrentLayers {
    /// All; there is no attention.
    All,
    /// The layers to which `attention.head_count_kv` gives no heads.
    WithoutHeads,
    /// The layers that `attention.recurrent_layers` lists; without the key, all except every n-th, where n is
    /// `full_attention_interval` or, by default, this number.
    AllButEach(u8),
    /// All layers, in parallel with attention: both read the same input, and their outputs are added.
    BesideAttention,
}

/// Biases that a file must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biases {
    /// None.
    Optional,
    /// Those of all projections except the ones to queries, keys and values.
    AllButQkv,
    /// Those of all projections.
    All,
}

/// Nonlinearities of the feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)` in its tanh approximation (Hendrycks and Gimpel 2016).
    Gelu,
    /// `max(0, x)²` (So et al. 2021).
    ReluSquared,
    /// `max(0, x)`.
    Relu,
    /// `g · sigmoid(1.702 g) · (u + 1)` with gate `g` at most 7 and `u` from -7 to 7 (gpt-oss).
    ClampedSwiglu,
    /// `min(silu(g), limit) · u` with `u` from minus the limit to it.
    ClampedOutput(f32),
    /// `b · tanh(g / b) · sigmoid(g) · l · tanh(u / l)`; the last is `u` if `l` is 0. The numbers come from the keys
    /// `activation.situ_beta` and `activation.situ_linear_beta` (Kimi K3).
    Situ {
        /// `b`
        beta: f32,
        /// `l`
        linear_beta: f32,
    },
    /// `silu(g) · u` with gate `g` at most this and `u` from minus this to this.
    ClampedSilu(f32),
    /// The integral of the exponential linear unit (Huang 2024), with each layer's constants (`xielu.*`).
    Xielu(Xielu),
}

/// The constants of xIELU: `α_p x² + β x` above zero, else `α_n (exp(min(x, ε)) - 1 - x) + β x`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Xielu {
    /// `α_n`
    pub alpha_n: f32,
    /// `α_p`
    pub alpha_p: f32,
    /// `β`
    pub beta: f32,
    /// `ε`, below zero
    pub eps: f32,
}

/// The structure of a dense feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FeedForwardKind {
    /// `down(activation(up(x)))`.
    Plain,
    /// `down(activation(gate(x)) · up(x))`.
    Gated,
    /// Gated, with the rows of gate and up in one tensor, `ffn_up`.
    FusedGated,
    /// Gated, half as wide as `feed_forward_length` says.
    HalfGated,
    /// Gated in files with a gate, or, if `ffn_up` is twice as wide, with the rows of gate and up in that tensor;
    /// otherwise plain, with another nonlinearity.
    ByTensors {
        /// The nonlinearity of plain blocks.
        plain: Activation,
    },
    /// `down(max(0, up(x'))²)`, gated in some models, where `x'` is each token mixed with the one before it (RWKV).
    ChannelMix,
    /// Gated. In models with experts, which the family does not use, only the nonlinearity.
    GatedOrBare,
    /// There is none, whatever `feed_forward_length` says.
    None,
}

/// How the experts of a mixture are chosen and weighted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// The function that turns the router's logits into probabilities.
    pub gating: Gating,
    /// Whether `expert_gating_func` overrides it, if a file has that key and it is not 0.
    pub gating_by_key: bool,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub normalise: Normalise,
    /// Whether the weight multiplies an expert's input instead of its output.
    pub weighs_input: bool,
    /// Which layers have experts.
    pub layers: ExpertLayers,
    /// Whether experts without a gate are possible.
    pub gate_is_optional: bool,
    /// The inputs of the router and of the experts.
    pub inputs: ExpertInputs,
    /// The block that every token is sent to, in files that have one.
    pub shared: SharedExpert,
}

/// The inputs of the router and of the experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertInputs {
    /// Both read the same input as other channel mixers.
    Same,
    /// The experts read the same input as other channel mixers; the router reads the layer's input.
    RouterBefore,
    /// Both read the layer's input, normalised by `ffn_norm_exps`; the shared block reads the same input as other
    /// channel mixers.
    Before,
}

/// The block beside the experts that every token is sent to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedExpert {
    /// The names of its gate, up and down projections.
    pub parts: [&'static str; 3],
    /// Whether the rows of gate and up are in one tensor, the second.
    pub is_fused: bool,
    /// The factor of the sum of this block and the experts.
    pub sum_scale: f32,
}

/// The function that turns a router's logits into probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts.
    Softmax,
    /// The sigmoid, for each expert separately.
    Sigmoid,
    /// Softmax over the chosen experts.
    SoftmaxOfChosen,
    /// The square root of softplus, for each expert separately.
    RootOfSoftplus,
}

/// Whether the weights of the chosen experts are divided by their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalise {
    /// Always.
    Yes,
    /// Never.
    No,
    /// Depends on `expert_weights_norm`; no without the key.
    ByKey,
}

/// The layers with experts, in a model that has experts (`expert_count`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertLayers {
    /// Every layer.
    All,
    /// From `leading_dense_block_count` on.
    AfterLeading,
    /// From `leading_dense_block_count` on, every `interleave_moe_layer_step`-th.
    Interleaved,
    /// The same. Layers in between that have tensors of experts but none of a dense block do not use these tensors; they apply only the
    /// activation.
    InterleavedOrBare,
    /// The second of every `moe_every_n_layers` layers; none if that key is 0.
    SecondOfEach,
    /// The layers with a router; a dense block in such a layer is ignored.
    WithRouter,
}

/// The factor of the token's embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EmbeddingScale {
    /// 1, unless the file has `embedding_scale`.
    One,
    /// The square root of the width.
    SqrtWidth,
    /// `embedding_scale`, or 12 by default. The defaults of `residual_scale` and `logit_scale` are then 1.4 / √layers and
    /// 256 / width.
    MiniCpm,
}

/// The effect of `logit_scale`, if a file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitScale {
    /// Multiplies the logits.
    Multiplies,
    /// Divides the logits.
    Divides,
}

/// The factor of attention scores if `attention.scale` is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionScale {
    /// One over the square root of a head's length.
    HeadLength,
    /// The same, times the factor of the scores of latent attention in an extended context.
    HeadLengthAndStretch,
    /// The same, but one over the square root of `n_embd / n_head` in models with this many layers.
    WidthAtLayers(u8),
    /// One.
    One,
    /// One over a head's length.
    InverseHeadLength,
}

/// How queries grow with the position, by `1 + scale · ln(1 + floor((position + offset) / length))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QueryTemperature {
    /// If a file has `attention.temperature_scale`, with that scale and the length
    /// `rope.scaling.original_context_length`.
    ByKey,
    /// In layers without a rotary embedding: scale 0.1, length 8192, offset 1.
    WithoutRope,
}

/// Keys and tensors that a file of this family must have although they are optional in others: without them the result
/// would be a different model than intended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Required {
    /// Keys, without the family's prefix.
    pub keys: &'static [&'static str],
    /// Tensors of the whole model.
    pub model: &'static [&'static str],
    /// Tensors of each layer, without its prefix.
    pub layer: &'static [&'static str],
    /// Tensors of each layer with experts.
    pub expert_layer: &'static [&'static str],
    /// Tensors of each layer with a recurrent mixer.
    pub recurrent_layer: &'static [&'static str],
}

impl Required {
    /// Nothing beyond what all families must have.
    pub const NOTHING: Self =
        Required { keys: &[], model: &[], layer: &[], expert_layer: &[], recurrent_layer: &[] };
}

impl Architecture {
    /// Whether the family reads a key that only some do.
    pub fn reads(&self, key: &str) -> bool {
        self.reads.iter().any(|(read, _)| *read == key)
    }

    /// The default of a key that the family reads.
    pub(super) fn default_of(&self, key: &str) -> Option<f32> {
        self.reads.iter().find(|(read, _)| *read == key).and_then(|(_, default)| *default)
    }

    /// Whether the factor of a projection, if a file has one, multiplies the output of the projection.
    pub fn scales(&self, part: &str) -> bool {
        !self.unscaled.iter().any(|beginning| part.starts_with(beginning))
    }
}
