//! Filters: `x | f`.

use alloc::borrow::ToOwned;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::interpreter::{Budget, CallArguments, Interpreter};
use crate::json::{Layout, write_json};
use crate::methods::{capitalize, join, percent_format, replace, strip, title};
use crate::value::Number;
use crate::{ErrorKind, Value};

impl Interpreter<'_> {
    pub(crate) fn filter(
        &mut self,
        name: &str,
        value: Value,
        arguments: &CallArguments,
    ) -> Result<Value, ErrorKind> {
        self.budget.step()?;
        match name {
            "default" | "d" => {
                let counts_as_missing = match arguments.is_set(1, "boolean") {
                    true => !value.is_true(),
                    false => value.is_undefined(),
                };
                if counts_as_missing {
                    return Ok(arguments.get(0, "default_value").cloned().unwrap_or_else(|| "".into()));
                }
                Ok(value)
            }
            "length" | "count" => match value.len() {
                Some(len) => Ok(Value::Integer(len as i64)),
                None => Err(ErrorKind::WrongType { operation: "length", found: value.type_name() }),
            },
            "safe" | "string" => Ok(Value::String(value.to_text(&mut self.budget)?)),
            "list" => Value::list(value.iterate(&mut self.budget)?),
            "first" => Ok(value.iterate(&mut self.budget)?.into_iter().next().unwrap_or_default()),
            "last" => Ok(value.iterate(&mut self.budget)?.pop().unwrap_or_default()),
            "reverse" => self.reverse(&value),
            "items" => match &value {
                Value::Undefined => Value::list(Vec::new()),
                Value::Map(_) => self.method(&value, "items", &CallArguments::default()),
                _ => Err(ErrorKind::WrongType { operation: "items", found: value.type_name() }),
            },
            "tojson" => self.dump_json(&value, arguments),
            "join" => {
                let mut parts = value.iterate(&mut self.budget)?;
                if let Some(attribute) = arguments.get(1, "attribute") {
                    for part in &mut parts {
                        *part = self.attribute_path(part, attribute, None)?;
                    }
                }
                Ok(join(&parts, arguments.get_str(0, "d").unwrap_or(""), &mut self.budget)?.into())
            }
            "map" => self.map(&value, arguments),
            "select" => self.select(&value, arguments, false, true),
            "reject" => self.select(&value, arguments, false, false),
            "selectattr" => self.select(&value, arguments, true, true),
            "rejectattr" => self.select(&value, arguments, true, false),
            "sort" => self.sort(&value, arguments),
            "dictsort" => self.dict_sort(&value, arguments),
            "unique" => self.unique(&value, arguments),
            "min" => self.extreme(&value, Ordering::Less),
            "max" => self.extreme(&value, Ordering::Greater),
            "sum" => self.sum(&value, arguments),
            "batch" => self.batch(&value, arguments),
            "attr" => {
                let attribute = arguments.get(0, "name").ok_or(ErrorKind::BadArguments("attr"))?;
                self.attribute_path(&value, attribute, None)
            }
            "int" | "float" | "abs" | "round" => numeric(name, &value, arguments),
            _ => self.text_filter(name, &value, arguments),
        }
    }

    /// Filters that take a value as text.
    fn text_filter(
        &mut self,
        name: &str,
        value: &Value,
        arguments: &CallArguments,
    ) -> Result<Value, ErrorKind> {
        let text = value.to_text(&mut self.budget)?;
        self.budget.steps(text.len() / 16)?;
        self.budget.bytes(text.len())?;
        Ok(match name {
            "trim" => strip(&text, arguments, true, true).into(),
            "upper" => text.to_uppercase().into(),
            "lower" => text.to_lowercase().into(),
            "capitalize" => capitalize(&text).into(),
            "title" => title(&text).into(),
            "replace" => {
                let wrong = ErrorKind::BadArguments("replace");
                let (Some(old), Some(new)) = (arguments.get(0, "old"), arguments.get(1, "new")) else {
                    return Err(wrong);
                };
                let (old, new) = (old.to_text(&mut self.budget)?, new.to_text(&mut self.budget)?);
                let count = arguments.get(2, "count").and_then(Value::as_integer).unwrap_or(-1);
                replace(&text, &old, &new, count, &mut self.budget)?.into()
            }
            "indent" => indent(&text, arguments, &mut self.budget)?.into(),
            "wordcount" => Value::Integer(text.split_whitespace().count() as i64),
            "escape" | "e" | "forceescape" => {
                self.budget.bytes(5 * text.len())?;
                let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                escaped.replace('\'', "&#39;").replace('"', "&#34;").into()
            }
            "format" => {
                let values = Value::list(arguments.positional.clone())?;
                percent_format(&text, &values, &mut self.budget)?.into()
            }
            _ => return Err(ErrorKind::UnknownFilter(name.to_owned())),
        })
    }

    /// `a.b` or `a.0`, as attributes are given to filters; `default` for what is undefined on the way.
    fn attribute_path(
        &mut self,
        value: &Value,
        path: &Value,
        default: Option<&Value>,
    ) -> Result<Value, ErrorKind> {
        let or_default = |found: Value| match default {
            Some(default) if found.is_undefined() => default.clone(),
            _ => found,
        };
        let Value::String(path) = path else {
            return self.element(value, path, || "attribute".into()).map(or_default);
        };
        path.split('.').try_fold(value.clone(), |value, part| {
            let key = match part.parse::<i64>() {
                Ok(index) => Value::Integer(index),
                Err(_) => Value::from(part),
            };
            self.element(&value, &key, || (**path).to_owned()).map(or_default)
        })
    }

    fn reverse(&mut self, value: &Value) -> Result<Value, ErrorKind> {
        let mut elements = value.iterate(&mut self.budget)?;
        elements.reverse();
        match value {
            Value::String(_) => Ok(elements.iter().filter_map(Value::as_str).collect::<String>().into()),
            _ => Value::list(elements),
        }
    }

    fn dump_json(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        // As transformers has it: tojson(x, ensure_ascii=False, indent=None, separators=None,
        // sort_keys=False).
        let indent = match arguments.get(1, "indent") {
            None | Some(Value::None) => None,
            Some(Value::String(text)) => Some(text.len()),
            Some(width) => {
                let width = width.as_integer().ok_or(ErrorKind::BadArguments("tojson"))?;
                Some(usize::try_from(width).unwrap_or(0))
            }
        };
        let separators = match arguments.get(2, "separators") {
            Some(Value::List(list)) => match list.elements() {
                [Value::String(item), Value::String(key)] => ((**item).to_owned(), (**key).to_owned()),
                _ => return Err(ErrorKind::BadArguments("tojson")),
            },
            _ => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        };
        let layout = Layout {
            indent,
            separators,
            sort_keys: arguments.is_set(3, "sort_keys"),
            ascii_only: arguments.is_set(0, "ensure_ascii"),
        };
        let mut out = String::new();
        write_json(value, &layout, 0, &mut out, &mut self.budget)?;
        Ok(out.into())
    }

    /// What `map`, `select` and the like go through: nothing for whatever counts as false.
    fn elements_if_any(&mut self, value: &Value) -> Result<Vec<Value>, ErrorKind> {
        if value.is_true() { value.iterate(&mut self.budget) } else { Ok(Vec::new()) }
    }

    fn map(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let elements = self.elements_if_any(value)?;
        let attribute = arguments.named.iter().find(|(name, _)| **name == *"attribute");
        let mut mapped = Vec::new();
        if let Some((_, attribute)) = attribute {
            let default = arguments.get(usize::MAX, "default");
            for element in &elements {
                mapped.push(self.attribute_path(element, attribute, default)?);
            }
            return Value::list(mapped);
        }
        let (filter, inner) = inner_call(arguments, 0)?;
        for element in elements {
            mapped.push(self.filter(&filter, element, &inner)?);
        }
        Value::list(mapped)
    }

    /// `select`, `reject` and their forms for an attribute.
    fn select(
        &mut self,
        value: &Value,
        arguments: &CallArguments,
        by_attribute: bool,
        keeps: bool,
    ) -> Result<Value, ErrorKind> {
        let elements = self.elements_if_any(value)?;
        let attribute = match by_attribute {
            true => Some(arguments.positional.first().ok_or(ErrorKind::BadArguments("selectattr"))?),
            false => None,
        };
        let n_before_test = usize::from(by_attribute);
        let test = match arguments.positional.len() > n_before_test {
            true => Some(inner_call(arguments, n_before_test)?),
            false => None,
        };
        let mut kept = Vec::new();
        for element in elements {
            let tested = match attribute {
                Some(attribute) => self.attribute_path(&element, attribute, None)?,
                None => element.clone(),
            };
            let passes = match &test {
                Some((test, inner)) => self.test(test, &tested, inner)?,
                None => tested.is_true(),
            };
            if passes == keeps {
                kept.push(element);
            }
        }
        Value::list(kept)
    }

    fn sort(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let attribute = arguments.get(2, "attribute").cloned();
        let is_case_sensitive = arguments.is_set(1, "case_sensitive");
        let mut keyed = Vec::new();
        for element in value.iterate(&mut self.budget)? {
            let key = match &attribute {
                Some(attribute) => self.attribute_path(&element, attribute, None)?,
                None => element.clone(),
            };
            keyed.push((fold_case(key, is_case_sensitive), element));
        }
        let is_reversed = arguments.is_set(0, "reverse");
        let sorted = sorted(keyed, is_reversed, &mut self.budget)?;
        Value::list(sorted.into_iter().map(|(_, element)| element).collect())
    }

    fn dict_sort(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let Value::Map(map) = value else {
            return Err(ErrorKind::WrongType { operation: "dictsort", found: value.type_name() });
        };
        let is_case_sensitive = arguments.is_set(0, "case_sensitive");
        let by_value = arguments.get_str(1, "by") == Some("value");
        self.budget.bytes(map.entries().len() * 4 * size_of::<Value>())?;
        let keyed = map.entries().iter().map(|(key, value)| {
            let sort_key = if by_value { value } else { key };
            (fold_case(sort_key.clone(), is_case_sensitive), (key.clone(), value.clone()))
        });
        let sorted = sorted(keyed.collect(), arguments.is_set(2, "reverse"), &mut self.budget)?;
        let pairs = sorted.into_iter().map(|(_, (key, value))| Value::tuple([key, value].into()));
        Value::list(pairs.collect::<Result<_, _>>()?)
    }

    fn unique(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let is_case_sensitive = arguments.is_set(0, "case_sensitive");
        let mut keys: Vec<Value> = Vec::new();
        let mut kept = Vec::new();
        'elements: for element in value.iterate(&mut self.budget)? {
            let key = match arguments.get(1, "attribute") {
                Some(attribute) => self.attribute_path(&element, attribute, None)?,
                None => element.clone(),
            };
            let key = fold_case(key, is_case_sensitive);
            for known in &keys {
                if known.equals(&key, &mut self.budget)? {
                    continue 'elements;
                }
            }
            keys.push(key);
            kept.push(element);
        }
        Value::list(kept)
    }

    fn extreme(&mut self, value: &Value, wanted: Ordering) -> Result<Value, ErrorKind> {
        let mut best = Value::Undefined;
        for element in value.iterate(&mut self.budget)? {
            if best.is_undefined() || element.compare(&best, &mut self.budget)? == wanted {
                best = element;
            }
        }
        Ok(best)
    }

    fn sum(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let mut sum = arguments.get(1, "start").cloned().unwrap_or(Value::Integer(0));
        for element in value.iterate(&mut self.budget)? {
            let term = match arguments.get(0, "attribute") {
                Some(attribute) => self.attribute_path(&element, attribute, None)?,
                None => element,
            };
            sum = match (sum.as_number(), term.as_number()) {
                (Some(Number::Integer(a)), Some(Number::Integer(b))) => {
                    Value::Integer(a.checked_add(b).ok_or(ErrorKind::Arithmetic)?)
                }
                (Some(a), Some(b)) => Value::Float(a.as_f64() + b.as_f64()),
                _ => return Err(ErrorKind::WrongType { operation: "sum", found: term.type_name() }),
            };
        }
        Ok(sum)
    }

    fn batch(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let wrong = ErrorKind::BadArguments("batch");
        let len = arguments.get(0, "linecount").and_then(Value::as_integer);
        let len = len.and_then(|len| usize::try_from(len).ok()).filter(|&len| len > 0).ok_or(wrong)?;
        let mut batches = Vec::new();
        for batch in value.iterate(&mut self.budget)?.chunks(len) {
            let mut batch = batch.to_vec();
            if let Some(filler) = arguments.get(1, "fill_with") {
                self.budget.bytes((len - batch.len()).saturating_mul(size_of::<Value>()))?;
                batch.resize(len, filler.clone());
            }
            batches.push(Value::list(batch)?);
        }
        Value::list(batches)
    }
}

