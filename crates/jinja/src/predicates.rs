//! Tests: `x is f`.

use core::cmp::Ordering;

use crate::interpreter::{CallArguments, Interpreter};
use crate::value::{Callable, Object};
use crate::{ErrorKind, Value};

impl Interpreter<'_> {
    pub(crate) fn test(
        &mut self,
        name: &str,
        value: &Value,
        arguments: &CallArguments,
    ) -> Result<bool, ErrorKind> {
        let other = || arguments.positional.first().ok_or(ErrorKind::BadArguments("a test"));
        let budget = &mut self.budget;
        Ok(match name {
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "integer" => matches!(value, Value::Integer(_)),
            "float" => matches!(value, Value::Float(_)),
            // As in Python, a bool is a number.
            "number" => value.as_number().is_some(),
            "string" => matches!(value, Value::String(_)),
            "mapping" => matches!(value, Value::Map(_)),
            // Whatever has a length and elements, texts and dicts too.
            "sequence" | "iterable" => value.len().is_some(),
            "callable" => {
                !matches!(value, Value::Callable(Callable(Object::Namespace(_))))
                    && matches!(value, Value::Callable(_))
            }
            "even" | "odd" | "divisibleby" => {
                let wrong =
                    || ErrorKind::WrongType { operation: "a test for divisors", found: value.type_name() };
                let number = value.as_integer().ok_or_else(wrong)?;
                let divisor = match name {
                    "divisibleby" => other()?.as_integer().ok_or_else(wrong)?,
                    _ => 2,
                };
                let remainder = number.checked_rem(divisor).ok_or(ErrorKind::Arithmetic)?;
                (remainder == 0) == (name != "odd")
            }
            "lower" => has_case(value, char::is_uppercase),
            "upper" => has_case(value, char::is_lowercase),
            "in" => other()?.contains(value, budget)?,
            "eq" | "==" | "equalto" => value.equals(other()?, budget)?,
            "ne" | "!=" => !value.equals(other()?, budget)?,
            "lt" | "<" | "lessthan" => value.compare(other()?, budget)? == Ordering::Less,
            "le" | "<=" => value.compare(other()?, budget)? != Ordering::Greater,
            "gt" | ">" | "greaterthan" => value.compare(other()?, budget)? == Ordering::Greater,
            "ge" | ">=" => value.compare(other()?, budget)? != Ordering::Less,
            "sameas" => is_same(value, other()?),
            _ => return Err(ErrorKind::UnknownTest(name.into())),
        })
    }
}

/// Whether a text has cased letters and none of the kind that `excluded` tells.
fn has_case(value: &Value, excluded: fn(char) -> bool) -> bool {
    value.as_str().is_some_and(|text| {
        text.chars().any(|c| c.is_lowercase() || c.is_uppercase()) && !text.chars().any(excluded)
    })
}

/// Python's `is` where it can be relied on.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::None, Value::None) | (Value::Undefined, Value::Undefined) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Integer(a), Value::Integer(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::List(a), Value::List(b)) => alloc::rc::Rc::ptr_eq(a, b),
        (Value::Map(a), Value::Map(b)) => alloc::rc::Rc::ptr_eq(a, b),
        _ => false,
    }
}
