//! The computations of language models, without any model: the tensors of GGUF files, and products, attention and recurrences
//! over them, with inner loops for each instruction set.
//!
//! The crate does no I/O, reads no clock and starts no threads: its caller lends it memory ([`arena`]) and cores ([`parallel`]).
//! Everything that takes time per token is here; the crate `llm` decides what is computed.
//!
//! # Layers
//!
//! Each module uses only those below it (`scripts/check-layers` makes sure of it).
//!
//! | module | what it is |
//! |---|---|
//! | [`compute`] | linear maps, normalisations, attention over a batch, divided among cores; knows no model |
//! | [`kv_cache`], [`recurrent_state`] | keys and values, in pages of positions; what recurrent layers keep |
//! | [`autotune`] | which set of inner loops is the fastest here |
//! | [`roofline`] | what memory and multipliers can do at most |
//! | [`quant`] | weights as matrices, and products over them |
//! | [`gguf`], [`simd`] | the file format; the inner loops for each instruction set, the only unsafe code |
//! | [`blocks`] | layout and meaning of the blocks that weights are stored in |
//! | [`sort`] | what is sorted once |
//! | [`fold`] | the bits of many numbers in 64 bytes |
//! | [`parallel`], [`arena`] | the two things a caller lends: cores and memory |
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod arena;
pub mod autotune;
pub mod blocks;
pub mod compute;
pub mod fold;
pub mod gguf;
pub mod kv_cache;
pub mod parallel;
pub mod quant;
pub mod recurrent_state;
pub mod roofline;
pub mod simd;
pub mod sort;
