//! Writing GGUF files, tensor by tensor.
//!
//! A [`GgufWriter`] collects the metadata and the tensor table; [`GgufWriter::write_header`] writes
//! them and returns a [`TensorWriter`], through which the data streams without being held in memory.
//! Both write into a closure, so that the output can be any file, socket or buffer.

use alloc::vec::Vec;

use super::tensor::{MAX_DIMS, size_bytes};
use super::{ALIGNMENT_KEY, Array, DEFAULT_ALIGNMENT, Gguf, GgufError, Name, Value, ValueType};
use crate::blocks::GgmlType;

/// Version of the format that is written.
const VERSION: u32 = 3;

/// The header of a file to be written.
///
/// ```
/// use tensor::gguf::{Gguf, GgufWriter};
/// use tensor::quant::GgmlType;
///
/// let mut writer = GgufWriter::new();
/// writer.put_str("general.architecture", "llama")?;
/// writer.put_u32("llama.block_count", 2)?;
/// writer.declare_tensor("output_norm.weight", GgmlType::F32, &[4])?;
///
/// let mut file = Vec::new();
/// let mut tensors = writer.write_header(|bytes: &[u8]| {
///     file.extend_from_slice(bytes);
///     Ok::<(), std::io::Error>(())
/// })?;
/// tensors.write(&[0; 16])?;
/// tensors.finish()?;
///
/// let gguf = Gguf::parse(&file, file.len() as u64)?;
/// assert_eq!(gguf.require_u32("llama.block_count")?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct GgufWriter {
    /// The entries as in the file.
    metadata: Vec<u8>,
    n_metadata: u64,
    /// The entries as in the file, without the offsets.
    table: Vec<u8>,
    tensors: Vec<Declared>,
    /// `None` for the default, which is not written.
    alignment: Option<u32>,
}

/// A declared tensor.
#[derive(Debug)]
struct Declared {
    size_bytes: u64,
    /// Where its offset is in the table.
    offset_place: usize,
}

impl GgufWriter {
    /// A header without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value of any type, for example one from another file. A value of `general.alignment` sets the alignment.
    ///
    /// # Errors
    /// [`GgufError::OutOfMemory`], as for all methods that add something. [`GgufWriter::write_header`] checks whether keys and
    /// values are valid.
    pub fn put(&mut self, key: &str, value: Value<'_>) -> Result<(), GgufError> {
        if key == ALIGNMENT_KEY {
            self.alignment = value.as_integer().and_then(|alignment| alignment.try_into().ok());
        }
        self.begin_entry(key, value.ty())?;
        put_value(&mut self.metadata, value)
    }

    /// Adds an integer.
    ///
    /// # Errors
    /// Those of [`GgufWriter::put`].
    pub fn put_u32(&mut self, key: &str, value: u32) -> Result<(), GgufError> {
        self.put(key, Value::U32(value))
    }

    /// Adds a float.
    ///
    /// # Errors
    /// Those of [`GgufWriter::put`].
    pub fn put_f32(&mut self, key: &str, value: f32) -> Result<(), GgufError> {
        self.put(key, Value::F32(value))
    }

    /// Adds a bool.
    ///
    /// # Errors
    /// Those of [`GgufWriter::put`].
    pub fn put_bool(&mut self, key: &str, value: bool) -> Result<(), GgufError> {
        self.put(key, Value::Bool(value))
    }

    /// Adds a text.
    ///
    /// # Errors
    /// Those of [`GgufWriter::put`].
    pub fn put_str(&mut self, key: &str, value: &str) -> Result<(), GgufError> {
        self.put(key, Value::String(value.into()))
    }

    /// Adds an array of texts, or of byte strings as in vocabularies.
    ///
    /// # Errors
    /// Those of [`GgufWriter::put`].
    pub fn put_strings<S: AsRef<[u8]>>(
        &mut self,
        key: &str,
        values: impl ExactSizeIterator<Item = S>,
    ) -> Result<(), GgufError> {
        self.begin_array(key, ValueType::String, values.len())?;
        for value in values {
            put_string(&mut self.metadata, value.as_ref())?;
        }
        Ok(())
    }

    /// Adds an array of bytes.
    ///
    /// # Errors
    /// Those of [`GgufWriter::put`].
    pub fn put_bytes(&mut self, key: &str, values: &[u8]) -> Result<(), GgufError> {
        self.begin_array(key, ValueType::U8, values.len())?;
        append(&mut self.metadata, values)
    }

    /// Adds an array of signed integers.
    ///
    /// # Errors
    /// Those of [`GgufWriter::put`].
    pub fn put_i32s(&mut self, key: &str, values: &[i32]) -> Result<(), GgufError> {
        self.begin_array(key, ValueType::I32, values.len())?;
        values.iter().try_for_each(|value| append(&mut self.metadata, &value.to_le_bytes()))
    }

