//! All families of models, as one table.

use super::architecture::*;

/// The form of Llama, which most families share with few changes.
const LLAMA: Architecture = Architecture {
    name: "llama",
    norm: NormKind::Rms,
    rms_by_key: false,
    norm_weights: NormWeights::Weight,
    post_norm_eps: None,
    normalises_embedding: false,
    norms: &PRE_NORMS,
    block: Block::Sequential,
    positions: Positions::Rope(RopePairs::Adjacent),
    rope_keys: RopeKeys::All,
    rope_sections: RopeSections::None,
    rope_layers: RopeLayers::All,
    window_rope: WindowRope::Same,
    window: Window::None,
    window_order: WindowOrder::LastSeesAll,
    qk_norm: QkNorm::None,
    attention: AttentionKind::Causal,
    recurrence: None,
    biases: Biases::Optional,
    activation: Activation::Silu,
    feed_forward: FeedForwardKind::Gated,
    routing: Some(&UNGATED_ROUTING),
    embedding_scale: EmbeddingScale::One,
    logit_scale: LogitScale::Multiplies,
    attention_scale: AttentionScale::HeadLength,
    temperature: QueryTemperature::ByKey,
    required: &Required::NOTHING,
    reads: &[],
    unused: &[],
    unscaled: CHANNEL_MIXERS,
    classifier: None,
    output_embeds: false,
    has_empty_layers: false,
    has_one_mixer: false,
    latent_gate: LatentGate::None,
    clamps_after: false,
    head_gate: HeadGate::None,
    layer_scale: LayerScale::Stream,
    stacks: Stacks::Once,
    heads_output: "attn_output",
    layer_prefix: "blk",
    reads_embedding: false,
    output_norm: Some("output_norm"),
    joint_rows: JointRows::All,
    normalises_values: false,
    n_own_kv: None,
};

/// Llama's form with rotary pairs of halves.
const NEOX: Architecture =
    Architecture { positions: Positions::Rope(RopePairs::Halves), routing: Some(&SOFTMAX_ROUTING), ..LLAMA };

/// The form of GPT-2: LayerNorm, biases, a plain feed-forward block with GELU.
const GPT: Architecture = Architecture {
    norm: NormKind::Layer,
    norm_weights: NormWeights::WeightAndBias,
    activation: Activation::Gelu,
    feed_forward: FeedForwardKind::Plain,
    routing: None,
    ..NEOX
};

/// The form of BERT: encoders that normalise after each addition.
const BERT: Architecture = Architecture {
    positions: Positions::Learned,
    block: Block::PostNorm,
    attention: AttentionKind::Bidirectional,
    classifier: Some(ClassifierHead::Tanh),
    norms: &Norms {
        attn: None,
        attn_post: Some("attn_output_norm"),
        ffn: None,
        ffn_post: Some("layer_output_norm"),
        ..PRE_NORMS
    },
    required: &Required { model: &["token_embd_norm.weight"], ..Required::NOTHING },
    ..GPT
};

/// The form of Mamba: layers of recurrent mixers alone.
const MAMBA: Architecture = Architecture {
    positions: Positions::None,
    recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba, layers: RecurrentLayers::All }),
    feed_forward: FeedForwardKind::None,
    routing: None,
    ..LLAMA
};

/// The form of RWKV: LayerNorm, a recurrence and a channel mixer, both of which read shifted tokens.
const RWKV: Architecture = Architecture {
    norm: NormKind::Layer,
    norm_weights: NormWeights::WeightAndBias,
    norms: &Norms { ffn: Some("attn_norm_2"), ..PRE_NORMS },
    positions: Positions::None,
    feed_forward: FeedForwardKind::ChannelMix,
    routing: None,
    required: &Required { model: &["token_embd_norm.weight", "output.weight"], ..Required::NOTHING },
    ..LLAMA
};

/// The form of Qwen2 with a recurrence instead of attention.
const ARWKV: Architecture =
    Architecture { positions: Positions::None, routing: None, required: &OUTPUT, ..LLAMA };

/// The form of Nemotron-H: each layer is a state space, attention or a feed-forward block.
const NEMOTRON_H: Architecture = Architecture {
    norms: &Norms { ffn: Some("attn_norm"), ..PRE_NORMS },
    has_one_mixer: true,
    positions: Positions::None,
    recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba2, layers: RecurrentLayers::WithoutHeads }),
    activation: Activation::ReluSquared,
    feed_forward: FeedForwardKind::Plain,
    reads: &[("expert_weights_scale", None), ("moe_latent_size", None)],
    required: &Required {
        keys: &["attention.layer_norm_epsilon"],
        expert_layer: &["exp_probs_b.bias", "ffn_up_shexp.weight"],
        recurrent_layer: &["ssm_norm.weight"],
        ..Required::NOTHING
    },
    routing: Some(&Routing { gating: Gating::Sigmoid, normalise: Normalise::ByKey, ..UNGATED_ROUTING }),
    unscaled: NO_PART,
    ..LLAMA
};

/// The form of Qwen3-Next: of every four layers, three have a gated delta net and one has gated attention.
const QWEN3_NEXT: Architecture = Architecture {
    norms: &RENAMED_FFN_NORM,
    qk_norm: QkNorm::BeforeRope,
    head_gate: HeadGate::WithQuery,
    recurrence: Some(Recurrence {
        kind: RecurrenceKind::DeltaNet(KeyHeads::Cyclic, OutputGate::Silu),
        layers: RecurrentLayers::AllButEach(4),
    }),
    ..NEOX
};

/// The form of LFM2: short convolutions, and attention in some layers.
const LFM2: Architecture = Architecture {
    qk_norm: QkNorm::BeforeRope,
    window: Window::Everywhere,
    recurrence: Some(Recurrence {
        kind: RecurrenceKind::ShortConvolution,
        layers: RecurrentLayers::WithoutHeads,
    }),
    output_norm: Some("token_embd_norm"),
    unused: &["dense_2."],
    routing: None,
    ..NEOX
};

