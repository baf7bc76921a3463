//! What sets the families of models apart.
//!
//! An [`Architecture`], an entry of the table [`ARCHITECTURES`], states what a GGUF file does not say of
//! itself: the order of the operations, and what a missing key means. Dimensions and constants come from the file's keys
//! ([`Config`](super::Config)), optional parts from the tensors that are there
//! ([`Weights`](super::weights::Weights)).
//!
//! A layer is a sequence mixer followed by a channel mixer, each of which adds to the residual
//! stream. Families mix the sequence by attention, by a recurrence, or by both.

use super::families::ARCHITECTURES;
pub use crate::compute::NormKind;

/// What the forward pass must know of a family beyond its hyper-parameters and tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// `general.architecture`, also the prefix of the family's keys.
    pub name: &'static str,
    /// How activations are normalised.
    pub norm: NormKind,
    /// Whether they are by the root of the mean square in files with `attention.layer_norm_rms_epsilon` above 0.
    pub rms_by_key: bool,
    /// The learned part of a normalisation.
    pub norm_weights: NormWeights,
    /// Added to the mean square in normalisations of what a mixer gives, in families in which it is a constant.
    pub post_norm_eps: Option<f32>,
    /// Whether the token's embedding is normalised, without weights.
    pub normalises_embedding: bool,
    /// Where a layer normalises.
    pub norms: &'static Norms,
    /// How the two mixers of a layer are joined.
    pub block: Block,
    /// How the position of a token enters.
    pub positions: Positions,
    /// Which keys the rotary embedding follows.
    pub rope_keys: RopeKeys,
    /// How the pairs of a rotary embedding are divided.
    pub rope_sections: RopeSections,
    /// The layers whose queries and keys are turned, in families with a rotary embedding.
    pub rope_layers: RopeLayers,
    /// The rotary embedding of layers with a sliding window.
    pub window_rope: WindowRope,
    /// The layers that see the last positions only.
    pub window: Window,
    /// Which layer of a period sees all positions.
    pub window_order: WindowOrder,
    /// Normalisation of queries and keys.
    pub qk_norm: QkNorm,
    /// The form of attention.
    pub attention: AttentionKind,
    /// The recurrent sequence mixer, in families that have one.
    pub recurrence: Option<Recurrence>,
    /// Which biases a file must have; those that it has are always used.
    pub biases: Biases,
    /// The nonlinearity of the feed-forward block.
    pub activation: Activation,
    /// How a dense feed-forward block is made up.
    pub feed_forward: FeedForwardKind,
    /// How a mixture of experts is routed, in families that can have one.
    pub routing: Option<&'static Routing>,
    /// What the token's embedding is multiplied by.
    pub embedding_scale: EmbeddingScale,
    /// What `logit_scale` does.
    pub logit_scale: LogitScale,
    /// What `attention.scale` is if the file does not say.
    pub attention_scale: AttentionScale,
    /// How queries at far positions are sharpened.
    pub temperature: QueryTemperature,
    /// What else a file must have.
    pub required: &'static Required,
    /// The scales, caps and limits that the family reads, and other keys that others do not, with what a missing
    /// scale means. Those of other families change nothing.
    pub reads: &'static [(&'static str, Option<f32>)],
    /// Beginnings of the names of tensors, those of layers without `blk.N.`, that a file can have and that are not
    /// used: what makes embeddings or scores of hidden states, what images need, what the family leaves alone.
    pub unused: &'static [&'static str],
    /// Beginnings of the names of projections whose factors (`.scale`) the family leaves alone; all others multiply what
    /// the projection gives.
    pub unscaled: &'static [&'static str],
    /// What makes scores of hidden states, in families whose files can have that.
    pub classifier: Option<ClassifierHead>,
    /// Whether a file without `token_embd` embeds tokens by its output matrix.
    pub output_embeds: bool,
    /// Whether a layer can be without heads, which then passes the stream on; with query heads only, which then is
    /// linear; or without a feed-forward block, which then changes nothing.
    pub has_empty_layers: bool,
    /// Whether a layer with a feed-forward block (`feed_forward_length` above 0) has no sequence mixer, and each other has
    /// nothing else (Nemotron-H).
    pub has_one_mixer: bool,
    /// What opens and closes the outputs of latent attention, through a sigmoid (`attn_gate`).
    pub latent_gate: LatentGate,
    /// Whether the gates of experts and blocks that are cut (`swiglu_clamp_exp`, `swiglu_clamp_shexp`) are so after the
    /// nonlinearity.
    pub clamps_after: bool,
    /// What opens and closes the heads' outputs.
    pub head_gate: HeadGate,
    /// What the number behind each layer multiplies, in files that have it.
    pub layer_scale: LayerScale,
    /// How often a token goes through the layers.
    pub stacks: Stacks,
    /// The name of the matrix that joins the heads.
    pub heads_output: &'static str,
    /// The prefix of the names of layers' tensors.
    pub layer_prefix: &'static str,
    /// Whether the first layer can be without the normalisation of what attention reads: the embedding is normalised.
    pub reads_embedding: bool,
    /// The name of the normalisation before the output matrix, in families that have one.
    pub output_norm: Option<&'static str>,
    /// The rows of a joint projection to queries, keys and values.
    pub joint_rows: JointRows,
    /// Whether values are normalised, without weights; a layer without a projection to values takes
    /// the keys as they are before their own normalisation.
    pub normalises_values: bool,
    /// The first layers that have keys and values of their own, which serve the rest, in families in which no key says
    /// how many.
    pub n_own_kv: Option<u8>,
}

