//! Grammars as text: GBNF, in llama.cpp's syntax.
//!
//! ```text
//! # A comment. The text must keep to the rule `root`.
//! root   ::= "- " item ("\n- " item){0,9}
//! item   ::= [^\n\x00-\x1F]+ | <|think|> !<[7]>*
//! ```
//!
//! Strings and classes know the escapes `\n`, `\r`, `\t`, `\\`, `\"`, `\[`, `\]`, `\-`, `\xNN`, `\uNNNN`, `\UNNNNNNNN`; each
//! stands for a character. `.` is any character, `<[7]>` is token 7, `<name>` is the token that is written like this, and `!`
//! before a token means any other token. `*`, `+`, `?`, `{m}`, `{m,}` and `{m,n}` repeat what precedes them. A rule may continue
//! on the next line between parentheses and after `::=` and `|`.
//!
//! Differences from llama.cpp: numbers in braces have no limit and are never replaced by others. A rule that is defined twice, an
//! empty class, a range that ends before it begins, surrogates and characters beyond U+10FFFF are refused. The first bytes of a
//! character may come if any allowed character begins with them, even if a negated class excludes another character that does.
//!
//! Source: llama.cpp, `grammars/README.md` and `src/llama-grammar.cpp`.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::GrammarError;
use crate::expression::{Builder, Expression, MAX_EXPRESSIONS, Rule};
use crate::program::Grammar;

/// Most nested parentheses.
pub const MAX_PARENTHESES: u32 = 80;
/// Most names that are compared in order to find one.
const MAX_PROBES: u32 = 1000;

impl Grammar {
    /// Reads a grammar in GBNF; its texts are those of the rule `root`. `token_of` finds the token that is written like
    /// `<think>`.
    ///
    /// # Errors
    /// [`GrammarError::Syntax`] with line and column, and the errors of [`Builder::finish`].
    pub fn parse(text: &str, token_of: &dyn Fn(&str) -> Option<u32>) -> Result<Self, GrammarError> {
        let (builder, root) = Builder::of_gbnf(text, token_of)?;
        builder.finish(root)
    }
}

impl Builder {
    /// The rules of a grammar in GBNF, and its rule `root`. `token_of` is as for [`Grammar::parse`].
    ///
    /// # Errors
    /// [`GrammarError::Syntax`] with line and column.
    pub fn of_gbnf(text: &str, token_of: &dyn Fn(&str) -> Option<u32>) -> Result<(Self, Rule), GrammarError> {
        let mut parser = Parser {
            text,
            at: 0,
            builder: Builder::new(),
            slots: Vec::new(),
            token_of,
            n_open: 0,
            characters: String::new(),
        };
        // Each name takes a byte and something that separates it from the next name.
        let n_slots = text.len().next_power_of_two().clamp(16, 2 * MAX_EXPRESSIONS as usize);
        parser.slots.try_reserve_exact(n_slots)?;
        parser.slots.resize(n_slots, None);
        parser.rules()
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The position of the next byte to read.
    at: usize,
    builder: Builder,
    /// Rules by a hash of their names.
    slots: Vec<Option<Rule>>,
    token_of: &'a dyn Fn(&str) -> Option<u32>,
    n_open: u32,
    /// The characters of the string that is being read.
    characters: String,
}

impl Parser<'_> {
    fn rules(mut self) -> Result<(Builder, Rule), GrammarError> {
        self.space(true);
        while self.peek().is_some() {
            self.rule()?;
        }
        let root = self.rule_named("root")?;
        Ok((self.builder, root))
    }

