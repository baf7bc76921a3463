//! A table of the families of checkpoints that are encoders, which compute embeddings and scores.
//!
//! Source: llama.cpp's converter, `conversion/` and `gguf-py/gguf/tensor_mapping.py`, which defines the names and orders used
//! here.

use serde_json::Value;

use super::ModelConfig;
use super::decoders::{ATTENTION, ATTENTION_NORM, FEED_FORWARD_NORM, GATED_FEED_FORWARD, LLAMA};
use super::family::{
    self, Entry, Family, Form, Frame, Key, LayerTensor, Needed, Rows, Size, Unigram, VocabularyRules, Window,
    tensor,
};

use Form::{Exact, FlatExperts, Float, Matrix, Vector};
use Size::{
    Buckets, Embedding, ExpertCount, FeedForward, GateUp, Heads, Keys, Labels, Positions, Queries,
    QueriesKeysValues, Types, Unplaced, Vocabulary,
};

/// Older checkpoints use other names for these.
const EMBEDDING_NORM: &[LayerTensor] = &[
    tensor(
        "token_embd_norm.weight",
        "embeddings.LayerNorm.weight|embeddings.LayerNorm.gamma",
        Vector(Embedding),
    ),
    tensor("token_embd_norm.bias", "embeddings.LayerNorm.bias|embeddings.LayerNorm.beta", Vector(Embedding)),
];

const TOKEN_TYPES: LayerTensor =
    tensor("token_types", "embeddings.token_type_embeddings", Exact(Types, Embedding));

const BERT: Frame = Frame {
    prefixes: &[("", ""), ("bert.", "")],
    before: &[
        tensor("token_embd", "embeddings.word_embeddings", Float(Vocabulary, Embedding)),
        tensor("position_embd", "embeddings.position_embeddings", Exact(Positions, Embedding)),
        TOKEN_TYPES,
        EMBEDDING_NORM[0],
        EMBEDDING_NORM[1],
    ],
    layers: ("encoder.layer", "blk"),
    after: &[],
    classifier: &[
        // llama.cpp's converter leaves this tensor out, so its scores differ from the original's.
        tensor("cls", "pooler.dense", Matrix(Embedding, Embedding)).maybe(),
        tensor("cls.output", "classifier", Matrix(Labels, Embedding)),
    ],
    is_decoder: false,
    left_out: &["pooler.", "cls.", "embeddings.position_ids"],
    told: &[],
};

/// RoBERTa's classifier.
const ROBERTA_CLASSIFIER: &[LayerTensor] = &[
    tensor("cls", "classifier.dense", Matrix(Embedding, Embedding)).maybe(),
    tensor("cls.output", "classifier.out_proj", Matrix(Labels, Embedding)),
];

/// Positions are counted from the id after the padding's.
const XLM_R: Frame = Frame {
    prefixes: &[("", ""), ("roberta.", "")],
    before: &[
        tensor("token_embd", "embeddings.word_embeddings", Float(Vocabulary, Embedding)),
        tensor("position_embd", "embeddings.position_embeddings", Exact(Positions, Embedding))
            .rows(Rows::Behind(Unplaced)),
        TOKEN_TYPES,
        EMBEDDING_NORM[0],
        EMBEDDING_NORM[1],
    ],
    classifier: ROBERTA_CLASSIFIER,
    left_out: &["pooler.", "lm_head.", "embeddings.position_ids"],
    ..BERT
};

/// There are no learned positions, token types are optional, and norms have numbers.
const NOMIC_BERT: Frame = Frame {
    before: &[
        tensor("token_embd", "embeddings.word_embeddings", Float(Vocabulary, Embedding)),
        TOKEN_TYPES.maybe(),
        tensor("token_embd_norm.weight", "emb_ln.weight", Vector(Embedding)),
        tensor("token_embd_norm.bias", "emb_ln.bias", Vector(Embedding)),
    ],
    layers: ("encoder.layers", "blk"),
    classifier: &[],
    left_out: &["pooler.", "cls.", "*mlp.experts.bias"],
    told: &[("mlp.experts.bias", "the bias of experts is left out, as by llama.cpp")],
    ..BERT
};