const PRE_NORMS: Norms = Norms {
    attn: Some("attn_norm"),
    attn_post: None,
    ffn: Some("ffn_norm"),
    ffn_post: None,
    heads: None,
    hidden: None,
};
const SANDWICH_NORMS: Norms =
    Norms { attn_post: Some("post_attention_norm"), ffn_post: Some("post_ffw_norm"), ..PRE_NORMS };
/// For mixers that read mixtures of streams, which are already normalised.
const NO_NORMS: Norms = Norms { attn: None, ffn: None, ..PRE_NORMS };
const POST_NORMS: Norms = Norms { attn: None, ffn: None, ..SANDWICH_NORMS };
/// The normalisation before the feed-forward block has a different name.
const RENAMED_FFN_NORM: Norms = Norms { ffn: Some("post_attention_norm"), ..PRE_NORMS };

const RWKV6: Recurrence = Recurrence { kind: RecurrenceKind::Rwkv6, layers: RecurrentLayers::All };
const RWKV7: Recurrence = Recurrence { kind: RecurrenceKind::Rwkv7, layers: RecurrentLayers::All };
const RWKV6_PARTS: &[&str] = &["time_mix_first.weight", "channel_mix_receptance.weight"];
const RWKV7_PARTS: &[&str] = &["time_mix_g1.weight", "time_mix_ln.weight"];

const GRANITE_SCALES: &[(&str, Option<f32>)] =
    &[("attention.scale", None), ("embedding_scale", None), ("residual_scale", None), ("logit_scale", None)];
const MINICPM_SCALES: &[(&str, Option<f32>)] =
    &[("embedding_scale", None), ("residual_scale", None), ("logit_scale", None)];
const GEMMA2_CAPS: &[(&str, Option<f32>)] =
    &[("attn_logit_softcapping", Some(50.0)), ("final_logit_softcapping", Some(30.0))];

/// The defaults of Grok-1.
const GROK_SCALES: &[(&str, Option<f32>)] = &[
    ("embedding_scale", Some(78.383_67)),
    ("attention.output_scale", Some(0.088_388_346)),
    ("attn_logit_softcapping", Some(30.0)),
    ("final_logit_softcapping", None),
    ("logit_scale", Some(0.577_350_26)),
    ("rope.scaling.yarn_ext_factor", None),
    ("rope.scaling.yarn_beta_fast", Some(8.0)),
    ("rope.scaling.yarn_beta_slow", None),
];
const MISTRAL3_KEYS: &[(&str, Option<f32>)] = &[
    ("attention.temperature_scale", None),
    ("rope.scaling.yarn_log_multiplier", None),
    ("rope.scaling.yarn_beta_fast", None),
    ("rope.scaling.yarn_beta_slow", None),
];
const DEEPSEEK2_KEYS: &[(&str, Option<f32>)] = &[
    ("attention.temperature_scale", None),
    ("expert_weights_scale", None),
    ("rope.scaling.yarn_log_multiplier", None),
];
const GROVE_KEYS: &[(&str, Option<f32>)] = &[("expert_group_scale", None), ("experts_per_group", None)];
/// The key that scales the base of the rotary embedding.
const ROPE_ALPHA: &[(&str, Option<f32>)] = &[("rope.scaling.alpha", None)];
const WEIGHTS_SCALE: &[(&str, Option<f32>)] = &[("expert_weights_scale", None)];

/// The bias of the matrix that joins the heads, which the reference loads but does not add.
const OUTPUT_PROJECTION_BIAS: &[&str] = &["attn_output.bias"];

const LOGIT_SCALE: Required = Required { keys: &["logit_scale"], ..Required::NOTHING };
const QUERY_RANK: Required = Required { keys: &["attention.q_lora_rank"], ..Required::NOTHING };
/// The output matrix is required: the embedding does not replace it.
const OUTPUT: Required = Required { model: &["output.weight"], ..Required::NOTHING };
const OUTPUT_AND_BIAS: Required = Required { model: &["output.weight", "output.bias"], ..Required::NOTHING };

const SECTIONS: Required = Required { keys: &["rope.dimension_sections"], ..Required::NOTHING };

/// The gates of a delta net, with one matrix each.
const APART_GATES: &[&str] = &["ssm_beta.weight", "ssm_alpha.weight"];

/// The projections of channel mixers. Most families ignore their factors.
const CHANNEL_MIXERS: &[&str] = &["ffn_"];
/// The same, and the gates of the heads' outputs.
const FFN_AND_GATES: &[&str] = &["ffn_", "attn_gate"];
/// The same, and the gates and other projections of a delta net.
const ALL_BUT_ATTENTION: &[&str] = &["attn_qkv", "attn_gate", "ssm_"];
/// No factors are ignored.
const NO_PART: &[&str] = &[];

const SOFTMAX_ROUTING: Routing = Routing {
    gating: Gating::Softmax,
    gating_by_key: false,
    normalise: Normalise::Yes,
    weighs_input: false,
    layers: ExpertLayers::All,
    gate_is_optional: false,
    inputs: ExpertInputs::Same,
    shared: SHARED,
};
/// The shared expert of most families.
const SHARED: SharedExpert = SharedExpert {
    parts: ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"],
    is_fused: false,
    sum_scale: 1.0,
};
/// The dense block itself is the shared expert.
const BESIDE_DENSE: SharedExpert = SharedExpert { parts: ["ffn_gate", "ffn_up", "ffn_down"], ..SHARED };
const UNGATED_ROUTING: Routing = Routing { gate_is_optional: true, ..SOFTMAX_ROUTING };
/// The routing of DeepSeek's models: some dense layers first; the rest depends on keys.
const DEEPSEEK_ROUTING: Routing = Routing {
    gating_by_key: true,
    normalise: Normalise::ByKey,
    layers: ExpertLayers::AfterLeading,
    ..SOFTMAX_ROUTING
};
/// The same, with sigmoid as the default.
const SIGMOID_ROUTING: Routing = Routing { gating: Gating::Sigmoid, ..DEEPSEEK_ROUTING };
/// Experts in the layers with a router, gated by sigmoid.
const ROUTER_ROUTING: Routing = Routing { layers: ExpertLayers::WithRouter, ..SIGMOID_ROUTING };

