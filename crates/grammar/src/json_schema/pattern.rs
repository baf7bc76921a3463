//! Regular expressions of ECMA-262 (with its flag `u`), as used by `pattern` and `patternProperties`.
//!
//! This module parses the syntax; `search` makes automata of it. A pattern may match anywhere in the text unless it is anchored
//! with `^` and `$`. Groups, quantifiers (also lazy ones, which match the same texts), classes, escapes, and lookaheads directly
//! after a `^` that begins an alternative are supported. Of Unicode's properties, the general categories are supported. Back
//! references, lookbehinds, word boundaries and other lookaheads are not supported.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::automaton::{Automaton, Budget, LAST};
use super::categories;
use super::error::Why;
use super::search;

/// Most levels of nested groups.
const MAX_DEPTH: u32 = 32;

/// Most classes by Unicode category in a pattern: for each of them most characters must be examined.
const MAX_CATEGORIES: u32 = 4;
/// The cost of such a class, in steps of the budget.
const CATEGORY_STEPS: usize = 40_000;

/// Characters, as sorted and disjoint ranges.
pub(super) type Class = Vec<(u32, u32)>;

/// Characters that do not end a line.
const DOT: [(u32, u32); 4] = [(0, 9), (11, 12), (14, 0x2027), (0x202A, LAST)];
const DIGITS: [(u32, u32); 1] = [(0x30, 0x39)];
const WORD: [(u32, u32); 4] = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)];
/// White space and line terminators, ECMA-262 sections 12.2 and 12.3.
const SPACE: [(u32, u32); 10] = [
    (9, 13),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
];

/// A part of a pattern; parts refer to others by their number.
pub(super) enum Part {
    Class(Class),
    Sequence(Vec<usize>),
    Choice(Vec<usize>),
    Repeat { of: usize, min: u32, max: Option<u32> },
    Start,
    End,
    Ahead { of: usize, negated: bool },
}

/// The texts in which `pattern` matches.
pub(super) fn automaton(pattern: &str, budget: &mut Budget) -> Result<Automaton, Why> {
    let mut text = Vec::new();
    text.try_reserve(pattern.len())?;
    text.extend(pattern.chars());
    budget.spend(text.len())?;
    let mut parser = Parser { text, at: 0, n_categories: 0, parts: Vec::new() };
    let root = parser.choice(0)?;
    budget.spend(parser.n_categories as usize * CATEGORY_STEPS)?;
    if parser.at < parser.text.len() {
        return Err(parser.problem("a closing parenthesis without an opening one"));
    }
    search::language(&parser.parts, root, budget)
}

/// Sorts ranges and merges adjacent ones.
fn normalized(mut class: Class) -> Class {
    sort::sort(&mut class);
    let mut result: Class = Vec::new();
    for (first, last) in class {
        match result.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => result.push((first, last)),
        }
    }
    result
}

/// All other characters.
fn negated(class: &[(u32, u32)]) -> Class {
    let mut result = Vec::new();
    let mut next = 0;
    for &(first, last) in class {
        if next < first {
            result.push((next, first - 1));
        }
        next = last + 1;
    }
    if next <= LAST {
        result.push((next, LAST));
    }
    result
}

/// A character, or the set that an escape stands for.
enum Atom {
    One(u32),
    Several(Class),
}

struct Parser {
    text: Vec<char>,
    at: usize,
    /// Number of classes by category so far.
    n_categories: u32,
    parts: Vec<Part>,
}

impl Parser {
    fn problem(&self, problem: &'static str) -> Why {
        Why::Pattern { at: self.at, problem }
    }

