//! The contents of a model's file as text: [`metadata`] and [`tensors`], one entry per line.

use core::fmt;
use core::ops::ControlFlow;

use crate::gguf::{Gguf, Value};

/// A callback that shows a line, and may end the list.
pub type Show<'s> = dyn FnMut(fmt::Arguments<'_>) -> ControlFlow<()> + 's;

/// A function that shows the entries of a file with one call each, until a call breaks off.
pub type List = fn(&Gguf<'_>, &mut Show<'_>) -> ControlFlow<()>;

/// Shows all metadata keys with their values; long values are cut.
pub fn metadata(gguf: &Gguf<'_>, show: &mut Show<'_>) -> ControlFlow<()> {
    gguf.metadata().try_for_each(|(key, value)| show(format_args!("{key} = {}", Shown(&value))))
}

/// Shows all tensors with their type, shape, offset and size.
pub fn tensors(gguf: &Gguf<'_>, show: &mut Show<'_>) -> ControlFlow<()> {
    gguf.tensors().iter().try_for_each(|tensor| {
        show(format_args!(
            "{} {} [{}] at {} ({} bytes)",
            tensor.name,
            tensor.ty,
            Shape(tensor.shape()),
            gguf.data_offset() + tensor.offset,
            tensor.size_bytes
        ))
    })
}

struct Shape<'s>(&'s [u64]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .enumerate()
            .try_for_each(|(index, dim)| write!(f, "{}{dim}", if index == 0 { "" } else { " x " }))
    }
}

/// A metadata value: texts escaped, long texts and arrays cut.
struct Shown<'v, 'a>(&'v Value<'a>);

impl fmt::Display for Shown<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_CHARS: usize = 200;
        const MAX_ELEMENTS: usize = 6;
        match self.0 {
            Value::String(text) => {
                f.write_str("\"")?;
                // Invalid UTF-8 is shown as U+FFFD. The bytes taken here always suffice for more than MAX_CHARS
                // characters.
                let bytes = text.as_bytes();
                let n_bytes = bytes.len().min(4 * (MAX_CHARS + 1));
                let mut n_left = MAX_CHARS;
                let mut is_cut = n_bytes < bytes.len();
                for chunk in bytes[..n_bytes].utf8_chunks() {
                    let replacement = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
                    for part in [chunk.valid(), replacement] {
                        let end = part.char_indices().nth(n_left).map(|(at, _)| at);
                        is_cut |= end.is_some();
                        let part = &part[..end.unwrap_or(part.len())];
                        n_left -= part.chars().count();
                        write!(f, "{}", part.escape_debug())?;
                    }
                }
                f.write_str(if is_cut { "\" ..." } else { "\"" })
            }
            Value::Array(array) => {
                write!(f, "{} of {}: [", array.len(), array.element_type())?;
                for (index, value) in array.values().take(MAX_ELEMENTS).enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", Shown(&value))?;
                }
                f.write_str(if array.len() > MAX_ELEMENTS { ", ...]" } else { "]" })
            }
            scalar => scalar.fmt(f),
        }
    }
}
