//! Why a template could not be parsed or rendered.

use alloc::string::String;
use core::fmt;

/// An error and the line of the template that it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// Line, counted from 1.
    pub line: u32,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// What is wrong with a template, or with the values given to it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A character that begins nothing.
    UnexpectedCharacter(char),
    /// A tag, text or comment without its end.
    Unterminated(&'static str),
    /// A number that cannot be represented.
    BadNumber,
    /// Something else than the syntax demands.
    Expected {
        /// What the syntax demands.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A statement that is not known.
    UnknownStatement(String),
    /// A statement that takes a part of another template, of which there are none.
    OtherTemplate(String),
    /// Nesting beyond what is reasonable.
    TooDeep,
    /// A variable, attribute or element that does not exist.
    Undefined(String),
    /// A filter that is not known.
    UnknownFilter(String),
    /// A test that is not known.
    UnknownTest(String),
    /// A value of a type that the operation cannot take.
    WrongType {
        /// The operation.
        operation: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// A call without a required argument, or with one too many or of an impossible value.
    BadArguments(&'static str),
    /// A calculation whose result cannot be represented.
    Arithmetic,
    /// [`crate::Limits::steps`] are used up.
    TooManySteps,
    /// [`crate::Limits::bytes`] are used up.
    TooMuchMemory,
    /// There is no memory for the template, or what it makes.
    NoMemory,
    /// The template called `raise_exception`.
    Raised(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the template: {}", self.line, self.kind)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedCharacter(character) => write!(f, "unexpected character {character:?}"),
            Self::Unterminated(what) => write!(f, "{what} without an end"),
            Self::BadNumber => write!(f, "a number that cannot be represented"),
            Self::Expected { expected, found } => {
                write!(f, "expected {expected}, found {}", found.escape_debug())
            }
            Self::UnknownStatement(name) => write!(f, "unknown statement `{name}`"),
            Self::OtherTemplate(name) => {
                write!(f, "`{name}` needs another template, and there is this one alone")
            }
            Self::TooDeep => write!(f, "nested too deep"),
            Self::Undefined(what) => write!(f, "`{}` is undefined", what.escape_debug()),
            Self::UnknownFilter(name) => write!(f, "unknown filter `{name}`"),
            Self::UnknownTest(name) => write!(f, "unknown test `{name}`"),
            Self::WrongType { operation, found } => {
                write!(f, "{operation} cannot take a value of type {found}")
            }
            Self::BadArguments(callee) => write!(f, "{callee} was called with wrong arguments"),
            Self::Arithmetic => write!(f, "a calculation without a representable result"),
            Self::TooManySteps => write!(f, "the template takes too many steps"),
            Self::NoMemory => write!(f, "no memory for what it makes"),
            Self::TooMuchMemory => write!(f, "the template makes too much text"),
            Self::Raised(message) => write!(f, "the template refuses: {}", message.escape_debug()),
        }
    }
}

impl core::error::Error for Error {}
