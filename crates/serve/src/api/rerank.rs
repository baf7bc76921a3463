//! Requests to rank documents by a query.

use alloc::vec::Vec;

use llm::front::vectors::ranking;
use serde::{Deserialize, Serialize};

use super::json::Text;
use super::usage::Counted;
use super::values::{Prompt, Prompts};
use crate::error::ApiError;

/// Most bytes written for a document besides its text.
const MAX_RESULT_BYTES: usize = 96;

/// The fields of a request.
#[derive(Debug, Deserialize)]
pub struct Asked<'b> {
    /// The name of a model.
    #[serde(borrow, default)]
    pub model: Option<Text<'b>>,
    /// The query that documents are ranked by.
    #[serde(borrow)]
    pub query: Text<'b>,
    /// The documents, under the name that Jina and Cohere use.
    #[serde(borrow, default)]
    documents: Option<Prompts<'b>>,
    /// The documents, under the name that Text Embeddings Inference uses. The answer then has another format.
    #[serde(borrow, default)]
    texts: Option<Prompts<'b>>,
    /// How many of the best documents the client wants.
    #[serde(default)]
    pub top_n: Option<usize>,
    /// After how many milliseconds the client no longer wants them.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

impl<'b> Asked<'b> {
    /// The documents, and whether the request calls them `texts`.
    ///
    /// # Errors
    /// If there are none, or some are not texts.
    pub fn documents(&mut self) -> Result<(Vec<Prompt<'b>>, bool), ApiError> {
        let (field, documents) = match (self.documents.take(), self.texts.take()) {
            (Some(documents), _) => ("documents", documents),
            (None, Some(texts)) => ("texts", texts),
            (None, None) => return Err(ApiError::field("documents", "expected an array of strings")),
        };
        let is_text = |document: &Prompt<'_>| matches!(document, Prompt::Text(_));
        if documents.0.is_empty() || !documents.0.iter().all(is_text) {
            return Err(ApiError::field(field, "expected an array of strings, at least one"));
        }
        Ok((documents.0, field == "texts"))
    }
}

/// The documents, best first.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer<'a> {
    /// In Jina's format.
    Results {
        /// The name of the model.
        model: &'a str,
        /// Always `list`.
        object: &'static str,
        /// Number of tokens of queries and documents.
        usage: Counted,
        /// The documents.
        results: Vec<Ranked>,
    },
    /// In the format of Text Embeddings Inference.
    Bare(Vec<Scored>),
}

/// A document's position in the request, and its score.
#[derive(Serialize)]
pub struct Ranked {
    index: usize,
    relevance_score: f32,
}

/// The same under other names.
#[derive(Serialize)]
pub struct Scored {
    index: usize,
    score: f32,
}

impl<'a> Answer<'a> {
    /// The `top_n` documents with the highest of these scores.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn new(
        model: &'a str,
        scores: &[f32],
        n_tokens: usize,
        top_n: usize,
        is_bare: bool,
    ) -> Result<Self, ApiError> {
        let best = ranking(scores).map_err(|_| ApiError::out_of_memory())?;
        let best = best.into_iter().map(|place| place as usize).take(top_n);
        if is_bare {
            let mut results = Vec::new();
            results.try_reserve_exact(best.len()).map_err(|_| ApiError::out_of_memory())?;
            results.extend(best.map(|index| Scored { index, score: scores[index] }));
            return Ok(Self::Bare(results));
        }
        let mut results = Vec::new();
        results.try_reserve_exact(best.len()).map_err(|_| ApiError::out_of_memory())?;
        results.extend(best.map(|index| Ranked { index, relevance_score: scores[index] }));
        Ok(Self::Results { model, object: "list", usage: Counted::new(n_tokens), results })
    }

    /// An upper bound of the bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Results { model, results, .. } => model.len() + results.len() * MAX_RESULT_BYTES,
            Self::Bare(results) => results.len() * MAX_RESULT_BYTES,
        }
    }
}
