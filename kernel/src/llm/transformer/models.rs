//! [`Models`]: those that are loaded, and which of them is the current one.

use alloc::{borrow::ToOwned, string::String, vec::Vec};

use super::loaded::LoadedModel;
use crate::llm::{BackendError, ModelMetadata, ModelStatus, Taken, name_of};

/// A model in memory, and what is known of it.
pub(super) struct Loaded {
    pub metadata: ModelMetadata,
    pub model: LoadedModel,
    /// The context length that was asked for.
    pub asked_n_ctx: Option<usize>,
    /// From the first read until it was ready.
    pub load_us: u64,
}

/// The loaded models. No two have the same path.
#[derive(Default)]
pub(super) struct Models {
    /// In the order in which they were loaded, each with the number of the last call that selected it.
    list: Vec<(Loaded, u64)>,
    n_selections: u64,
}

impl Models {
    /// Adds a model whose path none has; it is the current one.
    pub fn add(&mut self, loaded: Loaded) {
        self.n_selections += 1;
        self.list.push((loaded, self.n_selections));
    }

    /// Makes a model the current one.
    pub fn select(&mut self, name: &str) -> Result<(), BackendError> {
        let index = self.index(Some(name))?;
        self.n_selections += 1;
        self.list[index].1 = self.n_selections;
        Ok(())
    }

    /// The model of this name, or the current one.
    pub fn get(&self, name: Option<&str>) -> Result<&Loaded, BackendError> {
        Ok(&self.list[self.index(name)?].0)
    }

    /// The model of this name, or the current one.
    pub fn get_mut(&mut self, name: Option<&str>) -> Result<&mut Loaded, BackendError> {
        let index = self.index(name)?;
        Ok(&mut self.list[index].0)
    }

    /// Takes the model of this name, or the current one, off the list.
    pub fn remove(&mut self, name: Option<&str>) -> Result<Loaded, BackendError> {
        let index = self.index(name)?;
        Ok(self.list.remove(index).0)
    }

    /// Puts what `change` makes of the model of this name, or of the current one, in its place. If it makes an error
    /// of it, the model is gone.
    pub fn replace<R>(
        &mut self,
        name: Option<&str>,
        change: impl FnOnce(Loaded) -> Result<(Loaded, R), BackendError>,
    ) -> Result<R, BackendError> {
        let index = self.index(name)?;
        let (loaded, selection) = self.list.remove(index);
        let (loaded, result) = change(loaded)?;
        self.list.insert(index, (loaded, selection));
        Ok(result)
    }

    /// How each of them does.
    pub fn statuses(&self) -> Vec<ModelStatus<'_>> {
        let current = self.index(None).ok();
        let statuses = self.list.iter().enumerate().map(|(index, (loaded, _))| ModelStatus {
            metadata: &loaded.metadata,
            memory: loaded.model.memory(),
            is_current: current == Some(index),
        });
        statuses.collect()
    }

    /// What each of them takes, but for the one with this path.
    pub fn taken_by_others(&self, path: &str) -> Vec<Taken> {
        let others = self.list.iter().map(|(loaded, _)| loaded).filter(|loaded| loaded.metadata.path != path);
        let taken = others.map(|loaded| Taken {
            name: name_of(&loaded.metadata.path).to_owned(),
            size_bytes: loaded.model.memory().total_bytes(),
        });
        taken.collect()
    }

    fn index(&self, name: Option<&str>) -> Result<usize, BackendError> {
        let Some(name) = name else {
            let current = self.list.iter().enumerate().max_by_key(|(_, (_, selection))| *selection);
            return current.map(|(index, _)| index).ok_or(BackendError::NotLoaded);
        };
        let is_it = |(loaded, _): &(Loaded, u64)| name_of(&loaded.metadata.path) == name_of(name);
        self.list.iter().position(is_it).ok_or_else(|| match self.list.is_empty() {
            true => BackendError::NotLoaded,
            false => BackendError::NotAmongLoaded { name: name.to_owned(), loaded: self.names() },
        })
    }

    fn names(&self) -> Vec<String> {
        self.list.iter().map(|(loaded, _)| name_of(&loaded.metadata.path).to_owned()).collect()
    }
}
