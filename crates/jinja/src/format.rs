//! Python's formats of values: `"%5.1f" % x` and `"{:>8}".format(x)`.
//!
//! Both syntaxes are parsed into a [`Spec`] and share the code that formats numbers and texts.
//!
//! Source: the Python library reference, "printf-style String Formatting" and "Format Specification
//! Mini-Language".

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::interpreter::{Budget, CallArguments};
use crate::markup::escape;
use crate::value::Number;
use crate::{ErrorKind, Value};

/// How texts are treated when they are inserted into a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escaping {
    /// They are inserted unchanged.
    None,
    /// Characters with a meaning in HTML are escaped, except in texts that are already HTML.
    Html,
}

/// Most digits that are ever written for a number.
const MAX_PRECISION: usize = 10_000;

/// How a value is to be written.
#[derive(Debug, Clone, Default)]
struct Spec {
    fill: Option<char>,
    /// `<`, `>`, `^`, or `=`, which puts the padding between sign and digits.
    align: Option<char>,
    /// Whether numbers are padded with zeros after the sign.
    has_zeros: bool,
    /// `+` or a space for numbers that are not negative.
    sign: Option<char>,
    is_alternate: bool,
    width: usize,
    /// The separator between groups of digits.
    grouping: Option<char>,
    precision: Option<usize>,
    /// The conversion, such as `d` or `f`.
    kind: Option<char>,
}

impl Spec {
    /// Appends a number without its sign, or a text, with the padding that the width requires.
    fn pad(
        &self,
        sign: &str,
        body: &str,
        default_align: char,
        out: &mut String,
        budget: &mut Budget,
    ) -> Result<(), ErrorKind> {
        let len = sign.chars().count() + body.chars().count();
        let missing = self.width.saturating_sub(len);
        let fill = self.fill.unwrap_or(' ');
        budget.bytes(missing.saturating_mul(fill.len_utf8()).saturating_add(sign.len() + body.len()))?;
        let align = self.align.unwrap_or(default_align);
        let before = match align {
            '<' => 0,
            '^' => missing / 2,
            _ => missing,
        };
        let fills = |count: usize| core::iter::repeat_n(fill, count);
        if align == '=' {
            out.push_str(sign);
            out.extend(fills(before));
        } else {
            out.extend(fills(before));
            out.push_str(sign);
        }
        out.push_str(body);
        out.extend(fills(missing - before));
        Ok(())
    }

    fn text(
        &self,
        text: &str,
        default_align: char,
        out: &mut String,
        budget: &mut Budget,
    ) -> Result<(), ErrorKind> {
        let end =
            self.precision.and_then(|len| text.char_indices().nth(len)).map_or(text.len(), |(at, _)| at);
        self.pad("", &text[..end], default_align, out, budget)
    }

    fn align_of_numbers(&self) -> char {
        if self.has_zeros { '=' } else { '>' }
    }

    fn sign_of(&self, is_negative: bool) -> String {
        match is_negative {
            true => "-".into(),
            false => self.sign.map(String::from).unwrap_or_default(),
        }
    }

    fn integer(&self, number: i64, out: &mut String, budget: &mut Budget) -> Result<(), ErrorKind> {
        let magnitude = number.unsigned_abs();
        let (prefix, digits, group) = match self.kind {
            Some('x') => ("0x", format!("{magnitude:x}"), 4),
            Some('X') => ("0X", format!("{magnitude:X}"), 4),
            Some('o') => ("0o", format!("{magnitude:o}"), 4),
            Some('b') => ("0b", format!("{magnitude:b}"), 4),
            _ => ("", magnitude.to_string(), 3),
        };
        let digits = match self.precision {
            Some(precision) if precision > MAX_PRECISION => return Err(ErrorKind::TooMuchMemory),
            Some(precision) => format!("{digits:0>precision$}"),
            None => digits,
        };
        let mut sign = self.sign_of(number < 0);
        if self.is_alternate {
            sign.push_str(prefix);
        }
        self.pad(&sign, &self.grouped(&digits, group), self.align_of_numbers(), out, budget)
    }

