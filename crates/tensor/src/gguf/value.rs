//! Metadata values: scalars, texts and arrays, borrowed from the file.

use core::fmt;

use super::reader::Cursor;

/// The type of a metadata value, as numbered by the format (`gguf_metadata_value_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[rustfmt::skip]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum ValueType {
    U8 = 0, I8 = 1, U16 = 2, I16 = 3, U32 = 4, I32 = 5, F32 = 6, Bool = 7,
    String = 8, Array = 9, U64 = 10, I64 = 11, F64 = 12,
}

impl ValueType {
    /// The type with this number, `None` if the format defines none.
    pub fn from_id(id: u32) -> Option<Self> {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64]
            .get(usize::try_from(id).ok()?)
            .copied()
    }

    /// The number in the file.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The format's name, such as `uint32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::F32 => "float32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F64 => "float64",
        }
    }

    /// Bytes of one value; `None` for strings and arrays, whose length varies.
    pub fn fixed_bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(GgufStr<'a>),
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// The type under which the file stores it.
    pub fn ty(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
        }
    }

    /// An integer of any width.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// A float of either width, rounded to f32.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// A bool.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Self::Array(v) => Some(v),
            _ => None,
        }
    }
}

/// Shows scalars and texts whole, arrays by their element type and length.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => v.fmt(f),
            Self::I8(v) => v.fmt(f),
            Self::U16(v) => v.fmt(f),
            Self::I16(v) => v.fmt(f),
            Self::U32(v) => v.fmt(f),
            Self::I32(v) => v.fmt(f),
            Self::U64(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F32(v) => v.fmt(f),
            Self::F64(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
            Self::String(v) => v.fmt(f),
            Self::Array(v) => write!(f, "[{}; {}]", v.element_type(), v.len()),
        }
    }
}

/// A text of the file: UTF-8 by the format, but not always in practice (vocabularies hold pieces of
/// characters).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgufStr<'a>(pub(super) &'a [u8]);

impl<'a> GgufStr<'a> {
    /// The bytes as they are.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text.
    ///
    /// # Errors
    /// The position of the first byte that is not UTF-8.
    pub fn as_str(self) -> Result<&'a str, core::str::Utf8Error> {
        core::str::from_utf8(self.0)
    }
}

impl<'a> From<&'a str> for GgufStr<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl fmt::Display for GgufStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

/// An array of values of one type, checked when the file was parsed, decoded when iterated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array<'a> {
    pub(super) ty: ValueType,
    pub(super) len: usize,
    /// The `len` elements as they are in the file, and nothing else.
    pub(super) bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// Type of the elements.
    pub fn element_type(&self) -> ValueType {
        self.ty
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All elements as values, of any type.
    pub fn values(&self) -> Values<'a> {
        Values { ty: self.ty, remaining: self.len, cursor: Cursor::trusted(self.bytes) }
    }

    /// The elements of a string array as bytes, which need not be UTF-8.
    pub fn strings(&self) -> Option<Strings<'a>> {
        (self.ty == ValueType::String)
            .then(|| Strings { remaining: self.len, cursor: Cursor::trusted(self.bytes) })
    }

    /// The elements of an array of `uint32`, or of `int32` without negative values.
    pub fn u32s(&self) -> Option<impl ExactSizeIterator<Item = u32> + Clone + use<'a>> {
        let elements = self.words::<4>().map(u32::from_le_bytes);
        match self.ty {
            ValueType::U32 => Some(elements),
            ValueType::I32 if elements.clone().all(|v| v <= i32::MAX as u32) => Some(elements),
            _ => None,
        }
    }

    /// The elements of an array of `int32`, or of `uint32` that fit.
    pub fn i32s(&self) -> Option<impl ExactSizeIterator<Item = i32> + Clone + use<'a>> {
        let elements = self.words::<4>().map(i32::from_le_bytes);
        match self.ty {
            ValueType::I32 => Some(elements),
            ValueType::U32 if elements.clone().all(|v| v >= 0) => Some(elements),
            _ => None,
        }
    }

    /// The elements of an array of `float32`.
    pub fn f32s(&self) -> Option<impl ExactSizeIterator<Item = f32> + Clone + use<'a>> {
        (self.ty == ValueType::F32).then(|| self.words::<4>().map(f32::from_le_bytes))
    }

    /// The elements of an array of `bool`.
    pub fn bools(&self) -> Option<impl ExactSizeIterator<Item = bool> + Clone + use<'a>> {
        (self.ty == ValueType::Bool).then(|| self.bytes.iter().map(|&byte| byte != 0))
    }

    /// The elements as they are in the file, for callers that index them themselves.
    pub fn encoded(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements of an array of `uint8` or `int8`, unchanged.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        matches!(self.ty, ValueType::U8 | ValueType::I8).then_some(self.bytes)
    }

    /// The elements of an array of arrays.
    pub fn arrays(&self) -> Option<impl Iterator<Item = Array<'a>> + Clone + use<'a>> {
        (self.ty == ValueType::Array).then(|| {
            self.values().filter_map(|value| match value {
                Value::Array(array) => Some(array),
                _ => None,
            })
        })
    }

    fn words<const N: usize>(&self) -> impl ExactSizeIterator<Item = [u8; N]> + Clone + use<'a, N> {
        self.bytes.as_chunks::<N>().0.iter().copied()
    }
}

/// The elements of an [`Array`].
#[derive(Debug, Clone)]
pub struct Values<'a> {
    ty: ValueType,
    remaining: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        // The same code read the same bytes without an error when the file was parsed.
        self.cursor.value(self.ty, 0).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Values<'_> {}

/// The elements of a string [`Array`].
#[derive(Debug, Clone)]
pub struct Strings<'a> {
    remaining: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.remaining = self.remaining.checked_sub(1)?;
        // The same code read the same bytes without an error when the file was parsed.
        self.cursor.string().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Strings<'_> {}
