//! Filters that take a value as text: cutting, wrapping, escaping.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::format::{Escaping, percent_format};
use crate::interpreter::{Budget, CallArguments, Interpreter};
use crate::markup::escape;
use crate::methods::{capitalize, join, justify, replace, split_lines, strip};
use crate::{ErrorKind, Value};

impl Interpreter<'_> {
    /// Applies the filter of this name to the text of a value.
    pub(crate) fn text_filter(
        &mut self,
        name: &str,
        value: &Value,
        arguments: &CallArguments,
    ) -> Result<Value, ErrorKind> {
        match (name, value) {
            ("indent" | "wordwrap" | "truncate", Value::String(_) | Value::Markup(_)) => {}
            // A text that is short enough stays unchanged.
            ("truncate", _)
                if value.len().is_some_and(|len| {
                    arguments.integer_or(0, "length", 255).is_ok_and(|length| len as i64 <= length)
                }) =>
            {
                return Ok(value.clone());
            }
            ("indent" | "wordwrap" | "truncate", _) => {
                let found = value.type_name();
                return Err(ErrorKind::WrongType { operation: "a filter of texts", found });
            }
            _ => {}
        }
        match (name, value) {
            ("indent" | "wordwrap", Value::Markup(_)) => {}
            ("trim", Value::Markup(_)) => return self.method(value, "strip", arguments),
            ("upper" | "lower" | "capitalize", Value::Markup(_)) => {
                return self.method(value, name, &CallArguments::default());
            }
            ("truncate", Value::Markup(text)) => {
                let text = truncate(text, arguments, Escaping::Html, &mut self.budget)?;
                return Ok(Value::markup(text));
            }
            ("center", Value::Markup(_)) => {
                let width = arguments.integer_or(0, "width", 80)?;
                let text = value.to_text(&mut self.budget)?;
                return Ok(Value::markup(justify(&text, width, ' ', '^', &mut self.budget)?));
            }
            ("replace", _) => return self.replace_filter(value, arguments),
            _ => {}
        }
        let text = value.to_text(&mut self.budget)?;
        let escaping = if value.is_markup() { Escaping::Html } else { Escaping::None };
        let budget = &mut self.budget;
        budget.steps(text.len() / 16)?;
        budget.bytes(text.len())?;
        Ok(match name {
            "trim" => strip(&text, arguments, true, true).into(),
            "upper" => text.to_uppercase().into(),
            "lower" => text.to_lowercase().into(),
            "capitalize" => capitalize(&text).into(),
            "title" => title(&text).into(),
            "indent" => {
                let indented = indent(&text, arguments, budget)?;
                if value.is_markup() { Value::markup(indented) } else { indented.into() }
            }
            "wordcount" => Value::Integer(count_words(&text)),
            "format" => {
                let values = match (arguments.positional.is_empty(), arguments.named.is_empty()) {
                    (_, true) => Value::tuple(arguments.positional.clone())?,
                    (true, false) => self.dict(arguments)?.into(),
                    (false, false) => return Err(ErrorKind::BadArguments("format")),
                };
                let formatted = percent_format(&text, &values, escaping, &mut self.budget)?;
                if value.is_markup() { Value::markup(formatted) } else { formatted.into() }
            }
            "center" => {
                let width = arguments.integer_or(0, "width", 80)?;
                justify(&text, width, ' ', '^', budget)?.into()
            }
            "truncate" => truncate(&text, arguments, Escaping::None, budget)?.into(),
            "wordwrap" => word_wrap(&text, arguments, budget)?.into(),
            "striptags" => strip_tags(&text, budget)?.into(),
            "pprint" => {
                const LINE_COLUMNS: usize = 80;
                let mut shown = String::new();
                value.write_pretty(&mut shown, budget)?;
                if shown.chars().count() > LINE_COLUMNS {
                    return Err(ErrorKind::BadArguments("pprint, of what takes more than a line,"));
                }
                shown.into()
            }
            _ => return Err(ErrorKind::UnknownFilter(name.to_owned())),
        })
    }

    /// `replace`
    fn replace_filter(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        let (Some(old), Some(new)) = (arguments.get(0, "old"), arguments.get(1, "new")) else {
            return Err(ErrorKind::BadArguments("replace"));
        };
        let budget = &mut self.budget;
        let count = arguments.get(2, "count").and_then(Value::as_integer).unwrap_or(-1);
        let old_text = old.to_text(budget)?;
        let becomes_markup = self.escapes && (value.is_markup() || old.is_markup() || new.is_markup());
        let (text, new) = match becomes_markup {
            // Either the inserted text or the value is HTML.
            true => (value.to_escaped(budget)?, new.to_escaped(budget)?),
            false => (value.to_text(budget)?, new.to_text(budget)?),
        };
        budget.steps(text.len() / 16)?;
        let replaced = replace(&text, &old_text, &new, count, budget)?;
        Ok(if becomes_markup { Value::markup(replaced) } else { replaced.into() })
    }

    /// `filesizeformat`
    pub(crate) fn file_size(&mut self, value: &Value, arguments: &CallArguments) -> Result<Value, ErrorKind> {
        const DECIMAL: [&str; 8] = ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
        const BINARY: [&str; 8] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
        let number = match value {
            Value::String(text) | Value::Markup(text) => text.trim().parse().ok(),
            _ => value.as_number().map(|number| number.as_f64()),
        };
        let bytes: f64 =
            number.ok_or(ErrorKind::WrongType { operation: "filesizeformat", found: value.type_name() })?;
        let (base, names) = match arguments.is_set(0, "binary") {
            true => (1024.0, BINARY),
            false => (1000.0, DECIMAL),
        };
        if bytes == 1.0 {
            return Ok("1 Byte".into());
        }
        if bytes < base {
            return Ok(format!("{:.0} Bytes", bytes as i64).into());
        }
        let mut unit = base * base;
        for name in &names[..names.len() - 1] {
            if bytes < unit {
                return Ok(format!("{:.1} {name}", base * bytes / unit).into());
            }
            unit *= base;
        }
        Ok(format!("{:.1} {}", base * bytes / unit, names[names.len() - 1]).into())
    }

    /// `urlencode`
    pub(crate) fn url_encode(&mut self, value: &Value) -> Result<Value, ErrorKind> {
        let pairs = match value {
            Value::Map(map) => map.entries().to_vec(),
            Value::List(list) => {
                let mut pairs = Vec::new();
                for pair in list.elements() {
                    match &pair.iterate(&mut self.budget)?[..] {
                        [key, value] => pairs.push((key.clone(), value.clone())),
                        _ => return Err(ErrorKind::BadArguments("urlencode")),
                    }
                }
                pairs
            }
            _ => return Ok(quote_url(&value.to_text(&mut self.budget)?, false, &mut self.budget)?.into()),
        };
        let mut text = String::new();
        for (index, (key, value)) in pairs.iter().enumerate() {
            let budget = &mut self.budget;
            let (key, value) = (key.to_text(budget)?, value.to_text(budget)?);
            let (key, value) = (quote_url(&key, true, budget)?, quote_url(&value, true, budget)?);
            budget.append(&mut text, if index == 0 { "" } else { "&" })?;
            budget.append(&mut text, &key)?;
            budget.append(&mut text, "=")?;
            budget.append(&mut text, &value)?;
        }
        Ok(text.into())
    }

    /// `xmlattr`
    pub(crate) fn xml_attributes(
        &mut self,
        value: &Value,
        arguments: &CallArguments,
    ) -> Result<Value, ErrorKind> {
        let Value::Map(map) = value else {
            return Err(ErrorKind::WrongType { operation: "xmlattr", found: value.type_name() });
        };
        let budget = &mut self.budget;
        let mut attributes = Vec::new();
        for (key, value) in map.entries() {
            if matches!(value, Value::None | Value::Undefined) {
                continue;
            }
            let key = key.as_str().ok_or(ErrorKind::BadArguments("xmlattr"))?;
            if key.contains(|c: char| c.is_whitespace() || "/>=".contains(c)) {
                return Err(ErrorKind::BadArguments("xmlattr"));
            }
            let attribute = format!("{}=\"{}\"", escape(key, budget)?, value.to_escaped(budget)?);
            attributes.push(Value::from(attribute));
        }
        let text = join(&attributes, " ", budget)?;
        let begins_with_space = arguments.get(0, "autospace").is_none_or(Value::is_true);
        let text = if begins_with_space && !text.is_empty() { format!(" {text}") } else { text };
        Ok(if self.escapes { Value::markup(text) } else { text.into() })
    }
}