const NOMIC_BERT_LAYER: &[LayerTensor] = &[
    tensor("attn_qkv", "attn.Wqkv|mixer.Wqkv", Matrix(QueriesKeysValues, Embedding)),
    tensor("attn_output", "attn.out_proj|mixer.out_proj", Matrix(Embedding, Queries)),
    tensor("attn_output_norm.weight", "norm1.weight", Vector(Embedding)),
    tensor("attn_output_norm.bias", "norm1.bias", Vector(Embedding)),
    tensor("layer_output_norm.weight", "norm2.weight", Vector(Embedding)),
    tensor("layer_output_norm.bias", "norm2.bias", Vector(Embedding)),
];

/// A plain feed-forward block.
const NOMIC_FEED_FORWARD: &[LayerTensor] = &[
    tensor("ffn_up", "mlp.fc1", Matrix(FeedForward, Embedding)).needed(Needed::WithoutExperts),
    tensor("ffn_down", "mlp.fc2", Matrix(Embedding, FeedForward)).needed(Needed::WithoutExperts),
];

const NOMIC_GATED: &[LayerTensor] = &[
    tensor("ffn_up", "mlp.fc11", Matrix(FeedForward, Embedding)),
    tensor("ffn_gate", "mlp.fc12", Matrix(FeedForward, Embedding)),
    tensor("ffn_down", "mlp.fc2", Matrix(Embedding, FeedForward)),
];

const NOMIC_EXPERTS: &[LayerTensor] = &[
    tensor("ffn_gate_inp", "mlp.router.layer", Exact(ExpertCount, Embedding)).needed(Needed::WithExperts),
    tensor("ffn_up_exps", "mlp.experts.mlp.w1", FlatExperts(FeedForward, Embedding, false))
        .needed(Needed::WithExperts),
    tensor("ffn_down_exps", "mlp.experts.mlp.w2", FlatExperts(Embedding, FeedForward, true))
        .needed(Needed::WithExperts),
];

/// The form of XLM-R with other names, a rotary embedding, and adapters for each task beside the weights.
const JINA_V3: Frame = Frame {
    prefixes: &[("roberta.", ""), ("", "")],
    left_out: &["pooler.", "lm_head.", "*.lora_A", "*.lora_B"],
    told: &[(".lora_A", "the adapters for tasks (lora_adaptations) are left out")],
    ..NOMIC_BERT
};

/// Without learned positions.
const JINA_V2: Frame = Frame {
    before: &[
        tensor("token_embd", "embeddings.word_embeddings", Float(Vocabulary, Embedding)),
        TOKEN_TYPES,
        EMBEDDING_NORM[0],
        EMBEDDING_NORM[1],
    ],
    classifier: &[],
    ..BERT
};

const JINA_V2_LAYER: &[LayerTensor] = &[
    tensor("attn_q_norm.weight", "attention.self.layer_norm_q.weight", Vector(Queries)).maybe(),
    tensor("attn_q_norm.bias", "attention.self.layer_norm_q.bias", Vector(Queries)).maybe(),
    tensor("attn_k_norm.weight", "attention.self.layer_norm_k.weight", Vector(Keys)).maybe(),
    tensor("attn_k_norm.bias", "attention.self.layer_norm_k.bias", Vector(Keys)).maybe(),
    tensor("attn_norm_2.weight", "layer_norm_1.weight", Vector(Embedding)).maybe(),
    tensor("attn_norm_2.bias", "layer_norm_1.bias", Vector(Embedding)).maybe(),
    tensor("ffn_up", "mlp.gated_layers|mlp.up_gated_layer", Matrix(GateUp, Embedding)),
    tensor("ffn_down", "mlp.wo|mlp.down_layer", Matrix(Embedding, FeedForward)),
    tensor("layer_output_norm.weight", "mlp.layernorm.weight|layer_norm_2.weight", Vector(Embedding)),
    tensor("layer_output_norm.bias", "mlp.layernorm.bias|layer_norm_2.bias", Vector(Embedding)),
];

