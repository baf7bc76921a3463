//! Methods of Python's texts, dicts and lists: `x.f()`.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use crate::interpreter::{Budget, CallArguments, Interpreter};
use crate::value::{List, Map};
use crate::{ErrorKind, Value};

const TEXT: [&str; 27] = [
    "capitalize",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isdigit",
    "islower",
    "isspace",
    "isupper",
    "join",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
];
const TEXT_TOO: [&str; 2] = ["title", "upper"];
/// Those that change the dict are there, but may not be called.
const DICT: [&str; 11] =
    ["clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"];
const LIST: [&str; 11] =
    ["append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort"];

/// Whether a value has a method of this name.
pub(crate) fn exists(value: &Value, name: &str) -> bool {
    match value {
        Value::String(_) => TEXT.contains(&name) || TEXT_TOO.contains(&name),
        Value::Map(_) => DICT.contains(&name),
        Value::List(_) => LIST.contains(&name),
        _ => false,
    }
}

impl Interpreter<'_> {
    pub(crate) fn method(
        &mut self,
        value: &Value,
        name: &str,
        arguments: &CallArguments,
    ) -> Result<Value, ErrorKind> {
        match value {
            Value::String(text) => text_method(text, name, arguments, &mut self.budget),
            Value::Map(map) => dict_method(map, name, arguments, &mut self.budget),
            Value::List(list) => list_method(list, name, arguments, &mut self.budget),
            _ => Err(ErrorKind::WrongType { operation: "a method", found: value.type_name() }),
        }
    }
}

