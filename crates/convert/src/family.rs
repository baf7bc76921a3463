//! The families of checkpoints that are understood, as a table: what config.json calls them, what GGUF calls them, and
//! which tensors their layers have.
//!
//! Source: llama.cpp's converter, `conversion/` and `gguf-py/gguf/tensor_mapping.py`, whose names and orders these are.

use anyhow::{Result, bail};

use super::ModelConfig;

/// A family of checkpoints.
#[derive(Debug)]
pub struct Family {
    /// `model_type` of config.json.
    model_type: &'static str,
    /// `general.architecture` of GGUF.
    pub architecture: &'static str,
    /// Whether the rotary embedding of GGUF's architecture turns neighbours where the checkpoint's turns halves, so that
    /// rows of queries and keys have to change places.
    pub turns_neighbours: bool,
    /// Whether attention looks back `sliding_window` positions where config.json does not say whether it does.
    pub uses_window: bool,
    /// What `hidden_act` may be.
    pub activation: &'static str,
    /// The tensors around the layers.
    pub frame: &'static Frame,
    /// The tensors of a layer, in the order of the file.
    pub layer: &'static [&'static [LayerTensor]],
    /// The hyper-parameters that only some families have: keys of GGUF behind the architecture, and the numbers.
    pub numbers: &'static [Number],
    /// What must hold of config.json, since GGUF has no way to say otherwise.
    check: fn(&ModelConfig) -> Result<()>,
}

/// The tensors around the layers, and whether it is a decoder that they make.
#[derive(Debug)]
pub struct Frame {
    /// What the names of all tensors may have in front.
    pub prefixes: &'static [&'static str],
    /// The tensors in front of the layers; their `from` is a whole name.
    pub before: &'static [LayerTensor],
    /// What stands in front of the numbers of layers.
    pub layers: &'static str,
    /// The tensors behind the layers.
    pub after: &'static [LayerTensor],
    /// Whether positions are rotations of queries and keys, and texts are continued, through a matrix of their own
    /// or the embedding.
    pub is_decoder: bool,
    /// Beginnings of the names of tensors that are for training, or for other uses than embeddings.
    pub left_out: &'static [&'static str],
}

/// A key of GGUF, without the architecture in front, and its value.
type Number = (&'static str, fn(&ModelConfig) -> Option<f32>);

/// A tensor: its name, behind `blk.N.` in a layer, that in the checkpoint, behind the layer's number, and its form.
#[derive(Debug, Clone, Copy)]
pub struct LayerTensor {
    pub to: &'static str,
    pub from: &'static str,
    pub form: Form,
}

/// The form of a layer's tensor.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// A matrix of so many rows and columns, with a bias where the checkpoint has one.
    Matrix(Size, Size),
    /// Such a matrix, whose rows the rotary embedding turns.
    TurnedMatrix(Size, Size),
    /// A vector of this length.
    Vector(Size),
    /// A matrix of each expert: `from` is what comes behind the expert's number.
    Experts(Size, Size),
    /// A matrix that is never quantised.
    Float(Size, Size),
    /// A small matrix, which is in F32.
    Exact(Size, Size),
}

/// A length that config.json gives.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// `hidden_size`.
    Embedding,
    /// `intermediate_size`.
    FeedForward,
    /// `moe_intermediate_size`.
    ExpertFeedForward,
    /// All heads.
    Queries,
    /// All heads that have keys and values of their own.
    Keys,
    /// One head.
    Head,
    /// `num_experts`.
    ExpertCount,
    /// `vocab_size`.
    Vocabulary,
    /// `max_position_embeddings`.
    Positions,
    /// `type_vocab_size`.
    Types,
}

use Form::{Exact, Experts, Float, Matrix, TurnedMatrix, Vector};
use Size::{
    Embedding, ExpertCount, ExpertFeedForward, FeedForward, Head, Keys, Positions, Queries, Types, Vocabulary,
};

const fn tensor(to: &'static str, from: &'static str, form: Form) -> LayerTensor {
    LayerTensor { to, from, form }
}

const ATTENTION_NORM: &[LayerTensor] =
    &[tensor("attn_norm.weight", "input_layernorm.weight", Vector(Embedding))];

