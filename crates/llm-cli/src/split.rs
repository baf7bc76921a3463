//! Models in several files, in the format of `gguf-split`: `NAME-00001-of-00003.gguf` and so on.
//!
//! The first part has the metadata; each part has some of the tensors. [`PartName`] knows the parts' names. [`Parts`] maps the
//! files, puts them into memory together, and writes them as one file.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use llm::gguf::split::places;
use llm::gguf::{Gguf, GgufError, GgufWriter, Split};
use memmap2::MmapMut;

use crate::model_file::{in_huge_pages, map};

/// Number of digits of a number in a name.
const DIGITS: usize = 5;

/// The name of a part: `STEM-NNNNN-of-NNNNN.gguf`, in upper or lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartName<'n> {
    stem: &'n str,
    extension: &'n str,
    /// The number of the part, from 1.
    pub number: u32,
    /// The number of parts.
    pub count: u32,
}

impl<'n> PartName<'n> {
    /// Parses a name or a path; `None` if it is not that of a part.
    pub fn parse(name: &'n str) -> Option<Self> {
        let (rest, extension) = name.split_at_checked(name.len().checked_sub(".gguf".len())?)?;
        let (rest, count) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
        let (rest, of) = rest.split_at_checked(rest.len().checked_sub("-of-".len())?)?;
        let (rest, number) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
        let stem = rest.strip_suffix('-').filter(|stem| !stem.is_empty())?;
        let parse = |digits: &str| digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok())?;
        let (number, count) = (parse(number)?, parse(count)?);
        let is_part = extension.eq_ignore_ascii_case(".gguf") && of.eq_ignore_ascii_case("-of-");
        (is_part && (1..=count).contains(&number)).then_some(Self { stem, extension, number, count })
    }

    /// The name of part `number` of `count`; `stem` is what the names of all parts begin with.
    pub fn new(stem: &'n str, number: u32, count: u32) -> Self {
        Self { stem, extension: ".gguf", number, count }
    }

    /// The name of another part.
    pub fn of(&self, number: u32) -> String {
        Self { number, ..self.clone() }.to_string()
    }
}

impl fmt::Display for PartName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:05}-of-{:05}{}", self.stem, self.number, self.count, self.extension)
    }
}

/// All parts of a model, mapped.
pub struct Parts(Vec<(PathBuf, MmapMut)>);

impl Parts {
    /// All parts of the model that a file, with the contents `bytes`, belongs to; `None` if the file is a whole model.
    ///
    /// # Errors
    ///
    /// If the file's name does not tell the names of the others, or if one cannot be read.
    pub fn of(path: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        // Other errors in it are reported when it is used.
        let Ok(gguf) = Gguf::parse(bytes, bytes.len() as u64) else { return Ok(None) };
        let context = || path.display().to_string();
        let Some(Split { count, .. }) = gguf.split().with_context(context)? else { return Ok(None) };
        let name = path.file_name().and_then(|name| name.to_str()).and_then(PartName::parse);
        let name = name.filter(|name| name.count == count);
        let name = name.with_context(|| {
            format!("it is one of {count} parts of a model, but its name does not end in -00001-of-{count:05}.gguf")
        });
        let name = name.with_context(context)?;
        let part = |number| {
            let path = path.with_file_name(name.of(number));
            let bytes =
                map(&path).with_context(|| format!("cannot read {}, a part of the model", path.display()))?;
            Ok((path, bytes))
        };
        Ok(Some(Self((1..=count).map(part).collect::<Result<_>>()?)))
    }

    /// Whether a path is that of one of the files.
    pub fn contain(&self, path: &Path) -> bool {
        let path = path.canonicalize();
        path.is_ok_and(|path| {
            self.0.iter().any(|(part, _)| part.canonicalize().is_ok_and(|part| part == path))
        })
    }

    /// The paths of the files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().map(|(path, _)| path.clone()).collect()
    }

    /// The headers of the parts.
    fn headers(&self) -> Result<Vec<Gguf<'_>>> {
        let parts = self.0.iter();
        let header = parts.map(|(path, bytes)| {
            Gguf::parse(bytes, bytes.len() as u64).with_context(|| path.display().to_string())
        });
        header.collect()
    }

    /// Adds to an error the part that it is about.
    fn in_part(&self, error: GgufError) -> anyhow::Error {
        let part = match error {
            GgufError::NotThePart { index, .. } => self.0.get(index as usize),
            _ => None,
        };
        let error = anyhow::Error::new(error);
        match part {
            Some((path, _)) => error.context(path.display().to_string()),
            None => error,
        }
    }

    /// All parts in memory, one after another, and where each of them is.
    ///
    /// # Errors
    ///
    /// If a part is broken or does not belong to this model, or if memory runs out.
    pub fn in_memory(&self) -> Result<(MmapMut, Vec<Range<u64>>)> {
        let headers = self.headers()?;
        let places = places(&headers)?;
        Gguf::join(headers, &[]).map_err(|error| self.in_part(error))?;
        let n_bytes = places.last().map_or(0, |last| last.end);
        let mut memory = in_huge_pages(usize::try_from(n_bytes)?)?;
        for (place, (_, bytes)) in places.iter().zip(&self.0) {
            let (begin, n_bytes) = (usize::try_from(place.start)?, usize::try_from(place.end - place.start)?);
            memory[begin..][..n_bytes].copy_from_slice(&bytes[..n_bytes]);
        }
        Ok((memory, places))
    }

    /// Writes the model as one file, as llama.cpp's `gguf-split --merge` does.
    ///
    /// # Errors
    ///
    /// If a part is broken or does not belong to this model, or if `sink` fails.
    pub fn write(&self, sink: impl FnMut(&[u8]) -> io::Result<()>) -> Result<()> {
        let headers = self.headers()?;
        let joined = Gguf::join(self.headers()?, &[]).map_err(|error| self.in_part(error))?;
        let mut writer = GgufWriter::new();
        joined.metadata().try_for_each(|(key, value)| writer.put(key, value))?;
        for tensor in joined.tensors() {
            writer.declare_tensor(tensor.name, tensor.ty, tensor.shape())?;
        }
        let mut data = writer.write_header(sink)?;
        for part in &headers {
            for tensor in part.tensors() {
                data.write(part.tensor_data(tensor)?)?;
            }
        }
        Ok(data.finish::<io::Error>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_told_apart() {
        let name = PartName::parse("a/b-Q4_0-00002-of-00003.GGUF").unwrap();
        assert_eq!((name.stem, name.number, name.count), ("a/b-Q4_0", 2, 3));
        assert_eq!(name.of(1), "a/b-Q4_0-00001-of-00003.GGUF");
        for other in [
            "",
            ".gguf",
            "model.gguf",
            "m-00000-of-00003.gguf",
            "m-00004-of-00003.gguf",
            "m-0001-of-00003.gguf",
            "-00001-of-00003.gguf",
            "m-00001-of-00003.bin",
            "m-00001-of-0000é.gguf",
            "é-00001-from-00003.gguf",
            "m-+0001-of-00003.gguf",
        ] {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
