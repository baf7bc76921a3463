//! Models in several files, as `gguf-split` writes them: `NAME-00001-of-00003.gguf` and so on.
//!
//! The first part has the metadata, each some of the tensors. [`PartName`] tells the parts' names, [`Parts`] maps them
//! and writes them as one file.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use llm::gguf::{Gguf, GgufWriter};
use memmap2::MmapMut;

use crate::model_file::map;

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const N_TENSORS: &str = "split.tensors.count";
/// Digits of a number in a name.
const DIGITS: usize = 5;

/// The name of a part: `STEM-NNNNN-of-NNNNN.gguf`, in letters of either case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartName<'n> {
    stem: &'n str,
    extension: &'n str,
    /// Which part, from 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

impl<'n> PartName<'n> {
    /// Takes a name or a path apart; `None` if it is not that of a part.
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

    /// The name of another part.
    pub fn of(&self, number: u32) -> String {
        format!("{}-{number:05}-of-{:05}{}", self.stem, self.count, self.extension)
    }
}

/// All parts of a model, mapped.
pub struct Parts(Vec<(PathBuf, MmapMut)>);

impl Parts {
    /// The parts of the model that a file, which `bytes` are the bytes of, is a part of; `None` if it is whole.
    ///
    /// # Errors
    ///
    /// When the file's name does not tell those of the others, or one cannot be read.
    pub fn of(path: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        // What else may be wrong with it is said when it is used.
        let Ok(gguf) = Gguf::parse(bytes, bytes.len() as u64) else { return Ok(None) };
        let Ok(Some(count @ 2..)) = gguf.u32_value(COUNT) else { return Ok(None) };
        let context = || path.display().to_string();
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

    /// Whether a path is one of the files.
    pub fn contain(&self, path: &Path) -> bool {
        let path = path.canonicalize();
        path.is_ok_and(|path| {
            self.0.iter().any(|(part, _)| part.canonicalize().is_ok_and(|part| part == path))
        })
    }

    /// Writes the model as one file.
    ///
    /// # Errors
    ///
    /// When a part is broken or not one of this model, or `sink` fails.
    pub fn write(&self, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> Result<()> {
        let mut parts = Vec::with_capacity(self.0.len());
        for (index, (path, bytes)) in self.0.iter().enumerate() {
            let context = || path.display().to_string();
            let gguf = Gguf::parse(bytes, bytes.len() as u64).with_context(context)?;
            check_part(&gguf, index, self.0.len()).with_context(context)?;
            parts.push(gguf);
        }
        let first = parts.first().context("there are no parts")?;
        let n_tensors: usize = parts.iter().map(|part| part.tensors().len()).sum();
        if let Some(expected) = first.u32_value(N_TENSORS)?.filter(|&expected| expected as usize != n_tensors)
        {
            bail!("the parts have {n_tensors} tensors, {N_TENSORS} is {expected}");
        }
        let mut writer = GgufWriter::new();
        for (key, value) in first.metadata() {
            // The writer aligns by the format's default.
            if !matches!(key, COUNT | NUMBER | N_TENSORS | "general.alignment") {
                writer.put(key, value)?;
            }
        }
        for tensor in parts.iter().flat_map(|part| part.tensors()) {
            writer.declare_tensor(tensor.name, tensor.ty, tensor.shape())?;
        }
        let mut data = writer.write_header(&mut sink)?;
        for part in &parts {
            for tensor in part.tensors() {
                data.write(part.tensor_data(tensor)?)?;
            }
        }
        Ok(data.finish::<io::Error>()?)
    }
}

/// Makes sure that a file is part `index`, from 0, of so many.
fn check_part(gguf: &Gguf<'_>, index: usize, count: usize) -> Result<()> {
    let [number, of] = [NUMBER, COUNT].map(|key| gguf.u32_value(key));
    let (number, of) = (number?.unwrap_or(0), of?.unwrap_or(1));
    if (number as usize, of as usize) != (index, count) {
        bail!("it is part {} of {of}, expected part {} of {count}", u64::from(number) + 1, index + 1);
    }
    Ok(())
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