/// Capitalises each letter after white space, `-` or an opening bracket.
fn title(text: &str) -> String {
    let mut titled = String::new();
    let mut begins_word = true;
    for character in text.chars() {
        match begins_word {
            true => titled.extend(character.to_uppercase()),
            false => titled.extend(character.to_lowercase()),
        }
        begins_word = character.is_whitespace() || "-({[<".contains(character);
    }
    titled
}

/// Counts runs of letters, digits and `_`.
fn count_words(text: &str) -> i64 {
    text.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).count() as i64
}

/// `\w` in Python's regular expressions.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn indent(text: &str, arguments: &CallArguments, budget: &mut Budget) -> Result<String, ErrorKind> {
    let wrong = ErrorKind::BadArguments("indent");
    let indention = match arguments.get(0, "width") {
        None => "    ".to_owned(),
        Some(Value::String(indention) | Value::Markup(indention)) => (**indention).to_owned(),
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
    // A line break at the end begins another line.
    let text = format!("{text}\n");
    for (index, line) in split_lines(&text, false).enumerate() {
        budget.append(&mut indented, if index == 0 { "" } else { "\n" })?;
        let is_indented = if index == 0 { indents_first } else { indents_blank || !line.is_empty() };
        if is_indented {
            budget.append(&mut indented, &indention)?;
        }
        budget.append(&mut indented, line)?;
    }
    Ok(indented)
}

