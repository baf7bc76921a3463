//! Many prompts, answered together and told in their order: [`Batch`], [`run`], [`BatchReport`].
//!
//! What is told does not depend on which answer is ready first: the first one's text comes as it becomes certain, that of the
//! others once those before them are over.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt;
use core::ops::ControlFlow;

use super::answer::{Failure, shrink};
use super::units::{Duration, Rate, per_second};
use super::{FrontError, Report, Request, RequestId, Responder, Task};
use crate::chat::Dialogue;
use crate::scheduler::Counts;
use crate::session::SessionError;

/// Answers that are kept, at most, because one before them is not over.
const MOST_KEPT: usize = 256;

/// Prompts, each of which is answered as if it were alone.
#[derive(Debug)]
pub struct Batch<'b> {
    /// The prompts.
    pub prompts: &'b [&'b str],
    /// What is done with each.
    pub task: Task<'b>,
    /// What is asked of each: a request whose own prompt counts for nothing.
    pub request: Request<'b>,
}

/// What happens while prompts are answered.
#[derive(Debug)]
pub enum BatchEvent<'e> {
    /// A batch is being computed; comes twice in each layer, so that it can be broken off.
    Computing,
    /// Text of an answer that is certain now.
    Text {
        /// The prompt's place, from 0.
        index: usize,
        /// The text, never empty.
        text: &'e str,
    },
    /// The end of an answer, or why there is none, or no more than the text that came before.
    End {
        /// The prompt's place, from 0.
        index: usize,
        /// How it went.
        result: Result<&'e Report, &'e FrontError>,
    },
}

/// What came of a batch. It shows itself as a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchReport {
    /// Prompts.
    pub n_prompts: usize,
    /// Those that were not answered.
    pub n_failed: usize,
    /// Tokens of those that were, or whose answers had begun when the batch was broken off.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub tokens_emitted: usize,
    /// From the first prompt's encoding to the last one's end.
    pub elapsed_us: u64,
    /// How it was computed.
    pub counts: Counts,
    /// Whether it was broken off.
    pub is_cancelled: bool,
}

impl BatchReport {
    /// Tokens of all answers per second; `None` without tokens or time.
    pub fn tokens_per_second(&self) -> Option<f64> {
        per_second(self.tokens_emitted as u64, self.elapsed_us)
    }

    /// How it was computed, shown as a line.
    pub fn computation(&self) -> impl fmt::Display {
        Computation(self.counts)
    }

    fn add(&mut self, result: Result<&Report, &FrontError>) {
        match result {
            Ok(report) => {
                self.prompt_tokens += report.prompt_tokens;
                self.tokens_emitted += report.tokens_emitted;
            }
            Err(_) => self.n_failed += 1,
        }
    }
}

impl fmt::Display for BatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_prompts, n_failed, prompt_tokens, tokens_emitted, elapsed_us, .. } = self;
        write!(
            f,
            "{n_prompts} prompts of {prompt_tokens} tokens, {tokens_emitted} generated in {}, {} tokens/s",
            Duration(*elapsed_us),
            Rate(self.tokens_per_second()),
        )?;
        if *n_failed > 0 {
            write!(f, ", {n_failed} failed")?;
        }
        if self.is_cancelled {
            f.write_str(", stopped")?;
        }
        Ok(())
    }
}

struct Computation(Counts);

impl fmt::Display for Computation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { n_steps, n_computed, n_prefix_hits, n_reused, n_preempted, .. } = self.0;
        write!(
            f,
            "{n_computed} tokens computed in {n_steps} batches; {n_reused} reused of {n_prefix_hits} prompts whose beginning \
             was known; {n_preempted} times a text made room for another"
        )
    }
}

/// A prompt that was submitted, or what came of it.
enum Entry {
    UnderWay(RequestId),
    Over(Result<Report, Failure>),
}