const DISTILBERT: Frame = Frame {
    prefixes: &[("distilbert.", ""), ("", "")],
    before: &[
        tensor("token_embd", "embeddings.word_embeddings", Float(Vocabulary, Embedding)),
        tensor("position_embd", "embeddings.position_embeddings", Exact(Positions, Embedding)),
        EMBEDDING_NORM[0],
        EMBEDDING_NORM[1],
    ],
    layers: ("transformer.layer", "blk"),
    classifier: &[],
    left_out: &["vocab_", "pre_classifier.", "classifier.", "embeddings.position_ids"],
    told: &[(
        "pre_classifier.",
        "the classifier is left out: GGUF's bert has tanh where DistilBERT has ReLU",
    )],
    ..BERT
};

const DISTILBERT_LAYER: &[LayerTensor] = &[
    tensor("attn_q", "attention.q_lin", Matrix(Queries, Embedding)),
    tensor("attn_k", "attention.k_lin", Matrix(Keys, Embedding)),
    tensor("attn_v", "attention.v_lin", Matrix(Keys, Embedding)),
    tensor("attn_output", "attention.out_lin", Matrix(Embedding, Queries)),
    tensor("attn_output_norm.weight", "sa_layer_norm.weight", Vector(Embedding)),
    tensor("attn_output_norm.bias", "sa_layer_norm.bias", Vector(Embedding)),
    tensor("ffn_up", "ffn.lin1", Matrix(FeedForward, Embedding)),
    tensor("ffn_down", "ffn.lin2", Matrix(Embedding, FeedForward)),
    tensor("layer_output_norm.weight", "output_layer_norm.weight", Vector(Embedding)),
    tensor("layer_output_norm.bias", "output_layer_norm.bias", Vector(Embedding)),
];

const T5: Frame = Frame {
    prefixes: &[("", "")],
    before: &[tensor("token_embd", "shared|encoder.embed_tokens", Float(Vocabulary, Embedding))],
    layers: ("encoder.block", "enc.blk"),
    after: &[tensor("enc.output_norm.weight", "encoder.final_layer_norm.weight", Vector(Embedding))],
    classifier: &[],
    left_out: &["decoder.", "lm_head.", "encoder.embed_tokens."],
    told: &[(
        "decoder.block.",
        "the decoder is left out: the file has the encoder alone, which gives embeddings",
    )],
    ..BERT
};

/// Either only the first layer has the scores of distances, or every layer has them.
const T5_LAYER: &[LayerTensor] = &[
    tensor("attn_norm.weight", "layer.0.layer_norm.weight", Vector(Embedding)),
    tensor("attn_q", "layer.0.SelfAttention.q", Matrix(Queries, Embedding)),
    tensor("attn_k", "layer.0.SelfAttention.k", Matrix(Keys, Embedding)),
    tensor("attn_v", "layer.0.SelfAttention.v", Matrix(Keys, Embedding)),
    tensor("attn_o", "layer.0.SelfAttention.o", Matrix(Embedding, Queries)),
    tensor("attn_rel_b", "layer.0.SelfAttention.relative_attention_bias", Float(Buckets, Heads)).maybe(),
    tensor("ffn_norm.weight", "layer.1.layer_norm.weight", Vector(Embedding)),
    tensor("ffn_gate", "layer.1.DenseReluDense.wi_0", Matrix(FeedForward, Embedding)).maybe(),
    tensor("ffn_up", "layer.1.DenseReluDense.wi_1|layer.1.DenseReluDense.wi", Matrix(FeedForward, Embedding)),
    tensor("ffn_down", "layer.1.DenseReluDense.wo", Matrix(Embedding, FeedForward)),
];

