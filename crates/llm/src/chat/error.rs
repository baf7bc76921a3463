//! Why a conversation could not be turned into text or ids.

use alloc::boxed::Box;
use core::fmt;

use jinja::ErrorKind;

use super::FAMILIES;
use crate::gguf::GgufError;
use crate::tokenizer::TokenizerError;

/// Why a conversation could not be turned into text or ids.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The file has no chat template.
    #[error("the file has no tokenizer.chat_template")]
    NoTemplate,
    /// No format has this name.
    #[error("no chat template is called {:?}, expected one of {FamilyNames}", .0, FamilyNames = FamilyNames)]
    UnknownFamily(Box<str>),
    /// The key of the template is of the wrong type or not UTF-8.
    #[error("{0}")]
    Gguf(GgufError),
    /// The template could not be parsed or filled in.
    #[error("chat template: {0}")]
    Template(jinja::Error),
    /// The template leaves out the user's message.
    #[error("chat template: it leaves out what the user says, given as a text and as a list of parts")]
    MessageLost,
    /// The conversation cannot be given to a template.
    #[error("the conversation cannot be given to a template: {0}")]
    Context(ErrorKind),
    /// The arguments of a call of this tool are not a JSON object, or are nested too deeply or too large.
    #[error("the arguments of a call of {0:?} are no JSON object, or nest too deep")]
    Arguments(Box<str>),
    /// The parameters of this tool are not a JSON object, or are nested too deeply or too large.
    #[error("the parameters of the tool {0:?} are no JSON object, or nest too deep")]
    Parameters(Box<str>),
    /// The text could not be encoded.
    #[error("{0}")]
    Tokenizer(TokenizerError),
    /// A message that is longer than the context, even if all turns before it are forgotten.
    #[error(
        "the message is too long: alone it makes a prompt of {n_tokens} tokens, the context has {n_ctx} \
                 positions; say less, or make the context longer"
    )]
    MessageTooLong {
        /// Tokens of the message and the system message, in their format.
        n_tokens: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// The heap has no room for the messages.
    #[error("the heap has no {needed_bytes} bytes left for what was said")]
    OutOfMemory {
        /// Bytes requested.
        needed_bytes: usize,
    },
}

/// Shows the names of all formats, for an error message.
pub struct FamilyNames;

impl fmt::Display for FamilyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        FAMILIES.iter().enumerate().try_for_each(|(index, family)| {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, family.name)
        })
    }
}

impl ChatError {
    /// Whether the only problem is a lack of memory.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::OutOfMemory { .. } | Self::Context(ErrorKind::NoMemory) => true,
            Self::Template(error) => error.kind == ErrorKind::NoMemory,
            Self::Tokenizer(error) => matches!(error, TokenizerError::OutOfMemory { .. }),
            _ => false,
        }
    }

    /// Whether choosing a format by name might help.
    pub fn is_about_the_template(&self) -> bool {
        matches!(self, Self::NoTemplate | Self::Gguf(_) | Self::Template(_) | Self::MessageLost)
    }
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