fn text_method(
    text: &Rc<str>,
    name: &str,
    arguments: &CallArguments,
    budget: &mut Budget,
) -> Result<Value, ErrorKind> {
    budget.steps(text.len() / 16)?;
    budget.bytes(text.len())?;
    let part = |index: usize, name: &str| {
        arguments.get_str(index, name).ok_or(ErrorKind::BadArguments("a method of a text"))
    };
    let every = |property: fn(char) -> bool| Value::Bool(!text.is_empty() && text.chars().all(property));
    let place = |at: Option<usize>| at.map_or(-1, |at| text[..at].chars().count() as i64);
    Ok(match name {
        "strip" => strip(text, arguments, true, true).into(),
        "lstrip" => strip(text, arguments, true, false).into(),
        "rstrip" => strip(text, arguments, false, true).into(),
        "split" => split(text, arguments, false, budget)?,
        "rsplit" => split(text, arguments, true, budget)?,
        "splitlines" => texts(split_lines(text, arguments.is_set(0, "keepends")), budget)?,
        "partition" | "rpartition" => {
            let separator = part(0, "sep")?;
            let parts = match name {
                "partition" => text.split_once(separator),
                _ => text.rsplit_once(separator),
            };
            let parts = match (parts, name) {
                (Some((before, after)), _) => [before, separator, after],
                (None, "partition") => [&**text, "", ""],
                (None, _) => ["", "", &**text],
            };
            Value::tuple(parts.map(Value::from).into())?
        }
        "startswith" | "endswith" => {
            let matches = |part: &str| match name {
                "startswith" => text.starts_with(part),
                _ => text.ends_with(part),
            };
            Value::Bool(match arguments.positional.first() {
                Some(Value::List(parts)) => parts.elements().iter().filter_map(Value::as_str).any(matches),
                _ => matches(part(0, "prefix")?),
            })
        }
        "replace" => {
            let count = arguments.get(2, "count").and_then(Value::as_integer).unwrap_or(-1);
            replace(text, part(0, "old")?, part(1, "new")?, count, budget)?.into()
        }
        "upper" => text.to_uppercase().into(),
        "lower" => text.to_lowercase().into(),
        "capitalize" => capitalize(text).into(),
        "title" => title(text).into(),
        "find" => Value::Integer(place(text.find(part(0, "sub")?))),
        "rfind" => Value::Integer(place(text.rfind(part(0, "sub")?))),
        "index" => match text.find(part(0, "sub")?) {
            Some(at) => Value::Integer(place(Some(at))),
            None => return Err(ErrorKind::BadArguments("index")),
        },
        "count" => Value::Integer(match part(0, "sub")? {
            "" => text.chars().count() as i64 + 1,
            sub => text.matches(sub).count() as i64,
        }),
        "join" => {
            let parts = arguments.get(0, "iterable").ok_or(ErrorKind::BadArguments("join"))?;
            let parts = parts.iterate(budget)?;
            if let Some(wrong) = parts.iter().find(|part| part.as_str().is_none()) {
                return Err(ErrorKind::WrongType { operation: "join", found: wrong.type_name() });
            }
            join(&parts, text, budget)?.into()
        }
        "removeprefix" => {
            let prefix = part(0, "prefix")?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let suffix = part(0, "suffix")?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "isdigit" => every(|c| c.is_ascii_digit()),
        "isalpha" => every(char::is_alphabetic),
        "isalnum" => every(char::is_alphanumeric),
        "isspace" => every(char::is_whitespace),
        "isupper" => Value::Bool(is_cased(text) && !text.chars().any(char::is_lowercase)),
        "islower" => Value::Bool(is_cased(text) && !text.chars().any(char::is_uppercase)),
        "format" => brace_format(text, arguments, budget)?.into(),
        _ => return Err(ErrorKind::Undefined(name.into())),
    })
}

fn dict_method(
    map: &Rc<Map>,
    name: &str,
    arguments: &CallArguments,
    budget: &mut Budget,
) -> Result<Value, ErrorKind> {
    let entries = map.entries();
    budget.bytes(entries.len() * 4 * size_of::<Value>())?;
    match name {
        "get" => {
            let key = arguments.get(0, "key").ok_or(ErrorKind::BadArguments("get"))?;
            let default = || arguments.get(1, "default").cloned().unwrap_or(Value::None);
            Ok(map.get_value(key).cloned().unwrap_or_else(default))
        }
        "items" => {
            let pairs = entries.iter().map(|(key, value)| Value::tuple([key.clone(), value.clone()].into()));
            Value::list(pairs.collect::<Result<_, _>>()?)
        }
        "keys" => Value::list(entries.iter().map(|(key, _)| key.clone()).collect()),
        "values" => Value::list(entries.iter().map(|(_, value)| value.clone()).collect()),
        "copy" => Ok(Value::Map(map.clone())),
        _ => Err(ErrorKind::WrongType { operation: "a method that changes its object", found: "dict" }),
    }
}

fn list_method(
    list: &Rc<List>,
    name: &str,
    arguments: &CallArguments,
    budget: &mut Budget,
) -> Result<Value, ErrorKind> {
    let element = || arguments.positional.first().ok_or(ErrorKind::BadArguments("a method of a list"));
    match name {
        "count" => {
            let mut count = 0;
            for known in list.elements() {
                count += i64::from(known.equals(element()?, budget)?);
            }
            Ok(Value::Integer(count))
        }
        "index" => {
            for (index, known) in list.elements().iter().enumerate() {
                if known.equals(element()?, budget)? {
                    return Ok(Value::Integer(index as i64));
                }
            }
            Err(ErrorKind::BadArguments("index"))
        }
        "copy" => Ok(Value::List(list.clone())),
        _ => Err(ErrorKind::WrongType { operation: "a method that changes its object", found: "list" }),
    }
}

fn is_cased(text: &str) -> bool {
    text.chars().any(|c| c.is_lowercase() || c.is_uppercase())
}

/// Strips white space, or the characters of the first argument.
pub(crate) fn strip<'t>(text: &'t str, arguments: &CallArguments, at_start: bool, at_end: bool) -> &'t str {
    let set = arguments.get_str(0, "chars");
    let goes = |c: char| match set {
        None => c.is_whitespace() || ('\x1c'..='\x1f').contains(&c),
        Some(set) => set.contains(c),
    };
    let text = if at_start { text.trim_start_matches(goes) } else { text };
    if at_end { text.trim_end_matches(goes) } else { text }
}

fn texts<'t>(parts: impl Iterator<Item = &'t str>, budget: &mut Budget) -> Result<Value, ErrorKind> {
    let mut list = Vec::new();
    for part in parts {
        budget.bytes(size_of::<Value>() + part.len())?;
        list.push(Value::from(part));
    }
    Value::list(list)
}

