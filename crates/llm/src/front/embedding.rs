//! A text as one vector: the last layer's outputs for its tokens, pooled.

use alloc::vec::Vec;
use core::str::FromStr;

use super::{FrontError, RequestId};
use crate::gguf::Gguf;

pub use crate::scheduler::{EmbeddingOptions, Pooling};

/// A text as one vector, or as one vector per token.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// `[n_embd]`; without pooling `[n_tokens][n_embd]`; from a classifier `[n_labels]`.
    pub values: Vec<f32>,
    /// Tokens of the text, special ones included.
    pub n_tokens: usize,
}

/// What a caller asks of a vector. What it does not state, the model's file decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EmbeddingWish {
    /// How the tokens' vectors become one; if `None`, as the file says.
    pub pooling: Option<Pooling>,
    /// Whether vectors are scaled to length 1; if `None`, pooled vectors are.
    pub normalise: Option<bool>,
    /// Most tokens of a text, for a caller that may not use a whole context.
    pub max_tokens: Option<usize>,
}

impl Embedding {
    /// A copy.
    ///
    /// # Errors
    /// [`FrontError::OutOfHeap`].
    pub fn copy(&self) -> Result<Self, FrontError> {
        Self::of(&self.values, self.n_tokens)
    }

    /// A vector of these numbers.
    fn of(numbers: &[f32], n_tokens: usize) -> Result<Self, FrontError> {
        let (mut values, needed_bytes) = (Vec::new(), size_of_val(numbers));
        values.try_reserve_exact(numbers.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        values.extend_from_slice(numbers);
        Ok(Self { values, n_tokens })
    }
}

impl Pooling {
    /// The pooling that a file of this architecture states; the mean if it states nothing or "none".
    ///
    /// # Errors
    /// [`FrontError::Pooling`] if it states a pooling that does not exist here, [`FrontError::Gguf`] if the value is
    /// not a number.
    pub fn of(gguf: &Gguf<'_>, architecture: &str) -> Result<Self, FrontError> {
        match gguf.u32_value((architecture, "pooling_type"))? {
            None | Some(0 | 1) => Ok(Self::Mean),
            Some(2) => Ok(Self::Cls),
            Some(3) => Ok(Self::Last),
            Some(4) => Ok(Self::Rank),
            Some(pooling_type) => Err(FrontError::Pooling { pooling_type }),
        }
    }
}

impl FromStr for Pooling {
    type Err = ();

    /// The pooling with this name in llama.cpp.
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, pooling)| pooling).ok_or(())
    }
}

impl Pooling {
    /// Each with its name, by which [`FromStr`] knows it.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("none", Self::None),
        ("mean", Self::Mean),
        ("cls", Self::Cls),
        ("last", Self::Last),
        ("rank", Self::Rank),
    ];

    /// The values that [`FromStr`] accepts.
    pub const EXPECTED: &'static str = "none, mean, cls, last or rank";
}

impl EmbeddingWish {
    /// The options for a model whose file has this architecture.
    ///
    /// # Errors
    /// Those of [`Pooling::of`], unless a pooling is stated.
    pub fn options(self, gguf: &Gguf<'_>, architecture: &str) -> Result<EmbeddingOptions, FrontError> {
        let pooling = self.pooling.map_or_else(|| Pooling::of(gguf, architecture), Ok)?;
        Ok(EmbeddingOptions {
            pooling,
            normalise: self.normalise.unwrap_or(!matches!(pooling, Pooling::None | Pooling::Rank)),
        })
    }
}

/// A text that is becoming a vector.
pub(super) struct Vectors {
    pub id: RequestId,
    /// Tokens of the text.
    pub n_tokens: usize,
    /// The vector, or why there is none, once it is over.
    pub result: Option<Result<Embedding, FrontError>>,
}

impl Vectors {
    /// The entry for the request with this id, a text of `n_tokens`.
    pub fn new(id: RequestId, n_tokens: usize) -> Self {
        Self { id, n_tokens, result: None }
    }

    /// Takes the result.
    pub fn take(&mut self, result: &[f32]) {
        self.result = Some(Embedding::of(result, self.n_tokens));
    }
}
