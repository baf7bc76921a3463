//! Many prompts, answered together and reported in order: [`Batch`], [`run`], [`BatchReport`]. [`Answers`] is the interface to what answers
//! them.
//!
//! The order of events does not depend on which answer is ready first: the first answer's text comes as soon as it is certain, the text of
//! each other answer after all earlier answers have ended.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt;
use core::ops::ControlFlow;

use super::answer::Failure;
use super::embedding::EmbeddingWish;
use super::request::text_of;
use super::units::{Duration, Rate, per_second};
use super::{Event, FrontError, Prompt, Report, Request, RequestId, Responder, Task};
use crate::chat::Dialogue;
use crate::scheduler::Counts;
use crate::session::SessionError;

/// Most finished answers that are kept because an earlier one is not over.
const MOST_KEPT: usize = 256;

/// Prompts, each of which is answered as if it were alone.
#[derive(Debug)]
pub struct Batch<'b> {
    /// The prompts.
    pub prompts: &'b [&'b str],
    /// What is done with each.
    pub task: Task<'b>,
    /// The request for each of them; its own prompt is ignored.
    pub request: Request<'b>,
}

/// An event while prompts are answered.
#[derive(Debug)]
pub enum BatchEvent<'e> {
    /// A batch is being computed. Comes twice in each layer, so that the caller can break off.
    Computing,
    /// Text of an answer that has become certain.
    Text {
        /// The prompt's place, from 0.
        index: usize,
        /// The text, never empty.
        text: &'e str,
    },
    /// The end of an answer, or the error that prevented it or cut it short.
    End {
        /// The prompt's place, from 0.
        index: usize,
        /// How it went.
        result: Result<&'e Report, &'e FrontError>,
    },
}

/// The outcome of a batch. Its `Display` is one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchReport {
    /// Prompts.
    pub n_prompts: usize,
    /// Prompts that were not answered.
    pub n_failed: usize,
    /// Tokens of the prompts that were answered, or whose answers had begun when the batch was broken off.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub tokens_emitted: usize,
    /// Time from the encoding of the first prompt to the end of the last answer.
    pub elapsed_us: u64,
    /// How it was computed.
    pub counts: Counts,
    /// Whether it was broken off.
    pub is_cancelled: bool,
}

impl BatchReport {
    /// Tokens of all answers per second; `None` if there were no tokens or no time passed.
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

/// Answers the prompts of a batch: a [`Responder`], or something that serves other callers at the same time.
pub trait Answers {
    /// Identifies a request from its submission to its end.
    type Id: Copy + PartialEq;

    /// Most texts that are computed together.
    fn n_slots(&self) -> usize;

    /// Whether another request would be accepted now.
    fn has_room(&self) -> bool;

