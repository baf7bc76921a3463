//! [`Embeddings`]: a request for vectors, or for ranks computed from vectors.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use llm::front::embedding::{Embedding, EmbeddingWish, Pooling};
use llm::front::{FrontError, PROMPT_ENCODING, Prompt};

use super::admission::{check_model, chosen, models};
use super::ask::Ask;
use crate::api::embeddings::{self, Encoding};
use crate::api::json;
use crate::api::rerank;
use crate::api::values;
use crate::api::wish::{MAX_CHOICES, timeout};
use crate::engine::{Engine, EngineError};
use crate::error::ApiError;

/// Texts that become vectors. Only a few are computed at a time, so that other requests get their turn.
pub(super) struct Embeddings<T> {
    model: String,
    /// The number of the model.
    model_id: u64,
    texts: Vec<Text<T>>,
    /// How many of the texts, counted from the first, have been submitted to the engine.
    n_asked: usize,
    /// When the answer is wanted at the latest.
    pub deadline_us: u64,
    wish: EmbeddingWish,
    form: Form,
}

/// The form of the answer.
enum Form {
    Vectors(Encoding),
    /// The documents ranked for a query, in the format of Text Embeddings Inference or of Jina.
    Ranks {
        query: String,
        top_n: usize,
        is_bare: bool,
    },
}

/// One of the texts.
enum Text<T> {
    /// It has not been submitted yet.
    Waiting(values::Prompt<'static>),
    /// It has been submitted.
    Asked(T),
    /// Its vector.
    Done(Embedding),
}

impl<T: Copy + PartialEq> Embeddings<T> {
    /// Submits a request for vectors to the engine.
    ///
    /// # Errors
    /// What is wrong with the request, that there is no such model, or why the engine refuses it.
    pub fn begin<E: Engine<Ticket = T>>(engine: &mut E, body: &[u8], ask: Ask) -> Result<Self, ApiError> {
        let asked: embeddings::Asked<'_> = json::read(body)?;
        if asked.input.0.is_empty() {
            return Err(ApiError::field("input", "expected at least one text"));
        }
        let models = models(engine)?;
        let name = asked.model.as_ref().map(|name| &*name.0).filter(|name| !name.is_empty());
        let model = chosen(&models, name)?;
        if asked.dimensions.is_some_and(|n| n != model.n_embd) {
            let message = format!("not supported; the vectors of this model have {} elements", model.n_embd);
            return Err(ApiError::field("dimensions", message));
        }
        let wish = EmbeddingWish { max_tokens: ask.context, ..asked.wish()? };
        let deadline_us = ask.deadline_us(timeout(asked.timeout_ms)?);
        // The body is not kept while vectors are computed.
        let texts = asked.input.0.into_iter().map(values::Prompt::into_owned);
        let form = Form::Vectors(asked.encoding_format.unwrap_or_default());
        Self::of_texts(engine, (&model.name, deadline_us), texts, wish, form)
    }

    /// Submits a request to rank documents to the engine.
    ///
    /// # Errors
    /// The same as for [`begin`](Self::begin).
    pub fn begin_ranks<E: Engine<Ticket = T>>(
        engine: &mut E,
        body: &[u8],
        ask: Ask,
    ) -> Result<Self, ApiError> {
        let mut asked: rerank::Asked<'_> = json::read(body)?;
        let (documents, is_bare) = asked.documents()?;
        let models = models(engine)?;
        let name = asked.model.as_ref().map(|name| &*name.0).filter(|name| !name.is_empty());
        let model = chosen(&models, name)?;
        let deadline_us = ask.deadline_us(timeout(asked.timeout_ms)?);
        // Each document is tokenized, after the query, when its turn comes.
        let query = json::own(&asked.query.0)?;
        let documents = documents.into_iter().map(values::Prompt::into_owned);
        let form = Form::Ranks { query, top_n: asked.top_n.unwrap_or(usize::MAX), is_bare };
        let wish = EmbeddingWish { pooling: Some(Pooling::Rank), normalise: None, max_tokens: ask.context };
        Self::of_texts(engine, (&model.name, deadline_us), documents, wish, form)
    }

    fn of_texts<E: Engine<Ticket = T>>(
        engine: &mut E,
        (model, deadline_us): (&str, u64),
        prompts: impl ExactSizeIterator<Item = Result<values::Prompt<'static>, ApiError>>,
        wish: EmbeddingWish,
        form: Form,
    ) -> Result<Self, ApiError> {
        let mut texts = Vec::new();
        texts.try_reserve_exact(prompts.len()).map_err(|_| ApiError::out_of_memory())?;
        for prompt in prompts {
            texts.push(Text::Waiting(prompt?));
        }
        let model_id = engine.id(Some(model))?;
        let mut embeddings =
            Self { model: model.into(), model_id, texts, n_asked: 0, deadline_us, wish, form };
        embeddings.submit(engine)?;
        Ok(embeddings)
    }

    /// Submits more of the texts, so that the engine has a few of them.
    ///
    /// # Errors
    /// Why the engine refuses a text, or that the model was replaced. A full queue is an error only for the first
    /// text: the others are submitted again later.
    pub fn submit<E: Engine<Ticket = T>>(&mut self, engine: &mut E) -> Result<(), ApiError> {
        if self.n_asked < self.texts.len() {
            check_model(engine, &self.model, self.model_id)?;
        }
        let mut n_left = MAX_CHOICES - self.tickets().count();
        while let (1.., Some(text)) = (n_left, self.texts.get_mut(self.n_asked)) {
            if let Text::Waiting(prompt) = text {
                let prompt = match (&*prompt, &self.form) {
                    (values::Prompt::Text(document), Form::Ranks { query, .. }) => {
                        Prompt::Pair(query, document)
                    }
                    (values::Prompt::Text(text), Form::Vectors(_)) => Prompt::Text(text, PROMPT_ENCODING),
                    (values::Prompt::Ids(ids), _) => Prompt::Ids(ids),
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

    /// The name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The tickets of the texts that the engine has.
    pub fn tickets(&self) -> impl Iterator<Item = T> {
        self.texts.iter().filter_map(|text| match text {
            Text::Asked(ticket) => Some(*ticket),
            Text::Waiting(_) | Text::Done(_) => None,
        })
    }

    /// Takes the vector of the text `ticket`.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn take(&mut self, ticket: T, embedding: &Embedding) -> Result<(), ApiError> {
        let is_it = |text: &&mut Text<T>| matches!(text, Text::Asked(other) if *other == ticket);
        if let Some(text) = self.texts.iter_mut().find(is_it) {
            *text = Text::Done(embedding.copy().map_err(|_| ApiError::out_of_memory())?);
        }
        Ok(())
    }

    /// Whether every text has its vector.
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
        let written = match self.form {
            Form::Vectors(encoding) => {
                let answer = embeddings::Answer::new(&self.model, vectors, self.texts.len(), encoding)?;
                json::write(out, &answer, answer.text_bytes())
            }
            Form::Ranks { top_n, is_bare, .. } => {
                let mut scores = Vec::new();
                scores.try_reserve_exact(self.texts.len()).map_err(|_| ApiError::out_of_memory())?;
                let mut n_tokens = 0;
                for vector in vectors {
                    scores.push(vector.values.first().copied().unwrap_or(f32::NAN));
                    n_tokens += vector.n_tokens;
                }
                let answer = rerank::Answer::new(&self.model, &scores, n_tokens, top_n, is_bare)?;
                json::write(out, &answer, answer.text_bytes())
            }
        };
        written.map_err(|_| ApiError::out_of_memory())
    }
}
