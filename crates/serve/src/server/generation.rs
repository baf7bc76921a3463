//! [`Generation`]: a request for text that is being answered.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use llm::chat::Part;
use llm::front::{ContextLimit, Event, FrontError, LogprobWish, PROMPT_ENCODING, Prompt, Report, Request};
use llm::sampling::SamplingConfig;
use llm::session::FinishReason;
use llm::tokenizer::Tokenizer;

use super::admission::{check_model, chosen, models};
use super::ask::Ask;
use super::desk::Desk;
use super::infill;
use super::question::of_tokenizer;
use super::receipt_wish::ReceiptWish;
use super::settings::Settings;
use crate::api::answer::{Answer, finish_reason};
use crate::api::blocks::Blocks;
use crate::api::fields::{AdapterScale, Fields};
use crate::api::json;
use crate::api::logprobs::{LogprobLog, Told};
use crate::api::route::Shape;
use crate::api::said::{messages_of, refuse_begun};
use crate::api::told::{End, Name};
use crate::api::usage::{Timings, Usage};
use crate::api::wish::{Asked, Wish};
use crate::engine::{Engine, EngineError};
use crate::error::ApiError;
use crate::http::{Connection, ContentType, Limits, Response};

/// After this long without text, a stream sends a sign of life, so that nobody takes the connection for dead.
const SILENCE_US: u64 = 5_000_000;

/// A request for text that is being answered.
pub(super) struct Generation<T> {
    answer: Answer,
    /// The number of the model.
    model_id: u64,
    /// The request's body, until all its answers have been submitted.
    body: Vec<u8>,
    /// The answers, `n_of_each` for each prompt.
    choices: Vec<Choice<T>>,
    n_of_each: usize,
    /// How many of them have been submitted to the engine.
    n_asked: usize,
    seed: u64,
    speculate: usize,
    /// Most tokens of prompt and answer together, if limited.
    context: Option<usize>,
    /// What receipts say besides the answers, if receipts are wanted.
    receipt: Option<Box<ReceiptWish>>,
    is_stream: bool,
    /// What is sent about the tokens, if anything; this needs the vocabulary.
    logprobs: Option<LogprobWish>,
    /// Whether text, thoughts and calls are sent separately.
    is_apart: bool,
    /// Whether the head of the answer has been sent.
    has_begun: bool,
    /// When the request arrived.
    arrived_us: u64,
    /// The latest time at which the answer ends.
    pub deadline_us: u64,
    /// Whether that time has come.
    is_cut: bool,
    told_us: u64,
    usage: Usage,
}

/// One of the answers.
struct Choice<T> {
    /// The ticket of the answer, until it ends.
    ticket: Option<T>,
    /// The parts that have arrived and are not sent yet.
    blocks: Blocks,
    /// The tokens that have arrived and are not sent yet, if they were asked for.
    log: LogprobLog,
    /// Whether the prompt has been counted.
    is_started: bool,
    /// Number of tokens of the prompt, and how many of them were in the cache.
    prompt: (usize, usize),
    /// Number of tokens that have arrived.
    n_tokens: usize,
    /// When the first of them arrived.
    first_us: u64,
    /// Whether the last token is counted as part of a thought.
    is_thought: bool,
    /// Whether the stream has announced the answer's beginning.
    is_begin_told: bool,
    /// Why it ended, and its times.
    end: Option<(FinishReason, Timings)>,
    /// The stop string that ended it.
    stop: String,
    /// Whether the stream has announced its end.
    is_end_told: bool,
}