const BERT_ATTENTION: &[LayerTensor] = &[
    tensor("attn_q", "attention.self.query", Matrix(Queries, Embedding)),
    tensor("attn_k", "attention.self.key", Matrix(Keys, Embedding)),
    tensor("attn_v", "attention.self.value", Matrix(Keys, Embedding)),
    tensor("attn_output", "attention.output.dense", Matrix(Embedding, Queries)),
    tensor(
        "attn_output_norm.weight",
        "attention.output.LayerNorm.weight|attention.output.LayerNorm.gamma",
        Vector(Embedding),
    ),
    tensor(
        "attn_output_norm.bias",
        "attention.output.LayerNorm.bias|attention.output.LayerNorm.beta",
        Vector(Embedding),
    ),
];

const BERT_FEED_FORWARD: &[LayerTensor] = &[
    tensor("ffn_up", "intermediate.dense", Matrix(FeedForward, Embedding)),
    tensor("ffn_down", "output.dense", Matrix(Embedding, FeedForward)),
    tensor("layer_output_norm.weight", "output.LayerNorm.weight|output.LayerNorm.gamma", Vector(Embedding)),
    tensor("layer_output_norm.bias", "output.LayerNorm.bias|output.LayerNorm.beta", Vector(Embedding)),
];

/// Llama's names.
const EUROBERT: Frame = Frame {
    prefixes: &[("", ""), ("model.", "")],
    before: &[tensor("token_embd", "embed_tokens", Float(Vocabulary, Embedding))],
    layers: ("layers", "blk"),
    after: &[tensor("output_norm.weight", "norm.weight", Vector(Embedding))],
    classifier: &[],
    left_out: &["lm_head."],
    ..BERT
};

const MODERN_BERT: Frame = Frame {
    prefixes: &[("", ""), ("model.", "")],
    before: &[
        tensor("token_embd", "embeddings.tok_embeddings", Float(Vocabulary, Embedding)),
        tensor("token_embd_norm.weight", "embeddings.norm.weight", Vector(Embedding)),
    ],
    layers: ("layers", "blk"),
    after: &[tensor("output_norm.weight", "final_norm.weight", Vector(Embedding))],
    classifier: &[
        tensor("cls", "head.dense", Matrix(Embedding, Embedding)),
        tensor("cls.norm.weight", "head.norm.weight", Vector(Embedding)),
        tensor("cls.output", "classifier", Matrix(Labels, Embedding)),
    ],
    left_out: &["head.", "decoder."],
    ..BERT
};

/// The first layer has no norm before its attention.
const MODERN_BERT_LAYER: &[LayerTensor] = &[
    tensor("attn_norm.weight", "attn_norm.weight", Vector(Embedding)).maybe(),
    tensor("attn_qkv", "attn.Wqkv", Matrix(QueriesKeysValues, Embedding)),
    tensor("attn_output", "attn.Wo", Matrix(Embedding, Queries)),
    tensor("ffn_norm.weight", "mlp_norm.weight", Vector(Embedding)),
    tensor("ffn_up", "mlp.Wi", Matrix(GateUp, Embedding)),
    tensor("ffn_down", "mlp.Wo", Matrix(Embedding, FeedForward)),
];

/// BERT's family, without its layers.
const ENCODER: Family = Family {
    architecture: "bert",
    turns_neighbours: false,
    activation: "gelu",
    frame: &BERT,
    fixed: r#"{ "position_embedding_type": ["absolute"] }"#,
    ..LLAMA
};

const XLM_ROBERTA: Family = Family {
    model_types: &["xlm-roberta"],
    frame: &XLM_R,
    positions: family::Positions::BehindPadding,
    layer: &[BERT_ATTENTION, BERT_FEED_FORWARD],
    defaults: r#"{ "pad_token_id": 1, "layer_norm_eps": 1e-5 }"#,
    vocabulary: VocabularyRules { unigram: Unigram::XlmR, strips: Some("lstrip"), ..LLAMA.vocabulary },
    ..ENCODER
};

const NOMIC_ROPE: Key = ("rope.freq_base", |config| Some(Entry::F32(config.rope_theta())));

