//! A table of the families of checkpoints that are decoders, which continue texts.
//!
//! Source: llama.cpp's converter, `conversion/` and `gguf-py/gguf/tensor_mapping.py`, which defines the names and orders used
//! here.

use anyhow::bail;

use super::ModelConfig;
use super::family::{
    self, Entry, Family, Form, Frame, Key, LayerTensor, Rows, Size, Unigram, VocabularyRules, Window, tensor,
};
use super::weight::Change;

use Form::{Exact, Experts, Float, Matrix, Vector};
use Size::{
    DeltaChannels, DeltaQueriesKeys, DeltaValue, DeltaValueCount, DeltaValues, Embedding, ExpertCount,
    ExpertFeedForward, FeedForward, Filter, GateUp, GatedQueries, Head, Keys, One, Queries,
    QueriesKeysValues, SharedFeedForward, ThreeEmbeddings, Vocabulary, Zero,
};

/// The weight of a norm that is stored minus 1.
const fn norm_less_one(to: &'static str, from: &'static str, len: Size) -> LayerTensor {
    tensor(to, from, Vector(len)).change(Change::PlusOne)
}

pub const ATTENTION_NORM: &[LayerTensor] =
    &[tensor("attn_norm.weight", "input_layernorm.weight", Vector(Embedding))];

pub const ATTENTION: &[LayerTensor] = &[
    tensor("attn_q", "self_attn.q_proj", Matrix(Queries, Embedding)).rows(Rows::Turned),
    tensor("attn_k", "self_attn.k_proj", Matrix(Keys, Embedding)).rows(Rows::Turned),
    tensor("attn_v", "self_attn.v_proj", Matrix(Keys, Embedding)),
    tensor("attn_output", "self_attn.o_proj", Matrix(Embedding, Queries)),
];

/// Norms of the queries and keys of each head.
const HEAD_NORMS: &[LayerTensor] = &[
    tensor("attn_q_norm.weight", "self_attn.q_norm.weight", Vector(Head)),
    tensor("attn_k_norm.weight", "self_attn.k_norm.weight", Vector(Head)),
];

/// Norms of all queries, and of all keys.
const ROW_NORMS: &[LayerTensor] = &[
    tensor("attn_q_norm.weight", "self_attn.q_norm.weight", Vector(Queries)),
    tensor("attn_k_norm.weight", "self_attn.k_norm.weight", Vector(Keys)),
];

pub const FEED_FORWARD_NORM: &[LayerTensor] =
    &[tensor("ffn_norm.weight", "post_attention_layernorm.weight", Vector(Embedding))];

pub const GATED_FEED_FORWARD: &[LayerTensor] = &[
    tensor("ffn_gate", "mlp.gate_proj", Matrix(FeedForward, Embedding)),
    tensor("ffn_up", "mlp.up_proj", Matrix(FeedForward, Embedding)),
    tensor("ffn_down", "mlp.down_proj", Matrix(Embedding, FeedForward)),
];

/// Norms after the blocks instead of before them.
const POST_NORMS: &[LayerTensor] = &[
    tensor("post_attention_norm.weight", "post_attention_layernorm.weight", Vector(Embedding)),
    tensor("post_ffw_norm.weight", "post_feedforward_layernorm.weight", Vector(Embedding)),
];

const EXPERTS: &[LayerTensor] = &[
    tensor("ffn_gate_inp", "mlp.gate", Exact(ExpertCount, Embedding)),
    tensor("ffn_gate_exps", "gate_proj", Experts(ExpertFeedForward, Embedding, ("gate_up_proj", 0, 2))),
    tensor("ffn_up_exps", "up_proj", Experts(ExpertFeedForward, Embedding, ("gate_up_proj", 1, 2))),
    tensor("ffn_down_exps", "down_proj", Experts(Embedding, ExpertFeedForward, ("down_proj", 0, 1))),
];

