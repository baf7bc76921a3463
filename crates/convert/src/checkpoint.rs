//! The tensors of a checkpoint: one safetensors file, or several with an index.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};
use serde::Deserialize;

use super::{Bytes, Files, read, read_optional};

/// The suffix of a weight's name, instead of `.weight`, if it has adapters.
pub const ADAPTED: &str = ".parametrizations.weight.original";

/// All tensors of a checkpoint.
pub struct Checkpoint<'f> {
    shards: Vec<Shard<'f>>,
    /// The index of the file that holds each tensor.
    places: BTreeMap<String, usize>,
}

struct Shard<'f> {
    bytes: Bytes<'f>,
    /// Where the tensor data begins in the file.
    data_offset: usize,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// A tensor's values in a floating-point format.
#[derive(Debug, Clone, Copy)]
pub struct Floats<'c> {
    /// Rows and columns; a vector is one row.
    pub shape: [usize; 2],
    dtype: Dtype,
    bytes: &'c [u8],
}

/// A matrix of 32-bit integers.
#[derive(Debug, Clone, Copy)]
pub struct Integers<'c> {
    /// Rows and columns.
    pub shape: [usize; 2],
    bytes: &'c [u8],
}

impl<'f> Checkpoint<'f> {
    /// Opens `model.safetensors`, or the files that `model.safetensors.index.json` lists.
    pub fn open(files: &'f dyn Files) -> Result<Self> {
        const SINGLE: &str = "model.safetensors";
        const INDEX: &str = "model.safetensors.index.json";
        let mut checkpoint = Checkpoint { shards: Vec::new(), places: BTreeMap::new() };
        if let Some(bytes) = read_optional(files, SINGLE)? {
            checkpoint.add(SINGLE, bytes)?;
        } else if let Some(bytes) = read_optional(files, INDEX)? {
            let Index { weight_map } = serde_json::from_slice((*bytes).as_ref()).context(INDEX)?;
            let names: BTreeSet<&String> = weight_map.values().collect();
            for name in names {
                if name.contains(['/', '\\']) || name.as_str() == ".." {
                    bail!("{INDEX}: {name:?} is not the name of a file beside it");
                }
                checkpoint.add(name, read(files, name)?)?;
            }
            if let Some((tensor, file)) =
                weight_map.iter().find(|(tensor, _)| !checkpoint.places.contains_key(*tensor))
            {
                bail!("{INDEX}: tensor {tensor} is not in {file}");
            }
        } else {
            bail!("there is neither {SINGLE} nor {INDEX}");
        }
        Ok(checkpoint)
    }

    fn add(&mut self, file: &str, bytes: Bytes<'f>) -> Result<()> {
        /// The header is preceded by its length, which takes this many bytes.
        const LENGTH_BYTES: usize = 8;
        let (header_bytes, metadata) = safetensors::SafeTensors::read_metadata((*bytes).as_ref())
            .map_err(|error| anyhow::anyhow!("{error}"))
            .with_context(|| file.to_owned())?;
        let data_offset = LENGTH_BYTES + header_bytes;
        for name in metadata.tensors().into_keys() {
            if self.places.insert(name.clone(), self.shards.len()).is_some() {
                bail!("{file}: tensor {name} is in another file too");
            }
        }
        self.shards.push(Shard { bytes, data_offset, metadata });
        Ok(())
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Whether there is a tensor of this name, or a weight in any format.
    pub fn has_any(&self, name: &str) -> bool {
        ["", ".weight", ".qweight", ADAPTED].iter().any(|end| self.has(&format!("{name}{end}")))
    }

    /// A floating-point tensor with one or two dimensions, or one of filters with one channel each.
    pub fn floats(&self, name: &str) -> Result<Floats<'_>> {
        let (shape, dtype, bytes) = self.tensor(name)?;
        let shape = match *shape {
            [n_filters, 1, len] => [n_filters, len],
            _ => flat(name, shape)?,
        };
        is_float(name, dtype)?;
        Ok(Floats { shape, dtype, bytes })
    }

