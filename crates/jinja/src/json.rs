//! `tojson`: Python's `json.dumps` with `ensure_ascii=False`.

use alloc::string::String;
use core::fmt::Write;

use crate::filters::sorted;
use crate::interpreter::Budget;
use crate::text::{write_float, write_number};
use crate::value::ListKind;
use crate::{ErrorKind, Value};

/// The layout of JSON.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Spaces per level; `None` to write everything on one line.
    pub indent: Option<usize>,
    /// The separators between elements, and between a key and its value.
    pub separators: (String, String),
    pub sort_keys: bool,
    pub ascii_only: bool,
}

pub(crate) fn write_json(
    value: &Value,
    layout: &Layout,
    level: usize,
    out: &mut String,
    budget: &mut Budget,
) -> Result<(), ErrorKind> {
    budget.step()?;
    let new_line = |out: &mut String, level: usize, budget: &mut Budget| match layout.indent {
        None => Ok(()),
        Some(indent) => {
            let width = indent.saturating_mul(level);
            budget.bytes(width.saturating_add(1))?;
            out.push('\n');
            out.extend(core::iter::repeat_n(' ', width));
            Ok(())
        }
    };
    match value {
        Value::None => budget.append(out, "null"),
        Value::Bool(true) => budget.append(out, "true"),
        Value::Bool(false) => budget.append(out, "false"),
        Value::Integer(number) => write_number(out, budget, *number),
        Value::Float(number) if number.is_nan() => budget.append(out, "NaN"),
        Value::Float(number) if number.is_infinite() => {
            budget.append(out, if *number > 0.0 { "Infinity" } else { "-Infinity" })
        }
        Value::Float(number) => write_float(out, budget, *number),
        Value::String(text) | Value::Markup(text) => write_string(text, layout, out, budget),
        Value::List(list) if matches!(list.kind(), ListKind::Range(..) | ListKind::View(_)) => {
            Err(ErrorKind::WrongType { operation: "tojson", found: "range or view of a dict" })
        }
        Value::List(list) if list.elements().is_empty() => budget.append(out, "[]"),
        Value::List(list) => {
            budget.append(out, "[")?;
            for (index, element) in list.elements().iter().enumerate() {
                if index > 0 {
                    budget.append(out, &layout.separators.0)?;
                }
                new_line(out, level + 1, budget)?;
                write_json(element, layout, level + 1, out, budget)?;
            }
            new_line(out, level, budget)?;
            budget.append(out, "]")
        }
        Value::Map(map) if map.entries().is_empty() => budget.append(out, "{}"),
        Value::Map(map) => {
            let mut entries = map.entries().to_vec();
            if layout.sort_keys {
                let keyed = entries.into_iter().map(|(key, value)| (key.clone(), (key, value)));
                let keyed = sorted(keyed.collect(), false, budget)?;
                entries = keyed.into_iter().map(|(_, entry)| entry).collect();
            }
            budget.append(out, "{")?;
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    budget.append(out, &layout.separators.0)?;
                }
                new_line(out, level + 1, budget)?;
                match key {
                    Value::String(key) | Value::Markup(key) => write_string(key, layout, out, budget)?,
                    // Other keys are written as texts.
                    _ => {
                        budget.append(out, "\"")?;
                        write_json(key, layout, level + 1, out, budget)?;
                        budget.append(out, "\"")?;
                    }
                }
                budget.append(out, &layout.separators.1)?;
                write_json(value, layout, level + 1, out, budget)?;
            }
            new_line(out, level, budget)?;
            budget.append(out, "}")
        }
        Value::Undefined | Value::Callable(_) => {
            Err(ErrorKind::WrongType { operation: "tojson", found: value.type_name() })
        }
    }
}

fn write_string(text: &str, layout: &Layout, out: &mut String, budget: &mut Budget) -> Result<(), ErrorKind> {
    budget.bytes(6 * text.len() + 2)?;
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            _ if character < ' ' => push_escape(out, character as u16),
            _ if layout.ascii_only && !character.is_ascii() => {
                for &unit in &*character.encode_utf16(&mut [0; 2]) {
                    push_escape(out, unit);
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    Ok(())
}

fn push_escape(out: &mut String, unit: u16) {
    write!(out, "\\u{unit:04x}").expect("a String takes everything");
}
