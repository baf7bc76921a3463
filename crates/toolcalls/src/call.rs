//! Parses calls: the text between their marks, the name, and arguments as a single JSON value or in Python's form.

use crate::form::{Arguments, Form, mark};
use crate::literal::{Literal, Notation, QUOTE, Step};
use crate::state::{Kind, MAX_KEPT_BYTES, MAX_NAME_BYTES, Mode, State, To};

/// The meaning of a mark between calls.
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

/// How a text relates to a list of marks.
pub(crate) enum Match<T> {
    /// It is this mark.
    Whole(T),
    /// It is the beginning of a mark.
    Beginning,
    /// It is neither.
    Nothing,
}

/// Looks up a text among marks; empty marks are ignored.
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
    /// Takes a character of a call; returns whether the character must be taken again.
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
                // There was no call between the marks.
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
            // In an id of Kimi's, the end of the name is the end of the id.
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

    /// Expects arguments as JSON after a known name.
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
                    // The held text is part of the value; the last character may begin the mark.
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

    /// Takes a character of arguments that are a single value; returns false if it cannot be part of them, or if it ended the
    /// call.
    fn argument(&mut self, character: char, to: To<'_>) -> bool {
        // Arguments must be an object.
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
}
