//! Divides answers of chat models into text, thoughts and calls of tools.
//!
//! Each family of models has its own marks for these parts, which its chat template shows. [`Form`] describes how a family calls
//! tools, and [`Reasoning`] how it marks thoughts. Each has a table; the text of a template determines the row ([`Format::of`]).
//! [`Parser`] takes an answer piece by piece, as it is generated, and reports its parts as [`Event`]s; arguments are reported as
//! JSON whatever the model's form is. [`Answer`] is a complete answer. [`Form::calls`] makes calls part of a grammar, so that a
//! model must call a tool.
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
