//! A server over a small model: everything that clients, proxies and attackers send. One program, because each takes its own time to
//! link.

#[path = "../common/mod.rs"]
mod common;

mod api;
mod audit;
mod deadlines;
mod embeddings;
mod forms;
mod http;
mod infill;
mod limits;
mod low_memory;
mod messages;
mod mutations;
mod page;
mod receipts;
mod responses;
mod routes;
mod same_text;
mod sealed;
