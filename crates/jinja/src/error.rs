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
    /// A character that begins nothing.
    #[error("unexpected character {0:?}")]
    UnexpectedCharacter(char),
    /// A tag, text or comment without its end.
    #[error("{0} without an end")]
    Unterminated(&'static str),
    /// A number that cannot be represented.
    #[error("a number that cannot be represented")]
    BadNumber,
    /// Something else than the syntax demands.
    #[error("expected {expected}, found {}", .found.escape_debug())]
    Expected {
        /// What the syntax demands.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A statement that is not known.
    #[error("unknown statement `{0}`")]
    UnknownStatement(String),
    /// A statement that takes a part of another template, of which there are none.
    #[error("`{0}` needs another template, and there is this one alone")]
    OtherTemplate(String),
    /// Nesting beyond what is reasonable.
    #[error("nested too deep")]
    TooDeep,
    /// A variable, attribute or element that does not exist.
    #[error("`{}` is undefined", .0.escape_debug())]
    Undefined(String),
    /// A filter that is not known.
    #[error("unknown filter `{0}`")]
    UnknownFilter(String),
    /// A test that is not known.
    #[error("unknown test `{0}`")]
    UnknownTest(String),
    /// A value of a type that the operation cannot take.
    #[error("{operation} cannot take a value of type {found}")]
    WrongType {
        /// The operation.
        operation: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// A call without a required argument, or with one too many or of an impossible value.
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
    /// There is no memory for the template, or what it makes.
    #[error("no memory for what it makes")]
    NoMemory,
    /// The template called `raise_exception`.
    #[error("the template refuses: {}", .0.escape_debug())]
    Raised(String),
}