fn truncate(
    text: &str,
    arguments: &CallArguments,
    escaping: Escaping,
    budget: &mut Budget,
) -> Result<String, ErrorKind> {
    const WRONG: ErrorKind = ErrorKind::BadArguments("truncate");
    const LEEWAY: i64 = 5;
    let len = arguments.integer_or(0, "length", 255)?;
    let end = arguments.get(2, "end").map_or(Ok("..."), |end| end.as_str().ok_or(WRONG))?;
    let leeway = match arguments.get(3, "leeway") {
        Some(Value::None) | None => LEEWAY,
        Some(leeway) => leeway.as_integer().filter(|&leeway| leeway >= 0).ok_or(WRONG)?,
    };
    let kept = usize::try_from(len.saturating_sub(end.chars().count() as i64)).map_err(|_| WRONG)?;
    if text.chars().count() as i64 <= len.saturating_add(leeway) {
        return Ok(text.into());
    }
    budget.bytes(end.len())?;
    let cut = text.char_indices().nth(kept).map_or(text, |(at, _)| &text[..at]);
    let kept = match arguments.is_set(1, "killwords") {
        true => cut,
        false => cut.rsplit_once(' ').map_or(cut, |(words, _)| words),
    };
    match escaping {
        Escaping::Html => Ok([kept, &escape(end, budget)?].concat()),
        Escaping::None => Ok([kept, end].concat()),
    }
}

