//! The families of models: what sets each apart, as one table.
//!
//! An [`Architecture`] states what a GGUF file does not say of itself: the order of the operations,
//! and what a missing key means. Dimensions and constants come from the file's keys
//! ([`Config`](super::Config)), optional parts from the tensors that are there
//! ([`Weights`](super::weights::Weights)).
//!
//! A layer is a sequence mixer followed by a channel mixer, each of which adds to the residual
//! stream. Every family here mixes the sequence by attention.

/// What the forward pass must know of a family beyond its hyper-parameters and tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// `general.architecture`, also the prefix of the family's keys.
    pub name: &'static str,
    /// How activations are normalised.
    pub norm: NormKind,
    /// The learned part of a normalisation.
    pub norm_weights: NormWeights,
    /// Where a layer normalises.
    pub norms: Norms,
    /// How the two mixers of a layer are joined.
    pub block: Block,
    /// How the position of a token enters.
    pub positions: Positions,
    /// The layers whose queries and keys are turned, in families with a rotary embedding.
    pub rope_layers: RopeLayers,
    /// The rotary embedding of layers with a sliding window.
    pub window_rope: WindowRope,
    /// The layers that see the last positions only.
    pub window: Window,
    /// Normalisation of queries and keys.
    pub qk_norm: QkNorm,
    /// The form of attention.
    pub attention: AttentionKind,
    /// Which biases a file must have; those that it has are always used.
    pub biases: Biases,
    /// The nonlinearity of the feed-forward block.
    pub activation: Activation,
    /// How a dense feed-forward block is made up.
    pub feed_forward: FeedForwardKind,
    /// How a mixture of experts is routed, in families that can have one.
    pub routing: Option<Routing>,
    /// What the token's embedding is multiplied by.
    pub embedding_scale: EmbeddingScale,
    /// What `logit_scale` does.
    pub logit_scale: LogitScale,
    /// What `attention.scale` is if the file does not say.
    pub attention_scale: AttentionScale,
    /// How queries at far positions are sharpened.
    pub temperature: QueryTemperature,
    /// What else a file must have.
    pub required: Required,
    /// The scales, caps and limits that the family reads, with what a missing one means. Those of other
    /// families change nothing.
    pub reads: &'static [(&'static str, Option<f32>)],
    /// Whether values are normalised, without weights; a layer without a projection to values takes
    /// the keys as they are before their own normalisation.
    pub normalises_values: bool,
}

/// The kinds of normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x²) + eps)` (Zhang and Sennrich 2019).
    Rms,
    /// `(x - mean) / sqrt(var + eps)` (Ba et al. 2016).
    Layer,
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
}

/// The ways in which a position enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Rotary embedding of queries and keys (Su et al. 2021).
    Rope(RopePairs),
    /// A learned vector per position, added to the token's embedding (`position_embd`).
    Learned,
    /// A penalty on attention that grows with the distance (Press et al. 2022).
    Alibi,
    /// ALiBi in models of this many layers, in others a rotary embedding.
    AlibiAtLayers(usize, RopePairs),
}

/// Which two elements of a head a rotary embedding turns together, of `n_rot` that it turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// `(2i, 2i + 1)`; ggml's `NORMAL`.
    Adjacent,
    /// `(i, i + n_rot / 2)`; ggml's `NEOX`.
    Halves,
}

/// Layers with a rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayers {
    /// Every layer.
    All,
    /// All but each n-th.
    AllButEach(usize),
    /// Layers with a window; every layer if there are none.
    Windowed,
}

/// The rotary embedding of layers with a sliding window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WindowRope {
    /// That of the other layers.
    Same,
    /// Not scaled to longer contexts, nor by factors; base `rope.freq_base_swa`, or that of the other
    /// layers.
    Unscaled,
    /// The same, but without the key this base, and with `rope.scaling.attn_factor`.
    UnscaledBase(f32),
}

