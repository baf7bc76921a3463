//! Entries in file order that can be found by name.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{GgufError, Name, TensorInfo, Value};
use crate::sort;

/// An entry whose name must be unique.
pub(super) trait Named {
    fn name(&self) -> &str;
    /// The error for a second entry of this name.
    fn duplicate(name: Name) -> GgufError;
}

impl Named for (&str, Value<'_>) {
    fn name(&self) -> &str {
        self.0
    }

    fn duplicate(key: Name) -> GgufError {
        GgufError::DuplicateKey { key }
    }
}

impl Named for TensorInfo<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn duplicate(tensor: Name) -> GgufError {
        GgufError::DuplicateTensor { tensor }
    }
}

#[derive(Debug)]
pub(super) struct Table<T> {
    /// In the order of the file.
    entries: Vec<T>,
    /// Indices into `entries`, in the order of names.
    by_name: Vec<u32>,
}

impl<T: Named> Table<T> {
    /// Reads `count` ≤ `u32::MAX` entries with `read_entry`.
    ///
    /// Memory grows with the entries that have been read, not with the claimed count.
    pub(super) fn read(
        count: usize,
        mut read_entry: impl FnMut(u64) -> Result<T, GgufError>,
    ) -> Result<Self, GgufError> {
        let mut entries = Vec::new();
        for index in 0..count {
            let entry = read_entry(index as u64)?;
            if entries.len() == entries.capacity() {
                reserve(&mut entries, index.max(16))?;
            }
            entries.push(entry);
        }
        let by_name = places(&entries, |a, b| a.name().cmp(b.name()))?;
        let name = |place: u32| entries[place as usize].name();
        match by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
            Some(pair) => Err(T::duplicate(Name::from(name(pair[0])))),
            None => Ok(Self { entries, by_name }),
        }
    }

    pub(super) fn entries(&self) -> &[T] {
        &self.entries
    }

    /// Changes entries; their names must stay the same.
    pub(super) fn for_each_mut(&mut self, change: impl FnMut(&mut T)) {
        self.entries.iter_mut().for_each(change);
    }

    /// The index of the entry whose name consists of these bytes.
    pub(super) fn find(&self, name: impl Iterator<Item = u8> + Clone) -> Option<usize> {
        let place = self
            .by_name
            .binary_search_by(|&place| self.entries[place as usize].name().bytes().cmp(name.clone()))
            .ok()?;
        Some(self.by_name[place] as usize)
    }
}

/// The indices of at most `u32::MAX` entries, in sorted order.
pub(super) fn places<T>(entries: &[T], compare: impl Fn(&T, &T) -> Ordering) -> Result<Vec<u32>, GgufError> {
    let places = sort::places(entries.len(), &|a, b| compare(&entries[a], &entries[b]));
    places.map_err(|needed_bytes| GgufError::OutOfMemory { needed_bytes: needed_bytes as u64 })
}

fn reserve<T>(table: &mut Vec<T>, additional: usize) -> Result<(), GgufError> {
    table.try_reserve_exact(additional).map_err(|_| GgufError::OutOfMemory {
        needed_bytes: ((table.len() + additional) as u64).saturating_mul(size_of::<T>() as u64),
    })
}
