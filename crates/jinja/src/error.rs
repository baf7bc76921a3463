//! Why a template could not be parsed or rendered.

use alloc::string::String;

/// An error and the line of the template that it comes from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("line {line} of the template: {kind}")]
pub struct Error {
    /// Line, counted from 1.
    pub line: u32,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// What is wrong with a template, or with the values given to it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A character that cannot begin a token.
    #[error("unexpected character {0:?}")]
    UnexpectedCharacter(char),
    /// A tag, text or comment without its end.
    #[error("{0} without an end")]
    Unterminated(&'static str),
    /// A number that cannot be represented.
    #[error("a number that cannot be represented")]
    BadNumber,
    /// Something other than the syntax requires.
    #[error("expected {expected}, found {}", .found.escape_debug())]
    Expected {
        /// What the syntax requires.
        expected: &'static str,
        /// What is there instead.
        found: String,
    },
    /// An unknown statement.
    #[error("unknown statement `{0}`")]
    UnknownStatement(String),
    /// A statement that needs another template; there are no others.
    #[error("`{0}` needs another template, and there is this one alone")]
    OtherTemplate(String),
    /// Nesting deeper than allowed.
    #[error("nested too deep")]
    TooDeep,
    /// A variable, attribute or element that does not exist.
    #[error("`{}` is undefined", .0.escape_debug())]
    Undefined(String),
    /// An unknown filter.
    #[error("unknown filter `{0}`")]
    UnknownFilter(String),
    /// An unknown test.
    #[error("unknown test `{0}`")]
    UnknownTest(String),
    /// A value of a type that the operation does not accept.
    #[error("{operation} cannot take a value of type {found}")]
    WrongType {
        /// The operation.
        operation: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// A call that lacks a required argument, has one too many, or has one with an invalid value.
    #[error("{0} was called with wrong arguments")]
    BadArguments(&'static str),
    /// A calculation whose result cannot be represented.
    #[error("a calculation without a representable result")]
    Arithmetic,
    /// [`crate::Limits::steps`] are used up.
    #[error("the template takes too many steps")]
    TooManySteps,
    /// [`crate::Limits::bytes`] are used up.
    #[error("the template makes too much text")]
    TooMuchMemory,
    /// There is no memory for the template or its output.
    #[error("no memory for what it makes")]
    NoMemory,
    /// The template called `raise_exception`.
    #[error("the template refuses: {}", .0.escape_debug())]
    Raised(String),
}
