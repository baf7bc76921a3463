//! [`Responder`]: a model that answers requests.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::bench::{self, BenchPlan, BenchResult, Meter};
use super::trace::LogitsRange;
use super::{Event, FrontError, Prompt, Prompter, Report, Request, logits};
use crate::chat::Room;
use crate::sampling::Sampler;
use crate::session::{FinishReason, Session, SessionError, Speculation, Step};

/// Bytes of output that are reserved per token, so that a usual text never makes the output grow.
const OUTPUT_BYTES_PER_TOKEN: usize = 16;

/// The output's first reservation goes no further than this many tokens.
const OUTPUT_TOKENS_RESERVED: usize = 4096;

/// A model with its vocabulary and a context, ready to answer.
pub struct Responder<'m> {
    prompter: Prompter<'m>,
    session: Session<'m>,
    /// The prompt's ids; kept to be used again.
    prompt_ids: Vec<u32>,
}

impl<'m> Responder<'m> {
    /// A responder of the model that `session` was made for, the file of which `prompter` has.
    pub fn new(prompter: Prompter<'m>, session: Session<'m>) -> Self {
        Self { prompter, session, prompt_ids: Vec::new() }
    }

    /// What makes prompts.
    pub fn prompter(&self) -> &Prompter<'m> {
        &self.prompter
    }

    /// The model and its context.
    pub fn session(&self) -> &Session<'m> {
        &self.session
    }

    /// See [`Prompter::prepare_chat`].
    ///
    /// # Errors
    /// As there.
    pub fn prepare_chat(&mut self, template: Option<&str>) -> Result<(), FrontError> {
        self.prompter.prepare_chat(template)
    }

    /// Answers a request. `on_event` learns of everything, and may end it; the report then says
    /// [`FinishReason::Cancelled`]. Times are by `clock_us`, in microseconds.
    ///
    /// # Errors
    /// If the prompt cannot be encoded, is empty or does not fit the context, the sampling settings make no sense, the
    /// logits are not numbers, or the heap has no room.
    pub fn generate(
        &mut self,
        mut request: Request<'_>,
        clock_us: fn() -> u64,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, FrontError> {
        let start_us = clock_us();
        let elapsed_us = || clock_us().saturating_sub(start_us);
        let n_ctx = self.session.options().n_ctx;
        let room = Room { n_ctx, max_tokens: request.max_tokens };
        self.prompt_ids.clear();
        let forgotten = self.prompter.encode(&mut request.prompt, room, &mut self.prompt_ids)?;
        match request.prompt {
            Prompt::Chat(..) => self.session.keep_beginning_of(&self.prompt_ids),
            Prompt::Text(..) | Prompt::Ids(_) => self.session.reset(),
        }
        let n_vocab = self.session.model().config().n_vocab;
        let mut sampler = Sampler::new(request.sampling.within_context(n_ctx), n_vocab)?;
        let mut report = new_report(request.max_tokens)?;
        report.prompt_tokens = self.prompt_ids.len();
        report.forgotten = forgotten;
        if let Some(forgotten) = forgotten
            && on_event(Event::Forgotten(forgotten)).is_break()
        {
            report.latency_us = elapsed_us();
            let _ = on_event(Event::Finished { text: "", report: &report });
            return Ok(report);
        }
        let generation = self.session.resume(
            self.prompter.tokenizer(),
            &mut sampler,
            &self.prompt_ids,
            request.max_tokens,
            request.stop,
            &mut || on_event(Event::Prompt),
        );
        let mut generation = match generation {
            Err(SessionError::Stopped) => {
                report.latency_us = elapsed_us();
                let _ = on_event(Event::Finished { text: "", report: &report });
                return Ok(report);
            }
            generation => generation?.speculate(request.speculate)?,
        };
        loop {
            let n_held_back = match generation.step()? {
                Step::Token { id, text } => {
                    reserve_ids(&mut report.ids, 1)?;
                    report.ids.push(id);
                    report.tokens_emitted += 1;
                    if report.tokens_emitted == 1 {
                        report.first_token_us = elapsed_us();
                    }
                    append(&mut report.output, text)?;
                    let mut end = on_event(Event::Token { id, text });
                    if request.trace && end.is_continue() {
                        let logits = LogitsRange::of(generation.logits());
                        end = on_event(Event::Trace { step: report.tokens_emitted, logits });
                    }
                    match end {
                        ControlFlow::Continue(()) => continue,
                        ControlFlow::Break(()) => 0,
                    }
                }
                Step::Finished { reason, text } => {
                    report.finish_reason = reason;
                    append(&mut report.output, text)?;
                    text.len()
                }
            };
            report.latency_us = elapsed_us();
            report.speculation = generation.speculation();
            let text = &report.output[report.output.len() - n_held_back..];
            let _ = on_event(Event::Finished { text, report: &report });
            return Ok(report);
        }
    }

    /// See [`logits::run`].
    ///
    /// # Errors
    /// As there.
    pub fn logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), FrontError> {
        Ok(logits::run(self.session.runner(), tokens, on_row)?)
    }

    /// See [`bench::run`].
    ///
    /// # Errors
    /// As there.
    pub fn bench(
        &mut self,
        plan: BenchPlan,
        meter: Meter,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<BenchResult, FrontError> {
        bench::run(self.session.runner(), plan, meter, go_on)
    }
}

/// A report of nothing yet, with room for what is to be generated.
fn new_report(max_tokens: usize) -> Result<Report, FrontError> {
    let n_reserved = max_tokens.min(OUTPUT_TOKENS_RESERVED);
    let needed_bytes = n_reserved * OUTPUT_BYTES_PER_TOKEN;
    let mut report = Report {
        output: String::new(),
        ids: Vec::new(),
        prompt_tokens: 0,
        tokens_emitted: 0,
        latency_us: 0,
        first_token_us: 0,
        finish_reason: FinishReason::Cancelled,
        speculation: Speculation::default(),
        forgotten: None,
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