    /// See [`Responder::submit`].
    ///
    /// # Errors
    /// Those of that function.
    fn submit(&mut self, request: Request<'_>) -> Result<Self::Id, FrontError>;

    /// See [`Responder::submit_embedding`].
    ///
    /// # Errors
    /// Those of that function.
    fn submit_embedding(&mut self, prompt: &Prompt<'_>, wish: EmbeddingWish) -> Result<Self::Id, FrontError>;

    /// The output so far of a request that is not over.
    fn output(&self, id: Self::Id) -> &str;

    /// Computes a batch and reports the results, see [`Responder::step`]; `on_event` returns whether the event's request is one of this
    /// batch of prompts.
    ///
    /// # Errors
    /// Those of that function.
    fn step(
        &mut self,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(Self::Id, &Event<'_>) -> bool,
    ) -> Result<(), FrontError>;

    /// See [`Responder::cancel`].
    fn cancel(&mut self, id: Self::Id) -> Option<Report>;

    /// Counts of what has been computed so far, for these requests and others.
    fn counts(&self) -> Counts;
}

/// A responder that serves no other caller.
pub(super) struct Alone<'r, 'm> {
    pub responder: &'r mut Responder<'m>,
    pub clock_us: fn() -> u64,
}

impl Answers for Alone<'_, '_> {
    type Id = RequestId;

    fn n_slots(&self) -> usize {
        self.responder.runner().options().state.n_slots
    }

    fn has_room(&self) -> bool {
        self.responder.has_room()
    }

    fn submit(&mut self, request: Request<'_>) -> Result<RequestId, FrontError> {
        self.responder.submit(request, self.clock_us)
    }

    fn submit_embedding(
        &mut self,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<RequestId, FrontError> {
        self.responder.submit_embedding(prompt, wish)
    }

    fn output(&self, id: RequestId) -> &str {
        self.responder.output(id).unwrap_or_default()
    }

    fn step(
        &mut self,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(RequestId, &Event<'_>) -> bool,
    ) -> Result<(), FrontError> {
        let stepped = self.responder.step(self.clock_us, go_on, &mut |id, event| {
            on_event(id, &event);
            ControlFlow::Continue(())
        });
        stepped.map(drop)
    }

    fn cancel(&mut self, id: RequestId) -> Option<Report> {
        self.responder.cancel(id, self.clock_us)
    }

    fn counts(&self) -> Counts {
        self.responder.counts()
    }
}

/// A prompt that was submitted, or its result.
enum Entry<I> {
    UnderWay(I),
    Over(Result<Report, Failure>),
}

/// Answers all prompts, as many at once as the responder has slots, see [`run_with`].
///
/// # Errors
/// [`FrontError::Busy`] if there are other requests, and those of that function.
pub fn run(
    responder: &mut Responder<'_>,
    batch: &Batch<'_>,
    clock_us: fn() -> u64,
    on_event: &mut dyn FnMut(BatchEvent<'_>) -> ControlFlow<()>,
) -> Result<BatchReport, FrontError> {
    if !responder.is_idle() {
        return Err(FrontError::Busy);
    }
    run_with(&mut Alone { responder, clock_us }, batch, clock_us, on_event)
}

/// Answers all prompts, as many at once as there are slots. `on_event` receives all events in the order of the prompts, and may end the
/// batch.
///
/// A prompt that cannot be answered does not affect the others. A prompt for which the heap has no room is tried again when others have
/// ended.
///
/// # Errors
/// [`FrontError::OutOfHeap`], or the error that keeps batches from being computed.
pub fn run_with(
    answers: &mut impl Answers,
    batch: &Batch<'_>,
    clock_us: fn() -> u64,
    on_event: &mut dyn FnMut(BatchEvent<'_>) -> ControlFlow<()>,
) -> Result<BatchReport, FrontError> {
    let start_us = clock_us();
    let before = answers.counts();
    let mut run = Run {
        entries: VecDeque::new(),
        n_told: 0,
        n_told_bytes: 0,
        waits_for_heap: false,
        report: BatchReport { n_prompts: batch.prompts.len(), ..BatchReport::default() },
    };
    let most_kept = MOST_KEPT.min(batch.prompts.len());
    run.reserve(most_kept)?;
    let ended = run.answer_all(answers, batch, on_event);
    // Requests that are not over now are no longer wanted.
    for entry in run.entries.drain(..) {
        match entry {
            Entry::UnderWay(id) => {
                if let Some(report) = answers.cancel(id)
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
    run.report.counts = answers.counts().since(before);
    Ok(run.report)
}

/// A batch in progress.
struct Run<I> {
    /// The submitted prompts, from the first one that has not been fully reported.
    entries: VecDeque<Entry<I>>,
    /// Number of prompts that have been fully reported.
    n_told: usize,
    /// Bytes of the next prompt's answer that have been reported.
    n_told_bytes: usize,
    /// Whether the heap had no room for the next prompt, and no answer has ended or been reported since.
    waits_for_heap: bool,
    report: BatchReport,
}

impl<I: Copy + PartialEq> Run<I> {
    fn reserve(&mut self, most_kept: usize) -> Result<(), FrontError> {
        let needed_bytes = most_kept * size_of::<Entry<I>>();
        self.entries.try_reserve_exact(most_kept).map_err(|_| FrontError::OutOfHeap { needed_bytes })
    }

    fn answer_all(
        &mut self,
        answers: &mut impl Answers<Id = I>,
        batch: &Batch<'_>,
        on_event: &mut dyn FnMut(BatchEvent<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, FrontError> {
        loop {
            self.submit_more(answers, batch);
            if self.tell(answers, on_event).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if self.n_told == batch.prompts.len() {
                return Ok(ControlFlow::Continue(()));
            }
            let go_on = &mut || on_event(BatchEvent::Computing);
            match answers.step(go_on, &mut |id, event| self.take(id, event)) {
                Ok(()) => {}
                Err(FrontError::Session(SessionError::Stopped)) => return Ok(ControlFlow::Break(())),
                Err(error) => return Err(error),
            }
        }
    }

    /// Submits the next prompts, as many as there is room for.
    fn submit_more(&mut self, answers: &mut impl Answers<Id = I>, batch: &Batch<'_>) {
        let is_under_way = |entry: &&Entry<I>| matches!(entry, Entry::UnderWay(_));
        let mut n_under_way = self.entries.iter().filter(is_under_way).count();
        let n_submitted = self.n_told + self.entries.len();
        for prompt in &batch.prompts[n_submitted..] {
            let is_full = self.entries.len() == self.entries.capacity() || n_under_way == answers.n_slots();
            if is_full || self.waits_for_heap || !answers.has_room() {
                break;
            }
            let entry = match submit(answers, batch.task, &batch.request, prompt) {
                Ok(id) => Entry::UnderWay(id),
                // The other requests free their memory when they end.
                Err(FrontError::OutOfHeap { .. }) if !self.entries.is_empty() => {
                    self.waits_for_heap = true;
                    break;
                }
                Err(error) => Entry::Over(Err(Failure { output: String::new(), error })),
            };
            n_under_way += usize::from(is_under_way(&&entry));
            self.entries.push_back(entry);
        }
    }

    /// Stores the result of a request that ended. Returns whether the request belongs to this batch.
    fn take(&mut self, id: I, event: &Event<'_>) -> bool {
        let of_it = |entry: &&mut Entry<I>| matches!(entry, Entry::UnderWay(other) if *other == id);
        let Some(entry) = self.entries.iter_mut().find(of_it) else { return false };
        let result = match event {
            Event::Finished { report, .. } => {
                report.copy().map_err(|error| Failure { output: String::new(), error })
            }
            Event::Failed { error, output } => {
                let output = text_of(output).unwrap_or_default();
                Err(Failure { output, error: (*error).clone() })
            }
            _ => return true,
        };
        *entry = Entry::Over(result);
        self.waits_for_heap = false;
        true
    }

    /// Reports what is next in the order of the prompts, as far as it is available.
    fn tell(
        &mut self,
        answers: &impl Answers<Id = I>,
        on_event: &mut dyn FnMut(BatchEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while let Some(entry) = self.entries.front() {
            let index = self.n_told;
            let output = match entry {
                Entry::UnderWay(id) => answers.output(*id),
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

/// A result as it is reported.
fn of_result(result: &Result<Report, Failure>) -> Result<&Report, &FrontError> {
    result.as_ref().map_err(|failure| &failure.error)
}

/// Submits a prompt.
fn submit<A: Answers>(
    answers: &mut A,
    task: Task<'_>,
    request: &Request<'_>,
    prompt: &str,
) -> Result<A::Id, FrontError> {
    let mut dialogue = Dialogue::default();
    let prompt = task.prompt(prompt, &mut dialogue)?;
    answers.submit(Request { prompt, ..*request })
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

    /// Ends an answer that was broken off: ends its line, if one has begun.
    pub fn break_off(&mut self, show: &mut dyn FnMut(fmt::Arguments<'_>)) {
        if self.in_line {
            show(format_args!("\n"));
        }
        *self = Self::default();
    }

    /// Ends an answer. Each answer has at least one line, even without text.
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

/// The prompts in a text, one in each line. Blank lines are skipped.
pub fn prompts(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}
