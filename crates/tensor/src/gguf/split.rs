//! Models in several files, as llama.cpp's `gguf-split` writes them.
//!
//! The first file has the metadata. Each file has some of the tensors and says which part it is: [`Split`]. In memory the parts
//! lie one after another ([`places`]), each as it is in its file, and [`Gguf::join`] makes one view of them.

use alloc::vec::Vec;
use core::ops::Range;

use super::table::Table;
use super::{DEFAULT_ALIGNMENT, Gguf, GgufError, Value};

/// The key of a part's number, from 0.
pub const SPLIT_NO: &str = "split.no";

/// The key of the number of parts; 0 or 1 in a file that is the whole model.
pub const SPLIT_COUNT: &str = "split.count";

/// The key of the number of tensors in all parts.
pub const SPLIT_TENSORS_COUNT: &str = "split.tensors.count";

/// Which part of a model a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Its number, from 0.
    pub index: u32,
    /// How many parts there are, 2 or more.
    pub count: u32,
    /// Tensors in all parts, if the file says so.
    pub n_tensors: Option<u32>,
}

impl Split {
    /// Whether both can be parts of the same model.
    pub fn is_beside(&self, other: &Self) -> bool {
        (self.count, self.n_tensors) == (other.count, other.n_tensors)
    }
}

impl<'a> Gguf<'a> {
    /// Which part of a model the file is; `None` if it is the whole model.
    ///
    /// # Errors
    /// If a number has the wrong type, or the number of the part is not below the number of parts.
    pub fn split(&self) -> Result<Option<Split>, GgufError> {
        let Some(count @ 2..) = self.u32_value(SPLIT_COUNT)? else { return Ok(None) };
        let index = self.require_u32(SPLIT_NO)?;
        if index >= count {
            return Err(GgufError::PartNumber { index, count });
        }
        Ok(Some(Split { index, count, n_tensors: self.u32_value(SPLIT_TENSORS_COUNT)? }))
    }

    /// Joins the parts of a model, given in order, into one view. `bytes` has the parts at their [`places`]; the beginning of the
    /// first part is enough as long as no tensor's data is needed. [`SPLIT_COUNT`] is 0 in the result, which is a whole model.
    ///
    /// # Errors
    /// If a part is not the one that belongs at its place, if two parts have a tensor of the same name, or if the number of
    /// tensors is not the one that the first part gives.
    pub fn join(parts: Vec<Gguf<'a>>, bytes: &'a [u8]) -> Result<Self, GgufError> {
        let places = places(&parts)?;
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let first = parts.first().ok_or(GgufError::NoParts)?.split()?;
        for (index, part) in (0..count).zip(&parts) {
            let split = part.split()?;
            let fits = split.zip(first).is_some_and(|(split, first)| {
                (split.index, split.count) == (index, count) && split.is_beside(&first)
            });
            if !fits {
                return Err(GgufError::NotThePart { index, count, found: split });
            }
        }
        let n_tensors = parts.iter().map(|part| part.tensors().len()).sum();
        if let Some(expected) = first.and_then(|first| first.n_tensors)
            && u64::from(expected) != n_tensors as u64
        {
            return Err(GgufError::TensorsInParts { expected, found: n_tensors as u64 });
        }
        let own_offset = parts[0].data_offset();
        let mut tensors = parts.iter().zip(&places).flat_map(|(part, place)| {
            // This cannot underflow: `places` puts no part before the data of the first.
            let shift = place.start + part.data_offset() - own_offset;
            part.tensors().iter().map(move |tensor| {
                let mut tensor = *tensor;
                tensor.offset += shift;
                tensor
            })
        });
        let tensors = Table::read(n_tensors, |_| tensors.next().ok_or(GgufError::NoParts))?;
        let mut joined = parts.into_iter().next().ok_or(GgufError::NoParts)?;
        joined.metadata.for_each_mut(|(key, value)| {
            if *key == SPLIT_COUNT {
                *value = Value::U16(0);
            }
        });
        Ok(Self { bytes, tensors, ..joined })
    }

    /// Parses what is in memory at these places: one file, or the parts of a model.
    ///
    /// # Errors
    /// Those of [`Gguf::parse`] and [`Gguf::join`].
    pub fn parse_at(bytes: &'a [u8], places: &[Range<u64>]) -> Result<Self, GgufError> {
        let parse = |place: &Range<u64>| {
            let begin = usize::try_from(place.start).ok().and_then(|begin| bytes.get(begin..));
            let available_bytes = bytes.len() as u64;
            let begin = begin.ok_or(GgufError::Truncated { needed_bytes: place.end, available_bytes })?;
            Self::parse(begin, place.end - place.start)
        };
        match places {
            [whole] => parse(whole),
            _ => {
                let mut parts = Vec::new();
                let needed_bytes = (places.len() * size_of::<Self>()) as u64;
                parts.try_reserve_exact(places.len()).map_err(|_| GgufError::OutOfMemory { needed_bytes })?;
                for place in places {
                    parts.push(parse(place)?);
                }
                Self::join(parts, bytes)
            }
        }
    }
}

/// Where the parts of a model lie in memory. Each part is as in its file, up to the end of its last tensor, and begins at a
/// multiple of its alignment.
///
/// # Errors
/// [`GgufError::PartsTooLong`] if no memory could hold them.
pub fn places(parts: &[Gguf<'_>]) -> Result<Vec<Range<u64>>, GgufError> {
    let mut places = Vec::new();
    let needed_bytes = size_of_val(parts) as u64;
    places.try_reserve_exact(parts.len()).map_err(|_| GgufError::OutOfMemory { needed_bytes })?;
    let mut free = 0u64;
    for part in parts {
        let begin = free.checked_next_multiple_of(part.alignment().max(DEFAULT_ALIGNMENT).into());
        let begin = begin.ok_or(GgufError::PartsTooLong)?;
        let end = begin.checked_add(part.end_offset()).ok_or(GgufError::PartsTooLong)?;
        places.push(begin..end);
        // For a part without tensors, the data begins after the part's end.
        free = begin.checked_add(part.data_offset()).ok_or(GgufError::PartsTooLong)?.max(end);
    }
    Ok(places)
}
