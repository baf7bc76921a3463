//! The subcommands: one module each, with its `Arguments` and `run`.

pub mod bench;
pub mod infer;
pub mod info;
pub mod logits;
pub mod synth;
pub mod tokenize;
