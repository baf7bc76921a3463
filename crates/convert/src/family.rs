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
    /// The tensors of a layer, in the order of the file.
    pub layer: &'static [&'static [LayerTensor]],
    /// The hyper-parameters that only some families have: keys of GGUF behind the architecture, and the numbers.
    pub numbers: &'static [Number],
    /// What must hold of config.json, since GGUF has no way to say otherwise.
    check: fn(&ModelConfig) -> Result<()>,
}

/// A key of GGUF, without the architecture in front, and its value.
type Number = (&'static str, fn(&ModelConfig) -> Option<f32>);

/// A tensor of each layer: its name behind `blk.N.`, that behind `model.layers.N.`, and its form.
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
    /// The matrix that chooses among experts, which stays in F32.
    Router,
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
}

use Form::{Experts, Matrix, Router, TurnedMatrix, Vector};
use Size::{Embedding, ExpertFeedForward, FeedForward, Head, Keys, Queries};

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
    tensor("ffn_gate_inp", "mlp.gate", Router),
    tensor("ffn_gate_exps", "gate_proj", Experts(ExpertFeedForward, Embedding)),
    tensor("ffn_up_exps", "up_proj", Experts(ExpertFeedForward, Embedding)),
    tensor("ffn_down_exps", "down_proj", Experts(Embedding, ExpertFeedForward)),
];

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "llama",
    turns_neighbours: true,
    uses_window: false,
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
        self.layer.iter().copied().flatten().any(|tensor| matches!(tensor.form, Router))
    }
}
