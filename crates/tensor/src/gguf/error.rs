//! What can be wrong with a GGUF file.

use core::fmt;

use super::{MAX_NESTING, Name, Split, ValueType};
use crate::blocks::GgmlType;

/// Why a file was refused, or why a value could not be read from it.
///
/// Offsets count bytes from the beginning of the file unless a field says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// Only a part of the file was given, and the reader needs more of it. `needed_bytes` is enough for the next element, not for
    /// the whole header: read at least twice as much as was given.
    #[error("the first {needed_bytes} bytes of the file are needed, {available_bytes} were given")]
    Truncated {
        /// Length of the beginning of the file that is needed at least.
        needed_bytes: u64,
        /// Length of what was given.
        available_bytes: u64,
    },
    /// An element lies beyond the end of the file: it was cut off, or a length in it is wrong.
    #[error(
        "{part} begins at byte {offset} and would end at byte {needed_bytes}, but the file has {file_bytes} bytes"
    )]
    PastEndOfFile {
        /// What was being read.
        part: Part,
        /// Where it begins.
        offset: u64,
        /// Where it would end; `u64::MAX` on overflow.
        needed_bytes: u64,
        /// Size of the file.
        file_bytes: u64,
    },
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it begins with `{}`, not with `GGUF`", .magic.escape_ascii())]
    NotGguf {
        /// The first four bytes.
        magic: [u8; 4],
    },
    /// A version other than 2 and 3.
    #[error("GGUF version {version} at byte 4 is not supported, only 2 and 3 are")]
    UnsupportedVersion {
        /// The version.
        version: u32,
    },
    /// A file for big-endian machines.
    #[error("a big-endian GGUF file (version {version}); only little-endian files can be read")]
    BigEndian {
        /// The version, its bytes put in order.
        version: u32,
    },
    /// A number of elements that the rest of the file cannot hold.
    #[error(
        "{part} is said to have {count} entries (at byte {offset}), but the rest of the file holds at most {max}: the file is cut off, or the number is wrong"
    )]
    TooMany {
        /// What there are too many of.
        part: Part,
        /// Where the number is in the file.
        offset: u64,
        /// The number.
        count: u64,
        /// The most that the rest of the file could hold.
        max: u64,
    },
    /// A key or tensor name longer than the format allows, or empty.
    #[error("{part} at byte {offset} has {len_bytes} bytes, but 1 to {max_bytes} are allowed")]
    NameLength {
        /// What was being read.
        part: Part,
        /// Where the name begins.
        offset: u64,
        /// Its length in bytes.
        len_bytes: u64,
        /// The longest allowed.
        max_bytes: u64,
    },
    /// Text that is not UTF-8.
    #[error("{part} is not UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// Which text.
        part: Part,
        /// Where the first bad byte is; for the value of a key, counted from the value's beginning.
        offset: u64,
    },
    /// A value type that the format does not define.
    #[error("the value of `{key}` has the unknown type {id} at byte {offset}; types are 0 to {}", ValueType::F64 as u32)]
    UnknownValueType {
        /// Key of the value.
        key: Name,
        /// Where the type's number is in the file.
        offset: u64,
        /// The number.
        id: u32,
    },
    /// A bool other than 0 and 1.
    #[error("the value of `{key}` holds {byte} at byte {offset}, but a bool is 0 or 1")]
    InvalidBool {
        /// Key of the value.
        key: Name,
        /// Where the byte is in the file.
        offset: u64,
        /// The byte.
        byte: u8,
    },
    /// Arrays within arrays beyond [`MAX_NESTING`].
    #[error("the value of `{key}` nests arrays more than {MAX_NESTING} deep at byte {offset}", MAX_NESTING = MAX_NESTING)]
    NestedTooDeep {
        /// Key of the value.
        key: Name,
        /// Where the innermost array begins.
        offset: u64,
    },
    /// Two metadata entries with the same key.
    #[error("the key `{key}` is there twice")]
    DuplicateKey {
        /// The key.
        key: Name,
    },
    /// `general.alignment` is not a power of two of at least 8.
    #[error("`general.alignment` is {alignment}, but must be a power of two of at least 8")]
    BadAlignment {
        /// The value.
        alignment: u32,
    },
    /// More dimensions than ggml has.
    #[error("tensor `{tensor}` has {n_dims} dimensions (at byte {offset}), but at most 4 are possible")]
    TooManyDimensions {
        /// Name of the tensor.
        tensor: Name,
        /// Where the number is in the file.
        offset: u64,
        /// Number of dimensions.
        n_dims: u32,
    },
    /// A dimension of zero, or dimensions whose product cannot be addressed.
    #[error("tensor `{tensor}` has the dimensions {} × {} × {} × {}: none may be zero, and their product must be addressable", .dims[0], .dims[1], .dims[2], .dims[3])]
    BadDimensions {
        /// Name of the tensor.
        tensor: Name,
        /// The dimensions; unused ones are 1.
        dims: [u64; 4],
    },
    /// A tensor type that ggml has removed or not assigned.
    #[error("tensor `{tensor}` has the unknown ggml type {id} at byte {offset}")]
    UnknownTensorType {
        /// Name of the tensor.
        tensor: Name,
        /// Where the type's number is in the file.
        offset: u64,
        /// The number.
        id: u32,
    },
    /// Rows that do not consist of whole blocks.
    #[error("tensor `{tensor}` has rows of {row_len}, but {ty} needs a multiple of {}", .ty.block_len())]
    PartialBlock {
        /// Name of the tensor.
        tensor: Name,
        /// Its type.
        ty: GgmlType,
        /// Length of a row.
        row_len: u64,
    },
    /// Two tensors of the same name.
    #[error("tensor `{tensor}` is there twice")]
    DuplicateTensor {
        /// The name.
        tensor: Name,
    },
    /// Tensor data that does not begin at a multiple of the alignment.
    #[error(
        "tensor `{tensor}` begins at byte {data_offset} of the tensor data, which is no multiple of the alignment {alignment}"
    )]
    MisalignedTensor {
        /// Name of the tensor.
        tensor: Name,
        /// Where its data begins, counted from the beginning of the tensor data.
        data_offset: u64,
        /// The file's alignment.
        alignment: u32,
    },
    /// Tensor data that ends after the file.
    #[error("tensor `{tensor}` would end at byte {end_offset}, but the file has {file_bytes} bytes")]
    TensorPastEndOfFile {
        /// Name of the tensor.
        tensor: Name,
        /// Where its data would end; `u64::MAX` on overflow.
        end_offset: u64,
        /// Size of the file.
        file_bytes: u64,
    },
    /// Tensor data that begins within that of another tensor.
    #[error(
        "tensor `{tensor}` begins at byte {data_offset} of the tensor data, inside another tensor, which ends at byte {previous_end}"
    )]
    OverlappingTensor {
        /// Name of the tensor.
        tensor: Name,
        /// Where its data begins, counted from the beginning of the tensor data.
        data_offset: u64,
        /// Where the data of the other tensor ends, counted in the same way.
        previous_end: u64,
    },
    /// A model without any files.
    #[error("the model has no files")]
    NoParts,
    /// A part of a model whose number is not below the number of parts.
    #[error("`split.no` is {index}, but of {count} parts (`split.count`) the last is number {}", .count - 1)]
    PartNumber {
        /// Its number, from 0.
        index: u32,
        /// How many parts there are, according to the file.
        count: u32,
    },
    /// A file that is not the part which belongs at its place.
    #[error(fmt = not_the_part)]
    NotThePart {
        /// The part's number, from 0.
        index: u32,
        /// How many parts there are.
        count: u32,
        /// Which part it is; `None` if it is a whole file.
        found: Option<Split>,
    },
    /// The parts of a model have more or fewer tensors than they claim.
    #[error("the parts have {found} tensors, but `split.tensors.count` is {expected}")]
    TensorsInParts {
        /// The number in `split.tensors.count`.
        expected: u32,
        /// The actual number.
        found: u64,
    },
    /// The parts of a model are together larger than the address space.
    #[error("the parts are longer together than any memory")]
    PartsTooLong,
    /// A required key is missing.
    #[error("the key `{key}` is missing")]
    MissingKey {
        /// The key.
        key: Name,
    },
    /// The value of a key has another type than the requested one.
    #[error("the value of `{key}` is of type {found}, but {expected} is needed")]
    WrongType {
        /// The key.
        key: Name,
        /// The requested type.
        expected: &'static str,
        /// The actual type.
        found: ValueType,
    },
    /// The value of a key does not fit the requested type.
    #[error("the value of `{key}` does not fit {expected}")]
    OutOfRange {
        /// The key.
        key: Name,
        /// The requested type.
        expected: &'static str,
    },
    /// No memory for the tables.
    #[error("no memory for {needed_bytes} bytes of the file's tables")]
    OutOfMemory {
        /// Size of the allocation that failed.
        needed_bytes: u64,
    },
}