/// An expert that processes all tokens, with a gate.
const SHARED_EXPERT: &[LayerTensor] = &[
    tensor("ffn_gate_inp_shexp", "mlp.shared_expert_gate", Exact(One, Embedding)),
    tensor("ffn_gate_shexp", "mlp.shared_expert.gate_proj", Matrix(SharedFeedForward, Embedding)),
    tensor("ffn_up_shexp", "mlp.shared_expert.up_proj", Matrix(SharedFeedForward, Embedding)),
    tensor("ffn_down_shexp", "mlp.shared_expert.down_proj", Matrix(Embedding, SharedFeedForward)),
];

/// Phi 3's layer: queries, keys and values are one matrix; gate and up are another.
const FUSED_LAYER: &[LayerTensor] = &[
    tensor("attn_qkv", "self_attn.qkv_proj", Matrix(QueriesKeysValues, Embedding)),
    tensor("attn_output", "self_attn.o_proj", Matrix(Embedding, Queries)),
    tensor("ffn_up", "mlp.gate_up_proj", Matrix(GateUp, Embedding)),
    tensor("ffn_down", "mlp.down_proj", Matrix(Embedding, FeedForward)),
];

/// Gemma's norms, before and after the blocks.
const SANDWICH_NORMS: &[LayerTensor] = &[
    norm_less_one("attn_norm.weight", "input_layernorm.weight", Embedding),
    norm_less_one("post_attention_norm.weight", "post_attention_layernorm.weight", Embedding),
    norm_less_one("ffn_norm.weight", "pre_feedforward_layernorm.weight", Embedding),
    norm_less_one("post_ffw_norm.weight", "post_feedforward_layernorm.weight", Embedding),
];

const HEAD_NORMS_LESS_ONE: &[LayerTensor] = &[
    norm_less_one("attn_q_norm.weight", "self_attn.q_norm.weight", Head),
    norm_less_one("attn_k_norm.weight", "self_attn.k_norm.weight", Head),
];

/// Qwen 3.5's norms before the blocks.
const PRE_NORMS_LESS_ONE: &[LayerTensor] = &[
    norm_less_one("attn_norm.weight", "input_layernorm.weight", Embedding),
    norm_less_one("post_attention_norm.weight", "post_attention_layernorm.weight", Embedding),
];

/// Attention with a gate for its output, stored beside each query.
const GATED_ATTENTION: &[LayerTensor] = &[
    tensor("attn_q", "self_attn.q_proj", Matrix(GatedQueries, Embedding)),
    tensor("attn_k", "self_attn.k_proj", Matrix(Keys, Embedding)),
    tensor("attn_v", "self_attn.v_proj", Matrix(Keys, Embedding)),
    tensor("attn_output", "self_attn.o_proj", Matrix(Embedding, Queries)),
];

const VALUES: Rows = Rows::Values { before: Zero, head: DeltaValue };
const VALUE_HEADS: Rows = Rows::Values { before: Zero, head: One };
const VALUE_CHANNELS: Rows = Rows::Values { before: DeltaQueriesKeys, head: DeltaValue };

const DELTA_NET: &[LayerTensor] = &[
    tensor("attn_qkv", "linear_attn.in_proj_qkv", Matrix(DeltaChannels, Embedding)).rows(VALUE_CHANNELS),
    tensor("attn_gate", "linear_attn.in_proj_z", Matrix(DeltaValues, Embedding)).rows(VALUES),
    tensor("ssm_beta", "linear_attn.in_proj_b", Matrix(DeltaValueCount, Embedding)).rows(VALUE_HEADS),
    tensor("ssm_alpha", "linear_attn.in_proj_a", Matrix(DeltaValueCount, Embedding)).rows(VALUE_HEADS),
    tensor("ssm_a", "linear_attn.A_log", Vector(DeltaValueCount)).cols(VALUE_HEADS).change(Change::MinusExp),
    tensor("ssm_dt.bias", "linear_attn.dt_bias", Vector(DeltaValueCount)).cols(VALUE_HEADS),
    tensor("ssm_conv1d", "linear_attn.conv1d", Exact(DeltaChannels, Filter)).rows(VALUE_CHANNELS),
    tensor("ssm_norm.weight", "linear_attn.norm.weight", Vector(DeltaValue)),
    tensor("ssm_out", "linear_attn.out_proj", Matrix(Embedding, DeltaValues)).cols(VALUES),
];

