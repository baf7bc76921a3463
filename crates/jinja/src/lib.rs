//! Jinja for chat templates: `no_std`, bounded in time and memory.
//!
//! A model file contains its chat format as a template in Jinja, written for Python. This crate parses such a template
//! ([`Template`]) and renders it ([`Template::render`]) with [`Value`]s as context, in the same way as Hugging Face's
//! `apply_chat_template`: immutable values, `trim_blocks`, `lstrip_blocks`, `break` and `continue`, `raise_exception`,
//! `strftime_now`, `tojson` without escapes for HTML, and `generation` blocks, which change nothing.
//!
//! Features that chat templates cannot use are left out: other templates (`include`, `import`, `extends`), translations,
//! randomness (`random`, `lipsum`) and `urlize`. Anything unknown is an error with its line.
//!
//! A template is input and is never trusted: nesting is limited, so that 128 KiB of stack suffice, and [`Limits`] bound how much
//! a rendering may compute and allocate.
//!
//! | module | what it is |
//! |---|---|
//! | `lexer` | source to tokens; white space around tags |
//! | `parser`, `ast` | tokens to a tree |
//! | `value`, `text` | what expressions yield, with Python's notions of truth, equality, order and text |
//! | `interpreter` | the tree and a context to text |
//! | `filters`, `text_filters`, `predicates`, `methods`, `functions` | `x \| f`, `x is f`, `x.f()`, `f()` |
//! | `json`, `date`, `format` | `tojson`, `strftime_now`, `%` and `format` |
//! | `deserialize` | values from JSON |
//! | `markup` | texts that are HTML: `safe`, `escape`, `autoescape` |
//!
//! Source: the template designer documentation of Jinja 3.1; `chat_template_utils` of transformers.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

/// The Rust code in README.md, which `cargo test` runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

mod ast;
mod date;
mod deserialize;
mod error;
mod filters;
mod format;
mod functions;
mod interpreter;
mod json;
mod lexer;
mod markup;
mod methods;
mod parser;
mod predicates;
mod text;
mod text_filters;
mod value;

use alloc::string::String;
use alloc::vec::Vec;

pub use date::format_time;
pub use deserialize::JsonError;
pub use error::{Error, ErrorKind};
pub use value::{Callable, Map, Value};

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    body: Vec<ast::Statement>,
    macros: Vec<ast::Macro>,
    /// Loops that their own bodies may call.
    loops: Vec<ast::For>,
}

impl Template {
    /// Parses the source of a template.
    ///
    /// # Errors
    /// What cannot be parsed, with its line.
    pub fn parse(source: &str) -> Result<Self, Error> {
        parser::parse(source)
    }

    /// Renders the template. `context` holds the variables that it sees.
    ///
    /// # Errors
    /// What went wrong, with its line; [`ErrorKind::Raised`] if the template itself reports an error.
    pub fn render(&self, context: &Map, limits: Limits) -> Result<String, Error> {
        interpreter::render(self, context, limits)
    }
}

/// The resources that a rendering may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of evaluated expressions and statements.
    pub steps: u64,
    /// Bytes of all texts and lists that are made, including those that are soon dropped.
    pub bytes: usize,
    /// Seconds since 1970 in local time for `strftime_now`. If `None`, the function is undefined.
    pub now_seconds: Option<u64>,
}

impl Default for Limits {
    /// Enough for hundreds of messages and tools.
    fn default() -> Self {
        Self { steps: 5_000_000, bytes: 64 << 20, now_seconds: None }
    }
}
