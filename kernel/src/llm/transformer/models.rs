//! [`Models`]: the loaded models, which of them is the current one, and the retiring ones, which only finish their requests.

use alloc::{borrow::ToOwned, string::String, vec::Vec};

use llm::quoted::beginning;
use trust::receipt;

use super::loaded::LoadedModel;
use crate::llm::{
    AdapterFile, BackendError, EngineOptions, ModelMemory, ModelMetadata, ModelStatus, Taken, name_of,
};
use crate::memory::pool::Footprint;

/// A model in memory, and facts about it.
pub(super) struct Loaded {
    pub metadata: ModelMetadata,
    pub model: LoadedModel,
    /// The adapters that were on disks when it was loaded.
    pub adapters: Vec<AdapterFile>,
    /// Its entry in receipts, computed when the first one is requested.
    pub record: Option<receipt::Model<'static>>,
    /// The context length that was requested.
    pub asked_n_ctx: Option<usize>,
    /// How it runs for commands that give no options.
    pub standing_options: EngineOptions,
    /// Time from the first read until it was ready.
    pub load_us: u64,
}

impl Loaded {
    /// The memory of the pool that it uses; adapters count as weights.
    pub fn memory(&self) -> ModelMemory {
        let mut memory = self.model.memory();
        memory.weights_bytes +=
            self.adapter_footprints().map(|footprint| footprint.size_bytes()).sum::<usize>();
        memory
    }

    fn adapter_footprints(&self) -> impl Iterator<Item = Footprint> {
        self.adapters.iter().filter_map(|file| Some(file.facts.as_ref().ok()?.footprint))
    }

    fn name(&self) -> &str {
        name_of(&self.metadata.path)
    }
}

/// An entry of the list.
struct Entry {
    loaded: Loaded,
    /// Its number; no other model gets the same one before the machine restarts.
    id: u64,
    /// The sequence number of the call that selected it last.
    selection: u64,
}

/// The models in memory. No two loaded ones have the same path.
#[derive(Default)]
pub(super) struct Models {
    /// The loaded models, in the order in which they were loaded.
    list: Vec<Entry>,
    /// Models that were unloaded or replaced while they had requests: they finish these and accept no others.
    retiring: Vec<Entry>,
    /// The last number given; each model that is loaded or replaced gets a new one.
    n_loaded: u64,
    n_selections: u64,
    /// The model that computed the last batch.
    last_turn: u64,
}

impl Models {
    /// Adds a model whose path no other one has, and makes it the current one.
    pub fn add(&mut self, loaded: Loaded) {
        self.n_selections += 1;
        self.n_loaded += 1;
        self.list.push(Entry { loaded, id: self.n_loaded, selection: self.n_selections });
    }

    /// Makes a model the current one.
    pub fn select(&mut self, name: &str) -> Result<(), BackendError> {
        let index = self.index(Some(name))?;
        self.n_selections += 1;
        self.list[index].selection = self.n_selections;
        Ok(())
    }

    /// The model of this name, or the current one.
    pub fn get(&self, name: Option<&str>) -> Result<&Loaded, BackendError> {
        Ok(&self.list[self.index(name)?].loaded)
    }

    /// The model of this name, or the current one.
    pub fn get_mut(&mut self, name: Option<&str>) -> Result<&mut Loaded, BackendError> {
        self.get_with_id(name).map(|(loaded, _)| loaded)
    }

    /// The model of this name, or the current one, and its number.
    pub fn get_with_id(&mut self, name: Option<&str>) -> Result<(&mut Loaded, u64), BackendError> {
        let index = self.index(name)?;
        let Entry { loaded, id, .. } = &mut self.list[index];
        Ok((loaded, *id))
    }

    /// The number of the model of this name, or of the current one.
    pub fn id(&self, name: Option<&str>) -> Result<u64, BackendError> {
        Ok(self.list[self.index(name)?].id)
    }

    /// The model with this number, loaded or retiring.
    pub fn with_id(&self, id: u64) -> Option<&Loaded> {
        self.all().find(|(entry, _)| entry.id == id).map(|(entry, _)| &entry.loaded)
    }

    /// The model with this number, loaded or retiring.
    pub fn with_id_mut(&mut self, id: u64) -> Option<&mut Loaded> {
        let mut all = self.list.iter_mut().chain(&mut self.retiring);
        all.find(|entry| entry.id == id).map(|entry| &mut entry.loaded)
    }

