//! A model's entry in receipts: its files, identified by their digests.

use alloc::{borrow::ToOwned, vec::Vec};
use core::ops::ControlFlow;

use trust::{
    fixed::Fixed,
    receipt::{File, Model},
};

use super::{TransformerBackend, models::Loaded};
use crate::llm::{BackendError, Progress, name_of};

impl TransformerBackend {
    /// See [`record`](crate::llm::InferenceBackend::record).
    pub(super) fn record_of(
        &mut self,
        model: Option<&str>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Model<'static>, BackendError> {
        let Loaded { metadata, adapters, record, .. } = self.models.get(model)?;
        if let Some(record) = record {
            return Ok(record.clone());
        }
        let name = name_of(&metadata.path).to_owned();
        // Only the disks that the files were read from will do: a disk that has replaced one of them holds another file.
        let mut wanted = Vec::from([(metadata.path.clone(), metadata.disk_identity, metadata.root)]);
        let in_use = adapters.iter().filter(|adapter| adapter.facts.is_ok());
        wanted.extend(in_use.map(|adapter| (adapter.path.clone(), adapter.disk_identity, adapter.root)));
        let mut files = Vec::new();
        for (path, disk_identity, root) in wanted {
            let found = self.catalog.of_identity(disk_identity);
            let found = found.ok_or_else(|| self.catalog.unknown(&path))?;
            let parts = self.catalog.files()[found].parts.clone();
            let mut records = Vec::new();
            for part in parts {
                let bytes = self.catalog.disks()[part].length_bytes();
                let digest = self.catalog.sha256(part, self.machine.clock_us, progress)?;
                records.push(File { bytes, sha256: Fixed(digest.0) });
            }
            // Make sure that the file just read is the one that was loaded, and is still trusted.
            if self.catalog.root(found) != root {
                return Err(self.catalog.unknown(&path));
            }
            files.push(records);
        }
        let mut files = files.into_iter();
        let files_of_model = files.next().unwrap_or_default();
        let record = Model { adapters: files.flatten().collect(), files: files_of_model, name: name.into() };
        self.models.get_mut(model)?.record = Some(record.clone());
        Ok(record)
    }
}
