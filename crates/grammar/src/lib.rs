//! Which tokens may come next, so that a model's text keeps to a grammar.
//!
//! A grammar is built from [`Expression`]s with a [`Builder`]. Nothing in it depends on a vocabulary, except for references to
//! tokens.
//!
//! A grammar is input. It is never trusted: its size and its nesting are limited.
//!
//! # Layers
//!
//! Each module uses only those below it (`scripts/check-layers` makes sure of it).
//!
//! | module | what it is |
//! |---|---|
//! | [`json_schema`] | JSON schemas as grammars |
//! | [`expression`] | what a grammar is made of, and how one is built |
//! | [`error`] | why there is no grammar |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod error;
// Nothing reads a grammar yet.
#[allow(dead_code)]
pub mod expression;
pub mod json_schema;

pub use error::GrammarError;
pub use expression::{Builder, Expression, Grammar, Interleave, Rule};
