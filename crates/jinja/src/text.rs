//! Texts of values, as Python's `str`, `repr` and `pprint` write them.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::filters::sorted;
use crate::interpreter::Budget;
use crate::value::ListKind;
use crate::{ErrorKind, Value};

impl Value {
    /// Appends its text, as Python's `str` returns it.
    pub(crate) fn write_text(&self, out: &mut String, budget: &mut Budget) -> Result<(), ErrorKind> {
        match self {
            Self::Undefined => Ok(()),
            Self::String(text) | Self::Markup(text) => budget.append(out, text),
            _ => self.write_repr(out, budget),
        }
    }

    /// Its text, as Python's `str` returns it.
    pub(crate) fn to_text(&self, budget: &mut Budget) -> Result<Rc<str>, ErrorKind> {
        if let Self::String(text) | Self::Markup(text) = self {
            return Ok(text.clone());
        }
        let mut text = String::new();
        self.write_text(&mut text, budget)?;
        Ok(text.into())
    }

    /// Appends its text as Python's `pprint` writes it on one line: dicts are sorted by their keys.
    pub(crate) fn write_pretty(&self, out: &mut String, budget: &mut Budget) -> Result<(), ErrorKind> {
        self.write_shown(true, out, budget)
    }

    /// Appends its text, as Python's `repr` returns it.
    pub(crate) fn write_repr(&self, out: &mut String, budget: &mut Budget) -> Result<(), ErrorKind> {
        self.write_shown(false, out, budget)
    }

    fn write_shown(&self, sorts: bool, out: &mut String, budget: &mut Budget) -> Result<(), ErrorKind> {
        budget.step()?;
        match self {
            Self::Undefined => budget.append(out, "Undefined"),
            Self::None => budget.append(out, "None"),
            Self::Bool(true) => budget.append(out, "True"),
            Self::Bool(false) => budget.append(out, "False"),
            Self::Integer(number) => write_number(out, budget, *number),
            Self::Float(number) => write_float(out, budget, *number),
            Self::String(text) => write_quoted(out, budget, text),
            Self::Markup(text) => {
                budget.append(out, "Markup(")?;
                write_quoted(out, budget, text)?;
                budget.append(out, ")")
            }
            Self::List(list) => {
                let (open, close) = match (list.kind(), list.elements().len()) {
                    (ListKind::List, _) => ("[", "]"),
                    (ListKind::Tuple | ListKind::Group, 1) => ("(", ",)"),
                    (ListKind::Tuple | ListKind::Group, _) => ("(", ")"),
                    (ListKind::View(name), _) => {
                        budget.append(out, name)?;
                        ("([", "])")
                    }
                    (ListKind::Range(start, stop, step), _) => {
                        budget.bytes(80)?;
                        write!(out, "range({start}, {stop}").expect("a String takes everything");
                        if step != 1 {
                            write!(out, ", {step}").expect("a String takes everything");
                        }
                        out.push(')');
                        return Ok(());
                    }
                };
                budget.append(out, open)?;
                for (index, element) in list.elements().iter().enumerate() {
                    budget.append(out, if index == 0 { "" } else { ", " })?;
                    element.write_shown(sorts, out, budget)?;
                }
                budget.append(out, close)
            }
            Self::Map(map) => {
                budget.append(out, "{")?;
                budget.bytes(size_of_val(map.entries()))?;
                let mut entries: Vec<_> =
                    map.entries().iter().map(|(key, value)| (key.clone(), value)).collect();
                if sorts {
                    entries = sorted(entries, false, budget)?;
                }
                for (index, (key, value)) in entries.iter().enumerate() {
                    budget.append(out, if index == 0 { "" } else { ", " })?;
                    key.write_shown(sorts, out, budget)?;
                    budget.append(out, ": ")?;
                    value.write_shown(sorts, out, budget)?;
                }
                budget.append(out, "}")
            }
            Self::Callable(_) => Err(ErrorKind::WrongType { operation: "output", found: self.type_name() }),
        }
    }
}

pub(crate) fn write_number(out: &mut String, budget: &mut Budget, number: i64) -> Result<(), ErrorKind> {
    budget.bytes(20)?;
    write!(out, "{number}").expect("a String takes everything");
    Ok(())
}

/// Python's shortest form of a number that reads back as the same number.
pub(crate) fn write_float(out: &mut String, budget: &mut Budget, number: f64) -> Result<(), ErrorKind> {
    budget.bytes(32)?;
    if number.is_nan() {
        out.push_str("nan");
        return Ok(());
    }
    if number.is_infinite() {
        out.push_str(if number > 0.0 { "inf" } else { "-inf" });
        return Ok(());
    }
    let begin = out.len();
    write!(out, "{number:?}").expect("a String takes everything");
    // Rust writes 1e16 and 1e-5 where Python writes 1e+16 and 1e-05.
    if let Some(at) = out[begin..].find('e') {
        let exponent = out.split_off(begin + at + 1);
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', &*exponent),
        };
        write!(out, "{sign}{digits:0>2}").expect("a String takes everything");
    }
    Ok(())
}

fn write_quoted(out: &mut String, budget: &mut Budget, text: &str) -> Result<(), ErrorKind> {
    budget.bytes(4 * text.len() + 2)?;
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character == quote => {
                out.push('\\');
                out.push(character);
            }
            _ if character.is_ascii_control() => {
                write!(out, "\\x{:02x}", character as u32).expect("a String takes everything");
            }
            _ => out.push(character),
        }
    }
    out.push(quote);
    Ok(())
}