impl<T: Copy + PartialEq> Generation<T> {
    /// Submits a request for text to the engine.
    ///
    /// # Errors
    /// What is wrong with the request, or why the engine refuses it.
    pub fn begin<E: Engine<Ticket = T>>(
        engine: &mut E,
        shape: Shape,
        body: Vec<u8>,
        ask: Ask,
        settings: &Settings,
    ) -> Result<Self, ApiError> {
        let Ask { number, arrived_us, now_us, context, is_sealed } = ask;
        let fields: Fields<'_> = json::read(&body)?;
        let mut wish = Wish::new(shape, &fields)?;
        if let (Shape::Messages, Some(Asked::Messages(said))) = (shape, wish.prompts.first()) {
            refuse_begun(said)?;
        }
        let models = models(engine)?;
        let model = chosen(&models, wish.model)?;
        let deadline_us = ask.deadline_us(wish.timeout_ms);
        infill::encode(engine, &model.name, &mut wish, context)?;
        let kind = match shape {
            Shape::Chat => "chatcmpl-",
            Shape::Completion | Shape::Native | Shape::Infill => "cmpl-",
            Shape::Messages => "msg_",
            Shape::Responses => "resp_",
        };
        let name = Name {
            id: format!("{kind}{:016x}{number:08x}", settings.nonce),
            created: settings.unix_s(now_us),
            model: model.name.clone(),
        };
        let receipt = if wish.receipt {
            Some(Box::new(ReceiptWish::new(engine, &model.name, wish.nonce, is_sealed, settings)?))
        } else {
            None
        };
        let answer = Answer { shape, name, include_usage: wish.include_usage, n_events: 0 };
        let mut choices = Vec::new();
        let n_choices = wish.prompts.len() * wish.n;
        choices.try_reserve_exact(n_choices).map_err(|_| ApiError::out_of_memory())?;
        for prompt in &wish.prompts {
            let echo =
                if wish.echo { text_of(engine, &answer.name.model, prompt)? } else { Cow::Borrowed("") };
            for _ in 0..wish.n {
                let mut choice = Choice::new(&echo, !wish.tools.is_empty())?;
                choice.blocks.says_once = answer.tells_blocks();
                choices.push(choice);
            }
        }
        let model_id = engine.id(Some(&answer.name.model))?;
        let mut generation = Self {
            answer,
            model_id,
            body: Vec::new(),
            choices,
            n_of_each: wish.n,
            n_asked: 0,
            seed: wish.seed.unwrap_or_else(settings.random),
            speculate: settings.speculate,
            context,
            receipt,
            is_stream: wish.stream,
            logprobs: wish.logprobs,
            is_apart: wish.is_apart,
            has_begun: false,
            arrived_us,
            deadline_us,
            is_cut: false,
            told_us: now_us,
            usage: Usage::default(),
        };
        generation.submit_up_to(1, engine, &wish).map_err(|error| wish.refusal(error))?;
        generation.keep_until_asked(body);
        Ok(generation)
    }

    /// Submits the answers before number `end`, in order. The first answer to each prompt computes the prompt for the others.
    ///
    /// # Errors
    /// Why the engine refuses an answer. A full queue is an error only for the first one: the others are submitted again later.
    fn submit_up_to<E: Engine<Ticket = T>>(
        &mut self,
        end: usize,
        engine: &mut E,
        wish: &Wish<'_>,
    ) -> Result<(), EngineError> {
        while self.n_asked < end {
            let (prompt, number) = (self.n_asked / self.n_of_each, self.n_asked % self.n_of_each);
            let seed = self.seed.wrapping_add(number as u64);
            match submit(engine, &self.answer.name.model, wish, &wish.prompts[prompt], seed, self) {
                Ok(ticket) => self.choices[self.n_asked].ticket = Some(ticket),
                Err(EngineError::Front(FrontError::QueueFull { .. })) if self.n_asked > 0 => break,
                Err(error) => return Err(error),
            }
            self.n_asked += 1;
        }
        Ok(())
    }

    fn keep_until_asked(&mut self, body: Vec<u8>) {
        self.body = if self.n_asked < self.choices.len() { body } else { Vec::new() };
    }

