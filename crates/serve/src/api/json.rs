//! Reading JSON with bounds, errors that name their field, and memory that is asked for; writing it.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::Serialize;

use crate::error::ApiError;

/// Most bytes of what is written for one character of a text: `\u0000`.
const MAX_ESCAPED_BYTES: usize = 6;

/// Most bytes of what is written beside texts.
const MAX_FRAME_BYTES: usize = 1024;

/// Reads the body of a request. Fields that `T` does not know are ignored.
///
/// # Errors
/// What is wrong, with the path of the field.
pub fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, ApiError> {
    // The library gathers a string with escapes in a buffer that doubles as it grows, and cannot be told that there is no
    // memory. So it is made sure of first.
    let mut probe: Vec<u8> = Vec::new();
    probe.try_reserve(body.len().saturating_mul(3)).map_err(|_| ApiError::out_of_memory())?;
    drop(probe);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        match path.as_str() {
            "." if error.is_data() => ApiError::bad(error.to_string()),
            _ if !error.is_data() => ApiError::bad(format!("the body is no JSON: {error}")),
            _ => ApiError::field(path, error),
        }
    })?;
    let end = deserializer.end();
    end.map_err(|error| ApiError::bad(format!("the body is no JSON: {error}")))?;
    Ok(value)
}

/// Appends `value` in JSON, the texts of which have up to `text_bytes` bytes in all; fails, with nothing appended, if there is no
/// memory.
pub fn write(out: &mut Vec<u8>, value: &impl Serialize, text_bytes: usize) -> fmt::Result {
    let room = text_bytes.saturating_mul(MAX_ESCAPED_BYTES).saturating_add(MAX_FRAME_BYTES);
    out.try_reserve(room).map_err(|_| fmt::Error)?;
    let len = out.len();
    out.resize(len + room, 0);
    let written = serde_json_core::to_slice(value, &mut out[len..]);
    out.truncate(len + written.unwrap_or(0));
    written.map(drop).map_err(|_| fmt::Error)
}

/// A value of a [template](fill).
#[derive(Debug, Clone, Copy)]
pub enum Value<'v> {
    /// A text, in quotes; `null` if there is none.
    Text(Option<&'v str>),
    /// A number.
    Number(u64),
    /// As it is.
    Json(&'v str),
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text))
    }
}

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

/// Appends a template in JSON, with the next of the values in the place of each `$`; fails if there is no memory.
pub fn fill(out: &mut Vec<u8>, template: &str, values: &[Value<'_>]) -> fmt::Result {
    let mut values = values.iter();
    for (index, piece) in template.split('$').enumerate() {
        if index > 0 {
            match *values.next().ok_or(fmt::Error)? {
                Value::Text(text) => write(out, &text, text.map_or(0, str::len))?,
                Value::Number(number) => write(out, &number, 0)?,
                Value::Json(json) => append(out, json)?,
            }
        }
        append(out, piece)?;
    }
    Ok(())
}

/// Appends a text as it is; fails if there is no memory.
pub fn append(out: &mut Vec<u8>, text: &str) -> fmt::Result {
    out.try_reserve(text.len()).map_err(|_| fmt::Error)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// A text of a request: a part of the body where it stands there as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text<'b>(pub Cow<'b, str>);

impl<'de: 'b, 'b> Deserialize<'de> for Text<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
        copy(text).map(|copy| Text(Cow::Owned(copy)))
    }
}

/// A copy of a text.
///
/// # Errors
/// If there is no memory for it.
pub fn copy<E: de::Error>(text: &str) -> Result<String, E> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| no_memory())?;
    copy.push_str(text);
    Ok(copy)
}

/// A list of up to `MAX` elements.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor::default())
    }
}

/// What reads a [`List`].
pub struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<T, const MAX: usize> Default for ListVisitor<T, MAX> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of up to {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            push(&mut list, element, MAX)?;
        }
        Ok(List(list))
    }
}

/// Adds an element to a list of up to `max`.
///
/// # Errors
/// If it has as many, or there is no memory.
pub fn push<T, E: de::Error>(list: &mut Vec<T>, element: T, max: usize) -> Result<(), E> {
    if list.len() == max {
        return Err(E::custom(format_args!("more than {max} elements")));
    }
    list.try_reserve(1).map_err(|_| no_memory())?;
    list.push(element);
    Ok(())
}

/// That there is no memory.
pub fn no_memory<E: de::Error>() -> E {
    E::custom("no memory for this request now; try again later")
}