    /// A floating-point tensor of three dimensions as a single matrix, one matrix below the other, and the number of matrices.
    pub fn stacked_floats(&self, name: &str) -> Result<(usize, Floats<'_>)> {
        let (shape, dtype, bytes) = self.tensor(name)?;
        is_float(name, dtype)?;
        match *shape {
            // The product cannot overflow, because the bytes of all elements exist.
            [n, rows, cols] => Ok((n, Floats { shape: [n * rows, cols], dtype, bytes })),
            _ => bail!("tensor {name} has {} dimensions, expected 3", shape.len()),
        }
    }

    /// A matrix of 32-bit integers.
    pub fn integers(&self, name: &str) -> Result<Integers<'_>> {
        match self.tensor(name)? {
            (shape, Dtype::I32, bytes) => Ok(Integers { shape: flat(name, shape)?, bytes }),
            (_, other, _) => bail!("tensor {name} is of type {other:?}, expected I32"),
        }
    }

    fn tensor(&self, name: &str) -> Result<(&[usize], Dtype, &[u8])> {
        let shard =
            &self.shards[*self.places.get(name).with_context(|| format!("tensor {name} is missing"))?];
        let info = shard.metadata.info(name).with_context(|| format!("tensor {name} is missing"))?;
        let (begin, end) = info.data_offsets;
        let bytes = (*shard.bytes).as_ref().get(shard.data_offset + begin..shard.data_offset + end);
        let bytes = bytes.with_context(|| format!("tensor {name} lies beyond the end of its file"))?;
        if bytes.is_empty() {
            bail!("tensor {name} is empty");
        }
        Ok((&info.shape, info.dtype, bytes))
    }
}

/// Rows and columns; a vector has one row.
fn flat(name: &str, shape: &[usize]) -> Result<[usize; 2]> {
    match *shape {
        [len] => Ok([1, len]),
        [rows, cols] => Ok([rows, cols]),
        _ => bail!("tensor {name} has {} dimensions, expected 1 or 2", shape.len()),
    }
}

fn is_float(name: &str, dtype: Dtype) -> Result<()> {
    match dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(()),
        other => bail!("tensor {name} is of type {other:?}, expected F32, F16 or BF16"),
    }
}

impl<'c> Floats<'c> {
    /// A range of rows.
    ///
    /// # Panics
    ///
    /// If there are fewer rows.
    pub fn rows(&self, first: usize, n: usize) -> Floats<'c> {
        let row_bytes = self.shape[1] * self.element_bytes();
        let bytes = &self.bytes[first * row_bytes..(first + n) * row_bytes];
        Floats { shape: [n, self.shape[1]], dtype: self.dtype, bytes }
    }

    fn element_bytes(&self) -> usize {
        if self.dtype == Dtype::F32 { 4 } else { 2 }
    }

    /// Reads the values from element `first` on.
    ///
    /// # Panics
    ///
    /// If there are fewer values.
    pub fn read(&self, first: usize, values: &mut [f32]) {
        fn convert<const N: usize>(bytes: &[u8], values: &mut [f32], to_f32: impl Fn([u8; N]) -> f32) {
            let (elements, _) = bytes.as_chunks::<N>();
            values.iter_mut().zip(elements).for_each(|(value, bytes)| *value = to_f32(*bytes));
        }
        let size = self.element_bytes();
        let bytes = &self.bytes[first * size..(first + values.len()) * size];
        match self.dtype {
            Dtype::F32 => convert(bytes, values, f32::from_le_bytes),
            Dtype::F16 => convert(bytes, values, |bytes| f16::from_le_bytes(bytes).to_f32()),
            _ => convert(bytes, values, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        }
    }

    /// One value.
    pub fn at(&self, row: usize, col: usize) -> f32 {
        let mut value = [0.0];
        self.read(row * self.shape[1] + col, &mut value);
        value[0]
    }
}

impl Integers<'_> {
    /// The bits of one value, as an unsigned number.
    pub fn at(&self, row: usize, col: usize) -> u32 {
        let first = (row * self.shape[1] + col) * 4;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.bytes[first..first + 4]);
        u32::from_le_bytes(bytes)
    }
}
