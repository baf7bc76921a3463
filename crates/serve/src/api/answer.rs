//! Text in the shape of the route, as it is generated. [`Answer`] holds what all pieces of an answer share.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use llm::session::FinishReason;
use serde::Serialize;

use super::blocks::{Block, Blocks, Kind};
use super::json::{self, append};
use super::logprobs::Told;
use super::messages;
use super::responses;
use super::route::Shape;
use super::told::{End, Name, Step};
use super::usage::{Timings, Usage};
use crate::error::ApiError;

/// The properties that all pieces of an answer share.
#[derive(Debug)]
pub struct Answer {
    /// The shape of the answer.
    pub shape: Shape,
    /// The name, the same in all pieces.
    pub name: Name,
    /// Whether a stream ends with the token counts.
    pub include_usage: bool,
    /// Number of events sent so far, for shapes that number them.
    pub n_events: usize,
}

/// Why an answer ended, in OpenAI's words.
pub fn finish_reason(reason: FinishReason, has_calls: bool) -> &'static str {
    match reason {
        FinishReason::EndOfText | FinishReason::StopString if has_calls => "tool_calls",
        FinishReason::EndOfText | FinishReason::StopString => "stop",
        FinishReason::MaxTokens | FinishReason::ContextFull | FinishReason::Cancelled => "length",
    }
}

/// Why an answer ended, in llama.cpp's words.
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
    /// `null` if the answer has only calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'m str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'m str>,
    #[serde(skip_serializing_if = "<[ToolCall]>::is_empty")]
    tool_calls: &'m [ToolCall<'m>],
}

/// A call, or a piece of one.
#[derive(Serialize, Clone, Copy)]
struct ToolCall<'c> {
    /// Its number; only in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    kind: Option<&'static str>,
    function: Function<'c>,
}

#[derive(Serialize, Clone, Copy)]
struct Function<'f> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'f str>,
    arguments: &'f str,
}

impl<'c> ToolCall<'c> {
    /// The call in a block, with these arguments; `None` if the block is not a call.
    fn of(block: &'c Block, arguments: &'c str) -> Option<Self> {
        let Kind::Call { id, name } = &block.kind else { return None };
        let function = Function { name: Some(name), arguments };
        Some(Self { index: None, id: Some(id), kind: Some("function"), function })
    }
}

/// The calls among the blocks.
fn calls(blocks: &[Block]) -> Result<Vec<ToolCall<'_>>, fmt::Error> {
    let mut calls = Vec::new();
    calls.try_reserve_exact(blocks.len()).map_err(|_| fmt::Error)?;
    calls.extend(blocks.iter().filter_map(|block| ToolCall::of(block, &block.text)));
    Ok(calls)
}

/// The texts of all blocks of this kind, joined; `None` if there are none.
fn joined<'b>(blocks: &'b [Block], kind: &Kind) -> Result<Option<Cow<'b, str>>, fmt::Error> {
    let mut joined: Option<Cow<'b, str>> = None;
    for block in blocks.iter().filter(|block| block.kind == *kind) {
        joined = Some(match joined {
            None => Cow::Borrowed(&block.text),
            Some(before) => {
                let mut text = String::new();
                text.try_reserve(before.len() + block.text.len()).map_err(|_| fmt::Error)?;
                text.push_str(&before);
                text.push_str(&block.text);
                Cow::Owned(text)
            }
        });
    }
    Ok(joined)
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

/// Most bytes written for one of several answers besides its text.
const MAX_END_BYTES: usize = 128;

/// Most bytes written for a call besides its texts.
const MAX_CALL_BYTES: usize = 128;

/// The name of this build.
pub const FINGERPRINT: &str = concat!("ferrite-", env!("CARGO_PKG_VERSION"));

/// The bytes around an event's data.
const EVENT: (&str, &str) = ("data: ", "\n\n");

impl Answer {
    /// Whether a stream announces the answer as soon as the prompt has been counted.
    pub fn begins_early(&self) -> bool {
        self.tells_blocks()
    }

