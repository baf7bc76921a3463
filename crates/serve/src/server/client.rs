//! [`Client`]: a connection and the state of its current request.

use alloc::string::String;
use alloc::vec::Vec;

use llm::front::Event;
use llm::tokenizer::Tokenizer;

use super::admission::{check, check_sealed, sealed};
use super::ask::{self, Ask};
use super::desk::Desk;
use super::embedding::Embeddings;
use super::generation::Generation;
use crate::api::refusal::Dialect;
use crate::api::route::Route;
use crate::audit::{Entry, Used};
use crate::engine::{Change, Engine, EngineError};
use crate::error::{ApiError, Status};
use crate::http::{Connection, ContentType, Head, Limits, Method, Received, Response};

/// The status that is logged if the client hung up before its answer ended, as in nginx's log.
const CLIENT_CLOSED: u16 = 499;

/// How many bytes of an answer's buffer are kept for the next answer.
const KEPT_BYTES: usize = 64 << 10;

/// A connection and the state of its current request.
pub(super) struct Client<T> {
    pub connection: Connection,
    pub state: State<T>,
    /// The number of the key that the request brought, if the server requires keys.
    pub key: Option<usize>,
    /// The format in which errors are sent.
    dialect: Dialect,
    /// The current request, and when it came.
    asked: Option<Asked>,
}

/// A request that has arrived completely.
struct Asked {
    method: Method,
    path: String,
    arrived_us: u64,
    /// The number of the computation that a model does for it, counted from 1; 0 before that.
    number: u64,
    /// The latest time at which the answer is wanted.
    deadline_us: u64,
    /// The model that the request is for, once that computation, or a change of the models, has begun.
    model: Option<String>,
    is_stream: bool,
    /// Whether a receipt of the answer is kept.
    has_receipt: bool,
    used: Used,
}

/// What a client waits for.
pub(super) enum State<T> {
    /// Nothing.
    Idle,
    /// For the engine to accept a request. Holds the request's body, or its query if it has no body.
    Queued(Route, Vec<u8>),
    /// For the change of the models with this number. It is held here until somebody carries it out.
    Changing(u64, Option<Change>),
    /// For text.
    Generating(Generation<T>),
    /// For vectors.
    Embedding(Embeddings<T>),
}

impl<T: Copy + PartialEq> Client<T> {
    /// A client that has just connected.
    pub fn new(now_us: u64, limits: &Limits) -> Self {
        Self {
            connection: Connection::new(now_us, limits),
            state: State::Idle,
            key: None,
            dialect: Dialect::default(),
            asked: None,
        }
    }

    /// Takes bytes that arrived and returns how many.
    pub fn receive(&mut self, bytes: &[u8], desk: &mut Desk<'_, T>) -> usize {
        match self.connection.receive(bytes, &desk.settings.limits) {
            Ok(n_taken) => n_taken,
            Err(error) => {
                self.connection.give_up_request();
                self.refuse(&error, desk);
                bytes.len()
            }
        }
    }

    /// The next request on the connection that has arrived completely and is accepted.
    pub fn next_request(&mut self, desk: &mut Desk<'_, T>) -> Option<(Route, Head, Vec<u8>)> {
        let settings = desk.settings;
        let (dialect, key) = (&mut self.dialect, &mut self.key);
        let received = self.connection.next_request(desk.now_us, &settings.limits, &mut |head| {
            *dialect = Dialect::of(&head.path);
            let route = check(head, settings, key)?;
            let sealed = sealed(head, settings)?;
            check_sealed(route, sealed.is_some(), settings)?;
            Ok(sealed)
        });
        let refused = match received {
            Received::Nothing => return None,
            Received::Refused(error) => error,
            Received::Request(head, body) => {
                let checked = Route::find(head.method, &head.path).and_then(|route| {
                    check_sealed(route, self.connection.is_sealed(), settings).map(|()| route)
                });
                match checked {
                    Ok(route) => return Some((route, head, body)),
                    Err(error) => error,
                }
            }
        };
        self.refuse(&refused, desk);
        None
    }

    /// Notes a request for the log.
    pub fn note(&mut self, head: &Head, now_us: u64) {
        let mut path = String::new();
        // The log can do without the path.
        if path.try_reserve_exact(head.path.len()).is_ok() {
            path.push_str(&head.path);
        }
        self.asked = Some(Asked {
            method: head.method,
            path,
            arrived_us: now_us,
            number: 0,
            deadline_us: u64::MAX,
            model: None,
            is_stream: false,
            has_receipt: false,
            used: Used::default(),
        });
    }

