//! Tests: `x is f`.

use core::cmp::Ordering;

use crate::ast::BinaryOp;
use crate::interpreter::{CallArguments, Interpreter};
use crate::value::{Callable, Object};
use crate::{ErrorKind, Value};

/// All filters, for the test `filter`.
const FILTERS: [&str; 52] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// All tests, for the test `test`.
const TESTS: [&str; 39] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

impl Interpreter<'_> {
    pub(crate) fn test(
        &mut self,
        name: &str,
        value: &Value,
        arguments: &CallArguments,
    ) -> Result<bool, ErrorKind> {
        let other = || arguments.positional.first().ok_or(ErrorKind::BadArguments("a test"));
        Ok(match name {
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "filter" | "test" => {
                let text = value.as_str().unwrap_or("");
                if name == "filter" { FILTERS.contains(&text) } else { TESTS.contains(&text) }
            }
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "integer" => matches!(value, Value::Integer(_)),
            "float" => matches!(value, Value::Float(_)),
            // As in Python, a bool is a number.
            "number" => value.as_number().is_some(),
            "string" => value.as_str().is_some(),
            "escaped" => value.is_markup(),
            "mapping" => matches!(value, Value::Map(_)),
            // Everything that has a length and elements, including texts and dicts.
            "sequence" | "iterable" => value.len().is_some(),
            "callable" => {
                !matches!(value, Value::Callable(Callable(Object::Namespace(_) | Object::Cycler(_))))
                    && matches!(value, Value::Callable(_) | Value::Undefined)
            }
            "even" | "odd" | "divisibleby" => {
                let wrong =
                    || ErrorKind::WrongType { operation: "a test for divisors", found: value.type_name() };
                if value.as_number().is_none() {
                    return Err(wrong());
                }
                let divisor = match name {
                    "divisibleby" => other()?.clone(),
                    _ => Value::Integer(2),
                };
                let remainder = self.binary(BinaryOp::Remainder, value, &divisor)?;
                let wanted = Value::Integer(i64::from(name == "odd"));
                remainder.equals(&wanted, &mut self.budget)?
            }
            "lower" => has_case(&value.to_text(&mut self.budget)?, char::is_uppercase),
            "upper" => has_case(&value.to_text(&mut self.budget)?, char::is_lowercase),
            "in" => other()?.contains(value, &mut self.budget)?,
            "eq" | "==" | "equalto" => value.equals(other()?, &mut self.budget)?,
            "ne" | "!=" => !value.equals(other()?, &mut self.budget)?,
            "lt" | "<" | "lessthan" => value.compare(other()?, &mut self.budget)? == Ordering::Less,
            "le" | "<=" => value.compare(other()?, &mut self.budget)? != Ordering::Greater,
            "gt" | ">" | "greaterthan" => value.compare(other()?, &mut self.budget)? == Ordering::Greater,
            "ge" | ">=" => value.compare(other()?, &mut self.budget)? != Ordering::Less,
            "sameas" => is_same(value, other()?),
            _ => return Err(ErrorKind::UnknownTest(name.into())),
        })
    }
}

/// Whether a text has cased letters, none of which satisfies `excluded`.
fn has_case(text: &str, excluded: fn(char) -> bool) -> bool {
    text.chars().any(|c| c.is_lowercase() || c.is_uppercase()) && !text.chars().any(excluded)
}

/// Python's `is`, for the cases in which its result is reliable.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::None, Value::None) | (Value::Undefined, Value::Undefined) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Integer(a), Value::Integer(b)) => a == b,
        (Value::String(a), Value::String(b)) | (Value::Markup(a), Value::Markup(b)) => a == b,
        (Value::List(a), Value::List(b)) => alloc::rc::Rc::ptr_eq(a, b),
        (Value::Map(a), Value::Map(b)) => alloc::rc::Rc::ptr_eq(a, b),
        _ => false,
    }
}
