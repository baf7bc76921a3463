//! The way through a call: between its marks, the name, the arguments in each form.

use crate::form::{Arguments, Form, mark};
use crate::literal::{Literal, Notation, QUOTE, Step, is_value, push_escaped, push_text};
use crate::state::{InObject, Kind, MAX_KEPT_BYTES, MAX_NAME_BYTES, Mode, State, To};

/// What a mark does between calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Before,
    Open,
    Close,
    After,
}

/// The marks between calls.
fn marks(form: &'static Form) -> [(Mark, &'static str); 5] {
    let has_names = !matches!(form.arguments, Arguments::Object(..) | Arguments::Python);
    let of_names = |text| if has_names { mark(text) } else { "" };
    [
        (Mark::Before, mark(form.before)),
        (Mark::Before, form.also_before),
        (Mark::Open, of_names(form.open)),
        (Mark::Close, of_names(form.close)),
        (Mark::After, mark(form.after)),
    ]
}

/// A value is not what it has to be.
struct Wrong;

/// What a text is of a list of marks.
pub(crate) enum Match<T> {
    /// This one.
    Whole(T),
    /// The beginning of one.
    Beginning,
    /// Nothing.
    Nothing,
}

/// Looks a text up among marks, of which empty ones do not count.
pub(crate) fn look_up<T: Copy>(text: &str, marks: impl IntoIterator<Item = (T, &'static str)>) -> Match<T> {
    let mut found = Match::Nothing;
    for (what, mark) in marks {
        if mark.is_empty() {
        } else if mark == text {
            return Match::Whole(what);
        } else if mark.starts_with(text) {
            found = Match::Beginning;
        }
    }
    found
}

impl State {
    /// Takes a character of a call; whether it is to be taken again.
    pub fn take_of_call(&mut self, character: char, to: To<'_>) -> bool {
        if !self.has_begun {
            self.raw.push(character);
            if self.raw.len() + self.kept.len() > MAX_KEPT_BYTES {
                return self.fail(character, to);
            }
        }
        match self.mode {
            Mode::Between => self.between(character, to),
            Mode::Name => self.in_name(character, to),
            Mode::Object(at) => self.in_object(at, character, to),
            Mode::Arguments => self.in_arguments(character, to),
            Mode::Keys => self.between_keys(character, to),
            Mode::Key => self.in_key(character, to),
            Mode::ValueOpen => self.before_value(character, to),
            Mode::Value => self.in_value(character, to),
            Mode::Keyword => self.in_keyword(character, to),
            Mode::KeywordValue => self.in_keyword_value(character, to),
            Mode::Text | Mode::Thought | Mode::Header => true,
        }
    }

    fn between(&mut self, character: char, to: To<'_>) -> bool {
        let arguments = self.format.form.arguments;
        let has_brackets = matches!(arguments, Arguments::Object(..) | Arguments::Python);
        if self.held.is_empty() {
            match character {
                ' ' | '\n' | '\r' | '\t' => return false,
                '{' if matches!(arguments, Arguments::Object(..)) => {
                    if self.n_in_section > 0 {
                        self.start = self.n_bytes;
                    }
                    self.open_object();
                    return false;
                }
                '[' | ']' | ',' if has_brackets && !self.is_bare => return false,
                ',' | ';' if self.n_in_section > 0 => return false,
                _ if arguments == Arguments::Python && (character.is_alphabetic() || character == '_') => {
                    if self.n_in_section > 0 {
                        self.start = self.n_bytes;
                    }
                    self.mode = Mode::Name;
                    self.name.clear();
                    self.name.push(character);
                    return false;
                }
                _ => {}
            }
        }
        self.held.push(character);
        match look_up(&self.held, marks(self.format.form)) {
            Match::Beginning => false,
            Match::Nothing => self.fail(character, to),
            Match::Whole(Mark::Open) => {
                if self.n_in_section > 0 {
                    self.start = self.n_bytes + character.len_utf8() - self.held.len();
                }
                self.mode = Mode::Name;
                self.name.clear();
                self.held.clear();
                false
            }
            Match::Whole(Mark::Before) => {
                self.held.clear();
                false
            }
            Match::Whole(_) if self.n_in_section == 0 => {
                // No call stood between the marks.
                self.mode = Mode::Text;
                self.say_raw(to);
                self.held.clear();
                false
            }
            Match::Whole(Mark::Close) => {
                self.raw.clear();
                self.held.clear();
                if mark(self.format.form.before).is_empty() {
                    self.mode = Mode::Text;
                    self.drop_space();
                }
                false
            }
            Match::Whole(Mark::After) => {
                self.raw.clear();
                self.held.clear();
                self.mode = Mode::Text;
                self.drop_space();
                false
            }
        }
    }

    fn in_name(&mut self, character: char, to: To<'_>) -> bool {
        let form = self.format.form;
        let end = mark(form.name_end);
        let ends_before = match form.arguments {
            Arguments::Keyed { .. } if end.is_empty() => matches!(character, '\n' | '<'),
            Arguments::Quoted(_) => character == '{',
            _ => false,
        };
        self.name.push(character);
        let is_whole = match form.arguments {
            // The end of a name in an id of Kimi's is the end of the id.
            Arguments::Json if end.starts_with(':') => {
                self.name.ends_with(end.trim_start_matches([':', '0']))
            }
            _ => !end.is_empty() && self.name.ends_with(end),
        };
        if !is_whole && !ends_before {
            return self.name.len() > 2 * MAX_NAME_BYTES && self.fail(character, to);
        }
        let end = end.trim_start_matches([':', '0']);
        let n_end = if ends_before { character.len_utf8() } else { end.len() };
        self.name.truncate(self.name.len() - n_end);
        if !self.begin(to) {
            return self.fail(character, to);
        }
        self.mode = match form.arguments {
            Arguments::Keyed { .. } => Mode::Keys,
            Arguments::Python => Mode::Keyword,
            Arguments::Quoted(_) => self.open_arguments(Notation::Quoted),
            _ => self.open_arguments(Notation::Json),
        };
        self.key.clear();
        ends_before && character != '\n'
    }

    fn open_arguments(&mut self, notation: Notation) -> Mode {
        self.literal = Literal::new(notation);
        self.held.clear();
        Mode::Arguments
    }

    /// Looks for arguments as JSON behind a name that is known.
    pub fn expect_json(&mut self) {
        self.mode = self.open_arguments(Notation::Json);
    }

    fn in_arguments(&mut self, character: char, to: To<'_>) -> bool {
        let mut character = character;
        if let Arguments::Quoted(quote) = self.format.form.arguments {
            self.held.push(character);
            match look_up(&self.held, [((), quote)]) {
                Match::Beginning => return false,
                Match::Whole(()) => {
                    self.held.clear();
                    character = QUOTE;
                }
                Match::Nothing => {
                    // What was held is text; the last character may begin the mark.
                    let held = core::mem::take(&mut self.held);
                    let n_before = held.len() - character.len_utf8();
                    let goes_on = held[..n_before].chars().all(|character| self.argument(character, to));
                    self.held = held;
                    self.held.clear();
                    if !goes_on {
                        return self.has_begun && self.break_off(to);
                    }
                    if n_before > 0 {
                        return self.in_arguments(character, to);
                    }
                }
            }
        }
        let was_empty = !self.has_arguments && character.is_ascii_whitespace();
        if was_empty {
            return false;
        }
        match self.argument(character, to) {
            true => false,
            false if self.has_begun => self.break_off(to),
            false => false,
        }
    }

    /// Takes a character of arguments as one value; false if it cannot be, or if it ended the call.
    fn argument(&mut self, character: char, to: To<'_>) -> bool {
        // Arguments are an object.
        if !self.has_arguments && character != '{' {
            return character.is_ascii_whitespace();
        }
        self.has_arguments = true;
        let mut literal = self.literal.clone();
        let step = literal.take(character, self.out(Kind::Arguments, to));
        self.literal = literal;
        match step {
            Step::More => true,
            Step::Last => {
                self.end(to);
                if self.format.form.arguments == Arguments::Channels {
                    self.mode = Mode::Text;
                    self.drop_space();
                }
                false
            }
            Step::After | Step::Wrong => false,
        }
    }

    fn between_keys(&mut self, character: char, to: To<'_>) -> bool {
        let Arguments::Keyed { key_open, .. } = self.format.form.arguments else { return self.break_off(to) };
        if self.held.is_empty() && character.is_ascii_whitespace() {
            return false;
        }
        self.held.push(character);
        let marks = [(true, mark(key_open)), (false, mark(self.format.form.close))];
        match look_up(&self.held, marks) {
            Match::Beginning => {}
            Match::Nothing => return self.break_off(to),
            Match::Whole(true) => {
                self.mode = Mode::Key;
                self.key.clear();
                self.held.clear();
            }
            Match::Whole(false) => {
                self.write_end(to);
                // The form's last mark, if it is the call's.
                if mark(self.format.form.before).is_empty() {
                    self.mode = Mode::Text;
                    self.drop_space();
                }
            }
        }
        false
    }

    fn in_key(&mut self, character: char, to: To<'_>) -> bool {
        let Arguments::Keyed { key_close, value_open, .. } = self.format.form.arguments else {
            return self.break_off(to);
        };
        self.key.push(character);
        let close = mark(key_close);
        if !self.key.ends_with(close) {
            return self.key.len() > MAX_NAME_BYTES && self.break_off(to);
        }
        self.key.truncate(self.key.len() - close.len());
        self.write_key(to);
        self.kept.clear();
        self.is_text = false;
        self.mode = if value_open.is_empty() { Mode::Value } else { Mode::ValueOpen };
        if self.takes_text() {
            self.begin_text(to);
        }
        false
    }

    fn before_value(&mut self, character: char, to: To<'_>) -> bool {
        let Arguments::Keyed { value_open, .. } = self.format.form.arguments else {
            return self.break_off(to);
        };
        if self.held.is_empty() && character.is_ascii_whitespace() {
            return false;
        }
        self.held.push(character);
        match look_up(&self.held, [((), mark(value_open))]) {
            Match::Beginning => {}
            Match::Nothing => return self.break_off(to),
            Match::Whole(()) => {
                self.held.clear();
                self.mode = Mode::Value;
            }
        }
        false
    }

    fn begin_text(&mut self, to: To<'_>) {
        self.is_text = true;
        self.out(Kind::Arguments, to).push('"');
    }

    fn in_value(&mut self, character: char, to: To<'_>) -> bool {
        let Arguments::Keyed { value_open, value_close, .. } = self.format.form.arguments else {
            return self.break_off(to);
        };
        let close = mark(value_close);
        // Where templates put values on lines of their own, one end of line is theirs.
        let has_lines = value_open.is_empty() && value_close.starts_with('\n');
        if self.kept.is_empty() && character == '\n' && has_lines && !self.has_line() {
            self.set_line(true);
            return false;
        }
        self.set_line(true);
        self.kept.push(character);
        let is_whole = self.kept.ends_with(close);
        if is_whole {
            self.kept.truncate(self.kept.len() - close.len());
            if has_lines && self.kept.ends_with('\n') {
                self.kept.pop();
            }
        } else if !self.is_text && self.kept.len() > MAX_KEPT_BYTES {
            self.begin_text(to);
        }
        if self.is_text {
            // The end may be that of the value.
            let n_held = if is_whole { 0 } else { close.len() + 1 };
            let mut n_told = self.kept.len().saturating_sub(n_held);
            while !self.kept.is_char_boundary(n_told) {
                n_told -= 1;
            }
            // Moved all at once, since what stays is moved each time.
            if is_whole || n_told >= 4 * n_held {
                let kept = core::mem::take(&mut self.kept);
                let out = self.out(Kind::Arguments, to);
                kept[..n_told].chars().for_each(|character| push_escaped(character, out));
                self.kept = kept;
                self.kept.drain(..n_told);
            }
        }
        if is_whole {
            let kept = core::mem::take(&mut self.kept);
            let mut scrap = core::mem::take(&mut self.scrap);
            let is_json = !self.is_text && is_value(kept.trim(), &mut scrap);
            let is_text = self.is_text;
            let out = self.out(Kind::Arguments, to);
            match is_text {
                true => out.push('"'),
                false if is_json => {
                    let mut literal = Literal::new(Notation::Json);
                    kept.trim().chars().for_each(|character| {
                        literal.take(character, out);
                    });
                }
                false => push_text(&kept, out),
            }
            (self.kept, self.scrap) = (kept, scrap);
            self.kept.clear();
            self.is_text = false;
            self.set_line(false);
            self.held.clear();
            self.mode = Mode::Keys;
        }
        false
    }

    /// Whether the first character of a value has come.
    fn has_line(&self) -> bool {
        !self.held.is_empty()
    }

    fn set_line(&mut self, has_line: bool) {
        self.held.clear();
        if has_line {
            self.held.push('\n');
        }
    }

    fn in_keyword(&mut self, character: char, to: To<'_>) -> bool {
        match character {
            ')' if self.key.trim().is_empty() => self.write_end(to),
            ',' if self.key.trim().is_empty() => {}
            '=' if !self.key.trim().is_empty() => {
                self.write_key(to);
                self.key.clear();
                self.literal = Literal::new(Notation::Python);
                self.mode = Mode::KeywordValue;
            }
            _ if (character.is_alphanumeric() || "_ \n\t".contains(character))
                && self.key.len() < MAX_NAME_BYTES =>
            {
                self.key.push(character);
            }
            _ => return self.break_off(to),
        }
        false
    }

    fn in_keyword_value(&mut self, character: char, to: To<'_>) -> bool {
        let mut literal = self.literal.clone();
        let step = literal.take(character, self.out(Kind::Arguments, to));
        self.literal = literal;
        match step {
            Step::More => return false,
            Step::Wrong => return self.break_off(to),
            Step::Last | Step::After => {}
        }
        self.mode = Mode::Keyword;
        step == Step::After
    }

    /// Begins a call that is an object, of which the brace has come.
    pub fn open_object(&mut self) {
        self.mode = Mode::Object(InObject::BeforeKey);
        self.name.clear();
        self.key.clear();
        self.kept.clear();
        self.depth = 0;
        self.has_arguments = false;
        self.literal = Literal::new(Notation::Json);
    }

    fn in_object(&mut self, at: InObject, character: char, to: To<'_>) -> bool {
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

    /// Whether an object without marks can have a key that begins like this.
    fn may_have_key(&self) -> bool {
        const KEYS: [&str; 6] = ["name", "type", "id", "function", "arguments", "parameters"];
        !self.is_bare || KEYS.iter().any(|key| key.starts_with(&self.key))
    }

    /// Whether the current key is the name itself.
    fn is_name_key(&self) -> bool {
        matches!(self.format.form.arguments, Arguments::Object("", _)) && self.depth == 0
    }

    /// What the value of the current key is that begins with this character.
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

    /// Takes a character of a value in an object; whether it is to be taken again.
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

    /// Makes arguments that are a text of JSON an object; whether they are one.
    fn unpack(&mut self, to: To<'_>) -> bool {
        let mut text = core::mem::take(&mut self.scrap);
        text.clear();
        let is_whole = unescape(&self.kept, &mut text);
        self.kept.clear();
        let mut literal = Literal::new(Notation::Json);
        let mut is_over = false;
        let text = text.trim();
        let is_object = text.starts_with('{')
            && text.chars().all(|character| {
                let step = literal.take(character, &mut self.kept);
                let goes_on = !is_over && step == Step::More;
                is_over |= step == Step::Last;
                goes_on || step == Step::Last
            });
        let is_empty = text.is_empty();
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

    /// Takes the end of an object; whether it is wrong.
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

/// Writes what a text in JSON says; whether all of it could be read.
fn unescape(json: &str, out: &mut alloc::string::String) -> bool {
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
                    // Half of a pair: what is within stays an escape.
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
