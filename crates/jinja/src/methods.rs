//! Methods of Python's texts, dicts and lists: `x.f()`.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use crate::format::{Escaping, brace_format};
use crate::interpreter::{Budget, CallArguments, Interpreter};
use crate::markup::{self, markup_method};
use crate::value::{List, ListKind, Map};
use crate::{ErrorKind, Value};

const TEXT: [&str; 43] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
];
const TEXT_TOO: [&str; 1] = ["zfill"];
/// Methods that change the dict exist, but must not be called.
const DICT: [&str; 11] =
    ["clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"];
const LIST: [&str; 11] =
    ["append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort"];

/// Whether a value has a method of this name.
pub(crate) fn exists(value: &Value, name: &str) -> bool {
    match value {
        Value::String(_) => TEXT.contains(&name) || TEXT_TOO.contains(&name),
        Value::Markup(_) => {
            TEXT.contains(&name) || TEXT_TOO.contains(&name) || markup::METHODS.contains(&name)
        }
        Value::Map(_) => DICT.contains(&name),
        Value::List(list) => match list.kind() {
            ListKind::List => LIST.contains(&name),
            ListKind::View(_) => false,
            _ => matches!(name, "count" | "index"),
        },
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
            Value::String(text) => text_method(text, name, arguments, Escaping::None, &mut self.budget),
            Value::Markup(text) => markup_method(text, name, arguments, &mut self.budget),
            Value::Map(map) => dict_method(map, name, arguments, &mut self.budget),
            Value::List(list) => list_method(list, name, arguments, &mut self.budget),
            _ => Err(ErrorKind::WrongType { operation: "a method", found: value.type_name() }),
        }
    }
}

