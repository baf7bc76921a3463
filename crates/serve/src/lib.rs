//! An HTTP API for a language model, compatible with OpenAI's, Anthropic's and llama.cpp's, without I/O of its own.
//!
//! A [`Server`] is given the bytes that arrive on connections, and returns the bytes that are to be sent on them; time is an
//! argument. Computation is behind the trait [`Engine`]. The same code therefore serves over the sockets of an operating system
//! and over a network stack inside a kernel, and a test can pass it one byte at a time.
//!
//! ```text
//! bytes of a connection --> http::connection --> server --> api (JSON) --> Engine
//!                       <-- http::response   <--        <-- api (JSON) <-- events
//! ```
//!
//! # Memory
//!
//! Everything that a client can make large is bounded by [`Limits`] and allocated with `try_reserve`: a request for which there
//! is no memory is refused with status 503, and the others go on.
//!
//! # Layers
//!
//! Each module uses only those below it (`scripts/check-layers` makes sure of it).
//!
//! | module | what it is |
//! |---|---|
//! | [`models`] | an [`Engine`] of models that each have a `Responder` |
//! | [`server`] | connections, the requests on them, and what is answered |
//! | [`api`] | the routes: JSON in, JSON out |
//! | [`http`] | HTTP/1.1: heads, bodies, answers, one connection |
//! | [`audit`] | who has asked for what, and how it ended |
//! | [`keys`] | who may ask, and how much |
//! | [`engine`] | what a server needs of what computes |
//! | [`error`] | why a request is refused, as clients are told |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod api;
pub mod audit;
pub mod engine;
pub mod error;
pub mod http;
pub mod keys;
pub mod models;
pub mod server;

pub use engine::{Change, Engine, EngineError, EngineStatus, ModelInfo};
pub use error::ApiError;
pub use http::Limits;
pub use keys::{KeyFileError, KeyLimits, Keys};
pub use models::{Model, Models};
pub use server::{ChangeId, ConnectionId, Server, Settings};