/// All families that can be run.
#[rustfmt::skip]
pub static ARCHITECTURES: &[Architecture] = &[
    Architecture { unscaled: NO_PART, ..LLAMA },
    Architecture { name: "mistral3", unscaled: NO_PART, reads: MISTRAL3_KEYS, ..LLAMA },
    Architecture {
        name: "llama4",
        rope_layers: RopeLayers::AllButEach(4), window: Window::Chunked { period: 4 }, qk_norm: QkNorm::AfterRopeWeightless,
        temperature: QueryTemperature::WithoutRope,
        routing: Some(&Routing { gating: Gating::Sigmoid, normalise: Normalise::No, weighs_input: true, layers: ExpertLayers::Interleaved, ..SOFTMAX_ROUTING }),
        ..LLAMA
    },
    Architecture { name: "deci", has_empty_layers: true, ..LLAMA },
    Architecture { name: "arcee", activation: Activation::ReluSquared, feed_forward: FeedForwardKind::Plain, ..LLAMA },
    Architecture { name: "baichuan", positions: Positions::ByLayers { rope: 32, pairs: RopePairs::Adjacent, alibi: 40 }, required: &OUTPUT, ..LLAMA },
    Architecture { name: "chatglm", feed_forward: FeedForwardKind::FusedGated, ..LLAMA },
    Architecture { name: "deepseek", reads: &[("expert_weights_scale", None)], routing: Some(&Routing { gating_by_key: false, normalise: Normalise::No, ..DEEPSEEK_ROUTING }), ..LLAMA },
    Architecture { name: "deepseek2", attention: AttentionKind::Latent, attention_scale: AttentionScale::HeadLengthAndStretch, reads: DEEPSEEK2_KEYS, routing: Some(&DEEPSEEK_ROUTING), ..LLAMA },
    Architecture { name: "ernie4_5", unused: OUTPUT_PROJECTION_BIAS, routing: None, ..LLAMA },
    Architecture { name: "ernie4_5-moe", unused: OUTPUT_PROJECTION_BIAS, routing: Some(&Routing { layers: ExpertLayers::InterleavedOrBare, ..UNGATED_ROUTING }), ..LLAMA },
    Architecture { name: "glm4", rope_sections: RopeSections::Consecutive, norms: &SANDWICH_NORMS, feed_forward: FeedForwardKind::FusedGated, ..LLAMA },
    Architecture { name: "granite", rope_layers: RopeLayers::UnlessNotFinetuned, logit_scale: LogitScale::Divides, reads: GRANITE_SCALES, required: &LOGIT_SCALE, ..LLAMA },
    Architecture { name: "granitemoe", logit_scale: LogitScale::Divides, reads: GRANITE_SCALES, required: &LOGIT_SCALE, ..LLAMA },
    Architecture {
        name: "granite_swa",
        window: Window::Pattern, window_rope: WindowRope::Shared, rope_layers: RopeLayers::Listed,
        logit_scale: LogitScale::Divides, reads: GRANITE_SCALES,
        required: &Required { layer: &["attn_sinks.weight"], ..LOGIT_SCALE },
        routing: Some(&Routing { shared: SharedExpert { is_fused: true, ..SHARED }, ..SOFTMAX_ROUTING }),
        ..LLAMA
    },
    Architecture {
        name: "arctic",
        routing: Some(&Routing { inputs: ExpertInputs::Before, shared: BESIDE_DENSE, ..SOFTMAX_ROUTING }),
        ..LLAMA
    },
    Architecture { name: "bailingmoe", required: &OUTPUT, reads: WEIGHTS_SCALE, routing: Some(&Routing { gating_by_key: false, layers: ExpertLayers::All, ..DEEPSEEK_ROUTING }), ..LLAMA },
    Architecture { name: "paddleocr", rope_sections: RopeSections::Consecutive, routing: None, ..LLAMA },
    Architecture { name: "llama-embed", unused: &["output."], unscaled: NO_PART, attention: AttentionKind::EncoderByKey, ..LLAMA },
    Architecture { name: "maincoder", qk_norm: QkNorm::AfterRope, routing: None, ..LLAMA },
    Architecture { name: "nanbeige", unscaled: NO_PART, stacks: Stacks::Loops, routing: None, ..LLAMA },
    Architecture { name: "mistral4", attention: AttentionKind::Latent, attention_scale: AttentionScale::HeadLengthAndStretch, reads: DEEPSEEK2_KEYS, routing: Some(&DEEPSEEK_ROUTING), ..LLAMA },
    Architecture {
        name: "muse-glimmer",
        norms: &SANDWICH_NORMS, post_norm_eps: Some(1e-8), normalises_embedding: true,
        window: Window::Required { period: 4 }, window_rope: WindowRope::UnscaledMagnitude, rope_layers: RopeLayers::Windowed,
        qk_norm: QkNorm::BeforeRope, head_gate: HeadGate::Sigmoid, unscaled: FFN_AND_GATES,
        reads: &[("logit_scale", None), ("final_logit_softcapping", None)], required: &Required { keys: &["logit_scale"], ..OUTPUT },
        routing: None,
        ..LLAMA
    },
    Architecture {
        name: "refact",
        positions: Positions::Alibi, feed_forward: FeedForwardKind::GatedOrBare, routing: None,
        unused: &["attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias", "ffn_gate_inp.", "ffn_gate_exps.", "ffn_up_exps.", "ffn_down_exps.", "ffn_gate_shexp.", "ffn_up_shexp.", "ffn_down_shexp.", "rope_f"],
        ..LLAMA
    },
    Architecture {
        name: "cohere2moe",
        norm: NormKind::Layer, rms_by_key: true, block: Block::Parallel, unscaled: &["output"],
        window: Window::Required { period: 4 }, window_order: WindowOrder::FirstSeesAll, window_rope: WindowRope::Shared, rope_layers: RopeLayers::WindowedOrLeading,
        reads: &[("logit_scale", None), ("expert_weights_scale", None)],
        required: &Required { keys: &["logit_scale", "leading_dense_block_count"], ..Required::NOTHING },
        routing: Some(&Routing { shared: SharedExpert { sum_scale: 0.5, ..SHARED }, ..SIGMOID_ROUTING }),
        ..LLAMA
    },
    Architecture { name: "internlm2", required: &OUTPUT, ..LLAMA },
    Architecture { name: "minicpm", embedding_scale: EmbeddingScale::MiniCpm, logit_scale: LogitScale::Divides, reads: MINICPM_SCALES, ..LLAMA },
    Architecture { name: "minicpm3", attention: AttentionKind::Latent, embedding_scale: EmbeddingScale::MiniCpm, required: &QUERY_RANK, routing: None, ..NEOX },
    Architecture { name: "smollm3", rope_layers: RopeLayers::AllButEach(4), ..LLAMA },
    Architecture { name: "xverse", required: &OUTPUT, ..LLAMA },
    Architecture { name: "olmo", norm: NormKind::Layer, norm_weights: NormWeights::None, reads: &[("attention.clamp_kqv", None)], ..LLAMA },
    Architecture { name: "command-r", norm: NormKind::Layer, block: Block::Parallel, qk_norm: QkNorm::BeforeRopeFromLayers(64), reads: &[("logit_scale", None)], ..LLAMA },
    Architecture {
        name: "cohere2", unscaled: NO_PART,
        norm: NormKind::Layer, block: Block::Parallel,
        window: Window::Required { period: 4 }, rope_layers: RopeLayers::Windowed, window_rope: WindowRope::Shared,
        reads: &[("logit_scale", None)], required: &LOGIT_SCALE,
        ..LLAMA
    },

    Architecture {
        name: "afmoe",
        norms: &SANDWICH_NORMS, qk_norm: QkNorm::BeforeRope, head_gate: HeadGate::Sigmoid, embedding_scale: EmbeddingScale::SqrtWidth,
        unscaled: FFN_AND_GATES,
        window: Window::Optional { period: 4 }, rope_layers: RopeLayers::AllButEach(4),
        reads: WEIGHTS_SCALE, required: &Required { expert_layer: &["exp_probs_b.bias"], ..Required::NOTHING },
        routing: Some(&SIGMOID_ROUTING),
        ..NEOX
    },
    Architecture {
        name: "apertus",
        qk_norm: QkNorm::BeforeRope, activation: Activation::Xielu(Xielu { alpha_n: 0.0, alpha_p: 0.0, beta: 0.0, eps: 0.0 }),
        feed_forward: FeedForwardKind::Plain, unused: &["attn_q_norm.bias", "attn_k_norm.bias"], required: &OUTPUT, routing: None,
        ..NEOX
    },
    Architecture { name: "bailingmoe2", qk_norm: QkNorm::BeforeRope, routing: Some(&DEEPSEEK_ROUTING), reads: &[("expert_weights_scale", None)], required: &Required { keys: &["expert_gating_func"], ..OUTPUT }, ..NEOX },
    Architecture {
        name: "bitnet",
        norms: &Norms { heads: Some("attn_sub_norm"), hidden: Some("ffn_sub_norm"), ..PRE_NORMS }, unscaled: NO_PART, routing: None,
        ..NEOX
    },
    Architecture {
        name: "cogvlm",
        rope_keys: RopeKeys::None, joint_rows: JointRows::EachWidth, routing: None,
        unused: &["vis_", "rope_freqs."], unscaled: &["ffn_", "attn_qkv"],
        required: &Required { layer: &["attn_qkv.weight"], ..Required::NOTHING },
        ..NEOX
    },
    Architecture {
        name: "dbrx",
        norm: NormKind::Layer, norms: &Norms { ffn: Some("attn_output_norm"), ..PRE_NORMS },
        reads: &[("attention.clamp_kqv", None)], required: &Required { keys: &["attention.clamp_kqv"], ..OUTPUT },
        ..NEOX
    },
    Architecture { name: "dots1", qk_norm: QkNorm::BeforeRope, reads: &[("expert_weights_scale", None)], required: &OUTPUT, routing: Some(&DEEPSEEK_ROUTING), ..NEOX },
    Architecture { name: "exaone", ..NEOX },
    Architecture {
        name: "exaone4",
        norms: &POST_NORMS, qk_norm: QkNorm::BeforeRope,
        window: Window::AtLayers { period: 4, length: 4096, n_layer: 64 }, rope_layers: RopeLayers::Windowed, window_rope: WindowRope::Shared,
        ..NEOX
    },
    Architecture {
        name: "exaone-moe",
        qk_norm: QkNorm::BeforeRope,
        window: Window::Required { period: 4 }, window_rope: WindowRope::Shared, rope_layers: RopeLayers::Windowed,
        reads: WEIGHTS_SCALE, required: &Required { keys: &["attention.sliding_window", "expert_gating_func"], ..OUTPUT },
        routing: Some(&DEEPSEEK_ROUTING),
        ..NEOX
    },
    Architecture { name: "gemma", activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth, ..NEOX },
    Architecture {
        name: "gemma2",
        norms: &SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::OrLength { period: 2, length: 4096 }, attention_scale: AttentionScale::WidthAtLayers(46),
        reads: GEMMA2_CAPS,
        ..NEOX
    },
    Architecture {
        name: "gemma3",
        norms: &SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::Optional { period: 6 }, window_rope: WindowRope::UnscaledBase(10_000.0),
        qk_norm: QkNorm::BeforeRope, attention_scale: AttentionScale::WidthAtLayers(62),
        reads: &[("final_logit_softcapping", None)], unused: &["dense_2.", "dense_3."],
        ..NEOX
    },
    Architecture {
        name: "gemma-embedding",
        norms: &SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::Symmetric { period: 6 }, window_rope: WindowRope::UnscaledBase(10_000.0),
        qk_norm: QkNorm::BeforeRope, attention: AttentionKind::Bidirectional, unused: &["dense_2.", "dense_3.", "output."],
        routing: None,
        ..NEOX
    },
    Architecture {
        name: "gemma3n",
        norms: &SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::Required { period: 5 }, window_rope: WindowRope::UnscaledBase(10_000.0), n_own_kv: Some(20), required: &Required { layer: &["attn_v.weight"], ..Required::NOTHING },
        qk_norm: QkNorm::BeforeRope, normalises_values: true, attention_scale: AttentionScale::One,
        reads: &[
            ("final_logit_softcapping", Some(30.0)), ("altup.num_inputs", None),
            ("activation_sparsity_scale", Some(1.644_853_6)),
        ],
        routing: None,
        ..NEOX
    },
    Architecture {
        name: "gemma4", unscaled: NO_PART,
        norms: &SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::Pattern, window_rope: WindowRope::UnscaledBase(10_000.0),
        qk_norm: QkNorm::BeforeRope, normalises_values: true, attention_scale: AttentionScale::One,
        required: &Required { model: &["rope_freqs.weight"], ..Required::NOTHING },
        reads: &[("final_logit_softcapping", Some(30.0)), ("attention.shared_kv_layers", None), ("embedding_length_per_layer_input", None)],
        routing: None,
        ..NEOX
    },
    Architecture {
        name: "glm4moe",
        norms: &RENAMED_FFN_NORM, qk_norm: QkNorm::MaybeBeforeRope, rope_sections: RopeSections::Consecutive,
        required: &Required { expert_layer: &["exp_probs_b.bias"], ..Required::NOTHING },
        reads: &[("expert_weights_scale", None)],
        routing: Some(&SIGMOID_ROUTING),
        ..NEOX
    },
    Architecture {
        name: "gpt-oss",
        norms: &RENAMED_FFN_NORM, window: Window::Required { period: 2 },
        required: &Required {
            layer: &["attn_output.bias", "attn_sinks.weight"],
            expert_layer: &["ffn_gate_inp.bias", "ffn_gate_exps.bias", "ffn_up_exps.bias", "ffn_down_exps.bias"],
            ..OUTPUT
        },
        activation: Activation::ClampedSwiglu, routing: Some(&Routing { gating: Gating::SoftmaxOfChosen, normalise: Normalise::No, ..SOFTMAX_ROUTING }),
        ..NEOX
    },
    Architecture { name: "hunyuan-dense", qk_norm: QkNorm::AfterRope, reads: ROPE_ALPHA, routing: None, ..NEOX },
    Architecture { name: "hunyuan_vl", qk_norm: QkNorm::AfterRope, rope_sections: RopeSections::Consecutive, reads: ROPE_ALPHA, routing: None, ..NEOX },
    Architecture { name: "hunyuan-moe", qk_norm: QkNorm::AfterRope, ..NEOX },
    Architecture {
        name: "grok",
        norms: &Norms { attn_post: Some("attn_output_norm"), ffn_post: Some("layer_output_norm"), ..PRE_NORMS },
        activation: Activation::Gelu, reads: GROK_SCALES,
        routing: Some(&Routing { gate_is_optional: true, shared: SharedExpert { sum_scale: core::f32::consts::FRAC_1_SQRT_2, ..BESIDE_DENSE }, ..SOFTMAX_ROUTING }),
        ..NEOX
    },
    Architecture { name: "grovemoe", qk_norm: QkNorm::BeforeRope, reads: GROVE_KEYS, required: &Required { keys: &["expert_group_scale", "experts_per_group"], expert_layer: &["ffn_up_chexps.weight"], ..Required::NOTHING }, ..NEOX },
    Architecture {
        name: "hrm_text",
        norm_weights: NormWeights::None, stacks: Stacks::Hierarchical, output_norm: None, head_gate: HeadGate::Sigmoid,
        unscaled: FFN_AND_GATES, reads: &[("embedding_scale", None)], routing: None,
        ..NEOX
    },
    Architecture {
        name: "hy_v3",
        qk_norm: QkNorm::BeforeRope, unscaled: NO_PART, reads: WEIGHTS_SCALE, routing: Some(&ROUTER_ROUTING),
        ..NEOX
    },
    Architecture { name: "jais2", norm: NormKind::Layer, norm_weights: NormWeights::WeightAndBias, biases: Biases::AllButQkv, activation: Activation::ReluSquared, feed_forward: FeedForwardKind::Plain, routing: None, ..NEOX },
    Architecture {
        name: "laguna",
        qk_norm: QkNorm::BeforeRope, head_gate: HeadGate::Softplus, unscaled: &["ffn_", "attn_gate", "output"],
        window: Window::Optional { period: 4 }, window_order: WindowOrder::FirstSeesAll, window_rope: WindowRope::UnscaledOwnBase,
        reads: WEIGHTS_SCALE,
        required: &Required { keys: &["leading_dense_block_count"], expert_layer: &["exp_probs_b.bias"], ..Required::NOTHING },
        routing: Some(&SIGMOID_ROUTING),
        ..NEOX
    },
    Architecture {
        name: "maple",
        qk_norm: QkNorm::BeforeRope, window: Window::Pattern, rope_layers: RopeLayers::Windowed,
        reads: &[("swiglu_clamp_exp", None)], required: &Required { keys: &["swiglu_clamp_exp"], ..OUTPUT },
        ..NEOX
    },
    Architecture { name: "mellum", qk_norm: QkNorm::BeforeRope, unscaled: NO_PART, window: Window::Optional { period: 4 }, window_rope: WindowRope::Unscaled, required: &OUTPUT, ..NEOX },
    Architecture {
        name: "mimo2",
        window: Window::Pattern, window_rope: WindowRope::UnscaledBase(10_000.0),
        unused: &["attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_qkv.bias"], unscaled: &["ffn_", "attn_q", "attn_k", "attn_v"],
        reads: &[("attention.value_scale", None)], required: &OUTPUT,
        routing: Some(&Routing { gating_by_key: false, normalise: Normalise::Yes, ..ROUTER_ROUTING }),
        ..NEOX
    },
    Architecture { name: "minimax-m2", qk_norm: QkNorm::BeforeRope, required: &Required { expert_layer: &["exp_probs_b.bias"], ..OUTPUT }, routing: Some(&Routing { gating_by_key: true, ..SOFTMAX_ROUTING }), ..NEOX },
    Architecture {
        name: "olmo2",
        norms: &POST_NORMS, qk_norm: QkNorm::BeforeRope,
        window: Window::Optional { period: 4 }, window_rope: WindowRope::Unscaled,
        required: &OUTPUT,
        ..NEOX
    },
    Architecture { name: "olmoe", qk_norm: QkNorm::BeforeRope, required: &OUTPUT, routing: Some(&Routing { normalise: Normalise::No, ..SOFTMAX_ROUTING }), ..NEOX },
    Architecture { name: "openelm", qk_norm: QkNorm::BeforeRope, unused: &["output."], unscaled: &["ffn_", "attn_qkv"], required: &Required { layer: &["attn_qkv.weight"], ..Required::NOTHING }, routing: None, ..NEOX },
    Architecture { name: "pangu-embedded", unused: &["rope_f"], required: &Required { layer: &["attn_output.bias"], ..Required::NOTHING }, routing: None, ..NEOX },
    Architecture { name: "phi3", feed_forward: FeedForwardKind::FusedGated, ..NEOX },
    Architecture { name: "phimoe", norm_weights: NormWeights::WeightAndBias, required: &Required { layer: &["attn_output.bias"], ..OUTPUT_AND_BIAS }, ..NEOX },
    Architecture { name: "plamo", block: Block::Parallel, required: &OUTPUT, routing: None, ..NEOX },
    Architecture {
        name: "plamo3",
        norms: &SANDWICH_NORMS, qk_norm: QkNorm::BeforeRope, feed_forward: FeedForwardKind::FusedGated, unscaled: &["ffn_", "attn_qkv"],
        window: Window::Optional { period: 8 }, window_rope: WindowRope::UnscaledBase(10_000.0),
        required: &Required { layer: &["attn_qkv.weight"], ..Required::NOTHING }, routing: None,
        ..NEOX
    },
    Architecture { name: "qwen", joint_rows: JointRows::First, feed_forward: FeedForwardKind::HalfGated, required: &Required { layer: &["attn_qkv.bias"], ..OUTPUT }, ..NEOX },
    Architecture { name: "qwen2", ..NEOX },
    Architecture { name: "qwen2vl", rope_sections: RopeSections::Consecutive, unused: &["output.bias"], required: &SECTIONS, ..NEOX },
    Architecture { name: "qwen2moe", required: &Required { expert_layer: &["ffn_gate_inp_shexp.weight"], ..OUTPUT }, routing: Some(&Routing { normalise: Normalise::No, ..SOFTMAX_ROUTING }), ..NEOX },
    Architecture { name: "qwen3", unscaled: NO_PART, qk_norm: QkNorm::BeforeRope, classifier: Some(ClassifierHead::Softmax), ..NEOX },
    Architecture { name: "qwen3moe", unscaled: NO_PART, qk_norm: QkNorm::BeforeRope, ..NEOX },
    Architecture { name: "qwen3vl", qk_norm: QkNorm::BeforeRope, rope_sections: RopeSections::Interleaved, classifier: Some(ClassifierHead::Softmax), required: &SECTIONS, ..NEOX },
    Architecture { name: "qwen3vlmoe", qk_norm: QkNorm::BeforeRope, rope_sections: RopeSections::Interleaved, required: &SECTIONS, ..NEOX },
    Architecture { name: "seed_oss", norms: &RENAMED_FFN_NORM, ..NEOX },
    Architecture {
        name: "smallthinker",
        activation: Activation::Relu,
        window: Window::Fixed { period: 4, length: 4096 }, window_order: WindowOrder::FirstSeesAll, rope_layers: RopeLayers::AllButFirstOfEach(4),
        required: &Required { keys: &["expert_gating_func"], ..Required::NOTHING },
        routing: Some(&Routing { gating_by_key: true, inputs: ExpertInputs::RouterBefore, ..SOFTMAX_ROUTING }),
        ..NEOX
    },
    Architecture { name: "spark2_5", activation: Activation::Gelu, window: Window::Pattern, head_gate: HeadGate::Sigmoid, unscaled: &["ffn_", "attn_gate", "output"], routing: None, ..NEOX },
    Architecture {
        name: "talkie",
        norm_weights: NormWeights::None, normalises_embedding: true, qk_norm: QkNorm::AfterRopeByHead, layer_scale: LayerScale::Embedding,
        unscaled: &["ffn_gate", "ffn_up", "output"], reads: &[("logit_scale", None)],
        required: &Required { keys: &["logit_scale"], layer: &["layer_output_scale.weight"], ..OUTPUT },
        routing: None,
        ..NEOX
    },
    Architecture { name: "orion", norm: NormKind::Layer, norm_weights: NormWeights::WeightAndBias, required: &OUTPUT, ..NEOX },
    Architecture {
        name: "stablelm",
        norm: NormKind::Layer, norm_weights: NormWeights::WeightAndBias,
        block: Block::ParallelWithoutFfnNorm, qk_norm: QkNorm::MaybeBeforeRope,
        required: &OUTPUT,
        ..NEOX
    },

    Architecture { name: "mamba", ..MAMBA },
    Architecture { name: "mamba2", recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba2, layers: RecurrentLayers::All }), required: &Required { recurrent_layer: &["ssm_conv1d.bias", "ssm_norm.weight"], ..Required::NOTHING }, ..MAMBA },
    Architecture {
        name: "jamba",
        positions: Positions::None, recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba, layers: RecurrentLayers::WithoutHeads }),
        required: &Required { recurrent_layer: &["ssm_dt_norm.weight", "ssm_b_norm.weight", "ssm_c_norm.weight"], ..Required::NOTHING },
        routing: Some(&Routing { normalise: Normalise::No, layers: ExpertLayers::WithRouter, ..SOFTMAX_ROUTING }),
        ..LLAMA
    },
    Architecture {
        name: "granitehybrid",
        recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba2, layers: RecurrentLayers::WithoutHeads }),
        rope_layers: RopeLayers::UnlessNotFinetuned, logit_scale: LogitScale::Divides, reads: GRANITE_SCALES,
        required: &Required { recurrent_layer: &["ssm_norm.weight"], ..Required::NOTHING },
        ..LLAMA
    },
    Architecture { name: "falcon-h1", unused: &["attn_output.bias", "rope_f"], recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba2, layers: RecurrentLayers::BesideAttention }), ..NEOX },
    Architecture {
        name: "qwen3next", unscaled: ALL_BUT_ATTENTION,
        recurrence: Some(Recurrence { kind: RecurrenceKind::DeltaNet(KeyHeads::Neighbours, OutputGate::Silu), layers: RecurrentLayers::AllButEach(4) }),
        required: &Required { expert_layer: &["ffn_gate_inp_shexp.weight"], recurrent_layer: &["ssm_ba.weight"], ..Required::NOTHING },
        ..QWEN3_NEXT
    },
    Architecture { name: "qwen35", unscaled: NO_PART, rope_sections: RopeSections::Interleaved, required: &Required { recurrent_layer: APART_GATES, ..SECTIONS }, routing: None, ..QWEN3_NEXT },
    Architecture {
        name: "qwen35moe", unscaled: NO_PART,
        rope_sections: RopeSections::Interleaved,
        required: &Required { expert_layer: &["ffn_gate_inp_shexp.weight"], recurrent_layer: APART_GATES, ..SECTIONS },
        ..QWEN3_NEXT
    },
    Architecture {
        name: "qwen4exp", unscaled: NO_PART, unused: &["attn_q.bias", "attn_k.bias", "attn_v.bias"],
        rope_sections: RopeSections::Interleaved, norms: &NO_NORMS, output_norm: None,
        recurrence: Some(Recurrence { kind: RecurrenceKind::DeltaNet(KeyHeads::Cyclic, OutputGate::Sigmoid), layers: RecurrentLayers::AllButEach(4) }),
        reads: &[("hyper_connection.count", None), ("attention.indexer.top_k", None), ("ple.layers", None)],
        required: &Required {
            layer: &["ffn_gate_inp.weight", "ffn_up_shexp.weight"], expert_layer: &["ffn_gate_inp_shexp.weight"], recurrent_layer: APART_GATES,
            ..SECTIONS
        },
        ..QWEN3_NEXT
    },
    Architecture { name: "lfm2", ..LFM2 },
    Architecture {
        name: "lfm2moe",
        required: &Required { keys: &["expert_gating_func"], expert_layer: &["exp_probs_b.bias"], ..Required::NOTHING },
        reads: &[("expert_weights_scale", None)],
        routing: Some(&Routing { gating: Gating::Sigmoid, gating_by_key: true, normalise: Normalise::Yes, layers: ExpertLayers::AfterLeading, ..SOFTMAX_ROUTING }),
        ..LFM2
    },

    Architecture {
        name: "plamo2", unscaled: &["attn_qkv", "ssm_", "ffn_"],
        norms: &SANDWICH_NORMS, qk_norm: QkNorm::BeforeRope, feed_forward: FeedForwardKind::FusedGated,
        recurrence: Some(Recurrence { kind: RecurrenceKind::HeadMamba, layers: RecurrentLayers::WithoutHeads }),
        required: &Required { keys: &["ssm.group_count"], ..Required::NOTHING },
        routing: None,
        ..NEOX
    },
    Architecture { name: "nemotron_h", ..NEMOTRON_H },
    Architecture { name: "nemotron_h_moe", ..NEMOTRON_H },
    Architecture {
        name: "kimi-linear", unscaled: &["attn_q", "attn_kv", "ssm_", "ffn_", "output"],
        positions: Positions::None, attention: AttentionKind::Latent,
        recurrence: Some(Recurrence { kind: RecurrenceKind::KimiDelta(KimiDecay::Softplus), layers: RecurrentLayers::WithoutHeads }),
        reads: &[("expert_weights_scale", None)],
        required: &Required { keys: &["expert_gating_func", "expert_shared_count"], expert_layer: &["exp_probs_b.bias"], ..OUTPUT },
        routing: Some(&Routing { gating_by_key: true, layers: ExpertLayers::AfterLeading, ..SOFTMAX_ROUTING }),
        ..LLAMA
    },
    Architecture {
        name: "kimi-k3", unscaled: &["attn_", "ssm_", "ffn_", "output"],
        positions: Positions::None, attention: AttentionKind::Latent, latent_gate: LatentGate::MaybeElements,
        recurrence: Some(Recurrence { kind: RecurrenceKind::KimiDelta(KimiDecay::MaybeBounded), layers: RecurrentLayers::WithoutHeads }),
        activation: Activation::Situ { beta: 1.0, linear_beta: 0.0 },
        reads: &[("expert_weights_scale", None), ("attn_res.block_size", None), ("expert_latent_length", None)],
        required: &Required { keys: &["expert_gating_func", "expert_shared_count", "attn_res.block_size"], expert_layer: &["exp_probs_b.bias"], recurrent_layer: &["ssm_g.weight"], ..OUTPUT },
        routing: Some(&DEEPSEEK_ROUTING),
        ..LLAMA
    },
    Architecture {
        name: "bailingmoe3", unscaled: &["attn_", "ssm_", "ffn_", "output"],
        attention: AttentionKind::Latent, latent_gate: LatentGate::Heads, clamps_after: true, rope_sections: RopeSections::Consecutive,
        recurrence: Some(Recurrence { kind: RecurrenceKind::KimiDelta(KimiDecay::Bounded), layers: RecurrentLayers::WithoutHeads }),
        reads: &[("expert_weights_scale", None), ("swiglu_clamp_exp", None), ("swiglu_clamp_shexp", None)],
        required: &Required { keys: &["expert_gating_func", "expert_shared_count", "leading_dense_block_count"], expert_layer: &["exp_probs_b.bias", "ffn_up_shexp.weight"], ..Required::NOTHING },
        routing: Some(&DEEPSEEK_ROUTING),
        ..LLAMA
    },
    Architecture {
        name: "minimax-01",
        block: Block::AddToRead,
        recurrence: Some(Recurrence { kind: RecurrenceKind::Lightning, layers: RecurrentLayers::AllButEach(8) }),
        reads: &[("residual_scale", None)], required: &Required { keys: &["residual_scale"], ..Required::NOTHING },
        ..NEOX
    },
    Architecture { name: "rwkv6", recurrence: Some(RWKV6), required: &Required { recurrent_layer: RWKV6_PARTS, ..*RWKV.required }, reads: &[("rescale_every_n_layers", None)], ..RWKV },
    Architecture { name: "rwkv6qwen2", recurrence: Some(RWKV6), required: &Required { recurrent_layer: &["time_mix_lerp_fused.weight"], ..OUTPUT }, ..ARWKV },
    Architecture { name: "rwkv7", recurrence: Some(RWKV7), required: &Required { recurrent_layer: RWKV7_PARTS, ..*RWKV.required }, ..RWKV },
    Architecture { name: "arwkv7", recurrence: Some(RWKV7), ..ARWKV },

    Architecture { name: "gpt2", positions: Positions::Learned, biases: Biases::All, ..GPT },
    Architecture { name: "starcoder", positions: Positions::Learned, biases: Biases::All, ..GPT },
    Architecture { name: "bloom", positions: Positions::Alibi, biases: Biases::All, ..GPT },
    Architecture { name: "mpt", unused: &["attn_k_norm."], positions: Positions::AlibiByKey, norm_weights: NormWeights::WeightMaybeBias, reads: &[("attention.clamp_kqv", None), ("attention.max_alibi_bias", None)], ..GPT },
    Architecture {
        name: "jais",
        positions: Positions::AlibiByKey, feed_forward: FeedForwardKind::Gated, activation: Activation::Silu, biases: Biases::All,
        attention_scale: AttentionScale::InverseHeadLength, reads: &[("attention.max_alibi_bias", None)], required: &OUTPUT,
        ..GPT
    },
    Architecture { name: "codeshell", biases: Biases::AllButQkv, output_embeds: true, required: &OUTPUT, ..GPT },
    Architecture { name: "starcoder2", biases: Biases::AllButQkv, ..GPT },
    Architecture { name: "nemotron", activation: Activation::ReluSquared, required: &OUTPUT, ..GPT },
    Architecture { name: "gptneox", block: Block::ParallelByKey, biases: Biases::All, required: &OUTPUT, ..GPT },
    Architecture { name: "phi2", block: Block::Parallel, biases: Biases::AllButQkv, required: &OUTPUT_AND_BIAS, ..GPT },
    Architecture { name: "falcon", block: Block::Parallel, ..GPT },
    Architecture { name: "bert", ..BERT },
    Architecture {
        name: "nomic-bert",
        positions: Positions::Rope(RopePairs::Halves), activation: Activation::Silu, feed_forward: FeedForwardKind::Gated,
        unused: &["ffn_up.bias", "ffn_down.bias"], classifier: None,
        ..BERT
    },
    Architecture {
        name: "nomic-bert-moe",
        positions: Positions::Rope(RopePairs::Halves), required: &Required { keys: &["moe_every_n_layers"], ..*BERT.required },
        routing: Some(&Routing { normalise: Normalise::No, gate_is_optional: true, layers: ExpertLayers::SecondOfEach, ..SOFTMAX_ROUTING }),
        ..BERT
    },
    Architecture {
        name: "jina-bert-v2",
        positions: Positions::Alibi, qk_norm: QkNorm::MaybeBeforeRope, feed_forward: FeedForwardKind::ByTensors { plain: Activation::Gelu },
        required: &Required { model: &["token_types.weight", "token_embd_norm.weight"], layer: &["attn_output.bias", "ffn_down.bias"], ..Required::NOTHING },
        ..BERT
    },
    Architecture { name: "jina-bert-v3", positions: Positions::Rope(RopePairs::Halves), ..BERT },
    Architecture {
        name: "modern-bert",
        norm: NormKind::Layer, attention: AttentionKind::Bidirectional, reads_embedding: true,
        window: Window::MaybeSymmetric { period: 3 }, window_order: WindowOrder::FirstSeesAll, window_rope: WindowRope::UnscaledBase(10_000.0),
        activation: Activation::Gelu, feed_forward: FeedForwardKind::FusedGated, routing: None, classifier: Some(ClassifierHead::Gelu),
        reads: &[("hidden_activation", None)], required: &Required { model: &["token_embd_norm.weight"], layer: &["attn_qkv.weight"], ..Required::NOTHING },
        ..NEOX
    },
    Architecture {
        name: "neo-bert",
        attention: AttentionKind::Bidirectional, feed_forward: FeedForwardKind::FusedGated, output_norm: Some("enc.output_norm"), routing: None, classifier: Some(ClassifierHead::Tanh),
        required: &Required { layer: &["attn_qkv.weight"], ..Required::NOTHING },
        ..LLAMA
    },
    Architecture { name: "eurobert", attention: AttentionKind::Bidirectional, routing: None, ..NEOX },
    Architecture {
        name: "t5encoder",
        layer_prefix: "enc.blk", heads_output: "attn_o", output_norm: Some("enc.output_norm"), positions: Positions::Relative, attention_scale: AttentionScale::One,
        attention: AttentionKind::Bidirectional, activation: Activation::Gelu, feed_forward: FeedForwardKind::ByTensors { plain: Activation::Relu },
        routing: None, unused: &["output."],
        ..LLAMA
    },
];

impl Architecture {
    /// The name of the family with the longest common beginning with `name`, which is not itself the name of a family.
    pub fn nearest(name: &str) -> &'static str {
        let likeness = |other: &str| {
            let n_same =
                other.bytes().zip(name.bytes()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
            (n_same, core::cmp::Reverse(other.len().abs_diff(name.len())))
        };
        let nearest = ARCHITECTURES.iter().max_by_key(|architecture| likeness(architecture.name));
        nearest.map_or("", |architecture| architecture.name)
    }

    /// The family with this `general.architecture`.
    pub fn from_name(name: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|architecture| architecture.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_family_has_parallel_mixers_and_layers_with_two_sequence_mixers() {
        // The forward pass has only one buffer for both.
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
