//! [`Answer`]: a request in progress; turns its tokens into text and a report.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use toolcalls::OutOfMemory;

use super::logprobs::LogprobTable;
use super::trace::LogitsRange;
use super::{Encoded, Event, FrontError, Report, RequestId};
use crate::chat::{Forgotten, Parser, Part};
use crate::sampling::Candidate;
use crate::scheduler::Finish;
use crate::session::{FinishReason, SessionError, Speculation, TextStream};
use crate::tokenizer::Tokenizer;

/// Bytes of output reserved per token. Ordinary text needs fewer, so the output buffer does not grow.
const OUTPUT_BYTES_PER_TOKEN: usize = 16;

/// The initial reservation for the output covers at most this many tokens.
const OUTPUT_TOKENS_RESERVED: usize = 4096;

/// A request whose text is scheduled, and its results so far.
pub(super) struct Answer {
    pub id: RequestId,
    pub report: Report,
    text: TextStream,
    /// Separates the answer into its parts, if the request asks for that.
    parser: Option<Parser>,
    logprobs: Option<LogprobTable>,
    trace: bool,
    start_us: u64,
    /// When the last token came.
    token_us: u64,
    /// Whether a token has been drawn.
    pub has_begun: bool,
    /// Why the answer ended, once no more tokens are needed.
    end: Option<Result<FinishReason, FrontError>>,
    /// Whether no more tokens will come.
    pub is_over: bool,
    /// How many of the output's last bytes were held back until the end.
    n_held_back: usize,
    /// The turns of a dialogue that did not fit, until they have been reported.
    untold: Option<Forgotten>,
}

/// The parts of an answer that exist before the request is scheduled.
pub(super) struct Draft {
    pub text: TextStream,
    pub parser: Option<Parser>,
    pub report: Report,
    pub logprobs: Option<LogprobTable>,
    pub trace: bool,
    pub start_us: u64,
}

/// Why there is no answer, or no more of one.
pub(super) struct Failure {
    /// The text generated before the failure.
    pub output: String,
    pub error: FrontError,
}

impl Draft {
    /// Makes the answer to the request with this id.
    pub fn named(self, id: RequestId) -> Answer {
        let Self { text, parser, report, logprobs, trace, start_us } = self;
        let untold = report.forgotten;
        Answer {
            id,
            report,
            text,
            parser,
            logprobs,
            trace,
            start_us,
            token_us: 0,
            has_begun: false,
            end: None,
            is_over: false,
            n_held_back: 0,
            untold,
        }
    }
}

