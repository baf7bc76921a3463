//! LLM inference without an operating system: GGUF bytes in, text out.
//!
//! The crate does no I/O, reads no clock and starts no threads. Its caller provides the bytes of a model file and a
//! buffer for scratch and cache. A caller with several cores also provides something that runs a closure on each of
//! them.
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
//! The crate [`tensor`] lies below them: files, weights as matrices, and all computations on them. This crate re-exports its modules.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

/// README.md's Rust, which `cargo test` compiles.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
pub struct Readme;

pub use tensor::{
    arena, autotune, blocks, compute, gguf, kv_cache, parallel, quant, recurrent_state, roofline, simd, sort,
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

/// Identifies the exact results of the engine: engines of the same version give bit-identical logits and draw the same tokens, on every
/// CPU. A receipt names the version, and only an engine of that version can verify it. `tests/engine/engine_version.rs` makes sure that the
/// version changes if and only if the bits of golden logits, or the tokens drawn from them, change.
pub const ENGINE_VERSION: u32 = 1;

/// Blocks larger than this are requested only in ways that can fail, or right after a block of the same size has been freed: where memory
/// is short, the code returns an error. Smaller blocks, such as an error message or a list entry, are allocated without a check, so an
/// allocator needs a reserve for them.
pub const SMALL_BLOCK_BYTES: usize = 4096;