/// Python's `textwrap.wrap`, applied to each line.
fn word_wrap(text: &str, arguments: &CallArguments, budget: &mut Budget) -> Result<String, ErrorKind> {
    let width = arguments.integer_or(0, "width", 79)?;
    let width = usize::try_from(width).ok().filter(|&width| width > 0);
    let width = width.ok_or(ErrorKind::BadArguments("wordwrap"))?;
    let is_set = |index, name| arguments.get(index, name).is_none_or(Value::is_true);
    let breaks_words = is_set(1, "break_long_words");
    let line_break = match arguments.get(2, "wrapstring") {
        None | Some(Value::None) => "\n",
        Some(line_break) => line_break.as_str().ok_or(ErrorKind::BadArguments("wordwrap"))?,
    };
    let breaks_at_hyphens = is_set(3, "break_on_hyphens");
    let mut wrapped = String::new();
    for (index, paragraph) in split_lines(text, false).enumerate() {
        budget.append(&mut wrapped, if index == 0 { "" } else { line_break })?;
        let characters: Vec<char> = paragraph.chars().collect();
        budget.bytes(characters.len() * size_of::<char>())?;
        budget.steps(characters.len())?;
        let mut is_first = true;
        let mut chunks = Chunks::new(&characters, breaks_at_hyphens, budget)?;
        while let Some(line) = chunks.next_line(width, breaks_words, is_first) {
            if !line.is_empty() {
                budget.append(&mut wrapped, if is_first { "" } else { line_break })?;
                budget.bytes(size_of_val(line))?;
                wrapped.extend(line);
                is_first = false;
            }
        }
    }
    Ok(wrapped)
}

/// A paragraph, divided into chunks at the places where a line may end.
struct Chunks<'c> {
    characters: &'c [char],
    breaks_at_hyphens: bool,
    /// Where the chunks end, in reverse order.
    ends: Vec<usize>,
    /// Where the first remaining chunk begins.
    begin: usize,
}

/// White space as `textwrap` knows it.
fn is_blank(c: char) -> bool {
    "\t\n\x0b\x0c\r ".contains(c)
}

impl<'c> Chunks<'c> {
    fn new(characters: &'c [char], breaks_at_hyphens: bool, budget: &mut Budget) -> Result<Self, ErrorKind> {
        budget.bytes(size_of::<usize>() * characters.len())?;
        let mut chunks = Self { characters, breaks_at_hyphens, ends: Vec::new(), begin: 0 };
        let mut end = 0;
        while let Some(len) = chunks.chunk_len(end) {
            end += len;
            chunks.ends.push(end);
        }
        chunks.ends.reverse();
        Ok(chunks)
    }

    /// The next line; `None` at the end. A line of only white space is empty.
    fn next_line(&mut self, width: usize, breaks_words: bool, is_first: bool) -> Option<&'c [char]> {
        let all = self.characters;
        let end_of_first = *self.ends.last()?;
        if !is_first && all[self.begin..end_of_first].iter().copied().all(is_blank) {
            self.begin = end_of_first;
            self.ends.pop();
        }
        // Where the line begins, and where its last chunk begins.
        let (begin, mut last) = (self.begin, self.begin);
        while let Some(&end) = self.ends.last() {
            let (taken, len) = (self.begin - begin, end - self.begin);
            if taken + len <= width {
                last = self.begin;
                self.begin = end;
                self.ends.pop();
                continue;
            }
            if len > width {
                if breaks_words {
                    last = self.begin;
                    self.begin += self.part_of_long_word(&all[self.begin..end], width - taken);
                } else if taken == 0 {
                    last = self.begin;
                    self.begin = end;
                    self.ends.pop();
                }
            }
            break;
        }
        let ends_blank = all[last..self.begin].iter().copied().all(char::is_whitespace);
        Some(&all[begin..if ends_blank { last } else { self.begin }])
    }

    fn part_of_long_word(&self, word: &[char], space_left: usize) -> usize {
        if self.breaks_at_hyphens && word.len() > space_left {
            let hyphen = word[..space_left].iter().rposition(|&c| c == '-').unwrap_or(0);
            if word[..hyphen].iter().any(|&c| c != '-') {
                return hyphen + 1;
            }
        }
        space_left
    }

    /// The length of the chunk that begins at `begin`.
    fn chunk_len(&self, begin: usize) -> Option<usize> {
        let at = |index: usize| self.characters.get(index).copied();
        let first = at(begin)?;
        let run = |from: usize, belongs: fn(char) -> bool| {
            self.characters[from..].iter().take_while(|&&c| belongs(c)).count()
        };
        if is_blank(first) {
            return Some(run(begin, is_blank));
        }
        if !self.breaks_at_hyphens {
            return Some(run(begin, |c| !is_blank(c)));
        }
        let is_letter = |c: char| is_word(c) && !c.is_numeric();
        let is_in_word = |c: char| is_word(c) || "!\"'&.,?".contains(c);
        let before = |index: usize, distance: usize| index.checked_sub(distance).and_then(at);
        // Whether there are two or more hyphens between words.
        let is_dash = |index: usize| {
            let len = run(index, |c| c == '-');
            let is_between = before(index, 1).is_some_and(is_in_word) && at(index + len).is_some_and(is_word);
            (len >= 2 && is_between).then_some(len)
        };
        if let Some(len) = is_dash(begin) {
            return Some(len);
        }
        let is_hyphen_of_word = |index: usize| {
            let letter = |c: Option<char>| c.is_some_and(is_letter);
            let follows = letter(before(index, 1)) && letter(before(index, 2))
                || before(index, 1).is_some_and(is_in_word)
                    && before(index, 2) == Some('-')
                    && letter(before(index, 3));
            let leads = letter(at(index + 1))
                && (letter(at(index + 2)) || at(index + 2) == Some('-') && letter(at(index + 3)));
            at(index) == Some('-') && follows && leads
        };
        let mut end = begin + 1;
        loop {
            if is_hyphen_of_word(end) {
                return Some(end + 1 - begin);
            }
            if at(end).is_none_or(is_blank) || is_dash(end).is_some() {
                return Some(end - begin);
            }
            end += 1;
        }
    }
}

