//! What the GGUF headers on disks say, and how they are read.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::ops::Range;

use llm::gguf::{Gguf, GgufError, Split, split::places};
use llm::model::Adapter;
use llm::quant::GgmlType;
use llm::quoted::beginning;

use super::{Catalog, ModelFile, Patience, reserve};
use crate::{
    llm::BackendError,
    storage::{Disk, PATIENCE_US, ReadError, Standing, is_proof},
};

/// First read of a header; most small models need no second one.
const HEADER_BYTES: u64 = 64 * 1024;

/// Looks at a header, and where in memory the file, or each part of a model, is to lie.
type LookAtHeader<'l> = dyn FnMut(&Gguf<'_>, Vec<Range<u64>>) -> Result<(), BackendError> + 'l;

/// What a GGUF header says about its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `general.name`, the beginning of one that is too long for a path.
    pub name: Option<String>,
    /// `general.architecture`.
    pub architecture: String,
    /// Weights in all tensors.
    pub n_params: u64,
    /// Which part of a model the file is; `None` if it is whole.
    pub split: Option<Split>,
    /// Whether it is an adapter, and no model.
    pub is_adapter: bool,
    /// How many weights of matrices each type has.
    types: Vec<(GgmlType, u64)>,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    /// If the architecture is not named, which only the first part of a model does; if the numbers of a part are wrong.
    pub fn new(gguf: &Gguf<'_>) -> Result<Self, GgufError> {
        let split = gguf.split()?;
        let architecture = match split {
            Some(Split { index: 1.., .. }) => "",
            _ => gguf.require_str("general.architecture")?,
        };
        Ok(Self {
            name: gguf.str_value("general.name").ok().flatten().map(|name| beginning(name).to_owned()),
            architecture: beginning(architecture).to_owned(),
            n_params: gguf.tensors().iter().map(|tensor| tensor.n_elements()).sum(),
            split,
            is_adapter: Adapter::is_adapter(gguf),
            types: types(gguf),
        })
    }

    /// The type of most of the weights, as ggml calls it.
    pub fn quantisation(&self) -> &'static str {
        let most = self.types.iter().max_by_key(|(_, count)| *count);
        most.map_or("none", |(ty, _)| ty.name())
    }

    /// Counts the weights of another part as well.
    pub(super) fn absorb(&mut self, part: &Self) {
        self.n_params = self.n_params.saturating_add(part.n_params);
        part.types.iter().for_each(|&(ty, count)| add(&mut self.types, ty, count));
    }
}

/// How many weights of matrices each type has.
fn types(gguf: &Gguf<'_>) -> Vec<(GgmlType, u64)> {
    let mut types = Vec::new();
    for tensor in gguf.tensors().iter().filter(|tensor| tensor.shape().len() > 1) {
        add(&mut types, tensor.ty, tensor.n_elements());
    }
    types
}

fn add(types: &mut Vec<(GgmlType, u64)>, ty: GgmlType, more: u64) {
    match types.iter_mut().find(|(known, _)| *known == ty) {
        Some((_, count)) => *count = count.saturating_add(more),
        None => types.push((ty, more)),
    }
}

impl Catalog {
    /// The headers of all disks. Disks that do not answer at once are waited for together, and after the others.
    pub(super) fn headers(&mut self, patience: Patience) -> Vec<Result<Header, BackendError>> {
        const AT_ONCE_US: u64 = 300_000;
        /// For how long the other disks may be silent, together, when nobody wants to wait any more, and each alone.
        const HURRIED_US: u64 = 100_000;
        const LEAST_US: u64 = 20_000;
        self.disks.iter_mut().for_each(Disk::refresh);
        self.disks.establish_trust();
        let was_silent: Vec<_> = self.disks.iter().map(Disk::is_silent).collect();
        let numbers: Vec<_> = self.disks.iter().map(Disk::index).collect();
        let mut read = |disk: usize, patience_us: u64| {
            self.disks[disk].set_patience(patience_us);
            let header = self.with_disk_header(disk, |gguf| Ok(Header::new(gguf)?));
            self.disks[disk].set_patience(PATIENCE_US);
            header
        };
        let mut hurried_us = None;
        let at_once = |disk| {
            let patience_us = hurried_us.map_or(AT_ONCE_US, |left_us: u64| left_us.max(LEAST_US));
            let header = read(disk, patience_us);
            match header {
                // Who wants to stop waiting wants to know the others all the same.
                Err(BackendError::Cancelled) => {
                    hurried_us = hurried_us.or(Some(HURRIED_US));
                    Err(BackendError::read(numbers[disk], ReadError::NoAnswer { waited_us: patience_us }))
                }
                Err(BackendError::Read { error: ReadError::NoAnswer { waited_us }, .. }) => {
                    hurried_us = hurried_us.map(|left_us| left_us.saturating_sub(waited_us));
                    header
                }
                header => header,
            }
        };
        let mut headers: Vec<_> = (0..was_silent.len()).map(at_once).collect();
        if hurried_us.is_some() {
            return headers;
        }
        let mut waited_us = 0;
        let is_worth_it = |disk: &usize| patience == Patience::WithAll || !was_silent[*disk];
        for disk in (0..headers.len()).filter(is_worth_it) {
            if let Err(BackendError::Read { error: ReadError::NoAnswer { waited_us: first_us }, .. }) =
                headers[disk]
            {
                let before_us = first_us + waited_us;
                match read(disk, PATIENCE_US.saturating_sub(before_us)) {
                    // Nobody wants to wait; what has been read is of use all the same.
                    Err(BackendError::Cancelled) => break,
                    Err(BackendError::Read { error: ReadError::NoAnswer { waited_us: more_us }, .. }) => {
                        waited_us += more_us;
                        let error = ReadError::NoAnswer { waited_us: first_us + waited_us };
                        headers[disk] = Err(BackendError::read(numbers[disk], error));
                    }
                    header => headers[disk] = header,
                }
            }
        }
        headers
    }

