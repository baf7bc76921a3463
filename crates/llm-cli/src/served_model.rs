//! [`ServedModel`]: a model's file in memory, and its responder.

use std::path::Path;

use anyhow::Result;
use llm::front::Responder;
use llm::model::Config;
use llm::session::RunnerOptions;
use self_cell::{MutBorrow, self_cell};
use serve::{Model, ModelInfo};
use trust::receipt;

use crate::engine::{EngineMemory, Opened};

self_cell!(
    struct Cell {
        owner: Lent,

        #[covariant]
        dependent: Responder,
    }
);

struct Lent {
    opened: Opened,
    memory: MutBorrow<EngineMemory>,
}

/// A model and its responder.
pub struct ServedModel {
    cell: Cell,
    info: ModelInfo,
    /// Its description in receipts, once it was needed.
    record: Option<receipt::Model<'static>>,
}

impl ServedModel {
    /// The model in the file at `path`; the path is its name. `options` computes the runner's options from the hyper-parameters.
    /// Up to `max_waiting` requests may wait for their turn.
    pub fn new(
        path: &Path,
        opened: Opened,
        options: impl FnOnce(&Config) -> RunnerOptions,
        max_waiting: usize,
    ) -> Result<Self> {
        let config = Config::from_gguf(&opened.file.gguf()?)?;
        let options = options(&config);
        let memory = MutBorrow::new(EngineMemory::allocate(&config, &options)?);
        let cell = Cell::try_new(Lent { opened, memory }, |Lent { opened, memory }| {
            let prompter = opened.prompter()?;
            let model = opened.model(prompter.gguf())?;
            opened.responder(prompter, model, options, max_waiting, memory.borrow_mut())
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let info = ModelInfo::of(&name, &path.to_string_lossy(), cell.borrow_dependent());
        Ok(Self { cell, info, record: None })
    }
}

impl Model for ServedModel {
    fn record(&mut self) -> Result<receipt::Model<'static>, String> {
        if self.record.is_none() {
            let record = self.cell.borrow_owner().opened.record(&self.info.name, true);
            self.record = Some(record.map_err(|error| format!("{error:#}"))?);
        }
        self.record.clone().ok_or_else(String::new)
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn responder(&self) -> &Responder<'_> {
        self.cell.borrow_dependent()
    }

    fn with_responder<R>(&mut self, work: impl FnOnce(&mut Responder<'_>) -> R) -> R {
        self.cell.with_dependent_mut(|_, responder| work(responder))
    }
}