    /// The vocabulary of the model, if it is needed to send what has arrived.
    ///
    /// # Errors
    /// If the model is gone, or its vocabulary cannot be used.
    pub fn vocabulary<'e, E: Engine<Ticket = T>>(
        &self,
        engine: &'e E,
    ) -> Result<Option<&'e Tokenizer<'e>>, ApiError> {
        if self.logprobs.is_none() {
            return Ok(None);
        }
        check_model(engine, self.model(), self.model_id)?;
        Ok(Some(engine.tokenizer(Some(&self.answer.name.model))?))
    }

    /// Submits the answers after the first. They queue behind the first answers to other requests.
    ///
    /// # Errors
    /// Why the engine refuses an answer, or that the model has been replaced.
    pub fn submit_others<E: Engine<Ticket = T>>(&mut self, engine: &mut E) -> Result<(), ApiError> {
        if self.n_asked == self.choices.len() {
            return Ok(());
        }
        check_model(engine, self.model(), self.model_id)?;
        let body = core::mem::take(&mut self.body);
        let fields: Fields<'_> = json::read(&body)?;
        let mut wish = Wish::new(self.answer.shape, &fields)?;
        infill::encode(engine, &self.answer.name.model, &mut wish, self.context)?;
        self.submit_up_to(self.choices.len(), engine, &wish).map_err(|error| wish.refusal(error))?;
        self.keep_until_asked(body);
        Ok(())
    }

    /// The name of the model.
    pub fn model(&self) -> &str {
        &self.answer.name.model
    }

    /// Why the first answer ended: in OpenAI's words, or that its time was up.
    pub fn finish_reason(&self) -> Option<&'static str> {
        let choice = self.choices.first()?;
        let (reason, _) = choice.end?;
        Some(if self.is_cut { "deadline" } else { finish_reason(reason, choice.blocks.has_calls()) })
    }

    /// The tickets of the answers that have not ended.
    pub fn tickets(&self) -> impl Iterator<Item = T> {
        self.choices.iter().filter_map(|choice| choice.ticket)
    }

    /// Whether one of the answers has this ticket.
    pub fn has(&self, ticket: T) -> bool {
        self.tickets().any(|other| other == ticket)
    }

    /// The engine no longer has the answer `ticket`.
    pub fn drop_ticket(&mut self, ticket: T) {
        for choice in &mut self.choices {
            choice.ticket = choice.ticket.filter(|other| *other != ticket);
        }
    }

    /// Whether the head of the answer has been sent.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the client wants the answer as it is generated.
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Signs and keeps the receipt of an answer that has ended, if one is wanted. It is kept under the answer's name; `.1` is
    /// added to the name for the second answer, and so on. Returns whether a receipt was wanted.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn sign(
        &mut self,
        ticket: T,
        report: &Report,
        key: Option<usize>,
        desk: &mut Desk<'_, T>,
    ) -> Result<bool, ApiError> {
        let index = self.choices.iter().position(|choice| choice.ticket == Some(ticket));
        let (Some(wanted), Some(index)) = (&mut self.receipt, index) else { return Ok(false) };
        let id = &self.answer.name.id;
        let id = if index == 0 { id.clone() } else { format!("{id}.{index}") };
        wanted.sign(id, report, key, desk)
    }

    /// Handles an event that the engine reports.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn take(&mut self, ticket: T, event: &Event<'_>, now_us: u64) -> Result<(), ApiError> {
        let Some(index) = self.choices.iter().position(|choice| choice.ticket == Some(ticket)) else {
            return Ok(());
        };
        let is_first = index.is_multiple_of(self.n_of_each);
        let choice = &mut self.choices[index];
        match event {
            Event::Started { prompt_tokens, cached_tokens } => {
                choice.is_started = true;
                choice.prompt = (*prompt_tokens, *cached_tokens);
                if is_first {
                    self.usage.start(*prompt_tokens, *cached_tokens);
                }
            }
            Event::Part(Part::Reasoning(_)) if !core::mem::replace(&mut choice.is_thought, true) => {
                self.usage.reasoning_tokens += 1;
            }
            Event::Token { .. } => {
                choice.n_tokens += 1;
                if choice.n_tokens == 1 {
                    choice.first_us = now_us;
                }
            }
            _ => {}
        }
        match event {
            Event::Part(part) => choice.blocks.take(part, &self.answer.name.id, index)?,
            event if self.is_apart => choice.blocks.note_raw(event.text())?,
            event => choice.blocks.say(event.text())?,
        }
        choice.is_thought &= !matches!(event, Event::Token { .. });
        if let Event::Token { id, logprobs: Some(logprobs), .. } = event {
            choice.log.push(*id, logprobs)?;
        }
        if let Event::Finished { report, .. } = event {
            choice.finish(report.finish_reason, Timings::new(report), &report.output)?;
            choice.stop.try_reserve_exact(report.stop.len()).map_err(|_| ApiError::out_of_memory())?;
            choice.stop.push_str(&report.stop);
            if is_first && !choice.is_started {
                self.usage.start(report.prompt_tokens, report.cached_tokens);
            }
            self.usage.add(report.tokens_emitted);
        }
        Ok(())
    }

    /// Whether the time of the answer is up although it has not ended.
    pub fn is_overdue(&self, now_us: u64) -> bool {
        now_us >= self.deadline_us && self.choices.iter().any(|choice| choice.end.is_none())
    }

    /// Whether a token has arrived.
    pub fn has_tokens(&self) -> bool {
        self.choices.iter().any(|choice| choice.n_tokens > 0 || choice.end.is_some())
    }

    /// Ends all answers with what has arrived, as if they had reached their length limit. The engine is to forget their tickets.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn cut(&mut self, now_us: u64) -> Result<(), ApiError> {
        for choice in self.choices.iter_mut().filter(|choice| choice.end.is_none()) {
            let (n_tokens, first_us) =
                (choice.n_tokens, if choice.n_tokens == 0 { now_us } else { choice.first_us });
            let (prompt_tokens, cached_tokens) = choice.prompt;
            let prompt_us = first_us.saturating_sub(self.arrived_us);
            let timings = Timings::of(
                (prompt_tokens, cached_tokens, prompt_us),
                (n_tokens, now_us.saturating_sub(first_us)),
            );
            choice.finish(FinishReason::MaxTokens, timings, "")?;
            self.usage.add(n_tokens);
        }
        self.is_cut = true;
        self.n_asked = self.choices.len();
        self.body = Vec::new();
        Ok(())
    }

    /// Sends as much of a stream as the client takes; text that waits is gathered into larger pieces. Without the `vocabulary`,
    /// tokens wait if they are to be sent.
    pub fn relay(
        &mut self,
        connection: &mut Connection,
        scratch: &mut Vec<u8>,
        vocabulary: Option<&Tokenizer<'_>>,
        limits: &Limits,
        now_us: u64,
    ) {
        if !self.is_stream || (self.logprobs.is_some() && vocabulary.is_none()) {
            return;
        }
        for index in 0..self.choices.len() {
            let has_room = connection.unsent().len() < limits.outbox_bytes;
            let choice = &self.choices[index];
            let begins = self.answer.begins_early() && choice.is_started && !choice.is_begin_told;
            let has_news =
                begins || choice.blocks.has_news() || (choice.end.is_some() && !choice.is_end_told);
            if !has_room || !has_news {
                continue;
            }
            self.begin_stream(connection);
            scratch.clear();
            match self.write_news(index, scratch, vocabulary) {
                Ok(()) => connection.send(scratch),
                Err(_) => connection.abort(),
            }
            self.told_us = now_us;
        }
    }

    /// Writes what is new in an answer.
    fn write_news(
        &mut self,
        index: usize,
        out: &mut Vec<u8>,
        vocabulary: Option<&Tokenizer<'_>>,
    ) -> fmt::Result {
        let choice = &mut self.choices[index];
        if !core::mem::replace(&mut choice.is_begin_told, true) {
            self.answer.begin(out, index, self.usage)?;
        }
        if choice.blocks.has_news() {
            let told = told(&self.answer, &choice.log, vocabulary, self.logprobs);
            self.answer.news(out, index, &mut choice.blocks, told)?;
            if let Some(vocabulary) = vocabulary {
                choice.log.clear(vocabulary);
            }
        }
        if let (Some((reason, timings)), false) = (choice.end, choice.is_end_told) {
            choice.is_end_told = true;
            // Log-probabilities of tokens after the last piece of text.
            let logprobs = match choice.log.is_empty() {
                true => Told::default(),
                false => told(&self.answer, &choice.log, vocabulary, self.logprobs),
            };
            let end = End { blocks: &choice.blocks, reason, stop: &choice.stop, timings, logprobs };
            self.answer.end(out, index, &end, self.usage)?;
        }
        Ok(())
    }

    fn begin_stream(&mut self, connection: &mut Connection) {
        if !core::mem::replace(&mut self.has_begun, true) {
            connection.begin_stream(&Response::ok(ContentType::EventStream));
        }
    }

    /// Sends a sign of life on a stream that has been silent for long.
    pub fn keep_alive(&mut self, connection: &mut Connection, now_us: u64) {
        if self.is_stream && connection.unsent().is_empty() && now_us > self.told_us + SILENCE_US {
            self.begin_stream(connection);
            connection.send(self.answer.nothing().as_bytes());
            self.told_us = now_us;
        }
    }

    /// Writes the event that ends a stream with an error. Returns `None` if the shape has no such event.
    pub fn write_failure(&mut self, out: &mut Vec<u8>, error: &ApiError) -> Option<fmt::Result> {
        let blocks = &self.choices.first()?.blocks;
        self.answer.fail(out, blocks, error)
    }

    /// Whether all answers have ended, and a stream has announced it. Without the `vocabulary`, an answer with tokens still to be
    /// sent has not ended.
    pub fn is_finished(&self, vocabulary: Option<&Tokenizer<'_>>) -> bool {
        if self.logprobs.is_some() && vocabulary.is_none() {
            return false;
        }
        let is_over = |choice: &Choice<T>| choice.end.is_some() && (!self.is_stream || choice.is_end_told);
        self.choices.iter().all(is_over)
    }

    /// Writes a whole answer, or the end of a stream.
    pub fn write_end(&self, out: &mut Vec<u8>, vocabulary: Option<&Tokenizer<'_>>) -> fmt::Result {
        let timings = self.choices.first().and_then(|choice| Some(choice.end?.1)).unwrap_or_default();
        if self.is_stream {
            return self.answer.finish(out, self.usage, timings);
        }
        let mut ends = Vec::new();
        ends.try_reserve_exact(self.choices.len()).map_err(|_| fmt::Error)?;
        ends.extend(self.choices.iter().filter_map(|choice| {
            let (reason, timings) = choice.end?;
            let logprobs = told(&self.answer, &choice.log, vocabulary, self.logprobs);
            Some(End { blocks: &choice.blocks, reason, stop: &choice.stop, timings, logprobs })
        }));
        self.answer.whole(out, &ends, self.usage)
    }
}