    /// What a stream sends as a sign of life.
    pub fn nothing(&self) -> &'static str {
        match self.shape {
            Shape::Messages => "event: ping\ndata: {\"type\":\"ping\"}\n\n",
            // A comment, which clients skip.
            _ => ":\n\n",
        }
    }

    fn is_native(&self) -> bool {
        matches!(self.shape, Shape::Native | Shape::Infill)
    }

    /// Whether the answer is sent block by block.
    pub fn tells_blocks(&self) -> bool {
        matches!(self.shape, Shape::Messages | Shape::Responses)
    }

    /// Writes the events of a step, if the answer is sent block by block.
    fn tell(&mut self, out: &mut Vec<u8>, step: &Step<'_>) -> fmt::Result {
        match self.shape {
            Shape::Messages => messages::tell(out, &self.name, step),
            _ => responses::tell(out, &self.name, step, &mut self.n_events),
        }
    }

    /// Writes the event that an answer begins, if the shape has one. Only the prompt's counts are known.
    pub fn begin(&mut self, out: &mut Vec<u8>, index: usize, counts: Usage) -> fmt::Result {
        match self.shape {
            Shape::Chat => {
                let delta =
                    Some(Message { role: Some("assistant"), content: Some(Some("")), ..Message::default() });
                let choice = ChatChoice {
                    index,
                    message: None,
                    delta,
                    logprobs: Told::default(),
                    finish_reason: None,
                };
                self.event(out, &[choice], 0)
            }
            Shape::Completion | Shape::Native | Shape::Infill => Ok(()),
            Shape::Messages | Shape::Responses => self.tell(out, &Step::Begin(counts)),
        }
    }

    /// Writes the events for the parts of an answer that a stream has not sent yet, and for its tokens, if they were asked for.
    pub fn news(
        &mut self,
        out: &mut Vec<u8>,
        index: usize,
        blocks: &mut Blocks,
        logprobs: Told<'_>,
    ) -> fmt::Result {
        if self.tells_blocks() {
            return self.block_news(out, blocks);
        }
        // Tokens are sent only once.
        let mut logprobs = Some(logprobs);
        let mut n_calls = 0;
        for block in blocks.certain_mut() {
            let text = &block.text[block.n_told..];
            if let Kind::Call { id, name } = &block.kind {
                if !block.is_begin_told {
                    let function = Function { name: Some(name), arguments: "" };
                    let call =
                        ToolCall { index: Some(n_calls), id: Some(id), kind: Some("function"), function };
                    let delta = Message { tool_calls: &[call], ..Message::default() };
                    self.delta(
                        out,
                        index,
                        delta,
                        logprobs.take().unwrap_or_default(),
                        id.len() + name.len(),
                    )?;
                }
                if !text.is_empty() {
                    let function = Function { name: None, arguments: text };
                    let call = ToolCall { index: Some(n_calls), id: None, kind: None, function };
                    let delta = Message { tool_calls: &[call], ..Message::default() };
                    self.delta(out, index, delta, logprobs.take().unwrap_or_default(), text.len())?;
                }
                n_calls += 1;
            } else if !text.is_empty() {
                let logprobs = logprobs.take().unwrap_or_default();
                self.text(out, index, text, block.kind == Kind::Reasoning, logprobs)?;
            }
            (block.is_begin_told, block.n_told) = (true, block.text.len());
        }
        blocks.forget_told();
        Ok(())
    }

    /// Like `news`, block by block.
    fn block_news(&mut self, out: &mut Vec<u8>, blocks: &mut Blocks) -> fmt::Result {
        let certain = blocks.certain_mut();
        let n_blocks = certain.len();
        for (index, block) in certain.iter_mut().enumerate() {
            if !core::mem::replace(&mut block.is_begin_told, true) {
                self.tell(out, &Step::Open(index, block))?;
            }
            let text = &block.text[block.n_told..];
            if !text.is_empty() {
                self.tell(out, &Step::More(index, block, text))?;
            }
            block.n_told = block.text.len();
            // A block that is followed by another one is complete.
            if index + 1 < n_blocks && !core::mem::replace(&mut block.is_end_told, true) {
                self.tell(out, &Step::Close(index, block, true))?;
            }
        }
        // The end of a response repeats all of its text.
        if self.shape != Shape::Responses {
            blocks.forget_told();
        }
        Ok(())
    }

    /// Writes the event of a piece of text.
    fn text(
        &self,
        out: &mut Vec<u8>,
        index: usize,
        text: &str,
        is_thought: bool,
        logprobs: Told<'_>,
    ) -> fmt::Result {
        let text_bytes = text.len() + logprobs.text_bytes();
        match self.shape {
            Shape::Chat => {
                let delta = match is_thought {
                    true => Message { reasoning_content: Some(text), ..Message::default() },
                    false => Message { content: Some(Some(text)), ..Message::default() },
                };
                self.delta(out, index, delta, logprobs, text.len())
            }
            Shape::Completion => {
                self.event(out, &[TextChoice { index, text, logprobs, finish_reason: None }], text_bytes)
            }
            Shape::Native | Shape::Infill => {
                let native = Native { completion_probabilities: logprobs, ..Native::piece(index, text) };
                event(out, &native, text_bytes)
            }
            Shape::Messages | Shape::Responses => Ok(()),
        }
    }

    /// Writes the event of a piece of a chat's answer with `text_bytes` bytes of text.
    fn delta(
        &self,
        out: &mut Vec<u8>,
        index: usize,
        delta: Message<'_>,
        logprobs: Told<'_>,
        text_bytes: usize,
    ) -> fmt::Result {
        let text_bytes = text_bytes + logprobs.text_bytes();
        let choice = ChatChoice { index, message: None, delta: Some(delta), logprobs, finish_reason: None };
        self.event(out, &[choice], text_bytes)
    }

    /// Writes the event that an answer has ended, after all of its text was sent. `counts` are those of a request for one answer.
    pub fn end(&mut self, out: &mut Vec<u8>, index: usize, end: &End<'_>, counts: Usage) -> fmt::Result {
        let reason = Some(finish_reason(end.reason, end.blocks.has_calls()));
        match self.shape {
            Shape::Chat => {
                let delta = Some(Message::default());
                let choice =
                    ChatChoice { index, message: None, delta, logprobs: end.logprobs, finish_reason: reason };
                self.event(out, &[choice], end.logprobs.text_bytes())
            }
            Shape::Completion => self.event(
                out,
                &[TextChoice { index, text: "", logprobs: end.logprobs, finish_reason: reason }],
                end.logprobs.text_bytes(),
            ),
            Shape::Native | Shape::Infill => {
                event(out, &self.native(index, "", end), self.name.model.len() + end.logprobs.text_bytes())
            }
            Shape::Messages | Shape::Responses => {
                if let Some((last, block)) = end.blocks.all().iter().enumerate().next_back() {
                    self.tell(out, &Step::Close(last, block, end.is_complete()))?;
                }
                self.tell(out, &Step::End(end, counts))
            }
        }
    }

    /// Writes the event that a stream ends with an error, if the shape has such an event.
    pub fn fail(&mut self, out: &mut Vec<u8>, blocks: &Blocks, error: &ApiError) -> Option<fmt::Result> {
        (self.shape == Shape::Responses)
            .then(|| responses::fail(out, &self.name, blocks, error, &mut self.n_events))
    }

    /// Writes the events at the end of a stream, after all its answers have ended.
    pub fn finish(&self, out: &mut Vec<u8>, usage: Usage, timings: Timings) -> fmt::Result {
        if self.is_native() || self.tells_blocks() {
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
        append(out, "data: [DONE]\n\n")
    }

    /// Writes a whole answer.
    pub fn whole(&self, out: &mut Vec<u8>, ends: &[End<'_>], counts: Usage) -> fmt::Result {
        match (self.shape, ends.first()) {
            (Shape::Messages, end) => return messages::message(out, &self.name, end, counts),
            (Shape::Responses, end) => {
                return responses::response(out, &self.name, responses::State::of(end, counts));
            }
            _ => {}
        }
        let usage = Some(Some(counts));
        let of_block = |block: &Block| block.text.len() + MAX_CALL_BYTES;
        let of_end = |end: &End<'_>| {
            end.blocks.all().iter().map(of_block).sum::<usize>() + end.logprobs.text_bytes() + MAX_END_BYTES
        };
        let text_bytes = ends.iter().map(of_end).sum::<usize>() + self.name_bytes();
        let timings = ends.first().map(|end| end.timings);
        let texts = each(ends, |_, end| joined(end.blocks.all(), &Kind::Text))?;
        let texts = texts.into_iter().collect::<Result<Vec<_>, _>>()?;
        match self.shape {
            Shape::Chat => {
                let thoughts = each(ends, |_, end| joined(end.blocks.all(), &Kind::Reasoning))?;
                let thoughts = thoughts.into_iter().collect::<Result<Vec<_>, _>>()?;
                let calls = each(ends, |_, end| calls(end.blocks.all()))?;
                let calls = calls.into_iter().collect::<Result<Vec<_>, _>>()?;
                let choices = each(ends, |index, end| {
                    let text = texts[index].as_deref();
                    // An empty answer has an empty text; an answer of calls alone has none.
                    let content = if calls[index].is_empty() { Some(text.unwrap_or("")) } else { text };
                    ChatChoice {
                        index,
                        message: Some(Message {
                            role: Some("assistant"),
                            content: Some(content),
                            reasoning_content: thoughts[index].as_deref(),
                            tool_calls: &calls[index],
                        }),
                        delta: None,
                        logprobs: end.logprobs,
                        finish_reason: Some(finish_reason(end.reason, !calls[index].is_empty())),
                    }
                })?;
                json::write(out, &Object { usage, timings, ..self.object(false, &choices) }, text_bytes)
            }
            Shape::Completion => {
                let choices = each(ends, |index, end| TextChoice {
                    index,
                    text: texts[index].as_deref().unwrap_or(""),
                    logprobs: end.logprobs,
                    finish_reason: Some(finish_reason(end.reason, false)),
                })?;
                json::write(out, &Object { usage, timings, ..self.object(false, &choices) }, text_bytes)
            }
            Shape::Native | Shape::Infill => {
                let answers =
                    each(ends, |index, end| self.native(index, texts[index].as_deref().unwrap_or(""), end))?;
                match &answers[..] {
                    [only] => json::write(out, only, text_bytes),
                    several => json::write(out, &several, text_bytes),
                }
            }
            Shape::Messages | Shape::Responses => Ok(()),
        }
    }

    fn native<'n>(&'n self, index: usize, content: &'n str, end: &End<'n>) -> Native<'n> {
        Native {
            stop: true,
            model: Some(&self.name.model),
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
            id: &self.name.id,
            object: match (self.shape, is_piece) {
                (Shape::Chat, true) => "chat.completion.chunk",
                (Shape::Chat, false) => "chat.completion",
                _ => "text_completion",
            },
            created: self.name.created,
            model: &self.name.model,
            system_fingerprint: FINGERPRINT,
            choices,
            // If the counts come at the end, each piece before says that they are not known yet.
            usage: (is_piece && self.include_usage).then_some(None),
            timings: None,
        }
    }

    fn event<C: Serialize>(&self, out: &mut Vec<u8>, choices: &[C], text_bytes: usize) -> fmt::Result {
        event(out, &self.object(true, choices), text_bytes + self.name_bytes())
    }

    fn name_bytes(&self) -> usize {
        self.name.id.len() + self.name.model.len()
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

/// Calls `choice` for each answer and its number, and collects the results.
fn each<'e, C>(
    ends: &'e [End<'e>],
    mut choice: impl FnMut(usize, &'e End<'e>) -> C,
) -> Result<Vec<C>, fmt::Error> {
    let mut choices = Vec::new();
    choices.try_reserve_exact(ends.len()).map_err(|_| fmt::Error)?;
    choices.extend(ends.iter().enumerate().map(|(index, end)| choice(index, end)));
    Ok(choices)
}

