//! Calls that are objects with a key for the name and a key for the arguments.

use alloc::string::String;

use crate::form::Arguments;
use crate::literal::{Literal, Notation, Step};
use crate::state::{InObject, Kind, MAX_KEPT_BYTES, MAX_NAME_BYTES, Mode, State, To};

/// A value is not of the required kind.
struct Wrong;

impl State {
    /// Begins a call that is an object, after its opening brace.
    pub fn open_object(&mut self) {
        self.mode = Mode::Object(InObject::BeforeKey);
        self.name.clear();
        self.key.clear();
        self.kept.clear();
        self.depth = 0;
        self.has_arguments = false;
        self.literal = Literal::new(Notation::Json);
    }

    /// Takes a character of a call that is an object; returns whether the character must be taken again.
    pub fn in_object(&mut self, at: InObject, character: char, to: To<'_>) -> bool {
        let wrong = |state: &mut Self, to: To<'_>| match state.has_begun {
            true => state.break_off(to),
            false => state.fail(character, to),
        };
        let is_space = character.is_ascii_whitespace();
        let next = match at {
            InObject::BeforeKey | InObject::Colon | InObject::BeforeValue | InObject::Next if is_space => at,
            InObject::BeforeKey => match character {
                '"' => {
                    self.key.clear();
                    InObject::Key
                }
                '}' => return self.close_object(to) && wrong(self, to),
                _ => return wrong(self, to),
            },
            InObject::Key if character == '"' => InObject::Colon,
            InObject::Key => {
                self.key.push(character);
                if character == '\\' || self.key.len() > MAX_NAME_BYTES || !self.may_have_key() {
                    return wrong(self, to);
                }
                InObject::Key
            }
            InObject::Colon if character == ':' => {
                self.literal = Literal::new(Notation::Json);
                InObject::BeforeValue
            }
            InObject::BeforeValue => match self.value_of_object(character) {
                Some(InObject::BeforeKey) => {
                    self.depth += 1;
                    InObject::BeforeKey
                }
                Some(InObject::Name) => {
                    self.name.clear();
                    InObject::Name
                }
                Some(at) => {
                    if self.is_name_key() && !self.has_begun {
                        self.name.clear();
                        self.name.push_str(&self.key);
                        if !self.begin(to) {
                            return wrong(self, to);
                        }
                    }
                    self.mode = Mode::Object(at);
                    return self.in_object_value(at, character, to).unwrap_or_else(|_| wrong(self, to));
                }
                None => return wrong(self, to),
            },
            InObject::Name if character == '"' => {
                if self.has_begun || !self.begin(to) {
                    return wrong(self, to);
                }
                if !self.kept.is_empty() {
                    let kept = core::mem::take(&mut self.kept);
                    self.out(Kind::Arguments, to).push_str(&kept);
                    self.kept = kept;
                    self.kept.clear();
                    self.has_arguments = true;
                }
                InObject::Next
            }
            InObject::Name => {
                self.name.push(character);
                if character == '\\' || self.name.len() > MAX_NAME_BYTES {
                    return wrong(self, to);
                }
                InObject::Name
            }
            InObject::Arguments | InObject::ArgumentsText | InObject::Other => {
                return self.in_object_value(at, character, to).unwrap_or_else(|_| wrong(self, to));
            }
            InObject::Next => match character {
                ',' => InObject::BeforeKey,
                '}' => return self.close_object(to) && wrong(self, to),
                _ => return wrong(self, to),
            },
            InObject::Colon => return wrong(self, to),
        };
        self.mode = Mode::Object(next);
        false
    }

    /// Whether an object without marks can have a key that begins like the current one.
    fn may_have_key(&self) -> bool {
        const KEYS: [&str; 6] = ["name", "type", "id", "function", "arguments", "parameters"];
        !self.is_bare || KEYS.iter().any(|key| key.starts_with(&self.key))
    }

    /// Whether the current key itself is the name.
    fn is_name_key(&self) -> bool {
        matches!(self.format.form.arguments, Arguments::Object("", _)) && self.depth == 0
    }

    /// The kind of value that begins with this character, for the current key.
    fn value_of_object(&self, character: char) -> Option<InObject> {
        let Arguments::Object(name, arguments) = self.format.form.arguments else { return None };
        let key = self.key.as_str();
        let is_name = key == "name" || key == name || key == "function";
        let has_arguments =
            self.is_name_key() || key == arguments || key == "arguments" || key == "parameters";
        let is_first = !self.has_arguments && self.kept.is_empty();
        Some(match character {
            '"' if is_name && !self.is_name_key() => InObject::Name,
            '{' if key == "function" && self.depth == 0 && !self.is_name_key() => InObject::BeforeKey,
            '{' if has_arguments && is_first => InObject::Arguments,
            '"' if has_arguments && is_first => InObject::ArgumentsText,
            _ => InObject::Other,
        })
    }

    /// Takes a character of a value in an object; returns whether the character must be taken again.
    fn in_object_value(&mut self, at: InObject, character: char, to: To<'_>) -> Result<bool, Wrong> {
        let mut literal = self.literal.clone();
        let step = match at {
            InObject::Arguments if self.has_begun => {
                self.has_arguments = true;
                literal.take(character, self.out(Kind::Arguments, to))
            }
            InObject::Arguments | InObject::ArgumentsText => literal.take(character, &mut self.kept),
            _ => {
                self.scrap.clear();
                literal.take(character, &mut self.scrap)
            }
        };
        self.literal = literal;
        match step {
            Step::More if self.kept.len() <= MAX_KEPT_BYTES => return Ok(false),
            Step::More | Step::Wrong => return Err(Wrong),
            Step::Last | Step::After => {}
        }
        if at == InObject::ArgumentsText && !self.unpack(to) {
            return Err(Wrong);
        }
        self.mode = Mode::Object(InObject::Next);
        Ok(step == Step::After && self.in_object(InObject::Next, character, to))
    }

    /// Turns arguments that are JSON in a string into an object; returns whether they are one.
    fn unpack(&mut self, to: To<'_>) -> bool {
        let mut text = core::mem::take(&mut self.scrap);
        text.clear();
        // When written as JSON again, each byte may become an escape of six bytes. Without memory for that, it does not count as
        // an object.
        let n_bytes = self.kept.len();
        let reserved = text.try_reserve(n_bytes).and_then(|()| self.kept.try_reserve(6 * n_bytes));
        if reserved.is_err() {
            self.scrap = text;
            return false;
        }
        let is_whole = unescape(&self.kept, &mut text);
        self.kept.clear();
        let mut literal = Literal::new(Notation::Json);
        let mut is_over = false;
        let object = text.trim();
        let is_object = object.starts_with('{')
            && object.chars().all(|character| {
                let step = literal.take(character, &mut self.kept);
                let goes_on = !is_over && step == Step::More;
                is_over |= step == Step::Last;
                goes_on || step == Step::Last
            });
        let is_empty = object.is_empty();
        self.scrap = text;
        if self.has_begun && is_object && is_over {
            let kept = core::mem::take(&mut self.kept);
            self.out(Kind::Arguments, to).push_str(&kept);
            self.kept = kept;
            self.kept.clear();
            self.has_arguments = true;
        }
        if is_empty {
            self.kept.clear();
        }
        is_whole && (is_empty || is_object && is_over)
    }

    /// Takes the end of an object; returns whether something is wrong with it.
    fn close_object(&mut self, to: To<'_>) -> bool {
        if self.depth > 0 {
            self.depth -= 1;
            self.mode = Mode::Object(InObject::Next);
            return false;
        }
        if !self.has_begun {
            return true;
        }
        self.end(to);
        false
    }
}

/// Decodes a string in JSON; returns whether all of it could be decoded.
fn unescape(json: &str, out: &mut String) -> bool {
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else { return false };
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        let escaped = match characters.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let digits = characters.as_str().get(..4);
                let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let Some(character) = unit.and_then(char::from_u32) else {
                    // Half of a surrogate pair stays an escape.
                    out.push_str("\\u");
                    continue;
                };
                characters.nth(3);
                character
            }
            Some(character) => character,
            None => return false,
        };
        out.push(escaped);
    }
    true
}
