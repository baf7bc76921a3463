//! Functions that are available in every template.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::date::format_time;
use crate::interpreter::{CallArguments, Interpreter};
use crate::value::{Cycler, Joiner, ListKind, Object};
use crate::{ErrorKind, Value};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Function {
    Namespace,
    Dict,
    Range,
    RaiseException,
    StrftimeNow,
    Cycler,
    Joiner,
}

impl Function {
    /// The function of this name. There is no `strftime_now` without a clock.
    pub fn named(name: &str, now_seconds: Option<u64>) -> Option<Self> {
        Some(match name {
            "namespace" => Self::Namespace,
            "dict" => Self::Dict,
            "range" => Self::Range,
            "cycler" => Self::Cycler,
            "joiner" => Self::Joiner,
            "raise_exception" => Self::RaiseException,
            "strftime_now" if now_seconds.is_some() => Self::StrftimeNow,
            _ => return None,
        })
    }
}

impl Interpreter<'_> {
    pub(crate) fn function(
        &mut self,
        function: Function,
        arguments: &CallArguments,
    ) -> Result<Value, ErrorKind> {
        match function {
            Function::Namespace => self.namespace(arguments),
            Function::Dict => self.dict(arguments).map(Value::from),
            Function::Range => self.range(arguments),
            Function::Cycler => match Value::tuple(arguments.positional.clone())? {
                Value::List(items) if !items.elements().is_empty() => {
                    Ok(Value::object(Object::Cycler(Rc::new(Cycler { items, position: Cell::new(0) }))))
                }
                _ => Err(ErrorKind::BadArguments("cycler")),
            },
            Function::Joiner => {
                let separator = match arguments.get(0, "sep") {
                    Some(separator) => separator.to_text(&mut self.budget)?,
                    None => ", ".into(),
                };
                Ok(Value::object(Object::Joiner(Rc::new(Joiner { separator, was_used: Cell::new(false) }))))
            }
            Function::RaiseException => {
                let message = arguments.get(0, "message").cloned().unwrap_or_default();
                Err(ErrorKind::Raised((*message.to_text(&mut self.budget)?).into()))
            }
            Function::StrftimeNow => {
                let format = arguments.get_str(0, "format");
                let format = format.ok_or(ErrorKind::BadArguments("strftime_now"))?;
                // A width can make a long text of a short one.
                self.budget.bytes(200 * format.len())?;
                Ok(format_time(self.now_seconds.unwrap_or(0), format)?.into())
            }
        }
    }

    fn range(&mut self, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let wrong = || ErrorKind::BadArguments("range");
        let numbers: Option<Vec<i64>> = arguments.positional.iter().map(Value::as_integer).collect();
        let (start, stop, step) = match numbers.ok_or_else(wrong)?[..] {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] if step != 0 => (start, stop, step),
            _ => return Err(wrong()),
        };
        let span = if step > 0 {
            i128::from(stop) - i128::from(start)
        } else {
            i128::from(start) - i128::from(stop)
        };
        let len = span.max(0).unsigned_abs().div_ceil(step.unsigned_abs().into());
        let len = usize::try_from(len).map_err(|_| ErrorKind::TooMuchMemory)?;
        self.budget.bytes(len.saturating_mul(size_of::<Value>()))?;
        // The product may wrap, but the sum is between start and stop again.
        let number = |index: usize| start.wrapping_add((index as i64).wrapping_mul(step));
        let numbers = (0..len).map(|index| Value::Integer(number(index))).collect();
        Value::sequence(numbers, ListKind::Range(start, stop, step))
    }
}
