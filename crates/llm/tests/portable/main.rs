//! What no set of instructions changes: files, vocabularies, conversations, what is sampled and scheduled. One program, because
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
#[path = "../vocabulary/mod.rs"]
mod vocabulary;

mod chat;
mod conformance;
mod documents;
mod examples;
mod gguf_broken;
mod gguf_round_trip;
mod guides;
mod models_document;
mod optional_keys;
mod receipts;
mod sampling_properties;
mod scheduler;
mod sharing;
mod tokenizer_errors;
mod tokenizer_golden;
mod tokenizer_kit;
mod tokenizer_optional;
mod tokenizer_properties;
