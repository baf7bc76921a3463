//! Splits the source into tokens.
//!
//! White space around tags is treated as in Jinja's lexer with `trim_blocks` and `lstrip_blocks`: the line break after a
//! statement or comment is dropped, and so is the indentation before one that begins a line. `-` drops all white space on its
//! side; `+` keeps it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use crate::interpreter::ensure_room;
use crate::{Error, ErrorKind};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Text(String),
    /// `{%`
    BlockBegin,
    /// `%}`
    BlockEnd,
    /// `{{`
    OutputBegin,
    /// `}}`
    OutputEnd,
    Name(String),
    String(String),
    Integer(i64),
    Float(f64),
    /// An operator or a delimiter.
    Symbol(&'static str),
    End,
}

/// Longer symbols come before their prefixes.
const SYMBOLS: [&str; 26] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{",
    "}", ".", ",", ":", "|", ";",
];

/// Most bytes that a byte of the source takes, not counting the list of tokens: in copies with normalised line breaks, which
/// double as they grow, and as texts of tokens, where short texts take the most.
const TEXT_BYTES: usize = 24;

/// The tokens of a source and the line of each; the last is [`Token::End`].
///
/// # Errors
/// Text that is not a token, or that there is no memory.
pub(crate) fn tokenize(source: &str) -> Result<Vec<(Token, u32)>, Error> {
    ensure_room(source.len().saturating_mul(TEXT_BYTES)).map_err(|kind| Error { line: 1, kind })?;
    let source = normalize_line_breaks(source);
    let mut lexer = Lexer { rest: &source, line: 1, at_line_start: true, tokens: Vec::new() };
    lexer.template()?;
    lexer.push(Token::End)?;
    Ok(lexer.tokens)
}

/// Makes all line breaks `\n` and drops one at the end.
fn normalize_line_breaks(source: &str) -> String {
    let mut normalized = source.replace("\r\n", "\n").replace('\r', "\n");
    if normalized.ends_with('\n') {
        normalized.pop();
    }
    normalized
}

struct Lexer<'s> {
    rest: &'s str,
    line: u32,
    /// Whether `rest` begins a line, judging by the last tag.
    at_line_start: bool,
    tokens: Vec<(Token, u32)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Tag {
    Block,
    Output,
    Comment,
}

impl<'s> Lexer<'s> {
    fn push(&mut self, token: Token) -> Result<(), Error> {
        self.push_at(token, self.line)
    }

    fn push_at(&mut self, token: Token, line: u32) -> Result<(), Error> {
        if self.tokens.len() == self.tokens.capacity() {
            let reserved = self.tokens.try_reserve(1).map_err(|_| ErrorKind::NoMemory);
            // The longer list may have used the memory that was reserved for the texts.
            let reserved = reserved.and_then(|()| ensure_room(self.rest.len().saturating_mul(TEXT_BYTES)));
            reserved.map_err(|kind| Error { line, kind })?;
        }
        self.tokens.push((token, line));
        Ok(())
    }

    fn error<T>(&self, kind: ErrorKind) -> Result<T, Error> {
        Err(Error { line: self.line, kind })
    }

    /// Takes the first `len` bytes of the rest.
    fn advance(&mut self, len: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.bytes().filter(|&byte| byte == b'\n').count() as u32;
        self.rest = rest;
        taken
    }

    fn skip_whitespace(&mut self) {
        self.advance(self.rest.len() - self.rest.trim_start().len());
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let found = self.rest.starts_with(prefix);
        if found {
            self.advance(prefix.len());
        }
        found
    }

    fn template(&mut self) -> Result<(), Error> {
        loop {
            let Some((begin, tag)) = find_tag(self.rest) else {
                let text = self.advance(self.rest.len());
                return self.push_text(text);
            };
            let text = self.advance(begin);
            let sign = self.rest[2..].chars().next();
            let text = self.trimmed_before_tag(text, tag, sign);
            self.push_text(text)?;
            self.advance(2);
            if matches!(sign, Some('-' | '+')) {
                self.advance(1);
            }
            match tag {
                Tag::Comment => {
                    let Some(end) = self.rest.find("#}") else {
                        return self.error(ErrorKind::Unterminated("a comment"));
                    };
                    let comment = self.advance(end);
                    self.advance(2);
                    self.trim_after_tag(if comment.ends_with('-') {
                        Some('-')
                    } else {
                        comment_plus(comment)
                    });
                }
                Tag::Block if self.raw()? => {}
                Tag::Block => {
                    self.push(Token::BlockBegin)?;
                    self.expression_tokens(tag)?;
                }
                Tag::Output => {
                    self.push(Token::OutputBegin)?;
                    self.expression_tokens(tag)?;
                }
            }
        }
    }

