//! Parses tokens into a tree, by recursive descent.

mod expressions;
mod statements;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::ast::{For, Macro, Statement};
use crate::interpreter::ensure_room;
use crate::lexer::{Token, tokenize};
use crate::{Error, ErrorKind, Template};

/// Most levels of nested statements and expressions, so that recursion needs only a small stack.
const MAX_DEPTH: usize = 24;

/// Most bytes that a token takes as a node of the tree or a part of one. Lists of statements double as they grow.
const NODE_BYTES: usize = 4 * size_of::<Statement>() + 32;

/// Most bytes that a byte of the source takes in joined texts, which double as they grow.
const JOINED_BYTES: usize = 4;

pub(crate) fn parse(source: &str) -> Result<Template, Error> {
    let tokens = tokenize(source)?;
    let room =
        tokens.len().saturating_mul(NODE_BYTES).saturating_add(source.len().saturating_mul(JOINED_BYTES));
    ensure_room(room).map_err(|kind| Error { line: 1, kind })?;
    let mut parser = Parser {
        tokens,
        next: 0,
        depth: 0,
        macros: Vec::new(),
        loops: Vec::new(),
        named: Named::default(),
        blocks: BTreeSet::new(),
        escapes: Some(false),
    };
    let body = parser.statements(&[])?;
    Ok(Template { body, macros: parser.macros, loops: parser.loops })
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    next: usize,
    depth: usize,
    macros: Vec<Macro>,
    /// Recursive loops.
    loops: Vec<For>,
    named: Named,
    /// The names of all blocks.
    blocks: BTreeSet<Box<str>>,
    /// Whether output is escaped here; `None` if that is not known before the template runs.
    escapes: Option<bool>,
}

/// Which names with a special meaning in macros have occurred since the last macro began.
#[derive(Debug, Clone, Copy, Default)]
struct Named {
    varargs: bool,
    kwargs: bool,
    caller: bool,
}

type Parsed<T> = Result<T, Error>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn line(&self) -> u32 {
        self.tokens[self.next].1
    }

    /// Takes the next token. The last one, [`Token::End`], is returned again and again.
    fn take(&mut self) -> Token {
        if self.next + 1 == self.tokens.len() {
            return Token::End;
        }
        self.next += 1;
        core::mem::replace(&mut self.tokens[self.next - 1].0, Token::End)
    }

    fn error<T>(&self, kind: ErrorKind) -> Parsed<T> {
        Err(Error { line: self.line(), kind })
    }

    fn expected<T>(&self, expected: &'static str) -> Parsed<T> {
        let found = match self.peek() {
            Token::Text(_) => "text".to_owned(),
            Token::BlockBegin => "{%".to_owned(),
            Token::BlockEnd => "%}".to_owned(),
            Token::OutputBegin => "{{".to_owned(),
            Token::OutputEnd => "}}".to_owned(),
            Token::Name(name) => name.clone(),
            Token::String(text) => format!("'{text}'"),
            Token::Integer(number) => number.to_string(),
            Token::Float(number) => number.to_string(),
            Token::Symbol(symbol) => (*symbol).to_owned(),
            Token::End => "the end".to_owned(),
        };
        self.error(ErrorKind::Expected { expected, found })
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if found == name)
    }

    fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.take();
        }
        found
    }

    fn eat_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.take();
        }
        found
    }

    fn symbol(&mut self, symbol: &'static str) -> Parsed<()> {
        if self.eat_symbol(symbol) { Ok(()) } else { self.expected(symbol) }
    }

    fn keyword(&mut self, keyword: &'static str) -> Parsed<()> {
        if self.eat_name(keyword) { Ok(()) } else { self.expected(keyword) }
    }

    fn name(&mut self) -> Parsed<Box<str>> {
        match self.peek() {
            Token::Name(_) => match self.take() {
                Token::Name(name) => Ok(name.into_boxed_str()),
                _ => unreachable!("it was a name"),
            },
            _ => self.expected("a name"),
        }
    }

    fn block_end(&mut self) -> Parsed<()> {
        match self.peek() {
            Token::BlockEnd => {
                self.take();
                Ok(())
            }
            _ => self.expected("%}"),
        }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return self.error(ErrorKind::TooDeep);
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }
}
