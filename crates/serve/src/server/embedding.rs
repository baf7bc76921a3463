//! [`Embeddings`]: a request for vectors.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use llm::front::embedding::{Embedding, EmbeddingWish};
use llm::front::{FrontError, PROMPT_ENCODING, Prompt};

use super::admission::{chosen, models};
use crate::api::embeddings::{Answer, Asked, Encoding};
use crate::api::fields;
use crate::api::json;
use crate::api::wish::MAX_CHOICES;
use crate::engine::{Engine, EngineError};
use crate::error::ApiError;

/// Texts that become vectors, a few at a time, so that others have their turn.
pub(super) struct Embeddings<T> {
    model: String,
    texts: Vec<Text<T>>,
    /// How many of them, the first ones, the engine has been asked for.
    n_asked: usize,
    wish: EmbeddingWish,
    encoding: Encoding,
}

/// One of the texts.
enum Text<T> {
    /// The engine is to be asked.
    Waiting(fields::Prompt<'static>),
    /// It has been asked.
    Asked(T),
    /// Its vector.
    Done(Embedding),
}

impl<T: Copy + PartialEq> Embeddings<T> {
    /// Has the engine take a request.
    ///
    /// # Errors
    /// What is wrong with it, that there is no such model, or why the engine does not take it.
    pub fn begin<E: Engine<Ticket = T>>(engine: &mut E, body: &[u8]) -> Result<Self, ApiError> {
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
        let mut texts = Vec::new();
        texts.try_reserve_exact(input.0.len()).map_err(|_| ApiError::out_of_memory())?;
        // The body is not kept while vectors are computed.
        for prompt in input.0 {
            texts.push(Text::Waiting(prompt.into_owned()?));
        }
        let (model, encoding) = (model.name.clone(), encoding_format.unwrap_or_default());
        let mut embeddings = Self { model, texts, n_asked: 0, wish: EmbeddingWish::default(), encoding };
        embeddings.submit(engine)?;
        Ok(embeddings)
    }

    /// Has the engine take more of the texts, so that it has a few of them.
    ///
    /// # Errors
    /// Why it does not take one. If its queue is full that is an error of the first only: the others are asked for again.
    pub fn submit<E: Engine<Ticket = T>>(&mut self, engine: &mut E) -> Result<(), ApiError> {
        let mut n_left = MAX_CHOICES - self.tickets().count();
        while let (1.., Some(text)) = (n_left, self.texts.get_mut(self.n_asked)) {
            if let Text::Waiting(prompt) = text {
                let prompt = match prompt {
                    fields::Prompt::Text(text) => Prompt::Text(text, PROMPT_ENCODING),
                    fields::Prompt::Ids(ids) => Prompt::Ids(ids),
                };
                match engine.submit_embedding(Some(&self.model), &prompt, self.wish) {
                    Ok(ticket) => *text = Text::Asked(ticket),
                    Err(EngineError::Front(FrontError::QueueFull { .. })) if self.n_asked > 0 => break,
                    Err(error) => return Err(error.into()),
                }
            }
            self.n_asked += 1;
            n_left -= 1;
        }
        Ok(())
    }

    /// The names of the texts that the engine has.
    pub fn tickets(&self) -> impl Iterator<Item = T> {
        self.texts.iter().filter_map(|text| match text {
            Text::Asked(ticket) => Some(*ticket),
            Text::Waiting(_) | Text::Done(_) => None,
        })
    }

    /// Takes the vector of the text of this name.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn take(&mut self, ticket: T, embedding: &Embedding) -> Result<(), ApiError> {
        let is_it = |text: &&mut Text<T>| matches!(text, Text::Asked(other) if *other == ticket);
        if let Some(text) = self.texts.iter_mut().find(is_it) {
            let mut values = Vec::new();
            values.try_reserve_exact(embedding.values.len()).map_err(|_| ApiError::out_of_memory())?;
            values.extend_from_slice(&embedding.values);
            *text = Text::Done(Embedding { values, n_tokens: embedding.n_tokens });
        }
        Ok(())
    }

    /// Whether there is a vector of each text.
    pub fn is_finished(&self) -> bool {
        self.texts.iter().all(|text| matches!(text, Text::Done(_)))
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let vectors = self.texts.iter().filter_map(|text| match text {
            Text::Done(embedding) => Some(embedding),
            Text::Waiting(_) | Text::Asked(_) => None,
        });
        let answer = Answer::new(&self.model, vectors, self.texts.len(), self.encoding)?;
        json::write(out, &answer, answer.text_bytes()).map_err(|_| ApiError::out_of_memory())
    }
}
