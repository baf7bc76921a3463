//! What can be wrong with a vocabulary, or with a text to encode.

use core::fmt;

use alloc::vec::Vec;

use super::charsmap::CHARSMAP_KEY;
use crate::gguf::{GgufError, Name};

/// The longest text that is encoded. Escaping makes a text up to three times as long, and places in
/// it are 32-bit numbers.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 30;

/// Why a vocabulary was refused, or why a text could not be encoded.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A key is missing or of the wrong type.
    Gguf(GgufError),
    /// `tokenizer.ggml.model` names a kind of tokenizer that this crate does not have.
    UnsupportedModel {
        /// The kind.
        model: Name,
    },
    /// `tokenizer.ggml.pre` names a pre-tokenizer that this crate does not have.
    UnsupportedPreTokenizer {
        /// The pre-tokenizer.
        name: Name,
    },
    /// An array whose elements are of another type than the tokenizer needs.
    ElementType {
        /// The array's key.
        key: &'static str,
        /// What its elements should be.
        expected: &'static str,
    },
    /// An array with fewer elements than there are tokens.
    TooShort {
        /// The array's key.
        key: &'static str,
        /// Its number of elements.
        len: usize,
        /// The number of tokens.
        n_vocab: usize,
    },
    /// A vocabulary without tokens.
    NoTokens,
    /// More tokens, merges or bytes than a 32-bit index can tell apart.
    TooLarge {
        /// The array's key.
        key: &'static str,
        /// Its size in the file.
        size_bytes: usize,
    },
    /// A score that is not a number.
    ScoreNotANumber {
        /// The token's id.
        id: u32,
    },
    /// A token longer than this crate looks for.
    TokenTooLong {
        /// The token's id.
        id: u32,
        /// Its length.
        len_bytes: usize,
        /// The most that is possible.
        most_bytes: usize,
    },
    /// A character map that leads out of itself.
    BrokenCharsmap {
        /// The entry, or the place among the replacements, that is not there.
        place: usize,
    },
    /// The text cannot be encoded, because a token is missing that every vocabulary of this kind
    /// must name.
    MissingToken {
        /// The key that names it.
        key: &'static str,
    },
    /// A byte of the text for which the vocabulary has neither a token nor an unknown token.
    UnknownByte {
        /// The byte.
        byte: u8,
    },
    /// An id that the vocabulary does not have.
    NoSuchToken {
        /// The id.
        id: u32,
        /// The number of tokens.
        n_vocab: usize,
    },
    /// A text longer than a 32-bit index can tell apart.
    TextTooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// Memory ran out.
    OutOfMemory {
        /// The size of the table that could not be had.
        needed_bytes: usize,
    },
}

impl From<GgufError> for TokenizerError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(error)
    }
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Gguf(error) => error.fmt(f),
            Self::UnsupportedModel { model } => {
                write!(
                    f,
                    "tokenizer.ggml.model is {model}: supported are llama, gpt2, gemma4, whitespace, bert, t5, rwkv, plamo2"
                )
            }
            Self::UnsupportedPreTokenizer { name } => {
                write!(
                    f,
                    "tokenizer.ggml.pre is {name}, which is not supported: docs/models.md lists those that are"
                )
            }
            Self::ElementType { key, expected } => {
                write!(f, "{key}: the elements should be {expected}")
            }
            Self::TooShort { key, len, n_vocab } => {
                write!(f, "{key}: {len} elements for {n_vocab} tokens")
            }
            Self::NoTokens => f.write_str("tokenizer.ggml.tokens is empty"),
            Self::TooLarge { key, size_bytes } => {
                write!(f, "{key}: {size_bytes} bytes, too many for 32-bit indices")
            }
            Self::ScoreNotANumber { id } => {
                write!(f, "tokenizer.ggml.scores: the score of token {id} is not a number")
            }
            Self::TokenTooLong { id, len_bytes, most_bytes } => {
                write!(f, "tokenizer.ggml.tokens: token {id} has {len_bytes} bytes, the most is {most_bytes}")
            }
            Self::BrokenCharsmap { place } => {
                write!(f, "{CHARSMAP_KEY}: the map leads to its place {place}, which is not there")
            }
            Self::MissingToken { key } => {
                write!(f, "the text needs a token that the file does not name in {key}")
            }
            Self::UnknownByte { byte } => {
                write!(f, "no token for byte {byte:#04x} and no unknown token")
            }
            Self::NoSuchToken { id, n_vocab } => {
                write!(f, "there is no token {id}: the vocabulary has {n_vocab}")
            }
            Self::TextTooLong { len_bytes } => {
                write!(f, "the text has {len_bytes} bytes, the most is {}", MAX_TEXT_BYTES)
            }
            Self::OutOfMemory { needed_bytes } => {
                write!(f, "out of memory: the tokenizer needs {needed_bytes} bytes in one piece")
            }
        }
    }
}

// No source: what an error of the reader says is all that this one says.
impl core::error::Error for TokenizerError {}

/// Makes room for `additional` more elements.
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

/// What is told of memory that there is not.
pub(super) fn out_of_memory(needed_bytes: usize) -> TokenizerError {
    TokenizerError::OutOfMemory { needed_bytes }
}
