//! Why a grammar cannot be made of a schema.

use alloc::string::String;
use core::fmt;

use crate::error::GrammarError;

/// What is wrong with a schema, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The text is not JSON.
    #[error("line {line}, column {column}: this is not JSON")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// Column in bytes, counted from 1.
        column: usize,
    },
    /// The text is longer than allowed.
    #[error("the schema has more than {limit} bytes")]
    TooLong {
        /// Most bytes.
        limit: usize,
    },
    /// A part of the schema is wrong, or no grammar can express it.
    #[error(fmt = at)]
    At {
        /// JSON pointer (RFC 6901) to the keyword or the schema.
        pointer: String,
        /// What is wrong with it.
        why: Why,
    },
    /// No value is valid.
    #[error("no value is valid against the schema")]
    Unsatisfiable,
    /// The grammar would be larger than allowed.
    #[error("{0}")]
    Grammar(GrammarError),
}

fn at(pointer: &str, why: &Why, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match pointer {
        "" => write!(f, "the schema: {why}"),
        _ => write!(f, "{pointer}: {why}"),
    }
}

impl SchemaError {
    /// Whether there was too little memory, so that the error says nothing about the schema.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Grammar(GrammarError::OutOfMemory) | Self::At { why: Why::OutOfMemory, .. })
    }
}

/// What is wrong with a part of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// The value of the keyword has a type or value that is not allowed.
    #[error("expected {0}")]
    Expected(&'static str),
    /// No grammar of reasonable size can express it, and why.
    #[error("no grammar expresses this: {0}")]
    NotExpressible(&'static str),
    /// A reference to something that is not in the document.
    #[error("the reference leads to nothing in this document, and others are not fetched")]
    Unresolved,
    /// References, or nested schemas, that return to where they began without descending into the value.
    #[error("the schema applies itself to the same value without end")]
    Cyclic,
    /// A pattern that is not a regular expression of ECMA-262, or uses something unsupported.
    #[error("the pattern, after {at} characters: {problem}")]
    Pattern {
        /// Number of characters before the error.
        at: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// It takes more states or combinations than allowed.
    #[error("it takes more states than a schema may")]
    TooLarge,
    /// No memory is left.
    #[error("no memory is left for it")]
    OutOfMemory,
    /// The grammar would be larger than allowed.
    #[error("it takes more than {} {}", .0.limit, .0.what)]
    Grammar(GrammarLimit),
}

/// The limit of a grammar that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrammarLimit {
    /// The thing of which there is too much.
    pub what: &'static str,
    /// The allowed number.
    pub limit: u32,
}

impl From<alloc::collections::TryReserveError> for Why {
    fn from(_: alloc::collections::TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

impl From<GrammarError> for Why {
    fn from(error: GrammarError) -> Self {
        match error {
            GrammarError::TooMany { what, limit } => Self::Grammar(GrammarLimit { what, limit }),
            GrammarError::OutOfMemory => Self::OutOfMemory,
            _ => Self::TooLarge,
        }
    }
}
