//! The front: what can be asked of a model, and what comes back.
//!
//! The kernel's shell and the host program make the same [`Request`]s, and a [`Responder`] answers them, one or many at
//! once, with [`Event`]s and a [`Report`] each; [`batch`] has many answered in their order. What their options ask for is a
//! [`Task`] and what is [`Wanted`], what both can measure is in [`bench`](mod@self::bench), what both show of a computation in
//! [`trace`].
//!
//! Neighbours: the [`scheduler`](crate::scheduler) has the tokens computed, [`chat`](crate::chat) makes prompts of conversations.

mod answer;
mod apart;
pub mod batch;
pub mod bench;
mod breakers;
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