    /// Sends the answer that was written to the desk, or an error if there is no memory for it.
    pub fn respond(&mut self, response: &Response<'_>, desk: &mut Desk<'_, T>) {
        let body = if response.content_type.is_some() { &desk.scratch[..] } else { &[] };
        match self.connection.respond(response, body, desk.now_us, &desk.settings.limits) {
            Ok(()) => self.answered(response.status, desk),
            Err(_) => self.refuse(&ApiError::out_of_memory(), desk),
        }
    }

    /// Refuses the request with `error`.
    pub fn refuse(&mut self, error: &ApiError, desk: &mut Desk<'_, T>) {
        desk.metrics.n_refused += 1;
        let shorter = ApiError::out_of_memory();
        let is_sent = [error, &shorter].into_iter().find(|error| {
            desk.scratch.clear();
            let written = self.dialect.write(desk.scratch, error);
            let (limits, now_us) = (&desk.settings.limits, desk.now_us);
            written
                .and_then(|()| {
                    self.connection.respond(&Response::refusal(error), desk.scratch, now_us, limits)
                })
                .is_ok()
        });
        if is_sent.is_none() {
            self.connection.abort();
        }
        self.answered(is_sent.map_or(error.status, |error| error.status), desk);
    }

    fn answered(&mut self, status: Status, desk: &mut Desk<'_, T>) {
        if desk.scratch.capacity() > KEPT_BYTES {
            *desk.scratch = Vec::new();
        }
        let finish = match &self.state {
            State::Generating(generation) if status == Status::Ok => generation.finish_reason(),
            _ => None,
        };
        self.state = State::Idle;
        if let Some(asked) = self.asked.take() {
            let ms = desk.now_us.saturating_sub(asked.arrived_us) / 1000;
            log::info!("{} {} {} after {ms} ms", asked.method.name(), asked.path, status.code());
            if desk.now_us >= asked.deadline_us {
                desk.metrics.overdue.add(asked.number, desk.now_us - asked.deadline_us);
            }
            if asked.model.is_some() {
                self.record(&asked, status.code(), finish, desk);
                self.key = None;
                return;
            }
        }
        // If what comes next is not a request, it belongs to no key.
        desk.audit.refused(self.key.take(), status.code(), desk.now_us);
    }

    /// Records a request that has ended in the audit.
    fn record(&self, asked: &Asked, status: u16, finish: Option<&'static str>, desk: &mut Desk<'_, T>) {
        let entry = Entry {
            key: self.key,
            route: &asked.path,
            model: asked.model.as_deref().unwrap_or_default(),
            stream: asked.is_stream,
            receipt: asked.has_receipt,
            status,
            finish,
            used: asked.used,
            duration_us: desk.now_us.saturating_sub(asked.arrived_us),
        };
        // A request without any tokens is charged one. Otherwise nothing would bound how many lines a key can add.
        if asked.used.prompt + asked.used.completion == 0 {
            desk.accounts.charge(self.key, 1, desk.now_us);
        }
        let moment = desk.moment();
        desk.audit.add(&desk.settings.keys, &entry, moment);
    }

    /// The connection is gone.
    pub fn hang_up(&mut self, desk: &mut Desk<'_, T>) {
        self.give_up(desk);
        if let Some(asked) = self.asked.take().filter(|asked| asked.model.is_some()) {
            self.record(&asked, CLIENT_CLOSED, Some("cancelled"), desk);
        }
    }

    /// Whether text or vectors are being computed for this client.
    pub fn is_generating(&self) -> bool {
        matches!(self.state, State::Generating(_) | State::Embedding(_))
    }

    /// The number of the computation that a model does for this client.
    pub fn computed_number(&self) -> Option<u64> {
        self.asked.as_ref().filter(|_| self.is_generating()).map(|asked| asked.number)
    }

    /// Whether a model computes for this client, or will when its turn comes.
    pub fn is_computed_for(&self) -> bool {
        self.is_generating() || matches!(&self.state, State::Queued(route, _) if route.computes())
    }

