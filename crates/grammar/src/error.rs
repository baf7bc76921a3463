//! Why there is no grammar.

use alloc::string::String;
use core::fmt;

/// What is wrong with a grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrammarError {
    /// A text in GBNF that is not understood.
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
    Undefined {
        /// The rule's name.
        rule: String,
    },
    /// A rule that is defined twice.
    DefinedTwice {
        /// The rule's name.
        rule: String,
    },
    /// A rule that begins with itself, or does so after parts that may be empty or through other rules. Its alternatives can
    /// be turned around, or written as a repetition.
    LeftRecursion {
        /// The rule's name.
        rule: String,
    },
    /// No finite text keeps to the rule that everything starts from.
    MatchesNothing {
        /// The rule's name.
        rule: String,
    },
    /// Expressions inside one another, more than allowed.
    TooDeep {
        /// How many may be inside one another.
        limit: u32,
    },
    /// Whatever keeps to the grammar nests deeper than allowed.
    TooNested {
        /// How many values may be inside one another.
        limit: u32,
    },
    /// More of something than allowed.
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: u32,
    },
    /// A number that has no meaning where it stands.
    Invalid {
        /// What is wrong with it.
        problem: &'static str,
        /// The number.
        value: u32,
    },
    /// No memory is left for the grammar.
    OutOfMemory,
}

impl From<alloc::collections::TryReserveError> for GrammarError {
    fn from(_: alloc::collections::TryReserveError) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column, problem, expected } => {
                write!(f, "line {line}, column {column}: {problem}; expected {expected}")
            }
            Self::Undefined { rule } => write!(f, "the rule {rule} is not defined"),
            Self::DefinedTwice { rule } => write!(f, "the rule {rule} is defined twice"),
            Self::LeftRecursion { rule } => {
                write!(
                    f,
                    "the rule {rule} begins with itself: write it as a repetition, or with itself at the end"
                )
            }
            Self::MatchesNothing { rule } => write!(f, "no text keeps to the rule {rule}: it never ends"),
            Self::TooDeep { limit } => write!(f, "more than {limit} expressions are inside one another"),
            Self::TooNested { limit } => {
                write!(f, "no text keeps to the grammar with at most {limit} values inside one another")
            }
            Self::TooMany { what, limit } => write!(f, "more than {limit} {what}"),
            Self::Invalid { problem, value } => write!(f, "{problem}: {value}"),
            Self::OutOfMemory => f.write_str("no memory is left for the grammar"),
        }
    }
}

impl core::error::Error for GrammarError {}
