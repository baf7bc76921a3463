//! Errors in a vocabulary, or in a text to encode.

use alloc::vec::Vec;

use super::charsmap::CHARSMAP_KEY;
use crate::gguf::{GgufError, Name};

/// The longest text that is encoded. Escaping makes a text up to three times as long, and places in
/// it are 32-bit numbers.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 30;

/// Why a vocabulary was refused, or why a text could not be encoded.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A key is missing or of the wrong type.
    #[error("{0}")]
    Gguf(GgufError),
    /// `tokenizer.ggml.model` names a kind of tokenizer that this crate does not support.
    #[error(
        "tokenizer.ggml.model is {model}: supported are llama, gpt2, gemma4, whitespace, bert, t5, rwkv, plamo2"
    )]
    UnsupportedModel {
        /// The kind.
        model: Name,
    },
    /// `tokenizer.ggml.pre` names a pre-tokenizer that this crate does not support.
    #[error("tokenizer.ggml.pre is {name}, which is not supported: docs/models.md lists those that are")]
    UnsupportedPreTokenizer {
        /// The pre-tokenizer.
        name: Name,
    },
    /// An array whose elements have the wrong type.
    #[error("{key}: the elements should be {expected}")]
    ElementType {
        /// The array's key.
        key: &'static str,
        /// The type that its elements should have.
        expected: &'static str,
    },
    /// An array with fewer elements than there are tokens.
    #[error("{key}: {len} elements for {n_vocab} tokens")]
    TooShort {
        /// The array's key.
        key: &'static str,
        /// Its number of elements.
        len: usize,
        /// The number of tokens.
        n_vocab: usize,
    },
    /// A vocabulary without tokens.
    #[error("tokenizer.ggml.tokens is empty")]
    NoTokens,
    /// More tokens, merges or bytes than a 32-bit index can tell apart.
    #[error("{key}: {size_bytes} bytes, too many for 32-bit indices")]
    TooLarge {
        /// The array's key.
        key: &'static str,
        /// Its size in the file.
        size_bytes: usize,
    },
    /// A score that is not a number.
    #[error("tokenizer.ggml.scores: the score of token {id} is not a number")]
    ScoreNotANumber {
        /// The token's id.
        id: u32,
    },
    /// A token that is longer than this crate supports.
    #[error("tokenizer.ggml.tokens: token {id} has {len_bytes} bytes, the most is {most_bytes}")]
    TokenTooLong {
        /// The token's id.
        id: u32,
        /// Its length.
        len_bytes: usize,
        /// The greatest supported length.
        most_bytes: usize,
    },
    /// A character map with an index outside of the map.
    #[error("{CHARSMAP_KEY}: the map leads to its place {place}, which is not there", CHARSMAP_KEY = CHARSMAP_KEY)]
    BrokenCharsmap {
        /// The index of the entry, or of the replacement, that does not exist.
        place: usize,
    },
    /// The text cannot be encoded, because the file does not name a token that every vocabulary of this kind must name.
    #[error("the text needs a token that the file does not name in {key}")]
    MissingToken {
        /// The key that names it.
        key: &'static str,
    },
    /// A byte of the text for which the vocabulary has neither a token nor an unknown token.
    #[error("no token for byte {byte:#04x} and no unknown token")]
    UnknownByte {
        /// The byte.
        byte: u8,
    },
    /// An id that the vocabulary does not have.
    #[error("there is no token {id}: the vocabulary has {n_vocab}")]
    NoSuchToken {
        /// The id.
        id: u32,
        /// The number of tokens.
        n_vocab: usize,
    },
    /// A text that is too long for 32-bit indices.
    #[error("the text has {len_bytes} bytes, the most is {}", MAX_TEXT_BYTES)]
    TextTooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// Memory ran out.
    #[error("out of memory: the tokenizer needs {needed_bytes} bytes in one piece")]
    OutOfMemory {
        /// The size of the table that could not be allocated.
        needed_bytes: usize,
    },
}

impl From<GgufError> for TokenizerError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(error)
    }
}

// No source: the message of the reader's error is already the whole message of this one.
/// Reserves room for `additional` more elements.
pub(super) fn reserve<T>(vec: &mut Vec<T>, additional: usize) -> Result<(), TokenizerError> {
    vec.try_reserve(additional).map_err(|_| TokenizerError::OutOfMemory {
        needed_bytes: (vec.len().saturating_add(additional)).saturating_mul(size_of::<T>()),
    })
}

/// Appends one element, growing geometrically.
#[inline]
pub(super) fn push<T>(vec: &mut Vec<T>, element: T) -> Result<(), TokenizerError> {
    if vec.len() == vec.capacity() {
        reserve(vec, 1)?;
    }
    vec.push(element);
    Ok(())
}

/// The error for a lack of memory.
pub(super) fn out_of_memory(needed_bytes: usize) -> TokenizerError {
    TokenizerError::OutOfMemory { needed_bytes }
}
