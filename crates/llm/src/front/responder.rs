//! [`Responder`]: a model that answers many requests at once.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ops::ControlFlow;

use super::answer::{Answer, Draft, Failure, new_report};
use super::bench::{self, BenchPlan, BenchResult, Meter};
use super::embedding::{Embedding, EmbeddingWish, Vectors};
use super::logprobs::LogprobTable;
use super::receipt::{Facts, Work};
use super::{
    ChatFormat, ContextLimit, Event, FrontError, Prompt, Prompter, Report, Request, RequestId, breakers,
    logits,
};
use crate::chat::{self, Message, Room};
use crate::compute::LowRanks;
use crate::sampling::{Sampler, Stage};
use crate::scheduler::{Counts, Output, Scheduler, Submission};
use crate::session::{Runner, SessionError, TextStream};

/// The usual limit on the number of requests that wait for a slot.
pub const MAX_WAITING: usize = 64;

/// A model that is ready to answer, with its vocabulary and memory for several texts.
///
/// Requests are [submitted](Self::submit) and answered together, one batch at each [step](Self::step). Each answer is
/// the same as if the request were alone. [`generate`](Self::generate) answers a single request and returns when it is
/// done.
///
/// # Example
///
/// Two requests that are answered together, four texts at most:
///
/// ```no_run
/// use core::ops::ControlFlow;
/// use llm::front::{PROMPT_ENCODING, Prompt, Prompter, Request, Responder};
/// use llm::session::{Runner, RunnerOptions};
/// use llm::{arena::ALIGN, gguf::Gguf, model::Model, parallel::Serial, quant::ModelBytes, simd::Kernels};
///
/// let file = std::fs::read("model.gguf")?;
/// let gguf = Gguf::parse(&file, file.len() as u64)?;
/// let model = Model::load(&gguf, ModelBytes::as_in_file(&file))?;
/// let options = RunnerOptions::new(model.config(), model.config().n_ctx_train.min(2048), 4);
/// let mut memory = vec![0; Runner::required_bytes(model.config(), &options)? + ALIGN];
/// let runner = Runner::new(model, options, Kernels::scalar(), &Serial, &mut memory)?;
/// let mut responder = Responder::new(Prompter::new(gguf)?, runner, 0)?;
///
/// // Nothing measures the time, so that all times are 0.
/// let clock_us = || 0;
/// for prompt in ["Once upon a time", "The capital of France is"] {
///     responder.submit(Request::new(Prompt::Text(prompt, PROMPT_ENCODING), 20), clock_us)?;
/// }
/// while !responder.is_idle() {
///     responder.step(clock_us, &mut || ControlFlow::Continue(()), &mut |id, event| {
///         println!("{id:?}: {}", event.text());
///         ControlFlow::Continue(())
///     })?;
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Responder<'m> {
    prompter: Prompter<'m>,
    scheduler: Scheduler<'m>,
    /// Requests that are not over, and those that are over but whose end has not been reported yet.
    answers: Vec<Answer>,
    /// The same for texts that become vectors.
    vectors: Vec<Vectors>,
    /// Most requests that can wait or run at a time.
    most_answers: usize,
    /// Buffer for the prompt's ids, kept for reuse.
    prompt_ids: Vec<u32>,
}

impl<'m> Responder<'m> {
    /// A responder for the model that `runner` was made for; `prompter` must hold the file of the same model. Up to `max_waiting` requests
    /// may wait for a slot.
    ///
    /// # Errors
    /// If texts cannot be scheduled on the runner, or the heap has no room.
    pub fn new(prompter: Prompter<'m>, runner: Runner<'m>, max_waiting: usize) -> Result<Self, FrontError> {
        let most_answers = runner.options().state.n_slots.saturating_add(max_waiting);
        let (mut answers, mut vectors) = (Vec::new(), Vec::new());
        let needed_bytes = most_answers.saturating_mul(size_of::<Answer>() + size_of::<Vectors>());
        let reserved = answers.try_reserve_exact(most_answers);
        let reserved = reserved.and_then(|()| vectors.try_reserve_exact(most_answers));
        reserved.map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        let scheduler = Scheduler::new(runner, max_waiting)?;
        Ok(Self { prompter, scheduler, answers, vectors, most_answers, prompt_ids: Vec::new() })
    }