impl<T> Choice<T> {
    /// An answer that begins with this text, and may call tools.
    fn new(begin: &str, may_call: bool) -> Result<Self, ApiError> {
        let mut blocks = Blocks::new(may_call);
        blocks.say(begin)?;
        Ok(Self {
            ticket: None,
            blocks,
            log: LogprobLog::default(),
            is_started: false,
            prompt: (0, 0),
            n_tokens: 0,
            first_us: 0,
            is_thought: false,
            is_begin_told: false,
            end: None,
            stop: String::new(),
            is_end_told: false,
        })
    }
}

impl<T> Choice<T> {
    /// The answer has ended for this reason; `output` is all that the model wrote, as far as that is known.
    fn finish(&mut self, reason: FinishReason, timings: Timings, output: &str) -> Result<(), ApiError> {
        let is_cut =
            matches!(reason, FinishReason::MaxTokens | FinishReason::ContextFull | FinishReason::StopString);
        self.blocks.finish(output, is_cut)?;
        self.ticket = None;
        self.end = Some((reason, timings));
        Ok(())
    }
}

/// The tokens that have arrived, if they are to be sent.
fn told<'t>(
    answer: &Answer,
    log: &'t LogprobLog,
    vocabulary: Option<&'t Tokenizer<'t>>,
    wish: Option<LogprobWish>,
) -> Told<'t> {
    match (vocabulary, wish) {
        (Some(vocabulary), Some(wish)) => Told::new(log, vocabulary, answer.shape, wish),
        _ => Told::default(),
    }
}

