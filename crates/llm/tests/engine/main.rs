//! The tests of the engine that `scripts/test` also runs as an aarch64 program, with every set of instructions: one program, because
//! each takes its own time to link.

#[path = "../golden_models/mod.rs"]
mod golden_models;
#[path = "../kinds/mod.rs"]
mod kinds;
#[path = "../micro/mod.rs"]
mod micro;
#[path = "../random/mod.rs"]
mod random;
#[path = "../responder/mod.rs"]
mod responder;
#[path = "../threads/mod.rs"]
mod threads;

mod architectures;
mod batches;
mod chat_tools;
mod constraints;
mod embedding_schedules;
mod embeddings;
mod engine_version;
mod front;
mod kv_types;
mod lora;
mod quant_golden;
mod recurrent;
mod sampling_golden;
mod spans;
mod speculation;
mod stop_strings;
mod tensor_types;
mod test_models;