/// Percent-encodes characters that have a meaning in a URL. In a query, a space becomes `+`, and `/` is encoded too.
fn quote_url(text: &str, is_query: bool, budget: &mut Budget) -> Result<String, ErrorKind> {
    budget.bytes(3 * text.len())?;
    let mut quoted = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => quoted.push(byte.into()),
            b'/' if !is_query => quoted.push('/'),
            b' ' if is_query => quoted.push('+'),
            _ => quoted.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(quoted)
}

/// Removes comments and tags, replaces all white space by single spaces, and resolves character references.
pub(crate) fn strip_tags(text: &str, budget: &mut Budget) -> Result<String, ErrorKind> {
    budget.bytes(3 * text.len())?;
    let without = |text: &str, open: &str, close: &str| {
        let mut kept = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(open) {
            let Some(end) = rest[at + open.len()..].find(close) else { break };
            kept.push_str(&rest[..at]);
            rest = &rest[at + open.len() + end + close.len()..];
        }
        kept + rest
    };
    let text = without(&without(text, "<!--", "-->"), "<", ">");
    let words: Vec<&str> = text.split_whitespace().collect();
    unescape(&words.join(" "))
}

/// Resolves `&amp;`, `&#38;` and the like; names that HTML has in addition to those of XML are refused.
pub(crate) fn unescape(text: &str) -> Result<String, ErrorKind> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '#').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let number = name.strip_prefix('#').and_then(|number| match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => number.parse().ok(),
        });
        let character = match (name, number) {
            (_, Some(code)) => Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
            ("amp", _) => Some('&'),
            ("lt", _) => Some('<'),
            ("gt", _) => Some('>'),
            ("quot", _) => Some('"'),
            ("apos", _) => Some('\''),
            ("nbsp", _) => Some('\u{a0}'),
            _ if after.starts_with(';') && !name.is_empty() => {
                return Err(ErrorKind::UnknownFilter(format!(
                    "striptags, of the character reference {name}"
                )));
            }
            _ => None,
        };
        match character {
            Some(character) => {
                out.push(character);
                rest = after.strip_prefix(';').unwrap_or(after);
            }
            None => out.push('&'),
        }
    }
    out.push_str(rest);
    Ok(out)
}
