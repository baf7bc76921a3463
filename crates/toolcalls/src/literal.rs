//! [`Literal`]: converts values in three notations to JSON, character by character.

use alloc::string::String;
use core::fmt::Write;

/// The notation of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notation {
    /// JSON.
    Json,
    /// Python's literals.
    Python,
    /// JSON with unquoted keys, and with unescaped texts between two [`QUOTE`]s.
    Quoted,
}

/// Stands for the mark around texts in [`Notation::Quoted`].
pub(crate) const QUOTE: char = '\u{1}';

/// The effect of a character on a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It belongs to the value, which continues.
    More,
    /// It is the last character of the value.
    Last,
    /// The value had ended before it.
    After,
    /// No value can continue like this.
    Wrong,
}

/// Most levels of nested lists and dicts in arguments; deeper text is not a call. This makes sure that templates can process all
/// calls: their values may nest up to 64 deep, and a call is some levels inside such a value.
pub const MAX_DEPTH: u32 = 56;

/// A value that is being read.
#[derive(Debug, Clone)]
pub(crate) struct Literal {
    notation: Notation,
    /// One bit for each open container, the innermost last: whether it is a dict.
    dicts: u64,
    depth: u32,
    at: At,
    /// Whether the current text is a key.
    is_key: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Value,
    /// The first element of a list, or its end.
    FirstElement,
    /// The first key of a dict, or its end.
    FirstKey,
    Key,
    BareKey,
    Colon,
    /// After a value in a container.
    Next,
    Text(char),
    Escape(char),
    /// This many digits of an escape are still missing.
    Digits(char, u8),
    Number(NumberPart),
    /// The rest of a word.
    Word(&'static str),
}

/// The last element of a number that has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberPart {
    Sign,
    Zero,
    Whole,
    Point,
    Fraction,
    Power,
    PowerSign,
    PowerDigit,
}

impl Literal {
    pub fn new(notation: Notation) -> Self {
        Self { notation, dicts: 0, depth: 0, at: At::Value, is_key: false }
    }

    /// Takes a character and writes its JSON form.
    pub fn take(&mut self, character: char, out: &mut String) -> Step {
        if let At::Number(last) = self.at {
            if let Some(next) = digit_after(last, character) {
                self.at = At::Number(next);
                out.push(character);
                return Step::More;
            }
            let is_whole = matches!(
                last,
                NumberPart::Zero | NumberPart::Whole | NumberPart::Fraction | NumberPart::PowerDigit
            );
            match is_whole {
                false => return Step::Wrong,
                true if self.depth == 0 => return Step::After,
                true => self.at = At::Next,
            }
        }
        match self.at {
            At::Text(quote) => return self.text(quote, character, out),
            At::Escape(quote) => return self.escape(quote, character, out),
            At::Digits(quote, n_missing) => {
                if !character.is_ascii_hexdigit() {
                    return Step::Wrong;
                }
                out.push(character);
                self.at = if n_missing == 1 { At::Text(quote) } else { At::Digits(quote, n_missing - 1) };
                return Step::More;
            }
            At::Word(rest) => {
                let Some(rest) = rest.strip_prefix(character) else { return Step::Wrong };
                self.at = At::Word(rest);
                return if rest.is_empty() { self.end_value() } else { Step::More };
            }
            At::BareKey => {
                match character {
                    ':' => {
                        out.push_str("\":");
                        self.at = At::Value;
                    }
                    _ if character.is_alphanumeric() || "_-.$".contains(character) => out.push(character),
                    _ => return Step::Wrong,
                }
                return Step::More;
            }
            _ => {}
        }
        if matches!(character, ' ' | '\n' | '\r' | '\t') {
            out.push(character);
            return Step::More;
        }
        match (self.at, character) {
            (At::Value | At::FirstElement, _) => self.value(character, out),
            (At::FirstKey, '}') | (At::Next, '}') if self.is_in_dict() => self.close(character, out),
            (At::Next, ']') if self.depth > 0 && !self.is_in_dict() => self.close(character, out),
            (At::FirstKey | At::Key, _) => self.key(character, out),
            (At::Colon, ':') => self.go_on(':', At::Value, out),
            (At::Next, ',') => {
                let next = if self.is_in_dict() { At::Key } else { At::Value };
                self.go_on(',', next, out)
            }
            _ => Step::Wrong,
        }
    }

