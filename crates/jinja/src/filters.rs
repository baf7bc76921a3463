//! Filters: `x | f`.

use alloc::borrow::ToOwned;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::ast::BinaryOp;
use crate::interpreter::{Budget, CallArguments, Interpreter};
use crate::json::{Layout, write_json};
use crate::markup::{escape, escaped_all};
use crate::methods::{self, join};
use crate::value::{List, Number};
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
            "string" if value.is_markup() => Ok(value),
            "string" => Ok(Value::String(value.to_text(&mut self.budget)?)),
            "safe" => Ok(Value::Markup(value.to_text(&mut self.budget)?)),
            "escape" | "e" => Ok(Value::Markup(value.to_escaped(&mut self.budget)?)),
            "forceescape" => Ok(Value::markup(escape(&value.to_text(&mut self.budget)?, &mut self.budget)?)),
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
                let separator = arguments.get(0, "d").cloned().unwrap_or_else(|| "".into());
                self.join_filter(&parts, &separator)
            }
            "map" => self.map(&value, arguments),
            "select" => self.select(&value, arguments, false, true),
            "reject" => self.select(&value, arguments, false, false),
            "selectattr" => self.select(&value, arguments, true, true),
            "rejectattr" => self.select(&value, arguments, true, false),
            "sort" => self.sort(&value, arguments),
            "dictsort" => self.dict_sort(&value, arguments),
            "unique" => self.unique(&value, arguments),
            "min" => self.extreme(&value, arguments, Ordering::Less),
            "max" => self.extreme(&value, arguments, Ordering::Greater),
            "sum" => self.sum(&value, arguments),
            "batch" => self.batch(&value, arguments),
            "slice" => self.slices(&value, arguments),
            "groupby" => self.group_by(&value, arguments),
            "attr" => {
                let name = arguments.get_str(0, "name").ok_or(ErrorKind::BadArguments("attr"))?;
                match &value {
                    // In Python, the attributes of a dict are its methods.
                    Value::Map(_) if !methods::exists(&value, name) => Ok(Value::Undefined),
                    _ => self.element(&value, &Value::from(name), || name.to_owned()),
                }
            }
            "filesizeformat" => self.file_size(&value, arguments),
            "urlencode" => self.url_encode(&value),
            "xmlattr" => self.xml_attributes(&value, arguments),
            "int" | "float" if value.is_undefined() => Err(ErrorKind::Undefined(name.into())),
            "int" | "float" | "abs" | "round" => numeric(name, &value, arguments),
            _ => self.text_filter(name, &value, arguments),
        }
    }

    /// Looks up `a.b` or `a.0`, as attributes are given to filters; an undefined value on the way becomes `default`.
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
        let (Value::String(path) | Value::Markup(path)) = path else {
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

    /// Joins texts. If output is escaped and one of them is HTML, the result is HTML.
    fn join_filter(&mut self, parts: &[Value], separator: &Value) -> Result<Value, ErrorKind> {
        let budget = &mut self.budget;
        if self.escapes && (separator.is_markup() || parts.iter().any(Value::is_markup)) {
            let separator = separator.to_escaped(budget)?;
            let parts = escaped_all(parts, budget)?;
            return Ok(Value::markup(join(&parts, &separator, budget)?));
        }
        Ok(join(parts, &separator.to_text(budget)?, budget)?.into())
    }

    fn reverse(&mut self, value: &Value) -> Result<Value, ErrorKind> {
        let mut elements = value.iterate(&mut self.budget)?;
        elements.reverse();
        match value {
            Value::String(_) => Ok(elements.iter().filter_map(Value::as_str).collect::<String>().into()),
            Value::Markup(_) => {
                Ok(Value::markup(elements.iter().filter_map(Value::as_str).collect::<String>()))
            }
            _ => Value::list(elements),
        }
    }

    fn dump_json(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        // As in transformers: tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False).
        let indent = match arguments.get(1, "indent") {
            None | Some(Value::None) => None,
            Some(Value::String(text) | Value::Markup(text)) => Some(text.len()),
            Some(width) => {
                let width = width.as_integer().ok_or(ErrorKind::BadArguments("tojson"))?;
                Some(usize::try_from(width).unwrap_or(0))
            }
        };
        let separators = match arguments.get(2, "separators") {
            Some(Value::List(list)) => match list.elements() {
                [item, key] => item.as_str().zip(key.as_str()),
                _ => None,
            }
            .map(|(item, key)| (item.to_owned(), key.to_owned()))
            .ok_or(ErrorKind::BadArguments("tojson"))?,
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

    /// The elements that `map`, `select` and the like visit; none for a value that counts as false.
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

    /// `select`, `reject` and their variants for an attribute.
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
        let is_case_sensitive = arguments.is_set(1, "case_sensitive");
        let mut keyed = Vec::new();
        for element in value.iterate(&mut self.budget)? {
            // The keys are lists even if there is only one key, because values without an order can then still be equal.
            let mut keys = Vec::new();
            match arguments.get(2, "attribute") {
                Some(Value::String(attributes) | Value::Markup(attributes)) => {
                    for attribute in attributes.split(',') {
                        keys.push(self.attribute_path(&element, &attribute.into(), None)?);
                    }
                }
                Some(attribute) => keys.push(self.attribute_path(&element, attribute, None)?),
                None => keys.push(element.clone()),
            }
            self.budget.bytes(2 * size_of::<Value>() * keys.len())?;
            let keys = keys.into_iter().map(|key| fold_case(key, is_case_sensitive));
            keyed.push((Value::list(keys.collect())?, element));
        }
        let is_reversed = arguments.is_set(0, "reverse");
        let sorted = sorted(keyed, is_reversed, &mut self.budget)?;
        Value::list(sorted.into_iter().map(|(_, element)| element).collect())
    }

    fn group_by(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let attribute = arguments.get(0, "attribute").ok_or(ErrorKind::BadArguments("groupby"))?;
        let default = arguments.get(1, "default");
        let is_case_sensitive = arguments.is_set(2, "case_sensitive");
        let mut keyed = Vec::new();
        for element in value.iterate(&mut self.budget)? {
            let key = self.attribute_path(&element, attribute, default)?;
            keyed.push((fold_case(key.clone(), is_case_sensitive), (key, element)));
        }
        let sorted = sorted(keyed, false, &mut self.budget)?;
        let mut groups = Vec::new();
        let mut rest = &sorted[..];
        while let [(key, (shown, _)), ..] = rest {
            let mut len = 1;
            while len < rest.len() && rest[len].0.equals(key, &mut self.budget)? {
                len += 1;
            }
            let members = rest[..len].iter().map(|(_, (_, element))| element.clone());
            groups.push(List::group(shown.clone(), Value::list(members.collect())?)?);
            rest = &rest[len..];
        }
        Value::list(groups)
    }

    /// `slice`: this many lists of lengths that are as equal as possible.
    fn slices(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let n_slices = arguments.get(0, "slices").and_then(Value::as_integer);
        let n_slices = n_slices.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        let n_slices = n_slices.ok_or(ErrorKind::BadArguments("slice"))?;
        self.budget.bytes(n_slices.saturating_mul(4 * size_of::<Value>()))?;
        let elements = value.iterate(&mut self.budget)?;
        let (len, n_longer) = (elements.len() / n_slices, elements.len() % n_slices);
        let filler = arguments.get(1, "fill_with").filter(|filler| !matches!(filler, Value::None));
        let mut rest = &elements[..];
        let mut slices = Vec::new();
        for index in 0..n_slices {
            let (slice, after) = rest.split_at(len + usize::from(index < n_longer));
            rest = after;
            let mut slice = slice.to_vec();
            slice.extend(filler.filter(|_| index >= n_longer).cloned());
            slices.push(Value::list(slice)?);
        }
        Value::list(slices)
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
            // Python puts the elements into a set.
            let is_changeable =
                matches!(&key, Value::Map(_)) || matches!(&key, Value::List(list) if !list.is_tuple());
            if is_changeable {
                return Err(ErrorKind::WrongType { operation: "unique", found: key.type_name() });
            }
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

    fn extreme(
        &mut self,
        value: &Value,
        arguments: &CallArguments,
        wanted: Ordering,
    ) -> Result<Value, ErrorKind> {
        let is_case_sensitive = arguments.is_set(0, "case_sensitive");
        let mut best: Option<(Value, Value)> = None;
        for element in value.iterate(&mut self.budget)? {
            let key = match arguments.get(1, "attribute") {
                Some(attribute) => self.attribute_path(&element, attribute, None)?,
                None => element.clone(),
            };
            let key = fold_case(key, is_case_sensitive);
            let is_better = match &best {
                Some((known, _)) => key.compare(known, &mut self.budget)? == wanted,
                None => true,
            };
            if is_better {
                best = Some((key, element));
            }
        }
        Ok(best.map(|(_, element)| element).unwrap_or_default())
    }

    fn sum(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let mut sum = arguments.get(1, "start").cloned().unwrap_or(Value::Integer(0));
        for element in value.iterate(&mut self.budget)? {
            let term = match arguments.get(0, "attribute") {
                Some(attribute) => self.attribute_path(&element, attribute, None)?,
                None => element,
            };
            sum = self.binary(BinaryOp::Add, &sum, &term)?;
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
            if let Some(filler) =
                arguments.get(1, "fill_with").filter(|filler| !matches!(filler, Value::None))
            {
                self.budget.bytes((len - batch.len()).saturating_mul(size_of::<Value>()))?;
                batch.resize(len, filler.clone());
            }
            batches.push(Value::list(batch)?);
        }
        Value::list(batches)
    }
}

/// The filter or test named by the argument at `index`, with its own arguments.
fn inner_call(arguments: &CallArguments, index: usize) -> Result<(Rc<str>, CallArguments), ErrorKind> {
    match arguments.positional.get(index) {
        Some(Value::String(name) | Value::Markup(name)) => {
            let positional = arguments.positional[index + 1..].to_vec();
            Ok((name.clone(), CallArguments { positional, named: arguments.named.clone() }))
        }
        _ => Err(ErrorKind::BadArguments("a filter over elements")),
    }
}

/// The key by which a text is compared: in lower case unless the case matters.
fn fold_case(key: Value, is_case_sensitive: bool) -> Value {
    match key {
        Value::String(text) | Value::Markup(text) if !is_case_sensitive => text.to_lowercase().into(),
        key => key,
    }
}

/// Sorts by key; elements with equal keys keep their order, also when reversed. This is a merge sort of our own, because the
/// comparison can fail and need not be consistent, which the library's sorts do not tolerate.
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

fn numeric(name: &str, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
    let wrong = || ErrorKind::WrongType { operation: "a filter of numbers", found: value.type_name() };
    const LIMIT: f64 = (1u64 << 63) as f64;
    let to_integer = |number: f64| (number.abs() < LIMIT).then_some(number as i64);
    match name {
        "int" => {
            let default = arguments.get(0, "default").cloned().unwrap_or(Value::Integer(0));
            Ok(match value {
                Value::String(text) | Value::Markup(text) => {
                    let text = text.trim();
                    let whole = parse_integer(text, arguments.integer_or(1, "base", 10)?);
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
                Value::String(text) | Value::Markup(text) => {
                    text.trim().parse().map_or(default, Value::Float)
                }
                _ => value.as_number().map_or(default, |number| Value::Float(number.as_f64())),
            })
        }
        "abs" => match value.as_number().ok_or_else(wrong)? {
            Number::Integer(number) => number.checked_abs().map(Value::Integer).ok_or(ErrorKind::Arithmetic),
            Number::Float(number) => Ok(Value::Float(number.abs())),
        },
        _ => round(value.as_number().ok_or_else(wrong)?, arguments),
    }
}

/// Python's `int(text, base)`; with base 0, the prefix determines the base.
fn parse_integer(text: &str, base: i64) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    let by_prefix = match prefix.as_deref() {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    let has_prefix = by_prefix != 10 && (base == 0 || base == by_prefix);
    let radix = u32::try_from(if base == 0 { by_prefix } else { base })
        .ok()
        .filter(|radix| (2..=36).contains(radix))?;
    let digits = if has_prefix { &digits[2..] } else { digits };
    let has_stray_separator =
        digits.starts_with(['_', '+', '-']) && !has_prefix || digits.ends_with('_') || digits.contains("__");
    if has_stray_separator || digits.contains(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&alloc::format!("{sign}{}", digits.replace('_', "")), radix).ok()
}

fn round(number: Number, arguments: &CallArguments) -> Result<Value, ErrorKind> {
    const MAX_PRECISION: i64 = 400;
    let precision = arguments.integer_or(0, "precision", 0)?.clamp(-MAX_PRECISION, MAX_PRECISION);
    let method = arguments.get(1, "method").map_or(Some("common"), Value::as_str);
    match (method, number) {
        (Some("common"), Number::Integer(number)) if precision >= 0 => Ok(Value::Integer(number)),
        (Some("common"), Number::Integer(number)) => {
            let unit = 10i64.checked_pow(precision.unsigned_abs() as u32);
            let Some(unit) = unit else { return Ok(Value::Integer(0)) };
            // Halves are rounded to the even multiple.
            let (below, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
            let goes_up = match rest.cmp(&(unit - rest)) {
                Ordering::Equal => below % 2 != 0,
                order => order == Ordering::Greater,
            };
            (below + i64::from(goes_up)).checked_mul(unit).map(Value::Integer).ok_or(ErrorKind::Arithmetic)
        }
        (Some("common"), Number::Float(number)) if precision >= 0 && number.is_finite() => {
            // Rounds the exact decimal value, as Python does.
            let digits = alloc::format!("{number:.*}", precision as usize);
            Ok(Value::Float(digits.parse().map_err(|_| ErrorKind::Arithmetic)?))
        }
        (Some("common"), Number::Float(number)) => {
            let unit = libm::pow(10.0, -precision as f64);
            let scaled = number / unit;
            Ok(Value::Float(if scaled.is_finite() { libm::rint(scaled) * unit } else { number }))
        }
        (Some("ceil" | "floor"), number) => {
            let factor = libm::pow(10.0, precision as f64);
            let scaled = number.as_f64() * factor;
            let whole = if method == Some("ceil") { libm::ceil(scaled) } else { libm::floor(scaled) };
            // In Python, ceil and floor return integers, which have no negative zero.
            let rounded = (whole + 0.0) / factor;
            if rounded.is_finite() { Ok(Value::Float(rounded)) } else { Err(ErrorKind::Arithmetic) }
        }
        _ => Err(ErrorKind::BadArguments("round")),
    }
}
