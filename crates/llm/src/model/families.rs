//! All families of models, as one table.

use super::architecture::*;

/// What most families have in common: Llama's form.
const LLAMA: Architecture = Architecture {
    name: "llama",
    norm: NormKind::Rms,
    norm_weights: NormWeights::Weight,
    norms: PRE_NORMS,
    block: Block::Sequential,
    positions: Positions::Rope(RopePairs::Adjacent),
    rope_sections: RopeSections::None,
    rope_layers: RopeLayers::All,
    window_rope: WindowRope::Same,
    window: Window::None,
    qk_norm: QkNorm::None,
    attention: AttentionKind::Causal,
    recurrence: None,
    biases: Biases::Optional,
    activation: Activation::Silu,
    feed_forward: FeedForwardKind::Gated,
    routing: Some(UNGATED_ROUTING),
    embedding_scale: EmbeddingScale::One,
    logit_scale: LogitScale::Multiplies,
    attention_scale: AttentionScale::HeadLength,
    temperature: QueryTemperature::ByKey,
    required: Required::NOTHING,
    reads: &[],
    unused: &[],
    unscaled: CHANNEL_MIXERS,
    classifier: None,
    output_embeds: false,
    has_empty_layers: false,
    gates_heads: false,
    has_one_mixer: false,
    gates_latent_heads: false,
    output_norm: "output_norm",
    normalises_values: false,
};

/// Llama's form with rotary pairs of halves.
const NEOX: Architecture =
    Architecture { positions: Positions::Rope(RopePairs::Halves), routing: Some(SOFTMAX_ROUTING), ..LLAMA };

/// The form of GPT-2: LayerNorm, biases, a plain feed-forward block with GELU.
const GPT: Architecture = Architecture {
    norm: NormKind::Layer,
    norm_weights: NormWeights::WeightAndBias,
    activation: Activation::Gelu,
    feed_forward: FeedForwardKind::Plain,
    routing: None,
    ..NEOX
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
    norms: Norms { ffn: Some("attn_norm_2"), ..PRE_NORMS },
    positions: Positions::None,
    feed_forward: FeedForwardKind::ChannelMix,
    routing: None,
    required: Required { model: &["token_embd_norm.weight", "output.weight"], ..Required::NOTHING },
    ..LLAMA
};

/// The form of Qwen2 with a recurrence in the place of attention.
const ARWKV: Architecture =
    Architecture { positions: Positions::None, routing: None, required: OUTPUT, ..LLAMA };

/// The form of Nemotron-H: of each layer a state space, attention or a feed-forward block.
const NEMOTRON_H: Architecture = Architecture {
    norms: Norms { ffn: Some("attn_norm"), ..PRE_NORMS },
    has_one_mixer: true,
    positions: Positions::None,
    recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba2, layers: RecurrentLayers::WithoutHeads }),
    activation: Activation::ReluSquared,
    feed_forward: FeedForwardKind::Plain,
    reads: &[("expert_weights_scale", None)],
    required: Required {
        keys: &["attention.layer_norm_epsilon"],
        expert_layer: &["exp_probs_b.bias", "ffn_up_shexp.weight"],
        recurrent_layer: &["ssm_norm.weight"],
        ..Required::NOTHING
    },
    routing: Some(Routing { gating: Gating::Sigmoid, normalise: Normalise::ByKey, ..UNGATED_ROUTING }),
    unscaled: NO_PART,
    ..LLAMA
};

