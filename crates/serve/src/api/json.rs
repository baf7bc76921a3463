//! Reading JSON with bounded memory, allocated in advance, and with errors that name the field; writing JSON.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::Serialize;

use crate::error::{ApiError, NO_MEMORY, shortened};

/// Most bytes that one character of a text takes when written: `\u0000`.
const MAX_ESCAPED_BYTES: usize = 6;

/// Most objects in a body. Each becomes a message, a part of one, a call or a tool.
const MAX_OBJECTS: usize = 1 << 16;

/// Most bytes of memory that an object of a body takes, without its texts.
const OBJECT_BYTES: usize = 512;

/// How much memory the library takes at most for a text that it gathers piece by piece, in units of the text's length. Its buffer
/// doubles as it grows. Each new buffer is larger than all earlier ones together, so that it cannot reuse their space.
const GROWTH: usize = 4;

/// The same for an error; its text is copied once more in the end.
const ERROR_GROWTH: usize = GROWTH + 1;

/// Most bytes written besides texts.
const MAX_FRAME_BYTES: usize = 1024;

/// Reads the body of a request. Fields that `T` does not know are ignored.
///
/// # Errors
/// What is wrong, with the path of the field.
pub fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, ApiError> {
    ensure_room(body)?;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = shortened(error.path());
        let error = error.into_inner();
        let message = shortened(&error);
        if error.is_data() && message.starts_with(NO_MEMORY) {
            return ApiError::out_of_memory();
        }
        match path.as_str() {
            "." if error.is_data() => ApiError::bad(message),
            _ if !error.is_data() => ApiError::bad(format!("the body is no JSON: {message}")),
            _ => ApiError::field(path, error),
        }
    })?;
    let end = deserializer.end();
    end.map_err(|error| ApiError::bad(format!("the body is no JSON: {error}")))?;
    Ok(value)
}

/// Makes sure that there is memory to read a body. The library gathers strings with escapes in a buffer that doubles as it grows,
/// copies names of members, and makes texts of errors. It cannot report a lack of memory for that.
///
/// # Errors
/// If there is not enough memory, or if the body has more objects than any request needs.
pub fn ensure_room(body: &[u8]) -> Result<(), ApiError> {
    let Extent { n_objects, text_bytes } = Extent::of(body);
    if n_objects > MAX_OBJECTS {
        return Err(ApiError::bad(format!("the body has more than {MAX_OBJECTS} objects")));
    }
    let mut probe: Vec<u8> = Vec::new();
    let room = text_bytes.saturating_add(body.len()).saturating_add(n_objects * OBJECT_BYTES);
    probe.try_reserve_exact(room).map_err(|_| ApiError::out_of_memory())
}

/// What determines the memory needed to read a body.
#[derive(Debug, PartialEq, Eq)]
struct Extent {
    /// Number of objects, at all depths.
    n_objects: usize,
    /// Bytes for the string that needs the most.
    text_bytes: usize,
}

/// An upper bound of the bytes of a text when an error quotes it: invisible characters appear as escapes.
fn quoted_bytes(text: &[u8]) -> usize {
    let unescaped = match str::from_utf8(text) {
        Ok(text) if !text.is_ascii() => text.chars().flat_map(char::escape_debug).map(char::len_utf8).sum(),
        // Of the bytes counted here, only DEL becomes an escape, of six bytes. Invalid UTF-8 is not quoted.
        _ => text.len() + 5 * text.iter().filter(|byte| **byte == 0x7f).count(),
    };
    unescaped + growth_of_escapes(text)
}

/// By how many bytes a text grows because its JSON escapes are shorter than the escapes in an error: `\u{8}` for `\b`, `\u{c}`
/// for `\f`, and `\u{e000}` for `\ue000`.
fn growth_of_escapes(text: &[u8]) -> usize {
    let mut bytes = text.iter();
    let mut growth = 0;
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' {
            growth += match bytes.next() {
                Some(b'b' | b'f') => 3,
                Some(b'u') => 2,
                _ => 0,
            };
        }
    }
    growth
}

impl Extent {
    fn of(body: &[u8]) -> Self {
        let mut extent = Self { n_objects: 0, text_bytes: 0 };
        let mut bytes = body.iter();
        while let Some(byte) = bytes.next() {
            if *byte == b'{' {
                extent.n_objects += 1;
            }
            if *byte != b'"' {
                continue;
            }
            let text = bytes.as_slice();
            while let Some(byte) = bytes.next() {
                match byte {
                    b'"' => break,
                    b'\\' => _ = bytes.next(),
                    _ => {}
                }
            }
            let text = &text[..text.len() - bytes.len()];
            // A string without escapes is read in place. Any string may be quoted in an error, or copied.
            let gathered = if text.contains(&b'\\') { text.len() } else { 0 };
            let taken = gathered.saturating_mul(GROWTH);
            let taken = taken.saturating_add(quoted_bytes(text).saturating_mul(ERROR_GROWTH));
            extent.text_bytes = extent.text_bytes.max(taken);
        }
        extent
    }
}

