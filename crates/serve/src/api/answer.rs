//! Text as it is generated, in the shape of the route: [`Answer`] is what all pieces of an answer have in common.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use llm::session::FinishReason;
use serde::Serialize;

use super::json;
use super::logprobs::Told;
use super::route::Shape;
use super::usage::{Timings, Usage};
use crate::error::ApiError;

/// What all pieces of an answer have in common.
#[derive(Debug)]
pub struct Answer {
    /// The shape.
    pub shape: Shape,
    /// Its name, in all pieces the same.
    pub id: String,
    /// When the request came, in seconds since 1970; 0 where the time is not known.
    pub created: u64,
    /// The name of the model.
    pub model: String,
    /// Whether a stream tells the counts at its end.
    pub include_usage: bool,
}

/// One of the answers to a request, at its end.
pub struct End<'e> {
    /// Its text.
    pub text: &'e str,
    /// Why it ended.
    pub reason: FinishReason,
    /// Its times.
    pub timings: Timings,
    /// Its tokens, if they were asked for.
    pub logprobs: Told<'e>,
}

/// Why an answer ended, in OpenAI's words.
fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfText | FinishReason::StopString => "stop",
        FinishReason::MaxTokens | FinishReason::ContextFull | FinishReason::Cancelled => "length",
    }
}

/// Why an answer ended, in llama.cpp's.
fn stop_type(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfText => "eos",
        FinishReason::StopString => "word",
        FinishReason::MaxTokens | FinishReason::ContextFull => "limit",
        FinishReason::Cancelled => "none",
    }
}

#[derive(Serialize)]
struct Object<'o, C: Serialize> {
    id: &'o str,
    object: &'static str,
    created: u64,
    model: &'o str,
    system_fingerprint: &'static str,
    choices: &'o [C],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

#[derive(Serialize)]
struct ChatChoice<'c> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Message<'c>>,
    logprobs: Told<'c>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct Message<'m> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'m str>,
}

#[derive(Serialize)]
struct TextChoice<'c> {
    index: usize,
    text: &'c str,
    logprobs: Told<'c>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Native<'n> {
    index: usize,
    content: &'n str,
    stop: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'n str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_evaluated: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_predicted: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_cached: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
    #[serde(skip_serializing_if = "Told::is_none")]
    completion_probabilities: Told<'n>,
}

/// Most bytes of what is said of one of several answers beside its text.
const MAX_END_BYTES: usize = 128;

/// The name of this build.
pub const FINGERPRINT: &str = concat!("ferrite-", env!("CARGO_PKG_VERSION"));

/// The bytes around an event's data.
const EVENT: (&[u8], &[u8]) = (b"data: ", b"\n\n");

impl Answer {
    /// Writes the event that an answer begins, where the shape has one.
    pub fn begin(&self, out: &mut Vec<u8>, index: usize) -> fmt::Result {
        match self.shape {
            Shape::Chat => {
                let delta = Some(Message { role: Some("assistant"), content: Some("") });
                let choice = ChatChoice {
                    index,
                    message: None,
                    delta,
                    logprobs: Told::default(),
                    finish_reason: None,
                };
                self.event(out, &[choice], 0)
            }
            Shape::Completion | Shape::Native => Ok(()),
        }
    }

    /// Writes the event of a piece of text, and of its tokens, if they were asked for.
    pub fn text(&self, out: &mut Vec<u8>, index: usize, text: &str, logprobs: Told<'_>) -> fmt::Result {
        let text_bytes = text.len() + logprobs.text_bytes();
        match self.shape {
            Shape::Chat => {
                let delta = Some(Message { role: None, content: Some(text) });
                let choice = ChatChoice { index, message: None, delta, logprobs, finish_reason: None };
                self.event(out, &[choice], text_bytes)
            }
            Shape::Completion => {
                self.event(out, &[TextChoice { index, text, logprobs, finish_reason: None }], text_bytes)
            }
            Shape::Native => {
                let native = Native { completion_probabilities: logprobs, ..Native::piece(index, text) };
                event(out, &native, text_bytes)
            }
        }
    }

    /// Writes the event that an answer has ended, all of whose text was told.
    pub fn end(&self, out: &mut Vec<u8>, index: usize, end: &End<'_>) -> fmt::Result {
        let reason = Some(finish_reason(end.reason));
        match self.shape {
            Shape::Chat => {
                let delta = Some(Message::default());
                let choice = ChatChoice {
                    index,
                    message: None,
                    delta,
                    logprobs: Told::default(),
                    finish_reason: reason,
                };
                self.event(out, &[choice], 0)
            }
            Shape::Completion => self.event(
                out,
                &[TextChoice { index, text: "", logprobs: Told::default(), finish_reason: reason }],
                0,
            ),
            Shape::Native => event(out, &self.native(index, "", end), self.model.len()),
        }
    }