    /// What a model is asked for, under this number.
    pub fn ask(&mut self, number: u64, desk: &Desk<'_, T>) -> Ask {
        let key = self.key.and_then(|key| desk.settings.keys.all().get(key));
        let context = key.and_then(|key| key.limits.context).map(|n_tokens| n_tokens as usize);
        let arrived_us = self.asked.as_mut().map_or(desk.now_us, |asked| {
            asked.number = number;
            asked.arrived_us
        });
        Ask { number, arrived_us, now_us: desk.now_us, context, is_sealed: self.connection.is_sealed() }
    }

    /// Begins a computation of a model, or a change of the models.
    pub fn begin(&mut self, state: State<T>) {
        let (deadline_us, model, is_stream) = match &state {
            State::Generating(generation) => {
                (generation.deadline_us, generation.model(), generation.is_stream())
            }
            State::Embedding(embeddings) => (embeddings.deadline_us, embeddings.model(), false),
            State::Changing(_, Some(Change::Load(name) | Change::Unload(name))) => (u64::MAX, &**name, false),
            State::Idle | State::Queued(..) | State::Changing(_, None) => (u64::MAX, "", false),
        };
        if let Some(asked) = &mut self.asked {
            let mut name = String::new();
            // The audit can do without the name.
            if name.try_reserve_exact(model.len()).is_ok() {
                name.push_str(model);
            }
            (asked.deadline_us, asked.model, asked.is_stream) = (deadline_us, Some(name), is_stream);
        }
        self.state = state;
    }

    /// Ends an answer whose time is up. Whatever has been generated is sent.
    fn check_deadline(&mut self, desk: &mut Desk<'_, T>) {
        match &mut self.state {
            State::Generating(generation) if generation.is_overdue(desk.now_us) => {
                if !generation.has_tokens() {
                    return self.fail(&ask::missed(), desk);
                }
                desk.unwanted.extend(generation.tickets());
                match generation.cut(desk.now_us) {
                    Ok(()) => self.relay(None, desk),
                    Err(error) => self.fail(&error, desk),
                }
            }
            State::Embedding(embeddings) if desk.now_us >= embeddings.deadline_us => {
                self.fail(&ask::missed(), desk);
            }
            _ => {}
        }
    }

    /// Charges what was computed to the client's key.
    fn charge(&mut self, event: &Event<'_>, desk: &mut Desk<'_, T>) {
        let n_tokens = match event {
            Event::Started { prompt_tokens, cached_tokens } => prompt_tokens.saturating_sub(*cached_tokens),
            Event::Token { .. } => 1,
            _ => return,
        };
        if let Some(Asked { used, .. }) = &mut self.asked {
            match event {
                Event::Started { cached_tokens, .. } => {
                    used.cached += cached_tokens;
                    used.prompt += n_tokens + cached_tokens;
                }
                _ => used.completion += n_tokens,
            }
        }
        desk.accounts.charge(self.key, n_tokens, desk.now_us);
        self.connection.rate = desk.accounts.rate(self.key, desk.now_us);
    }

    /// Whether the client waits for the request `ticket`.
    pub fn has(&self, ticket: T) -> bool {
        match &self.state {
            State::Generating(generation) => generation.has(ticket),
            State::Embedding(embeddings) => embeddings.tickets().any(|other| other == ticket),
            State::Idle | State::Queued(..) | State::Changing(..) => false,
        }
    }