const LFM2_NORMS: &[LayerTensor] = &[
    tensor("attn_norm.weight", "operator_norm.weight", Vector(Embedding)),
    tensor("ffn_norm.weight", "ffn_norm.weight", Vector(Embedding)),
];

const LFM2_ATTENTION: &[LayerTensor] = &[
    tensor("attn_q", "self_attn.q_proj", Matrix(Queries, Embedding)),
    tensor("attn_k", "self_attn.k_proj", Matrix(Keys, Embedding)),
    tensor("attn_v", "self_attn.v_proj", Matrix(Keys, Embedding)),
    tensor("attn_output", "self_attn.out_proj", Matrix(Embedding, Queries)),
    tensor("attn_q_norm.weight", "self_attn.q_layernorm.weight", Vector(Head)),
    tensor("attn_k_norm.weight", "self_attn.k_layernorm.weight", Vector(Head)),
];

const SHORT_CONVOLUTION: &[LayerTensor] = &[
    tensor("shortconv.in_proj", "conv.in_proj", Matrix(ThreeEmbeddings, Embedding)),
    tensor("shortconv.conv", "conv.conv", Exact(Embedding, Filter)),
    tensor("shortconv.out_proj", "conv.out_proj", Matrix(Embedding, Embedding)),
];

const LFM2_FEED_FORWARD: &[LayerTensor] = &[
    tensor("ffn_gate", "feed_forward.w1", Matrix(FeedForward, Embedding)),
    tensor("ffn_up", "feed_forward.w3", Matrix(FeedForward, Embedding)),
    tensor("ffn_down", "feed_forward.w2", Matrix(Embedding, FeedForward)),
];

const DECODER: Frame = Frame {
    prefixes: &[("model.", "")],
    before: &[tensor("token_embd", "embed_tokens", Float(Vocabulary, Embedding))],
    layers: ("layers", "blk"),
    after: &[tensor("output_norm.weight", "norm.weight", Vector(Embedding))],
    classifier: &[],
    is_decoder: true,
    left_out: &[],
    told: &[],
};

/// A decoder whose norms are stored minus 1, and that may be part of a model with vision.
const DECODER_LESS_ONE: Frame = Frame {
    prefixes: &[("model.", ""), ("language_model.model.", "language_model."), ("model.language_model.", "")],
    after: &[norm_less_one("output_norm.weight", "norm.weight", Embedding)],
    left_out: &[
        "vision_tower.",
        "multi_modal_projector.",
        "model.vision_tower.",
        "model.multi_modal_projector.",
        "visual.",
        "model.visual.",
        "mtp.",
        "model.mtp.",
    ],
    told: &[("mtp.", "the layers that predict several tokens at once (mtp) are left out")],
    ..DECODER
};

const LFM2: Frame = Frame {
    after: &[tensor("token_embd_norm.weight", "embedding_norm.weight", Vector(Embedding))],
    ..DECODER
};

pub const LLAMA: Family = Family {
    model_types: &["llama"],
    is_meant: |_| true,
    architecture: "llama",
    turns_neighbours: true,
    window: Window::IfSaid,
    rotates_parts: false,
    activation: "silu",
    positions: family::Positions::All,
    frame: &DECODER,
    layer: &[ATTENTION_NORM, ATTENTION, FEED_FORWARD_NORM, GATED_FEED_FORWARD],
    recurrent_layer: &[],
    recurrent: "",
    tells_by_heads: false,
    keys: &[],
    defaults: "{}",
    names: &[],
    fixed: "{}",
    vocabulary: VocabularyRules {
        prefers_sentencepiece: false,
        judges_by_looks: true,
        strips: None,
        unigram: Unigram::No,
        is_framed: false,
    },
    check: |_| Ok(()),
};

