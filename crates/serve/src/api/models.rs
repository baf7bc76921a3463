//! The list of models.

use alloc::vec::Vec;

use serde::Serialize;

use crate::engine::ModelInfo;
use crate::error::ApiError;

/// Most bytes of what is said of a model beside its name.
const MAX_ENTRY_BYTES: usize = 512;

/// The models, as OpenAI lists them; `meta` is llama.cpp's.
#[derive(Serialize)]
pub struct ModelList<'m> {
    object: &'static str,
    data: Vec<ListedModel<'m>>,
}

#[derive(Serialize)]
struct ListedModel<'m> {
    id: &'m str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    meta: Meta,
}

#[derive(Serialize)]
struct Meta {
    n_ctx: usize,
    n_ctx_train: usize,
    n_vocab: usize,
    n_embd: usize,
    n_params: u64,
    size: u64,
    n_slots: usize,
}

impl<'m> ModelList<'m> {
    /// The list of these.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(models: &'m [ModelInfo], created: u64) -> Result<Self, ApiError> {
        let mut data = Vec::new();
        data.try_reserve_exact(models.len()).map_err(|_| ApiError::out_of_memory())?;
        data.extend(models.iter().map(|model| ListedModel {
            id: &model.name,
            object: "model",
            created,
            owned_by: "ferrite",
            meta: Meta {
                n_ctx: model.n_ctx,
                n_ctx_train: model.n_ctx_train,
                n_vocab: model.n_vocab,
                n_embd: model.n_embd,
                n_params: model.n_params,
                size: model.size_bytes,
                n_slots: model.n_slots,
            },
        }));
        Ok(Self { object: "list", data })
    }

    /// Bytes of its texts, at most.
    pub fn text_bytes(&self) -> usize {
        self.data.iter().map(|model| model.id.len() + MAX_ENTRY_BYTES).sum()
    }
}