    fn float(&self, number: f64, out: &mut String, budget: &mut Budget) -> Result<(), ErrorKind> {
        let precision = self.precision.unwrap_or(6);
        if precision > MAX_PRECISION {
            return Err(ErrorKind::TooMuchMemory);
        }
        budget.bytes(precision + 400)?;
        let magnitude = number.abs();
        let mut digits = match self.kind {
            _ if !number.is_finite() => String::from(if number.is_nan() { "nan" } else { "inf" }),
            Some('f' | 'F') => fixed(magnitude, precision, self.is_alternate),
            Some('e' | 'E') => scientific(magnitude, precision, self.is_alternate),
            Some('%') => fixed(magnitude * 100.0, precision, self.is_alternate),
            Some('g' | 'G' | 'n') => general(magnitude, precision, self.is_alternate, false),
            _ if self.precision.is_some() => general(magnitude, precision, self.is_alternate, true),
            _ => {
                let mut shortest = String::new();
                crate::text::write_float(&mut shortest, budget, magnitude)?;
                shortest
            }
        };
        if self.kind == Some('%') {
            digits.push('%');
        }
        if matches!(self.kind, Some('F' | 'E' | 'G')) {
            digits.make_ascii_uppercase();
        }
        let sign = self.sign_of(number.is_sign_negative() && !number.is_nan());
        self.pad(&sign, &self.grouped(&digits, 3), self.align_of_numbers(), out, budget)
    }

    /// Digits with separators between groups of the whole part, and with leading zeros if the width requires them.
    fn grouped(&self, digits: &str, group: usize) -> String {
        let Some(separator) = self.grouping else { return digits.into() };
        let end = digits.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(digits.len());
        let end = digits[..end].find('e').filter(|_| group == 3).unwrap_or(end);
        let mut text = String::new();
        for (index, digit) in digits[..end].chars().enumerate() {
            if index > 0 && (end - index).is_multiple_of(group) {
                text.push(separator);
            }
            text.push(digit);
        }
        text + &digits[end..]
    }
}

fn fixed(number: f64, precision: usize, keeps_point: bool) -> String {
    let mut digits = format!("{number:.precision$}");
    if keeps_point && precision == 0 {
        digits.push('.');
    }
    digits
}

/// A mantissa with `precision` digits after the point, and the exponent.
fn mantissa_and_exponent(number: f64, precision: usize) -> (String, i32) {
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.into(), exponent.parse().unwrap_or(0))
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn scientific(number: f64, precision: usize, keeps_point: bool) -> String {
    let (mut mantissa, exponent) = mantissa_and_exponent(number, precision);
    if keeps_point && precision == 0 {
        mantissa.push('.');
    }
    with_exponent(&mantissa, exponent)
}

/// `precision` significant digits, in the shorter of the two forms.
fn general(number: f64, precision: usize, keeps_zeros: bool, keeps_fraction: bool) -> String {
    let precision = precision.max(1);
    let (mantissa, exponent) = mantissa_and_exponent(number, precision - 1);
    let significant = precision as i32;
    let trimmed = |digits: &str| match digits.contains('.') && !keeps_zeros {
        true => digits.trim_end_matches('0').trim_end_matches('.').into(),
        false => String::from(digits),
    };
    if exponent < -4 || exponent >= significant - i32::from(keeps_fraction) {
        return with_exponent(&trimmed(&mantissa), exponent);
    }
    let mut digits = trimmed(&fixed(number, (significant - 1 - exponent) as usize, keeps_zeros));
    if keeps_fraction && !digits.contains('.') {
        digits.push_str(".0");
    }
    digits
}

