//! [`Step`]: what a stream sends of an answer that it sends block by block, for shapes with named events.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use llm::session::FinishReason;

use super::blocks::{Block, Blocks};
use super::json::{Value, append, fill};
use super::logprobs::Told;
use super::usage::{Timings, Usage};

/// How all pieces of an answer are identified.
#[derive(Debug)]
pub struct Name {
    /// The answer's name.
    pub id: String,
    /// When the request came, in seconds since 1970; 0 if unknown.
    pub created: u64,
    /// The name of the model.
    pub model: String,
}

/// One of the answers to a request, when it has ended.
#[derive(Clone, Copy)]
pub struct End<'e> {
    /// Its parts.
    pub blocks: &'e Blocks,
    /// Why it ended.
    pub reason: FinishReason,
    /// The stop string that ended it.
    pub stop: &'e str,
    /// Its times.
    pub timings: Timings,
    /// Its tokens, if they were asked for.
    pub logprobs: Told<'e>,
}

impl End<'_> {
    /// Whether the answer ended by itself.
    pub fn is_complete(&self) -> bool {
        matches!(self.reason, FinishReason::EndOfText | FinishReason::StopString)
    }
}

/// The next thing that a stream sends. Blocks are numbered.
pub enum Step<'s> {
    /// The answer begins; only the prompt's counts are known.
    Begin(Usage),
    /// A block begins.
    Open(usize, &'s Block),
    /// More text of a block.
    More(usize, &'s Block, &'s str),
    /// A block ends. It is complete unless the answer was cut there.
    Close(usize, &'s Block, bool),
    /// The answer ends.
    End(&'s End<'s>, Usage),
}

/// Writes the beginning of an event, up to the fields after its type. The type has two parts.
pub fn open_event(out: &mut Vec<u8>, kind: &str, action: &str) -> fmt::Result {
    let (kind, action) = (Value::Json(kind), Value::Json(action));
    fill(out, "event: $$\ndata: {\"type\":\"$$\"", &[kind, action, kind, action])
}

/// Writes the end of an event.
pub fn close_event(out: &mut Vec<u8>) -> fmt::Result {
    append(out, "}\n\n")
}
