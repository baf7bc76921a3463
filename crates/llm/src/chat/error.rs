//! Why a conversation could not be turned into text or ids.

use alloc::boxed::Box;
use core::fmt;

use jinja::ErrorKind;

use super::FAMILIES;
use crate::gguf::GgufError;
use crate::tokenizer::TokenizerError;

/// Why a conversation could not be turned into text or ids.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ChatError {
    /// The file brings no chat template.
    NoTemplate,
    /// No format has this name.
    UnknownFamily(Box<str>),
    /// The key of the template is of the wrong type or not UTF-8.
    Gguf(GgufError),
    /// The template could not be parsed or filled in.
    Template(jinja::Error),
    /// The template shows nothing of what the user says.
    MessageLost,
    /// The conversation cannot be given to a template.
    Context(ErrorKind),
    /// The arguments of a call of this tool are no JSON object, or one too deep or large.
    Arguments(Box<str>),
    /// The parameters of this tool are no JSON object, or one too deep or large.
    Parameters(Box<str>),
    /// The text could not be encoded.
    Tokenizer(TokenizerError),
    /// A message that is longer than the context, even if all turns before it are forgotten.
    MessageTooLong {
        /// Tokens of the message with its format, and with the system's.
        n_tokens: usize,
        /// Positions of the context.
        n_ctx: usize,
    },
    /// The heap has no room for what was said.
    OutOfMemory {
        /// Bytes that were asked for.
        needed_bytes: usize,
    },
}

/// Shows the names of all formats, for a message.
pub struct FamilyNames;

impl fmt::Display for FamilyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        FAMILIES.iter().enumerate().try_for_each(|(index, family)| {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, family.name)
        })
    }
}

impl ChatError {
    /// Whether there is no memory for what was asked, and nothing else is wrong with it.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::OutOfMemory { .. } | Self::Context(ErrorKind::NoMemory) => true,
            Self::Template(error) => error.kind == ErrorKind::NoMemory,
            Self::Tokenizer(error) => matches!(error, TokenizerError::OutOfMemory { .. }),
            _ => false,
        }
    }

    /// Whether a format by name would help where the file's own did not.
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

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTemplate => f.write_str("the file has no tokenizer.chat_template"),
            Self::UnknownFamily(name) => {
                write!(f, "no chat template is called {:?}, expected one of {FamilyNames}", name)
            }
            Self::OutOfMemory { needed_bytes } => {
                write!(f, "the heap has no {needed_bytes} bytes left for what was said")
            }
            Self::MessageTooLong { n_tokens, n_ctx } => write!(
                f,
                "the message is too long: alone it makes a prompt of {n_tokens} tokens, the context has {n_ctx} \
                 positions; say less, or make the context longer"
            ),
            Self::Gguf(error) => error.fmt(f),
            Self::Template(error) => write!(f, "chat template: {error}"),
            Self::MessageLost => f.write_str(
                "chat template: it leaves out what the user says, given as a text and as a list of parts",
            ),
            Self::Context(error) => write!(f, "the conversation cannot be given to a template: {error}"),
            Self::Arguments(name) => {
                write!(f, "the arguments of a call of {name:?} are no JSON object, or nest too deep")
            }
            Self::Parameters(name) => {
                write!(f, "the parameters of the tool {name:?} are no JSON object, or nest too deep")
            }
            Self::Tokenizer(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ChatError {}
