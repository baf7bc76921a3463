//! Arguments as keys and values, each between marks.

use crate::call::{Match, look_up};
use crate::form::{Arguments, mark};
use crate::literal::{Literal, Notation, is_value, push_escaped, push_text};
use crate::state::{Kind, MAX_KEPT_BYTES, MAX_NAME_BYTES, Mode, State, To};

impl State {
    /// Takes a character before a key, or after the last value. Like all functions below, returns whether the character must be
    /// taken again.
    pub fn between_keys(&mut self, character: char, to: To<'_>) -> bool {
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
                // The last mark of the form, if it also ends the call.
                if mark(self.format.form.before).is_empty() {
                    self.mode = Mode::Text;
                    self.drop_space();
                }
            }
        }
        false
    }

    /// Takes a character of a key.
    pub fn in_key(&mut self, character: char, to: To<'_>) -> bool {
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

    /// Takes a character before a value.
    pub fn before_value(&mut self, character: char, to: To<'_>) -> bool {
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

    /// Takes a character of a value.
    pub fn in_value(&mut self, character: char, to: To<'_>) -> bool {
        let Arguments::Keyed { value_open, value_close, .. } = self.format.form.arguments else {
            return self.break_off(to);
        };
        let close = mark(value_close);
        // If a template puts values on separate lines, one line end on each side belongs to the template.
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
            // The held text may be the value's closing mark.
            let n_held = if is_whole { 0 } else { close.len() + 1 };
            let mut n_told = self.kept.len().saturating_sub(n_held);
            while !self.kept.is_char_boundary(n_told) {
                n_told -= 1;
            }
            // Text is moved in large pieces, because the rest is moved each time.
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
}