const GEMMA_KEYS: &[Key] = &[
    ("attention.sliding_window", |config| {
        config.sliding_window.filter(|_| config.has_window()).map(Entry::U32)
    }),
    ("attn_logit_softcapping", |config| config.attn_logit_softcapping.map(Entry::F32)),
    ("final_logit_softcapping", |config| config.final_logit_softcapping.map(Entry::F32)),
    ("rope.freq_base_swa", |config| config.window_rope_theta().map(Entry::F32)),
];
const GEMMA_VOCABULARY: VocabularyRules = VocabularyRules { prefers_sentencepiece: true, ..LLAMA.vocabulary };

/// Groups of three layers with a gated delta net and one with attention.
const QWEN3_5: Family = Family {
    turns_neighbours: false,
    rotates_parts: true,
    frame: &DECODER_LESS_ONE,
    layer: &[PRE_NORMS_LESS_ONE, GATED_ATTENTION, HEAD_NORMS_LESS_ONE, GATED_FEED_FORWARD],
    recurrent_layer: &[PRE_NORMS_LESS_ONE, DELTA_NET, GATED_FEED_FORWARD],
    recurrent: "linear_attention",
    keys: &[
        ("rope.dimension_sections", |config| Some(Entry::I32s(config.rope_sections()))),
        ("ssm.conv_kernel", |config| config.filter_len().map(Entry::U32)),
        ("ssm.state_size", |config| config.linear_key_head_dim.map(Entry::U32)),
        ("ssm.group_count", |config| config.linear_num_key_heads.map(Entry::U32)),
        ("ssm.time_step_rank", |config| config.linear_num_value_heads.map(Entry::U32)),
        ("ssm.inner_size", |config| config.delta_values().map(Entry::U32)),
        ("attention.recurrent_layers", |config| {
            Some(Entry::Bools(
                (0..config.num_hidden_layers).map(|layer| config.is_recurrent(layer)).collect(),
            ))
        }),
        ("full_attention_interval", |config| config.full_attention_interval.map(Entry::U32)),
        ("expert_shared_feed_forward_length", |config| {
            config.shared_expert_intermediate_size.map(Entry::U32)
        }),
    ],
    defaults: r#"{ "head_dim": 256, "partial_rotary_factor": 0.25, "full_attention_interval": 4 }"#,
    check: ModelConfig::check_delta_net,
    ..LLAMA
};

