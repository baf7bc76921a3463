//! The backend of a kernel without inference: it finds models and checks them, and says why it runs none.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::ops::ControlFlow;

use llm::{chat::Dialogue, kv_cache::KvType, sampling::SamplingConfig, tokenizer::EncodeOptions};

use super::{
    BackendError, BenchPlan, BenchResult, Catalog, ChatFormat, InferenceBackend, InferenceResult,
    ModelMemory, ModelMetadata, Platform, Progress, Statistics,
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
    /// A backend for the models on `platform`'s disks.
    pub fn new(platform: Platform) -> Self {
        Self {
            catalog: Catalog::new(platform.disks, platform.pool, platform.sha256),
            statistics: Statistics::default(),
            offload: platform.offload,
        }
    }
}

impl InferenceBackend for StubBackend {
    fn name(&self) -> &'static str {
        "stub"
    }

    fn catalog(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    fn load_model_with(
        &mut self,
        path: &str,
        _n_ctx: Option<usize>,
        _progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let file = self.catalog.find(path)?;
        self.catalog
            .with_header(file, |_| Err(BackendError::NoInference))
            .map_err(|error| error.in_file(&self.catalog.path(file)))
    }

    fn unload(&mut self) -> Result<(), BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn is_loaded(&self) -> bool {
        false
    }

    fn model_metadata(&self) -> Option<&ModelMetadata> {
        None
    }

    fn set_sampling_config(&mut self, config: SamplingConfig) -> Result<(), BackendError> {
        Ok(config.validate()?)
    }

    fn set_stop_strings(&mut self, _stop: Vec<String>) {}

    fn set_context_length(&mut self, _n_ctx: usize) -> Result<(), BackendError> {
        Err(BackendError::NotLoaded)
    }

    fn set_kv_type(&mut self, _kv_type: KvType) -> Result<(), BackendError> {
        Ok(())
    }

    fn set_speculation(&mut self, _n_speculated: usize) {}

    fn set_verbose(&mut self, _verbose: bool) {}

    fn infer_streaming(
        &mut self,
        _prompt: &str,
        _max_tokens: usize,
        _on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<InferenceResult, BackendError> {
        Err(BackendError::NoInference)
    }

    fn prepare_chat(&mut self, _template: Option<&str>) -> Result<(), BackendError> {
        Err(BackendError::NoInference)
    }

    fn chat_streaming(
        &mut self,
        _dialogue: &mut Dialogue,
        _format: &ChatFormat<'_>,
        _max_tokens: usize,
        _on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<InferenceResult, BackendError> {
        Err(BackendError::NoInference)
    }

    fn logits(
        &mut self,
        _tokens: &[u32],
        _on_row: &mut dyn FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        Err(BackendError::NoInference)
    }

    fn tokenize_with(
        &mut self,
        _texts: &[&str],
        _options: EncodeOptions,
        _on_ids: &mut dyn FnMut(&[u32]),
    ) -> Result<(), BackendError> {
        Err(BackendError::NoInference)
    }

    fn detokenize(&self, _ids: &[u32]) -> Result<String, BackendError> {
        Err(BackendError::NoInference)
    }

    fn bench(
        &mut self,
        _plan: BenchPlan,
        _go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<BenchResult, BackendError> {
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
    use std::{string::ToString, vec};

    #[test]
    fn everything_that_needs_a_model_is_refused() {
        let mut stub =
            StubBackend::new(host::platform(host::pool(1 << 20), vec![("good", broken_gguf::good())]));
        for refusal in [
            stub.load_model("good").unwrap_err(),
            stub.infer("Hello", 1).unwrap_err(),
            stub.tokenize("Hello").unwrap_err(),
            stub.logits(&[1], &mut |_| ControlFlow::Continue(())).unwrap_err(),
            stub.detokenize(&[1]).unwrap_err(),
            stub.bench(BenchPlan { n_prompt: 1, n_generate: 1, depth: 0, n_runs: 1 }, &mut || {
                ControlFlow::Continue(())
            })
            .unwrap_err(),
        ] {
            assert!(refusal.to_string().contains("feature llm-transformer"), "{refusal}");
        }
        assert!(!stub.is_loaded());
        assert!(stub.catalog().files()[0].header.is_ok());
    }
}
