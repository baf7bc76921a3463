//! [`Embeddings`]: a request for vectors, of which one is computed at a time.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use llm::front::embedding::Embedding;
use llm::front::{FrontError, PROMPT_ENCODING, Prompt};

use super::admission::{chosen, models};
use crate::api::embeddings::{Answer, Asked, Encoding};
use crate::api::fields;
use crate::api::json;
use crate::engine::{Engine, EngineError};
use crate::error::ApiError;

/// Texts that become vectors, one at each turn, so that others are not kept waiting by the whole list.
pub(super) struct Embeddings {
    model: String,
    inputs: Vec<fields::Prompt<'static>>,
    /// Of the first inputs.
    vectors: Vec<Embedding>,
    encoding: Encoding,
}

impl Embeddings {
    /// Takes a request.
    ///
    /// # Errors
    /// What is wrong with it, or that there is no such model.
    pub fn begin<E: Engine>(engine: &E, body: &[u8]) -> Result<Self, ApiError> {
        let Asked { model, input, encoding_format, dimensions } = json::read(body)?;
        if input.0.is_empty() {
            return Err(ApiError::field("input", "expected at least one text"));
        }
        let models = models(engine);
        let name = model.as_ref().map(|name| &*name.0).filter(|name| !name.is_empty());
        let model = chosen(&models, name)?;
        if dimensions.is_some_and(|n| n != model.n_embd) {
            let message = format!("not supported; the vectors of this model have {} elements", model.n_embd);
            return Err(ApiError::field("dimensions", message));
        }
        let (mut inputs, mut vectors) = (Vec::new(), Vec::new());
        inputs.try_reserve_exact(input.0.len()).map_err(|_| ApiError::out_of_memory())?;
        vectors.try_reserve_exact(input.0.len()).map_err(|_| ApiError::out_of_memory())?;
        // The body is not kept while vectors are computed.
        for prompt in input.0 {
            inputs.push(prompt.into_owned()?);
        }
        let (model, encoding) = (model.name.clone(), encoding_format.unwrap_or_default());
        Ok(Self { model, inputs, vectors, encoding })
    }

    /// Has the engine compute the next vector; whether there is none left. While the engine has text to generate, the first one
    /// is refused and others wait.
    ///
    /// # Errors
    /// Why the engine does not compute it.
    pub fn go_on<E: Engine>(&mut self, engine: &mut E) -> Result<bool, ApiError> {
        if let Some(input) = self.inputs.get(self.vectors.len()) {
            let prompt = match input {
                fields::Prompt::Text(text) => Prompt::Text(text, PROMPT_ENCODING),
                fields::Prompt::Ids(ids) => Prompt::Ids(ids),
            };
            match engine.embed(Some(&self.model), &prompt) {
                Ok(vector) => self.vectors.push(vector),
                Err(EngineError::Front(FrontError::Busy)) if !self.vectors.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.vectors.len() == self.inputs.len())
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let answer = Answer::new(&self.model, &self.vectors, self.encoding)?;
        json::write(out, &answer, answer.text_bytes()).map_err(|_| ApiError::out_of_memory())
    }
}