/// Layers that see the last positions only; of each `period` layers, all but the last, unless the file's
/// `attention.sliding_window_pattern` says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// None, whatever `attention.sliding_window` says.
    None,
    /// As many positions as `attention.sliding_window` says, which is required.
    Required {
        /// Of how many layers the last sees all.
        period: usize,
    },
    /// As many positions as `attention.sliding_window` says, in files that have the key.
    Optional {
        /// Of how many layers the last sees all.
        period: usize,
    },
    /// As many positions as `attention.sliding_window` says, in models of so many layers.
    AtLayers {
        /// Of how many layers the last sees all.
        period: usize,
        /// The number of layers.
        n_layer: usize,
    },
    /// As many positions as `attention.sliding_window` says, in the layers that
    /// `attention.sliding_window_pattern` lists.
    Pattern,
    /// Positions of the same chunk, `attention.chunk_size` long (8192 without the key).
    Chunked {
        /// Of how many layers the last sees all.
        period: usize,
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
    BeforeRopeFromLayers(usize),
    /// After the rotary embedding.
    AfterRope,
    /// After the rotary embedding, without weights, in layers that have one, in models of fewer than
    /// 128 experts.
    AfterRopeWeightless,
}

/// The forms of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKind {
    /// Over the positions up to the query's own (Vaswani et al. 2017).
    Causal,
    /// Over all positions of the batch.
    Bidirectional,
    /// Causal, with keys and values compressed to one vector (DeepSeek-AI 2024).
    Latent,
}

/// Biases that a file must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biases {
    /// None.
    Optional,
    /// Those of the projections to queries, keys and values.
    Qkv,
    /// Those of all projections.
    All,
}

/// Nonlinearities of the feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)` in its tanh approximation (Hendrycks and Gimpel 2016).
    Gelu,
    /// `max(0, x)²` (So et al. 2021).
    ReluSquared,
    /// `g · sigmoid(1.702 g) · (u + 1)` with gate `g` at most 7 and `u` from -7 to 7 (gpt-oss).
    ClampedSwiglu,
}

/// How a dense feed-forward block is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForwardKind {
    /// `down(activation(up(x)))`.
    Plain,
    /// `down(activation(gate(x)) · up(x))`.
    Gated,
    /// Gated, with the rows of gate and up in one tensor, `ffn_up`.
    FusedGated,
    /// Gated, half as wide as `feed_forward_length` says.
    HalfGated,
}

/// How the experts of a mixture are chosen and weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// The function that makes probabilities of the router's logits, if `expert_gating_func` does
    /// not say; in families whose `normalise` is not by key, whatever it says.
    pub gating: Gating,
    /// Whether the weights of the chosen are divided by their sum.
    pub normalise: Normalise,
    /// Whether the weight multiplies an expert's input instead of its output.
    pub weighs_input: bool,
    /// Which layers have experts.
    pub layers: ExpertLayers,
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
    /// The same, but one over the square root of `n_embd / n_head` in models of this many layers.
    WidthAtLayers(usize),
    /// One.
    One,
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
}

impl Required {
    /// Nothing more than what all families must have.
    pub const NOTHING: Self = Required { keys: &[], model: &[], layer: &[], expert_layer: &[] };
}

/// What most families have in common: Llama's form.
const LLAMA: Architecture = Architecture {
    name: "llama",
    norm: NormKind::Rms,
    norm_weights: NormWeights::Weight,
    norms: PRE_NORMS,
    block: Block::Sequential,
    positions: Positions::Rope(RopePairs::Adjacent),
    rope_layers: RopeLayers::All,
    window_rope: WindowRope::Same,
    window: Window::None,
    qk_norm: QkNorm::None,
    attention: AttentionKind::Causal,
    biases: Biases::Optional,
    activation: Activation::Silu,
    feed_forward: FeedForwardKind::Gated,
    routing: Some(SOFTMAX_ROUTING),
    embedding_scale: EmbeddingScale::One,
    logit_scale: LogitScale::Multiplies,
    attention_scale: AttentionScale::HeadLength,
    temperature: QueryTemperature::ByKey,
    required: Required::NOTHING,
    reads: &[],
    normalises_values: false,
};

/// Llama's form with rotary pairs of halves.
const NEOX: Architecture = Architecture { positions: Positions::Rope(RopePairs::Halves), ..LLAMA };

/// The form of GPT-2: LayerNorm, biases, a plain feed-forward block with GELU.
const GPT: Architecture = Architecture {
    norm: NormKind::Layer,
    norm_weights: NormWeights::WeightAndBias,
    activation: Activation::Gelu,
    feed_forward: FeedForwardKind::Plain,
    routing: None,
    ..NEOX
};