fn split(
    text: &str,
    arguments: &CallArguments,
    from_end: bool,
    budget: &mut Budget,
) -> Result<Value, ErrorKind> {
    let max = arguments.get(1, "maxsplit").and_then(Value::as_integer).unwrap_or(-1);
    let max = usize::try_from(max).unwrap_or(usize::MAX - 1);
    match (arguments.get(0, "sep"), from_end) {
        (Some(Value::String(separator)), _) if separator.is_empty() => Err(ErrorKind::BadArguments("split")),
        (Some(Value::String(separator)), false) => texts(text.splitn(max + 1, &**separator), budget),
        (Some(Value::String(separator)), true) => {
            let mut parts: Vec<&str> = text.rsplitn(max + 1, &**separator).collect();
            parts.reverse();
            texts(parts.into_iter(), budget)
        }
        (None | Some(Value::None), false) => {
            let mut rest = text.trim_start();
            let mut n_splits = 0;
            let words = core::iter::from_fn(|| {
                if rest.is_empty() {
                    return None;
                }
                if n_splits == max {
                    return Some(core::mem::take(&mut rest).trim_end());
                }
                n_splits += 1;
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                rest = after.trim_start();
                Some(word)
            });
            texts(words, budget)
        }
        (None | Some(Value::None), true) if max == usize::MAX - 1 => texts(text.split_whitespace(), budget),
        _ => Err(ErrorKind::BadArguments("split")),
    }
}

fn split_lines(text: &str, keep_ends: bool) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').map(move |line| match keep_ends {
        true => line,
        false => line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line)),
    })
}

/// Replaces the first `count` occurrences, all if it is negative.
pub(crate) fn replace(
    text: &str,
    old: &str,
    new: &str,
    count: i64,
    budget: &mut Budget,
) -> Result<String, ErrorKind> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let n_found = text.matches(old).take(count).count();
    budget.bytes(text.len().saturating_add(new.len().saturating_mul(n_found)))?;
    Ok(text.replacen(old, new, count))
}

pub(crate) fn join(parts: &[Value], separator: &str, budget: &mut Budget) -> Result<String, ErrorKind> {
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        budget.append(&mut text, if index == 0 { "" } else { separator })?;
        part.write_text(&mut text, budget)?;
    }
    Ok(text)
}

pub(crate) fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters.flat_map(char::to_lowercase)).collect()
}

pub(crate) fn title(text: &str) -> String {
    let mut capitalized = String::new();
    let mut in_word = false;
    for character in text.chars() {
        match in_word {
            true => capitalized.extend(character.to_lowercase()),
            false => capitalized.extend(character.to_uppercase()),
        }
        in_word = character.is_alphabetic();
    }
    capitalized
}

/// `"{} and {name}".format(…)`, without format specifications.
fn brace_format(format: &str, arguments: &CallArguments, budget: &mut Budget) -> Result<String, ErrorKind> {
    const WRONG: ErrorKind = ErrorKind::BadArguments("format");
    let mut text = String::new();
    let mut rest = format;
    let mut next = 0;
    while let Some(at) = rest.find(['{', '}']) {
        budget.append(&mut text, &rest[..at])?;
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            budget.append(&mut text, brace)?;
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(WRONG);
        }
        let (field, after) = rest.split_once('}').ok_or(WRONG)?;
        rest = after;
        let value = match field {
            "" => {
                next += 1;
                arguments.positional.get(next - 1)
            }
            _ => match field.parse::<usize>() {
                Ok(index) => arguments.positional.get(index),
                Err(_) => arguments.get(usize::MAX, field),
            },
        };
        value.ok_or(WRONG)?.write_text(&mut text, budget)?;
    }
    budget.append(&mut text, rest)?;
    Ok(text)
}

/// `"%s and %d" % …`, without widths and precisions.
pub(crate) fn percent_format(format: &str, values: &Value, budget: &mut Budget) -> Result<String, ErrorKind> {
    const WRONG: ErrorKind = ErrorKind::BadArguments("%");
    let single = core::slice::from_ref(values);
    let mut values = match values {
        Value::List(list) => list.elements(),
        _ => single,
    }
    .iter();
    let mut text = String::new();
    let mut parts = format.split('%');
    budget.append(&mut text, parts.next().unwrap_or(""))?;
    while let Some(part) = parts.next() {
        let mut characters = part.chars();
        match characters.next() {
            Some('s') => values.next().ok_or(WRONG)?.write_text(&mut text, budget)?,
            Some('d' | 'i') => {
                let number = values.next().and_then(Value::as_integer).ok_or(WRONG)?;
                crate::value::write_number(&mut text, budget, number)?;
            }
            // `%%`: what follows is text.
            None => {
                text.push('%');
                characters = parts.next().ok_or(WRONG)?.chars();
            }
            Some(_) => return Err(WRONG),
        }
        budget.append(&mut text, characters.as_str())?;
    }
    Ok(text)
}