/// The rows of a joint projection to queries, keys and values (`attn_qkv`). The heads of keys can be fewer than its rows
/// are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JointRows {
    /// Those of queries, keys and values in turn, no others.
    All,
    /// The same, of three times as many as those of the queries; the rest is not used.
    First,
    /// Those from the first on, from as many as the model is wide on, and from twice as many; the rest is not used.
    EachWidth,
}

/// What a classifier does besides multiplying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassifierHead {
    /// The hyperbolic tangent after the first matrix.
    Tanh,
    /// GELU after the first matrix.
    Gelu,
    /// Scores become probabilities.
    Softmax,
}

/// The learned part of a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormWeights {
    /// A factor.
    Weight,
    /// A factor and a summand.
    WeightAndBias,
    /// A factor, and a summand where the file has one.
    WeightMaybeBias,
    /// Nothing is learned.
    None,
}

/// Where a layer normalises: the names of the tensors, `None` where it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Norms {
    /// What attention reads.
    pub attn: Option<&'static str>,
    /// What attention gives, before it is added.
    pub attn_post: Option<&'static str>,
    /// What the feed-forward block reads.
    pub ffn: Option<&'static str>,
    /// What the feed-forward block gives, before it is added.
    pub ffn_post: Option<&'static str>,
    /// What the heads of attention give, before the matrix that joins them.
    pub heads: Option<&'static str>,
    /// What the nonlinearity of the feed-forward block gives.
    pub hidden: Option<&'static str>,
}

/// How the two mixers of a layer are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The feed-forward block reads what attention has added to.
    Sequential,
    /// Both read the same; the second normalisation is used where the file has one.
    Parallel,
    /// As `use_parallel_residual` says, which is required.
    ParallelByKey,
    /// Parallel, with one normalisation for both, in files without `ffn_norm`; else sequential.
    ParallelWithoutFfnNorm,
    /// The stream itself is normalised after each addition (encoders).
    PostNorm,
    /// As sequential, but what a mixer gives is added to what it has read, times `residual_scale` (MiniMax-01).
    AddToRead,
}

/// The ways in which a position enters.
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
    /// What scores gain by the distance, in so many buckets as `attention.relative_buckets_count` says (Raffel et al. 2020).
    Relative,
    /// ALiBi where `attention.max_alibi_bias` is above 0, and a learned vector where the file has them.
    AlibiByKey,
    /// By the number of layers.
    ByLayers {
        /// A rotary embedding in models of so many layers.
        rope: u8,
        /// Its pairs.
        pairs: RopePairs,
        /// ALiBi in models of so many; in others nothing.
        alibi: u8,
    },
}

/// Which keys a rotary embedding follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeKeys {
    /// All that there are.
    All,
    /// None: the whole head is turned, with the base 10000.
    None,
}

/// What opens and closes each head's output, before the matrix that joins the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadGate {
    /// Nothing.
    None,
    /// The sigmoid of a gate for each element, which comes with its query (Qwen3-Next).
    WithQuery,
    /// The sigmoid of what `attn_gate` gives, for each element or for each head as the matrix has rows.
    Sigmoid,
    /// The same with softplus, `ln(1 + exp(x))`.
    Softplus,
}

/// What opens and closes the outputs of latent attention.
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
    /// The stream behind the layer.
    Stream,
    /// The token's embedding, which is then added to the stream.
    Embedding,
}

/// How often a token goes through the layers; each time they have keys and values of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stacks {
    /// Once.
    Once,
    /// As often as `num_loops` says; between two times the stream is normalised as before the output matrix, unless
    /// `skip_loop_final_norm` is there and true.
    Loops,
    /// Two stacks of `hrm.layers_per_stack` layers in turns, each with a stream of its own that it reads the sum of
    /// (Wang et al. 2025): `hrm.h_cycles` times, the lower one `hrm.l_cycles` times, then the upper one.
    Hierarchical,
}

