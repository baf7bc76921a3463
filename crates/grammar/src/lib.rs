//! Keeps a model's text within a grammar by computing which tokens may come next.
//!
//! ```text
//! GBNF, JSON schema --> Builder --> Grammar --+
//!                                             +--> Constraint: allowed() -> Mask, accept(token), rollback(n)
//! pieces of tokens --> Vocabulary ------------+
//! ```
//!
//! A [`Grammar`] is text in GBNF, or is built from [`Expression`]s with a [`Builder`]. A [`Vocabulary`] is made once for a model.
//! A [`Constraint`] is the state of one text: it says which tokens may come next, and advances by a token.
//!
//! Everything works on bytes. Characters that are divided among tokens, tokens of single bytes and tokens that span several rules
//! therefore need no special treatment.
//!
//! # Memory and time
//!
//! A grammar is input and is never trusted: its size and its nesting are limited when it is built. A constraint allocates what
//! [`Limits`] allow when it is made, and nothing later; the work for one token is bounded. A grammar that needs more is refused
//! with an error that names the limit.
//!
//! # Layers
//!
//! Each module uses only those below it (`scripts/check-layers` makes sure of it).
//!
//! | module | what it is |
//! |---|---|
//! | [`constraint`] | a text that keeps to a grammar |
//! | `mask` | which tokens may come: a bit for each |
//! | `machine` | reads bytes, knows what can come next; keeps to a bound of nesting |
//! | [`tokens`], [`gbnf`], [`json_schema`] | the vocabulary as a tree of bytes; grammars in GBNF; JSON schemas as grammars |
//! | `compile` | expressions to instructions |
//! | `analysis` | which expressions may be empty, which begin with themselves |
//! | `program` | the instructions: a compiled grammar |
//! | `class` | classes of characters as bytes of UTF-8 |
//! | `kinds` | kinds of bytes |
//! | [`expression`] | what a grammar is made of |
//! | [`error`] | why there is no grammar |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(test)]
mod agreement;
mod analysis;
mod class;
mod compile;
pub mod constraint;
pub mod error;
pub mod expression;
pub mod gbnf;
pub mod json_schema;
mod kinds;
mod machine;
mod mask;
mod program;
pub mod tokens;

pub use compile::MAX_INSTRUCTIONS;
pub use constraint::{Constraint, ConstraintError, Limits};
pub use error::GrammarError;
pub use expression::{Builder, Expression, Interleave, Rule};
pub use mask::Mask;
pub use program::Grammar;
pub use tokens::{Piece, Vocabulary, VocabularyError};
