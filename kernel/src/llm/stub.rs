//! The backend of a kernel without inference: it finds models and checks them, and says why it runs none.

use alloc::boxed::Box;
use core::ops::ControlFlow;

use llm::{
    front::{
        Event, Report, Request,
        bench::{BenchPlan, BenchResult},
    },
    gguf::Gguf,
    tokenizer::EncodeOptions,
};

use super::{
    BackendError, Catalog, EngineOptions, InferenceBackend, ModelMemory, ModelMetadata, Progress, Resources,
    RunsOn, Statistics,
};
use crate::offload::Offload;

/// The same interface as the real backend's. Whatever needs a loaded model is answered with
/// [`BackendError::NoInference`], never with made-up text.
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

impl InferenceBackend for StubBackend {
    fn catalog(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    fn load(
        &mut self,
        path: &str,
        _options: EngineOptions,
        _progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let file = self.catalog.find(path)?;
        self.catalog
            .with_header(file, |_| Err(BackendError::NoInference))
            .map_err(|error| error.in_file(&self.catalog.path(file)))
    }

    fn adapt(&mut self, _options: EngineOptions) -> Result<bool, BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn unload(&mut self) -> Result<(), BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn model(&self) -> Option<&ModelMetadata> {
        None
    }

    fn with_gguf(&self, _look: &mut dyn FnMut(&Gguf<'_>) -> ControlFlow<()>) -> Result<(), BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn prepare_chat(&mut self, _template: Option<&str>) -> Result<(), BackendError> {
        Err(BackendError::NoInference)
    }

    fn generate(
        &mut self,
        _request: Request<'_>,
        _on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Report, BackendError> {
        Err(BackendError::NoInference)
    }

    fn logits(
        &mut self,
        _tokens: &[u32],
        _on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        Err(BackendError::NoInference)
    }

    fn tokenize(
        &mut self,
        _texts: &[&str],
        _options: EncodeOptions,
        _on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError> {
        Err(BackendError::NoInference)
    }

    fn bench(
        &mut self,
        _plan: BenchPlan,
        _go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(BenchResult, RunsOn), BackendError> {
        Err(BackendError::NoInference)
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn memory_usage(&self) -> ModelMemory {
        ModelMemory::default()
    }

    fn offload(&mut self) -> Option<&mut (dyn Offload + 'static)> {
        self.offload.as_deref_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::host;
    use llm::front::{PROMPT_ENCODING, Prompt};
    use std::{string::ToString, vec};

    #[test]
    fn everything_that_needs_a_model_is_refused() {
        let mut stub =
            StubBackend::new(host::resources(host::pool(1 << 20), vec![("good", broken_gguf::good())]));
        let hello = Request::new(Prompt::Text("Hello", PROMPT_ENCODING), 1);
        for refusal in [
            stub.load("good", EngineOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap_err(),
            stub.generate(hello, &mut |_| ControlFlow::Continue(())).unwrap_err(),
            stub.tokenize(&["Hello"], PROMPT_ENCODING, &mut |_| ()).unwrap_err(),
            stub.logits(&[1], &mut |_| ControlFlow::Continue(())).unwrap_err(),
            stub.bench(BenchPlan::DEFAULT, &mut || ControlFlow::Continue(())).unwrap_err(),
        ] {
            assert!(refusal.to_string().contains("feature llm-transformer"), "{refusal}");
        }
        assert!(stub.model().is_none());
        assert!(stub.catalog().files()[0].header.is_ok());
    }
}