/// The form of Qwen3-Next: of four layers, three have a gated delta net, and one has gated attention.
const QWEN3_NEXT: Architecture = Architecture {
    norms: RENAMED_FFN_NORM,
    qk_norm: QkNorm::BeforeRope,
    gates_heads: true,
    recurrence: Some(Recurrence {
        kind: RecurrenceKind::DeltaNet(KeyHeads::Cyclic),
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
    output_norm: "token_embd_norm",
    unused: &["dense_2."],
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

const LOGIT_SCALE: Required = Required { keys: &["logit_scale"], ..Required::NOTHING };
const QUERY_RANK: Required = Required { keys: &["attention.q_lora_rank"], ..Required::NOTHING };
/// The output matrix is never the embedding.
const OUTPUT: Required = Required { model: &["output.weight"], ..Required::NOTHING };
const OUTPUT_AND_BIAS: Required = Required { model: &["output.weight", "output.bias"], ..Required::NOTHING };

const SECTIONS: Required = Required { keys: &["rope.dimension_sections"], ..Required::NOTHING };

/// The gates of a delta net, a matrix each.
const APART_GATES: &[&str] = &["ssm_beta.weight", "ssm_alpha.weight"];

/// The projections of channel mixers, whose factors most families do not read; what does multiplies all.
const CHANNEL_MIXERS: &[&str] = &["ffn_"];
/// With the gates of a delta net, and what other projections it has.
const ALL_BUT_HEADS: &[&str] = &["attn_qkv", "attn_gate", "ssm_"];
/// Factors multiply what all projections give.
const NO_PART: &[&str] = &[];

const SOFTMAX_ROUTING: Routing = Routing {
    gating: Gating::Softmax,
    normalise: Normalise::Yes,
    weighs_input: false,
    layers: ExpertLayers::All,
    gate_is_optional: false,
    reads_gating: false,
};
const UNGATED_ROUTING: Routing = Routing { gate_is_optional: true, ..SOFTMAX_ROUTING };
/// The routing of DeepSeek's line: some dense layers first, the rest by keys.
const DEEPSEEK_ROUTING: Routing = Routing {
    gating: Gating::Softmax,
    normalise: Normalise::ByKey,
    weighs_input: false,
    layers: ExpertLayers::AfterLeading,
    gate_is_optional: false,
    reads_gating: false,
};

/// All families that can be run.
#[rustfmt::skip]
pub static ARCHITECTURES: &[Architecture] = &[
    Architecture { unscaled: NO_PART, ..LLAMA },
    Architecture { name: "mistral3", unscaled: NO_PART, reads: &[("attention.temperature_scale", None)], ..LLAMA },
    Architecture {
        name: "llama4",
        rope_layers: RopeLayers::AllButEach(4), window: Window::Chunked { period: 4 }, qk_norm: QkNorm::AfterRopeWeightless,
        temperature: QueryTemperature::WithoutRope,
        routing: Some(Routing { gating: Gating::Sigmoid, normalise: Normalise::No, weighs_input: true, layers: ExpertLayers::Interleaved, ..SOFTMAX_ROUTING }),
        ..LLAMA
    },
    Architecture { name: "deci", has_empty_layers: true, ..LLAMA },
    Architecture { name: "arcee", activation: Activation::ReluSquared, feed_forward: FeedForwardKind::Plain, ..LLAMA },
    Architecture { name: "baichuan", positions: Positions::AlibiAtLayers(40, RopePairs::Adjacent), required: OUTPUT, ..LLAMA },
    Architecture { name: "chatglm", feed_forward: FeedForwardKind::FusedGated, ..LLAMA },
    Architecture { name: "deepseek", reads: &[("expert_weights_scale", None)], routing: Some(Routing { normalise: Normalise::No, ..DEEPSEEK_ROUTING }), ..LLAMA },
    Architecture { name: "deepseek2", attention: AttentionKind::Latent, attention_scale: AttentionScale::HeadLengthAndStretch, reads: &[("attention.temperature_scale", None), ("expert_weights_scale", None)], routing: Some(DEEPSEEK_ROUTING), ..LLAMA },
    Architecture { name: "ernie4_5", ..LLAMA },
    Architecture { name: "ernie4_5-moe", routing: Some(Routing { layers: ExpertLayers::Interleaved, ..UNGATED_ROUTING }), ..LLAMA },
    Architecture { name: "glm4", rope_sections: RopeSections::Consecutive, norms: SANDWICH_NORMS, feed_forward: FeedForwardKind::FusedGated, ..LLAMA },
    Architecture { name: "granite", rope_layers: RopeLayers::UnlessNotFinetuned, logit_scale: LogitScale::Divides, reads: GRANITE_SCALES, required: LOGIT_SCALE, ..LLAMA },
    Architecture { name: "granitemoe", logit_scale: LogitScale::Divides, reads: GRANITE_SCALES, required: LOGIT_SCALE, ..LLAMA },
    Architecture { name: "internlm2", required: OUTPUT, ..LLAMA },
    Architecture { name: "minicpm", embedding_scale: EmbeddingScale::MiniCpm, logit_scale: LogitScale::Divides, reads: MINICPM_SCALES, ..LLAMA },
    Architecture { name: "minicpm3", attention: AttentionKind::Latent, embedding_scale: EmbeddingScale::MiniCpm, required: QUERY_RANK, routing: None, ..NEOX },
    Architecture { name: "smollm3", rope_layers: RopeLayers::AllButEach(4), ..LLAMA },
    Architecture { name: "xverse", required: OUTPUT, ..LLAMA },
    Architecture { name: "olmo", norm: NormKind::Layer, norm_weights: NormWeights::None, reads: &[("attention.clamp_kqv", None)], ..LLAMA },
    Architecture { name: "command-r", norm: NormKind::Layer, block: Block::Parallel, qk_norm: QkNorm::BeforeRopeFromLayers(64), reads: &[("logit_scale", None)], ..LLAMA },
    Architecture {
        name: "cohere2", unscaled: NO_PART,
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
        window: Window::AtLayers { period: 4, length: 4096, n_layer: 64 }, rope_layers: RopeLayers::Windowed,
        ..NEOX
    },
    Architecture { name: "gemma", activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth, ..NEOX },
    Architecture {
        name: "gemma2",
        norms: SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::OrLength { period: 2, length: 4096 }, attention_scale: AttentionScale::WidthAtLayers(46),
        reads: GEMMA2_CAPS,
        ..NEOX
    },
    Architecture {
        name: "gemma3",
        norms: SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::Optional { period: 6 }, window_rope: WindowRope::UnscaledBase(10_000.0),
        qk_norm: QkNorm::BeforeRope, attention_scale: AttentionScale::WidthAtLayers(62),
        reads: &[("final_logit_softcapping", None)], unused: &["dense_2.", "dense_3."],
        ..NEOX
    },
    Architecture {
        name: "gemma4", unscaled: NO_PART,
        norms: SANDWICH_NORMS, activation: Activation::Gelu, embedding_scale: EmbeddingScale::SqrtWidth,
        window: Window::Pattern, window_rope: WindowRope::UnscaledBase(10_000.0),
        qk_norm: QkNorm::BeforeRope, normalises_values: true, attention_scale: AttentionScale::One,
        required: Required { model: &["rope_freqs.weight"], ..Required::NOTHING },
        reads: &[("final_logit_softcapping", Some(30.0)), ("attention.shared_kv_layers", None), ("embedding_length_per_layer_input", None)],
        routing: None,
        ..NEOX
    },
    Architecture {
        name: "glm4moe",
        norms: RENAMED_FFN_NORM, qk_norm: QkNorm::MaybeBeforeRope, rope_sections: RopeSections::Consecutive,
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
    Architecture { name: "phimoe", norm_weights: NormWeights::WeightAndBias, required: Required { layer: &["attn_output.bias"], ..OUTPUT_AND_BIAS }, ..NEOX },
    Architecture { name: "qwen", feed_forward: FeedForwardKind::HalfGated, required: Required { layer: &["attn_qkv.bias"], ..OUTPUT }, ..NEOX },
    Architecture { name: "qwen2", ..NEOX },
    Architecture { name: "qwen2vl", rope_sections: RopeSections::Consecutive, required: SECTIONS, ..NEOX },
    Architecture { name: "qwen2moe", required: Required { expert_layer: &["ffn_gate_inp_shexp.weight"], ..OUTPUT }, routing: Some(Routing { normalise: Normalise::No, ..SOFTMAX_ROUTING }), ..NEOX },
    Architecture { name: "qwen3", unscaled: NO_PART, qk_norm: QkNorm::BeforeRope, classifier: Some(ClassifierHead::Softmax), ..NEOX },
    Architecture { name: "qwen3moe", unscaled: NO_PART, qk_norm: QkNorm::BeforeRope, ..NEOX },
    Architecture { name: "qwen3vl", qk_norm: QkNorm::BeforeRope, rope_sections: RopeSections::Interleaved, classifier: Some(ClassifierHead::Softmax), required: SECTIONS, ..NEOX },
    Architecture { name: "qwen3vlmoe", qk_norm: QkNorm::BeforeRope, rope_sections: RopeSections::Interleaved, required: SECTIONS, ..NEOX },
    Architecture { name: "seed_oss", norms: RENAMED_FFN_NORM, ..NEOX },
    Architecture { name: "orion", norm: NormKind::Layer, norm_weights: NormWeights::WeightAndBias, required: OUTPUT, ..NEOX },
    Architecture {
        name: "stablelm",
        norm: NormKind::Layer, norm_weights: NormWeights::WeightAndBias,
        block: Block::ParallelWithoutFfnNorm, qk_norm: QkNorm::MaybeBeforeRope,
        required: OUTPUT,
        ..NEOX
    },

    Architecture { name: "mamba", ..MAMBA },
    Architecture { name: "mamba2", recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba2, layers: RecurrentLayers::All }), required: Required { recurrent_layer: &["ssm_conv1d.bias", "ssm_norm.weight"], ..Required::NOTHING }, ..MAMBA },
    Architecture {
        name: "jamba",
        positions: Positions::None, recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba, layers: RecurrentLayers::WithoutHeads }),
        required: Required { recurrent_layer: &["ssm_dt_norm.weight", "ssm_b_norm.weight", "ssm_c_norm.weight"], ..Required::NOTHING },
        routing: Some(Routing { normalise: Normalise::No, layers: ExpertLayers::WithRouter, ..SOFTMAX_ROUTING }),
        ..LLAMA
    },
    Architecture {
        name: "granitehybrid",
        recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba2, layers: RecurrentLayers::WithoutHeads }),
        rope_layers: RopeLayers::UnlessNotFinetuned, logit_scale: LogitScale::Divides, reads: GRANITE_SCALES,
        required: Required { recurrent_layer: &["ssm_norm.weight"], ..Required::NOTHING },
        ..LLAMA
    },
    Architecture { name: "falcon-h1", recurrence: Some(Recurrence { kind: RecurrenceKind::Mamba2, layers: RecurrentLayers::BesideAttention }), ..NEOX },
    Architecture {
        name: "qwen3next", unscaled: ALL_BUT_HEADS,
        recurrence: Some(Recurrence { kind: RecurrenceKind::DeltaNet(KeyHeads::Neighbours), layers: RecurrentLayers::AllButEach(4) }),
        required: Required { expert_layer: &["ffn_gate_inp_shexp.weight"], recurrent_layer: &["ssm_ba.weight"], ..Required::NOTHING },
        ..QWEN3_NEXT
    },
    Architecture { name: "qwen35", unscaled: NO_PART, rope_sections: RopeSections::Interleaved, required: Required { recurrent_layer: APART_GATES, ..SECTIONS }, routing: None, ..QWEN3_NEXT },
    Architecture {
        name: "qwen35moe", unscaled: NO_PART,
        rope_sections: RopeSections::Interleaved,
        required: Required { expert_layer: &["ffn_gate_inp_shexp.weight"], recurrent_layer: APART_GATES, ..SECTIONS },
        ..QWEN3_NEXT
    },
    Architecture { name: "lfm2", ..LFM2 },
    Architecture {
        name: "lfm2moe",
        required: Required { keys: &["expert_gating_func"], expert_layer: &["exp_probs_b.bias"], ..Required::NOTHING },
        reads: &[("expert_weights_scale", None)],
        routing: Some(Routing { gating: Gating::Sigmoid, normalise: Normalise::Yes, layers: ExpertLayers::AfterLeading, ..SOFTMAX_ROUTING }),
        ..LFM2
    },

    Architecture {
        name: "plamo2", unscaled: &["attn_qkv", "ssm_", "ffn_"],
        norms: SANDWICH_NORMS, qk_norm: QkNorm::BeforeRope, feed_forward: FeedForwardKind::FusedGated,
        recurrence: Some(Recurrence { kind: RecurrenceKind::HeadMamba, layers: RecurrentLayers::WithoutHeads }),
        required: Required { keys: &["ssm.group_count"], ..Required::NOTHING },
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
        required: Required { keys: &["expert_gating_func", "expert_shared_count"], expert_layer: &["exp_probs_b.bias"], ..OUTPUT },
        routing: Some(Routing { reads_gating: true, layers: ExpertLayers::AfterLeading, ..SOFTMAX_ROUTING }),
        ..LLAMA
    },
    Architecture {
        name: "bailingmoe3", unscaled: &["attn_", "ssm_", "ffn_", "output"],
        attention: AttentionKind::Latent, gates_latent_heads: true, rope_sections: RopeSections::Consecutive,
        recurrence: Some(Recurrence { kind: RecurrenceKind::KimiDelta(KimiDecay::Bounded), layers: RecurrentLayers::WithoutHeads }),
        reads: &[("expert_weights_scale", None)],
        required: Required { keys: &["expert_gating_func", "expert_shared_count", "leading_dense_block_count"], expert_layer: &["exp_probs_b.bias", "ffn_up_shexp.weight"], ..Required::NOTHING },
        routing: Some(DEEPSEEK_ROUTING),
        ..LLAMA
    },
    Architecture {
        name: "minimax-01",
        block: Block::AddToRead,
        recurrence: Some(Recurrence { kind: RecurrenceKind::Lightning, layers: RecurrentLayers::AllButEach(8) }),
        reads: &[("residual_scale", None)], required: Required { keys: &["residual_scale"], ..Required::NOTHING },
        ..NEOX
    },
    Architecture { name: "rwkv6", recurrence: Some(RWKV6), required: Required { recurrent_layer: RWKV6_PARTS, ..RWKV.required }, reads: &[("rescale_every_n_layers", None)], ..RWKV },
    Architecture { name: "rwkv6qwen2", recurrence: Some(RWKV6), required: Required { recurrent_layer: &["time_mix_lerp_fused.weight"], ..OUTPUT }, ..ARWKV },
    Architecture { name: "rwkv7", recurrence: Some(RWKV7), required: Required { recurrent_layer: RWKV7_PARTS, ..RWKV.required }, ..RWKV },
    Architecture { name: "arwkv7", recurrence: Some(RWKV7), ..ARWKV },

    Architecture { name: "gpt2", positions: Positions::Learned, biases: Biases::All, ..GPT },
    Architecture { name: "starcoder", positions: Positions::Learned, biases: Biases::All, ..GPT },
    Architecture { name: "bloom", positions: Positions::Alibi, biases: Biases::All, ..GPT },
    Architecture { name: "mpt", positions: Positions::AlibiByKey, norm_weights: NormWeights::WeightMaybeBias, reads: &[("attention.clamp_kqv", None), ("attention.max_alibi_bias", None)], ..GPT },
    Architecture { name: "codeshell", biases: Biases::AllButQkv, output_embeds: true, required: OUTPUT, ..GPT },
    Architecture { name: "starcoder2", biases: Biases::AllButQkv, ..GPT },
    Architecture { name: "nemotron", activation: Activation::ReluSquared, required: OUTPUT, ..GPT },
    Architecture { name: "gptneox", block: Block::ParallelByKey, biases: Biases::All, required: OUTPUT, ..GPT },
    Architecture { name: "phi2", block: Block::Parallel, biases: Biases::AllButQkv, required: OUTPUT_AND_BIAS, ..GPT },
    Architecture { name: "falcon", block: Block::Parallel, ..GPT },
    Architecture {
        name: "bert",
        positions: Positions::Learned, block: Block::PostNorm, attention: AttentionKind::Bidirectional, classifier: Some(ClassifierHead::Tanh),
        norms: Norms { attn: None, attn_post: Some("attn_output_norm"), ffn: None, ffn_post: Some("layer_output_norm") },
        ..GPT
    },
];