/// The filter or test that is named by the argument at `index`, and its own arguments.
fn inner_call(arguments: &CallArguments, index: usize) -> Result<(Rc<str>, CallArguments), ErrorKind> {
    match arguments.positional.get(index) {
        Some(Value::String(name)) => {
            let positional = arguments.positional[index + 1..].to_vec();
            Ok((name.clone(), CallArguments { positional, named: arguments.named.clone() }))
        }
        _ => Err(ErrorKind::BadArguments("a filter over elements")),
    }
}

/// What a text is compared by when its case does not count.
fn fold_case(key: Value, is_case_sensitive: bool) -> Value {
    match key {
        Value::String(text) if !is_case_sensitive => text.to_lowercase().into(),
        key => key,
    }
}

/// Sorts by key and keeps the order of equal keys, also when reversed. A merge sort of our own: the
/// comparison can fail and need not be consistent, which those of the library do not forgive.
pub(crate) fn sorted<T: Clone>(
    mut entries: Vec<(Value, T)>,
    is_reversed: bool,
    budget: &mut Budget,
) -> Result<Vec<(Value, T)>, ErrorKind> {
    let mut width = 1;
    while width < entries.len() {
        budget.bytes(entries.len() * size_of::<(Value, T)>())?;
        let mut merged = Vec::with_capacity(entries.len());
        for run in entries.chunks(2 * width) {
            let (mut left, mut right) = run.split_at(width.min(run.len()));
            while let ([first, left_rest @ ..], [second, right_rest @ ..]) = (left, right) {
                let order = second.0.compare(&first.0, budget)?;
                let order = if is_reversed { order.reverse() } else { order };
                if order == Ordering::Less {
                    merged.push(second.clone());
                    right = right_rest;
                } else {
                    merged.push(first.clone());
                    left = left_rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        entries = merged;
        width *= 2;
    }
    Ok(entries)
}

fn indent(text: &str, arguments: &CallArguments, budget: &mut Budget) -> Result<String, ErrorKind> {
    let wrong = ErrorKind::BadArguments("indent");
    let indention = match arguments.get(0, "width") {
        None => "    ".to_owned(),
        Some(Value::String(indention)) => (**indention).to_owned(),
        Some(width) => {
            let width = width.as_integer().ok_or(wrong)?;
            let width = usize::try_from(width).unwrap_or(0);
            budget.bytes(width)?;
            " ".repeat(width)
        }
    };
    let indents_first = arguments.is_set(1, "first");
    let indents_blank = arguments.is_set(2, "blank");
    let mut indented = String::new();
    for (index, line) in text.split('\n').enumerate() {
        budget.append(&mut indented, if index == 0 { "" } else { "\n" })?;
        let is_indented = if index == 0 { indents_first } else { indents_blank || !line.is_empty() };
        if is_indented {
            budget.append(&mut indented, &indention)?;
        }
        budget.append(&mut indented, line)?;
    }
    Ok(indented)
}

fn numeric(name: &str, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
    let wrong = || ErrorKind::WrongType { operation: "a filter of numbers", found: value.type_name() };
    // Beyond it, an f64 has no fraction and may not fit i64.
    const INTEGRAL: f64 = (1u64 << 52) as f64;
    let to_integer = |number: f64| (number.abs() < INTEGRAL).then_some(number as i64);
    match name {
        "int" => {
            let default = arguments.get(0, "default").cloned().unwrap_or(Value::Integer(0));
            Ok(match value {
                Value::String(text) => {
                    let text = text.trim();
                    let whole = text.parse::<i64>().ok();
                    whole.or_else(|| to_integer(text.parse().ok()?)).map_or(default, Value::Integer)
                }
                _ => match value.as_number() {
                    Some(Number::Integer(number)) => Value::Integer(number),
                    Some(Number::Float(number)) => to_integer(number).map_or(default, Value::Integer),
                    None => default,
                },
            })
        }
        "float" => {
            let default = arguments.get(0, "default").cloned().unwrap_or(Value::Float(0.0));
            Ok(match value {
                Value::String(text) => text.trim().parse().map_or(default, Value::Float),
                _ => value.as_number().map_or(default, |number| Value::Float(number.as_f64())),
            })
        }
        "abs" => match value.as_number().ok_or_else(wrong)? {
            Number::Integer(number) => number.checked_abs().map(Value::Integer).ok_or(ErrorKind::Arithmetic),
            Number::Float(number) => Ok(Value::Float(number.abs())),
        },
        _ => {
            let number = value.as_number().ok_or_else(wrong)?.as_f64();
            let precision = arguments.get(0, "precision").and_then(Value::as_integer).unwrap_or(0);
            let factor = 10i64.checked_pow(u32::try_from(precision).map_err(|_| ErrorKind::Arithmetic)?);
            let factor = factor.ok_or(ErrorKind::Arithmetic)? as f64;
            let scaled = number * factor;
            let below = to_integer(scaled)
                .map(|whole| whole as f64 - f64::from(scaled < 0.0 && whole as f64 != scaled));
            let Some(below) = below else { return Ok(Value::Float(number)) };
            let rounded = match arguments.get_str(1, "method").unwrap_or("common") {
                "floor" => below,
                "ceil" if below == scaled => below,
                "ceil" => below + 1.0,
                // Python rounds halves to even.
                _ => match scaled - below {
                    fraction if fraction < 0.5 => below,
                    fraction if fraction > 0.5 => below + 1.0,
                    _ if below % 2.0 == 0.0 => below,
                    _ => below + 1.0,
                },
            };
            Ok(Value::Float(rounded / factor))
        }
    }
}
