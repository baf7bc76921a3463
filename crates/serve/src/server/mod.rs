//! [`Server`]: connections, their requests and the answers.
//!
//! A server does nothing by itself. Its owner
//!
//! 1. passes on what arrives: [`accept`](Server::accept), [`receive`](Server::receive),
//!    [`half_close`](Server::half_close), [`remove`](Server::remove);
//! 2. lets it use the engine: [`serve`](Server::serve);
//! 3. has the engine compute a batch, and reports the results to the server: [`event`](Server::event);
//! 4. makes the [changes](Server::next_change) of the models that clients ask for;
//! 5. sends the [unsent bytes](Server::unsent), closes connections that [are over](Server::is_over), and tells the
//!    server the [time](Server::check_time).
//!
//! The first and the last step may happen while a batch is computed: requests that need no engine (`/health`,
//! `/metrics`, and all that are refused) are answered at once.
//!
//! # Layers
//!
//! | module | what it is |
//! |---|---|
//! | `client` | a connection and what happens on it |
//! | `generation`, `embedding` | a request for text, or for vectors, that is being answered |
//! | `infill`, `receipt_wish` | gaps as prompts; what receipts say, and their signing |
//! | `question` | requests that are answered at once |
//! | `admission` | which requests are wanted |
//! | `ask` | a request for what a model computes |
//! | `desk` | what a client needs of the server |
//! | `accounts` | what keys have used, and whether they may have more |
//! | `metrics`, `receipts`, `settings` | figures; receipts of the last answers; what a server is set to |

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use llm::front::Event;
use trust::notary::Notary;

use crate::api::route::Route;
use crate::api::wish::MAX_CHOICES;
use crate::audit::Audit;
use crate::engine::{Change, Engine};
use crate::error::ApiError;
use crate::http::Connection;

mod accounts;
mod admission;
mod ask;
mod client;
mod desk;
mod embedding;
mod generation;
mod infill;
mod metrics;
mod question;
mod receipt_wish;
mod receipts;
mod settings;

use accounts::Accounts;
use client::{Client, State};
use desk::Desk;
use embedding::Embeddings;
use generation::Generation;
use metrics::Metrics;
use receipts::Receipts;

pub use metrics::Overdue;
pub use settings::Settings;

/// Identifies a connection until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(usize);

/// Identifies a change of the models until it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeId {
    index: usize,
    number: u64,
}

/// Connections, their requests and the answers.
pub struct Server<T> {
    settings: Settings,
    clients: Vec<Option<Client<T>>>,
    /// Clients with a request for the engine, in order of arrival.
    queue: VecDeque<usize>,
    /// Requests that nobody waits for any more.
    unwanted: Vec<T>,
    metrics: Metrics,
    accounts: Accounts,
    audit: Audit,
    receipts: Receipts,
    n_answers: u64,
    /// The last time that the server was told.
    now_us: u64,
    /// The buffer in which answers are written before they are sent; reused for each answer.
    scratch: Vec<u8>,
}

impl<T: Copy + PartialEq> Server<T> {
    /// A server without connections that starts now.
    ///
    /// # Errors
    /// If there is no memory for its tables.
    pub fn new(settings: Settings, now_us: u64) -> Result<Self, ApiError> {
        let n = settings.max_connections;
        let (mut clients, mut queue, mut unwanted) = (Vec::new(), VecDeque::new(), Vec::new());
        let n_choices = n.saturating_mul(MAX_CHOICES);
        clients.try_reserve_exact(n).map_err(|_| ApiError::out_of_memory())?;
        queue.try_reserve_exact(n).map_err(|_| ApiError::out_of_memory())?;
        unwanted.try_reserve_exact(n_choices).map_err(|_| ApiError::out_of_memory())?;
        clients.resize_with(n, || None);
        let accounts = Accounts::new(&settings.keys)?;
        let audit = Audit::new(&settings.keys, settings.moment(now_us))?;
        let (metrics, receipts, scratch) = (Metrics::default(), Receipts::default(), Vec::new());
        Ok(Self {
            settings,
            clients,
            queue,
            unwanted,
            metrics,
            accounts,
            audit,
            receipts,
            n_answers: 0,
            now_us,
            scratch,
        })
    }