/// A prompt as a text.
fn text_of<'p>(engine: &impl Engine, model: &str, prompt: &Asked<'p>) -> Result<Cow<'p, str>, ApiError> {
    match prompt {
        Asked::Messages(_) | Asked::Gap(_) => Ok(Cow::Borrowed("")),
        Asked::Text(text) => Ok(Cow::Borrowed(text)),
        Asked::Ids(ids) => {
            let text = engine.tokenizer(Some(model))?.decode_text(ids);
            Ok(Cow::Owned(text.map_err(|error| of_tokenizer("prompt", error))?))
        }
    }
}

/// The factor of each adapter of a model.
fn scales(engine: &impl Engine, model: &str, asked: &[AdapterScale]) -> Result<Vec<f32>, EngineError> {
    let n_adapters = engine.responder(Some(model))?.runner().adapters().len();
    let mut scales = Vec::new();
    let needed_bytes = n_adapters * size_of::<f32>();
    scales.try_reserve_exact(n_adapters).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    scales.resize(n_adapters, 0.0);
    for &AdapterScale { id, scale } in asked {
        let own = scales.get_mut(id as usize).ok_or(FrontError::NoAdapter { id, n_adapters })?;
        *own = scale;
    }
    Ok(scales)
}

/// Submits one answer to a prompt of a request.
fn submit<E: Engine>(
    engine: &mut E,
    model: &str,
    wish: &Wish<'_>,
    prompt: &Asked<'_>,
    seed: u64,
    &Generation { speculate, context, ref receipt, .. }: &Generation<E::Ticket>,
) -> Result<E::Ticket, EngineError> {
    let messages;
    let prompt = match prompt {
        Asked::Messages(said) => {
            messages = messages_of(said)
                .map_err(|_| FrontError::OutOfHeap { needed_bytes: size_of_val(&said[..]) })?;
            Prompt::Messages(&messages, wish.format())
        }
        Asked::Text(text) => Prompt::Text(text, PROMPT_ENCODING),
        Asked::Ids(ids) => Prompt::Ids(ids),
        // The gap has already become ids.
        Asked::Gap(_) => Prompt::Ids(&[]),
    };
    let adapters = wish.adapters.map(|asked| scales(engine, model, asked)).transpose()?;
    let request = Request {
        adapters: adapters.as_deref(),
        context: context.map(|n_tokens| ContextLimit { n_tokens, is_whole: wish.names_max_tokens }),
        max_tokens: wish.max_tokens,
        sampling: SamplingConfig { seed, ..wish.sampling },
        logit_bias: wish.logit_bias,
        breakers: &wish.breakers,
        ignore_eos: wish.ignore_eos,
        logprobs: wish.logprobs,
        stop: &wish.stop,
        speculate,
        grammar: wish.grammar,
        tool_choice: wish.engine_choice(),
        parallel_tool_calls: wish.parallel_tool_calls,
        thinking_budget: wish.thinking_budget,
        tell_apart: wish.is_apart,
        receipt: receipt.as_ref().map(|wanted| wanted.compress()),
        ..Request::new(prompt, wish.max_tokens)
    };
    engine.submit(Some(model), request)
}
