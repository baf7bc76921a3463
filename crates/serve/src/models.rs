//! [`Models`]: an [`Engine`] of several models, each with its own [`Responder`].

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use llm::chat::Message;
use llm::front::embedding::EmbeddingWish;
use llm::front::{ChatFormat, Event, FrontError, Prompt, Report, Request, RequestId, Responder};
use trust::receipt;

use crate::engine::{Engine, EngineError, EngineStatus, ModelInfo};

/// A model that answers requests. It hides where the data that it borrows is stored.
pub trait Model {
    /// Its name and properties.
    fn info(&self) -> &ModelInfo;

    /// Its responder.
    fn responder(&self) -> &Responder<'_>;

    /// Its description in receipts.
    ///
    /// # Errors
    /// Why that is not known, in one line.
    fn record(&mut self) -> Result<receipt::Model<'static>, String>;

    /// Calls `work` with its responder.
    fn with_responder<R>(&mut self, work: impl FnOnce(&mut Responder<'_>) -> R) -> R;
}

/// Identifies a request from its submission to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    model: u64,
    request: RequestId,
}

/// The models. The first one answers requests that name none.
pub struct Models<M> {
    entries: Vec<Entry<M>>,
    n_added: u64,
    /// The number of the model that computed the last batch.
    last_turn: u64,
    clock_us: fn() -> u64,
}

struct Entry<M> {
    model: M,
    /// Its number, counting all models that were ever added.
    id: u64,
    /// Whether it has been removed or replaced, and only finishes its requests.
    is_retiring: bool,
}

impl<M: Model> Models<M> {
    /// An engine without models. `clock_us` gives the time in microseconds.
    pub fn new(clock_us: fn() -> u64) -> Self {
        Self { entries: Vec::new(), n_added: 0, last_turn: 0, clock_us }
    }

    /// Adds a model. It replaces a model of the same name, which finishes its requests and is then dropped.
    pub fn add(&mut self, model: M) {
        self.n_added += 1;
        let place = self.index(Some(&model.info().name));
        if let Ok(index) = place {
            self.entries[index].is_retiring = true;
        }
        let entry = Entry { model, id: self.n_added, is_retiring: false };
        self.entries.insert(place.unwrap_or(self.entries.len()), entry);
        self.sweep();
    }

    /// Removes the model of this name, or the first model. It finishes its requests and is then dropped.
    ///
    /// # Errors
    /// [`EngineError::NoModel`].
    pub fn remove(&mut self, name: Option<&str>) -> Result<(), EngineError> {
        let index = self.index(name)?;
        self.entries[index].is_retiring = true;
        self.sweep();
        Ok(())
    }

    /// The model of this name, or the first model.
    ///
    /// # Errors
    /// [`EngineError::NoModel`].
    pub fn get_mut(&mut self, name: Option<&str>) -> Result<&mut M, EngineError> {
        let index = self.index(name)?;
        Ok(&mut self.entries[index].model)
    }

    /// Whether no model has a request.
    pub fn is_idle(&self) -> bool {
        self.entries.iter().all(Entry::is_idle)
    }

    /// Computes a batch of the next model that has requests, and reports the results. Returns the number of tokens in the batch.
    /// See [`Responder::step`].
    ///
    /// # Errors
    /// See [`Responder::step`].
    pub fn step(
        &mut self,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(Ticket, Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, FrontError> {
        let (clock_us, last) = (self.clock_us, self.last_turn);
        let busy = self.entries.iter_mut().filter(|entry| !entry.is_idle());
        // Models after the last one come first.
        let Some(next) = busy.min_by_key(|entry| (entry.id <= last, entry.id)) else { return Ok(0) };
        let model = next.id;
        self.last_turn = model;
        let stepped = next.model.with_responder(|responder| {
            responder.step(clock_us, go_on, &mut |request, event| on_event(Ticket { model, request }, event))
        });
        self.sweep();
        stepped
    }

    fn index(&self, name: Option<&str>) -> Result<usize, EngineError> {
        let is_it =
            |entry: &Entry<M>| !entry.is_retiring && name.is_none_or(|name| entry.model.info().name == name);
        self.entries.iter().position(is_it).ok_or(EngineError::NoModel)
    }

    fn sweep(&mut self) {
        self.entries.retain(|entry| !entry.is_retiring || !entry.is_idle());
    }
}

impl<M: Model> Entry<M> {
    fn is_idle(&self) -> bool {
        self.model.responder().is_idle()
    }
}

impl<M: Model> Engine for Models<M> {
    type Ticket = Ticket;

    fn each_model(&self, tell: &mut dyn FnMut(ModelInfo)) {
        let loaded = self.entries.iter().filter(|entry| !entry.is_retiring);
        loaded.for_each(|entry| tell(entry.model.info().clone()));
    }

    fn status(&self) -> EngineStatus {
        let mut status = EngineStatus::default();
        for scheduler in self.entries.iter().map(|entry| entry.model.responder().scheduler()) {
            let counts = scheduler.counts();
            status.n_running += scheduler.n_running();
            status.n_waiting += scheduler.n_waiting();
            status.n_pages += scheduler.n_pages();
            status.n_used_pages += scheduler.n_used_pages();
            status.n_prefix_hits += counts.n_prefix_hits;
            status.n_preempted += counts.n_preempted;
        }
        status
    }

    fn id(&self, model: Option<&str>) -> Result<u64, EngineError> {
        Ok(self.entries[self.index(model)?].id)
    }

    fn submit(&mut self, model: Option<&str>, request: Request<'_>) -> Result<Ticket, EngineError> {
        let clock_us = self.clock_us;
        let index = self.index(model)?;
        let Entry { model, id, .. } = &mut self.entries[index];
        let request = model.with_responder(|responder| responder.submit(request, clock_us))?;
        Ok(Ticket { model: *id, request })
    }

    fn submit_embedding(
        &mut self,
        model: Option<&str>,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<Ticket, EngineError> {
        let index = self.index(model)?;
        let Entry { model, id, .. } = &mut self.entries[index];
        let request = model.with_responder(|responder| responder.submit_embedding(prompt, wish))?;
        Ok(Ticket { model: *id, request })
    }

    fn record(&mut self, model: Option<&str>) -> Result<receipt::Model<'static>, EngineError> {
        self.get_mut(model)?.record().map_err(EngineError::Other)
    }

    fn cancel(&mut self, ticket: Ticket) -> Option<Report> {
        let clock_us = self.clock_us;
        let entry = self.entries.iter_mut().find(|entry| entry.id == ticket.model)?;
        let report = entry.model.with_responder(|responder| responder.cancel(ticket.request, clock_us));
        self.sweep();
        report
    }

    fn responder(&self, model: Option<&str>) -> Result<&Responder<'_>, EngineError> {
        Ok(self.entries[self.index(model)?].model.responder())
    }

    fn render(
        &mut self,
        model: Option<&str>,
        messages: &[Message<'_>],
        format: &ChatFormat<'_>,
    ) -> Result<String, EngineError> {
        Ok(self.get_mut(model)?.with_responder(|responder| responder.render(messages, format))?)
    }
}