    /// The part that makes prompts.
    pub fn prompter(&self) -> &Prompter<'m> {
        &self.prompter
    }

    /// The part that computes the batches.
    pub fn runner(&self) -> &Runner<'m> {
        self.scheduler.runner()
    }

    /// The part that decides what goes into each batch.
    pub fn scheduler(&self) -> &Scheduler<'m> {
        &self.scheduler
    }

    /// See [`Prompter::prepare_chat`].
    ///
    /// # Errors
    /// Those of that function.
    pub fn prepare_chat(&mut self, template: Option<&str>) -> Result<(), FrontError> {
        self.prompter.prepare_chat(template)
    }

    /// See [`Prompter::render`].
    ///
    /// # Errors
    /// Those of that function.
    pub fn render(
        &mut self,
        messages: &[Message<'_>],
        format: &ChatFormat<'_>,
    ) -> Result<String, FrontError> {
        self.prompter.render(messages, format)
    }

    /// Counts of what has been computed so far.
    pub fn counts(&self) -> Counts {
        self.scheduler.counts()
    }

    /// Whether there is no request.
    pub fn is_idle(&self) -> bool {
        self.answers.is_empty() && self.vectors.is_empty()
    }

    /// Number of requests whose end has not been reported yet.
    pub fn n_requests(&self) -> usize {
        self.answers.len() + self.vectors.len()
    }

    /// Whether the queue has room for another request.
    pub fn has_room(&self) -> bool {
        let n_answers = self.answers.iter().filter(|answer| !answer.is_over).count();
        let n_vectors = self.vectors.iter().filter(|vectors| vectors.result.is_none()).count();
        n_answers + n_vectors < self.most_answers
    }

    /// Takes a request, which waits until there is a slot for it. `clock_us` is the clock for all times, in
    /// microseconds.
    ///
    /// # Errors
    /// If the model's vocabulary cannot be used, so that its tokens have no text; if the prompt cannot be encoded, is empty or does not fit
    /// the context; if the sampling settings, a grammar, a schema or the tool choice are invalid; if more log-probabilities are requested
    /// than allowed; if the heap has no room; if the queue is full; or if the model is an encoder. After an error a dialogue is unchanged.
    pub fn submit(
        &mut self,
        mut request: Request<'_>,
        clock_us: fn() -> u64,
    ) -> Result<RequestId, FrontError> {
        if self.scheduler.runner().model().config().is_encoder() {
            return Err(FrontError::Encoder);
        }
        // Checked first, before any costly work.
        if !self.has_room() {
            return Err(FrontError::QueueFull { n_waiting: self.scheduler.n_waiting() });
        }
        let scheduler = &mut self.scheduler;
        let needed_bytes = size_of::<Answer>();
        self.answers.try_reserve(1).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        let n_ctx = scheduler.n_positions();
        let room = Room { n_ctx, max_tokens: request.max_tokens };
        self.prompt_ids.clear();
        let n_vocab = scheduler.runner().model().config().n_vocab;
        let sampling = request.sampling.within_context(n_ctx);
        let mut biases = Vec::new();
        if request.ignore_eos {
            let tokenizer = self.prompter.tokenizer()?;
            let ends = (0..n_vocab as u32).filter(|&id| tokenizer.is_end_of_generation(id));
            let needed_bytes = (request.logit_bias.len() + ends.clone().count()) * size_of::<(u32, f32)>();
            let reserved = biases.try_reserve_exact(needed_bytes / size_of::<(u32, f32)>());
            reserved.map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
            biases.extend_from_slice(request.logit_bias);
            biases.extend(ends.map(|id| (id, f32::NEG_INFINITY)));
        }
        let biases = if request.ignore_eos { &biases[..] } else { request.logit_bias };
        let mut sampler = Sampler::with_biases(sampling, n_vocab, biases)?;
        if sampler.has(Stage::Dry) {
            sampler = sampler.with_breakers(breakers(self.prompter.tokenizer()?, request.breakers)?);
        }
        let mut encoded = self.prompter.encode(&request.prompt, room, &mut self.prompt_ids)?;
        let prompt_format = encoded.format;
        if let Some(context) = request.context {
            request.max_tokens = context.max_tokens(self.prompt_ids.len(), request.max_tokens)?;
        }
        if let Some(guide) = self.prompter.guide(&request, n_vocab, &mut encoded.format)? {
            sampler = sampler.with_guide(guide);
        }
        let start_us = clock_us();
        let mut report = new_report(self.prompt_ids.len(), request.max_tokens, n_ctx, encoded)?;
        let logprobs = request.logprobs.map(LogprobTable::new).transpose()?;
        let format = encoded.format.filter(|_| request.tell_apart);
        let text = TextStream::new(self.prompter.tokenizer()?, request.stop, format)?;
        let parser = format.map(|format| chat::parser(format, request.prompt.tools())).transpose()?;
        let work = match request.receipt {
            None => None,
            Some(compress) => {
                let usual = scheduler.runner().usual_scales();
                let scales = request.adapters.unwrap_or(usual);
                let scales = &scales[..scales.len().min(usual.len())];
                let facts = Facts::of(scheduler.runner(), n_ctx);
                let prompt = (&self.prompt_ids[..], prompt_format);
                Some(Box::new(Work::new(compress, &request, &sampling, scales, prompt, facts)?))
            }
        };
        report.work = work;
        let id = scheduler.submit(Submission {
            prompt: &self.prompt_ids,
            max_tokens: request.max_tokens,
            sampler,
            speculate: request.speculate,
            adapters: request.adapters,
        })?;
        if let (Prompt::Chat(dialogue, _), Some(forgotten)) = (request.prompt, encoded.forgotten) {
            dialogue.forget(forgotten.n_turns);
        }
        self.answers.push(Draft { text, parser, report, logprobs, trace: request.trace, start_us }.named(id));
        Ok(id)
    }

    /// Takes a text that is to become a vector, which arrives as an [`Event::Embedding`]. The text waits until there is a slot for it, and
    /// is computed together with other texts. All kinds of models can do this. Turns of a dialogue that do not fit are not part of the
    /// text.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit), and those of [`Pooling::of`](super::embedding::Pooling::of) if the file decides the pooling. A
    /// text for an encoder must fit one batch.
    pub fn submit_embedding(
        &mut self,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<RequestId, FrontError> {
        let architecture = self.runner().model().config().architecture.name;
        let options = wish.options(self.prompter.gguf(), architecture)?;
        let needed_bytes = size_of::<Vectors>();
        self.vectors.try_reserve(1).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        self.prompt_ids.clear();
        let room = Room { n_ctx: self.scheduler.n_positions(), max_tokens: 0 };
        self.prompter.encode(prompt, room, &mut self.prompt_ids)?;
        if let Some(n_tokens) = wish.max_tokens {
            ContextLimit { n_tokens, is_whole: true }.max_tokens(self.prompt_ids.len(), 0)?;
        }
        let id = self.scheduler.submit_embedding(&self.prompt_ids, options)?;
        self.vectors.push(Vectors::new(id, self.prompt_ids.len()));
        Ok(id)
    }

    /// Ends a request whose end has not been reported yet. Returns its report, with
    /// [`FinishReason::Cancelled`](crate::session::FinishReason), unless it asked for a vector. No more events of this request follow.
    pub fn cancel(&mut self, id: RequestId, clock_us: fn() -> u64) -> Option<Report> {
        self.scheduler.cancel(id);
        self.vectors.retain(|vectors| vectors.id != id);
        let index = self.answers.iter().position(|answer| answer.id == id)?;
        Some(self.answers.remove(index).cancelled(clock_us))
    }

    /// Computes one batch and reports the results. Returns the number of tokens in the batch, 0 if there is no request
    /// left.
    ///
    /// `go_on` is called twice in each layer and can break off the batch. No request is lost: the next step computes the batch again.
    /// `on_event` receives every event but [`Event::Prompt`], and can end the request that the event belongs to; its report then says
    /// [`FinishReason::Cancelled`](crate::session::FinishReason).
    ///
    /// # Errors
    /// [`SessionError::Stopped`] if `go_on` breaks off.
    pub fn step(
        &mut self,
        clock_us: fn() -> u64,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(RequestId, Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, FrontError> {
        let stepped = self.compute(clock_us, go_on, on_event);
        while let Some(answer) = self.take_finished() {
            let id = answer.id;
            if let Err(Failure { error, output }) = answer.tell_end(&mut |event| on_event(id, event)) {
                let _ = on_event(id, Event::Failed { error: &error, output: &output });
            }
        }
        while let Some((id, result)) = self.take_vectors() {
            // The request is over whether or not the caller breaks off.
            let _ = match &result {
                Ok(embedding) => on_event(id, Event::Embedding(embedding)),
                Err(error) => on_event(id, Event::Failed { error, output: "" }),
            };
        }
        Ok(stepped?)
    }

    /// Like [`step`](Self::step), but does not report the ends of requests.
    fn compute(
        &mut self,
        clock_us: fn() -> u64,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(RequestId, Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, SessionError> {
        let Self { scheduler, answers, vectors, prompter, .. } = self;
        for answer in &mut *answers {
            if answer.tell_forgotten(clock_us, on_event).is_break() {
                scheduler.cancel(answer.id);
            }
        }
        scheduler.step(go_on, &mut |id, output| {
            if let Some(vectors) = vectors.iter_mut().find(|vectors| vectors.id == id) {
                match output {
                    Output::Embedding { values } => vectors.take(values),
                    Output::Started { n_reused } => {
                        let (prompt_tokens, cached_tokens) = (vectors.n_tokens, n_reused);
                        // A break is ignored here: a caller that no longer wants the request cancels it.
                        let _ = on_event(id, Event::Started { prompt_tokens, cached_tokens });
                    }
                    _ => {}
                }
                return ControlFlow::Continue(());
            }
            if matches!(output, Output::Wanting) {
                return prompter.give_back();
            }
            // An answer exists only if the vocabulary could be used.
            let answer = answers.iter_mut().find(|answer| answer.id == id);
            let (Some(answer), Ok(tokenizer)) = (answer, prompter.tokenizer()) else {
                return ControlFlow::Break(());
            };
            match output {
                Output::Started { n_reused } => answer.start(n_reused, clock_us, on_event),
                Output::Token { token, logits, candidates } => {
                    answer.take_token(tokenizer, (token, logits, candidates), clock_us, on_event)
                }
                Output::Finished { finish, speculation } => {
                    answer.finish(finish, speculation, clock_us);
                    ControlFlow::Continue(())
                }
                Output::Embedding { .. } | Output::Wanting => ControlFlow::Continue(()),
            }
        })
    }

    /// Removes a request that is over but whose end has not been reported yet.
    fn take_finished(&mut self) -> Option<Answer> {
        let index = self.answers.iter().position(|answer| answer.is_over)?;
        Some(self.answers.remove(index))
    }

    /// Removes the result of a text that was to become a vector, if it is done and not reported yet.
    fn take_vectors(&mut self) -> Option<(RequestId, Result<Embedding, FrontError>)> {
        let index = self.vectors.iter().position(|vectors| vectors.result.is_some())?;
        let Vectors { id, result, .. } = self.vectors.remove(index);
        Some((id, result?))
    }

    /// The output so far of a request that is not over.
    pub fn output(&self, id: RequestId) -> Option<&str> {
        let answer = self.answers.iter().find(|answer| answer.id == id)?;
        Some(&answer.report.output)
    }

    /// Answers a request while there is no other. `on_event` receives every event and may end the request; the report
    /// then says [`FinishReason::Cancelled`](crate::session::FinishReason). `clock_us` is the clock for all times, in
    /// microseconds.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit), and an error if the logits are not numbers. [`FrontError::Busy`] if there are
    /// other requests.
    pub fn generate(
        &mut self,
        request: Request<'_>,
        clock_us: fn() -> u64,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, FrontError> {
        if !self.is_idle() {
            return Err(FrontError::Busy);
        }
        let id = self.submit(request, clock_us)?;
        let on_event = RefCell::new(on_event);
        let tell = |event: Event<'_>| (on_event.borrow_mut())(event);
        loop {
            let is_prompt = self.answers.iter().any(|answer| !answer.has_begun);
            let go_on = &mut || if is_prompt { tell(Event::Prompt) } else { ControlFlow::Continue(()) };
            let computed = self.compute(clock_us, go_on, &mut |_, event| tell(event));
            if let Some(answer) = self.take_finished() {
                return answer.tell_end(&mut |event| tell(event)).map_err(|failure| failure.error);
            }
            if let Err(error) = computed {
                let report = self.cancel(id, clock_us);
                let Some(report) = report.filter(|_| error == SessionError::Stopped) else {
                    return Err(error.into());
                };
                let _ = tell(Event::Finished { text: "", report: &report });
                return Ok(report);
            }
        }
    }

    /// See [`logits::run`].
    ///
    /// # Errors
    /// Those of that function, and [`FrontError::Busy`] if there are requests.
    pub fn logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), FrontError> {
        Ok(logits::run(self.idle_runner()?, tokens, on_row)?)
    }

    /// Turns a prompt into a vector while there is no other request; see [`submit_embedding`](Self::submit_embedding). `go_on` is called
    /// twice in each layer and may break off.
    ///
    /// # Errors
    /// Those of that function, [`SessionError::Stopped`] if `go_on` breaks off, and [`FrontError::Busy`] if there are other requests.
    pub fn embed(
        &mut self,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Embedding, FrontError> {
        if !self.is_idle() {
            return Err(FrontError::Busy);
        }
        let id = self.submit_embedding(prompt, wish)?;
        loop {
            let computed = self.compute(|| 0, go_on, &mut |_, _| ControlFlow::Continue(()));
            if let Some((_, result)) = self.take_vectors() {
                return result;
            }
            if let Err(error) = computed {
                self.cancel(id, || 0);
                return Err(error.into());
            }
        }
    }

    /// See [`bench::run`].
    ///
    /// # Errors
    /// Those of that function, and [`FrontError::Busy`] if there are requests.
    pub fn bench(
        &mut self,
        plan: BenchPlan,
        meter: Meter,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<BenchResult, FrontError> {
        bench::run(self.idle_runner()?, plan, meter, go_on)
    }

    /// Gives the model's adapters to the runner, and the scale of each for requests that state none; see [`Runner::set_adapters`].
    ///
    /// # Errors
    /// Those of that function, and [`FrontError::Busy`] if there are requests.
    ///
    /// # Panics
    /// Under the same conditions as that function.
    pub fn set_adapters(&mut self, adapters: Vec<LowRanks>, usual: Vec<f32>) -> Result<(), FrontError> {
        Ok(self.idle_runner()?.set_adapters(adapters, usual)?)
    }

    /// See [`Runner::take_adapters`].
    ///
    /// # Errors
    /// [`FrontError::Busy`] if there are requests.
    pub fn take_adapters(&mut self) -> Result<(Vec<LowRanks>, Vec<f32>), FrontError> {
        Ok(self.idle_runner()?.take_adapters())
    }

    /// See [`Scheduler::set_usual_scales`].
    ///
    /// # Panics
    /// Under the same conditions as that function.
    pub fn set_usual_scales(&mut self, usual: &[f32]) {
        self.scheduler.set_usual_scales(usual);
    }

    /// The runner, with all slots set to the usual adapter scales.
    fn idle_runner(&mut self) -> Result<&mut Runner<'m>, FrontError> {
        let runner = self.scheduler.idle_runner().ok_or(FrontError::Busy)?;
        // The last request may have used other scales.
        runner.adapt_as_usual();
        Ok(runner)
    }
}
