//! The GGUF file format: checked views of its bytes.
//!
//! [`Gguf::parse`] checks the whole header at once, so that everything returned later is known to exist: [`Value`]s by key,
//! [`TensorInfo`]s by name, and the bytes of a tensor. Nothing is copied. [`GgufWriter`] writes such files; [`split`] joins a
//! model in several files into one view. This module knows only the syntax: the code that builds a model decides which keys and
//! tensors it needs.
//!
//! Source: `docs/gguf.md` in the ggml repository; where that is ambiguous, llama.cpp's reader.
//!
//! ```text
//! magic "GGUF" | version u32 | tensor count u64 | metadata count u64
//! metadata:  key string | type u32 | value                                  (repeated)
//! tensors:   name string | n_dims u32 | dims u64 × n_dims | type u32 | offset u64   (repeated)
//! padding to the alignment
//! tensor data, each tensor at its offset, padded to the alignment
//! ```
//!
//! All numbers are little-endian; a string is its length in bytes as u64, then the bytes; an array
//! is its element type as u32, its length as u64, then the elements.

mod error;
mod lookup;
mod name;
mod reader;
pub mod split;
mod table;
mod tensor;
mod value;
mod writer;

pub use error::{GgufError, Part};
pub use lookup::Key;
pub use name::Name;
pub use split::Split;
pub use tensor::{MAX_DIMS, TensorInfo};
pub use value::{Array, GgufStr, Strings, Value, ValueType, Values};
pub use writer::{GgufWriter, TensorWriter, WriteError};

use reader::{Cursor, Place};
use table::Table;

/// The alignment of tensor data unless `general.alignment` says otherwise, in bytes.
pub const DEFAULT_ALIGNMENT: u32 = 32;

/// How deep arrays may be nested in arrays. No known writer nests them at all.
pub const MAX_NESTING: usize = 4;

/// The longest key of the format.
const MAX_KEY_BYTES: u64 = 65535;

/// The shortest metadata entry: a key of one byte, a type, a value of one byte.
const ENTRY_MIN_BYTES: u64 = 8 + 1 + 4 + 1;

/// The shortest tensor entry: a name of one byte, no dimensions, a type, an offset.
const TENSOR_MIN_BYTES: u64 = 8 + 1 + 4 + 4 + 8;

/// The key of the alignment.
const ALIGNMENT_KEY: &str = "general.alignment";

/// A GGUF file whose header has been checked.
#[derive(Debug)]
pub struct Gguf<'a> {
    bytes: &'a [u8],
    version: u32,
    alignment: u32,
    header_bytes: u64,
    metadata: Table<(&'a str, Value<'a>)>,
    tensors: Table<TensorInfo<'a>>,
}

impl<'a> Gguf<'a> {
    /// Checks a file.
    ///
    /// `bytes` is the file or its beginning; `file_bytes` is the size of the whole file, or of the disk that holds it. Anything
    /// after the file is ignored.
    ///
    /// The tables take less than ten times the size of the header, whatever the file claims.
    ///
    /// # Errors
    /// [`GgufError::Truncated`] if the header ends after `bytes` but within `file_bytes`; any other error if the file is broken.
    pub fn parse(bytes: &'a [u8], file_bytes: u64) -> Result<Self, GgufError> {
        let bytes = match usize::try_from(file_bytes) {
            Ok(len) if len < bytes.len() => &bytes[..len],
            _ => bytes,
        };
        let mut cursor = Cursor::new(bytes, file_bytes);
        let version = read_version(&mut cursor)?;
        let counts_offset = cursor.offset();
        let tensor_count = cursor.u64()?;
        let metadata_count = cursor.u64()?;

        let metadata_count =
            cursor.check_count(Part::Metadata, metadata_count, counts_offset + 8, ENTRY_MIN_BYTES)?;
        let tensor_count =
            cursor.check_count(Part::TensorTable, tensor_count, counts_offset, TENSOR_MIN_BYTES)?;

        let metadata = Table::read(metadata_count, |index| {
            cursor.place = Place::Key(index);
            let key = cursor.name(MAX_KEY_BYTES)?;
            cursor.place = Place::Value(key);
            let ty = cursor.value_type()?;
            Ok((key, cursor.value(ty, 0)?))
        })?;
        let tensors = Table::read(tensor_count, |index| TensorInfo::read(&mut cursor, index))?;
        let mut gguf = Self {
            bytes,
            version,
            alignment: DEFAULT_ALIGNMENT,
            header_bytes: cursor.offset(),
            metadata,
            tensors,
        };
        gguf.alignment = gguf.stored_alignment()?;
        gguf.check_tensor_places(file_bytes)?;
        Ok(gguf)
    }