    fn add(&mut self, part: Part) -> Result<usize, Why> {
        self.parts.try_reserve(1)?;
        self.parts.push(part);
        Ok(self.parts.len() - 1)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn takes(&mut self, expected: &str) -> bool {
        let is_there =
            self.text[self.at..].iter().copied().take(expected.chars().count()).eq(expected.chars());
        if is_there {
            self.at += expected.chars().count();
        }
        is_there
    }

    fn choice(&mut self, depth: u32) -> Result<usize, Why> {
        if depth > MAX_DEPTH {
            return Err(self.problem("too many groups inside one another"));
        }
        let mut alternatives = Vec::new();
        loop {
            let mut parts = Vec::new();
            while self.peek().is_some_and(|c| c != '|' && c != ')') {
                parts.push(self.term(depth)?);
            }
            alternatives.push(self.add(Part::Sequence(parts))?);
            if !self.takes("|") {
                break;
            }
        }
        match alternatives[..] {
            [one] => Ok(one),
            _ => self.add(Part::Choice(alternatives)),
        }
    }

    fn term(&mut self, depth: u32) -> Result<usize, Why> {
        let part = if self.takes("^") {
            return self.add(Part::Start);
        } else if self.takes("$") {
            return self.add(Part::End);
        } else if self.takes("(") {
            self.group(depth)?
        } else if self.takes("[") {
            let class = self.class()?;
            self.add(Part::Class(class))?
        } else if self.takes(".") {
            self.add(Part::Class(DOT.to_vec()))?
        } else if self.takes("\\") {
            match self.escape(false)? {
                Atom::One(c) => self.add(Part::Class(vec![(c, c)]))?,
                Atom::Several(class) => self.add(Part::Class(class))?,
            }
        } else {
            let c = self.text[self.at];
            if matches!(c, '*' | '+' | '?') {
                return Err(self.problem("nothing to repeat"));
            }
            self.at += 1;
            self.add(Part::Class(vec![(c.into(), c.into())]))?
        };
        self.quantified(part)
    }

    fn group(&mut self, depth: u32) -> Result<usize, Why> {
        let ahead = if self.takes("?=") {
            Some(false)
        } else if self.takes("?!") {
            Some(true)
        } else {
            None
        };
        if ahead.is_none() && self.takes("?") && !self.takes(":") {
            if !self.takes("<") || matches!(self.peek(), Some('=' | '!')) {
                return Err(self.problem("a group of a kind that is not supported"));
            }
            while self.peek().is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
                self.at += 1;
            }
            if !self.takes(">") {
                return Err(self.problem("a group's name without its end"));
            }
        }
        let of = self.choice(depth + 1)?;
        if !self.takes(")") {
            return Err(self.problem("a group without its end"));
        }
        match ahead {
            None => Ok(of),
            Some(negated) => self.add(Part::Ahead { of, negated }),
        }
    }

    fn quantified(&mut self, of: usize) -> Result<usize, Why> {
        let (min, max) = if self.takes("*") {
            (0, None)
        } else if self.takes("+") {
            (1, None)
        } else if self.takes("?") {
            (0, Some(1))
        } else if let Some(bounds) = self.bounds()? {
            bounds
        } else {
            return Ok(of);
        };
        if max.is_some_and(|max| max < min) {
            return Err(self.problem("a repetition of fewer than it begins with"));
        }
        self.takes("?");
        if matches!(self.peek(), Some('*' | '+' | '?')) {
            return Err(self.problem("nothing to repeat"));
        }
        self.add(Part::Repeat { of, min, max })
    }

    /// Reads `{n}`, `{n,}` or `{n,m}`. A brace that begins none of them stands for itself.
    fn bounds(&mut self) -> Result<Option<(u32, Option<u32>)>, Why> {
        let start = self.at;
        if !self.takes("{") {
            return Ok(None);
        }
        if let Some(min) = self.number()? {
            let max = if self.takes(",") { self.number()? } else { Some(min) };
            if self.takes("}") {
                return Ok(Some((min, max)));
            }
        }
        self.at = start;
        Ok(None)
    }

