//! The subcommands: one module each, with its `Arguments` and `run`.

pub mod bench;
pub mod info;
pub mod logits;
pub mod synth;