    /// Uses another [nonce](Settings::nonce) for the names of answers from here on. This is for a server that may
    /// have been copied.
    pub fn rename(&mut self, nonce: u64) {
        self.settings.nonce = nonce;
    }

    /// Sets the time at which the clock of `now_us` started, in seconds since the beginning of 1970; `None` if nobody
    /// knows. This is for a machine that was stopped in between.
    pub fn set_start(&mut self, start_unix_s: Option<u64>) {
        self.settings.start_unix_s = start_unix_s;
    }

    /// Uses another notary from here on, to sign receipts and to open bodies. Sealed exchanges end at once: a copy of
    /// this server may continue them, and if two texts are sealed as the same chunk, both can be read.
    pub fn set_notary(&mut self, notary: Option<Rc<Notary>>) {
        self.settings.notary = notary;
        let connections = self.clients.iter_mut().flatten().map(|client| &mut client.connection);
        connections.filter(|connection| connection.holds_sealed()).for_each(Connection::abort);
    }

    /// Takes a new connection. Returns `None` if there are as many as allowed: then the one that has waited longest
    /// for a request [is over](Self::is_over), and there is room once it has been [removed](Self::remove), or all of
    /// them are being answered.
    pub fn accept(&mut self, now_us: u64) -> Option<ConnectionId> {
        let Some(index) = self.clients.iter().position(Option::is_none) else {
            let waiting = self.clients.iter_mut().flatten().map(|client| &mut client.connection);
            let waiting = waiting.filter(|connection| connection.is_waiting());
            if let Some(oldest) = waiting.min_by_key(|connection| connection.since_us()) {
                oldest.abort();
            }
            return None;
        };
        self.clients[index] = Some(Client::new(now_us, &self.settings.limits));
        self.metrics.n_connections += 1;
        Some(ConnectionId(index))
    }

    /// The connection is gone. Its requests are no longer wanted.
    pub fn remove(&mut self, id: ConnectionId) {
        if let Some((client, mut desk)) = self.client(id, self.now_us) {
            client.hang_up(&mut desk);
        }
        self.clients[id.0] = None;
        self.queue.retain(|&index| index != id.0);
    }

