//! Models on several disks: which disks are the parts of one.
//!
//! The disk of the first part stands for the model. Parts are told by what their headers say, not by names, and not by
//! the order of the disks.

use alloc::{format, vec, vec::Vec};

use llm::gguf::Split;
use log::warn;
use trust::sha256::Compress;

use super::{ModelFile, root_of};
use crate::{
    llm::BackendError,
    storage::{Disks, Seal},
};

/// Why a disk is no model by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// A part is on no disk.
    #[error("part {number} of {count} of the model is on no disk; expected every part as a disk")]
    Missing {
        /// Its number, from 1.
        number: u32,
        /// How many parts there are.
        count: u32,
    },
    /// A part is on two disks.
    #[error(
        "part {number} of {count} of the model is on disk {} and on disk {}; expected it once",
        .disks[0],
        .disks[1]
    )]
    Twice {
        /// Its number, from 1.
        number: u32,
        /// How many parts there are.
        count: u32,
        /// The numbers of the disks.
        disks: [usize; 2],
    },
    /// The disk is a later part of a model.
    #[error("part {number} of {count} of the model on disk {first_disk}")]
    Later {
        /// Its number, from 1.
        number: u32,
        /// How many parts there are.
        count: u32,
        /// The number of the disk with the first part.
        first_disk: usize,
    },
    /// All parts are vouched for, but this one not as a part of the model that the first is of.
    #[error(
        "part {number} of {count} is not signed as one of this model; expected STEM-{number:05}-of-{count:05}, \
         of one stem and version with the others"
    )]
    Foreign {
        /// Its number, from 1.
        number: u32,
        /// How many parts there are.
        count: u32,
    },
}

/// The places of a model's parts in `files`, in their order, of which the file at `place` is the first; or why it has none.
fn parts_of(files: &[ModelFile], place: usize) -> Result<Vec<usize>, PartError> {
    let split = |file: &ModelFile| file.header.as_ref().ok().and_then(|header| header.split);
    let Some(Split { index, count, .. }) = split(&files[place]) else { return Ok(vec![place]) };
    let own = split(&files[place]);
    let find = |index: u32| {
        let is_it = |file: &ModelFile| {
            split(file).zip(own).is_some_and(|(split, own)| split.index == index && split.is_beside(&own))
        };
        let mut found = (0..files.len()).filter(|&place| is_it(&files[place]));
        let number = index + 1;
        let first = found.next().ok_or(PartError::Missing { number, count })?;
        match found.next() {
            None => Ok(first),
            Some(second) => {
                let disks = [first, second].map(|place| files[place].disk);
                Err(PartError::Twice { number, count, disks })
            }
        }
    };
    let first = find(0)?;
    if index > 0 {
        // It may be there twice itself.
        find(index)?;
        return Err(PartError::Later { number: index + 1, count, first_disk: files[first].disk });
    }
    // Not reserved beforehand: a header can claim more parts than there are disks.
    (0..count).map(find).collect()
}

/// Checks that the parts of a model, if all are vouched for, are so as parts of one model: who signs each part has not said that
/// any of them belong together. Their names are `STEM-0000i-of-0000n`, as llama.cpp's `gguf-split` names the files, with one stem,
/// and their versions are the same.
fn check_names(parts: &[usize], disks: &Disks) -> Result<(), PartError> {
    let count = parts.len() as u32;
    fn model_of(seal: &Seal, number: u32, count: u32) -> Option<(&str, u64)> {
        Some((seal.name.strip_suffix(&*format!("-{number:05}-of-{count:05}"))?, seal.version))
    }
    let mut first = None;
    for (number, &part) in (1..).zip(parts) {
        let model = disks[part].seal().and_then(|seal| model_of(seal, number, count));
        first = first.or(model);
        if model.is_none() || model != first {
            return Err(PartError::Foreign { number, count });
        }
    }
    Ok(())
}

/// Makes one model of the parts of each, and an error of what is no model.
pub(super) fn join(files: &mut [ModelFile], disks: &Disks, sha256: Compress) {
    let mut all: Vec<_> = (0..files.len()).map(|place| parts_of(files, place)).collect();
    for (place, joined) in all.iter_mut().enumerate() {
        let Ok(parts) = joined else { continue };
        let mut root = root_of(parts, disks, sha256);
        if parts.len() > 1
            && root.is_some()
            && let Err(error) = check_names(parts, disks)
        {
            if disks.requires_trust() {
                *joined = Err(error);
                continue;
            }
            warn!("{}: not trusted: {error}", files[place].path);
            root = None;
        }
        let (first, mut header) = (&files[place], files[place].header.as_ref().ok().cloned());
        let (mut disk_identity, mut length_bytes) = (first.disk_identity, first.length_bytes);
        for &part in &parts[1..] {
            let part = &files[part];
            // A disk that is replaced has a new, higher identity.
            disk_identity = disk_identity.max(part.disk_identity);
            length_bytes = length_bytes.saturating_add(part.length_bytes);
            if let (Some(header), Ok(part)) = (&mut header, &part.header) {
                header.absorb(part);
            }
        }
        let file = &mut files[place];
        (file.disk_identity, file.length_bytes) = (disk_identity, length_bytes);
        file.root = root;
        if let Some(header) = header {
            file.header = Ok(header);
        }
        file.parts.clone_from(parts);
    }
    // Only now, as the models are made of what these headers say.
    for (place, (file, parts)) in files.iter_mut().zip(all).enumerate() {
        if let Err(error) = parts {
            file.header = Err(BackendError::Part(error));
            file.parts = vec![place];
        }
    }
}