const ATTENTION: &[LayerTensor] = &[
    tensor("attn_q", "self_attn.q_proj", TurnedMatrix(Queries, Embedding)),
    tensor("attn_k", "self_attn.k_proj", TurnedMatrix(Keys, Embedding)),
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

const FEED_FORWARD_NORM: &[LayerTensor] =
    &[tensor("ffn_norm.weight", "post_attention_layernorm.weight", Vector(Embedding))];

const GATED_FEED_FORWARD: &[LayerTensor] = &[
    tensor("ffn_gate", "mlp.gate_proj", Matrix(FeedForward, Embedding)),
    tensor("ffn_up", "mlp.up_proj", Matrix(FeedForward, Embedding)),
    tensor("ffn_down", "mlp.down_proj", Matrix(Embedding, FeedForward)),
];

/// Norms behind the blocks, not in front of them.
const POST_NORMS: &[LayerTensor] = &[
    tensor("post_attention_norm.weight", "post_attention_layernorm.weight", Vector(Embedding)),
    tensor("post_ffw_norm.weight", "post_feedforward_layernorm.weight", Vector(Embedding)),
];

const EXPERTS: &[LayerTensor] = &[
    tensor("ffn_gate_inp", "mlp.gate", Exact(ExpertCount, Embedding)),
    tensor("ffn_gate_exps", "gate_proj", Experts(ExpertFeedForward, Embedding)),
    tensor("ffn_up_exps", "up_proj", Experts(ExpertFeedForward, Embedding)),
    tensor("ffn_down_exps", "down_proj", Experts(Embedding, ExpertFeedForward)),
];

const DECODER: Frame = Frame {
    prefixes: &[""],
    before: &[tensor("token_embd", "model.embed_tokens", Float(Vocabulary, Embedding))],
    layers: "model.layers",
    after: &[tensor("output_norm.weight", "model.norm.weight", Vector(Embedding))],
    is_decoder: true,
    left_out: &[],
};

const BERT: Frame = Frame {
    prefixes: &["", "bert."],
    before: &[
        tensor("token_embd", "embeddings.word_embeddings", Float(Vocabulary, Embedding)),
        tensor("position_embd", "embeddings.position_embeddings", Exact(Positions, Embedding)),
        tensor("token_types", "embeddings.token_type_embeddings", Exact(Types, Embedding)),
        tensor("token_embd_norm.weight", "embeddings.LayerNorm.weight", Vector(Embedding)),
        tensor("token_embd_norm.bias", "embeddings.LayerNorm.bias", Vector(Embedding)),
    ],
    layers: "encoder.layer",
    after: &[],
    is_decoder: false,
    left_out: &["pooler.", "cls.", "embeddings.position_ids"],
};

const BERT_LAYER: &[LayerTensor] = &[
    tensor("attn_q", "attention.self.query", Matrix(Queries, Embedding)),
    tensor("attn_k", "attention.self.key", Matrix(Keys, Embedding)),
    tensor("attn_v", "attention.self.value", Matrix(Keys, Embedding)),
    tensor("attn_output", "attention.output.dense", Matrix(Embedding, Queries)),
    tensor("attn_output_norm.weight", "attention.output.LayerNorm.weight", Vector(Embedding)),
    tensor("attn_output_norm.bias", "attention.output.LayerNorm.bias", Vector(Embedding)),
    tensor("ffn_up", "intermediate.dense", Matrix(FeedForward, Embedding)),
    tensor("ffn_down", "output.dense", Matrix(Embedding, FeedForward)),
    tensor("layer_output_norm.weight", "output.LayerNorm.weight", Vector(Embedding)),
    tensor("layer_output_norm.bias", "output.LayerNorm.bias", Vector(Embedding)),
];

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "llama",
    turns_neighbours: true,
    uses_window: false,
    activation: "silu",
    frame: &DECODER,
    layer: &[ATTENTION_NORM, ATTENTION, FEED_FORWARD_NORM, GATED_FEED_FORWARD],
    numbers: &[],
    check: |_| Ok(()),
};

/// Every family that this crate knows.
const FAMILIES: &[Family] = &[
    LLAMA,
    // Llama's form, but for a window that llama.cpp does not have there either.
    Family { model_type: "mistral", uses_window: true, ..LLAMA },
    Family { model_type: "qwen2", architecture: "qwen2", turns_neighbours: false, ..LLAMA },
    Family {
        model_type: "qwen3",
        architecture: "qwen3",
        turns_neighbours: false,
        layer: &[ATTENTION_NORM, ATTENTION, HEAD_NORMS, FEED_FORWARD_NORM, GATED_FEED_FORWARD],
        ..LLAMA
    },
    Family {
        model_type: "qwen3_moe",
        architecture: "qwen3moe",
        turns_neighbours: false,
        layer: &[ATTENTION_NORM, ATTENTION, HEAD_NORMS, FEED_FORWARD_NORM, EXPERTS],
        check: ModelConfig::check_experts,
        ..LLAMA
    },
    Family {
        model_type: "granite",
        architecture: "granite",
        numbers: &[
            ("attention.scale", |config| config.attention_multiplier),
            ("embedding_scale", |config| config.embedding_multiplier),
            ("residual_scale", |config| config.residual_multiplier),
            ("logit_scale", |config| config.logits_scaling),
        ],
        ..LLAMA
    },
    Family {
        model_type: "smollm3",
        architecture: "smollm3",
        check: ModelConfig::check_layers_without_rope,
        ..LLAMA
    },
    Family {
        model_type: "olmo2",
        architecture: "olmo2",
        turns_neighbours: false,
        layer: &[ATTENTION, ROW_NORMS, POST_NORMS, GATED_FEED_FORWARD],
        ..LLAMA
    },
    Family {
        model_type: "bert",
        architecture: "bert",
        turns_neighbours: false,
        activation: "gelu",
        frame: &BERT,
        layer: &[BERT_LAYER],
        check: ModelConfig::check_encoder,
        ..LLAMA
    },
];

impl Family {
    /// The family that config.json names.
    pub fn of(config: &ModelConfig) -> Result<&'static Self> {
        let Some(family) = FAMILIES.iter().find(|family| family.model_type == config.model_type) else {
            let names: Vec<_> = FAMILIES.iter().map(|family| family.model_type).collect();
            bail!("model_type is {:?}, expected one of {}", config.model_type, names.join(", "));
        };
        (family.check)(config)?;
        Ok(family)
    }

    /// Whether the layers have experts.
    pub fn has_experts(&self) -> bool {
        self.layer.iter().copied().flatten().any(|tensor| matches!(tensor.form, Experts(..)))
    }
}
