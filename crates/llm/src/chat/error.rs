//! Why a conversation could not be turned into text or ids.

use core::fmt;

use crate::gguf::GgufError;
use crate::tokenizer::TokenizerError;

/// Why a conversation could not be turned into text or ids.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ChatError {
    /// The file brings no chat template.
    NoTemplate,
    /// The key of the template is of the wrong type or not UTF-8.
    Gguf(GgufError),
    /// The template could not be parsed or filled in.
    Template(jinja::Error),
    /// The conversation cannot be given to a template.
    Context(jinja::ErrorKind),
    /// The text could not be encoded.
    Tokenizer(TokenizerError),
}

impl From<GgufError> for ChatError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(error)
    }
}

impl From<jinja::Error> for ChatError {
    fn from(error: jinja::Error) -> Self {
        Self::Template(error)
    }
}

impl From<TokenizerError> for ChatError {
    fn from(error: TokenizerError) -> Self {
        Self::Tokenizer(error)
    }
}

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTemplate => {
                write!(f, "the file has no tokenizer.chat_template; give a template, such as chatml")
            }
            Self::Gguf(error) => error.fmt(f),
            Self::Template(error) => write!(f, "chat template: {error}"),
            Self::Context(error) => write!(f, "the conversation cannot be given to a template: {error}"),
            Self::Tokenizer(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ChatError {}