const NOMIC: Family = Family {
    model_types: &["nomic_bert"],
    architecture: "nomic-bert",
    activation: "swiglu",
    positions: family::Positions::Trained,
    frame: &NOMIC_BERT,
    layer: &[NOMIC_BERT_LAYER, NOMIC_GATED],
    keys: &[NOMIC_ROPE],
    names: &[
        ("hidden_size", "n_embd"),
        ("intermediate_size", "n_inner"),
        ("moe_intermediate_size", "n_inner"),
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
        ("num_experts_per_tok", "moe_top_k"),
        ("max_position_embeddings", "n_positions"),
        ("layer_norm_eps", "layer_norm_epsilon"),
        ("rope_theta", "rotary_emb_base"),
        ("hidden_act", "activation_function"),
    ],
    fixed: r#"{
        "n_positions": [8192, 2048], "max_trained_positions": [2048], "causal": [false], "prenorm": [false], "rotary_emb_fraction": [1],
        "rotary_emb_interleaved": [false], "rotary_emb_scale_base": [], "qkv_proj_bias": [false], "mlp_fc1_bias": [false],
        "mlp_fc2_bias": [false], "parallel_block": [false], "use_rms_norm": [false]
    }"#,
    ..ENCODER
};

/// Every encoder that this crate knows.
pub const ENCODERS: &[Family] = &[
    Family {
        model_types: &["bert"],
        is_meant: |keys| keys.get("position_embedding_type").is_some_and(|kind| kind == "alibi"),
        architecture: "jina-bert-v2",
        frame: &JINA_V2,
        layer: &[BERT_ATTENTION, JINA_V2_LAYER],
        fixed: r#"{ "feed_forward_type": ["geglu"] }"#,
        vocabulary: VocabularyRules { strips: Some("lstrip"), is_framed: true, ..LLAMA.vocabulary },
        ..ENCODER
    },
    Family { model_types: &["bert"], layer: &[BERT_ATTENTION, BERT_FEED_FORWARD], ..ENCODER },
    Family {
        model_types: &["distilbert"],
        frame: &DISTILBERT,
        layer: &[DISTILBERT_LAYER],
        names: &[
            ("hidden_size", "dim"),
            ("intermediate_size", "hidden_dim"),
            ("num_hidden_layers", "n_layers"),
            ("num_attention_heads", "n_heads"),
            ("hidden_act", "activation"),
        ],
        defaults: r#"{ "layer_norm_eps": 1e-12, "type_vocab_size": 1 }"#,
        ..ENCODER
    },
    Family {
        model_types: &["roberta"],
        vocabulary: VocabularyRules { is_framed: true, unigram: Unigram::No, ..XLM_ROBERTA.vocabulary },
        ..XLM_ROBERTA
    },
    Family {
        model_types: &["camembert"],
        vocabulary: VocabularyRules { unigram: Unigram::JsonOnly, ..XLM_ROBERTA.vocabulary },
        ..XLM_ROBERTA
    },
    Family {
        model_types: &["xlm-roberta"],
        is_meant: |keys| keys.get("lora_adaptations").is_some_and(|names| !names.is_null()),
        architecture: "jina-bert-v3",
        frame: &JINA_V3,
        layer: &[NOMIC_BERT_LAYER, NOMIC_FEED_FORWARD],
        keys: &[("rope.freq_base", |config| Some(Entry::F32(config.rope_theta())))],
        names: &[("rope_theta", "rotary_emb_base")],
        fixed: r#"{ "position_embedding_type": ["rotary"] }"#,
        ..XLM_ROBERTA
    },
    XLM_ROBERTA,
    Family {
        model_types: &["nomic_bert"],
        is_meant: |keys| keys.get("moe_every_n_layers").and_then(Value::as_u64).is_some_and(|n| n > 0),
        architecture: "nomic-bert-moe",
        activation: "gelu",
        layer: &[NOMIC_BERT_LAYER, NOMIC_FEED_FORWARD, NOMIC_EXPERTS],
        keys: &[NOMIC_ROPE, ("moe_every_n_layers", |config| config.moe_every_n_layers.map(Entry::U32))],
        fixed: r#"{
            "n_positions": [2048], "max_trained_positions": [2048], "causal": [false], "prenorm": [false], "rotary_emb_fraction": [1],
            "rotary_emb_interleaved": [false], "rotary_emb_scale_base": [], "qkv_proj_bias": [true], "mlp_fc1_bias": [true],
            "mlp_fc2_bias": [true], "parallel_block": [false], "use_rms_norm": [false], "num_shared_experts": [0],
            "expert_choice_router": [false], "moe_normalize_expert_weights": [false]
        }"#,
        vocabulary: XLM_ROBERTA.vocabulary,
        check: ModelConfig::check_some_experts,
        ..NOMIC
    },
    NOMIC,
    Family {
        model_types: &["t5", "mt5", "umt5"],
        architecture: "t5encoder",
        frame: &T5,
        layer: &[T5_LAYER],
        keys: &[
            ("attention.layer_norm_rms_epsilon", |config| config.layer_norm_eps().map(Entry::F32)),
            ("attention.relative_buckets_count", |config| config.n_buckets().map(Entry::U32)),
        ],
        names: &[
            ("hidden_size", "d_model"),
            ("intermediate_size", "d_ff"),
            ("num_hidden_layers", "num_layers"),
            ("num_attention_heads", "num_heads"),
            ("head_dim", "d_kv"),
            ("max_position_embeddings", "n_positions"),
            ("layer_norm_eps", "layer_norm_epsilon"),
        ],
        defaults: r#"{ "max_position_embeddings": 512, "relative_attention_num_buckets": 32 }"#,
        fixed: r#"{ "feed_forward_proj": ["relu", "gated-gelu"], "relative_attention_max_distance": [128] }"#,
        vocabulary: VocabularyRules { unigram: Unigram::Plain, ..LLAMA.vocabulary },
        ..ENCODER
    },
    Family {
        model_types: &["eurobert"],
        architecture: "eurobert",
        activation: "silu",
        frame: &EUROBERT,
        layer: &[ATTENTION_NORM, ATTENTION, FEED_FORWARD_NORM, GATED_FEED_FORWARD],
        keys: &[
            ("attention.layer_norm_rms_epsilon", |config| config.layer_norm_eps().map(Entry::F32)),
            ("rope.freq_base", |config| Some(Entry::F32(config.rope_theta()))),
            ("rope.scaling.type", |_| Some(Entry::Text("none"))),
            ("classifier.pooling_type", |config| config.classifier_pooling().map(Entry::U32)),
        ],
        names: &[("layer_norm_eps", "rms_norm_eps")],
        vocabulary: VocabularyRules { strips: Some("lstrip"), is_framed: true, ..LLAMA.vocabulary },
        ..ENCODER
    },
    Family {
        model_types: &["modernbert"],
        architecture: "modern-bert",
        turns_neighbours: false,
        window: Window::Kept,
        activation: "gelu|silu",
        frame: &MODERN_BERT,
        layer: &[MODERN_BERT_LAYER],
        keys: &[
            ("rope.freq_base", |config| Some(Entry::F32(config.rope_theta()))),
            ("rope.freq_base_swa", |config| config.window_rope_theta().map(Entry::F32)),
            ("rope.scaling.type", |_| Some(Entry::Text("none"))),
            ("attention.layer_norm_rms_epsilon", |config| config.norm_eps.map(Entry::F32)),
            ("attention.sliding_window", |config| config.local_attention.map(Entry::U32)),
            ("attention.sliding_window_pattern", |config| config.global_attn_every_n_layers.map(Entry::U32)),
            ("hidden_activation", |config| Some(Entry::Text(config.activation()))),
            ("classifier.pooling_type", |config| config.classifier_pooling().map(Entry::U32)),
        ],
        defaults: r#"{
            "global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "local_attention": 128, "norm_eps": 1e-5,
            "global_attn_every_n_layers": 3, "hidden_activation": "gelu"
        }"#,
        vocabulary: VocabularyRules { strips: Some("lstrip"), is_framed: true, ..LLAMA.vocabulary },
        check: ModelConfig::check_every_nth,
        ..LLAMA
    },
];
