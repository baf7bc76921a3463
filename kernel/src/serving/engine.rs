//! [`BackendEngine`]: the kernel's models, as the interface that the API uses.

use alloc::{borrow::ToOwned, format, string::String};
use core::ops::ControlFlow;

use ::llm::{
    chat::Message,
    front::{ChatFormat, Prompt, Report, Request, Responder, embedding::EmbeddingWish},
};
use ::serve::{Engine, EngineError, EngineStatus, ModelInfo};
use trust::receipt;

use crate::llm::{BackendError, InferenceBackend, Ticket, name_of};
use crate::memory::pool::Pool;

/// The models that answer requests. A request that names no model goes to the current one.
pub struct BackendEngine<'b> {
    /// The backend that runs them.
    pub backend: &'b mut dyn InferenceBackend,
    /// The pool that they are stored in.
    pub pool: &'static Pool,
}

fn refusal(error: BackendError) -> EngineError {
    match error {
        BackendError::NotLoaded | BackendError::NotAmongLoaded { .. } => EngineError::NoModel,
        BackendError::Front(error) => EngineError::Front(error),
        error => EngineError::Other(format!("{error}")),
    }
}

impl Engine for BackendEngine<'_> {
    type Ticket = Ticket;

    fn each_model(&self, tell: &mut dyn FnMut(ModelInfo)) {
        let models = self.backend.models();
        let loaded = || models.iter().filter(|status| !status.is_retiring);
        let in_order = loaded().filter(|status| status.is_current);
        for status in in_order.chain(loaded().filter(|status| !status.is_current)) {
            let metadata = status.metadata;
            tell(ModelInfo {
                name: name_of(&metadata.path).to_owned(),
                path: metadata.path.clone(),
                n_ctx: metadata.n_ctx,
                n_ctx_train: metadata.n_ctx_train,
                n_vocab: metadata.n_vocab,
                n_embd: metadata.n_embd,
                n_params: metadata.n_params,
                size_bytes: metadata.file_bytes,
                n_slots: metadata.n_parallel,
            });
        }
    }

    fn each_file(&mut self, tell: &mut dyn FnMut(&str, &str)) {
        let sound = self.backend.catalog().files().iter().filter(|file| file.is_model());
        sound.for_each(|file| tell(name_of(&file.path), &file.path));
    }

    fn status(&self) -> EngineStatus {
        let statistics = self.backend.statistics();
        let (total_bytes, free_bytes) = (self.pool.total_bytes() as u64, self.pool.free_bytes() as u64);
        let mut status = EngineStatus {
            n_prefix_hits: statistics.prefix_hits as usize,
            n_preempted: statistics.preemptions as usize,
            memory_bytes: total_bytes,
            memory_used_bytes: total_bytes - free_bytes,
            ..EngineStatus::default()
        };
        for model in self.backend.models() {
            status.n_running += model.occupancy.n_running;
            status.n_waiting += model.occupancy.n_waiting;
            status.n_pages += model.occupancy.n_pages;
            status.n_used_pages += model.occupancy.n_used_pages;
        }
        status
    }

    fn submit_embedding(
        &mut self,
        model: Option<&str>,
        prompt: &Prompt<'_>,
        wish: EmbeddingWish,
    ) -> Result<Ticket, EngineError> {
        let scales = self.backend.set_scales(model, None);
        let submitted = self.backend.submit_embedding(model, prompt, wish);
        self.backend.set_scales(model, scales);
        submitted.map_err(refusal)
    }

    fn submit(&mut self, model: Option<&str>, request: Request<'_>) -> Result<Ticket, EngineError> {
        // A shell command may have selected other adapters than the model uses for requests that select none.
        let scales = self.backend.set_scales(model, None);
        let submitted = self.backend.submit(model, request);
        self.backend.set_scales(model, scales);
        submitted.map_err(refusal)
    }

    fn record(&mut self, model: Option<&str>) -> Result<receipt::Model<'static>, EngineError> {
        self.backend.record(model, &mut |_| ControlFlow::Continue(())).map_err(refusal)
    }

    fn cancel(&mut self, ticket: Ticket) -> Option<Report> {
        self.backend.cancel(ticket)
    }

    fn id(&self, model: Option<&str>) -> Result<u64, EngineError> {
        self.backend.id(model).map_err(refusal)
    }

    fn responder(&self, model: Option<&str>) -> Result<&Responder<'_>, EngineError> {
        self.backend.responder(model).map_err(refusal)
    }

    fn render(
        &mut self,
        model: Option<&str>,
        messages: &[Message<'_>],
        format: &ChatFormat<'_>,
    ) -> Result<String, EngineError> {
        self.backend.render(model, messages, format).map_err(refusal)
    }
}