/// `format % values`
pub(crate) fn percent_format(
    format: &str,
    values: &Value,
    escaping: Escaping,
    budget: &mut Budget,
) -> Result<String, ErrorKind> {
    const WRONG: ErrorKind = ErrorKind::BadArguments("%");
    let single = core::slice::from_ref(values);
    let mut rest_of_values = match values {
        Value::List(list) if list.is_tuple() => list.elements(),
        _ => single,
    }
    .iter();
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        budget.step()?;
        budget.append(&mut out, &rest[..at])?;
        let mut characters = rest[at + 1..].chars().peekable();
        let mut spec = Spec::default();
        let mut key = None;
        if characters.next_if_eq(&'(').is_some() {
            let name: String = characters.by_ref().take_while(|&c| c != ')').collect();
            let Value::Map(map) = values else { return Err(WRONG) };
            key = Some(map.get(&name).ok_or(WRONG)?);
        }
        let (mut is_left, mut has_zeros) = (false, false);
        while let Some(flag) = characters.next_if(|c| "-+ #0".contains(*c)) {
            match flag {
                '-' => is_left = true,
                '0' => has_zeros = true,
                '#' => spec.is_alternate = true,
                ' ' => spec.sign = spec.sign.or(Some(' ')),
                _ => spec.sign = Some('+'),
            }
        }
        let mut number = |characters: &mut core::iter::Peekable<core::str::Chars<'_>>| {
            if characters.next_if_eq(&'*').is_some() {
                let number = rest_of_values.next().and_then(Value::as_integer).ok_or(WRONG)?;
                return Ok((number.unsigned_abs() as usize, number < 0));
            }
            Ok((digits(characters)?, false))
        };
        let (width, is_negative) = number(&mut characters)?;
        spec.width = width;
        is_left |= is_negative;
        if characters.next_if_eq(&'.').is_some() {
            let (precision, is_negative) = number(&mut characters)?;
            spec.precision = Some(if is_negative { 0 } else { precision });
        }
        while characters.next_if(|c| "hlL".contains(*c)).is_some() {}
        let kind = characters.next().ok_or(WRONG)?;
        rest = &rest[rest.len() - characters.collect::<String>().len()..];
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match key {
            Some(value) => value,
            None => rest_of_values.next().ok_or(WRONG)?,
        };
        spec.kind = Some(kind);
        spec.align = Some(if is_left { '<' } else { '>' });
        if has_zeros && !is_left && !"csra".contains(kind) {
            (spec.fill, spec.align) = (Some('0'), Some('='));
        }
        match kind {
            'd' | 'i' | 'u' => spec.integer(whole(value).ok_or(WRONG)?, &mut out, budget)?,
            'x' | 'X' | 'o' => spec.integer(value.as_integer().ok_or(WRONG)?, &mut out, budget)?,
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                spec.float(value.as_number().ok_or(WRONG)?.as_f64(), &mut out, budget)?;
            }
            's' | 'r' | 'a' => {
                let mut text = converted(value, kind, budget)?;
                if escaping == Escaping::Html && !(kind == 's' && value.is_markup()) {
                    text = escape(&text, budget)?;
                }
                spec.text(&text, '>', &mut out, budget)?;
            }
            'c' => spec.text(&character(value).ok_or(WRONG)?, '>', &mut out, budget)?,
            _ => return Err(WRONG),
        }
    }
    budget.append(&mut out, rest)?;
    let may_be_left = matches!(values, Value::Map(_) | Value::Undefined)
        || matches!(values, Value::List(list) if !list.is_tuple());
    if rest_of_values.next().is_some() && !may_be_left {
        return Err(WRONG);
    }
    Ok(out)
}

/// A number of decimal digits; 0 if there are none.
fn digits(characters: &mut core::iter::Peekable<core::str::Chars<'_>>) -> Result<usize, ErrorKind> {
    let mut number = 0usize;
    while let Some(digit) = characters.next_if(char::is_ascii_digit) {
        let digit = digit as usize - '0' as usize;
        number = number.checked_mul(10).and_then(|n| n.checked_add(digit)).ok_or(ErrorKind::TooMuchMemory)?;
    }
    Ok(number)
}

/// A number without its fraction.
fn whole(value: &Value) -> Option<i64> {
    // Beyond this limit, the conversion to an integer saturates.
    const LIMIT: f64 = 9.0e18;
    match value.as_number()? {
        Number::Integer(number) => Some(number),
        Number::Float(number) => (number.abs() < LIMIT).then_some(number as i64),
    }
}