    fn go_on(&mut self, character: char, at: At, out: &mut String) -> Step {
        out.push(character);
        self.at = at;
        Step::More
    }

    fn is_in_dict(&self) -> bool {
        self.dicts & 1 == 1
    }

    fn is_quote(&self, character: char) -> bool {
        match self.notation {
            Notation::Json => character == '"',
            Notation::Python => matches!(character, '"' | '\''),
            Notation::Quoted => character == QUOTE,
        }
    }

    fn value(&mut self, character: char, out: &mut String) -> Step {
        match character {
            _ if self.is_quote(character) => self.go_on('"', At::Text(character), out),
            '{' | '[' if self.depth < MAX_DEPTH => {
                let is_dict = character == '{';
                self.depth += 1;
                self.dicts = self.dicts << 1 | u64::from(is_dict);
                self.go_on(character, if is_dict { At::FirstKey } else { At::FirstElement }, out)
            }
            ']' if self.at == At::FirstElement => self.close(character, out),
            '-' => self.go_on(character, At::Number(NumberPart::Sign), out),
            '0' => self.go_on(character, At::Number(NumberPart::Zero), out),
            '1'..='9' => self.go_on(character, At::Number(NumberPart::Whole), out),
            _ => {
                let (json, rest) = match character {
                    't' | 'T' => ("true", "rue"),
                    'f' | 'F' => ("false", "alse"),
                    'n' => ("null", "ull"),
                    'N' => ("null", "one"),
                    _ => return Step::Wrong,
                };
                out.push_str(json);
                self.at = At::Word(rest);
                Step::More
            }
        }
    }

    fn key(&mut self, character: char, out: &mut String) -> Step {
        if self.is_quote(character) {
            self.is_key = true;
            return self.go_on('"', At::Text(character), out);
        }
        let is_bare = self.notation == Notation::Quoted && (character.is_alphabetic() || character == '_');
        if !is_bare {
            return Step::Wrong;
        }
        out.push('"');
        self.go_on(character, At::BareKey, out)
    }

    fn text(&mut self, quote: char, character: char, out: &mut String) -> Step {
        match character {
            _ if character == quote => {
                out.push('"');
                if core::mem::take(&mut self.is_key) {
                    self.at = At::Colon;
                    return Step::More;
                }
                return self.end_value();
            }
            '\\' if self.notation != Notation::Quoted => self.at = At::Escape(quote),
            _ => push_escaped(character, out),
        }
        Step::More
    }

    fn escape(&mut self, quote: char, character: char, out: &mut String) -> Step {
        self.at = At::Text(quote);
        match character {
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => out.extend(['\\', character]),
            '\'' => out.push('\''),
            'u' => {
                out.push_str("\\u");
                self.at = At::Digits(quote, 4);
            }
            // Not an escape: the backslash itself is meant, as in regular expressions.
            _ => {
                out.push_str("\\\\");
                push_escaped(character, out);
            }
        }
        Step::More
    }

    fn close(&mut self, character: char, out: &mut String) -> Step {
        out.push(character);
        self.depth -= 1;
        self.dicts >>= 1;
        self.end_value()
    }

    fn end_value(&mut self) -> Step {
        self.at = At::Next;
        if self.depth == 0 { Step::Last } else { Step::More }
    }
}

fn digit_after(last: NumberPart, character: char) -> Option<NumberPart> {
    use NumberPart::*;
    Some(match (last, character) {
        (Sign, '0') => Zero,
        (Sign, '1'..='9') | (Whole, '0'..='9') => Whole,
        (Zero | Whole, '.') => Point,
        (Point | Fraction, '0'..='9') => Fraction,
        (Zero | Whole | Fraction, 'e' | 'E') => Power,
        (Power, '+' | '-') => PowerSign,
        (Power | PowerSign | PowerDigit, '0'..='9') => PowerDigit,
        _ => return None,
    })
}

/// Writes a character of a text in its JSON form.
pub(crate) fn push_escaped(character: char, out: &mut String) {
    match character {
        '"' | '\\' => out.extend(['\\', character]),
        '\n' => out.push_str("\\n"),
        _ if character < ' ' => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", character as u32);
        }
        _ => out.push(character),
    }
}