/// Writes a value as an event.
fn event(out: &mut Vec<u8>, value: &impl Serialize, text_bytes: usize) -> fmt::Result {
    append(out, EVENT.0)?;
    json::write(out, value, text_bytes)?;
    append(out, EVENT.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use llm::chat::Part;

    fn answer() -> Answer {
        let (id, model) = ("chatcmpl-1".to_string(), "m".to_string());
        Answer { shape: Shape::Chat, name: Name { id, created: 0, model }, include_usage: false, n_events: 0 }
    }

    fn parts(blocks: &mut Blocks, parts: &[Part<'_>]) {
        parts.iter().for_each(|part| blocks.take(part, "chatcmpl-1", 0).unwrap());
    }

    #[test]
    fn a_stream_tells_calls_as_openai_does_and_a_whole_answer_has_them() {
        let mut blocks = Blocks::new(true);
        let mut out = Vec::new();
        let steps: [&[Part<'_>]; 4] = [
            &[Part::Reasoning("Hm."), Part::Content("I ask.")],
            &[Part::ToolCallBegin { index: 0, name: "f" }, Part::ToolCallArguments("{\"a\"")],
            &[Part::ToolCallArguments(": 1}"), Part::ToolCallEnd],
            &[Part::ToolCallBegin { index: 1, name: "g" }, Part::ToolCallArguments("{}"), Part::ToolCallEnd],
        ];
        for step in steps {
            parts(&mut blocks, step);
            answer().news(&mut out, 0, &mut blocks, Told::default()).unwrap();
        }
        let text = core::str::from_utf8(&out).unwrap();
        let deltas: Vec<&str> = text
            .split("data: ")
            .skip(1)
            .map(|event| event.split_once("\"delta\":").unwrap().1.split(",\"logprobs\"").next().unwrap())
            .collect();
        let ids: Vec<&str> =
            text.split("\"id\":\"").skip(1).map(|rest| &rest[..9]).filter(|id| *id != "chatcmpl-").collect();
        assert!(ids.len() == 2 && ids[0] != ids[1], "{text}");
        let begin = |index: usize, name: &str| {
            alloc::format!(
                r#"{{"tool_calls":[{{"index":{index},"id":"{}","type":"function","function":{{"name":"{name}","arguments":""}}}}]}}"#,
                ids[index]
            )
        };
        let more = |index: usize, text: &str| {
            alloc::format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":"{text}"}}}}]}}"#)
        };
        let expected = [
            r#"{"reasoning_content":"Hm."}"#.to_string(),
            r#"{"content":"I ask."}"#.to_string(),
            begin(0, "f"),
            more(0, r#"{\"a\""#),
            more(0, ": 1}"),
            begin(1, "g"),
            more(1, "{}"),
        ];
        assert_eq!(deltas, expected);

        let mut whole = Blocks::new(true);
        steps.iter().for_each(|step| parts(&mut whole, step));
        let mut out = Vec::new();
        let reason = FinishReason::EndOfText;
        let end =
            End { blocks: &whole, reason, stop: "", timings: Timings::default(), logprobs: Told::default() };
        answer().whole(&mut out, &[end], Usage::default()).unwrap();
        let text = core::str::from_utf8(&out).unwrap();
        assert!(
            text.contains(r#""content":"I ask.","reasoning_content":"Hm.","tool_calls":[{"id":"#),
            "{text}"
        );
        assert!(text.contains(r#""function":{"name":"f","arguments":"{\"a\": 1}"}}"#), "{text}");
        assert!(text.contains(r#""finish_reason":"tool_calls""#), "{text}");

        let mut calls_alone = Blocks::new(true);
        parts(&mut calls_alone, steps[3]);
        let end = End {
            blocks: &calls_alone,
            reason,
            stop: "",
            timings: Timings::default(),
            logprobs: Told::default(),
        };
        out.clear();
        answer().whole(&mut out, &[end], Usage::default()).unwrap();
        assert!(core::str::from_utf8(&out).unwrap().contains(r#""content":null,"tool_calls""#));
    }
}