fn character(value: &Value) -> Option<String> {
    match value {
        Value::String(text) | Value::Markup(text) => (text.chars().count() == 1).then(|| (**text).into()),
        _ => Some(char::from_u32(u32::try_from(value.as_integer()?).ok()?)?.into()),
    }
}

/// The text for conversion `s` (its text), `r` (as in a program) or `a` (as in a program, in ASCII).
fn converted(value: &Value, conversion: char, budget: &mut Budget) -> Result<String, ErrorKind> {
    let mut text = String::new();
    if conversion == 's' {
        value.write_text(&mut text, budget)?;
        return Ok(text);
    }
    value.write_repr(&mut text, budget)?;
    if conversion == 'r' {
        return Ok(text);
    }
    budget.bytes(text.len() * 5)?;
    let mut ascii = String::new();
    for c in text.chars() {
        match u32::from(c) {
            0..0x80 => ascii.push(c),
            code @ 0x80..0x100 => ascii.push_str(&format!("\\x{code:02x}")),
            code @ 0x100..0x1_0000 => ascii.push_str(&format!("\\u{code:04x}")),
            code => ascii.push_str(&format!("\\U{code:08x}")),
        }
    }
    Ok(ascii)
}

const WRONG_FORMAT: ErrorKind = ErrorKind::BadArguments("format");

/// The position in the arguments of the next field that has neither number nor name.
#[derive(Default)]
struct NextField(usize);

/// `"{} and {name:>8}".format(…)`
pub(crate) fn brace_format(
    format: &str,
    arguments: &CallArguments,
    escaping: Escaping,
    budget: &mut Budget,
) -> Result<String, ErrorKind> {
    fields(format, arguments, &mut NextField::default(), true, escaping, budget)
}

fn fields(
    format: &str,
    arguments: &CallArguments,
    next: &mut NextField,
    may_nest: bool,
    escaping: Escaping,
    budget: &mut Budget,
) -> Result<String, ErrorKind> {
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find(['{', '}']) {
        budget.step()?;
        budget.append(&mut text, &rest[..at])?;
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            budget.append(&mut text, brace)?;
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(WRONG_FORMAT);
        }
        let (field, after) = field_and_rest(rest).ok_or(WRONG_FORMAT)?;
        rest = after;
        let name_end = field.find(['!', ':']).unwrap_or(field.len());
        let (name, how) = field.split_at(name_end);
        let value = field_value(name, arguments, next)?;
        let (conversion, spec) = match how.strip_prefix('!') {
            Some(how) => {
                let conversion = how.chars().next().filter(|c| "sra".contains(*c)).ok_or(WRONG_FORMAT)?;
                (Some(conversion), &how[1..])
            }
            None => (None, how),
        };
        let spec = match spec.strip_prefix(':') {
            Some(spec) if spec.contains(['{', '}']) => match may_nest {
                true => fields(spec, arguments, next, false, Escaping::None, budget)?,
                false => return Err(WRONG_FORMAT),
            },
            Some(spec) => spec.into(),
            None if spec.is_empty() => String::new(),
            None => return Err(WRONG_FORMAT),
        };
        let value = match conversion {
            Some(conversion) => converted(&value, conversion, budget)?.into(),
            None => value,
        };
        match escaping {
            Escaping::None => format_value(&value, &spec, &mut text, budget)?,
            Escaping::Html if value.is_markup() && spec.is_empty() => value.write_text(&mut text, budget)?,
            Escaping::Html if value.is_markup() => return Err(WRONG_FORMAT),
            Escaping::Html => {
                let mut formatted = String::new();
                format_value(&value, &spec, &mut formatted, budget)?;
                let escaped = escape(&formatted, budget)?;
                budget.append(&mut text, &escaped)?;
            }
        }
    }
    budget.append(&mut text, rest)?;
    Ok(text)
}