const PRE_NORMS: Norms =
    Norms { attn: Some("attn_norm"), attn_post: None, ffn: Some("ffn_norm"), ffn_post: None };
const SANDWICH_NORMS: Norms =
    Norms { attn_post: Some("post_attention_norm"), ffn_post: Some("post_ffw_norm"), ..PRE_NORMS };
const POST_NORMS: Norms = Norms { attn: None, ffn: None, ..SANDWICH_NORMS };
/// The normalisation before the feed-forward block goes by another name.
const RENAMED_FFN_NORM: Norms = Norms { ffn: Some("post_attention_norm"), ..PRE_NORMS };

const GRANITE_SCALES: &[(&str, Option<f32>)] =
    &[("attention.scale", None), ("embedding_scale", None), ("residual_scale", None), ("logit_scale", None)];
const MINICPM_SCALES: &[(&str, Option<f32>)] =
    &[("embedding_scale", None), ("residual_scale", None), ("logit_scale", None)];
const GEMMA2_CAPS: &[(&str, Option<f32>)] =
    &[("attn_logit_softcapping", Some(50.0)), ("final_logit_softcapping", Some(30.0))];

const LOGIT_SCALE: Required = Required { keys: &["logit_scale"], ..Required::NOTHING };
/// The output matrix is never the embedding.
const OUTPUT: Required = Required { model: &["output.weight"], ..Required::NOTHING };
const OUTPUT_AND_BIAS: Required = Required { model: &["output.weight", "output.bias"], ..Required::NOTHING };

const SOFTMAX_ROUTING: Routing = Routing {
    gating: Gating::Softmax,
    normalise: Normalise::Yes,
    weighs_input: false,
    layers: ExpertLayers::All,
};
/// The routing of DeepSeek's line: some dense layers first, the rest by keys.
const DEEPSEEK_ROUTING: Routing = Routing {
    gating: Gating::Softmax,
    normalise: Normalise::ByKey,
    weighs_input: false,
    layers: ExpertLayers::AfterLeading,
};

