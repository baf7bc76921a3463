//! The lists of models.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use crate::engine::ModelInfo;
use crate::error::ApiError;

/// Most bytes written for a model besides its name and path.
const MAX_ENTRY_BYTES: usize = 512;

/// The models, in OpenAI's format; `path`, `status` and `meta` are llama.cpp's.
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
    path: &'m str,
    status: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
}

#[derive(Serialize)]
struct State {
    value: &'static str,
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
    /// The list of the loaded models, and of the files, by name and path, that are not loaded.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(
        models: &'m [ModelInfo],
        files: &'m [(String, String)],
        created: u64,
    ) -> Result<Self, ApiError> {
        let mut data = Vec::new();
        data.try_reserve_exact(models.len() + files.len()).map_err(|_| ApiError::out_of_memory())?;
        let listed = |id, path, value, meta| ListedModel {
            id,
            object: "model",
            created,
            owned_by: "ferrite",
            path,
            status: State { value },
            meta,
        };
        data.extend(models.iter().map(|model| {
            let &ModelInfo { n_ctx, n_ctx_train, n_vocab, n_embd, n_params, size_bytes, n_slots, .. } = model;
            let meta = Meta { n_ctx, n_ctx_train, n_vocab, n_embd, n_params, size: size_bytes, n_slots };
            listed(&*model.name, &*model.path, "loaded", Some(meta))
        }));
        let is_loaded = |path: &str| models.iter().any(|model| model.path == path);
        let unloaded = files.iter().filter(|(_, path)| !is_loaded(path));
        data.extend(unloaded.map(|(name, path)| listed(name, path, "unloaded", None)));
        Ok(Self { object: "list", data })
    }

    /// An upper bound of the bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        self.data.iter().map(|model| model.id.len() + model.path.len() + MAX_ENTRY_BYTES).sum()
    }
}