    /// Adds an array of bools.
    ///
    /// # Errors
    /// Those of [`GgufWriter::put`].
    pub fn put_bools(&mut self, key: &str, values: &[bool]) -> Result<(), GgufError> {
        self.begin_array(key, ValueType::Bool, values.len())?;
        values.iter().try_for_each(|&value| append(&mut self.metadata, &[u8::from(value)]))
    }

    /// Adds an array of floats.
    ///
    /// # Errors
    /// Those of [`GgufWriter::put`].
    pub fn put_f32s(&mut self, key: &str, values: &[f32]) -> Result<(), GgufError> {
        self.begin_array(key, ValueType::F32, values.len())?;
        values.iter().try_for_each(|value| append(&mut self.metadata, &value.to_le_bytes()))
    }

    /// Declares a tensor. Data must be written in the order of declaration. `dims` is in ggml's order: the first dimension has
    /// elements that are adjacent in memory.
    ///
    /// # Errors
    /// If there are too many dimensions, if one is zero, or if a row is not a whole number of blocks.
    pub fn declare_tensor(&mut self, name: &str, ty: GgmlType, dims: &[u64]) -> Result<(), GgufError> {
        let mut padded = [1; MAX_DIMS];
        let Some(used) = padded.get_mut(..dims.len()) else {
            return Err(GgufError::TooManyDimensions {
                tensor: Name::from(name),
                offset: 0,
                n_dims: dims.len().try_into().unwrap_or(u32::MAX),
            });
        };
        used.copy_from_slice(dims);
        let size_bytes = size_bytes(name, ty, padded)?;

        put_string(&mut self.table, name.as_bytes())?;
        append(&mut self.table, &(dims.len() as u32).to_le_bytes())?;
        for dim in dims {
            append(&mut self.table, &dim.to_le_bytes())?;
        }
        append(&mut self.table, &ty.id().to_le_bytes())?;
        let offset_place = self.table.len();
        append(&mut self.table, &0u64.to_le_bytes())?;
        self.tensors.try_reserve(1).map_err(|_| out_of_memory(size_of::<Declared>()))?;
        self.tensors.push(Declared { size_bytes, offset_place });
        Ok(())
    }

    /// Writes everything before the tensor data into `sink`.
    ///
    /// # Errors
    /// If [`Gguf::parse`] would refuse the file, for example because of duplicate names, or if `sink` fails.
    pub fn write_header<E, S>(mut self, mut sink: S) -> Result<TensorWriter<S>, WriteError<E>>
    where
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        let alignment = match self.alignment.unwrap_or(DEFAULT_ALIGNMENT) {
            0 => return Err(GgufError::BadAlignment { alignment: 0 }.into()),
            alignment => u64::from(alignment),
        };
        let data_bytes = self.place_tensors(alignment);
        let mut header = Vec::new();
        append(&mut header, b"GGUF")?;
        append(&mut header, &VERSION.to_le_bytes())?;
        append(&mut header, &(self.tensors.len() as u64).to_le_bytes())?;
        append(&mut header, &self.n_metadata.to_le_bytes())?;
        append(&mut header, &self.metadata)?;
        append(&mut header, &self.table)?;

        let header_bytes = (header.len() as u64).next_multiple_of(alignment);
        Gguf::parse(&header, header_bytes.saturating_add(data_bytes))?;
        sink(&header).map_err(WriteError::Sink)?;
        write_zeroes(header_bytes - header.len() as u64, &mut sink)?;
        Ok(TensorWriter { sink, alignment, tensors: self.tensors, index: 0, written_bytes: 0 })
    }

    /// Fills in the offsets; returns the size of the tensor data, or `u64::MAX` on overflow.
    fn place_tensors(&mut self, alignment: u64) -> u64 {
        let mut offset = 0u64;
        for tensor in &self.tensors {
            let place = tensor.offset_place..tensor.offset_place + size_of::<u64>();
            self.table[place].copy_from_slice(&offset.to_le_bytes());
            let end = offset.saturating_add(tensor.size_bytes);
            offset = end.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        }
        offset
    }

    fn begin_entry(&mut self, key: &str, ty: ValueType) -> Result<(), GgufError> {
        put_string(&mut self.metadata, key.as_bytes())?;
        append(&mut self.metadata, &ty.id().to_le_bytes())?;
        self.n_metadata += 1;
        Ok(())
    }

    fn begin_array(&mut self, key: &str, ty: ValueType, len: usize) -> Result<(), GgufError> {
        self.begin_entry(key, ValueType::Array)?;
        append(&mut self.metadata, &ty.id().to_le_bytes())?;
        append(&mut self.metadata, &(len as u64).to_le_bytes())
    }
}