/// All families that can be run.
#[rustfmt::skip]
pub static ARCHITECTURES: &[Architecture] = &[
    LLAMA,
    Architecture { name: "mistral3", reads: &[("attention.temperature_scale", None)], ..LLAMA },
    Architecture {
        name: "llama4",
        rope_layers: RopeLayers::AllButEach(4), window: Window::Chunked { period: 4 }, qk_norm: QkNorm::AfterRopeWeightless,
        temperature: QueryTemperature::WithoutRope,
        routing: Some(Routing { gating: Gating::Sigmoid, normalise: Normalise::No, weighs_input: true, layers: ExpertLayers::Interleaved }),
        ..LLAMA
    },
    Architecture { name: "arcee", activation: Activation::ReluSquared, feed_forward: FeedForwardKind::Plain, ..LLAMA },
    Architecture { name: "baichuan", positions: Positions::AlibiAtLayers(40, RopePairs::Adjacent), required: OUTPUT, ..LLAMA },
    Architecture { name: "chatglm", feed_forward: FeedForwardKind::FusedGated, ..LLAMA },
    Architecture { name: "deepseek", reads: &[("expert_weights_scale", None)], routing: Some(Routing { normalise: Normalise::No, ..DEEPSEEK_ROUTING }), ..LLAMA },
    Architecture { name: "deepseek2", attention: AttentionKind::Latent, reads: &[("attention.temperature_scale", None), ("expert_weights_scale", None)], routing: Some(DEEPSEEK_ROUTING), ..LLAMA },
    Architecture { name: "ernie4_5", ..LLAMA },
    Architecture { name: "ernie4_5-moe", routing: Some(Routing { layers: ExpertLayers::Interleaved, ..SOFTMAX_ROUTING }), ..LLAMA },
    Architecture { name: "glm4", norms: SANDWICH_NORMS, feed_forward: FeedForwardKind::FusedGated, ..LLAMA },
    Architecture { name: "granite", logit_scale: LogitScale::Divides, reads: GRANITE_SCALES, required: LOGIT_SCALE, ..LLAMA },
    Architecture { name: "granitemoe", logit_scale: LogitScale::Divides, reads: GRANITE_SCALES, required: LOGIT_SCALE, ..LLAMA },
    Architecture { name: "internlm2", required: OUTPUT, ..LLAMA },
    Architecture { name: "minicpm", embedding_scale: EmbeddingScale::MiniCpm, logit_scale: LogitScale::Divides, reads: MINICPM_SCALES, ..LLAMA },
    Architecture { name: "smollm3", rope_layers: RopeLayers::AllButEach(4), ..LLAMA },
    Architecture { name: "xverse", required: OUTPUT, ..LLAMA },
    Architecture { name: "olmo", norm: NormKind::Layer, norm_weights: NormWeights::None, reads: &[("attention.clamp_kqv", None)], ..LLAMA },
    Architecture { name: "command-r", norm: NormKind::Layer, block: Block::Parallel, qk_norm: QkNorm::BeforeRopeFromLayers(64), reads: &[("logit_scale", None)], ..LLAMA },
    Architecture {
        name: "cohere2",
        norm: NormKind::Layer, block: Block::Parallel,
        window: Window::Required { period: 4 }, rope_layers: RopeLayers::Windowed,
        reads: &[("logit_scale", None)], required: LOGIT_SCALE,
        ..LLAMA
    },

    Architecture { name: "bailingmoe2", qk_norm: QkNorm::BeforeRope, routing: Some(DEEPSEEK_ROUTING), reads: &[("expert_weights_scale", None)], required: Required { keys: &["expert_gating_func"], ..OUTPUT }, ..NEOX },
    Architecture { name: "dots1", qk_norm: QkNorm::BeforeRope, reads: &[("expert_weights_scale", None)], required: OUTPUT, routing: Some(DEEPSEEK_ROUTING), ..NEOX },
    Architecture { name: "exaone", ..NEOX },
    Architecture {
        name: "exaone4",
        norms: POST_NORMS, qk_norm: QkNorm::BeforeRope,
        window: Window::AtLayers { period: 4, n_layer: 64 }, rope_layers: RopeLayers::Windowed,
        ..NEOX
    },
    Architecture { name: "gemma", activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth, ..NEOX },
    Architecture {
        name: "gemma2",
        norms: SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::Required { period: 2 }, attention_scale: AttentionScale::WidthAtLayers(46),
        reads: GEMMA2_CAPS,
        ..NEOX
    },
    Architecture {
        name: "gemma3",
        norms: SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::Required { period: 6 }, window_rope: WindowRope::UnscaledBase(10_000.0),
        qk_norm: QkNorm::BeforeRope, attention_scale: AttentionScale::WidthAtLayers(62),
        reads: &[("final_logit_softcapping", None)],
        ..NEOX
    },
    Architecture {
        name: "gemma4",
        norms: SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::Pattern, window_rope: WindowRope::UnscaledBase(10_000.0),
        qk_norm: QkNorm::BeforeRope, normalises_values: true, attention_scale: AttentionScale::One,
        required: Required { model: &["rope_freqs.weight"], ..Required::NOTHING },
        reads: &[("final_logit_softcapping", Some(30.0))],
        routing: None,
        ..NEOX
    },
    Architecture {
        name: "glm4moe",
        norms: RENAMED_FFN_NORM, qk_norm: QkNorm::MaybeBeforeRope,
        required: Required { expert_layer: &["exp_probs_b.bias"], ..Required::NOTHING },
        reads: &[("expert_weights_scale", None)],
        routing: Some(Routing { gating: Gating::Sigmoid, ..DEEPSEEK_ROUTING }),
        ..NEOX
    },
    Architecture {
        name: "gpt-oss",
        norms: RENAMED_FFN_NORM, window: Window::Required { period: 2 },
        required: Required {
            layer: &["attn_output.bias", "attn_sinks.weight"],
            expert_layer: &["ffn_gate_inp.bias", "ffn_gate_exps.bias", "ffn_up_exps.bias", "ffn_down_exps.bias"],
            ..OUTPUT
        },
        activation: Activation::ClampedSwiglu, routing: Some(Routing { gating: Gating::SoftmaxOfChosen, normalise: Normalise::No, ..SOFTMAX_ROUTING }),
        ..NEOX
    },
    Architecture { name: "hunyuan-dense", qk_norm: QkNorm::AfterRope, ..NEOX },
    Architecture { name: "hunyuan-moe", qk_norm: QkNorm::AfterRope, ..NEOX },
    Architecture {
        name: "olmo2",
        norms: POST_NORMS, qk_norm: QkNorm::BeforeRope,
        window: Window::Optional { period: 4 }, window_rope: WindowRope::Unscaled,
        required: OUTPUT,
        ..NEOX
    },
    Architecture { name: "olmoe", qk_norm: QkNorm::BeforeRope, required: OUTPUT, routing: Some(Routing { normalise: Normalise::No, ..SOFTMAX_ROUTING }), ..NEOX },
    Architecture { name: "phi3", feed_forward: FeedForwardKind::FusedGated, ..NEOX },
    Architecture { name: "phimoe", norm_weights: NormWeights::WeightAndBias, biases: Biases::Qkv, required: Required { layer: &["attn_output.bias"], ..OUTPUT_AND_BIAS }, ..NEOX },
    Architecture { name: "qwen", feed_forward: FeedForwardKind::HalfGated, biases: Biases::Qkv, required: OUTPUT, ..NEOX },
    Architecture { name: "qwen2", biases: Biases::Qkv, ..NEOX },
    Architecture { name: "qwen2moe", biases: Biases::Qkv, required: Required { expert_layer: &["ffn_gate_inp_shexp.weight"], ..OUTPUT }, routing: Some(Routing { normalise: Normalise::No, ..SOFTMAX_ROUTING }), ..NEOX },
    Architecture { name: "qwen3", qk_norm: QkNorm::BeforeRope, ..NEOX },
    Architecture { name: "qwen3moe", qk_norm: QkNorm::BeforeRope, ..NEOX },
    Architecture { name: "seed_oss", norms: RENAMED_FFN_NORM, biases: Biases::Qkv, ..NEOX },
    Architecture { name: "orion", norm: NormKind::Layer, norm_weights: NormWeights::WeightAndBias, required: OUTPUT, ..NEOX },
    Architecture {
        name: "stablelm",
        norm: NormKind::Layer, norm_weights: NormWeights::WeightAndBias,
        block: Block::ParallelWithoutFfnNorm, qk_norm: QkNorm::MaybeBeforeRope,
        required: OUTPUT,
        ..NEOX
    },

    Architecture { name: "gpt2", positions: Positions::Learned, biases: Biases::All, ..GPT },
    Architecture { name: "starcoder", positions: Positions::Learned, biases: Biases::All, ..GPT },
    Architecture { name: "bloom", positions: Positions::Alibi, biases: Biases::All, ..GPT },
    Architecture { name: "mpt", positions: Positions::Alibi, norm_weights: NormWeights::WeightMaybeBias, required: Required { keys: &["attention.max_alibi_bias"], ..Required::NOTHING }, reads: &[("attention.clamp_kqv", None), ("attention.max_alibi_bias", None)], ..GPT },
    Architecture { name: "codeshell", biases: Biases::All, required: OUTPUT, ..GPT },
    Architecture { name: "starcoder2", biases: Biases::All, ..GPT },
    Architecture { name: "nemotron", activation: Activation::ReluSquared, required: OUTPUT, ..GPT },
    Architecture { name: "gptneox", block: Block::ParallelByKey, biases: Biases::All, required: OUTPUT, ..GPT },
    Architecture { name: "phi2", block: Block::Parallel, biases: Biases::All, required: OUTPUT_AND_BIAS, ..GPT },
    Architecture { name: "falcon", block: Block::Parallel, ..GPT },
    Architecture {
        name: "bert",
        positions: Positions::Learned, block: Block::PostNorm, attention: AttentionKind::Bidirectional, biases: Biases::All,
        norms: Norms { attn: None, attn_post: Some("attn_output_norm"), ffn: None, ffn_post: Some("layer_output_norm") },
        ..GPT
    },
];

impl Architecture {
    /// The family of this `general.architecture`.
    pub fn from_name(name: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|architecture| architecture.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_found_by_its_own_name_only() {
        for architecture in ARCHITECTURES {
            assert_eq!(Architecture::from_name(architecture.name), Some(architecture));
        }
        assert_eq!(Architecture::from_name("Llama"), None);
    }
}
