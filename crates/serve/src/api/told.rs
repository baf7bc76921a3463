//! What a stream tells of an answer block by block, where the shape has events with names: [`Step`].

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use llm::session::FinishReason;

use super::blocks::{Block, Blocks};
use super::json::{Value, append, fill};
use super::logprobs::Told;
use super::usage::{Timings, Usage};

/// What all pieces of an answer are called by.
#[derive(Debug)]
pub struct Name {
    /// Its name.
    pub id: String,
    /// When the request came, in seconds since 1970; 0 where the time is not known.
    pub created: u64,
    /// The name of the model.
    pub model: String,
}

/// One of the answers to a request, at its end.
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
    /// Whether the answer has come to its own end.
    pub fn is_complete(&self) -> bool {
        matches!(self.reason, FinishReason::EndOfText | FinishReason::StopString)
    }
}

/// What a stream tells next. Blocks have numbers.
pub enum Step<'s> {
    /// That it begins; of the counts those of the prompt are known.
    Begin(Usage),
    /// That a block begins.
    Open(usize, &'s Block),
    /// More of its text.
    More(usize, &'s Block, &'s str),
    /// That it is over: whole, unless the answer was cut there.
    Close(usize, &'s Block, bool),
    /// That all has been told.
    End(&'s End<'s>, Usage),
}

/// Writes the beginning of an event, up to the fields behind its type, which has two parts.
pub fn open_event(out: &mut Vec<u8>, kind: &str, action: &str) -> fmt::Result {
    let (kind, action) = (Value::Json(kind), Value::Json(action));
    fill(out, "event: $$\ndata: {\"type\":\"$$\"", &[kind, action, kind, action])
}

/// Writes the end of an event.
pub fn close_event(out: &mut Vec<u8>) -> fmt::Result {
    append(out, "}\n\n")
}