/// Appends `value` as JSON. The texts in it have up to `text_bytes` bytes in total. If there is no memory, fails and appends
/// nothing.
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
    /// A text in quotes; `null` for `None`.
    Text(Option<&'v str>),
    /// A number.
    Number(u64),
    /// JSON, appended as it is.
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

/// Appends a JSON template in which each `$` is replaced by the next value; fails if there is no memory.
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

/// Appends a text unchanged; fails if there is no memory.
pub fn append(out: &mut Vec<u8>, text: &str) -> fmt::Result {
    out.try_reserve(text.len()).map_err(|_| fmt::Error)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// A text of a request. It borrows from the body if the body contains it without escapes.
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

/// A copy of a text, for deserializers.
///
/// # Errors
/// If there is no memory for it.
pub fn copy<E: de::Error>(text: &str) -> Result<String, E> {
    own(text).map_err(|_| no_memory())
}

/// A copy of a text.
///
/// # Errors
/// If there is no memory for it.
pub fn own(text: &str) -> Result<String, ApiError> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| ApiError::out_of_memory())?;
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

/// The visitor that reads a [`List`].
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

/// Adds an element to a list of at most `max` elements.
///
/// # Errors
/// If the list is full, or if there is no memory.
pub fn push<T, E: de::Error>(list: &mut Vec<T>, element: T, max: usize) -> Result<(), E> {
    if list.len() == max {
        return Err(E::custom(format_args!("more than {max} elements")));
    }
    list.try_reserve(1).map_err(|_| no_memory())?;
    list.push(element);
    Ok(())
}

/// The error that there is no memory.
pub fn no_memory<E: de::Error>() -> E {
    E::custom(NO_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::super::conversation::{Call, Message, Part};
    use super::*;

    #[test]
    fn the_memory_that_a_body_takes_is_known_before_it_is_read() {
        let of = |body: &str| {
            let Extent { n_objects, text_bytes } = Extent::of(body.as_bytes());
            (n_objects, text_bytes)
        };
        assert_eq!(of(r#"{"a": [{}, {"b": "{\"{"}], "c": "\\\\"}"#), (3, 9 * 5));
        // Broken JSON ends somewhere.
        assert_eq!(of(r#"{"a"#), (1, 5));
        assert_eq!(of(r#""\"#), (0, 9));
        // Characters that an error writes longer need more memory.
        for text in ["\u{7f}", "\u{e9}", "\u{300}", "\u{200b}", "\u{20ac}", "\u{e0001}"] {
            let json = format!("\"{}\"", text.repeat(100));
            let error = serde_json::from_str::<u8>(&json).unwrap_err();
            let quoted =
                format!("{error}").split(", expected").next().unwrap().len() - "invalid type: string ".len();
            let expected = 5 * quoted;
            assert!(of(&json).1.abs_diff(expected) <= 12, "{text}: {error}");
        }
        for escape in [r"\b", r"\f", r"\n", r"\u0001", r"\u200b", r"\ue000", r"\udb40\udc01", "\\b\u{e9}"] {
            let json = format!("\"{}\"", escape.repeat(100));
            let error = serde_json::from_str::<u8>(&json).unwrap_err();
            let quoted =
                format!("{error}").split(", expected").next().unwrap().len() - "invalid type: string ".len();
            // The string is gathered, too.
            let room = of(&json).1 - 4 * (json.len() - 2);
            assert!(room + 12 >= 5 * quoted, "{escape}: {room} for {error}");
        }
        for size in [size_of::<Message<'_>>(), size_of::<Part<'_>>(), size_of::<Call<'_>>()] {
            assert!(size <= OBJECT_BYTES, "{size}");
        }
    }

    #[test]
    fn a_body_of_too_many_objects_is_refused() {
        let body = |n: usize| format!("[{}{{}}]", "{},".repeat(n - 1));
        let is_taken = |n| read::<&serde_json::value::RawValue>(body(n).as_bytes()).is_ok();
        assert!(is_taken(MAX_OBJECTS) && !is_taken(MAX_OBJECTS + 1));
    }

    #[test]
    fn no_memory_is_the_servers_fault() {
        struct Never;
        impl<'de> Deserialize<'de> for Never {
            fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                Err(no_memory())
            }
        }
        let error = read::<Never>(b"{}").map(drop).unwrap_err();
        assert_eq!(error.status, crate::error::Status::ServiceUnavailable);
    }
}
