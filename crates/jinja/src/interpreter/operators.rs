//! Operators, with Python's rules for each type.

use alloc::string::String;
use core::cmp::Ordering;

use super::{Evaluated, Interpreter};
use crate::ErrorKind;
use crate::ast::{BinaryOp, CompareOp};
use crate::format::{Escaping, percent_format};
use crate::value::{List, Number, Value};

impl Interpreter<'_> {
    pub(super) fn comparison(&mut self, op: CompareOp, left: &Value, right: &Value) -> Evaluated<bool> {
        let budget = &mut self.budget;
        Ok(match op {
            CompareOp::Equal => left.equals(right, budget)?,
            CompareOp::NotEqual => !left.equals(right, budget)?,
            CompareOp::Less => left.compare(right, budget)? == Ordering::Less,
            CompareOp::LessOrEqual => left.compare(right, budget)? != Ordering::Greater,
            CompareOp::Greater => left.compare(right, budget)? == Ordering::Greater,
            CompareOp::GreaterOrEqual => left.compare(right, budget)? != Ordering::Less,
            CompareOp::In => right.contains(left, budget)?,
            CompareOp::NotIn => !right.contains(left, budget)?,
        })
    }

    pub(crate) fn binary(&mut self, op: BinaryOp, left: &Value, right: &Value) -> Evaluated {
        match (op, left, right) {
            (BinaryOp::Concatenate, ..) => {
                let mut text = String::new();
                if self.joins_markup() && (left.is_markup() || right.is_markup()) {
                    let budget = &mut self.budget;
                    let (left, right) = (left.to_escaped(budget)?, right.to_escaped(budget)?);
                    budget.bytes(left.len() + right.len())?;
                    return Ok(Value::markup([&*left, &*right].concat()));
                }
                left.write_text(&mut text, &mut self.budget)?;
                right.write_text(&mut text, &mut self.budget)?;
                return Ok(text.into());
            }
            (BinaryOp::Add, Value::String(a), Value::String(b)) => {
                self.budget.bytes(a.len() + b.len())?;
                return Ok([&**a, &**b].concat().into());
            }
            (BinaryOp::Add, Value::String(_) | Value::Markup(_), Value::String(_) | Value::Markup(_)) => {
                let budget = &mut self.budget;
                let (left, right) = (left.to_escaped(budget)?, right.to_escaped(budget)?);
                budget.bytes(left.len() + right.len())?;
                return Ok(Value::markup([&*left, &*right].concat()));
            }
            (BinaryOp::Add, Value::List(a), Value::List(b)) if a.is_tuple() == b.is_tuple() => {
                let elements = [a.elements(), b.elements()];
                self.budget.bytes(elements.iter().map(|elements| size_of_val(*elements)).sum())?;
                return a.with(elements.concat());
            }
            (BinaryOp::Multiply, Value::String(text), count)
            | (BinaryOp::Multiply, count, Value::String(text)) => {
                if let Some(count) = self.repetitions(count, text.len())? {
                    return Ok(text.repeat(count).into());
                }
            }
            (BinaryOp::Multiply, Value::Markup(text), count)
            | (BinaryOp::Multiply, count, Value::Markup(text)) => {
                if let Some(count) = self.repetitions(count, text.len())? {
                    return Ok(Value::markup(text.repeat(count)));
                }
            }
            (BinaryOp::Multiply, Value::List(list), count)
            | (BinaryOp::Multiply, count, Value::List(list)) => {
                let list: &List = list;
                if let Some(count) = self.repetitions(count, size_of_val(list.elements()))? {
                    let repeated = core::iter::repeat_n(list.elements(), count).flatten();
                    return list.with(repeated.cloned().collect());
                }
            }
            (BinaryOp::Remainder, Value::String(format), _) => {
                return Ok(percent_format(format, right, Escaping::None, &mut self.budget)?.into());
            }
            (BinaryOp::Remainder, Value::Markup(format), _) => {
                let text = percent_format(format, right, Escaping::Html, &mut self.budget)?;
                return Ok(Value::markup(text));
            }
            _ => {}
        }
        match (left.as_number(), right.as_number()) {
            (Some(left), Some(right)) => arithmetic(op, left, right).ok_or(ErrorKind::Arithmetic),
            (None, _) => Err(ErrorKind::WrongType { operation: "arithmetic", found: left.type_name() }),
            (_, None) => Err(ErrorKind::WrongType { operation: "arithmetic", found: right.type_name() }),
        }
    }

    /// How often to repeat something of `len_bytes`, if `count` is a number.
    fn repetitions(&mut self, count: &Value, len_bytes: usize) -> Evaluated<Option<usize>> {
        let Some(count) = count.as_integer() else { return Ok(None) };
        let count = usize::try_from(count.max(0)).map_err(|_| ErrorKind::TooMuchMemory)?;
        self.budget.bytes(len_bytes.checked_mul(count).ok_or(ErrorKind::TooMuchMemory)?)?;
        Ok(Some(if len_bytes == 0 { 0 } else { count }))
    }
}

/// The position for Python's `index`, which counts from the end if it is negative.
pub(super) fn position(index: i64, len: usize) -> Option<usize> {
    let from_start = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(from_start).ok().filter(|&index| index < len)
}