/// Which two elements of a head a rotary embedding turns together, of `n_rot` that it turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// `(2i, 2i + 1)`; ggml's `NORMAL`.
    Adjacent,
    /// `(i, i + n_rot / 2)`; ggml's `NEOX`.
    Halves,
}

/// Models that see images divide the pairs into sections, `rope.dimension_sections`: three that turn by the
/// position in time, height and width, which are one in a text, and a last one, which a text does not turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeSections {
    /// None, whatever the key says.
    None,
    /// One after the other, in files that have the key; their pairs are then [`RopePairs::Halves`].
    Consecutive,
    /// The first three in turns.
    Interleaved,
}

/// Layers with a rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayers {
    /// Every layer.
    All,
    /// All but each n-th.
    AllButEach(u8),
    /// Layers with a window; every layer in models without a window.
    Windowed,
    /// Every layer, or none if `rope.scaling.finetuned` says no.
    UnlessNotFinetuned,
    /// Layers with a window, and the first ones, which have no experts.
    WindowedOrLeading,
    /// All but the first of each so many, in models with windows; every layer in others, and in models of just so many.
    AllButFirstOfEach(u8),
    /// Those that `attention.rope_pattern` lists; without a list every layer.
    Listed,
}

/// The rotary embedding of layers with a sliding window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WindowRope {
    /// That of the other layers.
    Shared,
    /// That of the other layers, but for a base of its own where the file has `rope.freq_base_swa`.
    Same,
    /// Not scaled to longer contexts, nor by factors; base that of the other layers.
    Unscaled,
    /// The same, with a base of its own where the file has one.
    UnscaledOwnBase,
    /// The same, with `rope.scaling.attn_factor`, and without `rope.freq_base_swa` this base.
    UnscaledBase(f32),
    /// The same, but without the key the base of the other layers.
    UnscaledMagnitude,
}

/// Which of the layers of a period sees all positions, if the file does not list those with a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowOrder {
    /// The last.
    LastSeesAll,
    /// The first.
    FirstSeesAll,
}

/// Layers that see the last positions only; of each `period` layers, all but the one that [`WindowOrder`] names, unless
/// the file's `attention.sliding_window_pattern` says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// None, whatever `attention.sliding_window` says.
    None,
    /// As many positions as `attention.sliding_window` says, which is required; 0 is a window without an end.
    Required {
        /// Of how many layers the last sees all.
        period: u8,
    },
    /// The same, but without the key a window of this length.
    OrLength {
        /// Of how many layers the last sees all.
        period: u8,
        /// Positions of a file that does not say.
        length: u16,
    },
    /// As many positions as `attention.sliding_window` says; no layer has one without the key, or if it is 0.
    Optional {
        /// Of how many layers the last sees all.
        period: u8,
    },
    /// So many positions; no layer has a window without `attention.sliding_window`, or if it is 0.
    Fixed {
        /// Of how many layers the last sees all.
        period: u8,
        /// Positions.
        length: u16,
    },
    /// The same as [`Symmetric`](Self::Symmetric); no layer has one without the key, or if it is 0.
    MaybeSymmetric {
        /// Of how many layers one sees all.
        period: u8,
    },
    /// Half as many positions before and behind as `attention.sliding_window` says, which is required.
    Symmetric {
        /// Of how many layers the last sees all.
        period: u8,
    },
    /// As many positions as `attention.sliding_window` says, in every layer; none without the key, or if it is 0.
    Everywhere,
    /// As [`OrLength`](Self::OrLength), in models of so many layers.
    AtLayers {
        /// Of how many layers the last sees all.
        period: u8,
        /// Positions of a file that does not say.
        length: u16,
        /// The number of layers.
        n_layer: u8,
    },
    /// As many positions as `attention.sliding_window` says, in the layers that
    /// `attention.sliding_window_pattern` lists.
    Pattern,
    /// Positions of the same chunk, `attention.chunk_size` long (8192 without the key); none, and a rotary embedding
    /// in all layers but the last, if `attention.sliding_window` is 0.
    Chunked {
        /// Of how many layers the last sees all.
        period: u8,
    },
}

