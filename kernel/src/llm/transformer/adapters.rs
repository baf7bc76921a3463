//! Adapters that are on disks. Every adapter that fits a model is loaded together with it, and changes nothing unless it is requested.

use alloc::{borrow::ToOwned, boxed::Box, format, string::String, vec, vec::Vec};

use llm::{compute::Floats, gguf::Gguf, model::Adapter};
use zerocopy::FromBytes;

use super::loaded::LoadedModel;
use crate::llm::{AdapterFacts, AdapterFile, BackendError, Catalog, Lora, name_of};
use crate::memory::pool::{Footprint, GRANULE_BYTES, Pool, Region};

impl Floats for Region {
    fn floats(&self) -> &[f32] {
        let Ok(floats) = <[f32]>::ref_from_bytes(self) else { unreachable!("reserved for floats") };
        floats
    }

    fn floats_mut(&mut self) -> &mut [f32] {
        let Ok(floats) = <[f32]>::mut_from_bytes(self) else { unreachable!("reserved for floats") };
        floats
    }
}

/// Loads the adapters from all disks into a model that has just been loaded, each with a scale of 0.
///
/// # Errors
/// If the user gave up on a disk, or the heap has no room.
#[inline(never)]
pub(super) fn take_in(
    catalog: &mut Catalog,
    pool: &'static Pool,
    model: &mut LoadedModel,
) -> Result<Vec<AdapterFile>, BackendError> {
    let mut found = Vec::new();
    for (place, file) in catalog.files().iter().enumerate() {
        if let Ok(header) = &file.header
            && header.is_adapter
        {
            let name = header.name.as_deref().unwrap_or_default().to_owned();
            found.push((place, file.path.clone(), file.disk_identity, name));
        }
    }
    let (mut files, mut low_ranks) = (Vec::new(), Vec::new());
    for (place, path, disk_identity, name) in found {
        let facts = match read(catalog, pool, model, place) {
            Ok((Adapter { alpha, low_ranks: mut of_adapter, rank }, footprint)) => {
                of_adapter.name.clone_from(&path);
                let (id, n_tensors) = (low_ranks.len(), of_adapter.list.len());
                low_ranks.push(of_adapter);
                Ok(AdapterFacts { id, name, rank, alpha, n_tensors, footprint })
            }
            Err(BackendError::Cancelled) => return Err(BackendError::Cancelled),
            Err(error) => {
                log::info!("{path}: {error}");
                Err(format!("{error}"))
            }
        };
        let root = catalog.root(place);
        files.push(AdapterFile { path, disk_identity, root, facts });
    }
    if !low_ranks.is_empty() {
        let usual = vec![0.0; low_ranks.len()];
        model.with_responder(|responder| responder.set_adapters(low_ranks, usual))?;
    }
    Ok(files)
}

/// Reads an adapter of a model; its matrices get memory of their own.
#[inline(never)]
fn read(
    catalog: &mut Catalog,
    pool: &'static Pool,
    model: &LoadedModel,
    place: usize,
) -> Result<(Adapter, Footprint), BackendError> {
    let architecture = model.config().architecture.name;
    let places = catalog.with_header(place, |gguf, places| {
        Adapter::n_floats(gguf, architecture)?;
        Ok(places)
    })?;
    // The pool never has more than the address space.
    let size = |n_bytes: u64| usize::try_from(n_bytes).unwrap_or(usize::MAX);
    let reserve = |n_bytes: usize| pool.reserve(n_bytes, GRANULE_BYTES).map_err(BackendError::NoBuffer);
    let mut file = reserve(size(places.last().map_or(0, |last| last.end)))?;
    let parts = catalog.files()[place].parts.clone();
    for (part, place) in parts.into_iter().zip(&places) {
        catalog.read_at(part, &mut file[place.start as usize..place.end as usize])?;
    }
    let gguf = Gguf::parse_at(&file, &places)?;
    let floats = reserve(Adapter::n_floats(&gguf, architecture)?.saturating_mul(size_of::<f32>()))?;
    let footprint = floats.footprint();
    let responder = model.responder();
    let (of_model, model_gguf) = (responder.runner().model(), responder.prompter().gguf());
    Ok((Adapter::load_into(&gguf, of_model, model_gguf, Box::new(floats))?, footprint))
}

/// The scale of each adapter of a model if these are requested; adapters that the model does not have are skipped.
pub(super) fn scales_of(known: &[AdapterFile], lora: &[Lora]) -> Vec<f32> {
    let facts = known.iter().filter_map(|file| Some((name_of(&file.path), file.facts.as_ref().ok()?)));
    let scale = |path: &str| {
        let asked = lora.iter().filter(|lora| name_of(&lora.name) == path);
        // `sum` of an empty iterator would be -0.
        asked.fold(0.0, |sum, lora| sum + lora.scale)
    };
    facts.map(|(path, _)| scale(path)).collect()
}

/// Finds the file with the adapter of this name on a disk.
///
/// # Errors
/// If there is none, or the file is not an adapter.
#[inline(never)]
pub(super) fn find(catalog: &mut Catalog, name: &str) -> Result<usize, BackendError> {
    let place = catalog.find(name)?;
    let file = &catalog.files()[place];
    if file.is_adapter() {
        return Ok(place);
    }
    let path = file.path.clone();
    // If the file is broken, the error says how.
    Err(match catalog.with_header(place, |_, _| Ok(())) {
        Ok(()) => BackendError::NotAdapter { path },
        Err(error) => error.in_file(&path),
    })
}

/// The scale of each adapter of a model if these are requested. `known` are the adapters that were on disks when the model was
/// loaded; `None` if a requested one was added later.
///
/// # Errors
/// If a requested adapter is on no disk, does not belong to the model, or is not an adapter.
#[inline(never)]
pub(super) fn scales(
    catalog: &mut Catalog,
    known: &[AdapterFile],
    lora: &[Lora],
) -> Result<Option<Vec<f32>>, BackendError> {
    for Lora { name, .. } in lora {
        let found = known.iter().find(|file| name_of(&file.path) == name_of(name));
        // An adapter in memory can be used after its disk is gone, but not if another file has taken its name.
        let on_disk = match find(catalog, name) {
            Ok(place) => Some(catalog.files()[place].disk_identity),
            Err(error @ BackendError::NotAdapter { .. }) => return Err(error),
            Err(_) if found.is_some() => None,
            Err(error) => return Err(error),
        };
        match found {
            Some(file) if on_disk.is_none_or(|identity| identity == file.disk_identity) => {
                match &file.facts {
                    Ok(_) => {}
                    Err(reason) => {
                        let (path, reason) = (file.path.clone(), String::from(reason));
                        return Err(BackendError::AdapterRefused { path, reason });
                    }
                }
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(scales_of(known, lora)))
}
