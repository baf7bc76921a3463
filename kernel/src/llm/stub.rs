//! The backend of a kernel without inference: it finds and checks models, and says why it cannot run them.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{
    chat::Message,
    front::{
        ChatFormat, Event, Prompt, Report, Request, Responder,
        bench::{BenchPlan, BenchResult},
        embedding::EmbeddingWish,
    },
    tokenizer::EncodeOptions,
};
use trust::receipt;

use super::{
    AdapterFile, BackendError, Catalog, EngineOptions, InferenceBackend, LoadProgress, ModelMetadata,
    ModelStatus, Progress, Resources, RunsOn, Statistics, Steps, Ticket, Unloaded,
};
use crate::offload::Offload;

/// Implements the same interface as the real backend. Everything that needs a loaded model fails with
/// [`BackendError::NoInference`]; no text is ever made up.
pub struct StubBackend {
    catalog: Catalog,
    statistics: Statistics,
    offload: Option<Box<dyn Offload>>,
}

impl StubBackend {
    /// A backend for the models on these disks.
    pub fn new(resources: Resources) -> Self {
        let Resources { machine, disks, offload } = resources;
        Self {
            catalog: Catalog::new(disks, machine.pool, machine.sha256),
            statistics: Statistics::default(),
            offload,
        }
    }
}

impl Steps for StubBackend {
    fn step(
        &mut self,
        _go_on: &mut dyn FnMut() -> ControlFlow<()>,
        _on_event: &mut dyn FnMut(Ticket, Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, BackendError> {
        Ok(0)
    }
}

impl InferenceBackend for StubBackend {
    fn catalog(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    fn load(
        &mut self,
        path: &str,
        _options: EngineOptions,
        _progress: &mut LoadProgress<'_>,
    ) -> Result<(), BackendError> {
        let file = self.catalog.find(path)?;
        self.catalog
            .with_header(file, |_, _| Err(BackendError::NoInference))
            .map_err(|error| error.in_file(&self.catalog.path(file)))
    }

    fn models(&self) -> Vec<ModelStatus<'_>> {
        Vec::new()
    }

    fn select(&mut self, _name: &str) -> Result<(), BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn adapt(&mut self, _model: Option<&str>, _options: EngineOptions) -> Result<bool, BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn unload(&mut self, _model: Option<&str>) -> Result<Unloaded, BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn model(&self, _model: Option<&str>) -> Result<&ModelMetadata, BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn adapters(&self, _model: Option<&str>) -> Result<&[AdapterFile], BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn record(
        &mut self,
        _model: Option<&str>,
        _progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<receipt::Model<'static>, BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn prepare_chat(&mut self, _model: Option<&str>, _template: Option<&str>) -> Result<(), BackendError> {
        Err(BackendError::NoInference)
    }

    fn generate(
        &mut self,
        _model: Option<&str>,
        _request: Request<'_>,
        _on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, BackendError> {
        Err(BackendError::NoInference)
    }

    fn submit_embedding(
        &mut self,
        _model: Option<&str>,
        _prompt: &Prompt<'_>,
        _wish: EmbeddingWish,
    ) -> Result<Ticket, BackendError> {
        Err(BackendError::NoInference)
    }

    fn id(&self, _model: Option<&str>) -> Result<u64, BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn responder(&self, _model: Option<&str>) -> Result<&Responder<'_>, BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn render(
        &mut self,
        _model: Option<&str>,
        _messages: &[Message<'_>],
        _format: &ChatFormat<'_>,
    ) -> Result<String, BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn standing_options(&self) -> EngineOptions {
        EngineOptions::default()
    }

    fn set_standing_options(&mut self, _options: EngineOptions) {}

    fn submit(&mut self, _model: Option<&str>, _request: Request<'_>) -> Result<Ticket, BackendError> {
        Err(BackendError::NoInference)
    }

    fn output(&self, _ticket: Ticket) -> Option<&str> {
        None
    }

    fn cancel(&mut self, _ticket: Ticket) -> Option<Report> {
        None
    }

    fn logits(
        &mut self,
        _model: Option<&str>,
        _tokens: &[u32],
        _on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        Err(BackendError::NoInference)
    }

    fn tokenize(
        &mut self,
        _model: Option<&str>,
        _texts: &[&str],
        _options: EncodeOptions,
        _on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError> {
        Err(BackendError::NoInference)
    }

    fn bench(
        &mut self,
        _model: Option<&str>,
        _plan: BenchPlan,
        _go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(BenchResult, RunsOn), BackendError> {
        Err(BackendError::NoInference)
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn session_high_water_bytes(&self) -> usize {
        0
    }

    fn offload(&mut self) -> Option<&mut (dyn Offload + 'static)> {
        self.offload.as_deref_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::host;
    use llm::front::PROMPT_ENCODING;
    use std::{string::ToString, vec};

    #[test]
    fn everything_that_needs_a_model_is_refused() {
        let mut stub =
            StubBackend::new(host::resources(host::pool(1 << 20), vec![("good", broken_gguf::good())]));
        let hello = Request::new(Prompt::Text("Hello", PROMPT_ENCODING), 1);
        for refusal in [
            stub.load("good", EngineOptions::default(), &mut |_, _| ControlFlow::Continue(())).unwrap_err(),
            stub.generate(None, hello, &mut |_| ControlFlow::Continue(())).unwrap_err(),
            stub.tokenize(None, &["Hello"], PROMPT_ENCODING, &mut |_| ()).unwrap_err(),
            stub.logits(None, &[1], &mut |_| ControlFlow::Continue(())).unwrap_err(),
            stub.bench(None, BenchPlan::DEFAULT, &mut || ControlFlow::Continue(())).unwrap_err(),
        ] {
            assert!(refusal.to_string().contains("feature llm-transformer"), "{refusal}");
        }
        assert!(stub.models().is_empty());
        assert!(stub.catalog().files()[0].header.is_ok());
    }
}