/// A field up to the brace that ends it, and the text after it.
fn field_and_rest(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The value that `0`, `name`, `name[key][0]` or an empty name refers to.
fn field_value(name: &str, arguments: &CallArguments, next: &mut NextField) -> Result<Value, ErrorKind> {
    let first_end = name.find(['[', '.']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(first_end);
    let found = match first {
        "" => {
            next.0 += 1;
            arguments.positional.get(next.0 - 1)
        }
        _ => match first.parse::<usize>() {
            Ok(index) => arguments.positional.get(index),
            Err(_) => arguments.get(usize::MAX, first),
        },
    };
    let mut value = found.ok_or(WRONG_FORMAT)?.clone();
    while !rest.is_empty() {
        let (key, after) =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or(WRONG_FORMAT)?;
        rest = after;
        let index = key.parse::<usize>();
        let element = match (&value, index) {
            (Value::List(list), Ok(index)) => list.elements().get(index).cloned(),
            (Value::Map(map), Ok(index)) => map.get_value(&Value::Integer(index as i64)).cloned(),
            (Value::Map(map), Err(_)) => map.get(key).cloned(),
            _ => None,
        };
        value = element.ok_or(WRONG_FORMAT)?;
    }
    Ok(value)
}

/// Appends a value as described by a format specification, the part after the colon.
fn format_value(value: &Value, spec: &str, out: &mut String, budget: &mut Budget) -> Result<(), ErrorKind> {
    if spec.is_empty() {
        return value.write_text(out, budget);
    }
    let spec = parse_spec(spec)?;
    let is_of_texts = spec.kind.is_none_or(|kind| kind == 's');
    match value {
        Value::String(text) | Value::Markup(text)
            if is_of_texts && spec.sign.is_none() && spec.grouping.is_none() && spec.align != Some('=') =>
        {
            spec.text(text, '<', out, budget)
        }
        _ => match (value.as_number(), spec.kind) {
            (Some(Number::Integer(number)), None | Some('d' | 'n' | 'x' | 'X' | 'o' | 'b'))
                if spec.precision.is_none() =>
            {
                spec.integer(number, out, budget)
            }
            (Some(Number::Integer(_)), Some('c')) => {
                spec.text(&character(value).ok_or(WRONG_FORMAT)?, '<', out, budget)
            }
            (Some(number), Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%')) => {
                spec.float(number.as_f64(), out, budget)
            }
            (Some(Number::Float(number)), None | Some('n')) => spec.float(number, out, budget),
            _ => Err(WRONG_FORMAT),
        },
    }
}

/// `[[fill]align][sign][#][0][width][grouping][.precision][kind]`
fn parse_spec(text: &str) -> Result<Spec, ErrorKind> {
    let is_align = |c: char| "<>^=".contains(c);
    let mut spec = Spec::default();
    let all: Vec<char> = text.chars().collect();
    let mut characters = text.chars().peekable();
    match all[..] {
        [fill, align, ..] if is_align(align) => {
            (spec.fill, spec.align) = (Some(fill), Some(align));
            characters.nth(1);
        }
        [align, ..] if is_align(align) => {
            spec.align = Some(align);
            characters.next();
        }
        _ => {}
    }
    if let Some(sign) = characters.next_if(|c| "+- ".contains(*c)) {
        spec.sign = (sign != '-').then_some(sign);
    }
    spec.is_alternate = characters.next_if_eq(&'#').is_some();
    if characters.next_if_eq(&'0').is_some() {
        spec.fill = spec.fill.or(Some('0'));
        spec.has_zeros = true;
    }
    spec.width = digits(&mut characters)?;
    spec.grouping = characters.next_if(|c| ",_".contains(*c));
    if characters.next_if_eq(&'.').is_some() {
        if !characters.peek().is_some_and(char::is_ascii_digit) {
            return Err(WRONG_FORMAT);
        }
        spec.precision = Some(digits(&mut characters)?);
    }
    spec.kind = characters.next();
    match characters.next() {
        None => Ok(spec),
        Some(_) => Err(WRONG_FORMAT),
    }
}