fn not_the_part(index: &u32, count: &u32, found: &Option<Split>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let number = |index: u32| u64::from(index) + 1;
    let Some(found) = found else {
        return write!(f, "expected part {} of {count} of a model, but it is a whole one", number(*index));
    };
    write!(f, "it is part {} of {}, ", number(found.index), found.count)?;
    match (found.index, found.count) == (*index, *count) {
        true => write!(f, "but of another model: `split.tensors.count` differs from the first part's"),
        false => write!(f, "expected part {} of {count}", number(*index)),
    }
}

/// The part of a file that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Magic, version and the two counts.
    Header,
    /// The metadata as a whole.
    Metadata,
    /// A key, by its position in the metadata.
    Key(u64),
    /// The value of a key.
    Value(Name),
    /// The tensor table as a whole.
    TensorTable,
    /// A tensor's name, by its position in the table.
    TensorName(u64),
    /// A tensor's entry in the table.
    TensorEntry(Name),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => write!(f, "the header"),
            Self::Metadata => write!(f, "the metadata"),
            Self::Key(index) => write!(f, "key number {index}"),
            Self::Value(key) => write!(f, "the value of `{key}`"),
            Self::TensorTable => write!(f, "the tensor table"),
            Self::TensorName(index) => write!(f, "the name of tensor number {index}"),
            Self::TensorEntry(name) => write!(f, "the table entry of tensor `{name}`"),
        }
    }
}