/// Normalisation of queries and keys. What it spans follows from the shape of the tensors: a head
/// with one weight for all, a head with its own, or the row of all heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Before the rotary embedding.
    BeforeRope,
    /// Before the rotary embedding, in files that have the tensors.
    MaybeBeforeRope,
    /// Before the rotary embedding, in models of at least so many layers.
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
    /// Whether queries and keys are turned first.
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
    /// Causal or over all positions, as `attention.causal` says; causal without it. What comes out are hidden states.
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
    /// The layers that have it.
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
    /// A selective state space made up as Mamba is, with a decay for each head (PLaMo 2).
    HeadMamba,
    /// The gated delta rule with a decay for each channel (Kimi Team 2025).
    KimiDelta(KimiDecay),
    /// Linear attention with a decay that each head has once and for all (Qin et al. 2024).
    Lightning,
    /// A decay for each channel, which each token says, and a bonus for the current token (Peng et al. 2024); or gated
    /// linear attention, in files without a bonus.
    Rwkv6,
    /// The generalised delta rule with a decay for each channel (Peng et al. 2025).
    Rwkv7,
}

/// What the logarithms of decays are in Kimi delta attention, with `a` of the head (`ssm_a`) and what the token says, `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KimiDecay {
    /// `a · softplus(f)`.
    Softplus,
    /// `kda.gate_lower_bound · sigmoid(a · f)`; the key is required.
    Bounded,
    /// `kda.gate_lower_bound · sigmoid(-a · f)`; as [`Softplus`](Self::Softplus) without the key, or if it has no end.
    MaybeBounded,
}

/// What the gates of a gated delta net's outputs go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputGate {
    /// `x · sigmoid(x)`.
    Silu,
    /// The sigmoid.
    Sigmoid,
}

/// Which queries and keys go with which values, where several values share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHeads {
    /// Neighbouring values share a key.
    Neighbours,
    /// Keys go with values in turns.
    Cyclic,
}

/// The layers with a recurrent mixer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecurrentLayers {
    /// All; there is no attention.
    All,
    /// Those that `attention.head_count_kv` gives no heads.
    WithoutHeads,
    /// Those that `attention.recurrent_layers` lists; without the key all but each n-th, n being
    /// `full_attention_interval`, or this.
    AllButEach(u8),
    /// All, beside attention: both read the same, and what they give is added.
    BesideAttention,
}

/// Biases that a file must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biases {
    /// None.
    Optional,
    /// Those of all projections but the ones to queries, keys and values.
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
    /// `b · tanh(g / b) · sigmoid(g) · l · tanh(u / l)`; the last is `u` if `l` is 0. The numbers are those of the keys
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

/// How a dense feed-forward block is made up.
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
    /// Gated in files with a gate; with the rows of gate and up in one tensor where `ffn_up` is twice as wide; without
    /// either plain, with another nonlinearity.
    ByTensors {
        /// The nonlinearity of plain blocks.
        plain: Activation,
    },
    /// `down(max(0, up(x'))²)`, gated in some models, where `x'` is each token mixed with the one before it (RWKV).
    ChannelMix,
    /// Gated; in models with experts, which the family does not use, the nonlinearity alone.
    GatedOrBare,
    /// There is none, whatever `feed_forward_length` says.
    None,
}

/// How the experts of a mixture are chosen and weighted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// The function that makes probabilities of the router's logits.
    pub gating: Gating,
    /// Whether `expert_gating_func` says otherwise, where a file has it and it is not 0.
    pub gating_by_key: bool,
    /// Whether the weights of the chosen are divided by their sum.
    pub normalise: Normalise,
    /// Whether the weight multiplies an expert's input instead of its output.
    pub weighs_input: bool,
    /// Which layers have experts.
    pub layers: ExpertLayers,
    /// Whether experts without a gate are possible.
    pub gate_is_optional: bool,
    /// What router and experts read.
    pub inputs: ExpertInputs,
    /// The block that every token is sent to, in files that have it.
    pub shared: SharedExpert,
}

/// What router and experts read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertInputs {
    /// What other channel mixers read.
    Same,
    /// The experts the same, the router what comes into the layer.
    RouterBefore,
    /// Both what comes into the layer, normalised by `ffn_norm_exps`; the shared block what other channel mixers read.
    Before,
}

/// The block beside the experts that every token is sent to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedExpert {
    /// The names of its gate, up and down.
    pub parts: [&'static str; 3],
    /// Whether the rows of gate and up are in one tensor, the second.
    pub is_fused: bool,
    /// What its sum with the experts is multiplied by.
    pub sum_scale: f32,
}

/// The function that makes probabilities of a router's logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts.
    Softmax,
    /// Each expert by itself.
    Sigmoid,
    /// Softmax over the chosen experts.
    SoftmaxOfChosen,
    /// The square root of softplus, each expert by itself.
    RootOfSoftplus,
}