/// Calls a method of a text; `escaping` says how `format_map` treats the values that it inserts.
pub(crate) fn text_method(
    text: &Rc<str>,
    name: &str,
    arguments: &CallArguments,
    escaping: Escaping,
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
            let matches = |part: &str| match within(text, arguments) {
                None => false,
                Some((text, _)) if name == "startswith" => text.starts_with(part),
                Some((text, _)) => text.ends_with(part),
            };
            Value::Bool(match arguments.positional.first() {
                Some(Value::List(parts)) if parts.is_tuple() => {
                    parts.elements().iter().filter_map(Value::as_str).any(matches)
                }
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
        "find" | "rfind" | "index" | "rindex" => {
            let sub = part(0, "sub")?;
            let found = within(text, arguments).and_then(|(text, begin)| {
                let at = if name.starts_with('r') { text.rfind(sub) } else { text.find(sub) };
                at.map(|at| begin + at)
            });
            if found.is_none() && name.ends_with("index") {
                return Err(ErrorKind::BadArguments("index"));
            }
            Value::Integer(place(found))
        }
        "count" => Value::Integer(match (part(0, "sub")?, within(text, arguments)) {
            (_, None) => 0,
            ("", Some((text, _))) => text.chars().count() as i64 + 1,
            (sub, Some((text, _))) => text.matches(sub).count() as i64,
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
        "isdigit" | "isdecimal" => every(|c| c.is_ascii_digit()),
        "isnumeric" => every(char::is_numeric),
        "isascii" => Value::Bool(text.is_ascii()),
        "isprintable" => {
            Value::Bool(!text.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')))
        }
        "isidentifier" => Value::Bool(
            text.starts_with(|c: char| c == '_' || c.is_alphabetic())
                && text.chars().all(|c| c == '_' || c.is_alphanumeric()),
        ),
        "istitle" => Value::Bool(is_cased(text) && title(text) == **text),
        "swapcase" => text.chars().flat_map(swap_case).collect::<String>().into(),
        "casefold" => text.to_lowercase().replace('ß', "ss").into(),
        "expandtabs" => expand_tabs(text, arguments.integer_or(0, "tabsize", 8)?, budget)?.into(),
        "center" | "ljust" | "rjust" => {
            let align = match name {
                "center" => '^',
                "ljust" => '<',
                _ => '>',
            };
            let width = arguments.get(0, "width").and_then(Value::as_integer);
            let width = width.ok_or(ErrorKind::BadArguments("a method of a text"))?;
            let fill = arguments.get(1, "fillchar").map_or(Some(" "), Value::as_str);
            let mut fill = fill.unwrap_or("").chars();
            match (fill.next(), fill.next()) {
                (Some(fill), None) => justify(text, width, fill, align, budget)?.into(),
                _ => return Err(ErrorKind::BadArguments("a method of a text")),
            }
        }
        "zfill" => {
            let width = arguments.get(0, "width").and_then(Value::as_integer);
            let width = width.ok_or(ErrorKind::BadArguments("zfill"))?;
            let sign = if text.starts_with(['+', '-']) { &text[..1] } else { "" };
            let filled = justify(&text[sign.len()..], width - sign.len() as i64, '0', '>', budget)?;
            [sign, &filled].concat().into()
        }
        "format_map" => match arguments.positional.first() {
            Some(Value::Map(map)) => {
                let mut named = CallArguments::default();
                budget.bytes(size_of_val(map.entries()))?;
                for (key, value) in map.entries() {
                    named.named.push((key.to_text(budget)?, value.clone()));
                }
                brace_format(text, &named, escaping, budget)?.into()
            }
            _ => return Err(ErrorKind::BadArguments("format_map")),
        },
        "isalpha" => every(char::is_alphabetic),
        "isalnum" => every(char::is_alphanumeric),
        "isspace" => every(char::is_whitespace),
        "isupper" => Value::Bool(is_cased(text) && !text.chars().any(char::is_lowercase)),
        "islower" => Value::Bool(is_cased(text) && !text.chars().any(char::is_uppercase)),
        "format" => brace_format(text, arguments, escaping, budget)?.into(),
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
            Value::sequence(pairs.collect::<Result<_, _>>()?, ListKind::View("dict_items"))
        }
        "keys" => {
            let keys = entries.iter().map(|(key, _)| key.clone()).collect();
            Value::sequence(keys, ListKind::View("dict_keys"))
        }
        "values" => {
            let values = entries.iter().map(|(_, value)| value.clone()).collect();
            Value::sequence(values, ListKind::View("dict_values"))
        }
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

/// The part of a text between the second and third argument, and where it begins; `None` if it would begin after the end of the
/// text.
fn within<'t>(text: &'t str, arguments: &CallArguments) -> Option<(&'t str, usize)> {
    let bound = |index: usize| arguments.positional.get(index).and_then(Value::as_integer);
    if bound(1).is_none() && bound(2).is_none() {
        return Some((text, 0));
    }
    let len = text.chars().count() as i64;
    let place = |bound: i64| if bound < 0 { (bound + len).max(0) } else { bound };
    let (start, end) = (bound(1).map_or(0, place), bound(2).map_or(len, place).min(len));
    if start > end {
        return None;
    }
    let byte = |place: i64| text.char_indices().nth(place as usize).map_or(text.len(), |(at, _)| at);
    let begin = byte(start);
    Some((&text[begin..byte(end)], begin))
}

/// Pads a text to `width`, on its right (`<`), on its left (`>`) or on both sides (`^`).
pub(crate) fn justify(
    text: &str,
    width: i64,
    fill: char,
    align: char,
    budget: &mut Budget,
) -> Result<String, ErrorKind> {
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(text.chars().count());
    budget.bytes(missing.saturating_mul(fill.len_utf8()).saturating_add(text.len()))?;
    let before = match align {
        '<' => 0,
        '>' => missing,
        // If the padding cannot be divided equally, the extra character goes to the left if the width is odd.
        _ => missing / 2 + (missing & width as usize & 1),
    };
    let fills = |count: usize| core::iter::repeat_n(fill, count);
    Ok(fills(before).chain(text.chars()).chain(fills(missing - before)).collect())
}

fn swap_case(c: char) -> Vec<char> {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

fn expand_tabs(text: &str, size: i64, budget: &mut Budget) -> Result<String, ErrorKind> {
    let size = usize::try_from(size).unwrap_or(0);
    let mut expanded = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let width = size - column % size;
                budget.bytes(width)?;
                expanded.extend(core::iter::repeat_n(' ', width));
                column += width;
            }
            '\t' => {}
            _ => {
                expanded.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(expanded)
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
        (Some(Value::String(separator) | Value::Markup(separator)), _) if separator.is_empty() => {
            Err(ErrorKind::BadArguments("split"))
        }
        (Some(Value::String(separator) | Value::Markup(separator)), false) => {
            texts(text.splitn(max + 1, &**separator), budget)
        }
        (Some(Value::String(separator) | Value::Markup(separator)), true) => {
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
                    return Some(core::mem::take(&mut rest));
                }
                n_splits += 1;
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                rest = after.trim_start();
                Some(word)
            });
            texts(words, budget)
        }
        (None | Some(Value::None), true) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                if parts.len() == max {
                    parts.push(rest);
                    break;
                }
                let begin = rest.char_indices().rev().find(|(_, c)| c.is_whitespace());
                let begin = begin.map_or(0, |(at, c)| at + c.len_utf8());
                parts.push(&rest[begin..]);
                rest = rest[..begin].trim_end();
            }
            budget.bytes(size_of_val(&*parts))?;
            parts.reverse();
            texts(parts.into_iter().filter(|part| !part.is_empty()), budget)
        }
        _ => Err(ErrorKind::BadArguments("split")),
    }
}

/// The lines of a text, divided at every line break that Python knows.
pub(crate) fn split_lines(text: &str, keep_ends: bool) -> impl Iterator<Item = &str> {
    const BREAKS: [char; 10] =
        ['\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut rest = text;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = rest.find(BREAKS).unwrap_or(rest.len());
        let end = match &rest[len..] {
            after if after.starts_with("\r\n") => len + 2,
            after => len + after.chars().next().map_or(0, char::len_utf8),
        };
        let line = if keep_ends { &rest[..end] } else { &rest[..len] };
        rest = &rest[end..];
        Some(line)
    })
}

/// Replaces the first `count` occurrences, or all if `count` is negative.
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

fn title(text: &str) -> String {
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
