//! Answers of chat models told apart: what is said, what is thought, which tools are called.
//!
//! Each family of models has marks of its own for that, which its chat template shows. [`Form`] is how a family calls
//! tools, [`Reasoning`] how it marks thoughts: a table each, of which a template's text chooses a row ([`Format::of`]).
//! [`Parser`] takes an answer piece by piece, as it is generated, and tells its parts as [`Event`]s; arguments come as
//! JSON whatever form the model has for them. [`Answer`] is a whole one. [`Form::calls`] are calls as part
//! of a grammar, so that a model cannot but call a tool.
//!
//! # Layers
//!
//! | module | what it is |
//! |---|---|
//! | `answer` | a whole answer |
//! | `forced` | calls as part of a grammar |
//! | `parser` | pieces to events |
//! | `keyed`, `object`, `channels` | the parser's ways through arguments with marks, through calls that are objects, through the channels of gpt-oss |
//! | `call` | the parser's way through all other calls |
//! | `state` | what the parser knows, and how it tells |
//! | `format` | what a template's text tells of its model |
//! | `form`, `reasoning` | the tables |
//! | `literal` | values in three notations to JSON |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod answer;
mod call;
mod channels;
mod forced;
mod form;
mod format;
mod keyed;
mod literal;
mod object;
mod parser;
mod reasoning;
mod state;

pub use answer::{Answer, Call};
pub use forced::{Calls, CallsError, Strictness, with_marks};
pub use form::{Arguments, FORMS, Form, GENERIC, NO_CALLS};
pub use format::Format;
pub use literal::MAX_DEPTH;
pub use parser::{Event, OutOfMemory, Parser};
pub use reasoning::Reasoning;