/// The positions for Python's `start:stop:step`.
pub(super) fn slice_indices(
    [start, stop, step]: [Option<i64>; 3],
    len: usize,
) -> Result<impl Iterator<Item = usize>, ErrorKind> {
    let len = len as i64;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(ErrorKind::BadArguments("a slice"));
    }
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |bound: Option<i64>, default: i64| match bound {
        None => default,
        Some(bound) if bound < 0 => bound.saturating_add(len).clamp(lowest, highest),
        Some(bound) => bound.clamp(lowest, highest),
    };
    let (start, stop) = match step > 0 {
        true => (bound(start, lowest), bound(stop, highest)),
        false => (bound(start, highest), bound(stop, lowest)),
    };
    let mut next = start;
    Ok(core::iter::from_fn(move || {
        let is_inside = if step > 0 { next < stop } else { next > stop };
        let index = usize::try_from(next).ok().filter(|_| is_inside)?;
        next = next.saturating_add(step);
        Some(index)
    }))
}

fn arithmetic(op: BinaryOp, left: Number, right: Number) -> Option<Value> {
    if let (Number::Integer(a), Number::Integer(b)) = (left, right)
        && op != BinaryOp::Divide
    {
        let result = match op {
            BinaryOp::Add => a.checked_add(b),
            BinaryOp::Subtract => a.checked_sub(b),
            BinaryOp::Multiply => a.checked_mul(b),
            // The quotient is rounded towards negative infinity, and the remainder has the sign of the divisor.
            BinaryOp::FloorDivide => {
                let quotient = a.checked_div(b)?;
                let is_below = a % b != 0 && (a < 0) != (b < 0);
                Some(quotient - i64::from(is_below))
            }
            BinaryOp::Remainder => {
                let remainder = a.checked_rem(b)?;
                let is_below = remainder != 0 && (remainder < 0) != (b < 0);
                Some(if is_below { remainder + b } else { remainder })
            }
            BinaryOp::Power if b < 0 && a != 0 => return power(a as f64, b as f64),
            BinaryOp::Power => a.checked_pow(u32::try_from(b).ok()?),
            BinaryOp::Divide | BinaryOp::Concatenate => None,
        };
        return result.map(Value::Integer);
    }
    let (a, b) = (left.as_f64(), right.as_f64());
    let result = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide if b != 0.0 => a / b,
        BinaryOp::FloorDivide if b != 0.0 => floor_division(a, b).0,
        BinaryOp::Remainder if b != 0.0 => floor_division(a, b).1,
        BinaryOp::Power => return power(a, b),
        _ => return None,
    };
    Some(Value::Float(result))
}

/// The quotient rounded towards negative infinity, and the remainder with the sign of the divisor.
fn floor_division(a: f64, b: f64) -> (f64, f64) {
    let mut remainder = libm::fmod(a, b);
    let mut quotient = (a - remainder) / b;
    if remainder == 0.0 {
        remainder = 0.0f64.copysign(b);
    } else if (b < 0.0) != (remainder < 0.0) {
        remainder += b;
        quotient -= 1.0;
    }
    let floor = libm::floor(quotient);
    let quotient = match quotient {
        0.0 => 0.0f64.copysign(a / b),
        _ if quotient - floor > 0.5 => floor + 1.0,
        _ => floor,
    };
    (quotient, remainder)
}

/// A power, if it is real and not too large.
fn power(a: f64, b: f64) -> Option<Value> {
    let result = power_in_steps(a, b).unwrap_or_else(|| libm::pow(a, b));
    let is_wrong =
        (result.is_infinite() && a.is_finite() && b.is_finite()) || (result.is_nan() && !a.is_nan());
    (!is_wrong).then_some(Value::Float(result))
}

/// A power by squaring, for exponents that are multiples of a half, computed with twice the digits of an `f64`: `libm` has a
/// wrong last digit more often than Python's library. `None` if this method does not work.
fn power_in_steps(a: f64, b: f64) -> Option<f64> {
    const MAX_EXPONENT: f64 = 1024.0;
    let halves = b.abs() * 2.0;
    if b.abs() > MAX_EXPONENT || libm::floor(halves) != halves || a == 0.0 {
        return None;
    }
    let (mut exponent, has_root) = (halves as u32 / 2, halves as u32 % 2 == 1);
    let mut result = Sum { high: 1.0, low: 0.0 };
    if has_root {
        let root = libm::sqrt(a);
        result = Sum { high: root, low: libm::fma(-root, root, a) / (2.0 * root) };
    }
    let mut square = Sum { high: a, low: 0.0 };
    while exponent > 0 {
        if exponent % 2 == 1 {
            result = result.times(square);
        }
        square = square.times(square);
        exponent /= 2;
    }
    if b < 0.0 {
        let inverse = 1.0 / result.high;
        let rest = libm::fma(-inverse, result.high, 1.0) - inverse * result.low;
        result = Sum { high: inverse, low: inverse * rest };
    }
    let result = result.high + result.low;
    result.is_normal().then_some(result)
}

/// A number as the sum of two `f64`s.
#[derive(Clone, Copy)]
struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    fn times(self, other: Self) -> Self {
        let product = self.high * other.high;
        let rest = libm::fma(self.high, other.high, -product);
        let rest = rest + (self.high * other.low + self.low * other.high);
        let high = product + rest;
        Self { high, low: rest - (high - product) }
    }
}