    fn error<T>(&self, at: usize, problem: &'static str, expected: &'static str) -> Result<T, GrammarError> {
        let before = &self.text[..at];
        let line = 1 + before.bytes().filter(|&byte| byte == b'\n').count() as u32;
        let column = 1 + before.chars().rev().take_while(|&c| c != '\n').count() as u32;
        Err(GrammarError::Syntax { line, column, problem, expected })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips a byte if it is next.
    fn skip(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Skips spaces and comments, and line ends if a rule may continue after them.
    fn space(&mut self, newlines: bool) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\r' | b'\n') if newlines => self.at += 1,
                Some(b'#') => {
                    let rest = &self.text.as_bytes()[self.at..];
                    self.at += rest.iter().position(|&b| b == b'\r' || b == b'\n').unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Result<Rule, GrammarError> {
        let rest = &self.text[self.at..];
        let n = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'-').count();
        if n == 0 {
            return self.error(self.at, "no name of a rule", "letters, digits and '-'");
        }
        self.at += n;
        self.rule_named(&rest[..n])
    }

    fn rule_named(&mut self, name: &str) -> Result<Rule, GrammarError> {
        let hash = name.bytes().fold(0_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let mask = self.slots.len() - 1;
        let hash = (hash ^ hash >> 15).wrapping_mul(0x2C1B_3C6D);
        let mut slot = (hash ^ hash >> 13) as usize & mask;
        let mut n_probes = 0;
        while let Some(rule) = self.slots[slot] {
            if self.builder.name(rule) == name {
                return Ok(rule);
            }
            // By chance there are never that many; names that are made to have the same hash would take unbounded time.
            n_probes += 1;
            if n_probes > MAX_PROBES {
                return Err(GrammarError::TooMany {
                    what: "names of rules with the same hash",
                    limit: MAX_PROBES,
                });
            }
            slot = (slot + 1) & mask;
        }
        let rule = self.builder.declare(name)?;
        self.slots[slot] = Some(rule);
        Ok(rule)
    }

    fn rule(&mut self) -> Result<(), GrammarError> {
        let rule = self.name()?;
        self.space(false);
        if !self.text[self.at..].starts_with("::=") {
            return self.error(self.at, "the name of a rule without its definition", "'::='");
        }
        self.at += 3;
        self.space(true);
        let body = self.alternatives()?;
        match self.peek() {
            None | Some(b'\r' | b'\n') => {}
            Some(b')') => return self.error(self.at, "a ')' without its '('", "an end of the line"),
            Some(_) => return self.error(self.at, "something that a rule cannot contain", PART),
        }
        self.builder.define(rule, body)?;
        self.space(true);
        Ok(())
    }

    fn alternatives(&mut self) -> Result<Expression, GrammarError> {
        let mut alternatives = Vec::new();
        loop {
            let sequence = self.sequence()?;
            alternatives.try_reserve(1)?;
            alternatives.push(sequence);
            if !self.skip(b'|') {
                return self.builder.choice(&alternatives);
            }
            self.space(true);
        }
    }

    fn sequence(&mut self) -> Result<Expression, GrammarError> {
        let mut parts: Vec<Expression> = Vec::new();
        let is_inside = self.n_open > 0;
        while let Some(byte) = self.peek() {
            let start = self.at;
            if matches!(byte, b'*' | b'+' | b'?' | b'{') {
                let (min, max) = self.count(is_inside)?;
                let Some(last) = parts.last_mut() else {
                    return self.error(start, "a repetition of nothing", "what is to be repeated before it");
                };
                if max.is_some_and(|max| max < min) {
                    return self.error(start, "a repetition of fewer than it begins with", "{least,most}");
                }
                *last = self.builder.repeat(*last, min, max)?;
            } else {
                let part = match byte {
                    b'"' => self.string()?,
                    b'[' => self.class()?,
                    b'<' | b'!' => self.token()?,
                    b'(' => self.group()?,
                    b'.' => {
                        self.at += 1;
                        self.builder.not_in_class(&[])?
                    }
                    b'-' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                        let rule = self.name()?;
                        self.builder.rule(rule)?
                    }
                    _ => break,
                };
                parts.try_reserve(1)?;
                parts.push(part);
            }
            self.space(is_inside);
        }
        self.builder.sequence(&parts)
    }

    fn group(&mut self) -> Result<Expression, GrammarError> {
        let start = self.at;
        if self.n_open == MAX_PARENTHESES {
            return self.error(start, "more than 80 parentheses inside one another", "a rule of its own");
        }
        self.at += 1;
        self.n_open += 1;
        self.space(true);
        let inside = self.alternatives()?;
        self.n_open -= 1;
        if !self.skip(b')') {
            return match self.peek() {
                None => self.error(start, "a '(' without its ')'", "')'"),
                Some(_) => self.error(self.at, "something that a rule cannot contain", PART),
            };
        }
        Ok(inside)
    }

    /// The number of repetitions: `*`, `+`, `?` or numbers in braces.
    fn count(&mut self, is_inside: bool) -> Result<(u32, Option<u32>), GrammarError> {
        let sign = self.peek();
        self.at += 1;
        match sign {
            Some(b'*') => return Ok((0, None)),
            Some(b'+') => return Ok((1, None)),
            Some(b'?') => return Ok((0, Some(1))),
            _ => self.space(is_inside),
        }
        let min = self.number()?;
        self.space(is_inside);
        let mut max = Some(min);
        if self.skip(b',') {
            self.space(is_inside);
            max = match self.peek() {
                Some(b'0'..=b'9') => Some(self.number()?),
                _ => None,
            };
            self.space(is_inside);
        }
        match self.skip(b'}') {
            true => Ok((min, max)),
            false => self.error(self.at, "numbers of repetitions without their '}'", "{3}, {3,} or {3,5}"),
        }
    }

    fn number(&mut self) -> Result<u32, GrammarError> {
        let rest = &self.text[self.at..];
        let digits = &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()];
        // The largest number means no limit.
        match digits.parse::<u32>() {
            Ok(number) if number != u32::MAX => {
                self.at += digits.len();
                Ok(number)
            }
            _ => self.error(self.at, "no number", "digits of a number below 4294967295"),
        }
    }

    fn string(&mut self) -> Result<Expression, GrammarError> {
        let start = self.at;
        self.at += 1;
        self.characters.clear();
        while !self.skip(b'"') {
            if self.peek().is_none() {
                return self.error(start, "a string without its end", "'\"'");
            }
            let at = self.at;
            let Some(character) = char::from_u32(self.character()?) else {
                return self.error(at, "a number that is no character", NUMBERS);
            };
            self.characters.try_reserve(4)?;
            self.characters.push(character);
        }
        self.builder.literal(&self.characters)
    }

    fn class(&mut self) -> Result<Expression, GrammarError> {
        let start = self.at;
        self.at += 1;
        let is_negated = self.skip(b'^');
        let mut ranges = Vec::new();
        while !self.skip(b']') {
            if self.peek().is_none() {
                return self.error(start, "a class without its end", "']'");
            }
            let at = self.at;
            let first = self.character()?;
            let mut last = first;
            let rest = &self.text.as_bytes()[self.at..];
            if rest.first() == Some(&b'-') && rest.get(1) != Some(&b']') {
                self.at += 1;
                last = self.character()?;
            }
            if first > last {
                return self.error(at, "a range that ends before it begins", "its lower character first");
            }
            if last > u32::from(char::MAX) {
                return self.error(at, "a number that is no character", NUMBERS);
            }
            ranges.try_reserve(1)?;
            ranges.push((first, last));
        }
        if ranges.is_empty() {
            return self.error(start, "an empty class", "characters, or '.' for any");
        }
        let class = match is_negated {
            true => self.builder.not_in_class(&ranges)?,
            false => self.builder.class(&ranges)?,
        };
        match class {
            Expression::NEVER => {
                self.error(start, "a class without characters", "characters that are in texts")
            }
            _ => Ok(class),
        }
    }

    /// A character, or an escape for one.
    fn character(&mut self) -> Result<u32, GrammarError> {
        let start = self.at;
        let mut rest = self.text[self.at..].chars();
        match rest.next() {
            None => self.error(start, "an end within something", "a character"),
            Some('\\') => {
                let escape = rest.next();
                self.at += 1 + escape.map_or(0, char::len_utf8);
                match escape {
                    Some('n') => Ok(0x0A),
                    Some('r') => Ok(0x0D),
                    Some('t') => Ok(0x09),
                    Some(same @ ('\\' | '"' | '[' | ']' | '-')) => Ok(u32::from(same)),
                    Some('x') => self.hexadecimal(2),
                    Some('u') => self.hexadecimal(4),
                    Some('U') => self.hexadecimal(8),
                    _ => self.error(
                        start,
                        "an escape that is not known",
                        r#"\n \r \t \\ \" \[ \] \- \x \u \U"#,
                    ),
                }
            }
            Some(character) => {
                self.at += character.len_utf8();
                Ok(u32::from(character))
            }
        }
    }

    fn hexadecimal(&mut self, n_digits: usize) -> Result<u32, GrammarError> {
        let digits =
            self.text.get(self.at..self.at + n_digits).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(number) => {
                self.at += n_digits;
                Ok(number)
            }
            None => {
                self.error(self.at, "too few hexadecimal digits", "2 after \\x, 4 after \\u, 8 after \\U")
            }
        }
    }

    fn token(&mut self) -> Result<Expression, GrammarError> {
        let negated = self.skip(b'!');
        let start = self.at;
        if !self.skip(b'<') {
            return self.error(start, "a '!' without a token", "a token: '<'");
        }
        if self.skip(b'[') {
            let id = self.number()?;
            if !self.text[self.at..].starts_with("]>") {
                return self.error(self.at, "the number of a token without its end", "']>'");
            }
            self.at += 2;
            return self.builder.token(id, negated);
        }
        let Some(n) = self.text[start..].find('>') else {
            return self.error(start, "a token without its end", "'>'");
        };
        let name = &self.text[start..=start + n];
        let Some(id) = (self.token_of)(name) else {
            return self.error(
                start,
                "no token of this vocabulary",
                "the text of one token, or its number: <[7]>",
            );
        };
        self.at = start + n + 1;
        self.builder.token(id, negated)
    }
}

/// What a rule may contain.
const PART: &str = "a string, a class, '.', a token, a name, '(', '|' or a repetition";
/// The valid numbers of characters.
const NUMBERS: &str = "a number up to 10FFFF, D800 to DFFF excepted";
