//! The front: what can be asked of a model, and what comes back.
//!
//! The kernel's shell and the host program make the same [`Request`]s. A [`Responder`] answers one or many at once; each answer consists of
//! [`Event`]s and a [`Report`]. [`batch`] answers many prompts in order. Command-line options become a [`Task`] and a [`Wanted`].
//! [`bench`](mod@self::bench) holds the measurements that both programs offer, [`trace`] what both show of a computation.
//!
//! Neighbours: the [`scheduler`](crate::scheduler) decides which tokens are computed, [`chat`](crate::chat) turns conversations into
//! prompts.

mod answer;
mod apart;
pub mod batch;
pub mod bench;
mod breakers;
pub mod chat_commands;
pub mod describe;
pub mod embedding;
mod error;
mod grammar;
mod guide;
mod histogram;
mod kernels;
pub mod logits;
mod logprobs;
pub mod options;
mod prompter;
pub mod receipt;
mod request;
mod responder;
pub mod roofs;
mod task;
pub mod trace;
pub mod units;
pub mod vectors;

pub use apart::Apart;
pub use breakers::breakers;
pub use error::FrontError;
pub use grammar::{AnswerGrammar, GrammarText};
pub use guide::ToolChoice;
pub use histogram::Histogram;
pub use kernels::{UnknownKernels, kernels_called};
pub use logprobs::{LogprobLine, LogprobWish, Logprobs, MAX_LOGPROBS, TokenLogprob};
pub use prompter::{Encoded, Prompter};
pub use request::{ChatFormat, ContextLimit, Event, PROMPT_ENCODING, Prompt, Report, Request};
pub use responder::{MAX_WAITING, Responder};
pub use task::{Task, Wanted};

pub use crate::scheduler::SequenceId as RequestId;
pub use crate::session::CHECKPOINTS_PER_TEXT;
pub use toolcalls::CallsError;
