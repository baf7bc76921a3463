//! A position in the file's bytes that never moves past their end.

use super::{Array, GgufError, GgufStr, MAX_NESTING, Name, Part, Value, ValueType};

/// What is being read. Like [`Part`], but names are copied only when an error is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Header,
    Key(u64),
    Value(&'a str),
    TensorName(u64),
    TensorEntry(&'a str),
}

impl From<Place<'_>> for Part {
    fn from(place: Place<'_>) -> Self {
        match place {
            Place::Header => Self::Header,
            Place::Key(index) => Self::Key(index),
            Place::Value(key) => Self::Value(Name::from(key)),
            Place::TensorName(index) => Self::TensorName(index),
            Place::TensorEntry(name) => Self::TensorEntry(Name::from(name)),
        }
    }
}

/// A reader over the beginning of a file.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    file_bytes: u64,
    /// Named in errors.
    pub(super) place: Place<'a>,
}

impl<'a> Cursor<'a> {
    /// A reader of `bytes`, the beginning of a file of `file_bytes`.
    pub(super) fn new(bytes: &'a [u8], file_bytes: u64) -> Self {
        Self { bytes, position: 0, file_bytes, place: Place::Header }
    }

    /// A reader of elements that were read without errors before; offsets in its errors would be meaningless.
    pub(super) fn trusted(bytes: &'a [u8]) -> Self {
        Self::new(bytes, bytes.len() as u64)
    }

    /// The position, in bytes from the beginning.
    pub(super) fn offset(&self) -> u64 {
        self.position as u64
    }

    /// The next `len_bytes` bytes.
    pub(super) fn take(&mut self, len_bytes: u64) -> Result<&'a [u8], GgufError> {
        let available = &self.bytes[self.position..];
        let taken = usize::try_from(len_bytes).ok().and_then(|len| available.get(..len));
        match taken {
            Some(taken) => {
                self.position += taken.len();
                Ok(taken)
            }
            None => Err(self.shortage(len_bytes)),
        }
    }

    #[cold]
    fn shortage(&self, len_bytes: u64) -> GgufError {
        let needed_bytes = self.offset().saturating_add(len_bytes);
        if needed_bytes > self.file_bytes {
            GgufError::PastEndOfFile {
                part: self.place.into(),
                offset: self.offset(),
                needed_bytes,
                file_bytes: self.file_bytes,
            }
        } else {
            GgufError::Truncated { needed_bytes, available_bytes: self.bytes.len() as u64 }
        }
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        match self.bytes[self.position..].first_chunk() {
            Some(word) => {
                self.position += N;
                Ok(*word)
            }
            None => Err(self.shortage(N as u64)),
        }
    }

    pub(super) fn magic(&mut self) -> Result<[u8; 4], GgufError> {
        self.word()
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        self.word().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        self.word().map(u64::from_le_bytes)
    }

    /// Checks a count, stored at `count_offset`, of entries that follow and have at least `min_bytes` each. It is an error if the
    /// rest of the file cannot hold them.
    pub(super) fn check_count(
        &self,
        part: Part,
        count: u64,
        count_offset: u64,
        min_bytes: u64,
    ) -> Result<usize, GgufError> {
        let max = (self.file_bytes.saturating_sub(self.offset()) / min_bytes).min(u32::MAX.into());
        match usize::try_from(count) {
            Ok(count_here) if count <= max => Ok(count_here),
            _ => Err(GgufError::TooMany { part, offset: count_offset, count, max }),
        }
    }

    /// A string: its length as u64, its bytes.
    pub(super) fn string(&mut self) -> Result<&'a [u8], GgufError> {
        let len_bytes = self.u64()?;
        self.take(len_bytes)
    }

    /// A string that names something: UTF-8, not empty, at most `max_bytes` long.
    pub(super) fn name(&mut self, max_bytes: u64) -> Result<&'a str, GgufError> {
        let len_bytes = self.u64()?;
        let offset = self.offset();
        if !(1..=max_bytes).contains(&len_bytes) {
            return Err(GgufError::NameLength { part: self.place.into(), offset, len_bytes, max_bytes });
        }
        core::str::from_utf8(self.take(len_bytes)?).map_err(|error| GgufError::InvalidUtf8 {
            part: self.place.into(),
            offset: offset + error.valid_up_to() as u64,
        })
    }

    /// The type of a value or of the elements of an array.
    pub(super) fn value_type(&mut self) -> Result<ValueType, GgufError> {
        let offset = self.offset();
        let id = self.u32()?;
        ValueType::from_id(id).ok_or_else(|| GgufError::UnknownValueType { key: self.key(), offset, id })
    }

    /// A value of type `ty` inside `depth` arrays.
    pub(super) fn value(&mut self, ty: ValueType, depth: usize) -> Result<Value<'a>, GgufError> {
        Ok(match ty {
            ValueType::U8 => Value::U8(u8::from_le_bytes(self.word()?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(self.word()?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.word()?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.word()?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(self.word()?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(self.word()?)),
            ValueType::U64 => Value::U64(u64::from_le_bytes(self.word()?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(self.word()?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(self.word()?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(self.word()?)),
            ValueType::Bool => {
                let offset = self.offset();
                let [byte] = self.word()?;
                self.check_bools(&[byte], offset)?;
                Value::Bool(byte != 0)
            }
            ValueType::String => Value::String(GgufStr(self.string()?)),
            ValueType::Array => Value::Array(self.array(depth)?),
        })
    }

    fn array(&mut self, depth: usize) -> Result<Array<'a>, GgufError> {
        if depth == MAX_NESTING {
            return Err(GgufError::NestedTooDeep { key: self.key(), offset: self.offset() });
        }
        let ty = self.value_type()?;
        let count_offset = self.offset();
        let count = self.u64()?;
        let min_bytes = match ty {
            ValueType::String => STRING_MIN_BYTES,
            ValueType::Array => ARRAY_MIN_BYTES,
            _ => ty.fixed_bytes().unwrap_or(1) as u64,
        };
        let len = self.check_count(self.place.into(), count, count_offset, min_bytes)?;
        let begin = self.position;
        match ty {
            ValueType::String => {
                for _ in 0..len {
                    self.string()?;
                }
            }
            ValueType::Array => {
                for _ in 0..len {
                    self.array(depth + 1)?;
                }
            }
            // This cannot overflow: the count was checked against the file's size.
            _ => {
                let offset = self.offset();
                let elements = self.take(count * min_bytes)?;
                if ty == ValueType::Bool {
                    self.check_bools(elements, offset)?;
                }
            }
        }
        Ok(Array { ty, len, bytes: &self.bytes[begin..self.position] })
    }

    fn check_bools(&self, bytes: &[u8], offset: u64) -> Result<(), GgufError> {
        match bytes.iter().position(|&byte| byte > 1) {
            None => Ok(()),
            Some(index) => Err(GgufError::InvalidBool {
                key: self.key(),
                offset: offset + index as u64,
                byte: bytes[index],
            }),
        }
    }

    fn key(&self) -> Name {
        match self.place {
            Place::Value(key) | Place::TensorEntry(key) => Name::from(key),
            _ => Name::from(""),
        }
    }
}

/// An empty string is only its length.
const STRING_MIN_BYTES: u64 = 8;
/// An empty array is only its element type and length.
const ARRAY_MIN_BYTES: u64 = 4 + 8;