/// Answers all prompts, as many at once as the responder has slots. `on_event` learns of everything in the order of the
/// prompts, and may end it.
///
/// A prompt that cannot be answered does not keep the others from being. One that the heap has no room for is tried again
/// when others are over.
///
/// # Errors
/// [`FrontError::Busy`] if there are other requests, [`FrontError::OutOfHeap`], or what keeps batches from being computed.
pub fn run(
    responder: &mut Responder<'_>,
    batch: &Batch<'_>,
    clock_us: fn() -> u64,
    on_event: &mut dyn FnMut(BatchEvent<'_>) -> ControlFlow<()>,
) -> Result<BatchReport, FrontError> {
    if !responder.is_idle() {
        return Err(FrontError::Busy);
    }
    let start_us = clock_us();
    let before = responder.counts();
    let mut run = Run {
        entries: VecDeque::new(),
        n_told: 0,
        n_told_bytes: 0,
        waits_for_heap: false,
        report: BatchReport { n_prompts: batch.prompts.len(), ..BatchReport::default() },
    };
    let most_kept = MOST_KEPT.min(batch.prompts.len());
    let needed_bytes = most_kept * size_of::<Entry>();
    run.entries.try_reserve_exact(most_kept).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    let ended = run.answer_all(responder, batch, clock_us, on_event);
    // What is not over now is wanted no more.
    for entry in run.entries.drain(..) {
        match entry {
            Entry::UnderWay(id) => {
                if let Some(report) = responder.cancel(id, clock_us)
                    && report.tokens_emitted > 0
                {
                    run.report.add(Ok(&report));
                }
            }
            Entry::Over(result) => run.report.add(of_result(&result)),
        }
    }
    run.report.is_cancelled = ended?.is_break();
    run.report.elapsed_us = clock_us().saturating_sub(start_us);
    run.report.counts = responder.counts().since(before);
    Ok(run.report)
}

/// A batch under way.
struct Run {
    /// Prompts from the first one that was not told on, as far as they were submitted.
    entries: VecDeque<Entry>,
    /// Prompts of which all was told.
    n_told: usize,
    /// Bytes of the next one's answer that were told.
    n_told_bytes: usize,
    /// Whether the heap had no room for the next prompt since an answer was over or told.
    waits_for_heap: bool,
    report: BatchReport,
}

impl Run {
    fn answer_all(
        &mut self,
        responder: &mut Responder<'_>,
        batch: &Batch<'_>,
        clock_us: fn() -> u64,
        on_event: &mut dyn FnMut(BatchEvent<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, FrontError> {
        loop {
            let n_submitted = self.n_told + self.entries.len();
            for prompt in &batch.prompts[n_submitted..] {
                let is_full = self.entries.len() == self.entries.capacity();
                if is_full || self.waits_for_heap || !responder.has_room() {
                    break;
                }
                let entry = match submit(responder, batch.task, &batch.request, prompt, clock_us) {
                    Ok(id) => Entry::UnderWay(id),
                    // What the others take comes free.
                    Err(FrontError::OutOfHeap { .. }) if !self.entries.is_empty() => {
                        self.waits_for_heap = true;
                        break;
                    }
                    Err(error) => Entry::Over(Err(Failure { output: String::new(), error })),
                };
                self.entries.push_back(entry);
            }
            if self.tell(responder, on_event).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if self.n_told == batch.prompts.len() {
                return Ok(ControlFlow::Continue(()));
            }
            let computed =
                responder.compute(clock_us, &mut || on_event(BatchEvent::Computing), &mut |_, _| {
                    ControlFlow::Continue(())
                });
            while let Some(answer) = responder.take_finished() {
                let id = answer.id;
                let mut result = answer.into_end();
                if let Ok(report) = &mut result {
                    shrink(report);
                }
                self.waits_for_heap = false;
                let of_it = |entry: &&mut Entry| matches!(entry, Entry::UnderWay(other) if *other == id);
                if let Some(entry) = self.entries.iter_mut().find(of_it) {
                    *entry = Entry::Over(result);
                }
            }
            match computed {
                Ok(_) => {}
                Err(SessionError::Stopped) => return Ok(ControlFlow::Break(())),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Tells what is next in the order of the prompts, as far as it is there.
    fn tell(
        &mut self,
        responder: &Responder<'_>,
        on_event: &mut dyn FnMut(BatchEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while let Some(entry) = self.entries.front() {
            let index = self.n_told;
            let output = match entry {
                Entry::UnderWay(id) => responder.output(*id).unwrap_or_default(),
                Entry::Over(Ok(Report { output, .. }) | Err(Failure { output, .. })) => output,
            };
            let text = &output[self.n_told_bytes..];
            if !text.is_empty() {
                self.n_told_bytes += text.len();
                on_event(BatchEvent::Text { index, text })?;
            }
            let Entry::Over(result) = entry else { break };
            let result = of_result(result);
            let told = on_event(BatchEvent::End { index, result });
            self.report.add(result);
            self.entries.pop_front();
            self.n_told += 1;
            self.n_told_bytes = 0;
            self.waits_for_heap = false;
            told?;
        }
        ControlFlow::Continue(())
    }
}

/// What is told of a result.
fn of_result(result: &Result<Report, Failure>) -> Result<&Report, &FrontError> {
    result.as_ref().map_err(|failure| &failure.error)
}

/// Submits a prompt.
fn submit(
    responder: &mut Responder<'_>,
    task: Task<'_>,
    request: &Request<'_>,
    prompt: &str,
    clock_us: fn() -> u64,
) -> Result<RequestId, FrontError> {
    let mut dialogue = Dialogue::default();
    let prompt = task.prompt(prompt, &mut dialogue)?;
    responder.submit(Request { prompt, ..*request }, clock_us)
}

/// Shows answers in lines that each begin with the number of the prompt, from 1: `[3] `.
#[derive(Debug, Default)]
pub struct NumberedLines {
    /// Whether something of the line has been shown.
    in_line: bool,
    /// Whether something of the answer has been shown.
    has_begun: bool,
}

impl NumberedLines {
    /// Shows text of the answer to the prompt at `index`.
    pub fn text(&mut self, index: usize, text: &str, show: &mut dyn FnMut(fmt::Arguments<'_>)) {
        for line in text.split_inclusive('\n') {
            if !self.in_line {
                show(format_args!("[{}] ", index + 1));
            }
            show(format_args!("{line}"));
            self.in_line = !line.ends_with('\n');
            self.has_begun = true;
        }
    }

    /// Shows the ids of the tokens of the answer to the prompt at `index`, in one line.
    pub fn ids(&mut self, index: usize, ids: &[u32], show: &mut dyn FnMut(fmt::Arguments<'_>)) {
        for id in ids {
            match self.in_line {
                false => show(format_args!("[{}] {id}", index + 1)),
                true => show(format_args!(" {id}")),
            }
            self.in_line = true;
            self.has_begun = true;
        }
    }

    /// Ends an answer that breaks off: the line that has begun, if one has.
    pub fn break_off(&mut self, show: &mut dyn FnMut(fmt::Arguments<'_>)) {
        if self.in_line {
            show(format_args!("\n"));
        }
        *self = Self::default();
    }

    /// Ends an answer: each has a line at least, also one without text.
    pub fn end(&mut self, index: usize, show: &mut dyn FnMut(fmt::Arguments<'_>)) {
        if !self.has_begun {
            show(format_args!("[{}] ", index + 1));
        }
        if self.in_line || !self.has_begun {
            show(format_args!("\n"));
        }
        *self = Self::default();
    }
}

/// The prompts in a text: one in each line. Lines of nothing but blanks are none.
pub fn prompts(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}