    /// Shows `look` the header of a file, or those of all parts of a model as one, and where in memory they are to lie.
    ///
    /// # Errors
    /// If a disk is empty or fails, a header is broken, a part is missing, memory runs out, or `look` fails.
    pub fn with_header<R>(
        &mut self,
        file: usize,
        look: impl FnOnce(&Gguf<'_>, Vec<Range<u64>>) -> Result<R, BackendError>,
    ) -> Result<R, BackendError> {
        let (mut look, mut result) = (Some(look), None);
        self.show_header(file, &mut |gguf, places| {
            result = look.take().map(|look| look(gguf, places)).transpose()?;
            Ok(())
        })?;
        result.ok_or(BackendError::EmptyDisk)
    }

    /// As [`with_header`](Self::with_header), once for all that `look` may be.
    fn show_header(&mut self, file: usize, look: &mut LookAtHeader<'_>) -> Result<(), BackendError> {
        let parts = match &self.files()[file] {
            ModelFile { header: Err(BackendError::Part(error)), .. } => return Err((*error).into()),
            // No header has been read of it when its disk has not answered.
            ModelFile { parts, .. } if parts.len() <= 1 => {
                return self
                    .show_disk_header(file, &mut |gguf| look(gguf, places(core::slice::from_ref(gguf))?));
            }
            ModelFile { parts, .. } => parts.clone(),
        };
        let mut beginnings = Vec::new();
        for &part in &parts {
            let header_bytes = self.with_disk_header(part, |gguf| Ok(gguf.data_offset()))?;
            let file_bytes = self.disks[part].length_bytes();
            let mut beginning = reserve(self.pool, header_bytes.min(file_bytes))?;
            self.read_at(part, &mut beginning)?;
            beginnings.push((beginning, file_bytes));
        }
        let headers = beginnings.iter().map(|(beginning, file_bytes)| Gguf::parse(beginning, *file_bytes));
        let headers = headers.collect::<Result<Vec<_>, _>>()?;
        let places = places(&headers)?;
        look(&Gguf::join(headers, &beginnings[0].0)?, places)
    }

    /// Shows `look` the header on a disk, whose beginning is read in growing pieces until the header is whole.
    ///
    /// # Errors
    /// As [`with_header`](Self::with_header).
    fn with_disk_header<R>(
        &mut self,
        disk: usize,
        look: impl FnOnce(&Gguf<'_>) -> Result<R, BackendError>,
    ) -> Result<R, BackendError> {
        let (mut look, mut result) = (Some(look), None);
        self.show_disk_header(disk, &mut |gguf| {
            result = look.take().map(|look| look(gguf)).transpose()?;
            Ok(())
        })?;
        result.ok_or(BackendError::EmptyDisk)
    }

    /// As [`with_disk_header`](Self::with_disk_header), once for all that `look` may be.
    fn show_disk_header(
        &mut self,
        disk: usize,
        look: &mut dyn FnMut(&Gguf<'_>) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let file_bytes = self.disks[disk].length_bytes();
        if file_bytes == 0 {
            return Err(BackendError::EmptyDisk);
        }
        let mut given_bytes = file_bytes.min(HEADER_BYTES);
        if let Standing::Proof = self.disks[disk].standing() {
            return Err(BackendError::Proof);
        }
        loop {
            let mut beginning = reserve(self.pool, given_bytes)?;
            self.read_at(disk, &mut beginning)?;
            if is_proof(&beginning) {
                return Err(BackendError::Proof);
            }
            match Gguf::parse(&beginning, file_bytes) {
                Ok(gguf) => return look(&gguf),
                Err(GgufError::Truncated { needed_bytes, .. }) if given_bytes < file_bytes => {
                    given_bytes = needed_bytes.max(2 * given_bytes).min(file_bytes);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