    fn number(&mut self) -> Result<Option<u32>, Why> {
        let mut value = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            let more = value.unwrap_or(0u32).checked_mul(10).and_then(|v| v.checked_add(digit));
            value = Some(more.ok_or(Why::TooLarge)?);
            self.at += 1;
        }
        Ok(value)
    }

    fn class(&mut self) -> Result<Class, Why> {
        let is_negated = self.takes("^");
        let mut class = Vec::new();
        while !self.takes("]") {
            let first = self.class_atom()?;
            let is_range = self.peek() == Some('-') && self.text.get(self.at + 1).is_some_and(|&c| c != ']');
            match first {
                Atom::One(first) if is_range => {
                    self.at += 1;
                    let Atom::One(last) = self.class_atom()? else {
                        return Err(self.problem("a range whose end is no character"));
                    };
                    if last < first {
                        return Err(self.problem("a range that ends before it begins"));
                    }
                    class.push((first, last));
                }
                Atom::One(c) => class.push((c, c)),
                Atom::Several(several) => class.extend(several),
            }
        }
        let class = normalized(class);
        Ok(if is_negated { negated(&class) } else { class })
    }

    fn class_atom(&mut self) -> Result<Atom, Why> {
        if self.takes("\\") {
            return self.escape(true);
        }
        let c = self.peek().ok_or_else(|| self.problem("a class without its end"))?;
        self.at += 1;
        Ok(Atom::One(c.into()))
    }

    /// Reads what follows a backslash.
    fn escape(&mut self, in_class: bool) -> Result<Atom, Why> {
        let c = self.peek().ok_or_else(|| self.problem("a backslash at the end"))?;
        self.at += 1;
        Ok(match c {
            'd' => Atom::Several(DIGITS.to_vec()),
            'D' => Atom::Several(negated(&DIGITS)),
            'w' => Atom::Several(WORD.to_vec()),
            'W' => Atom::Several(negated(&WORD)),
            's' => Atom::Several(SPACE.to_vec()),
            'S' => Atom::Several(negated(&SPACE)),
            't' => Atom::One(9),
            'n' => Atom::One(10),
            'v' => Atom::One(11),
            'f' => Atom::One(12),
            'r' => Atom::One(13),
            'b' if in_class => Atom::One(8),
            '0' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => Atom::One(0),
            'c' => {
                let letter = self.peek().filter(char::is_ascii_alphabetic);
                self.at += 1;
                Atom::One(u32::from(letter.ok_or_else(|| self.problem("an unknown escape"))?) & 31)
            }
            'x' => Atom::One(self.hexadecimal(2)?),
            'u' if self.takes("{") => {
                let mut value = 0u32;
                while !self.takes("}") {
                    value = value << 4 | self.hexadecimal(1)?;
                    if value > LAST {
                        return Err(self.problem("a character beyond U+10FFFF"));
                    }
                }
                Atom::One(value)
            }
            'u' => {
                let first = self.hexadecimal(4)?;
                let behind = self.at;
                if (0xD800..0xDC00).contains(&first) && self.takes("\\u") {
                    let second = self.hexadecimal(4)?;
                    if (0xDC00..0xE000).contains(&second) {
                        return Ok(Atom::One(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)));
                    }
                    self.at = behind;
                }
                Atom::One(first)
            }
            'p' | 'P' => Atom::Several(self.category(c == 'P')?),
            'b' | 'B' => return Err(self.problem("word boundaries are not supported")),
            'k' | '1'..='9' => return Err(self.problem("back references are not supported")),
            c if c.is_alphanumeric() => return Err(self.problem("an unknown escape")),
            c => Atom::One(c.into()),
        })
    }

    /// Reads what follows `\p` or `\P`.
    fn category(&mut self, is_negated: bool) -> Result<Class, Why> {
        self.n_categories += 1;
        if self.n_categories > MAX_CATEGORIES {
            return Err(Why::TooLarge);
        }
        let start = self.at;
        let mut name = String::new();
        if self.takes("{") {
            while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '=')) {
                name.push(c);
                self.at += 1;
            }
        }
        match categories::class(&name) {
            Some(class) if self.takes("}") => Ok(if is_negated { negated(&class) } else { class }),
            _ => {
                self.at = start;
                Err(self.problem("of Unicode properties only general categories are supported"))
            }
        }
    }

    fn hexadecimal(&mut self, digits: u32) -> Result<u32, Why> {
        let mut value = 0;
        for _ in 0..digits {
            let digit = self.peek().and_then(|c| c.to_digit(16));
            value = value << 4 | digit.ok_or_else(|| self.problem("a hexadecimal digit is missing"))?;
            self.at += 1;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, found: &[&str], missing: &[&str]) {
        let automaton = automaton(pattern, &mut Budget::new(1_000_000)).unwrap();
        for text in found {
            assert!(automaton.accepts(text), "{pattern:?} is in {text:?}");
        }
        for text in missing {
            assert!(!automaton.accepts(text), "{pattern:?} is not in {text:?}");
        }
    }

    #[test]
    fn patterns_are_found_anywhere() {
        check("a+", &["a", "xxaayy"], &["", "xyz"]);
        check("^a*$", &["", "a", "aaa"], &["b", "ab", "ba"]);
        check("^a", &["a", "ab"], &["ba", ""]);
        check("a$", &["a", "ba"], &["ab"]);
        check("", &["", "x"], &[]);
        check("^$", &[""], &["x"]);
        check("^a|b$", &["ax", "xb", "a", "b"], &["xa", "bx"]);
        check("(^|x)a($|y)", &["a", "ay", "qxa", "xayz"], &["qa", "ab"]);
    }

    #[test]
    fn quantifiers_classes_and_escapes() {
        check("^a{2,3}$", &["aa", "aaa"], &["a", "aaaa"]);
        check("^(ab){2}$", &["abab"], &["ab", "ababab"]);
        check("^(?:ab|c){1,}?$", &["ab", "c", "cab"], &["", "a"]);
        check("^a{,3}$", &["a{,3}"], &["aaa"]);
        check(r"^\d{3}-\w+\.$", &["123-a_9."], &["12-a.", "123-ä.", "123-a"]);
        check(r"^[^\s\-]+$", &["aä"], &["a b", "a-b", "\u{3000}"]);
        check(r"^[\]\\a-c^-]$", &["]", "\\", "b", "^", "-"], &["d", "["]);
        check("^.$", &["a", "😀", "\t"], &["\n", "\u{2028}", "ab"]);
        check(r"^\u0041\x42\u{43}\cJ\0$", &["ABC\n\0"], &["ABC"]);
        check(r"^\uD83D\uDE00$", &["😀"], &[]);
        check("^(?<name>a)$", &["a"], &["b"]);
        check("^[^]$", &["x"], &["", "xy"]);
        check("[]", &[], &["x", ""]);
        check("^á", &["áb"], &["a"]);
    }

    #[test]
    fn general_categories() {
        check(r"^\p{L}[\p{Ll}\d]*$", &["Äb1", "日", "ß"], &["1", "ÄB", "", "a b"]);
        check(r"^\P{Letter}\p{gc=Sc}$", &["1€", " $"], &["a€", "1a"]);
        check(r"^\p{Zs}\p{Other}$", &[" \u{0}", "\u{3000}\u{E000}"], &["a\u{0}", "  "]);
    }

    #[test]
    fn lookaheads_behind_the_beginning() {
        check(r"^(?=.*\d)(?=.*[a-z]).{4,}$", &["abc1", "1abcd"], &["abcd", "a1", "1234"]);
        check("^(?!foo)[a-z]+$", &["bar", "fo"], &["foobar", "foo", "1"]);
        check("^(?!foo$)[a-z]+$|^X", &["bar", "foob", "Xyz"], &["foo"]);
    }

    #[test]
    fn what_is_refused() {
        for (pattern, at) in
            [("(", 1), (")", 0), ("a**", 2), ("*", 0), ("[a", 2), ("[b-a]", 4), ("a{3,2}", 6), (r"\1", 2)]
        {
            match automaton(pattern, &mut Budget::new(100_000)) {
                Err(Why::Pattern { at: found, .. }) => assert_eq!(found, at, "{pattern}"),
                other => panic!("{pattern}: {other:?}"),
            }
        }
        for pattern in
            [r"a\b", r"\p{Script=Greek}", r"\p{L", r"\pL", "(?<=a)b", r"\", r"\q", r"\u12", "(?", "(?<a"]
        {
            assert!(
                matches!(automaton(pattern, &mut Budget::new(100_000)), Err(Why::Pattern { .. })),
                "{pattern}"
            );
        }
        assert!(matches!(automaton("a(?=b)", &mut Budget::new(100_000)), Err(Why::NotExpressible(_))));
        for pattern in ["(a{1000}){1000}", "^(a|b)*a(a|b){20}$", "((((a{30}){30}){30}){30}){30}"] {
            assert_eq!(automaton(pattern, &mut Budget::new(200_000)), Err(Why::TooLarge), "{pattern}");
        }
        let deep = "(".repeat(100_000);
        assert!(matches!(automaton(&deep, &mut Budget::new(200_000)), Err(Why::Pattern { .. })));
    }
}