/// Every decoder that this crate knows.
pub const DECODERS: &[Family] = &[
    LLAMA,
    // Llama's form, except for a window, which llama.cpp does not support either.
    Family { model_types: &["mistral"], window: Window::LeftOut, ..LLAMA },
    Family { model_types: &["qwen2"], architecture: "qwen2", turns_neighbours: false, ..LLAMA },
    Family {
        model_types: &["qwen3"],
        architecture: "qwen3",
        turns_neighbours: false,
        layer: &[ATTENTION_NORM, ATTENTION, HEAD_NORMS, FEED_FORWARD_NORM, GATED_FEED_FORWARD],
        ..LLAMA
    },
    Family {
        model_types: &["qwen3_moe"],
        architecture: "qwen3moe",
        turns_neighbours: false,
        layer: &[ATTENTION_NORM, ATTENTION, HEAD_NORMS, FEED_FORWARD_NORM, EXPERTS],
        check: ModelConfig::check_experts,
        ..LLAMA
    },
    Family {
        model_types: &["granite"],
        architecture: "granite",
        keys: &[
            ("attention.scale", |config| config.attention_multiplier.map(Entry::F32)),
            ("embedding_scale", |config| config.embedding_multiplier.map(Entry::F32)),
            ("residual_scale", |config| config.residual_multiplier.map(Entry::F32)),
            ("logit_scale", |config| config.logits_scaling.map(Entry::F32)),
        ],
        ..LLAMA
    },
    Family {
        model_types: &["smollm3"],
        architecture: "smollm3",
        check: ModelConfig::check_layers_without_rope,
        ..LLAMA
    },
    Family {
        model_types: &["olmo2"],
        architecture: "olmo2",
        turns_neighbours: false,
        layer: &[ATTENTION, ROW_NORMS, POST_NORMS, GATED_FEED_FORWARD],
        ..LLAMA
    },
    Family {
        model_types: &["phi3"],
        architecture: "phi3",
        turns_neighbours: false,
        window: Window::LeftOut,
        rotates_parts: true,
        layer: &[ATTENTION_NORM, FEED_FORWARD_NORM, FUSED_LAYER],
        keys: &[
            ("attention.sliding_window", |config| Some(Entry::U32(config.sliding_window.unwrap_or(0)))),
            ("rope.scaling.original_context_length", |config| config.original_context().map(Entry::U32)),
        ],
        defaults: r#"{ "original_max_position_embeddings": 4096 }"#,
        vocabulary: VocabularyRules {
            prefers_sentencepiece: true,
            judges_by_looks: false,
            strips: Some("rstrip"),
            ..LLAMA.vocabulary
        },
        ..LLAMA
    },
    Family {
        model_types: &["gemma2"],
        architecture: "gemma2",
        turns_neighbours: false,
        window: Window::Kept,
        activation: "gelu_pytorch_tanh",
        frame: &DECODER_LESS_ONE,
        layer: &[SANDWICH_NORMS, ATTENTION, GATED_FEED_FORWARD],
        keys: GEMMA_KEYS,
        defaults: r#"{
            "head_dim": 256, "rms_norm_eps": 1e-6, "max_position_embeddings": 8192, "sliding_window": 4096,
            "sliding_window_pattern": 2, "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0, "tie_word_embeddings": true
        }"#,
        vocabulary: GEMMA_VOCABULARY,
        check: |config| config.check_window_and_scale(2, 46),
        ..LLAMA
    },
    Family {
        model_types: &["gemma3_text", "gemma3"],
        architecture: "gemma3",
        turns_neighbours: false,
        window: Window::Kept,
        activation: "gelu_pytorch_tanh",
        frame: &DECODER_LESS_ONE,
        layer: &[SANDWICH_NORMS, ATTENTION, HEAD_NORMS_LESS_ONE, GATED_FEED_FORWARD],
        keys: GEMMA_KEYS,
        defaults: r#"{
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 131072, "rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window": 4096,
            "sliding_window_pattern": 6, "query_pre_attn_scalar": 256, "tie_word_embeddings": true
        }"#,
        vocabulary: GEMMA_VOCABULARY,
        check: |config| match config.attn_logit_softcapping {
            None => config.check_window_and_scale(6, 62),
            Some(cap) => bail!("attn_logit_softcapping is {cap}, expected none"),
        },
        ..LLAMA
    },
    Family { model_types: &["qwen3_5_text", "qwen3_5"], architecture: "qwen35", ..QWEN3_5 },
    Family {
        model_types: &["qwen3_5_moe_text", "qwen3_5_moe"],
        architecture: "qwen35moe",
        layer: &[PRE_NORMS_LESS_ONE, GATED_ATTENTION, HEAD_NORMS_LESS_ONE, EXPERTS, SHARED_EXPERT],
        recurrent_layer: &[PRE_NORMS_LESS_ONE, DELTA_NET, EXPERTS, SHARED_EXPERT],
        defaults: r#"{
            "head_dim": 256, "partial_rotary_factor": 0.25, "full_attention_interval": 4, "norm_topk_prob": true,
            "intermediate_size": 0
        }"#,
        check: |config| config.check_delta_net().and_then(|()| config.check_experts()),
        ..QWEN3_5
    },
    Family {
        model_types: &["lfm2"],
        architecture: "lfm2",
        turns_neighbours: false,
        frame: &LFM2,
        layer: &[LFM2_NORMS, LFM2_ATTENTION, LFM2_FEED_FORWARD],
        recurrent_layer: &[LFM2_NORMS, SHORT_CONVOLUTION, LFM2_FEED_FORWARD],
        recurrent: "conv",
        tells_by_heads: true,
        keys: &[("shortconv.l_cache", |config| config.filter_len().map(Entry::U32))],
        defaults: r#"{
            "norm_eps": 1e-5, "rope_theta": 1e6, "tie_word_embeddings": true, "block_auto_adjust_ff_dim": true,
            "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256
        }"#,
        check: ModelConfig::check_short_convolutions,
        ..LLAMA
    },
];