    /// Stops waiting; whatever is being computed is no longer wanted.
    pub fn give_up(&mut self, desk: &mut Desk<'_, T>) {
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Generating(generation) => desk.unwanted.extend(generation.tickets()),
            State::Embedding(embeddings) => desk.unwanted.extend(embeddings.tickets()),
            State::Idle | State::Queued(..) | State::Changing(..) => {}
        }
    }

    /// Checks the time limits.
    pub fn check_time(&mut self, desk: &mut Desk<'_, T>) {
        if let Some(error) = self.connection.check_time(desk.now_us, &desk.settings.limits) {
            self.refuse(&error, desk);
        } else if let State::Generating(generation) = &mut self.state {
            generation.keep_alive(&mut self.connection, desk.now_us);
        }
        self.check_deadline(desk);
    }

    /// Does what needs the engine: submits the remaining answers of a request for several, or more texts of a list,
    /// and sends tokens, which needs the vocabulary.
    pub fn go_on<E: Engine<Ticket = T>>(&mut self, engine: &mut E, desk: &mut Desk<'_, T>) {
        if let State::Embedding(embeddings) = &mut self.state {
            if let Err(error) = embeddings.submit(engine) {
                self.fail(&error, desk);
            }
            return;
        }
        let State::Generating(generation) = &mut self.state else { return };
        if let Err(error) = generation.submit_others(engine) {
            self.fail(&error, desk);
            return;
        }
        match generation.vocabulary(engine) {
            Ok(None) => {}
            Ok(vocabulary) => self.relay(vocabulary, desk),
            Err(error) => self.fail(&error, desk),
        }
    }

    /// Sends the vectors once all of them are there.
    fn end_embeddings(&mut self, desk: &mut Desk<'_, T>) {
        let State::Embedding(embeddings) = &self.state else { return };
        if !embeddings.is_finished() {
            return;
        }
        desk.scratch.clear();
        match embeddings.write(desk.scratch) {
            Ok(()) => self.respond(&Response::ok(ContentType::Json), desk),
            Err(error) => self.refuse(&error, desk),
        }
    }

    /// Handles an event that the engine reports for a request of this client.
    pub fn event(&mut self, ticket: T, event: &Event<'_>, desk: &mut Desk<'_, T>) {
        self.charge(event, desk);
        if let State::Embedding(embeddings) = &mut self.state {
            desk.metrics.add(event);
            let taken = match event {
                Event::Embedding(embedding) => embeddings.take(ticket, embedding),
                Event::Failed { error, .. } => Err(EngineError::Front((*error).clone()).into()),
                _ => Ok(()),
            };
            match taken {
                Ok(()) => self.end_embeddings(desk),
                Err(error) => self.fail(&error, desk),
            }
            return;
        }
        let State::Generating(generation) = &mut self.state else { return };
        let taken = match event {
            Event::Failed { error, .. } => {
                generation.drop_ticket(ticket);
                Err(EngineError::Front((*error).clone()).into())
            }
            event => {
                desk.metrics.add(event);
                let signed = match event {
                    Event::Finished { report, .. } => generation.sign(ticket, report, self.key, desk),
                    _ => Ok(false),
                };
                signed.and_then(|has_receipt| {
                    if let Some(asked) = &mut self.asked {
                        asked.has_receipt |= has_receipt;
                    }
                    generation.take(ticket, event, desk.now_us)
                })
            }
        };
        match taken {
            Ok(()) => self.relay(None, desk),
            Err(error) => self.fail(&error, desk),
        }
        self.check_deadline(desk);
    }

    /// Sends as much as the connection takes, and ends the answer if that was all.
    pub fn relay(&mut self, vocabulary: Option<&Tokenizer<'_>>, desk: &mut Desk<'_, T>) {
        let State::Generating(generation) = &mut self.state else { return };
        let Desk { scratch, settings, now_us, .. } = desk;
        generation.relay(&mut self.connection, scratch, vocabulary, &settings.limits, *now_us);
        if !self.connection.is_answering() {
            // There was no memory for the text that was to be sent.
            self.give_up(desk);
            return;
        }
        if !generation.is_finished(vocabulary) {
            return;
        }
        desk.scratch.clear();
        let written = generation.write_end(desk.scratch, vocabulary);
        match (written, generation.is_stream()) {
            (Ok(()), true) => {
                self.connection.send(desk.scratch);
                self.end_stream(Status::Ok, desk);
            }
            (Ok(()), false) => self.respond(&Response::ok(ContentType::Json), desk),
            (Err(_), true) => self.connection.abort(),
            (Err(_), false) => self.refuse(&ApiError::out_of_memory(), desk),
        }
    }

    /// Ends an answer with an error.
    pub fn fail(&mut self, error: &ApiError, desk: &mut Desk<'_, T>) {
        if let State::Embedding(_) = self.state {
            self.give_up(desk);
            return self.refuse(error, desk);
        }
        let State::Generating(mut generation) = core::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        desk.unwanted.extend(generation.tickets());
        if generation.has_begun() {
            desk.scratch.clear();
            let own = generation.write_failure(desk.scratch, error);
            match own.unwrap_or_else(|| self.dialect.write_event(desk.scratch, error)) {
                Ok(()) => self.connection.send(desk.scratch),
                Err(_) => self.connection.abort(),
            }
            self.end_stream(error.status, desk);
        } else {
            self.refuse(error, desk);
        }
    }

    fn end_stream(&mut self, status: Status, desk: &mut Desk<'_, T>) {
        self.connection.end_stream(desk.now_us, &desk.settings.limits);
        self.answered(status, desk);
    }
}