/// Writes a text as JSON.
pub(crate) fn push_text(text: &str, out: &mut String) {
    out.push('"');
    text.chars().for_each(|character| push_escaped(character, out));
    out.push('"');
}

/// Whether a text is a JSON value (a text with its quotes). `scrap` receives the output, which is not needed.
pub(crate) fn is_value(text: &str, scrap: &mut String) -> bool {
    // Here, Python's names of values are texts.
    if text.starts_with(['T', 'F', 'N']) {
        return false;
    }
    let mut literal = Literal::new(Notation::Json);
    let mut is_over = false;
    for character in text.chars() {
        scrap.clear();
        match literal.take(character, scrap) {
            Step::More if !is_over || character.is_ascii_whitespace() => {}
            Step::Last => is_over = true,
            _ => return false,
        }
    }
    is_over || literal.take(' ', scrap) == Step::After
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The JSON form of a value, and the rest of the text; `None` if it is not a value.
    fn json(notation: Notation, text: &str) -> Option<(String, &str)> {
        let (mut literal, mut out) = (Literal::new(notation), String::new());
        for (place, character) in text.char_indices() {
            match literal.take(character, &mut out) {
                Step::More => {}
                Step::Last => return Some((out, &text[place + character.len_utf8()..])),
                Step::After => return Some((out, &text[place..])),
                Step::Wrong => return None,
            }
        }
        None
    }

    #[test]
    fn json_stays_as_it_is() {
        for text in [
            r#"{"a": [1, -2.5e+3, true, false, null], "b\\\n\u00e9": {"c": []}, "": ""}"#,
            "[]",
            "{}",
            r#""x/y""#,
            "[[[{}]]]",
        ] {
            assert_eq!(json(Notation::Json, text), Some((text.into(), "")));
        }
        assert_eq!(json(Notation::Json, "-0.5}"), Some(("-0.5".into(), "}")));
        assert_eq!(json(Notation::Json, "[True, None]"), Some(("[true, null]".into(), "")));
        assert_eq!(json(Notation::Json, "\"a\nb\\d\u{1}\""), Some((r#""a\nb\\d\u0001""#.into(), "")));
    }

    #[test]
    fn what_is_no_value_is_wrong() {
        for text in [
            "{,",
            "{1:",
            "{\"a\" 1",
            "{\"a\":1,}",
            "[1,]",
            "[1}",
            "{]",
            "01",
            "1.}",
            "-a",
            "1e+]",
            "tru ",
            "x",
            "'a'",
            "\"\\u12g",
            "+1",
            ".5",
            "}",
        ] {
            assert_eq!(json(Notation::Json, text), (text == "01").then(|| ("0".into(), "1")), "{text}");
        }
        let n_most = MAX_DEPTH as usize;
        assert_eq!(json(Notation::Json, &"[".repeat(n_most + 1)), None);
        let deep = "[".repeat(n_most) + &"]".repeat(n_most);
        assert_eq!(json(Notation::Json, &deep), Some((deep.clone(), "")));
    }

    #[test]
    fn other_notations_become_json() {
        assert_eq!(json(Notation::Python, r#"['it\'s', "a\"b", 'c"d', {'k': (None}]"#), None);
        assert_eq!(
            json(Notation::Python, r#"['it\'s', "a\"b", 'c"d', {'k': None}, True, 1.5], x"#),
            Some((r#"["it's", "a\"b", "c\"d", {"k": null}, true, 1.5]"#.into(), ", x"))
        );
        assert_eq!(
            json(Notation::Quoted, "{a:\u{1}x \"y\" \\\u{1},b_2:[1,{c:true}]}"),
            Some((r#"{"a":"x \"y\" \\","b_2":[1,{"c":true}]}"#.into(), ""))
        );
        assert_eq!(json(Notation::Quoted, "{a b:1}"), None);
    }

    #[test]
    fn values_that_are_no_texts_are_told_from_texts() {
        let is = |text| is_value(text, &mut String::new());
        for text in ["3", "-1.5", "true", "null", "[1]", r#"{"a": "b"}"#, "{} ", "\"3\""] {
            assert!(is(text), "{text}");
        }
        for text in ["", "Paris", "\"3", "\"3\" x", "3 days", "1.", "True", "{a}", "[1", "{} x", "01"] {
            assert!(!is(text), "{text}");
        }
    }
}
