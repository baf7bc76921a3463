//! LLM inference without an operating system: GGUF bytes in, text out.
//!
//! The crate does no I/O, reads no clock and starts no threads. Its caller hands over the bytes of a
//! model file, a buffer for scratch and cache, and, where it has several cores, something that runs
//! a closure on each of them.
//!
//! # Layers
//!
//! Each module uses only those below it (`scripts/check-layers` makes sure of it).
//!
//! | module | what it is |
//! |---|---|
//! | [`front`] | what is asked of a model and what comes back: requests, events, reports, measurements |
//! | [`scheduler`] | which tokens of which texts are computed next |
//! | [`session`] | a prompt in, one token per step |
//! | [`chat`] | conversations as the text that a model was trained on |
//! | [`tokenizer`], [`sampling`] | text to ids and back; logits to the next id |
//! | [`model`] | hyper-parameters, weights, the forward pass |
//! | [`state`] | the sequences computed so far, and the pages that they share |
//! | [`quoted`] | texts in messages of errors |
//!
//! Below them is the crate [`tensor`]: files, weights as matrices, and all that is computed with them. Its modules are this
//! crate's too.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

/// README.md's Rust, which `cargo test` compiles.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
pub struct Readme;

pub use tensor::{
    arena, blocks, compute, gguf, kv_cache, parallel, quant, race, recurrent_state, roofline, simd, sort,
};

pub mod chat;
pub mod front;
pub mod model;
pub mod quoted;
pub mod sampling;
pub mod scheduler;
pub mod session;
pub mod state;
pub mod tokenizer;

/// What bits the engine computes: engines of the same version give the same logits and draw the same tokens, on every CPU.
/// A receipt names it, and can be verified by an engine of the same version alone. `tests/engine_version.rs` makes sure that it
/// changes if and only if bits of golden logits do, or what is drawn from them.
pub const ENGINE_VERSION: u32 = 1;

/// Blocks of more bytes are only asked of an allocator that may refuse them, or once one as large has just been given back: code that is
/// asked for more than there is gives an error. Smaller ones, such as a message of an error or an entry of a list, are taken for granted;
/// an allocator needs a reserve for them.
pub const SMALL_BLOCK_BYTES: usize = 4096;
