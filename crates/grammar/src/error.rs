//! Why a grammar cannot be made.

use alloc::string::String;

/// What is wrong with a grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// A text that is not valid GBNF.
    #[error("line {line}, column {column}: {problem}; expected {expected}")]
    Syntax {
        /// Line, counted from 1.
        line: u32,
        /// Column in characters, counted from 1.
        column: u32,
        /// What is wrong.
        problem: &'static str,
        /// What would be right there.
        expected: &'static str,
    },
    /// A rule that is needed but not defined.
    #[error("the rule {rule} is not defined")]
    Undefined {
        /// The rule's name.
        rule: String,
    },
    /// A rule that is defined twice.
    #[error("the rule {rule} is defined twice")]
    DefinedTwice {
        /// The rule's name.
        rule: String,
    },
    /// A rule that begins with itself, possibly after parts that may be empty or through other rules. It can be rewritten with
    /// itself at the end, or as a repetition.
    #[error("the rule {rule} begins with itself: write it as a repetition, or with itself at the end")]
    LeftRecursion {
        /// The rule's name.
        rule: String,
    },
    /// The root rule has no finite text.
    #[error("no text keeps to the rule {rule}: it never ends")]
    MatchesNothing {
        /// The rule's name.
        rule: String,
    },
    /// Expressions are nested more deeply than allowed.
    #[error("more than {limit} expressions are inside one another")]
    TooDeep {
        /// The allowed depth.
        limit: u32,
    },
    /// Every text of the grammar nests more deeply than allowed.
    #[error("no text keeps to the grammar with at most {limit} values inside one another")]
    TooNested {
        /// The allowed depth.
        limit: u32,
    },
    /// There is more of something than allowed.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many are allowed.
        limit: u32,
    },
    /// A number that is not valid in its place.
    #[error("{problem}: {value}")]
    Invalid {
        /// What is wrong with it.
        problem: &'static str,
        /// The number.
        value: u32,
    },
    /// No memory is left for the grammar.
    #[error("no memory is left for the grammar")]
    OutOfMemory,
}

impl From<alloc::collections::TryReserveError> for GrammarError {
    fn from(_: alloc::collections::TryReserveError) -> Self {
        Self::OutOfMemory
    }
}