    /// The model whose turn it is to compute a batch, and its number. Models that have requests take turns.
    pub fn take_turn(&mut self) -> Option<(&mut Loaded, u64)> {
        let asked = self.all().filter(|(entry, _)| entry.loaded.model.n_requests() > 0);
        // The ids above that of the last model come first.
        let ids = asked.map(|(entry, _)| entry.id);
        let id = ids.min_by_key(|id| (*id <= self.last_turn, *id))?;
        self.last_turn = id;
        self.with_id_mut(id).map(|loaded| (loaded, id))
    }

    /// Removes the model of this name, or the current one, from the list. Returns how much memory it uses and how many requests
    /// it has. The memory is freed at once, or when the last request has ended.
    pub fn retire(&mut self, name: Option<&str>) -> Result<(usize, usize), BackendError> {
        let entry = self.list.remove(self.index(name)?);
        let n_requests = entry.loaded.model.n_requests();
        let size_bytes = entry.loaded.memory().total_bytes();
        if n_requests > 0 {
            self.retiring.push(entry);
        }
        Ok((size_bytes, n_requests))
    }

    /// Frees the memory of retiring models that have no requests any more.
    pub fn sweep(&mut self) {
        self.retiring.retain(|entry| entry.loaded.model.n_requests() > 0);
    }

    /// Replaces the model of this name, or the current one, with the result of `change`. If `change` fails, the model is gone.
    pub fn replace<R>(
        &mut self,
        name: Option<&str>,
        change: impl FnOnce(Loaded) -> Result<(Loaded, R), BackendError>,
    ) -> Result<R, BackendError> {
        let index = self.index(name)?;
        let Entry { loaded, selection, .. } = self.list.remove(index);
        let (loaded, result) = change(loaded)?;
        // A new number, because request ids start again from the beginning: no old ticket may name a new request.
        self.n_loaded += 1;
        self.list.insert(index, Entry { loaded, id: self.n_loaded, selection });
        Ok(result)
    }

    /// The status of each model, retiring ones last.
    pub fn statuses(&self) -> Vec<ModelStatus<'_>> {
        let current = self.index(None).ok().map(|index| self.list[index].id);
        let statuses = self.all().map(|(entry, is_retiring)| ModelStatus {
            metadata: &entry.loaded.metadata,
            memory: entry.loaded.memory(),
            is_current: current == Some(entry.id),
            n_requests: entry.loaded.model.n_requests(),
            occupancy: entry.loaded.model.occupancy(),
            is_retiring,
        });
        statuses.collect()
    }

    /// The ranges of the pool that the model of this name occupies, if it has no requests, so that its memory could be freed at once.
    pub fn idle_footprints(&self, name: &str) -> Option<Vec<Footprint>> {
        let loaded = self.get(Some(name)).ok()?;
        let model = &loaded.model;
        let own = [model.weights_footprint(), model.session_footprint()];
        (model.n_requests() == 0).then(|| own.into_iter().chain(loaded.adapter_footprints()).collect())
    }

    /// The memory that each model uses, except the one of this name if it has no requests.
    pub fn taken_by_others(&self, name: &str) -> Vec<Taken> {
        let taken = self.all().map(|(entry, is_retiring)| Taken {
            name: entry.loaded.name().to_owned(),
            size_bytes: entry.loaded.memory().total_bytes(),
            n_requests: entry.loaded.model.n_requests(),
            is_retiring,
        });
        taken.filter(|taken| taken.name != name_of(name) || taken.n_requests > 0).collect()
    }

    /// The loaded models, then the retiring ones; the flag says which ones retire.
    fn all(&self) -> impl Iterator<Item = (&Entry, bool)> {
        let loaded = self.list.iter().map(|entry| (entry, false));
        loaded.chain(self.retiring.iter().map(|entry| (entry, true)))
    }

    fn index(&self, name: Option<&str>) -> Result<usize, BackendError> {
        let Some(name) = name else {
            let current = self.list.iter().enumerate().max_by_key(|(_, entry)| entry.selection);
            return current.map(|(index, _)| index).ok_or(BackendError::NotLoaded);
        };
        let found = self.list.iter().position(|entry| entry.loaded.name() == name_of(name));
        found.ok_or_else(|| match self.list.is_empty() {
            true => BackendError::NotLoaded,
            false => BackendError::NotAmongLoaded { name: beginning(name).to_owned(), loaded: self.names() },
        })
    }

    fn names(&self) -> Vec<String> {
        self.list.iter().map(|entry| entry.loaded.name().to_owned()).collect()
    }
}