    /// Takes bytes that arrived on a connection and returns how many. Offer the others again.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8], now_us: u64) -> usize {
        let Some((client, mut desk)) = self.client(id, now_us) else { return bytes.len() };
        let n_taken = client.receive(bytes, &mut desk);
        self.go_on(id, now_us);
        n_taken
    }

    /// The client will send nothing more, but waits for its answer.
    pub fn half_close(&mut self, id: ConnectionId) {
        if let Some((client, _)) = self.client(id, 0) {
            client.connection.half_close();
        }
    }

    /// Whether bytes that arrive on the connection now would be taken.
    pub fn takes_bytes(&self, id: ConnectionId) -> bool {
        let limits = &self.settings.limits;
        self.clients[id.0].as_ref().is_none_or(|client| client.connection.takes_bytes(limits))
    }

    /// Bytes that are to be sent on a connection.
    pub fn unsent(&self, id: ConnectionId) -> &[u8] {
        self.clients[id.0].as_ref().map_or(&[], |client| client.connection.unsent())
    }

    /// The first `n` unsent bytes were sent.
    pub fn sent(&mut self, id: ConnectionId, n: usize, now_us: u64) {
        let Some((client, mut desk)) = self.client(id, now_us) else { return };
        client.connection.sent(n, now_us);
        client.relay(None, &mut desk);
        self.go_on(id, now_us);
    }

    /// Whether nothing more will be sent on a connection: close it, and then [remove](Self::remove) it.
    pub fn is_over(&self, id: ConnectionId) -> bool {
        self.clients[id.0].as_ref().is_none_or(|client| client.connection.is_over())
    }

    /// Checks the time limits: refuses requests that took too long to arrive, ends connections that wait for nothing,
    /// and sends a sign of life on streams that were silent for a while.
    pub fn check_time(&mut self, now_us: u64) {
        self.now_us = now_us;
        self.audit.settle(&self.settings.keys, self.settings.moment(now_us));
        for index in 0..self.clients.len() {
            if let Some((client, mut desk)) = self.client(ConnectionId(index), now_us) {
                client.check_time(&mut desk);
            }
        }
        // Memory of the request given up last is freed only after the engine has been told and has finished its
        // current computation.
        if self.unwanted.is_empty() && (self.settings.is_memory_low)() {
            self.give_up_last();
        }
    }

    /// Gives up the request that came last, for lack of memory.
    fn give_up_last(&mut self) {
        let computed = self.clients.iter().enumerate();
        let last =
            computed.filter_map(|(index, client)| Some((client.as_ref()?.computed_number()?, index))).max();
        let Some((_, index)) = last else { return };
        let Some((client, mut desk)) = self.client(ConnectionId(index), self.now_us) else { return };
        client.fail(&ApiError::out_of_memory(), &mut desk);
        self.go_on(ConnectionId(index), self.now_us);
    }

    /// The log of who asked for what and how it ended.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Answers that missed their deadline.
    pub fn overdue(&self) -> &Overdue {
        &self.metrics.overdue
    }

    /// Number of connections.
    pub fn n_connections(&self) -> usize {
        self.clients.iter().flatten().count()
    }

    /// Whether text or vectors that somebody waits for are being computed.
    pub fn is_generating(&self) -> bool {
        self.clients.iter().flatten().any(Client::is_generating)
    }

    /// Tells the engine which requests are no longer wanted, and submits those that wait for it.
    pub fn serve<E: Engine<Ticket = T>>(&mut self, engine: &mut E, now_us: u64) {
        for ticket in self.unwanted.drain(..) {
            engine.cancel(ticket);
        }
        self.metrics.status = engine.status();
        // Requests that come in meanwhile wait for the next call, so that a client with many requests stalls nobody.
        for _ in 0..self.queue.len() {
            let Some(index) = self.queue.pop_front() else { break };
            self.ask(engine, ConnectionId(index), now_us);
            self.go_on(ConnectionId(index), now_us);
        }
        for index in 0..self.clients.len() {
            if let Some((client, mut desk)) = self.client(ConnectionId(index), now_us) {
                client.go_on(engine, &mut desk);
            }
            self.go_on(ConnectionId(index), now_us);
        }
    }

    /// Has the engine answer a waiting request at once, or accept it.
    fn ask<E: Engine<Ticket = T>>(&mut self, engine: &mut E, id: ConnectionId, now_us: u64) {
        self.n_answers += 1;
        let number = self.n_answers;
        let Some((client, mut desk)) = self.client(id, now_us) else { return };
        let State::Queued(route, asked) = core::mem::replace(&mut client.state, State::Idle) else { return };
        let answered = match route {
            _ if (desk.settings.is_memory_low)() => Err(ApiError::out_of_memory()),
            Route::Generate(shape) => {
                Generation::begin(engine, shape, asked, client.ask(number, &desk), desk.settings)
                    .map(|generation| client.begin(State::Generating(generation)))
            }
            Route::Embeddings => Embeddings::begin(engine, &asked, client.ask(number, &desk))
                .map(|embeddings| client.begin(State::Embedding(embeddings))),
            Route::Rerank => Embeddings::begin_ranks(engine, &asked, client.ask(number, &desk))
                .map(|embeddings| client.begin(State::Embedding(embeddings))),
            Route::Load | Route::Unload => question::change(route, &asked)
                .map(|change| client.begin(State::Changing(number, Some(change)))),
            _ => question::answer(engine, route, &asked, &mut desk)
                .map(|response| client.respond(&response, &mut desk)),
        };
        if let Err(error) = answered {
            client.refuse(&error, &mut desk);
        }
    }

    /// The oldest change of the models that was asked for, if any. The owner of the models makes it and then [reports
    /// it](Self::changed).
    pub fn next_change(&mut self) -> Option<(ChangeId, Change)> {
        let waiting = self.clients.iter_mut().enumerate().filter_map(|(index, client)| {
            let State::Changing(number, change @ Some(_)) = &mut client.as_mut()?.state else { return None };
            Some((ChangeId { index, number: *number }, change))
        });
        let (id, change) = waiting.min_by_key(|(id, _)| id.number)?;
        Some((id, change.take()?))
    }

    /// Whether somebody still waits for a change that is being made.
    pub fn is_wanted(&self, ChangeId { index, number }: ChangeId) -> bool {
        let client = self.clients[index].as_ref();
        client.is_some_and(|client| matches!(client.state, State::Changing(own, None) if own == number))
    }

    /// Reports that a change has been made, or why not.
    pub fn changed(&mut self, change: ChangeId, made: Result<(), ApiError>, now_us: u64) {
        let id = ConnectionId(change.index);
        if !self.is_wanted(change) {
            return;
        }
        let Some((client, mut desk)) = self.client(id, now_us) else { return };
        match made.and_then(|()| question::success(&mut desk)) {
            Ok(response) => client.respond(&response, &mut desk),
            Err(error) => client.refuse(&error, &mut desk),
        }
        self.go_on(id, now_us);
    }

    /// Handles an event that the engine reports for a request. Returns whether the request is to go on.
    pub fn event(&mut self, ticket: T, event: &Event<'_>, now_us: u64) -> ControlFlow<()> {
        let has_ticket =
            |client: &Option<Client<T>>| client.as_ref().is_some_and(|client| client.has(ticket));
        let Some(index) = self.clients.iter().position(has_ticket) else { return ControlFlow::Break(()) };
        let id = ConnectionId(index);
        let Some((client, mut desk)) = self.client(id, now_us) else { return ControlFlow::Break(()) };
        client.event(ticket, event, &mut desk);
        let is_wanted = client.has(ticket);
        self.go_on(id, now_us);
        match is_wanted {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    /// Handles the requests that have arrived on a connection, as long as they can be answered at once.
    fn go_on(&mut self, id: ConnectionId, now_us: u64) {
        let mut desk = Desk {
            settings: &self.settings,
            scratch: &mut self.scratch,
            metrics: &mut self.metrics,
            accounts: &mut self.accounts,
            audit: &mut self.audit,
            receipts: &mut self.receipts,
            unwanted: &mut self.unwanted,
            now_us,
        };
        loop {
            let Some(client) = &mut self.clients[id.0] else { return };
            let Some((route, head, body)) = client.next_request(&mut desk) else { return };
            desk.metrics.n_requests += 1;
            let n_open = self.clients.iter().flatten().count();
            let Some(client) = &mut self.clients[id.0] else { return };
            client.note(&head, now_us);
            let key = client.key;
            if let (Some(key), true) = (key, route.computes()) {
                let others = self.clients.iter().flatten();
                let n_running =
                    others.filter(|other| other.key == Some(key) && other.is_computed_for()).count();
                let admitted = desk.accounts.admit(&self.settings.keys, key, n_running, now_us);
                let Some(client) = &mut self.clients[id.0] else { return };
                client.connection.rate = desk.accounts.rate(Some(key), now_us);
                if let Err(error) = admitted {
                    client.refuse(&error, &mut desk);
                    continue;
                }
            }
            let Some(client) = &mut self.clients[id.0] else { return };
            let sealed_body = client.connection.is_sealed().then_some(&*body);
            match question::answer_alone(route, &head, key, sealed_body, &mut desk, n_open) {
                Some(Ok(response)) => client.respond(&response, &mut desk),
                Some(Err(error)) => client.refuse(&error, &mut desk),
                None => {
                    let asked = if route.shows() { head.query.into_bytes() } else { body };
                    client.state = State::Queued(route, asked);
                    self.queue.push_back(id.0);
                }
            }
        }
    }

    /// A client, and the parts of the server that it uses.
    fn client(&mut self, id: ConnectionId, now_us: u64) -> Option<(&mut Client<T>, Desk<'_, T>)> {
        let desk = Desk {
            settings: &self.settings,
            scratch: &mut self.scratch,
            metrics: &mut self.metrics,
            accounts: &mut self.accounts,
            audit: &mut self.audit,
            receipts: &mut self.receipts,
            unwanted: &mut self.unwanted,
            now_us,
        };
        Some((self.clients[id.0].as_mut()?, desk))
    }
}