/// The tensor data of a file to be written.
#[derive(Debug)]
pub struct TensorWriter<S> {
    sink: S,
    alignment: u64,
    tensors: Vec<Declared>,
    /// The tensor being written.
    index: usize,
    /// How many of its bytes have been written.
    written_bytes: u64,
}

impl<S> TensorWriter<S> {
    /// Writes the next bytes of the current tensor. If that tensor is complete, `bytes` begin the next one. Padding is added as
    /// needed.
    ///
    /// # Errors
    /// If `bytes` reach beyond the end of the tensor, or if the sink fails.
    pub fn write<E>(&mut self, bytes: &[u8]) -> Result<(), WriteError<E>>
    where
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        let declared_bytes = self.tensors.get(self.index).map_or(0, |tensor| tensor.size_bytes);
        let written_bytes = self.written_bytes + bytes.len() as u64;
        if written_bytes > declared_bytes {
            return Err(WriteError::TensorSize { index: self.index, declared_bytes, written_bytes });
        }
        (self.sink)(bytes).map_err(WriteError::Sink)?;
        self.written_bytes = written_bytes;
        if written_bytes == declared_bytes && declared_bytes > 0 {
            let padded = declared_bytes.next_multiple_of(self.alignment);
            write_zeroes(padded - declared_bytes, &mut self.sink)?;
            self.index += 1;
            self.written_bytes = 0;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If declared tensors have not been written.
    pub fn finish<E>(self) -> Result<(), WriteError<E>>
    where
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        match self.tensors.get(self.index) {
            None => Ok(()),
            Some(&Declared { size_bytes: declared_bytes, .. }) => Err(WriteError::TensorSize {
                index: self.index,
                declared_bytes,
                written_bytes: self.written_bytes,
            }),
        }
    }
}

/// Writes padding.
fn write_zeroes<E>(
    mut len_bytes: u64,
    sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), WriteError<E>> {
    const ZEROES: [u8; 64] = [0; 64];
    while len_bytes > 0 {
        let now = len_bytes.min(ZEROES.len() as u64);
        sink(&ZEROES[..now as usize]).map_err(WriteError::Sink)?;
        len_bytes -= now;
    }
    Ok(())
}

/// Why a file could not be written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WriteError<E> {
    /// The header could not be read back.
    #[error("{0}")]
    Header(GgufError),
    /// A tensor has more or less data than was declared.
    #[error("tensor number {index} was declared with {declared_bytes} bytes, but has {written_bytes}")]
    TensorSize {
        /// The tensor's number in the order of declaration.
        index: usize,
        /// Its size as declared; 0 if there is no such tensor.
        declared_bytes: u64,
        /// How many bytes were written, or were to be written.
        written_bytes: u64,
    },
    /// The sink failed.
    #[error("{0}")]
    Sink(E),
}

impl<E> From<GgufError> for WriteError<E> {
    fn from(error: GgufError) -> Self {
        Self::Header(error)
    }
}

fn put_value(out: &mut Vec<u8>, value: Value<'_>) -> Result<(), GgufError> {
    match value {
        Value::U8(v) => append(out, &v.to_le_bytes()),
        Value::I8(v) => append(out, &v.to_le_bytes()),
        Value::U16(v) => append(out, &v.to_le_bytes()),
        Value::I16(v) => append(out, &v.to_le_bytes()),
        Value::U32(v) => append(out, &v.to_le_bytes()),
        Value::I32(v) => append(out, &v.to_le_bytes()),
        Value::U64(v) => append(out, &v.to_le_bytes()),
        Value::I64(v) => append(out, &v.to_le_bytes()),
        Value::F32(v) => append(out, &v.to_le_bytes()),
        Value::F64(v) => append(out, &v.to_le_bytes()),
        Value::Bool(v) => append(out, &[v.into()]),
        Value::String(v) => put_string(out, v.as_bytes()),
        Value::Array(Array { ty, len, bytes }) => {
            append(out, &ty.id().to_le_bytes())?;
            append(out, &(len as u64).to_le_bytes())?;
            append(out, bytes)
        }
    }
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) -> Result<(), GgufError> {
    append(out, &(text.len() as u64).to_le_bytes())?;
    append(out, text)
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), GgufError> {
    out.try_reserve(bytes.len()).map_err(|_| out_of_memory(bytes.len()))?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn out_of_memory(needed_bytes: usize) -> GgufError {
    GgufError::OutOfMemory { needed_bytes: needed_bytes as u64 }
}