    fn push_text(&mut self, text: &str) -> Result<(), Error> {
        if text.is_empty() { Ok(()) } else { self.push(Token::Text(text.to_owned())) }
    }

    /// The text before a tag, without the white space that is dropped.
    fn trimmed_before_tag<'t>(&self, text: &'t str, tag: Tag, sign: Option<char>) -> &'t str {
        match sign {
            Some('-') => return text.trim_end(),
            Some('+') => return text,
            _ if tag == Tag::Output => return text,
            _ => {}
        }
        let line_start = text.rfind('\n').map_or(0, |at| at + 1);
        let is_indentation = text[line_start..].chars().all(char::is_whitespace);
        if is_indentation && (line_start > 0 || self.at_line_start) { &text[..line_start] } else { text }
    }

    /// Drops the white space that the end of a statement or comment removes.
    fn trim_after_tag(&mut self, sign: Option<char>) {
        self.at_line_start = match sign {
            Some('-') => {
                let before = self.rest.len();
                let white = &self.rest[..before - self.rest.trim_start().len()];
                let ends_line = white.ends_with('\n');
                self.advance(white.len());
                ends_line
            }
            Some('+') => false,
            _ => self.eat("\n"),
        };
    }

    /// A `raw` block after its `{%`, if there is one.
    fn raw(&mut self) -> Result<bool, Error> {
        let Some(after_name) = self.rest.trim_start().strip_prefix("raw") else { return Ok(false) };
        let after_name = after_name.trim_start();
        let (strip, after_tag) = match after_name.strip_prefix("-%}") {
            Some(after_tag) => (true, after_tag),
            None => match after_name.strip_prefix("%}") {
                Some(after_tag) => (false, after_tag),
                None => return Ok(false),
            },
        };
        self.advance(self.rest.len() - after_tag.len());
        self.at_line_start = false;
        if strip {
            self.skip_whitespace();
        }
        let mut searched = 0;
        while let Some(at) = self.rest[searched..].find("{%") {
            let begin = searched + at;
            let inner = &self.rest[begin + 2..];
            let sign = inner.chars().next().filter(|sign| matches!(sign, '-' | '+'));
            let inner = inner.trim_start_matches(['-', '+']).trim_start();
            if let Some(end) = inner.strip_prefix("endraw").map(str::trim_start) {
                let end_sign = end.chars().next().filter(|sign| matches!(sign, '-' | '+'));
                if let Some(after) = end.trim_start_matches(['-', '+']).strip_prefix("%}") {
                    let text = self.trimmed_before_tag(&self.rest[..begin], Tag::Block, sign);
                    self.push_text(text)?;
                    self.advance(self.rest.len() - after.len());
                    self.trim_after_tag(end_sign);
                    return Ok(true);
                }
            }
            searched = begin + 2;
        }
        self.error(ErrorKind::Unterminated("a raw block"))
    }

    /// Tokens up to and including the end of the tag.
    fn expression_tokens(&mut self, tag: Tag) -> Result<(), Error> {
        let (end, what) = match tag {
            Tag::Block => ("%}", "a statement"),
            _ => ("}}", "an expression"),
        };
        // A `}` that closes a dict does not end the tag.
        let mut open = 0usize;
        loop {
            self.skip_whitespace();
            let sign = self.rest.chars().next().filter(|sign| matches!(sign, '-' | '+'));
            let after_sign = &self.rest[sign.map_or(0, char::len_utf8)..];
            if open == 0 && after_sign.starts_with(end) {
                self.advance(sign.map_or(0, char::len_utf8) + 2);
                match tag {
                    Tag::Block => {
                        self.push(Token::BlockEnd)?;
                        self.trim_after_tag(sign);
                    }
                    _ => {
                        self.push(Token::OutputEnd)?;
                        self.at_line_start = false;
                        if sign == Some('-') {
                            self.trim_after_tag(sign);
                        }
                    }
                }
                return Ok(());
            }
            let Some(first) = self.rest.chars().next() else {
                return self.error(ErrorKind::Unterminated(what));
            };
            if first == '"' || first == '\'' {
                self.string(first)?;
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if first == '_' || first.is_alphabetic() {
                let len =
                    self.rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(self.rest.len());
                let name = self.advance(len).to_owned();
                self.push(Token::Name(name))?;
            } else {
                let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest.starts_with(**symbol)) else {
                    return self.error(ErrorKind::UnexpectedCharacter(first));
                };
                match *symbol {
                    "(" | "[" | "{" => open += 1,
                    ")" | "]" | "}" => open = open.saturating_sub(1),
                    _ => {}
                }
                self.advance(symbol.len());
                self.push(Token::Symbol(symbol))?;
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<(), Error> {
        let line = self.line;
        self.advance(1);
        let mut text = String::new();
        loop {
            let Some(len) = self.rest.find([quote, '\\']) else {
                self.line = line;
                return self.error(ErrorKind::Unterminated("a text"));
            };
            text.push_str(self.advance(len));
            if self.eat("\\") {
                self.escape(&mut text);
            } else {
                self.advance(1);
                return self.push_at(Token::String(text), line);
            }
        }
    }

    /// Reads what follows a backslash, with Python's meaning.
    fn escape(&mut self, text: &mut String) {
        let Some(escaped) = self.rest.chars().next() else { return };
        let hex_digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let code = self.rest.get(1..1 + hex_digits).filter(|_| hex_digits > 0);
        let by_code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        if let Some(character) = by_code {
            self.advance(1 + hex_digits);
            text.push(character);
            return;
        }
        let octal_digits = self.rest.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        if octal_digits > 0 {
            let code = u32::from_str_radix(self.advance(octal_digits), 8).unwrap_or(0);
            text.extend(char::from_u32(code));
            return;
        }
        self.advance(escaped.len_utf8());
        match escaped {
            '\n' => {}
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'a' => text.push('\x07'),
            'b' => text.push('\x08'),
            'f' => text.push('\x0c'),
            'v' => text.push('\x0b'),
            '\\' | '\'' | '"' => text.push(escaped),
            _ => {
                text.push('\\');
                text.push(escaped);
            }
        }
    }

    fn number(&mut self) -> Result<(), Error> {
        if let Some(radix) = self.rest.get(..2).and_then(|prefix| match prefix {
            "0x" | "0X" => Some(16),
            "0o" | "0O" => Some(8),
            "0b" | "0B" => Some(2),
            _ => None,
        }) {
            self.advance(2);
            let is_digit = |c: char| c == '_' || c.is_digit(radix);
            let len = self.rest.find(|c| !is_digit(c)).unwrap_or(self.rest.len());
            let digits = self.advance(len).replace('_', "");
            match i64::from_str_radix(&digits, radix) {
                Ok(number) => return self.push(Token::Integer(number)),
                Err(_) => return self.error(ErrorKind::BadNumber),
            }
        }
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let mut len = digits(self.rest);
        let mut is_float = false;
        if let Some(fraction) = self.rest[len..].strip_prefix('.')
            && fraction.starts_with(|c: char| c.is_ascii_digit())
        {
            len += 1 + digits(fraction);
            is_float = true;
        }
        if let Some(exponent) = self.rest[len..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            if exponent[sign..].starts_with(|c: char| c.is_ascii_digit()) {
                len += 1 + sign + digits(&exponent[sign..]);
                is_float = true;
            }
        }
        let number = self.advance(len).replace('_', "");
        let token = match is_float {
            true => number.parse().ok().map(Token::Float),
            false => number.parse().ok().map(Token::Integer),
        };
        match token {
            Some(token) => self.push(token),
            None => self.error(ErrorKind::BadNumber),
        }
    }
}

/// Where the next tag begins.
fn find_tag(text: &str) -> Option<(usize, Tag)> {
    let bytes = text.as_bytes();
    bytes.windows(2).enumerate().find_map(|(at, pair)| match pair {
        b"{%" => Some((at, Tag::Block)),
        b"{{" => Some((at, Tag::Output)),
        b"{#" => Some((at, Tag::Comment)),
        _ => None,
    })
}

fn comment_plus(comment: &str) -> Option<char> {
    comment.ends_with('+').then_some('+')
}
