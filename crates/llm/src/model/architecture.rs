//! The families of models: what sets each apart, as one table.
//!
//! Everything here is what a GGUF file does not say of itself. Dimensions, constants and which
//! optional tensors exist come from the file ([`Config`](super::Config), [`Weights`](super::weights)).

/// What the forward pass must know of a family beyond its hyper-parameters.
#[derive(Debug, PartialEq)]
pub struct Architecture {
    /// `general.architecture`, also the prefix of the family's keys.
    pub name: &'static str,
    /// How activations are normalised before each block.
    pub norm: NormKind,
    /// How the position of a token enters.
    pub positions: Positions,
    /// The nonlinearity of the feed-forward block.
    pub activation: Activation,
    /// Whether the feed-forward block multiplies two projections (`gate`, `up`) or has one (`up`).
    pub gated: bool,
}

/// The kinds of normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x²) + eps) · weight` (Zhang and Sennrich 2019).
    Rms,
    /// `(x - mean) / sqrt(var + eps) · weight + bias` (Ba et al. 2016).
    Layer,
}

/// The ways in which a position enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Rotary embedding of queries and keys (Su et al. 2021).
    Rope(RopePairs),
    /// A learned vector per position, added to the token's embedding (`position_embd`).
    Learned,
}

/// Which two elements of a head a rotary embedding turns together, of `n_rot` that it turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// `(2i, 2i + 1)`; ggml's `NORMAL`.
    Adjacent,
    /// `(i, i + n_rot / 2)`; ggml's `NEOX`.
    Halves,
}

/// Nonlinearities of the feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)` in its tanh approximation (Hendrycks and Gimpel 2016).
    Gelu,
}

const LLAMA: Architecture = Architecture {
    name: "llama",
    norm: NormKind::Rms,
    positions: Positions::Rope(RopePairs::Adjacent),
    activation: Activation::Silu,
    gated: true,
};

/// All families that can be run.
pub static ARCHITECTURES: [Architecture; 3] = [
    LLAMA,
    Architecture { name: "qwen2", positions: Positions::Rope(RopePairs::Halves), ..LLAMA },
    Architecture {
        name: "gpt2",
        norm: NormKind::Layer,
        positions: Positions::Learned,
        activation: Activation::Gelu,
        gated: false,
    },
];

impl Architecture {
    /// The family of this `general.architecture`.
    pub fn from_name(name: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|architecture| architecture.name == name)
    }
}
