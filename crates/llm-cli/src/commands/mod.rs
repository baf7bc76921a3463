//! The subcommands: one module each, with its `Arguments` and `run`.

pub mod batch;
pub mod bench;
pub mod chat;
pub mod convert;
pub mod embed;
pub mod infer;
pub mod info;
pub mod logits;
pub mod lora;
pub mod mem_bench;
pub mod merge;
pub mod perplexity;
pub mod pull;
pub mod quantize;
pub mod rerank;
pub mod serve;
pub mod sign;
pub mod split;
pub mod synth;
pub mod tokenize;
pub mod verify;
pub mod verify_audit;
pub mod verify_receipt;