    fn stored_alignment(&self) -> Result<u32, GgufError> {
        match self.u32_value(ALIGNMENT_KEY)? {
            None => Ok(DEFAULT_ALIGNMENT),
            Some(alignment) if alignment >= 8 && alignment.is_power_of_two() => Ok(alignment),
            Some(alignment) => Err(GgufError::BadAlignment { alignment }),
        }
    }

    /// Checks that every tensor is aligned, lies within the file and overlaps no other.
    fn check_tensor_places(&self, file_bytes: u64) -> Result<(), GgufError> {
        for tensor in self.tensors() {
            let name = Name::from(tensor.name);
            if !tensor.offset.is_multiple_of(self.alignment.into()) {
                return Err(GgufError::MisalignedTensor {
                    tensor: name,
                    data_offset: tensor.offset,
                    alignment: self.alignment,
                });
            }
            // An end past all addresses is past the file's end too, whatever size the file is said to have.
            let end = tensor.offset.checked_add(tensor.size_bytes);
            let end_offset = end.and_then(|end| end.checked_add(self.data_offset()));
            if end_offset.is_none_or(|end| end > file_bytes) {
                let end_offset = end_offset.unwrap_or(u64::MAX);
                return Err(GgufError::TensorPastEndOfFile { tensor: name, end_offset, file_bytes });
            }
        }
        let by_offset = table::places(self.tensors(), |a, b| a.offset.cmp(&b.offset))?;
        let mut previous_end = 0;
        for &place in &by_offset {
            let tensor = &self.tensors()[place as usize];
            if tensor.offset < previous_end {
                return Err(GgufError::OverlappingTensor {
                    tensor: Name::from(tensor.name),
                    data_offset: tensor.offset,
                    previous_end,
                });
            }
            previous_end = tensor.end();
        }
        Ok(())
    }

    /// The version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Every tensor begins at a multiple of this many bytes.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Where the tensor data begins, in bytes from the beginning of the file.
    pub fn data_offset(&self) -> u64 {
        self.header_bytes.next_multiple_of(self.alignment.into())
    }

    /// Where the last tensor ends, in bytes from the beginning of the file; the end of the header
    /// in a file without tensors.
    pub fn end_offset(&self) -> u64 {
        match self.tensors().iter().map(TensorInfo::end).max() {
            Some(end) => self.data_offset() + end,
            None => self.header_bytes,
        }
    }

    /// All metadata in the order of the file.
    pub fn metadata(&self) -> impl ExactSizeIterator<Item = (&'a str, Value<'a>)> + '_ {
        self.metadata.entries().iter().copied()
    }

    /// All tensors in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo<'a>] {
        self.tensors.entries()
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo<'a>> {
        self.tensor_index(name).map(|index| &self.tensors()[index])
    }

    /// The place of the tensor of this name in [`Gguf::tensors`].
    pub fn tensor_index(&self, name: &str) -> Option<usize> {
        self.tensors.find(name.bytes())
    }

    /// The bytes given to [`Gguf::parse`], without anything after the file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of a tensor.
    ///
    /// # Errors
    /// [`GgufError::Truncated`] if only the header was given to [`Gguf::parse`].
    pub fn tensor_data(&self, tensor: &TensorInfo<'_>) -> Result<&'a [u8], GgufError> {
        self.tensor_data_in(tensor, self.bytes)
    }

    /// The bytes at a tensor's place in `bytes`, which hold the file, its beginning, or a rearranged copy.
    ///
    /// # Errors
    /// [`GgufError::Truncated`] if `bytes` end before the tensor does.
    pub fn tensor_data_in<'b>(
        &self,
        tensor: &TensorInfo<'_>,
        bytes: &'b [u8],
    ) -> Result<&'b [u8], GgufError> {
        let begin = self.data_offset().saturating_add(tensor.offset);
        let end = begin.saturating_add(tensor.size_bytes);
        usize::try_from(begin)
            .ok()
            .zip(usize::try_from(end).ok())
            .and_then(|(begin, end)| bytes.get(begin..end))
            .ok_or(GgufError::Truncated { needed_bytes: end, available_bytes: bytes.len() as u64 })
    }
}

/// Reads magic and version.
fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, GgufError> {
    let magic = cursor.magic()?;
    if magic != *b"GGUF" {
        return Err(GgufError::NotGguf { magic });
    }
    match cursor.u32()? {
        version @ 2..=3 => Ok(version),
        swapped if (1..=0xffff).contains(&swapped.swap_bytes()) => {
            Err(GgufError::BigEndian { version: swapped.swap_bytes() })
        }
        version => Err(GgufError::UnsupportedVersion { version }),
    }
}