    /// Writes the events at the end of a stream, all answers of which have ended.
    pub fn finish(&self, out: &mut Vec<u8>, usage: Usage, timings: Timings) -> fmt::Result {
        if self.shape == Shape::Native {
            return Ok(());
        }
        if self.include_usage {
            let usage = Some(Some(usage));
            event(
                out,
                &Object::<TextChoice<'_>> { usage, timings: Some(timings), ..self.object(true, &[]) },
                self.name_bytes(),
            )?;
        }
        append(out, b"data: [DONE]\n\n")
    }

    /// Writes a whole answer.
    pub fn whole(&self, out: &mut Vec<u8>, ends: &[End<'_>], counts: Usage) -> fmt::Result {
        let usage = Some(Some(counts));
        let of_end = |end: &End<'_>| end.text.len() + end.logprobs.text_bytes() + MAX_END_BYTES;
        let text_bytes = ends.iter().map(of_end).sum::<usize>() + self.name_bytes();
        let timings = ends.first().map(|end| end.timings);
        match self.shape {
            Shape::Chat => {
                let choices = each(ends, |index, end| ChatChoice {
                    index,
                    message: Some(Message { role: Some("assistant"), content: Some(end.text) }),
                    delta: None,
                    logprobs: end.logprobs,
                    finish_reason: Some(finish_reason(end.reason)),
                })?;
                json::write(out, &Object { usage, timings, ..self.object(false, &choices) }, text_bytes)
            }
            Shape::Completion => {
                let choices = each(ends, |index, end| TextChoice {
                    index,
                    text: end.text,
                    logprobs: end.logprobs,
                    finish_reason: Some(finish_reason(end.reason)),
                })?;
                json::write(out, &Object { usage, timings, ..self.object(false, &choices) }, text_bytes)
            }
            Shape::Native => {
                let answers = each(ends, |index, end| self.native(index, end.text, end))?;
                match &answers[..] {
                    [only] => json::write(out, only, text_bytes),
                    several => json::write(out, &several, text_bytes),
                }
            }
        }
    }

    fn native<'n>(&'n self, index: usize, content: &'n str, end: &End<'n>) -> Native<'n> {
        Native {
            stop: true,
            model: Some(&self.model),
            stop_type: Some(stop_type(end.reason)),
            tokens_evaluated: Some(end.timings.cache_n + end.timings.prompt_n),
            tokens_predicted: Some(end.timings.predicted_n),
            tokens_cached: Some(end.timings.cache_n),
            timings: Some(end.timings),
            completion_probabilities: end.logprobs,
            ..Native::piece(index, content)
        }
    }

    fn object<'o, C: Serialize>(&'o self, is_piece: bool, choices: &'o [C]) -> Object<'o, C> {
        Object {
            id: &self.id,
            object: match (self.shape, is_piece) {
                (Shape::Chat, true) => "chat.completion.chunk",
                (Shape::Chat, false) => "chat.completion",
                _ => "text_completion",
            },
            created: self.created,
            model: &self.model,
            system_fingerprint: FINGERPRINT,
            choices,
            // Where the counts come at the end, the pieces before say that they are not known.
            usage: (is_piece && self.include_usage).then_some(None),
            timings: None,
        }
    }

    fn event<C: Serialize>(&self, out: &mut Vec<u8>, choices: &[C], text_bytes: usize) -> fmt::Result {
        event(out, &self.object(true, choices), text_bytes + self.name_bytes())
    }

    fn name_bytes(&self) -> usize {
        self.id.len() + self.model.len()
    }
}

impl<'n> Native<'n> {
    fn piece(index: usize, content: &'n str) -> Self {
        Self {
            index,
            content,
            stop: false,
            model: None,
            stop_type: None,
            tokens_evaluated: None,
            tokens_predicted: None,
            tokens_cached: None,
            timings: None,
            completion_probabilities: Told::default(),
        }
    }
}

/// What `choice` makes of each answer, with its number.
fn each<'e, C>(
    ends: &'e [End<'e>],
    mut choice: impl FnMut(usize, &'e End<'e>) -> C,
) -> Result<Vec<C>, fmt::Error> {
    let mut choices = Vec::new();
    choices.try_reserve_exact(ends.len()).map_err(|_| fmt::Error)?;
    choices.extend(ends.iter().enumerate().map(|(index, end)| choice(index, end)));
    Ok(choices)
}

/// Writes the event that there is no more of an answer.
pub fn failure(out: &mut Vec<u8>, error: &ApiError) -> fmt::Result {
    event(out, &error.body(), error.message.len())
}

/// Writes a value as an event.
fn event(out: &mut Vec<u8>, value: &impl Serialize, text_bytes: usize) -> fmt::Result {
    append(out, EVENT.0)?;
    json::write(out, value, text_bytes)?;
    append(out, EVENT.1)
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) -> fmt::Result {
    out.try_reserve(bytes.len()).map_err(|_| fmt::Error)?;
    out.extend_from_slice(bytes);
    Ok(())
}