/// Whether the weights of the chosen experts are divided by their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalise {
    /// Always.
    Yes,
    /// Never.
    No,
    /// As `expert_weights_norm` says; no without it.
    ByKey,
}

/// Layers with experts, of a model that has any (`expert_count`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertLayers {
    /// Every layer.
    All,
    /// From `leading_dense_block_count` on.
    AfterLeading,
    /// From `leading_dense_block_count` on, each `interleave_moe_layer_step`-th.
    Interleaved,
    /// The same; layers between these that have tensors of experts and none of a dense block do not use them, and have the
    /// activation in the place of the block.
    InterleavedOrBare,
    /// The second of each `moe_every_n_layers`; none if that is 0.
    SecondOfEach,
    /// Those with a router; a dense block beside it is left alone.
    WithRouter,
}

/// What the token's embedding is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EmbeddingScale {
    /// Nothing, unless `embedding_scale` is there.
    One,
    /// The square root of the width.
    SqrtWidth,
    /// `embedding_scale`, or this; with it go `residual_scale` 1.4 / √layers and `logit_scale`
    /// 256 / width, where these keys are missing.
    MiniCpm,
}

/// What `logit_scale` does, where a file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitScale {
    /// Multiplies the logits.
    Multiplies,
    /// Divides the logits.
    Divides,
}

/// What the scores of attention are multiplied by if `attention.scale` does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionScale {
    /// One over the square root of a head's length.
    HeadLength,
    /// The same, times what a stretched context multiplies the scores of latent attention by.
    HeadLengthAndStretch,
    /// The same, but one over the square root of `n_embd / n_head` in models of this many layers.
    WidthAtLayers(u8),
    /// One.
    One,
    /// One over a head's length.
    InverseHeadLength,
}

/// How queries grow with the position, by `1 + scale · ln(1 + floor((position + offset) / length))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QueryTemperature {
    /// By `attention.temperature_scale`, where a file has it, over
    /// `rope.scaling.original_context_length`.
    ByKey,
    /// In layers without a rotary embedding: scale 0.1, length 8192, offset 1.
    WithoutRope,
}

/// What a file of a family must have although others do without it: going on would give another model
/// than was meant.
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
    /// Nothing more than what all families must have.
    pub const NOTHING: Self =
        Required { keys: &[], model: &[], layer: &[], expert_layer: &[], recurrent_layer: &[] };
}

impl Architecture {
    /// Whether the family reads a key that only some do.
    pub fn reads(&self, key: &str) -> bool {
        self.reads.iter().any(|(read, _)| *read == key)
    }

    /// What a key that the family reads means where it is missing.
    pub(super) fn default_of(&self, key: &str) -> Option<f32> {
        self.reads.iter().find(|(read, _)| *read == key).and_then(|(_, default)| *default)
    }

    /// Whether the factor of a projection, where a file has one, multiplies what the projection gives.
    pub fn scales(&self, part: &str) -> bool {
        !self.unscaled.iter().any(|beginning| part.starts_with(beginning))
    }

    /// The name of a family that begins most like `name`, which is none's.
    pub fn nearest(name: &str) -> &'static str {
        let likeness = |other: &str| {
            let n_same =
                other.bytes().zip(name.bytes()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
            (n_same, core::cmp::Reverse(other.len().abs_diff(name.len())))
        };
        let nearest = ARCHITECTURES.iter().max_by_key(|architecture| likeness(architecture.name));
        nearest.map_or("", |architecture| architecture.name)
    }

    /// The family of this `general.architecture`.
    pub fn from_name(name: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|architecture| architecture.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_family_has_parallel_mixers_and_layers_with_two_sequence_mixers() {
        // The forward pass has one buffer for both.
        for Architecture { name, block, recurrence, .. } in ARCHITECTURES {
            let has_both =
                recurrence.is_some_and(|recurrence| recurrence.layers == RecurrentLayers::BesideAttention);
            assert!(!has_both || matches!(block, Block::Sequential | Block::PostNorm), "{name}");
        }
    }

    #[test]
    fn every_family_is_found_by_its_own_name_only() {
        for architecture in ARCHITECTURES {
            assert_eq!(Architecture::from_name(architecture.name), Some(architecture));
        }
        assert_eq!(Architecture::from_name("Llama"), None);
    }

    #[test]
    fn an_unknown_name_has_a_nearest() {
        for (name, nearest) in [
            ("Llama", "llama"),
            ("qwen5", "qwen3"),
            ("deepseek32", "deepseek2"),
            ("mistral", "mistral4"),
            ("glm5-next", "glm4moe"),
        ] {
            assert_eq!(Architecture::nearest(name), nearest, "{name}");
        }
    }
}
