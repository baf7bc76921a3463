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
//! | [`compute`] | linear maps, normalisations, attention over a batch, divided among cores; knows no model |
//! | [`kv_cache`], [`recurrent_state`] | keys and values, in pages of positions; what recurrent layers keep |
//! | [`race`] | which set of inner loops is the fastest here |
//! | [`roofline`] | what memory and multipliers can do at most |
//! | [`quant`] | weights as matrices, and products over them |
//! | [`gguf`], [`simd`] | the file format; the inner loops for each instruction set, the only unsafe code |
//! | [`blocks`] | layout and meaning of the blocks that weights are stored in |
//! | `sort` | what is sorted once |
//! | [`parallel`], [`arena`] | the two things a caller lends: cores and memory |
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod arena;
pub mod blocks;
pub mod chat;
pub mod compute;
pub mod front;
pub mod gguf;
pub mod kv_cache;
pub mod model;
pub mod parallel;
pub mod quant;
pub mod race;
pub mod recurrent_state;
pub mod roofline;
pub mod sampling;
pub mod scheduler;
pub mod session;
pub mod simd;
mod sort;
pub mod state;
pub mod tokenizer;