impl Answer {
    /// Reports once which turns of a dialogue did not fit. Breaks if the caller does not want the answer.
    pub fn tell_forgotten(
        &mut self,
        clock_us: fn() -> u64,
        on_event: &mut dyn FnMut(RequestId, Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(forgotten) = self.untold.take() else { return ControlFlow::Continue(()) };
        let told = on_event(self.id, Event::Forgotten(forgotten));
        if told.is_break() {
            self.finish(Finish::Stopped, Speculation::default(), clock_us);
        }
        told
    }

    /// Notes that the text got its first slot, and reports that.
    pub fn start(
        &mut self,
        n_reused: usize,
        clock_us: fn() -> u64,
        on_event: &mut dyn FnMut(RequestId, Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.report.cached_tokens = n_reused;
        self.report.queued_us = clock_us().saturating_sub(self.start_us);
        on_event(
            self.id,
            Event::Started { prompt_tokens: self.report.prompt_tokens, cached_tokens: n_reused },
        )
    }

    /// Takes the next token. Breaks if no more are needed.
    pub fn take_token(
        &mut self,
        tokenizer: &Tokenizer<'_>,
        (id, logits, candidates): (u32, &[f32], &[Candidate]),
        clock_us: fn() -> u64,
        on_event: &mut dyn FnMut(RequestId, Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.has_begun = true;
        if let Some(work) = &mut self.report.work
            && let Err(error) = work.push(id, logits)
        {
            self.end = Some(Err(error));
            return ControlFlow::Break(());
        }
        if tokenizer.is_end_of_generation(id) {
            self.end = Some(Ok(FinishReason::EndOfText));
            return ControlFlow::Break(());
        }
        match self.text.push(tokenizer, id) {
            Ok(false) => {}
            Ok(true) => {
                self.end = Some(Ok(FinishReason::StopString));
                return ControlFlow::Break(());
            }
            Err(error) => {
                self.end = Some(Err(error.into()));
                return ControlFlow::Break(());
            }
        }
        let report = &mut self.report;
        let now_us = clock_us();
        let before_us = core::mem::replace(&mut self.token_us, now_us);
        let gap_us = (report.tokens_emitted > 0).then(|| now_us.saturating_sub(before_us));
        if gap_us.is_none() {
            report.first_token_us = now_us.saturating_sub(self.start_us);
        }
        let text = self.text.take();
        if let Err(error) = reserve_ids(&mut report.ids, 1).and_then(|()| append(&mut report.output, text)) {
            self.end = Some(Err(error));
            return ControlFlow::Break(());
        }
        report.ids.push(id);
        report.tokens_emitted += 1;
        let logprobs = self.logprobs.as_mut().map(|table| table.of(id, logits, candidates));
        let mut wants_more = on_event(self.id, Event::Token { id, text, logprobs, gap_us, tokenizer });
        if let (Some(parser), true) = (&mut self.parser, wants_more.is_continue()) {
            let told = parser.push(text, &mut |part| {
                if wants_more.is_continue() {
                    wants_more = on_event(self.id, Event::Part(part));
                }
            });
            if let Err(OutOfMemory { needed_bytes }) = told {
                self.end = Some(Err(FrontError::OutOfHeap { needed_bytes }));
                return ControlFlow::Break(());
            }
        }
        if self.trace && wants_more.is_continue() {
            let logits = LogitsRange::of(logits);
            wants_more = on_event(self.id, Event::Trace { step: report.tokens_emitted, logits });
        }
        if wants_more.is_break() {
            self.end = Some(Ok(FinishReason::Cancelled));
        }
        wants_more
    }

    /// Notes that the tokens have ended.
    pub fn finish(&mut self, finish: Finish, speculation: Speculation, clock_us: fn() -> u64) {
        self.is_over = true;
        self.report.speculation = speculation;
        let end = self.end.take().unwrap_or(match finish {
            Finish::MaxTokens => Ok(FinishReason::MaxTokens),
            Finish::Stopped => Ok(FinishReason::Cancelled),
            Finish::Complete => Ok(FinishReason::EndOfText),
            Finish::ContextFull => Ok(FinishReason::ContextFull),
            Finish::Sampling(error) => Err(SessionError::Sampling(error).into()),
        });
        self.end = Some(end.and_then(|reason| {
            match reason {
                FinishReason::Cancelled => {}
                FinishReason::StopString => {
                    append(&mut self.report.stop, self.text.stopped_by().unwrap_or(""))?;
                    self.hold_back()?;
                }
                FinishReason::MaxTokens | FinishReason::EndOfText | FinishReason::ContextFull => {
                    self.text.finish();
                    self.hold_back()?;
                }
            }
            Ok(reason)
        }));
        self.report.latency_us = clock_us().saturating_sub(self.start_us);
    }

    /// Adds the text that was held back to the output.
    fn hold_back(&mut self) -> Result<(), FrontError> {
        let text = self.text.take();
        self.n_held_back = text.len();
        append(&mut self.report.output, text)
    }

    /// Reports the end, unless that is an error.
    pub fn tell_end(
        mut self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, Failure> {
        let n_held_back = self.n_held_back;
        let parser = self.parser.take();
        let report = self.into_end()?;
        let text = &report.output[report.output.len() - n_held_back..];
        if let Some(mut parser) = parser {
            // The request is over whether or not the caller breaks off.
            let mut tell = |part: Part<'_>| {
                let _ = on_event(Event::Part(part));
            };
            if let Err(OutOfMemory { needed_bytes }) =
                parser.push(text, &mut tell).and_then(|()| parser.finish(&mut tell))
            {
                let error = FrontError::OutOfHeap { needed_bytes };
                return Err(Failure { output: report.output, error });
            }
        }
        // The request is over whether or not the caller breaks off.
        let _ = on_event(Event::Finished { text, report: &report });
        Ok(report)
    }

    /// The report or the failure.
    fn into_end(self) -> Result<Report, Failure> {
        let mut report = self.report;
        match self.end.unwrap_or(Ok(FinishReason::Cancelled)) {
            Ok(reason) => {
                report.finish_reason = reason;
                Ok(report)
            }
            Err(error) => Err(Failure { output: report.output, error }),
        }
    }

    /// The report so far, as that of a cancelled request.
    pub fn cancelled(mut self, clock_us: fn() -> u64) -> Report {
        self.report.latency_us = clock_us().saturating_sub(self.start_us);
        self.report
    }
}

/// An empty report with room for the answer: up to `max_tokens` after the prompt in a context of `n_ctx`.
pub(super) fn new_report(
    prompt_tokens: usize,
    max_tokens: usize,
    n_ctx: usize,
    encoded: Encoded,
) -> Result<Report, FrontError> {
    // The last token of an answer needs no position.
    let n_left = (n_ctx + 1).saturating_sub(prompt_tokens);
    let n_reserved = max_tokens.min(n_left).min(OUTPUT_TOKENS_RESERVED);
    let needed_bytes = n_reserved * OUTPUT_BYTES_PER_TOKEN;
    let mut report = Report {
        output: String::new(),
        ids: Vec::new(),
        prompt_tokens,
        cached_tokens: 0,
        tokens_emitted: 0,
        latency_us: 0,
        queued_us: 0,
        first_token_us: 0,
        finish_reason: FinishReason::Cancelled,
        stop: String::new(),
        speculation: Speculation::default(),
        forgotten: encoded.forgotten,
        format: encoded.format,
        work: None,
    };
    report.output.try_reserve(needed_bytes).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    reserve_ids(&mut report.ids, n_reserved)?;
    Ok(report)
}

fn reserve_ids(ids: &mut Vec<u32>, n: usize) -> Result<(), FrontError> {
    let needed_bytes = ids.len().saturating_add(n).saturating_mul(size_of::<u32>());
    ids.try_reserve(n).map_err(|_| FrontError::OutOfHeap { needed_bytes })
}

fn append(output: &mut String, text: &str) -> Result<(), FrontError> {
    let needed_bytes = output.len() + text.len();
    output.try_reserve(text.len()).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    output.push_str(text);
    Ok(())
}
